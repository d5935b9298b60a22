/**
 * The thread that writes commits: it gets jobs from `WorkerRunner`, one at a time.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { isDvkError, Segment } from '../../../dvk/index.ts';
import { ImageFile } from '../device.ts';
import { FsError } from '../errors.ts';
import { rawCrc32c } from '../raw-crc32c.ts';
import { type BlockCopy, type CommitJob, LogWriter } from './log-writer.ts';
import { JobStatus, type PooledCopy, type WorkerStart } from './worker-protocol.ts';

type PooledJob = Omit<CommitJob, 'blocks' | 'home'> & Record<'blocks' | 'home', PooledCopy[]>;

const { image, pool, ring, status: memory, wake } = workerData as WorkerStart;
const writer = new LogWriter(ImageFile.shared(image), ring, rawCrc32c);
const status = new JobStatus(memory);
const segment = wake === undefined ? undefined : Segment.open(wake.segment);

function wakeServer(): void {
  if (segment === undefined || wake === undefined) return;
  try {
    segment.wakeup(wake.endpoint);
  } catch (error) {
    // It ends, and waits for this thread by itself.
    if (!isDvkError(error)) throw error;
  }
}

function inPool({ block, offset }: PooledCopy): BlockCopy {
  return { block, bytes: new Uint8Array(pool, offset, ring.blockBytes) };
}

parentPort?.on('message', (job: PooledJob) => {
  try {
    writer.commit({ ...job, blocks: job.blocks.map(inPool), home: job.home.map(inPool) });
    status.end();
  } catch (error) {
    // Of anything else the server makes a fault of its own.
    if (error instanceof FsError) status.end({ errno: -error.errno, sentence: error.sentence });
    else status.end({ errno: 0, sentence: String(error) });
  }
  wakeServer();
});

/**
 * Has a thread of its own write commits, so that the server goes on meanwhile.
 */
import { Worker } from 'node:worker_threads';
import type { BlockPool } from '../block-pool.ts';
import type { ImageFile } from '../device.ts';
import { ERRNO, FsError } from '../errors.ts';
import type { CommitRunner } from './commit-runner.ts';
import type { BlockCopy, CommitJob, Ring } from './log-writer.ts';
import {
  JobStatus,
  type PooledCopy,
  type Sleeper,
  STATE,
  type WorkerStart,
} from './worker-protocol.ts';

export interface WorkerOptions {
  /** The compiled commit-worker, if it is not the one beside this file. */
  readonly program?: URL;
  readonly wake?: Sleeper;
  readonly image: ImageFile;
  readonly pool: BlockPool;
  readonly ring: Ring;
}

export class WorkerRunner implements CommitRunner {
  readonly #worker: Worker;
  readonly #status = new JobStatus();

  constructor({ program, wake, image, pool, ring }: WorkerOptions) {
    const { path, descriptor, bytes, direct } = image;
    const start: WorkerStart = {
      image: { path, descriptor, bytes, direct },
      pool: pool.memory,
      ring,
      status: this.#status.memory,
      wake,
    };
    const beside = new URL('./commit-worker.js', import.meta.url);
    this.#worker = new Worker(program ?? beside, { workerData: start });
    this.#worker.unref();
  }

  start(job: CommitJob): void {
    this.#status.begin();
    this.#worker.postMessage({
      ...job,
      blocks: job.blocks.map(pooled),
      home: job.home.map(pooled),
    });
  }

  ended(wait: boolean): boolean {
    if (wait) this.#status.wait();
    const { state } = this.#status;
    if (state === STATE.busy) return false;
    if (state !== STATE.failed) return true;
    const { errno, sentence } = this.#status.outcome;
    if (errno === 0) throw new Error(sentence);
    throw new FsError(errno === ERRNO.ENOSPC ? 'ENOSPC' : 'EIO', sentence);
  }

  close(): void {
    void this.#worker.terminate();
  }
}

function pooled({ block, bytes }: BlockCopy): PooledCopy {
  return { block, offset: bytes.byteOffset };
}

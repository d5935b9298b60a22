/**
 * Opens a volume for changes: its journal is replayed onto the device, and takes transactions from
 * then on.
 */
import { BlockPool } from './block-pool.ts';
import { BlockCache, CACHE_UNIT_BYTES } from './cache.ts';
import type { WritableDevice } from './device.ts';
import { FsError } from './errors.ts';
import { type Crc32c, crc32c } from './ext4/checksum.ts';
import { COMPAT, INCOMPAT } from './ext4/layout.ts';
import { type Superblock, readSuperblock } from './ext4/superblock.ts';
import { Home } from './home.ts';
import { InPlace } from './in-place.ts';
import { InlineRunner } from './journal/commit-runner.ts';
import { Journal } from './journal/journal.ts';
import { JournalFile } from './journal/journal-file.ts';
import { LogWriter, type Ring } from './journal/log-writer.ts';
import { replay } from './journal/replay.ts';
import { journalForWriting } from './journal/superblock.ts';
import { type WorkerOptions, WorkerRunner } from './journal/worker-runner.ts';
import { NewerBlocks } from './newer-blocks.ts';
import { markClean, markRecover } from './state.ts';
import { type Store, Transactions } from './transactions.ts';

/** Copies of metadata blocks that are not in their places yet. */
const POOL_BYTES = 48 << 20;

export interface WritingOptions {
  /** Of the cache. */
  readonly memory: Uint8Array;
  readonly unit?: number;
  /** Memory for copies of metadata, in bytes; 48 MiB unless told. */
  readonly poolBytes?: number;
  readonly crc32c?: Crc32c;
  /** ms since 1970, for commit blocks. */
  readonly timeMs: () => number;
  /**
   * The device itself, when commits are to be written by a thread of their own, with the native
   * CRC32C; the compiled commit-worker, if it is not where it is by default; and who is woken when
   * a commit has ended.
   */
  readonly worker?: Omit<WorkerOptions, 'pool' | 'ring'>;
}

/** A volume that takes changes. */
export interface Writing {
  readonly cache: BlockCache;
  readonly changes: Transactions;
  /** Transactions of the journal that had to be put in their places. */
  readonly replayed: number;
  /** False for a volume without a journal that was not closed: e2fsck should see it first. */
  readonly wasClean: boolean;
  /**
   * Commits, puts all in its place, and leaves a volume that needs no recovery. Throws EIO,
   * ENOSPC; then the volume is as after a crash.
   */
  close(): void;
}

/**
 * Throws EUCLEAN for a damaged superblock or journal, EOPNOTSUPP for what cannot be written to,
 * EROFS for a journal that only e2fsck can replay, EIO, ENOSPC.
 */
export function openForWriting(device: WritableDevice, options: WritingOptions): Writing {
  const crc = options.crc32c ?? crc32c;
  const superblock = readSuperblock(device, { ignoreJournal: true, crc32c: crc });
  checkWritable(superblock);
  const { blockBytes } = superblock;
  const pool = new BlockPool(options.poolBytes ?? POOL_BYTES, blockBytes);
  const journalled = (superblock.compat & COMPAT.hasJournal) !== 0;
  const log = journalled ? startLog(device, superblock, crc) : undefined;
  const wasClean = log !== undefined || markClean(device, false, crc);
  const unit = options.unit ?? CACHE_UNIT_BYTES;
  const cache = new BlockCache(device, options.memory, unit);
  const newer = new NewerBlocks(blockBytes, unit);
  cache.show(newer);
  const home = new Home(cache, newer, pool);
  const store: Store =
    log === undefined
      ? new InPlace(device, home, pool)
      : journalOf(log, { device, home, pool, options, crc });
  const volumeBlocks = superblock.blocks;
  const changes = new Transactions({ device, cache, newer, pool, store, volumeBlocks });
  return {
    cache,
    changes,
    replayed: log?.replayed ?? 0,
    wasClean,
    close: () => {
      changes.close();
      if (journalled) markRecover(device, false, crc);
      else if (wasClean) markClean(device, true, crc);
    },
  };
}

function checkWritable({ compat, incompat, journalInode }: Superblock): void {
  if (incompat & INCOMPAT.mmp) {
    throw new FsError('EOPNOTSUPP', 'other hosts may write to the volume (feature "mmp")');
  }
  if (!(compat & COMPAT.hasJournal)) return;
  if (journalInode === 0) {
    throw new FsError('EOPNOTSUPP', 'the journal is on another device; it cannot be written to');
  }
}

interface JournalParts {
  device: WritableDevice;
  home: Home;
  pool: BlockPool;
  options: WritingOptions;
  crc: Crc32c;
}

function journalOf(log: Log, { device, home, pool, options, crc }: JournalParts): Journal {
  const { ring, sequence } = log;
  const { timeMs, worker } = options;
  const writer = new LogWriter(device, ring, crc);
  const runner =
    worker === undefined ? new InlineRunner(writer) : new WorkerRunner({ ...worker, pool, ring });
  return new Journal({ device, home, pool, ring, sequence, writer, runner, timeMs });
}

/** A log that takes transactions. */
interface Log {
  ring: Ring;
  sequence: number;
  replayed: number;
}

/**
 * Replays the log and begins an empty one. The volume says that it needs recovery before its log
 * does: the other way round, e2fsck would find a log that nobody speaks of.
 */
function startLog(device: WritableDevice, superblock: Superblock, crc: Crc32c): Log {
  const file = new JournalFile(device, superblock, crc);
  const needed = (superblock.incompat & INCOMPAT.recover) !== 0;
  const log = replay(device, file, { superblock, crc, needed });
  const { raw, first, end, shape } = journalForWriting(file, superblock, crc);
  const { blockBytes } = superblock;
  const ring = { blockBytes, first, end, places: file.places(end), superblock: raw, shape };
  markRecover(device, true, crc);
  new LogWriter(device, ring, crc).writeStart(log.next, first);
  return { ring, sequence: log.next, replayed: log.transactions };
}

/**
 * How the ext4 layer changes a volume, whatever makes the change safe: a journal, or nothing.
 *
 * The server does one call at a time, so there is one change at a time, and a transaction ends
 * between two of them. A change reads blocks through the cache as any reader does, and sees what it
 * has changed itself. Addresses are numbers of file system blocks, from 0 at the start of the
 * device.
 */
import type { BlockCheck, LateWrite } from './cache.ts';
import type { FsError } from './errors.ts';

/** Whose contents matter to a commit: no file's. */
export const NO_FILE = 0;

export interface Changes {
  /** The number of the transaction that the next change goes into; each is one higher. */
  readonly running: number;
  /**
   * Transactions up to this number will be there after a crash. What one above it freed may not be
   * given to other files yet: their data is written in place, and a crash would bring back the
   * file that had it.
   */
  readonly committed: number;
  /**
   * Why something that was changed may not be on the device, and is nowhere else either. A commit
   * that failed without it has lost nothing: the next one tries again.
   */
  readonly lost: FsError | undefined;

  /** Contents over older ones that could not be written, and wait for the next commit. */
  readonly late: readonly LateWrite[];

  /**
   * Runs before a commit that was asked for begins, between two changes, and may make changes that
   * go with it: contents that wait for their blocks get them here. What it throws, the commit does.
   */
  beforeCommit: () => void;
  /**
   * Why contents of the file, or of any if there is no number, were left behind by the last commit
   * that was asked for. They wait on.
   */
  unwritten: (file?: number) => FsError | undefined;
  /** Runs when the last change is committed, before the device is let go. */
  beforeClose: () => void;

  /**
   * Runs one change. All that it modifies is in the same transaction; if it throws, nothing of it
   * is, and the blocks are as they were; contents that it wrote stay. Changes do not nest. Throws
   * EROFS when the volume takes no more changes, and what `run` throws.
   */
  change<T>(run: () => T): T;

  // Those from here to `discard` are for the inside of a change.

  /**
   * A metadata block, to be written into until the change ends. `check` is how its contents are
   * verified when they come from the device; the caller keeps checksums of what it writes.
   * Throws EIO, EUCLEAN, ENOSPC when the change is larger than the journal can hold.
   */
  modify(block: number, check?: BlockCheck): Uint8Array;
  /**
   * As `modify`, for a block that was free: zeros, and nothing is read. `check` says what it
   * becomes, so that reading it back in the same change does not verify it.
   */
  create(block: number, check?: BlockCheck): Uint8Array;
  /** `count` metadata blocks from `block` on are free now: what is logged of them is void. */
  forget(block: number, count: number): void;
  /**
   * Contents of a file, from byte `at` of the device on. They are on the device before the
   * transaction is committed. Bytes beside them keep what the device has, so a new block is to be
   * written whole. May wait for the device when too much is not yet written. Throws EIO, ENOSPC.
   */
  writeData(at: number, data: Uint8Array): void;
  /**
   * As `writeData`, over contents that the file has there. If they cannot be written they wait on
   * (`late`), and transactions are committed without them.
   */
  overwrite(at: number, data: Uint8Array): void;
  /**
   * As `writeData`, for blocks that were free: written to the device at once, and not kept in the
   * cache. Throws EIO, ENOSPC.
   */
  writeFresh(at: number, data: Uint8Array): void;
  /**
   * `bytes` of contents from byte `at` of the device on are free now: they need not be written,
   * once the change has succeeded.
   */
  dropData(at: number, bytes: number): void;

  /**
   * Bytes of the device that are free, and will be so after a crash, need not be kept. Throws EIO.
   */
  discard(at: number, bytes: number): void;

  /**
   * Returns when every change so far will be there after a crash, data and metadata. Throws EIO or
   * ENOSPC, once for each failure below, as fsync(2) tells it; the volume may take no changes from
   * then on. Contents that are left behind (`unwritten`) fail it too, but only those of `file` if
   * it is told; `NO_FILE` for none.
   */
  commit(file?: number): void;
  /**
   * As `commit`, but returns at once where a thread of its own writes: the number that `committed`
   * must reach. Changes go on meanwhile; while one transaction is written, all who come get the
   * next one. Contents that are left behind do not fail it: see `unwritten`.
   */
  begin(): number;
  /**
   * Learns how the commit under way stands, as every change does; `committed` grows by it. Throws
   * as `commit`; all who wait for a number that is not reached are to be told.
   */
  poll(): void;
}

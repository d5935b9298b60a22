/**
 * What a client has of the server, so that it can take it back from one that was started again:
 * files that it holds open, what it wrote to them and has not synced, and locks.
 *
 * The time of a file's last change (ctime) tells whether a write outlived the server: that time is
 * in the inode, goes with the write into one transaction or a later one, and never goes back. So
 * the file has the write if it has that time or a later one.
 */
import type { FileAttributes, Timestamp } from '../protocol/fs.ts';
import { isEarlier } from '../protocol/fs.ts';
import { LockType } from '../protocol/fs-change.ts';
import { type LockRange, withRange } from '../protocol/lock-ranges.ts';
import type { FileId, LockRequest } from './file-service.ts';

/** A file that is held open. */
export interface HeldFile {
  readonly inode: number;
  readonly generation: number;
  count: number;
  /** Its time of change by the last write that was not synced. */
  unsynced: Timestamp | undefined;
  /** What was written, or a lock, is lost, and nobody was told. */
  lost: boolean;
}

/** Locks of one owner on one file. */
interface OwnedLocks {
  readonly file: FileId;
  readonly kind: number;
  readonly owner: bigint;
  readonly pid: number;
  readonly ranges: readonly LockRange[];
}

export class HeldFiles {
  readonly #files = new Map<number, HeldFile>();
  /** By inode, then by kind and owner. */
  readonly #locks = new Map<number, Map<string, OwnedLocks>>();

  get isEmpty(): boolean {
    return this.#files.size === 0 && this.#locks.size === 0;
  }

  get files(): readonly HeldFile[] {
    return [...this.#files.values()];
  }

  /** Every lock, as it would be asked for. */
  get locks(): readonly { readonly file: FileId; readonly lock: LockRequest }[] {
    const all = [...this.#locks.values()].flatMap((owned) => [...owned.values()]);
    return all.flatMap(({ file, kind, owner, pid, ranges }) =>
      ranges.map((range) => ({ file, lock: { kind, owner, pid, ...range } })),
    );
  }

  find({ inode }: { readonly inode: number }): HeldFile | undefined {
    return this.#files.get(inode);
  }

  /** One hold more, of which the server knows. */
  hold({ inode, generation }: FileId): void {
    const file = this.#files.get(inode);
    if (file !== undefined) file.count++;
    else this.#files.set(inode, { inode, generation, count: 1, unsynced: undefined, lost: false });
  }

  /** One hold less; with the last one locks end. False: there was none. */
  release({ inode }: FileId): boolean {
    const file = this.#files.get(inode);
    if (file === undefined) return false;
    file.count--;
    if (file.count > 0) return true;
    this.#files.delete(inode);
    this.#locks.delete(inode);
    return true;
  }

  /** The file was changed, and has these attributes since. */
  wrote({ inode, changed }: FileAttributes): void {
    const file = this.#files.get(inode);
    if (file !== undefined) file.unsynced = later(file.unsynced, changed);
  }

  /** A write, or a lock, may not be there any more. */
  lose({ inode }: FileId): void {
    const file = this.#files.get(inode);
    if (file !== undefined) file.lost = true;
  }

  /** Somebody else may have the lock now. */
  loseLock(file: FileId, lock: LockRequest): void {
    this.lock(file, { ...lock, type: LockType.UNLOCK });
    this.lose(file);
  }

  /** The lock was taken or given up. */
  lock(file: FileId, { kind, type, start, end, owner, pid }: LockRequest): void {
    const key = [kind, owner].join('/');
    const owned = this.#locks.get(file.inode) ?? new Map<string, OwnedLocks>();
    const ranges = withRange(owned.get(key)?.ranges ?? [], { type, start, end });
    if (ranges.length === 0) owned.delete(key);
    else owned.set(key, { file, kind, owner, pid, ranges });
    if (owned.size === 0) this.#locks.delete(file.inode);
    else this.#locks.set(file.inode, owned);
  }
}

/** Whether a file that was last changed at `changed` has what was written at `written`. */
export function hasWrite(changed: Timestamp, written: Timestamp): boolean {
  // Volumes with small inodes keep whole seconds, which tell nothing.
  const tells = written.nanoseconds !== 0 || changed.nanoseconds !== 0;
  return tells && !isEarlier(changed, written);
}

export function later(a: Timestamp | undefined, b: Timestamp): Timestamp {
  return a !== undefined && isEarlier(b, a) ? a : b;
}

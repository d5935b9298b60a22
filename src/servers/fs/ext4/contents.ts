/**
 * The contents of files whose blocks are mapped: from a byte offset to places on the device.
 *
 * Long reads go from the device straight into the target; short ones through the cache, whose lines
 * act as read-ahead. Callers keep within the file's size.
 */
import { damaged } from '../errors.ts';
import type { Delayed } from './delayed.ts';
import type { Disk } from './disk.ts';
import { ExtentMap } from './extents.ts';
import { IndirectMap } from './indirect.ts';
import { type Inode, type Run, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';

/** From here on a copy through the cache costs more than the cache can save. */
export const DIRECT_READ_BYTES_MIN: number = 64 * 1024;

/**
 * Shorter pieces of a long read come through the cache after all: their neighbours often follow.
 */
const PIECE_BYTES_MIN = 16 * 1024;

/** A piece of a file: where it is on the device, else its bytes, else it reads as zeros. */
interface Place {
  readonly at: number;
  readonly bytes: number;
  readonly page?: Uint8Array;
}

export class Contents {
  /** Contents without blocks, on a volume that is changed. */
  delayed: Delayed | undefined;
  readonly #disk: Disk;
  readonly #extents: ExtentMap;
  readonly #indirect: IndirectMap;

  constructor(disk: Disk) {
    this.#disk = disk;
    this.#extents = new ExtentMap(disk);
    this.#indirect = new IndirectMap(disk);
  }

  /** Fills `target` from byte `at` of the file on. Throws EUCLEAN, EIO. */
  read(inode: Inode, at: number, target: Uint8Array): void {
    const direct = target.length >= DIRECT_READ_BYTES_MIN;
    let done = 0;
    while (done < target.length) {
      const place = this.#place(inode, at + done, target.length - done);
      const part = target.subarray(done, done + place.bytes);
      if (place.page !== undefined) part.set(place.page);
      else if (place.at < 0) part.fill(0);
      else if (direct && place.bytes >= PIECE_BYTES_MIN) this.#disk.cache.readPast(part, place.at);
      else this.#disk.cache.read(part, place.at);
      done += place.bytes;
    }
  }

  /** The bytes themselves if they lie together in the cache; valid until its next use. */
  peek(inode: Inode, at: number, bytes: number): Uint8Array | undefined {
    const place = this.#place(inode, at, bytes);
    if (place.at < 0 || place.bytes < bytes) return undefined;
    return this.#disk.cache.peek(place.at, bytes);
  }

  /** The disk block of a logical one, 0 for a hole. */
  block(inode: Inode, logical: number): number {
    const run = this.#run(inode, logical);
    return run.physical === 0 ? 0 : run.physical + (logical - run.logical);
  }

  /** The first byte from `at` on that has contents (or has not), at the end if there is none. */
  seek(inode: Inode, at: number, wanted: boolean): number {
    const { blockBytes } = this.#disk;
    let found = at;
    while (found < inode.size) {
      const logical = Math.floor(found / blockBytes);
      const run = this.#run(inode, logical);
      let end = run.logical + run.count;
      let hasContents = run.physical !== 0;
      if (!hasContents && this.delayed?.has(inode.number) === true) {
        const next = this.delayed.next(inode.number, logical);
        hasContents = next === logical;
        end = Math.min(end, hasContents ? logical + 1 : next);
      }
      if (hasContents === wanted) return found;
      found = end * blockBytes;
    }
    return inode.size;
  }

  /** The longest piece from `at` on that lies together. */
  #place(inode: Inode, at: number, bytes: number): Place {
    const { blockBytes } = this.#disk;
    const logical = Math.floor(at / blockBytes);
    const run = this.#run(inode, logical);
    const into = at - run.logical * blockBytes;
    const part = Math.min(bytes, run.count * blockBytes - into);
    if (run.physical !== 0) return { at: run.physical * blockBytes + into, bytes: part };
    if (this.delayed?.has(inode.number) !== true) return { at: -1, bytes: part };
    const offset = at - logical * blockBytes;
    const blocks = Math.ceil((offset + part) / blockBytes);
    const pages = this.delayed.find(inode.number, logical, blocks);
    if (pages === undefined) {
      const next = this.delayed.next(inode.number, logical);
      return { at: -1, bytes: Math.min(part, (next - logical) * blockBytes - offset) };
    }
    const delayed = pages.subarray(offset, offset + part);
    return { at: -1, bytes: delayed.length, page: delayed };
  }

  #run(inode: Inode, logical: number): Run {
    const last = inode.lastRun;
    if (last !== undefined && logical >= last.logical && logical < last.logical + last.count) {
      return last;
    }
    if (logical >= 2 ** 32) throw damaged`inode ${inode.number}: no map reaches block ${logical}`;
    const map = hasFlag(inode, INODE_FLAG.extents) ? this.#extents : this.#indirect;
    const run = map.find(inode, logical);
    inode.lastRun = run;
    return run;
  }
}

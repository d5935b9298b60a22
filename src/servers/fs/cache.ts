/**
 * A cache of device lines in memory that the caller gives, normally an arena of the clients.
 *
 * Rules of use:
 * - `view` and `checked` return memory that is valid until the next call of any method: copy what
 *   must live longer.
 * - Nobody writes into a view.
 * - Lines are `unit` bytes at multiples of `unit`; a request inside one line is free of copies, one
 *   across lines is put together in a scratch buffer.
 *
 * Replacement is the clock (second chance) algorithm: one bit a line, set at each use, cleared as
 * the hand passes. Lines loaded for file data start with the bit clear, so a single pass over a
 * large file does not push out the metadata. A line that cannot be read as a whole is not cached:
 * only the wanted bytes are read, so a bad sector hurts none of its neighbours.
 *
 * `checked` remembers, for each kibibyte of a line, as what the block there was verified. The
 * memory of it goes with the line, so a checksum is computed once for each load and never trusted
 * beyond it.
 */
import type { BlockDevice } from './device.ts';
import { FsError } from './errors.ts';

/** The smallest block of ext4, and so the distance between two remembered verifications. */
const TAG_BYTES = 1024;
export const CACHE_UNIT_BYTES: number = 64 * 1024;
const SPAN_BYTES_MAX = 1 << 20;

/** What a block must be, and who says so. */
export interface BlockCheck {
  /** Names the kind and the owner; never zero. */
  readonly tag: number;
  /** Throws FsError EUCLEAN if the block is not what the tag says. */
  verify(block: Uint8Array): void;
}

export class BlockCache {
  readonly unit: number;
  /** Requests served without, and lines loaded with, a read of the device. */
  hits = 0;
  misses = 0;
  readonly #device: BlockDevice;
  readonly #memory: Uint8Array;
  readonly #slotOfLine = new Map<number, number>();
  readonly #lineOfSlot: Float64Array;
  readonly #used: Uint8Array;
  readonly #tags: Float64Array;
  readonly #tagsPerLine: number;
  #hand = 0;
  #scratch = new Uint8Array(0);

  constructor(device: BlockDevice, memory: Uint8Array, unit: number = CACHE_UNIT_BYTES) {
    const slots = Math.floor(memory.length / unit);
    if (unit % TAG_BYTES !== 0 || slots < 2) {
      throw new RangeError('A cache needs lines of whole kibibytes and room for two of them.');
    }
    this.unit = unit;
    this.#device = device;
    // Callers copy views by slice(), which in a Buffer would be one more view.
    this.#memory = new Uint8Array(memory.buffer, memory.byteOffset, memory.length);
    this.#lineOfSlot = new Float64Array(slots).fill(-1);
    this.#used = new Uint8Array(slots);
    this.#tagsPerLine = unit / TAG_BYTES;
    this.#tags = new Float64Array(slots * this.#tagsPerLine);
  }

  /** Bytes `[at, at + bytes)` of the device. Throws EIO. */
  view(at: number, bytes: number): Uint8Array {
    this.#checkRange(at, bytes);
    const offset = at % this.unit;
    if (offset + bytes > this.unit) return this.#gather(at, bytes);
    const slot = this.#load((at - offset) / this.unit, true);
    return slot < 0 ? this.#uncached(at, bytes) : this.#slice(slot, offset, bytes);
  }

  /** As `view`, for a block that must pass `check` before anything in it is believed. */
  checked(at: number, bytes: number, check: BlockCheck): Uint8Array {
    this.#checkRange(at, bytes);
    const offset = at % this.unit;
    const slot = offset + bytes > this.unit ? -1 : this.#load((at - offset) / this.unit, true);
    if (slot < 0 || offset % TAG_BYTES !== 0) {
      const block = this.view(at, bytes);
      check.verify(block);
      return block;
    }
    const tagAt = slot * this.#tagsPerLine + offset / TAG_BYTES;
    const block = this.#slice(slot, offset, bytes);
    if (this.#tags[tagAt] !== check.tag) {
      check.verify(block);
      this.#tags[tagAt] = check.tag;
    }
    return block;
  }

  /** File data inside one line, or undefined if it spans lines or its line cannot be cached. */
  peek(at: number, bytes: number): Uint8Array | undefined {
    this.#checkRange(at, bytes);
    const offset = at % this.unit;
    if (offset + bytes > this.unit) return undefined;
    const slot = this.#load((at - offset) / this.unit, false);
    return slot < 0 ? undefined : this.#slice(slot, offset, bytes);
  }

  /** Copies file data from byte `at` on until `target` is full. Throws EIO. */
  read(target: Uint8Array, at: number): void {
    this.#checkRange(at, target.length);
    let done = 0;
    while (done < target.length) {
      const from = at + done;
      const bytes = Math.min(target.length - done, this.unit - (from % this.unit));
      const cached = this.peek(from, bytes);
      if (cached === undefined) this.#device.read(target.subarray(done, done + bytes), from, bytes);
      else target.set(cached, done);
      done += bytes;
    }
  }

  #checkRange(at: number, bytes: number): void {
    if (at >= 0 && bytes >= 0 && at + bytes <= this.#device.bytes) return;
    throw new FsError('EIO', `bytes ${String(at)} + ${String(bytes)} are outside the device`);
  }

  #slice(slot: number, offset: number, bytes: number): Uint8Array {
    const start = slot * this.unit + offset;
    return this.#memory.subarray(start, start + bytes);
  }

  /** The slot that holds `line`, or -1 if the line cannot be read as a whole. */
  #load(line: number, metadata: boolean): number {
    const cached = this.#slotOfLine.get(line);
    if (cached !== undefined) {
      this.hits++;
      this.#used[cached] = 1;
      return cached;
    }
    this.misses++;
    const slot = this.#victim();
    const at = line * this.unit;
    const bytes = Math.min(this.unit, this.#device.bytes - at);
    try {
      this.#device.read(this.#slice(slot, 0, bytes), at, bytes);
    } catch (error) {
      if (error instanceof FsError) return -1;
      throw error;
    }
    this.#slotOfLine.set(line, slot);
    this.#lineOfSlot[slot] = line;
    this.#used[slot] = metadata ? 1 : 0;
    return slot;
  }

  /**
   * Empties a slot and returns it. The hand goes round at most twice: the first round clears every
   * bit.
   */
  #victim(): number {
    while (this.#used[this.#hand] === 1) {
      this.#used[this.#hand] = 0;
      this.#hand = (this.#hand + 1) % this.#used.length;
    }
    const slot = this.#hand;
    this.#hand = (slot + 1) % this.#used.length;
    this.#slotOfLine.delete(this.#lineOfSlot[slot] ?? -1);
    this.#lineOfSlot[slot] = -1;
    this.#tags.fill(0, slot * this.#tagsPerLine, (slot + 1) * this.#tagsPerLine);
    return slot;
  }

  #uncached(at: number, bytes: number): Uint8Array {
    const target = this.#room(bytes);
    this.#device.read(target, at, bytes);
    return target;
  }

  #gather(at: number, bytes: number): Uint8Array {
    const target = this.#room(bytes);
    let done = 0;
    while (done < bytes) {
      const from = at + done;
      const part = Math.min(bytes - done, this.unit - (from % this.unit));
      const slot = this.#load(Math.floor(from / this.unit), true);
      if (slot < 0) this.#device.read(target.subarray(done, done + part), from, part);
      else target.set(this.#slice(slot, from % this.unit, part), done);
      done += part;
    }
    return target;
  }

  #room(bytes: number): Uint8Array {
    if (bytes > SPAN_BYTES_MAX) throw new RangeError('A view is at most 1 MiB.');
    if (this.#scratch.length < bytes) this.#scratch = new Uint8Array(bytes);
    return this.#scratch.subarray(0, bytes);
  }
}

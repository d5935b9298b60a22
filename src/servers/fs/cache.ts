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
 * Lines loaded for file data are the first to be replaced (see `cache-lines.ts`), so a single pass
 * over a large file does not push out the metadata. A line that cannot be read as a whole is not
 * cached: only the wanted bytes are read, so a bad sector hurts none of its neighbours.
 *
 * `checked` remembers, for each kibibyte of a line, as what the block there was verified. The
 * memory of it goes with the line, so a checksum is computed once for each load and never trusted
 * beyond it.
 *
 * Contents of files may be written, and wait here until they are written out; readers see them at
 * once. At most a share of the lines waits. Metadata is not written here, but shown: what of it is
 * newer than the device is looked for in the `NewerBlocks` that `show` names.
 */
import { CacheLines, GRANULE_BYTES } from './cache-lines.ts';
import type { BlockDevice, WritableDevice } from './device.ts';
import { FsError, damaged, isFsError } from './errors.ts';
import type { NewerBlocks } from './newer-blocks.ts';

export const CACHE_UNIT_BYTES: number = 64 * 1024;
const SPAN_BYTES_MAX = 1 << 20;
/** Of the lines, as many may be dirty; when they are, as many are written out at a time. */
const DIRTY_SHARE = 1 / 2;
const WRITE_OUT_SHARE = 1 / 8;

/** What a block must be, and who says so. */
export interface BlockCheck {
  /** Names the kind and the owner; never zero. */
  readonly tag: number;
  /** Throws FsError EUCLEAN if the block is not what the tag says. */
  verify(block: Uint8Array): void;
}

/** Contents that could not be written, and wait on. */
export interface LateWrite {
  readonly at: number;
  readonly bytes: number;
  readonly error: FsError;
}

export class BlockCache {
  readonly unit: number;
  /** Requests served without, and lines loaded with, a read of the device. */
  hits = 0;
  misses = 0;
  readonly #device: BlockDevice;
  readonly #lines: CacheLines;
  #newer: NewerBlocks | undefined;
  #scratch = new Uint8Array(0);
  /** The line where writing out goes on. */
  #nextOut = 0;

  constructor(device: BlockDevice, memory: Uint8Array, unit: number = CACHE_UNIT_BYTES) {
    this.unit = unit;
    this.#device = device;
    this.#lines = new CacheLines(memory, unit, device.bytes);
  }

  /** From now on these blocks are shown instead of the device's. */
  show(newer: NewerBlocks): void {
    this.#newer = newer;
  }

  /** Bytes `[at, at + bytes)` of the device. Throws EIO. */
  view(at: number, bytes: number): Uint8Array {
    this.#checkRange(at, bytes);
    const newer = this.#newerView(at, bytes);
    if (newer !== undefined) return newer;
    const offset = at % this.unit;
    if (offset + bytes > this.unit) return this.#gather(at, bytes);
    const slot = this.#load(at, bytes, true);
    return slot < 0 ? this.#uncached(at, bytes) : this.#lines.bytes(slot, { offset, bytes });
  }

  /** As `view`, for a block that must pass `check` before anything in it is believed. */
  checked(at: number, bytes: number, check: BlockCheck): Uint8Array {
    this.#checkRange(at, bytes);
    if (this.#newer?.touches(at, bytes) === true) return this.#checkedNewer(at, bytes, check);
    const offset = at % this.unit;
    const slot = offset + bytes > this.unit ? -1 : this.#load(at, bytes, true);
    if (slot < 0 || offset % GRANULE_BYTES !== 0) {
      const block = this.view(at, bytes);
      check.verify(block);
      return block;
    }
    const block = this.#lines.bytes(slot, { offset, bytes });
    if (this.#lines.tag(slot, offset) !== check.tag) {
      check.verify(block);
      this.#lines.setTag(slot, offset, check.tag);
    }
    return block;
  }

  /** File data inside one line, or undefined if it spans lines or its line cannot be cached. */
  peek(at: number, bytes: number): Uint8Array | undefined {
    this.#checkRange(at, bytes);
    const offset = at % this.unit;
    if (offset + bytes > this.unit || this.#newer?.touches(at, bytes) === true) return undefined;
    const slot = this.#load(at, bytes, false);
    return slot < 0 ? undefined : this.#lines.bytes(slot, { offset, bytes });
  }

  /** Copies file data from byte `at` on until `target` is full. Throws EIO. */
  read(target: Uint8Array, at: number): void {
    this.#checkRange(at, target.length);
    let done = 0;
    while (done < target.length) {
      const from = at + done;
      const bytes = Math.min(target.length - done, this.unit - (from % this.unit));
      const part = target.subarray(done, done + bytes);
      const slot = this.#load(from, bytes, false);
      if (slot < 0) this.#readPart(part, from);
      else part.set(this.#lines.bytes(slot, { offset: from % this.unit, bytes }));
      done += bytes;
    }
    this.#newer?.overlay(target, at);
  }

  /** As `read`, without a place in the cache for what is not in it: for long pieces. */
  readPast(target: Uint8Array, at: number): void {
    this.#device.read(target, at, target.length);
    if (this.#lines.dirtyLines > 0) this.#lines.overlayDirty(target, at);
    this.#newer?.overlay(target, at);
  }

  /**
   * Takes contents of a file for byte `at` on, which may lie in new blocks. What of a granule is
   * not written keeps the bytes that the device has there. When too many lines wait, some are
   * written to `device` first. Throws EIO, ENOSPC, and EUCLEAN when a block is in use as metadata.
   */
  write(data: Uint8Array, at: number, device: WritableDevice): void {
    this.#write(data, at, device, true);
  }

  /** As `write`, over contents that the same file has there. */
  overwrite(data: Uint8Array, at: number, device: WritableDevice): void {
    this.#write(data, at, device, false);
  }

  #write(data: Uint8Array, at: number, device: WritableDevice, isNew: boolean): void {
    this.#checkRange(at, data.length);
    if (this.#newer?.touches(at, data.length) === true) throw inUse(at);
    let done = 0;
    while (done < data.length) {
      const from = at + done;
      const offset = from % this.unit;
      const bytes = Math.min(data.length - done, this.unit - offset);
      if (this.#lines.dirtyLines >= this.#lines.slots * DIRTY_SHARE) this.#writeSome(device);
      const line = Math.floor(from / this.unit);
      const found = this.#lines.find(line);
      const slot = found < 0 ? this.#lines.add(line, false) : found;
      this.#fillEdges(slot, from, bytes);
      this.#lines.bytes(slot, { offset, bytes }).set(data.subarray(done, done + bytes));
      this.#lines.setDirty(slot, { offset, bytes }, isNew);
      done += bytes;
    }
  }

  /**
   * Writes contents of a file to the device at once, for blocks of which nothing waits. Throws as
   * `write`.
   */
  writePast(data: Uint8Array, at: number, device: WritableDevice): void {
    this.#checkRange(at, data.length);
    if (this.#newer?.touches(at, data.length) === true) throw inUse(at);
    device.write(data, at);
    this.refresh(data, at, 0);
  }

  /**
   * Writes all contents that wait, in ascending order. What cannot be written goes on waiting: it
   * is returned if it is over older contents, and the first error of what may lie in new blocks is
   * thrown: EIO, ENOSPC.
   */
  writeOut(device: WritableDevice): LateWrite[] {
    const { late } = this.#writeRuns(device, 0, Infinity);
    const first = late.find(({ at, bytes }) => this.#hasNew(at, bytes));
    if (first !== undefined) throw first.error;
    return late;
  }

  /** Contents of `[at, at + bytes)` that wait need not be written. */
  drop(at: number, bytes: number): void {
    if (this.#lines.dirtyLines === 0) return;
    this.#byLine(at, bytes, (slot, offset, part) => {
      this.#lines.setClean(slot, { offset, bytes: part });
    });
  }

  /** The device has got these bytes by another way, verified as `tag` says. */
  refresh(data: Uint8Array, at: number, tag: number): void {
    this.#byLine(at, data.length, (slot, offset, bytes, done) => {
      this.#lines.bytes(slot, { offset, bytes }).set(data.subarray(done, done + bytes));
      this.#lines.setHeld(slot, { offset, bytes });
      if (offset % GRANULE_BYTES === 0) this.#lines.setTag(slot, offset, tag);
    });
  }

  #checkRange(at: number, bytes: number): void {
    if (at >= 0 && bytes >= 0 && at + bytes <= this.#device.bytes) return;
    throw new FsError('EIO', `bytes ${String(at)} + ${String(bytes)} are outside the device`);
  }

  /** The bytes if they lie in one newer block, or are put together with one; else undefined. */
  #newerView(at: number, bytes: number): Uint8Array | undefined {
    const newer = this.#newer;
    if (!newer?.touches(at, bytes)) return undefined;
    const offset = at % newer.blockBytes;
    if (offset + bytes > newer.blockBytes) return this.#gather(at, bytes);
    return newer.get((at - offset) / newer.blockBytes)?.bytes.subarray(offset, offset + bytes);
  }

  #checkedNewer(at: number, bytes: number, check: BlockCheck): Uint8Array {
    const block = this.view(at, bytes);
    const newer = this.#newer;
    const one = newer !== undefined && at % newer.blockBytes === 0 && bytes <= newer.blockBytes;
    const found = one ? newer.get(at / newer.blockBytes) : undefined;
    if (found?.tag === check.tag) return block;
    check.verify(block);
    if (found !== undefined) found.tag = check.tag;
    return block;
  }

  /**
   * The slot that holds `bytes` from `at` on, which are inside one line, or -1 if the line cannot
   * be read as a whole.
   */
  #load(at: number, bytes: number, metadata: boolean): number {
    const offset = at % this.unit;
    const line = (at - offset) / this.unit;
    const cached = this.#lines.find(line);
    if (cached >= 0 && this.#lines.holds(cached, { offset, bytes })) {
      this.hits++;
      this.#lines.use(cached);
      return cached;
    }
    this.misses++;
    const slot = cached < 0 ? this.#lines.add(line, metadata) : cached;
    try {
      this.#fill(slot, line * this.unit, Math.min(this.unit, this.#device.bytes - at + offset));
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      if (this.#lines.isEmpty(slot)) this.#lines.remove(slot);
      return -1;
    }
    return slot;
  }

  /** Reads what the slot does not hold of `bytes` from `at` on, which are inside its line. */
  #fill(slot: number, at: number, bytes: number): void {
    const first = at % this.unit;
    const end = first + bytes;
    for (let offset = first; offset < end;) {
      const part = this.#lines.stretch(slot, offset, end);
      if (!part.held) {
        const target = this.#lines.bytes(slot, part);
        this.#device.read(target, at - first + offset, part.bytes);
        this.#lines.setHeld(slot, part);
      }
      offset += part.bytes;
    }
  }

  /** Reads the granules that a write of `bytes` from `at` on begins or ends inside of. */
  #fillEdges(slot: number, at: number, bytes: number): void {
    const end = at + bytes;
    for (const edge of [at, end]) {
      const granule = edge - (edge % GRANULE_BYTES);
      if (granule === edge || edge === this.#device.bytes) continue;
      this.#fill(slot, granule, Math.min(GRANULE_BYTES, this.#device.bytes - granule));
    }
  }

  #uncached(at: number, bytes: number): Uint8Array {
    const target = this.#room(bytes);
    this.#readPart(target, at);
    return target;
  }

  /** Fills `target` with bytes of one line, from its slot what that holds. */
  #readPart(target: Uint8Array, at: number): void {
    const first = at % this.unit;
    const slot = this.#lines.find((at - first) / this.unit);
    const end = first + target.length;
    for (let offset = first; offset < end;) {
      const missing = { offset, bytes: end - offset, held: false };
      const part = slot < 0 ? missing : this.#lines.stretch(slot, offset, end);
      const into = target.subarray(offset - first, offset - first + part.bytes);
      if (part.held) into.set(this.#lines.bytes(slot, part));
      else this.#device.read(into, at - first + offset, part.bytes);
      offset += part.bytes;
    }
  }

  #gather(at: number, bytes: number): Uint8Array {
    const target = this.#room(bytes);
    let done = 0;
    while (done < bytes) {
      const from = at + done;
      const part = Math.min(bytes - done, this.unit - (from % this.unit));
      const into = target.subarray(done, done + part);
      const slot = this.#load(from, part, true);
      if (slot < 0) this.#readPart(into, from);
      else into.set(this.#lines.bytes(slot, { offset: from % this.unit, bytes: part }));
      done += part;
    }
    this.#newer?.overlay(target, at);
    return target;
  }

  /** Fails only where nothing can be written that waits. */
  #writeSome(device: WritableDevice): void {
    const lines = Math.max(1, Math.floor(this.#lines.slots * WRITE_OUT_SHARE));
    const before = this.#lines.dirtyLines;
    const { last } = this.#writeRuns(device, this.#nextOut, lines);
    this.#nextOut = Math.max(last, 0);
    if (this.#lines.dirtyLines < before) return;
    const { late } = this.#writeRuns(device, 0, Infinity);
    if (late[0] !== undefined && this.#lines.dirtyLines >= before) throw late[0].error;
  }

  #hasNew(at: number, bytes: number): boolean {
    let found = false;
    this.#byLine(at, bytes, (slot) => {
      found ||= this.#lines.isNew(slot);
    });
    return found;
  }

  /** `last`: where the last run ended, as a line; -1 if there was none. */
  #writeRuns(
    device: WritableDevice,
    from: number,
    lines: number,
  ): { last: number; late: LateWrite[] } {
    const late: LateWrite[] = [];
    let last = -1;
    for (const { at, data } of this.#lines.dirtyRuns(from, lines)) {
      last = Math.ceil((at + data.length) / this.unit);
      try {
        device.write(data, at);
        // Its end may be that of the device, inside of a granule.
        this.drop(at, Math.ceil(data.length / GRANULE_BYTES) * GRANULE_BYTES);
      } catch (error) {
        if (!isFsError(error)) throw error;
        late.push({ at, bytes: data.length, error });
      }
    }
    return { last, late };
  }

  /** Visits the parts of `[at, at + bytes)` whose lines have a slot. */
  #byLine(at: number, bytes: number, visit: LineVisitor): void {
    let done = 0;
    while (done < bytes) {
      const offset = (at + done) % this.unit;
      const part = Math.min(bytes - done, this.unit - offset);
      const slot = this.#lines.find(Math.floor((at + done) / this.unit));
      if (slot >= 0) visit(slot, offset, part, done);
      done += part;
    }
  }

  #room(bytes: number): Uint8Array {
    if (bytes > SPAN_BYTES_MAX) throw new RangeError('A view is at most 1 MiB.');
    if (this.#scratch.length < bytes) this.#scratch = new Uint8Array(bytes);
    return this.#scratch.subarray(0, bytes);
  }
}

/** `done` is how many bytes lie before this part. */
type LineVisitor = (slot: number, offset: number, bytes: number, done: number) => void;

function inUse(at: number): FsError {
  return damaged`byte ${at}: contents of a file and metadata are in one block`;
}

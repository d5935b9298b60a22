/**
 * The lines of a cache: which stretch of the device each slot of the memory holds, and in which
 * state.
 *
 * States are kept for each granule of a line, a kibibyte: held (as on the device, or newer), dirty
 * (newer than the device), and as what the block there was verified. A line may be held in part:
 * one that was only written to need not be read first.
 *
 * Replacement is the clock (second chance) algorithm: one bit a line, set at each use, cleared as
 * the hand passes. Lines with dirty granules are passed over, so some must be without.
 */

/** The smallest block of ext4. */
export const GRANULE_BYTES = 1024;
const HELD = 1;
const DIRTY = 2;

/** A stretch of dirty bytes that lie together in memory as they do on the device. */
export interface DirtyRun {
  at: number;
  data: Uint8Array;
}

/** Bytes of a line, from its first one. */
interface Part {
  offset: number;
  bytes: number;
}

export class CacheLines {
  readonly unit: number;
  readonly slots: number;
  /** Lines that have dirty granules. */
  dirtyLines = 0;
  readonly #memory: Uint8Array;
  readonly #deviceBytes: number;
  readonly #slotOfLine = new Map<number, number>();
  readonly #lineOfSlot: Float64Array;
  readonly #used: Uint8Array;
  readonly #states: Uint8Array;
  readonly #tags: Float64Array;
  /** Of each slot: granules that are not held, and granules that are dirty. */
  readonly #missing: Uint32Array;
  readonly #dirty: Uint32Array;
  /** Of each slot: whether something that is dirty came into new blocks. */
  readonly #isNew: Uint8Array;
  readonly #perLine: number;
  #hand = 0;

  constructor(memory: Uint8Array, unit: number, deviceBytes: number) {
    const slots = Math.floor(memory.length / unit);
    if (unit % GRANULE_BYTES !== 0 || slots < 2) {
      throw new RangeError('A cache needs lines of whole kibibytes and room for two of them.');
    }
    this.unit = unit;
    this.slots = slots;
    // Callers copy views by slice(), which in a Buffer would be one more view.
    this.#memory = new Uint8Array(memory.buffer, memory.byteOffset, memory.length);
    this.#deviceBytes = deviceBytes;
    this.#perLine = unit / GRANULE_BYTES;
    this.#lineOfSlot = new Float64Array(slots).fill(-1);
    this.#used = new Uint8Array(slots);
    this.#states = new Uint8Array(slots * this.#perLine);
    this.#tags = new Float64Array(slots * this.#perLine);
    this.#missing = new Uint32Array(slots);
    this.#dirty = new Uint32Array(slots);
    this.#isNew = new Uint8Array(slots);
  }

  /** The slot of a line, -1 if it has none. */
  find(line: number): number {
    return this.#slotOfLine.get(line) ?? -1;
  }

  use(slot: number): void {
    this.#used[slot] = 1;
  }

  /** Gives a line that has no slot one, with nothing in it. A `warm` one stays for longer. */
  add(line: number, warm: boolean): number {
    const slot = this.#victim();
    const bytes = Math.min(this.unit, this.#deviceBytes - line * this.unit);
    this.#slotOfLine.set(line, slot);
    this.#lineOfSlot[slot] = line;
    this.#used[slot] = warm ? 1 : 0;
    this.#missing[slot] = Math.ceil(bytes / GRANULE_BYTES);
    return slot;
  }

  /** Forgets a line of which nothing is dirty. */
  remove(slot: number): void {
    this.#slotOfLine.delete(this.#lineOfSlot[slot] ?? -1);
    this.#lineOfSlot[slot] = -1;
    this.#states.fill(0, slot * this.#perLine, (slot + 1) * this.#perLine);
    this.#tags.fill(0, slot * this.#perLine, (slot + 1) * this.#perLine);
    this.#missing[slot] = 0;
  }

  bytes(slot: number, { offset, bytes }: Part): Uint8Array {
    const start = slot * this.unit + offset;
    return this.#memory.subarray(start, start + bytes);
  }

  isWhole(slot: number): boolean {
    return this.#missing[slot] === 0;
  }

  isEmpty(slot: number): boolean {
    const first = slot * this.#perLine;
    return !this.#states.subarray(first, first + this.#perLine).some((state) => state !== 0);
  }

  isDirty(slot: number): boolean {
    return this.#dirty[slot] !== 0;
  }

  /** Whether some of what is dirty came into new blocks. */
  isNew(slot: number): boolean {
    return this.#isNew[slot] !== 0;
  }

  holds(slot: number, { offset, bytes }: Part): boolean {
    if (this.#missing[slot] === 0) return true;
    const end = offset + bytes;
    for (let at = offset - (offset % GRANULE_BYTES); at < end; at += GRANULE_BYTES) {
      if ((this.#stateAt(slot, at) & HELD) === 0) return false;
    }
    return true;
  }

  /** The longest part from `offset` on, up to `end`, that is held, or that is not. */
  stretch(slot: number, offset: number, end: number): Part & { held: boolean } {
    const held = (this.#stateAt(slot, offset) & HELD) !== 0;
    let at = offset - (offset % GRANULE_BYTES) + GRANULE_BYTES;
    while (at < end && ((this.#stateAt(slot, at) & HELD) !== 0) === held) at += GRANULE_BYTES;
    return { offset, bytes: Math.min(at, end) - offset, held };
  }

  /** The granules that the part touches are now held. */
  setHeld(slot: number, part: Part): void {
    this.#update(slot, part, HELD, false);
  }

  /**
   * The granules that the part touches are held, and newer than the device, which may hold another
   * file's bytes there if they are new.
   */
  setDirty(slot: number, part: Part, isNew: boolean): void {
    if (isNew) this.#isNew[slot] = 1;
    const before = this.#dirty[slot];
    this.#update(slot, part, HELD | DIRTY, true);
    if (before === 0 && this.#dirty[slot] !== 0) this.dirtyLines++;
  }

  /** The granules that lie in the part as a whole need not be written any more. */
  setClean(slot: number, { offset, bytes }: Part): void {
    if (this.#dirty[slot] === 0) return;
    const end = Math.floor((offset + bytes) / GRANULE_BYTES);
    for (let granule = Math.ceil(offset / GRANULE_BYTES); granule < end; granule++) {
      const index = slot * this.#perLine + granule;
      const state = this.#states[index] ?? 0;
      if ((state & DIRTY) === 0) continue;
      this.#states[index] = state & ~DIRTY;
      this.#dirty[slot] = (this.#dirty[slot] ?? 0) - 1;
    }
    if (this.#dirty[slot] !== 0) return;
    this.dirtyLines--;
    this.#isNew[slot] = 0;
  }

  tag(slot: number, offset: number): number {
    return this.#tags[slot * this.#perLine + offset / GRANULE_BYTES] ?? 0;
  }

  setTag(slot: number, offset: number, tag: number): void {
    this.#tags[slot * this.#perLine + offset / GRANULE_BYTES] = tag;
  }

  /**
   * What is dirty, ascending on the device, at most `lines` lines from line `from` on. Lines whose
   * slots are neighbours come as one run.
   */
  *dirtyRuns(from = 0, lines = Infinity): Generator<DirtyRun> {
    const dirty: number[] = [];
    for (const [line, slot] of this.#slotOfLine) {
      if (this.#dirty[slot] !== 0 && line >= from) dirty.push(line);
    }
    dirty.sort((one, other) => one - other);
    let run: { at: number; start: number; end: number } | undefined;
    for (const line of dirty.slice(0, lines)) {
      const slot = this.find(line);
      let index = slot * this.#perLine;
      // What is dirty is held.
      for (let left = this.#dirty[slot] ?? 0; left > 0; left--, index++) {
        index = this.#states.indexOf(HELD | DIRTY, index);
        const at = line * this.unit + (index - slot * this.#perLine) * GRANULE_BYTES;
        const start = index * GRANULE_BYTES;
        const next = run !== undefined && run.at + (run.end - run.start) === at;
        if (run !== undefined && next && run.end === start) run.end += GRANULE_BYTES;
        else {
          if (run !== undefined) yield this.#run(run);
          run = { at, start, end: start + GRANULE_BYTES };
        }
      }
    }
    if (run !== undefined) yield this.#run(run);
  }

  /** Puts what of `[at, at + target.length)` is dirty over `target`. */
  overlayDirty(target: Uint8Array, at: number): void {
    const end = at + target.length;
    for (let line = Math.floor(at / this.unit); line * this.unit < end; line++) {
      const slot = this.find(line);
      if (slot < 0 || this.#dirty[slot] === 0) continue;
      for (let granule = 0; granule < this.#perLine; granule++) {
        if (((this.#states[slot * this.#perLine + granule] ?? 0) & DIRTY) === 0) continue;
        const start = line * this.unit + granule * GRANULE_BYTES;
        const from = Math.max(start, at);
        const to = Math.min(start + GRANULE_BYTES, end);
        if (from >= to) continue;
        const offset = from - line * this.unit;
        target.set(this.bytes(slot, { offset, bytes: to - from }), from - at);
      }
    }
  }

  #run({ at, start, end }: { at: number; start: number; end: number }): DirtyRun {
    const bytes = Math.min(end - start, this.#deviceBytes - at);
    return { at, data: this.#memory.subarray(start, start + bytes) };
  }

  #stateAt(slot: number, offset: number): number {
    return this.#states[slot * this.#perLine + Math.floor(offset / GRANULE_BYTES)] ?? 0;
  }

  #update(slot: number, { offset, bytes }: Part, bits: number, untag: boolean): void {
    const end = Math.ceil((offset + bytes) / GRANULE_BYTES);
    for (let granule = Math.floor(offset / GRANULE_BYTES); granule < end; granule++) {
      const index = slot * this.#perLine + granule;
      const added = bits & ~(this.#states[index] ?? 0);
      this.#states[index] = (this.#states[index] ?? 0) | bits;
      if (added & HELD) this.#missing[slot] = (this.#missing[slot] ?? 0) - 1;
      if (added & DIRTY) this.#dirty[slot] = (this.#dirty[slot] ?? 0) + 1;
      if (untag) this.#tags[index] = 0;
    }
  }

  /**
   * Empties a slot without dirty granules and returns it. The hand goes round at most twice: the
   * first round clears every bit.
   */
  #victim(): number {
    for (let steps = 0; steps <= 2 * this.slots; steps++) {
      const slot = this.#hand;
      this.#hand = (slot + 1) % this.slots;
      if (this.#dirty[slot] !== 0) continue;
      if (this.#used[slot] === 1) {
        this.#used[slot] = 0;
        continue;
      }
      this.remove(slot);
      return slot;
    }
    throw new Error('All lines of the cache are dirty.');
  }
}

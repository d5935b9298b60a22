/**
 * Metadata blocks that are newer in memory than on the device, by block number.
 *
 * The cache looks here first, so that readers see what a transaction has changed before it is in
 * its place. A block leaves when its place holds the same, or when it is free.
 */
export interface NewerBlock {
  bytes: Uint8Array;
  /** As what the block was verified last; 0 for nothing. See `BlockCheck`. */
  tag: number;
}

export class NewerBlocks {
  readonly blockBytes: number;
  readonly #blocks = new Map<number, NewerBlock>();
  /** How many of the blocks begin in a stretch of the device, so that most lookups end here. */
  readonly #counts = new Map<number, number>();
  readonly #stretchBlocks: number;

  /** `stretchBytes` is a multiple of `blockBytes`. */
  constructor(blockBytes: number, stretchBytes: number) {
    this.blockBytes = blockBytes;
    this.#stretchBlocks = stretchBytes / blockBytes;
  }

  get size(): number {
    return this.#blocks.size;
  }

  get(block: number): NewerBlock | undefined {
    return this.#blocks.get(block);
  }

  set(block: number, newer: NewerBlock): void {
    if (!this.#blocks.has(block)) this.#count(block, 1);
    this.#blocks.set(block, newer);
  }

  delete(block: number): void {
    if (this.#blocks.delete(block)) this.#count(block, -1);
  }

  /** Whether any of the bytes `[at, at + bytes)` is in one of the blocks. */
  touches(at: number, bytes: number): boolean {
    if (this.#blocks.size === 0) return false;
    const first = Math.floor(at / this.blockBytes);
    const end = Math.ceil((at + bytes) / this.blockBytes);
    for (let block = first; block < end;) {
      const stretch = Math.floor(block / this.#stretchBlocks);
      const stop = Math.min(end, (stretch + 1) * this.#stretchBlocks);
      if (this.#counts.has(stretch)) {
        for (; block < stop; block++) if (this.#blocks.has(block)) return true;
      }
      block = stop;
    }
    return false;
  }

  /** Puts what is newer over `target`, which holds the device's bytes from `at` on. */
  overlay(target: Uint8Array, at: number): void {
    if (!this.touches(at, target.length)) return;
    const end = at + target.length;
    for (let block = Math.floor(at / this.blockBytes); block * this.blockBytes < end; block++) {
      const newer = this.#blocks.get(block);
      if (newer === undefined) continue;
      const start = block * this.blockBytes;
      const from = Math.max(start, at);
      const to = Math.min(start + this.blockBytes, end);
      target.set(newer.bytes.subarray(from - start, to - start), from - at);
    }
  }

  #count(block: number, by: 1 | -1): void {
    const stretch = Math.floor(block / this.#stretchBlocks);
    const count = (this.#counts.get(stretch) ?? 0) + by;
    if (count === 0) this.#counts.delete(stretch);
    else this.#counts.set(stretch, count);
  }
}

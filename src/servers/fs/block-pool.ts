/**
 * Memory for copies of metadata blocks: a fixed number of blocks, in memory that threads share.
 *
 * Pages that were never used cost nothing.
 */
import { FsError } from './errors.ts';

export class BlockPool {
  readonly memory: SharedArrayBuffer;
  readonly blockBytes: number;
  readonly blocks: number;
  readonly #free: Uint8Array[] = [];
  #untouched = 0;

  constructor(bytes: number, blockBytes: number) {
    this.blockBytes = blockBytes;
    this.blocks = Math.floor(bytes / blockBytes);
    this.memory = new SharedArrayBuffer(this.blocks * blockBytes);
  }

  /** How many blocks are taken. */
  get taken(): number {
    return this.#untouched - this.#free.length;
  }

  /** A block with anything in it. Throws FsError ENOSPC when all are taken. */
  take(): Uint8Array {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#untouched === this.blocks) {
      throw new FsError('ENOSPC', 'no memory is left for copies of metadata');
    }
    return new Uint8Array(this.memory, this.#untouched++ * this.blockBytes, this.blockBytes);
  }

  give(block: Uint8Array): void {
    this.#free.push(block);
  }
}

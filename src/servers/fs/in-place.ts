/**
 * The store of transactions of a volume without a journal: blocks are written to their places.
 *
 * Contents go before the metadata that leads to them. A crash in the middle of a commit leaves part
 * of a transaction, which e2fsck repairs.
 */
import { BatchWriter } from './batch-writer.ts';
import type { BlockPool } from './block-pool.ts';
import type { WritableDevice } from './device.ts';
import { type Home, ascending } from './home.ts';
import type { Store, Transaction } from './transactions.ts';

export class InPlace implements Store {
  readonly blocksWanted: number;
  readonly #device: WritableDevice;
  readonly #home: Home;
  readonly #pool: BlockPool;
  #failure: unknown;

  constructor(device: WritableDevice, home: Home, pool: BlockPool) {
    this.#device = device;
    this.#home = home;
    this.#pool = pool;
    this.blocksWanted = Math.floor(pool.blocks / 4);
  }

  fits(blocks: number): boolean {
    return blocks <= this.#pool.blocks / 2;
  }

  knows(): boolean {
    return false;
  }

  start({ blocks }: Transaction): void {
    this.#failure = undefined;
    try {
      this.#write(blocks);
    } catch (error) {
      this.#failure = error;
    }
  }

  ended(): boolean {
    if (this.#failure !== undefined) throw this.#failure as Error;
    return true;
  }

  close(): void {
    // All is in its place.
  }

  #write(blocks: Transaction['blocks']): void {
    this.#device.flush();
    if (blocks.size === 0) return;
    const batch = new BatchWriter(this.#device);
    for (const [block, { bytes }] of ascending(blocks)) {
      batch.write(bytes, block * this.#pool.blockBytes);
    }
    batch.finish();
    this.#device.flush();
    for (const [block, copy] of blocks) this.#home.settle(block, copy);
  }
}

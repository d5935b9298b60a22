/**
 * The places of metadata blocks on the device, where their copies go in the end.
 */
import type { BlockPool } from './block-pool.ts';
import type { BlockCache } from './cache.ts';
import type { NewerBlock, NewerBlocks } from './newer-blocks.ts';

export class Home {
  readonly #cache: BlockCache;
  readonly #newer: NewerBlocks;
  readonly #pool: BlockPool;

  constructor(cache: BlockCache, newer: NewerBlocks, pool: BlockPool) {
    this.#cache = cache;
    this.#newer = newer;
    this.#pool = pool;
  }

  /** The device has this copy in its place: it is needed no longer. */
  settle(block: number, copy: NewerBlock): void {
    this.#cache.refresh(copy.bytes, block * this.#newer.blockBytes, copy.tag);
    if (this.#newer.get(block) === copy) this.#newer.delete(block);
    this.drop(copy);
  }

  /** The copy is void, or another one has taken its part. */
  drop(copy: NewerBlock): void {
    this.#pool.give(copy.bytes);
  }
}

/** Copies by their place, which is the order to write them in. */
export function ascending(copies: ReadonlyMap<number, NewerBlock>): [number, NewerBlock][] {
  return [...copies].sort(([one], [other]) => one - other);
}

/**
 * Pages of a fixed memory, given out in runs.
 *
 * The first run of free pages that is long enough is given out, so that the same pages are used
 * again and again, and stay in the processor's caches.
 */

/** Pages that lie together. */
export interface PageRun {
  readonly first: number;
  readonly count: number;
}

const FREE = 0;
const TAKEN = 1;

export class PagePool {
  readonly pages: number;
  free: number;
  readonly #memory: Uint8Array;
  readonly #pageBytes: number;
  readonly #states: Uint8Array;

  /** The memory holds one page at least. */
  constructor(memory: Uint8Array, pageBytes: number) {
    this.pages = Math.floor(memory.length / pageBytes);
    if (this.pages < 1) throw new RangeError('A pool has one page at least.');
    this.free = this.pages;
    this.#memory = memory;
    this.#pageBytes = pageBytes;
    this.#states = new Uint8Array(this.pages);
  }

  /** At most `count` pages, as many as lie together; undefined when all are taken. */
  take(count: number): PageRun | undefined {
    let best: PageRun | undefined;
    for (let first = this.#states.indexOf(FREE); first >= 0;) {
      const taken = this.#states.indexOf(TAKEN, first);
      const end = taken < 0 ? this.pages : taken;
      if (end - first > (best?.count ?? 0)) best = { first, count: Math.min(count, end - first) };
      if (end - first >= count) break;
      first = this.#states.indexOf(FREE, end);
    }
    if (best === undefined) return undefined;
    this.#states.fill(TAKEN, best.first, best.first + best.count);
    this.free -= best.count;
    return best;
  }

  give(first: number, count: number): void {
    this.#states.fill(FREE, first, first + count);
    this.free += count;
  }

  bytes(first: number, count: number): Uint8Array {
    return this.#memory.subarray(first * this.#pageBytes, (first + count) * this.#pageBytes);
  }
}

/** Runs of clear bits in a bitmap: where there is room, and how much. */

export interface FreeRun {
  readonly first: number;
  readonly count: number;
}

/** How many bits from `first` on are clear, up to `limit`. */
export function freeFrom(bitmap: Uint8Array, first: number, limit: number): number {
  let bit = first;
  while (bit < limit) {
    const byte = bitmap[bit >> 3] ?? 0xff;
    if ((bit & 7) === 0 && byte === 0) {
      bit += 8;
    } else if ((byte & (1 << (bit & 7))) === 0) {
      bit++;
    } else break;
  }
  return Math.min(bit, limit) - first;
}

/**
 * The first run of `wanted` bits in `[from, to)`, or else the longest one there; a count of 0 says
 * that there is none.
 */
export function findRun(
  bitmap: Uint8Array,
  range: { readonly from: number; readonly to: number },
  wanted: number,
): FreeRun {
  let best: FreeRun = { first: 0, count: 0 };
  let bit = range.from;
  while (bit < range.to) {
    const byte = bitmap[bit >> 3] ?? 0xff;
    if ((bit & 7) === 0 && byte === 0xff) {
      bit += 8;
    } else if (byte & (1 << (bit & 7))) {
      bit++;
    } else {
      const count = freeFrom(bitmap, bit, range.to);
      if (count > best.count) best = { first: bit, count };
      if (count >= wanted) return best;
      bit += count;
    }
  }
  return best;
}

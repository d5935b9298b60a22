/**
 * The arithmetic of benches: medians, ratios taken run by run, and latency histograms.
 *
 * A ratio of two cases is the median of the ratios of runs that were made side by side, since load
 * on the machine moves both of a pair and cancels out.
 */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/**
 * The middle value; of an even number of values, the mean of the two in the middle. Throws
 * RangeError for none.
 */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle];
  if (upper === undefined) throw new RangeError('there is no median of no values');
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

export function summarize(values: readonly number[]): Summary {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** How many times `baseline` the case is, run by run. */
export function ratiosByRun(samples: readonly number[], baseline: readonly number[]): number[] {
  const runs = Math.min(samples.length, baseline.length);
  return samples.slice(0, runs).map((sample, run) => sample / (baseline[run] ?? 0));
}

/** How many times `baseline` the case is: the median over runs of the same number. */
export function ratioOf(samples: readonly number[], baseline: readonly number[]): number {
  return median(ratiosByRun(samples, baseline));
}

const FRACTION_BITS = 5;
const FRACTION = 1 << FRACTION_BITS;
const BUCKETS = 2048;

/**
 * Durations in buckets of a 32nd of their power of two, numbered as in native/bench/bench.h: below
 * 32 ns a bucket for each nanosecond; above, the five bits after the leading one tell the 32
 * buckets of a power of two apart.
 */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;

  get total(): number {
    return this.#total;
  }

  add(ns: number): void {
    this.addBucket(bucketOf(ns), 1);
  }

  /** Adds pairs of bucket and count, as `entries` returns them. */
  addEntries(entries: Iterable<readonly [bucket: number, count: number]>): void {
    for (const [bucket, count] of entries) this.addBucket(bucket, count);
  }

  addBucket(bucket: number, count: number): void {
    const index = Math.min(bucket, BUCKETS - 1);
    this.#counts[index] = (this.#counts[index] ?? 0) + count;
    this.#total += count;
  }

  entries(): [bucket: number, count: number][] {
    const entries: [number, number][] = [];
    this.#counts.forEach((count, bucket) => {
      if (count > 0) entries.push([bucket, count]);
    });
    return entries;
  }

  /**
   * The duration, in nanoseconds, that a share of 0 to 1 of all durations does not exceed; NaN when
   * there are none.
   */
  quantile(share: number): number {
    const wanted = Math.max(1, Math.ceil(share * this.#total));
    let seen = 0;
    for (const [bucket, count] of this.entries()) {
      seen += count;
      if (seen >= wanted) return middleOf(bucket);
    }
    return Number.NaN;
  }
}

export function bucketOf(ns: number): number {
  const whole = Math.max(0, Math.floor(ns));
  if (whole < FRACTION) return whole;
  const top = Math.floor(Math.log2(whole));
  const fraction = Math.floor(whole / 2 ** (top - FRACTION_BITS)) - FRACTION;
  return (top - FRACTION_BITS + 1) * FRACTION + fraction;
}

/** The duration in the middle of a bucket. */
export function middleOf(bucket: number): number {
  if (bucket < FRACTION) return bucket;
  const width = 2 ** (Math.floor(bucket / FRACTION) - 1);
  return (FRACTION + (bucket % FRACTION) + 0.5) * width;
}

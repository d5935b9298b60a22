/** How often each pair of processes made each call, how often it failed, and how long it took. */
import { errorName, type Endpoint, type TraceCallName, type TraceEvent } from '../dvk/index.ts';

/**
 * Durations in buckets of a 32nd of their power of two, so that quantiles are within 3 % however
 * many there are.
 */
export class Durations {
  readonly #buckets = new Map<number, number>();
  #count = 0;
  #max = 0;
  #sum = 0;

  add(ns: number): void {
    const bucket = ns < 32 ? Math.floor(ns) : this.#bucketOf(ns);
    this.#buckets.set(bucket, (this.#buckets.get(bucket) ?? 0) + 1);
    this.#count++;
    this.#sum += ns;
    this.#max = Math.max(this.#max, ns);
  }

  #bucketOf(ns: number): number {
    const exponent = Math.floor(Math.log2(ns));
    return 32 * exponent + Math.floor((ns / 2 ** exponent - 1) * 32);
  }

  #middleOf(bucket: number): number {
    if (bucket < 32) return bucket;
    return 2 ** Math.floor(bucket / 32) * (1 + ((bucket % 32) + 0.5) / 32);
  }

  get max(): number {
    return this.#max;
  }

  get sum(): number {
    return this.#sum;
  }

  /** The duration that the part `q` (0 to 1) of all does not exceed; 0 without any. */
  quantile(q: number): number {
    let rest = Math.ceil(q * this.#count);
    for (const [bucket, count] of [...this.#buckets].sort(([a], [b]) => a - b)) {
      rest -= count;
      if (rest <= 0) return Math.min(this.#middleOf(bucket), this.#max);
    }
    return 0;
  }
}

/** One line of the summary. */
export interface SummaryRow {
  readonly endpoint: Endpoint;
  readonly peer: Endpoint;
  readonly call: TraceCallName;
  readonly count: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** All durations together, in ns like the others. */
  readonly total: number;
}

interface Entry {
  readonly endpoint: Endpoint;
  readonly peer: Endpoint;
  readonly call: TraceCallName;
  readonly errors: Map<string, number>;
  readonly durations: Durations;
  count: number;
}

export class TraceSummary {
  readonly #entries = new Map<string, Entry>();

  /** Counts calls that ended; other events are no calls. */
  add({ kind, call, endpoint, peer, result, duration }: TraceEvent): void {
    if (kind !== 'end' || call === undefined) return;
    const key = `${String(endpoint)} ${call} ${String(peer)}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { endpoint, peer, call, errors: new Map(), durations: new Durations(), count: 0 };
      this.#entries.set(key, entry);
    }
    entry.count++;
    if (duration !== undefined) entry.durations.add(duration);
    if (result >= 0) return;
    const name = errorName(result);
    entry.errors.set(name, (entry.errors.get(name) ?? 0) + 1);
  }

  /** What took most time first. */
  rows(): SummaryRow[] {
    return [...this.#entries.values()]
      .map(({ durations, errors, ...entry }) => ({
        ...entry,
        errors: Object.fromEntries(errors),
        p50: durations.quantile(0.5),
        p99: durations.quantile(0.99),
        max: durations.max,
        total: durations.sum,
      }))
      .sort((a, b) => b.total - a.total);
  }
}

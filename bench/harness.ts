/**
 * Runs cases and sums them up.
 *
 * A case is data: its name, where its processes run, and how to start it. What it starts, a
 * session, can be run any number of times; the first run of each warms it up and is thrown away.
 * Runs are interleaved: case 1, case 2, ..., then case 1 again, so that a busy minute of the
 * machine falls on all of them. Each run checks the contents of every message or block that it
 * counts, and fails when one is wrong.
 *
 * Cases of one name, placement and size are variants of one row, such as a socket with small and
 * with large buffers; the fastest is reported, so that we compare with the best that the other side
 * can do.
 */
import type { Placement } from './placement.ts';
import { Histogram, median, summarize, type Summary } from './statistics.ts';

export interface RunResult {
  /** Round trips, notifications, operations or bytes per second. */
  readonly perSecond: number;
  /** Messages or blocks whose contents were verified. */
  readonly checked: number;
  /** CPU time that both ends took for so many trips. */
  readonly cpu?: { readonly ns: number; readonly trips: number };
  /** Timers of an event loop that fired while it was measured, and those that were due. */
  readonly timers?: { readonly fired: number; readonly due: number };
  /** Buckets of a Histogram. */
  readonly latency?: readonly (readonly [bucket: number, count: number])[];
}

export interface Session {
  /** Measures for about `ms`. */
  run(ms: number): Promise<RunResult>;
  close(): Promise<void>;
}

/** `percent` is of the CPU time of one core, or of all, as the row's `op` says. */
export type Unit =
  'round-trips/s' | 'messages/s' | 'notifications/s' | 'operations/s' | 'bytes/s' | 'percent';

export interface Case {
  readonly name: string;
  readonly placement: Placement;
  readonly unit: Unit;
  readonly variant?: string;
  /** How many pairs of processes do the same at once. */
  readonly pairs?: number;
  /** Size of a block. */
  readonly bytes?: number;
  /** What is done, where a bench does several things. */
  readonly op?: string;
  readonly start: () => Promise<Session>;
}

export interface Plan {
  readonly cases: readonly Case[];
  readonly runs: number;
  readonly runMs: number;
  readonly warmUpMs: number;
  /** Told before each run. */
  readonly progress?: (what: string) => void;
}

export interface Row extends Summary {
  readonly case: string;
  readonly placement: Placement;
  readonly variant?: string;
  readonly pairs?: number;
  readonly bytes?: number;
  readonly op?: string;
  readonly unit: Unit;
  readonly runs: number;
  /** Result of each run, in order. */
  readonly samples: readonly number[];
  readonly checked: number;
  /** Latency of a round trip or a block. */
  readonly p50_us?: number;
  readonly p99_us?: number;
  readonly p999_us?: number;
  readonly max_us?: number;
  /** CPU time of both ends for a message, a notification or a block. */
  readonly cpu_us?: number;
  /** Share of due timers that fired, of clients that await. */
  readonly timers_fired?: number;
}

/** Messages that one trip is: two a round trip, as the authors of M3-IPC count. */
export function messagesOf(unit: Unit): number {
  return unit === 'round-trips/s' ? 2 : 1;
}

/** What the runs of one case came to. */
class Tally {
  readonly #case: Case;
  readonly #samples: number[] = [];
  readonly #latency = new Histogram();
  #checked = 0;
  #cpu = { ns: 0, trips: 0 };
  #timers = { fired: 0, due: 0 };

  constructor(subject: Case) {
    this.#case = subject;
  }

  add(result: RunResult): void {
    if (!(result.perSecond > 0) || !(result.checked > 0)) {
      throw new Error(`${labelOf(this.#case)} did nothing that could be checked`);
    }
    this.#samples.push(result.perSecond);
    this.#latency.addEntries(result.latency ?? []);
    this.#checked += result.checked;
    this.#cpu = plus(this.#cpu, result.cpu);
    this.#timers = plus(this.#timers, result.timers);
  }

  row(): Row {
    const { name, placement, variant, pairs, bytes, op, unit } = this.#case;
    const quantile = (share: number): number => this.#latency.quantile(share) / 1000;
    const messages = this.#cpu.trips * messagesOf(unit);
    return {
      case: name,
      placement,
      ...(variant !== undefined && { variant }),
      ...(pairs !== undefined && { pairs }),
      ...(bytes !== undefined && { bytes }),
      ...(op !== undefined && { op }),
      unit,
      ...summarize(this.#samples),
      runs: this.#samples.length,
      samples: this.#samples,
      checked: this.#checked,
      ...(this.#latency.total > 0 && {
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        max_us: quantile(1),
      }),
      ...(messages > 0 && { cpu_us: this.#cpu.ns / messages / 1000 }),
      ...(this.#timers.due > 0 && { timers_fired: this.#timers.fired / this.#timers.due }),
    };
  }
}

/** Adds up the numbers of two records of the same fields. */
function plus<T extends Record<string, number>>(sum: T, more: T | undefined): T {
  if (more === undefined) return sum;
  const entries = Object.entries(sum).map(([name, value]) => [name, value + (more[name] ?? 0)]);
  return Object.fromEntries(entries) as T;
}

export function labelOf(subject: Case): string {
  const { name, placement, variant, pairs, bytes } = subject;
  const parts = [name, placement, variant, pairs === undefined ? undefined : `x${String(pairs)}`];
  return [...parts, bytes].filter((part) => part !== undefined).join(' ');
}

/** Runs the plan. Sessions are closed however it ends. */
export async function measure(plan: Plan): Promise<Row[]> {
  const entries: { subject: Case; session: Session; tally: Tally }[] = [];
  try {
    for (const subject of plan.cases) {
      plan.progress?.(`starting ${labelOf(subject)}`);
      const session = await subject.start();
      entries.push({ subject, session, tally: new Tally(subject) });
      await session.run(plan.warmUpMs);
    }
    for (let run = 1; run <= plan.runs; run++) {
      for (const { subject, session, tally } of entries) {
        plan.progress?.(`run ${String(run)} of ${String(plan.runs)}: ${labelOf(subject)}`);
        tally.add(await session.run(plan.runMs));
      }
    }
  } finally {
    for (const { session } of entries) await session.close();
  }
  return bestVariants(entries.map(({ tally }) => tally.row()));
}

/** Of rows that differ in the variant only, the one with the highest median. */
export function bestVariants(rows: readonly Row[]): Row[] {
  const best = new Map<string, Row>();
  for (const row of rows) {
    const key = [row.case, row.placement, row.pairs, row.bytes, row.op].join(' ');
    const other = best.get(key);
    if (other === undefined || median(other.samples) < median(row.samples)) best.set(key, row);
  }
  return [...best.values()];
}

/** What several use at once. */
export interface Shared<T> {
  use(): Promise<T>;
  release(): Promise<void>;
}

/**
 * Lets several cases use one session: it is started by the first of them and closed by the last.
 */
export function shared<T extends { close(): Promise<void> }>(start: () => Promise<T>): Shared<T> {
  let users = 0;
  let session: Promise<T> | undefined;
  return {
    async use(): Promise<T> {
      users++;
      return (session ??= start());
    },
    async release(): Promise<void> {
      const last = session;
      if (--users > 0 || last === undefined) return;
      session = undefined;
      await (await last).close();
    },
  };
}

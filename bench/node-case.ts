/**
 * Cases whose processes are Node programs: they are started once, and move to the CPUs of each
 * placement. Several pairs run at the same time; what they do is added up.
 */
import { shared, type Case, type RunResult, type Session } from './harness.ts';
import { cpuTimesNs } from './native-case.ts';
import type { RunRequest } from './peers/protocol.ts';
import { cpusOfPairs, type Placement } from './placement.ts';

/** A client and what works for it. */
export interface Pair {
  /** Of all its processes. */
  readonly pids: readonly number[];
  run(request: RunRequest): Promise<RunResult>;
  close(): Promise<void>;
}

/** A case of one pair, and how it is placed. */
export interface NodeSubject {
  readonly name: string;
  readonly variant?: string;
  /** Where it runs, and with how many pairs. */
  readonly settings: readonly { readonly placement: Placement; readonly pairs: number }[];
}

/** What several pairs did at once. */
export function sumOf(results: readonly RunResult[]): RunResult {
  const sum = (value: (result: RunResult) => number): number =>
    results.reduce((total, result) => total + value(result), 0);
  return {
    perSecond: sum(({ perSecond }) => perSecond),
    checked: sum(({ checked }) => checked),
    latency: results.flatMap(({ latency = [] }) => latency),
    timers: {
      fired: sum(({ timers }) => timers?.fired ?? 0),
      due: sum(({ timers }) => timers?.due ?? 0),
    },
  };
}

async function cpuTimeNs(pairs: readonly Pair[]): Promise<number> {
  const times = await cpuTimesNs(pairs.flatMap(({ pids }) => pids));
  return times.reduce((total, ns) => total + ns, 0);
}

/** Runs all pairs at once; the CPU time is that of the whole run. */
async function runTogether(
  pairs: readonly Pair[],
  ms: number,
  placement: Placement,
): Promise<RunResult> {
  const cpus = cpusOfPairs(placement, pairs.length);
  const before = await cpuTimeNs(pairs);
  const results = await Promise.all(
    pairs.map(async (pair, index) => pair.run({ ms, cpus: cpus[index]! })),
  );
  const ns = (await cpuTimeNs(pairs)) - before;
  const result = sumOf(results);
  return { ...result, cpu: { ns, trips: result.checked } };
}

/** Cases of pairs that `start` starts, each at most once however many cases use it. */
export function nodeCases(
  { settings, ...named }: NodeSubject,
  start: (pair: number) => Promise<Pair>,
): Case[] {
  const most = Math.max(0, ...settings.map(({ pairs }) => pairs));
  const started = Array.from({ length: most }, (_, pair) => shared(async () => start(pair)));
  return settings.map(({ placement, pairs }) => ({
    ...named,
    placement,
    pairs,
    unit: 'round-trips/s',
    start: async (): Promise<Session> => {
      const used = started.slice(0, pairs);
      const running = await Promise.all(used.map(async (pair) => pair.use()));
      return {
        run: async (ms) => runTogether(running, ms, placement),
        close: async () => {
          for (const pair of used) await pair.release();
        },
      };
    },
  }));
}

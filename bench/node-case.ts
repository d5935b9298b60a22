/**
 * Cases whose processes are Node programs: they are started once, and move to the CPUs of each
 * placement. Several pairs run at the same time; what they do is added up.
 */
import { shared, type Case, type RunResult, type Session, type Shared } from './harness.ts';
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
  /** Whether its programs are started anew for each run, as those that do little and end. */
  readonly fresh: boolean;
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

/** A session whose pairs live for one run each. */
function freshSession(
  count: number,
  placement: Placement,
  start: (pair: number) => Promise<Pair>,
): Session {
  return {
    run: async (ms) => {
      const running = await Promise.all(Array.from({ length: count }, async (_, i) => start(i)));
      const result = await runTogether(running, ms, placement);
      for (const pair of running) await pair.close();
      return result;
    },
    close: () => Promise.resolve(),
  };
}

/**
 * Cases of pairs that `start` starts, each at most once however many cases use it, unless they are
 * to be fresh ones. `crowd` names who runs beside a pair: a process remembers for a while that
 * yielding did not pay, so those of different crowds are others.
 */
export function nodeCases(
  { settings, fresh, ...named }: NodeSubject,
  start: (pair: number, crowd: string) => Promise<Pair>,
): Case[] {
  const started = new Map<string, Shared<Pair>[]>();
  const crowdOf = (pairs: number, placement: Placement): string =>
    `${String(pairs)}${placement === 'one-core-hogs' ? ' among hogs' : ''}`;
  const pairsOf = (crowd: string, pairs: number): Shared<Pair>[] => {
    const known = started.get(crowd);
    if (known !== undefined) return known;
    const all = Array.from({ length: pairs }, (_, i) => shared(async () => start(i, crowd)));
    started.set(crowd, all);
    return all;
  };
  const lastingSession = async (pairs: number, placement: Placement): Promise<Session> => {
    const used = pairsOf(crowdOf(pairs, placement), pairs);
    const running = await Promise.all(used.map(async (pair) => pair.use()));
    return {
      run: async (ms) => runTogether(running, ms, placement),
      close: async () => {
        for (const pair of used) await pair.release();
      },
    };
  };
  return settings.map(({ placement, pairs }) => ({
    ...named,
    placement,
    pairs,
    unit: 'round-trips/s',
    start: async (): Promise<Session> =>
      fresh
        ? freshSession(pairs, placement, async (pair) => start(pair, ''))
        : lastingSession(pairs, placement),
  }));
}

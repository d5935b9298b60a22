/**
 * `dvk bench idle`: what a container of waiting processes costs. C processes that block, Node
 * processes that block and Node processes that await, all in one container; their CPU time is read
 * twice with nothing asked of them between.
 *
 * `busiest` is the one process of a kind that used most, in percent of one core; `sum` is all
 * processes together, in percent of the whole machine. `top` shows tenths of a percent: what stays
 * below 0.05 it shows as 0.0. Before the first round and after the last one every process is called
 * and must answer; between, nobody calls, as in a system that is idle.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { Segment } from '../src/dvk/index.ts';
import type { Endpoint, Process } from '../src/dvk/index.ts';
import type { Cleanup } from './cleanup.ts';
import type { Row } from './harness.ts';
import { cpuTimesNs, nativeProgram } from './native-case.ts';
import { Peer } from './peer-case.ts';
import { allowedCpus } from './placement.ts';
import { createSegment } from './segment.ts';
import { summarize } from './statistics.ts';

export interface IdleOptions {
  /** Of all kinds together. */
  readonly processes: number;
  readonly runs: number;
  /** Length of a round. */
  readonly runMs: number;
  /** From the first calls until the first round, while the waits grow to their full length. */
  readonly warmUpMs: number;
  readonly progress?: (what: string) => void;
}

const KINDS = ['dvk-c-blocking', 'dvk-ts-blocking', 'dvk-ts-awaited'] as const;
type Kind = (typeof KINDS)[number];

interface Waiter {
  readonly kind: Kind;
  readonly pid: number;
  readonly endpoint: Endpoint;
  end(): Promise<void>;
}

const SEGMENT = { processes: 256, arenaBytes: 4096 };
// The first word of the payload.
const COUNTER = 2;
const STARTED_AT_ONCE = 4;

async function startNative(segment: string): Promise<Waiter> {
  const child: ChildProcess = spawn(nativeProgram(), ['wait', segment], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const failed = exited.then((): never => {
    throw new Error('a waiting process ended');
  });
  const [line] = (await Promise.race([once(child.stdout!, 'data'), failed])) as [Buffer];
  failed.catch(() => undefined);
  return {
    kind: 'dvk-c-blocking',
    pid: child.pid ?? 0,
    endpoint: Number(line.toString()) as Endpoint,
    end: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function startNode(segment: string, mode: 'sync' | 'await'): Promise<Waiter> {
  const peer = await Peer.start('waiter', { segment, mode });
  return {
    kind: mode === 'sync' ? 'dvk-ts-blocking' : 'dvk-ts-awaited',
    pid: peer.pids[0] ?? 0,
    endpoint: peer.info.endpoint as Endpoint,
    end: async () => peer.kill(),
  };
}

/** Waiters of every kind by turns. */
async function startWaiters(segment: string, options: IdleOptions): Promise<Waiter[]> {
  const starts: (() => Promise<Waiter>)[] = [
    async () => startNative(segment),
    async () => startNode(segment, 'sync'),
    async () => startNode(segment, 'await'),
  ];
  const waiters: Waiter[] = [];
  while (waiters.length < options.processes) {
    options.progress?.(
      `started ${String(waiters.length)} of ${String(options.processes)} processes`,
    );
    const count = Math.min(STARTED_AT_ONCE, options.processes - waiters.length);
    const more = Array.from({ length: count }, async (_, index) =>
      starts[(waiters.length + index) % starts.length]!(),
    );
    waiters.push(...(await Promise.all(more)));
  }
  return waiters;
}

/** Calls every waiter: it must wake, and answer with the next number. Returns how many did. */
function callAll(caller: Process, waiters: readonly Waiter[]): number {
  const words = caller.message.int32;
  waiters.forEach(({ endpoint }, index) => {
    words[COUNTER] = index;
    words[COUNTER + 1] = 0;
    caller.sendrecSync(endpoint);
    if (words[COUNTER] !== index + 1) throw new Error('a waiting process answered wrongly');
  });
  return waiters.length;
}

/** Percent of one core that each process used over `ms`. */
async function usage(waiters: readonly Waiter[], ms: number): Promise<number[]> {
  const pids = waiters.map(({ pid }) => pid);
  const before = await cpuTimesNs(pids);
  const start = performance.now();
  await sleep(ms);
  const after = await cpuTimesNs(pids);
  const ns = (performance.now() - start) * 1e6;
  return after.map((time, index) => ((time - (before[index] ?? 0)) / ns) * 100);
}

export async function idleRows(options: IdleOptions, cleanup: Cleanup): Promise<Row[]> {
  const path = createSegment(cleanup, SEGMENT);
  const segment = Segment.open(path);
  cleanup.defer(() => {
    segment.close();
  });
  const caller = segment.bind({ name: 'caller' });
  const waiters = await startWaiters(path, options);
  cleanup.defer(async () => {
    await Promise.all(waiters.map(async (waiter) => waiter.end()));
  });

  const rounds: number[][] = [];
  let checked = callAll(caller, waiters);
  options.progress?.('waits until all are idle');
  await sleep(options.warmUpMs);
  for (let run = 1; run <= options.runs; run++) {
    options.progress?.(`run ${String(run)} of ${String(options.runs)}`);
    rounds.push(await usage(waiters, options.runMs));
  }
  checked += callAll(caller, waiters);
  return rowsOf(waiters, rounds, checked);
}

function rowsOf(
  waiters: readonly Pick<Waiter, 'kind'>[],
  rounds: readonly (readonly number[])[],
  checked: number,
): Row[] {
  const row = (name: string, op: string, value: (round: readonly number[]) => number): Row => {
    const samples = rounds.map(value);
    return {
      case: name,
      placement: 'free',
      op,
      unit: 'percent',
      ...summarize(samples),
      runs: samples.length,
      samples,
      checked,
    };
  };
  const cores = allowedCpus().length;
  return [
    ...KINDS.map((kind) =>
      row(kind, 'busiest', (round) =>
        Math.max(...round.filter((_, index) => waiters[index]?.kind === kind)),
      ),
    ),
    row('dvk-all', 'sum', (round) => round.reduce((sum, share) => sum + share, 0) / cores),
  ];
}

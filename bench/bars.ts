/**
 * What we promise of speed: ratios of two cases measured in one run, and limits of one. They are
 * printed below the results, and are no tests, since a busy machine may miss any of them.
 *
 * A ratio is the median of the ratios of runs made side by side. A verdict counts from RUNS_MIN
 * runs on; of fewer it is printed too, and says so.
 */
import type { Row } from './harness.ts';
import type { Placement } from './placement.ts';
import { median, ratiosByRun, summarize, type Summary } from './statistics.ts';

/** Which row a bar is about. What is left out may be anything, but one pair is meant. */
interface Subject {
  readonly case: string;
  readonly placement: Placement;
  readonly bytes?: number;
  readonly pairs?: number;
  readonly op?: string;
}

/** The case is so many times another of the same placement and size. */
export interface RatioBar extends Subject {
  /** Of several, the best one counts. */
  readonly baseline: string | readonly string[];
  /** The baseline's pairs, where they are others than the case's. */
  readonly baselinePairs?: number;
  /** How many calls an operation of the case is, when they are counted; left out, one. */
  readonly calls?: number;
  readonly atLeast: number;
}

/** A number of the case's row itself. */
export type LimitBar = Subject &
  (
    | { readonly value: 'timers_fired'; readonly atLeast: number }
    | { readonly value: 'median'; readonly atMost: number }
  );

export type Bar = RatioBar | LimitBar;

/** A bar and what was measured. */
export interface Verdict extends Summary {
  readonly bar: Bar;
  /** The baseline that was the best. */
  readonly against?: string;
  readonly runs: number;
  readonly met: boolean;
}

export const RUNS_MIN = 7;

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const STREAMS = ['unix-stream', 'tcp', 'pipe'];
// What `top` shows as 0.0 is below half a tenth of a percent.
const NOTHING_PERCENT = 0.05;

const C: readonly Bar[] = [
  { case: 'dvk-c-sendrec', placement: 'two-cores', baseline: 'pure-spin', atLeast: 0.4 },
  { case: 'dvk-c-sendrec', placement: 'two-cores', baseline: 'pipe', atLeast: 50 },
  { case: 'dvk-c-sendrec', placement: 'one-core', baseline: 'pipe', atLeast: 0.95 },
  { case: 'dvk-c-sendrec', placement: 'one-core', baseline: 'unix-stream', atLeast: 1.7 },
  { case: 'dvk-c-sendrec', placement: 'one-core', baseline: 'unix-seqpacket', atLeast: 1.7 },
  { case: 'dvk-c-sendrec', placement: 'one-core', baseline: 'futex', atLeast: 0.9 },
  { case: 'dvk-c-sendrec', placement: 'one-core-hogs', baseline: 'futex', atLeast: 0.9 },
];

function typescript(): readonly Bar[] {
  const blocking = { case: 'dvk-ts-sendrec', placement: 'one-core' } as const;
  const spinning = { case: 'dvk-ts-sendrec', placement: 'two-cores' } as const;
  const awaited = { case: 'dvk-ts-sendrec-async', placement: 'one-core' } as const;
  return [
    { ...blocking, baseline: 'dvk-c-sendrec', atLeast: 0.75 },
    { ...blocking, baseline: 'node-unix-stream', atLeast: 8 },
    { ...blocking, baseline: 'message-port', atLeast: 3 },
    { ...blocking, baseline: 'child-process', atLeast: 10 },
    { ...blocking, baseline: 'zeromq', atLeast: 10 },
    { ...spinning, baseline: 'dvk-c-sendrec', atLeast: 0.3 },
    { ...spinning, baseline: 'message-port', atLeast: 30 },
    { ...awaited, baseline: 'dvk-c-sendrec', atLeast: 0.45 },
    { ...awaited, baseline: 'node-unix-stream', atLeast: 5 },
    { ...awaited, baseline: 'message-port', atLeast: 2.5 },
    { ...awaited, value: 'timers_fired', atLeast: 0.5 },
    { ...awaited, placement: 'two-cores', baseline: 'node-unix-stream', atLeast: 15 },
    { ...awaited, placement: 'two-cores', value: 'timers_fired', atLeast: 0.5 },
  ];
}

const PAIRS: readonly Bar[] = ['dvk-c-sendrec', 'dvk-ts-sendrec'].map((name) => ({
  case: name,
  placement: 'one-core',
  pairs: 2,
  baseline: name,
  baselinePairs: 1,
  atLeast: 1.7,
}));

const NOTIFY_BAR = { placement: 'two-cores', baseline: 'dvk-c-sendrec', atLeast: 2 } as const;
const NOTIFY: readonly Bar[] = [
  // The promise counts notifications against round trips: to and fro it takes two of them.
  { ...NOTIFY_BAR, case: 'dvk-c-notify', calls: 2 },
  { ...NOTIFY_BAR, case: 'dvk-c-notify-stream' },
];

function copies(): readonly Bar[] {
  const pinned: readonly Placement[] = ['two-cores', 'one-core'];
  const all = pinned.flatMap((placement): Bar[] => [
    ...[64 * KIB, MIB].map((bytes) => ({
      ...{ case: 'dvk-vcopy-private', placement, bytes },
      ...{ baseline: STREAMS, atLeast: 1.8 },
    })),
    ...[64 * KIB, 256 * KIB].map((bytes) => ({
      ...{ case: 'dvk-vcopy-arena', placement, bytes },
      ...{ baseline: 'memcpy', atLeast: 0.6 },
    })),
  ]);
  const arena = { case: 'dvk-vcopy-arena', placement: 'two-cores', bytes: MIB } as const;
  return [...all, { ...arena, baseline: 'unix-stream', atLeast: 3 }];
}

/** A node is on a core of its own, as are two machines. */
function links(): readonly Bar[] {
  const call = { op: 'sendrec', placement: 'two-cores' } as const;
  const copy = { op: 'vcopy', placement: 'two-cores' } as const;
  const kinds = ['tcp', 'udp', 'ethernet'].flatMap((one) => [`dvk-${one}`, `dvk-${one}-plain`]);
  return [
    ...['dvk-tcp', 'dvk-tcp-plain'].map((name): Bar => ({
      ...{ ...call, case: name, baseline: 'node-tcp', atLeast: 0.7 },
    })),
    ...['', '-plain'].map((end): Bar => ({
      ...{ ...call, case: `dvk-ethernet${end}`, baseline: `dvk-tcp${end}`, atLeast: 1 },
    })),
    ...kinds.map((name): Bar => ({
      ...{ ...call, case: name, pairs: 64, baseline: name, baselinePairs: 1, atLeast: 5 },
    })),
    ...[MIB, 64 * MIB].flatMap((bytes): Bar[] => [
      { ...copy, case: 'dvk-tcp-plain', bytes, baseline: 'node-tcp', atLeast: 0.6 },
      ...['dvk-tcp', 'dvk-udp', 'dvk-ethernet'].map((name) => ({
        ...{ ...copy, case: name, bytes, baseline: `${name}-plain`, atLeast: 0.5 },
      })),
    ]),
  ];
}

function files(): readonly Bar[] {
  const local = { case: 'dvk-local', placement: 'free' } as const;
  const remote = { case: 'dvk-remote', placement: 'free' } as const;
  return [
    ...['read', 'write'].flatMap((op): Bar[] => [
      { ...local, op, baseline: 'passthrough', atLeast: 0.5 },
      { ...remote, op, baseline: 'sshfs', atLeast: 2 },
    ]),
    { ...remote, op: 'read', baseline: 'passthrough', atLeast: 0.15 },
    { ...remote, op: 'read', baseline: 'dvk-remote-plain', atLeast: 0.5 },
    ...['create', 'stat-cold'].flatMap((op): Bar[] =>
      ['glusterfs', 'sshfs'].map((baseline) => ({ ...remote, op, baseline, atLeast: 1 })),
    ),
    ...[local, remote].map((subject): Bar => ({
      ...{ ...subject, op: 'stat', baseline: 'host', atLeast: 0.9 },
    })),
  ];
}

export const BARS: Readonly<Record<string, readonly Bar[]>> = {
  ipc: [...C, ...typescript(), ...PAIRS],
  notify: NOTIFY,
  vcopy: copies(),
  proxy: links(),
  idle: [
    ...['dvk-c-blocking', 'dvk-ts-blocking', 'dvk-ts-awaited'].map((name): Bar => ({
      ...{ case: name, op: 'busiest', placement: 'free' },
      ...{ value: 'median', atMost: NOTHING_PERCENT },
    })),
    { case: 'dvk-all', op: 'sum', placement: 'free', value: 'median', atMost: NOTHING_PERCENT },
  ],
  fs: files(),
};

/** The row of `name` that was measured under the same conditions as `row`. */
export function companion(
  rows: readonly Row[],
  row: Row,
  name: string,
  pairs: number | undefined = row.pairs,
): Row | undefined {
  return rows.find(
    (other) =>
      other.case === name &&
      other.placement === row.placement &&
      other.pairs === pairs &&
      other.bytes === row.bytes &&
      other.op === row.op,
  );
}

function find(rows: readonly Row[], bar: Bar): Row | undefined {
  const { bytes, op, pairs = 1 } = bar;
  return rows.find(
    (row) =>
      row.case === bar.case &&
      row.placement === bar.placement &&
      (bytes === undefined || row.bytes === bytes) &&
      (op === undefined || row.op === op) &&
      (row.pairs ?? 1) === pairs,
  );
}

/** The best of the baselines that were measured; undefined unless all of them were. */
function bestBaseline(rows: readonly Row[], row: Row, bar: RatioBar): Row | undefined {
  const names = typeof bar.baseline === 'string' ? [bar.baseline] : bar.baseline;
  const found = names.flatMap(
    (name) => companion(rows, row, name, bar.baselinePairs ?? row.pairs) ?? [],
  );
  if (found.length < names.length) return undefined;
  return found.reduce((best, other) =>
    median(other.samples) > median(best.samples) ? other : best,
  );
}

function judgeRatio(rows: readonly Row[], row: Row, bar: RatioBar): Verdict[] {
  const baseline = bestBaseline(rows, row, bar);
  if (baseline === undefined) return [];
  const { calls = 1 } = bar;
  const ratios = ratiosByRun(row.samples, baseline.samples).map((ratio) => calls * ratio);
  const summary = summarize(ratios);
  const met = summary.median >= bar.atLeast;
  return [{ bar, ...summary, against: baseline.case, runs: ratios.length, met }];
}

function judgeLimit(row: Row, bar: LimitBar): Verdict[] {
  const { runs } = row;
  if (bar.value === 'median') {
    const { median: middle, min, max } = row;
    return [{ bar, median: middle, min, max, runs, met: middle <= bar.atMost }];
  }
  const value = row.timers_fired;
  if (value === undefined) return [];
  return [{ bar, median: value, min: value, max: value, runs, met: value >= bar.atLeast }];
}

/** The bars of a bench for which all that they speak of was measured. */
export function judge(bench: string, rows: readonly Row[]): Verdict[] {
  return (BARS[bench] ?? []).flatMap((bar) => {
    const row = find(rows, bar);
    if (row === undefined) return [];
    return 'baseline' in bar ? judgeRatio(rows, row, bar) : judgeLimit(row, bar);
  });
}

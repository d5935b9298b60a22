/**
 * What we promise of speed: ratios of two cases measured in one run. They are printed below the
 * results, and are no tests, since a busy machine may miss any of them.
 */
import type { Row } from './harness.ts';
import type { Placement } from './placement.ts';
import { ratioOf } from './statistics.ts';

export interface Bar {
  readonly case: string;
  readonly placement: Placement;
  readonly bytes?: number;
  readonly baseline: string;
  readonly atLeast: number;
}

/** A bar and what was measured. */
export interface Verdict extends Bar {
  readonly ratio: number;
  readonly met: boolean;
}

const MIB = 2 ** 20;

export const BARS: Readonly<Record<string, readonly Bar[]>> = {
  ipc: [
    { case: 'dvk-c-sendrec', placement: 'two-cores', baseline: 'pure-spin', atLeast: 0.2 },
    { case: 'dvk-c-sendrec', placement: 'two-cores', baseline: 'pipe', atLeast: 20 },
    { case: 'dvk-c-sendrec', placement: 'one-core', baseline: 'pipe', atLeast: 0.8 },
    { case: 'dvk-ts-sendrec', placement: 'one-core', baseline: 'message-port', atLeast: 2.5 },
  ],
  vcopy: [
    {
      case: 'dvk-vcopy-private',
      placement: 'two-cores',
      bytes: MIB,
      baseline: 'unix-stream',
      atLeast: 1.5,
    },
    {
      case: 'dvk-vcopy-arena',
      placement: 'two-cores',
      bytes: MIB,
      baseline: 'unix-stream',
      atLeast: 3,
    },
  ],
  fs: [
    { case: 'dvk-local', placement: 'free', baseline: 'passthrough', atLeast: 0.4 },
    { case: 'dvk-remote', placement: 'free', baseline: 'passthrough', atLeast: 0.15 },
  ],
};

/** The row of `name` that was measured under the same conditions as `row`. */
export function companion(rows: readonly Row[], row: Row, name: string): Row | undefined {
  return rows.find(
    (other) =>
      other.case === name &&
      other.placement === row.placement &&
      other.bytes === row.bytes &&
      other.op === row.op,
  );
}

/** The bars of a bench for which both cases were measured. */
export function judge(bench: string, rows: readonly Row[]): Verdict[] {
  return (BARS[bench] ?? []).flatMap((bar) => {
    const row = rows.find(
      (candidate) =>
        candidate.case === bar.case &&
        candidate.placement === bar.placement &&
        (bar.bytes === undefined || candidate.bytes === bar.bytes),
    );
    const baseline = row && companion(rows, row, bar.baseline);
    if (row === undefined || baseline === undefined) return [];
    const ratio = ratioOf(row.samples, baseline.samples);
    return [{ ...bar, ratio, met: ratio >= bar.atLeast }];
  });
}

// What is promised, against rows whose numbers are given.
import { describe, expect, it } from 'vitest';

import { BARS, judge } from '../../../bench/bars.ts';
import type { Row } from '../../../bench/harness.ts';
import { verdictLine } from '../../../bench/report.ts';
import { summarize } from '../../../bench/statistics.ts';

function row(name: string, samples: readonly number[], more: Partial<Row> = {}): Row {
  return {
    case: name,
    placement: 'two-cores',
    unit: 'round-trips/s',
    ...summarize(samples),
    runs: samples.length,
    samples,
    checked: 10,
    ...more,
  };
}

const seven = (value: number): number[] => Array.from({ length: 7 }, () => value);

describe('judge', () => {
  it('compares runs of the same number, and gives median and spread', () => {
    const verdicts = judge('ipc', [row('dvk-c-sendrec', [60, 8, 100]), row('pipe', [1, 1, 2])]);

    expect(verdicts).toMatchObject([
      { bar: { atLeast: 50 }, against: 'pipe', median: 50, min: 8, max: 60, runs: 3, met: true },
    ]);
  });

  it('says when a bar is missed', () => {
    const verdicts = judge('ipc', [row('dvk-c-sendrec', seven(49)), row('pipe', seven(1))]);

    expect(verdicts).toMatchObject([{ median: 49, met: false }]);
  });

  it('compares with a baseline of the same size and placement only', () => {
    const arena = row('dvk-vcopy-arena', [30], { unit: 'bytes/s', bytes: 2 ** 20 });

    const size = judge('vcopy', [arena, row('unix-stream', [10], { bytes: 4096 })]);
    const placement = judge('vcopy', [
      arena,
      row('unix-stream', [10], { bytes: 2 ** 20, placement: 'one-core' }),
    ]);

    expect([...size, ...placement]).toEqual([]);
  });

  it('takes the best of several baselines, when all are there', () => {
    const bytes = 64 * 1024;
    const copy = row('dvk-vcopy-private', seven(20), { bytes });
    const streams = ['unix-stream', 'tcp', 'pipe'].map((name, index) =>
      row(name, seven(10 + index), { bytes }),
    );

    expect(judge('vcopy', [copy, ...streams.slice(0, 2)])).toEqual([]);
    expect(judge('vcopy', [copy, ...streams])).toMatchObject([
      { against: 'pipe', median: 20 / 12, met: false },
    ]);
  });

  it('compares two pairs with one of the same case', () => {
    const placement = 'one-core';
    const rows = [1, 2].map((pairs) =>
      row('dvk-c-sendrec', seven(10 * pairs), { placement, pairs }),
    );

    expect(judge('ipc', rows)).toMatchObject([
      { bar: { pairs: 2, baselinePairs: 1, atLeast: 1.7 }, median: 2, met: true },
    ]);
  });

  it('knows limits of a row itself', () => {
    const placement = 'one-core';
    const timers = row('dvk-ts-sendrec-async', seven(1), { placement, timers_fired: 0.4 });
    const busy = row('dvk-c-blocking', seven(0.04), { placement: 'free', op: 'busiest' });

    expect(judge('ipc', [timers])).toMatchObject([{ median: 0.4, met: false }]);
    expect(judge('idle', [busy])).toMatchObject([{ median: 0.04, met: true }]);
  });

  it('has nothing to say of a bench without bars', () => {
    expect(judge('telepathy', [row('a', [1])])).toEqual([]);
  });
});

describe('the bars', () => {
  it('name each promise once', () => {
    for (const [bench, bars] of Object.entries(BARS)) {
      const keys = bars.map((bar) => JSON.stringify({ ...bar, atLeast: 0, atMost: 0 }));
      expect(new Set(keys).size, bench).toBe(bars.length);
    }
  });
});

describe('verdictLine', () => {
  it('says what was measured, its spread, and what is promised', () => {
    const samples = [60, 60, 60, 60, 60, 50, 70];
    const [verdict] = judge('ipc', [row('dvk-c-sendrec', samples), row('pipe', seven(1))]);

    expect(verdictLine(verdict!)).toBe(
      'met     dvk-c-sendrec (two-cores): 60 times pipe (50 to 70); promised: 50',
    );
  });

  it('says when there were too few runs to count', () => {
    const [verdict] = judge('ipc', [row('dvk-c-sendrec', [60]), row('pipe', [1])]);

    expect(verdictLine(verdict!)).toMatch(/; 1 runs, too few to count$/);
  });
});

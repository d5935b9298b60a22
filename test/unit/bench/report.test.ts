// The document that scripts read, and the table that people read, of the same rows.
import { describe, expect, it } from 'vitest';

import { judge } from '../../../bench/bars.ts';
import type { Row } from '../../../bench/harness.ts';
import { documentOf, formatNumber, formatReport, type Report } from '../../../bench/report.ts';

function row(name: string, samples: readonly number[], more: Partial<Row> = {}): Row {
  const sorted = [...samples].sort((a, b) => a - b);
  return {
    case: name,
    placement: 'two-cores',
    unit: 'round-trips/s',
    median: sorted[sorted.length >> 1]!,
    min: sorted[0]!,
    max: sorted.at(-1)!,
    runs: samples.length,
    samples,
    checked: 10,
    ...more,
  };
}

function report(bench: string, rows: readonly Row[]): Report {
  const machine = { commit: 'c0ffee', node: 'v20.0.0', kernel: '6.1', cpu: 'a CPU', cores: 2 };
  return { bench, machine, rows, verdicts: judge(bench, rows), baselines: ['pipe'] };
}

const rows = [
  row('dvk-c-sendrec', [300_000, 310_000, 320_000], { p50_us: 1.23456, p99_us: 9.87654 }),
  row('pipe', [10_000, 10_000, 20_000]),
];

describe('documentOf', () => {
  it('has the fields of the contract', () => {
    expect(documentOf(report('ipc', rows))).toEqual({
      bench: 'ipc',
      commit: 'c0ffee',
      node: 'v20.0.0',
      kernel: '6.1',
      cpu: 'a CPU',
      cores: 2,
      rows: [
        {
          case: 'dvk-c-sendrec',
          placement: 'two-cores',
          unit: 'round-trips/s',
          median: 310_000,
          min: 300_000,
          max: 320_000,
          runs: 3,
          checked: 10,
          p50_us: 1.235,
          p99_us: 9.877,
          messages_per_second: 620_000,
          ratios: { pipe: 30 },
        },
        {
          case: 'pipe',
          placement: 'two-cores',
          unit: 'round-trips/s',
          median: 10_000,
          min: 10_000,
          max: 20_000,
          runs: 3,
          checked: 10,
          messages_per_second: 20_000,
          ratios: {},
        },
      ],
      bars: [
        {
          case: 'dvk-c-sendrec',
          placement: 'two-cores',
          baseline: 'pipe',
          atLeast: 20,
          ratio: 30,
          met: true,
        },
      ],
    });
  });

  it('compares with a baseline of the same size only', () => {
    const copies = [
      row('dvk-vcopy-arena', [30], { unit: 'bytes/s', bytes: 2 ** 20 }),
      row('unix-stream', [10], { unit: 'bytes/s', bytes: 4096 }),
    ];

    expect(documentOf(report('vcopy', copies)).bars).toEqual([]);
  });

  it('says when a bar is missed', () => {
    const slow = [row('dvk-c-sendrec', [20, 20]), row('pipe', [10, 10])];

    expect(documentOf(report('ipc', slow)).bars).toMatchObject([{ ratio: 2, met: false }]);
  });
});

describe('formatReport', () => {
  it('shows each row with its messages and ratios, and the bars below', () => {
    const lines = formatReport(report('ipc', rows)).trimEnd().split('\n');

    expect(lines.slice(1)).toEqual([
      '',
      'two-cores      round trips/s     min     max  messages/s  p50 us  p99 us  x pipe',
      'dvk-c-sendrec          310 k   300 k   320 k       620 k    1.23    9.88      30',
      'pipe                  10.0 k  10.0 k  20.0 k      20.0 k       -       -',
      '',
      'met     dvk-c-sendrec (two-cores) is 30 times pipe; promised: 20',
    ]);
  });
});

describe('formatNumber', () => {
  it.each([
    [0.416, '0.42'],
    [7, '7'],
    [9.96, '10.0'],
    [999.6, '1.00 k'],
    [18_734.9, '18.7 k'],
    [7_182_318, '7.18 M'],
    [1.04e9, '1.04 G'],
    [Number.NaN, '-'],
  ])('writes %d as %s', (value, text) => {
    expect(formatNumber(value)).toBe(text);
  });
});

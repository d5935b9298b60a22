// The document that scripts read, and the table that people read, of the same rows.
import { describe, expect, it } from 'vitest';

import { judge } from '../../../bench/bars.ts';
import type { Row } from '../../../bench/harness.ts';
import {
  documentOf,
  formatNumber,
  formatReport,
  headOf,
  type Report,
} from '../../../bench/report.ts';

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

const machine = { commit: 'c0ffee', node: 'v20.0.0', kernel: '6.1', cpu: 'a CPU', cores: 2 };

function report(bench: string, rows: readonly Row[]): Report {
  return { bench, fresh: false, machine, rows, verdicts: judge(bench, rows), baselines: ['pipe'] };
}

const rows = [
  row('dvk-c-sendrec', [300_000, 310_000, 320_000], {
    p50_us: 1.23456,
    p99_us: 9.87654,
    cpu_us: 0.45678,
  }),
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
          cpu_us: 0.4568,
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
          atLeast: 50,
          measured: 30,
          min: 16,
          max: 31,
          against: 'pipe',
          runs: 3,
          met: false,
        },
      ],
    });
  });
});

describe('formatReport', () => {
  it('shows each row with what was measured of it, and the bars below', () => {
    const lines = formatReport(report('ipc', rows)).trimEnd().split('\n');

    expect(lines.slice(1)).toEqual([
      '',
      'two-cores      round trips/s     min     max  p50 us  p99 us  CPU us/message  x pipe',
      'dvk-c-sendrec          310 k   300 k   320 k    1.23    9.88            0.46      30',
      'pipe                  10.0 k  10.0 k  20.0 k       -       -               -',
      '',
      'MISSED  dvk-c-sendrec (two-cores): 30 times pipe (16 to 31); promised: 50; ' +
        '3 runs, too few to count',
    ]);
  });

  it('puts pairs, sizes and operations into tables of their own', () => {
    const text = formatReport(
      report('vcopy', [
        row('memcpy', [1], { unit: 'bytes/s', bytes: 65_536, pairs: 1 }),
        row('memcpy', [1], { unit: 'bytes/s', bytes: 65_536, pairs: 2 }),
        row('dvk-all', [1], { unit: 'percent', placement: 'free', op: 'sum' }),
      ]),
    );

    expect(text).toContain('two-cores, 64 KiB  bytes/s');
    expect(text).toContain('two-cores, 2 pairs, 64 KiB  bytes/s');
    expect(text).toContain('sum, free  percent of CPU');
  });

  it('keeps a commit short, and says when it is not the whole truth', () => {
    const commit = `${'0123456789abcdef'.repeat(2)}-dirty`;

    const text = headOf({ ...report('ipc', rows), machine: { ...machine, commit } });

    expect(text).toMatch(/commit 0123456789ab-dirty$/);
  });
});

describe('formatNumber', () => {
  it.each([
    [0.0044, '0.0044'],
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

// The picture of results. Method: rows whose numbers are given, and the SVG's own text.
import { describe, expect, it } from 'vitest';

import type { Row } from '../../../bench/harness.ts';
import { formatPlot, linearScale, logScale } from '../../../bench/plot.ts';
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

function plot(rows: readonly Row[], cpu = 'a CPU'): string {
  const machine = { commit: 'c0ffee', node: 'v20.0.0', kernel: '6.1', cpu, cores: 2 };
  return formatPlot({ bench: 'ipc', fresh: false, machine, rows, verdicts: [], baselines: [] });
}

const barWidths = (svg: string): number[] =>
  [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map((match) => Number(match[1]));

describe('logScale', () => {
  it('goes from the power of ten below to the one above', () => {
    const scale = logScale(20, 5000);

    expect(scale.ticks).toEqual([10, 100, 1000, 10_000]);
    expect([10, 1000, 10_000].map((value) => scale.at(value))).toEqual([0, 2 / 3, 1]);
  });

  it('has a step even for one value', () => {
    expect(logScale(100, 100).ticks).toEqual([100, 1000]);
  });
});

describe('linearScale', () => {
  it('begins at nothing, also when there is nothing', () => {
    expect(linearScale(4).at(1)).toBe(0.25);
    expect(linearScale(0).at(0)).toBe(0);
  });
});

describe('formatPlot', () => {
  it('draws a bar for each row, the fastest first', () => {
    const svg = plot([row('pipe', [100]), row('dvk-c-sendrec', [10_000]), row('tcp', [10])]);

    const widths = barWidths(svg);
    expect(widths).toEqual([...widths].sort((a, b) => b - a));
    expect(widths).toHaveLength(3);
    expect(svg.indexOf('>dvk-c-sendrec<')).toBeLessThan(svg.indexOf('>pipe<'));
  });

  it('tells our own cases from the others', () => {
    const svg = plot([row('pipe', [100]), row('dvk-c-sendrec', [10_000])]);

    expect(svg.match(/class="ours"/g)).toHaveLength(1);
    expect(svg.match(/class="other"/g)).toHaveLength(1);
  });

  it('has a panel for each placement and number of pairs', () => {
    const svg = plot([
      row('pipe', [1]),
      row('pipe', [1], { pairs: 2 }),
      row('pipe', [1], { placement: 'free' }),
    ]);

    expect([...svg.matchAll(/class="title">([^<]*)</g)].map((match) => match[1])).toEqual([
      'two-cores: round trips/s',
      'two-cores, 2 pairs: round trips/s',
      'free: round trips/s',
    ]);
  });

  it('says where it was measured, with signs that XML keeps for itself escaped', () => {
    const svg = plot([row('pipe', [1])], 'a <fast> "CPU" & more');

    expect(svg).toContain('a &lt;fast&gt; &quot;CPU&quot; &amp; more');
    expect(svg).toContain('Linux 6.1, Node v20.0.0, commit c0ffee');
  });

  it('draws percents from 0, also when all are 0', () => {
    const idle = row('dvk-all', [0, 0], { unit: 'percent', placement: 'free', op: 'sum' });

    expect(barWidths(plot([idle]))).toEqual([0]);
  });
});

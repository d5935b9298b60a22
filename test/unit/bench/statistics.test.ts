// The arithmetic of benches. Method: small inputs with known answers, and a histogram against the
// sorted durations themselves.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import {
  bucketOf,
  Histogram,
  median,
  middleOf,
  ratioOf,
  ratiosByRun,
  summarize,
} from '../../../bench/statistics.ts';

describe('median', () => {
  it('is the middle of an odd number of values', () => {
    expect(median([5, 1, 3])).toBe(3);
  });

  it('is the mean of the two middle values of an even number', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
  });

  it('leaves its argument alone', () => {
    const values = [3, 1, 2];

    median(values);

    expect(values).toEqual([3, 1, 2]);
  });

  it('fails without values', () => {
    expect(() => median([])).toThrow(RangeError);
  });
});

describe('summarize', () => {
  it('gives median, least and greatest', () => {
    expect(summarize([7, 1, 4])).toEqual({ median: 4, min: 1, max: 7 });
  });
});

describe('ratioOf', () => {
  it('compares runs of the same number, so that a slow minute cancels out', () => {
    expect(ratioOf([20, 2, 20], [10, 1, 10])).toBe(2);
  });

  it('uses the runs that both have', () => {
    expect(ratioOf([4, 6], [2])).toBe(2);
    expect(ratiosByRun([4, 6], [2])).toEqual([2]);
  });
});

describe('Histogram', () => {
  it('numbers buckets without gaps and in rising order', () => {
    const buckets = [0, 1, 31, 32, 33, 63, 64, 66, 127, 128].map(bucketOf);

    expect(buckets).toEqual([0, 1, 31, 32, 33, 63, 64, 65, 95, 96]);
  });

  it('keeps every duration within a 32nd of the middle of its bucket', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 40 }), (ns) => {
        expect(Math.abs(middleOf(bucketOf(ns)) - ns)).toBeLessThanOrEqual(ns / 32);
      }),
    );
  });

  it('finds quantiles', () => {
    const histogram = new Histogram();
    for (let ns = 1; ns <= 1000; ns++) histogram.add(ns);

    expect(histogram.quantile(0.5)).toBeCloseTo(500, -2);
    expect(histogram.quantile(0.99)).toBeGreaterThan(950);
    expect(histogram.quantile(0)).toBe(1);
    expect(histogram.total).toBe(1000);
  });

  it('gives the quantiles of the durations themselves, within a 32nd', () => {
    const durations = fc.array(fc.integer({ min: 1, max: 2 ** 40 }), { minLength: 1 });
    fc.assert(
      fc.property(durations, fc.constantFrom(0.5, 0.99, 0.999, 1), (all, share) => {
        const histogram = new Histogram();
        for (const ns of all) histogram.add(ns);

        const sorted = [...all].sort((a, b) => a - b);
        const exact = sorted[Math.max(1, Math.ceil(share * all.length)) - 1]!;
        expect(Math.abs(histogram.quantile(share) - exact)).toBeLessThanOrEqual(exact / 32);
      }),
    );
  });

  it('adds up the entries of several runs', () => {
    const one = new Histogram();
    const sum = new Histogram();
    for (const ns of [5, 5, 100]) one.add(ns);

    sum.addEntries(one.entries());
    sum.addEntries(one.entries());

    expect(sum.entries()).toEqual([
      [5, 4],
      [bucketOf(100), 2],
    ]);
  });

  it('has no quantile without durations', () => {
    expect(new Histogram().quantile(0.5)).toBeNaN();
  });
});

// The harness runs cases in turn and sums them up. Method: cases whose results are given, and a log
// of what was called.
import { describe, expect, it } from 'vitest';

import { measure, shared, type Case, type RunResult } from '../../../bench/harness.ts';

interface Script {
  readonly log: string[];
  readonly results: readonly (number | RunResult)[];
}

/** A case whose runs give `results`, the first being the warm-up. */
function scripted(name: string, script: Script, more: Partial<Case> = {}): Case {
  const waiting = [...script.results];
  return {
    name,
    placement: 'free',
    unit: 'bytes/s',
    ...more,
    start: async () => {
      script.log.push(`${name} start`);
      return Promise.resolve({
        run: async (ms: number) => {
          script.log.push(`${name} run ${ms}`);
          const result = waiting.shift() ?? 1;
          return Promise.resolve(
            typeof result === 'number' ? { perSecond: result, checked: 1 } : result,
          );
        },
        close: async () => {
          script.log.push(`${name} close`);
          return Promise.resolve();
        },
      });
    },
  };
}

const times = { runMs: 20, warmUpMs: 5 };

describe('measure', () => {
  it('interleaves the runs, after a warm-up of each case, and closes every session', async () => {
    const log: string[] = [];
    const cases = ['a', 'b'].map((name) => scripted(name, { log, results: [] }));

    await measure({ cases, runs: 2, ...times });

    expect(log).toEqual([
      ...['a start', 'a run 5', 'b start', 'b run 5'],
      ...['a run 20', 'b run 20', 'a run 20', 'b run 20'],
      ...['a close', 'b close'],
    ]);
  });

  it('sums up the runs without the warm-up', async () => {
    const subject = scripted('a', { log: [], results: [1000, 3, 9, 4] });

    const [row] = await measure({ cases: [subject], runs: 3, ...times });

    expect(row).toMatchObject({ case: 'a', median: 4, min: 3, max: 9, runs: 3, checked: 3 });
    expect(row?.samples).toEqual([3, 9, 4]);
  });

  it('merges the latencies of all runs', async () => {
    const result = (bucket: number): RunResult => ({
      perSecond: 1,
      checked: 1,
      latency: [[bucket, 10]],
    });
    const subject = scripted('a', { log: [], results: [result(9), result(10), result(20)] });

    const [row] = await measure({ cases: [subject], runs: 2, ...times });

    expect(row).toMatchObject({ p50_us: 0.01, p99_us: 0.02, p999_us: 0.02, max_us: 0.02 });
  });

  it('gives the CPU time of a message, two of which are a round trip', async () => {
    const result = (ns: number): RunResult => ({
      ...{ perSecond: 1, checked: 1 },
      cpu: { ns, trips: 10 },
    });
    const script = { log: [], results: [0, result(30_000), result(50_000)] };
    const subject = scripted('a', script, { unit: 'round-trips/s' });

    const [row] = await measure({ cases: [subject], runs: 2, ...times });

    expect(row).toMatchObject({ cpu_us: 2 });
  });

  it('gives the share of timers that fired', async () => {
    const result = { perSecond: 1, checked: 1, timers: { fired: 3, due: 4 } };
    const subject = scripted('a', { log: [], results: [0, result, result] });

    const [row] = await measure({ cases: [subject], runs: 2, ...times });

    expect(row).toMatchObject({ timers_fired: 0.75 });
  });

  it('keeps numbers of pairs apart', async () => {
    const cases = [1, 2].map((pairs) => scripted('a', { log: [], results: [0, pairs] }, { pairs }));

    const rows = await measure({ cases, runs: 1, ...times });

    expect(rows).toMatchObject([
      { case: 'a', pairs: 1, median: 1 },
      { case: 'a', pairs: 2, median: 2 },
    ]);
  });

  it('reports the best variant of a row', async () => {
    const cases = [
      scripted('a', { log: [], results: [0, 5, 5] }, { variant: 'small' }),
      scripted('a', { log: [], results: [0, 7, 7] }, { variant: 'big' }),
    ].map((subject) => ({ ...subject, bytes: 4096 }));

    const rows = await measure({ cases, runs: 2, ...times });

    expect(rows).toMatchObject([{ case: 'a', variant: 'big', bytes: 4096, median: 7 }]);
  });

  it('fails, and closes, when a run checked nothing', async () => {
    const log: string[] = [];
    const subject = scripted('a', { log, results: [1, { perSecond: 5, checked: 0 }] });

    await expect(measure({ cases: [subject], runs: 1, ...times })).rejects.toThrow('a free');
    expect(log.at(-1)).toBe('a close');
  });
});

describe('shared', () => {
  it('starts once and closes with the last user', async () => {
    const log: string[] = [];
    const session = shared(async () => {
      log.push('start');
      return Promise.resolve({
        close: async () => {
          log.push('close');
          return Promise.resolve();
        },
      });
    });

    await session.use();
    await session.use();
    await session.release();
    expect(log).toEqual(['start']);

    await session.release();
    expect(log).toEqual(['start', 'close']);
  });
});

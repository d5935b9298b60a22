// What `dvk bench` understands.
import { describe, expect, it } from 'vitest';

import { sumOf } from '../../../bench/node-case.ts';
import { parse, UsageError } from '../../../bench/options.ts';

describe('parse', () => {
  it('leaves to the bench what nobody asks for', () => {
    expect(parse(['ipc'])).toEqual({
      bench: 'ipc',
      json: false,
      smoke: false,
      save: false,
      fresh: false,
      placements: undefined,
      pairs: undefined,
      cases: [],
      runs: undefined,
    });
  });

  it('takes several placements, pairs and cases', () => {
    const args = ['--placement', 'one-core', '--placement', 'free', '--pairs', '1,2', '--pairs'];

    expect(parse(['ipc', ...args, '4', '--case', 'pipe'])).toMatchObject({
      placements: ['one-core', 'free'],
      pairs: [1, 2, 4],
      cases: ['pipe'],
    });
  });

  it('gives help instead of anything else', () => {
    expect(parse(['ipc', '--help'])).toBeUndefined();
  });

  it.each([
    [],
    ['ipc', 'vcopy'],
    ['ipc', '--speed'],
    ['ipc', '--placement', 'nowhere'],
    ['ipc', '--pairs', '0'],
    ['ipc', '--pairs', '1,,2'],
    ['ipc', '--runs', 'many'],
  ])('refuses %j %j %j', (...args) => {
    expect(() => parse(args)).toThrow(UsageError);
  });
});

describe('sumOf', () => {
  it('adds up what several pairs did at once', () => {
    const one = { perSecond: 10, checked: 3, timers: { fired: 1, due: 2 } };
    const other = { perSecond: 5, checked: 4 };

    const sum = sumOf([
      { ...one, latency: [[7, 1]] },
      { ...other, latency: [[7, 2]] },
    ]);

    expect(sum).toEqual({
      perSecond: 15,
      checked: 7,
      timers: { fired: 1, due: 2 },
      latency: [
        [7, 1],
        [7, 2],
      ],
    });
  });
});

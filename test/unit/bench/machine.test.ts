// What benches read of the machine: CPU lists, placements, mounts; and undoing in good order.
import { describe, expect, it } from 'vitest';

import { Cleanup } from '../../../bench/cleanup.ts';
import { parseMounts } from '../../../bench/fs/mounts.ts';
import { cpusOf, parseCpuList } from '../../../bench/placement.ts';

describe('parseCpuList', () => {
  it('reads numbers and ranges', () => {
    expect(parseCpuList('0-2,5,7-8\n')).toEqual([0, 1, 2, 5, 7, 8]);
  });
});

describe('cpusOf', () => {
  it('gives two cores to two processes', () => {
    expect(cpusOf('two-cores', [0, 1, 2])).toEqual({ client: [0], peer: [2] });
  });

  it('has no two cores where there is one', () => {
    expect(cpusOf('two-cores', [3])).toBeUndefined();
  });

  it('gives one core to both, or all to both', () => {
    expect(cpusOf('one-core', [0, 1])).toEqual({ client: [1], peer: [1] });
    expect(cpusOf('one-core-hogs', [0, 1])).toEqual({ client: [1], peer: [1] });
    expect(cpusOf('free', [0, 1])).toEqual({ client: [0, 1], peer: [0, 1] });
  });

  it('shares out the cores among several pairs', () => {
    const pairs = [0, 1, 2];

    const ones = pairs.map((pair) => cpusOf('one-core', [4, 6], pair)?.client);
    const twos = pairs.map((pair) => cpusOf('two-cores', [0, 1, 2, 3], pair));

    expect(ones).toEqual([[6], [4], [6]]);
    expect(twos).toEqual([
      { client: [0], peer: [3] },
      { client: [2], peer: [1] },
      { client: [0], peer: [3] },
    ]);
  });
});

describe('parseMounts', () => {
  it('gives mount points, with spaces as they are', () => {
    const text =
      '22 1 254:0 / / rw - ext4 /dev/vda rw\n30 22 0:40 / /mnt/a\\040b ro - fuse.x x ro\n';

    expect(parseMounts(text)).toEqual(['/', '/mnt/a b']);
  });
});

describe('Cleanup', () => {
  it('undoes last things first, and goes on after a failure', async () => {
    const log: string[] = [];
    const cleanup = new Cleanup();
    cleanup.defer(() => {
      log.push('first');
    });
    cleanup.defer(() => {
      throw new Error('no');
    });
    cleanup.defer(() => {
      log.push('last');
    });

    await expect(cleanup.run()).rejects.toThrow('no');

    expect(log).toEqual(['last', 'first']);
  });

  it('undoes once, however often it is asked', async () => {
    let count = 0;
    const cleanup = new Cleanup();
    cleanup.defer(() => {
      count++;
    });

    await Promise.all([cleanup.run(), cleanup.run()]);

    expect(count).toBe(1);
  });
});

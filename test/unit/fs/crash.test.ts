// What a crash leaves of a volume is a transaction, and none that was committed is lost.
// Method: random changes over a device that records them; images as crashes at flushes and in
// between may leave them. More of them: test/soak/fs-crash.test.ts.
import { describe, expect, it } from 'vitest';
import { crashRegisters, crashTree } from '../../support/crash-check.ts';
import { imageObstacle, mountObstacle } from '../../support/images.ts';

const SEED = 20261122;
const linux = mountObstacle() === undefined ? 20 : Infinity;

const variants = [
  { name: 'ext4', arguments: ['-b', '4096'] },
  { name: 'blocks of 1 KiB', arguments: ['-b', '1024', '-J', 'size=1'] },
  { name: 'no checksums', arguments: ['-b', '1024', '-O', '^metadata_csum,^64bit'] },
];

describe.skipIf(imageObstacle() !== undefined)('a crash', () => {
  it.each(variants)('leaves a transaction: $name', (variant) => {
    const options = { seed: SEED, changes: 400, e2fsck: 8, linux, arguments: variant.arguments };

    const { images, wrong } = crashRegisters({ ...options, points: 40 });

    expect(wrong).toEqual([]);
    expect(images).toBe(40);
  });

  it('leaves a tree as a transaction left it', { timeout: 120_000 }, () => {
    const options = { seed: SEED, changes: 300, e2fsck: 2, linux, points: 40 };

    const { images, wrong } = crashTree({ ...options, arguments: ['-b', '1024'] });

    expect(wrong).toEqual([]);
    expect(images).toBe(40);
  });
});

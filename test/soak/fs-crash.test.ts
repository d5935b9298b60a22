// What a crash leaves of a volume is a transaction: every flush, and 500 points between them, of
// each kind of journal. DVK_SEED is what the changes and the crashes follow from.
import { describe, expect, it } from 'vitest';
import { crashRegisters, crashTree } from '../support/crash-check.ts';
import { mountObstacle } from '../support/images.ts';

const seed = Number(process.env['DVK_SEED'] ?? Date.now() % 1_000_000);
const linux = mountObstacle() === undefined ? 10 : Infinity;

const variants = [
  { name: 'ext4', arguments: ['-b', '4096'] },
  { name: 'blocks of 1 KiB', arguments: ['-b', '1024', '-J', 'size=1'] },
  { name: 'no 64-bit numbers', arguments: ['-b', '1024', '-O', '^64bit'] },
  { name: 'no checksums', arguments: ['-b', '1024', '-O', '^metadata_csum,^64bit'] },
];

describe.each(variants)('a crash of a volume with $name', (variant) => {
  it.each([
    ['blocks', 500],
    ['blocks', 'barriers'],
    ['a tree', 500],
    ['a tree', 'barriers'],
  ] as const)('leaves a transaction of %s, at points: %s', (what, points) => {
    const options = { seed, points, changes: 4000, e2fsck: 1, linux };
    const crash = what === 'blocks' ? crashRegisters : crashTree;

    const { images, wrong } = crash({ ...options, arguments: variant.arguments });

    expect(wrong, `of seed ${String(seed)}`).toEqual([]);
    expect(images).toBeGreaterThan(400);
  });
});

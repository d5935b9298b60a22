// The same as test/unit/fs/changes-model.test.ts, with many seeds and more calls; and a directory
// of 100,000 names, whose list takes time in proportion to them.
// DVK_SEED sets the first seed, DVK_SEEDS how many there are.
import { describe, expect, it } from 'vitest';
import { checkImage, freshImage, openChanged } from '../support/changed-volume.ts';
import { checkAgainstModel, modelVariants } from '../support/model-variants.ts';

const FIRST = Number(process.env['DVK_SEED'] ?? 100);
const SEEDS = Number(process.env['DVK_SEEDS'] ?? 20);

describe('a volume after random calls', () => {
  it.each(modelVariants)('with $name is as the model says, whatever the seed', (variant) => {
    for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
      expect(checkAgainstModel(variant, { seed, parts: 3, calls: 1500 })).toBeGreaterThan(5);
    }
  });
});

describe('a directory of 100,000 names', () => {
  it('finds each, lists them once, and is emptied', () => {
    const image = freshImage({ bytes: 256 << 20, arguments: ['-b', '1024', '-N', '110000'] });
    const { volume, device, close } = openChanged(image);
    const root = volume.inode(2, 0);
    const names = Array.from({ length: 100_000 }, (_, index) => Buffer.from(`name ${index}`));
    const file = { uid: 0, gid: 0, mode: 0o100644 };
    for (const name of names) volume.createFile(root, name, file);
    const inodes = new Set(names.map((name) => volume.lookup(root, name)?.number));
    expect(inodes.size).toBe(100_000);
    let listed = 0;
    volume.list(root, 0, ({ inode }) => {
      if (inodes.delete(inode)) listed++;
      return true;
    });
    expect(listed).toBe(100_000);
    for (const name of names) volume.unlink(root, name);
    close();
    checkImage(device.content);
  });
});

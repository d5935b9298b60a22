// No bytes on a volume make a change of it throw anything but FsError, or work without end.
// Method: change a few bytes of a small volume without checksums, where its metadata lies, open it
// for changes, and do all kinds of them. What the volume is afterwards is its own affair.
// DVK_FUZZ_CHANGES sets the number of cases, DVK_FUZZ_SEED the first seed.
import { describe, expect, it } from 'vitest';
import { isFsError } from '../../src/servers/fs/errors.ts';
import type { Volume } from '../../src/servers/fs/ext4/volume.ts';
import { openChanged } from '../support/changed-volume.ts';
import { imageObstacle, withDirectory } from '../support/images.ts';
import { SAMPLE_NAMES, makeSample } from '../support/sample.ts';

const CASES = Number(process.env['DVK_FUZZ_CHANGES'] ?? 40);
const SEED = Number(process.env['DVK_FUZZ_SEED'] ?? 1);
const BLOCK_BYTES = 1024;
const OWNER = { uid: 0, gid: 0 };
const FILE = { ...OWNER, mode: 0o100644 };

interface Target {
  content: Uint8Array;
  /** Blocks of metadata, by kind. */
  blocks: number[];
}

function prepare(features: string): Target {
  return withDirectory((directory) => {
    const sample = makeSample(directory, { features });
    const inodes = ['file', 'large', 'holes', 'far', 'link', 'few', 'indexed'].map((path) =>
      Math.floor(sample.inodeAt(path) / BLOCK_BYTES),
    );
    const directories = ['/', 'few', 'indexed'].flatMap((path) => sample.blocks(path).slice(0, 4));
    const maps = ['holes', 'far', 'large'].flatMap((path) => sample.blocks(path).slice(0, 3));
    return {
      content: sample.content,
      // The superblock, descriptors, and what follows them: bitmaps and tables.
      blocks: [1, 1, 2, 2, 3, 4, 5, 6, ...inodes, ...inodes, ...directories, ...maps],
    };
  });
}

/** Every kind of change, each of which may fail. */
function changeAll(volume: Volume, random: () => number): void {
  const attempt = (change: () => unknown): void => {
    try {
      change();
    } catch (error) {
      if (!isFsError(error)) throw error;
    }
  };
  const root = volume.inode(2, 0);
  const name = (text: string): Uint8Array => Buffer.from(text);
  const find = (text: string, from = root): ReturnType<Volume['inode']> => {
    const found = volume.lookup(from, name(text));
    return found ?? root;
  };
  const fill = new Uint8Array(3000).fill(1);
  const steps: (() => unknown)[] = [
    () => volume.createFile(root, name('new'), FILE),
    () => volume.write(find('new'), random() % 1e6, fill),
    () => volume.makeDirectory(find('few'), name('new'), FILE),
    () => volume.makeSymlink(find('few'), name('link'), { ...OWNER, target: fill.subarray(9, 99) }),
    () => volume.write(find('holes'), random() % 60_000, fill),
    () => volume.write(find('far'), random() % 1e8, fill),
    () => {
      volume.truncate(find('large'), random() % 90_000);
    },
    () => {
      volume.truncate(find('holes'), random() % 50_000);
    },
    () => {
      volume.allocate(find('holes'), 'punchHole', { offset: 1000, bytes: 30_000 });
    },
    () => {
      volume.allocate(find('large'), 'zeroRange', { offset: 1000, bytes: 99_000 });
    },
    () => {
      volume.setXattr(find('file'), name('user.small'), fill.subarray(0, 300));
    },
    () => {
      volume.removeXattr(find('file'), name('user.block'));
    },
    () => {
      volume.link(find('file'), find('indexed'), name('x'.repeat(random() % 250)));
    },
    () => volume.unlink(find('indexed'), name(SAMPLE_NAMES[random() % 300] ?? '')),
    () =>
      volume.rename(
        { directory: root, name: name('few') },
        { directory: find('indexed'), name: name('moved') },
      ),
    () => volume.unlink(root, name('holes')),
    () => volume.unlink(root, name('far')),
    () => volume.removeDirectory(root, name('few')),
  ];
  for (let step = 0; step < 30; step++)
    attempt(steps[random() % steps.length] ?? (() => undefined));
}

describe.skipIf(imageObstacle() !== undefined)('changes of a hostile volume', () => {
  it.each(['^metadata_csum', '^metadata_csum,^extents,^64bit', '^metadata_csum,inline_data'])(
    'with %s fail with FsError, or end',
    (features) => {
      const { content, blocks } = prepare(features);
      let opened = 0;
      for (let seed = SEED; seed < SEED + CASES; seed++) {
        let state = Math.imul(seed, 2654435761) >>> 0;
        const random = (): number =>
          (state = (Math.imul(state ^ (state >>> 15), 2246822519) + 3266489917) >>> 0);
        const changed = content.slice();
        for (let count = 1 + (random() % 4); count > 0; count--) {
          const block = blocks[random() % blocks.length] ?? 1;
          const at = block * BLOCK_BYTES + (random() % BLOCK_BYTES);
          changed[at] = [0, 1, 0x7f, 0x80, 0xff, random() & 255][random() % 6] ?? 0;
        }
        try {
          const { volume, changes } = openChanged(changed, seed);
          changeAll(volume, random);
          changes.commit();
          opened++;
        } catch (error) {
          if (!isFsError(error)) {
            throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
          }
        }
      }
      expect(opened).toBeGreaterThan(CASES / 4);
    },
  );
});

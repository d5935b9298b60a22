// Blocks that cannot be read: who needs them gets EIO, has changed nothing, and all else goes on.
// Method: seeded random calls beside a model, on a device whose reads of some blocks fail, or each
// of whose reads may; a cache of a few lines forgets what was read. When the device is well again
// everything is as the model says, and e2fsck finds nothing. DVK_SEED repeats a run.
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FsError, isFsError } from '../../../src/servers/fs/errors.ts';
import type { Inode } from '../../../src/servers/fs/ext4/inode.ts';
import {
  type ChangedVolume,
  checkImage,
  freshImage,
  openChanged,
} from '../../support/changed-volume.ts';
import { seeded } from '../../support/datagram-network.ts';
import { imageObstacle } from '../../support/images.ts';
import { ModelRun } from '../../support/model-run.ts';

const BLOCK_BYTES = 1024;
const SMALL = { cache: [32 * BLOCK_BYTES, BLOCK_BYTES] } as const;
const seed = Number(process.env['DVK_SEED'] ?? 20261123);

describe.skipIf(imageObstacle() !== undefined)('a device some of whose reads fail', () => {
  it.each([
    { what: 'blocks that are bad', badShare: 0.04, chance: 0 },
    { what: 'any read, now and then', badShare: 0, chance: 0.08 },
  ])('fails calls one by one, and loses nothing: $what', ({ badShare, chance }) => {
    const image = freshImage({ bytes: 12 << 20, arguments: ['-b', String(BLOCK_BYTES)] });
    let opened = openChanged(image, seed, SMALL);
    const random = seeded(seed);
    let fails = false;
    let failed = 0;
    const healed = (look: () => void): void => {
      const before = fails;
      fails = false;
      look();
      fails = before;
    };
    const options = { seed, bytesMax: 60_000, extents: true, isFailing: () => fails, healed };
    const run = new ModelRun(opened.volume, options);
    const bad = new Set<number>();
    const beforeRead = (at: number, bytes: number): void => {
      if (!fails) return;
      const blocks = Math.ceil((at + bytes) / BLOCK_BYTES);
      for (let block = Math.floor(at / BLOCK_BYTES); block < blocks; block++) {
        if (!bad.has(block) && random() >= chance) continue;
        failed++;
        throw new FsError('EIO', `block ${String(block)} cannot be read`);
      }
    };
    run.run(300);
    for (let round = 0; round < 5; round++) {
      // What was changed is in memory until then.
      run.dropAll();
      opened.close();
      opened = openChanged(opened.device.content, seed + round, SMALL);
      run.goOn(opened.volume);
      const { device, changes } = opened;
      device.beforeRead = beforeRead;
      bad.clear();
      for (let block = 0; block < device.bytes / BLOCK_BYTES; block++) {
        if (random() < badShare) bad.add(block);
      }
      fails = true;
      run.run(100);
      try {
        changes.commit();
      } catch (error) {
        if (!isFsError(error, 'EIO')) throw error;
      }
      run.run(30);
      fails = false;
      run.compare();
      changes.commit();
      const crashed = openChanged(device.content.slice());
      run.compare(crashed.volume);
      crashed.close();
      checkImage(crashed.device.content);
    }
    run.dropAll();
    opened.close();
    // What could not be freed is free when the volume is opened again.
    openChanged(opened.device.content).close();
    checkImage(opened.device.content);

    expect(failed).toBeGreaterThan(10);
  });
});

describe.skipIf(imageObstacle() !== undefined)(
  'a block of the metadata that cannot be read',
  () => {
    const owner = { uid: 0, gid: 0 };
    const name = Buffer.from('name');
    const content = Buffer.alloc(5000, 'x');
    let image: Uint8Array;
    let bad: readonly number[];

    beforeAll(() => {
      image = freshImage({ bytes: 12 << 20, arguments: ['-b', '1024', '-g', '2048'] });
    });

    /** As after a start, with nothing in memory. */
    function open(from: Uint8Array): ChangedVolume {
      const beforeRead = (at: number, bytes: number): void => {
        const found = bad.find((block) => at < (block + 1) * 1024 && at + bytes > block * 1024);
        if (found !== undefined) throw new FsError('EIO', `block ${String(found)} cannot be read`);
      };
      return openChanged(from, seed, { ...SMALL, beforeRead });
    }

    /** A file whose extents are in a block of their own, and that block. */
    function fileWithLeaf({ volume, changes }: ChangedVolume): [Inode, number] {
      const file = volume.createFile(volume.inode(2, 0), name, { ...owner, mode: 0o100644 });
      for (let at = 0; at < 16; at++) volume.write(file, at * 4096, content.subarray(0, 1024));
      changes.commit();
      const raw = Buffer.from(volume.inode(file.number, file.generation).raw);
      expect(raw.readUInt16LE(0x28 + 6)).toBe(1);
      return [file, raw.readUInt32LE(0x28 + 12 + 4)];
    }

    beforeEach(() => {
      bad = [];
    });

    it.each([
      ['the bitmap of blocks', 0x00],
      ['the bitmap of inodes', 0x04],
      ['the table of inodes', 0x08],
    ])('is no reason not to make files: %s of a group', (_, at) => {
      const place = Buffer.from(image).readUInt32LE(2048 + at);
      const opened = open(image.slice());
      const { volume } = opened;
      const root = volume.inode(2, 0);
      const directory = volume.makeDirectory(root, name, { ...owner, mode: 0o040755 });
      opened.changes.commit();
      opened.close();
      bad = at === 0x08 ? [place + 3, place + 4] : [place];
      const again = open(opened.device.content);

      const inside = again.volume.inode(directory.number, directory.generation);
      for (const parent of [again.volume.inode(2, 0), inside]) {
        for (let i = 0; i < 40; i++) {
          const file = { ...owner, mode: 0o100644 };
          const made = again.volume.createFile(parent, Buffer.from(`file ${String(i)}`), file);
          expect(again.volume.write(made, 0, content)).toBe(content.length);
        }
      }
      again.changes.commit();
      bad = [];
      again.close();
      checkImage(again.device.content);
    });

    it.each([
      ['unlink', false],
      ['the end of its last holder', true],
    ])('keeps no file from going, by %s, and its blocks are free later', (_, isHeld) => {
      const before = open(image.slice());
      const { blocksFree, inodesFree } = before.volume.status();
      const [, leaf] = fileWithLeaf(before);
      before.close();
      const opened = open(before.device.content);
      const { volume } = opened;
      const root = volume.inode(2, 0);
      const file = volume.lookup(root, name);
      bad = [leaf];
      if (isHeld && file !== undefined) volume.hold(file);

      volume.unlink(root, name);
      if (isHeld && file !== undefined) volume.drop(file);
      volume.createFile(root, Buffer.from('other'), { ...owner, mode: 0o100644 });
      volume.unlink(root, Buffer.from('other'));
      opened.changes.commit();
      const crashed = opened.device.content.slice();
      opened.close();

      expect(volume.lookup(root, name)).toBeUndefined();
      for (const found of [crashed, opened.device.content]) {
        bad = [leaf];
        // Nor is it a reason not to open the volume.
        open(found).close();
        bad = [];
        const later = open(found);
        expect(later.volume.status()).toMatchObject({ blocksFree, inodesFree });
        later.close();
        checkImage(found);
      }
    });

    it('is no reason not to open a volume with a file that was being cut', () => {
      const mke2fs = ['-b', '1024', '-O', '^metadata_csum'];
      const before = open(freshImage({ bytes: 12 << 20, arguments: mke2fs }));
      const [file, leaf] = fileWithLeaf(before);
      before.close();
      const { content: cut } = before.device;
      const view = new DataView(cut.buffer, cut.byteOffset);
      // On the list of orphans, as one whose last blocks are to be freed.
      view.setUint32(1024 + 0xe8, file.number, true);
      const table = view.getUint32(2048 + 0x08, true);
      const inodeBlock = table + Math.floor(((file.number - 1) * 256) / 1024);

      for (const block of [leaf, inodeBlock]) {
        bad = [block];
        const opened = open(cut.slice());
        const root = opened.volume.inode(2, 0);
        const other = opened.volume.createUnnamed(root, { ...owner, mode: 0o100644 });
        opened.volume.hold(other);
        opened.volume.drop(other);
        opened.close();
        bad = [];
        open(opened.device.content).close();
        checkImage(opened.device.content);
      }
    });
  },
);

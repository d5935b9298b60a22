// What files had is given back to the device when it is free for good, and not before.
import { readFileSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { openImage } from '../../../src/servers/fs/device.ts';
import { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import { openForWriting } from '../../../src/servers/fs/open.ts';
import { checkImage, freshImage, openChanged } from '../../support/changed-volume.ts';
import { imageObstacle, makeImage, withDirectory } from '../../support/images.ts';

const FILE = { uid: 0, gid: 0, mode: 0o100644 };
const SIZE = 8 << 20;
const bytes = (text: string): Uint8Array => Buffer.from(text);
const data = Buffer.alloc(SIZE, 'what the file had ');

describe.skipIf(imageObstacle() !== undefined)('freed blocks', () => {
  it('are given back when the removal is committed and they have been free for a while', () => {
    const { volume, device, changes, close } = openChanged(freshImage({ bytes: 32 << 20 }));
    const root = volume.inode(2, 0);
    const occurs = (): boolean => Buffer.from(device.content.buffer).includes('what the file had');
    volume.write(volume.createFile(root, bytes('file'), FILE), 0, data);
    changes.commit();
    volume.unlink(root, bytes('file'));
    expect(occurs()).toBe(true);

    for (let step = 0; step < 20; step++) volume.discard();
    expect(occurs()).toBe(true);
    changes.commit();
    volume.discard();
    expect(occurs()).toBe(true);
    const other = volume.createFile(root, bytes('other'), FILE);
    volume.write(other, 0, new Uint8Array(SIZE / 2).fill(5));
    changes.commit();
    for (let step = 0; step < 20; step++) volume.discard();

    expect(occurs()).toBe(false);
    const found = new Uint8Array(SIZE / 2);
    volume.read(other, 0, found);
    expect(found.every((byte) => byte === 5)).toBe(true);
    close();
    checkImage(device.content);
  });

  it('make an image small again', () => {
    withDirectory((directory) => {
      const path = makeImage(directory, { bytes: 64 << 20 });
      const before = statSync(path).blocks;
      const image = openImage(path, 'write');
      const memory = new Uint8Array(1 << 20);
      const { cache, changes, close } = openForWriting(image, { memory, timeMs: () => 1e12 });
      const volume = Volume.open(image, cache, { changes, ignoreJournal: true, discards: true });
      const root = volume.inode(2, 0);
      volume.write(volume.createFile(root, bytes('file'), FILE), 0, data);
      changes.commit();
      expect(statSync(path).blocks - before).toBeGreaterThanOrEqual(SIZE / 512);
      volume.unlink(root, bytes('file'));
      close();
      image.close();

      expect(statSync(path).blocks - before).toBeLessThan(SIZE / 512 / 4);
      checkImage(readFileSync(path));
    });
  });
});

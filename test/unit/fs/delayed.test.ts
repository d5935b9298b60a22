// Contents that have no blocks yet are as any others: they are read, counted and promised room, and
// a crash shows neither what their blocks held before nor a size behind them.
import { describe, expect, it } from 'vitest';
import type { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import type { Inode } from '../../../src/servers/fs/ext4/inode.ts';
import {
  type ChangedVolume,
  checkImage,
  freshImage,
  openChanged,
} from '../../support/changed-volume.ts';
import { NO_FILE } from '../../../src/servers/fs/changes.ts';
import { FsError } from '../../../src/servers/fs/errors.ts';
import { seeded } from '../../support/datagram-network.ts';
import { debugfs, imageObstacle, withDirectory } from '../../support/images.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const OWNER = { uid: 0, gid: 0 };
const FILE = { ...OWNER, mode: 0o100644 };
const BLOCK = 4096;
const bytes = (text: string): Uint8Array => Buffer.from(text);
const filled = (length: number, value = 7): Uint8Array => new Uint8Array(length).fill(value);

interface World extends ChangedVolume {
  root: Inode;
  file: Inode;
}

function world(args: readonly string[] = ['-b', String(BLOCK)], size = 32 << 20): World {
  const opened = openChanged(freshImage({ bytes: size, arguments: args }));
  const root = opened.volume.inode(2, 0);
  const file = opened.volume.createFile(root, bytes('file'), FILE);
  opened.changes.commit();
  return { ...opened, root, file };
}

function contentsOf(volume: Volume, file: Inode): Uint8Array {
  const found = filled(file.size, 255);
  volume.read(file, 0, found);
  return found;
}

/** The file as it is after a crash now; undefined if it has no such name. */
function afterCrash(device: ChangedVolume['device'], name: string): Uint8Array | undefined {
  const { volume, close, device: crashed } = openChanged(device.content.slice());
  const file = volume.lookup(volume.inode(2, 0), bytes(name));
  const found = file && contentsOf(volume, file);
  close();
  checkImage(crashed.content);
  return found;
}

function namesAfterCrash(device: ChangedVolume['device']): string[] {
  const { volume } = openChanged(device.content.slice());
  const names: string[] = [];
  volume.list(volume.inode(2, 0), 0, ({ name }) => names.push(Buffer.from(name).toString()) > 0);
  return names;
}

/** Changes until a transaction is committed that nobody asked for. */
function growTransaction({ volume, changes, root }: World): void {
  const { committed } = changes;
  for (let index = 0; changes.committed < committed + 2; index++) {
    const directory = volume.makeDirectory(root, bytes(`d${index}`), FILE);
    volume.setXattr(directory, bytes('user.x'), filled(300, 120));
  }
}

describe.skipIf(imageObstacle() !== undefined)('delayed contents', () => {
  it('are read, found by seek, and counted before they have blocks', () => {
    const { volume, device, file, close, changes } = world();
    const before = volume.status();
    const writes = device.writes;

    volume.write(file, 10 * BLOCK + 5, bytes('here'));
    volume.write(file, 3 * BLOCK, filled(BLOCK));

    expect(device.writes).toBe(writes);
    const content = new Uint8Array(10 * BLOCK + 9);
    content.set(bytes('here'), 10 * BLOCK + 5);
    content.fill(7, 3 * BLOCK, 4 * BLOCK);
    expect(contentsOf(volume, file)).toEqual(content);
    expect(volume.seek(file, 0, 'data')).toBe(3 * BLOCK);
    expect(volume.seek(file, 3 * BLOCK, 'hole')).toBe(4 * BLOCK);
    expect(volume.seek(file, 4 * BLOCK, 'data')).toBe(10 * BLOCK);
    expect(volume.attributes(file).sectors).toBe((2 * BLOCK) / 512);
    expect(volume.status().blocksFree).toBe(before.blocksFree - 2);

    changes.commit();
    expect(contentsOf(volume, file)).toEqual(content);
    expect(volume.attributes(file).sectors).toBe((2 * BLOCK) / 512);
    expect(afterCrash(device, 'file')).toEqual(content);
    close();
    checkImage(device.content);
  });

  it('of files that grow side by side lie together', () => {
    const { volume, device, changes, root, close } = world();
    const names = Array.from({ length: 8 }, (_, index) => String(index));
    const files = names.map((name) => volume.createFile(root, bytes(name), FILE));
    for (let at = 0; at < 2 << 20; at += BLOCK) {
      for (const file of files) volume.write(file, at, filled(BLOCK));
    }
    changes.commit();
    close();
    checkImage(device.content);

    withDirectory((directory) => {
      const image = join(directory, 'image');
      writeFileSync(image, device.content);
      for (const name of names) {
        const extents = debugfs(image, `dump_extents -l /${name}`).trim().split('\n').length - 1;
        expect(extents).toBeLessThanOrEqual(2);
      }
    });
  });

  it('are as they were written when there is more of them than the pool has room for', () => {
    const random = seeded(55);
    const below = (limit: number): number => Math.floor(random() * limit);
    const delayedMemory = new Uint8Array(24 * BLOCK);
    const { volume, device, changes, close } = openChanged(freshImage({ bytes: 32 << 20 }), 1, {
      delayedMemory,
    });
    const root = volume.inode(2, 0);
    const contents = [0, 1, 2].map(() => Buffer.alloc(120 * BLOCK));
    const files = contents.map((_, index) => volume.createFile(root, bytes(`${index}`), FILE));
    const sizes = files.map(() => 0);
    for (let step = 0; step < 400; step++) {
      const which = below(3);
      const [file, content] = [files[which], contents[which]];
      if (file === undefined || content === undefined) throw new Error('no such file');
      const length = 1 + below(step % 4 === 0 ? 40 * BLOCK : 2 * BLOCK);
      const offset = below(content.length - length);
      const data = Buffer.alloc(length, 1 + (step % 255));
      if (step % 37 === 36) {
        sizes[which] = offset;
        volume.truncate(file, offset);
        content.fill(0, offset);
        continue;
      }
      expect(volume.write(file, offset, data)).toBe(length);
      data.copy(content, offset);
      sizes[which] = Math.max(sizes[which] ?? 0, offset + length);
    }
    const check = (read: Volume, list: readonly Inode[]): void => {
      list.forEach((file, index) => {
        const expected = contents[index]?.subarray(0, sizes[index]);
        expect(file.size).toBe(sizes[index]);
        expect(expected?.equals(contentsOf(read, file))).toBe(true);
      });
    };
    check(volume, files);
    changes.commit();
    check(volume, files);
    close();
    checkImage(device.content);
  });

  it('that are dropped before they are written out take no block', () => {
    const { volume, device, changes, root, file, close } = world();
    const pattern = Buffer.alloc(BLOCK, 'never to be seen on the device ');
    const { blocksFree } = volume.status();
    const other = volume.createFile(root, bytes('other'), FILE);
    volume.write(file, 0, pattern);
    volume.write(other, 0, pattern);
    volume.truncate(file, 0);
    volume.unlink(root, bytes('other'));

    changes.commit();
    close();
    expect(volume.status().blocksFree).toBe(blocksFree);
    expect(Buffer.from(device.content.buffer).indexOf('never to be seen')).toBe(-1);
    checkImage(device.content);
  });

  it('that are cut off within a block read as zeros behind the cut', () => {
    const { volume, changes, device, file } = world();
    volume.write(file, 0, filled(3 * BLOCK));
    volume.truncate(file, BLOCK + 100);
    volume.truncate(file, 2 * BLOCK);

    const content = new Uint8Array(2 * BLOCK);
    content.fill(7, 0, BLOCK + 100);
    expect(contentsOf(volume, file)).toEqual(content);
    changes.commit();
    expect(afterCrash(device, 'file')).toEqual(content);
  });

  it('stay when the call that dropped them fails', () => {
    const { volume, changes, device, root, file } = world();
    volume.write(file, 0, filled(3 * BLOCK));
    expect(() => {
      volume.change(() => {
        volume.truncate(file, BLOCK);
        volume.write(file, 5 * BLOCK, filled(BLOCK, 9));
        volume.unlink(root, bytes('none'));
      });
    }).toThrow('ENOENT');

    expect(contentsOf(volume, file)).toEqual(filled(3 * BLOCK));
    changes.commit();
    expect(afterCrash(device, 'file')).toEqual(filled(3 * BLOCK));
  });

  it('are all there, and counted once, where some come to lie in front of others', () => {
    const { volume, file, close } = world();
    // The page of the first block becomes free, and is the one before that of the second.
    volume.write(file, 9 * BLOCK, filled(BLOCK));
    volume.write(file, BLOCK, filled(BLOCK, 1));
    volume.write(file, 3 * BLOCK, filled(BLOCK, 3));
    volume.write(file, 5 * BLOCK, filled(BLOCK, 5));
    volume.truncate(file, 6 * BLOCK);

    volume.write(file, 0, filled(BLOCK));

    const content = new Uint8Array(6 * BLOCK).fill(7, 0, BLOCK);
    for (const block of [1, 3, 5]) content.fill(block, block * BLOCK, (block + 1) * BLOCK);
    expect(contentsOf(volume, file)).toEqual(content);
    expect(volume.attributes(file).sectors).toBe((4 * BLOCK) / 512);
    volume.truncate(file, 0);
    expect(volume.attributes(file).sectors).toBe(0);
    close();
  });

  it('are not behind the size that a crash leaves', () => {
    const made = world(['-b', '1024', '-J', 'size=1', '-N', '4096']);
    const { volume, device, changes, file } = made;
    volume.write(file, 0, filled(1000));
    changes.commit();
    volume.write(file, 1024, filled(5000));
    volume.truncate(file, 9000);

    growTransaction(made);
    expect(afterCrash(device, 'file')?.length).toBeLessThanOrEqual(1024);
    expect(namesAfterCrash(device)).toContain('d0');

    changes.commit();
    expect(afterCrash(device, 'file')).toEqual(contentsOf(volume, file));
  });

  it('are there when their file has replaced another one', () => {
    const made = world(['-b', '1024', '-J', 'size=1', '-N', '4096']);
    const { volume, device, changes, root, file } = made;
    volume.write(file, 0, filled(5000, 1));
    changes.commit();
    volume.write(volume.createFile(root, bytes('new'), FILE), 0, filled(6000, 2));
    volume.rename(
      { directory: root, name: bytes('new') },
      { directory: root, name: bytes('file') },
    );

    growTransaction(made);
    expect(afterCrash(device, 'file')).toEqual(filled(6000, 2));
  });

  it('wait for a device that fails', () => {
    const { volume, device, changes, file, close } = world();
    volume.write(file, 0, filled(5 * BLOCK));
    const { before } = device;
    device.before = () => {
      throw Object.assign(new Error('EIO'), { code: 'EIO' });
    };
    expect(() => {
      changes.commit();
    }).toThrow('EIO');
    device.before = before;
    expect(contentsOf(volume, file)).toEqual(filled(5 * BLOCK));

    changes.commit();
    expect(afterCrash(device, 'file')).toEqual(filled(5 * BLOCK));
    close();
  });

  it('fail who syncs their file where it cannot be written, and nobody else', () => {
    const { volume, device, changes, root, file, close } = world();
    const other = volume.createFile(root, bytes('other'), FILE);
    const size = 37 * BLOCK;
    let place = -1;
    device.before = (call, at, length) => {
      if (call !== 'write' || length !== size) return;
      place = at;
      throw new FsError('EIO', 'a bad sector');
    };
    volume.write(file, 0, filled(size));
    volume.write(other, 0, filled(3 * BLOCK));
    const commit = (number?: number) => (): void => {
      changes.commit(number);
    };
    expect(commit(file.number)).toThrow('EIO: a bad sector');
    expect(commit()).toThrow('EIO: a bad sector');
    commit(other.number)();
    commit(NO_FILE)();
    expect(afterCrash(device, 'other')).toEqual(filled(3 * BLOCK));
    expect(afterCrash(device, 'file')).toEqual(filled(0));
    expect(contentsOf(volume, file)).toEqual(filled(size));
    device.before = (call, at, length) => {
      if (call === 'write' && length === size) place = at;
    };
    commit()();
    expect(afterCrash(device, 'file')).toEqual(filled(size));

    device.before = (call, at, length) => {
      const isBad = at < place + size && place < at + length;
      if (call === 'write' && isBad) throw new FsError('EIO', 'another one');
    };
    volume.write(file, BLOCK, filled(2 * BLOCK, 9));
    volume.write(other, 0, filled(3 * BLOCK, 9));
    expect(commit(file.number)).toThrow('EIO: another one');
    expect(commit(file.number)).toThrow('EIO: another one');
    commit(other.number)();
    expect(afterCrash(device, 'other')).toEqual(filled(3 * BLOCK, 9));
    expect(afterCrash(device, 'file')).toEqual(filled(size));
    const newer = filled(size).fill(9, BLOCK, 3 * BLOCK);
    expect(contentsOf(volume, file)).toEqual(newer);
    device.before = () => undefined;
    commit(file.number)();
    expect(afterCrash(device, 'file')).toEqual(newer);
    close();
  });

  it('of a file that cannot be written leave room for those of others', () => {
    const { volume, device, changes, root } = world(undefined, 160 << 20);
    const piece = filled(1 << 20);
    // The pool has room for 32 MiB.
    const files = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].map((name) =>
      volume.createFile(root, bytes(name), FILE),
    );
    for (const each of files) {
      for (let at = 0; at < 3; at++) volume.write(each, at << 20, piece);
    }
    let fails = true;
    const { before } = device;
    let refused = 0;
    device.before = (call, at, length) => {
      before(call, at, length);
      if (!fails || call !== 'write' || refused >= 3) return;
      refused++;
      throw new FsError('EIO', 'a bad sector');
    };
    const other = volume.createFile(root, bytes('other'), FILE);
    for (let at = 0; at < 60; at++) expect(volume.write(other, at << 20, piece)).toBe(1 << 20);
    fails = false;
    changes.commit();
    for (const each of [...files, other]) {
      const found = contentsOf(volume, each);
      expect(Buffer.compare(found, filled(found.length))).toBe(0);
    }
    expect(refused).toBe(3);
  });

  it.each([[[]], [['-O', '^has_journal']]])(
    'fail with ENOSPC when they are written, and never later (%j)',
    (args) => {
      const { volume, device, changes, root, close } = world(['-b', '1024', ...args], 6 << 20);
      const random = seeded(20261122);
      const files = Array.from({ length: 12 }, (_, index) => ({
        inode: volume.createFile(root, bytes(`f${index}`), FILE),
        content: new Uint8Array(1 << 20),
        size: 0,
      }));
      let failures = 0;
      for (let step = 0; failures < 10; step++) {
        const file = files[Math.floor(random() * files.length)]!;
        // Single blocks of sparse files need the most blocks for their maps.
        const offset = Math.floor(random() * 500) * 2048;
        const data = filled(1 + Math.floor(random() * 3000), 1 + (step % 250));
        try {
          const done = volume.write(file.inode, offset, data);
          file.content.set(data.subarray(0, done), offset);
          file.size = Math.max(file.size, offset + done);
        } catch (error) {
          expect(String(error)).toContain('ENOSPC');
          failures++;
        }
        if (random() < 0.01) changes.commit();
      }
      changes.commit();

      for (const { inode, content, size } of files) {
        expect(Buffer.compare(contentsOf(volume, inode), content.subarray(0, size))).toBe(0);
      }
      close();
      checkImage(device.content);
    },
  );
});

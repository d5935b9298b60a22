// What ext4 keeps of a file besides POSIX's attributes: flags, access times by their rules, the
// time of birth; and files that are made without a name.
import { describe, expect, it } from 'vitest';
import { BlockCache } from '../../../src/servers/fs/cache.ts';
import { type AccessTimes, marksAccess } from '../../../src/servers/fs/ext4/access-times.ts';
import type { Inode } from '../../../src/servers/fs/ext4/inode.ts';
import { Volume } from '../../../src/servers/fs/ext4/volume.ts';
import { checkImage, freshImage, openChanged, testTime } from '../../support/changed-volume.ts';
import { debugfs, imageObstacle, withDirectory } from '../../support/images.ts';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FILE = { uid: 0, gid: 0, mode: 0o100644 };
const FLAG = { sync: 0x8, immutable: 0x10, append: 0x20, noDump: 0x40, noAtime: 0x80 } as const;
const DIRSYNC = 0x10000;
const ALL = 0xffffffff;
const bytes = (text: string): Uint8Array => Buffer.from(text);

describe.skipIf(imageObstacle() !== undefined)('flags of a file', () => {
  it('are set, kept, and shown by Linux tools', () => {
    const { volume, device, changes, close } = openChanged(freshImage({ bytes: 16 << 20 }));
    const file = volume.createFile(volume.inode(2, 0), bytes('file'), FILE);
    const { flags } = volume.info(file);

    volume.setFlags(file, flags | FLAG.noDump | FLAG.immutable, ALL);
    expect(() => volume.write(file, 0, bytes('x'))).toThrow('EPERM');
    expect(() => volume.unlink(volume.inode(2, 0), bytes('file'))).toThrow('EPERM');
    volume.setFlags(file, FLAG.append, FLAG.immutable | FLAG.append);
    expect(volume.write(file, 0, bytes('log'))).toBe(3);
    expect(() => volume.write(file, 0, bytes('x'))).toThrow('EPERM');

    expect(volume.info(file).flags).toBe(flags | FLAG.noDump | FLAG.append);
    close();
    expect(changes.failure?.code).toBe('EROFS');
    checkImage(device.content);
    withDirectory((directory) => {
      const image = join(directory, 'image');
      writeFileSync(image, device.content);
      expect(debugfs(image, 'stat /file')).toContain('Flags: 0x80060');
    });
  });

  it('that users may not set are refused with EOPNOTSUPP, and nothing is changed', () => {
    const { volume } = openChanged(freshImage({ bytes: 16 << 20 }));
    const file = volume.createFile(volume.inode(2, 0), bytes('file'), FILE);
    const { flags } = volume.info(file);
    for (const flag of [0x1, 0x800, 0x1000, DIRSYNC, 0x80000, 0x200000, 0x10000000, 0x20000000]) {
      expect(() => {
        volume.setFlags(file, (flags ^ flag) >>> 0, ALL);
      }).toThrow('EOPNOTSUPP');
    }
    expect(volume.info(file).flags).toBe(flags);
    expect(() => {
      openReadOnly(openChanged(freshImage({ bytes: 16 << 20 })).device).setFlags(file, 0, ALL);
    }).toThrow('EROFS');
  });

  it('that say sync make writes and names last before the call returns', () => {
    const { volume, device } = openChanged(freshImage({ bytes: 16 << 20 }));
    const root = volume.inode(2, 0);
    const file = volume.createFile(root, bytes('file'), FILE);
    volume.setFlags(file, FLAG.sync, FLAG.sync);
    volume.setFlags(root, DIRSYNC, DIRSYNC);

    volume.write(file, 0, bytes('written'));
    volume.change(() => volume.createFile(root, bytes('named'), FILE));

    const crashed = openChanged(device.content.slice()).volume;
    const found = new Uint8Array(7);
    crashed.read(crashed.lookup(crashed.inode(2, 0), bytes('file'))!, 0, found);
    expect(Buffer.from(found).toString()).toBe('written');
    expect(crashed.lookup(crashed.inode(2, 0), bytes('named'))).toBeDefined();
  });
});

describe('access times', () => {
  const now = { seconds: 1_000_000, nanoseconds: 5 };
  const before = { seconds: 999_000, nanoseconds: 0 };
  const yesterday = { seconds: 1_000_000 - 86_400, nanoseconds: 0 };
  const inode = (times: Partial<Inode>): Inode =>
    ({ flags: 0, accessed: before, modified: yesterday, changed: yesterday, ...times }) as Inode;

  it.each<[AccessTimes, Partial<Inode>, boolean]>([
    ['off', {}, false],
    ['strict', {}, true],
    ['strict', { accessed: now }, false],
    ['strict', { flags: FLAG.noAtime }, false],
    ['relatime', {}, false],
    ['relatime', { modified: before }, true],
    ['relatime', { changed: now }, true],
    ['relatime', { accessed: yesterday, modified: before }, true],
    ['relatime', { accessed: { seconds: 900_000, nanoseconds: 0 } }, true],
    ['relatime', { changed: now, flags: FLAG.noAtime }, false],
  ])('by the rule "%s" with %j', (rule, times, marked) => {
    expect(marksAccess(rule, inode(times), now)).toBe(marked);
  });
});

describe.skipIf(imageObstacle() !== undefined)('a file without a name', () => {
  it('is written, given a name, and there after a crash', () => {
    const { volume, device, changes, close } = openChanged(freshImage({ bytes: 16 << 20 }));
    const root = volume.inode(2, 0);
    const file = volume.change(() => {
      const made = volume.createUnnamed(root, FILE);
      volume.hold(made);
      return made;
    });
    expect(volume.attributes(file).links).toBe(0);
    expect(volume.info(file).born).toEqual(testTime());
    volume.write(file, 0, bytes('contents'));
    changes.commit();
    volume.link(file, root, bytes('name'));
    volume.drop(file);
    changes.commit();

    const crashed = openChanged(device.content.slice());
    const found = crashed.volume.lookup(crashed.volume.inode(2, 0), bytes('name'))!;
    const content = new Uint8Array(8);
    expect(crashed.volume.read(found, 0, content)).toBe(8);
    expect(Buffer.from(content).toString()).toBe('contents');
    expect(crashed.volume.attributes(found).links).toBe(1);
    crashed.close();
    checkImage(crashed.device.content);
    close();
    checkImage(device.content);
  });

  it('goes when it is let go, or with a crash', () => {
    const { volume, device, changes, close } = openChanged(freshImage({ bytes: 16 << 20 }));
    const root = volume.inode(2, 0);
    const before = volume.status();
    const make = (): Inode =>
      volume.change(() => {
        const made = volume.createUnnamed(root, FILE);
        volume.hold(made);
        return made;
      });
    const dropped = make();
    volume.write(dropped, 0, new Uint8Array(100_000));
    volume.drop(dropped);
    expect(() => {
      volume.link(dropped, root, bytes('late'));
    }).toThrow('ESTALE');
    const lost = make();
    volume.write(lost, 0, new Uint8Array(100_000));
    changes.commit();

    const crashed = openChanged(device.content.slice());
    expect(crashed.volume.status()).toEqual(before);
    crashed.close();
    checkImage(crashed.device.content);
    const removed = volume.createFile(root, bytes('removed'), FILE);
    volume.hold(removed);
    volume.unlink(root, bytes('removed'));
    expect(() => {
      volume.link(removed, root, bytes('again'));
    }).toThrow('ENOENT');
    close();
  });
});

function openReadOnly(device: ReturnType<typeof openChanged>['device']): Volume {
  return Volume.open(device, new BlockCache(device, new Uint8Array(1 << 20)), {
    ignoreJournal: true,
  });
}

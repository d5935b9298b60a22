// What cannot be done to a volume fails with the code that POSIX or Linux has for it, and has
// changed nothing: neither the counts of free space, nor what e2fsck says of the image.
import { describe, expect, it } from 'vitest';
import type { Inode } from '../../../src/servers/fs/ext4/inode.ts';
import {
  type ChangedVolume,
  checkImage,
  freshImage,
  openChanged,
} from '../../support/changed-volume.ts';
import { debugfs, imageObstacle, makeImage, withDirectory } from '../../support/images.ts';
import { readFileSync } from 'node:fs';

const OWNER = { uid: 0, gid: 0 };
const FILE = { ...OWNER, mode: 0o100644 };
const bytes = (text: string): Uint8Array => Buffer.from(text);

interface World extends ChangedVolume {
  root: Inode;
  file: Inode;
  directory: Inode;
}

function world(args: readonly string[] = ['-b', '1024'], size = 16 << 20): World {
  const opened = openChanged(freshImage({ bytes: size, arguments: args }));
  const root = opened.volume.inode(2, 0);
  const file = opened.volume.createFile(root, bytes('file'), FILE);
  const directory = opened.volume.makeDirectory(root, bytes('directory'), FILE);
  opened.volume.createFile(directory, bytes('inside'), FILE);
  return { ...opened, root, file, directory };
}

/** The code of the error, and whether the counts stayed. */
function codeOf({ volume }: World, call: () => unknown): string {
  const before = JSON.stringify(volume.status());
  let code = 'done';
  try {
    call();
  } catch (error) {
    code = (error as { code?: string }).code ?? String(error);
  }
  return JSON.stringify(volume.status()) === before ? code : `${code}, and counts changed`;
}

describe.skipIf(imageObstacle() !== undefined)('a call that cannot be done', () => {
  it('fails with its code', () => {
    const at = world();
    const { volume, root, file, directory, close, device } = at;
    const link = { ...OWNER, target: bytes('target') };
    const place = (name: string, inside = root) => ({ directory: inside, name: bytes(name) });
    const cases: [string, () => unknown][] = [
      ['EEXIST', () => volume.createFile(root, bytes('file'), FILE)],
      ['EEXIST', () => volume.makeDirectory(root, bytes('file'), FILE)],
      ['EEXIST', () => volume.makeSymlink(root, bytes('directory'), link)],
      ['EEXIST', () => volume.createFile(root, bytes('.'), FILE)],
      ['ENOTDIR', () => volume.createFile(file, bytes('below'), FILE)],
      ['ENAMETOOLONG', () => volume.createFile(root, bytes('n'.repeat(256)), FILE)],
      ['EINVAL', () => volume.createFile(root, bytes('a/b'), FILE)],
      ['EINVAL', () => volume.createFile(root, bytes(''), FILE)],
      ['EINVAL', () => volume.createFile(root, bytes('x'), { ...FILE, mode: 0o40755 })],
      ['ENAMETOOLONG', () => volume.makeSymlink(root, bytes('l'), { ...link, target: big(1024) })],
      ['ENOENT', () => volume.makeSymlink(root, bytes('l'), { ...link, target: bytes('') })],
      [
        'EPERM',
        () => {
          volume.link(directory, root, bytes('again'));
        },
      ],
      [
        'EEXIST',
        () => {
          volume.link(file, root, bytes('file'));
        },
      ],
      ['ENOENT', () => volume.unlink(root, bytes('none'))],
      ['EISDIR', () => volume.unlink(root, bytes('directory'))],
      ['ENOTDIR', () => volume.unlink(file, bytes('x'))],
      ['ENOENT', () => volume.removeDirectory(root, bytes('none'))],
      ['ENOTDIR', () => volume.removeDirectory(root, bytes('file'))],
      ['ENOTEMPTY', () => volume.removeDirectory(root, bytes('directory'))],
      ['EINVAL', () => volume.removeDirectory(root, bytes('.'))],
      ['ENOTEMPTY', () => volume.removeDirectory(root, bytes('..'))],
      ['ENOENT', () => volume.rename(place('none'), place('x'))],
      ['EEXIST', () => volume.rename(place('file'), place('directory'), 'noReplace')],
      ['ENOENT', () => volume.rename(place('file'), place('none'), 'exchange')],
      ['EISDIR', () => volume.rename(place('file'), place('directory'))],
      ['ENOTDIR', () => volume.rename(place('directory'), place('file'))],
      ['EINVAL', () => volume.rename(place('directory'), place('x', directory))],
      ['EINVAL', () => volume.rename(place('inside', directory), place('', root))],
      ['EBUSY', () => volume.rename(place('.'), place('x'))],
      ['EISDIR', () => volume.write(directory, 0, bytes('x'))],
      [
        'EISDIR',
        () => {
          volume.truncate(directory, 0);
        },
      ],
      ['EFBIG', () => volume.write(file, 2 ** 52, bytes('x'))],
      [
        'EFBIG',
        () => {
          volume.truncate(file, 2 ** 52);
        },
      ],
      [
        'EINVAL',
        () => {
          volume.truncate(file, -1);
        },
      ],
      [
        'EINVAL',
        () => {
          volume.allocate(file, 'allocate', { offset: 0, bytes: 0 });
        },
      ],
      ['ENXIO', () => volume.seek(file, 0, 'data')],
      [
        'ENODATA',
        () => {
          volume.removeXattr(file, bytes('user.none'));
        },
      ],
      [
        'ENODATA',
        () => {
          volume.setXattr(file, bytes('user.x'), bytes(''), { replace: true });
        },
      ],
      [
        'EOPNOTSUPP',
        () => {
          volume.setXattr(file, bytes('other.x'), bytes(''));
        },
      ],
      [
        'ENOSPC',
        () => {
          volume.setXattr(file, bytes('user.x'), big(5000));
        },
      ],
      [
        'E2BIG',
        () => {
          volume.setXattr(file, bytes('user.x'), big(65537));
        },
      ],
      [
        'EINVAL',
        () => {
          volume.setXattr(file, bytes('system.posix_acl_access'), big(7));
        },
      ],
    ];
    for (const [code, call] of cases)
      expect([codeOf(at, call), String(call)]).toEqual([code, String(call)]);
    close();
    checkImage(device.content);
  });

  it('fails with ENOSPC when the space is gone, and writes what there is', () => {
    const at = world(['-b', '1024', '-O', '^has_journal', '-m', '10'], 2 << 20);
    const { volume, root, file, close, device } = at;
    volume.actAs({ uid: 1, gid: 1 });
    const available = volume.status().blocksAvailable;
    const written = volume.write(file, 0, big(4 << 20));
    expect(written / 1024).toBeGreaterThan(available - 8);
    expect(volume.status().blocksAvailable).toBe(0);
    expect(codeOf(at, () => volume.write(file, written, bytes('more')))).toBe('ENOSPC');
    expect(codeOf(at, () => volume.makeDirectory(root, bytes('d'), FILE))).toBe('ENOSPC');
    volume.actAs({ uid: 0, gid: 0 });
    volume.makeDirectory(root, bytes('d'), FILE);
    expect(volume.write(file, written, bytes('more'))).toBe(4);

    volume.truncate(file, 0);
    volume.actAs({ uid: 1, gid: 1 });
    // What was just freed is waited for.
    expect(volume.write(file, 0, big(1 << 20))).toBe(1 << 20);
    close();
    checkImage(device.content);
  });

  it('fails with ENOSPC when the inodes are gone', () => {
    const at = world(['-b', '1024', '-N', '32']);
    let code = 'done';
    for (let index = 0; code === 'done'; index++) {
      try {
        at.volume.createFile(at.root, bytes(`${index}`), FILE);
      } catch (error) {
        code = (error as { code: string }).code;
      }
    }
    expect(code).toBe('ENOSPC');
    expect(at.volume.status().inodesFree).toBe(0);
    at.close();
    checkImage(at.device.content);
  });

  it('fails with EPERM for what flags forbid', () => {
    const content = withDirectory((directory) => {
      const image = makeImage(directory, { bytes: 16 << 20, arguments: ['-b', '1024'] });
      for (const [name, flags] of [
        ['immutable', '0x80010'],
        ['append', '0x80020'],
      ] as const) {
        debugfs(image, `write /dev/null ${name}`, '-w');
        debugfs(image, `set_inode_field ${name} flags ${flags}`, '-w');
      }
      return new Uint8Array(readFileSync(image));
    });
    const opened = openChanged(content);
    const { volume } = opened;
    const root = volume.inode(2, 0);
    const at = { ...opened, root, file: root, directory: root };
    for (const name of ['immutable', 'append']) {
      const inode = volume.lookup(root, bytes(name))!;
      expect(codeOf(at, () => volume.unlink(root, bytes(name)))).toBe('EPERM');
      expect(
        codeOf(at, () => {
          volume.link(inode, root, bytes('x'));
        }),
      ).toBe('EPERM');
      expect(
        codeOf(at, () => {
          volume.truncate(inode, 5);
        }),
      ).toBe('EPERM');
      expect(
        codeOf(at, () => {
          volume.setAttributes(inode, { mode: 0 });
        }),
      ).toBe('EPERM');
      expect(
        codeOf(at, () => {
          volume.setXattr(inode, bytes('user.a'), bytes(''));
        }),
      ).toBe('EPERM');
    }
    const append = volume.lookup(root, bytes('append'))!;
    expect(volume.write(append, 0, bytes('log'))).toBe(3);
    expect(codeOf(at, () => volume.write(append, 0, bytes('x')))).toBe('EPERM');
    const immutable = volume.lookup(root, bytes('immutable'))!;
    expect(codeOf(at, () => volume.write(immutable, 0, bytes('x')))).toBe('EPERM');
  });

  it('fails with EMLINK for too many links', () => {
    const content = withDirectory((directory) => {
      const image = makeImage(directory, { bytes: 16 << 20, arguments: ['-b', '1024'] });
      debugfs(image, 'write /dev/null file', '-w');
      debugfs(image, 'mkdir directory', '-w');
      for (const name of ['file', 'directory']) {
        debugfs(image, `set_inode_field ${name} links_count 64999`, '-w');
      }
      return new Uint8Array(readFileSync(image));
    });
    const { volume } = openChanged(content);
    const root = volume.inode(2, 0);
    const file = volume.lookup(root, bytes('file'))!;
    const directory = volume.lookup(root, bytes('directory'))!;
    volume.link(file, root, bytes('last'));
    volume.makeDirectory(directory, bytes('last'), FILE);

    expect(() => {
      volume.link(file, root, bytes('one more'));
    }).toThrow('EMLINK');
    expect(() => volume.makeDirectory(directory, bytes('one more'), FILE)).toThrow('EMLINK');
    expect(volume.attributes(directory).links).toBe(65_000);
  });

  it.each([
    ['mmp', 'EOPNOTSUPP'],
    ['quota', 'EROFS'],
    ['bigalloc', 'EROFS'],
    ['project,quota', 'EROFS'],
    ['ea_inode', 'EROFS'],
    ['encrypt', 'EROFS'],
    ['verity', 'EROFS'],
  ])('fails for a volume with %s, whose name it tells', (features, code) => {
    const image = freshImage({ bytes: 16 << 20, arguments: ['-O', features] });
    let message = '';
    try {
      openChanged(image);
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain(code);
    expect(features.split(',').some((name) => message.includes(name))).toBe(true);
  });
});

function big(length: number): Uint8Array {
  return new Uint8Array(length).fill(120);
}

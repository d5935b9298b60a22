// Extended attributes: setxattr(2), getxattr(2), listxattr(2), removexattr(2) and their forms for
// links and descriptors, with the name spaces of xattr(7). POSIX.1-2024 does not have them.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  O_RDONLY,
  XATTR_CREATE,
  XATTR_NAME_MAX,
  XATTR_REPLACE,
  XATTR_SIZE_MAX,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds } from '../support/posix-kinds.ts';

const fs = underTest();
const NAMES = ['user.a', 'trusted.a', 'security.a'] as const;

async function text(p: Process, path: string, name: string): Promise<string> {
  return (await p.getxattr(path, name)).toString();
}

/** The names that a test sets: a security module may add one of its own. */
async function list(p: Process, path: string): Promise<string[]> {
  const names = await done(p.listxattr(path));
  return names.filter((name) => name !== 'security.selinux');
}

describe('an extended attribute', () => {
  it.for(NAMES)('%s is set, read, listed and removed', async (name) => {
    const p = await fs.as();
    await p.create('f');

    await fs.check(
      ['before', () => p.getxattr('f', name), 'ENODATA'],
      ['remove before', () => p.removexattr('f', name), 'ENODATA'],
      ['set', () => p.setxattr('f', name, 'value'), 0],
      ['get', () => text(p, 'f', name), 'value'],
      ['list', () => list(p, 'f'), [name]],
      ['set to less', () => p.setxattr('f', name, 'v'), 0],
      ['get less', () => text(p, 'f', name), 'v'],
      ['set to nothing', () => p.setxattr('f', name, ''), 0],
      ['get nothing', () => text(p, 'f', name), ''],
      ['is there', () => list(p, 'f'), [name]],
      ['remove', () => p.removexattr('f', name), 0],
      ['after', () => p.getxattr('f', name), 'ENODATA'],
      ['remove again', () => p.removexattr('f', name), 'ENODATA'],
      ['list after', () => list(p, 'f'), []],
    );
  });

  it('is made only where it is not, or set only where it is, as the flags say', async () => {
    const p = await fs.as();
    await p.create('f');

    await fs.check(
      ['replace none', () => p.setxattr('f', 'user.a', 'x', XATTR_REPLACE), 'ENODATA'],
      ['create', () => p.setxattr('f', 'user.a', 'x', XATTR_CREATE), 0],
      ['create again', () => p.setxattr('f', 'user.a', 'y', XATTR_CREATE), 'EEXIST'],
      ['is as it was', () => text(p, 'f', 'user.a'), 'x'],
      ['replace', () => p.setxattr('f', 'user.a', 'z', XATTR_REPLACE), 0],
      ['is new', () => text(p, 'f', 'user.a'), 'z'],
      ['an unknown flag', () => p.setxattr('f', 'user.a', 'x', 4), 'EINVAL'],
    );
  });

  it('has any bytes', async () => {
    const p = await fs.as();
    await p.create('f');
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

    await fs.check(
      ['set', () => p.setxattr('f', 'user.bytes', bytes), 0],
      ['get', async () => (await done(p.getxattr('f', 'user.bytes'))).equals(bytes), true],
    );
  });

  it('tells its size where there is no room, and fails with ERANGE in too little', async () => {
    const p = await fs.as();
    await p.create('f');
    await done(p.setxattr('f', 'user.a', 'value'));
    await done(p.setxattr('f', 'user.b', 'value'));

    await fs.check(
      ['size', () => p.make('getxattr', 'f', 'user.a', 0, 0), 5],
      ['too little room', () => p.getxattr('f', 'user.a', 4), 'ERANGE'],
      ['just enough', async () => (await p.getxattr('f', 'user.a', 5)).toString(), 'value'],
      ['size of the list', () => p.make('listxattr', 'f', 0, 0), 14],
      ['too little for the list', () => p.listxattr('f', 13), 'ERANGE'],
      ['enough for the list', () => p.listxattr('f', 14), ['user.a', 'user.b']],
    );
  });

  it('fails for names that there cannot be', async () => {
    const p = await fs.as();
    await p.create('f');
    const long = `user.${'n'.repeat(XATTR_NAME_MAX - 5)}`;

    await fs.check(
      ['255 bytes', () => p.setxattr('f', long, 'v'), 0],
      ['are there', () => text(p, 'f', long), 'v'],
      ['256 bytes', () => p.setxattr('f', `${long}n`, 'v'), 'ERANGE'],
      ['get of 256', () => p.getxattr('f', `${long}n`), 'ERANGE'],
      ['remove of 256', () => p.removexattr('f', `${long}n`), 'ERANGE'],
      ['no name', () => p.setxattr('f', '', 'v'), 'ERANGE'],
      ['no name to get', () => p.getxattr('f', ''), 'ERANGE'],
      ['no name space', () => p.setxattr('f', 'name', 'v'), 'EOPNOTSUPP'],
      ['an unknown name space', () => p.setxattr('f', 'other.a', 'v'), 'EOPNOTSUPP'],
      ['get of an unknown one', () => p.getxattr('f', 'other.a'), 'EOPNOTSUPP'],
      ['remove of an unknown one', () => p.removexattr('f', 'other.a'), 'EOPNOTSUPP'],
      ['nothing behind the point', () => p.setxattr('f', 'user.', 'v'), 'EINVAL'],
      ['a bad address', () => p.make('setxattr', 'f', 1, 1, 1, 0), 'EFAULT'],
      ['a value at a bad address', () => p.make('setxattr', 'f', 'user.a', 1, 5, 0), 'EFAULT'],
    );
  });

  it('fails with E2BIG for a value of more than 64 KiB', async () => {
    const p = await fs.as();
    await p.create('f');
    const size = XATTR_SIZE_MAX + 1;

    await fs.check(
      ['too much', () => p.setxattr('f', 'user.a', Buffer.alloc(size)), 'E2BIG'],
      ['none', () => list(p, 'f'), []],
    );
  });

  it('of any size up to 2000 bytes is kept, and several of them', async () => {
    const p = await fs.as();
    await p.create('f');
    const rows: Row[] = [];
    for (const size of [1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 100, 255, 256, 500, 1000, 2000]) {
      const value = String.fromCharCode(97 + (size % 26)).repeat(size);
      rows.push([`set ${size}`, await p.setxattr('f', 'user.sized', value), 0]);
      rows.push([`get ${size}`, await text(p, 'f', 'user.sized'), value]);
    }
    const names = Array.from({ length: 20 }, (_, i) => `user.name-${String(i).padStart(2, '0')}`);
    await done(p.removexattr('f', 'user.sized'));
    for (const [i, name] of names.entries()) {
      rows.push([`set ${name}`, await p.setxattr('f', name, `value ${i}`), 0]);
    }
    rows.push(['list', await list(p, 'f'), names]);
    for (const [i, name] of names.entries()) {
      rows.push([`get ${name}`, await text(p, 'f', name), `value ${i}`]);
      if (i % 2 === 0) rows.push([`remove ${name}`, await p.removexattr('f', name), 0]);
    }
    const odd = names.filter((_, i) => i % 2 === 1);

    await fs.check(...rows, ['list after that', () => list(p, 'f'), odd]);
  });

  it('belongs to a file and not to its name', async () => {
    const p = await fs.as();
    await p.create('f');
    await done(p.link('f', 'g'));
    await done(p.setxattr('f', 'user.a', 'v'));
    const fd = await done(p.open('g', O_RDONLY));
    const room = { out: 10 };

    await fs.check(
      ['by the other name', () => text(p, 'g', 'user.a'), 'v'],
      ['rename', () => p.rename('f', 'h'), 0],
      ['by the new name', () => text(p, 'h', 'user.a'), 'v'],
      ['by a descriptor', () => p.make('fgetxattr', fd, 'user.a', room, 10), 1],
      ['set by a descriptor', () => p.make('fsetxattr', fd, 'user.b', Buffer.from('w'), 1, 0), 0],
      ['list by a descriptor', () => p.make('flistxattr', fd, { out: 99 }, 99), 14],
      ['remove by a descriptor', () => p.make('fremovexattr', fd, 'user.a'), 0],
      ['is seen by name', () => list(p, 'h'), ['user.b']],
      ['of none', () => p.make('fgetxattr', 999, 'user.a', room, 10), 'EBADF'],
      [
        'a new file has none',
        async () => {
          await p.create('f');
          return list(p, 'f');
        },
        [],
      ],
    );
  });

  it('user. is for files and directories alone, the others for all', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const rows: Row[] = [];
    const value = Buffer.from('v');
    for (const { name } of KINDS) {
      const plain = name === 'file' || name === 'directory';
      for (const space of NAMES) {
        const result = await p.make('lsetxattr', name, space, value, 1, 0);
        rows.push([`${space} of ${name}`, result, space === 'user.a' && !plain ? 'EPERM' : 0]);
      }
    }

    await fs.check(...rows);
  });

  it('user. of a sticky directory is for its owner', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    const owner = await fs.as(OWNER);
    await done(root.mkdir('d'));
    await done(root.chmod('d', 0o1777));
    await done(root.chown('d', OWNER.uid, OWNER.gid));

    await fs.check(
      ['another', () => p.setxattr('d', 'user.a', 'v'), 'EPERM'],
      ['the owner', () => owner.setxattr('d', 'user.a', 'v'), 0],
      ['another reads it', () => text(p, 'd', 'user.a'), 'v'],
    );
  });

  it('trusted. and security. are for root', async () => {
    const root = await fs.as();
    const p = await fs.as(OWNER);
    await p.create('f', '', 0o666);
    await done(root.setxattr('f', 'trusted.a', 'v'));
    await done(root.setxattr('f', 'security.a', 'v'));

    await fs.check(
      ['set trusted', () => p.setxattr('f', 'trusted.b', 'v'), 'EPERM'],
      ['get trusted', () => p.getxattr('f', 'trusted.a'), 'ENODATA'],
      ['remove trusted', () => p.removexattr('f', 'trusted.a'), 'EPERM'],
      ['trusted is not listed', async () => (await list(p, 'f')).includes('trusted.a'), false],
      ['set security', () => p.setxattr('f', 'security.b', 'v'), 'EPERM'],
      ['get security', () => text(p, 'f', 'security.a'), 'v'],
      ['remove security', () => p.removexattr('f', 'security.a'), 'EPERM'],
      ['root sees both', () => list(root, 'f'), ['security.a', 'trusted.a']],
    );
  });

  it('user. needs the permission to read or write', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await root.create('read', '', 0o644);
    await root.create('write', '', 0o622);
    await done(root.setxattr('read', 'user.a', 'v'));
    await done(root.setxattr('write', 'user.a', 'v'));

    await fs.check(
      ['get', () => text(p, 'read', 'user.a'), 'v'],
      ['set', () => p.setxattr('read', 'user.a', 'w'), 'EACCES'],
      ['remove', () => p.removexattr('read', 'user.a'), 'EACCES'],
      ['get of what may not be read', () => p.getxattr('write', 'user.a'), 'EACCES'],
      ['set of that', () => p.setxattr('write', 'user.a', 'w'), 0],
      ['remove of that', () => p.removexattr('write', 'user.a'), 0],
    );
  });
});

describe('capabilities of a file', () => {
  /** VFS_CAP_REVISION_2 with one permitted capability. */
  const CAPABILITY = Buffer.from('0000000200200000000000000000000000000000', 'hex');

  it('go when the file is written, or its owner changes', async () => {
    const root = await fs.as();
    await root.create('f', 'text', 0o755);
    const set = async (): Promise<unknown> => root.setxattr('f', 'security.capability', CAPABILITY);
    const there = async (): Promise<boolean> =>
      (await list(root, 'f')).includes('security.capability');
    const written = async (): Promise<unknown> => {
      const fd = await done(root.open('f', 1));
      await done(root.write(fd, 'x'));
      return root.close(fd);
    };

    await fs.check(
      ['set', set, 0],
      ['is there', there, true],
      ['write', written, 0],
      ['is gone', there, false],
      ['set again', set, 0],
      ['chown', () => root.chown('f', 5, 5), 0],
      ['is gone again', there, false],
      ['a third time', set, 0],
      ['truncate', () => root.truncate('f', 1), 0],
      ['is gone at last', there, false],
    );
  });
});

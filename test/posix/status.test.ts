// What is told of files and of the file system: stat(), lstat(), fstat(), fstatat(), statvfs(),
// fstatvfs(), pathconf() of POSIX.1-2024, and statx(2), statfs(2).
import { describe, it } from 'vitest';
import { type Process, type Stat, done } from '../support/posix-calls.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../support/posix-constants.ts';
import { OTHER, type Row, underTest } from '../support/posix-files.ts';
import { DEVICE, KINDS, inode, makeKinds } from '../support/posix-kinds.ts';

const fs = underTest();
const TYPES: Readonly<Record<string, number>> = {
  file: S_IFREG,
  directory: S_IFDIR,
  link: S_IFLNK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
  character: S_IFCHR,
  block: S_IFBLK,
};
const STATX_BASIC = 0x7ff;
const ALL_FIELDS = ['dev', 'ino', 'mode', 'nlink', 'uid', 'gid', 'rdev', 'size', 'blocks'] as const;
const TIME_FIELDS = ['atime', 'mtime', 'ctime'] as const;

/** struct statx, as far as struct stat has the same; device numbers are major << 8 | minor. */
function fromStatx(bytes: Buffer): Partial<Stat> & { mask: number } {
  const time = (at: number): bigint =>
    bytes.readBigInt64LE(at) * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + 8));
  const device = (at: number): number => (bytes.readUInt32LE(at) << 8) | bytes.readUInt32LE(at + 4);
  return {
    mask: bytes.readUInt32LE(0),
    nlink: bytes.readUInt32LE(16),
    uid: bytes.readUInt32LE(20),
    gid: bytes.readUInt32LE(24),
    mode: bytes.readUInt16LE(28),
    ino: bytes.readBigUInt64LE(32),
    size: Number(bytes.readBigUInt64LE(40)),
    blocks: Number(bytes.readBigUInt64LE(48)),
    ...{ atime: time(64), ctime: time(96), mtime: time(112) },
    ...{ rdev: device(128), dev: BigInt(device(136)) },
  };
}

describe('stat', () => {
  it('tells the kind of a file, and what statx tells', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      const plain = await done(p.lstat(name));
      const flags = AT_SYMLINK_NOFOLLOW;
      const { out } = await p.call('statx', AT_FDCWD, name, flags, STATX_BASIC, { out: 256 });
      const extended = fromStatx(out[0]!);
      rows.push([`type of ${name}`, plain.mode & S_IFMT, TYPES[name]]);
      rows.push([`statx of ${name} is whole`, extended.mask & STATX_BASIC, STATX_BASIC]);
      for (const field of [...ALL_FIELDS, ...TIME_FIELDS]) {
        if (field === 'dev') continue; // Minor numbers of more than 8 bits lie elsewhere.
        rows.push([`${field} of ${name}`, extended[field], plain[field]]);
      }
    }

    await fs.check(...rows);
  });

  it('tells the same of a file by its name, a link to it, and a descriptor', async () => {
    const p = await fs.as();
    await p.create('f', 'content', 0o640);
    await done(p.symlink('f', 'link'));
    const fd = await done(p.open('f', O_RDONLY));
    const path = await done(p.open('f', O_PATH));
    const first = await done(p.stat('f'));

    await fs.check(
      ['through a link', async () => ({ ...(await done(p.stat('link'))) }), first],
      ['by a descriptor', async () => ({ ...(await done(p.fstat(fd))) }), first],
      ['by one of O_PATH', async () => ({ ...(await done(p.fstat(path))) }), first],
      ['through /proc', async () => ({ ...(await done(p.stat(`/proc/self/fd/${fd}`))) }), first],
      ['not the link', (await inode(p, 'link')) === first.ino, false],
      ['size of the link', async () => (await done(p.lstat('link'))).size, 1],
    );
  });

  it('tells device numbers of device files alone', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const rows = KINDS.map(({ name }): Row => {
      const expected = name === 'character' || name === 'block' ? DEVICE : 0;
      return [name, async () => (await done(p.lstat(name))).rdev, expected];
    });

    await fs.check(...rows);
  });

  it('gives each file a number of its own, on one device', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const stats = await Promise.all(KINDS.map(async ({ name }) => done(p.lstat(name))));
    const here = await done(p.lstat('.'));

    await fs.check(
      ['numbers', new Set(stats.map(({ ino }) => ino)).size, KINDS.length],
      ['device', new Set([...stats, here].map(({ dev }) => dev)).size, 1],
      ['. and itself', () => inode(p, '.'), here.ino],
      ['the directory above', async () => (await inode(p, 'directory/..')) === here.ino, true],
    );
  });

  it('counts blocks of 512 bytes', async () => {
    const p = await fs.as();
    await p.create('f', 'x'.repeat(8192));
    const fd = await done(p.open('f', O_RDWR));
    await done(p.make('fsync', fd));

    await fs.check(
      ['two blocks', async () => (await done(p.stat('f'))).blocks, 16],
      ['a hole', () => p.ftruncate(fd, 1 << 20), 0],
      ['two blocks still', async () => (await done(p.stat('f'))).blocks, 16],
      ['a sensible block', async () => (await done(p.stat('f'))).blksize >= 512, true],
    );
  });

  it('works where nothing of the file may be read', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await root.create('f', 'content', 0);

    await fs.check(
      ['stat', async () => (await done(p.stat('f'))).size, 7],
      ['fstat of none', () => p.fstat(999), 'EBADF'],
      ['a bad address', () => p.make('statx', AT_FDCWD, 'f', 0, STATX_BASIC, 1), 'EFAULT'],
      [
        'an unknown flag',
        () => p.make('statx', AT_FDCWD, 'f', 1, STATX_BASIC, { out: 256 }),
        'EINVAL',
      ],
    );
  });
});

describe('statx', () => {
  it('tells of the file of a descriptor with AT_EMPTY_PATH', async () => {
    const p = await fs.as();
    await p.create('f', 'content');
    const fd = await done(p.open('f', O_RDONLY));
    const { result, out } = await p.call('statx', fd, '', AT_EMPTY_PATH, STATX_BASIC, { out: 256 });

    await fs.check(
      ['result', result, 0],
      ['number', fromStatx(out[0]!).ino, await inode(p, 'f')],
      ['without the flag', () => p.make('statx', fd, '', 0, STATX_BASIC, { out: 256 }), 'ENOENT'],
    );
  });

  it('tells when a file was made, where it tells that at all', async () => {
    const p = await fs.as();
    await p.create('f');
    const { out } = await p.call('statx', AT_FDCWD, 'f', 0, 0x800, { out: 256 });
    const told = (out[0]!.readUInt32LE(0) & 0x800) !== 0;
    const made = out[0]!.readBigInt64LE(80);
    const { ctime } = await done(p.stat('f'));

    await fs.check(
      ['is told', told, true],
      ['is not after the change', made <= ctime / 1_000_000_000n, true],
      ['nor long before', made >= ctime / 1_000_000_000n - 600n, true],
    );
  });
});

/** struct statfs of 64-bit machines, in numbers of 8 bytes. */
function statfsOf(bytes: Buffer): Readonly<Record<string, number>> {
  const at = (index: number): number => Number(bytes.readBigUInt64LE(8 * index));
  return {
    ...{ blockBytes: at(1), blocks: at(2), free: at(3), available: at(4), files: at(5) },
    ...{ filesFree: at(6), nameMax: at(8), fragmentBytes: at(9) },
  };
}

async function statfs(p: Process, path: string): Promise<Readonly<Record<string, number>>> {
  const { out } = await p.call('statfs', path, { out: 120 });
  return statfsOf(out[0]!);
}

describe('statfs and statvfs', () => {
  it('tell sizes that fit together', async () => {
    const p = await fs.as();
    const told = await statfs(p, '.');
    const { out } = await p.call('statvfs', '.');
    const at = (index: number): number => Number(out[0]!.readBigUInt64LE(8 * index));

    await fs.check(
      ['some blocks', told['blocks']! > 0, true],
      ['free of them', told['free']! <= told['blocks']!, true],
      ['available of those', told['available']! <= told['free']!, true],
      ['some files', told['files']! > 0, true],
      ['free ones', told['filesFree']! < told['files']!, true],
      ['names', told['nameMax'], 255],
      ['statvfs: fragment', at(1), told['fragmentBytes']],
      ['statvfs: blocks', at(2), told['blocks']],
      ['statvfs: files', at(5), told['files']],
      ['statvfs: names', at(9), 255],
    );
  });

  it('tell what was taken and given back', async () => {
    const p = await fs.as();
    await p.create('warm', 'x');
    const before = await statfs(p, '.');
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));
    await done(p.fallocate(fd, 0, 0, 4 << 20));
    await done(p.make('fsync', fd));
    const during = await statfs(p, '.');
    await done(p.close(fd));
    await done(p.unlink('f'));
    await p.make('sync');
    const after = await statfs(p, '.');
    const taken = (before['free']! - during['free']!) * before['blockBytes']!;

    await fs.check(
      ['4 MiB', taken >= 4 << 20 && taken < 5 << 20, true],
      ['a file', before['filesFree']! - during['filesFree']!, 1],
      ['the file is back', after['filesFree'], before['filesFree']],
      ['the blocks are back', after['free']! >= before['free']! - 8, true],
    );
  });

  it('tell the same of each file, by a descriptor too', async () => {
    const p = await fs.as();
    await p.create('f');
    await done(p.mkdir('d'));
    const directory = await done(p.open('d', O_RDONLY | O_DIRECTORY));
    const first = await statfs(p, '.');
    const { out } = await p.call('fstatfs', directory, { out: 120 });

    await fs.check(
      ['of a file', async () => (await statfs(p, 'f'))['blocks'], first['blocks']],
      ['by a descriptor', statfsOf(out[0]!)['blocks'], first['blocks']],
      ['of none', () => p.make('fstatfs', 999, { out: 120 }), 'EBADF'],
      ['a bad address', () => p.make('statfs', 'f', 1), 'EFAULT'],
    );
  });
});

describe('pathconf', () => {
  it('tells the limits of names', async () => {
    const p = await fs.as();
    const [LINK_MAX, NAME_MAX, PATH_MAX, PIPE_BUF, CHOWN_RESTRICTED, NO_TRUNC] = [0, 3, 4, 5, 6, 7];

    await fs.check(
      ['names', () => p.make('pathconf', '.', NAME_MAX), 255],
      ['paths', () => p.make('pathconf', '.', PATH_MAX), 4096],
      ['pipes', () => p.make('pathconf', '.', PIPE_BUF), 4096],
      ['chown is restricted', () => p.make('pathconf', '.', CHOWN_RESTRICTED), 1],
      ['names are not cut', () => p.make('pathconf', '.', NO_TRUNC), 1],
      ['links', async () => Number(await p.make('pathconf', '.', LINK_MAX)) >= 8, true],
    );
  });
});

// Opening files: open(), openat(), creat() of POSIX.1-2024, and the flags of open(2).
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  AT_FDCWD,
  F_GETFD,
  F_GETFL,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_NOATIME,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  S_IFMT,
  S_IFREG,
  S_ISGID,
  S_ISUID,
  S_ISVTX,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds, permissions, size } from '../support/posix-kinds.ts';
import type { Result } from '../support/posix-process.ts';

const fs = underTest();

/** 0 when the file can be opened so; it is closed again. */
async function opens(p: Process, path: string, flags: number, mode = 0o666): Promise<Result> {
  const fd = await p.open(path, flags, mode);
  return typeof fd === 'string' ? fd : p.close(fd);
}

describe('open with O_CREAT', () => {
  it('makes an empty regular file that its maker owns', async () => {
    const p = await fs.as(OWNER);
    const fd = await done(p.open('new', O_CREAT | O_RDWR, 0o640));
    const made = await done(p.fstat(fd));

    await fs.check(
      ['type and mode', made.mode, S_IFREG | 0o640],
      ['owner', made.uid, OWNER.uid],
      ['group', made.gid, OWNER.gid],
      ['size', made.size, 0],
      ['blocks', made.blocks, 0],
      ['links', made.nlink, 1],
      ['again', () => opens(p, 'new', O_CREAT | O_RDWR), 0],
      ['mode after that', () => permissions(p, 'new'), 0o640],
    );
  });

  it('takes the bits of the mode that umask leaves, and set-id and sticky bits', async () => {
    const p = await fs.as(OWNER);
    const rows: Row[] = [];
    for (const mask of [0, 0o002, 0o022, 0o027, 0o077, 0o111, 0o777]) {
      for (const mode of [0o777, 0o666, 0o600, 0o070, 0o007, 0, S_ISUID | 0o755, S_ISGID | 0o755]) {
        const name = `${mask.toString(8)}-${mode.toString(8)}`;
        await p.make('umask', mask);
        rows.push([name, await opens(p, name, O_CREAT | O_WRONLY | O_EXCL, mode), 0]);
        rows.push([`mode of ${name}`, await permissions(p, name), mode & ~mask]);
      }
    }
    await p.make('umask', 0);

    await fs.check(
      ...rows,
      ['sticky', () => opens(p, 'sticky', O_CREAT | O_WRONLY, S_ISVTX | 0o600), 0],
      ['mode of sticky', () => permissions(p, 'sticky'), S_ISVTX | 0o600],
    );
  });

  it('opens a new file for writing whatever its mode is', async () => {
    const p = await fs.as(OWNER);
    const fd = await done(p.open('new', O_CREAT | O_RDWR, 0));

    await fs.check(
      ['write', () => p.write(fd, 'text'), 4],
      ['read', async () => (await p.pread(fd, 9, 0)).toString(), 'text'],
      ['another open', () => opens(p, 'new', O_RDONLY), 'EACCES'],
    );
  });

  it('makes what a dangling link leads to, but not with O_EXCL or O_NOFOLLOW', async () => {
    const p = await fs.as();
    await done(p.symlink('target', 'link'));
    await done(p.symlink('loop', 'loop'));

    await fs.check(
      ['O_EXCL', () => opens(p, 'link', O_CREAT | O_EXCL | O_WRONLY), 'EEXIST'],
      ['O_NOFOLLOW', () => opens(p, 'link', O_CREAT | O_NOFOLLOW | O_WRONLY), 'ELOOP'],
      ['nothing was made', () => p.lstat('target'), 'ENOENT'],
      ['O_CREAT', () => opens(p, 'link', O_CREAT | O_WRONLY), 0],
      ['the target', () => size(p, 'target'), 0],
      ['a loop with O_EXCL', () => opens(p, 'loop', O_CREAT | O_EXCL | O_WRONLY), 'EEXIST'],
    );
  });

  it('fails with EEXIST with O_EXCL for a name that is there, whatever it names', async () => {
    const p = await fs.as();
    await makeKinds(p);

    await fs.check(
      ...KINDS.map(({ name }): Row => {
        return [name, () => opens(p, name, O_CREAT | O_EXCL | O_RDONLY), 'EEXIST'];
      }),
      ['.', () => opens(p, '.', O_CREAT | O_EXCL | O_RDONLY), 'EEXIST'],
    );
  });

  it('fails with EISDIR for a directory and for a name with a slash behind it', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));

    await fs.check(
      ['a directory', () => opens(p, 'd', O_CREAT | O_RDONLY), 'EISDIR'],
      ['.', () => opens(p, '.', O_CREAT | O_RDONLY), 'EISDIR'],
      ['slash', () => opens(p, 'new/', O_CREAT | O_WRONLY), 'EISDIR'],
      ['with O_DIRECTORY', () => opens(p, 'new', O_CREAT | O_DIRECTORY | O_RDONLY), 'EINVAL'],
      ['names', () => p.names('.'), ['d']],
    );
  });

  it('needs permission for the directory only where it makes a file', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await done(root.mkdir('fixed', 0o755));
    await root.create('fixed/there', '', 0o666);

    await fs.check(
      ['new', () => opens(p, 'fixed/new', O_CREAT | O_WRONLY), 'EACCES'],
      ['there', () => opens(p, 'fixed/there', O_CREAT | O_WRONLY), 0],
      ['O_EXCL', () => opens(p, 'fixed/there', O_CREAT | O_EXCL | O_WRONLY), 'EEXIST'],
    );
  });

  it("gives a file its directory's group where that has the set-group-ID bit", async () => {
    const root = await fs.as();
    const p = await fs.as(OWNER);
    await done(root.mkdir('shared'));
    await done(root.chown('shared', 0, 5555));
    await done(root.chmod('shared', 0o2777));
    await done(p.open('shared/new', O_CREAT | O_WRONLY, 0o644));
    const made = await done(p.stat('shared/new'));

    await fs.check(
      ['group', made.gid, 5555],
      ['owner', made.uid, OWNER.uid],
      ['mode', made.mode & 0o7777, 0o644],
    );
  });
});

describe('open with O_TRUNC', () => {
  it('empties a regular file that is opened for writing', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    for (const flags of [O_WRONLY, O_RDWR, O_WRONLY | O_CREAT, O_WRONLY | O_APPEND]) {
      const name = `f${flags}`;
      await p.create(name, 'content');
      rows.push([`open ${name}`, () => opens(p, name, flags | O_TRUNC), 0]);
      rows.push([`size ${name}`, () => size(p, name), 0]);
    }

    await fs.check(...rows);
  });

  it('fails with EISDIR for a directory and leaves a FIFO alone', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.mkfifo('fifo'));

    await fs.check(
      ['a directory', () => opens(p, 'd', O_WRONLY | O_TRUNC), 'EISDIR'],
      ['a FIFO', () => opens(p, 'fifo', O_RDWR | O_TRUNC | O_NONBLOCK), 0],
    );
  });

  it('needs permission to write', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await root.create('file', 'content', 0o644);

    await fs.check(
      ['for writing', () => opens(p, 'file', O_WRONLY | O_TRUNC), 'EACCES'],
      ['for reading', () => opens(p, 'file', O_RDONLY | O_TRUNC), 'EACCES'],
      ['size', () => size(p, 'file'), 7],
    );
  });
});

describe('open', () => {
  it('takes the lowest descriptor that is free', async () => {
    const p = await fs.as();
    await p.create('f');

    await fs.check(
      ['first', () => p.open('f', O_RDONLY), 3],
      ['second', () => p.open('f', O_RDONLY), 4],
      ['close', () => p.close(3), 0],
      ['third', () => p.open('f', O_RDONLY), 3],
    );
  });

  it('tells its flags again by fcntl', async () => {
    const p = await fs.as();
    await p.create('f');
    const shown = O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_NOATIME;
    const rows: Row[] = [];
    for (const mode of [O_RDONLY, O_WRONLY, O_RDWR]) {
      for (const flag of [0, O_APPEND, O_NONBLOCK, O_SYNC, O_DSYNC, O_NOATIME, O_TRUNC]) {
        const fd = await done(p.open('f', mode | flag));
        const told = await done(p.make('fcntl', fd, F_GETFL));
        rows.push([`${mode} and ${flag.toString(8)}`, told & shown, (mode | flag) & shown]);
      }
    }
    const kept = await done(p.open('f', O_RDONLY | O_CLOEXEC));

    await fs.check(...rows, ['FD_CLOEXEC', () => p.make('fcntl', kept, F_GETFD), 1]);
  });

  it('fails with EISDIR for a directory that is to be written', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));

    await fs.check(
      ['O_WRONLY', () => opens(p, 'd', O_WRONLY), 'EISDIR'],
      ['O_RDWR', () => opens(p, 'd', O_RDWR), 'EISDIR'],
      ['O_RDWR with O_DIRECTORY', () => opens(p, 'd', O_RDWR | O_DIRECTORY), 'EISDIR'],
      ['O_RDONLY', () => opens(p, 'd', O_RDONLY), 0],
      ['.', () => opens(p, '.', O_RDWR), 'EISDIR'],
    );
  });

  it('fails with ENOTDIR with O_DIRECTORY for anything but a directory', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await done(p.symlink('directory', 'to-directory'));
    const flags = O_RDONLY | O_DIRECTORY | O_NONBLOCK;
    const others = KINDS.filter(({ name }) => name !== 'directory' && name !== 'link');

    await fs.check(
      ...others.map(({ name }): Row => [name, () => opens(p, name, flags), 'ENOTDIR']),
      ['a link to a directory', () => opens(p, 'to-directory', flags), 0],
      ['the link', () => opens(p, 'to-directory', flags | O_NOFOLLOW), 'ENOTDIR'],
    );
  });

  it('fails with ELOOP with O_NOFOLLOW for a link, but follows those on the way', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await p.create('d/f');
    await done(p.symlink('d', 'to-d'));
    await done(p.symlink('d/f', 'to-f'));

    await fs.check(
      ['to a file', () => opens(p, 'to-f', O_RDONLY | O_NOFOLLOW), 'ELOOP'],
      ['to a directory', () => opens(p, 'to-d', O_RDONLY | O_NOFOLLOW), 'ELOOP'],
      ['on the way', () => opens(p, 'to-d/f', O_RDONLY | O_NOFOLLOW), 0],
    );
  });

  it('fails with ENXIO for a socket, and for a FIFO that nobody reads', async () => {
    const p = await fs.as();
    await makeKinds(p);

    await fs.check(
      ['a socket', () => opens(p, 'socket', O_RDONLY), 'ENXIO'],
      ['a FIFO for writing', () => opens(p, 'fifo', O_WRONLY | O_NONBLOCK), 'ENXIO'],
      ['a FIFO for reading', () => opens(p, 'fifo', O_RDONLY | O_NONBLOCK), 0],
      ['a FIFO for both', () => opens(p, 'fifo', O_RDWR), 0],
    );
  });

  it('permits O_NOATIME to the owner alone', async () => {
    const root = await fs.as();
    const owner = await fs.as(OWNER);
    const other = await fs.as(OTHER);
    await owner.create('f', '', 0o666);

    await fs.check(
      ['owner', () => opens(owner, 'f', O_RDONLY | O_NOATIME), 0],
      ['other', () => opens(other, 'f', O_RDONLY | O_NOATIME), 'EPERM'],
      ['root', () => opens(root, 'f', O_RDONLY | O_NOATIME), 0],
    );
  });

  it('fails with ETXTBSY for writing a program that runs', async () => {
    const p = await fs.as();
    const busy = await fs.another(OWNER);
    const source = await done(p.open('/bin/sleep', O_RDONLY));
    const program = await done(p.open('sleep', O_CREAT | O_RDWR, 0o755));
    for (;;) {
      if ((await done(p.make('sendfile', program, source, 0, 1 << 20))) === 0) break;
    }
    await fs.check(['while it is written', () => p.child('execve', 'sleep', 0, 0), 'ETXTBSY']);
    await done(p.close(program));

    await fs.check(['no argument', () => busy.child('execve', 'sleep', 0, 0), 1]);
  });

  it('fails with EINVAL for O_TMPFILE without writing, and ENOTDIR for a file', async () => {
    const p = await fs.as();
    await p.create('f');

    await fs.check(
      ['O_RDONLY', () => opens(p, '.', O_TMPFILE | O_RDONLY), 'EINVAL'],
      ['a file', () => opens(p, 'f', O_TMPFILE | O_RDWR), 'ENOTDIR'],
      ['missing', () => opens(p, 'missing', O_TMPFILE | O_RDWR), 'ENOENT'],
      ['O_WRONLY', () => opens(p, '.', O_TMPFILE | O_WRONLY), 0],
      ['with O_CREAT', () => opens(p, '.', O_TMPFILE | O_RDWR | O_CREAT), 'EINVAL'],
    );
  });
});

describe('open with O_PATH', () => {
  it('gives a descriptor that names a file and does nothing else', async () => {
    const p = await fs.as();
    await p.create('f', 'content', 0);
    const fd = await done(p.open('f', O_PATH));

    await fs.check(
      ['read', () => p.read(fd, 1), 'EBADF'],
      ['write', () => p.write(fd, 'x'), 'EBADF'],
      ['lseek', () => p.lseek(fd, 0, 0), 'EBADF'],
      ['ftruncate', () => p.ftruncate(fd, 0), 'EBADF'],
      ['fallocate', () => p.fallocate(fd, 0, 0, 1), 'EBADF'],
      ['fchmod', () => p.fchmod(fd, 0o777), 'EBADF'],
      ['fchown', () => p.fchown(fd, 0, 0), 'EBADF'],
      ['fsync', () => p.make('fsync', fd), 'EBADF'],
      ['flock', () => p.make('flock', fd, 1), 'EBADF'],
      ['fgetxattr', () => p.make('fgetxattr', fd, 'user.a', 0, 0), 'EBADF'],
      ['ioctl', () => p.make('ioctl', fd, 0, 0), 'EBADF'],
      ['getdents64', () => p.getdents(fd), 'EBADF'],
      ['mmap', () => p.mmap(fd, 4096, 1, 1), 'EBADF'],
      ['fstat', async () => (await done(p.fstat(fd))).size, 7],
      ['flags', () => p.make('fcntl', fd, F_GETFL), O_PATH],
      ['close', () => p.close(fd), 0],
    );
  });

  it('opens what may not be read, and a link itself', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await root.create('secret', 'content', 0);
    await done(root.symlink('secret', 'link'));
    await makeKinds(root, 'socket');
    const link = await done(p.open('link', O_PATH | O_NOFOLLOW));

    await fs.check(
      ['a secret', () => opens(p, 'secret', O_PATH), 0],
      ['a socket', () => opens(p, 'socket', O_PATH), 0],
      ['a link', async () => (await done(p.fstat(link))).mode & S_IFMT, 0o120000],
      ['with O_DIRECTORY', () => opens(p, 'secret', O_PATH | O_DIRECTORY), 'ENOTDIR'],
    );
  });
});

describe('creat', () => {
  it('is open with O_CREAT, O_WRONLY and O_TRUNC', async (context) => {
    if (process.arch !== 'x64') context.skip('this architecture has no such call');
    const p = await fs.as();
    await p.create('there', 'content');
    const fd = await done(p.make('creat', 'there', 0o600));

    await fs.check(
      ['size', () => size(p, 'there'), 0],
      ['read', () => p.read(fd, 1), 'EBADF'],
      ['write', () => p.write(fd, 'x'), 1],
      ['a directory', () => p.make('creat', '.', 0o600), 'EISDIR'],
    );
  });
});

describe('openat2', () => {
  /** struct open_how. */
  function how(flags: number, mode: number, resolve: number): Uint8Array {
    return new Uint8Array(BigUint64Array.of(BigInt(flags), BigInt(mode), BigInt(resolve)).buffer);
  }

  it('keeps to the directory where it is told to', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await p.create('f');
    await p.create('d/f');
    await done(p.symlink('../f', 'd/out'));
    await done(p.symlink('/f', 'd/root'));
    const at = await done(p.open('d', O_RDONLY | O_DIRECTORY));
    const opened = async (path: string, resolve: number): Promise<Result> => {
      const fd = await p.make('openat2', at, path, how(O_RDONLY, 0, resolve), 24);
      return typeof fd === 'string' ? fd : p.close(fd);
    };
    const [NO_SYMLINKS, BENEATH, IN_ROOT] = [4, 8, 16];

    await fs.check(
      ['anything', () => opened('out', 0), 0],
      ['no links', () => opened('out', NO_SYMLINKS), 'ELOOP'],
      ['beneath', () => opened('out', BENEATH), 'EXDEV'],
      ['beneath, inside', () => opened('f', BENEATH), 0],
      ['beneath, absolute', () => opened('root', BENEATH), 'EXDEV'],
      ['as the root', () => opened('root', IN_ROOT), 0],
      ['.. of the root', () => opened('../f', IN_ROOT), 0],
      ['unknown', () => opened('f', 1 << 30), 'EINVAL'],
      ['too short', () => p.make('openat2', AT_FDCWD, 'f', how(0, 0, 0), 8), 'EINVAL'],
    );
  });
});

// Links and symbolic links: link(), linkat(), symlink(), symlinkat(), readlink(), readlinkat(),
// unlink() and unlinkat(), as in POSIX.1-2024 and link(2), symlink(2), readlink(2), unlink(2).
import { describe, it } from 'vitest';
import { done } from '../support/posix-calls.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  O_EXCL,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_WRONLY,
  S_IFLNK,
  S_IFMT,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import type { Result } from '../support/posix-process.ts';
import { KINDS, inode, makeKinds, nlink, owners, permissions } from '../support/posix-kinds.ts';

const fs = underTest();
const LINKABLE = KINDS.filter(({ name }) => name !== 'directory');

describe('link', () => {
  it('gives a file of any kind but a directory one name more', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const rows: Row[] = [];
    for (const { name } of LINKABLE) {
      rows.push(
        [`link ${name}`, () => p.link(name, `${name}-2`), 0],
        [`links of ${name}`, () => nlink(p, name), 2],
        [`links of ${name}-2`, () => nlink(p, `${name}-2`), 2],
        [`the same ${name}`, () => inode(p, `${name}-2`), await inode(p, name)],
        [`unlink ${name}`, () => p.unlink(name), 0],
        [`links left of ${name}`, () => nlink(p, `${name}-2`), 1],
      );
    }

    await fs.check(...rows);
  });

  it('shows what is done under one name under the other', async () => {
    const p = await fs.as();
    await p.create('a', 'first', 0o644);
    await done(p.link('a', 'b'));
    await done(p.chmod('b', 0o4711));
    await done(p.truncate('b', 3));
    await done(p.chown('b', 7, 8));

    await fs.check(
      ['mode', () => permissions(p, 'a'), 0o711],
      ['content', () => p.content('a'), 'fir'],
      ['owners', () => owners(p, 'a'), [7, 8]],
    );
  });

  it('fails with EPERM for a directory', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));

    await fs.check(
      ['by root', () => p.link('d', 'e'), 'EPERM'],
      ['.', () => p.link('.', 'e'), 'EPERM'],
      ['links', () => nlink(p, 'd'), 2],
    );
  });

  it('fails with EEXIST for a new name that is there', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await p.create('source');

    await fs.check(
      ...KINDS.map(({ name }): Row => [name, () => p.link('source', name), 'EEXIST']),
      ['itself', () => p.link('source', 'source'), 'EEXIST'],
      ['links', () => nlink(p, 'source'), 1],
    );
  });

  it('fails with ENOENT for a missing old name and for a slash behind the new one', async () => {
    const p = await fs.as();
    await p.create('file');

    await fs.check(
      ['missing', () => p.link('missing', 'new'), 'ENOENT'],
      ['slash behind the new name', () => p.link('file', 'new/'), 'ENOENT'],
      ['slash behind the old name', () => p.link('file/', 'new'), 'ENOTDIR'],
    );
  });

  it('links a symbolic link itself, or with AT_SYMLINK_FOLLOW what it leads to', async () => {
    const p = await fs.as();
    await p.create('file');
    await done(p.symlink('file', 'link'));
    await done(p.symlink('nowhere', 'dangling'));

    await fs.check(
      ['the link', () => p.link('link', 'link-2'), 0],
      ['is a link', () => p.readlink('link-2'), 'file'],
      ['the file', () => p.link('link', 'file-2', AT_SYMLINK_FOLLOW), 0],
      ['is the file', () => inode(p, 'file-2'), await inode(p, 'file')],
      ['a dangling link', () => p.link('dangling', 'dangling-2'), 0],
      ['what is not there', () => p.link('dangling', 'x', AT_SYMLINK_FOLLOW), 'ENOENT'],
      ['an unknown flag', () => p.link('file', 'x', 1), 'EINVAL'],
    );
  });

  it('fails with EACCES where either directory does not permit it', async () => {
    const root = await fs.as();
    await done(root.mkdir('fixed', 0o755));
    await done(root.mkdir('closed', 0o766));
    const p = await fs.as(OWNER);
    await p.create('mine');
    await root.create('closed/file', '', 0o666);

    await fs.check(
      ['into a directory not to be written', () => p.link('mine', 'fixed/new'), 'EACCES'],
      ['into one not to be searched', () => p.link('mine', 'closed/new'), 'EACCES'],
      ['out of one not to be searched', () => p.link('closed/file', 'new'), 'EACCES'],
    );
  });

  it('fails with EXDEV between file systems', async () => {
    const p = await fs.as();
    await p.create('file');

    await fs.check(
      ['to another', () => p.link('file', '/dev/shm/dvk-posix-link'), 'EXDEV'],
      ['from another', () => p.link('/proc/self/status', 'new'), 'EXDEV'],
    );
  });

  it('gives a file of O_TMPFILE a name', async () => {
    const p = await fs.as();
    const fd = await p.open('.', O_TMPFILE | O_RDWR, 0o640);

    await fs.check(
      ['open', typeof fd === 'string' ? fd : 0, 0],
      ['no name', () => p.names('.'), []],
    );
    if (typeof fd === 'string') return;

    await fs.check(
      ['write', () => p.write(fd, 'unnamed'), 7],
      ['no link', async () => (await done(p.fstat(fd))).nlink, 0],
      ['linkat', () => p.make('linkat', fd, '', AT_FDCWD, 'named', AT_EMPTY_PATH), 0],
      ['content', () => p.content('named'), 'unnamed'],
      ['mode', () => permissions(p, 'named'), 0o640],
      ['links', () => nlink(p, 'named'), 1],
    );
  });

  it('refuses a name for what had one, and for what O_EXCL forbade it', async () => {
    const p = await fs.as();
    const exclusive = async (): Promise<Result> => {
      const fd = await p.open('.', O_TMPFILE | O_RDWR | O_EXCL, 0o600);
      if (typeof fd === 'string') return fd;
      return p.make('linkat', fd, '', AT_FDCWD, 'a', AT_EMPTY_PATH);
    };
    await p.create('gone');
    const gone = await done(p.open('gone', O_RDWR));
    await done(p.unlink('gone'));

    await fs.check(
      ['O_EXCL', exclusive, 'ENOENT'],
      ['unlinked', () => p.make('linkat', gone, '', AT_FDCWD, 'b', AT_EMPTY_PATH), 'ENOENT'],
    );
  });
});

describe('symlink', () => {
  it('keeps any text of 1 to 4095 bytes', async () => {
    const p = await fs.as();
    const lengths = [1, 2, 58, 59, 60, 61, 62, 63, 64, 127, 128, 255, 256, 1000, 1023, 1024, 2047];
    const rows: Row[] = [];
    for (const length of [...lengths, 2048, 4000, 4094, 4095]) {
      const target = 't/'.repeat(2048).slice(0, length);
      rows.push(
        [`symlink of ${length}`, () => p.symlink(target, `l${length}`), 0],
        [`readlink of ${length}`, () => p.readlink(`l${length}`), target],
        [`size of ${length}`, async () => (await done(p.lstat(`l${length}`))).size, length],
      );
    }

    await fs.check(...rows);
  });

  it('makes a link that its maker owns, whatever umask is', async () => {
    const p = await fs.as(OWNER);
    await p.make('umask', 0o777);
    await done(p.symlink('target', 'link'));
    const made = await done(p.lstat('link'));

    await fs.check(
      ['type', made.mode & S_IFMT, S_IFLNK],
      ['mode', made.mode & 0o7777, 0o777],
      ['owner', made.uid, OWNER.uid],
      ['group', made.gid, OWNER.gid],
      ['links', made.nlink, 1],
    );
  });

  it('fails with ENOENT for an empty target and ENAMETOOLONG for one of 4096 bytes', async () => {
    const p = await fs.as();

    await fs.check(
      ['empty', () => p.symlink('', 'link'), 'ENOENT'],
      ['too long', () => p.symlink('t'.repeat(4096), 'link'), 'ENAMETOOLONG'],
      ['a bad address', () => p.make('symlinkat', 1, AT_FDCWD, 'link'), 'EFAULT'],
    );
  });

  it('fails with EEXIST for a name that is there, whatever it names', async () => {
    const p = await fs.as();
    await makeKinds(p);

    await fs.check(
      ...KINDS.map(({ name }): Row => [name, () => p.symlink('target', name), 'EEXIST']),
      ['.', () => p.symlink('target', '.'), 'EEXIST'],
      ['..', () => p.symlink('target', '..'), 'EEXIST'],
      ['slash behind', () => p.symlink('target', 'new/'), 'ENOENT'],
    );
  });

  it('takes bytes that are no characters', async () => {
    const p = await fs.as();
    const bytes = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).join('');

    await fs.check(
      ['symlink', () => p.symlink(bytes, 'link'), 0],
      ['readlink', () => p.readlink('link'), bytes],
    );
  });

  it('fails with EACCES in a directory that may not be written', async () => {
    const root = await fs.as();
    await done(root.mkdir('fixed', 0o755));
    const p = await fs.as(OTHER);

    await fs.check(['symlink', () => p.symlink('target', 'fixed/new'), 'EACCES']);
  });
});

describe('readlink', () => {
  it('cuts the text to the room, and adds no NUL', async () => {
    const p = await fs.as();
    await done(p.symlink('target', 'link'));
    const { out } = await p.call('readlinkat', AT_FDCWD, 'link', { out: 10 }, 10);

    await fs.check(
      ['three bytes', () => p.readlink('link', 3), 'tar'],
      ['one byte', () => p.readlink('link', 1), 't'],
      ['six bytes', () => p.readlink('link', 6), 'target'],
      ['nothing behind', out[0]!.toString('latin1'), 'target\0\0\0\0'],
      ['no room', () => p.make('readlinkat', AT_FDCWD, 'link', { out: 8 }, 0), 'EINVAL'],
      ['a bad address', () => p.make('readlinkat', AT_FDCWD, 'link', 1, 100), 'EFAULT'],
    );
  });

  it('fails with EINVAL for anything but a link', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const others = KINDS.filter(({ name }) => name !== 'link');

    await fs.check(...others.map(({ name }): Row => [name, () => p.readlink(name), 'EINVAL']), [
      '.',
      () => p.readlink('.'),
      'EINVAL',
    ]);
  });

  it('reads the link that a descriptor of O_PATH has', async () => {
    const p = await fs.as();
    await done(p.symlink('target', 'link'));
    const fd = await done(p.open('link', O_PATH | 0o400000));
    const { result, out } = await p.call('readlinkat', fd, '', { out: 6 }, 6);

    await fs.check(['length', result, 6], ['text', out[0]!.toString('latin1'), 'target']);
  });

  it('needs no permission on the link', async () => {
    const root = await fs.as();
    await done(root.symlink('target', 'link'));
    const p = await fs.as(OTHER);

    await fs.check(['readlink', () => p.readlink('link'), 'target']);
  });
});

describe('unlink', () => {
  it('removes a name of a file of any kind but a directory', async () => {
    const p = await fs.as();
    await makeKinds(p);

    await fs.check(
      ...LINKABLE.map(({ name }): Row => [name, () => p.unlink(name), 0]),
      ['directory', () => p.unlink('directory'), 'EISDIR'],
      ['what is left', () => p.names('.'), ['directory']],
    );
  });

  it('removes a link and not what it leads to', async () => {
    const p = await fs.as();
    await p.create('file', 'content');
    await done(p.symlink('file', 'link'));

    await fs.check(
      ['unlink', () => p.unlink('link'), 0],
      ['the file', () => p.content('file'), 'content'],
      ['the link', () => p.lstat('link'), 'ENOENT'],
    );
  });

  it('fails for . and .. and for a link to a directory with a slash behind it', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.symlink('d', 'link'));

    await fs.check(
      ['.', () => p.unlink('.'), 'EISDIR'],
      ['..', () => p.unlink('..'), 'EISDIR'],
      ['d', () => p.unlink('d'), 'EISDIR'],
      ['d/', () => p.unlink('d/'), 'EISDIR'],
      ['link/', () => p.unlink('link/'), 'ENOTDIR'],
      ['flags', () => p.make('unlinkat', AT_FDCWD, 'd', 1), 'EINVAL'],
    );
  });

  it('leaves what is open usable until it is closed', async () => {
    const p = await fs.as();
    await p.create('file', 'before');
    const fd = await done(p.open('file', O_RDWR));
    await done(p.unlink('file'));

    await fs.check(
      ['the name', () => p.names('.'), []],
      ['links', async () => (await done(p.fstat(fd))).nlink, 0],
      ['write', () => p.pwrite(fd, ' and after', 6), 10],
      ['read', async () => (await p.pread(fd, 100, 0)).toString(), 'before and after'],
      ['truncate', () => p.ftruncate(fd, 4), 0],
      ['size', async () => (await done(p.fstat(fd))).size, 4],
      ['chmod', () => p.fchmod(fd, 0o600), 0],
      ['chown', () => p.fchown(fd, 3, 4), 0],
      ['owner', async () => (await done(p.fstat(fd))).uid, 3],
      ['a new file of the name', () => p.open('file', 0o102, 0o644).then(Number.isInteger), true],
      ['is another', () => p.content('file'), ''],
      ['fsync', () => p.make('fsync', fd), 0],
      ['close', () => p.close(fd), 0],
    );
  });

  it('leaves another name of what is open usable', async () => {
    const p = await fs.as();
    await p.create('a', 'content');
    await done(p.link('a', 'b'));
    const fd = await done(p.open('a', O_WRONLY));
    await done(p.unlink('a'));

    await fs.check(
      ['links', async () => (await done(p.fstat(fd))).nlink, 1],
      ['write', () => p.write(fd, 'CON'), 3],
      ['seen by the other name', () => p.content('b'), 'CONtent'],
    );
  });

  it('keeps the bytes of a mapped file that has no name and no descriptor any more', async () => {
    const p = await fs.as();
    await p.create('file', 'mapped');
    const fd = await done(p.open('file', O_RDONLY));
    const at = await done(p.mmap(fd, 4096, 1, 1));
    await done(p.unlink('file'));
    await done(p.close(fd));

    await fs.check(
      ['peek', async () => (await p.peek(at, 6)).toString(), 'mapped'],
      ['munmap', () => p.make('munmap', at, 4096), 0],
    );
  });

  it('fails with EACCES in a directory that may not be written', async () => {
    const root = await fs.as();
    await done(root.mkdir('fixed', 0o755));
    const p = await fs.as(OTHER);
    await root.create('fixed/file', '', 0o666);

    await fs.check(
      ['unlink', () => p.unlink('fixed/file'), 'EACCES'],
      ['missing', () => p.unlink('fixed/missing'), 'ENOENT'],
    );
  });
});

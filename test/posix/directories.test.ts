// Making and removing directories: mkdir(), mkdirat(), rmdir(), and unlinkat() with AT_REMOVEDIR,
// as in POSIX.1-2024 and mkdir(2), rmdir(2).
import { describe, it } from 'vitest';
import { type Stat, done } from '../support/posix-calls.ts';
import {
  O_DIRECTORY,
  O_RDONLY,
  S_IFDIR,
  S_ISGID,
  S_ISUID,
  S_ISVTX,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds, nlink, permissions } from '../support/posix-kinds.ts';

const fs = underTest();

describe('mkdir', () => {
  it('makes an empty directory that its maker owns', async () => {
    const p = await fs.as(OWNER);
    await fs.check(['mkdir', () => p.mkdir('new', 0o751), 0]);
    const made = await done(p.lstat('new'));

    await fs.check(
      ['type and mode', made.mode, S_IFDIR | 0o751],
      ['owner', made.uid, OWNER.uid],
      ['group', made.gid, OWNER.gid],
      ['links', made.nlink, 2],
      ['entries', () => p.names('new'), []],
    );
  });

  it('takes the bits of the mode that umask leaves', async () => {
    const p = await fs.as(OWNER);
    const rows: Row[] = [];
    for (const mask of [0, 0o002, 0o022, 0o027, 0o077, 0o111, 0o777]) {
      for (const mode of [0o777, 0o755, 0o700, 0o070, 0o007, 0]) {
        const name = `${mask.toString(8)}-${mode.toString(8)}`;
        await p.make('umask', mask);
        await done(p.mkdir(name, mode));
        rows.push([name, () => permissions(p, name), mode & ~mask]);
      }
    }

    await fs.check(...rows);
  });

  it('keeps the sticky bit and no set-user-ID or set-group-ID bit', async () => {
    const p = await fs.as(OWNER);
    await done(p.mkdir('sticky', 0o777 | S_ISVTX));
    await done(p.mkdir('set-id', 0o777 | S_ISUID | S_ISGID));

    await fs.check(
      ['sticky', () => permissions(p, 'sticky'), 0o777 | S_ISVTX],
      ['set-id', () => permissions(p, 'set-id'), 0o777],
    );
  });

  it('gives a directory the group and the set-group-ID bit of a parent with that bit', async () => {
    const root = await fs.as();
    await done(root.mkdir('parent', 0o777));
    await done(root.chown('parent', 0, 5555));
    await done(root.chmod('parent', 0o2777));
    const p = await fs.as(OWNER);
    await done(p.mkdir('parent/new', 0o755));
    const made = await done(p.lstat('parent/new'));

    await fs.check(
      ['mode', made.mode & 0o7777, 0o2755],
      ['group', made.gid, 5555],
      ['owner', made.uid, OWNER.uid],
    );
  });

  it('counts as a link of its parent', async () => {
    const p = await fs.as();
    await done(p.mkdir('parent'));
    await done(p.mkdir('parent/one'));
    await done(p.mkdir('parent/two'));
    await p.create('parent/file');

    await fs.check(
      ['two directories', () => nlink(p, 'parent'), 4],
      ['rmdir', () => p.rmdir('parent/one'), 0],
      ['one directory', () => nlink(p, 'parent'), 3],
    );
  });

  it('fails with EEXIST for a name that is there, whatever it names', async () => {
    const p = await fs.as();
    await makeKinds(p);

    await fs.check(...KINDS.map(({ name }): Row => [name, () => p.mkdir(name), 'EEXIST']));
  });

  it('fails with EEXIST for a link, whatever it leads to', async () => {
    const p = await fs.as();
    await done(p.symlink('nowhere', 'dangling'));
    await done(p.symlink('.', 'here'));

    await fs.check(
      ['dangling', () => p.mkdir('dangling'), 'EEXIST'],
      ['to a directory', () => p.mkdir('here'), 'EEXIST'],
      ['dangling, with a slash', () => p.mkdir('dangling/'), 'EEXIST'],
      ['nothing was made', () => p.lstat('nowhere'), 'ENOENT'],
    );
  });

  it('fails with EEXIST for . and .. and the root', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));

    await fs.check(
      ['.', () => p.mkdir('.'), 'EEXIST'],
      ['..', () => p.mkdir('..'), 'EEXIST'],
      ['d/.', () => p.mkdir('d/.'), 'EEXIST'],
      ['d/..', () => p.mkdir('d/..'), 'EEXIST'],
      ['/', () => p.mkdir('/'), 'EEXIST'],
      ['missing/.', () => p.mkdir('missing/.'), 'ENOENT'],
      ['missing/..', () => p.mkdir('missing/..'), 'ENOENT'],
    );
  });

  it('takes a slash behind the name', async () => {
    const p = await fs.as();

    await fs.check(
      ['one', () => p.mkdir('one/'), 0],
      ['three', () => p.mkdir('three///'), 0],
      ['there', () => p.mkdir('three//'), 'EEXIST'],
      ['names', () => p.names('.'), ['one', 'three']],
    );
  });

  it('fails with EACCES in a directory that may not be written', async () => {
    const root = await fs.as();
    await done(root.mkdir('parent', 0o755));
    const p = await fs.as(OTHER);

    await fs.check(
      ['new', () => p.mkdir('parent/new'), 'EACCES'],
      ['there', () => root.mkdir('parent/there'), 0],
      ['a name that is there', () => p.mkdir('parent/there'), 'EEXIST'],
    );
  });

  it('fails with ENOENT in a directory that was removed', async () => {
    const p = await fs.as();
    await done(p.mkdir('gone'));
    const at = await done(p.open('gone', O_RDONLY | O_DIRECTORY));
    await done(p.rmdir('gone'));

    await fs.check(
      ['mkdirat', () => p.make('mkdirat', at, 'new', 0o777), 'ENOENT'],
      ['openat', () => p.make('openat', at, 'new', 0o101, 0o777), 'ENOENT'],
      ['symlinkat', () => p.make('symlinkat', 'target', at, 'new'), 'ENOENT'],
      ['linkat', () => p.make('linkat', at, '.', at, 'new', 0), 'ENOENT'],
    );
  });
});

describe('rmdir', () => {
  it('removes an empty directory', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));

    await fs.check(
      ['rmdir', () => p.rmdir('d'), 0],
      ['lstat', () => p.lstat('d'), 'ENOENT'],
      ['again', () => p.rmdir('d'), 'ENOENT'],
      ['made again', () => p.mkdir('d'), 0],
      ['with a slash', () => p.rmdir('d/'), 0],
    );
  });

  it('fails with ENOTDIR for anything but a directory', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const others = KINDS.filter(({ name }) => name !== 'directory');

    await fs.check(...others.map(({ name }): Row => [name, () => p.rmdir(name), 'ENOTDIR']));
  });

  it('fails with ENOTDIR for a link to a directory', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.symlink('d', 'link'));

    await fs.check(
      ['link', () => p.rmdir('link'), 'ENOTDIR'],
      ['link with a slash', () => p.rmdir('link/'), 'ENOTDIR'],
      ['d is there', () => p.names('d'), []],
    );
  });

  it('fails with ENOTEMPTY for a directory with anything in it', async () => {
    const p = await fs.as();
    for (const [i, { name }] of KINDS.entries()) {
      await done(p.mkdir(`d${i}`));
      await done(p.make('chdir', `d${i}`));
      await makeKinds(p, name);
      await done(p.make('chdir', '..'));
    }

    await fs.check(...KINDS.map(({ name }, i): Row => [name, () => p.rmdir(`d${i}`), 'ENOTEMPTY']));
  });

  it('fails with EINVAL for . and ENOTEMPTY for ..', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.mkdir('d/e'));

    await fs.check(
      ['.', () => p.rmdir('.'), 'EINVAL'],
      ['d/.', () => p.rmdir('d/.'), 'EINVAL'],
      ['d/e/.', () => p.rmdir('d/e/.'), 'EINVAL'],
      ['..', () => p.rmdir('..'), 'ENOTEMPTY'],
      ['d/e/..', () => p.rmdir('d/e/..'), 'ENOTEMPTY'],
    );
  });

  it('fails with EBUSY for a mount point', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    // Mounted in the keeper's namespace, which this process shares.
    await done(fs.keeper.make('mount', 'tmpfs', `${fs.directory}/d`, 'tmpfs', 0, 0));

    await fs.check(
      ['rmdir', () => p.rmdir('d'), 'EBUSY'],
      ['rename', () => p.rename('d', 'e'), 'EBUSY'],
      ['umount', () => fs.keeper.make('umount2', `${fs.directory}/d`, 0), 0],
      ['rmdir of what was below', () => p.rmdir('d'), 0],
    );
  });

  it('fails with EACCES in a directory that may not be written', async () => {
    const root = await fs.as();
    await done(root.mkdir('parent', 0o755));
    await done(root.mkdir('parent/d', 0o777));
    const p = await fs.as(OTHER);

    await fs.check(
      ['d', () => p.rmdir('parent/d'), 'EACCES'],
      ['missing', () => p.rmdir('parent/missing'), 'ENOENT'],
      ['by root', () => root.rmdir('parent/d'), 0],
    );
  });

  it('leaves an open directory without entries and links', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const fd = await done(p.open('d', O_RDONLY | O_DIRECTORY));
    await done(p.rmdir('d'));
    const left = async (): Promise<Stat> => done(p.fstat(fd));

    await fs.check(
      ['links', async () => (await left()).nlink, 0],
      ['type', async () => (await left()).mode & 0o170000, S_IFDIR],
      ['entries', () => p.getdents(fd), 'ENOENT'],
      ['fsync', () => p.make('fsync', fd), 0],
      ['. of it', () => p.make('faccessat', fd, '.', 0), 0],
    );
  });

  it('works on the directory that a process is in', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.make('chdir', 'd'));

    await fs.check(
      ['rmdir', () => p.rmdir('../d'), 0],
      ['a new file', () => p.open('new', 0o101, 0o666), 'ENOENT'],
      ['getcwd', () => p.make('getcwd', { out: 4096 }, 4096), 'ENOENT'],
      ['back', () => p.make('chdir', '..'), 0],
      ['names', () => p.names('.'), []],
    );
  });
});

describe('chdir and getcwd', () => {
  it('go where a directory is', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.symlink('d', 'link'));
    await done(p.make('chdir', 'link'));
    const { out } = await p.call('getcwd', { out: 4096 }, 4096);
    const text = out[0]!.subarray(0, out[0]!.indexOf(0)).toString('latin1');

    await fs.check(
      ['getcwd', text, `${fs.directory}/d`],
      ['too little room', () => p.make('getcwd', { out: 4 }, 4), 'ERANGE'],
      ['back', () => p.make('chdir', '..'), 0],
    );
  });

  it('fail with ENOTDIR for a file and EACCES for what may not be searched', async () => {
    const p = await fs.as(OTHER);
    const root = await fs.as();
    await root.create('file', '', 0o777);
    await done(root.mkdir('closed', 0o766));
    const fd = await done(p.open('closed', O_RDONLY | O_DIRECTORY));
    const file = await done(p.open('file', O_RDONLY));

    await fs.check(
      ['chdir to a file', () => p.make('chdir', 'file'), 'ENOTDIR'],
      ['chdir', () => p.make('chdir', 'closed'), 'EACCES'],
      ['fchdir', () => p.make('fchdir', fd), 'EACCES'],
      ['fchdir to a file', () => p.make('fchdir', file), 'ENOTDIR'],
      ['fchdir of nothing', () => p.make('fchdir', 999), 'EBADF'],
    );
  });
});

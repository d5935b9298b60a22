// Times of files: utimensat() and futimens() of POSIX.1-2024 and utimensat(2), and which of the
// three times each call marks for update, by the pages of POSIX.1-2024.
import { describe, it } from 'vitest';
import { type Process, type Stat, type Time, done, timespecs } from '../support/posix-calls.ts';
import {
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
  UTIME_NOW,
  UTIME_OMIT,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds } from '../support/posix-kinds.ts';
import type { Result } from '../support/posix-process.ts';

const fs = underTest();
const NOW: Time = { seconds: 0, nanoseconds: UTIME_NOW };
const OMIT: Time = { seconds: 0, nanoseconds: UTIME_OMIT };
/** Long ago, so that any mark shows, and relatime(8) updates the access time. */
const OLD: Time = { seconds: 1_000_000_000, nanoseconds: 0 };
const OLDER: Time = { seconds: 900_000_000, nanoseconds: 0 };
const inNanoseconds = ({ seconds, nanoseconds }: Time): bigint =>
  BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);

async function times(p: Process, path: string): Promise<[bigint, bigint]> {
  const { atime, mtime } = await done(p.lstat(path));
  return [atime, mtime];
}

describe('utimensat', () => {
  it('sets both times to the nanosecond', async () => {
    const p = await fs.as();
    await p.create('f');
    const rows: Row[] = [];
    const seconds = [0, 1, 1_000_000_000, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 33, -1, 1 - 2 ** 31];
    for (const second of seconds) {
      for (const nanoseconds of [0, 1, 999, 123_456_789, 999_999_999]) {
        const access = { seconds: second, nanoseconds };
        const change = { seconds: second + 1, nanoseconds: 999_999_999 - nanoseconds };
        const name = `${second}.${nanoseconds}`;
        rows.push([`utimensat ${name}`, await p.utimens('f', [access, change]), 0]);
        const expected = [inNanoseconds(access), inNanoseconds(change)];
        rows.push([`times ${name}`, await times(p, 'f'), expected]);
      }
    }

    await fs.check(...rows);
  });

  it('sets those of a file of any kind, and of a link itself', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await p.create('target');
    const wanted: [Time, Time] = [OLD, OLDER];
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      rows.push([`of ${name}`, await p.utimens(name, wanted, AT_SYMLINK_NOFOLLOW), 0]);
      rows.push([`times of ${name}`, await times(p, name), wanted.map(inNanoseconds)]);
    }

    await fs.check(
      ...rows,
      ['through a link', () => p.utimens('link', [OLDER, OLD]), 0],
      ['of the target', () => times(p, 'target'), [OLDER, OLD].map(inNanoseconds)],
      // To follow a link is to read it.
      ['of the link', async () => (await times(p, 'link'))[1], inNanoseconds(OLDER)],
    );
  });

  it('sets a time to now, and leaves one alone', async () => {
    const p = await fs.as();
    await p.create('f');
    await p.create('clock');
    const at = async (): Promise<Stat> => done(p.lstat('f'));
    const set = async (access: Time, change: Time): Promise<Stat> => {
      await done(p.utimens('f', [OLD, OLDER]));
      await done(p.utimens('f', [access, change]));
      return at();
    };
    const { mtime: start } = await done(p.lstat('clock'));
    const [old, older] = [inNanoseconds(OLD), inNanoseconds(OLDER)];

    await fs.check(
      ['both now', async () => later(await set(NOW, NOW), start), [true, true]],
      ['they are the same', async () => same(await set(NOW, NOW)), true],
      ['access alone', async () => later(await set(NOW, OMIT), start), [true, false]],
      ['change stays', async () => (await set(NOW, OMIT)).mtime, older],
      ['change alone', async () => later(await set(OMIT, NOW), start), [false, true]],
      ['access stays', async () => (await set(OMIT, NOW)).atime, old],
      ['neither', async () => later(await set(OMIT, OMIT), start), [false, false]],
      ['no times', async () => p.utimens('f'), 0],
      ['mean now', async () => later(await at(), start), [true, true]],
    );
  });

  const later = ({ atime, mtime }: Stat, start: bigint): boolean[] => [
    atime >= start,
    mtime >= start,
  ];
  const same = ({ atime, mtime }: Stat): boolean => atime === mtime;

  it('works through descriptors', async () => {
    const p = await fs.as();
    await p.create('f');
    await done(p.mkdir('d'));
    await p.create('d/g');
    const fd = await done(p.open('f', O_RDONLY));
    const directory = await done(p.open('d', O_RDONLY | O_DIRECTORY));
    const bytes = timespecs(OLD, OLDER);

    await fs.check(
      ['futimens', () => p.make('utimensat', fd, 0, bytes, 0), 0],
      ['times', () => times(p, 'f'), [OLD, OLDER].map(inNanoseconds)],
      ['in a directory', () => p.make('utimensat', directory, 'g', bytes, 0), 0],
      ['times of that', () => times(p, 'd/g'), [OLD, OLDER].map(inNanoseconds)],
      ['of none', () => p.make('utimensat', 999, 0, bytes, 0), 'EBADF'],
    );
  });

  it('fails with EINVAL for nanoseconds that are none, and unknown flags', async () => {
    const p = await fs.as();
    await p.create('f');
    const bad = (nanoseconds: number): Time => ({ seconds: 1, nanoseconds });

    await fs.check(
      ['10^9', () => p.utimens('f', [bad(1_000_000_000), OLD]), 'EINVAL'],
      ['-1', () => p.utimens('f', [OLD, bad(-1)]), 'EINVAL'],
      ['a flag', () => p.utimens('f', [OLD, OLD], 1), 'EINVAL'],
      ['a bad address', () => p.make('utimensat', AT_FDCWD, 'f', 1, 0), 'EFAULT'],
      ['omitted beside a bad one', () => p.utimens('f', [OMIT, bad(-5)]), 'EINVAL'],
    );
  });

  it('looks for the file even where both times are omitted, on a path that is there', async () => {
    const p = await fs.as(OTHER);
    const root = await fs.as();
    await root.create('f', '', 0o600);
    const before = await times(p, 'f');

    await fs.check(
      ['nothing to do', () => p.utimens('f', [OMIT, OMIT]), 0],
      ['times', () => times(p, 'f'), before],
    );
  });

  it('lets who may write set both to now, and the owner anything', async () => {
    const owner = await fs.as(OWNER);
    const other = await fs.as(OTHER);
    await owner.create('shared', '', 0o666);
    await owner.create('closed', '', 0o444);

    await fs.check(
      ['now, writable', () => other.utimens('shared'), 0],
      ['now, not writable', () => other.utimens('closed'), 'EACCES'],
      ['now and omitted', () => other.utimens('shared', [NOW, OMIT]), 'EPERM'],
      ['a time', () => other.utimens('shared', [OLD, OLD]), 'EPERM'],
      ['the owner, not writable', () => owner.utimens('closed', [OLD, OLD]), 0],
    );
  });
});

/** Which times a call marks: a(ccess), m(odification), c(hange), in that order; `-` for none. */
interface Mark {
  readonly name: string;
  /** Made before the times are set back. */
  readonly prepare?: (p: Process) => Promise<unknown>;
  readonly make: (p: Process) => Promise<Result | Buffer>;
  /** By path: the file that is looked at afterwards. */
  readonly marks: Readonly<Record<string, string>>;
}

async function onFile(
  p: Process,
  flags: number,
  use: (fd: number) => Promise<Result | Buffer>,
): Promise<Result | Buffer> {
  const fd = await done(p.open('f', flags));
  const result = await use(fd);
  await p.close(fd);
  return result;
}

const MARKS: readonly Mark[] = [
  {
    name: 'open',
    make: async (p) => onFile(p, O_RDWR, async (fd) => p.lseek(fd, 0, 2)),
    marks: { f: '-' },
  },
  { name: 'stat', make: async (p) => p.make('stat', 'f'), marks: { f: '-' } },
  { name: 'access', make: async (p) => p.access('f', 4), marks: { f: '-' } },
  {
    name: 'read',
    make: async (p) => onFile(p, O_RDONLY, async (fd) => p.read(fd, 3)),
    marks: { f: 'a', '.': '-' },
  },
  {
    name: 'read of no bytes',
    make: async (p) => onFile(p, O_RDONLY, async (fd) => p.read(fd, 0)),
    marks: { f: '-' },
  },
  {
    name: 'write',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.write(fd, 'x')),
    marks: { f: 'mc', '.': '-' },
  },
  {
    name: 'write behind the end',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.pwrite(fd, 'x', 9000)),
    marks: { f: 'mc' },
  },
  {
    name: 'write of no bytes',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.write(fd, '')),
    marks: { f: '-' },
  },
  { name: 'truncate to less', make: async (p) => p.truncate('f', 1), marks: { f: 'mc' } },
  { name: 'truncate to more', make: async (p) => p.truncate('f', 99), marks: { f: 'mc' } },
  {
    name: 'ftruncate to the same size',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.ftruncate(fd, 4)),
    marks: { f: 'mc' },
  },
  {
    name: 'fallocate that makes the file longer',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.fallocate(fd, 0, 0, 5000)),
    marks: { f: 'mc' },
  },
  {
    name: 'fallocate of a hole',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.fallocate(fd, 3, 0, 2)),
    marks: { f: 'mc' },
  },
  {
    name: 'open with O_TRUNC',
    make: async (p) => onFile(p, O_WRONLY | O_TRUNC, async (fd) => p.lseek(fd, 0, 2)),
    marks: { f: 'mc', '.': '-' },
  },
  {
    name: 'open with O_CREAT of a file that is there',
    make: async (p) => onFile(p, O_WRONLY | O_CREAT, async (fd) => p.lseek(fd, 0, 2)),
    marks: { f: '-', '.': '-' },
  },
  {
    name: 'open with O_CREAT of a new file',
    make: async (p) => p.open('new', O_WRONLY | O_CREAT, 0o600).then(() => 0),
    marks: { '.': 'mc', new: 'amc' },
  },
  { name: 'mkdir', make: async (p) => p.mkdir('new'), marks: { '.': 'mc', new: 'amc' } },
  {
    name: 'symlink',
    make: async (p) => p.symlink('f', 'new'),
    marks: { '.': 'mc', new: 'amc', f: '-' },
  },
  { name: 'mkfifo', make: async (p) => p.mkfifo('new'), marks: { '.': 'mc', new: 'amc' } },
  { name: 'link', make: async (p) => p.link('f', 'new'), marks: { '.': 'mc', f: 'c' } },
  {
    name: 'unlink of one of two names',
    prepare: async (p) => p.link('f', 'g'),
    make: async (p) => p.unlink('g'),
    marks: { '.': 'mc', f: 'c' },
  },
  { name: 'rmdir', make: async (p) => p.rmdir('d/sub'), marks: { d: 'mc', '.': '-' } },
  {
    name: 'rename in a directory',
    make: async (p) => p.rename('f', 'g'),
    marks: { '.': 'mc', g: 'c' },
  },
  {
    name: 'rename to another directory',
    make: async (p) => p.rename('f', 'd/f'),
    marks: { '.': 'mc', d: 'mc', 'd/f': 'c' },
  },
  {
    name: 'rename over a file with two names',
    prepare: async (p) => {
      await p.create('g');
      await p.link('g', 'h');
    },
    make: async (p) => p.rename('f', 'g'),
    marks: { '.': 'mc', g: 'c', h: 'c' },
  },
  {
    name: 'rename to the same file',
    prepare: async (p) => p.link('f', 'g'),
    make: async (p) => p.rename('f', 'g'),
    marks: { '.': '-', f: '-' },
  },
  {
    name: 'rename with RENAME_EXCHANGE',
    make: async (p) => p.rename('f', 'd/sub', RENAME_EXCHANGE),
    marks: { '.': 'mc', d: 'mc', f: 'c', 'd/sub': 'c' },
  },
  { name: 'chmod', make: async (p) => p.chmod('f', 0o640), marks: { f: 'c', '.': '-' } },
  { name: 'chmod to the same', make: async (p) => p.chmod('f', 0o644), marks: { f: 'c' } },
  { name: 'chown', make: async (p) => p.chown('f', 1, 1), marks: { f: 'c', '.': '-' } },
  { name: 'lchown', make: async (p) => p.lchown('link', 1, 1), marks: { link: 'c', f: '-' } },
  { name: 'readlink', make: async (p) => p.readlink('link'), marks: { link: 'a', f: '-' } },
  {
    name: 'utimensat',
    make: async (p) => p.utimens('f', [OLD, OLDER]),
    marks: { f: 'c', '.': '-' },
  },
  {
    name: 'setxattr',
    make: async (p) => p.setxattr('f', 'user.a', 'v'),
    marks: { f: 'c', '.': '-' },
  },
  {
    name: 'getxattr',
    prepare: async (p) => p.setxattr('f', 'user.a', 'v'),
    make: async (p) => p.getxattr('f', 'user.a'),
    marks: { f: '-' },
  },
  {
    name: 'removexattr',
    prepare: async (p) => p.setxattr('f', 'user.a', 'v'),
    make: async (p) => p.removexattr('f', 'user.a'),
    marks: { f: 'c' },
  },
  {
    name: 'reading a directory',
    make: async (p) => p.names('d').then(() => 0),
    marks: { d: 'a', '.': '-' },
  },
  {
    name: 'copy_file_range',
    prepare: async (p) => p.create('g'),
    make: async (p) => {
      const [from, to] = [await done(p.open('f', O_RDONLY)), await done(p.open('g', O_WRONLY))];
      const result = await p.make('copy_file_range', from, 0, to, 0, 4, 0);
      await p.close(from);
      await p.close(to);
      return result;
    },
    marks: { f: 'a', g: 'mc' },
  },
  { name: 'a failed mkdir', make: async (p) => p.mkdir('f'), marks: { '.': '-', f: '-' } },
  { name: 'a failed unlink', make: async (p) => p.unlink('d'), marks: { '.': '-', d: '-' } },
  {
    name: 'a failed rename',
    make: async (p) => p.rename('f', 'd'),
    marks: { '.': '-', d: '-', f: '-' },
  },
  { name: 'a failed link', make: async (p) => p.link('f', 'd'), marks: { '.': '-', f: '-' } },
  {
    name: 'fsync',
    make: async (p) => onFile(p, O_WRONLY, async (fd) => p.make('fsync', fd)),
    marks: { f: '-' },
  },
];

/** Sets back both times that can be set, of a file and of all that is in a test's directory. */
async function setBack(p: Process, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await p.utimens(path, [OLD, OLDER], AT_SYMLINK_NOFOLLOW);
  }
}

async function marked(p: Process, path: string, before: Stat | string): Promise<string> {
  const after = await done(p.lstat(path));
  const changed = typeof before === 'string' || after.ctime > before.ctime;
  const marks = [
    after.atime === inNanoseconds(OLD) ? '' : 'a',
    after.mtime === inNanoseconds(OLDER) ? '' : 'm',
    changed ? 'c' : '',
  ];
  return marks.join('') || '-';
}

/** Waits until the clock that file times come from has gone on. */
async function nextTick(p: Process): Promise<void> {
  await done(p.utimens('clock'));
  const { mtime: start } = await done(p.lstat('clock'));
  for (let mtime = start; mtime === start;) {
    await done(p.utimens('clock'));
    ({ mtime } = await done(p.lstat('clock')));
  }
}

describe('times', () => {
  it.for(MARKS.map((mark) => [mark.name, mark] as const))('marks of %s', async ([, mark]) => {
    const root = await fs.as();
    await done(root.mkdir('w'));
    await done(root.make('chdir', 'w'));
    await root.create('f', 'text');
    await done(root.symlink('f', 'link'));
    await done(root.mkdir('d'));
    await done(root.mkdir('d/sub'));
    await mark.prepare?.(root);
    await done(root.make('chdir', '..'));
    await root.create('clock');
    await done(root.make('chdir', 'w'));
    await setBack(root, ['f', 'g', 'h', 'link', 'd/sub', 'd', '.']);
    // What is looked at may have another name before.
    const old = new Map<string, Stat>();
    for (const path of ['f', 'g', 'h', 'link', 'd', 'd/sub', '.']) {
      const stat = await root.lstat(path);
      if (typeof stat !== 'string') old.set(String(stat.ino), stat);
    }
    await done(root.make('chdir', '..'));
    await nextTick(root);
    await done(root.make('chdir', 'w'));
    const what = await mark.make(root);

    const rows: Row[] = [];
    for (const [path, marks] of Object.entries(mark.marks)) {
      const { ino } = await done(root.lstat(path));
      const before = old.get(String(ino)) ?? 'new';
      rows.push([`${path} after ${mark.name}`, await marked(root, path, before), marks]);
    }
    const failed = mark.name.startsWith('a failed');
    await done(root.make('chdir', '..'));

    await fs.check(
      ['it failed', typeof what === 'string' && /^E[A-Z]/.test(what), failed],
      ...rows,
    );
  });

  it('are those of the last write also for who has the file open', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    await p.create('clock');
    const fd = await done(p.open('f', O_RDWR));
    const before = await done(p.fstat(fd));
    await nextTick(p);
    await done(p.write(fd, 'x'));
    const after = await done(p.fstat(fd));

    await fs.check(
      ['mtime', after.mtime > before.mtime, true],
      ['ctime', after.ctime > before.ctime, true],
      ['by name', async () => (await done(p.stat('f'))).mtime, after.mtime],
    );
  });
});

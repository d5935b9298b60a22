// Who may do what to a file. Method: a file that OWNER owns is given each mode of a table; each
// caller makes each call; the model of posix-model.ts says what must come of it.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  AT_EACCESS,
  AT_FDCWD,
  F_OK,
  O_APPEND,
  O_CREAT,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  R_OK,
  UTIME_NOW,
  UTIME_OMIT,
  W_OK,
  X_OK,
} from '../support/posix-constants.ts';
import { CALLERS, OTHER, OWNER, ROOT, type Row, underTest } from '../support/posix-files.ts';
import { EXECUTE, type Owned, READ, WRITE, grants, isRoot } from '../support/posix-model.ts';
import type { Credentials, Result } from '../support/posix-process.ts';

const fs = underTest();

/** Each class with each of its eight values while the other classes have none or all. */
const MODES = [
  ...[0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600, 0o700],
  ...[0o010, 0o020, 0o030, 0o040, 0o050, 0o060, 0o070],
  ...[0o001, 0o002, 0o003, 0o004, 0o005, 0o006, 0o007],
  ...[0o077, 0o177, 0o277, 0o377, 0o477, 0o577, 0o677, 0o777],
  ...[0o707, 0o717, 0o727, 0o737, 0o747, 0o757, 0o767],
  ...[0o770, 0o771, 0o772, 0o773, 0o774, 0o775, 0o776],
];

interface Action {
  readonly name: string;
  make(p: Process): Promise<Result>;
  /** The errno, or 0. */
  expected(file: Owned, who: Credentials): Result;
}

async function opens(p: Process, flags: number): Promise<Result> {
  const fd = await p.open('file', flags);
  return typeof fd === 'string' ? fd : p.close(fd);
}

/** What a call gives that needs these permissions of the file. */
function needs(wanted: number): Action['expected'] {
  return (file, who) => (grants(file, who, wanted) ? 0 : 'EACCES');
}

/** What a call gives that only the owner and root may make. */
const ownerOnly: Action['expected'] = (file, who) =>
  isRoot(who) || who.uid === file.uid ? 0 : 'EPERM';

const now = { seconds: 0, nanoseconds: UTIME_NOW };
const omit = { seconds: 0, nanoseconds: UTIME_OMIT };
const then = { seconds: 1_000_000, nanoseconds: 5 };

const ACTIONS: readonly Action[] = [
  { name: 'open for reading', make: async (p) => opens(p, O_RDONLY), expected: needs(READ) },
  { name: 'open for writing', make: async (p) => opens(p, O_WRONLY), expected: needs(WRITE) },
  { name: 'open for both', make: async (p) => opens(p, O_RDWR), expected: needs(READ | WRITE) },
  {
    name: 'open with O_TRUNC',
    make: async (p) => opens(p, O_RDONLY | O_TRUNC),
    expected: needs(READ | WRITE),
  },
  {
    name: 'open with O_APPEND and O_CREAT',
    make: async (p) => opens(p, O_WRONLY | O_APPEND | O_CREAT),
    expected: needs(WRITE),
  },
  { name: 'open with O_PATH', make: async (p) => opens(p, O_PATH), expected: () => 0 },
  { name: 'truncate', make: async (p) => p.truncate('file', 2), expected: needs(WRITE) },
  { name: 'access F_OK', make: async (p) => p.access('file', F_OK), expected: () => 0 },
  { name: 'access R_OK', make: async (p) => p.access('file', R_OK), expected: needs(READ) },
  { name: 'access W_OK', make: async (p) => p.access('file', W_OK), expected: needs(WRITE) },
  { name: 'access X_OK', make: async (p) => p.access('file', X_OK), expected: needs(EXECUTE) },
  {
    name: 'access of all',
    make: async (p) => p.access('file', R_OK | W_OK | X_OK),
    expected: needs(READ | WRITE | EXECUTE),
  },
  {
    name: 'faccessat2 with AT_EACCESS',
    make: async (p) => p.make('faccessat2', AT_FDCWD, 'file', R_OK | W_OK, AT_EACCESS),
    expected: needs(READ | WRITE),
  },
  {
    // The file is no program, so it fails with ENOEXEC where it may be executed.
    name: 'execve',
    make: async (p) => p.child('execve', 'file', 0, 0),
    expected: (file, who) => (grants(file, who, EXECUTE) ? 'ENOEXEC' : 'EACCES'),
  },
  {
    name: 'utimensat to now',
    make: async (p) => p.utimens('file'),
    expected: (file, who) => (who.uid === file.uid || grants(file, who, WRITE) ? 0 : 'EACCES'),
  },
  {
    name: 'utimensat to UTIME_NOW twice',
    make: async (p) => p.utimens('file', [now, now]),
    expected: (file, who) => (who.uid === file.uid || grants(file, who, WRITE) ? 0 : 'EACCES'),
  },
  {
    name: 'utimensat of one time',
    make: async (p) => p.utimens('file', [omit, now]),
    expected: ownerOnly,
  },
  {
    name: 'utimensat to another time',
    make: async (p) => p.utimens('file', [then, then]),
    expected: ownerOnly,
  },
  {
    name: 'utimensat of nothing',
    make: async (p) => p.utimens('file', [omit, omit]),
    expected: () => 0,
  },
  {
    name: 'stat',
    make: async (p) => p.make('statx', AT_FDCWD, 'file', 0, 0x7ff, { out: 256 }),
    expected: () => 0,
  },
  { name: 'statfs', make: async (p) => p.make('statfs', 'file', { out: 120 }), expected: () => 0 },
  {
    name: 'listxattr',
    make: async (p) => p.make('listxattr', 'file', 0, 0),
    expected: () => 0,
  },
];

/** Rows of all actions on a file of each mode, made by one caller. */
async function table(name: string, who: Credentials, actions: readonly Action[]): Promise<Row[]> {
  const root = await fs.as();
  const p = await fs.as(who);
  await root.create('file', 'text', 0o600);
  await done(root.chown('file', OWNER.uid, OWNER.gid));
  const rows: Row[] = [];
  for (const mode of fs.sample(MODES)) {
    const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
    await done(root.chmod('file', mode));
    for (const action of actions) {
      const what = `${action.name} of ${mode.toString(8).padStart(3, '0')} by ${name}`;
      rows.push([what, await action.make(p), action.expected(file, who)]);
    }
    if (actions.some(({ name: action }) => action === 'truncate')) {
      await done(root.truncate('file', 0));
      const fd = await done(root.open('file', O_WRONLY));
      await done(root.write(fd, 'text'));
      await done(root.close(fd));
    }
  }
  return rows;
}

describe('a file grants', () => {
  it.for(CALLERS)('%s what its mode says', async ([name, who]) => {
    await fs.check(...(await table(name, who, ACTIONS)));
  });

  it('extended attributes to be read or set as its content', async () => {
    const root = await fs.as();
    await root.create('file', 'text', 0o600);
    await done(root.chown('file', OWNER.uid, OWNER.gid));
    await done(root.setxattr('file', 'user.a', 'value'));
    const rows: Row[] = [];
    for (const [name, who] of CALLERS) {
      const p = await fs.as(who);
      for (const mode of fs.sample(MODES)) {
        const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
        await done(root.chmod('file', mode));
        const at = `of ${mode.toString(8)} by ${name}`;
        const value = Buffer.from('value');
        rows.push(
          [
            `getxattr ${at}`,
            await p.make('getxattr', 'file', 'user.a', 0, 0),
            grants(file, who, READ) ? 5 : 'EACCES',
          ],
          [`setxattr ${at}`, await p.setxattr('file', 'user.a', value), needs(WRITE)(file, who)],
        );
      }
    }

    await fs.check(...rows);
  });

  it('a descriptor what it was opened for, whatever its mode became', async () => {
    const p = await fs.as(OWNER);
    const root = await fs.as();
    await p.create('file', 'text', 0o600);
    const fd = await done(p.open('file', O_RDWR));
    await done(root.chown('file', 0, 0));
    await done(root.chmod('file', 0));

    await fs.check(
      ['read', async () => (await p.pread(fd, 4, 0)).toString(), 'text'],
      ['write', () => p.pwrite(fd, 'T', 0), 1],
      ['fstat', async () => (await done(p.fstat(fd))).size, 4],
      ['open again', () => opens(p, O_RDONLY), 'EACCES'],
      ['through /proc', () => p.open(`/proc/self/fd/${fd}`, O_RDONLY), 'EACCES'],
    );
  });

  it('access by the real IDs, and other calls by the effective ones', async () => {
    const root = await fs.as();
    await root.create('file', 'text', 0o600);
    const p = await fs.another(ROOT);
    await done(p.make('setresuid', OTHER.uid, 0, 0));

    await fs.check(
      ['access', () => p.access('file', R_OK), 'EACCES'],
      ['with AT_EACCESS', () => p.make('faccessat2', AT_FDCWD, 'file', R_OK, AT_EACCESS), 0],
      ['open', () => opens(p, O_RDONLY), 0],
      ['back', () => p.make('setresuid', 0, 0, 0), 0],
    );
  });

  it('nothing that access does not know', async () => {
    const p = await fs.as();
    await p.create('file');

    await fs.check(
      ['an unknown mode', () => p.access('file', 8), 'EINVAL'],
      ['an unknown flag', () => p.make('faccessat2', AT_FDCWD, 'file', R_OK, 1), 'EINVAL'],
    );
  });
});

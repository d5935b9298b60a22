// Who may do what in a directory. Method: a directory is given each mode of a table, by each of two
// owners, with and without the sticky bit; each caller makes each call in it; the model of
// posix-model.ts says what must come of it.
import { readFileSync } from 'node:fs';
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_WRONLY,
  R_OK,
  RENAME_EXCHANGE,
} from '../support/posix-constants.ts';
import { CALLERS, GROUP, OTHER, OWNER, ROOT, type Row, underTest } from '../support/posix-files.ts';
import {
  READ,
  type Owned,
  SEARCH,
  WRITE,
  grants,
  isRoot,
  removal,
} from '../support/posix-model.ts';
import type { Credentials, Result } from '../support/posix-process.ts';

const fs = underTest();
const MODES = [
  ...[0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600, 0o700],
  ...[0o010, 0o020, 0o030, 0o040, 0o050, 0o060, 0o070],
  ...[0o001, 0o002, 0o003, 0o004, 0o005, 0o006, 0o007],
  ...[0o077, 0o377, 0o577, 0o677, 0o707, 0o737, 0o757, 0o770, 0o773, 0o775, 0o777],
];

/** Whether links may be made only to files that one owns or could write; proc(5). */
const PROTECTED_LINKS = readFileSync('/proc/sys/fs/protected_hardlinks', 'utf8').trim() === '1';

interface Action {
  readonly name: string;
  make(p: Process): Promise<Result>;
  expected(directory: Owned, who: Credentials): Result;
  /** Puts back what a call that succeeded changed. */
  undo?(root: Process): Promise<unknown>;
}

async function opens(p: Process, path: string, flags: number): Promise<Result> {
  const fd = await p.open(path, flags, 0o666);
  return typeof fd === 'string' ? fd : p.close(fd);
}

function needs(wanted: number): Action['expected'] {
  return (directory, who) => (grants(directory, who, wanted, true) ? 0 : 'EACCES');
}

/** Of a name that is there, where only the search can fail. */
function found(otherwise: string): Action['expected'] {
  return (directory, who) => (grants(directory, who, SEARCH, true) ? otherwise : 'EACCES');
}

/** In the directory: `file` and `sub`, of everybody to change; outside: `mine`. */
const ACTIONS: readonly Action[] = [
  {
    name: 'open the directory',
    make: async (p) => opens(p, 'd', O_RDONLY | O_DIRECTORY),
    expected: needs(READ),
  },
  { name: 'access', make: async (p) => p.access('d', R_OK), expected: needs(READ) },
  { name: 'chdir', make: async (p) => p.child('chdir', 'd'), expected: needs(SEARCH) },
  { name: 'stat', make: async (p) => p.access('d/file', 0), expected: needs(SEARCH) },
  { name: 'stat of .', make: async (p) => p.access('d/.', 0), expected: needs(SEARCH) },
  { name: 'stat of ..', make: async (p) => p.access('d/..', 0), expected: needs(SEARCH) },
  { name: 'stat below', make: async (p) => p.access('d/sub/.', 0), expected: needs(SEARCH) },
  {
    name: 'open a file',
    make: async (p) => opens(p, 'd/file', O_RDONLY),
    expected: needs(SEARCH),
  },
  { name: 'a missing name', make: async (p) => p.access('d/none', 0), expected: found('ENOENT') },
  {
    name: 'mkdir of a name that is there',
    make: async (p) => p.mkdir('d/file'),
    expected: found('EEXIST'),
  },
  {
    name: 'unlink of a missing name',
    make: async (p) => p.unlink('d/none'),
    expected: found('ENOENT'),
  },
  {
    name: 'make a file',
    make: async (p) => opens(p, 'd/new', O_CREAT | O_WRONLY),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.unlink('d/new'),
  },
  {
    name: 'mkdir',
    make: async (p) => p.mkdir('d/new'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.rmdir('d/new'),
  },
  {
    name: 'symlink',
    make: async (p) => p.symlink('target', 'd/new'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.unlink('d/new'),
  },
  {
    name: 'mkfifo',
    make: async (p) => p.mkfifo('d/new'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.unlink('d/new'),
  },
  {
    name: 'link into it',
    make: async (p) => p.link('mine', 'd/new'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.unlink('d/new'),
  },
  {
    name: 'link out of it',
    make: async (p) => p.link('d/file', 'out'),
    expected: needs(SEARCH),
    undo: async (root) => root.unlink('out'),
  },
  {
    name: 'rename into it',
    make: async (p) => p.rename('mine', 'd/new'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.rename('d/new', 'mine'),
  },
  {
    name: 'rename out of it',
    make: async (p) => p.rename('d/file', 'out'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.rename('out', 'd/file'),
  },
  {
    name: 'rename in it',
    make: async (p) => p.rename('d/file', 'd/new'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.rename('d/new', 'd/file'),
  },
  {
    name: 'unlink',
    make: async (p) => p.unlink('d/file'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.create('d/file', '', 0o666),
  },
  {
    name: 'rmdir',
    make: async (p) => p.rmdir('d/sub'),
    expected: needs(WRITE | SEARCH),
    undo: async (root) => root.mkdir('d/sub', 0o777),
  },
];

describe('a directory grants', () => {
  it.for(CALLERS)('%s what its mode says', async ([name, who]) => {
    const root = await fs.as();
    const p = await fs.as(who);
    await done(root.mkdir('d', 0o700));
    await done(root.mkdir('d/sub', 0o777));
    await root.create('d/file', '', 0o666);
    await done(root.chown('d', OWNER.uid, OWNER.gid));
    await p.create('mine', '', 0o666);
    const rows: Row[] = [];
    for (const mode of fs.sample(MODES)) {
      await done(root.chmod('d', mode));
      const directory: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
      for (const action of ACTIONS) {
        const what = `${action.name}, ${mode.toString(8).padStart(3, '0')}, by ${name}`;
        const got = await action.make(p);
        rows.push([what, got, action.expected(directory, who)]);
        if (got === 0) await action.undo?.(root);
      }
    }

    await fs.check(...rows);
  });

  it('a list of names without permission to search, and no more', async () => {
    const root = await fs.as();
    await done(root.mkdir('d', 0o744));
    await root.create('d/file');
    const p = await fs.as(OTHER);

    await fs.check(
      ['names', () => p.names('d'), ['file']],
      ['stat', () => p.lstat('d/file'), 'EACCES'],
    );
  });
});

interface StickyCase {
  readonly directory: Owned;
  readonly file: Owned;
}

/** Directories that everybody may write, with and without the sticky bit, of two owners. */
const STICKY_CASES: readonly StickyCase[] = [0o777, 0o1777, 0o1770, 0o1707].flatMap((mode) =>
  [OWNER, GROUP].flatMap((owner) =>
    [OWNER, GROUP, OTHER, ROOT].map((maker) => ({
      directory: { uid: owner.uid, gid: OWNER.gid, mode },
      file: { uid: maker.uid, gid: maker.gid, mode: 0o666 },
    })),
  ),
);

describe('a sticky directory', () => {
  it.for(CALLERS)('lets %s remove what the owners and root may', async ([name, who]) => {
    const root = await fs.as();
    const p = await fs.as(who);
    await done(root.mkdir('d'));
    await done(root.mkdir('outside', 0o777));
    const rows: Row[] = [];
    for (const { directory, file } of fs.sample(STICKY_CASES)) {
      await done(root.chown('d', directory.uid, directory.gid));
      await done(root.chmod('d', directory.mode));
      const at = `${file.uid} in ${directory.uid} ${directory.mode.toString(8)} by ${name}`;
      const expected = removal(file, directory, who);
      const make = async (path: string, what: 'file' | 'directory'): Promise<void> => {
        if (what === 'file') await root.create(path, '', 0o666);
        else await done(root.mkdir(path, 0o777));
        await done(root.chown(path, file.uid, file.gid));
      };
      await make('d/f', 'file');
      rows.push([`unlink of ${at}`, await p.unlink('d/f'), expected]);
      await root.unlink('d/f');
      await make('d/s', 'directory');
      rows.push([`rmdir of ${at}`, await p.rmdir('d/s'), expected]);
      await root.rmdir('d/s');
      await make('d/f', 'file');
      rows.push([`rename in it of ${at}`, await p.rename('d/f', 'd/g'), expected]);
      await root.rename('d/g', 'd/f');
      rows.push([`rename out of ${at}`, await p.rename('d/f', 'outside/g'), expected]);
      await root.rename('outside/g', 'd/f');
      await p.create('mine', '', 0o666);
      rows.push([`rename over ${at}`, await p.rename('mine', 'd/f'), expected]);
      await root.unlink('mine');
      await root.unlink('d/f');
      await make('d/f', 'file');
      await p.create('mine', '', 0o666);
      const exchanged = await p.rename('mine', 'd/f', RENAME_EXCHANGE);
      rows.push([`exchange with ${at}`, exchanged, expected]);
      await root.unlink('mine');
      await root.unlink('d/f');
    }

    await fs.check(...rows);
  });
});

describe('linkat', () => {
  it('follows the rule of protected hard links', async () => {
    const root = await fs.as();
    const rows: Row[] = [];
    for (const [name, who] of CALLERS) {
      const p = await fs.as(who);
      for (const mode of [0o600, 0o644, 0o660, 0o666, 0o4755, 0o4777, 0o2771, 0o2777, 0o2767]) {
        await root.create('file', '', 0o600);
        await done(root.chown('file', OWNER.uid, OWNER.gid));
        await done(root.chmod('file', mode));
        const file: Owned = { uid: OWNER.uid, gid: OWNER.gid, mode };
        const setId = (mode & 0o4000) !== 0 || (mode & 0o2010) === 0o2010;
        const free = isRoot(who) || who.uid === file.uid || !PROTECTED_LINKS;
        const permitted = free || (!setId && grants(file, who, READ | WRITE));
        const got = await p.link('file', 'link');
        rows.push([`link of ${mode.toString(8)} by ${name}`, got, permitted ? 0 : 'EPERM']);
        await root.unlink('link');
        await root.unlink('file');
      }
    }

    await fs.check(...rows);
  });
});

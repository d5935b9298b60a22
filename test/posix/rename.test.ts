// Renaming: rename(), renameat() of POSIX.1-2024, and renameat2() of rename(2) with its flags.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, inode, makeKinds, nlink } from '../support/posix-kinds.ts';

const fs = underTest();
const isDirectory = (name: string): boolean => name === 'directory';

/** What rename(2) does with a new name that is there. */
function replaced(from: string, to: string): string | number {
  if (isDirectory(from) && !isDirectory(to)) return 'ENOTDIR';
  if (!isDirectory(from) && isDirectory(to)) return 'EISDIR';
  return 0;
}

/** Makes a file of each kind in a directory, and returns to the test's. */
async function kindsIn(p: Process, directory: string): Promise<void> {
  await done(p.mkdir(directory));
  await done(p.make('chdir', directory));
  await makeKinds(p);
  await done(p.make('chdir', '..'));
}

describe('rename', () => {
  it('gives a file of any kind another name, and keeps the file', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      const before = await done(p.lstat(name));
      rows.push(
        [`rename ${name}`, () => p.rename(name, `new-${name}`), 0],
        [`old ${name}`, () => p.lstat(name), 'ENOENT'],
        [`inode of ${name}`, () => inode(p, `new-${name}`), before.ino],
        [`links of ${name}`, () => nlink(p, `new-${name}`), before.nlink],
      );
    }

    await fs.check(...rows);
  });

  it('moves a file of any kind to another directory', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await done(p.mkdir('d'));
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      rows.push(
        [`rename ${name}`, () => p.rename(name, `d/${name}`), 0],
        [`old ${name}`, () => p.lstat(name), 'ENOENT'],
      );
    }

    await fs.check(
      ...rows,
      ['names', () => p.names('d'), KINDS.map(({ name }) => name).toSorted()],
      ['left', () => p.names('.'), ['d']],
    );
  });

  it('replaces files by files, empty directories by directories, and nothing else', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    for (const { name: from } of KINDS) {
      for (const { name: to } of KINDS) {
        const here = `${from}-${to}`;
        await done(p.mkdir(here));
        await done(p.make('chdir', here));
        await makeKinds(p, from);
        await done(p.rename(from, 'from'));
        await makeKinds(p, to);
        await done(p.rename(to, 'to'));
        const expected = replaced(from, to);
        const moved = await inode(p, 'from');
        await done(p.make('chdir', '..'));
        rows.push([`${from} over ${to}`, () => p.rename(`${here}/from`, `${here}/to`), expected]);
        if (expected !== 0) continue;
        rows.push([`${from} is where ${to} was`, () => inode(p, `${here}/to`), moved]);
        rows.push([`nothing but ${to}`, () => p.names(here), ['to']]);
      }
    }

    await fs.check(...rows);
  });

  it('fails with ENOTEMPTY for a new name that is a directory with something in it', async () => {
    const p = await fs.as();
    await done(p.mkdir('from'));
    await kindsIn(p, 'to');

    await fs.check(
      ['rename', () => p.rename('from', 'to'), 'ENOTEMPTY'],
      ['from is there', () => p.names('from'), []],
    );
  });

  it('does nothing when both names are of one file', async () => {
    const p = await fs.as();
    await p.create('a', 'content');
    await done(p.link('a', 'b'));
    await done(p.mkdir('d'));

    await fs.check(
      ['to itself', () => p.rename('a', 'a'), 0],
      ['to its link', () => p.rename('a', 'b'), 0],
      ['both are there', () => p.names('.'), ['a', 'b', 'd']],
      ['links', () => nlink(p, 'a'), 2],
      ['a directory to itself', () => p.rename('d', 'd'), 0],
      ['through another way', () => p.rename('d', './d'), 0],
    );
  });

  it('fails with EINVAL for a directory into itself', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.mkdir('d/e'));
    await done(p.mkdir('d/e/f'));

    await fs.check(
      ['below itself', () => p.rename('d', 'd/x'), 'EINVAL'],
      ['far below itself', () => p.rename('d', 'd/e/f/x'), 'EINVAL'],
      ['onto what is in it', () => p.rename('d', 'd/e'), 'EINVAL'],
      ['onto what it is in', () => p.rename('d/e', 'd'), 'ENOTEMPTY'],
      ['a name that begins alike', () => p.rename('d', 'dd'), 0],
    );
  });

  it('fails with EBUSY or EINVAL for . and ..', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));

    await fs.check(
      ['.', () => p.rename('.', 'x'), 'EBUSY'],
      ['..', () => p.rename('..', 'x'), 'EBUSY'],
      ['d/.', () => p.rename('d/.', 'x'), 'EBUSY'],
      ['d/..', () => p.rename('d/..', 'x'), 'EBUSY'],
      ['to .', () => p.rename('d', '.'), 'EBUSY'],
      ['to ..', () => p.rename('d', '..'), 'EBUSY'],
    );
  });

  it('takes a slash behind a directory, and behind nothing else', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await p.create('f');

    await fs.check(
      ['an old directory', () => p.rename('d/', 'e'), 0],
      ['a new directory', () => p.rename('e', 'd/'), 0],
      ['an old file', () => p.rename('f/', 'g'), 'ENOTDIR'],
      ['a new file', () => p.rename('f', 'g/'), 'ENOTDIR'],
      ['over a directory', () => p.rename('f', 'd/'), 'ENOTDIR'],
    );
  });

  it('renames a link and not what it leads to', async () => {
    const p = await fs.as();
    await p.create('file', 'content');
    await done(p.symlink('file', 'link'));
    await done(p.symlink('file', 'over'));
    await p.create('other', 'other');

    await fs.check(
      ['rename', () => p.rename('link', 'new'), 0],
      ['is a link', () => p.readlink('new'), 'file'],
      ['over a link', () => p.rename('other', 'over'), 0],
      ['replaced the link', () => p.content('over'), 'other'],
      ['and not the file', () => p.content('file'), 'content'],
    );
  });

  it('moves the links of directories with them', async () => {
    const p = await fs.as();
    await done(p.mkdir('a'));
    await done(p.mkdir('b'));
    await done(p.mkdir('a/d'));
    await done(p.mkdir('b/empty'));

    await fs.check(
      ['a before', () => nlink(p, 'a'), 3],
      ['move', () => p.rename('a/d', 'b/d'), 0],
      ['a after', () => nlink(p, 'a'), 2],
      ['b after', () => nlink(p, 'b'), 4],
      ['.. leads to b', () => inode(p, 'b/d/..'), await inode(p, 'b')],
      ['over an empty one', () => p.rename('b/d', 'b/empty'), 0],
      ['b has one less', () => nlink(p, 'b'), 3],
    );
  });

  it('leaves what was replaced usable for who has it open', async () => {
    const p = await fs.as();
    await p.create('old', 'old');
    await p.create('new', 'new');
    await done(p.mkdir('d'));
    await done(p.mkdir('e'));
    const old = await done(p.open('old', O_RDWR));
    const moved = await done(p.open('new', O_RDWR));
    const directory = await done(p.open('e', O_RDONLY | O_DIRECTORY));

    await fs.check(
      ['rename', () => p.rename('new', 'old'), 0],
      ['the replaced one', async () => (await p.pread(old, 9, 0)).toString(), 'old'],
      ['has no name', async () => (await done(p.fstat(old))).nlink, 0],
      ['the moved one', async () => (await p.pread(moved, 9, 0)).toString(), 'new'],
      ['is written', () => p.pwrite(moved, 'NEW', 0), 3],
      ['under its new name', () => p.content('old'), 'NEW'],
      ['directories', () => p.rename('d', 'e'), 0],
      ['the replaced one has no name', async () => (await done(p.fstat(directory))).nlink, 0],
    );
  });

  it('takes names of 255 bytes, and of any bytes', async () => {
    const p = await fs.as();
    const long = 'n'.repeat(255);
    const odd = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1))
      .join('')
      .replace('/', '');
    await p.create('f');

    await fs.check(
      ['long', () => p.rename('f', long), 0],
      ['odd', () => p.rename(long, odd), 0],
      ['names', () => p.names('.'), [odd]],
      ['back', () => p.rename(odd, 'f'), 0],
    );
  });

  it('fails with EACCES where either directory does not permit it', async () => {
    const root = await fs.as();
    const p = await fs.as(OWNER);
    await done(root.mkdir('fixed', 0o755));
    await done(root.mkdir('closed', 0o766));
    await root.create('fixed/file', '', 0o666);
    await p.create('mine');

    await fs.check(
      ['from one not to be written', () => p.rename('fixed/file', 'new'), 'EACCES'],
      ['to one not to be written', () => p.rename('mine', 'fixed/new'), 'EACCES'],
      ['to one not to be searched', () => p.rename('mine', 'closed/new'), 'EACCES'],
      ['within one not to be written', () => p.rename('fixed/file', 'fixed/new'), 'EACCES'],
    );
  });

  it('fails with EACCES for a directory not to be written that gets another parent', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await done(root.mkdir('a', 0o777));
    await done(root.mkdir('b', 0o777));
    await done(root.mkdir('a/d', 0o755));

    await fs.check(
      ['to another parent', () => p.rename('a/d', 'b/d'), 'EACCES'],
      ['in its parent', () => p.rename('a/d', 'a/e'), 0],
      ['by root', () => root.rename('a/e', 'b/e'), 0],
    );
  });

  it('fails with EXDEV between file systems', async () => {
    const p = await fs.as();
    await p.create('file');

    await fs.check(
      ['to another', () => p.rename('file', '/dev/shm/dvk-posix-rename'), 'EXDEV'],
      ['it is there', () => p.names('.'), ['file']],
    );
  });
});

describe('renameat2 with RENAME_NOREPLACE', () => {
  it('fails with EEXIST for a new name that is there, whatever it names', async () => {
    const p = await fs.as();
    await makeKinds(p);
    await p.create('from');
    const flag = RENAME_NOREPLACE;

    await fs.check(
      ...KINDS.map(({ name }): Row => [name, () => p.rename('from', name, flag), 'EEXIST']),
      ['itself', () => p.rename('from', 'from', flag), 'EEXIST'],
      ['a free name', () => p.rename('from', 'free', flag), 0],
      ['is there', () => p.lstat('from'), 'ENOENT'],
    );
  });
});

describe('renameat2 with RENAME_EXCHANGE', () => {
  it('exchanges files of any two kinds', async () => {
    const p = await fs.as();
    await kindsIn(p, 'a');
    await kindsIn(p, 'b');
    const rows: Row[] = [];
    for (const { name: one } of KINDS) {
      for (const { name: two } of KINDS) {
        const [first, second] = [`a/${one}`, `b/${two}`];
        rows.push(
          [`exchange ${one} and ${two}`, () => p.rename(first, second, RENAME_EXCHANGE), 0],
          [`${one} and ${two} again`, () => p.rename(first, second, RENAME_EXCHANGE), 0],
        );
      }
    }

    await fs.check(...rows);
  });

  it('leaves each file under the name of the other', async () => {
    const p = await fs.as();
    await p.create('file', 'content');
    await done(p.mkdir('d'));
    await done(p.mkdir('e'));
    await done(p.mkdir('d/sub'));
    const [file, sub] = [await inode(p, 'file'), await inode(p, 'd/sub')];

    await fs.check(
      ['exchange', () => p.rename('file', 'd/sub', RENAME_EXCHANGE), 0],
      ['the file', () => inode(p, 'd/sub'), file],
      ['the directory', () => inode(p, 'file'), sub],
      ['links of d', () => nlink(p, 'd'), 2],
      ['.. of the directory', () => inode(p, 'file/..'), await inode(p, '.')],
      ['directories with and without entries', () => p.rename('d', 'e', RENAME_EXCHANGE), 0],
      ['names', () => p.names('e'), ['sub']],
      ['with itself', () => p.rename('e', 'e', RENAME_EXCHANGE), 0],
    );
  });

  it('fails with ENOENT for a new name that is missing, and EINVAL into itself', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.mkdir('d/e'));

    await fs.check(
      ['missing', () => p.rename('d', 'missing', RENAME_EXCHANGE), 'ENOENT'],
      ['into itself', () => p.rename('d', 'd/e', RENAME_EXCHANGE), 'EINVAL'],
      ['out of itself', () => p.rename('d/e', 'd', RENAME_EXCHANGE), 'EINVAL'],
    );
  });
});

describe('renameat2', () => {
  it('fails with EINVAL for flags that exclude each other or are unknown', async () => {
    const p = await fs.as();
    await p.create('a');
    await p.create('b');

    await fs.check(
      ['both', () => p.rename('a', 'b', RENAME_NOREPLACE | RENAME_EXCHANGE), 'EINVAL'],
      ['whiteout', () => p.rename('a', 'b', RENAME_WHITEOUT | RENAME_EXCHANGE), 'EINVAL'],
      ['unknown', () => p.rename('a', 'b', 8), 'EINVAL'],
    );
  });
});

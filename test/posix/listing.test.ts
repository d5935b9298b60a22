// Reading directories: readdir(), telldir(), seekdir(), rewinddir() of POSIX.1-2024, as
// getdents64(2) and lseek(2) do them, also while the directory changes.
import { describe, it } from 'vitest';
import { type Entry, type Process, done } from '../support/posix-calls.ts';
import { O_CREAT, O_DIRECTORY, O_RDONLY, O_WRONLY, SEEK_SET } from '../support/posix-constants.ts';
import { type Row, underTest } from '../support/posix-files.ts';
import { KINDS, inode, makeKinds } from '../support/posix-kinds.ts';

const fs = underTest();
/** DT_* of readdir(3). */
const TYPES: Readonly<Record<string, number>> = {
  file: 8,
  directory: 4,
  link: 10,
  fifo: 1,
  socket: 12,
  character: 2,
  block: 6,
};
/** So few bytes that a list takes many calls. */
const SMALL_ROOM = 128;
const MANY = 500;

const namesOf = (entries: readonly Entry[]): string[] => entries.map(({ name }) => name);
const numbered = (i: number): string => `name-${String(i).padStart(4, '0')}`;

async function opened(p: Process, path: string): Promise<number> {
  return done(p.open(path, O_RDONLY | O_DIRECTORY));
}

async function fill(p: Process, directory: string, count: number): Promise<string[]> {
  const names = Array.from({ length: count }, (_, i) => numbered(i));
  for (const name of names) {
    const fd = await done(p.open(`${directory}/${name}`, O_CREAT | O_WRONLY, 0o600));
    await p.close(fd);
  }
  return names;
}

describe('a list of a directory', () => {
  it('has . and .. and each name once, with number and type', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await done(p.make('chdir', 'd'));
    await makeKinds(p);
    const fd = await opened(p, '.');
    const entries = await p.listRest(fd);
    const byName = new Map(entries.map((entry) => [entry.name, entry]));
    const rows: Row[] = [];
    for (const { name } of KINDS) {
      rows.push([`type of ${name}`, byName.get(name)?.type, TYPES[name]]);
      rows.push([`number of ${name}`, byName.get(name)?.ino, await inode(p, name)]);
    }

    await fs.check(
      ['names', namesOf(entries).toSorted(), ['.', '..', ...Object.keys(TYPES)].toSorted()],
      ['number of .', byName.get('.')?.ino, await inode(p, '.')],
      ['number of ..', byName.get('..')?.ino, await inode(p, '..')],
      ['type of .', byName.get('.')?.type, 4],
      ...rows,
      ['nothing more', () => p.getdents(fd), []],
    );
  });

  it('is the same in many small parts', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const names = await fill(p, 'd', MANY);
    const whole = await p.listRest(await opened(p, 'd'));
    const parts = await p.listRest(await opened(p, 'd'), SMALL_ROOM);

    await fs.check(
      ['whole', namesOf(whole).toSorted(), ['.', '..', ...names]],
      ['in parts', namesOf(parts), namesOf(whole)],
      ['cookies differ', new Set(parts.map(({ next }) => next)).size, MANY + 2],
    );
  });

  it('begins again after a seek to 0, and then has what is new', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await p.create('d/old');
    const fd = await opened(p, 'd');
    await p.listRest(fd);
    await p.create('d/new');
    await done(p.unlink('d/old'));

    await fs.check(
      [
        'nothing more before that',
        async () => namesOf(await p.listRest(fd)).includes('old'),
        false,
      ],
      ['seek', () => p.lseek(fd, 0, SEEK_SET), 0],
      ['list', async () => namesOf(await p.listRest(fd)).toSorted(), ['.', '..', 'new']],
    );
  });

  it('goes on from each cookie with the names that followed there', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    await fill(p, 'd', 60);
    const fd = await opened(p, 'd');
    const all = await p.listRest(fd);
    const rows: Row[] = [];
    for (const [i, { next }] of all.entries()) {
      if (i % 5 !== 0 && i < all.length - 3) continue;
      await done(p.lseek(fd, next, SEEK_SET));
      rows.push([`after ${i}`, namesOf(await p.listRest(fd)), namesOf(all.slice(i + 1))]);
    }

    await fs.check(...rows);
  });

  it('has every name that was there all the time once, while others come and go', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const names = await fill(p, 'd', MANY);
    const fd = await opened(p, 'd');
    const stay = names.filter((_, i) => i % 3 !== 0);
    const seen: string[] = [];
    let round = 0;
    for (;;) {
      const part = await done(p.getdents(fd, 512));
      if (part.length === 0) break;
      seen.push(...namesOf(part));
      if (3 * round < MANY) await p.unlink(`d/${numbered(3 * round)}`);
      if (round < 100) await p.create(`d/other-${round}`);
      round++;
    }
    const counts = stay.map((name) => seen.filter((one) => one === name).length);

    await fs.check(
      ['some rounds', round > 10, true],
      ['each once', counts.every((count) => count === 1), true],
      ['no name twice', new Set(seen).size, seen.length],
    );
  });

  it('ends when all names are removed while it is read', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const names = new Set(await fill(p, 'd', MANY));
    const fd = await opened(p, 'd');
    for (;;) {
      const part = await done(p.getdents(fd, 512));
      if (part.length === 0) break;
      for (const { name } of part) {
        if (names.delete(name)) await done(p.unlink(`d/${name}`));
      }
    }

    await fs.check(
      ['all were seen', [...names], []],
      ['none is left', () => p.names('d'), []],
      ['rmdir', () => p.rmdir('d'), 0],
    );
  });

  it('fails with ENOTDIR, EBADF, EINVAL or EFAULT where it cannot be made', async () => {
    const p = await fs.as();
    await p.create('f');
    const file = await done(p.open('f', O_RDONLY));
    const fd = await opened(p, '.');

    await fs.check(
      ['a file', () => p.getdents(file), 'ENOTDIR'],
      ['none', () => p.getdents(999), 'EBADF'],
      ['no room for a name', () => p.getdents(fd, 8), 'EINVAL'],
      ['a bad address', () => p.make('getdents64', fd, 1, 4096), 'EFAULT'],
      ['a seek before the start', () => p.lseek(fd, -1, SEEK_SET), 'EINVAL'],
    );
  });

  it('of the same directory can be read twice at once', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const names = await fill(p, 'd', 40);
    const [one, two] = [await opened(p, 'd'), await opened(p, 'd')];
    const seen: [string[], string[]] = [[], []];
    for (let left = 2; left > 0;) {
      left = 0;
      for (const [i, fd] of [one, two].entries()) {
        const part = await done(p.getdents(fd, SMALL_ROOM * (i + 1)));
        seen[i as 0 | 1].push(...namesOf(part));
        if (part.length > 0) left++;
      }
    }

    await fs.check(
      ['one', seen[0].toSorted(), ['.', '..', ...names]],
      ['two', seen[1].toSorted(), ['.', '..', ...names]],
    );
  });

  it('has names of 1 to 255 bytes, of any bytes', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const bytes = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1));
    const single = bytes.filter((byte) => byte !== '/' && byte !== '.');
    const long = [2, 3, 7, 8, 9, 27, 28, 29, 100, 251, 252, 253, 254, 255].map((n) =>
      'n'.repeat(n),
    );
    const odd = ['...', '....', '.a', ' ', ' x ', 'a\nb', '\u00ff\u00fe'];
    const names = [...single, ...long, ...odd].filter((name, i, all) => all.indexOf(name) === i);
    const rows: Row[] = [];
    for (const name of names) {
      rows.push([`mknod ${JSON.stringify(name)}`, await p.mknod(`d/${name}`, 0o100600), 0]);
    }
    const lookups = names.map((name): Row => [
      `access ${JSON.stringify(name)}`,
      () => p.access(`d/${name}`, 0),
      0,
    ]);

    await fs.check(...rows, ...lookups, ['names', () => p.names('d'), names.toSorted()]);
  });

  it('grows and shrinks with the directory, to more than a thousand names', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const names: string[] = [];
    for (let i = 0; i < 1500; i++) {
      names.push(`${numbered(i)}-${'x'.repeat(i % 90)}`);
      await done(p.mknod(`d/${names[i]!}`, 0o100600));
    }
    const rows: Row[] = [];
    rows.push(['all', await p.names('d'), names.toSorted()]);
    for (const [i, name] of names.entries()) {
      if (i % 10 !== 7) await done(p.unlink(`d/${name}`));
    }
    const left = names.filter((_, i) => i % 10 === 7);
    rows.push(['some', await p.names('d'), left.toSorted()]);
    for (const name of left.slice(0, 50)) rows.push([name, () => p.access(`d/${name}`, 0), 0]);

    await fs.check(...rows);
  });
});

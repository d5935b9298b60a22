// Pathname resolution of POSIX.1-2024 and path_resolution(7): dots, slashes, links, lengths.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  NAME_MAX,
  O_CREAT,
  O_RDONLY,
  O_WRONLY,
  PATH_MAX,
  R_OK,
} from '../support/posix-constants.ts';
import { OTHER, type Row, underTest } from '../support/posix-files.ts';
import { inode } from '../support/posix-kinds.ts';

const fs = underTest();
/** Linux follows so many links in one path; path_resolution(7). */
const LINKS_MAX = 40;

async function tree(p: Process): Promise<void> {
  await done(p.mkdir('a'));
  await done(p.mkdir('a/b'));
  await p.create('a/b/f', 'content');
  await done(p.symlink('b', 'a/to-b'));
  await done(p.symlink('a/b/f', 'to-f'));
  await done(p.symlink('../a/b', 'a/up'));
}

describe('a path', () => {
  it('leads to one file in many ways', async () => {
    const p = await fs.as();
    await tree(p);
    const f = await inode(p, 'a/b/f');
    const paths = [
      'a/b/f',
      './a/b/f',
      'a/./b/./f',
      'a//b///f',
      'a/b/../b/f',
      'a/../a/b/f',
      'a/b/../../a/b/f',
      `${fs.directory}/a/b/f`,
      `//${fs.directory.slice(1)}/a/b/f`,
      'a/to-b/f',
      'a/to-b/../b/f',
      'a/up/f',
      'a/up/../to-b/f',
      '/proc/self/cwd/a/b/f',
    ];
    const rows = paths.map((path): Row => [path, () => inode(p, path), f]);

    await fs.check(...rows, ['of a link', async () => (await done(p.stat('to-f'))).ino, f]);
  });

  it('with a slash behind it must lead to a directory', async () => {
    const p = await fs.as();
    await tree(p);

    await fs.check(
      ['a directory', () => p.access('a/b/', R_OK), 0],
      ['with many', () => p.access('a/b////', R_OK), 0],
      ['a link to one', async () => (await done(p.lstat('a/to-b/'))).mode >> 12, 4],
      ['the link itself', async () => (await done(p.lstat('a/to-b'))).mode >> 12, 10],
      ['a file', () => p.access('a/b/f/', R_OK), 'ENOTDIR'],
      ['a link to a file', () => p.access('to-f/', R_OK), 'ENOTDIR'],
      ['a file and .', () => p.access('a/b/f/.', R_OK), 'ENOTDIR'],
      ['a file and ..', () => p.access('a/b/f/..', R_OK), 'ENOTDIR'],
      ['readlink', () => p.readlink('a/to-b/'), 'EINVAL'],
      ['unlink of a file', () => p.unlink('a/b/f/'), 'ENOTDIR'],
      ['open of a file', () => p.open('a/b/f/', O_RDONLY), 'ENOTDIR'],
      ['rmdir', () => p.mkdir('a/new//'), 0],
      ['rmdir with slashes', () => p.rmdir('a/new//'), 0],
    );
  });

  it('does not go up beyond the root', async () => {
    const p = await fs.as();
    const root = await inode(p, '/');

    await fs.check(
      ['..', () => inode(p, '/..'), root],
      ['many', () => inode(p, '/../../../..'), root],
      ['from here', () => inode(p, '../'.repeat(60)), root],
    );
  });

  it('may have 40 links, and fails with ELOOP for one more', async () => {
    const p = await fs.as();
    await p.create('link-0', 'content');
    for (let i = 1; i <= LINKS_MAX + 1; i++) await done(p.symlink(`link-${i - 1}`, `link-${i}`));

    await fs.check(
      ['one', () => p.content('link-1'), 'content'],
      ['40', () => p.content(`link-${LINKS_MAX}`), 'content'],
      ['41', () => p.open(`link-${LINKS_MAX + 1}`, O_RDONLY), 'ELOOP'],
      ['the last itself', () => p.readlink(`link-${LINKS_MAX + 1}`), `link-${LINKS_MAX}`],
    );
  });

  it('fails with ELOOP where links form a ring', async () => {
    const p = await fs.as();
    await done(p.symlink('two', 'one'));
    await done(p.symlink('one', 'two'));
    await done(p.symlink('self/x', 'self'));
    await done(p.mkdir('d'));
    await done(p.symlink('../d/up', 'd/up'));

    await fs.check(
      ['one', () => p.stat('one'), 'ELOOP'],
      ['two', () => p.open('two', O_RDONLY), 'ELOOP'],
      ['on the way', () => p.access('one/x', R_OK), 'ELOOP'],
      ['into itself', () => p.stat('self'), 'ELOOP'],
      ['over its directory', () => p.stat('d/up'), 'ELOOP'],
      ['lstat', async () => (await done(p.lstat('one'))).size, 3],
      ['with O_CREAT', () => p.open('one', O_CREAT | O_WRONLY, 0o600), 'ELOOP'],
    );
  });

  it('takes names of up to 255 bytes, each of them', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    for (const length of [1, 2, 127, 128, 254, NAME_MAX]) {
      const name = 'n'.repeat(length);
      rows.push([`mkdir of ${length}`, await p.mkdir(name), 0]);
      rows.push([`below ${length}`, await p.mkdir(`${name}/${name}`), 0]);
      rows.push([`access ${length}`, await p.access(`${name}/${name}/..`, R_OK), 0]);
      rows.push([`rmdir of ${length}`, await p.rmdir(`${name}/${name}`), 0]);
    }
    const long = 'n'.repeat(NAME_MAX + 1);

    await fs.check(
      ...rows,
      ['256', () => p.mkdir(long), 'ENAMETOOLONG'],
      ['256 on the way', () => p.access(`${long}/x`, R_OK), 'ENAMETOOLONG'],
      ['256 behind what is missing', () => p.access(`missing/${long}`, R_OK), 'ENOENT'],
      ['in two bytes each', () => p.mkdir('\u00c3\u00a4'.repeat(127)), 0],
    );
  });

  it('takes 4095 bytes, and a tree may be deeper than that', async () => {
    const p = await fs.as();
    const name = 'd'.repeat(250);
    for (let depth = 0; depth < 20; depth++) {
      await done(p.mkdir(name));
      await done(p.make('chdir', name));
    }
    await p.create('f', 'deep');
    const short = Array.from({ length: 15 }, () => name).join('/');
    const { result } = await p.call('getcwd', { out: 8192 }, 8192);
    const rows: Row[] = [
      ['the file', () => p.content('f'), 'deep'],
      ['a longer getcwd', result, 'ENAMETOOLONG'],
      ['up again', () => p.make('chdir', '../'.repeat(20)), 0],
      ['15 of them', () => p.access(short, R_OK), 0],
      ['20 of them', () => p.access(`${short}/${short}`, R_OK), 'ENAMETOOLONG'],
      ['in 4095 bytes', () => p.access('/'.repeat(PATH_MAX - 2) + '.', R_OK), 0],
      ['in 4096 bytes', () => p.access('/'.repeat(PATH_MAX - 1) + '.', R_OK), 'ENAMETOOLONG'],
    ];

    await fs.check(...rows);
  });

  it('needs permission to search each directory on the way, links included', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await done(root.mkdir('open', 0o711));
    await done(root.mkdir('open/closed', 0o700));
    await done(root.mkdir('open/closed/below', 0o777));
    await root.create('open/closed/below/f', 'content', 0o644);
    await root.create('open/f', 'content', 0o644);
    await done(root.symlink('open/closed/below', 'link'));
    await done(root.symlink('open/f', 'to-f'));

    await fs.check(
      ['through one that is open', () => p.content('open/f'), 'content'],
      ['by a link', () => p.content('to-f'), 'content'],
      ['through one that is closed', () => p.open('open/closed/below/f', O_RDONLY), 'EACCES'],
      ['by a link to below it', () => p.open('link/f', O_RDONLY), 'EACCES'],
      ['and back', () => p.access('open/closed/../f', R_OK), 'EACCES'],
      ['what is missing there', () => p.lstat('open/closed/missing'), 'EACCES'],
      ['the closed one itself', () => p.access('open/closed', 0), 0],
    );
  });

  it('changes when a directory on the way is renamed, and an open directory does not', async () => {
    const p = await fs.as();
    await tree(p);
    const at = await done(p.open('a/b', O_RDONLY));
    await done(p.rename('a/b', 'moved'));

    await fs.check(
      ['the old way', () => p.access('a/b/f', R_OK), 'ENOENT'],
      ['the new way', () => p.content('moved/f'), 'content'],
      ['by the descriptor', () => p.make('faccessat', at, 'f', R_OK), 0],
      ['up from there', () => p.make('faccessat', at, '../to-f', 0), 'ENOENT'],
      ['the directory above', () => p.make('faccessat', at, '../moved', 0), 0],
    );
  });
});

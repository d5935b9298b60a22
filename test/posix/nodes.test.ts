// Special files: mknod(), mknodat(), mkfifo(), mkfifoat() of POSIX.1-2024 and mknod(2).
import { describe, it } from 'vitest';
import { done } from '../support/posix-calls.ts';
import {
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { DEVICE, permissions } from '../support/posix-kinds.ts';

const fs = underTest();

describe('mknod', () => {
  it('makes files of each kind that it may', async () => {
    const p = await fs.as();
    const kinds = [
      ['regular', S_IFREG, S_IFREG],
      ['no type', 0, S_IFREG],
      ['fifo', S_IFIFO, S_IFIFO],
      ['socket', S_IFSOCK, S_IFSOCK],
      ['character', S_IFCHR, S_IFCHR],
      ['block', S_IFBLK, S_IFBLK],
    ] as const;
    const rows: Row[] = [];
    for (const [name, type, made] of kinds) {
      rows.push([`mknod ${name}`, await p.mknod(name, type | 0o640, DEVICE), 0]);
      const { mode, size, nlink } = await done(p.lstat(name));
      rows.push([`mode of ${name}`, mode, made | 0o640]);
      rows.push([`size of ${name}`, size, 0]);
      rows.push([`links of ${name}`, nlink, 1]);
    }

    await fs.check(...rows);
  });

  it('fails with EPERM for a directory, and EINVAL for what mknod(2) does not know', async () => {
    const p = await fs.as();

    await fs.check(
      ['a directory', () => p.mknod('d', S_IFDIR | 0o755), 'EPERM'],
      ['a link', () => p.mknod('l', S_IFLNK | 0o777), 'EINVAL'],
      ['an unknown type', () => p.mknod('x', 0o030000 | 0o644), 'EINVAL'],
      ['nothing was made', () => p.names('.'), []],
    );
  });

  it('lets only root make devices, and everybody the rest', async () => {
    const p = await fs.as(OWNER);

    await fs.check(
      ['character', () => p.mknod('character', S_IFCHR | 0o600, DEVICE), 'EPERM'],
      ['block', () => p.mknod('block', S_IFBLK | 0o600, DEVICE), 'EPERM'],
      ['a FIFO', () => p.mknod('fifo', S_IFIFO | 0o600), 0],
      ['a socket', () => p.mknod('socket', S_IFSOCK | 0o600), 0],
      ['a file', () => p.mknod('file', S_IFREG | 0o600), 0],
    );
  });

  it('keeps device numbers, of 12 bits and of 20', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    const numbers = [
      [0, 0],
      [1, 3],
      [255, 255],
      [256, 0],
      [0, 256],
      [4095, 1_048_575],
      [8, 65537],
    ];
    for (const [major = 0, minor = 0] of numbers) {
      for (const type of [S_IFCHR, S_IFBLK]) {
        const name = `${type}-${major}-${minor}`;
        // As the kernel takes it; the C library's number is made of the same parts.
        const device = (minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12);
        rows.push([`mknod ${name}`, await p.mknod(name, type | 0o600, device >>> 0), 0]);
        const { rdev } = await done(p.lstat(name));
        const told = [(rdev >>> 8) & 0xfff, (rdev & 0xff) | ((rdev >>> 12) & 0xfff00)];
        rows.push([`number of ${name}`, told, [major, minor]]);
      }
    }

    await fs.check(...rows);
  });

  it('takes the bits of the mode that umask leaves', async () => {
    const p = await fs.as(OWNER);
    const rows: Row[] = [];
    for (const mask of [0, 0o022, 0o077, 0o777]) {
      await p.make('umask', mask);
      for (const type of [S_IFREG, S_IFIFO, S_IFSOCK]) {
        const name = `${mask.toString(8)}-${type.toString(8)}`;
        await done(p.mknod(name, type | 0o766));
        rows.push([name, await permissions(p, name), 0o766 & ~mask]);
      }
    }

    await fs.check(...rows);
  });
});

describe('a FIFO', () => {
  it('joins two processes', async () => {
    const one = await fs.as();
    const two = await fs.another();
    await done(one.mkfifo('fifo'));
    const reader = await done(two.open('fifo', O_RDONLY | O_NONBLOCK));
    const writer = await done(one.open('fifo', O_WRONLY));

    await fs.check(
      ['empty', () => two.read(reader, 10), 'EAGAIN'],
      ['write', () => one.write(writer, 'through'), 7],
      ['read', async () => (await two.read(reader, 10)).toString(), 'through'],
      ['close', () => one.close(writer), 0],
      ['the end', async () => (await two.read(reader, 10)).toString(), ''],
    );
  });

  it('lets an open wait for the other end', async () => {
    const one = await fs.as();
    const two = await fs.another();
    await done(one.mkfifo('fifo'));
    const waiting = one.open('fifo', O_RDONLY);
    const writer = await done(two.open('fifo', O_WRONLY));
    const reader = await done(waiting);

    await fs.check(
      ['write', () => two.write(writer, 'late'), 4],
      ['read', async () => (await one.read(reader, 10)).toString(), 'late'],
      ['no reader any more', () => one.close(reader), 0],
      ['write', () => two.write(writer, 'x'), 'EPIPE'],
    );
  });

  it('is found under any of its names, and lives without one', async () => {
    const p = await fs.as();
    await done(p.mkfifo('fifo'));
    await done(p.link('fifo', 'other'));
    const one = await done(p.open('fifo', O_RDWR));
    const two = await done(p.open('other', O_RDWR));
    await done(p.unlink('fifo'));
    await done(p.unlink('other'));

    await fs.check(
      ['write', () => p.write(one, 'x'), 1],
      ['read', async () => (await p.read(two, 1)).toString(), 'x'],
      ['type', async () => (await done(p.fstat(one))).mode & S_IFMT, S_IFIFO],
    );
  });

  it('needs the permissions that its mode says', async () => {
    const root = await fs.as();
    const p = await fs.as(OTHER);
    await done(root.mkfifo('read', 0o644));
    await done(root.mkfifo('write', 0o622));

    await fs.check(
      ['for reading', () => p.open('read', O_RDONLY | O_NONBLOCK).then(Number.isInteger), true],
      ['for both', () => p.open('read', O_RDWR), 'EACCES'],
      ['not for reading', () => p.open('write', O_RDONLY | O_NONBLOCK), 'EACCES'],
      ['nobody reads', () => p.open('write', O_WRONLY | O_NONBLOCK), 'ENXIO'],
    );
  });
});

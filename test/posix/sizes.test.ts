// Sizes of files: truncate() and ftruncate() of POSIX.1-2024, posix_fallocate() as fallocate(2)
// with its modes, and SEEK_DATA and SEEK_HOLE of lseek().
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  INT64_MAX,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  SEEK_CUR,
  SEEK_DATA,
  SEEK_HOLE,
} from '../support/posix-constants.ts';
import { OTHER, OWNER, type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds, size } from '../support/posix-kinds.ts';

const fs = underTest();
const BLOCK = 4096;
const PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

/** Makes a file of blocks, each full of one letter, and opens it. */
async function letters(p: Process, name: string, text: string): Promise<number> {
  await p.create(name);
  const fd = await done(p.open(name, O_RDWR));
  for (const [i, letter] of Array.from(text).entries()) {
    if (letter !== '.') await done(p.pwrite(fd, letter.repeat(BLOCK), i * BLOCK));
  }
  return fd;
}

/** The first byte of each block, with `.` for zero, `?` where a block is not of one byte. */
async function lettersOf(p: Process, fd: number): Promise<string> {
  const bytes = await done(p.pread(fd, 16 * BLOCK, 0));
  let text = '';
  for (let at = 0; at < bytes.length; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK);
    const same = block.every((byte) => byte === block[0]);
    text += !same ? '?' : block[0] === 0 ? '.' : String.fromCharCode(block[0]!);
  }
  return text;
}

const allocated = async (p: Process, fd: number): Promise<number> =>
  (await done(p.fstat(fd))).blocks * 512;

describe('truncate and ftruncate', () => {
  it('set any size, and read as zeros what was not written', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    for (const from of [0, 1, 100, 4095, 4096, 4097, 10_000]) {
      for (const to of [0, 1, 99, 4095, 4096, 4097, 9999, 70_000]) {
        const name = `${from}-${to}`;
        await p.create(name, 'x'.repeat(from));
        const result = from % 2 === 0 ? await p.truncate(name, to) : undefined;
        const fd = await done(p.open(name, O_RDWR));
        rows.push([`cut ${name}`, result ?? (await p.ftruncate(fd, to)), 0]);
        rows.push([`size ${name}`, await size(p, name), to]);
        const bytes = await done(p.pread(fd, 65536, 0));
        const kept = Math.min(from, to, 65536);
        const wanted = 'x'.repeat(kept) + '\0'.repeat(Math.min(to, 65536) - kept);
        rows.push([`content ${name}`, bytes.toString('latin1') === wanted, true]);
        await p.close(fd);
      }
    }

    await fs.check(...rows);
  });

  it('show zeros where a file was cut and grew again', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abc');

    await fs.check(
      ['cut in a block', () => p.ftruncate(fd, BLOCK + 10), 0],
      ['grow', () => p.ftruncate(fd, 3 * BLOCK), 0],
      ['last that was kept', async () => (await p.pread(fd, 2, BLOCK + 9)).toString(), 'b\0'],
      ['after it', () => lettersOf(p, fd), 'a?.'],
      ['write far behind', () => p.pwrite(fd, 'x', 5 * BLOCK), 1],
      ['between', async () => (await p.pread(fd, 1, 4 * BLOCK)).toString(), '\0'],
    );
  });

  it('leave the offset alone', async () => {
    const p = await fs.as();
    await p.create('f', 'abcdef');
    const fd = await done(p.open('f', O_RDWR));
    await p.read(fd, 4);

    await fs.check(
      ['cut', () => p.ftruncate(fd, 2), 0],
      ['offset', () => p.lseek(fd, 0, SEEK_CUR), 4],
      ['write there', () => p.write(fd, 'x'), 1],
      ['content', () => p.content('f'), 'ab\0\0x'],
    );
  });

  it('take no space for a file that only grows', async () => {
    const p = await fs.as();
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['1 TiB', () => p.ftruncate(fd, 2 ** 40), 0],
      ['size', () => size(p, 'f'), 2 ** 40],
      ['space', () => allocated(p, fd), 0],
      ['its end', async () => (await p.pread(fd, 4, 2 ** 40 - 2)).toString(), '\0\0'],
      ['back', () => p.ftruncate(fd, 0), 0],
    );
  });

  it('give space back', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abcdefgh');

    await fs.check(
      ['before', () => allocated(p, fd), 8 * BLOCK],
      ['half', () => p.ftruncate(fd, 4 * BLOCK), 0],
      ['half the space', () => allocated(p, fd), 4 * BLOCK],
      ['all', () => p.truncate('f', 0), 0],
      ['no space', () => allocated(p, fd), 0],
    );
  });

  it('fail with EINVAL below 0, and EFBIG or EINVAL beyond what a file may have', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['truncate', () => p.truncate('f', -1), 'EINVAL'],
      ['ftruncate', () => p.ftruncate(fd, -1), 'EINVAL'],
      ['far below', () => p.ftruncate(fd, -(2n ** 63n)), 'EINVAL'],
      ['size', () => size(p, 'f'), 3],
    );
  });

  it('fail with EISDIR for a directory and EINVAL for other kinds', async () => {
    const p = await fs.as();
    await makeKinds(p);
    const special = KINDS.filter(({ name }) => !['file', 'directory', 'link'].includes(name));
    const fd = await done(p.open('directory', O_RDONLY | O_DIRECTORY));

    await fs.check(
      ['a directory', () => p.truncate('directory', 0), 'EISDIR'],
      ['ftruncate of a directory', () => p.ftruncate(fd, 0), 'EINVAL'],
      ...special.map(({ name }): Row => [name, () => p.truncate(name, 0), 'EINVAL']),
      ['a dangling link', () => p.truncate('link', 0), 'ENOENT'],
    );
  });

  it('need a descriptor for writing, or permission to write', async () => {
    const owner = await fs.as(OWNER);
    const other = await fs.as(OTHER);
    await owner.create('f', 'abc', 0o644);
    const reader = await done(owner.open('f', O_RDONLY));
    const writer = await done(owner.open('f', O_WRONLY));
    await owner.create('closed', 'abc', 0o444);

    await fs.check(
      ['a reader', () => owner.ftruncate(reader, 0), 'EINVAL'],
      ['none', () => owner.ftruncate(999, 0), 'EBADF'],
      ['a writer', () => owner.ftruncate(writer, 2), 0],
      ['another user', () => other.truncate('f', 0), 'EACCES'],
      ['a file not to be written', () => owner.truncate('closed', 0), 'EACCES'],
      ['size', () => size(owner, 'f'), 2],
    );
  });

  it('work on a descriptor whatever the mode became', async () => {
    const p = await fs.as(OWNER);
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));
    await done(p.chmod('f', 0));

    await fs.check(['ftruncate', () => p.ftruncate(fd, 1), 0]);
  });
});

describe('fallocate', () => {
  it('takes space and makes the file as long', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['fallocate', () => p.fallocate(fd, 0, 0, 8 * BLOCK), 0],
      ['size', () => size(p, 'f'), 8 * BLOCK],
      ['space', () => allocated(p, fd), 8 * BLOCK],
      ['content', () => lettersOf(p, fd), '?.......'],
      ['what was there', async () => (await p.pread(fd, 4, 0)).toString(), 'abc\0'],
      ['less than the size', () => p.fallocate(fd, 0, 0, BLOCK), 0],
      ['size after that', () => size(p, 'f'), 8 * BLOCK],
      ['in the middle of nowhere', () => p.fallocate(fd, 0, 12 * BLOCK + 5, 10), 0],
      ['size after that too', () => size(p, 'f'), 12 * BLOCK + 15],
    );
  });

  it('keeps the size with FALLOC_FL_KEEP_SIZE', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['fallocate', () => p.fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 8 * BLOCK), 0],
      ['size', () => size(p, 'f'), 3],
      ['space', () => allocated(p, fd), 8 * BLOCK],
      ['write', () => p.pwrite(fd, 'x', 5 * BLOCK), 1],
      ['size after that', () => size(p, 'f'), 5 * BLOCK + 1],
      ['zeros before it', async () => (await p.pread(fd, 2, BLOCK)).toString(), '\0\0'],
      // One more may be for the map of blocks.
      ['space after that', async () => (await allocated(p, fd)) <= 9 * BLOCK, true],
    );
  });

  it('makes holes with FALLOC_FL_PUNCH_HOLE', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abcdef');

    await fs.check(
      ['whole blocks', () => p.fallocate(fd, PUNCH, BLOCK, 2 * BLOCK), 0],
      ['content', () => lettersOf(p, fd), 'a..def'],
      ['space', () => allocated(p, fd), 4 * BLOCK],
      ['parts of blocks', () => p.fallocate(fd, PUNCH, 4 * BLOCK - 5, 10), 0],
      ['before', async () => (await p.pread(fd, 6, 4 * BLOCK - 6)).toString(), 'd\0\0\0\0\0'],
      ['behind', async () => (await p.pread(fd, 6, 4 * BLOCK)).toString(), '\0\0\0\0\0e'],
      ['the space of that', () => allocated(p, fd), 4 * BLOCK],
      ['size', () => size(p, 'f'), 6 * BLOCK],
      ['behind the end', () => p.fallocate(fd, PUNCH, 10 * BLOCK, BLOCK), 0],
      ['across the end', () => p.fallocate(fd, PUNCH, 5 * BLOCK, 9 * BLOCK), 0],
      ['size after that', () => size(p, 'f'), 6 * BLOCK],
      ['the last block', () => lettersOf(p, fd), 'a..??.'],
      ['write into a hole', () => p.pwrite(fd, 'B'.repeat(BLOCK), BLOCK), BLOCK],
      ['content of that', () => lettersOf(p, fd), 'aB.??.'],
    );
  });

  it('writes zeros with FALLOC_FL_ZERO_RANGE', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abcd');
    const keep = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

    await fs.check(
      ['whole blocks', () => p.fallocate(fd, FALLOC_FL_ZERO_RANGE, BLOCK, BLOCK), 0],
      ['content', () => lettersOf(p, fd), 'a.cd'],
      ['parts', () => p.fallocate(fd, FALLOC_FL_ZERO_RANGE, 10, 10), 0],
      ['content of that', async () => (await p.pread(fd, 3, 9)).toString(), 'a\0\0'],
      ['keeping the size', () => p.fallocate(fd, keep, 3 * BLOCK, 3 * BLOCK), 0],
      ['size', () => size(p, 'f'), 4 * BLOCK],
      ['beyond the end', () => p.fallocate(fd, FALLOC_FL_ZERO_RANGE, 3 * BLOCK, 3 * BLOCK), 0],
      ['size after that', () => size(p, 'f'), 6 * BLOCK],
      ['content in the end', () => lettersOf(p, fd), '?.c...'],
    );
  });

  it('takes blocks out with FALLOC_FL_COLLAPSE_RANGE', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abcdef');
    const mode = FALLOC_FL_COLLAPSE_RANGE;

    await fs.check(
      ['two blocks', () => p.fallocate(fd, mode, BLOCK, 2 * BLOCK), 0],
      ['content', () => lettersOf(p, fd), 'adef'],
      ['size', () => size(p, 'f'), 4 * BLOCK],
      ['part of a block', () => p.fallocate(fd, mode, 10, BLOCK), 'EINVAL'],
      ['to the end', () => p.fallocate(fd, mode, 2 * BLOCK, 2 * BLOCK), 'EINVAL'],
      ['with another mode', () => p.fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, 0, BLOCK), BAD_MODE],
      ['content in the end', () => lettersOf(p, fd), 'adef'],
    );
  });

  it('puts holes in with FALLOC_FL_INSERT_RANGE', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abcd');
    const mode = FALLOC_FL_INSERT_RANGE;

    await fs.check(
      ['two blocks', () => p.fallocate(fd, mode, BLOCK, 2 * BLOCK), 0],
      ['content', () => lettersOf(p, fd), 'a..bcd'],
      ['size', () => size(p, 'f'), 6 * BLOCK],
      ['part of a block', () => p.fallocate(fd, mode, BLOCK, 10), 'EINVAL'],
      ['at the end', () => p.fallocate(fd, mode, 6 * BLOCK, BLOCK), 'EINVAL'],
      ['content in the end', () => lettersOf(p, fd), 'a..bcd'],
    );
  });

  const BAD_MODE = 'EOPNOTSUPP';

  it('fails with EINVAL, EFBIG or EOPNOTSUPP for what cannot be', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'a');

    await fs.check(
      ['no bytes', () => p.fallocate(fd, 0, 0, 0), 'EINVAL'],
      ['fewer than none', () => p.fallocate(fd, 0, 0, -1), 'EINVAL'],
      ['before the start', () => p.fallocate(fd, 0, -1, 10), 'EINVAL'],
      ['too far', () => p.fallocate(fd, 0, INT64_MAX, 10), 'EFBIG'],
      ['a hole that grows the file', () => p.fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 1), BAD_MODE],
      ['an unknown mode', () => p.fallocate(fd, 0x1000, 0, 1), BAD_MODE],
      ['size', () => size(p, 'f'), BLOCK],
    );
  });

  it('fails with EBADF, EISDIR, ESPIPE or ENODEV for what is no file to be written', async () => {
    const p = await fs.as();
    await p.create('f');
    await done(p.mkfifo('fifo'));
    const reader = await done(p.open('f', O_RDONLY));
    const directory = await done(p.open('.', O_RDONLY | O_DIRECTORY));
    const fifo = await done(p.open('fifo', O_RDWR));
    const device = await done(p.open('/dev/null', O_RDWR));

    await fs.check(
      ['none', () => p.fallocate(999, 0, 0, 1), 'EBADF'],
      ['a reader', () => p.fallocate(reader, 0, 0, 1), 'EBADF'],
      ['a directory', () => p.fallocate(directory, 0, 0, 1), 'EBADF'],
      ['a FIFO', () => p.fallocate(fifo, 0, 0, 1), 'ESPIPE'],
      ['a device', () => p.fallocate(device, 0, 0, 1), 'ENODEV'],
    );
  });
});

describe('lseek with SEEK_DATA and SEEK_HOLE', () => {
  it('finds the parts that were written', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'ab..c...');
    await done(p.ftruncate(fd, 8 * BLOCK));

    await fs.check(
      ['data from 0', () => p.lseek(fd, 0, SEEK_DATA), 0],
      ['data in data', () => p.lseek(fd, 10, SEEK_DATA), 10],
      ['hole from 0', () => p.lseek(fd, 0, SEEK_HOLE), 2 * BLOCK],
      ['data after a hole', () => p.lseek(fd, 2 * BLOCK, SEEK_DATA), 4 * BLOCK],
      ['data from within a hole', () => p.lseek(fd, 3 * BLOCK + 7, SEEK_DATA), 4 * BLOCK],
      ['hole in a hole', () => p.lseek(fd, 3 * BLOCK + 7, SEEK_HOLE), 3 * BLOCK + 7],
      ['hole after data', () => p.lseek(fd, 4 * BLOCK, SEEK_HOLE), 5 * BLOCK],
      ['no more data', () => p.lseek(fd, 5 * BLOCK, SEEK_DATA), 'ENXIO'],
      ['the offset is moved', () => p.lseek(fd, 0, SEEK_CUR), 5 * BLOCK],
    );
  });

  it('knows a hole at the end of every file, and nothing behind it', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    await p.create('empty');
    const fd = await done(p.open('f', O_RDONLY));
    const empty = await done(p.open('empty', O_RDONLY));

    await fs.check(
      ['hole', () => p.lseek(fd, 0, SEEK_HOLE), 3],
      ['data at the last byte', () => p.lseek(fd, 2, SEEK_DATA), 2],
      ['data at the end', () => p.lseek(fd, 3, SEEK_DATA), 'ENXIO'],
      ['hole at the end', () => p.lseek(fd, 3, SEEK_HOLE), 'ENXIO'],
      ['data before the start', () => p.lseek(fd, -1, SEEK_DATA), 'ENXIO'],
      ['hole before the start', () => p.lseek(fd, -1, SEEK_HOLE), 'ENXIO'],
      ['data of nothing', () => p.lseek(empty, 0, SEEK_DATA), 'ENXIO'],
      ['hole of nothing', () => p.lseek(empty, 0, SEEK_HOLE), 'ENXIO'],
    );
  });

  it('finds holes that were punched', async () => {
    const p = await fs.as();
    const fd = await letters(p, 'f', 'abcd');
    await done(p.fallocate(fd, PUNCH, BLOCK, 2 * BLOCK));

    await fs.check(
      ['hole', () => p.lseek(fd, 0, SEEK_HOLE), BLOCK],
      ['data', () => p.lseek(fd, BLOCK, SEEK_DATA), 3 * BLOCK],
    );
  });

  it('takes for data what was written into space taken before', async () => {
    const p = await fs.as();
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));
    await done(p.fallocate(fd, 0, 0, 8 * BLOCK));
    await done(p.pwrite(fd, 'x'.repeat(BLOCK), 4 * BLOCK));

    await fs.check([
      'data is at or before it',
      async () => (await done(p.lseek(fd, 0, SEEK_DATA))) <= 4 * BLOCK,
      true,
    ]);
  });
});

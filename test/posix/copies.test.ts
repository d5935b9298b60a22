// Moving data without reading it: copy_file_range(2), sendfile(2) and splice(2).
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  O_APPEND,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  SEEK_CUR,
  SEEK_SET,
} from '../support/posix-constants.ts';
import { type Row, underTest } from '../support/posix-files.ts';
import { size } from '../support/posix-kinds.ts';
import type { Argument } from '../support/posix-process.ts';

const fs = underTest();
const TEXT = 'abcdefghijklmnopqrstuvwxyz';

/** An offset that a call moves. */
function offset(at: number): { readonly inout: Uint8Array } {
  return { inout: new Uint8Array(BigInt64Array.of(BigInt(at)).buffer) };
}

async function pair(p: Process): Promise<[from: number, to: number]> {
  await p.create('from', TEXT);
  await p.create('to', '0123456789');
  return [await done(p.open('from', O_RDONLY)), await done(p.open('to', O_RDWR))];
}

describe('copy_file_range', () => {
  it('copies from offset to offset, and moves them', async () => {
    const p = await fs.as();
    const [from, to] = await pair(p);

    await fs.check(
      ['six bytes', () => p.make('copy_file_range', from, 0, to, 0, 6, 0), 6],
      ['offset of the source', () => p.lseek(from, 0, SEEK_CUR), 6],
      ['offset of the target', () => p.lseek(to, 0, SEEK_CUR), 6],
      ['content', () => p.content('to'), 'abcdef6789'],
      ['the rest', () => p.make('copy_file_range', from, 0, to, 0, 1000, 0), 20],
      ['content of all', () => p.content('to'), TEXT],
      ['at the end', () => p.make('copy_file_range', from, 0, to, 0, 1000, 0), 0],
      ['the source', () => p.content('from'), TEXT],
    );
  });

  it('takes offsets of its own, and leaves those of the files', async () => {
    const p = await fs.as();
    const [from, to] = await pair(p);
    const copy = p.call('copy_file_range', from, offset(3), to, offset(20), 4, 0);
    const { result, out } = await copy;

    await fs.check(
      ['count', result, 4],
      ['offset of the source', Number(out[0]!.readBigInt64LE()), 7],
      ['offset of the target', Number(out[1]!.readBigInt64LE()), 24],
      ['of the files', () => p.lseek(from, 0, SEEK_CUR), 0],
      ['content', () => p.content('to'), '0123456789' + '\0'.repeat(10) + 'defg'],
    );
  });

  it('copies any count, within a file too', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    const bytes = Buffer.alloc(65536, TEXT);
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));
    await done(p.pwrite(fd, bytes, 0));
    for (const count of [1, 4095, 4096, 4097, 30_000]) {
      await p.create(`to-${count}`);
      const to = await done(p.open(`to-${count}`, O_RDWR));
      const copied = await p.make('copy_file_range', fd, offset(5), to, offset(0), count, 0);
      rows.push([`copy ${count}`, copied, count]);
      const read = await done(p.pread(to, count + 1, 0));
      rows.push([`content ${count}`, read.equals(bytes.subarray(5, 5 + count)), true]);
    }
    const within = await p.make('copy_file_range', fd, offset(0), fd, offset(40_000), 20_000, 0);
    const read = await done(p.pread(fd, 20_000, 40_000));

    await fs.check(
      ...rows,
      ['within', within, 20_000],
      ['content of that', read.equals(bytes.subarray(0, 20_000)), true],
      [
        'overlapping',
        () => p.make('copy_file_range', fd, offset(0), fd, offset(10), 20, 0),
        'EINVAL',
      ],
    );
  });

  it('fails for what it cannot copy', async () => {
    const p = await fs.as();
    const [from, to] = await pair(p);
    await done(p.mkfifo('fifo'));
    const directory = await done(p.open('.', O_RDONLY | O_DIRECTORY));
    const fifo = await done(p.open('fifo', O_RDWR));
    const writer = await done(p.open('to', O_WRONLY));
    const append = await done(p.open('to', O_RDWR | O_APPEND));
    const copy = async (one: number, two: number, flags = 0): Promise<unknown> =>
      p.make('copy_file_range', one, 0, two, 0, 5, flags);

    await fs.check(
      ['from a writer', () => copy(writer, to), 'EBADF'],
      ['to a reader', () => copy(to, from), 'EBADF'],
      ['to one that appends', () => copy(from, append), 'EBADF'],
      ['from none', () => copy(999, to), 'EBADF'],
      ['to none', () => copy(from, 999), 'EBADF'],
      ['from a directory', () => copy(directory, to), 'EISDIR'],
      ['from a FIFO', () => copy(fifo, to), 'EINVAL'],
      ['to a FIFO', () => copy(from, fifo), 'EINVAL'],
      ['a flag', () => copy(from, to, 1), 'EINVAL'],
      ['content', () => p.content('to'), '0123456789'],
    );
  });
});

describe('sendfile', () => {
  it('copies to another file or a pipe', async () => {
    const p = await fs.as();
    const [from, to] = await pair(p);
    const { out } = await p.call('pipe2', { out: 8 }, 0);
    const [reader, writer] = [out[0]!.readInt32LE(0), out[0]!.readInt32LE(4)];

    await fs.check(
      ['to a file', () => p.make('sendfile', to, from, 0, 5), 5],
      ['content', () => p.content('to'), 'abcde56789'],
      ['the offset', () => p.lseek(from, 0, SEEK_CUR), 5],
      ['to a pipe', () => p.make('sendfile', writer, from, offset(20), 100), 6],
      ['from the pipe', async () => (await p.read(reader, 99)).toString(), 'uvwxyz'],
      ['the offset stays', () => p.lseek(from, 0, SEEK_CUR), 5],
      ['from a pipe', () => p.make('sendfile', to, reader, 0, 5), 'EINVAL'],
      ['from none', () => p.make('sendfile', to, 999, 0, 5), 'EBADF'],
      ['to a reader', () => p.make('sendfile', from, to, 0, 5), 'EBADF'],
      ['before the start', () => p.make('sendfile', to, from, offset(-1), 5), 'EINVAL'],
    );
  });
});

describe('splice', () => {
  it('moves bytes between a file and a pipe', async () => {
    const p = await fs.as();
    const [from, to] = await pair(p);
    const { out } = await p.call('pipe2', { out: 8 }, 0);
    const [reader, writer] = [out[0]!.readInt32LE(0), out[0]!.readInt32LE(4)];
    const splice = async (...args: Argument[]): Promise<unknown> => p.make('splice', ...args, 0);

    await fs.check(
      ['out of the file', () => splice(from, 0, writer, 0, 10), 10],
      ['into the other', () => splice(reader, 0, to, offset(8), 10), 10],
      ['content', () => p.content('to'), '01234567abcdefghij'],
      ['the offset of the source', () => p.lseek(from, 0, SEEK_CUR), 10],
      ['at the end of the file', () => p.lseek(from, 26, SEEK_SET), 26],
      ['nothing', () => splice(from, 0, writer, 0, 10), 0],
      ['without a pipe', () => splice(from, 0, to, 0, 10), 'EINVAL'],
      ['none', () => splice(999, 0, writer, 0, 10), 'EBADF'],
      ['size', () => size(p, 'to'), 18],
    );
  });
});

// Reading and writing: read(), pread(), readv(), write(), pwrite(), writev(), and lseek() of
// POSIX.1-2024, with preadv2(2) and pwritev2(2).
import { describe, it } from 'vitest';
import { done } from '../support/posix-calls.ts';
import {
  F_GETFL,
  F_SETFL,
  INT64_MAX,
  O_APPEND,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  SEEK_CUR,
  SEEK_END,
  SEEK_SET,
} from '../support/posix-constants.ts';
import { type Row, underTest } from '../support/posix-files.ts';
import { size } from '../support/posix-kinds.ts';
import type { Argument, Result } from '../support/posix-process.ts';

const fs = underTest();
const BAD_FD = 999;
const RWF_NOWAIT = 8;
const RWF_APPEND = 16;

/** Bytes that tell where they are. */
function numbered(count: number, from = 0): Buffer {
  return Buffer.from(
    Uint8Array.from({ length: count }, (_, i) => (from + i) * 7 + ((from + i) >> 8)),
  );
}

const hex = (bytes: Buffer | string): string =>
  typeof bytes === 'string' ? bytes : bytes.toString('hex');

describe('write and read', () => {
  it('bring back the same bytes, of any count at any place', async () => {
    const p = await fs.as();
    const rows: Row[] = [];
    for (const count of [0, 1, 2, 511, 512, 513, 1023, 4095, 4096, 4097, 8192, 65535, 65536]) {
      for (const at of [0, 1, 511, 4095, 4096, 4097]) {
        const name = `${count}-at-${at}`;
        await p.create(name);
        const fd = await done(p.open(name, O_RDWR));
        const bytes = numbered(count, at);
        rows.push(
          [`write ${name}`, await p.pwrite(fd, bytes, at), count],
          [`size ${name}`, await size(p, name), count === 0 ? 0 : at + count],
          [`read ${name}`, hex(await p.pread(fd, count, at)) === hex(bytes), true],
          [`before ${name}`, hex(await p.pread(fd, Math.min(at, 64), 0)), hole(count, at)],
        );
        await p.close(fd);
      }
    }

    await fs.check(...rows);
  });

  /** Up to 64 bytes of a hole before a written part. */
  function hole(count: number, at: number): string {
    return count === 0 ? '' : '00'.repeat(Math.min(at, 64));
  }

  it('share one offset, which pread and pwrite leave alone', async () => {
    const p = await fs.as();
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['write', () => p.write(fd, 'abcdef'), 6],
      ['offset', () => p.lseek(fd, 0, SEEK_CUR), 6],
      ['read at the end', async () => hex(await p.read(fd, 5)), ''],
      ['pwrite', () => p.pwrite(fd, 'X', 1), 1],
      ['pread', async () => (await p.pread(fd, 3, 0)).toString(), 'aXc'],
      ['offset still', () => p.lseek(fd, 0, SEEK_CUR), 6],
      ['back', () => p.lseek(fd, 2, SEEK_SET), 2],
      ['read', async () => (await p.read(fd, 3)).toString(), 'cde'],
      ['write after it', () => p.write(fd, 'YZ'), 2],
      ['content', () => p.content('f'), 'aXcdeYZ'],
    );
  });

  it('share the offset between descriptors that dup made, and not between two opens', async () => {
    const p = await fs.as();
    await p.create('f', 'abcdef');
    const one = await done(p.open('f', O_RDONLY));
    const same = await done(p.make('dup', one));
    const other = await done(p.open('f', O_RDONLY));

    await fs.check(
      ['one', async () => (await p.read(one, 2)).toString(), 'ab'],
      ['same', async () => (await p.read(same, 2)).toString(), 'cd'],
      ['other', async () => (await p.read(other, 2)).toString(), 'ab'],
      ['in a child', () => p.child('lseek', one, 5, SEEK_SET), 5],
      ['seen here', async () => (await p.read(one, 2)).toString(), 'f'],
    );
  });

  it('stop at the end of the file', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDONLY));

    await fs.check(
      ['more than there is', async () => (await p.pread(fd, 100, 0)).toString(), 'abc'],
      ['the last byte', async () => (await p.pread(fd, 100, 2)).toString(), 'c'],
      ['at the end', async () => hex(await p.pread(fd, 100, 3)), ''],
      ['far behind', async () => hex(await p.pread(fd, 100, 2n ** 40n)), ''],
      ['nothing', async () => hex(await p.pread(fd, 0, 0)), ''],
    );
  });

  it('fill what lies between the end and a write behind it with zeros', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['write', () => p.pwrite(fd, 'xyz', 100_000), 3],
      ['size', () => size(p, 'f'), 100_003],
      ['the beginning', async () => (await p.pread(fd, 4, 0)).toString(), 'abc\0'],
      ['the hole', async () => (await done(p.pread(fd, 65536, 3))).every((b) => b === 0), true],
      ['the end', async () => (await p.pread(fd, 4, 99_999)).toString(), '\0xyz'],
    );
  });

  it('reach beyond 4 GiB', async () => {
    const p = await fs.as();
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));
    const far = 2 ** 32 + 5;

    await fs.check(
      ['write', () => p.pwrite(fd, 'far', far), 3],
      ['size', () => size(p, 'f'), far + 3],
      ['read', async () => (await p.pread(fd, 9, far)).toString(), 'far'],
      ['before', async () => hex(await p.pread(fd, 3, 5)), '000000'],
      ['lseek', () => p.lseek(fd, -1, SEEK_END), far + 2],
    );
  });

  it('append with O_APPEND wherever the offset is', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const one = await done(p.open('f', O_RDWR | O_APPEND));
    const two = await done(p.open('f', O_WRONLY | O_APPEND));

    await fs.check(
      ['one', () => p.write(one, '1'), 1],
      ['two', () => p.write(two, '2'), 1],
      ['seek', () => p.lseek(one, 0, SEEK_SET), 0],
      ['one again', () => p.write(one, '3'), 1],
      ['offset', () => p.lseek(one, 0, SEEK_CUR), 6],
      // A deviation of Linux from POSIX, named in pwrite(2).
      ['pwrite', () => p.pwrite(one, '4', 0), 1],
      ['content', () => p.content('f'), 'abc1234'],
      ['off', () => p.make('fcntl', one, F_SETFL, 0), 0],
      ['pwrite after that', () => p.pwrite(one, 'A', 0), 1],
      ['flags', async () => (await done(p.make('fcntl', one, F_GETFL))) & O_APPEND, 0],
      ['content after that', () => p.content('f'), 'Abc1234'],
      ['on', () => p.make('fcntl', one, F_SETFL, O_APPEND), 0],
      ['write after that', () => p.write(one, '5'), 1],
      ['content in the end', () => p.content('f'), 'Abc12345'],
    );
  });

  it('keep every record of two processes that append', async () => {
    const one = await fs.as();
    const two = await fs.another();
    await one.create('f');
    const [a, b] = [
      await done(one.open('f', O_WRONLY | O_APPEND)),
      await done(two.open('f', O_WRONLY | O_APPEND)),
    ];
    const records = Array.from(
      { length: 200 },
      (_, i) => `record ${i % 2} ${String(i).padStart(4, '0')}\n`,
    );
    await Promise.all(
      records.map(async (record, i) => (i % 2 === 0 ? one.write(a, record) : two.write(b, record))),
    );
    const lines = (await one.content('f')).split(/(?<=\n)/);

    await fs.check(
      ['all', lines.toSorted(), records.toSorted()],
      ['the first in order', lines.filter((line) => line.startsWith('record 0')).length, 100],
    );
  });

  it('show a write of one process to another at once', async () => {
    const one = await fs.as();
    const two = await fs.another();
    await one.create('f', 'before');
    const reader = await done(two.open('f', O_RDONLY));
    await two.pread(reader, 100, 0);
    const writer = await done(one.open('f', O_RDWR));

    await fs.check(
      ['write', () => one.pwrite(writer, 'AFTER!!', 0), 7],
      ['read', async () => (await two.pread(reader, 100, 0)).toString(), 'AFTER!!'],
      ['size', async () => (await done(two.fstat(reader))).size, 7],
      ['cut', () => one.ftruncate(writer, 2), 0],
      ['read the cut', async () => (await two.pread(reader, 100, 0)).toString(), 'AF'],
    );
  });

  it('take vectors of pieces', async () => {
    const p = await fs.as();
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));
    const pieces = { vector: [Buffer.from('ab'), Buffer.from(''), Buffer.from('cdef')] };
    const room = { vector: [{ out: 1 }, { out: 3 }, { out: 9 }] };
    const read = async (name: string, ...more: Argument[]): Promise<string[] | Result> => {
      const { result, out } = await p.call(name, fd, room, 3, ...more);
      if (typeof result === 'string') return result;
      return out.map((bytes) => bytes.toString().replaceAll('\0', ''));
    };

    await fs.check(
      ['writev', () => p.make('writev', fd, pieces, 3), 6],
      ['pwritev', () => p.make('pwritev', fd, pieces, 3, 6), 6],
      ['pwritev2', () => p.make('pwritev2', fd, pieces, 3, 12, 0, 0), 6],
      ['content', () => p.content('f'), 'abcdefabcdefabcdef'],
      ['preadv', () => read('preadv', 0), ['a', 'bcd', 'efabcdefa']],
      ['preadv2', () => read('preadv2', 14, 0, 0), ['c', 'def', '']],
      ['readv at the offset', () => read('readv'), ['a', 'bcd', 'efabcdef']],
      ['no pieces', () => p.make('writev', fd, pieces, 0), 0],
      ['too many', () => p.make('writev', fd, pieces, 1025), 'EINVAL'],
      ['fewer than none', () => p.make('writev', fd, pieces, -1), 'EINVAL'],
      ['a bad address', () => p.make('writev', fd, 1, 1), 'EFAULT'],
      ['unknown flags', () => p.make('preadv2', fd, room, 3, 0, 0, 1 << 30), 'EOPNOTSUPP'],
      ['append', () => p.make('pwritev2', fd, pieces, 3, 0, 0, RWF_APPEND), 6],
      ['appended', () => size(p, 'f'), 24],
    );
  });

  it('fail with EBADF for a descriptor that is not open, or not so', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const reader = await done(p.open('f', O_RDONLY));
    const writer = await done(p.open('f', O_WRONLY));

    await fs.check(
      ['read of none', () => p.read(BAD_FD, 1), 'EBADF'],
      ['read of -1', () => p.read(-1, 1), 'EBADF'],
      ['write to none', () => p.write(BAD_FD, 'x'), 'EBADF'],
      ['read of a writer', () => p.read(writer, 1), 'EBADF'],
      ['pread of a writer', () => p.pread(writer, 1, 0), 'EBADF'],
      ['write to a reader', () => p.write(reader, 'x'), 'EBADF'],
      ['pwrite to a reader', () => p.pwrite(reader, 'x', 0), 'EBADF'],
      ['write of nothing to a reader', () => p.write(reader, ''), 'EBADF'],
      ['lseek of none', () => p.lseek(BAD_FD, 0, SEEK_SET), 'EBADF'],
      ['close of none', () => p.close(BAD_FD), 'EBADF'],
      ['close', () => p.close(reader), 0],
      ['close again', () => p.close(reader), 'EBADF'],
      ['read after close', () => p.read(reader, 1), 'EBADF'],
      ['dup of none', () => p.make('dup', BAD_FD), 'EBADF'],
    );
  });

  it('fail with EFAULT for memory that is not there', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['read', () => p.make('read', fd, 1, 3), 'EFAULT'],
      ['pread', () => p.make('pread64', fd, 1, 3, 0), 'EFAULT'],
      ['write', () => p.make('write', fd, 1, 3), 'EFAULT'],
      ['pwrite', () => p.make('pwrite64', fd, 1, 3, 0), 'EFAULT'],
      ['content', () => p.content('f'), 'abc'],
      ['size', () => size(p, 'f'), 3],
    );
  });

  it('fail with EINVAL for offsets below 0 and those that no number can hold', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['pread', () => p.pread(fd, 1, -1), 'EINVAL'],
      ['pwrite', () => p.pwrite(fd, 'x', -1), 'EINVAL'],
      ['pwrite past the largest', () => p.pwrite(fd, 'x', INT64_MAX), 'EINVAL'],
      ['size', () => size(p, 'f'), 3],
    );
  });

  it('fail with EISDIR for a directory', async () => {
    const p = await fs.as();
    const fd = await done(p.open('.', O_RDONLY | O_DIRECTORY));

    await fs.check(
      ['read', () => p.read(fd, 1), 'EISDIR'],
      ['pread', () => p.pread(fd, 1, 0), 'EISDIR'],
      ['write', () => p.write(fd, 'x'), 'EBADF'],
    );
  });

  it('work through a FIFO', async () => {
    const p = await fs.as();
    await done(p.mkfifo('fifo'));
    const fd = await done(p.open('fifo', O_RDWR));

    await fs.check(
      ['write', () => p.write(fd, 'through'), 7],
      ['read', async () => (await p.read(fd, 100)).toString(), 'through'],
      ['lseek', () => p.lseek(fd, 0, SEEK_SET), 'ESPIPE'],
      ['pread', () => p.pread(fd, 1, 0), 'ESPIPE'],
      ['pwrite', () => p.pwrite(fd, 'x', 0), 'ESPIPE'],
      ['size', () => size(p, 'fifo'), 0],
      ['ftruncate', () => p.ftruncate(fd, 0), 'EINVAL'],
    );
  });

  it('do not wait with RWF_NOWAIT', async () => {
    const p = await fs.as();
    await p.create('f', 'abc');
    const fd = await done(p.open('f', O_RDWR));
    await p.pread(fd, 3, 0);
    const told = await p.make('preadv2', fd, { vector: [{ out: 3 }] }, 1, 0, 0, RWF_NOWAIT);

    await fs.check(['read, or not', [3, 'EAGAIN', 'EOPNOTSUPP'].includes(told), true]);
  });
});

describe('lseek', () => {
  it('goes anywhere from 0 up, and reads nothing behind the end', async () => {
    const p = await fs.as();
    await p.create('f', 'abcdef');
    const fd = await done(p.open('f', O_RDONLY));

    await fs.check(
      ['from the start', () => p.lseek(fd, 2, SEEK_SET), 2],
      ['from here', () => p.lseek(fd, 2, SEEK_CUR), 4],
      ['back', () => p.lseek(fd, -1, SEEK_CUR), 3],
      ['from the end', () => p.lseek(fd, -2, SEEK_END), 4],
      ['behind the end', () => p.lseek(fd, 100, SEEK_END), 106],
      ['read there', async () => hex(await p.read(fd, 1)), ''],
      ['size', () => size(p, 'f'), 6],
      ['before the start', () => p.lseek(fd, -1, SEEK_SET), 'EINVAL'],
      ['before it from here', () => p.lseek(fd, -107, SEEK_CUR), 'EINVAL'],
      ['before it from the end', () => p.lseek(fd, -7, SEEK_END), 'EINVAL'],
      ['still there', () => p.lseek(fd, 0, SEEK_CUR), 106],
      ['no such whence', () => p.lseek(fd, 0, 99), 'EINVAL'],
    );
  });

  it('fails with EINVAL or EOVERFLOW beyond the largest offset', async () => {
    const p = await fs.as();
    await p.create('f', 'abcdef');
    const fd = await done(p.open('f', O_RDONLY));
    const wrong = ['EINVAL', 'EOVERFLOW'];

    await fs.check(
      [
        'far from the end',
        async () => wrong.includes(String(await p.lseek(fd, INT64_MAX, SEEK_END))),
        true,
      ],
      ['still at the start', () => p.lseek(fd, 0, SEEK_CUR), 0],
    );
  });
});

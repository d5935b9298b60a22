// Mapped files: mmap(), msync(), munmap() of POSIX.1-2024, shared and private, beside read() and
// write() of the same file.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  MAP_PRIVATE,
  MAP_SHARED,
  MS_ASYNC,
  MS_INVALIDATE,
  MS_SYNC,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  PROT_READ,
  PROT_WRITE,
} from '../support/posix-constants.ts';
import { underTest } from '../support/posix-files.ts';
import { size } from '../support/posix-kinds.ts';

const fs = underTest();
const PAGE = 4096;
const BOTH = PROT_READ | PROT_WRITE;

const peek = async (p: Process, at: number, count: number): Promise<string> =>
  (await p.peek(at, count)).toString();

describe('a shared mapping', () => {
  it('shows what is written, and its bytes are written to the file', async () => {
    const p = await fs.as();
    await p.create('f', 'text of a file');
    const fd = await done(p.open('f', O_RDWR));
    const at = await done(p.mmap(fd, PAGE, BOTH, MAP_SHARED));

    await fs.check(
      ['peek', () => peek(p, at, 4), 'text'],
      ['write', () => p.pwrite(fd, 'TEXT', 0), 4],
      ['peek after that', () => peek(p, at, 7), 'TEXT of'],
      ['poke', () => p.poke(at + 5, 'OF'), 0],
      ['read', async () => (await p.pread(fd, 99, 0)).toString(), 'TEXT OF a file'],
      ['msync', () => p.make('msync', at, PAGE, MS_SYNC), 0],
      ['msync later', () => p.make('msync', at, PAGE, MS_ASYNC), 0],
      ['msync with MS_INVALIDATE', () => p.make('msync', at, PAGE, MS_SYNC | MS_INVALIDATE), 0],
      ['close', () => p.close(fd), 0],
      ['poke after close', () => p.poke(at, 'last'), 0],
      ['munmap', () => p.make('munmap', at, PAGE), 0],
      ['content', () => p.content('f'), 'last OF a file'],
    );
  });

  it('is seen by another process', async () => {
    const one = await fs.as();
    const two = await fs.another();
    await one.create('f', 'text');
    const [a, b] = [await done(one.open('f', O_RDWR)), await done(two.open('f', O_RDWR))];
    const [first, second] = [
      await done(one.mmap(a, PAGE, BOTH, MAP_SHARED)),
      await done(two.mmap(b, PAGE, BOTH, MAP_SHARED)),
    ];

    await fs.check(
      ['poke', () => one.poke(first, 'T'), 0],
      ['peek', () => peek(two, second, 4), 'Text'],
      ['read', async () => (await two.pread(b, 9, 0)).toString(), 'Text'],
      ['write', () => two.pwrite(b, 'X', 3), 1],
      ['peek of the first', () => peek(one, first, 4), 'TexX'],
    );
  });

  it('marks the file as modified by msync at the latest', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDWR));
    await done(
      p.utimens('f', [
        { seconds: 1, nanoseconds: 0 },
        { seconds: 1, nanoseconds: 0 },
      ]),
    );
    const at = await done(p.mmap(fd, PAGE, BOTH, MAP_SHARED));
    await done(p.poke(at, 'T'));
    await done(p.make('msync', at, PAGE, MS_SYNC));

    await fs.check(['mtime', async () => (await done(p.stat('f'))).mtime > 2_000_000_000n, true]);
  });

  it('has zeros behind the end in the last page, and nothing behind that', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDWR));
    const at = await done(p.mmap(fd, 4 * PAGE, BOTH, MAP_SHARED));

    await fs.check(
      ['in the page', () => peek(p, at, 6), 'text\0\0'],
      ['poke behind the end', () => p.poke(at + 4, 'lost'), 0],
      ['size', () => size(p, 'f'), 4],
      // SIGBUS
      ['behind the page', () => p.peek(at + PAGE, 1), 'EIO'],
      ['poke there', () => p.poke(at + 2 * PAGE, 'x'), 'EIO'],
      ['grow', () => p.ftruncate(fd, 3 * PAGE), 0],
      ['is there now', () => peek(p, at + PAGE, 2), '\0\0'],
      ['poke now', () => p.poke(at + 2 * PAGE, 'x'), 0],
      ['read', async () => (await p.pread(fd, 1, 2 * PAGE)).toString(), 'x'],
      ['cut', () => p.ftruncate(fd, PAGE), 0],
      ['is gone', () => p.peek(at + 2 * PAGE, 1), 'EIO'],
      ['the first page is not', () => peek(p, at, 4), 'text'],
    );
  });

  it('shows zeros after the file was cut and grew again', async () => {
    const p = await fs.as();
    await p.create('f', 'x'.repeat(2 * PAGE));
    const fd = await done(p.open('f', O_RDWR));
    const at = await done(p.mmap(fd, 2 * PAGE, BOTH, MAP_SHARED));

    await fs.check(
      ['before', () => peek(p, at + PAGE, 2), 'xx'],
      ['cut', () => p.ftruncate(fd, 10), 0],
      ['grow', () => p.ftruncate(fd, 2 * PAGE), 0],
      ['second page', () => peek(p, at + PAGE, 2), '\0\0'],
      ['first page', () => peek(p, at + 8, 4), 'xx\0\0'],
    );
  });

  it('shows a hole where one was punched', async () => {
    const p = await fs.as();
    await p.create('f', 'x'.repeat(3 * PAGE));
    const fd = await done(p.open('f', O_RDWR));
    const at = await done(p.mmap(fd, 3 * PAGE, BOTH, MAP_SHARED));

    await fs.check(
      ['before', () => peek(p, at + PAGE, 1), 'x'],
      ['punch', () => p.fallocate(fd, 3, PAGE, PAGE), 0],
      ['after', () => peek(p, at + PAGE, 1), '\0'],
      ['behind it', () => peek(p, at + 2 * PAGE, 1), 'x'],
    );
  });

  it('fills holes', async () => {
    const p = await fs.as();
    await p.create('f');
    const fd = await done(p.open('f', O_RDWR));
    await done(p.ftruncate(fd, 16 * PAGE));
    const at = await done(p.mmap(fd, 16 * PAGE, BOTH, MAP_SHARED));

    await fs.check(
      ['empty', () => peek(p, at + 8 * PAGE, 1), '\0'],
      ['poke', () => p.poke(at + 8 * PAGE, 'x'), 0],
      ['msync', () => p.make('msync', at, 16 * PAGE, MS_SYNC), 0],
      ['takes space', async () => (await done(p.fstat(fd))).blocks >= 8, true],
      ['not for all', async () => (await done(p.fstat(fd))).blocks < 128, true],
      ['read', async () => (await p.pread(fd, 1, 8 * PAGE)).toString(), 'x'],
    );
  });
});

describe('a private mapping', () => {
  it('keeps its changes to itself', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDONLY));
    const at = await done(p.mmap(fd, PAGE, BOTH, MAP_PRIVATE));

    await fs.check(
      ['poke', () => p.poke(at, 'T'), 0],
      ['peek', () => peek(p, at, 4), 'Text'],
      ['msync', () => p.make('msync', at, PAGE, MS_SYNC), 0],
      ['read', async () => (await p.pread(fd, 9, 0)).toString(), 'text'],
      [
        'another mapping',
        async () => peek(p, await done(p.mmap(fd, PAGE, 1, MAP_PRIVATE)), 4),
        'text',
      ],
    );
  });
});

describe('mmap', () => {
  it('fails for what cannot be mapped so', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    await done(p.mkfifo('fifo'));
    const reader = await done(p.open('f', O_RDONLY));
    const writer = await done(p.open('f', O_WRONLY));
    const directory = await done(p.open('.', O_RDONLY | O_DIRECTORY));
    const fifo = await done(p.open('fifo', O_RDWR));

    await fs.check(
      ['shared and written by a reader', () => p.mmap(reader, PAGE, BOTH, MAP_SHARED), 'EACCES'],
      ['read by a writer', () => p.mmap(writer, PAGE, PROT_READ, MAP_SHARED), 'EACCES'],
      ['private by a writer', () => p.mmap(writer, PAGE, PROT_READ, MAP_PRIVATE), 'EACCES'],
      ['none', () => p.mmap(999, PAGE, PROT_READ, MAP_SHARED), 'EBADF'],
      ['a directory', () => p.mmap(directory, PAGE, PROT_READ, MAP_SHARED), 'ENODEV'],
      ['a FIFO', () => p.mmap(fifo, PAGE, PROT_READ, MAP_SHARED), 'ENODEV'],
      ['no bytes', () => p.mmap(reader, 0, PROT_READ, MAP_SHARED), 'EINVAL'],
      ['neither shared nor private', () => p.mmap(reader, PAGE, PROT_READ, 0), 'EINVAL'],
      [
        'an odd offset',
        () => p.make('mmap', 0, PAGE, PROT_READ, MAP_SHARED, reader, 100),
        'EINVAL',
      ],
      [
        'a reader to be written later',
        async () => {
          const at = await done(p.mmap(reader, PAGE, PROT_READ, MAP_SHARED));
          return p.make('mprotect', at, PAGE, BOTH);
        },
        'EACCES',
      ],
    );
  });

  it('takes an offset of whole pages', async () => {
    const p = await fs.as();
    await p.create('f', 'a'.repeat(PAGE) + 'b'.repeat(PAGE));
    const fd = await done(p.open('f', O_RDONLY));
    const at = await done(p.make('mmap', 0, PAGE, PROT_READ, MAP_SHARED, fd, PAGE));

    await fs.check(['the second page', () => peek(p, at, 2), 'bb']);
  });

  it('does not let msync reach what is not mapped', async () => {
    const p = await fs.as();
    await p.create('f', 'text');
    const fd = await done(p.open('f', O_RDWR));
    const at = await done(p.mmap(fd, PAGE, BOTH, MAP_SHARED));
    await done(p.make('munmap', at, PAGE));

    await fs.check(
      ['unmapped', () => p.make('msync', at, PAGE, MS_SYNC), 'ENOMEM'],
      ['an odd address', () => p.make('msync', at + 1, PAGE, MS_SYNC), 'EINVAL'],
      ['two ways at once', () => p.make('msync', at, PAGE, MS_SYNC | MS_ASYNC), 'EINVAL'],
      ['peek', () => p.peek(at, 1), 'EFAULT'],
    );
  });

  it('runs programs', async () => {
    const p = await fs.as();
    const source = await done(p.open('/bin/sleep', O_RDONLY));
    await p.create('sleep', '', 0o755);
    const program = await done(p.open('sleep', O_WRONLY));
    for (;;) {
      if ((await done(p.make('sendfile', program, source, 0, 1 << 20))) === 0) break;
    }
    await done(p.close(program));

    // Without arguments it ends with 1; it is no failure of execve.
    await fs.check(['execve', () => p.child('execve', 'sleep', 0, 0), 1]);
  });
});

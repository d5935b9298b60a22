// Where it ends: RLIMIT_FSIZE with EFBIG and SIGXFSZ, RLIMIT_NOFILE with EMFILE, ENOSPC on a full
// file system, EROFS on one that is read-only; write(), truncate(), open() and getrlimit() of
// POSIX.1-2024.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  RLIMIT_FSIZE,
  RLIMIT_NOFILE,
  SIGXFSZ,
  W_OK,
} from '../support/posix-constants.ts';
import { type Row, underTest } from '../support/posix-files.ts';
import { KINDS, makeKinds, size } from '../support/posix-kinds.ts';
import type { Result } from '../support/posix-process.ts';

const fs = underTest();
const LIMIT = 10_000;
const UNLIMITED = 2n ** 64n - 1n;

async function setLimit(p: Process, bytes: bigint): Promise<void> {
  const limits = new Uint8Array(BigUint64Array.of(bytes, UNLIMITED).buffer);
  await done(p.make('prlimit64', 0, RLIMIT_FSIZE, limits, 0));
}

describe('the limit of open files', () => {
  it('fails with EMFILE, and makes nothing', async () => {
    const p = await fs.startAnother();
    await p.create('f');
    const fd = await done(p.open('f', O_RDONLY));
    const limits = new Uint8Array(BigUint64Array.of(BigInt(fd + 1), BigInt(fd + 1)).buffer);
    await done(p.make('prlimit64', 0, RLIMIT_NOFILE, limits, 0));

    await fs.check(
      ['open', () => p.open('f', O_RDONLY), 'EMFILE'],
      ['open with O_CREAT', () => p.open('new', O_CREAT | O_RDWR, 0o600), 'EMFILE'],
      ['nothing is there', () => p.access('new', 0), 'ENOENT'],
      ['close', () => p.close(fd), 0],
      ['open again', () => p.open('f', O_RDONLY), fd],
    );
    await p.end();
  });
});

describe('the limit of a file', () => {
  it('ends a write there, and fails the next with EFBIG and SIGXFSZ', async () => {
    const p = await fs.startAnother();
    await p.create('f');
    await setLimit(p, BigInt(LIMIT));
    const fd = await done(p.open('f', O_RDWR));

    await fs.check(
      ['up to it', () => p.pwrite(fd, 'x'.repeat(LIMIT), 0), LIMIT],
      ['no signal', () => p.make('signals', SIGXFSZ), 0],
      ['beyond it', () => p.pwrite(fd, 'x', LIMIT), 'EFBIG'],
      ['a signal', () => p.make('signals', SIGXFSZ), 1],
      ['across it', () => p.pwrite(fd, 'x'.repeat(100), LIMIT - 30), 30],
      ['no signal for that', () => p.make('signals', SIGXFSZ), 0],
      ['truncate beyond', () => p.truncate('f', LIMIT + 1), 'EFBIG'],
      ['a signal for that', () => p.make('signals', SIGXFSZ), 1],
      ['ftruncate beyond', () => p.ftruncate(fd, LIMIT + 1), 'EFBIG'],
      ['a signal for that too', () => p.make('signals', SIGXFSZ), 1],
      ['truncate to it', () => p.ftruncate(fd, LIMIT), 0],
      ['fallocate beyond', () => p.fallocate(fd, 0, 0, LIMIT + 1), 'EFBIG'],
      ['size', () => size(p, 'f'), LIMIT],
      ['none any more', () => setLimit(p, UNLIMITED), undefined],
      ['beyond what was', () => p.pwrite(fd, 'x', LIMIT), 1],
    );
    await p.end();
  });
});

describe('a full file system', () => {
  /** Writes until nothing fits; returns how many bytes did. */
  async function fillFile(p: Process, path: string): Promise<number> {
    const fd = await done(p.open(path, O_CREAT | O_WRONLY, 0o600));
    let bytes = 0;
    for (const piece of [65536, 4096, 512, 1]) {
      for (;;) {
        const written = await p.write(fd, 'x'.repeat(piece));
        if (typeof written === 'string') break;
        bytes += written;
        if (piece === 1) break;
      }
    }
    await p.close(fd);
    return bytes;
  }

  it('fails with ENOSPC, keeps what is there, and works on when there is room again', async () => {
    const p = await fs.as();
    await done(p.make('chdir', await fs.small()));
    await p.create('before', 'content');
    const bytes = await fillFile(p, 'big');
    const fd = await done(p.open('big', O_RDWR));

    await fs.check(
      ['some bytes', bytes > 1 << 20, true],
      ['they are there', () => size(p, 'big'), bytes],
      ['a write', () => p.pwrite(fd, 'x'.repeat(65536), bytes + 65536), 'ENOSPC'],
      ['fallocate', () => p.fallocate(fd, 0, bytes, 1 << 20), 'ENOSPC'],
      ['the file from before', () => p.content('before'), 'content'],
      ['to write where it is full', () => p.pwrite(fd, 'y', 0), 1],
      ['to read', async () => (await p.pread(fd, 2, 0)).toString(), 'yx'],
      ['to cut', () => p.ftruncate(fd, bytes >> 1), 0],
      ['to remove', () => p.unlink('before'), 0],
      ['to write again', () => p.pwrite(fd, 'z'.repeat(8192), bytes >> 1), 8192],
      ['close', () => p.close(fd), 0],
      ['to remove all', () => p.unlink('big'), 0],
      ['as much as before fits', async () => (await fillFile(p, 'again')) >= bytes - 65536, true],
    );
  });

  it('fails with ENOSPC for a new file when there is no inode or no block for it', async () => {
    const p = await fs.as();
    await done(p.make('chdir', await fs.small()));
    let made = 0;
    let result: Result = 0;
    for (; made < 20_000; made++) {
      result = await p.mknod(`file-${made}`, 0o100600);
      if (result !== 0) break;
    }

    await fs.check(
      ['some', made > 100, true],
      ['then none', result, 'ENOSPC'],
      ['nor a directory', () => p.mkdir('d'), 'ENOSPC'],
      ['nor a link', () => p.symlink('x'.repeat(200), 'l'), 'ENOSPC'],
      ['remove one', () => p.unlink('file-7'), 0],
      ['one fits', () => p.mknod('new', 0o100600), 0],
      ['the rest is there', () => p.access(`file-${made - 1}`, 0), 0],
    );
  });
});

describe('a read-only file system', () => {
  it('can be read, and fails with EROFS for what would change it', async () => {
    const p = await fs.as();
    const where = await fs.readOnly(async (path) => {
      await done(p.make('chdir', path));
      await makeKinds(p);
      await p.create('text', 'content');
    });
    await done(p.make('chdir', where));
    const fd = await done(p.open('text', O_RDONLY));
    const names = [...KINDS.map(({ name }) => name), 'text', 'lost+found'].toSorted();
    const listed = new Set([...(await p.names('.')), 'lost+found']);
    const rows: Row[] = [
      ['read', async () => (await p.pread(fd, 99, 0)).toString(), 'content'],
      ['names', [...listed].toSorted(), names],
      ['readlink', () => p.readlink('link'), 'target'],
      ['access W_OK', () => p.access('text', W_OK), 'EROFS'],
      ['access of a FIFO', () => p.access('fifo', W_OK), 0],
      ['open a FIFO', () => p.open('fifo', O_RDWR).then(Number.isInteger), true],
      ['open for writing', () => p.open('text', O_WRONLY), 'EROFS'],
      [
        'open with O_CREAT, there',
        () => p.open('text', O_CREAT | O_RDONLY).then(Number.isInteger),
        true,
      ],
      ['open with O_CREAT, missing', () => p.open('new', O_CREAT | O_RDONLY), 'EROFS'],
      ['open with O_TRUNC', () => p.open('text', O_RDONLY | 0o1000), 'EROFS'],
      ['mkdir, there', () => p.mkdir('directory'), 'EEXIST'],
      ['fchmod', () => p.fchmod(fd, 0o600), 'EROFS'],
      ['fchown', () => p.fchown(fd, 1, 1), 'EROFS'],
      ['futimens', () => p.make('utimensat', fd, 0, 0, 0), 'EROFS'],
      ['fsetxattr', () => p.make('fsetxattr', fd, 'user.a', Buffer.from('v'), 1, 0), 'EROFS'],
      ['fsync', () => p.make('fsync', fd), 0],
      ['flock', () => p.make('flock', fd, 2), 0],
      ['rename to itself', () => p.rename('text', 'text'), 'EROFS'],
    ];

    await fs.check(...rows);
  });

  it('does not mark access times', async () => {
    const p = await fs.as();
    const where = await fs.readOnly(async (path) => {
      await done(p.make('chdir', path));
      await p.create('text', 'content');
      await p.utimens('text', [
        { seconds: 1, nanoseconds: 0 },
        { seconds: 2, nanoseconds: 0 },
      ]);
    });
    await done(p.make('chdir', where));
    await p.content('text');

    await fs.check(['atime', async () => (await done(p.stat('text'))).atime, 1_000_000_000n]);
  });
});

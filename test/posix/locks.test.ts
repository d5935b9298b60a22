// Advisory locks: fcntl() with F_SETLK, F_SETLKW and F_GETLK of POSIX.1-2024, those of open file
// descriptions (F_OFD_SETLK), and flock(2). Method: two processes, one of which holds what the
// other asks for.
import { describe, it } from 'vitest';
import { type Process, done } from '../support/posix-calls.ts';
import {
  F_GETLK,
  F_OFD_GETLK,
  F_OFD_SETLK,
  F_OFD_SETLKW,
  F_RDLCK,
  F_SETLK,
  F_SETLKW,
  F_UNLCK,
  F_WRLCK,
  INT64_MAX,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  SEEK_CUR,
  SEEK_END,
  SEEK_SET,
  SIGXFSZ,
} from '../support/posix-constants.ts';
import { type Row, underTest } from '../support/posix-files.ts';
import type { Result } from '../support/posix-process.ts';

const fs = underTest();
/** The numbers of fcntl and flock, by which a process is seen to sleep in them. */
const [SYS_FCNTL, SYS_FLOCK] = process.arch === 'x64' ? [72, 73] : [25, 32];

interface Range {
  readonly start?: number | bigint;
  /** 0 is to the end, however long the file gets. */
  readonly length?: number | bigint;
  readonly whence?: number;
}

/** struct flock of 64-bit machines. */
function flockBytes(type: number, { start = 0, length = 0, whence = SEEK_SET }: Range): Buffer {
  const bytes = Buffer.alloc(32);
  bytes.writeInt16LE(type, 0);
  bytes.writeInt16LE(whence, 2);
  bytes.writeBigInt64LE(BigInt(start), 8);
  bytes.writeBigInt64LE(BigInt(length), 16);
  return bytes;
}

interface Locking {
  readonly p: Process;
  readonly fd: number;
}

async function lock(
  { p, fd }: Locking,
  command: number,
  type: number,
  range: Range = {},
): Promise<Result> {
  return p.make('fcntl', fd, command, flockBytes(type, range));
}

/** The lock that stands in the way: type, start, length and owner; or none. */
async function inTheWay(
  { p, fd }: Locking,
  command: number,
  type: number,
  range: Range = {},
): Promise<unknown> {
  const inout = flockBytes(type, range);
  const { result, out } = await p.call('fcntl', fd, command, { inout });
  if (typeof result === 'string') return result;
  const [told] = out;
  if (told!.readInt16LE(0) === F_UNLCK) return 'none';
  return {
    type: told!.readInt16LE(0),
    start: Number(told!.readBigInt64LE(8)),
    length: Number(told!.readBigInt64LE(16)),
    pid: told!.readInt32LE(24),
  };
}

/** Two processes with the file `f` open. */
async function two(flags = O_RDWR): Promise<[Locking, Locking]> {
  const one = await fs.as();
  const other = await fs.another();
  await one.create('f', 'x'.repeat(1000));
  return [
    { p: one, fd: await done(one.open('f', flags)) },
    { p: other, fd: await done(other.open('f', flags)) },
  ];
}

/** The commands of both kinds of locks that fcntl makes. */
const FCNTL = [
  ['of a process', { get: F_GETLK, set: F_SETLK, wait: F_SETLKW }],
  ['of an open file', { get: F_OFD_GETLK, set: F_OFD_SETLK, wait: F_OFD_SETLKW }],
] as const;

describe.each(FCNTL)('a lock %s', (_name, { get, set, wait }) => {
  it('excludes another one unless both are for reading', async () => {
    const [a, b] = await two();
    const rows: Row[] = [];
    for (const [held, heldName] of [
      [F_RDLCK, 'read'],
      [F_WRLCK, 'write'],
    ] as const) {
      for (const [asked, name] of [
        [F_RDLCK, 'read'],
        [F_WRLCK, 'write'],
      ] as const) {
        const free = held === F_RDLCK && asked === F_RDLCK;
        const at = `${name} while another has ${heldName}`;
        await done(lock(a, set, held));
        rows.push([`set ${at}`, await lock(b, set, asked), free ? 0 : 'EAGAIN']);
        await done(lock(b, set, F_UNLCK));
        await done(lock(a, set, F_UNLCK));
        rows.push([`set ${at} no more`, await lock(b, set, asked), 0]);
        await done(lock(b, set, F_UNLCK));
      }
    }

    await fs.check(...rows);
  });

  it('is of bytes, and excludes what overlaps', async () => {
    const [a, b] = await two();
    await done(lock(a, set, F_WRLCK, { start: 10, length: 10 }));
    const ranges = [
      [0, 10, true],
      [0, 11, false],
      [19, 1, false],
      [20, 5, true],
      [20, 0, true],
    ] as const;
    const more = [
      [0, 0, false],
      [15, 2, false],
      [5, 30, false],
      [500, 500, true],
    ] as const;
    const rows: Row[] = [];
    for (const [start, length, free] of [...ranges, ...more]) {
      const at = `${start} and ${length} more`;
      rows.push([at, await lock(b, set, F_WRLCK, { start, length }), free ? 0 : 'EAGAIN']);
      await done(lock(b, set, F_UNLCK, { start, length }));
    }

    await fs.check(...rows);
  });

  it('is told by the one that it stands in the way of', async () => {
    const [a, b] = await two();
    await done(lock(a, set, F_WRLCK, { start: 10, length: 20 }));
    const pid = set === F_SETLK ? a.p.pid : -1;
    const told = { type: F_WRLCK, start: 10, length: 20, pid };

    await fs.check(
      ['in the way', () => inTheWay(b, get, F_RDLCK), told],
      ['a part', () => inTheWay(b, get, F_RDLCK, { start: 29, length: 1 }), told],
      ['beside it', () => inTheWay(b, get, F_WRLCK, { start: 30, length: 9 }), 'none'],
      ['its own', () => inTheWay(a, get, F_WRLCK), 'none'],
      ['to the end', () => lock(a, set, F_RDLCK, { start: 50 }), 0],
      [
        'is told as 0',
        () => inTheWay(b, get, F_WRLCK, { start: 60, length: 1 }),
        { ...told, type: F_RDLCK, start: 50, length: 0 },
      ],
    );
  });

  it('can be changed and given up in parts', async () => {
    const [a, b] = await two();
    await done(lock(a, set, F_WRLCK, { start: 0, length: 100 }));
    const at = async (start: number, type: number): Promise<Result> => {
      const result = await lock(b, set, type, { start, length: 1 });
      if (result === 0) await lock(b, set, F_UNLCK, { start, length: 1 });
      return result;
    };

    await fs.check(
      ['give up the middle', () => lock(a, set, F_UNLCK, { start: 40, length: 20 }), 0],
      ['before', () => at(39, F_RDLCK), 'EAGAIN'],
      ['first of the middle', () => at(40, F_WRLCK), 0],
      ['last of the middle', () => at(59, F_WRLCK), 0],
      ['behind', () => at(60, F_RDLCK), 'EAGAIN'],
      ['to read', () => lock(a, set, F_RDLCK, { start: 0, length: 20 }), 0],
      ['reading there', () => at(19, F_RDLCK), 0],
      ['writing there', () => at(19, F_WRLCK), 'EAGAIN'],
      ['the rest', () => at(20, F_RDLCK), 'EAGAIN'],
      ['over all of it', () => lock(a, set, F_WRLCK, { start: 0, length: 0 }), 0],
      ['the middle again', () => at(50, F_RDLCK), 'EAGAIN'],
      ['far behind', () => at(10_000, F_RDLCK), 'EAGAIN'],
      ['give up all', () => lock(a, set, F_UNLCK), 0],
      ['free', () => at(0, F_WRLCK), 0],
    );
  });

  it('is waited for', async () => {
    const [a, b] = await two();
    await done(lock(a, set, F_WRLCK));
    const waiting = lock(b, wait, F_WRLCK);
    await b.p.sleepsIn(SYS_FCNTL);

    await fs.check(
      ['give up', () => lock(a, set, F_UNLCK), 0],
      ['the other has it', () => waiting, 0],
      ['it has', () => lock(a, set, F_RDLCK), 'EAGAIN'],
    );
  });

  it('counts from the offset or the end, as whence says', async () => {
    const [a, b] = await two();
    await done(a.p.lseek(a.fd, 100, SEEK_SET));

    await fs.check(
      ['from here', () => lock(a, set, F_WRLCK, { start: 5, length: 5, whence: SEEK_CUR }), 0],
      ['105', () => lock(b, set, F_RDLCK, { start: 105, length: 1 }), 'EAGAIN'],
      ['104', () => lock(b, set, F_RDLCK, { start: 104, length: 1 }), 0],
      ['from the end', () => lock(a, set, F_WRLCK, { start: -10, length: 5, whence: SEEK_END }), 0],
      ['990', () => lock(b, set, F_RDLCK, { start: 990, length: 1 }), 'EAGAIN'],
      ['995', () => lock(b, set, F_RDLCK, { start: 995, length: 1 }), 0],
      ['a length below 0', () => lock(a, set, F_WRLCK, { start: 500, length: -10 }), 0],
      ['495', () => lock(b, set, F_RDLCK, { start: 495, length: 1 }), 'EAGAIN'],
      ['500', () => lock(b, set, F_RDLCK, { start: 500, length: 1 }), 0],
      ['behind the end of the file', () => lock(a, set, F_WRLCK, { start: 5000, length: 1 }), 0],
      ['is excluded too', () => lock(b, set, F_WRLCK, { start: 5000, length: 9 }), 'EAGAIN'],
    );
  });

  it('fails for what it cannot be', async () => {
    const [a] = await two();
    const reader = { p: a.p, fd: await done(a.p.open('f', O_RDONLY)) };
    const writer = { p: a.p, fd: await done(a.p.open('f', O_WRONLY)) };
    const none = { p: a.p, fd: 999 };

    await fs.check(
      ['to write with a reader', () => lock(reader, set, F_WRLCK), 'EBADF'],
      ['to read with a writer', () => lock(writer, set, F_RDLCK), 'EBADF'],
      ['of none', () => lock(none, set, F_RDLCK), 'EBADF'],
      ['before the start', () => lock(a, set, F_RDLCK, { start: -1, length: 1 }), 'EINVAL'],
      ['an unknown type', () => lock(a, set, 7), 'EINVAL'],
      ['an unknown whence', () => lock(a, set, F_RDLCK, { whence: 9 }), 'EINVAL'],
      [
        'too far',
        () => lock(a, set, F_RDLCK, { start: INT64_MAX, length: INT64_MAX }),
        'EOVERFLOW',
      ],
      ['a bad address', () => a.p.make('fcntl', a.fd, set, 1), 'EFAULT'],
    );
  });

  it('goes when the process ends', async () => {
    const one = await fs.as();
    await one.create('f', 'text');
    const other = await fs.startAnother();
    const a = { p: other, fd: await done(other.open('f', O_RDWR)) };
    const b = { p: one, fd: await done(one.open('f', O_RDWR)) };
    await done(lock(a, set, F_WRLCK));
    const before = await lock(b, set, F_WRLCK);
    await other.end();

    // A file system in user space may hear of the end a moment after it.
    const command = fs.differsIn('after') ? set : wait;
    await fs.check(['before', before, 'EAGAIN'], ['after', () => lock(b, command, F_WRLCK), 0]);
  });
});

describe('a lock of a process', () => {
  it('is not inherited by a child, and excludes it', async () => {
    const [a] = await two();
    await done(lock(a, F_SETLK, F_WRLCK));

    await fs.check(
      ['in a child', () => a.p.child('fcntl', a.fd, F_SETLK, flockBytes(F_RDLCK, {})), 'EAGAIN'],
      ['still there', () => a.p.child('fcntl', a.fd, F_SETLK, flockBytes(F_RDLCK, {})), 'EAGAIN'],
    );
  });

  it('goes when the process closes any descriptor of the file', async () => {
    const [a, b] = await two();
    const more = await done(a.p.open('f', O_RDONLY));
    await done(lock(a, F_SETLK, F_WRLCK));

    await fs.check(
      ['held', () => lock(b, F_SETLK, F_WRLCK), 'EAGAIN'],
      ['close another descriptor', () => a.p.close(more), 0],
      ['free', () => lock(b, F_SETLK, F_WRLCK), 0],
    );
  });

  it('does not exclude the process that has it', async () => {
    const [a] = await two();
    const again = { p: a.p, fd: await done(a.p.open('f', O_RDWR)) };
    await done(lock(a, F_SETLK, F_WRLCK));

    await fs.check(['by another descriptor', () => lock(again, F_SETLK, F_RDLCK), 0]);
  });

  it('fails with EDEADLK where two processes would wait for each other', async () => {
    const [a, b] = await two();
    await done(lock(a, F_SETLK, F_WRLCK, { start: 0, length: 1 }));
    await done(lock(b, F_SETLK, F_WRLCK, { start: 1, length: 1 }));
    const waiting = lock(a, F_SETLKW, F_WRLCK, { start: 1, length: 1 });
    await a.p.sleepsIn(SYS_FCNTL);

    await fs.check(
      ['the second', () => lock(b, F_SETLKW, F_WRLCK, { start: 0, length: 1 }), 'EDEADLK'],
      ['gives up', () => lock(b, F_SETLK, F_UNLCK), 0],
      ['the first', () => waiting, 0],
    );
  });

  it('is waited for no longer after a signal: EINTR, and it is not taken later', async () => {
    const [a, b] = await two();
    await done(lock(a, F_SETLK, F_WRLCK));
    const waiting = lock(b, F_SETLKW, F_WRLCK);
    await b.p.sleepsIn(SYS_FCNTL);
    process.kill(b.p.pid, SIGXFSZ);

    await fs.check(
      ['the call', () => waiting, 'EINTR'],
      ['the signal', () => b.p.make('signals', SIGXFSZ), 1],
      ['give up', () => lock(a, F_SETLK, F_UNLCK), 0],
      ['take it again', () => lock(a, F_SETLK, F_WRLCK), 0],
    );
  });

  it('is of a file and not of a name', async () => {
    const [a, b] = await two();
    await done(a.p.link('f', 'g'));
    const other = { p: b.p, fd: await done(b.p.open('g', O_RDWR)) };
    await done(lock(a, F_SETLK, F_WRLCK));

    await fs.check(
      ['by another name', () => lock(other, F_SETLK, F_WRLCK), 'EAGAIN'],
      ['unlink', () => a.p.unlink('f'), 0],
      ['still', () => lock(other, F_SETLK, F_WRLCK), 'EAGAIN'],
    );
  });
});

describe('a lock of an open file', () => {
  it('is shared by who inherits the descriptor, and excludes another open', async () => {
    const [a] = await two();
    const again = { p: a.p, fd: await done(a.p.open('f', O_RDWR)) };
    const same = { p: a.p, fd: await done(a.p.make('dup', a.fd)) };
    await done(lock(a, F_OFD_SETLK, F_WRLCK));
    const bytes = flockBytes(F_WRLCK, {});

    await fs.check(
      ['another open', () => lock(again, F_OFD_SETLK, F_WRLCK), 'EAGAIN'],
      ['a lock of the process', () => lock(again, F_SETLK, F_WRLCK), 'EAGAIN'],
      ['dup', () => lock(same, F_OFD_SETLK, F_WRLCK), 0],
      ['a child', () => a.p.child('fcntl', a.fd, F_OFD_SETLK, bytes), 0],
      ['close of one descriptor', () => a.p.close(same.fd), 0],
      ['it is held', () => lock(again, F_OFD_SETLK, F_WRLCK), 'EAGAIN'],
      ['close of the last', () => a.p.close(a.fd), 0],
      ['it is free', () => lock(again, F_OFD_SETLK, F_WRLCK), 0],
    );
  });
});

describe('flock', () => {
  const flock = async ({ p, fd }: Locking, how: number): Promise<Result> =>
    p.make('flock', fd, how);

  it('excludes another unless both are shared', async () => {
    const [a, b] = await two();
    const rows: Row[] = [];
    for (const [held, heldName] of [
      [LOCK_SH, 'shared'],
      [LOCK_EX, 'exclusive'],
    ] as const) {
      for (const [asked, name] of [
        [LOCK_SH, 'shared'],
        [LOCK_EX, 'exclusive'],
      ] as const) {
        const free = held === LOCK_SH && asked === LOCK_SH;
        await done(flock(a, held));
        const got = await flock(b, asked | LOCK_NB);
        rows.push([`${name} while another has ${heldName}`, got, free ? 0 : 'EAGAIN']);
        await done(flock(b, LOCK_UN));
        await done(flock(a, LOCK_UN));
        rows.push([`${name} after ${heldName}`, await flock(b, asked | LOCK_NB), 0]);
        await done(flock(b, LOCK_UN));
      }
    }

    await fs.check(...rows);
  });

  it('is of an open file: dup and children share it, another open does not', async () => {
    const [a] = await two();
    const again = { p: a.p, fd: await done(a.p.open('f', O_RDONLY)) };
    const same = await done(a.p.make('dup', a.fd));
    await done(flock(a, LOCK_EX));

    await fs.check(
      ['another open', () => flock(again, LOCK_SH | LOCK_NB), 'EAGAIN'],
      ['a child', () => a.p.child('flock', a.fd, LOCK_EX | LOCK_NB), 0],
      ['close', () => a.p.close(same), 0],
      ['it is held', () => flock(again, LOCK_SH | LOCK_NB), 'EAGAIN'],
      ['a child gives it up', () => a.p.child('flock', a.fd, LOCK_UN), 0],
      ['it is free', () => flock(again, LOCK_EX | LOCK_NB), 0],
      ['with a reader too', () => flock(again, LOCK_UN), 0],
    );
  });

  it('is changed, and waited for', async () => {
    const [a, b] = await two();
    await done(flock(a, LOCK_EX));
    const waiting = flock(b, LOCK_EX);
    await b.p.sleepsIn(SYS_FLOCK);

    await fs.check(
      ['give up', () => flock(a, LOCK_UN), 0],
      ['the other has it', () => waiting, 0],
      ['to shared', () => flock(b, LOCK_SH), 0],
      ['shared by both', () => flock(a, LOCK_SH | LOCK_NB), 0],
      ['not to exclusive', () => flock(b, LOCK_EX | LOCK_NB), 'EAGAIN'],
    );
  });

  it('is waited for no longer after a signal: EINTR, and it is not taken later', async () => {
    const [a, b] = await two();
    await done(flock(a, LOCK_EX));
    const waiting = flock(b, LOCK_EX);
    await b.p.sleepsIn(SYS_FLOCK);
    process.kill(b.p.pid, SIGXFSZ);

    await fs.check(
      ['the call', () => waiting, 'EINTR'],
      ['the signal', () => b.p.make('signals', SIGXFSZ), 1],
      ['give up', () => flock(a, LOCK_UN), 0],
      ['take it again', () => flock(a, LOCK_EX | LOCK_NB), 0],
    );
  });

  it('goes when the last descriptor is closed, and when the process ends', async () => {
    const one = await fs.as();
    await one.create('f', 'text');
    const other = await fs.startAnother();
    const a = { p: other, fd: await done(other.open('f', O_RDWR)) };
    const b = { p: one, fd: await done(one.open('f', O_RDWR)) };
    await done(flock(a, LOCK_EX));
    const before = await flock(b, LOCK_EX | LOCK_NB);
    await other.end();

    await fs.check(['before', before, 'EAGAIN'], ['after', () => flock(b, LOCK_EX), 0]);
  });

  it('is no lock of fcntl', async () => {
    const [a, b] = await two();
    await done(flock(a, LOCK_EX));

    await fs.check(
      ['fcntl', () => lock(b, F_SETLK, F_WRLCK), 0],
      ['flock', () => flock(b, LOCK_EX | LOCK_NB), 'EAGAIN'],
      ['fcntl of the first', () => lock(a, F_SETLK, F_WRLCK), 'EAGAIN'],
    );
  });

  it('works on directories, and fails for what it cannot be', async () => {
    const p = await fs.as();
    await done(p.mkdir('d'));
    const fd = await done(p.open('d', O_RDONLY));
    const again = await done(p.open('d', O_RDONLY));

    await fs.check(
      ['a directory', () => p.make('flock', fd, LOCK_EX), 0],
      ['again', () => p.make('flock', again, LOCK_EX | LOCK_NB), 'EAGAIN'],
      ['none', () => p.make('flock', 999, LOCK_EX), 'EBADF'],
      ['no operation', () => p.make('flock', fd, 0), 'EINVAL'],
      ['two at once', () => p.make('flock', fd, LOCK_SH | LOCK_EX), 'EINVAL'],
    );
  });
});

/**
 * The calls of POSIX.1-2024 and Linux on files, as methods of a process.
 *
 * Each returns what the system call returned: a number, or the name of its errno; those that bring
 * data return it instead of a number. Where Linux has a call with a directory's descriptor and one
 * without, it is the former that is made, with AT_FDCWD; test/posix/forms.test.ts has the latter.
 */
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_DIRECTORY,
  O_WRONLY,
  S_IFIFO,
} from './posix-constants.ts';
import { type Answer, type Argument, Caller, type Result } from './posix-process.ts';

/** What stat(2) tells; times are nanoseconds since 1970. */
export interface Stat {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  readonly blksize: number;
  readonly blocks: number;
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
}

export interface Entry {
  readonly name: string;
  readonly ino: bigint;
  /** DT_*, as in readdir(3). */
  readonly type: number;
  /** Where the next entry is, for lseek. */
  readonly next: bigint;
}

export interface Time {
  readonly seconds: number | bigint;
  readonly nanoseconds: number;
}

export class CallError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(`a call that had to succeed gave ${code}`);
    this.code = code;
  }
}

/** What a call gave that must not fail. */
export async function done<Value>(outcome: Promise<Value | string>): Promise<Value> {
  const value = await outcome;
  if (typeof value === 'string') throw new CallError(value);
  return value;
}

/** The first `out` of an answer, cut to what the call returned; or the name of its errno. */
function data({ result, out }: Answer): Buffer | string {
  return typeof result === 'string' ? result : out[0]!.subarray(0, result);
}

function statOf({ result, out }: Answer): Stat | string {
  if (typeof result === 'string') return result;
  const at = (index: number): bigint => out[0]!.readBigUInt64LE(8 * index);
  const n = (index: number): number => Number(at(index));
  const time = (index: number): bigint => BigInt.asIntN(64, at(index));
  return {
    ...{ dev: at(0), ino: at(1), mode: n(2), nlink: n(3), uid: n(4), gid: n(5), rdev: n(6) },
    ...{ size: n(7), blksize: n(8), blocks: n(9) },
    ...{ atime: time(10), mtime: time(11), ctime: time(12) },
  };
}

/** Two struct timespec. */
export function timespecs(...times: readonly Time[]): Buffer {
  const bytes = Buffer.alloc(16 * times.length);
  for (const [i, { seconds, nanoseconds }] of times.entries()) {
    bytes.writeBigInt64LE(BigInt(seconds), 16 * i);
    bytes.writeBigInt64LE(BigInt(nanoseconds), 16 * i + 8);
  }
  return bytes;
}

/** The entries in what getdents64(2) wrote. */
export function entriesOf(bytes: Buffer): Entry[] {
  const entries: Entry[] = [];
  for (let at = 0; at < bytes.length; at += bytes.readUInt16LE(at + 16)) {
    const name = bytes.subarray(at + 19, bytes.indexOf(0, at + 19)).toString('latin1');
    const [ino, next] = [bytes.readBigUInt64LE(at), bytes.readBigInt64LE(at + 8)];
    entries.push({ name, ino, next, type: bytes.readUInt8(at + 18) });
  }
  return entries;
}

/** A process that makes calls. */
export class Process extends Caller {
  /** The result of any call. */
  async make(name: string, ...args: readonly Argument[]): Promise<Result> {
    return (await this.call(name, ...args)).result;
  }

  /** The result of a call that a child of this process makes. */
  async child(name: string, ...args: readonly Argument[]): Promise<Result> {
    return this.make(`child ${name}`, ...args);
  }

  async open(path: string, flags: number, mode = 0): Promise<Result> {
    return this.make('openat', AT_FDCWD, path, flags, mode);
  }

  async close(fd: number): Promise<Result> {
    return this.make('close', fd);
  }

  async read(fd: number, count: number): Promise<Buffer | string> {
    return data(await this.call('read', fd, { out: count }, count));
  }

  async pread(fd: number, count: number, offset: number | bigint): Promise<Buffer | string> {
    return data(await this.call('pread64', fd, { out: count }, count, offset));
  }

  async write(fd: number, bytes: string | Uint8Array): Promise<Result> {
    return this.make('write', fd, Buffer.from(bytes), bytes.length);
  }

  async pwrite(fd: number, bytes: string | Uint8Array, offset: number | bigint): Promise<Result> {
    return this.make('pwrite64', fd, Buffer.from(bytes), bytes.length, offset);
  }

  async lseek(fd: number, offset: number | bigint, whence: number): Promise<Result> {
    return this.make('lseek', fd, offset, whence);
  }

  async truncate(path: string, size: number | bigint): Promise<Result> {
    return this.make('truncate', path, size);
  }

  async ftruncate(fd: number, size: number | bigint): Promise<Result> {
    return this.make('ftruncate', fd, size);
  }

  async fallocate(
    fd: number,
    mode: number,
    offset: number | bigint,
    bytes: number | bigint,
  ): Promise<Result> {
    return this.make('fallocate', fd, mode, offset, bytes);
  }

  async mkdir(path: string, mode = 0o777): Promise<Result> {
    return this.make('mkdirat', AT_FDCWD, path, mode);
  }

  async rmdir(path: string): Promise<Result> {
    return this.make('unlinkat', AT_FDCWD, path, AT_REMOVEDIR);
  }

  async unlink(path: string): Promise<Result> {
    return this.make('unlinkat', AT_FDCWD, path, 0);
  }

  async link(from: string, to: string, flags = 0): Promise<Result> {
    return this.make('linkat', AT_FDCWD, from, AT_FDCWD, to, flags);
  }

  async symlink(target: string, path: string): Promise<Result> {
    return this.make('symlinkat', target, AT_FDCWD, path);
  }

  async readlink(path: string, room = 4096): Promise<string> {
    const answer = await this.call('readlinkat', AT_FDCWD, path, { out: room }, room);
    return data(answer).toString('latin1');
  }

  async rename(from: string, to: string, flags = 0): Promise<Result> {
    return this.make('renameat2', AT_FDCWD, from, AT_FDCWD, to, flags);
  }

  async mknod(path: string, mode: number, device = 0): Promise<Result> {
    return this.make('mknodat', AT_FDCWD, path, mode, device);
  }

  async mkfifo(path: string, mode = 0o666): Promise<Result> {
    return this.mknod(path, S_IFIFO | mode);
  }

  async chmod(path: string, mode: number): Promise<Result> {
    return this.make('fchmodat', AT_FDCWD, path, mode);
  }

  async fchmod(fd: number, mode: number): Promise<Result> {
    return this.make('fchmod', fd, mode);
  }

  async chown(path: string, uid: number, gid: number): Promise<Result> {
    return this.make('fchownat', AT_FDCWD, path, uid, gid, 0);
  }

  async lchown(path: string, uid: number, gid: number): Promise<Result> {
    return this.make('fchownat', AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW);
  }

  async fchown(fd: number, uid: number, gid: number): Promise<Result> {
    return this.make('fchown', fd, uid, gid);
  }

  /** Access time, then modification time; both are now when left out. */
  async utimens(path: string, times?: readonly [Time, Time], flags = 0): Promise<Result> {
    return this.make('utimensat', AT_FDCWD, path, times ? timespecs(...times) : 0, flags);
  }

  async access(path: string, mode: number): Promise<Result> {
    return this.make('faccessat', AT_FDCWD, path, mode);
  }

  async stat(path: string): Promise<Stat | string> {
    return statOf(await this.call('stat', path));
  }

  async lstat(path: string): Promise<Stat | string> {
    return statOf(await this.call('lstat', path));
  }

  async fstat(fd: number): Promise<Stat | string> {
    return statOf(await this.call('fstat', fd));
  }

  async setxattr(
    path: string,
    name: string,
    value: string | Uint8Array,
    flags = 0,
  ): Promise<Result> {
    return this.make('setxattr', path, name, Buffer.from(value), value.length, flags);
  }

  async getxattr(path: string, name: string, room = 65536): Promise<Buffer | string> {
    return data(await this.call('getxattr', path, name, { out: room }, room));
  }

  async removexattr(path: string, name: string): Promise<Result> {
    return this.make('removexattr', path, name);
  }

  /** The names, sorted. */
  async listxattr(path: string, room = 65536): Promise<string[] | string> {
    const names = data(await this.call('listxattr', path, { out: room }, room));
    if (typeof names === 'string') return names;
    return names.toString('latin1').split('\0').slice(0, -1).toSorted();
  }

  /** Where mmap(2) put it; whole pages. */
  async mmap(fd: number, bytes: number, protection: number, flags: number): Promise<Result> {
    return this.make('mmap', 0, bytes, protection, flags, fd, 0);
  }

  async peek(address: number, count: number): Promise<Buffer | string> {
    const { result, out } = await this.call('peek', address, count);
    return typeof result === 'string' ? result : out[0]!;
  }

  async poke(address: number, bytes: string): Promise<Result> {
    return this.make('poke', address, Buffer.from(bytes), bytes.length);
  }

  /** One getdents64. */
  async getdents(fd: number, room = 32768): Promise<Entry[] | string> {
    const bytes = data(await this.call('getdents64', fd, { out: room }, room));
    return typeof bytes === 'string' ? bytes : entriesOf(bytes);
  }

  /** All that is left to list of an open directory. */
  async listRest(fd: number, room = 32768): Promise<Entry[]> {
    const all: Entry[] = [];
    for (;;) {
      const entries = await done(this.getdents(fd, room));
      if (entries.length === 0) return all;
      all.push(...entries);
    }
  }

  /** The names in a directory, sorted, without `.` and `..`. */
  async names(path: string): Promise<string[]> {
    const fd = await done(this.open(path, O_RDONLY | O_DIRECTORY));
    const entries = await this.listRest(fd);
    await this.close(fd);
    const names = entries.map(({ name }) => name);
    return names.filter((name) => name !== '.' && name !== '..').toSorted();
  }

  /** Makes a file that is not there yet, with these bytes in it. */
  async create(path: string, content = '', mode = 0o644): Promise<void> {
    const fd = await done(this.open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600));
    if (content !== '') await done(this.write(fd, content));
    await done(this.fchmod(fd, mode));
    await done(this.close(fd));
  }

  /** All bytes of a file of at most 64 KiB, as Latin-1. */
  async content(path: string): Promise<string> {
    const fd = await done(this.open(path, O_RDONLY));
    const bytes = await done(this.read(fd, 65536));
    await this.close(fd);
    return bytes.toString('latin1');
  }
}

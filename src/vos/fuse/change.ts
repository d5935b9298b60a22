/**
 * The bodies of FUSE requests that change something, and of those around them (opens, locks,
 * fsync), as linux/fuse.h has them.
 *
 * Names, targets and values are copied, since the request's buffer is used again; what is written
 * is not, so it has to be used before the next request is read.
 */
import { constants } from 'node:os';
import type {
  AttributeChange,
  FileId,
  LockRequest,
  NewFile,
  Owner,
  Place,
} from '../client/file-service.ts';
import {
  AttributeFlag,
  LockKind,
  LockType,
  SyncFlag,
  VALUE_BYTES_MAX,
  WriteFlag,
  XattrFlag,
} from '../protocol/fs-change.ts';
import { NAME_BYTES_MAX, TRANSFER_BYTES_MAX } from '../protocol/fs.ts';
import { type FlagsCall, decodeFlagsCall } from './file-flags.ts';
import { getName, getUint64, IN, LINK_BYTES_MAX, Opcode } from './wire.ts';

const { E2BIG, EFBIG, EINVAL, EIO, ENAMETOOLONG, ENXIO, ERANGE, ESTALE } = constants.errno;

export type Change =
  | { readonly kind: 'create'; readonly name: Uint8Array; readonly file: NewFile; flags: number }
  | { readonly kind: 'temporary'; readonly file: NewFile }
  | { readonly kind: 'make'; readonly name: Uint8Array; readonly file: NewFile }
  | { readonly kind: 'symlink'; readonly name: Uint8Array; target: Uint8Array; owner: Owner }
  | { readonly kind: 'link'; readonly name: Uint8Array; readonly file: FileId }
  | { readonly kind: 'remove'; readonly name: Uint8Array }
  | { readonly kind: 'rename'; readonly name: Uint8Array; readonly to: Place; flags: number }
  | { readonly kind: 'write'; offset: number; data: Uint8Array; flags: number; owner: Owner }
  | { readonly kind: 'attributes'; readonly change: AttributeChange }
  | { readonly kind: 'allocate'; offset: number; bytes: number; mode: number; owner: Owner }
  | { readonly kind: 'seek'; readonly offset: number; readonly whence: number }
  | { readonly kind: 'setXattr'; readonly name: Uint8Array; value: Uint8Array; flags: number }
  | { readonly kind: 'removeXattr'; readonly name: Uint8Array }
  | { readonly kind: 'sync'; readonly handle: bigint; readonly flags: number }
  | { readonly kind: 'open'; readonly flags: number }
  | { readonly kind: 'status' }
  | { readonly kind: 'flags'; readonly call: FlagsCall }
  /** `owner` is given when the flock of an open file ends with it. */
  | { readonly kind: 'release'; readonly handle: bigint; readonly owner: bigint | undefined }
  | { readonly kind: 'flush'; readonly handle: bigint; readonly owner: bigint }
  | { readonly kind: 'copy'; offset: number; to: FileId; at: number; bytes: number; owner: Owner }
  | { readonly kind: 'lock'; handle: bigint; lock: LockRequest; mode: 'test' | 'set' | 'wait' };

/** Those after which names or attributes are others than before. */
export const CHANGING_KINDS: ReadonlySet<Change['kind']> = new Set<Change['kind']>([
  ...(['create', 'make', 'symlink', 'link', 'remove', 'rename', 'write', 'attributes'] as const),
  ...(['allocate', 'setXattr', 'removeXattr', 'copy'] as const),
]);

/** What a body's meaning depends on besides its bytes. */
export interface ChangeContext {
  /** SETXATTR_EXT was agreed on: its body is longer. */
  readonly longXattr: boolean;
  find(node: number): FileId | undefined;
}

/** Bits of the kernel's requests. */
const Valid = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ACCESSED: 16,
  MODIFIED: 32,
  ACCESSED_NOW: 128,
  MODIFIED_NOW: 256,
  KILL_PRIVILEGES: 2048,
} as const;
const WriteBit = { CACHE: 1, KILL_PRIVILEGES: 4 } as const;
const RELEASE_FLOCK_UNLOCK = 2;
const LOCK_FLOCK = 1;
const SYNC_DATA_ONLY = 1;
const XATTR_KILL_SET_GROUP = 1;
const O_APPEND = 0o2000;
const REGULAR = 0o100000;
const FORMAT_MASK = 0o170000;
const OFFSET_MAX = Number.MAX_SAFE_INTEGER;
const ATTRIBUTE_FLAGS: readonly (readonly [valid: number, flag: number])[] = [
  [Valid.MODE, AttributeFlag.MODE],
  [Valid.UID, AttributeFlag.UID],
  [Valid.GID, AttributeFlag.GID],
  [Valid.SIZE, AttributeFlag.SIZE],
  [Valid.ACCESSED, AttributeFlag.ACCESSED],
  [Valid.MODIFIED, AttributeFlag.MODIFIED],
  [Valid.ACCESSED_NOW, AttributeFlag.ACCESSED_NOW],
  [Valid.MODIFIED_NOW, AttributeFlag.MODIFIED_NOW],
  [Valid.KILL_PRIVILEGES, AttributeFlag.KILL_PRIVILEGES],
];
const LOCK_MODES: ReadonlyMap<number, 'test' | 'set' | 'wait'> = new Map([
  [Opcode.GETLK, 'test'],
  [Opcode.SETLK, 'set'],
  [Opcode.SETLKW, 'wait'],
]);

/** The least body of each request; a shorter one is malformed. Names are checked apart. */
const BYTES_MIN: ReadonlyMap<number, number> = new Map<number, number>([
  [Opcode.SETATTR, 88],
  [Opcode.SYMLINK, 4],
  [Opcode.MKNOD, 18],
  [Opcode.MKDIR, 10],
  [Opcode.UNLINK, 2],
  [Opcode.RMDIR, 2],
  [Opcode.RENAME, 12],
  [Opcode.RENAME2, 20],
  [Opcode.LINK, 10],
  [Opcode.WRITE, 40],
  [Opcode.RELEASE, 24],
  [Opcode.RELEASEDIR, 24],
  [Opcode.FSYNC, 16],
  [Opcode.FSYNCDIR, 16],
  [Opcode.SETXATTR, 10],
  [Opcode.REMOVEXATTR, 2],
  [Opcode.FLUSH, 24],
  [Opcode.GETLK, 48],
  [Opcode.SETLK, 48],
  [Opcode.SETLKW, 48],
  [Opcode.CREATE, 18],
  [Opcode.FALLOCATE, 32],
  [Opcode.LSEEK, 24],
  [Opcode.COPY_FILE_RANGE, 56],
  [Opcode.COPY_FILE_RANGE_64, 56],
  [Opcode.OPEN, 8],
  [Opcode.OPENDIR, 8],
  [Opcode.TMPFILE, 16],
  [Opcode.STATX, 24],
  [Opcode.IOCTL, 32],
]);

/** Whether `decodeChange` knows the opcode. */
export function isChange(opcode: number): boolean {
  return DECODERS.has(opcode);
}

/** Whether the kernel keeps pages of the file until such a change is answered. */
export function holdsPages({ kind }: Change): boolean {
  return kind === 'write' || kind === 'attributes' || kind === 'allocate' || kind === 'copy';
}

/** Reads a request. A positive errno says what is wrong with it; EIO is for malformed ones. */
export function decodeChange(
  opcode: number,
  view: DataView,
  length: number,
  context: ChangeContext,
): Change | number {
  const decode = DECODERS.get(opcode);
  const bytesMin = BYTES_MIN.get(opcode);
  if (decode === undefined || bytesMin === undefined) return EINVAL;
  if (length - IN.body < bytesMin) return EIO;
  return decode(new Body(opcode, view, length, context));
}

class Body {
  readonly opcode: number;
  readonly view: DataView;
  readonly length: number;
  readonly context: ChangeContext;

  constructor(opcode: number, view: DataView, length: number, context: ChangeContext) {
    this.opcode = opcode;
    this.view = view;
    this.length = length;
    this.context = context;
  }

  u32(at: number): number {
    return this.view.getUint32(IN.body + at, true);
  }

  u64(at: number): number {
    return getUint64(this.view, IN.body + at);
  }

  key(at: number): bigint {
    return this.view.getBigUint64(IN.body + at, true);
  }

  get owner(): Owner {
    return { uid: this.view.getUint32(IN.uid, true), gid: this.view.getUint32(IN.gid, true) };
  }

  /** The name from byte `at` of the body to its end, or what is wrong with it. */
  name(at: number, end: number = this.length - IN.body): Uint8Array | number {
    const name = getName(this.view, IN.body + at, IN.body + end);
    if (name === undefined) return EIO;
    return name.length > NAME_BYTES_MAX ? ENAMETOOLONG : name;
  }

  /** Where the string that begins at `at` ends, behind its NUL. */
  endOf(at: number): number {
    const bytes = this.bytes(at, this.length - IN.body - at);
    const nul = bytes.indexOf(0);
    return nul < 0 ? this.length - IN.body : at + nul + 1;
  }

  bytes(at: number, count: number): Uint8Array {
    const { view } = this;
    return new Uint8Array(view.buffer, view.byteOffset + IN.body + at, Math.max(0, count));
  }
}

type Decoder = (body: Body) => Change | number;

const DECODERS: ReadonlyMap<number, Decoder> = new Map<number, Decoder>([
  [Opcode.CREATE, decodeCreate],
  [Opcode.MKNOD, decodeMknod],
  [Opcode.MKDIR, decodeMkdir],
  [Opcode.SYMLINK, decodeSymlink],
  [Opcode.LINK, decodeLink],
  [Opcode.UNLINK, decodeRemove],
  [Opcode.RMDIR, decodeRemove],
  [Opcode.RENAME, decodeRename],
  [Opcode.RENAME2, decodeRename],
  [Opcode.WRITE, decodeWrite],
  [Opcode.SETATTR, decodeSetattr],
  [Opcode.FALLOCATE, decodeFallocate],
  [Opcode.LSEEK, decodeLseek],
  [Opcode.SETXATTR, decodeSetxattr],
  [Opcode.REMOVEXATTR, decodeRemovexattr],
  [Opcode.FSYNC, decodeFsync],
  [Opcode.FSYNCDIR, decodeFsync],
  [Opcode.OPEN, decodeOpen],
  [Opcode.OPENDIR, () => ({ kind: 'open', flags: 0 })],
  [Opcode.RELEASE, decodeRelease],
  [Opcode.RELEASEDIR, decodeRelease],
  [Opcode.FLUSH, (body) => ({ kind: 'flush', handle: body.key(0), owner: body.key(16) })],
  [Opcode.COPY_FILE_RANGE, decodeCopy],
  [Opcode.COPY_FILE_RANGE_64, decodeCopy],
  [Opcode.GETLK, decodeLock],
  [Opcode.SETLK, decodeLock],
  [Opcode.SETLKW, decodeLock],
  [Opcode.TMPFILE, decodeTmpfile],
  [Opcode.STATX, () => ({ kind: 'status' })],
  [Opcode.IOCTL, decodeIoctl],
]);

/** 0 u32 flags of open(2) | 4 u32 mode | 8 u32 umask | 12 u32 | 16 name */
function decodeCreate(body: Body): Change | number {
  const name = body.name(16);
  if (typeof name === 'number') return name;
  const mode = REGULAR | (body.u32(4) & ~FORMAT_MASK);
  const file = { ...body.owner, mode, umask: body.u32(8) & 0o777 };
  return { kind: 'create', name, file, flags: body.u32(0) };
}

/** 0 u32 flags of open(2) | 4 u32 */
function decodeOpen(body: Body): Change {
  return { kind: 'open', flags: body.u32(0) };
}

/** As CREATE; the name has no meaning. */
function decodeTmpfile(body: Body): Change {
  const mode = REGULAR | (body.u32(4) & ~FORMAT_MASK);
  return { kind: 'temporary', file: { ...body.owner, mode, umask: body.u32(8) & 0o777 } };
}

/** 0 u64 handle | 8 u32 bits | 12 u32 command | 16 u64 | 24 u32 size of data | 28 u32 | 32 data */
function decodeIoctl(body: Body): Change | number {
  const bytes = body.u32(24);
  if (bytes !== body.length - IN.body - 32) return EIO;
  const call = decodeFlagsCall(body.u32(12), body.bytes(32, bytes));
  return typeof call === 'number' ? call : { kind: 'flags', call };
}

/** 0 u32 mode | 4 u32 device | 8 u32 umask | 12 u32 | 16 name */
function decodeMknod(body: Body): Change | number {
  const name = body.name(16);
  if (typeof name === 'number') return name;
  const format = body.u32(0) & FORMAT_MASK;
  const mode = (format === 0 ? REGULAR : format) | (body.u32(0) & 0o7777);
  const file = { ...body.owner, mode, device: body.u32(4), umask: body.u32(8) & 0o777 };
  return { kind: 'make', name, file };
}

/** 0 u32 mode | 4 u32 umask | 8 name */
function decodeMkdir(body: Body): Change | number {
  const name = body.name(8);
  if (typeof name === 'number') return name;
  const file = { ...body.owner, mode: body.u32(0) & 0o7777, umask: body.u32(4) & 0o777 };
  return { kind: 'make', name, file };
}

/** name, then target */
function decodeSymlink(body: Body): Change | number {
  const end = body.endOf(0);
  const name = body.name(0, end);
  if (typeof name === 'number') return name;
  const target = getName(body.view, IN.body + end, body.length);
  if (target === undefined) return EIO;
  if (target.length > LINK_BYTES_MAX) return ENAMETOOLONG;
  return { kind: 'symlink', name, target, owner: body.owner };
}

/** 0 u64 node of the file | 8 name */
function decodeLink(body: Body): Change | number {
  const name = body.name(8);
  if (typeof name === 'number') return name;
  const file = body.context.find(body.u64(0));
  return file === undefined ? ESTALE : { kind: 'link', name, file };
}

/** name */
function decodeRemove(body: Body): Change | number {
  const name = body.name(0);
  return typeof name === 'number' ? name : { kind: 'remove', name };
}

/** 0 u64 node of the new directory | RENAME2: 8 u32 flags | 12 u32 | old name, then new name */
function decodeRename(body: Body): Change | number {
  const long = body.opcode === Opcode.RENAME2;
  const at = long ? 16 : 8;
  const end = body.endOf(at);
  const name = body.name(at, end);
  if (typeof name === 'number') return name;
  const newName = body.name(end);
  if (typeof newName === 'number') return newName;
  const parent = body.context.find(body.u64(0));
  if (parent === undefined) return ESTALE;
  const flags = long ? body.u32(8) : 0;
  if (flags > 0xffff) return EINVAL;
  return { kind: 'rename', name, to: { parent, name: newName }, flags };
}

/** 0 u64 handle | 8 u64 offset | 16 u32 size | 20 bits | 24 u64 owner | 32 flags of open(2) | 36 */
function decodeWrite(body: Body): Change | number {
  const offset = body.u64(8);
  const bytes = body.u32(16);
  const bits = body.u32(20);
  if (bytes > TRANSFER_BYTES_MAX) return EINVAL;
  if (offset > OFFSET_MAX) return EFBIG;
  if (bytes !== body.length - IN.body - 40) return EIO;
  // What comes out of the page cache has its place already.
  const appends = (body.u32(32) & O_APPEND) !== 0 && (bits & WriteBit.CACHE) === 0;
  const kills = (bits & WriteBit.KILL_PRIVILEGES) !== 0;
  const flags = (appends ? WriteFlag.APPEND : 0) | (kills ? WriteFlag.KILL_PRIVILEGES : 0);
  return { kind: 'write', offset, data: body.bytes(40, bytes), flags, owner: body.owner };
}

/**
 *   0 u32 valid | 8 u64 handle | 16 u64 size | 24 u64 owner | 32 u64 atime | 40 u64 mtime
 *   48 u64 ctime | 56 u32 ns of atime | 60 of mtime | 64 of ctime | 68 u32 mode | 76 u32 uid
 *   80 u32 gid
 */
function decodeSetattr(body: Body): Change | number {
  const valid = body.u32(0);
  let flags = 0;
  for (const [bit, flag] of ATTRIBUTE_FLAGS) if ((valid & bit) !== 0) flags |= flag;
  // The kernel sends the time along with "now".
  if ((flags & AttributeFlag.ACCESSED_NOW) !== 0) flags &= ~AttributeFlag.ACCESSED;
  if ((flags & AttributeFlag.MODIFIED_NOW) !== 0) flags &= ~AttributeFlag.MODIFIED;
  const size = body.u64(16);
  if ((flags & AttributeFlag.SIZE) !== 0 && size > OFFSET_MAX) return EFBIG;
  const time = (at: number, nanosecondsAt: number): { seconds: number; nanoseconds: number } => ({
    seconds: Number(BigInt.asIntN(64, body.key(at))),
    nanoseconds: body.u32(nanosecondsAt),
  });
  const accessed = time(32, 56);
  const modified = time(40, 60);
  const change = {
    flags,
    ...((flags & AttributeFlag.MODE) !== 0 ? { mode: body.u32(68) & 0o7777 } : {}),
    ...((flags & AttributeFlag.UID) !== 0 ? { uid: body.u32(76) } : {}),
    ...((flags & AttributeFlag.GID) !== 0 ? { gid: body.u32(80) } : {}),
    ...((flags & AttributeFlag.SIZE) !== 0 ? { size } : {}),
    ...((flags & AttributeFlag.ACCESSED) !== 0 ? { accessed: clamped(accessed) } : {}),
    ...((flags & AttributeFlag.MODIFIED) !== 0 ? { modified: clamped(modified) } : {}),
  };
  return { kind: 'attributes', change };
}

/** 0 u64 handle | 8 u64 offset | 16 u64 length | 24 u32 mode | 28 u32 */
function decodeFallocate(body: Body): Change | number {
  const [offset, bytes] = [body.u64(8), body.u64(16)];
  if (offset > OFFSET_MAX || bytes > OFFSET_MAX) return EFBIG;
  return { kind: 'allocate', offset, bytes, mode: body.u32(24), owner: body.owner };
}

/** 0 u64 handle | 8 u64 offset | 16 u32 whence | 20 u32 */
function decodeLseek(body: Body): Change | number {
  const offset = body.u64(8);
  return offset > OFFSET_MAX ? ENXIO : { kind: 'seek', offset, whence: body.u32(16) };
}

/** 0 u32 size | 4 u32 flags | with SETXATTR_EXT 8 u32 more flags | 12 u32 | name, then value */
function decodeSetxattr(body: Body): Change | number {
  const { longXattr } = body.context;
  const at = longXattr ? 16 : 8;
  if (body.length - IN.body < at + 2) return EIO;
  const end = body.endOf(at);
  const name = body.name(at, end);
  if (typeof name === 'number') return name === ENAMETOOLONG ? ERANGE : name;
  const bytes = body.u32(0);
  if (bytes !== body.length - IN.body - end) return EIO;
  if (bytes > VALUE_BYTES_MAX) return E2BIG;
  const kills = longXattr && (body.u32(8) & XATTR_KILL_SET_GROUP) !== 0;
  const flags = (body.u32(4) & 3) | (kills ? XattrFlag.KILL_SET_GROUP : 0);
  return { kind: 'setXattr', name, value: body.bytes(end, bytes).slice(), flags };
}

/** name */
function decodeRemovexattr(body: Body): Change | number {
  const name = body.name(0);
  if (typeof name === 'number') return name === ENAMETOOLONG ? ERANGE : name;
  return { kind: 'removeXattr', name };
}

/** 0 u64 handle | 8 u32 bits | 12 u32 */
function decodeFsync(body: Body): Change {
  const flags = (body.u32(8) & SYNC_DATA_ONLY) !== 0 ? SyncFlag.DATA_ONLY : 0;
  return { kind: 'sync', handle: body.key(0), flags };
}

/** 0 u64 handle | 8 u32 flags of open(2) | 12 u32 bits | 16 u64 owner */
function decodeRelease(body: Body): Change {
  const unlocks = (body.u32(12) & RELEASE_FLOCK_UNLOCK) !== 0;
  const owner = unlocks ? body.key(16) : undefined;
  return { kind: 'release', handle: body.key(0), owner };
}

/**
 *   0 u64 handle | 8 u64 offset | 16 u64 node copied into | 24 u64 handle | 32 u64 offset there
 *   40 u64 length | 48 u64 flags
 */
function decodeCopy(body: Body): Change | number {
  const [offset, at] = [body.u64(8), body.u64(32)];
  if (offset > OFFSET_MAX || at > OFFSET_MAX || body.u64(48) !== 0) return EINVAL;
  const to = body.context.find(body.u64(16));
  if (to === undefined) return ESTALE;
  const bytes = Math.min(body.u64(40), 0xffff_ffff);
  return { kind: 'copy', offset, to, at, bytes, owner: body.owner };
}

/**
 *   0 u64 handle | 8 u64 owner | 16 u64 start | 24 u64 end | 32 u32 type | 36 u32 pid
 *   40 u32 bits | 44 u32
 */
function decodeLock(body: Body): Change | number {
  const type = body.u32(32);
  const mode = LOCK_MODES.get(body.opcode);
  if (mode === undefined || type > LockType.UNLOCK) return EINVAL;
  const lock = {
    kind: (body.u32(40) & LOCK_FLOCK) !== 0 ? LockKind.FLOCK : LockKind.POSIX,
    type,
    start: Math.min(body.u64(16), OFFSET_MAX),
    end: Math.min(body.u64(24), OFFSET_MAX),
    owner: body.key(8),
    pid: body.u32(36),
  };
  return { kind: 'lock', handle: body.key(0), lock, mode };
}

/** The times that ext4 can hold; Linux clamps them too. */
function clamped(time: { seconds: number; nanoseconds: number }): {
  seconds: number;
  nanoseconds: number;
} {
  const seconds = Math.max(-(2 ** 31), Math.min(time.seconds, 2 ** 34 - 2 ** 31 - 1));
  return { seconds, nanoseconds: Math.min(time.nanoseconds, 999_999_999) };
}

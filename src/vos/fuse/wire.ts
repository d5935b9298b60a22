/**
 * The FUSE protocol as the kernel speaks it on /dev/fuse: numbers, layouts and the decoding of
 * requests.
 *
 * Facts are those of the kernel header linux/fuse.h, version 7.31 and later. All integers are in
 * the machine's byte order, which is little-endian on every machine DVK runs on. A request is one
 * read(2):
 *
 *   0 u32 length | 4 u32 opcode | 8 u64 unique | 16 u64 node | 24 u32 uid | 28 u32 gid | 32 u32 pid
 *   36 u16 extension length | 38 u16 0 | 40 body, by opcode
 *
 * and a reply is one write(2): 0 u32 length | 4 i32 error (0 or -errno) | 8 u64 unique | 16 body. A
 * reply with an error has no body.
 */
export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  IOCTL: 39,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const;

const OPCODE_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(Opcode).map(([name, opcode]) => [opcode, name]),
);

/** As `READ`; its number for one that is not known here. */
export function opcodeName(opcode: number): string {
  return OPCODE_NAMES.get(opcode) ?? `opcode ${String(opcode)}`;
}

/** What the kernel can do and what we ask for, in the `flags` of INIT. */
export const InitFlag = {
  ASYNC_READ: 0x1,
  POSIX_LOCKS: 0x2,
  EXPORT_SUPPORT: 0x10,
  BIG_WRITES: 0x20,
  DONT_MASK: 0x40,
  FLOCK_LOCKS: 0x400,
  AUTO_INVAL_DATA: 0x1000,
  DO_READDIRPLUS: 0x2000,
  READDIRPLUS_AUTO: 0x4000,
  NO_OPEN_SUPPORT: 0x2_0000,
  PARALLEL_DIROPS: 0x4_0000,
  POSIX_ACL: 0x10_0000,
  MAX_PAGES: 0x40_0000,
  CACHE_SYMLINKS: 0x80_0000,
  NO_OPENDIR_SUPPORT: 0x100_0000,
  HANDLE_KILLPRIV_V2: 0x1000_0000,
  SETXATTR_EXT: 0x2000_0000,
} as const;

export const OpenFlag = { DIRECT_IO: 0x1, KEEP_CACHE: 0x2, CACHE_DIR: 0x8 } as const;

/** In place of an error, with unique 0. INC_EPOCH makes all names old (7.44). */
export const NotifyCode = { INVAL_INODE: 2, INC_EPOCH: 8 } as const;

export const PROTOCOL_MAJOR = 7;
export const PROTOCOL_MINOR_MIN = 31;
/** The newest minor version whose layouts are known here; a newer kernel falls back to it. */
export const PROTOCOL_MINOR_MAX = 38;
export const ROOT_NODE = 1;
export const IN_HEADER_BYTES = 40;
export const OUT_HEADER_BYTES = 16;
export const PAGE_BYTES = 4096;
/** The kernel asks for no longer link target than one page with its final NUL. */
export const LINK_BYTES_MAX = 4095;
/** Where the header's fields and the body begin. */
export const IN = {
  length: 0,
  opcode: 4,
  unique: 8,
  node: 16,
  uid: 24,
  gid: 28,
  pid: 32,
  body: 40,
} as const;

/**
 * The least body of each request that is read at all; a shorter one is malformed. Names are checked
 * apart.
 */
export const BODY_BYTES_MIN: ReadonlyMap<number, number> = new Map<number, number>([
  [Opcode.LOOKUP, 2],
  [Opcode.FORGET, 8],
  [Opcode.OPEN, 8],
  [Opcode.OPENDIR, 8],
  [Opcode.READ, 40],
  [Opcode.READDIR, 40],
  [Opcode.READDIRPLUS, 40],
  [Opcode.GETXATTR, 10],
  [Opcode.LISTXATTR, 8],
  [Opcode.INIT, 16],
  [Opcode.INTERRUPT, 8],
  [Opcode.BATCH_FORGET, 8],
]);

/**
 * Requests that change something. The kernel sends them to a read-only mount only after a remount
 * by force.
 */
export const WRITING_OPCODES: ReadonlySet<number> = new Set<number>([
  Opcode.SETATTR,
  Opcode.SYMLINK,
  Opcode.MKNOD,
  Opcode.MKDIR,
  Opcode.UNLINK,
  Opcode.RMDIR,
  Opcode.RENAME,
  Opcode.LINK,
  Opcode.WRITE,
  Opcode.SETXATTR,
  Opcode.REMOVEXATTR,
  Opcode.CREATE,
  Opcode.FALLOCATE,
  Opcode.RENAME2,
  Opcode.COPY_FILE_RANGE,
  Opcode.COPY_FILE_RANGE_64,
  Opcode.TMPFILE,
]);

/** Requests that get no reply, whatever is in them. */
export const SILENT_OPCODES: ReadonlySet<number> = new Set<number>([
  Opcode.FORGET,
  Opcode.BATCH_FORGET,
  Opcode.INTERRUPT,
  Opcode.NOTIFY_REPLY,
]);

/** A 64-bit number of the kernel; exact up to 2^53 - 1, beyond which only hostile input goes. */
export function getUint64(view: DataView, at: number): number {
  return view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);
}

/** Writes a whole number from -2^63 to 2^64 - 1, in two's complement. */
export function setUint64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  view.setUint32(at, value - high * 2 ** 32, true);
  view.setUint32(at + 4, high >>> 0, true);
}

/**
 * The NUL-terminated name at `at`, copied, since the request's buffer is used again; undefined when
 * it is not exactly one terminated, non-empty string up to `end`.
 */
export function getName(view: DataView, at: number, end: number): Uint8Array | undefined {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + at, Math.max(0, end - at));
  if (bytes.length < 2 || bytes.indexOf(0) !== bytes.length - 1) return undefined;
  return bytes.slice(0, -1);
}

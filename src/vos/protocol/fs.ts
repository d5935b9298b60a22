/**
 * The FS protocol: what a client asks of a file system server, by messages of 64 bytes.
 *
 * Files are named by inode number and inode generation, as in NFS (RFC 1813), so a client works on
 * after the server was restarted. Bulk data moves by vcopy into (or out of) memory that the client
 * granted; a message carries only the grant's id and an offset in it. Here are the calls that
 * read; those that change something, and the ones around them, are in `fs-change.ts`.
 *
 * Request: `type` is one of `FsCall`; the payload begins at byte 8. Names are bytes, without NUL or
 * '/', of 1 to 255 bytes (xattr names too). A name of at most `INLINE_NAME_BYTES_MAX` bytes travels
 * in the message; a longer one is at the start of the granted memory, which the server reads before
 * it writes anything there.
 *
 *   byte  8  u32  inode
 *        12  u32  generation          (0: any; only the root is asked for in that way)
 *        16  u64  offset              read: byte in the file; readdir: cookie, 0 to begin
 *        24  i32  grant               id of the client's memory, -1 for none
 *        28  u32  grantBytes          how much of it the server may use, from its start
 *        32  u32  nameBytes           0 for calls without a name
 *        36  u8[] name                `INLINE_NAME_BYTES_MAX` = 28 bytes
 *
 * Reply: `type` is the result. Calls that return attributes fill the payload as `FileAttributes`
 * describes; STATFS as `FileSystemStatus`; the others leave it zero.
 *
 * | call      | result on success         | errors of its own                                     |
 * |-----------|---------------------------|-------------------------------------------------------|
 * | LOOKUP    | 0, attributes of the name | ENOENT, ENOTDIR, ENAMETOOLONG, EINVAL (no file name)  |
 * | GETATTR   | 0, attributes             |                                                       |
 * | READLINK  | bytes put into the grant  | EINVAL (not a symlink), ERANGE (grant too small)      |
 * | READ      | bytes put into the grant  | EISDIR, EINVAL (no regular file)                      |
 * | READDIR   | bytes put into the grant  | ENOTDIR, EINVAL (grant too small for one entry)       |
 * | STATFS    | 0, status                 |                                                       |
 * | GETXATTR  | size of the value         | ENODATA, ERANGE (grant short, not 0), EOPNOTSUPP      |
 * | LISTXATTR | size of the list          | ERANGE                                                |
 *
 * Any call may end with EIO, EUCLEAN, ESTALE, EBADREQUEST or EFAULT.
 *
 * GETXATTR and LISTXATTR with grantBytes 0 only tell the size. For a long GETXATTR name
 * `grantBytes` counts the room for the value, which may overwrite the name.
 */
import { PROTOCOL_BASE } from './ranges.ts';

export const FsCall = {
  LOOKUP: PROTOCOL_BASE.fs + 1,
  GETATTR: PROTOCOL_BASE.fs + 2,
  READLINK: PROTOCOL_BASE.fs + 3,
  READ: PROTOCOL_BASE.fs + 4,
  READDIR: PROTOCOL_BASE.fs + 5,
  STATFS: PROTOCOL_BASE.fs + 6,
  GETXATTR: PROTOCOL_BASE.fs + 7,
  LISTXATTR: PROTOCOL_BASE.fs + 8,
  // From here on: `fs-change.ts`.
  CREATE: PROTOCOL_BASE.fs + 9,
  MKDIR: PROTOCOL_BASE.fs + 10,
  SYMLINK: PROTOCOL_BASE.fs + 11,
  LINK: PROTOCOL_BASE.fs + 12,
  UNLINK: PROTOCOL_BASE.fs + 13,
  RMDIR: PROTOCOL_BASE.fs + 14,
  RENAME: PROTOCOL_BASE.fs + 15,
  WRITE: PROTOCOL_BASE.fs + 16,
  SETATTR: PROTOCOL_BASE.fs + 17,
  FALLOCATE: PROTOCOL_BASE.fs + 18,
  SEEK: PROTOCOL_BASE.fs + 19,
  SETXATTR: PROTOCOL_BASE.fs + 20,
  REMOVEXATTR: PROTOCOL_BASE.fs + 21,
  FSYNC: PROTOCOL_BASE.fs + 22,
  OPEN: PROTOCOL_BASE.fs + 23,
  RELEASE: PROTOCOL_BASE.fs + 24,
  COPY_RANGE: PROTOCOL_BASE.fs + 25,
  LOCK: PROTOCOL_BASE.fs + 26,
  UNCLAIM: PROTOCOL_BASE.fs + 27,
  REJOINED: PROTOCOL_BASE.fs + 48,
  // `fs-lease.ts`.
  LEASE_JOIN: PROTOCOL_BASE.fs + 64,
  LEASE_POLL: PROTOCOL_BASE.fs + 65,
  TMPFILE: PROTOCOL_BASE.fs + 80,
  INFO: PROTOCOL_BASE.fs + 81,
  SET_FLAGS: PROTOCOL_BASE.fs + 82,
  // `fs-early.ts`.
  TAKE_NAMES: PROTOCOL_BASE.fs + 100,
  CREATE_MANY: PROTOCOL_BASE.fs + 101,
  // `fs-quota.ts`.
  QUOTA: PROTOCOL_BASE.fs + 110,
  // `fs-window.ts`.
  WINDOW: PROTOCOL_BASE.fs + 120,
  // `fs-counters.ts`.
  COUNTERS: PROTOCOL_BASE.fs + 121,
} as const;
export type FsCall = (typeof FsCall)[keyof typeof FsCall];

/** The root directory's inode number, as in ext2 and later (EXT4_ROOT_INO). */
export const ROOT_INODE = 2;
export const NAME_BYTES_MAX = 255;
export const INLINE_NAME_BYTES_MAX = 28;
/** The most one READ or READDIR moves. */
export const TRANSFER_BYTES_MAX = 1 << 20;

export interface FsRequest {
  call: FsCall;
  inode: number;
  generation: number;
  offset: number;
  grant: number;
  grantBytes: number;
  nameBytes: number;
}

/** Seconds since 1970 and nanoseconds; ext4 reaches from 1901 to 2446. */
export interface Timestamp {
  seconds: number;
  nanoseconds: number;
}

export function isEarlier(a: Timestamp, b: Timestamp): boolean {
  return a.seconds < b.seconds || (a.seconds === b.seconds && a.nanoseconds < b.nanoseconds);
}

export interface FileAttributes {
  inode: number;
  generation: number;
  /** Type and permission bits, as in stat(2). */
  mode: number;
  links: number;
  uid: number;
  gid: number;
  /** In bytes; for a device node its number in the kernel's new encoding (`new_encode_dev`). */
  size: number;
  /** Units of 512 bytes, at most 2^32 - 1. */
  sectors: number;
  accessed: Timestamp;
  modified: Timestamp;
  changed: Timestamp;
}

export interface FileSystemStatus {
  blockBytes: number;
  blocks: number;
  blocksFree: number;
  blocksAvailable: number;
  inodes: number;
  inodesFree: number;
}

const AT = {
  inode: 8,
  generation: 12,
  offset: 16,
  grant: 24,
  grantBytes: 28,
  nameBytes: 32,
} as const;
const INLINE_NAME_AT = 36;
const PAYLOAD_AT = 8;

/**
 * Writes a request into `message` (64 bytes). A name too long for the message must be put into the
 * grant by the caller.
 */
export function encodeRequest(message: DataView, request: FsRequest, name?: Uint8Array): void {
  message.setInt32(4, request.call, true);
  message.setUint32(AT.inode, request.inode, true);
  message.setUint32(AT.generation, request.generation, true);
  setUint64(message, AT.offset, request.offset);
  message.setInt32(AT.grant, request.grant, true);
  message.setUint32(AT.grantBytes, request.grantBytes, true);
  message.setUint32(AT.nameBytes, request.nameBytes, true);
  const inline = name !== undefined && name.length <= INLINE_NAME_BYTES_MAX ? name : undefined;
  for (let i = 0; i < INLINE_NAME_BYTES_MAX; i++) {
    message.setUint8(INLINE_NAME_AT + i, inline?.[i] ?? 0);
  }
}

/** Reads a request; any bytes are safe, and the caller checks the meaning of each field. */
export function decodeRequest(message: DataView): FsRequest {
  return {
    call: message.getInt32(4, true),
    inode: message.getUint32(AT.inode, true),
    generation: message.getUint32(AT.generation, true),
    offset: getUint64(message, AT.offset),
    grant: message.getInt32(AT.grant, true),
    grantBytes: message.getUint32(AT.grantBytes, true),
    nameBytes: message.getUint32(AT.nameBytes, true),
  };
}

/**
 * The name inside a request, or undefined when it is too long for the message and lies in the
 * grant.
 */
export function inlineName(message: DataView, nameBytes: number): Uint8Array | undefined {
  if (nameBytes > INLINE_NAME_BYTES_MAX) return undefined;
  return new Uint8Array(message.buffer, message.byteOffset + INLINE_NAME_AT, nameBytes).slice();
}

/**
 * Attributes, 56 bytes, in a reply at byte 8 or inside a directory entry:
 *
 *   0 u32 inode | 4 u32 generation | 8 u16 mode | 10 u16 links | 12 u32 uid | 16 u32 gid
 *   20 u32 sectors
 *   24 u64 size | 32 u64 accessed | 40 u64 modified | 48 u64 changed
 *
 * A time is packed as in ext4: 32 bits of seconds (signed), 2 bits of epoch above them, 30 bits of
 * nanoseconds.
 */
export function encodeAttributes(view: DataView, a: FileAttributes, at: number = PAYLOAD_AT): void {
  view.setUint32(at, a.inode, true);
  view.setUint32(at + 4, a.generation, true);
  view.setUint16(at + 8, a.mode, true);
  view.setUint16(at + 10, a.links, true);
  view.setUint32(at + 12, a.uid, true);
  view.setUint32(at + 16, a.gid, true);
  view.setUint32(at + 20, a.sectors, true);
  setUint64(view, at + 24, a.size);
  setTime(view, at + 32, a.accessed);
  setTime(view, at + 40, a.modified);
  setTime(view, at + 48, a.changed);
}

export function decodeAttributes(view: DataView, at: number = PAYLOAD_AT): FileAttributes {
  return {
    inode: view.getUint32(at, true),
    generation: view.getUint32(at + 4, true),
    mode: view.getUint16(at + 8, true),
    links: view.getUint16(at + 10, true),
    uid: view.getUint32(at + 12, true),
    gid: view.getUint32(at + 16, true),
    sectors: view.getUint32(at + 20, true),
    size: getUint64(view, at + 24),
    accessed: getTime(view, at + 32),
    modified: getTime(view, at + 40),
    changed: getTime(view, at + 48),
  };
}

/**
 * STATFS reply payload: u32 blockBytes, u32 0, then u64 blocks, free, available, inodes,
 * inodesFree.
 */
export function encodeStatus(message: DataView, s: FileSystemStatus): void {
  message.setUint32(8, s.blockBytes, true);
  message.setUint32(12, 0, true);
  setUint64(message, 16, s.blocks);
  setUint64(message, 24, s.blocksFree);
  setUint64(message, 32, s.blocksAvailable);
  setUint64(message, 40, s.inodes);
  setUint64(message, 48, s.inodesFree);
}

export function decodeStatus(message: DataView): FileSystemStatus {
  return {
    blockBytes: message.getUint32(8, true),
    blocks: getUint64(message, 16),
    blocksFree: getUint64(message, 24),
    blocksAvailable: getUint64(message, 32),
    inodes: getUint64(message, 40),
    inodesFree: getUint64(message, 48),
  };
}

/**
 * READDIR fills the grant with entries, one after another, each aligned to 8 bytes:
 *
 *   0 u64 cookie of the next entry | 8 u8 name length | 9 u8 type (DT_*, as in readdir(3))
 *   10 u16 0 | 12 u32 entry bytes | 16 attributes | 72 name, zero padded
 *
 * The attributes are zero but for the inode number when the inode could not be read.
 *
 * "." and ".." come first, from the directory itself. Cookies stay valid while the image is
 * unchanged.
 */
export const DIRECTORY_ENTRY_HEADER_BYTES = 72;

export interface DirectoryEntry {
  nextCookie: number;
  type: number;
  name: Uint8Array;
  attributes: FileAttributes;
}

export function directoryEntryBytes(nameBytes: number): number {
  return (DIRECTORY_ENTRY_HEADER_BYTES + nameBytes + 7) & ~7;
}

/**
 * Appends `entry` at byte `at` of `buffer`; the caller made sure that it fits. Returns the bytes
 * used.
 */
export function encodeDirectoryEntry(buffer: DataView, at: number, entry: DirectoryEntry): number {
  const bytes = directoryEntryBytes(entry.name.length);
  setUint64(buffer, at, entry.nextCookie);
  buffer.setUint8(at + 8, entry.name.length);
  buffer.setUint8(at + 9, entry.type);
  buffer.setUint16(at + 10, 0, true);
  buffer.setUint32(at + 12, bytes, true);
  encodeAttributes(buffer, entry.attributes, at + 16);
  const name = new Uint8Array(
    buffer.buffer,
    buffer.byteOffset + at + DIRECTORY_ENTRY_HEADER_BYTES,
    bytes - DIRECTORY_ENTRY_HEADER_BYTES,
  );
  name.fill(0);
  name.set(entry.name);
  return bytes;
}

/**
 * Reads the entries of a READDIR reply; stops at the first that does not fit, so that any bytes are
 * safe.
 */
export function decodeDirectoryEntries(buffer: DataView): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  let at = 0;
  while (at + DIRECTORY_ENTRY_HEADER_BYTES < buffer.byteLength) {
    const nameBytes = buffer.getUint8(at + 8);
    const bytes = buffer.getUint32(at + 12, true);
    if (
      nameBytes === 0 ||
      bytes !== directoryEntryBytes(nameBytes) ||
      at + bytes > buffer.byteLength
    )
      break;
    entries.push({
      nextCookie: getUint64(buffer, at),
      type: buffer.getUint8(at + 9),
      name: new Uint8Array(
        buffer.buffer,
        buffer.byteOffset + at + DIRECTORY_ENTRY_HEADER_BYTES,
        nameBytes,
      ).slice(),
      attributes: decodeAttributes(buffer, at + 16),
    });
    at += bytes;
  }
  return entries;
}

/**
 * 64-bit integers beyond 2^53 - 1 do not occur in valid data; they are clamped there, so that
 * arithmetic stays exact.
 */
export function getUint64(view: DataView, at: number): number {
  return Math.min(
    view.getUint32(at + 4, true) * 2 ** 32 + view.getUint32(at, true),
    Number.MAX_SAFE_INTEGER,
  );
}

export function setUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

export function getTime(view: DataView, at: number): Timestamp {
  const high = view.getUint32(at + 4, true);
  return {
    seconds: view.getInt32(at, true) + (high & 3) * 2 ** 32,
    nanoseconds: Math.min(high >>> 2, 999_999_999),
  };
}

export function setTime(view: DataView, at: number, time: Timestamp): void {
  view.setInt32(at, time.seconds | 0, true);
  const epoch = Math.round((time.seconds - (time.seconds | 0)) / 2 ** 32) & 3;
  view.setUint32(at + 4, (time.nanoseconds * 4 + epoch) >>> 0, true);
}

/**
 * The bodies of FUSE replies (linux/fuse.h), written into a caller's buffer. The caller made sure
 * of the room.
 *
 * Sizes are constants of the protocol 7.31 and later; every field that is not named is zero, so a
 * body is cleared first.
 */
import type { LockAnswer } from '../protocol/fs-change.ts';
import type {
  DirectoryEntry,
  FileAttributes,
  FileSystemStatus,
  Timestamp,
} from '../protocol/fs.ts';
import { NAME_BYTES_MAX } from '../protocol/fs.ts';
import { PAGE_BYTES, setUint64 } from './wire.ts';

export const ATTRIBUTES_BYTES = 88;
export const ATTRIBUTES_REPLY_BYTES: number = 16 + ATTRIBUTES_BYTES;
export const ENTRY_BYTES: number = 40 + ATTRIBUTES_BYTES;
export const INIT_REPLY_BYTES = 64;
export const OPEN_REPLY_BYTES = 16;
export const STATUS_REPLY_BYTES = 80;
export const SIZE_REPLY_BYTES = 8;
export const LOCK_REPLY_BYTES = 24;
export const OFFSET_REPLY_BYTES = 8;
export const NOTIFY_INODE_BYTES = 24;
export const DIRENT_HEADER_BYTES = 24;
/** An answer to IOCTL that is no error begins with so many zeros. */
export const IOCTL_REPLY_BYTES = 16;
export const STATX_REPLY_BYTES: number = 32 + 256;

const FORMAT_MASK = 0o170000;
const CHARACTER_DEVICE = 0o020000;
const BLOCK_DEVICE = 0o060000;

/** How long the kernel may believe what it was told. */
export interface Validity {
  readonly entryMs: number;
  readonly attributesMs: number;
}

/** What is left of it after `ms`. */
export function laterOf({ entryMs, attributesMs }: Validity, ms: number): Validity {
  const left = (whole: number): number => Math.max(0, Math.floor(whole - ms));
  return { entryMs: left(entryMs), attributesMs: left(attributesMs) };
}

export function isDevice(mode: number): boolean {
  const format = mode & FORMAT_MASK;
  return format === CHARACTER_DEVICE || format === BLOCK_DEVICE;
}

/**
 *   0 u64 inode | 8 u64 size | 16 u64 sectors | 24 u64 atime | 32 u64 mtime | 40 u64 ctime
 *   48 u32 nanoseconds of atime | 52 of mtime | 56 of ctime | 60 u32 mode | 64 u32 links
 *   68 u32 uid | 72 u32 gid | 76 u32 device | 80 u32 block size | 84 u32 flags
 */
export function encodeAttributes(view: DataView, at: number, a: FileAttributes): void {
  const device = isDevice(a.mode);
  setUint64(view, at, a.inode);
  setUint64(view, at + 8, device ? 0 : a.size);
  setUint64(view, at + 16, a.sectors);
  setUint64(view, at + 24, a.accessed.seconds);
  setUint64(view, at + 32, a.modified.seconds);
  setUint64(view, at + 40, a.changed.seconds);
  view.setUint32(at + 48, a.accessed.nanoseconds, true);
  view.setUint32(at + 52, a.modified.nanoseconds, true);
  view.setUint32(at + 56, a.changed.nanoseconds, true);
  view.setUint32(at + 60, a.mode, true);
  view.setUint32(at + 64, a.links, true);
  view.setUint32(at + 68, a.uid, true);
  view.setUint32(at + 72, a.gid, true);
  view.setUint32(at + 76, device ? a.size : 0, true);
  view.setUint32(at + 80, PAGE_BYTES, true);
  view.setUint32(at + 84, 0, true);
}

/** 0 u64 seconds of validity | 8 u32 nanoseconds of it | 12 u32 0 | 16 attributes */
export function encodeAttributesReply(
  view: DataView,
  at: number,
  attributes: FileAttributes,
  validity: Validity,
): void {
  setUint64(view, at, Math.floor(validity.attributesMs / 1000));
  view.setUint32(at + 8, (validity.attributesMs % 1000) * 1e6, true);
  view.setUint32(at + 12, 0, true);
  encodeAttributes(view, at + 16, attributes);
}

const STATX_BASIC = 0x7ff;
const STATX_BORN = 0x800;

/**
 *   0 u64 seconds of validity | 8 u32 nanoseconds of it | 12 u32 0 | 32 as struct statx:
 *   0 u32 mask | 4 u32 block size | 16 u32 links | 20 u32 uid | 24 u32 gid | 28 u16 mode
 *   32 u64 inode | 40 u64 size | 48 u64 sectors | 64 atime | 80 time of birth | 96 ctime
 *   112 mtime | 128 u32 major | 132 u32 minor
 */
export function encodeStatxReply(
  view: DataView,
  at: number,
  { attributes: a, born }: { attributes: FileAttributes; born: Timestamp | undefined },
  validity: Validity,
): void {
  clear(view, at, STATX_REPLY_BYTES);
  setUint64(view, at, Math.floor(validity.attributesMs / 1000));
  view.setUint32(at + 8, (validity.attributesMs % 1000) * 1e6, true);
  const to = at + 32;
  const device = isDevice(a.mode) ? a.size : 0;
  view.setUint32(to, STATX_BASIC | (born === undefined ? 0 : STATX_BORN), true);
  view.setUint32(to + 4, PAGE_BYTES, true);
  view.setUint32(to + 16, a.links, true);
  view.setUint32(to + 20, a.uid, true);
  view.setUint32(to + 24, a.gid, true);
  view.setUint16(to + 28, a.mode, true);
  setUint64(view, to + 32, a.inode);
  setUint64(view, to + 40, isDevice(a.mode) ? 0 : a.size);
  setUint64(view, to + 48, a.sectors);
  const times = [a.accessed, born, a.changed, a.modified];
  for (const [index, time] of times.entries()) {
    setUint64(view, to + 64 + index * 16, time?.seconds ?? 0);
    view.setUint32(to + 72 + index * 16, time?.nanoseconds ?? 0, true);
  }
  view.setUint32(to + 128, (device >>> 8) & 0xfff, true);
  view.setUint32(to + 132, (device & 0xff) | ((device >>> 12) & 0xfff00), true);
}

/** What an entry says besides the attributes. */
export interface EntryNames {
  /** 0: no such name (LOOKUP), or no attributes told (READDIRPLUS). */
  readonly node: number;
  readonly generation: number;
}

/**
 *   0 u64 node | 8 u64 generation | 16 u64 seconds that the name is valid
 *   24 u64 seconds that the attributes are | 32 u32 nanoseconds for the name
 *   36 u32 nanoseconds for the attributes | 40 attributes
 */
export function encodeEntry(
  view: DataView,
  at: number,
  entry: { names: EntryNames; attributes: FileAttributes | undefined },
  validity: Validity,
): void {
  setUint64(view, at, entry.names.node);
  setUint64(view, at + 8, entry.names.generation);
  setUint64(view, at + 16, Math.floor(validity.entryMs / 1000));
  setUint64(view, at + 24, Math.floor(validity.attributesMs / 1000));
  view.setUint32(at + 32, (validity.entryMs % 1000) * 1e6, true);
  view.setUint32(at + 36, (validity.attributesMs % 1000) * 1e6, true);
  if (entry.attributes === undefined) clear(view, at + 40, ATTRIBUTES_BYTES);
  else encodeAttributes(view, at + 40, entry.attributes);
}

export function direntBytes(nameBytes: number): number {
  return (DIRENT_HEADER_BYTES + nameBytes + 7) & ~7;
}

/**
 *   0 u64 inode | 8 u64 cookie of the next entry | 16 u32 name length | 20 u32 type
 *   24 name, zero padded to 8 bytes
 *
 * `bytes` is the memory under `view`: one more view for each of thousands of names would be
 * garbage.
 */
export function encodeDirent(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  entry: DirectoryEntry,
): void {
  setUint64(view, at, entry.attributes.inode);
  setUint64(view, at + 8, entry.nextCookie);
  view.setUint32(at + 16, entry.name.length, true);
  view.setUint32(at + 20, entry.type, true);
  const nameAt = at + DIRENT_HEADER_BYTES;
  bytes.set(entry.name, nameAt);
  bytes.fill(0, nameAt + entry.name.length, at + direntBytes(entry.name.length));
}

/** What is settled at INIT. */
export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly readAheadBytesMax: number;
  readonly writeBytesMax: number;
  readonly pagesMax: number;
  readonly backgroundMax: number;
}

/**
 *   0 u32 major | 4 u32 minor | 8 u32 read-ahead | 12 u32 flags
 *   16 u16 background requests | 18 u16 of them make it congested | 20 u32 write size
 *   24 u32 time granularity in ns | 28 u16 pages a request | 30 u16 0 | 32 u32 flags | 36 zeros
 */
export function encodeInitReply(view: DataView, at: number, major: number, n: Negotiated): void {
  clear(view, at, INIT_REPLY_BYTES);
  view.setUint32(at, major, true);
  view.setUint32(at + 4, n.minor, true);
  view.setUint32(at + 8, n.readAheadBytesMax, true);
  view.setUint32(at + 12, n.flags >>> 0, true);
  view.setUint16(at + 16, n.backgroundMax, true);
  view.setUint16(at + 18, Math.ceil((n.backgroundMax * 3) / 4), true);
  view.setUint32(at + 20, n.writeBytesMax, true);
  view.setUint32(at + 24, 1, true);
  view.setUint16(at + 28, n.pagesMax, true);
}

/** 0 u64 file handle | 8 u32 flags | 12 u32 0 */
export function encodeOpenReply(view: DataView, at: number, flags: number, handle = 0): void {
  clear(view, at, OPEN_REPLY_BYTES);
  view.setBigUint64(at, BigInt(handle), true);
  view.setUint32(at + 8, flags, true);
}

/**
 *   0 u64 blocks | 8 u64 free | 16 u64 available | 24 u64 inodes | 32 u64 free | 40 u32 block size
 *   44 u32 longest name | 48 u32 fragment size | 52 zeros
 */
export function encodeStatusReply(view: DataView, at: number, s: FileSystemStatus): void {
  clear(view, at, STATUS_REPLY_BYTES);
  setUint64(view, at, s.blocks);
  setUint64(view, at + 8, s.blocksFree);
  setUint64(view, at + 16, s.blocksAvailable);
  setUint64(view, at + 24, s.inodes);
  setUint64(view, at + 32, s.inodesFree);
  view.setUint32(at + 40, s.blockBytes, true);
  view.setUint32(at + 44, NAME_BYTES_MAX, true);
  view.setUint32(at + 48, s.blockBytes, true);
}

/** 0 u64 start | 8 u64 end | 16 u32 type | 20 u32 pid */
export function encodeLockReply(view: DataView, at: number, lock: LockAnswer): void {
  setUint64(view, at, lock.start);
  // The last byte of any file is 2^63 - 1 for the kernel.
  if (lock.end < Number.MAX_SAFE_INTEGER) setUint64(view, at + 8, lock.end);
  else view.setBigUint64(at + 8, 2n ** 63n - 1n, true);
  view.setUint32(at + 16, lock.lockType, true);
  view.setUint32(at + 20, lock.pid, true);
}

/** LSEEK: 0 u64 offset */
export function encodeOffsetReply(view: DataView, at: number, offset: number): void {
  setUint64(view, at, offset);
}

/**
 * NOTIFY_INVAL_INODE: 0 u64 node | 8 i64 offset, or -1 for the attributes alone | 16 i64 bytes, 0
 * for all up to the end
 */
export function encodeNotifyInode(view: DataView, at: number, node: number, offset = -1): void {
  setUint64(view, at, node);
  setUint64(view, at + 8, offset);
  setUint64(view, at + 16, 0);
}

/** GETXATTR and WRITE: 0 u32 size of the value, or of what was written | 4 u32 0 */
export function encodeSizeReply(view: DataView, at: number, size: number): void {
  view.setUint32(at, size, true);
  view.setUint32(at + 4, 0, true);
}

function clear(view: DataView, at: number, bytes: number): void {
  new Uint8Array(view.buffer, view.byteOffset + at, bytes).fill(0);
}

/**
 * Lists of extended attributes, as they lie in an inode behind its fields or in a block of their
 * own.
 *
 *   entry: 0 u8 name bytes | 1 u8 name index | 2 u16 value offset | 4 u32 value inode
 *          8 u32 value bytes | 12 u32 hash | 16 name, padded to 4 bytes
 *
 * The name index stands for a prefix such as "user.". Four zero bytes end the list. Values grow
 * from the end of the area towards it; offsets count from the first entry in an inode, and from the
 * start of a block. See "Extended Attributes" in Documentation/filesystems/ext4.
 */
import { damaged } from '../errors.ts';
import { type Inode } from './inode.ts';
import { put16, put32, u16, u32 } from './layout.ts';

const ENTRY_BYTES = 16;
export const XATTR_MAGIC = 0xea020000;
export const XATTR_INDEX = {
  user: 1,
  aclAccess: 2,
  aclDefault: 3,
  trusted: 4,
  security: 6,
  system: 7,
} as const;

export interface XattrEntry {
  readonly nameIndex: number;
  /** Without the prefix; bytes as Latin-1 characters. */
  readonly name: string;
  readonly valueAt: number;
  readonly valueBytes: number;
  /** The inode that holds the value, 0 if it is in the area. */
  readonly valueInode: number;
}

/** An xattr with its value, as it is stored. */
export interface StoredXattr {
  readonly nameIndex: number;
  /** Without the prefix; bytes as Latin-1 characters. */
  readonly name: string;
  readonly value: Uint8Array;
}

/** How many bytes a list takes, with its end. */
export function xattrBytes(xattrs: readonly StoredXattr[]): number {
  let bytes = 4;
  for (const { name, value } of xattrs) bytes += entryBytes(name) + padded(value.length);
  return bytes;
}

/**
 * Writes a list into `area`, entries from `first` on and values from the end. The caller knows that
 * it fits. Returns the hash of all of them, which block headers have.
 */
export function writeXattrEntries(
  area: Uint8Array,
  first: number,
  xattrs: readonly StoredXattr[],
): number {
  area.fill(0, first);
  let at = first;
  let valueAt = area.length;
  let hash = 0;
  for (const { nameIndex, name, value } of xattrs) {
    valueAt -= padded(value.length);
    area.set(value, valueAt);
    area[at] = name.length;
    area[at + 1] = nameIndex;
    put16(area, at + 2, value.length === 0 ? 0 : valueAt);
    put32(area, at + 8, value.length);
    const own = entryHash(name, area.subarray(valueAt, valueAt + padded(value.length)));
    put32(area, at + 12, own);
    area.set(Buffer.from(name, 'latin1'), at + ENTRY_BYTES);
    at += entryBytes(name);
    hash = ((hash << 16) ^ (hash >>> 16) ^ own) >>> 0;
  }
  return hash;
}

/** As the kernel searches a block: by name index, then length, then bytes. */
export function compareXattrs(one: StoredXattr, other: StoredXattr): number {
  if (one.nameIndex !== other.nameIndex) return one.nameIndex - other.nameIndex;
  if (one.name.length !== other.name.length) return one.name.length - other.name.length;
  return one.name < other.name ? -1 : 1;
}

export function entryBytes(name: string): number {
  return ENTRY_BYTES + padded(name.length);
}

export function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}

/** Over the bytes of the name, then the words of the value. */
export function entryHash(name: string, value: Uint8Array): number {
  let hash = 0;
  for (let at = 0; at < name.length; at++) {
    hash = (hash << 5) ^ (hash >>> 27) ^ name.charCodeAt(at);
  }
  for (let at = 0; at < value.length; at += 4) {
    hash = (hash << 16) ^ (hash >>> 16) ^ u32(value, at);
  }
  return hash >>> 0;
}

/** Every entry from `first` on, with values inside `area`. Throws EUCLEAN. */
export function readXattrEntries(area: Uint8Array, first: number, inode: number): XattrEntry[] {
  const entries: XattrEntry[] = [];
  let at = first;
  while (at + 4 <= area.length && u32(area, at) !== 0) {
    const nameBytes = area[at] ?? 0;
    const entry = {
      nameIndex: area[at + 1] ?? 0,
      name: latin1(area.subarray(at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes)),
      valueAt: u16(area, at + 2),
      valueBytes: u32(area, at + 8),
      valueInode: u32(area, at + 4),
    };
    const next = at + ENTRY_BYTES + ((nameBytes + 3) & ~3);
    const inside = entry.valueInode !== 0 || entry.valueAt + entry.valueBytes <= area.length;
    if (next > area.length || !inside || entry.name.includes('\0')) {
      throw damaged`inode ${inode}: bad xattr entry at byte ${at}`;
    }
    entries.push(entry);
    at = next;
  }
  if (at + 4 > area.length) throw damaged`inode ${inode}: the list of xattrs has no end`;
  return entries;
}

/** The part of an inode that holds xattrs, from the first entry on; empty if there are none. */
export function inodeXattrArea(inode: Inode): Uint8Array {
  const { raw, xattrsAt } = inode;
  const present = xattrsAt + 8 <= raw.length && u32(raw, xattrsAt) === XATTR_MAGIC;
  return present ? raw.subarray(xattrsAt + 4) : raw.subarray(0, 0);
}

export function inodeXattrs(inode: Inode): XattrEntry[] {
  const area = inodeXattrArea(inode);
  return area.length === 0 ? [] : readXattrEntries(area, 0, inode.number);
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

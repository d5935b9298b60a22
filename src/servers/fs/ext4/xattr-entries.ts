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
import { u16, u32 } from './layout.ts';

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

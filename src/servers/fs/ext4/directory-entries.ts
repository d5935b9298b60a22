/**
 * Directory entries, as they lie one after another in a block (or in an inode with inline data).
 *
 *   0 u32 inode (0: no entry) | 4 u16 bytes to the next | 6 u8 name bytes | 7 u8 type | 8 name
 *
 * `verifyEntries` runs once for each load of a block, so the functions after it walk without
 * doubts. See "Linear (Classic) Directories" in Documentation/filesystems/ext4.
 */
import { damaged } from '../errors.ts';
import { u16, u32 } from './layout.ts';

export const ENTRY_NAME_AT = 8;
export const ENTRY_BYTES_MIN = 12;

/** Where the entry of a name lies. */
export interface EntryPlace {
  readonly inode: number;
  /** Logical block, or -1 for inline data. */
  readonly logical: number;
  /** Byte in the block, or in the inline data. */
  readonly at: number;
}

const SLASH = 0x2f;
const DOT = 0x2e;

/** The DT_ numbers of readdir(3), by ext4's own. */
const ENTRY_TYPES: readonly number[] = [0, 8, 4, 2, 6, 1, 12, 10];

export interface EntriesPlace {
  readonly inode: number;
  /** Logical block, or -1 for inline data. */
  readonly logical: number;
  readonly from: number;
}

/**
 * The distance to the next entry. A block of 64 KiB does not fit the field when one entry fills it.
 */
export function recordBytes(entries: Uint8Array, at: number): number {
  const bytes = u16(entries, at + 4);
  return entries.length === 65536 && (bytes === 65535 || bytes === 0) ? 65536 : bytes;
}

export function entryType(entries: Uint8Array, at: number): number {
  return ENTRY_TYPES[entries[at + 7] ?? 0] ?? 0;
}

/** "." and ".." are the first two entries of the first block, and nowhere else. */
export function isDots(name: Uint8Array): boolean {
  return name.length <= 2 && name[0] === DOT && (name.length === 1 || name[1] === DOT);
}

/**
 * Throws EUCLEAN unless the entries from `place.from` to the end are in order and their names are
 * possible.
 */
export function verifyEntries(entries: Uint8Array, place: EntriesPlace): void {
  let at = place.from;
  for (let index = 0; at < entries.length; index++) {
    const bytes = recordBytes(entries, at);
    const nameBytes = entries[at + 6] ?? 0;
    const fits = bytes >= ENTRY_BYTES_MIN && bytes % 4 === 0 && at + bytes <= entries.length;
    if (!fits || ENTRY_NAME_AT + nameBytes > bytes) throw badEntry(place, at, 'does not fit');
    const dots = place.logical === 0 && index < 2 ? index + 1 : 0;
    if (u32(entries, at) !== 0) verifyName(entries, at, { ...place, dots });
    else if (dots > 0) throw badEntry(place, at, 'is missing');
    at += bytes;
  }
}

interface NamePlace extends EntriesPlace {
  /** How many dots the name must consist of, 0 for any other name. */
  readonly dots: number;
}

function verifyName(entries: Uint8Array, at: number, place: NamePlace): void {
  const name = entries.subarray(at + ENTRY_NAME_AT, at + ENTRY_NAME_AT + (entries[at + 6] ?? 0));
  if (name.length === 0) throw badEntry(place, at, 'has no name');
  if (name.includes(SLASH) || name.includes(0)) throw badEntry(place, at, 'has an impossible name');
  const dots = isDots(name) ? name.length : 0;
  if (dots !== place.dots) throw badEntry(place, at, 'has dots in the wrong place');
  if (dots === 1 && u32(entries, at) !== place.inode) throw badEntry(place, at, 'is not itself');
}

function badEntry(place: EntriesPlace, at: number, what: string): Error {
  return damaged`directory ${place.inode}, block ${place.logical}: the entry at byte ${at} ${what}`;
}

/** Where the entry of `name` begins in verified entries, -1 if it is not there. */
export function findEntry(entries: Uint8Array, from: number, name: Uint8Array): number {
  const bytes = name.length;
  for (let at = from; at < entries.length; at += recordBytes(entries, at)) {
    if (entries[at + 6] !== bytes || u32(entries, at) === 0) continue;
    let same = 0;
    while (same < bytes && entries[at + ENTRY_NAME_AT + same] === name[same]) same++;
    if (same === bytes) return at;
  }
  return -1;
}

/**
 * Changes of lists of directory entries. See `directory-entries.ts` for the layout.
 *
 * An entry never moves to a lower place in its block, and from block to block only to a new one at
 * the end: whoever reads the directory meanwhile, by places, misses none that was there before. It
 * may meet one twice.
 */
import { ENTRY_BYTES_MIN, ENTRY_NAME_AT, recordBytes } from './directory-entries.ts';
import { MODE, put16, put32, u32 } from './layout.ts';

/** What an entry says of its file. */
export interface EntryTarget {
  readonly inode: number;
  /** ext4's number of the type, 0 where entries do not tell. */
  readonly type: number;
}

/** An entry as bytes, with the room that it needs and no more. */
export type PackedEntry = Uint8Array;

const TYPES = new Map<number, number>([
  [MODE.regular, 1],
  [MODE.directory, 2],
  [MODE.character, 3],
  [MODE.block, 4],
  [MODE.fifo, 5],
  [MODE.socket, 6],
  [MODE.symlink, 7],
]);

/** ext4's number for the type of a file. */
export function typeNumber(mode: number): number {
  return TYPES.get(mode & MODE.type) ?? 0;
}

/** What an entry with such a name takes. */
export function entryBytes(nameBytes: number): number {
  return (ENTRY_NAME_AT + nameBytes + 3) & ~3;
}

export function putRecordBytes(entries: Uint8Array, at: number, bytes: number): void {
  put16(entries, at + 4, Math.min(bytes, 65535));
}

export function packEntry(name: Uint8Array, target: EntryTarget): PackedEntry {
  const packed = new Uint8Array(entryBytes(name.length));
  put32(packed, 0, target.inode);
  putRecordBytes(packed, 0, packed.length);
  packed[6] = name.length;
  packed[7] = target.type;
  packed.set(name, ENTRY_NAME_AT);
  return packed;
}

/** Makes `entries` one empty entry. */
export function clearEntries(entries: Uint8Array): void {
  entries.fill(0);
  putRecordBytes(entries, 0, entries.length);
}

/** Puts an entry where there is room. False if there is none. */
export function placeEntry(entries: Uint8Array, from: number, packed: PackedEntry): boolean {
  for (let at = from; at < entries.length; at += recordBytes(entries, at)) {
    const used = usedBytes(entries, at);
    const bytes = recordBytes(entries, at);
    if (bytes - used < packed.length) continue;
    if (used > 0) putRecordBytes(entries, at, used);
    entries.set(packed, at + used);
    putRecordBytes(entries, at + used, bytes - used);
    return true;
  }
  return false;
}

/** Whether `placeEntry` would find room. */
export function hasRoom(entries: Uint8Array, packed: PackedEntry): boolean {
  for (let at = 0; at < entries.length; at += recordBytes(entries, at)) {
    if (recordBytes(entries, at) - usedBytes(entries, at) >= packed.length) return true;
  }
  return false;
}

/** Takes an entry away; what it took goes to the one before. */
export function removeEntry(entries: Uint8Array, from: number, at: number): void {
  const bytes = recordBytes(entries, at);
  let before = -1;
  for (let place = from; place < at; place += recordBytes(entries, place)) before = place;
  entries.fill(0, at, at + Math.max(usedBytes(entries, at), ENTRY_NAME_AT));
  if (before < 0) putRecordBytes(entries, at, bytes);
  else putRecordBytes(entries, before, at + bytes - before);
}

/** Another file for the name of an entry. */
export function setTarget(entries: Uint8Array, at: number, target: EntryTarget): void {
  put32(entries, at, target.inode);
  entries[at + 7] = target.type;
}

/** All entries with a file, in order, each with its place. */
export function packedEntries(entries: Uint8Array, from: number): [PackedEntry, number][] {
  const packed: [PackedEntry, number][] = [];
  for (let at = from; at < entries.length; at += recordBytes(entries, at)) {
    if (u32(entries, at) === 0) continue;
    const entry = entries.slice(at, at + usedBytes(entries, at));
    putRecordBytes(entry, 0, entry.length);
    packed.push([entry, at]);
  }
  return packed;
}

/** Writes entries one behind the other; the last one has the rest of the room. */
export function fillEntries(entries: Uint8Array, packed: readonly PackedEntry[]): void {
  clearEntries(entries);
  let at = 0;
  for (const [index, entry] of packed.entries()) {
    entries.set(entry, at);
    if (index === packed.length - 1) putRecordBytes(entries, at, entries.length - at);
    at += entry.length;
  }
}

/** Moves all entries to the end, so that the room lies together before them. */
export function gatherRoom(entries: Uint8Array): void {
  const packed = packedEntries(entries, 0);
  const bytes = packed.reduce((sum, [entry]) => sum + entry.length, 0);
  let at = entries.length - bytes;
  if (at > 0 && at < ENTRY_BYTES_MIN) return;
  entries.fill(0);
  if (at > 0) putRecordBytes(entries, 0, at);
  for (const [entry] of packed) {
    entries.set(entry, at);
    at += entry.length;
  }
}

/** The room between entries, together. */
export function roomOf(entries: Uint8Array): number {
  let room = 0;
  for (let at = 0; at < entries.length; at += recordBytes(entries, at)) {
    room += recordBytes(entries, at) - usedBytes(entries, at);
  }
  return room;
}

function usedBytes(entries: Uint8Array, at: number): number {
  return u32(entries, at) === 0 ? 0 : entryBytes(entries[at + 6] ?? 0);
}

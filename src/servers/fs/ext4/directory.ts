/**
 * Directories: names to inode numbers, and lists of entries.
 *
 * A cookie is the byte at which the next entry begins, so it stays valid as long as the image does,
 * and going on costs no more than one block read again. An inline directory has no "." and "..":
 * cookies 1 and 2 stand for them, and its entries begin at byte 4, behind the parent's number.
 */
import type { Contents } from './contents.ts';
import { DirectoryBlocks } from './directory-blocks.ts';
import {
  ENTRY_NAME_AT,
  type EntryPlace,
  entryType,
  findEntry,
  isDots,
  recordBytes,
  verifyEntries,
} from './directory-entries.ts';
import type { Disk } from './disk.ts';
import { DirectoryIndex } from './htree.ts';
import { inlineData } from './inline-data.ts';
import { INODE_MAP_BYTES, type Inode, hasFlag } from './inode.ts';
import { COMPAT, INODE_FLAG, u32 } from './layout.ts';
import { RecentMap } from '../recent.ts';

const INLINE_PARENT_BYTES = 4;
const DT_DIRECTORY = 4;
const DOT = new Uint8Array([0x2e]);
const DOT_DOT = new Uint8Array([0x2e, 0x2e]);
const HINTS = 256;

export interface ListedEntry {
  readonly inode: number;
  /** DT_*, 0 if the volume does not tell. */
  readonly type: number;
  /** Valid during the visit. */
  readonly name: Uint8Array;
  readonly nextCookie: number;
}

/** Takes an entry, or returns false to end the scan before it. */
export type EntryVisitor = (entry: ListedEntry) => boolean;

export class Directories {
  readonly #blocks: DirectoryBlocks;
  readonly #index: DirectoryIndex;
  readonly #hasIndexes: boolean;
  /** The entry being listed must outlive reads of inodes, so its block is copied here. */
  readonly #listed: Uint8Array;
  /**
   * Where the last name was found in directories without an index: names are often asked for in
   * order.
   */
  readonly #hints = new RecentMap<number>(HINTS);

  constructor(disk: Disk, contents: Contents) {
    this.#blocks = new DirectoryBlocks(disk, contents);
    this.#index = new DirectoryIndex(disk, this.#blocks);
    this.#hasIndexes = (disk.superblock.compat & COMPAT.dirIndex) !== 0;
    this.#listed = new Uint8Array(disk.blockBytes);
  }

  /** Where `name` is, undefined if it is not there. Throws EUCLEAN. */
  find(directory: Inode, name: Uint8Array): EntryPlace | undefined {
    if (hasFlag(directory, INODE_FLAG.inlineData)) return findInline(directory, name);
    if (isDots(name)) return this.#findInBlock(directory, 0, name);
    if (this.#hasIndexes && hasFlag(directory, INODE_FLAG.index)) {
      const found = this.#index.find(directory, name);
      if (found !== undefined) return found === 'absent' ? undefined : found;
    }
    return this.#findLinear(directory, name);
  }

  /**
   * Visits the entries from `cookie` on (0: all) until the visitor returns false. Throws EUCLEAN.
   */
  list(directory: Inode, cookie: number, visit: EntryVisitor): void {
    if (hasFlag(directory, INODE_FLAG.inlineData)) {
      listInline(directory, cookie, visit);
      return;
    }
    const blocks = this.#blocks.count(directory);
    const bytes = this.#listed.length;
    for (let logical = Math.floor(cookie / bytes); logical < blocks; logical++) {
      this.#listed.set(this.#blocks.read(directory, logical));
      const base = logical * bytes;
      if (!visitEntries(this.#listed, { from: 0, base, cookie }, visit)) return;
    }
  }

  #findLinear(directory: Inode, name: Uint8Array): EntryPlace | undefined {
    const blocks = this.#blocks.count(directory);
    const hint = (this.#hints.get(directory.number) ?? 0) % blocks;
    for (let step = 0; step < blocks; step++) {
      const logical = (hint + step) % blocks;
      const found = this.#findInBlock(directory, logical, name);
      if (found === undefined) continue;
      if (logical !== hint) this.#hints.set(directory.number, logical);
      return found;
    }
    return undefined;
  }

  #findInBlock(directory: Inode, logical: number, name: Uint8Array): EntryPlace | undefined {
    const entries = this.#blocks.read(directory, logical);
    const at = findEntry(entries, 0, name);
    return at < 0 ? undefined : { inode: u32(entries, at), logical, at };
  }
}

interface VisitRange {
  readonly from: number;
  /** What to add to a place in the entries for a cookie. */
  readonly base: number;
  readonly cookie: number;
}

/** Returns false if the visitor ended the scan. */
function visitEntries(entries: Uint8Array, range: VisitRange, visit: EntryVisitor): boolean {
  let at = range.from;
  while (at < entries.length) {
    const next = at + recordBytes(entries, at);
    const inode = u32(entries, at);
    if (inode !== 0 && range.base + at >= range.cookie) {
      const nameAt = at + ENTRY_NAME_AT;
      const name = entries.subarray(nameAt, nameAt + (entries[at + 6] ?? 0));
      const type = entryType(entries, at);
      if (!visit({ inode, type, name, nextCookie: range.base + next })) return false;
    }
    at = next;
  }
  return true;
}

/** The two lists of an inline directory: in the map, and in the xattr. */
export function inlineLists(directory: Inode): { data: Uint8Array; lists: VisitList[] } {
  const data = inlineData(directory);
  const lists = [
    { entries: data.subarray(0, INODE_MAP_BYTES), from: INLINE_PARENT_BYTES, base: 0 },
    { entries: data.subarray(INODE_MAP_BYTES), from: 0, base: INODE_MAP_BYTES },
  ];
  for (const { entries, from } of lists) {
    verifyEntries(entries, { inode: directory.number, logical: -1, from });
  }
  return { data, lists };
}

interface VisitList {
  readonly entries: Uint8Array;
  readonly from: number;
  readonly base: number;
}

/** The place of ".." is byte 0, where its number is; "." has none. */
function findInline(directory: Inode, name: Uint8Array): EntryPlace | undefined {
  const { data, lists } = inlineLists(directory);
  if (isDots(name)) {
    const inode = name.length === 1 ? directory.number : u32(data, 0);
    return { inode, logical: -1, at: 0 };
  }
  for (const { entries, from, base } of lists) {
    const at = findEntry(entries, from, name);
    if (at >= 0) return { inode: u32(entries, at), logical: -1, at: base + at };
  }
  return undefined;
}

function listInline(directory: Inode, cookie: number, visit: EntryVisitor): void {
  const { data, lists } = inlineLists(directory);
  const dots = [
    { inode: directory.number, type: DT_DIRECTORY, name: DOT, nextCookie: 1 },
    { inode: u32(data, 0), type: DT_DIRECTORY, name: DOT_DOT, nextCookie: 2 },
  ];
  for (const entry of dots.slice(cookie)) {
    if (!visit(entry)) return;
  }
  for (const { entries, from, base } of lists) {
    if (!visitEntries(entries, { from, base, cookie }, visit)) return;
  }
}

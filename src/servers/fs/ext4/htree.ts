/**
 * The index of large directories: a tree over hashes of names, whose leaves are ordinary directory
 * blocks.
 *
 *   root info at 24: 0 u32 zero | 4 u8 hash version | 5 u8 info bytes (8)
 *                    6 u8 levels of nodes below the root | 7 u8 flags
 *   entries: { u32 hash, u32 block }
 *            the first has { u16 limit, u16 count } in place of its hash, which is 0
 *
 * A leaf holds the names whose hashes lie between its entry and the next. Bit 0 of an entry's hash
 * says that names of the same hash go on from the leaf before. See "Hash Tree Directories" in
 * Documentation/filesystems/ext4.
 */
import { damaged } from '../errors.ts';
import {
  type DirectoryBlocks,
  INDEX_ENTRY_BYTES,
  INDEX_TAIL_BYTES,
  NODE_ENTRIES_AT,
  ROOT_ENTRIES_AT,
  isNode,
  isRoot,
} from './directory-blocks.ts';
import { type EntryPlace, findEntry } from './directory-entries.ts';
import type { Disk } from './disk.ts';
import type { Inode } from './inode.ts';
import { INCOMPAT, u16, u32 } from './layout.ts';
import { HASH_VERSION, UNSIGNED_OFFSET, hashName } from './name-hash.ts';

export const ROOT_INFO_AT = 24;
/** The high bits of a block number are reserved. */
const BLOCK_MASK = 0x0fffffff;
const LEVELS_MAX = 2;
const LEVELS_MAX_LARGEDIR = 3;

/** Where the search stands in one node. */
export interface Frame {
  readonly logical: number;
  readonly entriesAt: number;
  readonly count: number;
  index: number;
}

export class DirectoryIndex {
  readonly #disk: Disk;
  readonly #blocks: DirectoryBlocks;

  constructor(disk: Disk, blocks: DirectoryBlocks) {
    this.#disk = disk;
    this.#blocks = blocks;
  }

  /**
   * Where `name` is, 'absent' if it is not there, undefined if the index cannot be used and the
   * directory must be read from end to end instead (as Linux does then). Throws EUCLEAN.
   */
  find(directory: Inode, name: Uint8Array): EntryPlace | 'absent' | undefined {
    const way = this.way(directory, name);
    if (way === undefined) return undefined;
    const { frames, hash } = way;
    let leaf: number | undefined = way.leaf;
    // Each step goes to another leaf, so more steps than blocks mean that the index names a leaf
    // twice.
    for (let steps = this.#blocks.count(directory); leaf !== undefined && steps > 0; steps--) {
      const entries = this.leaf(directory, leaf);
      const at = findEntry(entries, 0, name);
      if (at >= 0) return { inode: u32(entries, at), logical: leaf, at };
      const next = this.#continue(directory, frames, hash);
      if (next === 'end') return 'absent';
      leaf = next;
    }
    if (leaf === undefined) return undefined;
    throw damaged`directory ${directory.number}: the index runs in a circle`;
  }

  /** The nodes that lead to the first leaf that may have `name`; undefined as for `find`. */
  way(directory: Inode, name: Uint8Array): IndexWay | undefined {
    const root = this.#readRoot(directory, name);
    if (root === undefined) return undefined;
    const frames: Frame[] = [];
    const leaf = this.#descend(directory, frames, { ...root, logical: 0 });
    return leaf === undefined ? undefined : { ...root, frames, leaf };
  }

  /** The hash of a name by the version that an index has. */
  hash(name: Uint8Array, version: number): number | undefined {
    const { hashUnsigned, hashSeed } = this.#disk.superblock;
    if (version > HASH_VERSION.tea) return undefined;
    const offset = hashUnsigned ? UNSIGNED_OFFSET : 0;
    return hashName(name, { version: version + offset, seed: hashSeed });
  }

  /** Levels of nodes below the root that there may be, and one more. */
  get depthEnd(): number {
    const { incompat } = this.#disk.superblock;
    return incompat & INCOMPAT.largedir ? LEVELS_MAX_LARGEDIR : LEVELS_MAX;
  }

  #readRoot(directory: Inode, name: Uint8Array): Omit<IndexWay, 'frames' | 'leaf'> | undefined {
    const root = this.#blocks.read(directory, 0);
    if (!isRoot(root) || ((root[ROOT_INFO_AT + 7] ?? 0) & 1) !== 0) return undefined;
    const version = root[ROOT_INFO_AT + 4] ?? 0;
    const depth = root[ROOT_INFO_AT + 6] ?? 0;
    if (depth >= this.depthEnd) return undefined;
    const hash = this.hash(name, version);
    return hash === undefined ? undefined : { hash, depth, version };
  }

  /** Goes down from a node, and returns the leaf: undefined if a node is not as an index has it. */
  #descend(directory: Inode, frames: Frame[], from: Descent): number | undefined {
    let { logical } = from;
    for (let depth = from.depth; depth >= 0; depth--) {
      const entriesAt = frames.length === 0 ? ROOT_ENTRIES_AT : NODE_ENTRIES_AT;
      const node = this.#blocks.read(directory, logical);
      if (entriesAt === NODE_ENTRIES_AT && !isNode(node)) {
        throw damaged`directory ${directory.number}, block ${logical}: a leaf instead of a node`;
      }
      const count = this.#entryCount(node, entriesAt);
      if (count === 0) return undefined;
      const index = lastAtOrBefore(node, entriesAt, { count, hash: from.hash });
      frames.push({ logical, entriesAt, count, index });
      logical = childOf(node, entriesAt, index);
    }
    return logical;
  }

  #entryCount(node: Uint8Array, entriesAt: number): number {
    const tail = this.#disk.checksums ? INDEX_TAIL_BYTES : 0;
    const limit = Math.floor((node.length - entriesAt - tail) / INDEX_ENTRY_BYTES);
    const count = u16(node, entriesAt + 2);
    return u16(node, entriesAt) === limit && count <= limit ? count : 0;
  }

  /** The next leaf, if names of this hash may go on there. */
  #continue(directory: Inode, frames: Frame[], hash: number): number | 'end' | undefined {
    let frame = frames.at(-1);
    let climbed = 0;
    while (frame !== undefined && frame.index + 1 >= frame.count) {
      frames.pop();
      climbed++;
      frame = frames.at(-1);
    }
    if (frame === undefined) return 'end';
    frame.index++;
    const node = this.#blocks.read(directory, frame.logical);
    const next = u32(node, frame.entriesAt + frame.index * INDEX_ENTRY_BYTES);
    if ((next & ~1) >>> 0 !== hash) return 'end';
    const child = childOf(node, frame.entriesAt, frame.index);
    if (climbed === 0) return child;
    // Hash 0 leads to the first leaf below `child`, where the names of the next entry begin.
    return this.#descend(directory, frames, { logical: child, depth: climbed - 1, hash: 0 });
  }

  /** A verified leaf; valid until the next use of the cache. Throws EUCLEAN for another block. */
  leaf(directory: Inode, logical: number): Uint8Array {
    const inside = logical > 0 && logical < this.#blocks.count(directory);
    const leaf = inside ? this.#blocks.read(directory, logical) : undefined;
    if (leaf !== undefined && !(isNode(leaf) && this.#disk.checksums)) return leaf;
    throw damaged`directory ${directory.number}, block ${logical}: no leaf, but the index says so`;
  }
}

interface Search {
  readonly hash: number;
  /** Levels of nodes below the root. */
  readonly depth: number;
}

/** The way through an index to a leaf. */
export interface IndexWay extends Search {
  readonly version: number;
  readonly frames: Frame[];
  readonly leaf: number;
}

interface Descent extends Search {
  readonly logical: number;
}

function childOf(node: Uint8Array, entriesAt: number, index: number): number {
  return u32(node, entriesAt + index * INDEX_ENTRY_BYTES + 4) & BLOCK_MASK;
}

/** The last entry whose hash is not above the wanted one; the first entry stands for hash 0. */
function lastAtOrBefore(
  node: Uint8Array,
  entriesAt: number,
  wanted: { readonly count: number; readonly hash: number },
): number {
  let low = 1;
  let high = wanted.count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (u32(node, entriesAt + middle * INDEX_ENTRY_BYTES) > wanted.hash) high = middle;
    else low = middle + 1;
  }
  return low - 1;
}

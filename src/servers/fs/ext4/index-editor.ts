/**
 * Changes of the index of a directory: made, and grown by splitting leaves and nodes. See
 * `htree.ts` for the layout.
 *
 * A leaf that is full gives the half with the higher hashes to a new one; what stays does not move,
 * until room must be gathered (see `entry-edits.ts`). A node that is full gives the upper half of
 * its entries to a new one; a full root moves all of them into a node below it.
 */
import { FsError, damaged } from '../errors.ts';
import {
  type DirectoryBlocks,
  INDEX_ENTRY_BYTES,
  NODE_ENTRIES_AT,
  ROOT_ENTRIES_AT,
} from './directory-blocks.ts';
import { ENTRY_BYTES_MIN, ENTRY_NAME_AT } from './directory-entries.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import {
  type PackedEntry,
  fillEntries,
  gatherRoom,
  packedEntries,
  placeEntry,
  putRecordBytes,
  removeEntry,
  roomOf,
} from './entry-edits.ts';
import type { FileMaps } from './file-maps.ts';
import { type DirectoryIndex, type IndexWay, ROOT_INFO_AT } from './htree.ts';
import type { EditedInode } from './inode-editor.ts';
import type { Inode } from './inode.ts';
import { INODE_FLAG, put16, put32, u16, u32 } from './layout.ts';
import { HASH_VERSION } from './name-hash.ts';

const INFO_BYTES = 8;

/** An entry of a node: names from this hash on are in or below the block. */
interface IndexEntry {
  readonly hash: number;
  readonly block: number;
}

/** Where a new entry of a node goes: behind entry `index`. */
interface NodePlace {
  readonly logical: number;
  readonly entriesAt: number;
  readonly index: number;
}

export interface IndexParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly maps: FileMaps;
  readonly blocks: DirectoryBlocks;
}

export class IndexEditor {
  readonly #parts: IndexParts;
  readonly #index: DirectoryIndex;

  constructor(parts: IndexParts, index: DirectoryIndex) {
    this.#parts = parts;
    this.#index = index;
  }

  /** Gives a directory of one block an index: the block is its root, a new one its only leaf. */
  make(directory: EditedInode): void {
    const { blocks, disk } = this.#parts;
    const root = this.#modify(directory, 0);
    const entries = packedEntries(blocks.entriesOf(root), 0).slice(2);
    const leaf = this.#newBlock(directory);
    fillEntries(
      blocks.entriesOf(leaf.bytes),
      entries.map(([entry]) => entry),
    );
    blocks.sealLeaf(leaf.bytes, directory);
    root.fill(0, 2 * ENTRY_BYTES_MIN);
    putRecordBytes(root, ENTRY_BYTES_MIN, disk.blockBytes - ENTRY_BYTES_MIN);
    const { hashVersion } = disk.superblock;
    root[ROOT_INFO_AT + 4] = hashVersion > HASH_VERSION.tea ? HASH_VERSION.halfMd4 : hashVersion;
    root[ROOT_INFO_AT + 5] = INFO_BYTES;
    put16(root, ROOT_ENTRIES_AT, blocks.nodeLimit(ROOT_ENTRIES_AT));
    put16(root, ROOT_ENTRIES_AT + 2, 1);
    put32(root, ROOT_ENTRIES_AT + 4, leaf.logical);
    this.sealRoot(root, directory);
    directory.flags = (directory.flags | INODE_FLAG.index) >>> 0;
  }

  sealRoot(root: Uint8Array, directory: Inode): void {
    this.#parts.blocks.sealNode(root, directory, ROOT_ENTRIES_AT);
  }

  /** Throws ENOSPC for a full index, EUCLEAN for one that cannot be used. */
  insert(directory: EditedInode, name: Uint8Array, packed: PackedEntry): void {
    const { blocks } = this.#parts;
    const way = this.#index.way(directory, name);
    if (way === undefined) throw damaged`directory ${directory.number}: the index cannot be used`;
    this.#index.leaf(directory, way.leaf);
    const leaf = this.#modify(directory, way.leaf);
    const entries = blocks.entriesOf(leaf);
    if (!placeEntry(entries, 0, packed)) {
      if (roomOf(entries) < packed.length + ENTRY_BYTES_MIN) {
        this.#splitLeaf(directory, way, { entries, packed });
      } else {
        gatherRoom(entries);
        placeEntry(entries, 0, packed);
      }
    }
    blocks.sealLeaf(leaf, directory);
  }

  /** Halves a leaf by hash, and puts the entry into the half that it belongs to. */
  #splitLeaf(
    directory: EditedInode,
    way: IndexWay,
    { entries, packed }: { entries: Uint8Array; packed: PackedEntry },
  ): void {
    const { blocks } = this.#parts;
    const hashed = packedEntries(entries, 0).map(([entry, at]) => ({
      entry,
      at,
      hash: this.#hashOf(entry, way.version),
    }));
    hashed.sort((one, other) => one.hash - other.hash);
    const split = middle(hashed.map(({ entry }) => entry.length));
    const upper = hashed.slice(split);
    const hash = upper[0]?.hash ?? 0;
    const continued = hashed[split - 1]?.hash === hash ? 1 : 0;
    const added = this.#newBlock(directory);
    for (const { at } of upper.toSorted((one, other) => other.at - one.at)) {
      removeEntry(entries, 0, at);
    }
    const moved = blocks.entriesOf(added.bytes);
    fillEntries(
      moved,
      upper.map(({ entry }) => entry),
    );
    const target = way.hash >= hash ? moved : entries;
    if (!placeEntry(target, 0, packed)) {
      gatherRoom(target);
      if (!placeEntry(target, 0, packed)) {
        throw damaged`directory ${directory.number}: no room in a leaf that was split`;
      }
    }
    blocks.sealLeaf(added.bytes, directory);
    const entry = { hash: hash + continued, block: added.logical };
    this.#insertEntry(directory, way.frames, entry);
  }

  #hashOf(entry: PackedEntry, version: number): number {
    const name = entry.subarray(ENTRY_NAME_AT, ENTRY_NAME_AT + (entry[6] ?? 0));
    return this.#index.hash(name, version) ?? 0;
  }

  /** Puts an entry behind the one that the last of the frames stands at. */
  #insertEntry(directory: EditedInode, frames: readonly NodePlace[], entry: IndexEntry): void {
    const { blocks } = this.#parts;
    const place = frames.at(-1);
    if (place === undefined) throw damaged`directory ${directory.number}: no way into the index`;
    const node = this.#modify(directory, place.logical);
    const count = u16(node, place.entriesAt + 2);
    if (count < u16(node, place.entriesAt)) {
      putEntry(node, place, entry);
      blocks.sealNode(node, directory, place.entriesAt);
    } else if (frames.length === 1) this.#growRoot(directory, { node, place, entry });
    else this.#splitNode(directory, frames, { node, place, entry });
  }

  /** All entries of the root move into a node below it, which has room for a few more. */
  #growRoot(
    directory: EditedInode,
    { node: root, place, entry }: { node: Uint8Array; place: NodePlace; entry: IndexEntry },
  ): void {
    const { blocks } = this.#parts;
    const levels = root[ROOT_INFO_AT + 6] ?? 0;
    if (levels + 1 >= this.#index.depthEnd) {
      throw new FsError('ENOSPC', `the index of directory ${String(directory.number)} is full`);
    }
    const count = u16(root, ROOT_ENTRIES_AT + 2);
    const from = ROOT_ENTRIES_AT + 4;
    const added = this.#newNode(directory, {
      first: u32(root, from),
      rest: root.subarray(from + 4, ROOT_ENTRIES_AT + count * INDEX_ENTRY_BYTES),
    });
    putEntry(added.bytes, { ...place, entriesAt: NODE_ENTRIES_AT }, entry);
    blocks.sealNode(added.bytes, directory, NODE_ENTRIES_AT);
    root[ROOT_INFO_AT + 6] = levels + 1;
    root.fill(0, from, ROOT_ENTRIES_AT + count * INDEX_ENTRY_BYTES);
    put16(root, ROOT_ENTRIES_AT + 2, 1);
    put32(root, from, added.logical);
    this.sealRoot(root, directory);
  }

  #splitNode(
    directory: EditedInode,
    frames: readonly NodePlace[],
    { node, place, entry }: { node: Uint8Array; place: NodePlace; entry: IndexEntry },
  ): void {
    const { blocks } = this.#parts;
    const count = u16(node, NODE_ENTRIES_AT + 2);
    const kept = count >> 1;
    const middleAt = NODE_ENTRIES_AT + kept * INDEX_ENTRY_BYTES;
    const end = NODE_ENTRIES_AT + count * INDEX_ENTRY_BYTES;
    const hash = u32(node, middleAt);
    const added = this.#newNode(directory, {
      first: u32(node, middleAt + 4),
      rest: node.subarray(middleAt + INDEX_ENTRY_BYTES, end),
    });
    node.fill(0, middleAt, end);
    put16(node, NODE_ENTRIES_AT + 2, kept);
    if (place.index >= kept) putEntry(added.bytes, { ...place, index: place.index - kept }, entry);
    else putEntry(node, place, entry);
    blocks.sealNode(added.bytes, directory, NODE_ENTRIES_AT);
    blocks.sealNode(node, directory, NODE_ENTRIES_AT);
    this.#insertEntry(directory, frames.slice(0, -1), { hash, block: added.logical });
  }

  /** A node whose entries are the block `first` and, as they are on disk, `rest`. */
  #newNode(
    directory: EditedInode,
    { first, rest }: { first: number; rest: Uint8Array },
  ): { logical: number; bytes: Uint8Array } {
    const { blocks } = this.#parts;
    const { logical, bytes } = this.#newBlock(directory);
    putRecordBytes(bytes, 0, bytes.length);
    put16(bytes, NODE_ENTRIES_AT, blocks.nodeLimit(NODE_ENTRIES_AT));
    put16(bytes, NODE_ENTRIES_AT + 2, 1 + rest.length / INDEX_ENTRY_BYTES);
    put32(bytes, NODE_ENTRIES_AT + 4, first);
    bytes.set(rest, NODE_ENTRIES_AT + INDEX_ENTRY_BYTES);
    return { logical, bytes };
  }

  #newBlock(directory: EditedInode): { logical: number; bytes: Uint8Array } {
    const { maps, blocks, disk } = this.#parts;
    const logical = blocks.count(directory);
    const { bytes } = maps.addBlock(directory, logical);
    directory.size += disk.blockBytes;
    return { logical, bytes };
  }

  #modify(directory: Inode, logical: number): Uint8Array {
    const { blocks, edits } = this.#parts;
    const place = blocks.place(directory, logical);
    return edits.modify(place, blocks.check(directory, logical));
  }
}

/** The node has room. */
function putEntry(node: Uint8Array, { entriesAt, index }: NodePlace, entry: IndexEntry): void {
  const count = u16(node, entriesAt + 2);
  const at = entriesAt + (index + 1) * INDEX_ENTRY_BYTES;
  node.copyWithin(at + INDEX_ENTRY_BYTES, at, entriesAt + count * INDEX_ENTRY_BYTES);
  put32(node, at, entry.hash);
  put32(node, at + 4, entry.block);
  put16(node, entriesAt + 2, count + 1);
}

/** How many of the entries stay, so that what goes is half of the bytes or a little less. */
function middle(bytes: readonly number[]): number {
  const half = bytes.reduce((sum, one) => sum + one, 0) / 2;
  let moved = 0;
  for (let index = bytes.length - 1; index > 0; index--) {
    const one = bytes[index] ?? 0;
    if (moved + one / 2 > half) return index + 1;
    moved += one;
  }
  return 1;
}

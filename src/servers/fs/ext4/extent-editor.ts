/**
 * Changes of extent trees. See `extents.ts` for the layout.
 *
 * Every change is one splice of a leaf: a few extents are replaced by others, after neighbours
 * were merged. A node that overflows is split, into halves or, when entries are added at its end,
 * into the full old one and a new one; a root that overflows moves into a block of its own below
 * it. A node that is empty is freed. The key of a node in its parent is always its first block.
 */
import { FsError, damaged } from '../errors.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { BlockMap, BlockRange, Piece } from './block-map.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import {
  DEPTH_MAX,
  ENTRY_BYTES,
  EXTENT_MAGIC,
  ExtentMap,
  HEADER_BYTES,
  ROOT_ENTRIES,
  WRITTEN_COUNT_MAX,
  extentCount,
  lastEntryAt,
} from './extents.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode, type Run, fileType } from './inode.ts';
import { MODE, highHalf, join, put16, put32, u16, u32 } from './layout.ts';

const UNWRITTEN_COUNT_MAX = WRITTEN_COUNT_MAX - 1;

/** A step of the way to a leaf: a node (block 0: the root) and an entry of it, -1 before them. */
interface Step {
  readonly block: number;
  readonly index: number;
}

/** What a splice of a node puts in the place of `remove` entries from `index` on. */
interface Splice {
  readonly index: number;
  readonly remove: number;
  readonly entries: Uint8Array;
}

/** An empty tree, in the place where the inode has its map. */
export function initExtents(inode: EditedInode): void {
  const map = inode.raw.subarray(INODE_MAP_AT, INODE_MAP_AT + INODE_MAP_BYTES);
  map.fill(0);
  putHeader(map, { entries: 0, entriesMax: ROOT_ENTRIES, depth: 0 });
}

export class ExtentEditor implements BlockMap {
  readonly blocksMax: number = 2 ** 32 - 1;
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #allocator: BlockAllocator;
  readonly #inodes: InodeEditor;
  readonly #map: ExtentMap;

  constructor(disk: Disk, edits: Edits, allocator: BlockAllocator, inodes: InodeEditor) {
    this.#disk = disk;
    this.#edits = edits;
    this.#allocator = allocator;
    this.#inodes = inodes;
    this.#map = new ExtentMap(disk);
  }

  find(inode: Inode, logical: number): Run {
    return this.#map.find(inode, logical);
  }

  insert(inode: EditedInode, piece: Piece): void {
    const way = this.#descend(inode, piece.logical);
    const { index } = last(way);
    this.#replace(inode, way, { index: index + 1, remove: 0, pieces: [piece] });
    this.#inodes.addBlocks(inode, piece.count);
  }

  mark(inode: EditedInode, { from, to }: BlockRange, written: boolean): void {
    const way = this.#descend(inode, from);
    const { index } = last(way);
    const old = this.#pieces(inode, way, index, index + 1)[0];
    if (old === undefined || to > old.logical + old.count) {
      throw damaged`inode ${inode.number}: blocks ${from} to ${to} are in no extent`;
    }
    const pieces = [
      cut(old, old.logical, from),
      { ...cut(old, from, to), written },
      cut(old, to, old.logical + old.count),
    ];
    this.#replace(inode, way, { index, remove: 1, pieces });
    inode.lastRun = undefined;
  }

  remove(inode: EditedInode, range: BlockRange): number {
    const isMetadata = fileType(inode) !== MODE.regular;
    let end = range.to;
    for (let step = 0; end > range.from && (step === 0 || !this.#edits.full); step++) {
      const way = this.#descend(inode, end - 1);
      const { index } = last(way);
      const old = index < 0 ? undefined : this.#pieces(inode, way, index, index + 1)[0];
      const oldEnd = old === undefined ? 0 : old.logical + old.count;
      if (old === undefined || oldEnd <= range.from) return range.from;
      const gone = cut(old, Math.max(old.logical, range.from), Math.min(oldEnd, end));
      const pieces = [
        cut(old, old.logical, gone.logical),
        cut(old, gone.logical + gone.count, oldEnd),
      ];
      this.#replace(inode, way, { index, remove: 1, pieces });
      this.#edits.discard(gone.physical, gone.count, isMetadata);
      this.#allocator.free(gone.physical, gone.count);
      this.#inodes.addBlocks(inode, -gone.count);
      end = gone.logical;
    }
    return end;
  }

  /** The tree stays as it is, but for the numbers in it: those of extents, and of their nodes. */
  shift(inode: EditedInode, from: number, by: number): void {
    const rest = by > 0 ? this.#cutAt(inode, from) : undefined;
    this.#shiftNode(inode, 0, { from, by });
    inode.lastRun = undefined;
    if (rest === undefined) return;
    const moved = { ...rest, logical: rest.logical + by };
    if (moved.logical + moved.count > this.blocksMax) throw tooFar(inode);
    const way = this.#descend(inode, moved.logical);
    this.#replace(inode, way, { index: last(way).index + 1, remove: 0, pieces: [moved] });
  }

  /** Ends the extent that goes over `logical` there; returns what was behind, to be put back. */
  #cutAt(inode: EditedInode, logical: number): Piece | undefined {
    const way = this.#descend(inode, logical);
    const { index } = last(way);
    const old = index < 0 ? undefined : this.#pieces(inode, way, index, index + 1)[0];
    if (old === undefined) return undefined;
    const end = old.logical + old.count;
    if (old.logical === logical || end <= logical) return undefined;
    this.#replace(inode, way, { index, remove: 1, pieces: [cut(old, old.logical, logical)] });
    return cut(old, logical, end);
  }

  /** Returns the first block of the node, which is its key in its parent. */
  #shiftNode(inode: EditedInode, block: number, move: { from: number; by: number }): number {
    const { from, by } = move;
    const node = this.#node(inode, block);
    const isLeaf = u16(node, 6) === 0;
    const end = HEADER_BYTES + u16(node, 2) * ENTRY_BYTES;
    for (let at = HEADER_BYTES; at < end; at += ENTRY_BYTES) {
      const first = u32(node, at);
      if (!isLeaf) {
        const next = at + ENTRY_BYTES;
        if (next < end && u32(node, next) <= from) continue;
        const child = this.#map.childOf(inode, node, at);
        put32(node, at, this.#shiftNode(inode, child.block, move));
      } else if (first >= from) {
        if (first + extentCount(node, at) + by > this.blocksMax) throw tooFar(inode);
        put32(node, at, first + by);
      }
    }
    this.#seal(inode, node, block);
    return u32(node, HEADER_BYTES);
  }

  /** The way to the leaf and the entry in it that begins at or before `logical`. */
  #descend(inode: Inode, logical: number): Step[] {
    const way: Step[] = [];
    let node = this.#map.root(inode);
    let block = 0;
    for (let depth = u16(node, 6); depth > 0; depth--) {
      const at = Math.max(lastEntryAt(node, logical), HEADER_BYTES);
      way.push({ block, index: (at - HEADER_BYTES) / ENTRY_BYTES });
      ({ block, node } = this.#map.childOf(inode, node, at));
    }
    const at = lastEntryAt(node, logical);
    way.push({ block, index: at < 0 ? -1 : (at - HEADER_BYTES) / ENTRY_BYTES });
    return way;
  }

  /** The extents `[from, to)` of a leaf, as far as there are such. */
  #pieces(inode: Inode, way: readonly Step[], from: number, to: number): Piece[] {
    const node = this.#node(inode, last(way).block);
    const pieces: Piece[] = [];
    for (let index = Math.max(from, 0); index < Math.min(to, u16(node, 2)); index++) {
      const at = HEADER_BYTES + index * ENTRY_BYTES;
      pieces.push({
        logical: u32(node, at),
        count: extentCount(node, at),
        physical: join(u16(node, at + 6), u32(node, at + 8)),
        written: u16(node, at + 4) <= WRITTEN_COUNT_MAX,
      });
    }
    return pieces;
  }

  /** Puts pieces in the place of extents of a leaf, merged with their neighbours where they can. */
  #replace(
    inode: EditedInode,
    way: Step[],
    change: { index: number; remove: number; pieces: readonly Piece[] },
  ): void {
    const { index, remove } = change;
    const before = this.#pieces(inode, way, index - 1, index);
    const after = this.#pieces(inode, way, index + remove, index + remove + 1);
    const merged = merge([...before, ...change.pieces, ...after]);
    const entries = new Uint8Array(merged.length * ENTRY_BYTES);
    for (const [at, piece] of merged.entries()) putExtent(entries, at * ENTRY_BYTES, piece);
    const splice = {
      index: index - before.length,
      remove: remove + before.length + after.length,
      entries,
    };
    this.#splice(inode, way, splice);
  }

  /** A node to be changed. */
  #node(inode: Inode, block: number): Uint8Array {
    if (block === 0) return inode.raw.subarray(INODE_MAP_AT, INODE_MAP_AT + INODE_MAP_BYTES);
    return this.#edits.modify(block, this.#map.check(inode, block));
  }

  /** Changes the last node of the way; the way is void afterwards. */
  #splice(inode: EditedInode, way: Step[], { index, remove, entries }: Splice): void {
    const { block } = last(way);
    const node = this.#node(inode, block);
    const count = u16(node, 2);
    const all = new Uint8Array((count - remove) * ENTRY_BYTES + entries.length);
    const from = HEADER_BYTES + index * ENTRY_BYTES;
    all.set(node.subarray(HEADER_BYTES, from));
    all.set(entries, index * ENTRY_BYTES);
    all.set(
      node.subarray(from + remove * ENTRY_BYTES, HEADER_BYTES + count * ENTRY_BYTES),
      index * ENTRY_BYTES + entries.length,
    );
    const total = all.length / ENTRY_BYTES;
    if (total === 0) this.#empty(inode, way, node);
    else if (total <= u16(node, 4)) this.#fill(inode, way, all);
    else if (block === 0) this.#grow(inode, all);
    else this.#split(inode, way, { all, appends: index + remove === count });
  }

  /** Writes all entries of a node, and its key in its parents. */
  #fill(inode: EditedInode, way: readonly Step[], all: Uint8Array): void {
    const { block } = last(way);
    const node = this.#node(inode, block);
    const keyBefore = u32(node, HEADER_BYTES);
    node.set(all, HEADER_BYTES);
    put16(node, 2, all.length / ENTRY_BYTES);
    this.#seal(inode, node, block);
    if (block !== 0 && u32(all, 0) !== keyBefore)
      this.#putKey(inode, way.slice(0, -1), u32(all, 0));
    else if (block === 0) this.#shorten(inode);
  }

  #putKey(inode: EditedInode, way: readonly Step[], key: number): void {
    const step = way.at(-1);
    if (step === undefined) return;
    const node = this.#node(inode, step.block);
    put32(node, HEADER_BYTES + step.index * ENTRY_BYTES, key);
    this.#seal(inode, node, step.block);
    if (step.index === 0) this.#putKey(inode, way.slice(0, -1), key);
  }

  /** A node without entries goes; an empty root is a leaf. */
  #empty(inode: EditedInode, way: Step[], node: Uint8Array): void {
    const { block } = last(way);
    if (block === 0) {
      node.fill(0, HEADER_BYTES);
      putHeader(node, { entries: 0, entriesMax: ROOT_ENTRIES, depth: 0 });
      return;
    }
    this.#freeNode(inode, block);
    const parents = way.slice(0, -1);
    const { index } = last(parents);
    this.#splice(inode, parents, { index, remove: 1, entries: new Uint8Array(0) });
  }

  /** The root's entries move into a node below it. */
  #grow(inode: EditedInode, all: Uint8Array): void {
    const root = this.#node(inode, 0);
    const depth = u16(root, 6);
    if (depth >= DEPTH_MAX) throw damaged`inode ${inode.number}: the extent tree is too deep`;
    const block = this.#newNode(inode, depth, all);
    root.fill(0, HEADER_BYTES);
    putHeader(root, { entries: 1, entriesMax: ROOT_ENTRIES, depth: depth + 1 });
    putIndex(root, HEADER_BYTES, { key: u32(all, 0), block });
  }

  #split(inode: EditedInode, way: Step[], from: { all: Uint8Array; appends: boolean }): void {
    const { all, appends } = from;
    const { block } = last(way);
    const node = this.#node(inode, block);
    const total = all.length / ENTRY_BYTES;
    const kept = appends ? Math.min(u16(node, 4), total - 1) : Math.ceil(total / 2);
    const right = all.subarray(kept * ENTRY_BYTES);
    const created = this.#newNode(inode, u16(node, 6), right);
    this.#fill(inode, way, all.subarray(0, kept * ENTRY_BYTES));
    const parents = way.slice(0, -1);
    const entries = new Uint8Array(ENTRY_BYTES);
    putIndex(entries, 0, { key: u32(right, 0), block: created });
    this.#splice(inode, parents, { index: last(parents).index + 1, remove: 0, entries });
  }

  /** A root with one child that would fit into it takes the child's place. */
  #shorten(inode: EditedInode): void {
    const root = this.#node(inode, 0);
    if (u16(root, 6) === 0 || u16(root, 2) !== 1) return;
    const { block, node } = this.#map.childOf(inode, root, HEADER_BYTES);
    const entries = u16(node, 2);
    if (entries > ROOT_ENTRIES) return;
    const depth = u16(node, 6);
    const all = node.slice(HEADER_BYTES, HEADER_BYTES + entries * ENTRY_BYTES);
    root.fill(0, HEADER_BYTES);
    root.set(all, HEADER_BYTES);
    putHeader(root, { entries, entriesMax: ROOT_ENTRIES, depth });
    this.#freeNode(inode, block);
  }

  #newNode(inode: EditedInode, depth: number, all: Uint8Array): number {
    const goal = this.#groupGoal(inode, all, depth);
    const { first } = this.#allocator.allocate({ goal, count: 1, owner: 0 });
    const node = this.#edits.create(first);
    const tail = this.#disk.checksums ? 4 : 0;
    const entriesMax = Math.floor((node.length - HEADER_BYTES - tail) / ENTRY_BYTES);
    putHeader(node, { entries: all.length / ENTRY_BYTES, entriesMax, depth });
    node.set(all, HEADER_BYTES);
    this.#inodes.addBlocks(inode, 1);
    this.#seal(inode, node, first);
    return first;
  }

  /** Nodes lie at the start of the file's group, where they do not part its blocks. */
  #groupGoal(inode: EditedInode, all: Uint8Array, depth: number): number {
    const { superblock } = this.#disk;
    const child = depth > 0 ? u32(all, 4) : join(u16(all, 6), u32(all, 8));
    const inodeGroup = Math.floor((inode.number - 1) / superblock.inodesPerGroup);
    const base = child === 0 ? inodeGroup * superblock.blocksPerGroup : child;
    const group = Math.floor((base - superblock.firstDataBlock) / superblock.blocksPerGroup);
    return superblock.firstDataBlock + Math.max(group, 0) * superblock.blocksPerGroup;
  }

  #freeNode(inode: EditedInode, block: number): void {
    this.#edits.discard(block, 1, true);
    this.#allocator.free(block, 1);
    this.#inodes.addBlocks(inode, -1);
  }

  #seal(inode: Inode, node: Uint8Array, block: number): void {
    if (block === 0 || !this.#disk.checksums) return;
    const tailAt = HEADER_BYTES + u16(node, 4) * ENTRY_BYTES;
    put32(node, tailAt, this.#disk.crc32c(node.subarray(0, tailAt), inode.checksumSeed));
  }
}

function tooFar(inode: Inode): FsError {
  return new FsError('EFBIG', `inode ${String(inode.number)} has blocks that would lie too far`);
}

function last(way: readonly Step[]): Step {
  const step = way.at(-1);
  if (step === undefined) throw damaged`the way to an extent is empty`;
  return step;
}

function putHeader(
  node: Uint8Array,
  header: { entries: number; entriesMax: number; depth: number },
): void {
  put16(node, 0, EXTENT_MAGIC);
  put16(node, 2, header.entries);
  put16(node, 4, header.entriesMax);
  put16(node, 6, header.depth);
}

function putExtent(entries: Uint8Array, at: number, piece: Piece): void {
  put32(entries, at, piece.logical);
  put16(entries, at + 4, piece.count + (piece.written ? 0 : WRITTEN_COUNT_MAX));
  put16(entries, at + 6, highHalf(piece.physical));
  put32(entries, at + 8, piece.physical);
}

function putIndex(entries: Uint8Array, at: number, entry: { key: number; block: number }): void {
  put32(entries, at, entry.key);
  put32(entries, at + 4, entry.block);
  put16(entries, at + 8, highHalf(entry.block));
  put16(entries, at + 10, 0);
}

/** The part `[from, to)` of a piece, of no blocks if it is empty. */
function cut(piece: Piece, from: number, to: number): Piece {
  const physical = piece.physical + (from - piece.logical);
  return { ...piece, logical: from, count: Math.max(0, to - from), physical };
}

/** Pieces in order, with those joined that lie together, and none of them too long or empty. */
function merge(pieces: readonly Piece[]): Piece[] {
  const merged: Piece[] = [];
  for (const piece of pieces) {
    if (piece.count === 0) continue;
    const countMax = piece.written ? WRITTEN_COUNT_MAX : UNWRITTEN_COUNT_MAX;
    const before = merged.at(-1);
    const joins =
      before?.written === piece.written &&
      before.logical + before.count === piece.logical &&
      before.physical + before.count === piece.physical;
    if (joins && before.count + piece.count <= countMax) {
      merged[merged.length - 1] = { ...before, count: before.count + piece.count };
    } else if (piece.count > countMax) {
      const middle = piece.logical + countMax;
      merged.push(cut(piece, piece.logical, middle));
      merged.push(cut(piece, middle, piece.logical + piece.count));
    } else merged.push(piece);
  }
  return merged;
}

/**
 * Changes of indirect block maps. See `indirect.ts` for the layout.
 *
 * Blocks of the map are taken where the contents are, as ext2 does, and freed when they hold no
 * number any more. There are no blocks that are allocated but not written.
 */
import { FsError, damaged } from '../errors.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { BlockMap, BlockRange, Piece } from './block-map.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import type { FreeRun } from './free-runs.ts';
import { IndirectMap } from './indirect.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { INODE_MAP_AT, SECTOR_BYTES, type Inode, type Run, fileType } from './inode.ts';
import { MODE, RO_COMPAT, put32, u32 } from './layout.ts';

const DIRECT = 12;
const LEVELS = 3;

/** The place of a block number: in the inode (block 0) or in a block of the map. */
interface Slot {
  readonly block: number;
  readonly at: number;
}

export class IndirectEditor implements BlockMap {
  readonly blocksMax: number;
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #allocator: BlockAllocator;
  readonly #inodes: InodeEditor;
  readonly #map: IndirectMap;
  readonly #perBlock: number;

  constructor(disk: Disk, edits: Edits, allocator: BlockAllocator, inodes: InodeEditor) {
    this.#disk = disk;
    this.#edits = edits;
    this.#allocator = allocator;
    this.#inodes = inodes;
    this.#map = new IndirectMap(disk);
    this.#perBlock = disk.blockBytes / 4;
    this.blocksMax = this.#limit();
  }

  find(inode: Inode, logical: number): Run {
    return this.#map.find(inode, logical);
  }

  insert(inode: EditedInode, piece: Piece): void {
    for (let index = 0; index < piece.count; index++) {
      const way = this.#slots(inode, piece.logical + index, piece.physical);
      const slot = way.at(-1);
      if (slot !== undefined) this.#put(inode, slot, piece.physical + index);
    }
    this.#inodes.addBlocks(inode, piece.count);
  }

  mark(inode: EditedInode): void {
    throw new FsError('EOPNOTSUPP', `inode ${String(inode.number)} has no extents`);
  }

  shift(inode: Inode): void {
    throw new FsError('EOPNOTSUPP', `inode ${String(inode.number)} has no extents`);
  }

  remove(inode: EditedInode, range: BlockRange): number {
    let end = Math.min(range.to, this.#reach());
    const freed: FreeRun[] = [];
    for (let step = 0; end > range.from && (step === 0 || !this.#edits.full); step++) {
      const way = this.#slots(inode, end - 1);
      end = this.#removeBefore(inode, { way, from: range.from, end, freed });
    }
    const isMetadata = fileType(inode) !== MODE.regular;
    for (const { first, count } of freed) {
      this.#edits.discard(first, count, isMetadata);
      this.#allocator.free(first, count);
      this.#inodes.addBlocks(inode, -count);
    }
    return Math.max(end, range.from);
  }

  /** Clears the numbers of one table that end before `end`, and frees tables that are empty. */
  #removeBefore(
    inode: EditedInode,
    step: { way: Slot[]; from: number; end: number; freed: FreeRun[] },
  ): number {
    const { way, from, freed } = step;
    let { end } = step;
    const { levels, offset } = this.#position(end - 1);
    const missing = levels + 1 - way.length;
    if (missing > 0) {
      // Nothing is mapped below a number that is zero.
      const span = this.#perBlock ** missing;
      return Math.max(end - 1 - (offset % span), from);
    }
    const slot = way.at(-1);
    if (slot === undefined) return from;
    const first = slot.block === 0 ? 0 : end - 1 - slot.at / 4;
    const table = this.#table(inode, slot.block);
    let at = slot.at;
    for (; end > Math.max(from, first); end--, at -= 4) {
      const physical = u32(table, at);
      if (physical === 0) continue;
      this.#disk.checkBlocks(physical, 1, inode.number);
      put32(table, at, 0);
      addBefore(freed, physical);
    }
    this.#prune(inode, way);
    return end;
  }

  #prune(inode: EditedInode, way: readonly Slot[]): void {
    for (let index = way.length - 1; index > 0; index--) {
      const block = way[index]?.block ?? 0;
      const parent = way[index - 1];
      if (block === 0 || parent === undefined) return;
      if (!this.#edits.modify(block).every((byte) => byte === 0)) return;
      this.#put(inode, parent, 0);
      this.#edits.discard(block, 1, true);
      this.#allocator.free(block, 1);
      this.#inodes.addBlocks(inode, -1);
    }
  }

  /** Levels of tables above a block, and its place below the root of them. */
  #position(logical: number): { levels: number; offset: number } {
    if (logical < DIRECT) return { levels: 0, offset: logical };
    let offset = logical - DIRECT;
    for (let levels = 1; levels <= LEVELS; levels++) {
      if (offset < this.#perBlock ** levels) return { levels, offset };
      offset -= this.#perBlock ** levels;
    }
    throw new FsError('EFBIG', `no map reaches block ${String(logical)}`);
  }

  /**
   * The slots on the way to a block's number, that one last. With a goal the tables that are not
   * there are made; without one the way ends before the first of them.
   */
  #slots(inode: EditedInode, logical: number, goal?: number): Slot[] {
    const { levels, offset } = this.#position(logical);
    const rootAt = INODE_MAP_AT + 4 * (levels === 0 ? logical : DIRECT + levels - 1);
    const way: Slot[] = [{ block: 0, at: rootAt }];
    let slot: Slot = { block: 0, at: rootAt };
    for (let level = levels; level > 0; level--) {
      let block = u32(this.#table(inode, slot.block), slot.at);
      if (block === 0) {
        if (goal === undefined) return way;
        block = this.#newTable(inode, goal);
        this.#put(inode, slot, block);
      }
      this.#disk.checkBlocks(block, 1, inode.number);
      const index = Math.floor(offset / this.#perBlock ** (level - 1)) % this.#perBlock;
      slot = { block, at: index * 4 };
      way.push(slot);
    }
    return way;
  }

  #newTable(inode: EditedInode, goal: number): number {
    const { first } = this.#allocator.allocate({ goal, count: 1, owner: 0 });
    this.#edits.create(first);
    this.#inodes.addBlocks(inode, 1);
    return first;
  }

  #table(inode: Inode, block: number): Uint8Array {
    return block === 0 ? inode.raw : this.#edits.modify(block);
  }

  #put(inode: EditedInode, slot: Slot, block: number): void {
    if (block >= 2 ** 32) throw damaged`inode ${inode.number}: no map holds block ${block}`;
    put32(this.#table(inode, slot.block), slot.at, block);
  }

  #reach(): number {
    const n = this.#perBlock;
    return DIRECT + n + n ** 2 + n ** 3;
  }

  /** As far as the map reaches and the count of sectors holds it, with the tables. */
  #limit(): number {
    const n = this.#perBlock;
    if (this.#disk.superblock.readOnlyCompat & RO_COMPAT.hugeFile) return this.#reach();
    const countable = Math.floor((2 ** 32 - 1) / (this.#disk.blockBytes / SECTOR_BYTES));
    const tables = Math.ceil(countable / n) + Math.ceil(countable / n ** 2) + LEVELS;
    return Math.min(this.#reach(), countable - tables);
  }
}

/** Blocks are freed from the end, so one that lies before the last run lengthens it. */
function addBefore(runs: FreeRun[], block: number): void {
  const before = runs.at(-1);
  if (before?.first === block + 1) {
    runs[runs.length - 1] = { first: block, count: before.count + 1 };
  } else runs.push({ first: block, count: 1 });
}

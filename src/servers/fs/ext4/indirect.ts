/**
 * Indirect block maps: how ext2 and ext3 (and ext4 files without EXTENTS) find their blocks.
 *
 * The inode has 15 block numbers: 12 of data blocks, then the roots of trees of one, two and three
 * levels, whose nodes are blocks full of block numbers. Zero means a hole, of everything below it.
 * There are no checksums.
 */
import type { Disk } from './disk.ts';
import { INODE_MAP_AT, type Inode, type Run } from './inode.ts';
import { damaged } from '../errors.ts';
import { u32 } from './layout.ts';

const DIRECT = 12;
const LEVELS = 3;
/** How far one lookup follows a run: enough that the search is a small part of reading it. */
const RUN_BLOCKS_MAX = 4096;

export class IndirectMap {
  readonly #disk: Disk;
  readonly #perBlock: number;

  constructor(disk: Disk) {
    this.#disk = disk;
    this.#perBlock = disk.blockBytes / 4;
  }

  /** The run that begins at `logical`. Throws EUCLEAN. */
  find(inode: Inode, logical: number): Run {
    if (logical < DIRECT) {
      const direct = inode.raw.subarray(INODE_MAP_AT, INODE_MAP_AT + DIRECT * 4);
      return this.#tableRun(inode, direct, { index: logical, logical });
    }
    let offset = logical - DIRECT;
    let level = 1;
    while (level <= LEVELS && offset >= this.#perBlock ** level) {
      offset -= this.#perBlock ** level;
      level++;
    }
    if (level > LEVELS) throw damaged`inode ${inode.number}: no map reaches block ${logical}`;
    let block = u32(inode.raw, INODE_MAP_AT + 4 * (DIRECT + level - 1));
    for (; level > 1 && block !== 0; level--) {
      const span = this.#perBlock ** (level - 1);
      const table = this.#disk.block(block, inode.number);
      block = u32(table, Math.floor(offset / span) * 4);
      offset %= span;
    }
    if (block === 0) return { logical, count: this.#perBlock ** level - offset, physical: 0 };
    const table = this.#disk.block(block, inode.number);
    return this.#tableRun(inode, table, { index: offset, logical });
  }

  #tableRun(inode: Inode, table: Uint8Array, from: { index: number; logical: number }): Run {
    const first = u32(table, from.index * 4);
    const step = first === 0 ? 0 : 1;
    const limit = Math.min(table.length / 4 - from.index, RUN_BLOCKS_MAX);
    let count = 1;
    while (count < limit && u32(table, (from.index + count) * 4) === first + count * step) count++;
    if (first !== 0) this.#disk.checkBlocks(first, count, inode.number);
    return { logical: from.logical, count, physical: first };
  }
}

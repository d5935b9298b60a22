/**
 * The block groups as a writer has them: counts, flags and bitmaps of all of them.
 *
 *   descriptor: 0x0C free blocks | 0x0E free inodes | 0x10 directories | 0x12 flags
 *     0x18 0x1A checksums of the bitmaps | 0x1C inodes at the end of the table never used
 *     0x2C 0x2E 0x30 0x32 0x38 0x3A high halves (only with 64-bit descriptors)
 *
 * With checksums of groups, a bitmap that mke2fs left out (UNINIT) says nothing, and is made when
 * the group is first used. The superblock counts what all groups have together. Descriptors,
 * checksums and the superblock are written when a change ends.
 */
import type { BlockCheck } from '../cache.ts';
import { damaged, FsError } from '../errors.ts';
import { badChecksum } from './checksum.ts';
import type { Disk } from './disk.ts';
import type { Edited, Edits } from './edits.ts';
import {
  CHECKSUM_AT,
  copiedBlocks,
  descriptorPlace,
  descriptorSum,
  verifyDescriptor,
} from './groups.ts';
import { BLOCK_KIND, blockTag, join, put16, u16, u32 } from './layout.ts';
import type { SuperblockEditor } from './superblock-editor.ts';

export const GROUP_FLAG = { inodesUnused: 1, blocksUnused: 2, tableZeroed: 4 } as const;

export interface Group {
  readonly number: number;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  readonly firstBlock: number;
  /** How many blocks it has; the last group may have fewer. */
  readonly blocks: number;
  blocksFree: number;
  inodesFree: number;
  directories: number;
  flags: number;
  inodesUnused: number;
  /** No run of free blocks is longer; the allocator keeps it. */
  longestFree: number;
}

type Bitmap = 'blocks' | 'inodes';

export class GroupsEditor implements Edited {
  readonly all: readonly Group[];
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #superblock: SuperblockEditor;
  /** Of the change under way: groups with other counts, and with other bitmaps. */
  readonly #changed = new Set<Group>();
  readonly #bitmaps = { blocks: new Set<Group>(), inodes: new Set<Group>() };

  /** Reads every descriptor. Throws EUCLEAN. */
  constructor(disk: Disk, edits: Edits, superblock: SuperblockEditor) {
    this.#disk = disk;
    this.#edits = edits;
    this.#superblock = superblock;
    this.all = Array.from({ length: disk.superblock.groups }, (_, number) => this.#read(number));
    edits.join(this);
  }

  at(number: number): Group {
    const group = this.all[number];
    if (group === undefined) throw damaged`group ${number} is outside the volume`;
    return group;
  }

  groupOfBlock(block: number): Group {
    const { firstDataBlock, blocksPerGroup } = this.#disk.superblock;
    return this.at(Math.floor((block - firstDataBlock) / blocksPerGroup));
  }

  groupOfInode(inode: number): Group {
    return this.at(Math.floor((inode - 1) / this.#disk.superblock.inodesPerGroup));
  }

  /** The bitmap to be read: the caller keeps it for no longer than a view of the cache. */
  view(group: Group, kind: Bitmap): Uint8Array {
    if (this.#isUnused(group, kind)) return this.#initial(group, kind);
    const at = bitmapBlock(group, kind) * this.#disk.blockBytes;
    return this.#disk.cache.checked(at, this.#disk.blockBytes, this.#check(group, kind));
  }

  /** The bitmap to be changed. */
  modify(group: Group, kind: Bitmap): Uint8Array {
    this.changed(group);
    this.#bitmaps[kind].add(group);
    if (!this.#isUnused(group, kind)) {
      return this.#edits.modify(bitmapBlock(group, kind), this.#check(group, kind));
    }
    const bytes = this.#edits.create(bitmapBlock(group, kind));
    bytes.set(this.#initial(group, kind));
    group.flags &= kind === 'blocks' ? ~GROUP_FLAG.blocksUnused : ~GROUP_FLAG.inodesUnused;
    return bytes;
  }

  /** The caller is about to change the group's counts. */
  changed(group: Group): void {
    this.#changed.add(group);
  }

  countBlocks(group: Group, free: number): void {
    this.changed(group);
    group.blocksFree += free;
    this.#superblock.edit().blocksFree += free;
  }

  countInodes(group: Group, free: number): void {
    this.changed(group);
    group.inodesFree += free;
    this.#superblock.edit().inodesFree += free;
  }

  flush(): void {
    for (const group of this.#changed) this.#write(group);
  }

  undo(): void {
    for (const group of this.#changed) Object.assign(group, this.#read(group.number));
    this.settle();
  }

  settle(): void {
    this.#changed.clear();
    this.#bitmaps.blocks.clear();
    this.#bitmaps.inodes.clear();
  }

  #isUnused(group: Group, kind: Bitmap): boolean {
    const flag = kind === 'blocks' ? GROUP_FLAG.blocksUnused : GROUP_FLAG.inodesUnused;
    return (group.flags & flag) !== 0;
  }

  /** How a bitmap is that mke2fs left out: nothing but the group's own blocks is in use. */
  #initial(group: Group, kind: Bitmap): Uint8Array {
    const { superblock, blockBytes } = this.#disk;
    const bitmap = new Uint8Array(blockBytes);
    if (kind === 'inodes') {
      setBits(bitmap, superblock.inodesPerGroup, blockBytes * 8 - superblock.inodesPerGroup);
      return bitmap;
    }
    const own = (block: number, count: number): void => {
      const from = Math.max(block - group.firstBlock, 0);
      const to = Math.min(block + count - group.firstBlock, group.blocks);
      if (from < to) setBits(bitmap, from, to - from);
    };
    own(group.firstBlock, copiedBlocks(superblock, group.number));
    own(group.blockBitmap, 1);
    own(group.inodeBitmap, 1);
    const tableBytes = superblock.inodesPerGroup * superblock.inodeBytes;
    own(group.inodeTable, Math.ceil(tableBytes / blockBytes));
    setBits(bitmap, group.blocks, blockBytes * 8 - group.blocks);
    return bitmap;
  }

  /** While a bitmap is being changed its checksum is that of before, so it is not looked at. */
  #check(group: Group, kind: Bitmap): BlockCheck {
    const tagKind = kind === 'blocks' ? BLOCK_KIND.blockBitmap : BLOCK_KIND.inodeBitmap;
    return {
      tag: blockTag(tagKind, group.number),
      verify: (bitmap) => {
        if (!this.#disk.checksums || this.#bitmaps[kind].has(group)) return;
        const stored = this.#storedSum(group, kind);
        const computed = this.#sum(bitmap, kind);
        if (stored === computed) return;
        throw badChecksum(`bitmap of ${kind} of group ${String(group.number)}`, {
          stored,
          computed,
        });
      },
    };
  }

  /** 32 bits, or 16 where descriptors are short. */
  #sum(bitmap: Uint8Array, kind: Bitmap): number {
    const { blocksPerGroup, inodesPerGroup, checksumSeed, descriptorBytes } = this.#disk.superblock;
    const bytes = (kind === 'blocks' ? blocksPerGroup : inodesPerGroup) / 8;
    const sum = this.#disk.crc32c(bitmap.subarray(0, bytes), checksumSeed);
    return descriptorBytes >= 64 ? sum : sum & 0xffff;
  }

  #storedSum(group: Group, kind: Bitmap): number {
    const raw = this.#raw(group.number);
    const at = kind === 'blocks' ? 0 : 2;
    const high = raw.length >= 64 ? u16(raw, 0x38 + at) : 0;
    return ((high << 16) | u16(raw, 0x18 + at)) >>> 0;
  }

  #raw(number: number): Uint8Array {
    const { descriptorBytes, blockBytes } = this.#disk.superblock;
    const { block, at } = descriptorPlace(this.#disk.superblock, number);
    return this.#disk.cache.view(block * blockBytes + at, descriptorBytes).slice();
  }

  #read(number: number): Group {
    const { superblock } = this.#disk;
    const raw = this.#raw(number);
    verifyDescriptor(this.#disk, raw, number);
    const wide = superblock.descriptorBytes >= 64;
    const field = (low: number, high: number): number =>
      join(wide ? u32(raw, high) : 0, u32(raw, low));
    const count = (low: number, high: number): number =>
      ((wide ? u16(raw, high) : 0) << 16) | u16(raw, low);
    const firstBlock = superblock.firstDataBlock + number * superblock.blocksPerGroup;
    const blocks = Math.min(superblock.blocksPerGroup, superblock.blocks - firstBlock);
    const group: Group = {
      ...{ number, firstBlock, blocks, longestFree: blocks },
      blockBitmap: field(0x00, 0x20),
      inodeBitmap: field(0x04, 0x24),
      inodeTable: field(0x08, 0x28),
      blocksFree: count(0x0c, 0x2c),
      inodesFree: count(0x0e, 0x2e),
      directories: count(0x10, 0x30),
      flags: superblock.checksums === 'none' ? 0 : u16(raw, 0x12),
      inodesUnused: superblock.checksums === 'none' ? 0 : count(0x1c, 0x32),
    };
    this.#checkGroup(group);
    return group;
  }

  #checkGroup(group: Group): void {
    const { superblock, blockBytes } = this.#disk;
    const { inodesPerGroup, inodeBytes } = superblock;
    const tableBlocks = Math.ceil((inodesPerGroup * inodeBytes) / blockBytes);
    const sound =
      this.#disk.holdsBlocks(group.blockBitmap, 1) &&
      this.#disk.holdsBlocks(group.inodeBitmap, 1) &&
      this.#disk.holdsBlocks(group.inodeTable, tableBlocks) &&
      group.blocksFree <= group.blocks &&
      group.inodesFree <= inodesPerGroup &&
      group.directories <= inodesPerGroup &&
      group.inodesUnused <= inodesPerGroup;
    if (!sound) throw damaged`group ${group.number}: the descriptor cannot be right`;
  }

  #write(group: Group): void {
    const { superblock } = this.#disk;
    const { block, at } = descriptorPlace(superblock, group.number);
    const bytes = this.#edits.modify(block);
    const raw = bytes.subarray(at, at + superblock.descriptorBytes);
    const wide = superblock.descriptorBytes >= 64;
    const put = (low: number, high: number, value: number): void => {
      put16(raw, low, value);
      if (wide) put16(raw, high, value >>> 16);
    };
    put(0x0c, 0x2c, group.blocksFree);
    put(0x0e, 0x2e, group.inodesFree);
    put(0x10, 0x30, group.directories);
    if (superblock.checksums === 'none') return;
    put16(raw, 0x12, group.flags);
    put(0x1c, 0x32, group.inodesUnused);
    this.#writeSums(group, put);
    put16(raw, CHECKSUM_AT, descriptorSum(this.#disk, raw, group.number));
  }

  #writeSums(group: Group, put: (low: number, high: number, value: number) => void): void {
    if (!this.#disk.checksums) return;
    for (const kind of ['blocks', 'inodes'] as const) {
      if (!this.#bitmaps[kind].has(group)) continue;
      const bitmap = this.#edits.modify(bitmapBlock(group, kind), this.#check(group, kind));
      const at = kind === 'blocks' ? 0 : 2;
      put(0x18 + at, 0x38 + at, this.#sum(bitmap, kind));
    }
  }
}

function bitmapBlock(group: Group, kind: Bitmap): number {
  return kind === 'blocks' ? group.blockBitmap : group.inodeBitmap;
}

export function setBits(bitmap: Uint8Array, first: number, count: number): void {
  for (let bit = first; bit < first + count; bit++) {
    const byte = bit >> 3;
    if ((bit & 7) === 0 && bit + 8 <= first + count) {
      bitmap[byte] = 0xff;
      bit += 7;
    } else bitmap[byte] = (bitmap[byte] ?? 0) | (1 << (bit & 7));
  }
}

/** Throws EUCLEAN if one of them is clear already. */
export function clearBits(bitmap: Uint8Array, first: number, count: number): void {
  for (let bit = first; bit < first + count; bit++) {
    const byte = bitmap[bit >> 3] ?? 0;
    if ((byte & (1 << (bit & 7))) === 0) {
      throw new FsError('EUCLEAN', `bit ${String(bit)} of a bitmap is clear, but was in use`);
    }
    bitmap[bit >> 3] = byte & ~(1 << (bit & 7));
  }
}

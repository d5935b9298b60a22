/**
 * Group descriptors: where the inodes of each block group lie.
 *
 *   0x00 block bitmap | 0x04 inode bitmap | 0x08 inode table | 0x0C counts | 0x12 flags
 *   0x18 bitmap checksums | 0x1C unused inodes | 0x1E checksum
 *   0x20 high halves, 0x28 of the inode table (only with 64-bit descriptors)
 *
 * Descriptors are an array behind the superblock; with META_BG, each block of descriptors lies in
 * the first group that it describes instead. See "Block Group Descriptors" in
 * Documentation/filesystems/ext4.
 */
import { damaged } from '../errors.ts';
import { RecentMap } from '../recent.ts';
import { badChecksum, crc16, wordBytes } from './checksum.ts';
import type { Disk } from './disk.ts';
import { COMPAT, RO_COMPAT, join, u16, u32 } from './layout.ts';
import type { Superblock } from './superblock.ts';

export const CHECKSUM_AT = 0x1e;
const TABLES_CACHED = 4096;

/** Where a group's descriptor lies: a block, and the byte in it. */
export function descriptorPlace(s: Superblock, group: number): { block: number; at: number } {
  const perBlock = s.blockBytes / s.descriptorBytes;
  const block = descriptorBlock(s, Math.floor(group / perBlock));
  return { block, at: (group % perBlock) * s.descriptorBytes };
}

/** What the checksum of a descriptor must be, 0 without checksums. */
export function descriptorSum(disk: Disk, raw: Uint8Array, group: number): number {
  const { checksums, checksumSeed, descriptorBytes } = disk.superblock;
  if (checksums === 'none') return 0;
  if (checksums === 'crc16') {
    const crc = crc16(raw.subarray(0, CHECKSUM_AT), crc16(wordBytes(group), checksumSeed));
    return descriptorBytes >= 64 ? crc16(raw.subarray(CHECKSUM_AT + 2), crc) : crc;
  }
  const copy = raw.slice();
  copy[CHECKSUM_AT] = 0;
  copy[CHECKSUM_AT + 1] = 0;
  return disk.crc32c(copy, disk.crc32c(wordBytes(group), checksumSeed)) & 0xffff;
}

/** Throws EUCLEAN for a descriptor with a wrong checksum. */
export function verifyDescriptor(disk: Disk, raw: Uint8Array, group: number): void {
  if (disk.superblock.checksums === 'none') return;
  const computed = descriptorSum(disk, raw, group);
  const stored = u16(raw, CHECKSUM_AT);
  if (stored === computed) return;
  throw badChecksum(`descriptor of group ${String(group)}`, { stored, computed });
}

export class GroupTable {
  readonly #disk: Disk;
  readonly #inodeTables = new RecentMap<number>(TABLES_CACHED);

  constructor(disk: Disk) {
    this.#disk = disk;
  }

  /** The first block of the group's inode table. Throws EUCLEAN. */
  inodeTable(group: number): number {
    const cached = this.#inodeTables.get(group);
    if (cached !== undefined) return cached;
    const table = this.#readInodeTable(group);
    this.#inodeTables.set(group, table);
    return table;
  }

  #readInodeTable(group: number): number {
    const { descriptorBytes, blockBytes, inodesPerGroup, inodeBytes } = this.#disk.superblock;
    const { block, at } = descriptorPlace(this.#disk.superblock, group);
    const raw = this.#disk.cache.view(block * blockBytes + at, descriptorBytes);
    verifyDescriptor(this.#disk, raw, group);
    const table = join(descriptorBytes >= 64 ? u32(raw, 0x28) : 0, u32(raw, 0x08));
    const tableBlocks = Math.ceil((inodesPerGroup * inodeBytes) / blockBytes);
    if (this.#disk.holdsBlocks(table, tableBlocks)) return table;
    throw damaged`group ${group}: the inode table at block ${table} is outside the volume`;
  }
}

/** The block that holds descriptor block `index`. */
function descriptorBlock(s: Superblock, index: number): number {
  if (index < s.firstMetaBlock) return s.ownBlock + 1 + index;
  const group = index * (s.blockBytes / s.descriptorBytes);
  const first = s.firstDataBlock + group * s.blocksPerGroup;
  if (!hasSuperblock(s, group)) return first;
  // Blocks of 1 KiB counted from zero leave block 0 to the boot loader, so the superblock is in
  // block 1.
  const bootBlock = group === 0 && s.blockBytes === 1024 && s.firstDataBlock === 0;
  return first + (bootBlock ? 2 : 1);
}

/**
 * How many blocks at the start of a group hold copies of the superblock and of descriptors, with
 * the blocks that are reserved for more of them.
 */
export function copiedBlocks(s: Superblock, group: number): number {
  const perBlock = s.blockBytes / s.descriptorBytes;
  const meta = group / perBlock >= s.firstMetaBlock;
  if (meta) {
    const last = group - (group % perBlock);
    const own = [0, 1, perBlock - 1].includes(group - last) ? 1 : 0;
    return own + (hasSuperblock(s, group) ? 1 : 0);
  }
  if (!hasSuperblock(s, group)) return 0;
  const descriptors = Math.min(Math.ceil(s.groups / perBlock), s.firstMetaBlock);
  return 1 + descriptors + s.reservedDescriptorBlocks;
}

/** Which groups begin with a copy of the superblock. */
function hasSuperblock(s: Superblock, group: number): boolean {
  if (group === 0) return true;
  if (s.compat & COMPAT.sparseSuper2) return s.backupGroups.includes(group);
  if (group === 1 || !(s.readOnlyCompat & RO_COMPAT.sparseSuper)) return true;
  return [3, 5, 7].some((base) => isPowerOf(group, base));
}

function isPowerOf(value: number, base: number): boolean {
  let power = base;
  while (power < value) power *= base;
  return power === value;
}

/**
 * Blocks that hold no files: superblocks, descriptors, bitmaps and inode tables. Counted by groups
 * in closed form, since a damaged superblock may claim billions of them.
 */
export function overheadBlocks(s: Superblock): number {
  if (s.counts.overheadBlocks > 0) return s.counts.overheadBlocks;
  const perBlock = s.blockBytes / s.descriptorBytes;
  const descriptors = Math.min(Math.ceil(s.groups / perBlock), s.firstMetaBlock);
  const tables = Math.ceil((s.inodesPerGroup * s.inodeBytes) / s.blockBytes);
  const copies = superblockCopies(s) * (1 + descriptors + s.reservedDescriptorBlocks);
  return s.firstDataBlock + s.groups * (2 + tables) + copies;
}

function superblockCopies(s: Superblock): number {
  if (s.compat & COMPAT.sparseSuper2) {
    return 1 + s.backupGroups.filter((group) => group > 0 && group < s.groups).length;
  }
  if (!(s.readOnlyCompat & RO_COMPAT.sparseSuper)) return s.groups;
  let copies = Math.min(s.groups, 2);
  for (const base of [3, 5, 7]) {
    for (let group = base; group < s.groups; group *= base) copies++;
  }
  return copies;
}

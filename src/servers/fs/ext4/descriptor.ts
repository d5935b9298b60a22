/** A group's descriptor, as those read it who look at all of a volume: checks and dumps. */
import { damaged } from '../errors.ts';
import type { Disk } from './disk.ts';
import { descriptorPlace } from './groups.ts';
import { join, u16, u32 } from './layout.ts';

export interface Descriptor {
  readonly group: number;
  readonly firstBlock: number;
  /** How many blocks the group has; the last one may have fewer. */
  readonly blocks: number;
  readonly blockBitmap: number;
  readonly inodeBitmap: number;
  readonly inodeTable: number;
  /** In clusters. */
  readonly clustersFree: number;
  readonly inodesFree: number;
  readonly directories: number;
  /** `GROUP_FLAG`. */
  readonly flags: number;
  /** Inodes at the end of the table that were never used. */
  readonly inodesUnused: number;
  readonly blockBitmapChecksum: number;
  readonly inodeBitmapChecksum: number;
  /** A copy of it. */
  readonly raw: Uint8Array;
}

/** Its checksum is not looked at. Throws EUCLEAN for one outside the volume, EIO. */
export function readDescriptor(disk: Disk, group: number): Descriptor {
  const s = disk.superblock;
  const { block, at } = descriptorPlace(s, group);
  if (!disk.holdsBlocks(block, 1)) throw damaged`group ${group}: its descriptor is nowhere`;
  const raw = disk.cache.view(block * s.blockBytes + at, s.descriptorBytes).slice();
  const wide = s.descriptorBytes >= 64;
  const word = (low: number, high: number): number =>
    join(wide ? u32(raw, high) : 0, u32(raw, low));
  const half = (low: number, high: number): number =>
    u16(raw, low) + (wide ? u16(raw, high) * 2 ** 16 : 0);
  const firstBlock = s.firstDataBlock + group * s.blocksPerGroup;
  return {
    group,
    firstBlock,
    blocks: Math.min(s.blocksPerGroup, s.blocks - firstBlock),
    blockBitmap: word(0x00, 0x20),
    inodeBitmap: word(0x04, 0x24),
    inodeTable: word(0x08, 0x28),
    clustersFree: half(0x0c, 0x2c),
    inodesFree: half(0x0e, 0x2e),
    directories: half(0x10, 0x30),
    flags: u16(raw, 0x12),
    inodesUnused: half(0x1c, 0x32),
    blockBitmapChecksum: half(0x18, 0x38),
    inodeBitmapChecksum: half(0x1a, 0x3a),
    raw,
  };
}

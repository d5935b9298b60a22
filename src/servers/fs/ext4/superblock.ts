/**
 * The superblock: 1024 bytes at byte 1024 that say how the rest of the volume is laid out.
 *
 *   0x00 inodes | 0x04 blocks (low) | 0x08 reserved blocks | 0x0C free blocks | 0x10 free inodes
 *   0x14 first data block | 0x18 log2(block KiB) | 0x1C log2(cluster KiB)
 *   0x20 blocks, 0x24 clusters, 0x28 inodes per group | 0x38 magic | 0x3A state | 0x48 creator
 *   0x4C revision | 0x50 owner, 0x52 group of the reserved blocks | 0x54 first inode
 *   0x58 inode bytes | 0x5A group of this copy
 *   0x5C COMPAT | 0x60 INCOMPAT | 0x64 RO_COMPAT | 0x68 uuid | 0xCE reserved descriptor blocks
 *   0xE0 inode of the journal | 0xE8 first orphan | 0xEC hash seed | 0xFC hash of new indexes
 *   0xFE descriptor bytes | 0x104 first meta group
 *   0x150 0x154 0x158 high halves of blocks | 0x15E extra bytes of new inodes | 0x160 flags
 *   0x174 log2(groups in a flexible group) | 0x175 checksum type
 *   0x240 0x244 0x26C 0x280 quota and orphan inodes | 0x248 overhead clusters
 *   0x24C backup groups | 0x270 checksum seed | 0x3FC checksum
 *
 * Nothing after `readSuperblock` doubts these numbers, so every one that sizes or places something
 * is checked here.
 */
import type { BlockDevice } from '../device.ts';
import { FsError, damaged, hex, isFsError } from '../errors.ts';
import { CRC_START, type Crc32c, badChecksum, crc16 } from './checksum.ts';
import { checkFeatures, type FeatureOptions } from './features.ts';
import { COMPAT, INCOMPAT, RO_COMPAT, join, u16, u32 } from './layout.ts';

export const SUPERBLOCK_AT = 1024;
export const SUPERBLOCK_BYTES = 1024;
const MAGIC = 0xef53;
const CREATOR_LINUX = 0;
const FIRST_INODE_OLD = 11;
const FLAG_UNSIGNED_HASH = 2;
const CHECKSUM_TYPE_CRC32C = 1;

export interface Superblock {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly firstDataBlock: number;
  /** The block that holds the copy in use; its group descriptors follow it. */
  readonly ownBlock: number;
  readonly blocksPerGroup: number;
  readonly groups: number;
  readonly inodes: number;
  readonly inodesPerGroup: number;
  readonly inodeBytes: number;
  readonly descriptorBytes: number;
  /** The first inode that is not reserved. */
  readonly firstInode: number;
  /**
   * Inodes past the reserved ones that belong to the file system itself: quota and orphan files.
   */
  readonly hiddenInodes: readonly number[];
  /** The file that holds the journal; 0 for none, or one on another device. */
  readonly journalInode: number;
  readonly revision: number;
  /** Bit 0: no change was under way; bit 1: damage was seen. */
  readonly state: number;
  readonly linux: boolean;
  /** Beside root, who may use the reserved blocks. */
  readonly reservedFor: { readonly uid: number; readonly gid: number };
  /** The head of the list of inodes to be freed or truncated, 0 for none. */
  readonly firstOrphan: number;
  /** The file that lists more of them (feature ORPHAN_FILE), 0 for none. */
  readonly orphanFile: number;
  /** Groups whose bitmaps and tables lie together (FLEX_BG), else 1. */
  readonly groupsPerFlex: number;
  /** Bytes of new inodes above 128 that hold fields, as mke2fs wished. */
  readonly extraBytes: number;
  /** The hash of indexes that are made from now on. */
  readonly hashVersion: number;
  /** Descriptor blocks from this one on are spread over the groups (META_BG). */
  readonly firstMetaBlock: number;
  readonly reservedDescriptorBlocks: number;
  readonly backupGroups: readonly [number, number];
  readonly compat: number;
  readonly incompat: number;
  readonly readOnlyCompat: number;
  readonly hashSeed: readonly [number, number, number, number];
  readonly hashUnsigned: boolean;
  /**
   * Inode checksums are Linux's own; other creators of old volumes leave something else in their
   * place.
   */
  readonly checksums: 'none' | 'crc16' | 'crc32c';
  /**
   * Where checksums of metadata start: from the uuid, or stored so that the uuid may change
   * (CSUM_SEED).
   */
  readonly checksumSeed: number;
  readonly counts: SpaceCounts;
}

export interface SpaceCounts {
  readonly blocksFree: number;
  readonly blocksReserved: number;
  readonly inodesFree: number;
  /** Blocks that hold no files, as mke2fs counted them; 0 if it did not. */
  readonly overheadBlocks: number;
}

export interface SuperblockOptions extends FeatureOptions {
  /** Try the copies in other groups when the primary one is damaged. */
  readonly useBackup?: boolean;
  readonly crc32c: Crc32c;
}

/**
 * Throws EUCLEAN for a damaged superblock, EOPNOTSUPP and EROFS for a volume that cannot be read.
 */
export function readSuperblock(device: BlockDevice, options: SuperblockOptions): Superblock {
  try {
    return readCopy(device, SUPERBLOCK_AT, options);
  } catch (error) {
    if (options.useBackup !== true || !isFsError(error, 'EUCLEAN')) throw error;
    const backup = readBackup(device, options);
    if (backup === undefined) throw error;
    return backup;
  }
}

/**
 * The block size stands in the damaged copy, so group 1 is looked for where each block size puts it
 * by default, which is what e2fsck does as well.
 */
function readBackup(device: BlockDevice, options: SuperblockOptions): Superblock | undefined {
  for (let blockBytes = 1024; blockBytes <= 65536; blockBytes *= 2) {
    const firstDataBlock = blockBytes === 1024 ? 1 : 0;
    const at = (firstDataBlock + 8 * blockBytes) * blockBytes;
    try {
      const backup = readCopy(device, at, options);
      if (backup.blockBytes === blockBytes) return backup;
    } catch (error) {
      if (!isFsError(error, 'EUCLEAN') && !isFsError(error, 'EIO')) throw error;
    }
  }
  return undefined;
}

function readCopy(device: BlockDevice, at: number, options: SuperblockOptions): Superblock {
  if (device.bytes < at + SUPERBLOCK_BYTES) {
    throw damaged`superblock: the device of ${device.bytes} bytes ends before byte ${at}`;
  }
  const raw = new Uint8Array(SUPERBLOCK_BYTES);
  device.read(raw, at, SUPERBLOCK_BYTES);
  checkIdentity(raw, options.crc32c);
  checkFeatures(u32(raw, 0x60), options);
  const superblock = parse(raw, at, options.crc32c);
  checkGeometry(superblock, raw);
  if (superblock.blocks * superblock.blockBytes > device.bytes) {
    throw damaged`superblock: ${superblock.blocks} blocks do not fit ${device.bytes} bytes`;
  }
  return superblock;
}

function checkIdentity(raw: Uint8Array, crc32c: Crc32c): void {
  if (u16(raw, 0x38) !== MAGIC) {
    throw damaged`superblock: the magic number is ${hex(u16(raw, 0x38))}, not 0xef53`;
  }
  if (u32(raw, 0x4c) > 1) throw damaged`superblock: unknown revision ${u32(raw, 0x4c)}`;
  if (!(u32(raw, 0x64) & RO_COMPAT.metadataCsum)) return;
  if (raw[0x175] !== CHECKSUM_TYPE_CRC32C) {
    throw new FsError('EOPNOTSUPP', `unknown checksum type ${String(raw[0x175])}`);
  }
  const computed = crc32c(raw.subarray(0, 0x3fc), CRC_START);
  const stored = u32(raw, 0x3fc);
  if (computed !== stored) throw badChecksum('superblock', { stored, computed });
}

function parse(raw: Uint8Array, at: number, crc32c: Crc32c): Superblock {
  const incompat = u32(raw, 0x60);
  const logBlock = u32(raw, 0x18);
  if (logBlock > 6) throw damaged`superblock: log2 of the block size is ${logBlock}`;
  const blockBytes = 1024 << logBlock;
  const high = (incompat & INCOMPAT.bit64) !== 0;
  const blocks = join(high ? u32(raw, 0x150) : 0, u32(raw, 0x04));
  const firstDataBlock = u32(raw, 0x14);
  const blocksPerGroup = u32(raw, 0x20);
  const dynamic = u32(raw, 0x4c) > 0;
  const descriptorBytes = high ? u16(raw, 0xfe) : 32;
  const firstMetaBlock = incompat & INCOMPAT.metaBg ? u32(raw, 0x104) : Infinity;
  return {
    blockBytes,
    blocks,
    firstDataBlock,
    ownBlock: Math.floor(at / blockBytes),
    blocksPerGroup,
    groups: blocksPerGroup === 0 ? 0 : Math.ceil((blocks - firstDataBlock) / blocksPerGroup),
    inodes: u32(raw, 0x00),
    inodesPerGroup: u32(raw, 0x28),
    inodeBytes: dynamic ? u16(raw, 0x58) : 128,
    descriptorBytes,
    firstInode: dynamic ? u32(raw, 0x54) : FIRST_INODE_OLD,
    hiddenInodes: [0x240, 0x244, 0x26c, 0x280].map((field) => u32(raw, field)),
    journalInode: u32(raw, 0xe0),
    firstMetaBlock,
    reservedDescriptorBlocks: u16(raw, 0xce),
    backupGroups: [u32(raw, 0x24c), u32(raw, 0x250)],
    compat: u32(raw, 0x5c),
    incompat,
    readOnlyCompat: u32(raw, 0x64),
    hashSeed: [u32(raw, 0xec), u32(raw, 0xf0), u32(raw, 0xf4), u32(raw, 0xf8)],
    hashUnsigned: (u32(raw, 0x160) & FLAG_UNSIGNED_HASH) !== 0,
    ...parseChecksums(raw, crc32c),
    ...parseForWriting(raw),
    counts: parseCounts(raw, high),
  };
}

/** What only writers need. It is checked by who opens a volume for writing. */
function parseForWriting(raw: Uint8Array): Writing {
  const flex = (u32(raw, 0x60) & INCOMPAT.flexBg) !== 0;
  return {
    revision: u32(raw, 0x4c),
    state: u16(raw, 0x3a),
    linux: u32(raw, 0x48) === CREATOR_LINUX,
    reservedFor: { uid: u16(raw, 0x50), gid: u16(raw, 0x52) },
    firstOrphan: u32(raw, 0xe8),
    orphanFile: u32(raw, 0x5c) & COMPAT.orphanFile ? u32(raw, 0x280) : 0,
    groupsPerFlex: flex ? 2 ** Math.min(raw[0x174] ?? 0, 31) : 1,
    extraBytes: u16(raw, 0x15e),
    hashVersion: raw[0xfc] ?? 0,
  };
}

type Writing = Pick<
  Superblock,
  | 'revision'
  | 'state'
  | 'linux'
  | 'reservedFor'
  | 'firstOrphan'
  | 'orphanFile'
  | 'groupsPerFlex'
  | 'extraBytes'
  | 'hashVersion'
>;

function parseChecksums(
  raw: Uint8Array,
  crc32c: Crc32c,
): Pick<Superblock, 'checksums' | 'checksumSeed'> {
  const readOnlyCompat = u32(raw, 0x64);
  const uuid = raw.subarray(0x68, 0x78);
  const linux = u32(raw, 0x48) === CREATOR_LINUX;
  if (!(readOnlyCompat & RO_COMPAT.metadataCsum) && readOnlyCompat & RO_COMPAT.gdtCsum) {
    return { checksums: 'crc16', checksumSeed: crc16(uuid, 0xffff) };
  }
  const stored = (u32(raw, 0x60) & INCOMPAT.csumSeed) !== 0;
  return {
    checksums: readOnlyCompat & RO_COMPAT.metadataCsum && linux ? 'crc32c' : 'none',
    checksumSeed: stored ? u32(raw, 0x270) : crc32c(uuid, CRC_START),
  };
}

function parseCounts(raw: Uint8Array, high: boolean): SpaceCounts {
  const bigalloc = (u32(raw, 0x64) & RO_COMPAT.bigalloc) !== 0;
  // Unlike the group descriptors, the superblock counts blocks, save for the overhead.
  const ratio = bigalloc ? 2 ** Math.min(u32(raw, 0x1c) - u32(raw, 0x18), 32) : 1;
  return {
    blocksFree: join(high ? u32(raw, 0x158) : 0, u32(raw, 0x0c)),
    blocksReserved: join(high ? u32(raw, 0x154) : 0, u32(raw, 0x08)),
    inodesFree: u32(raw, 0x10),
    overheadBlocks: u32(raw, 0x248) * ratio,
  };
}

function checkGeometry(s: Superblock, raw: Uint8Array): void {
  const bits = s.blockBytes * 8;
  const checks: readonly (readonly [fine: boolean, what: string])[] = [
    [Number.isSafeInteger(s.blocks * s.blockBytes), `${String(s.blocks)} blocks`],
    [s.firstDataBlock < s.blocks && s.firstDataBlock <= 1, 'the first data block'],
    [isPowerOfTwo(s.inodeBytes) && s.inodeBytes >= 128, 'the size of inodes'],
    [s.inodeBytes <= s.blockBytes, 'the size of inodes'],
    [isPowerOfTwo(s.descriptorBytes), 'the size of group descriptors'],
    [s.descriptorBytes <= s.blockBytes, 'the size of group descriptors'],
    [s.descriptorBytes === 32 || s.descriptorBytes >= 64, 'the size of group descriptors'],
    [s.blocksPerGroup > 0 && s.groups > 0, 'the number of blocks in a group'],
    [s.inodesPerGroup > 0 && s.inodesPerGroup <= bits, 'the number of inodes in a group'],
    [s.inodes === s.groups * s.inodesPerGroup, 'the number of inodes'],
    [s.firstInode >= FIRST_INODE_OLD, 'the first inode'],
    [hasSoundClusters(s, raw), 'the size of clusters or groups'],
  ];
  for (const [fine, what] of checks) {
    if (!fine) throw damaged`superblock: ${what} cannot be right`;
  }
}

/** A group has one bitmap block, which has a bit for each cluster. */
function hasSoundClusters(s: Superblock, raw: Uint8Array): boolean {
  const clustersPerGroup = u32(raw, 0x24);
  if (clustersPerGroup > s.blockBytes * 8) return false;
  if (!(s.readOnlyCompat & RO_COMPAT.bigalloc)) return s.blocksPerGroup <= s.blockBytes * 8;
  const shift = u32(raw, 0x1c) - u32(raw, 0x18);
  return shift >= 0 && shift <= 20 && s.blocksPerGroup === clustersPerGroup * 2 ** shift;
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0;
}

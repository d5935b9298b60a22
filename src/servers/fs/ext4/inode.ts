/**
 * Inodes: what a file is, apart from its name.
 *
 *   0x00 mode | 0x02 uid | 0x04 size | 0x08 atime | 0x0C ctime | 0x10 mtime | 0x14 dtime
 *   0x18 gid | 0x1A links | 0x1C sectors | 0x20 flags
 *   0x28 block map, inline data or symlink (60 bytes) | 0x64 generation | 0x68 xattr block
 *   0x6C size (high) | 0x74 sectors (high) | 0x76 xattr block (high) | 0x78 uid (high)
 *   0x7A gid (high) | 0x7C checksum (low)
 *   only in inodes above 128 bytes, as far as `extra bytes` reaches:
 *   0x80 extra bytes | 0x82 checksum (high)
 *   0x84 ctime | 0x88 mtime | 0x8C atime: 2 bits epoch, 30 bits nanoseconds
 *   0x90 time of birth | 0x94 its epoch and nanoseconds
 *   then xattrs up to the end of the inode
 *
 * See "Index Nodes" in Documentation/filesystems/ext4.
 */
import type { Timestamp } from '../../../vos/protocol/fs.ts';
import { damaged, hex } from '../errors.ts';
import { CRC_START, badChecksum } from './checksum.ts';
import type { Disk } from './disk.ts';
import { INCOMPAT, INODE_FLAG, MODE, RO_COMPAT, i32, join, u16, u32 } from './layout.ts';

export const INODE_MAP_AT = 0x28;
export const INODE_MAP_BYTES = 60;
export const CORE_BYTES = 128;
export const CHECKSUM_LOW_AT = 0x7c;
export const EXTRA_BYTES_AT = 0x80;
export const CHECKSUM_HIGH_AT = 0x82;
export const BORN_AT = { low: 0x90, extra: 0x94 } as const;
export const SECTOR_BYTES = 512;

/**
 * Consecutive blocks of a file that lie together on the disk; `physical` 0 means that they read as
 * zeros.
 */
export interface Run {
  readonly logical: number;
  readonly count: number;
  readonly physical: number;
  /** Where blocks that are allocated, but not written yet, lie. */
  readonly unwritten?: number;
}

export interface Inode {
  readonly number: number;
  readonly generation: number;
  readonly mode: number;
  readonly links: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /**
   * The size that the volume is told while contents behind it are delayed, so that a crash leaves
   * no file that is longer than its contents; undefined: `size`.
   */
  readonly diskSize: number | undefined;
  /** Units of 512 bytes. */
  readonly sectors: number;
  readonly flags: number;
  readonly accessed: Timestamp;
  readonly modified: Timestamp;
  readonly changed: Timestamp;
  /** When it was deleted; the next inode of the list while it is an orphan. */
  readonly deleted: number;
  readonly xattrBlock: number;
  /** Where the in-inode xattrs begin in `raw`; `raw.length` if there is no room for any. */
  readonly xattrsAt: number;
  /** The inode as it is on disk, a copy, with its checksum fields zeroed. */
  readonly raw: Uint8Array;
  /** Where the checksums of the inode's own blocks start. */
  readonly checksumSeed: number;
  /** The last answer of the block map: sequential reads ask for the same run again and again. */
  lastRun: Run | undefined;
}

export function fileType(inode: Inode): number {
  return inode.mode & MODE.type;
}

export function hasFlag(inode: Inode, flag: number): boolean {
  return (inode.flags & flag) !== 0;
}

/** An inode that was never used, or is free again: its links are gone, and so is its content. */
export function isUnused(raw: Uint8Array): boolean {
  return u16(raw, 0x1a) === 0;
}

/** Takes ownership of `raw`. Throws EUCLEAN. */
export function parseInode(disk: Disk, number: number, raw: Uint8Array): Inode {
  const extraBytes = readExtraBytes(raw, number);
  const generation = u32(raw, 0x64);
  const checksumSeed = disk.checksums ? disk.inodeSeed(number, generation) : CRC_START;
  if (disk.checksums) verifyChecksum(disk, { number, raw, extraBytes, checksumSeed });
  const mode = u16(raw, 0x00);
  checkMode(mode, number);
  const extra = (field: number): number =>
    field + 4 <= CORE_BYTES + extraBytes ? u32(raw, field) : 0;
  return {
    number,
    generation,
    mode,
    links: u16(raw, 0x1a),
    uid: (u16(raw, 0x02) | (u16(raw, 0x78) << 16)) >>> 0,
    gid: (u16(raw, 0x18) | (u16(raw, 0x7a) << 16)) >>> 0,
    size: readSize(disk, raw, number),
    diskSize: undefined,
    sectors: readSectors(disk, raw),
    flags: u32(raw, 0x20),
    accessed: timestamp(i32(raw, 0x08), extra(0x8c)),
    changed: timestamp(i32(raw, 0x0c), extra(0x84)),
    modified: timestamp(i32(raw, 0x10), extra(0x88)),
    deleted: u32(raw, 0x14),
    xattrBlock: join(
      disk.superblock.incompat & INCOMPAT.bit64 ? u16(raw, 0x76) : 0,
      u32(raw, 0x68),
    ),
    xattrsAt: raw.length > CORE_BYTES ? CORE_BYTES + extraBytes : raw.length,
    raw,
    checksumSeed,
    lastRun: undefined,
  };
}

function readExtraBytes(raw: Uint8Array, number: number): number {
  if (raw.length === CORE_BYTES) return 0;
  const extraBytes = u16(raw, EXTRA_BYTES_AT);
  if (CORE_BYTES + extraBytes <= raw.length && extraBytes % 4 === 0) return extraBytes;
  throw damaged`inode ${number}: ${extraBytes} extra bytes do not fit an inode of ${raw.length}`;
}

interface ChecksumInput {
  readonly number: number;
  readonly raw: Uint8Array;
  readonly extraBytes: number;
  readonly checksumSeed: number;
}

/**
 * The checksum covers the inode with its own two fields as zero, so they are cleared in this copy
 * for good.
 */
function verifyChecksum(disk: Disk, input: ChecksumInput): void {
  const { number, raw, extraBytes, checksumSeed } = input;
  const wide = extraBytes >= CHECKSUM_HIGH_AT + 2 - CORE_BYTES;
  const high = wide ? u16(raw, CHECKSUM_HIGH_AT) : 0;
  const stored = ((high << 16) | u16(raw, CHECKSUM_LOW_AT)) >>> 0;
  raw.fill(0, CHECKSUM_LOW_AT, CHECKSUM_LOW_AT + 2);
  if (wide) raw.fill(0, CHECKSUM_HIGH_AT, CHECKSUM_HIGH_AT + 2);
  const full = disk.crc32c(raw, checksumSeed);
  const computed = wide ? full : full & 0xffff;
  if (stored === computed) return;
  throw badChecksum(`inode ${String(number)}`, { stored, computed });
}

function checkMode(mode: number, number: number): void {
  switch (mode & MODE.type) {
    case MODE.fifo:
    case MODE.character:
    case MODE.directory:
    case MODE.block:
    case MODE.regular:
    case MODE.symlink:
    case MODE.socket:
      return;
    default:
      throw damaged`inode ${number}: mode ${hex(mode)} is of no file type`;
  }
}

/**
 * Only regular files have 64-bit sizes, and directories with LARGEDIR; elsewhere the field meant
 * something else once.
 */
function readSize(disk: Disk, raw: Uint8Array, number: number): number {
  const regular = (u16(raw, 0x00) & MODE.type) === MODE.regular;
  const wide = regular || (disk.superblock.incompat & INCOMPAT.largedir) !== 0;
  const size = join(wide ? u32(raw, 0x6c) : 0, u32(raw, 0x04));
  if (Number.isSafeInteger(size)) return size;
  throw damaged`inode ${number}: the size ${size} is beyond any volume`;
}

function readSectors(disk: Disk, raw: Uint8Array): number {
  const low = u32(raw, 0x1c);
  if (!(disk.superblock.readOnlyCompat & RO_COMPAT.hugeFile)) return low;
  const sectors = join(u16(raw, 0x74), low);
  const inBlocks = (u32(raw, 0x20) & INODE_FLAG.hugeFile) !== 0;
  return inBlocks ? sectors * (disk.blockBytes / SECTOR_BYTES) : sectors;
}

/** When the file was made; undefined if the inode has no room for it. */
export function bornAt({ raw }: Inode): Timestamp | undefined {
  const { low, extra } = BORN_AT;
  if (raw.length === CORE_BYTES || extra + 4 > CORE_BYTES + u16(raw, EXTRA_BYTES_AT)) {
    return undefined;
  }
  return timestamp(i32(raw, low), u32(raw, extra));
}

/** Two bits above the seconds carry them from 1901 to 2446. */
function timestamp(low: number, extra: number): Timestamp {
  return { seconds: low + (extra & 3) * 2 ** 32, nanoseconds: extra >>> 2 };
}

/**
 * The number of a device node in the kernel's new encoding: the first word of the map holds an old
 * 16-bit number, the second a new one, and one of them is zero. An old number reads the same in
 * both.
 */
export function deviceNumber(inode: Inode): number {
  const old = u16(inode.raw, INODE_MAP_AT);
  return old === 0 ? u32(inode.raw, INODE_MAP_AT + 4) : old;
}

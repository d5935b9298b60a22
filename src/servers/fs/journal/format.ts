/**
 * The journal of ext4 (JBD2) as it lies on disk. All its numbers are big-endian.
 *
 *   every block of its own: 0x0 magic | 0x4 type | 0x8 sequence of the transaction
 *   superblock: 0x0C block bytes | 0x10 blocks | 0x14 first log block | 0x18 first sequence
 *     0x1C block of it, 0 if empty | 0x24 COMPAT | 0x28 INCOMPAT | 0x30 uuid | 0x50 checksum type
 *     0x54 fast commit blocks | 0xFC checksum
 *   descriptor: tags from 0x0C on, one for each block that follows it, and a checksum at its end
 *   revoke: 0x0C bytes in use | block numbers from 0x10 on, and a checksum at the block's end
 *   commit: 0x0C checksum type | 0x10 checksum | 0x30 seconds
 *
 * See Documentation/filesystems/ext4/journal.rst and include/linux/jbd2.h of the kernel.
 */
import { type Crc32c, crcAround } from '../ext4/checksum.ts';

export const JOURNAL_MAGIC = 0xc03b3998;
export const HEADER_BYTES = 12;
export const JOURNAL_SUPERBLOCK_BYTES = 1024;

export const BLOCK = {
  descriptor: 1,
  commit: 2,
  superblockV1: 3,
  superblockV2: 4,
  revoke: 5,
} as const;

export const JOURNAL_COMPAT = { checksum: 0x1 } as const;

export const JOURNAL_INCOMPAT = {
  revoke: 0x1,
  bit64: 0x2,
  asyncCommit: 0x4,
  checksumV2: 0x8,
  checksumV3: 0x10,
  fastCommit: 0x20,
} as const;

export const TAG_FLAG = { escaped: 0x1, sameUuid: 0x2, last: 0x8 } as const;
export const UUID_BYTES = 16;

/** What of the journal's features decides how its blocks look. */
export interface Shape {
  readonly bit64: boolean;
  /** 'v1' covers a whole transaction, 'v2' and 'v3' each block. */
  readonly checksums: 'none' | 'v1' | 'v2' | 'v3';
  /** Where the checksums of v2 and v3 start. */
  readonly seed: number;
}

/** What the checksums of blocks depend on beside their bytes. */
export interface SumContext {
  readonly sequence: number;
  readonly shape: Shape;
  readonly crc: Crc32c;
}

/** A block that a transaction holds. */
export interface Tag {
  /** Where in the volume it belongs. */
  readonly block: number;
  /** Its first word was the journal's magic number, and is stored as zero. */
  readonly escaped: boolean;
  /** 32 bits of v3, 16 of v2. */
  readonly checksum: number;
}

export function be16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function be32(bytes: Uint8Array, at: number): number {
  return (be16(bytes, at) * 2 ** 16 + be16(bytes, at + 2)) >>> 0;
}

/** Sequences wrap, so one is before another if it is less than half of them behind. */
export function isBefore(one: number, other: number): boolean {
  return ((one - other) | 0) < 0;
}

/** The type of a block of this transaction, 0 for any other block. */
export function typeOf(block: Uint8Array, sequence: number): number {
  const mine = be32(block, 0) === JOURNAL_MAGIC && be32(block, 8) === sequence;
  return mine ? be32(block, 4) : 0;
}

export function hasBlockSums({ checksums }: Shape): boolean {
  return checksums === 'v2' || checksums === 'v3';
}

/** Of a descriptor or revoke block: the bytes that its checksum leaves. */
export function roomOf(block: Uint8Array, shape: Shape): number {
  return block.length - (hasBlockSums(shape) ? 4 : 0);
}

/** Whether a descriptor or revoke block is as it was written. */
export function isWhole(block: Uint8Array, shape: Shape, crc: Crc32c): boolean {
  if (!hasBlockSums(shape)) return true;
  const at = block.length - 4;
  return crcAround(crc, block, at, shape.seed) === be32(block, at);
}

/** The same of a commit block, of v2 and v3. */
export function isWholeCommit(block: Uint8Array, shape: Shape, crc: Crc32c): boolean {
  return !hasBlockSums(shape) || crcAround(crc, block, 0x10, shape.seed) === be32(block, 0x10);
}

/** Whether a block's copy in the journal is the one that its tag was written for. */
export function isCopyWhole(
  copy: Uint8Array,
  { checksum }: Tag,
  { sequence, shape, crc }: SumContext,
): boolean {
  if (!hasBlockSums(shape)) return true;
  return checksum === copySum(copy, { sequence, shape, crc });
}

/** What the tag of a copy says of it, for v2 and v3. */
export function copySum(copy: Uint8Array, { sequence, shape, crc }: SumContext): number {
  const word = Uint8Array.of(sequence >>> 24, sequence >>> 16, sequence >>> 8, sequence);
  const computed = crc(copy, crc(word, shape.seed));
  return shape.checksums === 'v3' ? computed : computed & 0xffff;
}

/** The tags of a descriptor block. */
export function tagsOf(block: Uint8Array, shape: Shape): Tag[] {
  const bytes = tagBytes(shape);
  const end = roomOf(block, shape);
  const tags: Tag[] = [];
  for (let at = HEADER_BYTES; at + bytes <= end;) {
    const v3 = shape.checksums === 'v3';
    const flags = v3 ? be32(block, at + 4) : be16(block, at + 6);
    const high = shape.bit64 ? be32(block, at + 8) : 0;
    tags.push({
      block: high * 2 ** 32 + be32(block, at),
      escaped: (flags & TAG_FLAG.escaped) !== 0,
      checksum: v3 ? be32(block, at + 12) : be16(block, at + 4),
    });
    if (flags & TAG_FLAG.last) break;
    at += bytes + (flags & TAG_FLAG.sameUuid ? 0 : UUID_BYTES);
  }
  return tags;
}

export function tagBytes({ checksums, bit64 }: Shape): number {
  if (checksums === 'v3') return 16;
  return 8 + (checksums === 'v2' ? 2 : 0) + (bit64 ? 4 : 0);
}

/** The blocks that a revoke block names; undefined if it says that it holds more than it can. */
export function revokedBy(block: Uint8Array, shape: Shape): number[] | undefined {
  const end = be32(block, 0x0c);
  const bytes = shape.bit64 ? 8 : 4;
  if (end > roomOf(block, shape)) return undefined;
  const blocks: number[] = [];
  for (let at = 0x10; at + bytes <= end; at += bytes) {
    const number = be32(block, at);
    blocks.push(shape.bit64 ? number * 2 ** 32 + be32(block, at + 4) : number);
  }
  return blocks;
}

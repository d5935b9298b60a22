/**
 * The superblock of a journal: its first block, which says how the log is laid out and where it
 * begins.
 */
import { CRC_START, type Crc32c, crcAround } from '../ext4/checksum.ts';
import { INCOMPAT, RO_COMPAT } from '../ext4/layout.ts';
import type { Superblock } from '../ext4/superblock.ts';
import { FsError, damaged, hex } from '../errors.ts';
import {
  BLOCK,
  JOURNAL_COMPAT,
  JOURNAL_INCOMPAT,
  JOURNAL_MAGIC,
  JOURNAL_SUPERBLOCK_BYTES,
  type Shape,
  be32,
  hasBlockSums,
} from './format.ts';

/** The blocks of a journal, by their number in it. */
export interface LogBlocks {
  readonly blockBytes: number;
  readonly count: number;
  /** A copy of its own. Throws EIO, EUCLEAN. */
  read(number: number): Uint8Array;
}

export interface JournalSuperblock {
  readonly raw: Uint8Array;
  readonly first: number;
  /** Past the last block of the ring. */
  readonly end: number;
  /** The block where the log begins, 0 if it is empty. */
  readonly start: number;
  readonly sequence: number;
  readonly shape: Shape;
  readonly fastCommits: boolean;
}

const CHECKSUM_TYPE_CRC32C = 4;
const FAST_COMMIT_BLOCKS = 256;
const KNOWN = Object.values(JOURNAL_INCOMPAT).reduce((all, bit) => all | bit, 0);

/** Throws EUCLEAN for damage, EOPNOTSUPP for features that are not known, EIO. */
export function readJournalSuperblock(blocks: LogBlocks, crc: Crc32c): JournalSuperblock {
  const raw = blocks.read(0).subarray(0, JOURNAL_SUPERBLOCK_BYTES);
  const type = be32(raw, 4);
  if (be32(raw, 0) !== JOURNAL_MAGIC) {
    throw damaged`journal: the magic number is ${hex(be32(raw, 0))}, not ${hex(JOURNAL_MAGIC)}`;
  }
  if (type !== BLOCK.superblockV1 && type !== BLOCK.superblockV2) {
    throw damaged`journal: its first block is of type ${type}, not a superblock`;
  }
  const [compat, incompat] =
    type === BLOCK.superblockV2 ? ([be32(raw, 0x24), be32(raw, 0x28)] as const) : ([0, 0] as const);
  if ((incompat & ~KNOWN) !== 0) {
    throw new FsError('EOPNOTSUPP', `the journal needs unknown features ${hex(incompat & ~KNOWN)}`);
  }
  const shape = shapeOf(raw, compat, incompat, crc);
  if (hasBlockSums(shape)) checkSum(raw, crc);
  const length = be32(raw, 0x10);
  const fastCommits = (incompat & JOURNAL_INCOMPAT.fastCommit) !== 0;
  const end = length - (fastCommits ? be32(raw, 0x54) || FAST_COMMIT_BLOCKS : 0);
  const [first, start] = [be32(raw, 0x14), be32(raw, 0x1c)];
  if (be32(raw, 0x0c) !== blocks.blockBytes || length > blocks.count) {
    const bytes = be32(raw, 0x0c);
    throw damaged`journal: ${length} blocks of ${bytes} bytes are not what the volume has`;
  }
  if (first < 1 || first >= end || (start !== 0 && (start < first || start >= end))) {
    throw damaged`journal: the log is said to begin at block ${start} of ${first} to ${end}`;
  }
  return { raw, first, end, start, sequence: be32(raw, 0x18), shape, fastCommits };
}

function checkSum(raw: Uint8Array, crc: Crc32c): void {
  const [computed, stored] = [crcAround(crc, raw, 0xfc, CRC_START), be32(raw, 0xfc)];
  if (computed === stored) return;
  throw damaged`journal: the checksum is ${hex(computed)}, but ${hex(stored)} is stored`;
}

function shapeOf(raw: Uint8Array, compat: number, incompat: number, crc: Crc32c): Shape {
  const bit64 = (incompat & JOURNAL_INCOMPAT.bit64) !== 0;
  const v2 = (incompat & JOURNAL_INCOMPAT.checksumV2) !== 0;
  const v3 = (incompat & JOURNAL_INCOMPAT.checksumV3) !== 0;
  if (!v2 && !v3) {
    return { bit64, checksums: compat & JOURNAL_COMPAT.checksum ? 'v1' : 'none', seed: 0 };
  }
  if (v2 && v3) throw damaged`journal: it claims two kinds of checksums`;
  if (raw[0x50] !== CHECKSUM_TYPE_CRC32C) {
    throw new FsError('EOPNOTSUPP', `unknown checksum type ${String(raw[0x50])} of the journal`);
  }
  const seed = crc(raw.subarray(0x30, 0x40), CRC_START);
  return { bit64, checksums: v3 ? 'v3' : 'v2', seed };
}

/**
 * As `readJournalSuperblock`, with the features that the volume is to have in its journal: revoked
 * blocks, numbers as wide as its own, and checksums where its metadata has them. The log must be
 * empty, as these decide how it is read. Throws EOPNOTSUPP for journals of the first version.
 *
 * Source: ext4_load_journal and set_journal_csum_feature_set (fs/ext4/super.c).
 */
export function journalForWriting(
  blocks: LogBlocks,
  volume: Superblock,
  crc: Crc32c,
): JournalSuperblock {
  const found = readJournalSuperblock(blocks, crc);
  const { raw } = found;
  if (be32(raw, 4) !== BLOCK.superblockV2) {
    throw new FsError('EOPNOTSUPP', 'the journal is of version 1; it cannot be written to');
  }
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  let incompat = (be32(raw, 0x28) | JOURNAL_INCOMPAT.revoke) & ~JOURNAL_INCOMPAT.asyncCommit;
  if (volume.incompat & INCOMPAT.bit64) incompat |= JOURNAL_INCOMPAT.bit64;
  if (volume.readOnlyCompat & RO_COMPAT.metadataCsum) {
    incompat = (incompat & ~JOURNAL_INCOMPAT.checksumV2) | JOURNAL_INCOMPAT.checksumV3;
    view.setUint32(0x24, be32(raw, 0x24) & ~JOURNAL_COMPAT.checksum);
    raw[0x50] = CHECKSUM_TYPE_CRC32C;
  }
  view.setUint32(0x28, incompat);
  return { ...found, shape: shapeOf(raw, be32(raw, 0x24), incompat, crc) };
}

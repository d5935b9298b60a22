/**
 * Blocks of the journal as they are written; see `format.ts` for their layout.
 *
 * Source: jbd2_journal_commit_transaction and journal_submit_commit_record (fs/jbd2/commit.c),
 * write_one_revoke_record (fs/jbd2/revoke.c).
 */
import { CRC_START, crcAround } from '../ext4/checksum.ts';
import {
  BLOCK,
  HEADER_BYTES,
  JOURNAL_MAGIC,
  type Shape,
  type SumContext,
  TAG_FLAG,
  type Tag,
  UUID_BYTES,
  hasBlockSums,
  roomOf,
  tagBytes,
} from './format.ts';

const REVOKE_HEADER_BYTES = 16;
const CHECKSUM_TYPE_CRC32 = 1;

/** How many blocks a descriptor block describes at most. */
export function tagsPerBlock(shape: Shape, blockBytes: number): number {
  const room = blockBytes - (hasBlockSums(shape) ? 4 : 0) - HEADER_BYTES - UUID_BYTES;
  return Math.floor(room / tagBytes(shape));
}

/** How many blocks a revoke block names at most. */
export function revokesPerBlock(shape: Shape, blockBytes: number): number {
  const room = blockBytes - (hasBlockSums(shape) ? 4 : 0) - REVOKE_HEADER_BYTES;
  return Math.floor(room / (shape.bit64 ? 8 : 4));
}

/** Makes `block` the descriptor of `tags`, at least one and as many as fit. */
export function encodeDescriptor(
  block: Uint8Array,
  tags: readonly Tag[],
  uuid: Uint8Array,
  context: SumContext,
): void {
  const view = begin(block, BLOCK.descriptor, context.sequence);
  let at = HEADER_BYTES;
  tags.forEach((tag, index) => {
    const flags =
      (tag.escaped ? TAG_FLAG.escaped : 0) |
      (index > 0 ? TAG_FLAG.sameUuid : 0) |
      (index === tags.length - 1 ? TAG_FLAG.last : 0);
    putTag(view, at, { tag, flags, shape: context.shape });
    at += tagBytes(context.shape);
    if (index > 0) return;
    block.set(uuid, at);
    at += UUID_BYTES;
  });
  seal(block, context);
}

interface TagToPut {
  tag: Tag;
  flags: number;
  shape: Shape;
}

function putTag(view: DataView, at: number, { tag, flags, shape }: TagToPut): void {
  view.setUint32(at, tag.block % 2 ** 32);
  if (shape.bit64) view.setUint32(at + 8, Math.floor(tag.block / 2 ** 32));
  if (shape.checksums === 'v3') {
    view.setUint32(at + 4, flags);
    view.setUint32(at + 12, tag.checksum);
  } else {
    view.setUint16(at + 4, shape.checksums === 'v2' ? tag.checksum : 0);
    view.setUint16(at + 6, flags);
  }
}

/** Makes `block` one that revokes `numbers`, as many as fit. */
export function encodeRevoke(
  block: Uint8Array,
  numbers: readonly number[],
  context: SumContext,
): void {
  const view = begin(block, BLOCK.revoke, context.sequence);
  let at = REVOKE_HEADER_BYTES;
  for (const number of numbers) {
    if (context.shape.bit64) {
      view.setUint32(at, Math.floor(number / 2 ** 32));
      at += 4;
    }
    view.setUint32(at, number % 2 ** 32);
    at += 4;
  }
  view.setUint32(0x0c, at);
  seal(block, context);
}

/** When a transaction was committed, in ms since 1970, and for v1 the sum of its blocks. */
export interface CommitRecord {
  readonly timeMs: number;
  readonly sum: number;
}

export function encodeCommit(block: Uint8Array, record: CommitRecord, context: SumContext): void {
  const view = begin(block, BLOCK.commit, context.sequence);
  const seconds = Math.floor(record.timeMs / 1000);
  view.setBigUint64(0x30, BigInt(seconds));
  view.setUint32(0x38, Math.floor((record.timeMs - seconds * 1000) * 1e6));
  const { shape, crc } = context;
  if (shape.checksums === 'v1') {
    block[0x0c] = CHECKSUM_TYPE_CRC32;
    block[0x0d] = 4;
    view.setUint32(0x10, record.sum);
  } else if (hasBlockSums(shape)) {
    view.setUint32(0x10, crcAround(crc, block, 0x10, shape.seed));
  }
}

/** Where the log begins: the first transaction to be replayed, and its block; 0 for none. */
export interface LogStart {
  readonly sequence: number;
  readonly start: number;
}

/** Puts `log` into the journal's superblock. */
export function encodeLogStart(superblock: Uint8Array, log: LogStart, context: SuperContext): void {
  const view = new DataView(superblock.buffer, superblock.byteOffset, superblock.length);
  view.setUint32(0x18, log.sequence);
  view.setUint32(0x1c, log.start);
  if (!hasBlockSums(context.shape)) return;
  view.setUint32(0xfc, crcAround(context.crc, superblock, 0xfc, CRC_START));
}

type SuperContext = Omit<SumContext, 'sequence'>;

/** Whether a block would be taken for one of the journal's own. */
export function needsEscape(block: Uint8Array): boolean {
  return block[0] === 0xc0 && block[1] === 0x3b && block[2] === 0x39 && block[3] === 0x98;
}

function begin(block: Uint8Array, type: number, sequence: number): DataView {
  block.fill(0);
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  view.setUint32(0, JOURNAL_MAGIC);
  view.setUint32(4, type);
  view.setUint32(8, sequence);
  return view;
}

/** The checksum at the end of a descriptor or revoke block. */
function seal(block: Uint8Array, { shape, crc }: SumContext): void {
  const at = roomOf(block, shape);
  if (at === block.length) return;
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  view.setUint32(at, crcAround(crc, block, at, shape.seed));
}

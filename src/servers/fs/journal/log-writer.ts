/**
 * Writes a transaction into the log, and older ones to their places.
 *
 * It goes in two parts, each with a flush behind it. First the blocks of the transaction, and the
 * copies of older ones that are to be in their places; contents of files were written before. Then
 * the commit block, and the superblock if the log is to begin later. So a commit block is on the
 * device only with all that it speaks for, and the log begins later only when what it leaves behind
 * is in its place. The two writes of the second part need no order: a log that begins with this
 * transaction is empty without its commit block.
 *
 * Source: jbd2_journal_commit_transaction (fs/jbd2/commit.c). It writes to places at another time,
 * and gives those writes flushes of their own.
 */
import { BatchWriter } from '../batch-writer.ts';
import type { WritableDevice } from '../device.ts';
import { CRC_START, type Crc32c } from '../ext4/checksum.ts';
import { crc32 } from './crc32.ts';
import {
  encodeCommit,
  encodeDescriptor,
  encodeLogStart,
  encodeRevoke,
  needsEscape,
  revokesPerBlock,
  tagsPerBlock,
} from './encode.ts';
import { type Shape, type SumContext, type Tag, copySum } from './format.ts';

/** A journal that is written to. */
export interface Ring {
  readonly blockBytes: number;
  readonly first: number;
  readonly end: number;
  /** By block of the journal, the byte of the device where it begins. */
  readonly places: Float64Array;
  readonly superblock: Uint8Array;
  readonly shape: Shape;
}

export interface BlockCopy {
  readonly block: number;
  readonly bytes: Uint8Array;
}

/** What one commit writes. */
export interface CommitJob {
  readonly sequence: number;
  /** The block of the journal where the transaction begins. */
  readonly start: number;
  readonly blocks: readonly BlockCopy[];
  readonly revoked: readonly number[];
  /** Copies for their places, ascending. */
  readonly home: readonly BlockCopy[];
  /** The log is to begin with this transaction. */
  readonly first: boolean;
  /** ms since 1970. */
  readonly timeMs: number;
}

/** How many blocks of the journal a transaction takes. */
export function logBlocks(ring: Ring, blocks: number, revoked: number): number {
  const { shape, blockBytes } = ring;
  const descriptors = Math.ceil(blocks / tagsPerBlock(shape, blockBytes));
  return blocks + descriptors + Math.ceil(revoked / revokesPerBlock(shape, blockBytes)) + 1;
}

export class LogWriter {
  readonly #device: WritableDevice;
  readonly #batch: BatchWriter;
  readonly #ring: Ring;
  readonly #crc: Crc32c;
  #at = 0;

  constructor(device: WritableDevice, ring: Ring, crc: Crc32c) {
    this.#device = device;
    this.#batch = new BatchWriter(device);
    this.#ring = ring;
    this.#crc = crc;
  }

  /**
   * Returns when the transaction is on the device; one of nothing is when contents are. Throws EIO,
   * ENOSPC.
   */
  commit(job: CommitJob): void {
    if (job.blocks.length === 0 && job.revoked.length === 0) {
      this.#device.flush();
      return;
    }
    this.writeHome(job.home);
    const { shape } = this.#ring;
    const context: SumContext = { sequence: job.sequence, shape, crc: this.#crc };
    this.#at = job.start;
    this.#revokes(job.revoked, context);
    const sum = this.#copies(job.blocks, context);
    this.#clearNext();
    this.#batch.finish();
    this.#device.flush();
    encodeCommit(this.#next(), { timeMs: job.timeMs, sum }, context);
    this.#batch.finish();
    if (job.first) this.#putStart(job.sequence, job.start);
    this.#device.flush();
  }

  writeHome(copies: readonly BlockCopy[]): void {
    const { blockBytes } = this.#ring;
    for (const { block, bytes } of copies) this.#batch.write(bytes, block * blockBytes);
    this.#batch.finish();
  }

  /** The log begins at this block with this transaction; at block 0 it is empty. */
  writeStart(sequence: number, start: number): void {
    this.#putStart(sequence, start);
    this.#device.flush();
  }

  #putStart(sequence: number, start: number): void {
    const { superblock, shape, places } = this.#ring;
    encodeLogStart(superblock, { sequence, start }, { shape, crc: this.#crc });
    this.#device.write(superblock, places[0] ?? 0);
  }

  #revokes(revoked: readonly number[], context: SumContext): void {
    const most = revokesPerBlock(context.shape, this.#ring.blockBytes);
    for (let from = 0; from < revoked.length; from += most) {
      encodeRevoke(this.#next(), revoked.slice(from, from + most), context);
    }
  }

  /** Returns the sum of what it wrote, for v1. */
  #copies(copies: readonly BlockCopy[], context: SumContext): number {
    const most = tagsPerBlock(context.shape, this.#ring.blockBytes);
    const uuid = this.#ring.superblock.subarray(0x30, 0x40);
    const summed = context.shape.checksums === 'v1';
    const work = new Uint8Array(this.#ring.blockBytes);
    let sum = CRC_START;
    for (let from = 0; from < copies.length; from += most) {
      const part = copies.slice(from, from + most);
      const tags = part.map((copy) => this.#tag(copy, work, context));
      const descriptor = this.#next();
      encodeDescriptor(descriptor, tags, uuid, context);
      if (summed) sum = crc32(descriptor, sum);
      part.forEach(({ bytes }, index) => {
        const block = this.#next();
        block.set(bytes);
        if (tags[index]?.escaped === true) block.fill(0, 0, 4);
        if (summed) sum = crc32(block, sum);
      });
    }
    return sum;
  }

  #tag({ block, bytes }: BlockCopy, work: Uint8Array, context: SumContext): Tag {
    const escaped = needsEscape(bytes);
    const { checksums } = context.shape;
    if (checksums === 'none' || checksums === 'v1') return { block, escaped, checksum: 0 };
    let stored = bytes;
    if (escaped) {
      work.set(bytes);
      work.fill(0, 0, 4);
      stored = work;
    }
    return { block, escaped, checksum: copySum(stored, context) };
  }

  /**
   * Takes away what an older log left in the place of the commit block. A crash may leave the first
   * sector of that block alone; with old bytes behind it, e2fsck and Linux would take it for one
   * that is damaged, and refuse the volume, not just the transaction.
   */
  #clearNext(): void {
    const at = this.#at;
    this.#next().fill(0);
    this.#at = at;
  }

  /** The next block of the ring, to be filled in at once. */
  #next(): Uint8Array {
    const { first, end, places, blockBytes } = this.#ring;
    const place = places[this.#at] ?? 0;
    this.#at = this.#at + 1 === end ? first : this.#at + 1;
    return this.#batch.reserve(blockBytes, place);
  }
}

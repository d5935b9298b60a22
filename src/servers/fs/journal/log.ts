/**
 * The log inside a journal: which transactions it holds whole, and what they would put where.
 *
 * The log is a ring of blocks. It is read from where its superblock says, a transaction after the
 * other, until something is not of the transaction that is expected next: there the machine
 * stopped. What follows the last commit block is no transaction. Blocks of the journal are not
 * trusted: what cannot be is damage, and what was not written to its end is the end of the log.
 *
 * Source: jbd2's do_one_pass (fs/jbd2/recovery.c); what is damage there is damage here.
 */
import { CRC_START, type Crc32c } from '../ext4/checksum.ts';
import { FsError, damaged } from '../errors.ts';
import { crc32 } from './crc32.ts';
import {
  BLOCK,
  type Tag,
  be32,
  isBefore,
  isCopyWhole,
  isWhole,
  isWholeCommit,
  revokedBy,
  tagsOf,
  typeOf,
} from './format.ts';
import { type JournalSuperblock, type LogBlocks, readJournalSuperblock } from './superblock.ts';

/** A block that the log has a newer copy of. */
export interface LoggedBlock {
  /** The block of the journal that holds the copy. */
  readonly copy: number;
  /** Its first word is the journal's magic number, and zero in the copy. */
  readonly escaped: boolean;
}

export interface Log {
  /** Transactions that are whole. */
  readonly transactions: number;
  /** The first sequence that no block of the log has, whole or not. */
  readonly next: number;
  /** By block of the volume. */
  readonly blocks: ReadonlyMap<number, LoggedBlock>;
}

const CHECKSUM_TYPE_CRC32 = 1;
const FAST_COMMIT_HEAD = 9;

interface Entry extends Tag {
  readonly copy: number;
}

interface Transaction {
  readonly sequence: number;
  readonly entries: Entry[];
  readonly revoked: number[];
}

/**
 * Reads the whole log of a journal that may hold changes. `volumeBlocks` is how many blocks the
 * volume has. Throws EUCLEAN for damage, EOPNOTSUPP for features that are not known, EROFS for
 * fast commits, which only the kernel and e2fsck replay, EIO.
 */
export function readLog(blocks: LogBlocks, volumeBlocks: number, crc: Crc32c): Log {
  const superblock = readJournalSuperblock(blocks, crc);
  const after = (sequence: number): number => (sequence + 1) >>> 0;
  if (superblock.start === 0) {
    return { transactions: 0, next: after(superblock.sequence), blocks: new Map() };
  }
  const reader = new LogReader(blocks, superblock, crc);
  const transactions = reader.transactions();
  if (superblock.fastCommits) refuseFastCommits(blocks, superblock.end, reader.sequence);
  return {
    transactions: transactions.length,
    next: after(reader.sequence),
    blocks: reader.last(transactions, volumeBlocks),
  };
}

/** Fast commits lie behind the ring, and count if they follow its last transaction. */
function refuseFastCommits(blocks: LogBlocks, at: number, sequence: number): void {
  const head = blocks.read(at);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  if (view.getUint16(0, true) !== FAST_COMMIT_HEAD) return;
  if (view.getUint32(8, true) !== sequence) return;
  throw new FsError('EROFS', 'the journal holds fast commits; replay it with e2fsck');
}

class LogReader {
  /** Of the transaction that is expected next. */
  sequence: number;
  readonly #blocks: LogBlocks;
  readonly #crc: Crc32c;
  readonly #super: JournalSuperblock;
  #at: number;
  /** How many blocks of the ring are still to be read. */
  #left: number;

  constructor(blocks: LogBlocks, superblock: JournalSuperblock, crc: Crc32c) {
    this.#blocks = blocks;
    this.#crc = crc;
    this.#super = superblock;
    this.#at = superblock.start;
    this.#left = superblock.end - superblock.first;
    this.sequence = superblock.sequence;
  }

  /** All that are whole, oldest first. */
  transactions(): Transaction[] {
    const found: Transaction[] = [];
    let committed = -1n;
    for (;;) {
      const next = this.#transaction(committed);
      if (next === undefined) return found;
      found.push(next.transaction);
      committed = next.time;
      this.sequence = (this.sequence + 1) >>> 0;
    }
  }

  /** The newest copy of each block, as far as no later transaction has revoked it. */
  last(transactions: readonly Transaction[], volumeBlocks: number): Map<number, LoggedBlock> {
    const revoked = new Map<number, number>();
    for (const { sequence, revoked: blocks } of transactions) {
      for (const block of blocks) revoked.set(block, sequence);
    }
    const newest = new Map<number, LoggedBlock & { entry: Entry; sequence: number }>();
    for (const { sequence, entries } of transactions) {
      for (const entry of entries) {
        const until = revoked.get(entry.block);
        if (until !== undefined && !isBefore(until, sequence)) continue;
        if (entry.block >= volumeBlocks) {
          const { block } = entry;
          throw damaged`journal: transaction ${sequence} writes block ${block}, outside the volume`;
        }
        newest.set(entry.block, { copy: entry.copy, escaped: entry.escaped, entry, sequence });
      }
    }
    for (const { entry, sequence } of newest.values()) this.#checkCopy(entry, sequence);
    return newest;
  }

  #checkCopy(entry: Entry, sequence: number): void {
    const copy = this.#blocks.read(entry.copy);
    const context = { sequence, shape: this.#super.shape, crc: this.#crc };
    if (isCopyWhole(copy, entry, context)) return;
    throw damaged`journal: the copy of block ${entry.block} in transaction ${sequence} is damaged`;
  }

  /**
   * Reads up to the next commit block; undefined where the log ends before it. A transaction that
   * is not older than the one before, and yet damaged, was there and is lost: that is no end.
   */
  #transaction(after: bigint): { transaction: Transaction; time: bigint } | undefined {
    const { shape } = this.#super;
    const transaction: Transaction = { sequence: this.sequence, entries: [], revoked: [] };
    let whole = true;
    let sum = CRC_START;
    for (;;) {
      const block = this.#next();
      if (block === undefined) return undefined;
      switch (typeOf(block, this.sequence)) {
        case BLOCK.descriptor:
          whole &&= isWhole(block, shape, this.#crc);
          sum = this.#sumOf(block, sum);
          for (const tag of tagsOf(block, shape)) {
            const copy = this.#at;
            const bytes = this.#next(shape.checksums === 'v1');
            if (this.#left < 0) return undefined;
            if (bytes !== undefined) sum = this.#sumOf(bytes, sum);
            transaction.entries.push({ ...tag, copy });
          }
          break;
        case BLOCK.revoke: {
          const blocks = revokedBy(block, shape);
          whole &&= blocks !== undefined && isWhole(block, shape, this.#crc);
          transaction.revoked.push(...(blocks ?? []));
          break;
        }
        case BLOCK.commit: {
          const time = secondsOf(block);
          if (!whole && time >= after) {
            throw damaged`journal: transaction ${this.sequence} is damaged`;
          }
          if (!whole || !this.#isCommitted(block, sum)) return undefined;
          return { transaction, time };
        }
        default:
          return undefined;
      }
    }
  }

  #sumOf(block: Uint8Array, sum: number): number {
    return this.#super.shape.checksums === 'v1' ? crc32(block, sum) : sum;
  }

  #isCommitted(block: Uint8Array, sum: number): boolean {
    if (this.#super.shape.checksums !== 'v1') {
      return isWholeCommit(block, this.#super.shape, this.#crc);
    }
    const [type, bytes, stored] = [block[0x0c], block[0x0d], be32(block, 0x10)];
    // A commit block may carry none, as those written before checksums were asked for.
    const none = type === 0 && bytes === 0 && stored === 0;
    return none || (type === CHECKSUM_TYPE_CRC32 && bytes === 4 && stored === sum);
  }

  /** The next block of the ring; undefined past its last one, or if it need not be `wanted`. */
  #next(wanted = true): Uint8Array | undefined {
    if (--this.#left < 0) return undefined;
    const at = this.#at;
    this.#at = at + 1 === this.#super.end ? this.#super.first : at + 1;
    return wanted ? this.#blocks.read(at) : undefined;
  }
}

/** When a transaction was committed, in seconds since 1970. */
function secondsOf(commit: Uint8Array): bigint {
  const view = new DataView(commit.buffer, commit.byteOffset, commit.length);
  return view.getBigUint64(0x30);
}

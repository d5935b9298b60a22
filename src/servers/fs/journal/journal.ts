/**
 * A journal as the store of transactions.
 *
 * The log is a ring with its blocks from the oldest transaction that may have to be replayed to the
 * newest. Half of it is the most that stays in use after a commit, and the most that a transaction
 * may take, so the next one always has room. When a commit would leave more than that, it writes
 * the copies of all transactions before it to their places first, and the log begins with it.
 */
import type { BlockPool } from '../block-pool.ts';
import type { WritableDevice } from '../device.ts';
import { type Home, ascending } from '../home.ts';
import type { NewerBlock } from '../newer-blocks.ts';
import type { Store, Transaction } from '../transactions.ts';
import type { CommitRunner } from './commit-runner.ts';
import { type BlockCopy, type LogWriter, type Ring, logBlocks } from './log-writer.ts';

export interface JournalOptions {
  readonly device: WritableDevice;
  readonly home: Home;
  readonly pool: BlockPool;
  readonly ring: Ring;
  readonly runner: CommitRunner;
  readonly writer: LogWriter;
  /** Of the first transaction. */
  readonly sequence: number;
  /** ms since 1970. */
  readonly timeMs: () => number;
}

/** A transaction that is being committed. */
interface Underway {
  readonly transaction: Transaction;
  /** Blocks of the ring. */
  readonly needed: number;
  /** The log is to begin with it. */
  readonly first: boolean;
}

export class Journal implements Store {
  readonly blocksWanted: number;
  readonly #options: JournalOptions;
  readonly #writer: LogWriter;
  /** The newest committed copies that are not in their places. */
  readonly #waiting = new Map<number, NewerBlock>();
  /** Blocks that have copies in the log. */
  readonly #logged = new Set<number>();
  #underway: Underway | undefined;
  #sequence: number;
  /** The next block of the ring, and how many before it are in use. */
  #head: number;
  #used = 0;
  readonly #blocksMax: number;
  readonly #waitingMax: number;

  /** The log on the device begins with `sequence` at the first block of the ring, empty. */
  constructor(options: JournalOptions) {
    this.#options = options;
    const { ring, pool } = options;
    this.#writer = options.writer;
    this.#sequence = options.sequence;
    this.#head = ring.first;
    // The pool has room for a running transaction, one on its way, and those that wait.
    this.#blocksMax = Math.floor(pool.blocks / 4);
    this.#waitingMax = Math.floor(pool.blocks / 2);
    this.blocksWanted = Math.floor(Math.min(this.#half / 2, this.#blocksMax / 2));
  }

  fits(blocks: number, freed: number): boolean {
    const { ring } = this.#options;
    return blocks <= this.#blocksMax && logBlocks(ring, blocks, freed) < this.#half;
  }

  knows(block: number): boolean {
    return this.#logged.has(block);
  }

  start(transaction: Transaction): void {
    const { ring, timeMs, runner } = this.#options;
    const { blocks, freed } = transaction;
    const revoked = [...freed].filter((block) => this.#logged.has(block));
    const empty = blocks.size === 0 && revoked.length === 0;
    const needed = empty ? 0 : logBlocks(ring, blocks.size, revoked.length);
    const full =
      this.#used + needed > this.#half || this.#waiting.size + blocks.size > this.#waitingMax;
    const first = full && !empty;
    this.#underway = { transaction, needed, first };
    runner.start({
      sequence: this.#sequence,
      start: this.#head,
      blocks: copiesOf(blocks),
      revoked,
      home: first ? copiesOf(this.#waiting) : [],
      first,
      timeMs: timeMs(),
    });
  }

  ended(wait: boolean): boolean {
    if (!this.#options.runner.ended(wait)) return false;
    if (this.#underway !== undefined) this.#takeOver(this.#underway);
    this.#underway = undefined;
    return true;
  }

  close(): void {
    const { device, runner } = this.#options;
    runner.close();
    this.#writer.writeHome(copiesOf(this.#waiting));
    device.flush();
    this.#writer.writeStart(this.#sequence, 0);
    this.#settle();
  }

  #takeOver({ transaction, needed, first }: Underway): void {
    const { ring } = this.#options;
    if (first) {
      this.#settle();
      this.#logged.clear();
      this.#used = 0;
    }
    for (const [block, copy] of transaction.blocks) {
      this.#replace(block);
      this.#waiting.set(block, copy);
      this.#logged.add(block);
    }
    for (const block of transaction.freed) this.#replace(block);
    if (needed === 0) return;
    this.#used += needed;
    this.#head = ring.first + ((this.#head - ring.first + needed) % (ring.end - ring.first));
    this.#sequence = (this.#sequence + 1) >>> 0;
  }

  get #half(): number {
    const { first, end } = this.#options.ring;
    return Math.floor((end - first) / 2);
  }

  #settle(): void {
    for (const [block, copy] of this.#waiting) this.#options.home.settle(block, copy);
    this.#waiting.clear();
  }

  /** A later transaction has taken over the block. */
  #replace(block: number): void {
    const old = this.#waiting.get(block);
    if (old === undefined) return;
    this.#options.home.drop(old);
    this.#waiting.delete(block);
  }
}

function copiesOf(copies: ReadonlyMap<number, NewerBlock>): BlockCopy[] {
  return ascending(copies).map(([block, { bytes }]) => ({ block, bytes }));
}

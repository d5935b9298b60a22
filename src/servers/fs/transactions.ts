/**
 * Changes in transactions, over a store that makes each transaction last.
 *
 * The running transaction has a copy of each metadata block that it changed; readers see the copies
 * through the cache. What a change does to the copies is undone when it throws, from images that
 * are kept until it ends.
 *
 * Contents wait in the cache, and are written before the transaction that makes them reachable is
 * committed. When they cannot be written, it is not committed: blocks that belonged to another
 * file would show that file's bytes. Then the commit fails, all stays as it is, and the next commit
 * tries again. Contents over older ones of the same file are no such case: it alone is told, and
 * all else is committed. When metadata cannot be written, no one knows what is on the device, and
 * the volume takes no changes any more; a full device is no such case.
 */
import type { BlockPool } from './block-pool.ts';
import type { BlockCache, BlockCheck, LateWrite } from './cache.ts';
import type { Changes } from './changes.ts';
import type { WritableDevice } from './device.ts';
import { FsError, damaged, isFsError } from './errors.ts';
import type { NewerBlock, NewerBlocks } from './newer-blocks.ts';

export interface Transaction {
  readonly number: number;
  readonly blocks: Map<number, NewerBlock>;
  /** Blocks that it freed, of which older copies were in memory or in a log. */
  readonly freed: Set<number>;
}

/** Where transactions go. */
export interface Store {
  /** From this many blocks on a transaction should be committed. */
  readonly blocksWanted: number;
  /** Whether a transaction of this size can be committed at all. */
  fits(blocks: number, freed: number): boolean;
  /** Whether a copy of the block that is not in its place, or might be put there again, exists. */
  knows(block: number): boolean;
  /**
   * Begins to make the transaction last. The one before it has ended; contents were written, and
   * perhaps not flushed.
   */
  start(transaction: Transaction): void;
  /**
   * Whether that has ended, or `wait` for it; then the store has taken the copies over. Throws EIO,
   * or ENOSPC, when the same transaction may be started again.
   */
  ended(wait: boolean): boolean;
  /** Puts all in its place, and leaves a volume that needs no recovery. Throws EIO, ENOSPC. */
  close(): void;
}

/** What a change did to a block. */
interface Undo {
  /** The copy that the transaction had before, and its bytes. */
  readonly copy: NewerBlock | undefined;
  readonly bytes: Uint8Array | undefined;
  readonly shown: NewerBlock | undefined;
  readonly freed: boolean;
}

export interface TransactionsOptions {
  readonly device: WritableDevice;
  readonly cache: BlockCache;
  readonly newer: NewerBlocks;
  readonly pool: BlockPool;
  readonly store: Store;
  /** How many blocks the volume has. */
  readonly volumeBlocks: number;
}

export class Transactions implements Changes {
  beforeCommit: () => void = nothing;
  beforeClose: () => void = nothing;
  unwritten: (file?: number) => FsError | undefined = nothing;
  late: readonly LateWrite[] = [];
  readonly #device: WritableDevice;
  readonly #cache: BlockCache;
  readonly #newer: NewerBlocks;
  readonly #pool: BlockPool;
  readonly #store: Store;
  readonly #volumeBlocks: number;
  readonly #blockBytes: number;
  #running: Transaction = { number: 1, blocks: new Map(), freed: new Set() };
  /** The transaction before it, until it is committed. */
  #committing: Transaction | undefined;
  /** It did not find room, and is to be started again. */
  #refused = false;
  /** What the last transaction that began to be committed left behind. */
  #left: readonly LateWrite[] = [];
  /** Somebody waits for the running transaction. */
  #wanted = false;
  /** Of the change that runs. */
  #undo: Map<number, Undo> | undefined;
  readonly #dropped: [at: number, bytes: number][] = [];
  /** Blocks for images of changes, to be used again. */
  readonly #images: Uint8Array[] = [];
  /** Contents were written, and belong to the running transaction. */
  #wrote = false;
  /** An error of a commit that no caller asked for. */
  #untold: FsError | undefined;
  #dead: FsError | undefined;
  #lost: FsError | undefined;

  constructor(options: TransactionsOptions) {
    this.#device = options.device;
    this.#cache = options.cache;
    this.#newer = options.newer;
    this.#pool = options.pool;
    this.#store = options.store;
    this.#volumeBlocks = options.volumeBlocks;
    this.#blockBytes = options.newer.blockBytes;
  }

  get running(): number {
    return this.#running.number;
  }

  get committed(): number {
    return (this.#committing ?? this.#running).number - 1;
  }

  /** Why the volume takes no changes any more; undefined while it does. */
  get failure(): FsError | undefined {
    return this.#dead;
  }

  get lost(): FsError | undefined {
    return this.#lost;
  }

  change<T>(run: () => T): T {
    if (this.#undo !== undefined) throw new Error('Changes do not nest.');
    this.#quietly(() => {
      this.#notice(false);
    });
    if (this.#dead !== undefined) {
      throw new FsError('EROFS', 'the volume takes no changes', { cause: this.#dead });
    }
    this.#undo = new Map();
    let result: T;
    try {
      result = run();
    } catch (error) {
      this.#rollBack(this.#undo);
      throw error;
    } finally {
      this.#endChange();
    }
    if (this.#running.blocks.size >= this.#store.blocksWanted) {
      this.#quietly(() => {
        if (!this.#refused) this.#notice(true);
        this.#start();
      });
    }
    return result;
  }

  modify(block: number, check?: BlockCheck): Uint8Array {
    const undo = this.#inChange();
    const copy = this.#running.blocks.get(block);
    if (copy !== undefined) {
      if (!undo.has(block)) this.#remember(undo, block, copy);
      if (check !== undefined && copy.tag !== check.tag) {
        check.verify(copy.bytes);
        copy.tag = check.tag;
      }
      return copy.bytes;
    }
    this.#checkBlock(block);
    this.#checkRoom(1, 0);
    const at = block * this.#blockBytes;
    const old =
      check === undefined
        ? this.#cache.view(at, this.#blockBytes)
        : this.#cache.checked(at, this.#blockBytes, check);
    return this.#add(undo, block, check, old);
  }

  create(block: number, check?: BlockCheck): Uint8Array {
    const undo = this.#inChange();
    const copy = this.#running.blocks.get(block);
    if (copy === undefined) {
      this.#checkBlock(block);
      this.#checkRoom(1, 0);
      // Contents of a file that had the block need not be written.
      this.#cache.drop(block * this.#blockBytes, this.#blockBytes);
      return this.#add(undo, block, check);
    }
    if (!undo.has(block)) this.#remember(undo, block, copy);
    copy.tag = check?.tag ?? 0;
    return copy.bytes.fill(0);
  }

  forget(block: number, count: number): void {
    const undo = this.#inChange();
    for (let freed = block; freed < block + count; freed++) {
      const shown = this.#newer.get(freed);
      if (shown === undefined && !this.#store.knows(freed)) continue;
      this.#checkRoom(0, 1);
      if (!undo.has(freed)) this.#remember(undo, freed, this.#running.blocks.get(freed));
      this.#running.blocks.delete(freed);
      this.#running.freed.add(freed);
      this.#newer.delete(freed);
    }
  }

  writeData(at: number, data: Uint8Array): void {
    this.#inChange();
    this.#wrote = true;
    this.#cache.write(data, at, this.#device);
  }

  overwrite(at: number, data: Uint8Array): void {
    this.#inChange();
    this.#wrote = true;
    this.#cache.overwrite(data, at, this.#device);
  }

  writeFresh(at: number, data: Uint8Array): void {
    this.#inChange();
    this.#wrote = true;
    this.#cache.writePast(data, at, this.#device);
  }

  dropData(at: number, bytes: number): void {
    this.#inChange();
    this.#dropped.push([at, bytes]);
  }

  discard(at: number, bytes: number): void {
    this.#device.discard(at, bytes);
  }

  commit(file?: number): void {
    const last = this.begin();
    while (this.committed < last) {
      if (this.#committing === undefined || this.#refused) this.#start();
      this.#notice(true);
    }
    const unwritten = this.unwritten(file);
    if (unwritten !== undefined) throw unwritten;
  }

  begin(): number {
    if (this.#undo !== undefined) throw new Error('A transaction ends between two changes.');
    this.#tell();
    this.#notice(false);
    this.beforeCommit();
    const last = this.#hasWork() ? this.#running.number : this.#running.number - 1;
    if (this.#committing === undefined || this.#refused) this.#start();
    this.#wanted ||= last === this.#running.number;
    return last;
  }

  poll(): void {
    this.#tell();
    this.#notice(false);
  }

  /** Commits, and puts all in its place: the volume needs no recovery. Throws as `commit`. */
  close(): void {
    this.commit();
    this.beforeClose();
    try {
      this.#store.close();
    } finally {
      this.#dead = new FsError('EROFS', 'the volume is closed');
    }
  }

  #hasWork(): boolean {
    const { blocks, freed } = this.#running;
    return this.#wrote || blocks.size > 0 || freed.size > 0;
  }

  /** Begins the commit of the transaction that was refused, else of the running one. */
  #start(): void {
    if (this.#refused && this.#committing !== undefined) {
      this.#refused = false;
      this.#store.start(this.#committing);
      return;
    }
    if (!this.#hasWork()) return;
    this.#wanted = false;
    const left = this.#cache.writeOut(this.#device);
    // Those who wait for the transaction before it are told what that left behind.
    this.late = [...this.#left, ...left];
    this.#left = left;
    // The next commit has something to do.
    this.#wrote = left.length > 0;
    this.#committing = this.#running;
    const number = this.#running.number + 1;
    this.#running = { number, blocks: new Map(), freed: new Set() };
    this.#store.start(this.#committing);
  }

  /** Learns whether the commit under way has ended. Throws what it failed with. */
  #notice(wait: boolean): void {
    if (this.#committing === undefined || this.#refused || this.#dead !== undefined) return;
    try {
      if (!this.#store.ended(wait)) return;
    } catch (error) {
      if (isFsError(error)) this.#fail(error, this.#committing);
      throw error;
    }
    this.#committing = undefined;
    this.late = this.#left;
    if (this.#wanted) this.#start();
  }

  /** Contents that are lost were told of; metadata that is lost ends all changes. */
  #fail(error: FsError, { blocks, freed }: Transaction): void {
    if (error.code !== 'ENOSPC') this.#lost ??= error;
    if (error.code === 'ENOSPC') this.#refused = true;
    else if (blocks.size > 0 || freed.size > 0) this.#dead = error;
    else this.#committing = undefined;
  }

  /** Throws what nobody was told yet, and why there are no more commits. */
  #tell(): void {
    const untold = this.#untold ?? this.#dead;
    this.#untold = undefined;
    if (untold !== undefined) throw untold;
  }

  /** The caller did not ask for a commit, so its error is kept for the next one who does. */
  #quietly(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!isFsError(error)) throw error;
      this.#untold = error;
    }
  }

  #inChange(): Map<number, Undo> {
    if (this.#undo === undefined) throw new Error('Blocks are modified inside of a change.');
    return this.#undo;
  }

  #checkBlock(block: number): void {
    if (block >= 0 && block < this.#volumeBlocks) return;
    throw damaged`block ${block} is outside the volume`;
  }

  #checkRoom(blocks: number, freed: number): void {
    const running = this.#running;
    if (this.#store.fits(running.blocks.size + blocks, running.freed.size + freed)) return;
    throw new FsError('ENOSPC', 'the change is larger than the journal can hold');
  }

  /** Puts a copy of a block into the transaction: of `old`, or zeros. */
  #add(undo: Map<number, Undo>, block: number, check?: BlockCheck, old?: Uint8Array): Uint8Array {
    if (!undo.has(block)) this.#remember(undo, block, undefined);
    const bytes = this.#pool.take();
    if (old === undefined) bytes.fill(0);
    else bytes.set(old);
    const copy = { bytes, tag: check?.tag ?? 0 };
    this.#running.blocks.set(block, copy);
    this.#running.freed.delete(block);
    this.#newer.set(block, copy);
    return bytes;
  }

  #remember(undo: Map<number, Undo>, block: number, copy: NewerBlock | undefined): void {
    let bytes: Uint8Array | undefined;
    if (copy !== undefined) {
      bytes = this.#images.pop() ?? new Uint8Array(this.#blockBytes);
      bytes.set(copy.bytes);
    }
    const shown = this.#newer.get(block);
    undo.set(block, { copy, bytes, shown, freed: this.#running.freed.has(block) });
  }

  #rollBack(undo: Map<number, Undo>): void {
    this.#dropped.length = 0;
    for (const [block, { copy, bytes, shown, freed }] of undo) {
      const now = this.#running.blocks.get(block);
      if (now !== undefined && now !== copy) this.#pool.give(now.bytes);
      if (copy === undefined || bytes === undefined) this.#running.blocks.delete(block);
      else {
        copy.bytes.set(bytes);
        copy.tag = 0;
        this.#running.blocks.set(block, copy);
      }
      if (shown === undefined) this.#newer.delete(block);
      else this.#newer.set(block, shown);
      if (freed) this.#running.freed.add(block);
      else this.#running.freed.delete(block);
    }
  }

  /** Gives back what only the change needed. */
  #endChange(): void {
    const undo = this.#undo ?? new Map<number, Undo>();
    this.#undo = undefined;
    for (const [block, { copy, bytes }] of undo) {
      if (bytes !== undefined && this.#images.length < IMAGES_KEPT) this.#images.push(bytes);
      const replaced = copy !== undefined && this.#running.blocks.get(block) !== copy;
      if (replaced) this.#pool.give(copy.bytes);
    }
    for (const [at, bytes] of this.#dropped) this.#cache.drop(at, bytes);
    this.#dropped.length = 0;
  }
}

const IMAGES_KEPT = 256;

function nothing(): undefined {
  // Unless told otherwise nothing waits for a commit.
}

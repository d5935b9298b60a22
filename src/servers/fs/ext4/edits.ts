/**
 * One change of a volume, from the first block to the last: what the parts of the writer share.
 *
 * Parts keep in memory what they change often (inodes, group descriptors, counters of the
 * superblock) and bring it into its blocks when the change ends (`flush`). When a change fails they
 * go back to what the blocks say (`undo`); `settle` says that it is done. So a failed change leaves
 * neither disk nor memory changed.
 */
import type { BlockCheck } from '../cache.ts';
import { type Changes, NO_FILE } from '../changes.ts';
import { isFsError, isFull } from '../errors.ts';
import type { Disk } from './disk.ts';

/** A part that keeps something of a change in memory. */
export interface Edited {
  flush(): void;
  undo(): void;
  settle(): void;
}

/**
 * A long call takes a new change when its last one has touched so many blocks: a journal of the
 * least size, 1024 blocks, takes transactions of a quarter of it.
 */
const BLOCKS_PER_CHANGE = 64;

export class Edits {
  readonly #disk: Disk;
  readonly #changes: Changes;
  readonly #parts: Edited[] = [];
  readonly #touched = new Set<number>();
  #depth = 0;
  #afterwards: (() => void)[] = [];
  /** Blocks that a commit would make free; the allocator keeps it. */
  waitingBlocks: () => number = () => 0;
  /** Blocks that are promised to delayed contents: more than they will take. */
  promisedBlocks: () => number = () => 0;
  /** No block was free in the change under way; the allocator says so. */
  lacksBlocks = false;

  constructor(disk: Disk, changes: Changes) {
    this.#disk = disk;
    this.#changes = changes;
  }

  /** Parts flush in the order in which they joined. */
  join(part: Edited): void {
    this.#parts.push(part);
  }

  get running(): number {
    return this.#changes.running;
  }

  get committed(): number {
    return this.#changes.committed;
  }

  /** Whether a long call had better go on in another change. */
  get full(): boolean {
    return this.#touched.size >= BLOCKS_PER_CHANGE;
  }

  /** Whether the caller is inside a change that it did not begin itself. */
  get nested(): boolean {
    return this.#depth > 0;
  }

  /**
   * Runs a change; inside another one it is part of that. When space is short and a commit would
   * free some, it commits and runs the change a second time.
   */
  change<T>(run: () => T): T {
    if (this.#depth > 0) return run();
    try {
      return this.#once(run);
    } catch (error) {
      const promised = this.lacksBlocks && this.promisedBlocks() > 0;
      // What waits for a commit is free already as far as the quota counts.
      const hopes = promised || (isFsError(error, 'ENOSPC') && this.waitingBlocks() > 0);
      if (!isFull(error) || !hopes) throw error;
      this.#changes.commit(NO_FILE);
      return this.#once(run);
    }
  }

  /**
   * See `Changes.commit`, for who asks for one file: between two changes, and so in a step that
   * runs afterwards.
   */
  commit(file: number): void {
    this.#changes.commit(file);
  }

  /** Runs `step` when the change that is under way is done, and not if it fails. */
  afterwards(step: () => void): void {
    this.#afterwards.push(step);
  }

  modify(block: number, check?: BlockCheck): Uint8Array {
    this.#touched.add(block);
    return this.#changes.modify(block, check);
  }

  create(block: number): Uint8Array {
    this.#touched.add(block);
    return this.#changes.create(block);
  }

  /** Blocks that are free now: metadata, or contents of a file. */
  discard(block: number, count: number, isMetadata: boolean): void {
    const { blockBytes } = this.#disk;
    if (isMetadata) this.#changes.forget(block, count);
    else this.#changes.dropData(block * blockBytes, count * blockBytes);
  }

  writeData(at: number, data: Uint8Array): void {
    this.#changes.writeData(at, data);
  }

  overwrite(at: number, data: Uint8Array): void {
    this.#changes.overwrite(at, data);
  }

  writeFresh(at: number, data: Uint8Array): void {
    this.#changes.writeFresh(at, data);
  }

  /** Zeros over part of the contents of a file. */
  zeroData(at: number, bytes: number): void {
    const zeros = new Uint8Array(Math.min(bytes, 64 * this.#disk.blockBytes));
    for (let done = 0; done < bytes; done += zeros.length) {
      this.#changes.writeData(at + done, zeros.subarray(0, Math.min(zeros.length, bytes - done)));
    }
  }

  #once<T>(run: () => T): T {
    let result: T;
    this.#depth++;
    this.lacksBlocks = false;
    this.#touched.clear();
    this.#afterwards = [];
    try {
      result = this.#changes.change(() => {
        const value = run();
        for (const part of this.#parts) part.flush();
        return value;
      });
    } catch (error) {
      for (const part of this.#parts) part.undo();
      throw error;
    } finally {
      this.#depth--;
    }
    for (const part of this.#parts) part.settle();
    const steps = this.#afterwards;
    this.#afterwards = [];
    for (const step of steps) step();
    return result;
  }
}

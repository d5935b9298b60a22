/**
 * Contents that have no blocks yet: what was written to holes and behind the end of files, until it
 * is written out.
 *
 * Each delayed block is a page of a pool of fixed size. For each of them a block of the volume is
 * promised, and so many more as the map of the file may need, so that writing out never fails for
 * want of space: who writes is told. The idea is that of Linux's ext4 ("delalloc").
 *
 * What a change adds or drops is undone when it fails; what it wrote into pages stays, as do
 * contents in the cache.
 */
import type { Disk } from './disk.ts';
import type { Edited, Edits } from './edits.ts';
import { ENTRY_BYTES, HEADER_BYTES, ROOT_ENTRIES } from './extents.ts';
import { INODE_MAP_AT, type Inode } from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { u16 } from './layout.ts';

/** The pool, unless told. It takes memory as it is used. */
const POOL_BYTES = 32 << 20;

/** The delayed blocks of one file, which is pinned meanwhile. */
interface DelayedFile {
  readonly inode: Inode;
  /** Pages by logical block. */
  readonly pages: Map<number, number>;
  /** Not less than how many runs of neighbours there are. */
  runs: number;
  promised: number;
}

/** A step of a change: a page that a file got, or lost. */
interface Step {
  readonly file: DelayedFile;
  readonly logical: number;
  readonly page: number;
  readonly added: boolean;
}

export interface DelayedRun {
  readonly from: number;
  readonly to: number;
}

export class Delayed implements Edited {
  /** Blocks of data that are promised. */
  blocks = 0;
  /** The same, with those of maps. */
  promised = 0;
  readonly #table: InodeTable;
  readonly #blockBytes: number;
  readonly #nodeEntries: number;
  readonly #pool: Uint8Array;
  readonly #free: number[] = [];
  /** Pages from here on were never used. */
  #unused = 0;
  /** By inode number; the first one waits the longest. */
  readonly #files = new Map<number, DelayedFile>();
  /** Of the change under way. */
  #steps: Step[] = [];
  readonly #touched = new Set<DelayedFile>();

  constructor(disk: Disk, edits: Edits, table: InodeTable, poolBytes: number = POOL_BYTES) {
    const { blockBytes } = disk;
    this.#table = table;
    this.#blockBytes = blockBytes;
    this.#nodeEntries = Math.floor((blockBytes - HEADER_BYTES - 4) / ENTRY_BYTES);
    this.#pool = new Uint8Array(Math.max(1, Math.floor(poolBytes / blockBytes)) * blockBytes);
    edits.join(this);
  }

  get pages(): number {
    return this.#pool.length / this.#blockBytes;
  }

  get pagesFree(): number {
    return this.#free.length + this.pages - this.#unused;
  }

  /** Files with delayed blocks, the one that waits the longest first. */
  get files(): Inode[] {
    return [...this.#files.values()].map(({ inode }) => inode);
  }

  has(number: number): boolean {
    return (this.#files.get(number)?.pages.size ?? 0) > 0;
  }

  count(number: number): number {
    return this.#files.get(number)?.pages.size ?? 0;
  }

  /** The contents of a delayed block, to be read or written; undefined if it is none. */
  page(number: number, logical: number): Uint8Array | undefined {
    const page = this.#files.get(number)?.pages.get(logical);
    return page === undefined ? undefined : this.#bytes(page);
  }

  /** The first delayed block from `logical` on, Infinity if there is none. */
  next(number: number, logical: number): number {
    let first = Infinity;
    for (const block of this.#files.get(number)?.pages.keys() ?? []) {
      if (block >= logical && block < first) first = block;
    }
    return first;
  }

  /** The delayed blocks of a file, ascending. */
  runs(number: number): DelayedRun[] {
    const blocks = [...(this.#files.get(number)?.pages.keys() ?? [])].sort((a, b) => a - b);
    const runs: { from: number; to: number }[] = [];
    for (const block of blocks) {
      const run = runs.at(-1);
      if (run?.to === block) run.to++;
      else runs.push({ from: block, to: block + 1 });
    }
    return runs;
  }

  /**
   * A page of zeros for a block that is in a hole. Undefined when there is none, or when more
   * blocks than `available` would be promised in all.
   */
  add(inode: Inode, logical: number, available: number): Uint8Array | undefined {
    const page = this.pagesFree > 0 ? this.#take() : undefined;
    if (page === undefined) return undefined;
    const file = this.#fileOf(inode);
    this.#touched.add(file);
    const { runs } = file;
    this.#put({ file, logical, page, added: true });
    if (this.promised > available) {
      file.runs = runs;
      this.#takeOut(file, logical);
      this.#free.push(page);
      return undefined;
    }
    this.#steps.push({ file, logical, page, added: true });
    return this.#bytes(page).fill(0);
  }

  /** The blocks `[from, to)` are not delayed any more: they are written out, or of no use. */
  drop(number: number, { from, to }: DelayedRun): void {
    const file = this.#files.get(number);
    if (file === undefined) return;
    this.#touched.add(file);
    const count = to - from;
    const few = count < file.pages.size;
    const blocks = few
      ? Array.from({ length: count }, (_, index) => from + index)
      : file.pages.keys();
    for (const logical of [...blocks]) {
      const page = file.pages.get(logical);
      if (page === undefined || logical < from || logical >= to) continue;
      this.#takeOut(file, logical);
      this.#steps.push({ file, logical, page, added: false });
    }
  }

  flush(): void {
    // Nothing of this is on the device.
  }

  undo(): void {
    const steps = this.#steps.reverse();
    this.#steps = [];
    for (const step of steps) {
      if (step.added) {
        this.#takeOut(step.file, step.logical);
        this.#free.push(step.page);
      } else this.#put(step);
    }
    this.#forgetEmpty();
  }

  settle(): void {
    const steps = this.#steps;
    this.#steps = [];
    for (const { page, added } of steps) if (!added) this.#free.push(page);
    this.#forgetEmpty();
  }

  #bytes(page: number): Uint8Array {
    return this.#pool.subarray(page * this.#blockBytes, (page + 1) * this.#blockBytes);
  }

  #take(): number {
    return this.#free.pop() ?? this.#unused++;
  }

  #fileOf(inode: Inode): DelayedFile {
    const known = this.#files.get(inode.number);
    if (known !== undefined) return known;
    const file = { inode, pages: new Map<number, number>(), runs: 0, promised: 0 };
    this.#files.set(inode.number, file);
    this.#table.pin(inode);
    return file;
  }

  #put({ file, logical, page }: Step): void {
    if (!file.pages.has(logical - 1)) file.runs++;
    file.pages.set(logical, page);
    this.blocks++;
    this.#promise(file);
  }

  #takeOut(file: DelayedFile, logical: number): void {
    file.pages.delete(logical);
    this.blocks--;
    this.#promise(file);
  }

  /** A file without delayed blocks is as any other. */
  #forgetEmpty(): void {
    for (const { inode, pages } of this.#touched) {
      if (pages.size > 0) continue;
      this.#files.delete(inode.number);
      this.#table.unpin(inode);
    }
    this.#touched.clear();
  }

  #promise(file: DelayedFile): void {
    const promised = file.pages.size + this.#nodes(file);
    this.promised += promised - file.promised;
    file.promised = promised;
  }

  /**
   * Nodes of the extent tree that the blocks may need when no two of them lie together. The first
   * one of a run may split a full node in each level; then half a node fits in before the next
   * split.
   */
  #nodes({ inode, pages, runs }: DelayedFile): number {
    const { size } = pages;
    const depth = u16(inode.raw, INODE_MAP_AT + 6);
    const entries = u16(inode.raw, INODE_MAP_AT + 2);
    if (size === 0 || (depth === 0 && entries + size <= ROOT_ENTRIES)) return 0;
    return runs * (depth + 1) + Math.ceil((2 * size) / this.#nodeEntries) + depth + 2;
  }
}

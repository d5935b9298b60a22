/**
 * Contents that have no blocks yet: what was written to holes and behind the end of files, until it
 * is written out.
 *
 * Each delayed block has a page of a pool of fixed size; blocks that follow one another have pages
 * that do, if there is room, so that long contents come in one piece and leave in one. For each of
 * them a block of the volume is promised, and so many more as the map of the file may need, so that
 * writing out never fails for want of space: who writes is told. The idea is that of Linux's ext4
 * ("delalloc").
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
import { PagePool } from './page-pool.ts';

/** The pool, unless told. It takes memory as it is used. */
const DELAYED_BYTES = 32 << 20;

/** Delayed blocks that follow one another, and so do their pages. */
interface Piece {
  logical: number;
  count: number;
  page: number;
}

/** The delayed blocks of one file, which is pinned meanwhile. */
interface DelayedFile {
  readonly inode: Inode;
  /** Ascending; those that could be one are one. */
  readonly pieces: Piece[];
  blocks: number;
  promised: number;
}

/** A step of a change: pages that a file got, or lost. */
interface Step extends Readonly<Piece> {
  readonly file: DelayedFile;
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
  readonly #nodeEntries: number;
  readonly #pool: PagePool;
  /** By inode number; the first one waits the longest. */
  readonly #files = new Map<number, DelayedFile>();
  /** Of the change under way. */
  #steps: Step[] = [];
  readonly #touched = new Set<DelayedFile>();

  constructor(disk: Disk, edits: Edits, table: InodeTable, memory?: Uint8Array) {
    const { blockBytes } = disk;
    this.#table = table;
    this.#nodeEntries = Math.floor((blockBytes - HEADER_BYTES - 4) / ENTRY_BYTES);
    this.#pool = new PagePool(memory ?? new Uint8Array(DELAYED_BYTES), blockBytes);
    edits.join(this);
  }

  get pages(): number {
    return this.#pool.pages;
  }

  get pagesFree(): number {
    return this.#pool.free;
  }

  /** Files with delayed blocks, the one that waits the longest first. */
  get files(): Inode[] {
    return [...this.#files.values()].map(({ inode }) => inode);
  }

  has(number: number): boolean {
    return this.count(number) > 0;
  }

  count(number: number): number {
    return this.#files.get(number)?.blocks ?? 0;
  }

  /**
   * Delayed blocks from `logical` on whose contents lie together, `count` at most, to be read or
   * written; undefined if that is none.
   */
  find(number: number, logical: number, count: number): Uint8Array | undefined {
    const pieces = this.#files.get(number)?.pieces;
    const piece = pieces?.[indexAt(pieces, logical)];
    if (piece === undefined) return undefined;
    const into = logical - piece.logical;
    if (into >= piece.count) return undefined;
    return this.#pool.bytes(piece.page + into, Math.min(count, piece.count - into));
  }

  /** The first delayed block from `logical` on, Infinity if there is none. */
  next(number: number, logical: number): number {
    const pieces = this.#files.get(number)?.pieces ?? [];
    const index = indexAt(pieces, logical);
    const piece = pieces[index];
    if (piece !== undefined && logical < piece.logical + piece.count) return logical;
    return pieces[index + 1]?.logical ?? Infinity;
  }

  /** The delayed blocks of a file, ascending. */
  runs(number: number): DelayedRun[] {
    return runsOf(this.#files.get(number)?.pieces ?? []);
  }

  /**
   * Pages for blocks from `logical` on that are in a hole, `count` at most, as far as they lie
   * together. They hold anything: the caller fills them. Undefined when there is none, or when more
   * blocks than `available` would be promised in all.
   */
  add(inode: Inode, logical: number, count: number, available: number): Uint8Array | undefined {
    const wanted = Math.min(count, this.next(inode.number, logical) - logical);
    const page = this.#pool.take(wanted);
    if (page === undefined) return undefined;
    const file = this.#fileOf(inode);
    this.#touched.add(file);
    for (let taken = page.count; taken > 0; taken = Math.floor(taken / 2)) {
      this.#put(file, { logical, count: taken, page: page.first });
      if (this.promised <= available) {
        this.#pool.give(page.first + taken, page.count - taken);
        this.#steps.push({ file, logical, count: taken, page: page.first, added: true });
        return this.#pool.bytes(page.first, taken);
      }
      this.#takeOut(file, logical, logical + taken);
    }
    this.#pool.give(page.first, page.count);
    return undefined;
  }

  /** The blocks `[from, to)` are not delayed any more: they are written out, or of no use. */
  drop(number: number, { from, to }: DelayedRun): void {
    const file = this.#files.get(number);
    if (file === undefined) return;
    this.#touched.add(file);
    for (const piece of this.#takeOut(file, from, to)) {
      this.#steps.push({ file, ...piece, added: false });
    }
  }

  flush(): void {
    // Nothing of this is on the device.
  }

  undo(): void {
    const steps = this.#steps.reverse();
    this.#steps = [];
    for (const { file, logical, count, page, added } of steps) {
      if (added) {
        this.#takeOut(file, logical, logical + count);
        this.#pool.give(page, count);
      } else this.#put(file, { logical, count, page });
    }
    this.#forgetEmpty();
  }

  settle(): void {
    const steps = this.#steps;
    this.#steps = [];
    for (const { page, count, added } of steps) if (!added) this.#pool.give(page, count);
    this.#forgetEmpty();
  }

  #fileOf(inode: Inode): DelayedFile {
    const known = this.#files.get(inode.number);
    if (known !== undefined) return known;
    const file = { inode, pieces: [], blocks: 0, promised: 0 };
    this.#files.set(inode.number, file);
    this.#table.pin(inode);
    return file;
  }

  #put(file: DelayedFile, piece: Piece): void {
    const { pieces } = file;
    // The piece grows if it is joined with what follows.
    const { count } = piece;
    const index = indexAt(pieces, piece.logical);
    const before = pieces[index];
    const after = pieces[index + 1];
    const joins = before !== undefined && follows(before, piece);
    if (joins) before.count += piece.count;
    else pieces.splice(index + 1, 0, piece);
    const joined = joins ? before : piece;
    if (after !== undefined && follows(joined, after)) {
      joined.count += after.count;
      pieces.splice(joins ? index + 1 : index + 2, 1);
    }
    this.#count(file, count);
  }

  /** Returns the pieces of `[from, to)` that the file had. */
  #takeOut(file: DelayedFile, from: number, to: number): Piece[] {
    const { pieces } = file;
    const out: Piece[] = [];
    const left: Piece[] = [];
    const first = Math.max(0, indexAt(pieces, from));
    let index = first;
    for (; index < pieces.length; index++) {
      const piece = pieces[index];
      if (piece === undefined || piece.logical >= to) break;
      for (const [part, list] of [
        [cut(piece, piece.logical, from), left],
        [cut(piece, from, to), out],
        [cut(piece, to, Infinity), left],
      ] as const) {
        if (part.count > 0) list.push(part);
      }
    }
    pieces.splice(first, index - first, ...left);
    this.#count(file, -out.reduce((sum, { count }) => sum + count, 0));
    return out;
  }

  /** The file has so many more blocks: what is promised follows. */
  #count(file: DelayedFile, blocks: number): void {
    file.blocks += blocks;
    this.blocks += blocks;
    const promised = file.blocks + this.#nodes(file);
    this.promised += promised - file.promised;
    file.promised = promised;
  }

  /** A file without delayed blocks is as any other. */
  #forgetEmpty(): void {
    for (const { inode, blocks } of this.#touched) {
      if (blocks > 0) continue;
      this.#files.delete(inode.number);
      this.#table.unpin(inode);
    }
    this.#touched.clear();
  }
  /**
   * Nodes of the extent tree that the blocks may need when no two of them lie together. The first
   * one of a run may split a full node in each level; then half a node fits in before the next
   * split.
   */
  #nodes({ inode, pieces, blocks }: DelayedFile): number {
    const depth = u16(inode.raw, INODE_MAP_AT + 6);
    const entries = u16(inode.raw, INODE_MAP_AT + 2);
    if (blocks === 0 || (depth === 0 && entries + blocks <= ROOT_ENTRIES)) return 0;
    const perNode = Math.ceil((2 * blocks) / this.#nodeEntries);
    return runsOf(pieces).length * (depth + 1) + perNode + depth + 2;
  }
}

/** The last piece that begins at `logical` or before, -1 if there is none. */
function indexAt(pieces: readonly Piece[], logical: number): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((pieces[middle]?.logical ?? Infinity) <= logical) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Whether both could be one. */
function follows(before: Piece, { logical, page }: Piece): boolean {
  return before.logical + before.count === logical && before.page + before.count === page;
}

/** What of the piece is in `[from, to)`. */
function cut({ logical, count, page }: Piece, from: number, to: number): Piece {
  const start = Math.max(logical, from);
  return {
    logical: start,
    count: Math.min(logical + count, to) - start,
    page: page + start - logical,
  };
}

function runsOf(pieces: readonly Piece[]): DelayedRun[] {
  const runs: { from: number; to: number }[] = [];
  for (const { logical, count } of pieces) {
    const run = runs.at(-1);
    if (run?.to === logical) run.to += count;
    else runs.push({ from: logical, to: logical + count });
  }
  return runs;
}

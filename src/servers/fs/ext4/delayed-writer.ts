/**
 * Delays contents, and writes them out: then whole runs of them get their blocks at once, so that
 * files lie together whose contents came in small pieces, or side by side.
 *
 * Contents are written out before each commit that was asked for, before calls that look at the
 * map of the file, and when the pool is short. A step of it is a change of its own: blocks, map and
 * the size that the volume is told go together, in ascending order, and the contents are written
 * before that is committed. So a crash shows neither what the blocks held before, nor a size behind
 * the contents.
 */
import type { BlockAllocator } from './block-allocator.ts';
import type { Delayed } from './delayed.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import type { FileMaps } from './file-maps.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { type Inode, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';

/** How far one run of contents goes: extents of unwritten blocks are no longer. */
export const RUN_BLOCKS_MAX = 32767;
/** Files from this size on keep a window, as large as they are, up to the second number. */
const WINDOW_BLOCKS_MIN = 16;
const WINDOW_BLOCKS_MAX = 2048;
/** What is written at a time. */
const WRITE_BYTES = 1 << 20;
/** Of the pool, as much is made free at a time. */
const FREED_SHARE = 1 / 4;

export interface DelayedWriterParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly allocator: BlockAllocator;
  readonly inodes: InodeEditor;
  readonly maps: FileMaps;
  readonly delayed: Delayed;
}

/** Bytes for a hole: `into` its first block. */
interface Contents {
  readonly logical: number;
  readonly count: number;
  readonly into: number;
  readonly data: Uint8Array;
}

export class DelayedWriter {
  /** Whether somebody has the file open, so that it may still grow. */
  isOpen: (number: number) => boolean = () => false;
  readonly #parts: DelayedWriterParts;
  readonly #blockBytes: number;
  #stage: Uint8Array | undefined;
  #writesOut = false;

  constructor(parts: DelayedWriterParts) {
    const { edits, delayed } = parts;
    this.#parts = parts;
    this.#blockBytes = parts.disk.blockBytes;
    edits.promisedBlocks = () => delayed.promised;
  }

  /**
   * Takes contents for blocks that are in a hole; returns how many bytes, 0 if there is no room in
   * the pool or on the volume, or the file has no extents.
   */
  delay(edited: EditedInode, { logical, count, into, data }: Contents): number {
    if (!hasFlag(edited, INODE_FLAG.extents)) return 0;
    const { allocator, delayed } = this.#parts;
    const bytes = Math.min(data.length, count * this.#blockBytes - into);
    let done = 0;
    while (done < bytes) {
      const at = into + done;
      const block = logical + Math.floor(at / this.#blockBytes);
      const page =
        delayed.page(edited.number, block) ?? delayed.add(edited, block, allocator.promisable);
      if (page === undefined) break;
      const offset = at % this.#blockBytes;
      const part = Math.min(bytes - done, this.#blockBytes - offset);
      page.set(data.subarray(done, done + part), offset);
      done += part;
    }
    return done;
  }

  /** Between two changes: sees to it that the pool has room for so many bytes, or is empty. */
  makeRoom(bytes: number): void {
    const { delayed } = this.#parts;
    const wanted = Math.min(Math.ceil(bytes / this.#blockBytes) + 1, delayed.pages);
    if (delayed.pagesFree >= wanted) return;
    const enough = Math.max(wanted, delayed.pages * FREED_SHARE);
    for (const inode of delayed.files) {
      if (delayed.pagesFree >= enough) return;
      this.writeOut(inode);
    }
  }

  /** Writes out all but files that are gone with the next crash. Throws EIO, ENOSPC. */
  writeOutAll(): void {
    if (this.#writesOut) return;
    for (const inode of this.#parts.delayed.files) {
      if (inode.links > 0 || this.isOpen(inode.number)) this.writeOut(inode);
    }
  }

  /** Writes out one file. Throws EIO, ENOSPC; then what is left stays delayed. */
  writeOut(inode: Inode): void {
    const { edits, inodes, allocator, delayed } = this.#parts;
    const before = [this.#writesOut, allocator.redeems] as const;
    [this.#writesOut, allocator.redeems] = [true, true];
    try {
      while (delayed.has(inode.number)) {
        edits.change(() => {
          this.#writeSome(inodes.edit(inode));
        });
      }
    } finally {
      [this.#writesOut, allocator.redeems] = before;
    }
  }

  /** Allocates blocks for the start of a hole, and maps them. */
  takeBlocks(
    edited: EditedInode,
    wanted: { readonly logical: number; readonly count: number; readonly written: boolean },
    window: number,
  ): { first: number; count: number } {
    const { allocator, maps } = this.#parts;
    const { first, count } = allocator.allocate({
      goal: maps.goal(edited, wanted.logical),
      count: Math.min(wanted.count, RUN_BLOCKS_MAX),
      owner: edited.number,
      ...(window > 0 ? { window } : {}),
    });
    maps.of(edited).insert(edited, { ...wanted, physical: first, count });
    return { first, count };
  }

  /** How many blocks behind its end a file of this size keeps. */
  windowOf(fileBlocks: number): number {
    return fileBlocks < WINDOW_BLOCKS_MIN ? 0 : Math.min(fileBlocks, WINDOW_BLOCKS_MAX);
  }

  /** The size that the volume is told, when no delayed contents are below `size` any more. */
  tellSize(edited: EditedInode, size: number): void {
    const told = Math.max(edited.diskSize ?? edited.size, Math.min(size, edited.size));
    const waits = edited.diskSize !== undefined && this.#parts.delayed.has(edited.number);
    edited.diskSize = waits && told < edited.size ? told : undefined;
  }

  #writeSome(edited: EditedInode): void {
    const { edits, delayed } = this.#parts;
    const end = Math.ceil(edited.size / this.#blockBytes);
    for (const { from, to } of delayed.runs(edited.number)) {
      for (let at = from; at < to;) {
        if (at > from && edits.full) return;
        const grows = to >= end && this.isOpen(edited.number);
        const wanted = { logical: at, count: to - at, written: true };
        const { first, count } = this.takeBlocks(edited, wanted, grows ? this.windowOf(end) : 0);
        this.#writePages(edited.number, at, { first, count });
        delayed.drop(edited.number, { from: at, to: at + count });
        at += count;
        this.tellSize(edited, at * this.#blockBytes);
      }
      if (edits.full) return;
    }
  }

  #writePages(number: number, logical: number, run: { first: number; count: number }): void {
    const { edits, delayed } = this.#parts;
    const stage = (this.#stage ??= new Uint8Array(WRITE_BYTES));
    const blocks = Math.floor(stage.length / this.#blockBytes);
    for (let done = 0; done < run.count; done += blocks) {
      const part = Math.min(blocks, run.count - done);
      for (let index = 0; index < part; index++) {
        const page = delayed.page(number, logical + done + index);
        if (page !== undefined) stage.set(page, index * this.#blockBytes);
      }
      const at = (run.first + done) * this.#blockBytes;
      edits.writeFresh(at, stage.subarray(0, part * this.#blockBytes));
    }
  }
}

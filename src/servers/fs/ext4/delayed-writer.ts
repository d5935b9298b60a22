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
import { type Incoming, bytesOf, put } from './incoming.ts';
import { type FsError, isFsError } from '../errors.ts';
import { type Inode, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';

/** How far one run of contents goes: extents of unwritten blocks are no longer. */
export const RUN_BLOCKS_MAX = 32767;
/** Files from this size on keep a window, as large as they are, up to the second number. */
const WINDOW_BLOCKS_MIN = 16;
const WINDOW_BLOCKS_MAX = 2048;
/** Shorter pieces are put together before they are written, up to the second number. */
const PIECE_BYTES_MIN = 64 << 10;
const WRITE_BYTES = 1 << 20;
/** Of the pool, as much a file may have before it is written out, and is written at a time. */
const FILE_SHARE = 1 / 8;
const WRITTEN_SHARE = 1 / 16;

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
  readonly data: Uint8Array | Incoming;
}

export class DelayedWriter {
  /** Whether somebody has the file open, so that it may still grow. */
  isOpen: (number: number) => boolean = () => false;
  readonly #parts: DelayedWriterParts;
  readonly #blockBytes: number;
  #stage: Uint8Array | undefined;
  #writesOut = false;
  readonly #unwritten = new Map<number, FsError>();

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
    let source = data;
    let done = 0;
    while (done < bytes) {
      const at = into + done;
      const block = logical + Math.floor(at / this.#blockBytes);
      const offset = at % this.#blockBytes;
      const blocks = Math.ceil((offset + bytes - done) / this.#blockBytes);
      const known = delayed.find(edited.number, block, blocks);
      const pages = known ?? delayed.add(edited, block, blocks, allocator.promisable);
      if (pages === undefined) break;
      const end = Math.min(offset + bytes - done, pages.length);
      if (known === undefined) {
        pages.fill(0, 0, offset);
        pages.fill(0, end);
      }
      const part = end - offset;
      if (part < source.length && part < PIECE_BYTES_MIN) source = bytesOf(source);
      put(pages.subarray(offset, end), source.subarray(done, done + part));
      done += part;
    }
    return done;
  }

  /**
   * Between two changes, before `bytes` come to a file: sees to it that the pool has room for them,
   * or holds only what cannot be written. What a long file has is written out while it comes, not
   * all of it at the end.
   */
  makeRoom(inode: Inode, bytes: number): void {
    const { delayed } = this.#parts;
    const step = Math.max(1, Math.floor(delayed.pages * WRITTEN_SHARE));
    const count = delayed.count(inode.number);
    if (count >= 2 && count >= delayed.pages * FILE_SHARE) this.writeOut(inode, step);
    const wanted = Math.min(Math.ceil(bytes / this.#blockBytes) + 1, delayed.pages);
    if (delayed.pagesFree >= wanted) return;
    for (const waiting of delayed.files) {
      while (delayed.pagesFree < wanted && delayed.has(waiting.number)) {
        if (this.#tryWriteOut(waiting, step) !== undefined) break;
      }
    }
  }

  /** Writes out all but files that are gone with the next crash; see `unwritten`. */
  writeOutAll(): void {
    if (this.#writesOut) return;
    this.#unwritten.clear();
    for (const inode of this.#parts.delayed.files) {
      if (inode.links === 0 && !this.isOpen(inode.number)) continue;
      const error = this.#tryWriteOut(inode);
      if (error !== undefined) this.#unwritten.set(inode.number, error);
    }
  }

  /** Why the last `writeOutAll` left contents of the file, or of any one, behind: EIO, ENOSPC. */
  unwritten(file?: number): FsError | undefined {
    if (file !== undefined) return this.#unwritten.get(file);
    const [first] = this.#unwritten.values();
    return first;
  }

  /**
   * Writes out one file, the first `blocks` of its delayed ones. Throws EIO, ENOSPC; then what is
   * left stays delayed.
   */
  writeOut(inode: Inode, blocks = Infinity): void {
    const { edits, inodes, allocator, delayed } = this.#parts;
    const before = [this.#writesOut, allocator.redeems] as const;
    [this.#writesOut, allocator.redeems] = [true, true];
    try {
      let left = blocks;
      while (left > 0 && delayed.has(inode.number)) {
        left -= edits.change(() => this.#writeSome(inodes.edit(inode), left));
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

  #tryWriteOut(inode: Inode, blocks?: number): FsError | undefined {
    try {
      this.writeOut(inode, blocks);
      return undefined;
    } catch (error) {
      if (isFsError(error)) return error;
      throw error;
    }
  }

  /** Returns how many blocks were written out. */
  #writeSome(edited: EditedInode, blocks: number): number {
    const { edits, delayed } = this.#parts;
    const end = Math.ceil(edited.size / this.#blockBytes);
    let left = blocks;
    for (const { from, to } of delayed.runs(edited.number)) {
      for (let at = from; at < to && left > 0;) {
        if (at > from && edits.full) return blocks - left;
        const goesOn = to - at > left || (to >= end && this.isOpen(edited.number));
        const wanted = { logical: at, count: Math.min(to - at, left), written: true };
        const { first, count } = this.takeBlocks(edited, wanted, goesOn ? this.windowOf(end) : 0);
        this.#writePages(edited.number, at, { first, count });
        delayed.drop(edited.number, { from: at, to: at + count });
        at += count;
        left -= count;
        this.tellSize(edited, at * this.#blockBytes);
      }
      if (edits.full || left === 0) break;
    }
    return blocks - left;
  }

  #writePages(number: number, logical: number, run: { first: number; count: number }): void {
    const { edits, delayed } = this.#parts;
    const stage = (this.#stage ??= new Uint8Array(WRITE_BYTES));
    let staged = 0;
    let at = run.first * this.#blockBytes;
    const write = (data: Uint8Array): void => {
      if (data.length > 0) edits.writeFresh(at, data);
      at += data.length;
    };
    for (let done = 0; done < run.count;) {
      const pages = delayed.find(number, logical + done, run.count - done);
      if (pages === undefined) throw new Error('What is written out is delayed.');
      done += pages.length / this.#blockBytes;
      const isLong = pages.length >= PIECE_BYTES_MIN;
      if (isLong || staged + pages.length > stage.length) {
        write(stage.subarray(0, staged));
        staged = 0;
      }
      if (isLong) write(pages);
      else {
        stage.set(pages, staged);
        staged += pages.length;
      }
    }
    write(stage.subarray(0, staged));
  }
}

/**
 * Contents of regular files: written, cut off, allocated and punched.
 *
 * Contents go to their blocks in place, or wait until they are given blocks (`DelayedWriter`); only
 * the map and the inode are part of the transaction. A
 * call that takes long is cut into several changes: each leaves a file that is as it could have
 * been asked for, and a file that is being cut off is on the list of orphans meanwhile, so that a
 * crash does not leave blocks behind its end.
 */
import type { LateWrite } from '../cache.ts';
import { NO_FILE } from '../changes.ts';
import { FsError, isFull } from '../errors.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { BlockRange } from './block-map.ts';
import type { AllocateMode, ByteRange } from './changing.ts';
import type { Delayed } from './delayed.ts';
import { type DelayedWriter, RUN_BLOCKS_MAX } from './delayed-writer.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import type { FileMaps } from './file-maps.ts';
import type { InlineEditor } from './inline-editor.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import type { InodeTable } from './inode-table.ts';
import { type Incoming, bytesOf } from './incoming.ts';
import { type Inode, type Run, fileType, hasFlag } from './inode.ts';
import { INODE_FLAG, MODE, RO_COMPAT } from './layout.ts';
import type { Orphans } from './orphans.ts';
import { RangeMover } from './range-mover.ts';
import type { SuperblockEditor } from './superblock-editor.ts';

const SMALL_FILE_BYTES_MAX = 2 ** 31 - 1;

export interface FileParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly allocator: BlockAllocator;
  readonly inodes: InodeEditor;
  readonly table: InodeTable;
  readonly superblock: SuperblockEditor;
  readonly maps: FileMaps;
  readonly inline: InlineEditor;
  readonly delayed: Delayed;
  readonly delayedWriter: DelayedWriter;
  readonly orphans: Orphans;
}

/** Where in a run a write begins. */
interface RunAt {
  readonly run: Run;
  /** Blocks of the run before it. */
  readonly skipped: number;
  /** Bytes of its first block before it. */
  readonly into: number;
  readonly blocks: number;
}

export class FileEditor {
  readonly #parts: FileParts;
  readonly #blockBytes: number;
  readonly #mover: RangeMover;

  constructor(parts: FileParts) {
    this.#parts = parts;
    this.#blockBytes = parts.disk.blockBytes;
    const setSize = (edited: EditedInode, size: number): void => {
      this.#setSize(edited, size);
    };
    this.#mover = new RangeMover({ ...parts, setSize }, this.#blockBytes);
  }

  /** See `VolumeWriter.write`. */
  write(inode: Inode, offset: number, data: Uint8Array | Incoming): number {
    checkRegular(inode);
    if (hasFlag(inode, INODE_FLAG.append) && offset < inode.size) throw forbidden(inode);
    const bytes = Math.min(data.length, this.#bytesMax(inode) - offset);
    if (bytes <= 0 && data.length > 0) throw tooLarge(inode);
    let done = 0;
    let step = bytes;
    while (done < bytes) {
      const part = data.subarray(done, Math.min(bytes, done + step));
      if (!this.#parts.edits.nested) this.#parts.delayedWriter.makeRoom(inode, part.length);
      try {
        done += this.#parts.edits.change(() => this.#writePart(inode, offset + done, part));
      } catch (error) {
        if (!isFull(error) || this.#parts.edits.nested) throw error;
        // The map may need blocks too, so the last ones are found by trying less and less, down to
        // one block: what was written over in place before the failure is then counted.
        const first = this.#blockBytes - ((offset + done) % this.#blockBytes);
        if (part.length <= first) {
          if (done > 0) return done;
          throw error;
        }
        const half = Math.floor((part.length - first) / 2 / this.#blockBytes);
        step = first + half * this.#blockBytes;
      }
    }
    return done;
  }

  /** See `VolumeWriter.truncate`. */
  truncate(inode: Inode, size: number): void {
    checkRegular(inode);
    if (hasFlag(inode, INODE_FLAG.append)) throw forbidden(inode);
    if (!Number.isSafeInteger(size) || size < 0) throw new FsError('EINVAL', 'the size');
    if (size > this.#bytesMax(inode)) throw tooLarge(inode);
    const { edits, inodes, allocator } = this.#parts;
    edits.change(() => {
      const edited = inodes.edit(inode);
      allocator.dropWindow(inode.number);
      if (this.#inlineResized(edited, size)) return;
      const cutOff = size < inode.size;
      const from = Math.ceil(size / this.#blockBytes);
      this.#parts.delayed.drop(inode.number, { from, to: Infinity });
      this.#zeroTail(edited, Math.min(size, inode.size));
      this.#setSize(edited, size);
      inodes.touch(edited);
      if (cutOff) this.#cutOff(edited);
    });
  }

  /** Goes on with what a crash, or a full change, left of a truncate. */
  finishTruncate(inode: Inode): void {
    const { edits, inodes } = this.#parts;
    edits.change(() => {
      const edited = inodes.edit(inode);
      if (hasFlag(inode, INODE_FLAG.inlineData) || !hasMap(inode)) {
        this.#parts.orphans.remove(edited);
        return;
      }
      this.#zeroTail(edited, inode.size);
      this.#cutOff(edited);
    });
  }

  /** See `VolumeWriter.allocate`. */
  allocate(inode: Inode, mode: AllocateMode, range: ByteRange): void {
    checkRegular(inode);
    const { offset, bytes } = range;
    const end = offset + bytes;
    if (offset < 0 || bytes <= 0 || !Number.isSafeInteger(end)) {
      throw new FsError('EINVAL', 'the range');
    }
    if (end > this.#bytesMax(inode) && mode !== 'punchHole') throw tooLarge(inode);
    if (hasFlag(inode, INODE_FLAG.append) && !mode.startsWith('allocate')) throw forbidden(inode);
    this.#parts.delayedWriter.writeOut(inode);
    switch (mode) {
      case 'allocate':
      case 'keepSize':
        this.#allocateBlocks(inode, range, mode === 'keepSize');
        return;
      case 'punchHole':
        this.#punch(inode, { offset, bytes: Math.min(end, this.#mapEnd(inode)) - offset });
        return;
      case 'zeroRange':
      case 'zeroRangeKeepSize':
        this.#zeroRange(inode, range, mode === 'zeroRangeKeepSize');
        return;
      case 'collapseRange':
        this.#needsExtents(inode);
        this.#mover.collapse(inode, range);
        return;
      case 'insertRange':
        this.#needsExtents(inode);
        this.#mover.insert(inode, range, this.#bytesMax(inode));
        return;
    }
  }

  /** Frees every block of a file without names, as far as one change goes: true if all of them. */
  freeBlocks(edited: EditedInode): boolean {
    if (!hasMap(edited) || hasFlag(edited, INODE_FLAG.inlineData)) return true;
    const map = this.#parts.maps.of(edited);
    this.#parts.delayed.drop(edited.number, { from: 0, to: Infinity });
    return map.remove(edited, { from: 0, to: map.blocksMax }) === 0;
  }

  /** Why one of these writes over contents of the file, or of any one, was not done. */
  unwritten(late: readonly LateWrite[], file?: number): FsError | undefined {
    if (late.length === 0 || file === undefined) return late[0]?.error;
    if (file === NO_FILE) return undefined;
    const inode = this.#parts.table.get(file);
    if (!hasMap(inode) || hasFlag(inode, INODE_FLAG.inlineData)) return undefined;
    const map = this.#parts.maps.of(inode);
    for (let logical = 0, end = this.#mapEnd(inode) / this.#blockBytes; logical < end;) {
      const run = map.find(inode, logical);
      logical = run.logical + run.count;
      if (run.physical === 0) continue;
      const from = run.physical * this.#blockBytes;
      const to = from + run.count * this.#blockBytes;
      const found = late.find(({ at, bytes }) => at < to && from < at + bytes);
      if (found !== undefined) return found.error;
    }
    return undefined;
  }

  #bytesMax(inode: Inode): number {
    const first = this.#parts.disk.superblock.revision === 0;
    const blocks = this.#parts.maps.of(inode).blocksMax;
    const bytes = Math.min(blocks * this.#blockBytes, Number.MAX_SAFE_INTEGER);
    return first ? Math.min(bytes, SMALL_FILE_BYTES_MAX) : bytes;
  }

  #setSize(edited: EditedInode, size: number): void {
    edited.size = size;
    this.#parts.delayedWriter.tellSize(edited, 0);
    if (size > SMALL_FILE_BYTES_MAX) this.#parts.superblock.needs(RO_COMPAT.largeFile);
  }

  /** Resizes a file that is inline and stays so; else sees to it that it is not. */
  #inlineResized(edited: EditedInode, size: number): boolean {
    if (!hasFlag(edited, INODE_FLAG.inlineData)) return false;
    if (size > edited.size) {
      this.#parts.inline.toBlocks(edited);
      return false;
    }
    this.#parts.inline.shorten(edited, size);
    this.#parts.inodes.touch(edited);
    return true;
  }

  #writePart(inode: Inode, offset: number, data: Uint8Array | Incoming): number {
    const { edits, inodes, inline } = this.#parts;
    const edited = inodes.edit(inode);
    if (hasFlag(edited, INODE_FLAG.inlineData)) inline.toBlocks(edited);
    if (offset > edited.size) this.#zeroTail(edited, edited.size);
    let source = data;
    let done = 0;
    while (done < data.length && !(edits.full && done > 0)) {
      // What goes to several places is fetched once.
      if (done > 0) source = bytesOf(source);
      const part = source.subarray(done, data.length);
      const bytes =
        this.#overwrite(edited, offset + done, part) || this.#delay(edited, offset + done, part);
      if (bytes === 0 && done > 0) break;
      done += bytes > 0 ? bytes : this.#writeNow(edited, offset + done, part);
    }
    inodes.touch(edited);
    return done;
  }

  /** Writes over contents that have blocks; returns how many bytes. */
  #overwrite(edited: EditedInode, at: number, data: Uint8Array | Incoming): number {
    const { run, skipped, blocks, into } = this.#runAt(edited, at, data.length);
    if (run.physical === 0) return 0;
    const bytes = Math.min(data.length, blocks * this.#blockBytes - into);
    const place = (run.physical + skipped) * this.#blockBytes + into;
    this.#parts.edits.overwrite(place, bytesOf(data.subarray(0, bytes)));
    this.#grow(edited, at + bytes);
    return bytes;
  }

  /** Takes contents for a hole, as far as there is room; returns how many bytes. */
  #delay(edited: EditedInode, at: number, data: Uint8Array | Incoming): number {
    const { run, skipped, blocks, into } = this.#runAt(edited, at, data.length);
    if (run.unwritten !== undefined) return 0;
    const hole = { logical: run.logical + skipped, count: blocks, into, data };
    const bytes = this.#parts.delayedWriter.delay(edited, hole);
    const told = edited.diskSize ?? edited.size;
    this.#grow(edited, at + bytes);
    if (edited.size > told) edited.diskSize = told;
    return bytes;
  }

  /** Writes into new blocks, or such as are allocated and not written. */
  #writeNow(edited: EditedInode, at: number, data: Uint8Array | Incoming): number {
    // What is written now may lie behind the size that the volume is told.
    this.#parts.delayedWriter.writeOut(edited);
    const { run, skipped, blocks, into } = this.#runAt(edited, at, data.length);
    const range = { logical: run.logical + skipped, count: blocks };
    const fresh = this.#freshBlocks(edited, run, range);
    const bytes = this.#writeFresh(fresh, { into, data: bytesOf(data) });
    this.#grow(edited, at + bytes);
    return bytes;
  }

  /** The run that holds byte `at`, and how many blocks of it `bytes` from there on touch. */
  #runAt(edited: EditedInode, at: number, bytes: number): RunAt {
    const logical = Math.floor(at / this.#blockBytes);
    const into = at - logical * this.#blockBytes;
    const run = this.#parts.maps.of(edited).find(edited, logical);
    const skipped = logical - run.logical;
    const touched = Math.ceil((into + bytes) / this.#blockBytes);
    return { run, skipped, into, blocks: Math.min(touched, run.count - skipped, RUN_BLOCKS_MAX) };
  }

  #grow(edited: EditedInode, size: number): void {
    if (size > edited.size) this.#setSize(edited, size);
  }

  /** Blocks for contents: those that are allocated and not written, or new ones. */
  #freshBlocks(
    edited: EditedInode,
    run: Run,
    { logical, count }: { logical: number; count: number },
  ): { first: number; count: number } {
    if (run.unwritten === undefined) {
      return this.#takeBlocks(edited, { logical, count, written: true });
    }
    this.#parts.maps.of(edited).mark(edited, { from: logical, to: logical + count }, true);
    return { first: run.unwritten + logical - run.logical, count };
  }

  /** Writes into blocks that hold nothing yet: zeros before and behind the data. */
  #writeFresh(
    run: { first: number; count: number },
    { into, data }: { into: number; data: Uint8Array },
  ): number {
    const { edits } = this.#parts;
    const start = run.first * this.#blockBytes;
    const bytes = Math.min(data.length, run.count * this.#blockBytes - into);
    let done = 0;
    if (into > 0) {
      const block = new Uint8Array(this.#blockBytes);
      done = Math.min(bytes, this.#blockBytes - into);
      block.set(data.subarray(0, done), into);
      edits.writeData(start, block);
    }
    const whole = Math.floor((bytes - done) / this.#blockBytes) * this.#blockBytes;
    if (whole > 0) edits.writeData(start + into + done, data.subarray(done, done + whole));
    done += whole;
    if (done < bytes) {
      const block = new Uint8Array(this.#blockBytes);
      block.set(data.subarray(done, bytes));
      edits.writeData(start + into + done, block);
    }
    return bytes;
  }

  #takeBlocks(
    edited: EditedInode,
    wanted: { logical: number; count: number; written: boolean },
  ): { first: number; count: number } {
    const { delayedWriter } = this.#parts;
    const fileBlocks = Math.ceil(edited.size / this.#blockBytes);
    const grows = wanted.logical >= fileBlocks;
    return delayedWriter.takeBlocks(edited, wanted, grows ? delayedWriter.windowOf(fileBlocks) : 0);
  }

  /** What lies behind the end in the last block reads as zeros when the file grows. */
  #zeroTail(edited: EditedInode, size: number): void {
    const into = size % this.#blockBytes;
    if (into > 0) this.#zeroBytes(edited, { offset: size, bytes: this.#blockBytes - into });
  }

  /** Zeros over bytes of one block, if it has contents. */
  #zeroBytes(edited: EditedInode, { offset, bytes }: ByteRange): void {
    if (bytes <= 0) return;
    const logical = Math.floor(offset / this.#blockBytes);
    const into = offset - logical * this.#blockBytes;
    this.#parts.delayed.find(edited.number, logical, 1)?.fill(0, into, into + bytes);
    const run = this.#parts.maps.of(edited).find(edited, logical);
    if (run.physical === 0) return;
    const at = (run.physical - run.logical) * this.#blockBytes + offset;
    this.#parts.edits.zeroData(at, bytes);
  }

  /** Frees the blocks behind the end, in further changes if one does not take it. */
  #cutOff(edited: EditedInode): void {
    const { edits, maps, orphans } = this.#parts;
    const map = maps.of(edited);
    const from = Math.ceil(edited.size / this.#blockBytes);
    if (map.remove(edited, { from, to: map.blocksMax }) <= from) {
      if (edited.links > 0) orphans.remove(edited);
      return;
    }
    orphans.add(edited);
    edits.afterwards(() => {
      this.finishTruncate(edited);
    });
  }

  #mapEnd(inode: Inode): number {
    const { blocksMax } = this.#parts.maps.of(inode);
    return Math.min(blocksMax * this.#blockBytes, Number.MAX_SAFE_INTEGER);
  }

  /** The whole blocks of a range of bytes. */
  #within({ offset, bytes }: ByteRange): BlockRange {
    const from = Math.ceil(offset / this.#blockBytes);
    return { from, to: Math.max(from, Math.floor((offset + bytes) / this.#blockBytes)) };
  }

  #needsExtents(inode: Inode): void {
    const inline = hasFlag(inode, INODE_FLAG.inlineData);
    if (hasFlag(inode, INODE_FLAG.extents) || (inline && this.#parts.maps.newHaveExtents)) return;
    throw new FsError('EOPNOTSUPP', `inode ${String(inode.number)} has no extents`);
  }

  #allocateBlocks(inode: Inode, { offset, bytes }: ByteRange, keepSize: boolean): void {
    this.#needsExtents(inode);
    const range = {
      from: Math.floor(offset / this.#blockBytes),
      to: Math.ceil((offset + bytes) / this.#blockBytes),
    };
    this.#fill(inode, range, (edited, at) => this.#allocateRun(edited, at));
    this.#finish(inode, keepSize ? 0 : offset + bytes);
  }

  /** Runs `step` from the start of a range to its end; each tells where the next one begins. */
  #fill(
    inode: Inode,
    range: BlockRange,
    step: (edited: EditedInode, at: BlockRange) => number,
  ): void {
    const { edits, inodes, inline } = this.#parts;
    let at = range.from;
    while (at < range.to) {
      at = edits.change(() => {
        const edited = inodes.edit(inode);
        if (hasFlag(edited, INODE_FLAG.inlineData)) inline.toBlocks(edited);
        let next = at;
        while (next < range.to && !(edits.full && next > at)) {
          next = step(edited, { from: next, to: range.to });
        }
        return next;
      });
    }
  }

  #allocateRun(edited: EditedInode, { from, to }: BlockRange): number {
    const map = this.#parts.maps.of(edited);
    const run = map.find(edited, from);
    const end = Math.min(run.logical + run.count, to);
    if (run.physical !== 0 || run.unwritten !== undefined) return end;
    const count = Math.min(end - from, RUN_BLOCKS_MAX);
    return from + this.#takeBlocks(edited, { logical: from, count, written: false }).count;
  }

  #zeroRun(edited: EditedInode, { from, to }: BlockRange): number {
    const map = this.#parts.maps.of(edited);
    const run = map.find(edited, from);
    if (run.physical === 0) return this.#allocateRun(edited, { from, to });
    const end = Math.min(run.logical + run.count, to, from + RUN_BLOCKS_MAX);
    map.mark(edited, { from, to: end }, false);
    return end;
  }

  #zeroRange(inode: Inode, range: ByteRange, keepSize: boolean): void {
    this.#needsExtents(inode);
    this.#zeroEdges(inode, range);
    this.#fill(inode, this.#within(range), (edited, at) => this.#zeroRun(edited, at));
    this.#finish(inode, keepSize ? 0 : range.offset + range.bytes);
  }

  #punch(inode: Inode, range: ByteRange): void {
    const { edits, inodes, maps } = this.#parts;
    this.#zeroEdges(inode, range);
    const { from, to } = this.#within(range);
    for (let end = to; end > from;) {
      end = edits.change(() => {
        const edited = inodes.edit(inode);
        return maps.of(edited).remove(edited, { from, to: end });
      });
    }
    this.#finish(inode, 0);
  }

  /** Zeros over the parts of blocks at both ends of a range. */
  #zeroEdges(inode: Inode, { offset, bytes }: ByteRange): void {
    const { edits, inodes, inline } = this.#parts;
    edits.change(() => {
      const edited = inodes.edit(inode);
      if (hasFlag(edited, INODE_FLAG.inlineData)) inline.toBlocks(edited);
      const end = offset + bytes;
      const firstEnd = Math.ceil(offset / this.#blockBytes) * this.#blockBytes;
      this.#zeroBytes(edited, { offset, bytes: Math.min(firstEnd, end) - offset });
      const lastStart = Math.floor(end / this.#blockBytes) * this.#blockBytes;
      if (lastStart >= firstEnd) {
        this.#zeroBytes(edited, { offset: lastStart, bytes: end - lastStart });
      }
    });
  }

  #finish(inode: Inode, sizeMin: number): void {
    const { edits, inodes } = this.#parts;
    edits.change(() => {
      const edited = inodes.edit(inode);
      if (sizeMin > edited.size) {
        this.#zeroTail(edited, edited.size);
        this.#setSize(edited, sizeMin);
      }
      inodes.touch(edited);
    });
  }
}

/** Devices, pipes and sockets have no map; a short symlink has its target there. */
function hasMap(inode: Inode): boolean {
  switch (fileType(inode)) {
    case MODE.regular:
    case MODE.directory:
      return true;
    case MODE.symlink:
      return hasFlag(inode, INODE_FLAG.extents) || inode.size >= 60;
    default:
      return false;
  }
}

function checkRegular(inode: Inode): void {
  if (fileType(inode) === MODE.directory) {
    throw new FsError('EISDIR', `inode ${String(inode.number)}`);
  }
  if (fileType(inode) !== MODE.regular) {
    throw new FsError('EINVAL', `inode ${String(inode.number)} is no regular file`);
  }
  if (hasFlag(inode, INODE_FLAG.immutable)) throw forbidden(inode);
}

function forbidden(inode: Inode): FsError {
  return new FsError('EPERM', `inode ${String(inode.number)} is marked as not to be changed so`);
}

function tooLarge(inode: Inode): FsError {
  return new FsError('EFBIG', `inode ${String(inode.number)} cannot be so large`);
}

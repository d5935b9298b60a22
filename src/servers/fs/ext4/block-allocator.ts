/**
 * Gives blocks to files and takes them back.
 *
 * A request names a goal, normally the block behind the file's last one, and gets a run that begins
 * there, or the first run that is long enough from there on, or the longest that there is. A file
 * that grows keeps a window: free blocks behind its last run that no other file is given while
 * there are others. Windows are in memory alone, and there are few of them.
 *
 * Blocks that a transaction freed are given out when that is committed: a crash before would bring
 * back the file that had them. They are kept as bitmaps by transaction and group, so what is kept
 * is bounded by the bitmaps of the groups that two or three transactions touched.
 *
 * A group whose bitmap cannot be read gives nothing while others have room; then it is asked again.
 */
import { FsError, damaged, isFsError } from '../errors.ts';
import type { Discards } from './discards.ts';
import type { Disk } from './disk.ts';
import type { Edited, Edits } from './edits.ts';
import { type FreeRun, findRun, freeFrom } from './free-runs.ts';
import { type Group, type GroupsEditor, clearBits, setBits } from './groups-editor.ts';
import type { SuperblockEditor } from './superblock-editor.ts';

export interface BlockRequest {
  /** The block that would be best, 0 for any. */
  readonly goal: number;
  readonly count: number;
  /** The inode whose window it may use, 0 for none. */
  readonly owner: number;
  /** How many blocks behind the run are to be its window from now on. */
  readonly window?: number;
}

const WINDOWS_MAX = 64;
/** Fewer blocks at the goal are not worth parting a longer run for. */
const NEAR_BLOCKS_MIN = 16;

/** What one transaction freed. */
interface Waiting {
  readonly bitmaps: Map<number, Uint8Array>;
  blocks: number;
}

export class BlockAllocator implements Edited {
  /** Whether the caller may have the reserved blocks. */
  privileged = true;
  /** Whether it is delayed contents that get blocks now: those that were promised to them. */
  redeems = false;
  /** How many of the free blocks the quota leaves. */
  quotaLeft: (blocksFree: number) => number = () => Infinity;
  /** Is told of blocks that are free for good; undefined: nobody wants to know. */
  discards: Discards | undefined;
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #groups: GroupsEditor;
  readonly #superblock: SuperblockEditor;
  /** By owner, the longest unused first. */
  readonly #windows = new Map<number, FreeRun>();
  /** By transaction. */
  readonly #waiting = new Map<number, Waiting>();
  /** What the change under way added to it. */
  #marks: FreeRun[] = [];
  /** Groups whose bitmaps could not be read, and why. */
  readonly #unread = new Map<Group, FsError>();

  constructor(disk: Disk, edits: Edits, groups: GroupsEditor, superblock: SuperblockEditor) {
    this.#disk = disk;
    this.#edits = edits;
    this.#groups = groups;
    this.#superblock = superblock;
    edits.join(this);
    edits.waitingBlocks = () => {
      this.release();
      let blocks = 0;
      for (const waiting of this.#waiting.values()) blocks += waiting.blocks;
      return blocks;
    };
  }

  /** How many blocks the caller may have, or have promised, together with all that are. */
  get promisable(): number {
    const { blocksFree } = this.#superblock.state;
    return Math.min(this.#unreserved, this.quotaLeft(blocksFree));
  }

  /**
   * Between one and `count` blocks that lie together, in use from now on. Throws ENOSPC, EDQUOT
   * when the volume has more than the quota leaves, EUCLEAN, EIO when the rest cannot be read.
   */
  allocate(request: BlockRequest): FreeRun {
    this.release();
    const { blocksFree } = this.#superblock.state;
    const available = this.redeems ? blocksFree : this.promisable - this.#edits.promisedBlocks();
    const wanted = { ...request, count: Math.min(request.count, available) };
    const found = available > 0 ? this.#find(wanted) : undefined;
    if (found === undefined) {
      this.#edits.lacksBlocks = true;
      const overQuota = available <= 0 && this.promisable < this.#unreserved;
      if (overQuota) throw new FsError('EDQUOT', 'the quota leaves no block');
      const [unread] = this.#unread.values();
      if (available > 0 && unread !== undefined) throw unread;
      throw new FsError('ENOSPC', 'no block is free');
    }
    const { group, run } = found;
    setBits(this.#groups.modify(group, 'blocks'), run.first, run.count);
    this.discards?.remove(group, run.first, run.count);
    this.#groups.countBlocks(group, -run.count);
    const first = group.firstBlock + run.first;
    if (request.owner !== 0) this.#setWindow(request, group, run);
    return { first, count: run.count };
  }

  /** Throws EUCLEAN for blocks that are not in use, or that no file can have. */
  free(first: number, count: number): void {
    if (!this.#disk.holdsBlocks(first, count)) {
      throw damaged`block ${first} (${count} blocks) is outside the volume, and cannot be freed`;
    }
    for (let done = 0; done < count;) {
      const group = this.#groups.groupOfBlock(first + done);
      const at = first + done - group.firstBlock;
      const part = Math.min(count - done, group.blocks - at);
      this.#checkNotOwn(group, first + done, part);
      clearBits(this.#groups.modify(group, 'blocks'), at, part);
      this.#groups.countBlocks(group, part);
      group.longestFree = group.blocks;
      this.#wait(group, { first: at, count: part });
      done += part;
    }
  }

  /** The file does not grow any more. */
  dropWindow(owner: number): void {
    const window = this.#windows.get(owner);
    if (window === undefined) return;
    this.#windows.delete(owner);
    this.#groups.groupOfBlock(window.first).longestFree = this.#disk.superblock.blocksPerGroup;
  }

  flush(): void {
    // The bitmaps are changed as blocks are.
  }

  undo(): void {
    const waiting = this.#waiting.get(this.#edits.running);
    for (const { first, count } of this.#marks) {
      const group = this.#groups.groupOfBlock(first);
      const bitmap = waiting?.bitmaps.get(group.number);
      if (waiting === undefined || bitmap === undefined) continue;
      clearBits(bitmap, first - group.firstBlock, count);
      waiting.blocks -= count;
    }
    this.settle();
  }

  settle(): void {
    this.#marks = [];
  }

  /** How many blocks the volume has for the caller. */
  get #unreserved(): number {
    const { blocksReserved } = this.#disk.superblock.counts;
    return this.#superblock.state.blocksFree - (this.privileged ? 0 : blocksReserved);
  }

  #checkNotOwn(group: Group, first: number, count: number): void {
    const { superblock, blockBytes } = this.#disk;
    const tableBytes = superblock.inodesPerGroup * superblock.inodeBytes;
    const own: readonly (readonly [number, number])[] = [
      [group.blockBitmap, 1],
      [group.inodeBitmap, 1],
      [group.inodeTable, Math.ceil(tableBytes / blockBytes)],
    ];
    for (const [start, length] of own) {
      if (first < start + length && start < first + count) {
        throw damaged`block ${first} (${count} blocks) is of group ${group.number} itself`;
      }
    }
  }

  #wait(group: Group, run: FreeRun): void {
    const { running, committed } = this.#edits;
    if (committed >= running) return;
    let waiting = this.#waiting.get(running);
    if (waiting === undefined) {
      waiting = { bitmaps: new Map(), blocks: 0 };
      this.#waiting.set(running, waiting);
    }
    let bitmap = waiting.bitmaps.get(group.number);
    if (bitmap === undefined) {
      bitmap = new Uint8Array(this.#disk.blockBytes);
      waiting.bitmaps.set(group.number, bitmap);
    }
    setBits(bitmap, run.first, run.count);
    waiting.blocks += run.count;
    this.#marks.push({ first: group.firstBlock + run.first, count: run.count });
  }

  /** Forgets what committed transactions freed: it may be given away. */
  release(): void {
    for (const [transaction, waiting] of this.#waiting) {
      if (transaction > this.#edits.committed) continue;
      this.#waiting.delete(transaction);
      for (const [number, freed] of waiting.bitmaps) {
        const group = this.#groups.at(number);
        this.discards?.add(group, freed);
        group.longestFree = group.blocks;
      }
    }
  }

  #find(request: BlockRequest): { group: Group; run: FreeRun } | undefined {
    const found = this.#findNear(request) ?? this.#findLongest(request);
    if (found !== undefined || (this.#windows.size === 0 && this.#unread.size === 0)) return found;
    for (const owner of [...this.#windows.keys()]) this.dropWindow(owner);
    for (const group of this.#unread.keys()) group.longestFree = group.blocks;
    this.#unread.clear();
    return this.#findLongest(request);
  }

  /** At the goal, or a long enough run behind it. */
  #findNear({ goal, count, owner }: BlockRequest): { group: Group; run: FreeRun } | undefined {
    const groups = this.#groups.all;
    const start = this.#disk.holdsBlocks(goal, 1) ? this.#groups.groupOfBlock(goal).number : 0;
    for (let step = 0; step < groups.length; step++) {
      const group = this.#groups.at((start + step) % groups.length);
      const from = step === 0 ? Math.max(goal - group.firstBlock, 0) : 0;
      if (group.blocksFree === 0 || (step > 0 && group.longestFree < count)) continue;
      const bitmap = this.#taken(group, owner);
      if (bitmap === undefined) continue;
      const atGoal = step === 0 ? freeFrom(bitmap, from, Math.min(from + count, group.blocks)) : 0;
      if (atGoal >= Math.min(count, NEAR_BLOCKS_MIN)) {
        return { group, run: { first: from, count: atGoal } };
      }
      const run = findRun(bitmap, { from, to: group.blocks }, count);
      if (run.count >= count) return { group, run: { first: run.first, count } };
      if (from === 0) group.longestFree = run.count;
    }
    return undefined;
  }

  /** The longest run that there is. The bounds of the groups shrink until one of them is true. */
  #findLongest({ count, owner }: BlockRequest): { group: Group; run: FreeRun } | undefined {
    for (;;) {
      let best: Group | undefined;
      for (const group of this.#groups.all) {
        if (Math.min(group.longestFree, group.blocksFree) > longest(best)) best = group;
      }
      if (best === undefined) return undefined;
      const bound = longest(best);
      const bitmap = this.#taken(best, owner);
      if (bitmap === undefined) continue;
      const run = findRun(bitmap, { from: 0, to: best.blocks }, bound);
      best.longestFree = run.count;
      if (run.count < bound) continue;
      return { group: best, run: { first: run.first, count: Math.min(count, run.count) } };
    }
  }

  /**
   * A copy of the group's bitmap, with all that may not be given to `owner`. Undefined when it
   * cannot be read: from then on no run of the group is longer than 0.
   */
  #taken(group: Group, owner: number): Uint8Array | undefined {
    const bitmap = this.#read(group);
    if (bitmap === undefined) return undefined;
    for (const { bitmaps } of this.#waiting.values()) {
      const freed = bitmaps.get(group.number);
      if (freed === undefined) continue;
      for (let at = 0; at < freed.length; at++) bitmap[at] = (bitmap[at] ?? 0) | (freed[at] ?? 0);
    }
    for (const [other, window] of this.#windows) {
      const at = window.first - group.firstBlock;
      if (other === owner || at < 0 || at >= group.blocks) continue;
      setBits(bitmap, at, window.count);
    }
    return bitmap;
  }

  #read(group: Group): Uint8Array | undefined {
    try {
      return this.#groups.view(group, 'blocks').slice();
    } catch (error) {
      if (!isFsError(error, 'EIO')) throw error;
      group.longestFree = 0;
      this.#unread.set(group, error);
      return undefined;
    }
  }

  /** What is left of the window behind the run, or a new one. */
  #setWindow(request: BlockRequest, group: Group, run: FreeRun): void {
    const { owner, window = 0 } = request;
    this.dropWindow(owner);
    if (window === 0) return;
    const first = run.first + run.count;
    const bitmap = this.#taken(group, owner);
    if (bitmap === undefined) return;
    const count = freeFrom(bitmap, first, Math.min(first + window, group.blocks));
    if (count === 0) return;
    this.#windows.set(owner, { first: group.firstBlock + first, count });
    if (this.#windows.size <= WINDOWS_MAX) return;
    for (const [oldest] of this.#windows) {
      this.dropWindow(oldest);
      return;
    }
  }
}

function longest(group: Group | undefined): number {
  return group === undefined ? 0 : Math.min(group.longestFree, group.blocksFree);
}

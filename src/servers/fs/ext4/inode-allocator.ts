/**
 * Gives inode numbers to files and takes them back.
 *
 * Files go into the group of their directory, or one near. Directories at the top are spread over
 * groups that have room and few directories; others stay near their parent as long as there is room
 * for what will come into them (Orlov's allocator, as Linux has it in fs/ext4/ialloc.c).
 */
import { FsError, damaged, isFsError } from '../errors.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import type { InodeRun } from './changing.ts';
import { findRun, freeFrom } from './free-runs.ts';
import { GROUP_FLAG, type Group, type GroupsEditor, clearBits, setBits } from './groups-editor.ts';
import { type Inode, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';

/** A parent's neighbourhood may have so many directories more than the mean. */
const DIRECTORIES_ABOVE_MEAN = 1 / 16;

/** The groups of one flexible group together. */
interface Flex {
  readonly groups: readonly Group[];
  readonly blocksFree: number;
  readonly inodesFree: number;
  readonly directories: number;
}

export class InodeAllocator {
  /** How many inodes the quota leaves. */
  quotaLeft: () => number = () => Infinity;
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #groups: GroupsEditor;
  readonly #random: () => number;
  /** Free numbers that were promised. */
  readonly #reserved = new Set<number>();
  /** Why a group had nothing to give to the call under way. */
  #unread: FsError | undefined;

  /** `random` returns unsigned numbers of 32 bits. */
  constructor(disk: Disk, edits: Edits, groups: GroupsEditor, random: () => number) {
    this.#disk = disk;
    this.#edits = edits;
    this.#groups = groups;
    this.#random = random;
  }

  /**
   * A number that is in use from now on. What cannot be read is left out. Throws ENOSPC, EDQUOT,
   * EUCLEAN, EIO when there is nothing else.
   */
  allocate(parent: Inode, isDirectory: boolean): number {
    this.#unread = undefined;
    if (this.quotaLeft() <= 0) throw new FsError('EDQUOT', 'the quota leaves no inode');
    for (const group of isDirectory ? this.#forDirectory(parent) : this.#near(parent)) {
      const number = group.inodesFree > 0 ? this.#take(group) : 0;
      if (number === 0) continue;
      if (isDirectory) group.directories++;
      return number;
    }
    throw this.#shortage();
  }

  /** See `VolumeWriter.reserveInodes`. */
  reserve(parent: Inode, count: number, runsMax: number): InodeRun[] {
    const runs: InodeRun[] = [];
    const tried = new Set<Group>();
    let left = count;
    for (const group of this.#near(parent)) {
      if (tried.has(group) || group.inodesFree === 0) continue;
      tried.add(group);
      while (left > 0 && runs.length < runsMax) {
        const { first, count: free } = this.#free(group, left);
        if (free === 0) break;
        for (let i = 0; i < free; i++) this.#reserved.add(first + i);
        runs.push({ first, count: free });
        left -= free;
      }
      if (left === 0 || runs.length === runsMax) break;
    }
    return runs;
  }

  release(numbers: Iterable<number>): void {
    for (const number of numbers) this.#reserved.delete(number);
  }

  /** A number that was reserved, or is free, is in use from now on. Throws EINVAL, EUCLEAN. */
  use(number: number): void {
    const { inodesPerGroup, firstInode, inodes } = this.#disk.superblock;
    const inRange = number >= firstInode && number <= inodes;
    const group = inRange ? this.#groups.groupOfInode(number) : undefined;
    const index = (number - 1) % inodesPerGroup;
    const bitmap = group && this.#groups.view(group, 'inodes');
    if (group === undefined || bitmap === undefined || freeFrom(bitmap, index, index + 1) === 0) {
      throw new FsError('EINVAL', `inode ${String(number)} is not free`);
    }
    this.#mark(group, index);
  }

  /** A generation for a new inode: another one than those of before, most likely, and not 0. */
  generation(): number {
    return this.#random() || 1;
  }

  free(inode: Inode, isDirectory: boolean): void {
    const group = this.#groups.groupOfInode(inode.number);
    const bit = (inode.number - 1) % this.#disk.superblock.inodesPerGroup;
    clearBits(this.#groups.modify(group, 'inodes'), bit, 1);
    this.#groups.countInodes(group, 1);
    if (isDirectory) group.directories = Math.max(0, group.directories - 1);
  }

  /** 0 if the group's bitmap has no free inode, whatever its count says. */
  #take(group: Group): number {
    const { first, count } = this.#free(group, 1);
    if (count === 0) return 0;
    this.#mark(group, (first - 1) % this.#disk.superblock.inodesPerGroup);
    return first;
  }

  /** The first numbers of the group that are free and not promised, at most so many in a row. */
  #free(group: Group, countMax: number): InodeRun {
    const { inodesPerGroup, firstInode } = this.#disk.superblock;
    const before = group.number * inodesPerGroup + 1;
    const bitmap = this.#readable(() => this.#groups.view(group, 'inodes').slice());
    if (bitmap === undefined) return { first: 0, count: 0 };
    let from = Math.max(0, firstInode - before);
    for (;;) {
      const run = findRun(bitmap, { from, to: inodesPerGroup }, 1);
      if (run.count === 0) return { first: 0, count: 0 };
      let { first, count } = run;
      while (count > 0 && this.#reserved.has(before + first)) {
        first++;
        count--;
      }
      let free = 0;
      const most = Math.min(count, countMax);
      while (free < most && !this.#reserved.has(before + first + free)) free++;
      if (free > 0 && this.#hasTable(group, first)) return { first: before + first, count: free };
      from = free > 0 ? this.#nextTableBlock(first) : first;
    }
  }

  #shortage(): FsError {
    return this.#unread ?? new FsError('ENOSPC', 'no inode is free');
  }

  /** Whether the block of the table with inode `index` can be changed, and so be read. */
  #hasTable(group: Group, index: number): boolean {
    const { inodesPerGroup, inodeBytes, blockBytes } = this.#disk.superblock;
    if (index >= inodesPerGroup - group.inodesUnused) return true;
    const block = group.inodeTable + Math.floor((index * inodeBytes) / blockBytes);
    const view = this.#readable(() => this.#disk.cache.view(block * blockBytes, blockBytes));
    return view !== undefined;
  }

  /** The first index behind the block of the table with `index`. */
  #nextTableBlock(index: number): number {
    const { inodeBytes, blockBytes } = this.#disk.superblock;
    const perBlock = Math.floor(blockBytes / inodeBytes);
    return (Math.floor(index / perBlock) + 1) * perBlock;
  }

  #readable(read: () => Uint8Array): Uint8Array | undefined {
    try {
      return read();
    } catch (error) {
      if (!isFsError(error, 'EIO')) throw error;
      this.#unread = error;
      return undefined;
    }
  }

  #mark(group: Group, index: number): void {
    setBits(this.#groups.modify(group, 'inodes'), index, 1);
    this.#groups.countInodes(group, -1);
    if (this.#disk.superblock.checksums !== 'none') this.#use(group, index);
  }

  /**
   * The table up to inode `index` is in use now. Inodes that were never used may hold anything, and
   * are zeroed; and a group with files in it has a bitmap of its blocks.
   */
  #use(group: Group, index: number): void {
    const { inodesPerGroup, inodeBytes, blockBytes } = this.#disk.superblock;
    if (group.flags & GROUP_FLAG.blocksUnused) this.#groups.modify(group, 'blocks');
    const used = inodesPerGroup - group.inodesUnused;
    if (index < used) return;
    const perBlock = Math.floor(blockBytes / inodeBytes);
    for (let at = used; at <= index;) {
      const block = group.inodeTable + Math.floor(at / perBlock);
      const into = at % perBlock;
      // Of a block that was never used nothing need be read.
      if (into === 0) this.#edits.create(block);
      else this.#edits.modify(block).fill(0, into * inodeBytes);
      at += perBlock - into;
    }
    group.inodesUnused = inodesPerGroup - index - 1;
  }

  /** The parent's group, those at growing distances from it, then all. */
  *#near(parent: Inode): Iterable<Group> {
    const { groups } = this.#disk.superblock;
    const own = this.#groups.groupOfInode(parent.number).number;
    if (this.#groups.at(own).blocksFree > 0) yield this.#groups.at(own);
    // Files of one directory meet at the same distant group, those of its neighbours at others.
    let distant = (own + parent.number) % groups;
    for (let step = 1; step < groups; step *= 2) {
      distant = (distant + step) % groups;
      if (this.#groups.at(distant).blocksFree > 0) yield this.#groups.at(distant);
    }
    for (let step = 0; step < groups; step++) yield this.#groups.at((own + step) % groups);
  }

  *#forDirectory(parent: Inode): Iterable<Group> {
    const flexes = this.#flexes();
    const top = parent.number === ROOT_INODE || hasFlag(parent, INODE_FLAG.topDirectory);
    const own = this.#groups.groupOfInode(parent.number).number;
    const ownFlex = Math.floor(own / this.#disk.superblock.groupsPerFlex);
    const chosen = top ? this.#emptiest(flexes) : roomy(flexes, ownFlex);
    if (chosen !== undefined) yield* chosen.groups;
    const mean = flexes.reduce((sum, flex) => sum + flex.inodesFree, 0) / flexes.length;
    for (let step = 0; step < flexes.length; step++) {
      const flex = flexes[(ownFlex + step) % flexes.length];
      if (flex !== undefined && flex.inodesFree >= mean) yield* flex.groups;
    }
    yield* this.#groups.all;
  }

  #flexes(): Flex[] {
    const { groupsPerFlex } = this.#disk.superblock;
    const flexes: Flex[] = [];
    for (let first = 0; first < this.#groups.all.length; first += groupsPerFlex) {
      const groups = this.#groups.all.slice(first, first + groupsPerFlex);
      flexes.push({
        groups,
        blocksFree: groups.reduce((sum, group) => sum + group.blocksFree, 0),
        inodesFree: groups.reduce((sum, group) => sum + group.inodesFree, 0),
        directories: groups.reduce((sum, group) => sum + group.directories, 0),
      });
    }
    if (flexes.length === 0) throw damaged`the volume has no groups`;
    return flexes;
  }

  /** The fewest directories among those that have no less room than the mean. */
  #emptiest(flexes: readonly Flex[]): Flex | undefined {
    const { blocksFree, inodesFree } = means(flexes);
    const start = this.#random() % flexes.length;
    let best: Flex | undefined;
    for (let step = 0; step < flexes.length; step++) {
      const flex = flexes[(start + step) % flexes.length];
      if (flex === undefined || flex.inodesFree === 0) continue;
      if (flex.inodesFree < inodesFree || flex.blocksFree < blocksFree) continue;
      if (best === undefined || flex.directories < best.directories) best = flex;
    }
    return best;
  }
}

function means(flexes: readonly Flex[]): {
  blocksFree: number;
  inodesFree: number;
  directories: number;
} {
  const sum = { blocksFree: 0, inodesFree: 0, directories: 0 };
  for (const flex of flexes) {
    sum.blocksFree += flex.blocksFree;
    sum.inodesFree += flex.inodesFree;
    sum.directories += flex.directories;
  }
  return {
    blocksFree: sum.blocksFree / flexes.length,
    inodesFree: sum.inodesFree / flexes.length,
    directories: sum.directories / flexes.length,
  };
}

/** The first from `own` on that is not crowded. */
function roomy(flexes: readonly Flex[], own: number): Flex | undefined {
  const mean = means(flexes);
  for (let step = 0; step < flexes.length; step++) {
    const flex = flexes[(own + step) % flexes.length];
    if (flex === undefined || flex.inodesFree === 0) continue;
    const inodes = flex.inodesFree + flex.directories;
    const crowded = flex.directories > mean.directories + inodes * DIRECTORIES_ABOVE_MEAN;
    const short = flex.inodesFree < mean.inodesFree / 4 || flex.blocksFree < mean.blocksFree / 4;
    if (!crowded && !short) return flex;
  }
  return undefined;
}

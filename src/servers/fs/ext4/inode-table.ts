/**
 * Finds inodes by number, and keeps the parsed ones that were used recently.
 */
import { FsError, damaged } from '../errors.ts';
import { RecentMap } from '../recent.ts';
import type { Disk } from './disk.ts';
import type { GroupTable } from './groups.ts';
import { type Inode, hasFlag, isUnused, parseInode } from './inode.ts';
import { INODE_FLAG } from './layout.ts';
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';

/** The memory of cached inodes: 16,384 of 256 bytes, in up to two generations. */
const CACHED_BYTES = 4 << 20;

export class InodeTable {
  readonly #disk: Disk;
  readonly #groups: GroupTable;
  readonly #recent: RecentMap<Inode>;
  /** Inodes that are being changed or held: there must be one object of each. */
  readonly #pinned = new Map<number, Pin>();

  constructor(disk: Disk, groups: GroupTable) {
    this.#disk = disk;
    this.#groups = groups;
    this.#recent = new RecentMap(CACHED_BYTES / disk.superblock.inodeBytes);
  }

  /**
   * A file that a client named. Throws ESTALE if there is none of this number, EUCLEAN if it is
   * damaged.
   */
  get(number: number): Inode {
    const cached = this.#pinned.get(number)?.inode ?? this.#recent.get(number);
    if (cached !== undefined) return cached;
    if (!this.#isFile(number)) throw new FsError('ESTALE', `inode ${String(number)} names no file`);
    const inode = this.#read(number);
    if (inode === undefined || hasFlag(inode, INODE_FLAG.eaInode)) {
      throw new FsError('ESTALE', `inode ${String(number)} is not in use`);
    }
    this.#recent.set(number, inode);
    return inode;
  }

  /** As `get`, for a number found in the volume itself, where one that names no file is damage. */
  referenced(number: number, by: number): Inode {
    try {
      return this.get(number);
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== 'ESTALE') throw error;
      throw damaged`directory ${by}: an entry points to inode ${number}, which names no file`;
    }
  }

  /** An inode that holds the value of a large xattr; no name leads to it. */
  value(number: number, by: number): Inode {
    const inRange = number > 0 && number <= this.#disk.superblock.inodes;
    const inode = inRange ? this.#read(number) : undefined;
    if (inode !== undefined && hasFlag(inode, INODE_FLAG.eaInode)) return inode;
    throw damaged`inode ${by}: the xattr value in inode ${number} is missing`;
  }

  /** One that belongs to the file system itself, as its journal does. Throws EUCLEAN. */
  own(number: number): Inode {
    const inRange = number > 0 && number <= this.#disk.superblock.inodes;
    const inode = inRange ? this.#read(number) : undefined;
    if (inode === undefined) throw damaged`inode ${number}, of the volume's own, is not in use`;
    return inode;
  }

  /** As `own`, for one that may have no names: an orphan. */
  nameless(number: number): Inode {
    if (!this.#isFile(number)) throw damaged`inode ${number}: there is no such orphan`;
    const known = this.#pinned.get(number)?.inode ?? this.#recent.get(number);
    return known ?? parseInode(this.#disk, number, this.#raw(number));
  }

  /** Keeps the object until as many `unpin`s. */
  pin(inode: Inode): void {
    const pin = this.#pinned.get(inode.number);
    if (pin === undefined) this.#pinned.set(inode.number, { inode, count: 1 });
    else pin.count++;
  }

  unpin(inode: Inode): void {
    const pin = this.#pinned.get(inode.number);
    if (pin === undefined || --pin.count > 0) return;
    this.#pinned.delete(inode.number);
    if (inode.links > 0 && this.#isFile(inode.number)) this.#recent.set(inode.number, inode);
    else this.#recent.delete(inode.number);
  }

  isPinned(number: number): boolean {
    return this.#pinned.has(number);
  }

  /** The inode is free now, or was never made. */
  forget(number: number): void {
    this.#recent.delete(number);
  }

  /** The byte of the device where the inode begins. Throws EUCLEAN. */
  place(number: number): number {
    const { inodesPerGroup, inodeBytes, blockBytes } = this.#disk.superblock;
    const index = number - 1;
    const table = this.#groups.inodeTable(Math.floor(index / inodesPerGroup));
    return table * blockBytes + (index % inodesPerGroup) * inodeBytes;
  }

  #isFile(number: number): boolean {
    const { inodes, firstInode, hiddenInodes } = this.#disk.superblock;
    if (number === ROOT_INODE) return true;
    return number >= firstInode && number <= inodes && !hiddenInodes.includes(number);
  }

  #read(number: number): Inode | undefined {
    const raw = this.#raw(number);
    return isUnused(raw) ? undefined : parseInode(this.#disk, number, raw);
  }

  #raw(number: number): Uint8Array {
    return this.#disk.cache.view(this.place(number), this.#disk.superblock.inodeBytes).slice();
  }
}

interface Pin {
  readonly inode: Inode;
  count: number;
}

/**
 * The journal as a file of its volume.
 */
import { BlockCache } from '../cache.ts';
import type { BlockDevice } from '../device.ts';
import { damaged } from '../errors.ts';
import type { Crc32c } from '../ext4/checksum.ts';
import { Contents } from '../ext4/contents.ts';
import { Disk } from '../ext4/disk.ts';
import { GroupTable } from '../ext4/groups.ts';
import { InodeTable } from '../ext4/inode-table.ts';
import type { Superblock } from '../ext4/superblock.ts';
import type { LogBlocks } from './superblock.ts';

const WORK_CACHE_BYTES = 256 * 1024;

export class JournalFile implements LogBlocks {
  readonly blockBytes: number;
  readonly count: number;
  readonly #disk: Disk;
  readonly #contents: Contents;
  readonly #inode;

  /** Throws EUCLEAN, EIO. */
  constructor(device: BlockDevice, superblock: Superblock, crc: Crc32c) {
    const cache = new BlockCache(device, new Uint8Array(WORK_CACHE_BYTES));
    this.#disk = new Disk(superblock, device, cache, crc);
    this.blockBytes = superblock.blockBytes;
    this.#contents = new Contents(this.#disk);
    const groups = new GroupTable(this.#disk);
    this.#inode = new InodeTable(this.#disk, groups).own(superblock.journalInode);
    this.count = Math.floor(this.#inode.size / this.blockBytes);
  }

  read(number: number): Uint8Array {
    const block = new Uint8Array(this.blockBytes);
    this.#disk.device.read(block, this.place(number), block.length);
    return block;
  }

  /** The byte of the device where a block of the journal begins. */
  place(number: number): number {
    const block = this.#contents.block(this.#inode, number);
    this.#disk.checkBlocks(block, 1, this.#inode.number);
    return block * this.blockBytes;
  }

  /** As `place`, of all blocks up to `end`. Throws EUCLEAN when two are in one place. */
  places(end: number): Float64Array {
    const places = new Float64Array(end).map((_, number) => this.place(number));
    if (new Set(places).size === end) return places;
    throw damaged`journal: two of its blocks are in one place`;
  }
}

/**
 * The blocks of one volume, by number: range-checked, cached, and verified once for each load.
 */
import type { BlockCache, BlockCheck } from '../cache.ts';
import type { BlockDevice } from '../device.ts';
import { damaged } from '../errors.ts';
import { type Crc32c, wordBytes } from './checksum.ts';
import type { Superblock } from './superblock.ts';

export class Disk {
  readonly superblock: Superblock;
  readonly blockBytes: number;
  readonly cache: BlockCache;
  readonly device: BlockDevice;
  readonly crc32c: Crc32c;
  /** Whether metadata carries CRC32C checksums. */
  readonly checksums: boolean;

  constructor(superblock: Superblock, device: BlockDevice, cache: BlockCache, crc32c: Crc32c) {
    this.superblock = superblock;
    this.blockBytes = superblock.blockBytes;
    this.device = device;
    this.cache = cache;
    this.crc32c = crc32c;
    this.checksums = superblock.checksums === 'crc32c';
  }

  /**
   * A block of `inode` that carries no checksum and no structure of its own. Valid until the next
   * use of the cache.
   */
  block(number: number, inode: number): Uint8Array {
    this.checkBlocks(number, 1, inode);
    return this.cache.view(number * this.blockBytes, this.blockBytes);
  }

  /** A block of `inode` that must pass `check`. Valid until the next use of the cache. */
  checkedBlock(number: number, inode: number, check: BlockCheck): Uint8Array {
    this.checkBlocks(number, 1, inode);
    return this.cache.checked(number * this.blockBytes, this.blockBytes, check);
  }

  /**
   * Throws EUCLEAN unless files may use these blocks: inside the volume, and past its superblock.
   */
  checkBlocks(first: number, count: number, inode: number): void {
    if (this.holdsBlocks(first, count)) return;
    throw damaged`inode ${inode}: block ${first} (${count} blocks) is outside the volume`;
  }

  holdsBlocks(first: number, count: number): boolean {
    return first > this.superblock.firstDataBlock && first + count <= this.superblock.blocks;
  }

  /** Where the checksums of what belongs to an inode start. */
  inodeSeed(inode: number, generation: number): number {
    const numbered = this.crc32c(wordBytes(inode), this.superblock.checksumSeed);
    return this.crc32c(wordBytes(generation), numbered);
  }
}

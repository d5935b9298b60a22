/**
 * The blocks of directories: found by logical number, and verified as the leaf or the index node
 * that each is.
 *
 * With metadata_csum a leaf ends with 12 bytes that look like an empty entry of type 0xDE and hold
 * the checksum; an index node has its checksum behind the room for its entries, where older readers
 * see an entry that fills the block:
 *
 *   leaf   | entries ...                                    | 0, 12, 0, 0xDE, checksum |
 *   root   | "." (12 bytes) | ".." | info (8) | limit, count, entries ... | reserved, checksum |
 *   node   | empty entry (8)                  | limit, count, entries ... | reserved, checksum |
 *
 * See "Directory Entries" in Documentation/filesystems/ext4.
 */
import type { BlockCheck } from '../cache.ts';
import { damaged } from '../errors.ts';
import type { Contents } from './contents.ts';
import { type Sums, badChecksum, wordBytes } from './checksum.ts';
import { ENTRY_BYTES_MIN, recordBytes, verifyEntries } from './directory-entries.ts';
import type { Disk } from './disk.ts';
import { type Inode, hasFlag } from './inode.ts';
import { BLOCK_KIND, INODE_FLAG, blockTag, put16, put32, u16, u32 } from './layout.ts';

const TAIL_BYTES = 12;
const TAIL_TYPE = 0xde;
/** Where the index entries begin in the root and in the other nodes; each has 8 bytes. */
export const ROOT_ENTRIES_AT = 32;
export const NODE_ENTRIES_AT = 8;
export const INDEX_ENTRY_BYTES = 8;
export const INDEX_TAIL_BYTES = 8;

export class DirectoryBlocks {
  readonly #disk: Disk;
  readonly #contents: Contents;

  constructor(disk: Disk, contents: Contents) {
    this.#disk = disk;
    this.#contents = contents;
  }

  /** Throws EUCLEAN for a size that no directory can have, so that a scan of all blocks ends. */
  count(directory: Inode): number {
    const blocks = Math.floor(directory.size / this.#disk.blockBytes);
    if (blocks > 0 && blocks <= this.#disk.superblock.blocks) return blocks;
    throw damaged`directory ${directory.number}: the size ${directory.size} cannot be right`;
  }

  /** Verified; valid until the next use of the cache. Throws EUCLEAN, also for a hole. */
  read(directory: Inode, logical: number): Uint8Array {
    const block = this.place(directory, logical);
    return this.#disk.checkedBlock(block, directory.number, this.check(directory, logical));
  }

  /** Where a block lies. */
  place(directory: Inode, logical: number): number {
    const block = this.#contents.block(directory, logical);
    if (block === 0) throw damaged`directory ${directory.number}: block ${logical} is a hole`;
    return block;
  }

  /** How a block is verified. */
  check(directory: Inode, logical: number): BlockCheck {
    const kind = logical === 0 ? BLOCK_KIND.firstOfDirectory : BLOCK_KIND.directory;
    return {
      tag: blockTag(kind, directory.number),
      verify: (bytes) => {
        if (this.#disk.checksums) this.#verifyChecksum(bytes, directory, logical);
        verifyEntries(bytes, { inode: directory.number, logical, from: 0 });
      },
    };
  }

  /** The part of a leaf that entries may use. */
  entriesOf(leaf: Uint8Array): Uint8Array {
    return this.#disk.checksums ? leaf.subarray(0, leaf.length - TAIL_BYTES) : leaf;
  }

  /** How many entries the root (or another node) of an index has room for. */
  nodeLimit(entriesAt: number): number {
    const tail = this.#disk.checksums ? INDEX_TAIL_BYTES : 0;
    return Math.floor((this.#disk.blockBytes - entriesAt - tail) / INDEX_ENTRY_BYTES);
  }

  /** Puts the checksum of a leaf that was changed or made. */
  sealLeaf(leaf: Uint8Array, directory: Inode): void {
    if (!this.#disk.checksums) return;
    const at = leaf.length - TAIL_BYTES;
    leaf.fill(0, at);
    put16(leaf, at + 4, TAIL_BYTES);
    leaf[at + 7] = TAIL_TYPE;
    put32(leaf, at + 8, this.#disk.crc32c(leaf.subarray(0, at), directory.checksumSeed));
  }

  /** The same of a node of an index. */
  sealNode(node: Uint8Array, directory: Inode, entriesAt: number): void {
    if (!this.#disk.checksums) return;
    const sums = this.#nodeSums(node, directory, entriesAt);
    if (sums === undefined) throw damaged`directory ${directory.number}: bad node of the index`;
    put32(node, entriesAt + u16(node, entriesAt) * INDEX_ENTRY_BYTES + 4, sums.computed);
  }

  #verifyChecksum(bytes: Uint8Array, directory: Inode, logical: number): void {
    const indexed = hasFlag(directory, INODE_FLAG.index);
    let sums: Sums | undefined;
    if (indexed && logical === 0) sums = this.#nodeSums(bytes, directory, ROOT_ENTRIES_AT);
    else if (indexed && isNode(bytes)) sums = this.#nodeSums(bytes, directory, NODE_ENTRIES_AT);
    else sums = this.#leafSums(bytes, directory);
    if (sums === undefined) {
      throw damaged`directory ${directory.number}: block ${logical} has no room for its checksum`;
    }
    if (sums.stored === sums.computed) return;
    throw badChecksum(`directory ${String(directory.number)}, block ${String(logical)}`, sums);
  }

  #leafSums(bytes: Uint8Array, directory: Inode): Sums | undefined {
    const at = bytes.length - TAIL_BYTES;
    const present =
      u32(bytes, at) === 0 &&
      u16(bytes, at + 4) === TAIL_BYTES &&
      bytes[at + 6] === 0 &&
      bytes[at + 7] === TAIL_TYPE;
    if (!present) return undefined;
    const computed = this.#disk.crc32c(bytes.subarray(0, at), directory.checksumSeed);
    return { stored: u32(bytes, at + 8), computed };
  }

  /** Covers the entries in use and the tail, in which the checksum itself counts as zero. */
  #nodeSums(bytes: Uint8Array, directory: Inode, entriesAt: number): Sums | undefined {
    if (entriesAt === ROOT_ENTRIES_AT && !isRoot(bytes)) return undefined;
    const limit = u16(bytes, entriesAt);
    const count = u16(bytes, entriesAt + 2);
    const tailAt = entriesAt + limit * INDEX_ENTRY_BYTES;
    if (tailAt > bytes.length - INDEX_TAIL_BYTES || count > limit) return undefined;
    const { crc32c } = this.#disk;
    const used = bytes.subarray(0, entriesAt + count * INDEX_ENTRY_BYTES);
    const reserved = crc32c(
      bytes.subarray(tailAt, tailAt + 4),
      crc32c(used, directory.checksumSeed),
    );
    return { stored: u32(bytes, tailAt + 4), computed: crc32c(wordBytes(0), reserved) };
  }
}

/** An index node below the root: to older readers a block without entries. */
export function isNode(bytes: Uint8Array): boolean {
  return u32(bytes, 0) === 0 && recordBytes(bytes, 0) === bytes.length;
}

/** The first block of an indexed directory: "..", the second entry, hides the index behind it. */
export function isRoot(bytes: Uint8Array): boolean {
  const rest = bytes.length - ENTRY_BYTES_MIN;
  return (
    u16(bytes, 4) === ENTRY_BYTES_MIN &&
    recordBytes(bytes, ENTRY_BYTES_MIN) === rest &&
    u32(bytes, 24) === 0 &&
    bytes[29] === 8
  );
}

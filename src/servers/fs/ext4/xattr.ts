/**
 * Extended attributes of files: from the inode, from the block it names, and from inodes that hold
 * large values.
 *
 *   block: 0 magic | 4 references | 8 blocks (1) | 12 hash | 16 checksum | 32 entries ... values
 *
 * Many inodes may share a block, so its checksum starts from its own number. A value inode keeps
 * the checksum of the value where other inodes have their access time (feature EA_INODE).
 */
import type { BlockCheck } from '../cache.ts';
import { FsError, damaged } from '../errors.ts';
import { convertAcl } from './acl.ts';
import { badChecksum, crcAround, wordBytes } from './checksum.ts';
import type { Contents } from './contents.ts';
import type { Disk } from './disk.ts';
import type { Inode } from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { BLOCK_KIND, INCOMPAT, blockTag, u32 } from './layout.ts';
import {
  type StoredXattr,
  XATTR_INDEX,
  XATTR_MAGIC,
  type XattrEntry,
  inodeXattrArea,
  inodeXattrs,
  latin1,
  readXattrEntries,
} from './xattr-entries.ts';

export const BLOCK_ENTRIES_AT = 32;
export const BLOCK_CHECKSUM_AT = 16;
/** XATTR_SIZE_MAX of Linux: no system call could return more. */
export const VALUE_BYTES_MAX = 65536;

/**
 * What a name index stands for; the two ACLs are whole names. Others, such as "system.data", are
 * internal.
 */
const PREFIXES: readonly (readonly [index: number, prefix: string])[] = [
  [XATTR_INDEX.user, 'user.'],
  [XATTR_INDEX.trusted, 'trusted.'],
  [XATTR_INDEX.security, 'security.'],
];
const WHOLE_NAMES: readonly (readonly [index: number, name: string])[] = [
  [XATTR_INDEX.aclAccess, 'system.posix_acl_access'],
  [XATTR_INDEX.aclDefault, 'system.posix_acl_default'],
];

/** Where xattrs of an inode lie: `area` in the inode's own copy, or a block to be viewed again. */
interface Found {
  readonly entry: XattrEntry;
  readonly inBlock: boolean;
}

export class Xattrs {
  readonly #disk: Disk;
  readonly #contents: Contents;
  readonly #inodes: InodeTable;

  constructor(disk: Disk, contents: Contents, inodes: InodeTable) {
    this.#disk = disk;
    this.#contents = contents;
    this.#inodes = inodes;
  }

  /**
   * The value of a full name such as "user.mime", or undefined if the file has none. Throws
   * EOPNOTSUPP for a prefix that ext4 does not store, EUCLEAN, E2BIG.
   */
  get(inode: Inode, fullName: Uint8Array): Uint8Array | undefined {
    const { nameIndex, name } = splitName(latin1(fullName));
    const found = this.#all(inode).find(
      ({ entry }) => entry.nameIndex === nameIndex && entry.name === name,
    );
    if (found === undefined) return undefined;
    const value = this.#value(inode, found);
    if (nameIndex !== XATTR_INDEX.aclAccess && nameIndex !== XATTR_INDEX.aclDefault) return value;
    const acl = convertAcl(value);
    if (acl === undefined) throw damaged`inode ${inode.number}: malformed access control list`;
    return acl;
  }

  /**
   * The full names, each with a NUL behind it, as listxattr(2) gives them; who may see which is the
   * client's matter.
   */
  list(inode: Inode): Uint8Array {
    const names: string[] = [];
    for (const { entry } of this.#all(inode)) {
      const name = joinName(entry);
      if (name !== undefined) names.push(`${name}\0`);
    }
    return Buffer.from(names.join(''), 'latin1');
  }

  /** All that an inode has, with values as they are stored. Throws EUCLEAN. */
  stored(inode: Inode): { own: StoredXattr[]; block: StoredXattr[] } {
    const all = this.#all(inode).map(({ entry, inBlock }) => {
      if (entry.valueInode !== 0) throw damaged`inode ${inode.number}: an xattr in an inode`;
      const { nameIndex, name } = entry;
      return { xattr: { nameIndex, name, value: this.#value(inode, { entry, inBlock }) }, inBlock };
    });
    return {
      own: all.filter(({ inBlock }) => !inBlock).map(({ xattr }) => xattr),
      block: all.filter(({ inBlock }) => inBlock).map(({ xattr }) => xattr),
    };
  }

  #all(inode: Inode): Found[] {
    const found = inodeXattrs(inode).map((entry) => ({ entry, inBlock: false }));
    if (inode.xattrBlock === 0) return found;
    const entries = readXattrEntries(this.#block(inode), BLOCK_ENTRIES_AT, inode.number);
    return [...found, ...entries.map((entry) => ({ entry, inBlock: true }))];
  }

  /** Valid until the next use of the cache. */
  #block(inode: Inode): Uint8Array {
    return this.#disk.checkedBlock(inode.xattrBlock, inode.number, this.check(inode));
  }

  /** How the xattr block of an inode is verified. */
  check(inode: Inode): BlockCheck {
    const number = inode.xattrBlock;
    return {
      tag: blockTag(BLOCK_KIND.xattr, 0),
      verify: (block) => {
        if (u32(block, 0) !== XATTR_MAGIC || u32(block, 8) !== 1) {
          throw damaged`inode ${inode.number}, block ${number}: bad xattr header`;
        }
        if (this.#disk.checksums) this.#verifyChecksum(block, inode);
      },
    };
  }

  /** What the checksum of an xattr block must be. */
  sum(block: Uint8Array, number: number): number {
    const { crc32c, superblock } = this.#disk;
    const low = crc32c(wordBytes(number), superblock.checksumSeed);
    const seed = crc32c(wordBytes(Math.floor(number / 2 ** 32)), low);
    return crcAround(crc32c, block, BLOCK_CHECKSUM_AT, seed);
  }

  #verifyChecksum(block: Uint8Array, inode: Inode): void {
    const number = inode.xattrBlock;
    const computed = this.sum(block, number);
    const stored = u32(block, BLOCK_CHECKSUM_AT);
    if (stored === computed) return;
    throw badChecksum(`inode ${String(inode.number)}, xattr block ${String(number)}`, {
      stored,
      computed,
    });
  }

  #value(inode: Inode, { entry, inBlock }: Found): Uint8Array {
    if (entry.valueBytes > VALUE_BYTES_MAX) {
      throw new FsError('E2BIG', `an xattr of ${String(entry.valueBytes)} bytes`);
    }
    if (entry.valueInode !== 0) return this.#valueFromInode(inode, entry);
    const area = inBlock ? this.#block(inode) : inodeXattrArea(inode);
    return area.slice(entry.valueAt, entry.valueAt + entry.valueBytes);
  }

  #valueFromInode(inode: Inode, entry: XattrEntry): Uint8Array {
    const { incompat, checksumSeed } = this.#disk.superblock;
    if (!(incompat & INCOMPAT.eaInode)) {
      throw damaged`inode ${inode.number}: an xattr value in an inode, without the feature`;
    }
    const holder = this.#inodes.value(entry.valueInode, inode.number);
    if (holder.size !== entry.valueBytes) {
      throw damaged`inode ${inode.number}: its value inode ${holder.number} has another size`;
    }
    const value = new Uint8Array(entry.valueBytes);
    this.#contents.read(holder, 0, value);
    const stored = (holder.accessed.seconds % 2 ** 32) >>> 0;
    if (this.#disk.crc32c(value, checksumSeed) === stored) return value;
    // Lustre, which had the feature first, names the owner there instead of keeping a checksum.
    const owner =
      holder.modified.seconds === inode.number && holder.generation === inode.generation;
    if (owner) return value;
    throw damaged`inode ${inode.number}: its value inode ${holder.number} has another checksum`;
  }
}

/** Throws EOPNOTSUPP for a prefix that ext4 does not store, EINVAL for one with no name behind. */
export function splitName(fullName: string): { nameIndex: number; name: string } {
  for (const [nameIndex, whole] of WHOLE_NAMES) {
    if (fullName === whole) return { nameIndex, name: '' };
  }
  for (const [nameIndex, prefix] of PREFIXES) {
    if (!fullName.startsWith(prefix)) continue;
    if (fullName.length === prefix.length) {
      throw new FsError('EINVAL', `${JSON.stringify(fullName)} is no name of an xattr`);
    }
    return { nameIndex, name: fullName.slice(prefix.length) };
  }
  throw new FsError('EOPNOTSUPP', `no xattrs are named like ${JSON.stringify(fullName)}`);
}

function joinName(entry: XattrEntry): string | undefined {
  const whole = WHOLE_NAMES.find(([nameIndex]) => nameIndex === entry.nameIndex);
  if (whole !== undefined) return entry.name === '' ? whole[1] : undefined;
  const prefix = PREFIXES.find(([nameIndex]) => nameIndex === entry.nameIndex);
  return prefix === undefined || entry.name === '' ? undefined : prefix[1] + entry.name;
}

/**
 * A mounted ext2, ext3 or ext4 volume, read-only.
 *
 * Opening reads the superblock alone; everything else is read, and verified, when it is asked for.
 * So what is damaged fails with EUCLEAN and a sentence that names it, and the rest can still be
 * read. Nothing here waits or keeps per-client state. The format is described in the kernel's
 * Documentation/filesystems/ext4.
 */
import type { FileAttributes, FileSystemStatus } from '../../../vos/protocol/fs.ts';
import type { BlockCache } from '../cache.ts';
import type { BlockDevice } from '../device.ts';
import { FsError } from '../errors.ts';
import { type Crc32c, crc32c } from './checksum.ts';
import { Contents } from './contents.ts';
import { Directories, type EntryVisitor } from './directory.ts';
import { Disk } from './disk.ts';
import { GroupTable, overheadBlocks } from './groups.ts';
import { readInline } from './inline-data.ts';
import { type Inode, deviceNumber, fileType, hasFlag } from './inode.ts';
import { InodeTable } from './inode-table.ts';
import { INODE_FLAG, MODE } from './layout.ts';
import { type Superblock, readSuperblock } from './superblock.ts';
import { readSymlink } from './symlink.ts';
import { Xattrs } from './xattr.ts';

const SECTOR_BYTES = 512;
const SECTORS_MAX = 2 ** 32 - 1;

export interface VolumeOptions {
  /** Read the volume as its last checkpoint left it, though its journal holds newer blocks. */
  readonly ignoreJournal?: boolean;
  /** Try the copies of the superblock when the primary one is damaged. */
  readonly useBackup?: boolean;
  /** A faster CRC32C; seeds and results as `checksum.ts` says. */
  readonly crc32c?: Crc32c;
}

export class Volume {
  readonly superblock: Superblock;
  readonly #disk: Disk;
  readonly #contents: Contents;
  readonly #inodes: InodeTable;
  readonly #directories: Directories;
  readonly #xattrs: Xattrs;

  private constructor(disk: Disk) {
    this.superblock = disk.superblock;
    this.#disk = disk;
    this.#contents = new Contents(disk);
    this.#inodes = new InodeTable(disk, new GroupTable(disk));
    this.#directories = new Directories(disk, this.#contents);
    this.#xattrs = new Xattrs(disk, this.#contents, this.#inodes);
  }

  /**
   * `cache` must be over the same device. Throws EUCLEAN for a damaged superblock, EOPNOTSUPP for
   * features that cannot be read, EROFS for a journal that must be replayed first, EIO.
   */
  static open(device: BlockDevice, cache: BlockCache, options: VolumeOptions = {}): Volume {
    const crc = options.crc32c ?? crc32c;
    const superblock = readSuperblock(device, { ...options, crc32c: crc });
    return new Volume(new Disk(superblock, device, cache, crc));
  }

  /** The file with this number and generation (0: any). Throws ESTALE if there is none, EUCLEAN. */
  inode(number: number, generation: number): Inode {
    const inode = this.#inodes.get(number);
    if (generation === 0 || generation === inode.generation) return inode;
    throw new FsError('ESTALE', `inode ${String(number)} has another generation`);
  }

  /**
   * The file that `name` is in the directory, undefined if there is none. Throws ENOTDIR,
   * EOPNOTSUPP, EUCLEAN.
   */
  lookup(directory: Inode, name: Uint8Array): Inode | undefined {
    checkDirectory(directory);
    const number = this.#directories.lookup(directory, name);
    return number === 0 ? undefined : this.#inodes.referenced(number, directory.number);
  }

  /**
   * Visits the entries from `cookie` on (0: all) until the visitor returns false. The visitor may
   * read inodes, but no other directory. Throws ENOTDIR, EOPNOTSUPP, and EUCLEAN where the damage
   * begins: entries before it were visited.
   */
  list(directory: Inode, cookie: number, visit: EntryVisitor): void {
    checkDirectory(directory);
    this.#directories.list(directory, cookie, visit);
  }

  /** The inode that an entry of `directory` points to. Throws EUCLEAN. */
  entryInode(number: number, directory: Inode): Inode {
    return this.#inodes.referenced(number, directory.number);
  }

  /**
   * Fills `target` from byte `offset` of a regular file on, and returns how many bytes the file had
   * for it. Throws EISDIR, EINVAL (no regular file), EOPNOTSUPP, EUCLEAN, EIO.
   */
  read(inode: Inode, offset: number, target: Uint8Array): number {
    const bytes = this.readableBytes(inode, offset, target.length);
    if (bytes === 0) return 0;
    const part = target.subarray(0, bytes);
    if (hasFlag(inode, INODE_FLAG.inlineData)) readInline(inode, offset, part);
    else this.#contents.read(inode, offset, part);
    return bytes;
  }

  /** As `read`, without a copy if the bytes lie together in the cache; valid until its next use. */
  peek(inode: Inode, offset: number, bytes: number): Uint8Array | undefined {
    const readable = this.readableBytes(inode, offset, bytes);
    if (readable === 0 || hasFlag(inode, INODE_FLAG.inlineData)) return undefined;
    return this.#contents.peek(inode, offset, readable);
  }

  /** How many of `bytes` from `offset` on are inside the file. Throws as `read` does. */
  readableBytes(inode: Inode, offset: number, bytes: number): number {
    const type = fileType(inode);
    if (type === MODE.directory) throw new FsError('EISDIR', `inode ${String(inode.number)}`);
    if (type !== MODE.regular) {
      throw new FsError('EINVAL', `inode ${String(inode.number)} is no regular file`);
    }
    checkPlain(inode);
    return Math.max(0, Math.min(bytes, inode.size - offset));
  }

  /** Throws EINVAL (not a symlink), EOPNOTSUPP, EUCLEAN. */
  readLink(inode: Inode): Uint8Array {
    if (fileType(inode) !== MODE.symlink) {
      throw new FsError('EINVAL', `inode ${String(inode.number)} is no symbolic link`);
    }
    checkPlain(inode);
    return readSymlink(this.#disk, this.#contents, inode);
  }

  /**
   * The value of an xattr by its full name, undefined if the file has none. Throws EOPNOTSUPP,
   * EUCLEAN, E2BIG.
   */
  getXattr(inode: Inode, name: Uint8Array): Uint8Array | undefined {
    return this.#xattrs.get(inode, name);
  }

  /** Full names, each with a NUL behind it. Throws EUCLEAN. */
  listXattr(inode: Inode): Uint8Array {
    return this.#xattrs.list(inode);
  }

  attributes(inode: Inode): FileAttributes {
    const type = fileType(inode);
    const device = type === MODE.character || type === MODE.block;
    return {
      inode: inode.number,
      generation: inode.generation,
      mode: inode.mode,
      links: inode.links,
      uid: inode.uid,
      gid: inode.gid,
      size: device ? deviceNumber(inode) : inode.size,
      sectors: Math.min(sectorsOf(inode), SECTORS_MAX),
      accessed: inode.accessed,
      modified: inode.modified,
      changed: inode.changed,
    };
  }

  status(): FileSystemStatus {
    const { superblock } = this;
    const { blocksFree, blocksReserved, inodesFree } = superblock.counts;
    return {
      blockBytes: superblock.blockBytes,
      blocks: Math.max(0, superblock.blocks - overheadBlocks(superblock)),
      blocksFree,
      blocksAvailable: Math.max(0, blocksFree - blocksReserved),
      inodes: superblock.inodes,
      inodesFree,
    };
  }
}

/** Linux counts inline contents as blocks, since programs take a file of no blocks for a hole. */
function sectorsOf(inode: Inode): number {
  const inline = fileType(inode) === MODE.regular && hasFlag(inode, INODE_FLAG.inlineData);
  return inode.sectors + (inline ? Math.ceil(inode.size / SECTOR_BYTES) : 0);
}

function checkDirectory(inode: Inode): void {
  if (fileType(inode) !== MODE.directory) {
    throw new FsError('ENOTDIR', `inode ${String(inode.number)} is no directory`);
  }
  checkPlain(inode);
}

/** Names and contents of encrypted files are meaningless without the key. */
function checkPlain(inode: Inode): void {
  if (!hasFlag(inode, INODE_FLAG.encrypt)) return;
  throw new FsError('EOPNOTSUPP', `inode ${String(inode.number)} is encrypted`);
}

/**
 * A mounted ext2, ext3 or ext4 volume: read-only, or changed through `changes`.
 *
 * Opening for reading reads the superblock alone; everything else is read, and verified, when it is
 * asked for. Opening for writing reads the descriptors of the groups too, and frees what a crash
 * left without names.
 * So what is damaged fails with EUCLEAN and a sentence that names it, and the rest can still be
 * read. Nothing here waits or keeps per-client state. The format is described in the kernel's
 * Documentation/filesystems/ext4.
 */
import type { FileInfo } from '../../../vos/protocol/fs-change.ts';
import type { Quota, QuotaLimits } from '../../../vos/protocol/fs-quota.ts';
import type { FileAttributes, FileSystemStatus, Timestamp } from '../../../vos/protocol/fs.ts';
import type { BlockCache } from '../cache.ts';
import type { Changes } from '../changes.ts';
import type { BlockDevice } from '../device.ts';
import { FsError } from '../errors.ts';
import type {
  AllocateMode,
  AttributeChanges,
  ByteRange,
  InodeRun,
  NewFile,
  Owner,
  Place,
  RenameMode,
  VolumeWriter,
  XattrMode,
} from './changing.ts';
import type { AccessTimes } from './access-times.ts';
import { type Crc32c, crc32c } from './checksum.ts';
import { Contents } from './contents.ts';
import { Directories, type EntryVisitor } from './directory.ts';
import { Disk } from './disk.ts';
import { GroupTable, overheadBlocks } from './groups.ts';
import { readInline } from './inline-data.ts';
import type { Incoming } from './incoming.ts';
import { type Inode, bornAt, deviceNumber, fileType, hasFlag } from './inode.ts';
import type { Now } from './inode-editor.ts';
import { InodeTable } from './inode-table.ts';
import { INODE_FLAG, MODE } from './layout.ts';
import { ContainerQuota, type FreeCounts } from './quota.ts';
import { type Superblock, readSuperblock } from './superblock.ts';
import { readSymlink } from './symlink.ts';
import { Writer } from './writer.ts';
import { Xattrs } from './xattr.ts';

const SECTOR_BYTES = 512;
const SECTORS_MAX = 2 ** 32 - 1;
/** Flags that Linux shows to users (EXT4_FL_USER_VISIBLE). */
const VISIBLE_FLAGS = 0x705bdfff;

export interface VolumeOptions {
  /** Read the volume as its last checkpoint left it, though its journal holds newer blocks. */
  readonly ignoreJournal?: boolean;
  /** Try the copies of the superblock when the primary one is damaged. */
  readonly useBackup?: boolean;
  /** By what the volume is changed; without it every call that would change it throws EROFS. */
  readonly changes?: Changes;
  /**
   * Files without names, those that a crash left and those to come, stay until `freeNameless`, so
   * that clients can say first which of them they hold.
   */
  readonly keepNameless?: boolean;
  /** The clock of the volume: the machine's unless told. */
  readonly now?: Now;
  /** Unsigned numbers of 32 bits for generations, and for where directories go. */
  readonly random?: () => number;
  /** For contents that have no blocks yet; 32 MiB of its own unless told. */
  readonly delayedMemory?: Uint8Array;
  /** Whether the device is told of blocks that were freed. */
  readonly discards?: boolean;
  /** When reads mark access times: never unless told. */
  readonly accessTimes?: AccessTimes;
  /** How much of the volume may be in use: all unless told. */
  readonly quota?: QuotaLimits;
  /** A faster CRC32C; seeds and results as `checksum.ts` says. */
  readonly crc32c?: Crc32c;
}

export class Volume implements VolumeWriter {
  readonly superblock: Superblock;
  readonly #disk: Disk;
  readonly #contents: Contents;
  readonly #inodes: InodeTable;
  readonly #directories: Directories;
  readonly #xattrs: Xattrs;
  readonly #quota: ContainerQuota;
  readonly #openWriter: Writer | undefined;

  private constructor(disk: Disk, options: VolumeOptions) {
    this.superblock = disk.superblock;
    this.#disk = disk;
    this.#contents = new Contents(disk);
    this.#inodes = new InodeTable(disk, new GroupTable(disk));
    this.#directories = new Directories(disk, this.#contents);
    this.#xattrs = new Xattrs(disk, this.#contents, this.#inodes);
    const { changes, now = machineTime, random = randomWord, keepNameless = false } = options;
    const { discards = false, accessTimes = 'off', delayedMemory } = options;
    const quota = new ContainerQuota(disk.superblock, options.quota);
    this.#quota = quota;
    if (changes === undefined) return;
    this.#openWriter = new Writer({
      ...{ disk, contents: this.#contents, table: this.#inodes, directories: this.#directories },
      ...{ xattrs: this.#xattrs, changes, now, random, keepNameless },
      ...{ discards, accessTimes, delayedMemory, quota },
    });
  }

  /**
   * `cache` must be over the same device. Throws EUCLEAN for a damaged superblock, EOPNOTSUPP for
   * features that cannot be read, EROFS for a journal that must be replayed first, EIO. With
   * `changes`, EROFS for a feature that only readers know, and EUCLEAN for a volume that says
   * that it has errors.
   */
  static open(device: BlockDevice, cache: BlockCache, options: VolumeOptions = {}): Volume {
    const crc = options.crc32c ?? crc32c;
    const superblock = readSuperblock(device, { ...options, crc32c: crc });
    return new Volume(new Disk(superblock, device, cache, crc), options);
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
    if (directory.links === 0) return undefined;
    const place = this.#directories.find(directory, name);
    return place && this.#inodes.referenced(place.inode, directory.number);
  }

  /**
   * Visits the entries from `cookie` on (0: all) until the visitor returns false. The visitor may
   * read inodes, but no other directory. Throws ENOTDIR, EOPNOTSUPP, and EUCLEAN where the damage
   * begins: entries before it were visited.
   */
  list(directory: Inode, cookie: number, visit: EntryVisitor): void {
    checkDirectory(directory);
    if (directory.links > 0) this.#directories.list(directory, cookie, visit);
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

  /** As lseek(2) with SEEK_DATA and SEEK_HOLE. ENXIO behind the end, or for no more data. */
  seek(inode: Inode, offset: number, what: 'data' | 'hole'): number {
    const outside = new FsError('ENXIO', `byte ${String(offset)} is behind the end`);
    if (offset < 0 || this.readableBytes(inode, offset, 1) === 0) throw outside;
    if (hasFlag(inode, INODE_FLAG.inlineData)) return what === 'data' ? offset : inode.size;
    const found = this.#contents.seek(inode, offset, what === 'data');
    if (found < inode.size) return found;
    if (what === 'data') throw outside;
    return inode.size;
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
    const delayed = this.#openWriter?.delayedBlocks(inode) ?? 0;
    const sectors = sectorsOf(inode) + delayed * (this.superblock.blockBytes / SECTOR_BYTES);
    return {
      inode: inode.number,
      generation: inode.generation,
      mode: inode.mode,
      links: inode.links,
      uid: inode.uid,
      gid: inode.gid,
      size: device ? deviceNumber(inode) : inode.size,
      sectors: Math.min(sectors, SECTORS_MAX),
      accessed: inode.accessed,
      modified: inode.modified,
      changed: inode.changed,
    };
  }

  /** What attributes do not tell. */
  info(inode: Inode): FileInfo {
    return { flags: (inode.flags & VISIBLE_FLAGS) >>> 0, born: bornAt(inode) };
  }

  /** With a quota it is the size of the volume, as of a directory with one under XFS. */
  status(): FileSystemStatus {
    const { superblock } = this;
    const { blocksReserved } = superblock.counts;
    const counts = this.#counts;
    const { blocksFree, inodesFree } = counts;
    const blocksLeft = Math.max(0, Math.min(blocksFree, this.#quota.blocksLeft(counts)));
    const inodesLeft = Math.max(0, Math.min(inodesFree, this.#quota.inodesLeft(counts)));
    const { limits } = this.#quota;
    const blocks = Math.max(0, superblock.blocks - overheadBlocks(superblock));
    const blocksMax = Math.floor((limits.bytes ?? Infinity) / superblock.blockBytes);
    return {
      blockBytes: superblock.blockBytes,
      blocks: Math.min(blocks, blocksMax),
      blocksFree: blocksLeft,
      blocksAvailable: Math.max(0, Math.min(blocksFree - blocksReserved, blocksLeft)),
      inodes: Math.min(superblock.inodes, limits.inodes ?? Infinity),
      inodesFree: inodesLeft,
    };
  }

  /** What may be in use, and what is. */
  quota(): Quota {
    return this.#quota.report(this.#counts);
  }

  /** From now on; what is in use beyond it stays. */
  setQuota(limits: QuotaLimits): void {
    this.#quota.limits = limits;
  }

  get readOnly(): boolean {
    return this.#openWriter === undefined;
  }

  // What follows is described at `VolumeWriter`. Each throws EROFS if the volume is read-only.

  change<T>(run: () => T): T {
    return this.#writer.change(run);
  }

  actAs(owner: Owner): void {
    this.#openWriter?.actAs(owner);
  }

  createFile(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    checkDirectory(directory);
    return this.#writer.createFile(directory, name, file);
  }

  reserveInodes(directory: Inode, count: number, runsMax: number): InodeRun[] {
    return this.#writer.reserveInodes(directory, count, runsMax);
  }

  releaseInodes(numbers: Iterable<number>): void {
    this.#writer.releaseInodes(numbers);
  }

  newGeneration(): number {
    return this.#writer.newGeneration();
  }

  createUnnamed(directory: Inode, file: NewFile): Inode {
    checkDirectory(directory);
    return this.#writer.createUnnamed(directory, file);
  }

  makeDirectory(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    checkDirectory(directory);
    return this.#writer.makeDirectory(directory, name, file);
  }

  makeSymlink(directory: Inode, name: Uint8Array, link: Owner & { target: Uint8Array }): Inode {
    checkDirectory(directory);
    return this.#writer.makeSymlink(directory, name, link);
  }

  link(inode: Inode, directory: Inode, name: Uint8Array): void {
    checkDirectory(directory);
    this.#writer.link(inode, directory, name);
  }

  unlink(directory: Inode, name: Uint8Array): Inode {
    return this.#writer.unlink(directory, name);
  }

  removeDirectory(directory: Inode, name: Uint8Array): Inode {
    return this.#writer.removeDirectory(directory, name);
  }

  rename(from: Place, to: Place, mode?: RenameMode): Inode | undefined {
    return this.#writer.rename(from, to, mode);
  }

  write(inode: Inode, offset: number, data: Uint8Array | Incoming): number {
    return this.#writer.write(inode, offset, data);
  }

  truncate(inode: Inode, size: number): void {
    this.#writer.truncate(inode, size);
  }

  allocate(inode: Inode, mode: AllocateMode, range: ByteRange): void {
    this.#writer.allocate(inode, mode, range);
  }

  setAttributes(inode: Inode, changes: AttributeChanges): void {
    this.#writer.setAttributes(inode, changes);
  }

  setFlags(inode: Inode, flags: number, mask: number): void {
    this.#writer.setFlags(inode, flags, mask);
  }

  accessed(inode: Inode): void {
    this.#openWriter?.accessed(inode);
  }

  setXattr(inode: Inode, name: Uint8Array, value: Uint8Array, mode?: XattrMode): void {
    this.#writer.setXattr(inode, name, value, mode);
  }

  removeXattr(inode: Inode, name: Uint8Array): void {
    this.#writer.removeXattr(inode, name);
  }

  hold(inode: Inode): void {
    this.#openWriter?.hold(inode);
  }

  drop(inode: Inode): void {
    this.#openWriter?.drop(inode);
  }

  /** See `VolumeOptions.keepNameless`. */
  freeNameless(): void {
    this.#openWriter?.freeNameless();
  }

  /**
   * Tells the device of some blocks that have been free for a while; to be called between two
   * calls, every few seconds.
   */
  discard(): void {
    this.#openWriter?.discard();
  }

  get #counts(): FreeCounts {
    return this.#openWriter?.counts ?? this.superblock.counts;
  }

  get #writer(): Writer {
    if (this.#openWriter !== undefined) return this.#openWriter;
    throw new FsError('EROFS', 'the volume is read-only');
  }
}

function machineTime(): Timestamp {
  const milliseconds = Date.now();
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanoseconds: (milliseconds - seconds * 1000) * 1_000_000 };
}

function randomWord(): number {
  return Math.floor(Math.random() * 2 ** 32);
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

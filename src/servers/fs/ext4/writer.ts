/**
 * Everything that changes a volume, put together. See `changing.ts` for what the methods promise.
 */
import { FsError, hex, isFsError } from '../errors.ts';
import { type AccessTimes, marksAccess } from './access-times.ts';
import type { Changes } from '../changes.ts';
import { BlockAllocator } from './block-allocator.ts';
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
import type { Contents } from './contents.ts';
import { Delayed } from './delayed.ts';
import { DelayedWriter } from './delayed-writer.ts';
import type { Directories } from './directory.ts';
import { DirectoryBlocks } from './directory-blocks.ts';
import { DirectoryEditor } from './directory-editor.ts';
import { Discards } from './discards.ts';
import type { Disk } from './disk.ts';
import { Edits } from './edits.ts';
import { FileEditor } from './file-editor.ts';
import { FileMaps } from './file-maps.ts';
import { GroupsEditor } from './groups-editor.ts';
import { DirectoryIndex } from './htree.ts';
import { IndexEditor } from './index-editor.ts';
import { InlineEditor } from './inline-editor.ts';
import { InodeAllocator } from './inode-allocator.ts';
import { InodeEditor, type Now } from './inode-editor.ts';
import type { Incoming } from './incoming.ts';
import { type Inode, fileType, hasFlag } from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { INODE_FLAG, MODE } from './layout.ts';
import { Names } from './names.ts';
import { Orphans } from './orphans.ts';
import type { ContainerQuota, FreeCounts } from './quota.ts';
import { Removal } from './removal.ts';
import { SuperblockEditor } from './superblock-editor.ts';
import { checkWritable } from './write-features.ts';
import { XattrEditor } from './xattr-editor.ts';
import type { Xattrs } from './xattr.ts';

const DIRECTORY_SYNC = INODE_FLAG.directorySync | INODE_FLAG.sync;
const { sync, immutable, append, noDump, noAccessTimes } = INODE_FLAG;
/** What users may set. */
const FILE_FLAGS = sync | immutable | append | noDump | noAccessTimes;
const DIRECTORY_FLAGS = FILE_FLAGS | INODE_FLAG.directorySync | INODE_FLAG.topDirectory;

export interface WriterParts {
  readonly disk: Disk;
  readonly contents: Contents;
  readonly table: InodeTable;
  readonly directories: Directories;
  readonly xattrs: Xattrs;
  readonly changes: Changes;
  readonly now: Now;
  /** Unsigned numbers of 32 bits. */
  readonly random: () => number;
  /** No file without names is freed before `freeNameless`. */
  readonly keepNameless: boolean;
  /** For contents that have no blocks yet. */
  readonly delayedMemory?: Uint8Array | undefined;
  /** Whether the device is told of blocks that were freed. */
  readonly discards: boolean;
  readonly accessTimes: AccessTimes;
  readonly quota: ContainerQuota;
}

export class Writer implements VolumeWriter {
  readonly #delayed: Delayed;
  readonly #delayedWriter: DelayedWriter;
  readonly #changes: Changes;
  readonly #directories: Directories;
  readonly #accessTimes: AccessTimes;
  readonly #disk: Disk;
  readonly #table: InodeTable;
  readonly #edits: Edits;
  readonly #inodes: InodeEditor;
  readonly #superblock: SuperblockEditor;
  readonly #allocator: BlockAllocator;
  readonly #numbers: InodeAllocator;
  readonly #orphans: Orphans;
  readonly #files: FileEditor;
  readonly #xattrs: XattrEditor;
  readonly #removal: Removal;
  readonly #names: Names;

  /** Throws EROFS for a volume that can only be read, EUCLEAN for damage. */
  constructor(parts: WriterParts) {
    const { disk, contents, table, directories, changes, now, random } = parts;
    checkWritable(disk.superblock);
    const edits = new Edits(disk, changes);
    const inodes = new InodeEditor(disk, edits, table, now);
    const superblock = new SuperblockEditor(disk, edits, () => now().seconds);
    const groups = new GroupsEditor(disk, edits, superblock);
    edits.join(superblock);
    const allocator = new BlockAllocator(disk, edits, groups, superblock);
    const numbers = new InodeAllocator(disk, edits, groups, random);
    const orphans = new Orphans({ disk, edits, inodes, table, superblock, contents });
    const maps = new FileMaps(disk, edits, allocator, inodes);
    const { xattrs } = parts;
    const xattrEditor = new XattrEditor({ disk, edits, allocator, inodes, superblock, xattrs });
    const inline = new InlineEditor({ disk, edits, allocator, maps, xattrs: xattrEditor });
    const blocks = new DirectoryBlocks(disk, contents);
    const index = new DirectoryIndex(disk, blocks);
    const directoryEditor = new DirectoryEditor(
      { disk, edits, maps, inline, directories, blocks },
      new IndexEditor({ disk, edits, maps, blocks }, index),
    );
    const delayed = new Delayed(disk, edits, table, parts.delayedMemory);
    contents.delayed = delayed;
    const delayedParts = { disk, edits, allocator, inodes, maps, delayed };
    const delayedWriter = new DelayedWriter(delayedParts);
    const files = new FileEditor({
      ...{ disk, edits, allocator, inodes, table, superblock, maps, inline, orphans },
      ...{ delayed, delayedWriter },
    });
    const removal = new Removal({
      ...{ edits, inodes, table, allocator, numbers, files, xattrEditor, orphans },
    });
    delayedWriter.isOpen = (number) => removal.isHeld(number);
    inodes.isDelayed = (number) => delayed.has(number);
    const { quota } = parts;
    allocator.quotaLeft = (blocksFree) => quota.blocksLeft({ blocksFree });
    numbers.quotaLeft = () => quota.inodesLeft(superblock.state);
    if (parts.discards) allocator.discards = new Discards(disk);
    changes.beforeCommit = () => {
      delayedWriter.writeOutAll();
    };
    changes.unwritten = (file) =>
      delayedWriter.unwritten(file) ?? files.unwritten(changes.late, file);
    changes.beforeClose = () => {
      this.#discard((discards) => {
        discards.close(changes);
      });
    };
    this.#changes = changes;
    this.#delayed = delayed;
    this.#delayedWriter = delayedWriter;
    this.#directories = directories;
    this.#accessTimes = parts.accessTimes;
    this.#disk = disk;
    this.#table = table;
    this.#edits = edits;
    this.#inodes = inodes;
    this.#superblock = superblock;
    this.#allocator = allocator;
    this.#numbers = numbers;
    this.#orphans = orphans;
    this.#files = files;
    this.#xattrs = xattrEditor;
    this.#removal = removal;
    this.#names = new Names({
      ...{ disk, edits, table, inodes, numbers, maps, directories, directoryEditor },
      ...{ xattrEditor, removal, orphans },
    });
    this.#begin(groups, parts.keepNameless);
  }

  /** What is free; delayed contents have their blocks. */
  get counts(): FreeCounts {
    const { blocksFree, inodesFree } = this.#superblock.state;
    return { blocksFree: blocksFree - this.#delayed.blocks, inodesFree };
  }

  /** How many blocks a file will get when its contents are written out. */
  delayedBlocks(inode: Inode): number {
    return this.#delayed.count(inode.number);
  }

  change<T>(run: () => T): T {
    return this.#edits.change(run);
  }

  actAs({ uid, gid }: Owner): void {
    const { reservedFor } = this.#disk.superblock;
    const group = reservedFor.gid !== 0 && gid === reservedFor.gid;
    this.#allocator.privileged = uid === 0 || uid === reservedFor.uid || group;
  }

  createFile(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    return this.#changeIn(directory, (live) => this.#names.createFile(live, name, file));
  }

  reserveInodes(directory: Inode, count: number, runsMax: number): InodeRun[] {
    return this.#numbers.reserve(this.#live(directory), count, runsMax);
  }

  releaseInodes(numbers: Iterable<number>): void {
    this.#numbers.release(numbers);
  }

  newGeneration(): number {
    return this.#numbers.generation();
  }

  createUnnamed(directory: Inode, file: NewFile): Inode {
    return this.change(() => this.#names.createUnnamed(this.#live(directory), file));
  }

  makeDirectory(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    return this.#changeIn(directory, (live) => this.#names.makeDirectory(live, name, file));
  }

  makeSymlink(directory: Inode, name: Uint8Array, link: Owner & { target: Uint8Array }): Inode {
    return this.#changeIn(directory, (live) => this.#names.makeSymlink(live, name, link));
  }

  link(inode: Inode, directory: Inode, name: Uint8Array): void {
    this.#changeIn(directory, (live) => {
      this.#names.link(this.#live(inode), live, name);
    });
  }

  unlink(directory: Inode, name: Uint8Array): Inode {
    return this.#changeIn(directory, (live) => this.#names.unlink(live, name));
  }

  removeDirectory(directory: Inode, name: Uint8Array): Inode {
    return this.#changeIn(directory, (live) => this.#names.removeDirectory(live, name));
  }

  /**
   * A file that takes the place of another one is written out first: programs replace files so, and
   * would find an empty one after a crash.
   */
  rename(from: Place, to: Place, mode: RenameMode = 'replace'): Inode | undefined {
    if (this.#delayed.blocks > 0 && mode === 'replace') this.#writeOutNamed(from);
    return this.#changeIn(to.directory, (directory) => {
      const source = { ...from, directory: this.#live(from.directory) };
      const target = { ...to, directory };
      this.#syncAfter(source.directory, DIRECTORY_SYNC);
      return this.#names.rename(source, target, mode);
    });
  }

  write(inode: Inode, offset: number, data: Uint8Array | Incoming): number {
    const live = this.#live(inode);
    const bytes = this.#files.write(live, offset, data);
    if (hasFlag(live, INODE_FLAG.sync)) {
      this.change(() => {
        this.#syncAfter(live, INODE_FLAG.sync);
      });
    }
    return bytes;
  }

  truncate(inode: Inode, size: number): void {
    this.#files.truncate(this.#live(inode), size);
  }

  allocate(inode: Inode, mode: AllocateMode, range: ByteRange): void {
    this.#files.allocate(this.#live(inode), mode, range);
  }

  setAttributes(inode: Inode, changes: AttributeChanges): void {
    const live = this.#live(inode);
    const owned = changes.mode ?? changes.uid ?? changes.gid ?? changes.modified;
    const append = hasFlag(live, INODE_FLAG.append) && owned !== undefined;
    if (append || hasFlag(live, INODE_FLAG.immutable)) {
      throw new FsError('EPERM', `inode ${String(live.number)} is immutable or append-only`);
    }
    this.change(() => {
      if (changes.size !== undefined) this.truncate(live, changes.size);
      const edited = this.#inodes.edit(live);
      if (changes.mode !== undefined) {
        edited.mode = (edited.mode & MODE.type) | (changes.mode & ~MODE.type);
      }
      edited.uid = changes.uid ?? edited.uid;
      edited.gid = changes.gid ?? edited.gid;
      edited.accessed = changes.accessed ?? edited.accessed;
      edited.modified = changes.modified ?? edited.modified;
      edited.changed = changes.changed ?? this.#inodes.now();
    });
  }

  setFlags(inode: Inode, flags: number, mask: number): void {
    const live = this.#live(inode);
    const wanted = ((live.flags & ~mask) | (flags & mask)) >>> 0;
    const settable = fileType(live) === MODE.directory ? DIRECTORY_FLAGS : FILE_FLAGS;
    if (((wanted ^ live.flags) & ~settable) !== 0) {
      throw new FsError('EOPNOTSUPP', `flags ${hex(wanted)} of inode ${String(live.number)}`);
    }
    this.change(() => {
      const edited = this.#inodes.edit(live);
      edited.flags = wanted;
      edited.changed = this.#inodes.now();
    });
  }

  accessed(inode: Inode): void {
    const now = this.#inodes.now();
    if (!marksAccess(this.#accessTimes, inode, now)) return;
    try {
      this.change(() => {
        this.#inodes.edit(this.#live(inode)).accessed = now;
      });
    } catch (error) {
      // Who reads has what was asked for; the failure is told to who changes something.
      if (!isFsError(error)) throw error;
    }
  }

  setXattr(inode: Inode, name: Uint8Array, value: Uint8Array, mode: XattrMode = {}): void {
    const live = this.#forXattrs(inode);
    this.change(() => {
      this.#xattrs.set(this.#inodes.edit(live), name, value, mode);
    });
  }

  removeXattr(inode: Inode, name: Uint8Array): void {
    const live = this.#forXattrs(inode);
    this.change(() => {
      this.#xattrs.remove(this.#inodes.edit(live), name);
    });
  }

  hold(inode: Inode): void {
    this.#removal.hold(this.#live(inode));
  }

  drop(inode: Inode): void {
    this.#removal.drop(this.#live(inode));
  }

  /** Frees the files without names that nobody holds, and keeps no more of them. */
  freeNameless(): void {
    this.#removal.freeNameless();
  }

  /** See `Volume.discard`. */
  discard(): void {
    this.#discard((discards) => {
      discards.step(this.#changes);
    });
  }

  /** What freed blocks hold is of no use to anybody, and neither is an error. */
  #discard(run: (discards: Discards) => void): void {
    const { discards } = this.#allocator;
    if (discards === undefined) return;
    this.#allocator.release();
    try {
      run(discards);
    } catch (error) {
      if (!isFsError(error)) throw error;
      this.#allocator.discards = undefined;
    }
  }

  #forXattrs(inode: Inode): Inode {
    const live = this.#live(inode);
    if (hasFlag(live, INODE_FLAG.immutable | INODE_FLAG.append)) {
      throw new FsError('EPERM', `inode ${String(live.number)} is immutable or append-only`);
    }
    return live;
  }

  /** A change of the names in a directory. */
  #changeIn<T>(directory: Inode, run: (live: Inode) => T): T {
    return this.#removal.sparing(() =>
      this.change(() => {
        const live = this.#live(directory);
        const result = run(live);
        this.#syncAfter(live, DIRECTORY_SYNC);
        return result;
      }),
    );
  }

  /** Inside a change: it is to last when the call returns, if one of the flags says so. */
  #syncAfter(inode: Inode, flags: number): void {
    if (!hasFlag(inode, flags)) return;
    this.#edits.afterwards(() => {
      this.#edits.commit(inode.number);
    });
  }

  #writeOutNamed({ directory, name }: Place): void {
    if (fileType(directory) !== MODE.directory) return;
    const place = this.#directories.find(this.#live(directory), name);
    if (place === undefined || !this.#delayed.has(place.inode)) return;
    this.#delayedWriter.writeOut(this.#table.get(place.inode));
  }

  /** The object that is kept up to date. Throws ESTALE if the file is gone. */
  #live(inode: Inode): Inode {
    const live = this.#table.get(inode.number);
    if (live.generation === inode.generation) return live;
    throw new FsError('ESTALE', `inode ${String(inode.number)} has another generation`);
  }

  /** A file that cannot be read keeps its place on the list of orphans. */
  #finishTruncate(inode: Inode): void {
    try {
      this.#files.finishTruncate(inode);
    } catch (error) {
      if (!isFsError(error, 'EIO')) throw error;
    }
  }

  /** Counts what is free, notes that the volume is in use, and ends what a crash left undone. */
  #begin(groups: GroupsEditor, keepNameless: boolean): void {
    this.change(() => {
      const state = this.#superblock.edit();
      state.blocksFree = groups.all.reduce((sum, group) => sum + group.blocksFree, 0);
      state.inodesFree = groups.all.reduce((sum, group) => sum + group.inodesFree, 0);
      state.mounts = Math.min(state.mounts + 1, 0xffff);
    });
    this.#orphans.load();
    this.#orphans.takeFromFile();
    for (const inode of this.#orphans.all) {
      if (inode.links > 0) this.#finishTruncate(inode);
    }
    if (keepNameless) this.#removal.keepNameless();
    else this.#removal.freeNameless();
  }
}

/**
 * Files and their names: made, linked, removed and renamed.
 *
 * A directory's links are its own "." and name, and the ".." of each directory in it. Beyond 65,000
 * an indexed directory is not counted any more, if the volume allows that (feature DIR_NLINK), and
 * has one link.
 */
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';
import { FsError, damaged } from '../errors.ts';
import type { NewFile, Owner, Place, RenameMode } from './changing.ts';
import type { Directories } from './directory.ts';
import type { DirectoryEditor } from './directory-editor.ts';
import { type EntryPlace, isDots } from './directory-entries.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import { type EntryTarget, typeNumber } from './entry-edits.ts';
import type { FileMaps } from './file-maps.ts';
import type { InodeAllocator } from './inode-allocator.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode, fileType, hasFlag } from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { INCOMPAT, INODE_FLAG, MODE, RO_COMPAT, put32 } from './layout.ts';
import type { Orphans } from './orphans.ts';
import type { Removal } from './removal.ts';
import type { XattrEditor } from './xattr-editor.ts';

const NAME_BYTES_MAX = 255;
const LINKS_MAX = 65_000;
const TARGET_BYTES_MAX = 4095;
const SLASH = 0x2f;
/** Flags that new files have from their directory: sync, no dump, no access times. */
const INHERITED = 0x8 | 0x40 | 0x80;
/** The same of files that are neither regular nor directories. */
const INHERITED_SPECIAL = 0x40 | 0x80;

export interface NameParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly table: InodeTable;
  readonly inodes: InodeEditor;
  readonly numbers: InodeAllocator;
  readonly maps: FileMaps;
  readonly directories: Directories;
  readonly directoryEditor: DirectoryEditor;
  readonly xattrEditor: XattrEditor;
  readonly removal: Removal;
  readonly orphans: Orphans;
}

/** A name that was found, and what it leads to. */
interface Named {
  readonly place: EntryPlace;
  readonly inode: Inode;
}

export class Names {
  readonly #parts: NameParts;
  /** Files that were made without a name, and may still get one. */
  readonly #linkable = new WeakSet<Inode>();

  constructor(parts: NameParts) {
    this.#parts = parts;
  }

  createFile(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    const type = file.mode & MODE.type;
    const plain = type === MODE.regular || type === MODE.fifo || type === MODE.socket;
    const device = type === MODE.character || type === MODE.block;
    if (!plain && !device) throw new FsError('EINVAL', 'the type of the file');
    return this.#parts.inodes.at(file.foretold?.time, () =>
      this.#create(directory, name, file, (edited) => {
        if (device) putDevice(edited, file.device ?? 0);
        else if (type === MODE.regular) this.#parts.maps.init(edited);
      }),
    );
  }

  /** A regular file without a name, which `link` may give it one. The caller holds it at once. */
  createUnnamed(directory: Inode, file: NewFile): Inode {
    this.#checkDirectory(directory);
    const edited = this.#make(directory, file);
    this.#parts.maps.init(edited);
    edited.links = 0;
    this.#setXattrs(edited, file);
    this.#parts.orphans.add(edited);
    this.#parts.edits.afterwards(() => {
      this.#linkable.add(edited);
    });
    return edited;
  }

  makeDirectory(directory: Inode, name: Uint8Array, file: NewFile): Inode {
    this.#checkLinks(directory);
    const mode = (file.mode & ~MODE.type) | MODE.directory;
    return this.#create(directory, name, { ...file, mode }, (edited, parent) => {
      this.#parts.maps.init(edited);
      const type = this.#target(edited).type;
      this.#parts.directoryEditor.init(edited, parent.number, type);
      edited.links = 2;
      this.#addLink(parent);
    });
  }

  makeSymlink(directory: Inode, name: Uint8Array, link: Owner & { target: Uint8Array }): Inode {
    const { target, uid, gid } = link;
    const longest = Math.min(TARGET_BYTES_MAX, this.#parts.disk.blockBytes - 1);
    if (target.length > longest) throw new FsError('ENAMETOOLONG', 'the target');
    if (target.length === 0) throw new FsError('ENOENT', 'an empty target');
    if (target.includes(0)) throw new FsError('EINVAL', 'a target with a NUL');
    const file = { uid, gid, mode: MODE.symlink | 0o777 };
    return this.#create(directory, name, file, (edited) => {
      edited.size = target.length;
      if (target.length < INODE_MAP_BYTES) {
        edited.raw.set(target, INODE_MAP_AT);
        return;
      }
      this.#parts.maps.init(edited);
      this.#parts.maps.addBlock(edited, 0).bytes.set(target);
    });
  }

  link(inode: Inode, directory: Inode, name: Uint8Array): void {
    const { inodes } = this.#parts;
    if (fileType(inode) === MODE.directory) throw new FsError('EPERM', 'a link to a directory');
    checkUnprotected(inode);
    this.#checkNew(directory, name);
    const isFirst = inode.links === 0;
    if (isFirst && !this.#linkable.has(inode)) {
      throw new FsError('ENOENT', 'the file has no names any more');
    }
    if (inode.links >= LINKS_MAX) throw new FsError('EMLINK', 'the file has too many names');
    const edited = inodes.edit(inode);
    edited.links++;
    edited.changed = inodes.now();
    if (isFirst) {
      this.#parts.orphans.remove(edited);
      this.#parts.edits.afterwards(() => {
        this.#linkable.delete(edited);
      });
    }
    this.#insert(directory, name, edited);
  }

  /** The directory's time of change is not before that of the file. */
  unlink(directory: Inode, name: Uint8Array): Inode {
    const { inode, place } = this.#named(directory, name);
    if (fileType(inode) === MODE.directory) throw new FsError('EISDIR', 'a directory');
    checkMayLose(directory, inode);
    this.#loseName(inode);
    this.#remove(directory, place);
    return inode;
  }

  removeDirectory(directory: Inode, name: Uint8Array): Inode {
    if (isDots(name)) {
      throw new FsError(name.length === 1 ? 'EINVAL' : 'ENOTEMPTY', 'a directory of dots');
    }
    const { inode, place } = this.#named(directory, name);
    this.#checkEmptyDirectory(inode);
    checkMayLose(directory, inode);
    this.#loseName(inode);
    this.#remove(directory, place);
    this.#dropLink(this.#parts.inodes.edit(directory));
    return inode;
  }

  rename(from: Place, to: Place, mode: RenameMode): Inode | undefined {
    if (isDots(from.name) || isDots(to.name)) throw new FsError('EBUSY', 'a name of dots');
    const moved = this.#named(from.directory, from.name);
    checkName(to.name);
    const target = this.#find(to.directory, to.name);
    if (mode === 'noReplace' && target !== undefined) throw new FsError('EEXIST', 'the new name');
    if (mode === 'exchange' && target === undefined) throw new FsError('ENOENT', 'the new name');
    checkMayLose(from.directory, moved.inode);
    if (target?.inode === moved.inode) return undefined;
    this.#checkDirectory(to.directory);
    if (target !== undefined) checkMayLose(to.directory, target.inode);
    this.#checkMove(moved.inode, from.directory, to.directory);
    if (mode === 'exchange' && target !== undefined) {
      this.#checkMove(target.inode, to.directory, from.directory);
      this.#exchange({ ...from, ...moved }, { ...to, ...target });
      return target.inode;
    }
    this.#replace({ ...from, ...moved }, to, target);
    return target?.inode;
  }

  #replace(from: Place & Named, to: Place, target: Named | undefined): void {
    const { inodes } = this.#parts;
    const isDirectory = fileType(from.inode) === MODE.directory;
    const targetIsDirectory = target !== undefined && fileType(target.inode) === MODE.directory;
    if (target !== undefined) {
      if (isDirectory) this.#checkEmptyDirectory(target.inode);
      else if (targetIsDirectory) throw new FsError('EISDIR', 'the new name is a directory');
    } else if (isDirectory && from.directory !== to.directory) this.#checkLinks(to.directory);
    if (target === undefined) this.#insert(to.directory, to.name, from.inode);
    else this.#retarget(to.directory, target.place, from.inode);
    // The new name may have moved the old one.
    this.#remove(from.directory, this.#named(from.directory, from.name).place);
    const edited = inodes.edit(from.inode);
    edited.changed = inodes.now();
    if (isDirectory) this.#moved(edited, from.directory, to.directory);
    if (target === undefined) return;
    if (targetIsDirectory) this.#dropLink(inodes.edit(to.directory));
    this.#loseName(target.inode);
  }

  #exchange(one: Place & Named, other: Place & Named): void {
    const { inodes } = this.#parts;
    this.#retarget(one.directory, one.place, other.inode);
    this.#retarget(other.directory, other.place, one.inode);
    for (const [named, place] of [
      [one, other],
      [other, one],
    ] as const) {
      const edited = inodes.edit(named.inode);
      edited.changed = inodes.now();
      if (fileType(edited) !== MODE.directory) continue;
      this.#moved(edited, named.directory, place.directory);
    }
  }

  /** A directory is in another one now. */
  #moved(edited: EditedInode, from: Inode, to: Inode): void {
    if (from === to) return;
    const { type } = this.#target(edited);
    this.#parts.directoryEditor.setParent(edited, to.number, type);
    this.#dropLink(this.#parts.inodes.edit(from));
    this.#addLink(this.#parts.inodes.edit(to));
  }

  #create(
    directory: Inode,
    name: Uint8Array,
    file: NewFile,
    fill: (edited: EditedInode, parent: EditedInode) => void,
  ): Inode {
    this.#checkNew(directory, name);
    const edited = this.#make(directory, file);
    fill(edited, this.#parts.inodes.edit(directory));
    this.#setXattrs(edited, file);
    this.#insert(directory, name, edited);
    return edited;
  }

  #make(directory: Inode, file: NewFile): EditedInode {
    const { inodes, numbers } = this.#parts;
    const { foretold } = file;
    if (foretold !== undefined) numbers.use(foretold.number);
    const edited = inodes.create(
      foretold?.number ?? numbers.allocate(directory, (file.mode & MODE.type) === MODE.directory),
      foretold?.generation ?? numbers.generation(),
    );
    edited.mode = file.mode;
    edited.uid = file.uid;
    edited.gid = file.gid;
    edited.links = 1;
    const type = fileType(edited);
    const whole = type === MODE.regular || type === MODE.directory;
    edited.flags = directory.flags & (whole ? INHERITED : INHERITED_SPECIAL);
    return edited;
  }

  #setXattrs(edited: EditedInode, { xattrs = [] }: NewFile): void {
    for (const [name, value] of xattrs) this.#parts.xattrEditor.set(edited, name, value, {});
  }

  #loseName(inode: Inode): void {
    const edited = this.#parts.inodes.edit(inode);
    edited.changed = this.#parts.inodes.now();
    edited.links = fileType(edited) === MODE.directory ? 0 : Math.max(0, edited.links - 1);
    if (edited.links === 0) this.#parts.removal.release(edited);
  }

  #insert(directory: Inode, name: Uint8Array, inode: Inode): void {
    const edited = this.#parts.inodes.edit(directory);
    this.#parts.directoryEditor.insert(edited, name, this.#target(inode));
    this.#parts.inodes.touch(edited);
  }

  #remove(directory: Inode, place: EntryPlace): void {
    const edited = this.#parts.inodes.edit(directory);
    this.#parts.directoryEditor.remove(edited, place);
    this.#parts.inodes.touch(edited);
  }

  #retarget(directory: Inode, place: EntryPlace, inode: Inode): void {
    const edited = this.#parts.inodes.edit(directory);
    this.#parts.directoryEditor.retarget(edited, place, this.#target(inode));
    this.#parts.inodes.touch(edited);
  }

  #target(inode: Inode): EntryTarget {
    const hasType = (this.#parts.disk.superblock.incompat & INCOMPAT.filetype) !== 0;
    return { inode: inode.number, type: hasType ? typeNumber(inode.mode) : 0 };
  }

  #find(directory: Inode, name: Uint8Array): Named | undefined {
    const place = this.#parts.directories.find(directory, name);
    if (place === undefined) return undefined;
    const inode = this.#parts.table.referenced(place.inode, directory.number);
    const circle = inode.number === ROOT_INODE || inode.number === directory.number;
    if (circle && !isDots(name)) {
      throw damaged`directory ${directory.number}: a name leads to inode ${inode.number}`;
    }
    return { place, inode };
  }

  /** Throws ENOENT if there is no such name. */
  #named(directory: Inode, name: Uint8Array): Named {
    checkName(name);
    checkIsDirectory(directory);
    const named = this.#find(directory, name);
    if (named === undefined) throw new FsError('ENOENT', 'there is no such name');
    return named;
  }

  /** A directory in which a name may be made. */
  #checkDirectory(directory: Inode): void {
    checkIsDirectory(directory);
    if (directory.links === 0) throw new FsError('ENOENT', 'the directory was removed');
    if (hasFlag(directory, INODE_FLAG.immutable)) {
      throw new FsError('EPERM', `directory ${String(directory.number)} is immutable`);
    }
  }

  #checkNew(directory: Inode, name: Uint8Array): void {
    checkName(name);
    this.#checkDirectory(directory);
    if (this.#parts.directories.find(directory, name) !== undefined) {
      throw new FsError('EEXIST', 'the name is in use');
    }
  }

  #checkEmptyDirectory(inode: Inode): void {
    checkIsDirectory(inode);
    if (!this.#parts.directoryEditor.isEmpty(inode)) {
      throw new FsError('ENOTEMPTY', `directory ${String(inode.number)} has entries`);
    }
  }

  /** Throws EINVAL if a directory would come below itself. */
  #checkMove(inode: Inode, from: Inode, to: Inode): void {
    if (fileType(inode) !== MODE.directory || from === to) return;
    const seen = new Set<number>();
    for (let above = to; ;) {
      if (above.number === inode.number) throw new FsError('EINVAL', 'a directory below itself');
      if (above.number === ROOT_INODE) return;
      if (seen.has(above.number)) throw damaged`directory ${to.number}: the tree is a circle`;
      seen.add(above.number);
      const parent = this.#parts.directoryEditor.parentOf(above);
      above = this.#parts.table.referenced(parent, above.number);
      checkIsDirectory(above);
    }
  }

  /** Throws EMLINK if the directory can count no more directories in it. */
  #checkLinks(directory: Inode): void {
    if (directory.links < LINKS_MAX) return;
    const { readOnlyCompat } = this.#parts.disk.superblock;
    const uncounted = (readOnlyCompat & RO_COMPAT.dirNlink) !== 0;
    if (uncounted && hasFlag(directory, INODE_FLAG.index)) return;
    throw new FsError('EMLINK', `directory ${String(directory.number)} has too many in it`);
  }

  #addLink(directory: EditedInode): void {
    if (directory.links === 1) return;
    directory.links = directory.links >= LINKS_MAX ? 1 : directory.links + 1;
  }

  #dropLink(directory: EditedInode): void {
    if (directory.links > 2) directory.links--;
  }
}

function checkName(name: Uint8Array): void {
  if (name.length > NAME_BYTES_MAX) {
    throw new FsError('ENAMETOOLONG', `a name of ${String(name.length)} bytes`);
  }
  if (name.length === 0 || name.includes(0) || name.includes(SLASH)) {
    throw new FsError('EINVAL', 'an empty name, or one with a slash or a NUL');
  }
}

function checkIsDirectory(inode: Inode): void {
  if (fileType(inode) === MODE.directory) return;
  throw new FsError('ENOTDIR', `inode ${String(inode.number)} is no directory`);
}

function checkUnprotected(inode: Inode): void {
  if (!hasFlag(inode, INODE_FLAG.immutable | INODE_FLAG.append)) return;
  throw new FsError('EPERM', `inode ${String(inode.number)} is immutable or append-only`);
}

/** Whether flags allow that a name of the file goes from the directory. */
function checkMayLose(directory: Inode, inode: Inode): void {
  checkUnprotected(directory);
  checkUnprotected(inode);
}

/** Numbers that fit go into the old field of 16 bits, others into the new one. */
function putDevice(edited: EditedInode, device: number): void {
  const major = (device >>> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  const old = major < 256 && minor < 256;
  put32(edited.raw, INODE_MAP_AT + (old ? 0 : 4), old ? major * 256 + minor : device);
}

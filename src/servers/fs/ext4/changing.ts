/**
 * What can be changed on a volume: the shapes that its writing methods take.
 *
 * `Volume` has these methods when it was opened with `changes`; else each throws EROFS. Every call
 * is one change, or a row of them (long writes and truncates) each of which leaves a sound volume.
 * A call that throws has changed nothing, but for what is said of `write`, and for an `allocate`
 * that found no room for all: it keeps what it has.
 *
 * Who may do what is the caller's business: permissions, sticky directories, set-id bits that a
 * write or a change of owner takes away (`setAttributes`; put both into one `change`). The volume
 * itself refuses only what its own flags forbid: EPERM for immutable and append-only files.
 * An `Inode` that a caller has is kept up to date by these calls until the server's next call; then
 * it is to be asked for again by number.
 */
import type { Timestamp } from '../../../vos/protocol/fs.ts';
import type { Incoming } from './incoming.ts';
import type { Inode } from './inode.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Inode numbers that follow one another. */
export interface InodeRun {
  readonly first: number;
  readonly count: number;
}

/** What a file is that somebody was told of before it was made. */
export interface Foretold {
  /** Among those that `reserveInodes` gave, or free. */
  readonly number: number;
  readonly generation: number;
  /** When it was made, and its directory changed. */
  readonly time: Timestamp;
}

export interface NewFile extends Owner {
  /** Type and permission bits, as in stat(2). `makeDirectory` ignores the type. */
  readonly mode: number;
  /** For character and block devices, in the kernel's new encoding. */
  readonly device?: number;
  /** Xattrs that it has from the start, as `setXattr` takes them. */
  readonly xattrs?: readonly (readonly [name: Uint8Array, value: Uint8Array])[];
  /** `createFile` alone: EINVAL when the number cannot be had. */
  readonly foretold?: Foretold;
}

/** A name in a directory. */
export interface Place {
  readonly directory: Inode;
  readonly name: Uint8Array;
}

/** What rename does about a file that has the new name: RENAME_NOREPLACE, RENAME_EXCHANGE. */
export type RenameMode = 'replace' | 'noReplace' | 'exchange';

/** The modes of fallocate(2); `keepSize` goes with `allocate` only, and with zeroRange. */
export type AllocateMode =
  | 'allocate'
  | 'keepSize'
  | 'punchHole'
  | 'zeroRange'
  | 'zeroRangeKeepSize'
  | 'collapseRange'
  | 'insertRange';

export interface ByteRange {
  readonly offset: number;
  readonly bytes: number;
}

/** What is not given stays. `changed` is now unless told. */
export interface AttributeChanges {
  /** Permission bits; those of the type are ignored. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly accessed?: Timestamp;
  readonly modified?: Timestamp;
  readonly changed?: Timestamp;
}

export interface XattrMode {
  /** EEXIST if it is there. */
  readonly create?: boolean;
  /** ENODATA if it is not. */
  readonly replace?: boolean;
}

export interface VolumeWriter {
  /**
   * Several calls as one change. Throws what `run` throws; then none of them has happened. `run`
   * runs a second time when space is short and a commit frees some.
   */
  change<T>(run: () => T): T;
  /** Whose calls the next ones are: uid 0 may use the last, reserved blocks. Root until told. */
  actAs(owner: Owner): void;

  /**
   * A file of any type but directory and symlink. Throws EEXIST, ENOTDIR, ENOENT (the directory
   * was removed), ENAMETOOLONG, ENOSPC, EINVAL.
   */
  createFile(directory: Inode, name: Uint8Array, file: NewFile): Inode;
  /**
   * Free inode numbers for files in the directory, which no file gets but those that ask for them
   * (`foretold`): at most `count`, in at most `runsMax` runs, until `releaseInodes`. They are free
   * on the device.
   */
  reserveInodes(directory: Inode, count: number, runsMax: number): InodeRun[];
  releaseInodes(numbers: Iterable<number>): void;
  /** A generation for new files. */
  newGeneration(): number;
  /**
   * A regular file without a name, as of open(2) with O_TMPFILE; it is to be held in the same
   * change, and `link` may give it a name as long as it is. ENOTDIR, ENOENT, ENOSPC.
   */
  createUnnamed(directory: Inode, file: NewFile): Inode;
  /** As `createFile`; EMLINK besides, where directories are not counted beyond 65,000. */
  makeDirectory(directory: Inode, name: Uint8Array, file: NewFile): Inode;
  /** As `createFile`. ENAMETOOLONG for a target beyond 4095 bytes or one block. */
  makeSymlink(directory: Inode, name: Uint8Array, link: Owner & { target: Uint8Array }): Inode;
  /** EMLINK beyond 65,000 names, EPERM for a directory, ENOENT for a file without names. */
  link(inode: Inode, directory: Inode, name: Uint8Array): void;
  /** Takes a name away and returns the file. ENOENT, EISDIR. */
  unlink(directory: Inode, name: Uint8Array): Inode;
  /** ENOENT, ENOTDIR, ENOTEMPTY, EINVAL ("."), ENOTEMPTY (".."). */
  removeDirectory(directory: Inode, name: Uint8Array): Inode;
  /**
   * ENOENT, EEXIST, ENOTEMPTY, EISDIR, ENOTDIR, EMLINK, EINVAL (a directory below itself). Returns
   * the file that had the new name, and is replaced or exchanged.
   */
  rename(from: Place, to: Place, mode?: RenameMode): Inode | undefined;

  /**
   * Writes at `offset` and returns how many bytes: fewer than given if the space ended within them.
   * Throws ENOSPC if there is none at all, EFBIG, EINVAL (no regular file), EISDIR.
   */
  write(inode: Inode, offset: number, data: Uint8Array | Incoming): number;
  /** EISDIR, EINVAL, EFBIG. */
  truncate(inode: Inode, size: number): void;
  /**
   * As fallocate(2). ENOSPC, EFBIG, EINVAL; EOPNOTSUPP for what takes extents in a file without
   * them. collapseRange and insertRange take whole blocks.
   */
  allocate(inode: Inode, mode: AllocateMode, range: ByteRange): void;

  setAttributes(inode: Inode, changes: AttributeChanges): void;
  /**
   * Sets those flags of an inode that `mask` names, as the ioctl FS_IOC_SETFLAGS: SYNC, IMMUTABLE,
   * APPEND, NODUMP, NOATIME, and for directories DIRSYNC and TOPDIR. EOPNOTSUPP for a change of
   * others.
   */
  setFlags(inode: Inode, flags: number, mask: number): void;
  /** Somebody has read the file: its access time is marked, if the rule says so. */
  accessed(inode: Inode): void;
  /** EEXIST, ENODATA, ENOSPC (no room in inode and block), EOPNOTSUPP, EINVAL (malformed ACL). */
  setXattr(inode: Inode, name: Uint8Array, value: Uint8Array, mode?: XattrMode): void;
  /** ENODATA. */
  removeXattr(inode: Inode, name: Uint8Array): void;

  /** The file stays, when its last name is gone, until every hold is dropped. */
  hold(inode: Inode): void;
  /** Ends one hold. The space of a file without names is free with the last of them. */
  drop(inode: Inode): void;
}

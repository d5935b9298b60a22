/**
 * What a gateway (FUSE, web, NFS) needs of a file system, whatever carries the calls.
 *
 * Every method rejects with an error whose `code` is a POSIX name ('ENOENT', 'EUCLEAN', ...) or one
 * of DVK's own ('EDSTDIED', ...). Retries and the deadline of a call are the implementation's
 * business: each promise settles, but for a lock that is waited for.
 */
import type { FileInfo, LockAnswer } from '../protocol/fs-change.ts';
import type { EarlyFile } from '../protocol/fs-early.ts';
import type { Piece } from '../protocol/fs-pieces.ts';
import type {
  DirectoryEntry,
  FileAttributes,
  FileSystemStatus,
  Timestamp,
} from '../protocol/fs.ts';

/**
 * Names a file as in NFS: the generation tells a file from an earlier one with the same inode
 * number.
 */
export interface FileId {
  readonly inode: number;
  /** 0 matches any generation. */
  readonly generation: number;
}

export interface SizedValue {
  /** The whole value's size, also when `value` was not asked for. */
  size: number;
  value: Uint8Array;
}

/** A name in a directory. */
export interface Place {
  readonly parent: FileId;
  readonly name: Uint8Array;
}

/** On whose behalf something is made or written. Permissions are not checked. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export interface NewFile extends Owner {
  /** Type and permissions as in stat(2); `makeDirectory` ignores the type. */
  readonly mode: number;
  /** Permissions that the file does not get, unless its directory has a default access list. */
  readonly umask: number;
  /** For character and block devices, in the kernel's new encoding. */
  readonly device?: number;
}

/** `flags` (`AttributeFlag`) says which of the others count. */
export interface AttributeChange {
  readonly flags: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly accessed?: Timestamp;
  readonly modified?: Timestamp;
}

export interface FilePosition {
  readonly file: FileId;
  readonly offset: number;
}

/** What a write or a copy came to: maybe fewer bytes than asked for. */
export interface Written {
  readonly bytes: number;
  /** Those of the file after it. */
  readonly attributes: FileAttributes;
  /** Whether this client has claimed the file's contents from now on. */
  readonly claimed?: boolean;
}

/** What the names of a directory come with. */
export interface TakenNames {
  /** The server's time, at some moment between the call and its answer. */
  readonly now: Timestamp;
  /** For files that `createMany` makes there, none of which exists. */
  readonly numbers: readonly FileId[];
}

/** What a removal tells: either of what is held open by it, or of the directory after it. */
export type Removed = { readonly held: FileAttributes } | { readonly directory: FileAttributes };

/** What `createMany` came to. */
export interface Made {
  /** How many files: those before the first that could not be made. */
  readonly made: number;
  /** Why that one could not: 0, or a positive errno. */
  readonly errno: number;
  /** Whether the names are still this client's. */
  readonly claimed: boolean;
  readonly now: Timestamp;
  /** Of the directory after it. */
  readonly size: number;
  readonly sectors: number;
}

/** A lock that is asked for; `kind` is a `LockKind`, `type` a `LockType`. */
export interface LockRequest {
  readonly kind: number;
  readonly type: number;
  /** First and last byte; 2^53 - 1 is the end of any file. */
  readonly start: number;
  readonly end: number;
  /** Whose it is, among those of this client. */
  readonly owner: bigint;
  readonly pid: number;
}

export interface FileService {
  lookup(parent: FileId, name: Uint8Array): Promise<FileAttributes>;
  getAttributes(file: FileId): Promise<FileAttributes>;
  readlink(file: FileId): Promise<Uint8Array>;
  /**
   * Reads up to `bytes` from `offset`; fewer only at the end of the file. `use` is called exactly
   * once before the promise resolves, with a view that is valid only during the call: it may lie in
   * shared memory.
   */
  read(file: FileId, offset: number, bytes: number, use: (data: Uint8Array) => void): Promise<void>;
  /**
   * Entries from `cookie` on (0: from the start) that take at most `bytes` in the FS protocol; none
   * at the end.
   */
  readDirectory(file: FileId, cookie: number, bytes: number): Promise<DirectoryEntry[]>;
  status(): Promise<FileSystemStatus>;
  /** With `bytes` 0 only the size is told; a value of more than `bytes` rejects with ERANGE. */
  getXattr(file: FileId, name: Uint8Array, bytes: number): Promise<SizedValue>;
  listXattr(file: FileId, bytes: number): Promise<SizedValue>;

  /**
   * Makes a file of any type but directory and symlink; `flags`: `CreateFlag`. EEXIST if the name
   * is there.
   */
  create(place: Place, file: NewFile, flags: number): Promise<FileAttributes>;
  /**
   * Takes the names of a directory, or keeps them, and asks for `count` inode numbers. Until
   * `unclaim` nobody else gets at the directory. Undefined when they cannot be had.
   */
  takeNames(directory: FileId, count: number): Promise<TakenNames | undefined>;
  /** Makes regular files in a directory whose names this client has, at most `FILES_MAX`. */
  createMany(directory: FileId, files: readonly EarlyFile[]): Promise<Made>;
  /** A regular file without a name, held open; `link` may give it one. EOPNOTSUPP. */
  createUnnamed(parent: FileId, file: NewFile): Promise<FileAttributes>;
  /** What attributes do not tell. */
  info(file: FileId): Promise<FileInfo>;
  /** Sets those flags (of FS_IOC_SETFLAGS) that `mask` names. EOPNOTSUPP for unknown ones. */
  setFlags(file: FileId, flags: number, mask: number): Promise<void>;
  makeDirectory(place: Place, file: NewFile): Promise<FileAttributes>;
  symlink(place: Place, target: Uint8Array, owner: Owner): Promise<FileAttributes>;
  link(file: FileId, place: Place): Promise<FileAttributes>;
  /**
   * With `hold`, what lost its last name by this, and is no regular file or symbolic link, is held
   * open.
   */
  unlink(place: Place, hold?: boolean): Promise<Removed>;
  /** As `unlink`. */
  removeDirectory(place: Place, hold?: boolean): Promise<Removed>;
  /** `flags`: `RenameFlag`. */
  rename(from: Place, to: Place, flags: number): Promise<void>;
  /**
   * Writes at most 1 MiB of `data`, which is used no more when this returns (not: settles).
   * `flags`: `WriteFlag`; with APPEND the offset is not looked at.
   */
  write(at: FilePosition, data: Uint8Array, flags: number, owner: Owner): Promise<Written>;
  /**
   * As `write`, of memory that the service can take it from, which stays as it is until the promise
   * settles.
   */
  writeFrom?(at: FilePosition, source: Uint8Array, flags: number, owner: Owner): Promise<Written>;
  /** Writes several pieces, as far as they go into one call (`piecesFit`), in their order. */
  writePieces?(
    file: FileId,
    pieces: readonly Piece[],
    flags: number,
    owner: Owner,
  ): Promise<Written>;
  /**
   * Ends a claim on the file's contents or the directory's names. While there is one on contents,
   * only writes that renew it may be asked for: any other call that it is in the way of waits.
   */
  unclaim(file: FileId): Promise<void>;
  setAttributes(file: FileId, change: AttributeChange): Promise<FileAttributes>;
  /** `mode` as in fallocate(2). */
  allocate(at: FilePosition, bytes: number, mode: number, owner: Owner): Promise<FileAttributes>;
  /** Offset of the next data or hole (`SeekWhence`); ENXIO if there is none. */
  seek(at: FilePosition, whence: number): Promise<number>;
  /** `flags`: `XattrFlag`. */
  setXattr(file: FileId, name: Uint8Array, value: Uint8Array, flags: number): Promise<void>;
  removeXattr(file: FileId, name: Uint8Array): Promise<void>;
  /**
   * Resolves when what was changed so far will be there after a crash. EIO, once, when something
   * that was written to the file since it was opened may be lost.
   */
  sync(file: FileId, flags: number): Promise<void>;
  /** Holds a file open: it stays, also without a name, until as many calls of `release`. */
  open(file: FileId): Promise<FileAttributes>;
  release(file: FileId): Promise<void>;
  /** Copies between two files, or within one, without moving the data here. */
  copyRange(from: FilePosition, to: FilePosition, bytes: number, owner: Owner): Promise<Written>;
  /** The lock that is in the way of this one. */
  testLock(file: FileId, lock: LockRequest): Promise<LockAnswer>;
  /**
   * Takes or gives up a lock. EAGAIN when another is in the way; with `wait` it is waited for,
   * until the signal aborts: EINTR. Resolves with the attributes that the file has with the lock.
   */
  lock(file: FileId, lock: LockRequest, wait?: AbortSignal): Promise<FileAttributes>;
}

/**
 * What a gateway (FUSE, web, NFS) needs of a file system, whatever carries the calls.
 *
 * Every method rejects with an error whose `code` is a POSIX name ('ENOENT', 'EUCLEAN', ...) or one
 * of DVK's own ('EDSTDIED', ...). Retries and the deadline of a call are the implementation's
 * business: each promise settles.
 */
import type { DirectoryEntry, FileAttributes, FileSystemStatus } from '../protocol/fs.ts';

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
}

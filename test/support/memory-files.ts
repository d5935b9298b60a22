/**
 * A file system in memory that implements FileService, for tests of gateways.
 *
 * Files are made with `add`; a file's data may be a function, so that a file can be larger than
 * memory or never answer. Every method counts its calls in `calls`.
 */
import type { FileId, FileService, SizedValue } from '../../src/vos/client/file-service.ts';
import type {
  DirectoryEntry,
  FileAttributes,
  FileSystemStatus,
} from '../../src/vos/protocol/fs.ts';
import { directoryEntryBytes, ROOT_INODE } from '../../src/vos/protocol/fs.ts';

export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFIFO = 0o010000;
const S_IFMT = 0o170000;
const FIRST_FREE_INODE = 11;

/** Returns up to `bytes` from `offset`; a promise that never settles plays a server that hangs. */
export type ReadData = (offset: number, bytes: number) => Uint8Array | Promise<Uint8Array>;

export interface MemoryFile {
  readonly attributes: FileAttributes;
  readonly parent: number;
  readonly children: Map<string, number>;
  read: ReadData;
  target: Uint8Array;
  readonly xattrs: Map<string, Uint8Array>;
}

export function failure(code: string): Error & { code: string } {
  return Object.assign(new Error(code), { code });
}

const NOTHING: Uint8Array = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class MemoryFiles implements FileService {
  readonly files: Map<number, MemoryFile> = new Map<number, MemoryFile>();
  readonly calls: Map<string, number> = new Map<string, number>();
  /** A call of this name rejects with this code. */
  readonly failing: Map<string, string> = new Map<string, string>();
  #nextInode = FIRST_FREE_INODE;

  constructor() {
    this.#put(ROOT_INODE, ROOT_INODE, S_IFDIR | 0o755);
  }

  /** Makes the file `path` ("/a/b"), whose parent exists. */
  add(
    path: string,
    mode: number,
    data?: Uint8Array | { size: number; read: ReadData },
  ): MemoryFile {
    const at = path.lastIndexOf('/');
    const parent = this.#walk(path.slice(0, at));
    const inode = this.#nextInode++;
    const file = this.#put(inode, parent.attributes.inode, mode);
    parent.children.set(path.slice(at + 1), inode);
    if ((mode & S_IFMT) === S_IFDIR) parent.attributes.links++;
    if (data instanceof Uint8Array) {
      file.attributes.size = data.length;
      if ((mode & S_IFMT) === S_IFLNK) file.target = data;
      file.read = (offset, bytes) => data.subarray(offset, offset + bytes);
    } else if (data !== undefined) {
      file.attributes.size = data.size;
      file.read = data.read;
    }
    return file;
  }

  async lookup(parent: FileId, name: Uint8Array): Promise<FileAttributes> {
    this.#count('lookup');
    const directory = this.#get(parent);
    const text = decoder.decode(name);
    if (text === '..') return this.#get({ inode: directory.parent, generation: 0 }).attributes;
    const inode = directory.children.get(text);
    if (inode === undefined) throw failure('ENOENT');
    return this.getAttributes({ inode, generation: 0 });
  }

  async getAttributes(file: FileId): Promise<FileAttributes> {
    this.#count('getAttributes');
    return Promise.resolve(this.#get(file).attributes);
  }

  async readlink(file: FileId): Promise<Uint8Array> {
    this.#count('readlink');
    return Promise.resolve(this.#get(file).target);
  }

  async read(
    file: FileId,
    offset: number,
    bytes: number,
    use: (data: Uint8Array) => void,
  ): Promise<void> {
    this.#count('read');
    const { attributes, read } = this.#get(file);
    const length = Math.max(0, Math.min(bytes, attributes.size - offset));
    const data = length === 0 ? NOTHING : read(offset, length);
    use(data instanceof Uint8Array ? data : await data);
  }

  async readDirectory(file: FileId, cookie: number, bytes: number): Promise<DirectoryEntry[]> {
    this.#count('readDirectory');
    const directory = this.#get(file);
    const names: [string, number][] = [
      ['.', directory.attributes.inode],
      ['..', directory.parent],
      ...directory.children,
    ];
    const entries: DirectoryEntry[] = [];
    let room = bytes;
    for (let i = cookie; i < names.length; i++) {
      const [text, inode] = names[i] ?? ['', 0];
      const { attributes } = this.#get({ inode, generation: 0 });
      const name = encoder.encode(text);
      room -= directoryEntryBytes(name.length);
      if (room < 0) break;
      entries.push({ nextCookie: i + 1, type: attributes.mode >>> 12, name, attributes });
    }
    return Promise.resolve(entries);
  }

  async status(): Promise<FileSystemStatus> {
    this.#count('status');
    const inodes = this.files.size;
    return Promise.resolve({
      blockBytes: 4096,
      blocks: 1_000_000,
      blocksFree: 600_000,
      blocksAvailable: 500_000,
      inodes,
      inodesFree: 7,
    });
  }

  async getXattr(file: FileId, name: Uint8Array, bytes: number): Promise<SizedValue> {
    this.#count('getXattr');
    const value = this.#get(file).xattrs.get(decoder.decode(name));
    if (value === undefined) throw failure('ENODATA');
    return Promise.resolve(sized(value, bytes));
  }

  async listXattr(file: FileId, bytes: number): Promise<SizedValue> {
    this.#count('listXattr');
    const names = [...this.#get(file).xattrs.keys()].map((name) => `${name}\0`).join('');
    return Promise.resolve(sized(encoder.encode(names), bytes));
  }

  #count(call: string): void {
    this.calls.set(call, (this.calls.get(call) ?? 0) + 1);
    const code = this.failing.get(call);
    if (code !== undefined) throw failure(code);
  }

  #get({ inode, generation }: FileId): MemoryFile {
    const file = this.files.get(inode);
    if (file === undefined) throw failure('ESTALE');
    if (generation !== 0 && generation !== file.attributes.generation) throw failure('ESTALE');
    return file;
  }

  #walk(path: string): MemoryFile {
    let file = this.#get({ inode: ROOT_INODE, generation: 0 });
    for (const name of path.split('/').filter((part) => part !== '')) {
      file = this.#get({ inode: file.children.get(name) ?? 0, generation: 0 });
    }
    return file;
  }

  #put(inode: number, parent: number, mode: number): MemoryFile {
    const time = { seconds: 1_700_000_000 + inode, nanoseconds: 123_456_789 };
    const attributes: FileAttributes = {
      inode,
      generation: inode * 3,
      mode,
      links: (mode & S_IFMT) === S_IFDIR ? 2 : 1,
      uid: 0,
      gid: 0,
      size: (mode & S_IFMT) === S_IFDIR ? 4096 : 0,
      sectors: 8,
      accessed: time,
      modified: time,
      changed: time,
    };
    const file: MemoryFile = {
      attributes,
      parent,
      children: new Map(),
      read: () => NOTHING,
      target: NOTHING,
      xattrs: new Map(),
    };
    this.files.set(inode, file);
    return file;
  }
}

function sized(value: Uint8Array, bytes: number): SizedValue {
  if (bytes === 0) return { size: value.length, value: NOTHING };
  if (value.length > bytes) throw failure('ERANGE');
  return { size: value.length, value };
}

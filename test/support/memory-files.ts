/**
 * A file system in memory that implements FileService, for tests of gateways.
 *
 * Files are made with `add`; a file's data may be a function, so that a file can be larger than
 * memory or never answer. Every method counts its calls in `calls`.
 */
import { constants } from 'node:os';
import { LockTable } from '../../src/servers/fs/locks.ts';
import type {
  AttributeChange,
  FileId,
  FilePosition,
  FileService,
  LockRequest,
  Made,
  NewFile,
  Owner,
  Place,
  Removed,
  SizedValue,
  TakenNames,
  Written,
} from '../../src/vos/client/file-service.ts';
import type { FileInfo, LockAnswer } from '../../src/vos/protocol/fs-change.ts';
import {
  AttributeFlag,
  CreateFlag,
  RenameFlag,
  WriteFlag,
} from '../../src/vos/protocol/fs-change.ts';
import type { Piece } from '../../src/vos/protocol/fs-pieces.ts';
import type { EarlyFile } from '../../src/vos/protocol/fs-early.ts';
import type {
  DirectoryEntry,
  FileAttributes,
  FileSystemStatus,
  Timestamp,
} from '../../src/vos/protocol/fs.ts';
import { directoryEntryBytes, ROOT_INODE } from '../../src/vos/protocol/fs.ts';

export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFIFO = 0o010000;
const S_IFMT = 0o170000;
const FIRST_FREE_INODE = 11;
const FILE_BYTES_MAX = 2 ** 23;

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
  readonly flags: Map<number, number> = new Map<number, number>();
  /** When every file was made. */
  born: Timestamp | undefined = { seconds: 5, nanoseconds: 6 };
  /** Files that are held open, and how often. */
  readonly holds: Map<number, number> = new Map<number, number>();
  readonly locks: LockTable = new LockTable(
    () => true,
    () => 0,
  );
  /** What the client has claimed, or has tried to: it cannot know until it is told. */
  readonly claims: Set<number> = new Set<number>();
  /** Whether claims are granted. */
  grantsClaims = false;
  /** The time of the server. */
  now: Timestamp = { seconds: 1_800_000_000, nanoseconds: 0 };
  /** Names of which `createMany` makes no file, and why. */
  readonly unmakeable: Map<string, string> = new Map<string, string>();
  /** Ends of waits for locks are looked at when this is called. */
  readonly waiting: (() => void)[] = [];
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
    this.#unclaimed(file);
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

  async create(place: Place, file: NewFile, flags: number): Promise<FileAttributes> {
    this.#count('create');
    const made = this.#make(place, file.mode & ~file.umask, file);
    if ((flags & CreateFlag.HOLD) !== 0) this.#hold(made.attributes.inode, 1);
    made.read = () => NOTHING;
    if ((file.mode & S_IFMT) !== S_IFREG) made.attributes.size = file.device ?? 0;
    return Promise.resolve({ ...made.attributes });
  }

  async takeNames(directory: FileId, count: number): Promise<TakenNames | undefined> {
    this.#count('takeNames');
    if (!this.#claim(directory)) return Promise.resolve(undefined);
    const numbers: FileId[] = [];
    while (numbers.length < count) {
      const inode = this.#nextInode++;
      numbers.push({ inode, generation: inode * 3 });
    }
    return Promise.resolve({ now: this.now, numbers });
  }

  async createMany(directory: FileId, files: readonly EarlyFile[]): Promise<Made> {
    this.#count('createMany');
    let made = 0;
    let code: string | undefined;
    for (const file of files) {
      code = this.unmakeable.get(decoder.decode(file.name));
      if (code !== undefined) break;
      const { inode, mode, uid, gid, time, flags } = file;
      const attributes = this.#put(inode, directory.inode, mode).attributes;
      Object.assign(attributes, { uid, gid, sectors: 0 });
      Object.assign(attributes, { accessed: time, modified: time, changed: time });
      this.#enter({ parent: directory, name: file.name }, inode);
      if ((flags & CreateFlag.HOLD) !== 0) this.#hold(inode, 1);
      Object.assign(this.#get(directory).attributes, { modified: time, changed: time });
      made++;
    }
    const errno = code === undefined ? 0 : constants.errno[code as 'EIO'];
    const { size, sectors } = this.#get(directory).attributes;
    const claimed = this.#claim(directory);
    return Promise.resolve({ made, errno, claimed, now: this.now, size, sectors });
  }

  async unclaim(file: FileId): Promise<void> {
    this.#count('unclaim');
    this.claims.delete(file.inode);
    return Promise.resolve();
  }

  async createUnnamed(_: FileId, file: NewFile): Promise<FileAttributes> {
    this.#count('createUnnamed');
    const inode = this.#nextInode++;
    const made = this.#put(inode, ROOT_INODE, file.mode & ~file.umask);
    made.attributes.links = 0;
    made.read = () => NOTHING;
    this.#hold(inode, 1);
    return Promise.resolve({ ...made.attributes });
  }

  async info(file: FileId): Promise<FileInfo> {
    this.#count('info');
    const { inode } = this.#get(file).attributes;
    return Promise.resolve({ flags: this.flags.get(inode) ?? 0, born: this.born });
  }

  async setFlags(file: FileId, flags: number, mask: number): Promise<void> {
    this.#count('setFlags');
    const { inode } = this.#get(file).attributes;
    this.flags.set(inode, ((this.flags.get(inode) ?? 0) & ~mask) | (flags & mask));
    return Promise.resolve();
  }

  async makeDirectory(place: Place, file: NewFile): Promise<FileAttributes> {
    this.#unclaimed(place.parent);
    this.#count('makeDirectory');
    const mode = S_IFDIR | (file.mode & ~file.umask & 0o7777);
    return Promise.resolve({ ...this.#make(place, mode, file).attributes });
  }

  async symlink(place: Place, target: Uint8Array, owner: Owner): Promise<FileAttributes> {
    this.#count('symlink');
    const made = this.#make(place, S_IFLNK | 0o777, owner);
    made.target = target;
    made.attributes.size = target.length;
    return Promise.resolve({ ...made.attributes });
  }

  async link(file: FileId, place: Place): Promise<FileAttributes> {
    this.#count('link');
    const { attributes } = this.#get(file);
    this.#enter(place, attributes.inode);
    attributes.links++;
    return Promise.resolve({ ...attributes });
  }

  async unlink(place: Place): Promise<Removed> {
    this.#count('unlink');
    this.#leave(place);
    return Promise.resolve({ directory: { ...this.#get(place.parent).attributes } });
  }

  async removeDirectory(place: Place, hold = false): Promise<Removed> {
    this.#count('removeDirectory');
    const inode = this.#get(place.parent).children.get(decoder.decode(place.name)) ?? 0;
    const removed = this.files.get(inode);
    if ((removed?.children.size ?? 0) > 0) throw failure('ENOTEMPTY');
    this.#leave(place);
    if (!hold || removed === undefined) {
      return Promise.resolve({ directory: { ...this.#get(place.parent).attributes } });
    }
    this.#hold(inode, 1);
    return Promise.resolve({ held: { ...removed.attributes } });
  }

  async rename(from: Place, to: Place, flags: number): Promise<void> {
    this.#unclaimed(to.parent);
    this.#count('rename');
    const names = this.#get(to.parent).children;
    const there = names.has(decoder.decode(to.name));
    if (there && flags === RenameFlag.NO_REPLACE) throw failure('EEXIST');
    const inode = this.#get(from.parent).children.get(decoder.decode(from.name));
    if (inode === undefined) throw failure('ENOENT');
    if (there) this.#leave(to);
    this.#get(from.parent).children.delete(decoder.decode(from.name));
    names.set(decoder.decode(to.name), inode);
    return Promise.resolve();
  }

  async write(at: FilePosition, data: Uint8Array, flags: number): Promise<Written> {
    const claims = (flags & WriteFlag.CLAIM) !== 0;
    if (!claims) this.#unclaimed(at.file);
    this.#count('write');
    const file = this.#get(at.file);
    const { attributes } = file;
    const offset = (flags & WriteFlag.APPEND) !== 0 ? attributes.size : at.offset;
    this.#checkSize(offset + data.length);
    const before = file.read(0, attributes.size) as Uint8Array;
    const after = new Uint8Array(Math.max(attributes.size, offset + data.length));
    after.set(before);
    after.set(data, offset);
    this.#setData(file, after);
    const claimed = claims && this.#claim(at.file);
    return Promise.resolve({ bytes: data.length, attributes: { ...attributes }, claimed });
  }

  async writePieces(file: FileId, pieces: readonly Piece[], flags: number): Promise<Written> {
    let last = await this.write({ file, offset: 0 }, new Uint8Array(0), flags);
    let bytes = 0;
    for (const { offset, data } of pieces) {
      last = await this.write({ file, offset }, data, flags);
      bytes += last.bytes;
    }
    return { ...last, bytes };
  }

  async setAttributes(id: FileId, change: AttributeChange): Promise<FileAttributes> {
    this.#unclaimed(id);
    this.#count('setAttributes');
    const file = this.#get(id);
    const { attributes } = file;
    const { flags, mode = 0, uid = 0, gid = 0, size = 0 } = change;
    const has = (flag: number): boolean => (flags & flag) !== 0;
    if (has(AttributeFlag.MODE)) attributes.mode = (attributes.mode & S_IFMT) | mode;
    if (has(AttributeFlag.UID)) attributes.uid = uid;
    if (has(AttributeFlag.GID)) attributes.gid = gid;
    if (has(AttributeFlag.SIZE)) {
      this.#checkSize(size);
      const data = new Uint8Array(size);
      data.set((file.read(0, attributes.size) as Uint8Array).subarray(0, size));
      this.#setData(file, data);
    }
    if (change.accessed !== undefined) attributes.accessed = change.accessed;
    if (change.modified !== undefined) attributes.modified = change.modified;
    return Promise.resolve({ ...attributes });
  }

  async allocate(at: FilePosition, bytes: number, mode: number): Promise<FileAttributes> {
    this.#count('allocate');
    if (mode !== 0) throw failure('EOPNOTSUPP');
    const size = Math.max(this.#get(at.file).attributes.size, at.offset + bytes);
    return this.setAttributes(at.file, { flags: AttributeFlag.SIZE, size });
  }

  async seek(at: FilePosition, whence: number): Promise<number> {
    this.#count('seek');
    const { size } = this.#get(at.file).attributes;
    if (at.offset >= size) throw failure('ENXIO');
    return Promise.resolve(whence === 3 ? at.offset : size);
  }

  async setXattr(file: FileId, name: Uint8Array, value: Uint8Array, flags: number): Promise<void> {
    this.#count('setXattr');
    const { xattrs } = this.#get(file);
    const there = xattrs.has(decoder.decode(name));
    if (there && (flags & 1) !== 0) throw failure('EEXIST');
    if (!there && (flags & 2) !== 0) throw failure('ENODATA');
    xattrs.set(decoder.decode(name), value);
    return Promise.resolve();
  }

  async removeXattr(file: FileId, name: Uint8Array): Promise<void> {
    this.#count('removeXattr');
    if (!this.#get(file).xattrs.delete(decoder.decode(name))) throw failure('ENODATA');
    return Promise.resolve();
  }

  async sync(file: FileId): Promise<void> {
    this.#unclaimed(file);
    this.#count('sync');
    this.#get(file);
    return Promise.resolve();
  }

  async open(file: FileId): Promise<FileAttributes> {
    this.#unclaimed(file);
    this.#count('open');
    const { attributes } = this.#get(file);
    this.#hold(attributes.inode, 1);
    return Promise.resolve({ ...attributes });
  }

  async release(file: FileId): Promise<void> {
    this.#count('release');
    this.#hold(file.inode, -1);
    return Promise.resolve();
  }

  async copyRange(from: FilePosition, to: FilePosition, bytes: number): Promise<Written> {
    this.#count('copyRange');
    const source = this.#get(from.file);
    const end = Math.min(from.offset + bytes, source.attributes.size);
    const data = (source.read(0, source.attributes.size) as Uint8Array).slice(from.offset, end);
    return this.write(to, data, 0);
  }

  async testLock(file: FileId, lock: LockRequest): Promise<LockAnswer> {
    this.#count('testLock');
    const { inode } = this.#get(file).attributes;
    return Promise.resolve(this.locks.conflict({ inode, kind: lock.kind }, owned(lock), lock));
  }

  async lock(file: FileId, lock: LockRequest, wait?: AbortSignal): Promise<FileAttributes> {
    this.#count('lock');
    const { attributes } = this.#get(file);
    const { inode } = attributes;
    for (;;) {
      try {
        this.locks.set({ inode, kind: lock.kind }, owned(lock), lock, wait !== undefined);
        for (const look of this.waiting.splice(0)) look();
        return attributes;
      } catch (error) {
        const { code } = error as { code: string };
        if (wait === undefined || code !== 'EAGAIN') throw failure(code);
      }
      await new Promise<void>((resolve) => {
        this.waiting.push(resolve);
        wait.addEventListener('abort', () => {
          resolve();
        });
      });
      if (wait.aborted) throw failure('EINTR');
    }
  }

  #claim({ inode }: FileId): boolean {
    this.claims.add(inode);
    return this.grantsClaims;
  }

  /** While there is a claim its owner asks for nothing that does not name it. */
  #unclaimed({ inode }: FileId): void {
    if (this.claims.has(inode)) throw failure('EALREADY');
  }

  #make(place: Place, mode: number, owner: Owner): MemoryFile {
    const inode = this.#nextInode++;
    this.#enter(place, inode);
    const file = this.#put(inode, place.parent.inode, mode);
    file.attributes.uid = owner.uid;
    file.attributes.gid = owner.gid;
    return file;
  }

  #enter(place: Place, inode: number): void {
    const { children, attributes } = this.#get(place.parent);
    const text = decoder.decode(place.name);
    if ((attributes.mode & S_IFMT) !== S_IFDIR) throw failure('ENOTDIR');
    if (children.has(text)) throw failure('EEXIST');
    children.set(text, inode);
  }

  #leave(place: Place): void {
    const { children } = this.#get(place.parent);
    const text = decoder.decode(place.name);
    const inode = children.get(text);
    const file = this.files.get(inode ?? 0);
    if (inode === undefined || file === undefined) throw failure('ENOENT');
    children.delete(text);
    file.attributes.links = Math.max(0, file.attributes.links - 1);
    this.#hold(inode, 0);
  }

  #hold(inode: number, more: number): void {
    const count = (this.holds.get(inode) ?? 0) + more;
    if (count > 0) this.holds.set(inode, count);
    else this.holds.delete(inode);
    if (count <= 0 && this.files.get(inode)?.attributes.links === 0) this.files.delete(inode);
  }

  /** As large as a file of this kind may be. */
  #checkSize(bytes: number): void {
    if (bytes > FILE_BYTES_MAX) throw failure('EFBIG');
  }

  #setData(file: MemoryFile, data: Uint8Array): void {
    const { attributes } = file;
    attributes.size = data.length;
    const { seconds, nanoseconds } = attributes.modified;
    attributes.modified = { seconds: seconds + 1, nanoseconds };
    attributes.changed = attributes.modified;
    file.read = (offset, bytes) => data.subarray(offset, offset + bytes);
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

function owned(lock: LockRequest): { client: number; owner: bigint; pid: number } {
  return { client: 1, owner: lock.owner, pid: lock.pid };
}

function sized(value: Uint8Array, bytes: number): SizedValue {
  if (bytes === 0) return { size: value.length, value: NOTHING };
  if (value.length > bytes) throw failure('ERANGE');
  return { size: value.length, value };
}

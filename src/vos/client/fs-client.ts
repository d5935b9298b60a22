/**
 * A file service over M3-IPC: the calls of the FS protocol to a server of the same container, on
 * any node. How they ride over outages is described in `channels.ts`.
 *
 * Files that are held open are remembered here too: a server that was started again is told of them
 * before anything else, so that one without a name stays. What was written to such a file before,
 * and not synced, may be lost with the old server: the next `sync` of the file says so, once.
 * Locks are lost with the server.
 */
import { constants } from 'node:os';

import { DvkError, isDvkError, type Endpoint, type Segment } from '../../dvk/index.ts';
import type { FileInfo, FsChange, LockAnswer } from '../protocol/fs-change.ts';
import {
  CreateFlag,
  LockCommand,
  SyncFlag,
  WriteFlag,
  XattrFlag,
  decodeInfo,
  decodeLock,
  decodeOffset,
  encodeChange,
  namesFit,
} from '../protocol/fs-change.ts';
import {
  decodeAttributes,
  decodeDirectoryEntries,
  decodeStatus,
  encodeRequest,
  FsCall,
  INLINE_NAME_BYTES_MAX,
  TRANSFER_BYTES_MAX,
  type DirectoryEntry,
  type FileAttributes,
  type FileSystemStatus,
} from '../protocol/fs.ts';
import type { Call, Channel, ChannelOptions } from './channels.ts';
import { Channels } from './channels.ts';
import type {
  AttributeChange,
  FileId,
  FilePosition,
  FileService,
  LockRequest,
  NewFile,
  Owner,
  Place,
  SizedValue,
  Written,
} from './file-service.ts';

export type FsClientOptions = ChannelOptions;

const LINK_BYTES_MAX = 4096;
const LOCK_PAUSE_MS_MIN = 2;
const LOCK_PAUSE_MS_MAX = 100;
/** Modes of fallocate(2) that move what is behind the range: done twice they move it twice. */
const MOVING_MODES = 8 | 32;
const { EINTR, EIO } = constants.errno;

/** A call that reads; `bytes` of the channel's buffer may be filled by the server. */
interface ReadingCall {
  readonly call: FsCall;
  readonly file: FileId;
  readonly offset?: number;
  readonly bytes?: number;
  readonly name?: Uint8Array;
}

interface ChangingCall {
  readonly request: Partial<FsChange> & { readonly call: FsCall };
  readonly names?: readonly Uint8Array[];
  readonly data?: Uint8Array;
  readonly repeatable?: boolean;
}

/** A file that is held open. */
interface HeldFile {
  readonly generation: number;
  count: number;
  /** The server that has what was written and not synced. */
  wroteTo: Endpoint | undefined;
}

export class FsClient implements FileService {
  readonly #channels: Channels;
  readonly #clock: ChannelOptions['clock'];
  readonly #held = new Map<number, HeldFile>();

  constructor(segment: Segment, options: FsClientOptions) {
    this.#clock = options.clock;
    this.#channels = new Channels(segment, options, async (attempt) => {
      await this.#rejoin(attempt);
    });
  }

  /** Whether the server did not answer last time. */
  get isDown(): boolean {
    return this.#channels.isDown;
  }

  /** Unbinds the channels; calls under way fail with ECANCELED. */
  close(): void {
    this.#channels.close();
  }

  async lookup(parent: FileId, name: Uint8Array): Promise<FileAttributes> {
    return await this.#read({ call: FsCall.LOOKUP, file: parent, name }, attributesOf);
  }

  async getAttributes(file: FileId): Promise<FileAttributes> {
    return await this.#read({ call: FsCall.GETATTR, file }, attributesOf);
  }

  async readlink(file: FileId): Promise<Uint8Array> {
    const call = { call: FsCall.READLINK, file, bytes: LINK_BYTES_MAX };
    return await this.#read(call, (channel, bytes) => channel.buffer.slice(0, bytes));
  }

  async read(
    file: FileId,
    offset: number,
    bytes: number,
    use: (data: Uint8Array) => void,
  ): Promise<void> {
    const wanted = Math.min(bytes, TRANSFER_BYTES_MAX);
    await this.#read({ call: FsCall.READ, file, offset, bytes: wanted }, (channel, got) => {
      use(channel.buffer.subarray(0, got));
    });
  }

  async readDirectory(file: FileId, cookie: number, bytes: number): Promise<DirectoryEntry[]> {
    const wanted = Math.min(bytes, TRANSFER_BYTES_MAX);
    const call = { call: FsCall.READDIR, file, offset: cookie, bytes: wanted };
    return await this.#read(call, ({ buffer }, got) =>
      decodeDirectoryEntries(new DataView(buffer.buffer, buffer.byteOffset, got)),
    );
  }

  async status(): Promise<FileSystemStatus> {
    const file = { inode: 2, generation: 0 };
    return await this.#read({ call: FsCall.STATFS, file }, (channel) =>
      decodeStatus(channel.process.message.view),
    );
  }

  async getXattr(file: FileId, name: Uint8Array, bytes: number): Promise<SizedValue> {
    return await this.#sized({ call: FsCall.GETXATTR, file, bytes, name });
  }

  async listXattr(file: FileId, bytes: number): Promise<SizedValue> {
    return await this.#sized({ call: FsCall.LISTXATTR, file, bytes });
  }

  async create(place: Place, file: NewFile, hold: boolean): Promise<FileAttributes> {
    const flags = hold ? CreateFlag.HOLD : 0;
    const client = hold ? this.#channels.identity : 0;
    const request = { call: FsCall.CREATE, ...inDirectory(place), ...file, flags, client };
    const made = await this.#change({ request, names: [place.name] }, attributesOf);
    if (hold) this.#count(made);
    return made;
  }

  async createUnnamed(parent: FileId, file: NewFile): Promise<FileAttributes> {
    const client = this.#channels.identity;
    const request = { call: FsCall.TMPFILE, ...fileOf(parent), ...file, client };
    const made = await this.#change({ request }, attributesOf);
    this.#count(made);
    return made;
  }

  async info(file: FileId): Promise<FileInfo> {
    const request = { call: FsCall.INFO, ...fileOf(file) };
    return await this.#change({ request, repeatable: true }, ({ process }) =>
      decodeInfo(process.message.view),
    );
  }

  async setFlags(file: FileId, flags: number, mask: number): Promise<void> {
    const request = { call: FsCall.SET_FLAGS, ...fileOf(file), flags, mask };
    await this.#change({ request, repeatable: true }, nothing);
  }

  async makeDirectory(place: Place, file: NewFile): Promise<FileAttributes> {
    const { mode, umask, uid, gid } = file;
    const request = { call: FsCall.MKDIR, ...inDirectory(place), mode, umask, uid, gid };
    return await this.#change({ request, names: [place.name] }, attributesOf);
  }

  async symlink(place: Place, target: Uint8Array, owner: Owner): Promise<FileAttributes> {
    const { uid, gid } = owner;
    const bytes = target.length;
    const request = { call: FsCall.SYMLINK, ...inDirectory(place), uid, gid, bytes };
    return await this.#change({ request, names: [place.name], data: target }, attributesOf);
  }

  async link(file: FileId, place: Place): Promise<FileAttributes> {
    const request = { call: FsCall.LINK, ...inDirectory(place), ...asOther(file) };
    return await this.#change({ request, names: [place.name] }, attributesOf);
  }

  async unlink(place: Place): Promise<void> {
    const request = { call: FsCall.UNLINK, ...inDirectory(place) };
    await this.#change({ request, names: [place.name] }, nothing);
  }

  async removeDirectory(place: Place): Promise<void> {
    const request = { call: FsCall.RMDIR, ...inDirectory(place) };
    await this.#change({ request, names: [place.name] }, nothing);
  }

  async rename(from: Place, to: Place, flags: number): Promise<void> {
    const request = { call: FsCall.RENAME, ...inDirectory(from), ...asOther(to.parent), flags };
    await this.#change({ request, names: [from.name, to.name] }, nothing);
  }

  async write(at: FilePosition, data: Uint8Array, flags: number, owner: Owner): Promise<Written> {
    const { uid, gid } = owner;
    const part = data.subarray(0, TRANSFER_BYTES_MAX);
    const append = (flags & WriteFlag.APPEND) !== 0;
    const offset = append ? 0 : at.offset;
    const bytes = part.length;
    const request = { call: FsCall.WRITE, ...fileOf(at.file), bytes, flags, uid, gid, offset };
    const call = { request, data: part, repeatable: !append };
    const written = await this.#change(call, writtenOf);
    if ((flags & WriteFlag.SYNC) === 0) this.#wrote(at.file);
    return written;
  }

  async setAttributes(file: FileId, change: AttributeChange): Promise<FileAttributes> {
    const request = { call: FsCall.SETATTR, ...fileOf(file), ...change };
    const changed = await this.#change({ request, repeatable: true }, attributesOf);
    this.#wrote(file);
    return changed;
  }

  async allocate(
    at: FilePosition,
    bytes: number,
    mode: number,
    owner: Owner,
  ): Promise<FileAttributes> {
    const { uid, gid } = owner;
    const range = { offset: at.offset, size: bytes };
    const request = { call: FsCall.FALLOCATE, ...fileOf(at.file), ...range, mode, uid, gid };
    const call = { request, repeatable: (mode & MOVING_MODES) === 0 };
    const changed = await this.#change(call, attributesOf);
    this.#wrote(at.file);
    return changed;
  }

  async seek(at: FilePosition, whence: number): Promise<number> {
    const { offset } = at;
    const request = { call: FsCall.SEEK, ...fileOf(at.file), offset, flags: whence };
    return await this.#change({ request, repeatable: true }, ({ process }) =>
      decodeOffset(process.message.view),
    );
  }

  async setXattr(file: FileId, name: Uint8Array, value: Uint8Array, flags: number): Promise<void> {
    const bytes = value.length;
    const request = { call: FsCall.SETXATTR, ...fileOf(file), flags, bytes };
    const repeatable = (flags & (XattrFlag.CREATE | XattrFlag.REPLACE)) === 0;
    await this.#change({ request, names: [name], data: value, repeatable }, nothing);
  }

  async removeXattr(file: FileId, name: Uint8Array): Promise<void> {
    const request = { call: FsCall.REMOVEXATTR, ...fileOf(file) };
    await this.#change({ request, names: [name] }, nothing);
  }

  async sync(file: FileId, flags: number): Promise<void> {
    const held = this.#held.get(file.inode);
    const wroteTo = held?.wroteTo;
    const request = { call: FsCall.FSYNC, ...fileOf(file), flags };
    await this.#change({ request, repeatable: true }, nothing);
    if (held === undefined || (flags & SyncFlag.VOLUME) !== 0) return;
    if (held.wroteTo === wroteTo) held.wroteTo = undefined;
    if (wroteTo === undefined || wroteTo === this.#channels.server) return;
    throw new DvkError(-EIO, 'fs', { reason: 'the server was restarted since the last write' });
  }

  async open(file: FileId): Promise<FileAttributes> {
    const client = this.#channels.identity;
    const request = { call: FsCall.OPEN, ...fileOf(file), client, count: 1 };
    const attributes = await this.#change({ request }, attributesOf);
    this.#count(attributes);
    return attributes;
  }

  async release(file: FileId): Promise<void> {
    const held = this.#held.get(file.inode);
    if (held === undefined) return;
    held.count--;
    if (held.count === 0) this.#held.delete(file.inode);
    const client = this.#channels.identity;
    const request = { call: FsCall.RELEASE, ...fileOf(file), client, count: 1 };
    await this.#change({ request }, nothing);
  }

  async copyRange(
    from: FilePosition,
    to: FilePosition,
    bytes: number,
    owner: Owner,
  ): Promise<Written> {
    const { uid } = owner;
    const ends = { ...fileOf(from.file), ...asOther(to.file) };
    const offsets = { offset: from.offset, otherOffset: to.offset };
    const request = { call: FsCall.COPY_RANGE, ...ends, ...offsets, bytes, uid };
    const written = await this.#change({ request, repeatable: true }, writtenOf);
    this.#wrote(to.file);
    return written;
  }

  async testLock(file: FileId, lock: LockRequest): Promise<LockAnswer> {
    const request = this.#lockRequest(file, lock, LockCommand.GET);
    return await this.#change({ request, repeatable: true }, ({ process }) =>
      decodeLock(process.message.view),
    );
  }

  /** Who waits asks again and again, so that no call of the server is under way for long. */
  async lock(file: FileId, lock: LockRequest, wait?: AbortSignal): Promise<void> {
    const command = wait === undefined ? LockCommand.SET : LockCommand.WAIT;
    const request = this.#lockRequest(file, lock, command);
    for (let pauseMs = LOCK_PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, LOCK_PAUSE_MS_MAX)) {
      try {
        await this.#change({ request, repeatable: true }, nothing);
        return;
      } catch (error) {
        if (wait === undefined || !isDvkError(error) || error.code !== 'EAGAIN') throw error;
      }
      await this.#pause(pauseMs, wait);
      if (wait.aborted) throw new DvkError(-EINTR, 'fs');
    }
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(ms, () => {
        signal.removeEventListener('abort', stop);
        resolve();
      });
      const stop = (): void => {
        cancel();
        resolve();
      };
      signal.addEventListener('abort', stop, { once: true });
    });
  }

  #lockRequest(file: FileId, lock: LockRequest, lockCommand: number): ChangingCall['request'] {
    const { kind, type, start, end, owner, pid } = lock;
    const client = this.#channels.identity;
    const range = { lockKind: kind, lockType: type, start, end };
    return { call: FsCall.LOCK, ...fileOf(file), ...range, lockCommand, client, owner, pid };
  }

  async #sized(call: ReadingCall & { readonly bytes: number }): Promise<SizedValue> {
    return await this.#read(call, (channel, size) => ({
      size,
      value: channel.buffer.slice(0, call.bytes === 0 ? 0 : size),
    }));
  }

  async #read<T>(call: ReadingCall, take: (channel: Channel, result: number) => T): Promise<T> {
    const { name, file, bytes } = call;
    const long = name !== undefined && name.length > INLINE_NAME_BYTES_MAX;
    const own: Call = {
      encode: (message, { grant }) => {
        const request = {
          call: call.call,
          ...fileOf(file),
          offset: call.offset ?? 0,
          grant,
          grantBytes: bytes ?? 0,
          nameBytes: name?.length ?? 0,
        };
        encodeRequest(message, request, name);
      },
      needsMemory: long || bytes !== undefined,
      ...(long ? { parts: [name] } : {}),
      repeatable: true,
    };
    return await this.#channels.perform(own, take);
  }

  async #change<T>(call: ChangingCall, take: (channel: Channel, result: number) => T): Promise<T> {
    return await this.#channels.perform(encoded(call), take);
  }

  /** One hold more of a file, that the server has just been told of. */
  #count({ inode, generation }: FileAttributes): void {
    const held = this.#held.get(inode);
    if (held !== undefined) held.count++;
    else this.#held.set(inode, { generation, count: 1, wroteTo: undefined });
  }

  #wrote(file: FileId): void {
    const held = this.#held.get(file.inode);
    if (held !== undefined) held.wroteTo ??= this.#channels.server;
  }

  /**
   * Tells a new server what is held open. If that breaks off it is begun again; a file told twice
   * is let go when this client ends.
   */
  async #rejoin(attempt: (call: Call) => Promise<number>): Promise<void> {
    const client = this.#channels.identity;
    for (const [inode, { generation, count }] of [...this.#held]) {
      const request = { call: FsCall.OPEN, inode, generation, client, count };
      await attempt(encoded({ request, repeatable: true }));
    }
  }
}

function encoded({ request, names = [], data, repeatable = false }: ChangingCall): Call {
  const bytes = names.reduce((sum, { length }) => sum + length, 0);
  const parts = [...(namesFit(request.call, bytes) ? [] : names), ...(data ? [data] : [])];
  return {
    encode: (message, { grant, sequence }) => {
      encodeChange(message, { ...request, grant, sequence }, names);
    },
    needsMemory: parts.some(({ length }) => length > 0),
    parts,
    repeatable,
  };
}

function fileOf({ inode, generation }: FileId): { inode: number; generation: number } {
  return { inode, generation };
}

function inDirectory({ parent }: Place): { inode: number; generation: number } {
  return fileOf(parent);
}

function asOther({ inode, generation }: FileId): { other: number; otherGeneration: number } {
  return { other: inode, otherGeneration: generation };
}

function attributesOf(channel: Channel): FileAttributes {
  return decodeAttributes(channel.process.message.view);
}

function writtenOf(channel: Channel, bytes: number): Written {
  return { bytes, attributes: attributesOf(channel) };
}

function nothing(): void {
  // The result says it all.
}

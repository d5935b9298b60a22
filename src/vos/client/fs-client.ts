/**
 * A file service over M3-IPC: the calls of the FS protocol to a server of the same container, on
 * any node. How they ride over outages is described in `channels.ts`.
 *
 * Files that are held open, and locks, are remembered here too: a server that was started again is
 * told of them before anything else, so that it keeps them. What was written to such a file before,
 * and not synced, may be lost with the old server: then the next `sync` of the file says so, once.
 * A client that has something of the server looks for a new one from time to time, since that waits
 * for it.
 */
import { constants } from 'node:os';

import { DvkError, isDvkError, type Segment } from '../../dvk/index.ts';
import type { FileInfo, LockAnswer } from '../protocol/fs-change.ts';
import {
  CLAIMED,
  CreateFlag,
  LockCommand,
  RemoveFlag,
  SyncFlag,
  WriteFlag,
  XattrFlag,
  decodeInfo,
  decodeLock,
  decodeOffset,
} from '../protocol/fs-change.ts';
import {
  decodeDirectoryEntries,
  decodeStatus,
  FsCall,
  isEarlier,
  TRANSFER_BYTES_MAX,
  type DirectoryEntry,
  type FileAttributes,
  type FileSystemStatus,
  type Timestamp,
} from '../protocol/fs.ts';
import {
  SPEAKERS_MAX,
  decodeManyMade,
  decodeTaken,
  encodeEarlyFiles,
  encodeTake,
  type EarlyFile,
} from '../protocol/fs-early.ts';
import { COUNTERS_BYTES, type FsCounters, decodeCounters } from '../protocol/fs-counters.ts';
import { type Piece, encodeList } from '../protocol/fs-pieces.ts';
import type { Coherence } from '../protocol/fs-lease.ts';
import { type Quota, decodeQuota } from '../protocol/fs-quota.ts';
import type { Call, Channel, ChannelOptions } from './channels.ts';
import { Channels } from './channels.ts';
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
} from './file-service.ts';
import {
  type ChangingCall,
  type ReadingCall,
  asOther,
  attributesOf,
  encoded,
  fileOf,
  inDirectory,
  nothing,
  numbersOf,
  reading,
  writtenOf,
} from './fs-calls.ts';
import { ChangedNames } from './changed-names.ts';
import { HeldFiles } from './held-files.ts';
import { Leases, type Trust } from './leases.ts';
import { rejoin } from './rejoin.ts';

export interface FsClientOptions extends ChannelOptions {
  /**
   * `strict`: the client has leases on what it is told, for a gateway that believes it until it is
   * recalled; see `Leases`. By default it has none.
   */
  readonly coherence?: Coherence;
}

const LINK_BYTES_MAX = 4096;
const LOCK_PAUSE_MS_MIN = 2;
const LOCK_PAUSE_MS_MAX = 100;
/** Much less than a new server waits. */
const WATCH_MS = 500;
/** Modes of fallocate(2) that move what is behind the range: done twice they move it twice. */
const MOVING_MODES = 8 | 32;
const { EINTR, EIO } = constants.errno;

export class FsClient implements FileService {
  /** Whether what this client was told may be believed; with `coherence: strict`. */
  readonly trust: Trust | undefined;
  readonly #leases: Leases | undefined;
  readonly #channels: Channels;
  readonly #clock: ChannelOptions['clock'];
  readonly #held = new HeldFiles();
  readonly #names = new ChangedNames();
  #stopWatching: (() => void) | undefined;

  constructor(segment: Segment, options: FsClientOptions) {
    this.#clock = options.clock;
    this.#channels = new Channels(
      segment,
      options,
      async (attempt, joined) => {
        const { identity: client } = this.#channels;
        await rejoin({ client, held: this.#held, names: this.#names }, attempt);
        joined();
      },
      async () => this.#leases?.refused(),
    );
    if (options.coherence !== 'strict') return;
    const leases = new Leases(segment, options, this.#channels.endpoints);
    this.#leases = leases;
    this.trust = {
      mark: () => leases.mark(),
      validMs: (mark, inode) => leases.validMs(mark, inode, this.#channels.server),
      listen: (listener) => {
        leases.listener = listener;
      },
    };
  }

  /** Whether the server did not answer last time. */
  get isDown(): boolean {
    return this.#channels.isDown;
  }

  /** Unbinds the channels; calls under way fail with ECANCELED. */
  close(): void {
    this.#stopWatching?.();
    this.#leases?.close();
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

  /** Memory of the arena for `readInto` and `writeFrom`, which goes with this client. */
  allocateMemory(bytes: number): Uint8Array {
    return this.#channels.allocateMemory(bytes);
  }

  /**
   * Reads at most 1 MiB from `offset` straight into `target`, memory of the arena, and resolves
   * with the bytes: fewer than it has room for at the end of the file.
   */
  async readInto(file: FileId, offset: number, target: Uint8Array): Promise<number> {
    const memory = target.subarray(0, TRANSFER_BYTES_MAX);
    const call = { call: FsCall.READ, file, offset, bytes: memory.length, memory };
    return memory.length === 0 ? 0 : await this.#read(call, (_, bytes) => bytes);
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

  /** What the container may have on the volume, and what it has. */
  async quota(): Promise<Quota> {
    const file = { inode: 0, generation: 0 };
    return await this.#read({ call: FsCall.QUOTA, file }, (channel) =>
      decodeQuota(channel.process.message.view),
    );
  }

  /** What the server has counted. */
  async counters(): Promise<Partial<FsCounters>> {
    const file = { inode: 0, generation: 0 };
    const call = { call: FsCall.COUNTERS, file, bytes: COUNTERS_BYTES };
    return await this.#read(call, ({ buffer }, bytes) => decodeCounters(buffer.subarray(0, bytes)));
  }

  async getXattr(file: FileId, name: Uint8Array, bytes: number): Promise<SizedValue> {
    return await this.#sized({ call: FsCall.GETXATTR, file, bytes, name });
  }

  async listXattr(file: FileId, bytes: number): Promise<SizedValue> {
    return await this.#sized({ call: FsCall.LISTXATTR, file, bytes });
  }

  async create(place: Place, file: NewFile, flags: number): Promise<FileAttributes> {
    const hold = (flags & CreateFlag.HOLD) !== 0;
    const client = flags === 0 ? 0 : this.#channels.identity;
    const request = { call: FsCall.CREATE, ...inDirectory(place), ...file, flags, client };
    const made = await this.#changeNames({ request, names: [place.name] }, place.parent);
    if (hold) this.#hold(made);
    return made;
  }

  async takeNames({ inode, generation }: FileId, count: number): Promise<TakenNames | undefined> {
    const { identity: client, endpoints: speakers } = this.#channels;
    if (speakers.length > SPEAKERS_MAX) return undefined;
    const call: Call = {
      encode: (message) => {
        encodeTake(message, { inode, generation, client, count, speakers });
      },
      needsMemory: false,
      repeatable: true,
    };
    return await this.#channels.perform(call, ({ process }, result) =>
      result === 0 ? undefined : numbersOf(decodeTaken(process.message.view)),
    );
  }

  async createMany(directory: FileId, files: readonly EarlyFile[]): Promise<Made> {
    const client = this.#channels.identity;
    const data = encodeEarlyFiles(files);
    const sizes = { bytes: data.length, count: files.length };
    const request = { call: FsCall.CREATE_MANY, ...fileOf(directory), ...sizes, client };
    // What was made is known by its number and generation.
    const call = { request, data, repeatable: true };
    const made = await this.#change(call, (channel, result): Made => {
      const { errno, ...rest } = decodeManyMade(channel.process.message.view);
      const claimed = (result & CLAIMED) !== 0;
      const count = result & ~CLAIMED;
      const last = files[count - 1];
      if (last !== undefined) {
        const at = isEarlier(rest.now, last.time) ? rest.now : last.time;
        this.#noteNames(channel, [directory], at);
      }
      return { ...rest, errno: -errno, made: count, claimed };
    });
    for (const file of files.slice(0, made.made)) {
      if ((file.flags & CreateFlag.HOLD) !== 0) this.#hold(file);
    }
    return made;
  }

  async createUnnamed(parent: FileId, file: NewFile): Promise<FileAttributes> {
    const client = this.#channels.identity;
    const request = { call: FsCall.TMPFILE, ...fileOf(parent), ...file, client };
    const made = await this.#change({ request }, attributesOf);
    this.#hold(made);
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
    return await this.#changeNames({ request, names: [place.name] }, place.parent);
  }

  async symlink(place: Place, target: Uint8Array, owner: Owner): Promise<FileAttributes> {
    const { uid, gid } = owner;
    const bytes = target.length;
    const request = { call: FsCall.SYMLINK, ...inDirectory(place), uid, gid, bytes };
    return await this.#changeNames({ request, names: [place.name], data: target }, place.parent);
  }

  async link(file: FileId, place: Place): Promise<FileAttributes> {
    const request = { call: FsCall.LINK, ...inDirectory(place), ...asOther(file) };
    return await this.#changeNames({ request, names: [place.name] }, place.parent);
  }

  async unlink(place: Place, hold = false): Promise<Removed> {
    return await this.#remove(FsCall.UNLINK, place, hold);
  }

  async removeDirectory(place: Place, hold = false): Promise<Removed> {
    return await this.#remove(FsCall.RMDIR, place, hold);
  }

  async #remove(call: FsCall, place: Place, hold: boolean): Promise<Removed> {
    const flags = hold ? RemoveFlag.HOLD : 0;
    const client = hold ? this.#channels.identity : 0;
    const request = { call, ...inDirectory(place), flags, client };
    const attributes = await this.#changeNames({ request, names: [place.name] }, place.parent);
    if (attributes.inode === place.parent.inode) return { directory: attributes };
    this.#hold(attributes);
    return { held: attributes };
  }

  async rename(from: Place, to: Place, flags: number): Promise<void> {
    const request = { call: FsCall.RENAME, ...inDirectory(from), ...asOther(to.parent), flags };
    const call = { request, names: [from.name, to.name] };
    await this.#changeNames(call, from.parent, to.parent);
  }

  async write(at: FilePosition, data: Uint8Array, flags: number, owner: Owner): Promise<Written> {
    const part = data.subarray(0, TRANSFER_BYTES_MAX);
    return await this.#write(at, { data: part }, part.length, { flags, ...owner });
  }

  async unclaim(file: FileId): Promise<void> {
    const client = this.#channels.identity;
    const request = { call: FsCall.UNCLAIM, ...fileOf(file), client };
    await this.#change({ request, repeatable: true }, nothing);
  }

  /**
   * As `write`, straight from `source`, memory of the arena, which is to stay as it is until the
   * promise settles.
   */
  async writeFrom(
    at: FilePosition,
    source: Uint8Array,
    flags: number,
    owner: Owner,
  ): Promise<Written> {
    const memory = source.subarray(0, TRANSFER_BYTES_MAX);
    if (memory.length === 0) return await this.write(at, memory, flags, owner);
    return await this.#write(at, { memory }, memory.length, { flags, ...owner });
  }

  async writePieces(
    file: FileId,
    pieces: readonly Piece[],
    flags: number,
    owner: Owner,
  ): Promise<Written> {
    const data = [encodeList(pieces), ...pieces.map((piece) => piece.data)];
    const bytes = data.reduce((sum, { length }) => sum + length, 0);
    const how = { flags, ...owner, count: pieces.length };
    return await this.#write({ file, offset: 0 }, { data }, bytes, how);
  }

  async #write(
    at: FilePosition,
    source: Pick<ChangingCall, 'data' | 'memory'>,
    bytes: number,
    how: Owner & { readonly flags: number; readonly count?: number },
  ): Promise<Written> {
    const append = (how.flags & WriteFlag.APPEND) !== 0;
    const client = (how.flags & WriteFlag.CLAIM) !== 0 ? this.#channels.identity : 0;
    const place = { ...fileOf(at.file), bytes, offset: append ? 0 : at.offset, client };
    const { flags, uid, gid, count = 0 } = how;
    const request = { call: FsCall.WRITE, ...place, flags, uid, gid, count };
    const synced = (flags & WriteFlag.SYNC) !== 0;
    const call = { request, ...source, repeatable: !append };
    return await this.#change(call, synced ? writtenOf : this.#written);
  }

  async setAttributes(file: FileId, change: AttributeChange): Promise<FileAttributes> {
    const request = { call: FsCall.SETATTR, ...fileOf(file), ...change };
    return await this.#change({ request, repeatable: true }, this.#changed);
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
    return await this.#change(call, this.#changed);
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
    const held = this.#held.find(file);
    const unsynced = held?.unsynced;
    const { mark } = this.#names;
    const request = { call: FsCall.FSYNC, ...fileOf(file), flags };
    await this.#change({ request, repeatable: true }, nothing);
    this.#names.synced(mark);
    if ((flags & SyncFlag.VOLUME) !== 0) return;
    if (held !== undefined && held.unsynced === unsynced) held.unsynced = undefined;
    const lost = this.#names.tell(file) || held?.lost === true;
    if (!lost) return;
    if (held !== undefined) held.lost = false;
    throw new DvkError(-EIO, 'fs', { reason: 'the server lost a change when it was restarted' });
  }

  async open(file: FileId): Promise<FileAttributes> {
    const client = this.#channels.identity;
    const request = { call: FsCall.OPEN, ...fileOf(file), client, count: 1 };
    const attributes = await this.#change({ request }, attributesOf);
    this.#hold(attributes);
    return attributes;
  }

  async release(file: FileId): Promise<void> {
    if (!this.#held.release(file)) return;
    const { identity: client, server } = this.#channels;
    const request = { call: FsCall.RELEASE, ...fileOf(file), client, count: 1 };
    // Another server is told what is left.
    await this.#change({ request, onlyFor: server }, nothing);
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
    return await this.#change({ request, repeatable: true }, this.#written);
  }

  async testLock(file: FileId, lock: LockRequest): Promise<LockAnswer> {
    const request = this.#lockRequest(file, lock, LockCommand.GET);
    for (;;) {
      try {
        return await this.#change({ request, repeatable: true }, ({ process }) =>
          decodeLock(process.message.view),
        );
      } catch (error) {
        if (!isDvkError(error, 'EINPROGRESS')) throw error;
      }
      await this.#pause(LOCK_PAUSE_MS_MAX);
    }
  }

  /** Who waits asks again and again, so that no call of the server is under way for long. */
  async lock(file: FileId, lock: LockRequest, wait?: AbortSignal): Promise<FileAttributes> {
    const command = wait === undefined ? LockCommand.SET : LockCommand.WAIT;
    const request = this.#lockRequest(file, lock, command);
    for (let pauseMs = LOCK_PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, LOCK_PAUSE_MS_MAX)) {
      try {
        return await this.#change({ request, repeatable: true }, (channel) => {
          this.#held.lock(file, lock);
          this.#watch();
          return attributesOf(channel);
        });
      } catch (error) {
        // The server is new and gives no locks before those that it had are taken back.
        const again = isDvkError(error, 'EINPROGRESS') || (wait && isDvkError(error, 'EAGAIN'));
        if (again !== true) throw error;
      }
      await this.#pause(pauseMs, wait);
      if (wait?.aborted === true) throw new DvkError(-EINTR, 'fs');
    }
  }

  async #pause(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return;
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(ms, () => {
        signal?.removeEventListener('abort', stop);
        resolve();
      });
      const stop = (): void => {
        cancel();
        resolve();
      };
      signal?.addEventListener('abort', stop, { once: true });
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
    return await this.#channels.perform(reading(call), take);
  }

  async #change<T>(call: ChangingCall, take: (channel: Channel, result: number) => T): Promise<T> {
    return await this.#channels.perform(encoded(call), take);
  }

  /** One hold more of a file, that the server has just been told of. */
  #hold(file: FileId): void {
    this.#held.hold(file);
    this.#watch();
  }

  /** A call that changes the names of directories. */
  async #changeNames(call: ChangingCall, ...directories: FileId[]): Promise<FileAttributes> {
    return await this.#change(call, (channel) => {
      const attributes = attributesOf(channel);
      this.#noteNames(channel, directories, attributes.changed);
      return attributes;
    });
  }

  /** The names of these directories were changed, as an answer tells. */
  #noteNames({ server }: Channel, directories: readonly FileId[], at: Timestamp): void {
    for (const directory of directories) {
      this.#names.changed(directory, at);
      // The answer of one that is gone, read after the new one was asked what it has.
      if (server !== this.#channels.server) this.#names.lose(directory);
    }
  }

  /** The answer to a call that changed a file. */
  readonly #changed = (channel: Channel): FileAttributes => {
    const attributes = attributesOf(channel);
    this.#held.wrote(attributes);
    if (channel.server !== this.#channels.server) this.#held.lose(attributes);
    return attributes;
  };

  readonly #written = (channel: Channel, result: number): Written => {
    this.#changed(channel);
    return writtenOf(channel, result);
  };

  /** While there is something to be taken back, a new server is noticed without any call. */
  #watch(): void {
    if (this.#stopWatching !== undefined) return;
    this.#stopWatching = this.#clock.after(WATCH_MS, () => {
      this.#stopWatching = undefined;
      if (this.#held.isEmpty) return;
      this.#watch();
      if (this.#channels.isReplaced) this.status().catch(nothing);
    });
  }
}

/**
 * A file service over M3-IPC: the calls of the FS protocol to a server of the same container, on
 * any node.
 *
 * The client binds several endpoints ("channels"), since an endpoint has one call under way at a
 * time. Each channel owns a buffer in the arena and a grant on it for the server.
 *
 * The server may die, or its node, or the link to it. Calls then wait for its return, for
 * `outageMs` from the moment the outage was noticed, and fail with EIO after that; while the outage
 * lasts, later calls fail after `outageRetryMs`, so that a program that walks a tree does not wait
 * anew for each file. Calls may be repeated, since all of them only read.
 */
import { constants } from 'node:os';

import {
  ANY,
  DvkError,
  ErrorNumber,
  isDvkError,
  type Clock,
  type Endpoint,
  type GrantId,
  type Process,
  type Segment,
} from '../../dvk/index.ts';
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
import type { FileId, FileService, SizedValue } from './file-service.ts';

export interface FsClientOptions {
  /** Fixed slot of the server. */
  readonly serverSlot: number;
  /** Shown in listings; the channels get numbers. */
  readonly name: string;
  /** Fixed slot of the first channel; the others, or all, take free ones. */
  readonly slot?: number;
  readonly clock: Clock;
  readonly channels?: number;
  readonly outageMs?: number;
  readonly outageRetryMs?: number;
}

/**
 * 8 channels of 1 MiB keep a sequential reader and its neighbours busy; more did not make `dvk
 * bench fs` faster.
 */
const CHANNELS = 8;
/**
 * The promise is that nothing hangs for more than 10 s; the rest of it is for the way to the
 * program and back.
 */
const OUTAGE_MS = 8000;
const OUTAGE_RETRY_MS = 200;
const RETRY_PAUSE_MS = 20;
/** Longer than the link's own dead-peer time-out, which ends calls sooner. */
const CALL_TIMEOUT_MS = 7000;
const LINK_BYTES_MAX = 4096;
const NO_GRANT = -1;
const { EIO } = constants.errno;
const { EDEADSRCDST } = ErrorNumber;

/** The server, or the way to it, is gone; it may come back. */
const OUTAGES: ReadonlySet<string> = new Set([
  'EDEADSRCDST',
  'EDSTDIED',
  'ESRCDIED',
  'ENOTCONN',
  'EDVSNOPROXY',
  'EDVSNODCNODE',
  'ETIMEDOUT',
]);

interface Call {
  readonly call: FsCall;
  readonly file: FileId;
  readonly offset?: number;
  /** Bytes of the channel's buffer that the server may fill. */
  readonly bytes?: number;
  readonly name?: Uint8Array;
}

interface Channel {
  readonly process: Process;
  readonly buffer: Uint8Array;
  grant: GrantId | undefined;
  grantee: Endpoint;
}

export class FsClient implements FileService {
  readonly #segment: Segment;
  readonly #options: Required<Omit<FsClientOptions, 'slot'>>;
  readonly #all: Channel[] = [];
  readonly #free: Channel[] = [];
  readonly #waiting: ((channel: Channel) => void)[] = [];
  #outageSinceMs: number | undefined;

  constructor(segment: Segment, options: FsClientOptions) {
    this.#segment = segment;
    this.#options = {
      channels: CHANNELS,
      outageMs: OUTAGE_MS,
      outageRetryMs: OUTAGE_RETRY_MS,
      ...options,
    };
    for (let i = 0; i < this.#options.channels; i++) {
      const fixed = i === 0 && options.slot !== undefined ? { slot: options.slot } : {};
      const name = i === 0 ? options.name : `${options.name.slice(0, 12)}.${String(i)}`;
      const process = segment.bind({ ...fixed, name, awaitable: true, clock: options.clock });
      const buffer = process.allocate(TRANSFER_BYTES_MAX);
      this.#all.push({ process, buffer, grant: undefined, grantee: ANY });
    }
    this.#free.push(...this.#all);
  }

  /** Whether the server did not answer last time. */
  get isDown(): boolean {
    return this.#outageSinceMs !== undefined;
  }

  /** Unbinds the channels; calls under way fail with ECANCELED. */
  close(): void {
    for (const { process } of this.#all) process.unbind();
  }

  async lookup(parent: FileId, name: Uint8Array): Promise<FileAttributes> {
    return await this.#perform({ call: FsCall.LOOKUP, file: parent, name }, attributesOf);
  }

  async getAttributes(file: FileId): Promise<FileAttributes> {
    return await this.#perform({ call: FsCall.GETATTR, file }, attributesOf);
  }

  async readlink(file: FileId): Promise<Uint8Array> {
    const call = { call: FsCall.READLINK, file, bytes: LINK_BYTES_MAX };
    return await this.#perform(call, (channel, bytes) => channel.buffer.slice(0, bytes));
  }

  async read(
    file: FileId,
    offset: number,
    bytes: number,
    use: (data: Uint8Array) => void,
  ): Promise<void> {
    const wanted = Math.min(bytes, TRANSFER_BYTES_MAX);
    await this.#perform({ call: FsCall.READ, file, offset, bytes: wanted }, (channel, got) => {
      use(channel.buffer.subarray(0, got));
    });
  }

  async readDirectory(file: FileId, cookie: number, bytes: number): Promise<DirectoryEntry[]> {
    const wanted = Math.min(bytes, TRANSFER_BYTES_MAX);
    const call = { call: FsCall.READDIR, file, offset: cookie, bytes: wanted };
    return await this.#perform(call, ({ buffer }, got) =>
      decodeDirectoryEntries(new DataView(buffer.buffer, buffer.byteOffset, got)),
    );
  }

  async status(): Promise<FileSystemStatus> {
    const file = { inode: 2, generation: 0 };
    return await this.#perform({ call: FsCall.STATFS, file }, (channel) =>
      decodeStatus(channel.process.message.view),
    );
  }

  async getXattr(file: FileId, name: Uint8Array, bytes: number): Promise<SizedValue> {
    return await this.#sized({ call: FsCall.GETXATTR, file, bytes, name });
  }

  async listXattr(file: FileId, bytes: number): Promise<SizedValue> {
    return await this.#sized({ call: FsCall.LISTXATTR, file, bytes });
  }

  async #sized(call: Call & { readonly bytes: number }): Promise<SizedValue> {
    return await this.#perform(call, (channel, size) => ({
      size,
      value: channel.buffer.slice(0, call.bytes === 0 ? 0 : size),
    }));
  }

  /** Makes a call, and takes its outcome from the channel while nobody else has it. */
  async #perform<T>(call: Call, take: (channel: Channel, result: number) => T): Promise<T> {
    const channel = this.#free.pop() ?? (await this.#nextFree());
    try {
      const result = await this.#call(channel, call);
      if (result < 0) throw new DvkError(result, 'fs');
      if (result > TRANSFER_BYTES_MAX) throw new DvkError(-EIO, 'fs');
      return take(channel, result);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(channel);
      else next(channel);
    }
  }

  async #nextFree(): Promise<Channel> {
    return await new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  async #call(channel: Channel, call: Call): Promise<number> {
    const { clock, outageMs, outageRetryMs } = this.#options;
    const begunMs = clock.nowMs();
    for (;;) {
      try {
        const result = await this.#attempt(channel, call);
        this.#outageSinceMs = undefined;
        return result;
      } catch (error) {
        if (!isDvkError(error) || !OUTAGES.has(error.code)) throw error;
        const nowMs = clock.nowMs();
        const sinceMs = (this.#outageSinceMs ??= begunMs);
        if (nowMs > Math.max(sinceMs + outageMs, begunMs + outageRetryMs)) {
          throw new DvkError(-EIO, 'fs', { cause: error });
        }
        await new Promise<void>((resolve) => clock.after(RETRY_PAUSE_MS, resolve));
      }
    }
  }

  async #attempt(channel: Channel, call: Call): Promise<number> {
    const { process, buffer } = channel;
    const server = this.#segment.lookup(this.#options.serverSlot);
    if (server === undefined) throw new DvkError(-EDEADSRCDST, 'fs');
    const { name } = call;
    const long = name !== undefined && name.length > INLINE_NAME_BYTES_MAX;
    if (long) buffer.set(name);
    const needsMemory = long || call.bytes !== undefined;
    const request = {
      call: call.call,
      inode: call.file.inode,
      generation: call.file.generation,
      offset: call.offset ?? 0,
      grant: needsMemory ? this.#grant(channel, server) : NO_GRANT,
      grantBytes: call.bytes ?? 0,
      nameBytes: name?.length ?? 0,
    };
    encodeRequest(process.message.view, request, name);
    await process.sendrec(server, { timeoutMs: CALL_TIMEOUT_MS });
    return process.message.type;
  }

  /** The server of now is the only one that may use the buffer. */
  #grant(channel: Channel, server: Endpoint): GrantId {
    if (channel.grant !== undefined) {
      if (channel.grantee === server) return channel.grant;
      channel.process.revoke(channel.grant);
    }
    channel.grant = channel.process.grant(channel.buffer, 'read-write', server);
    channel.grantee = server;
    return channel.grant;
  }
}

function attributesOf(channel: Channel): FileAttributes {
  return decodeAttributes(channel.process.message.view);
}

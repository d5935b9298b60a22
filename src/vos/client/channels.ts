/**
 * How a client of the FS protocol makes its calls: channels, and what happens while the server is
 * away.
 *
 * A client binds several endpoints ("channels"), since an endpoint has one call under way at a
 * time. Each channel owns a buffer in the arena and a grant on it for the server.
 *
 * The server may die, or its node, or the link to it. Calls then wait for its return, for
 * `outageMs` from the moment the outage was noticed, and fail with EIO after that; while the outage
 * lasts, later calls fail after `outageRetryMs`, so that a program that walks a tree does not wait
 * anew for each file.
 *
 * A call whose answer was lost is made again. To the same server that is safe for each of them: it
 * knows the request by its number. A server that was started again has forgotten the number, so
 * there only calls that may be done twice are made again; the others fail with EIO, since nobody
 * knows whether they were done.
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
import { TRANSFER_BYTES_MAX } from '../protocol/fs.ts';

export interface ChannelOptions {
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

/** What an attempt puts into its message. */
export interface Attempt {
  /** The grant on the channel's buffer, or -1. */
  readonly grant: number;
  /** The request's number. */
  readonly sequence: number;
}

export interface Call {
  /** Writes the request into the message of 64 bytes. */
  readonly encode: (message: DataView, attempt: Attempt) => void;
  /** Whether the server reads or fills the channel's buffer. */
  readonly needsMemory: boolean;
  /** What the buffer begins with: long names, then data. */
  readonly parts?: readonly Uint8Array[];
  /** Memory that is lent to the server for the call, in place of the channel's buffer. */
  readonly memory?: Uint8Array;
  /** Whether it may be done twice. */
  readonly repeatable: boolean;
}

export interface Channel {
  readonly process: Process;
  readonly buffer: Uint8Array;
  grant: GrantId | undefined;
  grantee: Endpoint;
  sequence: number;
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
const NO_GRANT = -1;
const SEQUENCE_END = 2 ** 32;
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
/** Those that come before the request has left. */
const NOT_SENT: ReadonlySet<string> = new Set(['EDEADSRCDST', 'EDVSNOPROXY', 'EDVSNODCNODE']);

/** Called before the first call to a server that was started again. */
export type Rejoin = (attempt: (call: Call) => Promise<number>) => Promise<void>;

export class Channels {
  readonly #segment: Segment;
  readonly #options: Required<Omit<ChannelOptions, 'slot'>>;
  readonly #rejoin: Rejoin;
  readonly #all: Channel[] = [];
  readonly #free: Channel[] = [];
  readonly #waiting: ((channel: Channel) => void)[] = [];
  #outageSinceMs: number | undefined;
  #server: Endpoint | undefined;
  #rejoining: Promise<void> | undefined;

  constructor(segment: Segment, options: ChannelOptions, rejoin: Rejoin) {
    this.#segment = segment;
    this.#rejoin = rejoin;
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
      this.#all.push({ process, buffer, grant: undefined, grantee: ANY, sequence: 0 });
    }
    // The first channel is used most, so the server knows who this client is.
    this.#free.push(...this.#all.toReversed());
  }

  /** Whether the server did not answer last time. */
  get isDown(): boolean {
    return this.#outageSinceMs !== undefined;
  }

  /** The server that answered last. */
  get server(): Endpoint | undefined {
    return this.#server;
  }

  /** Who this client is for the server: the endpoint of its first channel. */
  get identity(): Endpoint {
    return this.#all[0]?.process.endpoint ?? ANY;
  }

  /** Memory of the arena, which goes with this client. ENOMEM, ENOSPC, EINVAL. */
  allocateMemory(bytes: number): Uint8Array {
    const [first] = this.#all;
    if (first === undefined) throw new RangeError('there are no channels');
    return first.process.allocate(bytes);
  }

  /** Unbinds the channels; calls under way fail with ECANCELED. */
  close(): void {
    for (const { process } of this.#all) process.unbind();
  }

  /**
   * Makes a call, and takes its outcome from the channel while nobody else has it. The call's parts
   * are used no more when this returns.
   */
  async perform<T>(call: Call, take: (channel: Channel, result: number) => T): Promise<T> {
    const ready = this.#free.pop();
    let own = call;
    if (ready === undefined && call.parts !== undefined) {
      own = { ...call, parts: call.parts.map((part) => part.slice()) };
    }
    if (ready !== undefined) fill(ready, own);
    const channel = ready ?? (await this.#nextFree());
    if (ready === undefined) fill(channel, own);
    try {
      channel.sequence = nextSequence(channel);
      const result = await this.#call(channel, own);
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
    let sentTo: Endpoint | undefined;
    for (;;) {
      const server = this.#segment.lookup(this.#options.serverSlot);
      if (sentTo !== undefined && server !== undefined && server !== sentTo && !call.repeatable) {
        throw new DvkError(-EIO, 'fs', { reason: 'the server was restarted meanwhile' });
      }
      try {
        if (server === undefined) throw new DvkError(-EDEADSRCDST, 'fs');
        await this.#meet(channel, server);
        const result = await this.#attempt(channel, call, server);
        this.#outageSinceMs = undefined;
        return result;
      } catch (error) {
        if (!isDvkError(error) || !OUTAGES.has(error.code)) throw error;
        if (!NOT_SENT.has(error.code)) sentTo = server;
        const nowMs = clock.nowMs();
        const sinceMs = (this.#outageSinceMs ??= begunMs);
        if (nowMs > Math.max(sinceMs + outageMs, begunMs + outageRetryMs)) {
          throw new DvkError(-EIO, 'fs', { cause: error });
        }
        await new Promise<void>((resolve) => clock.after(RETRY_PAUSE_MS, resolve));
      }
    }
  }

  /** A server that was started again is told first what this client has of it. */
  async #meet(channel: Channel, server: Endpoint): Promise<void> {
    if (this.#server === server) return;
    if (this.#server === undefined) {
      this.#server = server;
      return;
    }
    this.#rejoining ??= this.#tell(channel, server).finally(() => {
      this.#rejoining = undefined;
    });
    await this.#rejoining;
  }

  async #tell(channel: Channel, server: Endpoint): Promise<void> {
    await this.#rejoin(async (call) => {
      channel.sequence = nextSequence(channel);
      return await this.#attempt(channel, call, server);
    });
    this.#server = server;
  }

  async #attempt(channel: Channel, call: Call, server: Endpoint): Promise<number> {
    const { process } = channel;
    const lent = call.memory && process.grant(call.memory, 'read-write', server);
    const grant = lent ?? (call.needsMemory ? this.#grant(channel, server) : NO_GRANT);
    try {
      call.encode(process.message.view, { grant, sequence: channel.sequence });
      await process.sendrec(server, { timeoutMs: CALL_TIMEOUT_MS });
      return process.message.type;
    } finally {
      if (lent !== undefined) process.revoke(lent);
    }
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

function nextSequence(channel: Channel): number {
  return (channel.sequence + 1) % SEQUENCE_END || 1;
}

function fill(channel: Channel, call: Call): void {
  let at = 0;
  for (const part of call.parts ?? []) {
    channel.buffer.set(part, at);
    at += part.length;
  }
}

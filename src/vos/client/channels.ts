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
 * A server that is slow is not away: it may write a long commit. A call that it does not answer in
 * time is made again for `slowMs`, as long as the server answers others meanwhile. Nor does a time
 * in which this very process did not run, as on a machine that stood still, tell anything.
 *
 * A call whose answer was lost is made again. To the same server that is safe for each of them: it
 * knows the request by its number. A server that was started again has forgotten the number, so
 * there only calls that may be done twice are made again, and those that the one before never
 * took; the others fail with EIO, since nobody knows whether they were done.
 *
 * What another client's claim is in the way of (EALREADY) was not done, and is asked for again
 * after a pause, for `outageMs` at most.
 *
 * Long contents go to a server on another node through a window of each channel (`fs-window.ts`):
 * this client copies them, and the server serves others meanwhile.
 */
import { constants } from 'node:os';

import {
  ANY,
  DvkError,
  ErrorNumber,
  isDvkError,
  type CallOptions,
  type Clock,
  type Endpoint,
  type GrantId,
  type Process,
  type Segment,
} from '../../dvk/index.ts';
import { CLAIMED, COPY_BYTES_MAX } from '../protocol/fs-change.ts';
import { TRANSFER_BYTES_MAX } from '../protocol/fs.ts';
import { EKEYEXPIRED } from '../protocol/fs-lease.ts';
import { WINDOW_GRANT, decodeWindow, encodeWindowRequest } from '../protocol/fs-window.ts';

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
  readonly slowMs?: number;
  /** How long one attempt waits. */
  readonly callMs?: number;
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
  /** How many bytes at its start are contents for a file, which may go through a window. */
  readonly contentBytes?: number;
  /** Whether it may be done twice. */
  readonly repeatable: boolean;
  /** The server that it is for: another one was told otherwise, and the call succeeds. */
  readonly onlyFor?: Endpoint | undefined;
}

/** Where contents go in a server's memory; see `fs-window.ts`. */
interface WindowPlace {
  readonly endpoint: Endpoint;
  readonly grant: GrantId;
  readonly at: number;
}

interface Window {
  readonly server: Endpoint;
  /** Undefined: the server gave none. */
  readonly place: WindowPlace | undefined;
  readonly askedMs: number;
}

export interface Channel {
  readonly process: Process;
  readonly buffer: Uint8Array;
  grant: GrantId | undefined;
  grantee: Endpoint;
  sequence: number;
  /** The server that gave the last answer. */
  server: Endpoint;
  window: Window | undefined;
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
const SLOW_MS = 60_000;
const RETRY_PAUSE_MS = 20;
const CLAIM_PAUSE_MS_MIN = 1;
const CLAIM_PAUSE_MS_MAX = 20;
/** Longer than the link's own dead-peer time-out, which ends calls sooner. */
const CALL_TIMEOUT_MS = 7000;
/** A time-out that comes so much too late shows that this process did not run. */
const STALL_MS = 1000;
const NO_GRANT = -1;
/** Fewer bytes are not worth a copy of their own. */
const WINDOW_BYTES_MIN = 64 * 1024;
/** A server that had no window is asked again after this time. */
const WINDOW_RETRY_MS = 5000;
const SEQUENCE_END = 2 ** 32;
const { EALREADY, EFAULT, EIO } = constants.errno;
const { EDEADSRCDST, EDVSGRANT } = ErrorNumber;

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
/** Those that come before the server has taken the request. */
const NOT_TAKEN: ReadonlySet<string> = new Set([
  'EDEADSRCDST',
  'EDSTDIED',
  'EDVSNOPROXY',
  'EDVSNODCNODE',
]);

/** What a server answered; the message is valid until the next attempt. */
export interface Answer {
  readonly result: number;
  readonly message: DataView;
}

/**
 * Called before the first call to a server. It calls `joined` when that server knows all that this
 * client has.
 */
export type Rejoin = (
  attempt: (call: Call) => Promise<Answer>,
  joined: () => void,
) => Promise<void>;

export class Channels {
  readonly #segment: Segment;
  readonly #options: Required<Omit<ChannelOptions, 'slot'>>;
  readonly #rejoin: Rejoin;
  readonly #refused: (() => Promise<void>) | undefined;
  readonly #all: Channel[] = [];
  readonly #free: Channel[] = [];
  readonly #waiting: ((channel: Channel) => void)[] = [];
  #outageSinceMs: number | undefined;
  /** Calls that were answered. */
  #answered = 0;
  #server: Endpoint | undefined;
  #rejoining: Promise<void> | undefined;

  /** `refused` is called when the server has given this client up; then calls are made again. */
  constructor(
    segment: Segment,
    options: ChannelOptions,
    rejoin: Rejoin,
    refused?: () => Promise<void>,
  ) {
    this.#segment = segment;
    this.#rejoin = rejoin;
    this.#refused = refused;
    this.#options = {
      channels: CHANNELS,
      outageMs: OUTAGE_MS,
      outageRetryMs: OUTAGE_RETRY_MS,
      slowMs: SLOW_MS,
      callMs: CALL_TIMEOUT_MS,
      ...options,
    };
    for (let i = 0; i < this.#options.channels; i++) {
      const fixed = i === 0 && options.slot !== undefined ? { slot: options.slot } : {};
      const name = i === 0 ? options.name : `${options.name.slice(0, 12)}.${String(i)}`;
      const process = segment.bind({ ...fixed, name, awaitable: true, clock: options.clock });
      const buffer = process.allocate(TRANSFER_BYTES_MAX);
      const fresh = { grant: undefined, grantee: ANY, sequence: 0, server: ANY, window: undefined };
      this.#all.push({ process, buffer, ...fresh });
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

  /** Whether another server is there than the one that answered last. */
  get isReplaced(): boolean {
    const server = this.#segment.lookup(this.#options.serverSlot);
    return server !== undefined && server !== this.#server;
  }

  /** Who this client is for the server: the endpoint of its first channel. */
  get identity(): Endpoint {
    return this.#all[0]?.process.endpoint ?? ANY;
  }

  /** All endpoints that calls come from. */
  get endpoints(): Endpoint[] {
    return this.#all.map(({ process }) => process.endpoint);
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
    const first = await this.#perform(call, take);
    if (!('again' in first)) return first.value;
    const { clock, outageMs } = this.#options;
    const endMs = clock.nowMs() + outageMs;
    let { again } = first;
    for (let pauseMs = CLAIM_PAUSE_MS_MIN; ; pauseMs = Math.min(pauseMs * 2, CLAIM_PAUSE_MS_MAX)) {
      if (clock.nowMs() > endMs) throw new DvkError(-EIO, 'fs', { reason: 'somebody claims it' });
      await this.#pause(pauseMs);
      const next = await this.#perform(again, take);
      if (!('again' in next)) return next.value;
      ({ again } = next);
    }
  }

  async #perform<T>(
    call: Call,
    take: (channel: Channel, result: number) => T,
  ): Promise<{ readonly value: T } | { readonly again: Call }> {
    const ready = this.#free.pop();
    const own = ready === undefined ? withOwnParts(call) : call;
    if (ready !== undefined) fill(ready, own);
    const channel = ready ?? (await this.#nextFree());
    if (ready === undefined) fill(channel, own);
    try {
      channel.sequence = nextSequence(channel);
      const result = await this.#call(channel, own);
      // While it waits others need the channel: its parts are kept elsewhere.
      if (result === -EALREADY) return { again: refilled(own, channel) };
      if (result < 0) throw new DvkError(result, 'fs');
      if ((result & ~CLAIMED) > COPY_BYTES_MAX) throw new DvkError(-EIO, 'fs');
      return { value: take(channel, result) };
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(channel);
      else next(channel);
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => this.#options.clock.after(ms, resolve));
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
      let start = { ms: clock.nowMs(), answered: this.#answered };
      const server = this.#segment.lookup(this.#options.serverSlot);
      if (sentTo !== undefined && server !== undefined && server !== sentTo && !call.repeatable) {
        throw new DvkError(-EIO, 'fs', { reason: 'the server was restarted meanwhile' });
      }
      try {
        if (server === undefined) throw new DvkError(-EDEADSRCDST, 'fs');
        await this.#meet(channel, server);
        if (call.onlyFor !== undefined && call.onlyFor !== server) return 0;
        start = { ms: clock.nowMs(), answered: this.#answered };
        const result = await this.#attempt(channel, call, server);
        this.#outageSinceMs = undefined;
        if (result !== -EKEYEXPIRED || this.#refused === undefined) return result;
        // Nothing was done.
        sentTo = undefined;
        if (clock.nowMs() > begunMs + outageMs) throw new DvkError(-EIO, 'fs');
        await this.#refused();
      } catch (error) {
        if (!isDvkError(error) || !OUTAGES.has(error.code)) throw error;
        if (!NOT_TAKEN.has(error.code)) sentTo = server;
        const nowMs = clock.nowMs();
        if (error.code === 'ETIMEDOUT' && this.#isSlow(begunMs, nowMs, start)) continue;
        const sinceMs = (this.#outageSinceMs ??= begunMs);
        if (nowMs > Math.max(sinceMs + outageMs, begunMs + outageRetryMs)) {
          throw new DvkError(-EIO, 'fs', { cause: error });
        }
        await this.#pause(RETRY_PAUSE_MS);
      }
    }
  }

  /** Whether a time-out of an attempt tells that there was not enough time, and no more. */
  #isSlow(begunMs: number, nowMs: number, start: { ms: number; answered: number }): boolean {
    const { slowMs, callMs } = this.#options;
    const stoodStill = nowMs - start.ms > callMs + STALL_MS;
    return nowMs < begunMs + slowMs && (stoodStill || this.#answered > start.answered);
  }

  /** A server is told first what this client had of the one before it. */
  async #meet(channel: Channel, server: Endpoint): Promise<void> {
    while (this.#server !== server) {
      this.#rejoining ??= this.#tell(channel, server).finally(() => {
        this.#rejoining = undefined;
      });
      await this.#rejoining;
    }
  }

  async #tell(channel: Channel, server: Endpoint): Promise<void> {
    const attempt = async (call: Call): Promise<Answer> => {
      for (;;) {
        channel.sequence = nextSequence(channel);
        const result = await this.#attempt(channel, call, server);
        if (result !== -EALREADY) return { result, message: channel.process.message.view };
        await this.#pause(CLAIM_PAUSE_MS_MAX);
      }
    };
    await this.#rejoin(attempt, () => {
      this.#server = server;
    });
    // The caller's own request is another one.
    channel.sequence = nextSequence(channel);
  }

  async #attempt(channel: Channel, call: Call, server: Endpoint): Promise<number> {
    const { contentBytes = 0 } = call;
    // What may not be done twice is not sent in two steps.
    if (contentBytes >= WINDOW_BYTES_MIN && call.repeatable) {
      const place = await this.#windowOf(channel, server);
      const result = place && (await this.#throughWindow(channel, call, place));
      if (result !== undefined) return result;
    }
    const { process } = channel;
    const lent = call.memory && process.grant(call.memory, 'read-write', server);
    const grant = lent ?? (call.needsMemory ? this.#grant(channel, server) : NO_GRANT);
    try {
      call.encode(process.message.view, { grant, sequence: channel.sequence });
      await process.sendrec(server, { timeoutMs: this.#options.callMs });
      this.#answered++;
      channel.server = server;
      return process.message.type;
    } finally {
      if (lent !== undefined) process.revoke(lent);
    }
  }

  /** The channel's window, where the server is on another node and gives one. */
  async #windowOf(channel: Channel, server: Endpoint): Promise<WindowPlace | undefined> {
    const { clock, serverSlot, callMs } = this.#options;
    const { process, window } = channel;
    const nowMs = clock.nowMs();
    if (window?.server === server) {
      if (window.place !== undefined) return window.place;
      if (nowMs < window.askedMs + WINDOW_RETRY_MS) return undefined;
    }
    const node = this.#segment.process(serverSlot)?.node;
    if (node === undefined || node === this.#segment.nodeId) return undefined;
    encodeWindowRequest(process.message.view);
    await process.sendrec(server, { timeoutMs: callMs });
    const { type, view } = process.message;
    const grant = type === 0 ? (decodeWindow(view) as GrantId | undefined) : undefined;
    const place = grant === undefined ? undefined : { endpoint: server, grant, at: 0 };
    channel.window = { server, place, askedMs: nowMs };
    return place;
  }

  /** Undefined: the window is no more, and nothing was done. */
  async #throughWindow(
    channel: Channel,
    call: Call,
    place: WindowPlace,
  ): Promise<number | undefined> {
    const { clock, callMs } = this.#options;
    const { process, sequence } = channel;
    const contents = (call.memory ?? channel.buffer).subarray(0, call.contentBytes);
    const endMs = clock.nowMs() + callMs;
    const left = (): CallOptions => ({ timeoutMs: Math.max(1, endMs - clock.nowMs()) });
    try {
      await process.vcopy(contents, place, contents.length, left());
      call.encode(process.message.view, { grant: WINDOW_GRANT, sequence });
      await process.sendrec(place.endpoint, left());
      const { type } = process.message;
      if (type === -EFAULT) throw new DvkError(-EDVSGRANT, 'fs');
      this.#answered++;
      channel.server = place.endpoint;
      return type;
    } catch (error) {
      // A copy that was given up may come later: nobody is to use that grant again.
      channel.window = undefined;
      if (isDvkError(error, 'EDVSGRANT')) return undefined;
      throw error;
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

/** The call with copies of its parts. */
function withOwnParts(call: Call): Call {
  const { parts } = call;
  return parts === undefined ? call : { ...call, parts: parts.map((part) => part.slice()) };
}

/** The call with its parts taken back out of the channel's buffer. */
function refilled(call: Call, { buffer }: Channel): Call {
  const bytes = (call.parts ?? []).reduce((sum, { length }) => sum + length, 0);
  return bytes === 0 ? call : { ...call, parts: [buffer.slice(0, bytes)] };
}

function fill(channel: Channel, call: Call): void {
  let at = 0;
  for (const part of call.parts ?? []) {
    channel.buffer.set(part, at);
    at += part.length;
  }
}

/**
 * One connection to another node: its bytes, frames and session put together.
 *
 * Until the session is up a link costs a few KiB, so that strangers who connect and say nothing
 * cost no more; then the decoder gets a buffer for the longest frame. What is built in a turn goes
 * out in one write, a long payload at once, so that the peer works on it while the next one is
 * built.
 *
 * Where the connection has lanes, commands with data go in the bulky one, and all others overtake
 * them; while much of it waits, only short commands are taken from the core. The parts of a copy
 * are in order in one lane alone, so they wait for that one where it is yet to come.
 *
 * Where both ends can, what goes out may be packed on its way to the transport (compression.ts).
 * Session and ledger know nothing of that: the next connection may be another one.
 */
import { createHash } from 'node:crypto';
import { CommandKind, CommandLayout, Limit } from '../dvk/abi/abi.gen.ts';
import { lz4Pack, lz4Unpack } from '../dvk/lz4.ts';
import type { BusyPoll } from './busy-poll.ts';
import { DATA, UNSEALED } from '../dvk/frame-runs.ts';
import { BLOCK_BYTES_MAX, Compression, newCompressionCounters } from './compression.ts';
import type { CompressionCounters, CompressionState } from './compression.ts';
import { FRAME_HEAD_BYTES, FrameDecoder, FrameLayout } from './frame.ts';
import type { Checksum, Frame, FramePlace } from './frame.ts';
import { HELLO_BYTES_MAX, type Hello } from './hello.ts';
import { Outbox, type SlabPool } from './outbox.ts';
import { Feature } from './offer.ts';
import { Session } from './session.ts';
import { downBy, type Down } from './down.ts';
import type { SessionOutput, SessionSelf } from './session.ts';
import type { ProxySettings } from './settings.ts';
import type { PeerCertificate } from './identity.ts';
import { Lane } from './transport.ts';
import type { Connection, ConnectionEvents, LinkQuality, Refusal } from './transport.ts';

// Commands are left in the core's queue while the transport holds more than this in their lane.
const HIGH_WATER_BYTES = 2 * 1024 * 1024;
// More than commands of the core come to: the peer does not read.
const UNREAD_BYTES = 2 * HIGH_WATER_BYTES;
const READ_BUFFER_BYTES = 2 * 1024 * 1024;
// So much does not wait for the end of the turn.
const PROMPT_BYTES = 32768;

/** What a link tells the engine. */
export interface LinkOwner {
  linkUp(link: Link, hello: Hello): void;
  linkContainersChanged(link: Link, hello: Hello): void;
  /** The peer has chosen this connection to carry the session. */
  linkChosen(link: Link): void;
  linkDeliver(link: Link, frame: Frame): void;
  /**
   * The same for frames that may all be commands without data, from the first on, as many as it
   * likes; it tells `link.delivered` how many that were.
   */
  linkDeliverRun(link: Link, run: HeldFrames): void;
  linkDown(link: Link, why: Down): void;
  /** The link can take commands again, or acks may have been queued by what was delivered. */
  linkReady(link: Link): void;
  /** The connection is gone. */
  linkClosed(link: Link): void;
}

export interface LinkOptions {
  self: SessionSelf;
  owner: LinkOwner;
  /** Name of what carries it. */
  transport: string;
  checksum: Checksum;
  pool: SlabPool;
  nowMs: () => number;
  /** They may change at any time. */
  settings: ProxySettings;
  /** Whether what is sent is encrypted. */
  sealed: boolean;
  /** Told of commands that may be answered, and of those that came. */
  poll?: BusyPoll | undefined;
  /** The node that is dialled; undefined for an accepted connection. */
  peer?: number | undefined;
  /** Which of the paths to it, and whether for the present session alone. */
  path?: number;
  joins?: boolean;
}

/** The numbers of the frames to come. */
export interface NextFrames {
  readonly session: number;
  readonly sequence: number;
  /** Of one with data; undefined where it is counted with the others. */
  readonly dataSequence: number | undefined;
}

/** Where commands are taken from. */
export interface CommandSource {
  /**
   * Takes some: whole frames first, as many as the number returned, then, where that has DATA
   * added, one with data, or where it has UNSEALED added, one command. They lie where `outbox` has
   * its next ones.
   */
  take(outbox: Outbox, next: NextFrames, shortOnly: boolean): number;
}

/** Bytes that came, of which the first ones are a frame. */
export interface HeldFrames {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly end: number;
  readonly session: number;
  /** The number that is due. */
  readonly sequence: number;
}

export interface LinkCounters extends CompressionCounters {
  framesSent: number;
  framesReceived: number;
  bytesSent: number;
  bytesReceived: number;
}

/** What waits in this proxy to be sent, in bytes. */
export interface LinkQueue {
  /** Of everything, and of commands with data where they have a lane of their own. */
  bufferedBytes: number;
  bulkBytes: number;
  /** With so much in a lane no more is taken from the core for it. */
  limitBytes: number;
}

export class Link implements ConnectionEvents, SessionOutput {
  readonly session: Session;
  readonly #counters = { framesSent: 0, framesReceived: 0, bytesSent: 0, bytesReceived: 0 };
  readonly #options: LinkOptions;
  readonly #decoder: FrameDecoder;
  // Of the bulky lane, once the session is up.
  #bulkDecoder: FrameDecoder | undefined;
  // Once the session is up, where the peer can.
  #compression: Compression | undefined;
  readonly #outbox: Outbox;
  #connection: Connection | undefined;
  #callOff: (() => void) | undefined;
  #refusal: Refusal | undefined;
  // Commands were left in the core because of congestion.
  #stalled = false;
  // Of what was built, and what the transport holds in the bulky lane.
  #builtLane: Lane = Lane.URGENT;
  #bulkBytes = 0;
  // Commands of the core were built.
  #asks = false;
  // Frames of the last run.
  #delivered = 0;
  #over = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#decoder = new FrameDecoder(options.checksum, HELLO_BYTES_MAX);
    this.#outbox = new Outbox(options.pool, options.checksum);
    const { settings: times } = options;
    this.session = new Session(options.self, this, options.nowMs(), { ...options, times });
  }

  get counters(): LinkCounters {
    return { ...this.#counters, ...(this.#compression?.counters ?? newCompressionCounters()) };
  }

  /** What is known of packing; null where the peer knows nothing of it. */
  get compression(): CompressionState | null {
    return this.#compression?.state ?? null;
  }

  /** Name of what carries it. */
  get transport(): string {
    return this.#options.transport;
  }

  /** The address at the other end. */
  get remote(): string {
    return this.#connection?.remote ?? 'not connected';
  }

  /** How well the connection goes; undefined when it is one of a kind that does not tell. */
  get quality(): LinkQuality | undefined {
    return this.#connection?.quality;
  }

  get queue(): LinkQueue {
    const bufferedBytes = (this.#connection?.bufferedBytes ?? 0) + this.#outbox.builtBytes;
    return { bufferedBytes, bulkBytes: this.#bulkBytes, limitBytes: HIGH_WATER_BYTES };
  }

  /** Who the peer has proven to be; undefined on a connection in plain text, or none yet. */
  get certificate(): PeerCertificate | undefined {
    return this.#connection?.peer;
  }

  /** The node that a connection which was refused has spoken for. */
  get refusedNode(): number | undefined {
    return this.#refusal?.node;
  }

  /** Whether so much waits to be sent that no more is taken from the core. */
  get congested(): boolean {
    const held = (this.#connection?.bufferedBytes ?? 0) - this.#bulkBytes;
    if (held + this.#outbox.builtBytes >= HIGH_WATER_BYTES) return true;
    return this.session.ledger.isFull(Lane.URGENT);
  }

  /** Whether only commands without data are taken from the core. */
  get shortOnly(): boolean {
    return this.#bulkBytes >= HIGH_WATER_BYTES || this.session.ledger.isFull(Lane.BULK);
  }

  /** Takes commands of `source` and makes frames of them. False when it takes none now. */
  forward(source: CommandSource): boolean {
    if (this.congested) {
      // Only what the transport holds brings a call back; what was built must be given to it.
      this.flush();
      this.#stalled = true;
      return false;
    }
    if (!this.#outbox.hasRoom) this.flush();
    const { shortOnly } = this;
    if (shortOnly) this.#stalled = true;
    const { ledger, number: session } = this.session;
    const dataLane = this.#laneFor(Lane.BULK);
    const dataSequence = dataLane === Lane.BULK ? ledger.upcoming(Lane.BULK) : undefined;
    const next = { session, sequence: ledger.upcoming(Lane.URGENT), dataSequence };
    const taken = source.take(this.#outbox, next, shortOnly);
    if (taken === 0) return true;
    const frames = taken % UNSEALED;
    if (frames > 0) {
      this.#chooseLane(Lane.URGENT);
      this.#outbox.built(frames * FRAME_HEAD_BYTES);
      ledger.skip(Lane.URGENT, frames);
      this.#counters.framesSent += frames;
    }
    if ((taken & DATA) !== 0) this.#addData();
    else if (taken >= UNSEALED) this.#sealTaken(session);
    this.#asks = true;
    if (this.#outbox.builtBytes >= PROMPT_BYTES) this.flush();
    return true;
  }

  // The frame with data that was taken.
  #addData(): void {
    const bytes = FRAME_HEAD_BYTES + payloadBytesIn(this.#outbox.place());
    this.#chooseLane(Lane.BULK);
    this.#outbox.built(bytes);
    this.session.ledger.skip(this.#builtLane, 1);
    this.#counters.framesSent++;
  }

  #sealTaken(session: number): void {
    const place = this.#outbox.place();
    this.#chooseLane(isBulky(place) ? Lane.BULK : Lane.URGENT);
    this.#outbox.seal(place, session, this.session.ledger.next(this.#builtLane));
    this.#counters.framesSent++;
  }

  /** Gives the frames that were built to the transport; the session may keep them. */
  flush(): void {
    const built = this.#outbox.take();
    if (built === undefined) return;
    const lane = this.#builtLane;
    const done = this.session.ledger.keep(lane, built.bytes, built.done);
    this.#write(built.bytes, done, lane);
    if (this.#asks) this.#options.poll?.sent();
    this.#asks = false;
  }

  /** Sends again what the session keeps; before anything else that is new. */
  replay(): void {
    this.session.ledger.replay((bytes, done, lane) => {
      this.#write(bytes, done, lane);
    });
  }

  #write(bytes: Uint8Array, done: () => void, lane: Lane): void {
    if (this.#connection === undefined || this.#over) {
      done();
      return;
    }
    const packed = this.#compression?.pack(bytes, lane);
    const written = packed?.bytes ?? bytes;
    const bulkBytes = lane === Lane.BULK ? written.length : 0;
    this.#bulkBytes += bulkBytes;
    this.#counters.bytesSent += written.length;
    this.session.noteSent(this.#options.nowMs());
    let isLater = false;
    const sent = (): void => {
      packed?.done();
      done();
      this.#bulkBytes -= bulkBytes;
      // Who writes goes on by itself.
      if (!isLater || !this.#stalled || this.congested) return;
      this.#stalled = false;
      this.#options.owner.linkReady(this);
      this.flush();
    };
    this.#connection.write(written, sent, lane);
    isLater = true;
  }

  // What was built so far goes out first when it is of the other lane.
  #chooseLane(lane: Lane): void {
    const chosen = this.#laneFor(lane);
    if (chosen === this.#builtLane) return;
    this.flush();
    this.#builtLane = chosen;
  }

  #laneFor(lane: Lane): Lane {
    return this.#connection?.hasLanes === true || this.#widens ? lane : Lane.URGENT;
  }

  // Whether there are two lanes, now or soon.
  get #widens(): boolean {
    const isKnown = (this.session.features & Feature.LANES) !== 0;
    return isKnown && this.#connection?.widen !== undefined;
  }

  tick(): void {
    this.session.tick(this.#options.nowMs());
    this.flush();
  }

  /** Gives up the connection, or the attempt to make one, without a word. */
  abandon(): void {
    if (this.#over) return;
    if (this.#connection) this.#connection.destroy();
    else this.#callOff?.();
  }

  /** How to stop what is to open this link. */
  begun(callOff: () => void): void {
    this.#callOff = callOff;
  }

  // ConnectionEvents

  opened(connection: Connection): void {
    this.#connection = connection;
    this.session.noteReceived(this.#options.nowMs());
    this.session.start(connection.peer);
    this.flush();
  }

  space(lane: Lane = Lane.URGENT): Uint8Array {
    if (lane === Lane.URGENT) return this.#decoder.space();
    // A connection may get its second lane later.
    if (this.session.state === 'up') this.#bulkDecoder ??= this.#newBulkDecoder();
    return this.#bulkDecoder?.space() ?? NO_BYTES;
  }

  received(bytes: number, lane: Lane = Lane.URGENT): void {
    const decoder = lane === Lane.URGENT ? this.#decoder : this.#bulkDecoder;
    if (decoder === undefined) return;
    const nowMs = this.#options.nowMs();
    this.#counters.bytesReceived += bytes;
    decoder.filled(bytes);
    this.session.noteReceived(nowMs);
    this.#deliverRuns(decoder, lane);
    const before = this.#counters.framesReceived;
    for (let frame = decoder.next(); frame; frame = decoder.next()) {
      this.#counters.framesReceived++;
      this.session.receive(frame, nowMs, lane);
      this.#deliverRuns(decoder, lane);
    }
    if (decoder.fault) this.session.refuse(downBy(decoder.fault), lane);
    // A piece of a long frame is no news to anybody.
    else if (lane === Lane.BULK && this.#counters.framesReceived === before) return;
    this.#options.owner.linkReady(this);
    this.flush();
  }

  // Most frames are short commands, and come together.
  #deliverRuns(decoder: FrameDecoder, lane: Lane): void {
    if (lane !== Lane.URGENT) return;
    do {
      this.#delivered = 0;
      const { bytes, at, end } = decoder.held;
      if (this.session.state !== 'up' || end - at < FRAME_HEAD_BYTES) return;
      const { ledger, number: session } = this.session;
      const run = { bytes, at, end, session, sequence: ledger.expected(lane) };
      this.#options.owner.linkDeliverRun(this, run);
    } while (this.#delivered > 0);
  }

  /** So many of the frames were acted on. */
  delivered(count: number): void {
    this.#delivered = count;
    if (count === 0) return;
    this.#counters.framesReceived += count;
    this.#options.poll?.received();
    this.#decoder.skip(count * FRAME_HEAD_BYTES);
    this.session.receiveRun(count, Lane.URGENT);
  }

  withdrawn(): void {
    this.#endOutput();
  }

  closed(reason: string, refusal?: Refusal): void {
    this.#over = true;
    this.#refusal = refusal;
    this.session.lost(this.#explain(reason), refusal?.code);
    this.#endOutput();
  }

  #endOutput(): void {
    this.#over = true;
    this.#outbox.close();
    this.#compression?.close();
    this.#options.owner.linkClosed(this);
  }

  // A peer that refuses this node's certificate says nothing: it takes no stranger for a listener.
  #explain(reason: string): string {
    const { peer, state } = this.session;
    const wasLetIn = this.#connection?.peer === undefined || state !== 'opening';
    if (wasLetIn || peer === undefined) return reason;
    const advice = `it may refuse this node's certificate; \`dvk proxy info ${peer}\` tells`;
    return `${reason} right after the handshake: ${advice}`;
  }

  // SessionOutput

  get isBusy(): boolean {
    return (this.#connection?.bufferedBytes ?? 0) - this.#bulkBytes >= UNREAD_BYTES;
  }

  send(kind: number, command: Uint8Array, payload: Uint8Array): void {
    // A peer that does not read could pile up answers to its keepalives here.
    if (kind === (CommandKind.NONE | CommandKind.ACK) && this.congested) return;
    this.#chooseLane(Lane.URGENT);
    const isPassing = this.session.isPassing(kind);
    if (isPassing || !this.#outbox.hasRoom) this.flush();
    this.#outbox.add(command, payload, this.session.number, this.session.sequenceOf(kind));
    this.#counters.framesSent++;
    const passing = isPassing ? this.#outbox.take() : undefined;
    if (passing) this.#write(passing.bytes, passing.done, this.#builtLane);
  }

  up(hello: Hello): void {
    if (this.#connection?.hasLanes !== true) {
      this.#decoder.expand(Limit.COPY_CHUNK_BYTES, READ_BUFFER_BYTES);
      if (this.#widens) this.#connection?.widen?.(this.#laneName(hello));
    }
    if (this.#canPack) {
      this.#decoder.takePacked(lz4Unpack, BLOCK_BYTES_MAX[Lane.URGENT]);
      this.#compression = this.#newCompression();
    }
    this.#options.owner.linkUp(this, hello);
  }

  // Of no other connection: each HELLO has a new key.
  #laneName(hello: Hello): string {
    const keys = [this.session.voucherKey, hello.voucherKey];
    if (this.#options.peer === undefined) keys.reverse();
    return createHash('sha256').update(Buffer.concat(keys)).digest('base64url');
  }

  get #canPack(): boolean {
    return (this.session.features & Feature.LZ4) !== 0;
  }

  #newCompression(): Compression {
    const { settings, sealed: isSealed, checksum, pool } = this.#options;
    return new Compression({
      ...{ settings, isSealed, checksum, pool, pack: lz4Pack },
      nowMs: () => performance.now(),
      bandwidth: () => this.#connection?.bandwidth,
    });
  }

  #newBulkDecoder(): FrameDecoder {
    const { checksum } = this.#options;
    const decoder = new FrameDecoder(checksum, Limit.COPY_CHUNK_BYTES, { oneByOne: true });
    if (this.#canPack) decoder.takePacked(lz4Unpack, BLOCK_BYTES_MAX[Lane.BULK]);
    return decoder;
  }

  containersChanged(hello: Hello): void {
    this.#options.owner.linkContainersChanged(this, hello);
  }

  chosen(): void {
    this.#options.owner.linkChosen(this);
  }

  deliver(frame: Frame): void {
    this.#options.poll?.received();
    this.#options.owner.linkDeliver(this, frame);
  }

  down(why: Down): void {
    this.flush();
    this.#options.owner.linkDown(this, why);
    if (this.#connection && !this.#over) this.#connection.end();
    else this.abandon();
  }
}

const NO_BYTES = new Uint8Array(0);

function payloadBytesIn({ view, at }: FramePlace): number {
  return view.getUint32(at + FrameLayout.BYTES + CommandLayout.payloadBytes, true);
}

// The part of a copy that could not be read has no data, and comes after those that have.
function isBulky(place: FramePlace): boolean {
  const kind = place.view.getUint32(place.at + FrameLayout.BYTES + CommandLayout.kind, true);
  return payloadBytesIn(place) > 0 || kind === CommandKind.COPYIN_DATA;
}

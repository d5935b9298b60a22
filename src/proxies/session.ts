/**
 * The state machine of one connection between two nodes. It does no I/O: frames, bytes and ticks go
 * in, calls of `SessionOutput` come out.
 *
 *              HELLO from the peer is right
 *   opening ---------------------------------> up
 *      |                                       |
 *      +--- refused, malformed, silent, left --+--> closed
 *
 * The node with the lower id dials and speaks first; the accepter checks, decides the session
 * number (higher than every one before it between the two) and answers. Both sides must be of one
 * DVS, of wire versions that meet, and be who the other expects, and who they have proven to be
 * when the connection is sealed; what is wrong is named to the other side in a SHUTDOWN. Frames of
 * another session, and frames that came already, are counted and dropped, so within a session a
 * command arrives at most once; a gap in the sequence closes the connection, since a transport
 * promises order and no loss. A transport with lanes promises that for each of them, so each has a
 * sequence of its own.
 *
 * Where both ends can, a session outlives its connection: the next one to the same incarnation goes
 * on with it, and what was not acknowledged is sent again (ledger.ts). What the proxies say
 * of the connection itself (keepalives, acknowledgements, farewells) is not numbered then, and
 * never sent again. A session may have several connections at a time, one for each path between
 * the nodes (bond.ts): what is numbered is taken from any of them.
 *
 * A side that has been quiet for `keepaliveMs` sends NONE, which the other answers with NONE and
 * ACK; a peer from which no byte came for `deadMs` is taken for dead, by both sides alike when only
 * one direction is cut.
 */
import { CommandKind, CommandLayout } from '../dvk/abi/abi.gen.ts';
import { isInterruption, shutdownText, type Down, type DownCode } from './down.ts';
import { FRAME_HEAD_BYTES, viewOf, type Frame } from './frame.ts';
import { decodeHello, encodeHello, HELLO_CONSTANTS, type Hello } from './hello.ts';
import { impersonation, type NodeIdentity } from './identity.ts';
import { agreedVersion, decodeOffer, encodeOffer, Feature, FEATURES } from './offer.ts';
import { versionConflict, WIRE_VERSIONS, type Offer } from './offer.ts';
import { bytesOf, Ledger, nextSession, numbersIn } from './ledger.ts';
import { Lane } from './transport.ts';

export interface SessionTimes {
  keepaliveMs: number;
  /**
   * No byte from the peer for this long: it is dead. At least three times `keepaliveMs` is
   * sensible.
   */
  deadMs: number;
  /** How long the exchange of HELLO may take. */
  handshakeMs: number;
}

export const DEFAULT_TIMES: SessionTimes = { keepaliveMs: 500, deadMs: 1500, handshakeMs: 3000 };

/** What a session knows of its own node. */
export interface SessionSelf {
  dvs: string;
  node: number;
  incarnation: bigint;
  /** Highest session number that was used with `peer`; 0 for none. */
  lastSession(peer: number): number;
  /** The session with `peer` that may go on over another connection. */
  lastLedger(peer: number): Ledger | undefined;
  /** DCs to name to `peer` in HELLO. */
  containersFor(peer: number): readonly number[];
  /** What `peer` is called; undefined when it is no node of the DVS. */
  nameOf(peer: number): string | undefined;
  /** Why a connection of `peer` by this transport may not be its path of that number. */
  pathFault(peer: number, path: number, transport: string): Down | undefined;
  /** A new random key of 32 bytes, for HELLO. */
  newKey(): Uint8Array;
}

/** What a session makes happen. */
export interface SessionOutput {
  /** Whether so much waits to be sent that what can wait should. */
  readonly isBusy: boolean;
  /** Sends a frame with this command, which is of that kind, and payload. */
  send(kind: number, command: Uint8Array, payload: Uint8Array): void;
  /**
   * The connection is up; called once. `session.ledger` is that of the session, which is another
   * one than before unless `session.isResumed`. Commands may be sent, after those kept.
   */
  up(peer: Hello): void;
  /** The peer's list of DCs is another one. */
  containersChanged(peer: Hello): void;
  /** The dialer has chosen this connection to carry the session. */
  chosen(): void;
  /** A command of the peer, in order. */
  deliver(frame: Frame): void;
  /**
   * The link is over; called once, also for a link that never came up. Nothing is delivered
   * afterwards.
   */
  down(why: Down): void;
}

/** What a connection is for. */
export interface SessionOptions {
  /** The node that is dialled; undefined makes an accepter, which waits to be told. */
  peer?: number | undefined;
  times?: SessionTimes;
  /** Name of what carries it; the accepter has a look at it. */
  transport?: string;
  /** Which of the paths to the peer is dialled; 0 by default. */
  path?: number;
  /** Dialled for the session that there is, not to begin another one. */
  joins?: boolean;
}

export interface SessionCounters {
  staleFrames: number;
  duplicateFrames: number;
  /** Of the last keepalive that was answered. */
  rttMs: number | undefined;
}

export class Session {
  readonly counters: SessionCounters = { staleFrames: 0, duplicateFrames: 0, rttMs: undefined };
  /** What the peer signs vouchers with; this side's part of HELLO. */
  readonly voucherKey: Uint8Array;
  readonly #self: SessionSelf;
  readonly #times: SessionTimes;
  readonly #output: SessionOutput;
  readonly #dials: boolean;
  readonly #transport: string;
  readonly #joins: boolean;
  #path: number;
  // Who the peer has proven to be, on a sealed connection.
  #proven: NodeIdentity | undefined;
  #state: 'opening' | 'up' | 'closed' = 'opening';
  #peer: number | undefined;
  #hello: Hello | undefined;
  #features = 0;
  #proposed = 0;
  #ledger = new Ledger(0);
  #isResumed = false;
  #isOver = false;
  #openedMs: number;
  #receivedMs: number;
  #sentMs: number;
  #tickedMs: number;
  #ping = 0;
  #pingMs: number | undefined;

  constructor(
    self: SessionSelf,
    output: SessionOutput,
    nowMs: number,
    options: SessionOptions = {},
  ) {
    this.#self = self;
    this.voucherKey = self.newKey();
    this.#output = output;
    this.#times = options.times ?? DEFAULT_TIMES;
    this.#peer = options.peer;
    this.#dials = options.peer !== undefined;
    this.#transport = options.transport ?? '';
    this.#path = options.path ?? 0;
    this.#joins = options.joins ?? false;
    this.#openedMs = this.#receivedMs = this.#sentMs = this.#tickedMs = nowMs;
  }

  /** What the peer said of itself, once the link is up. */
  get peerHello(): Hello | undefined {
    return this.#hello;
  }

  /** Which of the paths between the two nodes it is. */
  get path(): number {
    return this.#path;
  }

  /** Whether it was refused because the session is over for the peer. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get state(): 'opening' | 'up' | 'closed' {
    return this.#state;
  }

  /** What may outlive this connection; that of HELLO, number 0, until it is up. */
  get ledger(): Ledger {
    return this.#ledger;
  }

  /** Whether this connection goes on with a session of before. */
  get isResumed(): boolean {
    return this.#isResumed;
  }

  /** What both ends can do, bits of `Feature`; 0 until the connection is up. */
  get features(): number {
    return this.#features;
  }

  /** The node at the other end, once it is known. */
  get peer(): number | undefined {
    return this.#peer;
  }

  /** The session number; 0 until the connection is up. */
  get number(): number {
    return this.#ledger.number;
  }

  /**
   * The connection is made; `proven` is who the peer is, when that is known. Speaks first, when
   * this side dials.
   */
  start(proven?: NodeIdentity): void {
    this.#proven = proven;
    if (this.#peer === undefined || !this.#dials) return;
    const wrong = this.#examineSpeaker(this.#peer);
    if (wrong !== undefined) {
      this.close(wrong);
      return;
    }
    const last = this.#self.lastLedger(this.#peer);
    last?.noteAttempt(this.#path, last.attemptOn(this.#path) + 1);
    this.#proposed = nextSession(this.#self.lastSession(this.#peer));
    this.#sendHello(this.#peer, this.#proposed, last);
  }

  /** The number of the next frame, which is of the session's own kind `kind`. */
  sequenceOf(kind: number): number {
    return this.#state === 'up' && this.isPassing(kind) ? 0 : this.#ledger.next(Lane.URGENT);
  }

  /**
   * Whether a frame of this kind is of the connection alone: it has no number, is not kept, and
   * must go out apart from those that are.
   */
  isPassing(kind: number): boolean {
    if (this.#state === 'opening') return true;
    return this.#canResume && PASSING.has(kind);
  }

  get #canResume(): boolean {
    return (this.#features & Feature.RESUME) !== 0;
  }

  /** Bytes went out. */
  noteSent(nowMs: number): void {
    this.#sentMs = nowMs;
  }

  /** Bytes came in. A part of a frame is a sign of life too: the line may be slow. */
  noteReceived(nowMs: number): void {
    this.#receivedMs = nowMs;
  }

  receive(frame: Frame, nowMs: number, lane: Lane = Lane.URGENT): void {
    if (this.#state === 'closed') return;
    if (frame.session !== this.number) {
      this.counters.staleFrames++;
      return;
    }
    if (this.#state === 'up' && this.isPassing(frame.kind)) {
      this.#receiveUp(frame, nowMs);
      return;
    }
    this.#ledger.taker = this;
    const ahead = this.#ledger.take(lane, frame.sequence, FRAME_HEAD_BYTES + frame.payload.length);
    if (ahead !== 0) {
      if (ahead > 0x7fff_ffff) this.counters.duplicateFrames++;
      else this.refuse({ code: 'sequence', detail: `${ahead} frames are missing` }, lane);
      return;
    }
    if (this.#state === 'opening') this.#receiveOpening(frame);
    else this.#receiveUp(frame, nowMs);
    this.#tellTaken('now');
  }

  /** The next `count` frames in `lane` were acted on; all of them were commands. */
  receiveRun(count: number, lane: Lane): void {
    this.#ledger.taker = this;
    this.#ledger.takeRun(lane, count, count * FRAME_HEAD_BYTES);
    this.#tellTaken('now');
  }

  /** What came in `lane` makes no sense: the stream is unusable. */
  refuse(why: Down, lane: Lane): void {
    if (this.#state === 'closed') return;
    // What was not taken before is sent again at once; what comes later was damaged on its way.
    if (this.#tickedMs < this.#openedMs + this.#times.deadMs) this.#ledger.noteRefusal(lane);
    this.close(why);
  }

  /** Time goes on. Call it several times in each `keepaliveMs`. */
  tick(nowMs: number): void {
    // A tick that is late means that this process stood still; what the peer sent meanwhile is yet
    // to be read.
    const stalledMs = nowMs - this.#tickedMs - this.#times.keepaliveMs;
    if (stalledMs > 0) this.#receivedMs = Math.min(nowMs, this.#receivedMs + stalledMs);
    this.#tickedMs = nowMs;
    if (this.#state === 'opening') {
      if (nowMs - this.#openedMs >= this.#times.handshakeMs) {
        this.close({ code: 'handshake-time-out', detail: 'no HELLO came' });
      }
    } else if (this.#state === 'up') {
      const deadMs = Math.max(this.#times.deadMs, 3 * (this.#hello?.keepaliveMs ?? 0));
      if (nowMs - this.#receivedMs >= deadMs) {
        this.#ledger.noteSilence();
        this.close({ code: 'time-out', detail: `nothing came for ${deadMs} ms` });
        return;
      }
      this.#tellTaken('at the tick');
      if (nowMs - this.#sentMs >= this.#times.keepaliveMs && !this.#output.isBusy) {
        this.#ping = (this.#ping + 1) >>> 0;
        this.#pingMs = nowMs;
        this.#sendControl(CommandKind.NONE, { callId: this.#ping });
      }
    }
  }

  /** This node's DCs are others now: tells the peer. */
  announceContainers(): void {
    if (this.#state === 'up' && this.#peer !== undefined) this.#sendHello(this.#peer, this.number);
  }

  /** This connection carries the session from now on: tells the peer. For the dialer. */
  choose(): void {
    if (this.#state !== 'up' || !this.#ledger.canBond) return;
    this.#ledger.turn = (this.#ledger.turn + 1) >>> 0;
    this.#sendTaken(this.#ledger.turn);
  }

  /** The peer's HELLO was renewed, over this connection or another one of the session. */
  renew(hello: Hello): void {
    this.#hello = hello;
  }

  /** Ends the connection, and tells the peer why. */
  close(why: Down): void {
    if (this.#state === 'closed') return;
    const text = why.code === 'stopped' ? '' : `${why.code}: ${why.detail}`;
    const callId = this.#farewell(why);
    this.#sendControl(CommandKind.SHUTDOWN, { callId, payload: new TextEncoder().encode(text) });
    this.#end(why);
  }

  #farewell(why: Down): number {
    if (this.#state === 'opening') return why.code === 'over' ? OVER : 0;
    return this.#ledger.canResume && isInterruption(why) ? INTERRUPTED : 0;
  }

  /** The connection is gone; there is nobody to tell. */
  lost(detail: string, code: DownCode = 'connection'): void {
    this.#end({ code, detail });
  }

  #end(why: Down): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#output.down(why);
  }

  #receiveOpening(frame: Frame): void {
    if (frame.kind === CommandKind.SHUTDOWN) {
      this.#isOver = this.#joins && frame.callId === OVER;
      this.#end({ code: 'refused', detail: shutdownText(frame.payload) });
      return;
    }
    const hello = frame.kind === CommandKind.HELLO ? decodeHello(frame.payload) : undefined;
    if (hello === undefined) {
      this.close({ code: 'malformed', detail: 'the first frame is no HELLO' });
      return;
    }
    const offer = decodeOffer(frame.command.subarray(CommandLayout.message));
    const wrong = this.#examine(hello, frame.destinationNode, offer);
    if (wrong !== undefined) {
      this.close(wrong);
      return;
    }
    this.#peer = hello.node;
    this.#hello = hello;
    if (!this.#dials) this.#path = offer.path;
    const last = this.#lastOf(offer);
    if (last !== undefined && !last.resume(offer.expected)) {
      this.close({ code: 'malformed', detail: 'HELLO with impossible numbers of frames' });
      return;
    }
    const number = last?.number ?? this.#decide(hello);
    if (!this.#dials) this.#sendHello(hello.node, number, last);
    const version = agreedVersion(offer) ?? 0;
    this.#features = version < 2 ? 0 : offer.features & FEATURES;
    last?.noteAttempt(offer.path, offer.attempt);
    this.#isResumed = last !== undefined;
    this.#ledger = last ?? this.#newLedger(number, hello);
    this.#state = 'up';
    this.#output.up(hello);
  }

  // The session of before, when both ends have it.
  #lastOf(offer: Offer, hello = this.#hello): Ledger | undefined {
    const last = hello && this.#self.lastLedger(hello.node);
    const isSame =
      offer.session === last?.number &&
      hello?.incarnation === last.peerIncarnation &&
      offer.incarnation === this.#self.incarnation;
    return isSame ? last : undefined;
  }

  #decide(hello: Hello): number {
    if (this.#dials) return hello.session;
    return Math.max(nextSession(this.#self.lastSession(hello.node)), hello.session);
  }

  #newLedger(number: number, { incarnation }: Hello): Ledger {
    const ledger = new Ledger(number, {
      peerIncarnation: incarnation,
      canResume: this.#canResume,
      canBond: (this.#features & Feature.BOND) !== 0,
    });
    // In version 1 the two HELLOs are the first frames of the session.
    if (!this.#canResume) {
      ledger.next(Lane.URGENT);
      ledger.take(Lane.URGENT, 0, 0);
    }
    return ledger;
  }

  #examine(hello: Hello, wanted: number, offer: Offer): Down | undefined {
    const self = this.#self;
    if (agreedVersion(offer) === undefined) {
      const name = this.#nameOf(hello.node);
      return { code: 'version', detail: versionConflict(name, offer) };
    }
    if (hello.abiVersion !== HELLO_CONSTANTS.abiVersion) {
      const detail = `ABI version ${hello.abiVersion}, not ${HELLO_CONSTANTS.abiVersion}`;
      return { code: 'abi', detail };
    }
    if (hello.chunkBytes < HELLO_CONSTANTS.chunkBytes) {
      return { code: 'abi', detail: `it takes frames of ${hello.chunkBytes} bytes at most` };
    }
    if (hello.dvs !== self.dvs) {
      return { code: 'dvs', detail: `node of DVS '${hello.dvs}', not '${self.dvs}'` };
    }
    if (wanted !== self.node) {
      return { code: 'node', detail: `this is node ${self.node}, not ${wanted}` };
    }
    const node = String(hello.node);
    if (this.#dials ? hello.node !== this.#peer : self.nameOf(hello.node) === undefined) {
      return { code: 'node', detail: `node ${node} is not expected here` };
    }
    const foreign = this.#examineSpeaker(hello.node);
    if (foreign !== undefined) return foreign;
    if (!this.#dials && hello.node >= self.node) {
      return { code: 'node', detail: `node ${node} does not dial node ${self.node}` };
    }
    const last = this.#lastOf(offer, hello);
    const least = last?.number ?? this.#proposed;
    if (hello.session < least || hello.session === 0 || hello.keepaliveMs > MINUTE_MS) {
      return { code: 'malformed', detail: 'HELLO with impossible numbers' };
    }
    return this.#dials ? undefined : this.#examinePath(hello.node, offer, last);
  }

  #examinePath(node: number, offer: Offer, last: Ledger | undefined): Down | undefined {
    if (last && offer.attempt <= last.attemptOn(offer.path)) {
      return { code: 'replaced', detail: 'a later connection was made for the session' };
    }
    const fault = this.#self.pathFault(node, offer.path, this.#transport);
    if (fault !== undefined || !offer.joins || last) return fault;
    return { code: 'over', detail: 'the session is over' };
  }

  #nameOf(node: number): string {
    const name = this.#self.nameOf(node);
    return name === undefined ? `node ${node}` : `node ${node} (${name})`;
  }

  // Whether the peer may speak for `node`.
  #examineSpeaker(node: number): Down | undefined {
    if (this.#proven === undefined) return undefined;
    const detail = impersonation(this.#proven, { node, name: this.#self.nameOf(node) });
    return detail === undefined ? undefined : { code: 'identity', detail };
  }

  #receiveUp(frame: Frame, nowMs: number): void {
    const { callId } = frame;
    switch (frame.kind) {
      case CommandKind.NONE:
        this.#sendControl(CommandKind.NONE | CommandKind.ACK, { callId });
        break;
      case CommandKind.NONE | CommandKind.ACK:
        if (callId === this.#ping && this.#pingMs !== undefined) {
          this.counters.rttMs = nowMs - this.#pingMs;
          this.#pingMs = undefined;
        }
        break;
      case CommandKind.HELLO:
        this.#receiveRenewal(decodeHello(frame.payload));
        break;
      case CommandKind.HELLO | CommandKind.ACK:
        this.#receiveTaken(frame);
        break;
      case CommandKind.SHUTDOWN: {
        const code = this.#canResume && callId === INTERRUPTED ? 'interrupted' : 'shutdown';
        this.#ledger.noteSilence();
        const text = shutdownText(frame.payload);
        this.#end({ code, detail: text === '' ? 'the peer left' : text });
        break;
      }
      default:
        this.#output.deliver(frame);
    }
  }

  #receiveTaken({ payload, callId: turn }: Frame): void {
    const ledger = this.#ledger;
    if (!this.#canResume || !ledger.acknowledge(numbersIn(payload))) {
      this.close({ code: 'malformed', detail: 'it acknowledges what was not sent' });
    } else if (turn > ledger.turn && !this.#dials) {
      ledger.turn = turn;
      this.#output.chosen();
    }
  }

  #receiveRenewal(hello: Hello | undefined): void {
    const before = this.#hello;
    if (hello?.node !== before?.node || hello?.incarnation !== before?.incarnation || !hello) {
      this.close({ code: 'malformed', detail: 'another HELLO on a link that is up' });
      return;
    }
    this.#hello = hello;
    this.#output.containersChanged(hello);
  }

  // Tells the peer how far its frames were taken, so that it keeps them no longer: over the
  // connection that brought them, which is sure to be alive. One that does not read hears it later.
  #tellTaken(when: 'now' | 'at the tick'): void {
    const isDue = this.#ledger.taker === this && this.#ledger.owesWord(when);
    if (isDue && !this.#output.isBusy) this.tellTaken();
  }

  #sendTaken(turn: number): void {
    this.#ledger.noteTold();
    const payload = bytesOf(this.#ledger.taken);
    this.#sendControl(CommandKind.HELLO | CommandKind.ACK, { callId: turn, payload });
  }

  /** Tells the peer once more how far its frames were taken; the last word may be lost. */
  tellTaken(): void {
    if (this.#state === 'up' && this.#canResume) this.#sendTaken(0);
  }

  #sendHello(peer: number, session: number, last?: Ledger): void {
    const payload = encodeHello({
      ...HELLO_CONSTANTS,
      node: this.#self.node,
      incarnation: this.#self.incarnation,
      session,
      keepaliveMs: this.#times.keepaliveMs,
      dvs: this.#self.dvs,
      voucherKey: this.voucherKey,
      containers: this.#self.containersFor(peer),
    });
    const offer = encodeOffer({
      ...WIRE_VERSIONS,
      features: FEATURES,
      attempt: last?.attemptOn(this.#path) ?? 0,
      session: last?.number ?? 0,
      expected: last?.taken ?? [],
      incarnation: last?.peerIncarnation ?? 0n,
      path: this.#path,
      joins: this.#joins,
    });
    this.#sendControl(CommandKind.HELLO, { peer, payload, message: offer });
  }

  #sendControl(
    kind: number,
    fields: { peer?: number; callId?: number; payload?: Uint8Array; message?: Uint8Array },
  ): void {
    const payload = fields.payload ?? NO_PAYLOAD;
    const command = new Uint8Array(CommandLayout.BYTES);
    const view = viewOf(command);
    view.setUint32(CommandLayout.kind, kind, true);
    view.setUint32(CommandLayout.sourceNode, this.#self.node, true);
    view.setUint32(CommandLayout.destinationNode, fields.peer ?? this.#peer ?? 0, true);
    view.setUint32(CommandLayout.callId, fields.callId ?? 0, true);
    view.setUint32(CommandLayout.payloadBytes, payload.length, true);
    if (fields.message) command.set(fields.message, CommandLayout.message);
    this.#output.send(kind, command, payload);
  }
}

// Of a SHUTDOWN's call: the session may go on over another connection.
const INTERRUPTED = 1;
// The session that this connection was for is over; another may begin.
const OVER = 2;
// Not HELLO: that other DCs are shared must reach the peer, in its place among the commands.
const PASSING: ReadonlySet<number> = new Set([
  CommandKind.NONE,
  CommandKind.NONE | CommandKind.ACK,
  CommandKind.HELLO | CommandKind.ACK,
  CommandKind.SHUTDOWN,
]);
const NO_PAYLOAD = new Uint8Array(0);
const MINUTE_MS = 60_000;

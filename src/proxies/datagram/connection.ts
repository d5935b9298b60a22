/**
 * One connection over datagrams: two lanes of bytes each way, in order and without loss, made of
 * packets that may be lost, doubled, reordered or damaged. It does no I/O: packets and the time go
 * in, packets and calls of ConnectionEvents come out.
 *
 *   opening -- first packet --> proving -- the proof is good --> up -- end, destroy, CLOSE --> over
 *      |                           |                              |                             ^
 *      +---------------------------+- nothing comes, or nothing is acknowledged, for deadMs ----+
 *
 * Only a sealed connection has anything to prove; the first bytes of its urgent lane are the proof.
 *
 * Two things end a connection that is quiet: no packet came for `deadMs`, or packets come and none
 * of ours was acknowledged for so long, which is how a path that is cut in one direction looks. A
 * side that has nothing to say sends a PING every `keepaliveMs`.
 *
 * An orderly end waits until all that was written has arrived, then sends CLOSE. For a short time
 * after it every packet of the peer is answered by CLOSE again, in case the first was lost.
 */
import type { PeerCertificate } from '../identity.ts';
import { Lane } from '../transport.ts';
import type { Bandwidth, Connection, ConnectionEvents } from '../transport.ts';
import type { LinkQuality, Refusal } from '../transport.ts';
import { Burst, flightBytes } from './burst.ts';
import { DeliveryMeter } from './delivery.ts';
import { BYTES_HEAD, CLOSE_REASONS, CloseCode, FIRST_WINDOW_BYTES } from './frames.ts';
import { FrameWriter, readFrames, WINDOW_BYTES, type FrameSink } from './frames.ts';
import { NewReno } from './new-reno.ts';
import { ANSWERED_BYTES_MIN, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN } from './packet.ts';
import { PacketKind, PacketLayout, writeHead, type PacketSeal } from './packet.ts';
import { viewOf } from '../frame.ts';
import { PathMtu } from './path-mtu.ts';
import type { Range } from './ranges.ts';
import { ReceiveLane, type Taken } from './receive-lane.ts';
import { ReceivedPackets } from './received.ts';
import { Recovery, type SentBytes, type SentPacket } from './recovery.ts';
import { SendLane } from './send-lane.ts';
import type { ConnectionOptions, DatagramSettings } from './settings.ts';

const LANES = Object.keys(Lane).length;

const PACKETS_IN_FLIGHT_MAX = 8192;
// After so many full packets of urgent bytes the other lane has one, so that none starves.
const URGENT_IN_ROW_MAX = 8;
// Of each lane, in a packet that has room for all else too.
const SHORT_BYTES = 384;
const TIMEOUTS_TO_COLLAPSE = 3;
// How long, and how often, a CLOSE is said again.
const CLOSING_MS = 500;
const CLOSES_MAX = 16;
const NO_BYTES = new Uint8Array(0);

type State = 'opening' | 'proving' | 'up' | 'over';

export class DatagramConnection implements Connection {
  readonly hasLanes: boolean = true;
  readonly remote: string;
  readonly id: number;
  readonly remoteId: number;
  readonly seal: PacketSeal;
  peer?: PeerCertificate;
  readonly #options: ConnectionOptions;
  readonly #settings: DatagramSettings;
  readonly #recovery = new Recovery();
  readonly #received = new ReceivedPackets();
  readonly #mtu: PathMtu;
  readonly #congestion: NewReno;
  readonly #out: readonly SendLane[];
  readonly #in: readonly ReceiveLane[];
  readonly #writer: FrameWriter;
  readonly #view: DataView;
  // What was built last, in the scratch; most packets are as long.
  #packet: Uint8Array = NO_BYTES;
  readonly #sink: FrameSink;
  readonly #delivery = new DeliveryMeter();
  #events: ConnectionEvents | undefined;
  #state: State = 'opening';
  #reason: string | undefined;
  #refusal: Refusal | undefined;
  #proveByMs = Infinity;
  #closes = 0;
  #closeCode: CloseCode = CloseCode.BROKEN;
  #forgetMs = Infinity;
  #endByMs = Infinity;
  #ending = false;
  #told = false;
  #nextNumber = 0;
  #nowMs: number;
  #ranMs: number;
  #heardMs: number;
  #askedMs: number;
  #pingDue = false;
  #probesDue = 0;
  #windowsLost = 0;
  #urgentInRow = 0;
  // Of the packet being read.
  #asks = false;
  #isFull = false;
  #packetsSent = 0;
  #packetsReceived = 0;
  #duplicates = 0;

  constructor(options: ConnectionOptions, nowMs: number) {
    this.#options = options;
    this.#settings = options.settings;
    this.remote = options.remote;
    this.id = options.id;
    this.remoteId = options.remoteId;
    this.seal = options.seal;
    this.#nowMs = this.#ranMs = this.#heardMs = this.#askedMs = nowMs;
    this.#writer = new FrameWriter(options.scratch);
    this.#view = viewOf(options.scratch);
    this.#mtu = new PathMtu(Math.min(this.#settings.datagramBytesMax, DATAGRAM_BYTES_MAX));
    this.#congestion = new NewReno(this.#mtu.bytes);
    const numbers = Array.from({ length: LANES }, (_, lane) => lane as Lane);
    this.#out = numbers.map(() => new SendLane(FIRST_WINDOW_BYTES));
    this.#in = numbers.map(
      (lane) =>
        new ReceiveLane(
          { space: () => this.#space(lane), received: (bytes) => this.#take(bytes, lane) },
          FIRST_WINDOW_BYTES,
          options.settings.windowBytesMax,
        ),
    );
    this.#sink = {
      ack: (ranges, delayMs) => this.#onAck(ranges, delayMs),
      bytes: (lane, offset, bytes) => this.#onBytes(lane, offset, bytes),
      window: (lane, offset) => this.#onWindow(lane, offset),
      ping: () => (this.#asks = true),
      close: (code) => this.#onClose(code),
    };
  }

  get bufferedBytes(): number {
    return this.#out.reduce((sum, lane) => sum + lane.bufferedBytes, 0);
  }

  get quality(): LinkQuality {
    const { rtt, counters } = this.#recovery;
    return {
      rttMs: rtt.isKnown ? rtt.smoothedMs : null,
      rttVariationMs: rtt.isKnown ? rtt.variationMs : null,
      rttMinMs: rtt.isKnown ? rtt.minMs : null,
      datagramBytes: this.#mtu.bytes,
      windowBytes: Math.round(this.#congestion.windowBytes),
      packetsSent: this.#packetsSent,
      packetsReceived: this.#packetsReceived,
      ...counters,
      duplicates: this.#duplicates,
      rekeys: this.seal.rekeys,
    };
  }

  get bandwidth(): Bandwidth | undefined {
    return this.#delivery.bandwidth;
  }

  /** Bytes that came and wait to be put in order. */
  get heldBytes(): number {
    return this.#in.reduce((sum, lane) => sum + lane.heldBytes, 0);
  }

  get state(): State {
    return this.#state;
  }

  /** Whether nothing is to be done any more, ever. */
  get isForgotten(): boolean {
    return this.#told && this.#nowMs >= this.#forgetMs;
  }

  // Connection

  write(bytes: Uint8Array, done: () => void, lane: Lane = Lane.URGENT): void {
    this.#out[lane]?.write(bytes, done);
    this.#options.wake();
  }

  end(): void {
    this.#ending = true;
    this.#options.wake();
  }

  destroy(): void {
    this.#close(CloseCode.BROKEN, 'closed here');
  }

  // For the endpoint

  /** The peer's address is known: `events` hears of it when both have proven themselves. */
  open(events: ConnectionEvents, nowMs: number): void {
    const { proving, settings } = this.#options;
    this.#nowMs = nowMs;
    this.#events = events;
    this.#heardMs = nowMs;
    // The accepter learns by it that its answer has arrived.
    this.#pingDue = true;
    if (proving === undefined) {
      this.#rise();
      return;
    }
    this.#state = 'proving';
    this.#proveByMs = nowMs + settings.handshakeMs;
    if (proving.isFirst) this.write(proving.proof(), () => undefined);
    this.#options.wake();
  }

  /** The accepter does not want this connection. */
  refuse(): void {
    this.#told = true;
    this.#close(CloseCode.REFUSED, 'refused here');
  }

  /** The peer does not know this connection any more. */
  reset(): void {
    this.#finish('ECONNRESET');
  }

  /** Whether the packet of this number came before, or is too old to tell; it is counted. */
  isReplay(number: number): boolean {
    const isReplay = this.#received.isDuplicate(number);
    if (isReplay) this.#duplicates++;
    return isReplay;
  }

  /** Takes a packet whose seal was opened, and which is no replay. */
  receive(number: number, packet: Uint8Array, nowMs: number): void {
    this.#nowMs = nowMs;
    this.#forgiveStall();
    if (this.#state === 'over') {
      // The peer has not heard of the end; it hears again, but not without end.
      if (this.#closes > 0 && this.#closes < CLOSES_MAX) this.#sendClose();
      return;
    }
    this.#packetsReceived++;
    this.#heardMs = nowMs;
    const end = packet.length - this.seal.tagBytes;
    const isWhole = readFrames(packet, this.#sink, PacketLayout.BYTES, end);
    const [asks, isFull] = [this.#asks, this.#isFull];
    this.#asks = this.#isFull = false;
    if (!isWhole && !isFull && !this.#isOver()) this.#close(CloseCode.MALFORMED, 'EPROTO');
    if (this.#isOver()) return;
    // What does not fit counts as lost: the peer sends it again.
    if (isWhole) this.#received.add(number, asks, nowMs);
    for (const lane of this.#in) lane.flow();
    for (const lane of this.#out) lane.release();
    if (this.#isPressed) this.#options.wake();
  }

  // Whether there is something to do now; most answers have nothing to send but a late ACK.
  get #isPressed(): boolean {
    return (
      this.#state !== 'up' ||
      this.#ending ||
      this.#pingDue ||
      this.#hasWindows ||
      this.#received.dueMs <= this.#nowMs ||
      this.#out.some((lane) => lane.hasBytes) ||
      this.#mtu.wanted(this.#nowMs) !== undefined
    );
  }

  /** A packet of `bytes` was too long for this host to send. */
  tooLong(bytes: number): void {
    if (this.#mtu.tooLong(bytes, this.#nowMs)) this.#useMtu();
    this.#options.wake();
  }

  /** Does what is due, and sends what may be sent. Returns whether there is more to send. */
  run(nowMs: number): boolean {
    this.#nowMs = nowMs;
    this.#forgiveStall();
    if (this.#isOpen) this.#checkTimes();
    if (!this.#isOver()) {
      for (const lane of this.#out) lane.release();
      this.#checkEnd();
    }
    // An owner that heard of its bytes, or the end itself, may have closed it.
    if (this.#isOver()) {
      this.#tellEnd();
      return false;
    }
    const burst = new Burst(this.#options.isShared());
    while (burst.hasRoom && this.#sendOne()) burst.sent(this.#packet.length);
    if (burst.hasRoom && !this.#out.some((lane) => lane.hasBytes)) {
      this.#delivery.limited(this.#recovery.bytesInFlight);
    }
    return !burst.hasRoom;
  }

  /** When `run` is to be called at the latest. */
  get wakeMs(): number {
    if (this.#state === 'over') return this.#told ? this.#forgetMs : this.#nowMs;
    if (this.#state === 'opening') return Infinity;
    return Math.min(
      this.#received.dueMs,
      this.#recovery.wakeMs,
      this.#mayFly ? this.#mtu.wakeMs : Infinity,
      this.#endByMs,
      this.#state === 'proving' ? this.#proveByMs : Infinity,
      this.#heardMs + this.#settings.deadMs,
      this.#pingDue ? Infinity : this.#askedMs + this.#settings.keepaliveMs,
    );
  }

  // Who the peer is

  #rise(peer?: PeerCertificate): void {
    if (peer) this.peer = peer;
    this.#state = 'up';
    this.#events?.opened(this);
    this.#options.wake();
  }

  // Until the peer has proven itself nothing of it but the proof is taken.
  #space(lane: Lane): Uint8Array {
    const { proving } = this.#options;
    if (this.#state === 'up') return this.#events?.space(lane) ?? NO_BYTES;
    const isProof = this.#state === 'proving' && lane === Lane.URGENT;
    return (isProof ? proving?.space() : undefined) ?? NO_BYTES;
  }

  #take(bytes: number, lane: Lane): void {
    const { proving } = this.#options;
    if (this.#state !== 'proving' || proving === undefined) {
      this.#events?.received(bytes, lane);
      return;
    }
    const verdict = proving.received(bytes);
    if (verdict === undefined) return;
    if (!('reason' in verdict)) {
      if (!proving.isFirst) this.write(proving.proof(), () => undefined);
      this.#rise(verdict);
      return;
    }
    // It hears that it is over, and not why: it may be anybody.
    this.#refusal = verdict.refusal;
    this.#close(CloseCode.BROKEN, verdict.reason);
  }

  // Frames of the peer

  #onAck(ranges: readonly Range[], delayMs: number): boolean {
    if ((ranges[0]?.end ?? 0) > this.#nextNumber) return false;
    const before = this.#recovery.bytesInFlight;
    const acked = this.#recovery.acknowledged(ranges, delayMs, this.#nowMs);
    this.#delivery.acked(acked, this.#nowMs, this.#recovery.rtt.smoothedMs);
    for (const packet of acked) {
      for (const { lane, offset, count } of packet.data) this.#out[lane]?.acked(offset, count);
      if (packet.acks >= 0) this.#received.known(packet.acks);
      this.seal.acknowledged(packet.number);
      const isLimit = before >= this.#congestion.windowBytes / 2;
      if (!packet.probe) this.#congestion.acked(packet.bytes, packet.sentMs, isLimit);
      if (this.#mtu.arrived(packet, this.#nowMs)) this.#useMtu();
    }
    this.#detectLoss();
    return true;
  }

  #onBytes(lane: number, offset: number, bytes: Uint8Array): boolean {
    this.#asks = true;
    const taken: Taken = this.#in[lane]?.take(offset, bytes) ?? 'beyond-window';
    if (taken === 'full') this.#isFull = true;
    return taken === 'taken';
  }

  #onWindow(lane: number, offset: number): boolean {
    this.#asks = true;
    this.#out[lane]?.widen(offset);
    return lane < LANES;
  }

  #onClose(code: number): boolean {
    this.#finish(CLOSE_REASONS[code] ?? 'ECONNRESET');
    return true;
  }

  // Time

  // A call that is late means that this process stood still; what the peer sent meanwhile is yet to
  // be read, and when it came is not known.
  #forgiveStall(): void {
    const stalledMs = this.#nowMs - this.#ranMs - this.#settings.keepaliveMs;
    this.#ranMs = this.#nowMs;
    if (stalledMs <= 0) return;
    this.#recovery.distrust(this.#nowMs);
    this.#heardMs = Math.min(this.#nowMs, this.#heardMs + stalledMs);
    this.#recovery.waitingSinceMs = Math.min(
      this.#nowMs,
      this.#recovery.waitingSinceMs + stalledMs,
    );
  }

  #checkTimes(): void {
    const { keepaliveMs, deadMs } = this.#settings;
    const nowMs = this.#nowMs;
    const silentSinceMs = Math.min(this.#heardMs, this.#recovery.waitingSinceMs);
    const isLate = this.#state === 'proving' && nowMs >= this.#proveByMs;
    const isSpent = this.#nextNumber >= this.#settings.packetsMax;
    if (isLate || nowMs >= silentSinceMs + deadMs) this.#close(CloseCode.TIME_OUT, 'ETIMEDOUT');
    else if (isSpent) this.#close(CloseCode.BROKEN, 'all packet numbers are used');
    if (this.#isOver()) return;
    this.#detectLoss();
    if (nowMs >= this.#recovery.timeoutMs) this.#onTimeout();
    if (nowMs >= this.#askedMs + keepaliveMs) this.#pingDue = true;
  }

  #checkEnd(): void {
    if (!this.#ending) return;
    if (this.#endByMs === Infinity) this.#endByMs = this.#nowMs + this.#settings.endMs;
    if (this.bufferedBytes === 0) this.#close(CloseCode.DONE, 'closed here');
    else if (this.#nowMs >= this.#endByMs) this.#close(CloseCode.BROKEN, 'closed here');
  }

  #detectLoss(): void {
    for (const packet of this.#recovery.lost(this.#nowMs)) {
      this.#sendAgain(packet);
      if (!packet.probe) this.#congestion.lost(packet.sentMs, this.#nowMs);
      if (this.#mtu.lost(packet, this.#nowMs)) this.#useMtu();
    }
  }

  #onTimeout(): void {
    this.#recovery.timedOut(this.#nowMs);
    if (this.#recovery.timeoutsInRow >= TIMEOUTS_TO_COLLAPSE) this.#congestion.collapse();
    this.#probesDue = 2;
    this.#pingDue = true;
    for (const packet of this.#recovery.oldest(this.#probesDue)) this.#sendAgain(packet);
  }

  #sendAgain(packet: SentPacket): void {
    for (const { lane, offset, count } of packet.data) this.#out[lane]?.again(offset, count);
    this.#windowsLost |= packet.windows;
  }

  #useMtu(): void {
    this.#congestion.setPacketBytes(this.#mtu.bytes);
  }

  // The end

  #isOver(): boolean {
    return this.#state === 'over';
  }

  get #isOpen(): boolean {
    return this.#state === 'proving' || this.#state === 'up';
  }

  // Ends the connection and tells the peer.
  #close(code: CloseCode, reason: string): void {
    if (this.#state === 'over') return;
    this.#sendClose(code);
    this.#finish(reason);
    this.#forgetMs = this.#nowMs + CLOSING_MS;
  }

  #sendClose(code: CloseCode = this.#closeCode): void {
    this.#closes++;
    this.#closeCode = code;
    this.#begin();
    this.#writer.close(code);
    this.#finishPacket();
  }

  #finish(reason: string): void {
    if (this.#state === 'over') return;
    this.#state = 'over';
    this.#reason = reason;
    this.#forgetMs = this.#nowMs;
    this.#options.wake();
  }

  // Gives all buffers back, then says that it is over.
  #tellEnd(): void {
    this.#recovery.clear();
    for (const lane of this.#out) lane.abandon();
    for (const lane of this.#in) lane.abandon();
    if (this.#told) return;
    this.#told = true;
    this.#events?.closed(this.#reason ?? 'ECONNRESET', this.#refusal);
  }

  // Packets

  #begin(bytes: number = DATAGRAM_BYTES_MIN): void {
    this.#writer.begin(PacketLayout.BYTES, bytes - this.seal.tagBytes);
  }

  // Seals and sends what was written; returns its number.
  #finishPacket(): number {
    const number = this.#nextNumber++;
    const bytes = this.#writer.at + this.seal.tagBytes;
    if (this.#packet.length !== bytes) this.#packet = this.#options.scratch.subarray(0, bytes);
    writeHead(this.#view, { kind: PacketKind.DATA, id: this.remoteId, number });
    this.seal.seal(this.#packet, number, this.#nowMs);
    this.#packetsSent++;
    this.#options.send(this.#packet);
    return number;
  }

  get #mayFly(): boolean {
    const { bytesInFlight, packetsInFlight, rtt } = this.#recovery;
    if (this.#probesDue > 0) return true;
    const bytes = flightBytes(this.#congestion.windowBytes, rtt.minMs, this.#options.isShared());
    return bytesInFlight < bytes && packetsInFlight < PACKETS_IN_FLIGHT_MAX;
  }

  // Sends one packet, if there is anything to send. Returns whether it did.
  #sendOne(): boolean {
    const mayFly = this.#mayFly && this.#isOpen;
    // A probe goes before what waits, since long packets are what makes that go quickly; the first
    // packet of a dialer is one that is sure to arrive.
    const probe = mayFly && this.#nextNumber > 0 ? this.#mtu.wanted(this.#nowMs) : undefined;
    const wanted = this.#pingDue || this.#hasWindows || this.#out.some((lane) => lane.hasBytes);
    if (probe !== undefined) this.#sendProbe(probe);
    else if (mayFly && wanted) this.#sendFrames();
    else if (this.#received.dueMs <= this.#nowMs) this.#sendAck();
    else return false;
    return true;
  }

  #sendFrames(): void {
    // After a time-out the shortest goes, which passes where longer ones do not any more.
    this.#begin(this.#probesDue > 0 ? DATAGRAM_BYTES_MIN : this.#mtu.bytes);
    // The peer acts on what comes first, and somebody waits for a call, but for no ACK.
    const isShort = this.#out.every((lane) => lane.newBytes <= SHORT_BYTES);
    const early = isShort ? this.#writeBytes() : undefined;
    const acks = this.#received.write(this.#writer, this.#nowMs);
    const windows = this.#hasWindows ? this.#writeWindows() : 0;
    if (this.#pingDue) this.#writer.ping();
    this.#pingDue = false;
    const data = early ?? this.#writeBytes();
    this.#writer.pad(ANSWERED_BYTES_MIN - this.seal.tagBytes);
    if (this.#probesDue > 0) this.#probesDue--;
    this.#track(false, data, windows, acks);
  }

  #sendAck(): void {
    this.#begin();
    this.#received.write(this.#writer, this.#nowMs);
    this.#finishPacket();
  }

  #sendProbe(bytes: number): void {
    this.#begin(bytes);
    this.#writer.ping();
    this.#writer.pad();
    this.#mtu.probeSent();
    this.#track(true, [], 0, -1);
  }

  #track(probe: boolean, data: readonly SentBytes[], windows: number, acks: number): void {
    const sentMs = (this.#askedMs = this.#nowMs);
    const number = this.#finishPacket();
    const bytes = this.#packet.length;
    const delivery = this.#delivery.sent(sentMs, this.#recovery.packetsInFlight === 0);
    this.#recovery.sent({ number, bytes, sentMs, probe, data, windows, acks, delivery });
  }

  get #hasWindows(): boolean {
    return this.#windowsLost !== 0 || this.#in.some((lane) => lane.hasWindow);
  }

  #writeWindows(): number {
    let told = 0;
    this.#in.forEach((lane, index) => {
      const bit = 1 << index;
      if (!lane.hasWindow && (this.#windowsLost & bit) === 0) return;
      if (this.#writer.room < WINDOW_BYTES) return;
      this.#writer.window(index, lane.tell(this.#nowMs, this.#recovery.rtt.smoothedMs));
      told |= bit;
    });
    this.#windowsLost &= ~told;
    return told;
  }

  #writeBytes(): SentBytes[] {
    const data: SentBytes[] = [];
    const bulkFirst = this.#urgentInRow >= URGENT_IN_ROW_MAX;
    this.#writeLane(bulkFirst ? Lane.BULK : Lane.URGENT, data);
    this.#writeLane(bulkFirst ? Lane.URGENT : Lane.BULK, data);
    const isUrgent = data.length > 0 && data.every(({ lane }) => lane === Lane.URGENT);
    this.#urgentInRow = isUrgent ? this.#urgentInRow + 1 : 0;
    return data;
  }

  #writeLane(lane: number, data: SentBytes[]): void {
    const out = this.#out[lane];
    while (out && this.#writer.room > BYTES_HEAD) {
      const part = out.take(this.#writer.room - BYTES_HEAD);
      if (part === undefined) return;
      const at = this.#writer.bytes(lane, part.offset, part.count);
      out.copy(part.offset, this.#options.scratch, at, this.#writer.at);
      data.push({ lane, offset: part.offset, count: part.count });
    }
  }
}

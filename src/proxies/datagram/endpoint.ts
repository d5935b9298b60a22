/**
 * Connections over one socket: who is let in, and which packet belongs to whom. It does no I/O:
 * datagrams and the time go in, datagrams and calls of ConnectionEvents come out.
 *
 * A dialer's address is taken for real only when it brings back a cookie that was sent there, so a
 * forged one costs neither memory nor an answer longer than the question. A cookie is a keyed hash
 * of address, connection id and minute, as in RFC 4987, section 3.6, so nothing is kept for it. An
 * accepter that has sent ACCEPT hands the connection on when the first packet of the dialer comes,
 * and forgets it when none comes; how many wait for that is bounded, the oldest goes.
 */
import { Admission } from '../admission.ts';
import { viewOf } from '../frame.ts';
import type { Accept, ConnectionEvents } from '../transport.ts';
import { DatagramConnection } from './connection.ts';
import { Dialling } from './dialling.ts';
import { ANSWERED_BYTES_MIN, COOKIE_BYTES, PacketKind, PACKET_VERSION } from './packet.ts';
import { decodeHandshake, encodeHandshake, PacketLayout, readHead } from './packet.ts';
import { DATAGRAM_BYTES_MAX, readUint48, RefuseCode } from './packet.ts';
import type { Handshake, HeadFault, PacketHead, PacketSeal } from './packet.ts';
import { EpochSeal } from './epoch-seal.ts';
import { Suite, type Agreement, type Security } from './security.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import type { ConnectionOptions, DatagramSettings } from './settings.ts';

const OPENING_MAX = 256;
const COOKIE_LIFE_MS = 10_000;
const ID_LIMIT = 2 ** 48;
const never = (): boolean => false;

export interface EndpointOptions {
  /** Protects packets of the handshake, and all of them in plain text. */
  seal: PacketSeal;
  /** Seals connections; without, they are in plain text. */
  security?: Security | undefined;
  /** Sends a datagram, which is good during the call. */
  send: (to: string, datagram: Uint8Array) => void;
  /** `run` is to be called soon, but not from within this call. */
  wake: () => void;
  /** Whether several use the program that has this endpoint; never if absent. */
  isShared?: () => boolean;
  /** A keyed hash, at least COOKIE_BYTES long; the key is this endpoint's secret. */
  hash: (bytes: Uint8Array) => Uint8Array;
  /** A number from 0 to below 1, not to be guessed. */
  random: () => number;
  settings?: Partial<DatagramSettings>;
  /** Counted in, together with other endpoints of the transport. */
  counters?: EndpointCounters;
  /** How often a host may begin a handshake; shared with others that take them. */
  admission?: Admission | undefined;
}

/** Datagrams that reached no connection, by reason. */
export type EndpointCounters = Record<
  | HeadFault
  | 'damaged'
  | 'malformed'
  | 'unknown'
  | 'address'
  | 'cookie'
  | 'refused'
  | 'suite'
  | 'rate',
  number
>;

export function newCounters(): EndpointCounters {
  return {
    short: 0,
    magic: 0,
    version: 0,
    type: 0,
    damaged: 0,
    malformed: 0,
    unknown: 0,
    address: 0,
    cookie: 0,
    refused: 0,
    suite: 0,
    rate: 0,
  };
}

/** A connection that was accepted, until the first packet of the dialer. */
interface Opening {
  connection: DatagramConnection;
  /** The ACCEPT packet. */
  answer: Uint8Array;
  sinceMs: number;
}

export class DatagramEndpoint {
  readonly counters: EndpointCounters;
  readonly #options: EndpointOptions;
  readonly #settings: DatagramSettings;
  readonly #connections = new Map<number, DatagramConnection>();
  readonly #remoteIds = new Map<number, DatagramConnection>();
  readonly #dialling = new Map<number, Dialling>();
  /** Accepted and not confirmed yet, oldest first, by address and id of the dialer. */
  readonly #opening = new Map<string, Opening>();
  readonly #admission: Admission;
  #due = new Set<DatagramConnection>();
  // Of the turn that is going on.
  #running = new Set<DatagramConnection>();
  readonly #scratch = new Uint8Array(DATAGRAM_BYTES_MAX);
  #accept: Accept | undefined;
  // The time that the machines see never goes back, whatever the clock does.
  #nowMs = 0;
  #clockMs: number;

  constructor(options: EndpointOptions, nowMs: number) {
    this.#options = options;
    this.#settings = { ...DEFAULT_SETTINGS, ...options.settings };
    this.counters = options.counters ?? newCounters();
    this.#admission = options.admission ?? new Admission();
    this.#clockMs = nowMs;
  }

  /** Connections that exist, the ones that open or close included. */
  get size(): number {
    return this.#connections.size + this.#dialling.size;
  }

  /** Bytes held for reordering, of all connections. */
  get heldBytes(): number {
    return [...this.#connections.values()].reduce((sum, one) => sum + one.heldBytes, 0);
  }

  /** Takes connections; undefined takes no more, and those that exist go on. */
  listen(accept: Accept | undefined): void {
    this.#accept = accept;
  }

  /** Makes a connection to `to`. The function returned calls it off, or breaks it. */
  dial(to: string, events: ConnectionEvents, nowMs: number): () => void {
    this.#pass(nowMs);
    const id = this.#newId();
    const { handshakeMs } = this.#settings;
    const share = this.#options.security?.begin();
    const dialling = new Dialling({ id, to, events, share, handshakeMs }, this.#nowMs);
    this.#dialling.set(id, dialling);
    this.#options.wake();
    return () => {
      dialling.fail('called off');
      this.#connections.get(id)?.destroy();
      this.#options.wake();
    };
  }

  /** The network says that nobody is at the other end; counts only before there is a connection. */
  unreachable(reason: string): void {
    for (const dialling of this.#dialling.values()) dialling.fail(reason);
    this.#options.wake();
  }

  /** A datagram to `to` was too long for this host to send. */
  tooLong(to: string, bytes: number): void {
    for (const connection of this.#connections.values()) {
      if (connection.remote === to) connection.tooLong(bytes);
    }
  }

  /** Takes a datagram. Its bytes may be changed, and are not kept. */
  receive(datagram: Uint8Array, from: string, nowMs: number): void {
    this.#pass(nowMs);
    const { seal } = this.#options;
    const head = readHead(datagram, seal.tagBytes);
    if (typeof head === 'string') {
      this.counters[head]++;
      if (head === 'version') this.#refuseVersion(datagram, from);
      return;
    }
    if (head.kind === PacketKind.DATA) {
      this.#receiveData(head, datagram, from);
      return;
    }
    if (!seal.open(datagram, head.number, this.#nowMs)) {
      this.counters.damaged++;
      return;
    }
    const packet = decodeHandshake(head, datagram, seal.tagBytes);
    if (packet === undefined) this.counters.malformed++;
    else this.#receiveHandshake(packet, datagram, from);
  }

  /** Does all that is due. */
  run(nowMs: number): void {
    this.#pass(nowMs);
    if (this.#dialling.size > 0 || this.#opening.size > 0) this.#runHandshakes();
    for (const connection of this.#connections.values()) {
      if (this.#due.has(connection)) continue;
      if (connection.wakeMs <= this.#nowMs) this.#due.add(connection);
    }
    [this.#due, this.#running] = [this.#running, this.#due];
    for (const connection of this.#running) this.#runOne(connection);
    this.#running.clear();
  }

  #runHandshakes(): void {
    for (const [id, dialling] of this.#dialling) this.#runDialling(id, dialling);
    for (const [key, { sinceMs, connection }] of this.#opening) {
      if (this.#nowMs < sinceMs + this.#settings.handshakeMs) break;
      this.#forgetOpening(key, connection);
    }
  }

  #runOne(connection: DatagramConnection): void {
    if (connection.run(this.#nowMs)) this.#wake(connection);
    if (connection.isForgotten) this.#forget(connection);
  }

  /** How long from now until `run` is to be called; Infinity when nothing is to come. */
  waitMs(nowMs: number): number {
    this.#pass(nowMs);
    let wakeMs = this.#due.size > 0 ? this.#nowMs : Infinity;
    for (const connection of this.#connections.values()) {
      wakeMs = Math.min(wakeMs, connection.wakeMs);
    }
    if (this.#dialling.size > 0 || this.#opening.size > 0) {
      wakeMs = Math.min(wakeMs, this.#handshakesWakeMs());
    }
    // Rounded up: sums of times may fall short of what is due by less than a clock can tell.
    return wakeMs <= this.#nowMs ? 0 : Math.ceil((wakeMs - this.#nowMs) * 64) / 64;
  }

  #handshakesWakeMs(): number {
    let wakeMs = Infinity;
    for (const dialling of this.#dialling.values()) wakeMs = Math.min(wakeMs, dialling.wakeMs);
    for (const { sinceMs } of this.#opening.values()) {
      return Math.min(wakeMs, sinceMs + this.#settings.handshakeMs);
    }
    return wakeMs;
  }

  #pass(nowMs: number): void {
    this.#nowMs += Math.max(0, nowMs - this.#clockMs);
    this.#clockMs = nowMs;
  }

  #wake(connection: DatagramConnection): void {
    this.#due.add(connection);
    this.#options.wake();
  }

  #newId(): number {
    for (;;) {
      const id = 1 + Math.floor(this.#options.random() * (ID_LIMIT - 1));
      if (!this.#connections.has(id) && !this.#dialling.has(id)) return id;
    }
  }

  get #suite(): Suite {
    return this.#options.security ? Suite.SEALED : Suite.PLAIN;
  }

  #encode(packet: Handshake): Uint8Array {
    return encodeHandshake({ ...packet, suite: this.#suite }, this.#options.seal);
  }

  #say(to: string, packet: Handshake): void {
    this.#options.send(to, this.#encode(packet));
  }

  #refuse(from: string, id: number, code: number, detail = 0): void {
    const [kind, value] = [PacketKind.REFUSE, 0] as const;
    this.#say(from, { kind, to: id, value, detail: code * 256 + detail });
  }

  // A stranger's version is answered by ours, in a packet whose form does not change.
  #refuseVersion(datagram: Uint8Array, from: string): void {
    if (datagram[PacketLayout.kind] !== PacketKind.INIT || !this.#accept) return;
    if (datagram.length < ANSWERED_BYTES_MIN) return;
    const id = readUint48(viewOf(datagram), PacketLayout.BYTES);
    this.#refuse(from, id, RefuseCode.VERSION, PACKET_VERSION);
  }

  #receiveHandshake(packet: Handshake, datagram: Uint8Array, from: string): void {
    switch (packet.kind) {
      case PacketKind.INIT:
        if (this.#isWelcome(packet, from)) this.#sendCookie(packet, from);
        break;
      case PacketKind.OPEN:
        this.#receiveOpen(packet, datagram, from);
        break;
      case PacketKind.RESET: {
        const connection = this.#remoteIds.get(packet.value);
        // Anyone on the path could say so of a sealed connection, whose packets have its id.
        const isBelieved = connection?.remote === from && !this.#options.security;
        if (isBelieved) connection.reset();
        else this.counters.unknown++;
        break;
      }
      case PacketKind.COOKIE:
      case PacketKind.ACCEPT:
      case PacketKind.REFUSE: {
        const dialling = this.#dialling.get(packet.to);
        if (dialling?.to !== from) this.counters.unknown++;
        else if (packet.kind === PacketKind.ACCEPT) this.#establish(dialling, packet, datagram);
        else if (dialling.receive(packet)) this.#options.wake();
        break;
      }
      case PacketKind.DATA:
        break;
    }
  }

  #isWelcome({ value: id }: Handshake, from: string): boolean {
    if (this.#accept) return true;
    this.counters.refused++;
    if (id > 0) this.#refuse(from, id, RefuseCode.NOT_LISTENING);
    return false;
  }

  #cookie(from: string, id: number, madeMs: number): Uint8Array {
    const text = new TextEncoder().encode(`${from} ${id} ${madeMs}`);
    return this.#options.hash(text).subarray(0, COOKIE_BYTES);
  }

  #sendCookie({ value: id }: Handshake, from: string): void {
    const madeMs = Math.floor(this.#nowMs);
    const cookie = this.#cookie(from, id, madeMs);
    this.#say(from, { kind: PacketKind.COOKIE, to: id, value: madeMs, cookie });
  }

  #receiveOpen(packet: Handshake, datagram: Uint8Array, from: string): void {
    const { value: dialerId, detail: madeMs = 0, cookie = new Uint8Array(0) } = packet;
    const ageMs = this.#nowMs - madeMs;
    const isFresh = ageMs >= 0 && ageMs <= COOKIE_LIFE_MS;
    if (!isFresh || !isSame(cookie, this.#cookie(from, dialerId, madeMs))) {
      this.counters.cookie++;
      return;
    }
    if (!this.#isWelcome(packet, from)) return;
    const key = `${from} ${dialerId}`;
    const opening = this.#opening.get(key);
    if (opening) {
      this.#options.send(from, opening.answer);
      return;
    }
    // An OPEN that comes late: the connection is up already.
    if (this.#remoteIds.get(dialerId)?.remote === from) return;
    if (!this.#admission.allows(hostOf(from), this.#nowMs)) {
      this.counters.rate++;
    } else if (packet.suite !== this.#suite) {
      this.#refuseSuite(dialerId, from);
    } else {
      this.#admit(key, packet, datagram, from);
    }
  }

  // Both ends tell their owners: the address is real, and somebody set one of them up wrongly.
  #refuseSuite(dialerId: number, from: string): void {
    this.counters.suite++;
    this.#refuse(from, dialerId, RefuseCode.SUITE, this.#suite);
    const reason = this.#options.security ? PLAIN_DIALER : SEALED_DIALER;
    this.#accept?.(() => undefined)?.closed(`${from}: ${reason}`, { code: 'security' });
  }

  #admit(key: string, packet: Handshake, open: Uint8Array, from: string): void {
    const { security } = this.#options;
    const { value: dialerId, share: peerShare = new Uint8Array(0) } = packet;
    const id = this.#newId();
    const own = security?.begin();
    const answer = this.#encode({
      kind: PacketKind.ACCEPT,
      to: dialerId,
      value: id,
      ...(own && { share: own.bytes }),
    });
    const agreement = own?.agree('accepter', peerShare, { open, accept: answer });
    if (security && !agreement) {
      this.counters.malformed++;
      return;
    }
    for (const [oldest, { connection }] of this.#opening) {
      if (this.#opening.size < OPENING_MAX) break;
      this.#forgetOpening(oldest, connection);
    }
    const connection = this.#newConnection(id, dialerId, from, agreement);
    this.#opening.set(key, { connection, answer, sinceMs: this.#nowMs });
    this.#options.send(from, answer);
  }

  #newConnection(
    id: number,
    remoteId: number,
    remote: string,
    agreement: Agreement | undefined,
  ): DatagramConnection {
    const { send } = this.#options;
    const connection: DatagramConnection = new DatagramConnection(
      {
        id,
        remoteId,
        remote,
        ...this.#protection(agreement),
        settings: this.#settings,
        scratch: this.#scratch,
        send: (packet) => {
          send(remote, packet);
        },
        wake: () => {
          this.#wake(connection);
        },
        isShared: this.#options.isShared ?? never,
      },
      this.#nowMs,
    );
    this.#connections.set(id, connection);
    this.#remoteIds.set(remoteId, connection);
    return connection;
  }

  #protection(agreement: Agreement | undefined): Pick<ConnectionOptions, 'seal' | 'proving'> {
    if (!agreement) return { seal: this.#options.seal };
    const { send, receive, proving } = agreement;
    return { seal: new EpochSeal(send, receive, this.#settings, this.#nowMs), proving };
  }

  #receiveData(head: PacketHead, datagram: Uint8Array, from: string): void {
    const connection = this.#connections.get(head.id);
    if (connection === undefined) {
      this.counters.unknown++;
      this.#answerUnknown(head, datagram, from);
      return;
    }
    if (connection.remote !== from) {
      this.counters.address++;
      return;
    }
    // Before the seal is looked at, so that packets which are sent again and again cost nothing.
    if (connection.isReplay(head.number)) return;
    const { seal } = connection;
    if (!seal.open(datagram, head.number, this.#nowMs)) {
      this.counters.damaged++;
      return;
    }
    if (connection.state === 'opening' && !this.#confirm(connection)) return;
    connection.receive(head.number, datagram, this.#nowMs);
  }

  // Only a packet that is whole is worth an answer, which is shorter than any of them. Of a sealed
  // one that cannot be known, and its sender would not believe the answer.
  #answerUnknown({ id, number }: PacketHead, datagram: Uint8Array, from: string): void {
    const { seal, security } = this.#options;
    if (security || datagram.length < ANSWERED_BYTES_MIN || this.#dialling.has(id)) return;
    if (!seal.open(datagram, number, this.#nowMs)) return;
    this.#say(from, { kind: PacketKind.RESET, to: 0, value: id });
  }

  // The first packet of a dialer: the connection is up, unless its owner does not want it.
  #confirm(connection: DatagramConnection): boolean {
    this.#opening.delete(`${connection.remote} ${connection.remoteId}`);
    const events = this.#accept?.(() => connection.destroy());
    if (events) connection.open(events, this.#nowMs);
    else connection.refuse();
    return events !== undefined;
  }

  #establish(dialling: Dialling, packet: Handshake, accept: Uint8Array): void {
    const { share, open, id, to, events } = dialling;
    if (dialling.reason !== undefined || open === undefined) return;
    const peerShare = packet.share ?? new Uint8Array(0);
    const agreement = share?.agree('dialer', peerShare, { open: this.#encode(open), accept });
    if (packet.suite !== this.#suite || (share && !agreement)) {
      this.counters.malformed++;
      return;
    }
    this.#dialling.delete(id);
    const connection = this.#newConnection(id, packet.value, to, agreement);
    connection.open(events, this.#nowMs);
  }

  #runDialling(id: number, dialling: Dialling): void {
    dialling.run(this.#nowMs, (packet) => {
      this.#say(dialling.to, packet);
    });
    if (dialling.reason === undefined) return;
    this.#dialling.delete(id);
    dialling.events.closed(dialling.reason, dialling.refusal);
  }

  #forgetOpening(key: string, connection: DatagramConnection): void {
    this.#opening.delete(key);
    this.#forget(connection);
  }

  #forget(connection: DatagramConnection): void {
    this.#connections.delete(connection.id);
    if (this.#remoteIds.get(connection.remoteId) === connection) {
      this.#remoteIds.delete(connection.remoteId);
    }
    this.#due.delete(connection);
    connection.seal.erase();
  }
}

const PLAIN_DIALER = 'the peer speaks plain text, as after --insecure; this node is sealed';
const SEALED_DIALER = 'the peer takes sealed links only, and this node was started with --insecure';

/** The host in `host:port`. */
function hostOf(name: string): string {
  const port = name.lastIndexOf(':');
  return port < 0 ? name : name.slice(0, port);
}

// In a time that does not depend on where they differ.
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

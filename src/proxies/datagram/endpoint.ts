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
import { viewOf } from '../frame.ts';
import type { Accept, ConnectionEvents } from '../transport.ts';
import { DatagramConnection, DEFAULT_SETTINGS, type DatagramSettings } from './connection.ts';
import { Dialling } from './dialling.ts';
import { ANSWERED_BYTES_MIN, COOKIE_BYTES, PacketKind, PACKET_VERSION } from './packet.ts';
import { decodeHandshake, encodeHandshake, PacketLayout, readHead } from './packet.ts';
import { DATAGRAM_BYTES_MAX, readUint48, RefuseCode } from './packet.ts';
import type { Handshake, HeadFault, PacketHead, PacketSeal } from './packet.ts';

const OPENING_MAX = 256;
const COOKIE_LIFE_MS = 10_000;
const ID_LIMIT = 2 ** 48;

export interface EndpointOptions {
  /** Protects the packets; plain as long as there are no keys. */
  seal: PacketSeal;
  /** Sends a datagram, which is good during the call. */
  send: (to: string, datagram: Uint8Array) => void;
  /** `run` is to be called soon, but not from within this call. */
  wake: () => void;
  /** A keyed hash, at least COOKIE_BYTES long; the key is this endpoint's secret. */
  hash: (bytes: Uint8Array) => Uint8Array;
  /** A number from 0 to below 1, not to be guessed. */
  random: () => number;
  settings?: Partial<DatagramSettings>;
  /** Counted in, together with other endpoints of the transport. */
  counters?: EndpointCounters;
}

/** Datagrams that reached no connection, by reason. */
export type EndpointCounters = Record<
  HeadFault | 'damaged' | 'malformed' | 'unknown' | 'address' | 'cookie' | 'refused',
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
  };
}

export class DatagramEndpoint {
  readonly counters: EndpointCounters;
  readonly #options: EndpointOptions;
  readonly #settings: DatagramSettings;
  readonly #connections = new Map<number, DatagramConnection>();
  readonly #remoteIds = new Map<number, DatagramConnection>();
  readonly #dialling = new Map<number, Dialling>();
  /** Accepted and not confirmed yet, oldest first, by address and id of the dialer. */
  readonly #opening = new Map<string, { connection: DatagramConnection; sinceMs: number }>();
  readonly #due = new Set<DatagramConnection>();
  readonly #scratch = new Uint8Array(DATAGRAM_BYTES_MAX);
  #accept: Accept | undefined;
  // The time that the machines see never goes back, whatever the clock does.
  #nowMs = 0;
  #clockMs: number;

  constructor(options: EndpointOptions, nowMs: number) {
    this.#options = options;
    this.#settings = { ...DEFAULT_SETTINGS, ...options.settings };
    this.counters = options.counters ?? newCounters();
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
    const dialling = new Dialling({ id, to, events, handshakeMs }, this.#nowMs);
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
    if (!seal.open(datagram, head.number)) {
      this.counters.damaged++;
      return;
    }
    const packet = decodeHandshake(head, datagram, seal.tagBytes);
    if (packet === undefined) this.counters.malformed++;
    else this.#receiveHandshake(packet, from);
  }

  /** Does all that is due. */
  run(nowMs: number): void {
    this.#pass(nowMs);
    for (const [id, dialling] of this.#dialling) this.#runDialling(id, dialling);
    for (const [key, { sinceMs, connection }] of this.#opening) {
      if (this.#nowMs < sinceMs + this.#settings.handshakeMs) break;
      this.#forgetOpening(key, connection);
    }
    for (const connection of this.#connections.values()) {
      if (connection.wakeMs <= this.#nowMs) this.#due.add(connection);
    }
    const due = [...this.#due];
    this.#due.clear();
    for (const connection of due) {
      if (connection.run(this.#nowMs)) this.#wake(connection);
      if (connection.isForgotten) this.#forget(connection);
    }
  }

  /** How long from now until `run` is to be called; Infinity when nothing is to come. */
  waitMs(nowMs: number): number {
    this.#pass(nowMs);
    let wakeMs = this.#due.size > 0 ? this.#nowMs : Infinity;
    for (const dialling of this.#dialling.values()) wakeMs = Math.min(wakeMs, dialling.wakeMs);
    for (const connection of this.#connections.values()) {
      wakeMs = Math.min(wakeMs, connection.wakeMs);
    }
    for (const { sinceMs } of this.#opening.values()) {
      wakeMs = Math.min(wakeMs, sinceMs + this.#settings.handshakeMs);
      break;
    }
    // Rounded up: sums of times may fall short of what is due by less than a clock can tell.
    return wakeMs <= this.#nowMs ? 0 : Math.ceil((wakeMs - this.#nowMs) * 64) / 64;
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

  #say(to: string, packet: Handshake): void {
    this.#options.send(to, encodeHandshake(packet, this.#options.seal));
  }

  // A stranger's version is answered by ours, in a packet whose form does not change.
  #refuseVersion(datagram: Uint8Array, from: string): void {
    if (datagram[PacketLayout.kind] !== PacketKind.INIT || !this.#accept) return;
    if (datagram.length < ANSWERED_BYTES_MIN) return;
    const detail = RefuseCode.VERSION * 256 + PACKET_VERSION;
    const to = readUint48(viewOf(datagram), PacketLayout.BYTES);
    this.#say(from, { kind: PacketKind.REFUSE, to, value: 0, detail });
  }

  #receiveHandshake(packet: Handshake, from: string): void {
    switch (packet.kind) {
      case PacketKind.INIT:
        if (this.#isWelcome(packet, from)) this.#sendCookie(packet, from);
        break;
      case PacketKind.OPEN:
        this.#receiveOpen(packet, from);
        break;
      case PacketKind.RESET: {
        const connection = this.#remoteIds.get(packet.value);
        if (connection?.remote === from) connection.reset();
        else this.counters.unknown++;
        break;
      }
      case PacketKind.COOKIE:
      case PacketKind.ACCEPT:
      case PacketKind.REFUSE: {
        const dialling = this.#dialling.get(packet.to);
        if (dialling?.to !== from) this.counters.unknown++;
        else if (packet.kind === PacketKind.ACCEPT) this.#establish(dialling, packet.value);
        else if (dialling.receive(packet)) this.#options.wake();
        break;
      }
      case PacketKind.DATA:
        break;
    }
  }

  #isWelcome(packet: Handshake, from: string): boolean {
    if (this.#accept) return true;
    this.counters.refused++;
    const { value } = packet;
    const detail = RefuseCode.NOT_LISTENING * 256;
    if (value > 0) this.#say(from, { kind: PacketKind.REFUSE, to: value, value: 0, detail });
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

  #receiveOpen(packet: Handshake, from: string): void {
    const { value: dialerId, detail: madeMs = 0, cookie = new Uint8Array(0) } = packet;
    const ageMs = this.#nowMs - madeMs;
    const isFresh = ageMs >= 0 && ageMs <= COOKIE_LIFE_MS;
    if (!isFresh || !isSame(cookie, this.#cookie(from, dialerId, madeMs))) {
      this.counters.cookie++;
      return;
    }
    if (!this.#isWelcome(packet, from)) return;
    const key = `${from} ${dialerId}`;
    let connection = this.#opening.get(key)?.connection;
    if (connection === undefined) {
      const known = this.#remoteIds.get(dialerId);
      // An OPEN that comes late: the connection is up already.
      if (known?.remote === from) return;
      connection = this.#admit(key, from, dialerId);
    }
    const value = connection.id;
    this.#say(from, { kind: PacketKind.ACCEPT, to: dialerId, value });
  }

  #admit(key: string, from: string, dialerId: number): DatagramConnection {
    for (const [oldest, { connection }] of this.#opening) {
      if (this.#opening.size < OPENING_MAX) break;
      this.#forgetOpening(oldest, connection);
    }
    const connection = this.#newConnection(this.#newId(), dialerId, from);
    this.#opening.set(key, { connection, sinceMs: this.#nowMs });
    return connection;
  }

  #newConnection(id: number, remoteId: number, remote: string): DatagramConnection {
    const { seal, send } = this.#options;
    const connection: DatagramConnection = new DatagramConnection(
      {
        id,
        remoteId,
        remote,
        seal,
        settings: this.#settings,
        scratch: this.#scratch,
        send: (packet) => {
          send(remote, packet);
        },
        wake: () => {
          this.#wake(connection);
        },
      },
      this.#nowMs,
    );
    this.#connections.set(id, connection);
    this.#remoteIds.set(remoteId, connection);
    return connection;
  }

  #receiveData(head: PacketHead, datagram: Uint8Array, from: string): void {
    const connection = this.#connections.get(head.id);
    const { seal } = this.#options;
    if (connection === undefined) {
      this.counters.unknown++;
      // Only a packet that is whole is worth an answer, which is shorter than any of them.
      if (datagram.length < ANSWERED_BYTES_MIN || this.#dialling.has(head.id)) return;
      if (!seal.open(datagram, head.number)) return;
      this.#say(from, { kind: PacketKind.RESET, to: 0, value: head.id });
      return;
    }
    if (connection.remote !== from) {
      this.counters.address++;
      return;
    }
    if (!seal.open(datagram, head.number)) {
      this.counters.damaged++;
      return;
    }
    if (connection.state === 'opening' && !this.#confirm(connection)) return;
    const body = datagram.subarray(PacketLayout.BYTES, datagram.length - seal.tagBytes);
    connection.receive(head.number, body, this.#nowMs);
  }

  // The first packet of a dialer: the connection is up, unless its owner does not want it.
  #confirm(connection: DatagramConnection): boolean {
    this.#opening.delete(`${connection.remote} ${connection.remoteId}`);
    const events = this.#accept?.(() => connection.destroy());
    if (events) connection.open(events, this.#nowMs);
    else connection.refuse();
    return events !== undefined;
  }

  #establish(dialling: Dialling, remoteId: number): void {
    if (dialling.reason !== undefined) return;
    this.#dialling.delete(dialling.id);
    const connection = this.#newConnection(dialling.id, remoteId, dialling.to);
    connection.open(dialling.events, this.#nowMs);
  }

  #runDialling(id: number, dialling: Dialling): void {
    dialling.run(this.#nowMs, (packet) => {
      this.#say(dialling.to, packet);
    });
    if (dialling.reason === undefined) return;
    this.#dialling.delete(id);
    dialling.events.closed(dialling.reason);
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
  }
}

// In a time that does not depend on where they differ.
function isSame(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
  return difference === 0;
}

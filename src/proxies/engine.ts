/**
 * The proxy engine of a node: joins the node's segments to the links with all its peers.
 *
 * What the core queues for another node becomes frames of the link to it, what comes from a link
 * goes to the core, and the core hears when a link comes up or goes down. The engine dials the
 * nodes with higher ids and is dialled by those with lower ones, so there is one link between two
 * nodes; should the dialer come back while the old connection looks alive, the new one takes its
 * place. Lost links are dialled again with growing pauses.
 */
import type { Clock } from '../dvk/clock.ts';
import type { NodeId } from '../dvk/endpoint.ts';
import { Backoff } from './backoff.ts';
import type { BusyPoll } from './busy-poll.ts';
import type { Checksum, Frame } from './frame.ts';
import type { Hello } from './hello.ts';
import type { PeerCertificate } from './identity.ts';
import { Link, type LinkOwner, type LinkQueue } from './link.ts';
import { SlabPool } from './outbox.ts';
import { Peer, type PeerAddress, type PeerCounters } from './peer.ts';
import type { ProxySegment, Surroundings } from './peer.ts';
import { Probers } from './probers.ts';
import { DEFAULT_TIMES, isInterruption } from './session.ts';
import type { Down, SessionSelf, SessionTimes } from './session.ts';
import { changeSettings, DEFAULT_SETTINGS } from './settings.ts';
import type { ProxySettings, SettingChange } from './settings.ts';
import { ThroughputMeter, type Throughput } from './throughput.ts';
import type { ContainerTraffic } from './traffic.ts';
import type { Accept, Address, LinkQuality, Listener, Transport } from './transport.ts';
import { newVoucherKey, Vouchers } from './voucher.ts';

// Strangers that have not said HELLO yet; the oldest one goes when another comes.
const OPENING_LINKS_MAX = 64;
const STABLE_MS = 5000;
// Longest pause before dialling again while callers wait for a session to go on.
const HELD_PAUSE_MS = 250;
/** How long a session without a connection is held by default. */
export const HOLD_MS = 5000;
const TICKS_PER_KEEPALIVE = 4;
const STOP_WAIT_MS = 1000;

export interface EngineOptions {
  dvs: string;
  node: NodeId;
  /** Random, new at each start. 64 bits. */
  incarnation: bigint;
  transport: Transport;
  /** Others that single links use; each is listened on, at the port of the first. */
  alternatives?: readonly Transport[];
  clock: Clock;
  checksum: Checksum;
  times?: SessionTimes;
  /** What can be changed while the engine runs; it is, by `set`. By default made of `times`. */
  settings?: ProxySettings;
  /**
   * How long callers wait for a session that has lost its connection, before they get ENOTCONN; 0
   * for not at all. HOLD_MS by default.
   */
  holdMs?: number;
  /** First and longest pause before dialling again, in ms. */
  redial?: { firstMs: number; longestMs: number };
  /** From 0 to below 1, for the pauses. */
  random?: () => number;
  /** Calls back in the next turn of the event loop. */
  defer?: (callback: () => void) => void;
  /** Keeps the event loop awake for answers; without, it sleeps at once. */
  poll?: BusyPoll;
  /** A link came up, has lost its connection and is held, or is down. */
  onLink?: (peer: PeerAddress, state: 'up' | 'held' | 'down', why?: Down) => void;
  /** An attempt to open a link that is down failed, for another reason than the one before. */
  onFailure?: (peer: PeerAddress, why: Down) => void;
  /** Why a peer's certificate is no longer good; its link is closed then. */
  outdated?: (certificate: PeerCertificate) => string | undefined;
}

export interface PeerStatistics extends PeerCounters {
  node: NodeId;
  name: string;
  /** `held`: the connection is lost, and the session waits for another. */
  state: 'up' | 'held' | 'down';
  /** What carries the link. */
  transport: string;
  /** How well it goes, while the link is up; null where the kernel takes care of that. */
  quality: LinkQuality | null;
  /** Address at the other end, while the link is up. */
  remote: string | null;
  /** Who the peer has proven to be, while a sealed link is up. */
  certificate: PeerCertificate | null;
  session: number;
  /** Of the peer, while the link is up: which start of it this is, in decimal digits. */
  incarnation: string | null;
  /** How long the link has been up. */
  upForMs: number | null;
  /** What waits to be sent, while the link is up. */
  queue: LinkQueue | null;
  /** Of the last seconds. */
  throughput: Throughput;
  /** DCs that are up with this peer. */
  containers: number[];
  /** Of the last keepalive that was answered. */
  rttMs: number | null;
  /** Failed attempts to dial since the last success. */
  failures: number;
  /** All of them, and connections of the peer that were refused. */
  handshakeFailures: number;
  /** What went over the link for each DC that this node shares with the peer. */
  traffic: ContainerTraffic[];
  /** Why it is down, or was last. */
  lastDown: Down | null;
}

export interface EngineStatistics {
  node: NodeId;
  /** Which start of this proxy it is: decimal digits of 64 bits. */
  incarnation: string;
  /** How long it has been running: since when it counts. */
  upForMs: number;
  settings: ProxySettings;
  transport: string;
  /** Whether links are encrypted and every peer has proven who it is. */
  sealed: boolean;
  peers: PeerStatistics[];
  /** Connections that were closed before a HELLO was accepted. */
  refused: number;
  /** The same by the code of the reason. */
  refusals: Readonly<Record<string, number>>;
  lastRefused: Down | null;
  /** Datagrams that reached no connection, by reason. */
  datagrams: Readonly<Record<string, number>>;
}

interface PeerEntry {
  peer: Peer;
  backoff: Backoff;
  /** The link that is being dialled. */
  dialling: Link | undefined;
  cancelTimer: (() => void) | undefined;
  /** Calls off the end of a session that is held. */
  cancelHold: (() => void) | undefined;
  upSinceMs: number;
  handshakeFailures: number;
  readonly meter: ThroughputMeter;
  lastDown: Down | null;
}

export class Engine implements LinkOwner {
  readonly #options: EngineOptions;
  readonly #settings: ProxySettings;
  readonly #startedMs: number;
  readonly #surroundings: Surroundings;
  readonly #probers: Probers;
  readonly #pool = new SlabPool();
  readonly #self: SessionSelf;
  readonly #peers = new Map<number, PeerEntry>();
  readonly #links = new Set<Link>();
  /** Accepted links that are not up yet, oldest first. */
  readonly #opening = new Set<Link>();
  /** Links that were up and gave way to another one. */
  readonly #replaced = new WeakSet<Link>();
  readonly #waiters = new Set<() => void>();
  #segments: readonly ProxySegment[] = [];
  #listeners: Listener[] = [];
  #stopTicks: () => void = () => undefined;
  #running = false;
  #refused = 0;
  readonly #refusals: Record<string, number> = {};
  #lastRefused: Down | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    const times = options.times ?? DEFAULT_TIMES;
    this.#settings = options.settings ?? { ...DEFAULT_SETTINGS, ...times };
    this.#startedMs = options.clock.nowMs();
    this.#probers = new Probers({
      node: options.node,
      nowMs: () => options.clock.nowMs(),
      send: (to, dcId, command) => this.#peers.get(to)?.peer.send(dcId, command),
    });
    this.#surroundings = {
      self: options.node,
      defer: options.defer ?? ((callback): void => void setImmediate(callback)),
      vouchers: new Vouchers(options.node),
      probers: this.#probers,
      nowMs: () => options.clock.nowMs(),
      settings: this.#settings,
    };
    this.#self = {
      dvs: options.dvs,
      node: options.node,
      incarnation: options.incarnation,
      lastSession: (node) => this.#peers.get(node)?.peer.lastSession ?? 0,
      lastLedger: (node) => this.#peers.get(node)?.peer.ledger,
      containersFor: (node) => this.#peers.get(node)?.peer.containers() ?? [],
      nameOf: (node) => this.#peers.get(node)?.peer.address.name,
      newKey: newVoucherKey,
    };
  }

  /** Starts to listen and to dial. Returns the port that was bound. */
  async start(listen: Address): Promise<number> {
    const first = await this.#listenOn(this.#options.transport, listen);
    for (const other of this.#options.alternatives ?? []) {
      await this.#listenOn(other, { ...listen, port: first.port });
    }
    this.#running = true;
    this.#scheduleTick();
    for (const entry of this.#peers.values()) this.#dial(entry);
    return first.port;
  }

  async #listenOn(transport: Transport, address: Address): Promise<Listener> {
    const accept: Accept = (callOff) => this.#accept(transport, callOff);
    const listener = await transport.listen(address, accept);
    this.#listeners.push(listener);
    return listener;
  }

  /**
   * Takes leave of every peer; every call that waits for another node ends. Resolves when all
   * connections are closed.
   */
  async stop(): Promise<void> {
    this.#running = false;
    this.#stopTicks();
    for (const listener of this.#listeners) listener.close();
    for (const entry of this.#peers.values()) this.#release(entry);
    for (const link of [...this.#links]) link.session.close({ code: 'stopped', detail: '' });
    for (const entry of this.#peers.values()) entry.peer.remove();
    if (this.#links.size > 0) await this.#allClosed();
    for (const link of this.#links) link.abandon();
  }

  /** The segments of this node now; call it too when a node joined or left a DC. */
  setSegments(segments: readonly ProxySegment[]): void {
    this.#segments = segments;
    this.#probers.setSegments(segments);
    for (const entry of this.#peers.values()) entry.peer.setSegments(segments);
  }

  /**
   * The other nodes of the DVS now. A peer with a new address is dialled there after the link is
   * lost.
   */
  setPeers(addresses: readonly PeerAddress[]): void {
    const wanted = new Map(addresses.map((address) => [address.node as number, address]));
    wanted.delete(this.#options.node);
    for (const [node, entry] of this.#peers) {
      if (wanted.has(node)) continue;
      this.#release(entry);
      const link = entry.peer.link;
      link?.session.close({ code: 'node', detail: `node ${node} is no longer a peer` });
      entry.peer.remove();
      this.#peers.delete(node);
    }
    for (const [node, address] of wanted) {
      const known = this.#peers.get(node);
      if (known) known.peer.address = address;
      else this.#addPeer(address);
    }
  }

  /** Changes settings, all or none; a RangeError says what is wrong. */
  set(wanted: Readonly<Record<string, unknown>>): SettingChange[] {
    const changes = changeSettings(this.#settings, wanted);
    // HELLO tells how often this side says something.
    for (const { peer } of this.#peers.values()) {
      peer.link?.session.announceContainers();
      peer.link?.flush();
    }
    return changes;
  }

  statistics(): EngineStatistics {
    const nowMs = this.#options.clock.nowMs();
    const peers = [...this.#peers.values()].map((entry) => {
      const { peer, meter } = entry;
      const { counters } = peer;
      return {
        ...counters,
        node: peer.node,
        name: peer.address.name,
        state: peer.link ? ('up' as const) : peer.isHeld ? ('held' as const) : ('down' as const),
        transport: this.#transportTo(peer.address).name,
        quality: peer.link?.quality ?? null,
        remote: peer.link?.remote ?? null,
        certificate: peer.link?.certificate ?? null,
        session: peer.link?.session.number ?? peer.ledger?.number ?? 0,
        incarnation: peer.link?.session.peerHello?.incarnation.toString() ?? null,
        upForMs: peer.link ? Math.round(nowMs - entry.upSinceMs) : null,
        queue: peer.link?.queue ?? null,
        throughput: meter.measure(nowMs, counters.bytesSent, counters.bytesReceived),
        containers: peer.containersUp(),
        rttMs: peer.link?.session.counters.rttMs ?? null,
        failures: entry.backoff.failures,
        handshakeFailures: entry.handshakeFailures,
        traffic: peer.traffic(),
        lastDown: entry.lastDown,
      };
    });
    return {
      node: this.#options.node,
      incarnation: this.#options.incarnation.toString(),
      upForMs: Math.round(nowMs - this.#startedMs),
      settings: { ...this.#settings },
      transport: this.#options.transport.name,
      sealed: this.#transports.every(({ sealed }) => sealed),
      peers,
      refused: this.#refused,
      refusals: { ...this.#refusals },
      lastRefused: this.#lastRefused,
      datagrams: this.#datagrams(),
    };
  }

  // LinkOwner

  linkUp(link: Link, hello: Hello): void {
    this.#opening.delete(link);
    const entry = this.#peers.get(hello.node);
    if (!entry || !this.#running) {
      link.session.close({ code: 'node', detail: 'not a peer any more' });
      return;
    }
    const { name } = this.#transportTo(entry.peer.address);
    if (link.transport !== name) {
      const detail = `the link is over ${link.transport}, not ${name}`;
      link.session.close({ code: 'transport', detail });
      return;
    }
    if (entry.dialling === link) entry.dialling = undefined;
    this.#replace(entry, link);
    entry.cancelHold?.();
    entry.cancelHold = undefined;
    entry.upSinceMs = this.#options.clock.nowMs();
    entry.peer.raise(link, hello);
    this.#options.onLink?.(entry.peer.address, 'up');
  }

  // Another connection takes the place of one that was not missed yet, or of a session.
  #replace(entry: PeerEntry, link: Link): void {
    const { peer } = entry;
    const old = peer.link;
    const detail = old ? 'the peer connected anew' : 'the peer does not know the session any more';
    const why: Down = { code: 'replaced', detail };
    if (old) this.#replaced.add(old);
    if (link.session.isResumed) peer.hold();
    else if (old || peer.isHeld) this.#lower(entry, why);
    if (!old) return;
    entry.lastDown = why;
    old.session.close(why);
  }

  linkContainersChanged(link: Link, hello: Hello): void {
    const peer = this.#peerOf(link)?.peer;
    if (peer?.link === link) peer.renew(hello);
  }

  linkDeliver(link: Link, frame: Frame): void {
    const peer = this.#peerOf(link)?.peer;
    if (peer?.link === link) peer.deliver(frame);
  }

  linkReady(link: Link): void {
    const peer = this.#peerOf(link)?.peer;
    if (peer?.link === link) peer.pump();
  }

  linkDown(link: Link, why: Down): void {
    this.#opening.delete(link);
    const entry = this.#peerOf(link);
    if (!entry) {
      this.#noteRefused(link, why);
    } else if (entry.peer.link === link) {
      const upMs = this.#options.clock.nowMs() - entry.upSinceMs;
      if (upMs >= STABLE_MS) entry.backoff.reset();
      entry.lastDown = why;
      this.#hold(entry, why);
      this.#redial(entry);
    } else if (entry.dialling === link) {
      entry.dialling = undefined;
      this.#noteFailure(entry, why);
      this.#redial(entry);
    } else if (!this.#replaced.has(link)) {
      this.#noteRefused(link, why);
    }
  }

  // The connection is lost: callers wait for another, when the session may go on.
  #hold(entry: PeerEntry, why: Down): void {
    const { peer } = entry;
    const holdMs = this.#options.holdMs ?? HOLD_MS;
    if (!isInterruption(why) || peer.ledger === undefined || holdMs === 0 || !this.#running) {
      this.#lower(entry, why);
      return;
    }
    peer.hold();
    entry.cancelHold = this.#options.clock.after(holdMs, () => {
      this.#lower(entry, why);
    });
    this.#options.onLink?.(peer.address, 'held', why);
  }

  // The session is over.
  #lower(entry: PeerEntry, why: Down): void {
    entry.cancelHold?.();
    entry.cancelHold = undefined;
    entry.peer.lower();
    this.#options.onLink?.(entry.peer.address, 'down', why);
  }

  linkClosed(link: Link): void {
    this.#links.delete(link);
    this.#opening.delete(link);
    if (this.#links.size > 0) return;
    for (const waiter of this.#waiters) waiter();
    this.#waiters.clear();
  }

  #peerOf(link: Link): PeerEntry | undefined {
    const node = link.session.peer;
    return node === undefined ? undefined : this.#peers.get(node);
  }

  #noteRefused(link: Link, why: Down): void {
    this.#refused++;
    this.#refusals[why.code] = (this.#refusals[why.code] ?? 0) + 1;
    this.#lastRefused = why;
    // Whom a refused certificate names is worth telling when that node has no link.
    const node = link.refusedNode ?? link.certificate?.node;
    const entry = node === undefined ? undefined : this.#peers.get(node);
    if (!entry) return;
    if (entry.peer.link) entry.handshakeFailures++;
    else this.#noteFailure(entry, why);
  }

  #noteFailure(entry: PeerEntry, why: Down): void {
    entry.handshakeFailures++;
    const before = entry.lastDown;
    entry.lastDown = why;
    if (before?.code === why.code && before.detail === why.detail) return;
    this.#options.onFailure?.(entry.peer.address, why);
  }

  #addPeer(address: PeerAddress): void {
    const redial = this.#options.redial ?? { firstMs: 100, longestMs: 5000 };
    const entry: PeerEntry = {
      peer: new Peer(address, this.#surroundings),
      backoff: new Backoff({ ...redial, random: this.#options.random ?? Math.random }),
      dialling: undefined,
      cancelTimer: undefined,
      cancelHold: undefined,
      upSinceMs: 0,
      handshakeFailures: 0,
      meter: new ThroughputMeter(),
      lastDown: null,
    };
    this.#peers.set(address.node, entry);
    entry.peer.setSegments(this.#segments);
    if (this.#running) this.#dial(entry);
  }

  get #transports(): Transport[] {
    const { transport, alternatives = [] } = this.#options;
    return [transport, ...alternatives];
  }

  #transportTo(address: PeerAddress): Transport {
    const named = this.#transports.find(({ name }) => name === address.transport);
    return named ?? this.#options.transport;
  }

  #datagrams(): Record<string, number> {
    const sums: Record<string, number> = {};
    for (const { counters = {} } of this.#transports) {
      for (const [why, count] of Object.entries(counters)) sums[why] = (sums[why] ?? 0) + count;
    }
    return sums;
  }

  #newLink(transport: Transport, peer: number | undefined): Link {
    const link = new Link({
      self: this.#self,
      owner: this,
      transport: transport.name,
      checksum: this.#options.checksum,
      pool: this.#pool,
      nowMs: () => this.#options.clock.nowMs(),
      times: this.#settings,
      poll: this.#options.poll,
      peer,
    });
    this.#links.add(link);
    return link;
  }

  #accept(transport: Transport, callOff: () => void): Link | undefined {
    if (!this.#running) return undefined;
    if (this.#opening.size >= OPENING_LINKS_MAX) {
      const [oldest] = this.#opening;
      oldest?.session.close({ code: 'handshake-time-out', detail: 'too many were waiting' });
      oldest?.abandon();
    }
    const link = this.#newLink(transport, undefined);
    link.begun(callOff);
    this.#opening.add(link);
    return link;
  }

  #dial(entry: PeerEntry): void {
    const { peer } = entry;
    if (peer.node < this.#options.node || peer.link || entry.dialling || !this.#running) return;
    const transport = this.#transportTo(peer.address);
    const link = this.#newLink(transport, peer.node);
    entry.dialling = link;
    link.begun(transport.connect(peer.address, link));
  }

  #redial(entry: PeerEntry): void {
    if (!this.#running || entry.peer.node < this.#options.node) return;
    entry.cancelTimer?.();
    const pauseMs = entry.backoff.next();
    const { isHeld } = entry.peer;
    const delayMs = isHeld ? Math.min(pauseMs, HELD_PAUSE_MS) : pauseMs;
    entry.cancelTimer = this.#options.clock.after(delayMs, () => {
      entry.cancelTimer = undefined;
      this.#dial(entry);
    });
  }

  // Ends all attempts to reach the peer.
  #release(entry: PeerEntry): void {
    entry.cancelTimer?.();
    entry.cancelTimer = undefined;
    entry.cancelHold?.();
    entry.cancelHold = undefined;
    entry.dialling?.abandon();
    entry.dialling = undefined;
  }

  #scheduleTick(): void {
    const everyMs = this.#settings.keepaliveMs / TICKS_PER_KEEPALIVE;
    this.#stopTicks = this.#options.clock.after(everyMs, () => {
      for (const link of [...this.#links]) {
        this.#checkCertificate(link);
        link.tick();
      }
      for (const { peer, meter } of this.#peers.values()) {
        const { bytesSent, bytesReceived } = peer.counters;
        meter.note(this.#options.clock.nowMs(), bytesSent, bytesReceived);
      }
      this.#probers.tick();
      this.#scheduleTick();
    });
  }

  // A certificate may expire, or be denied, while its link is up.
  #checkCertificate(link: Link): void {
    const { certificate } = link;
    const detail = certificate && this.#options.outdated?.(certificate);
    if (detail !== undefined) link.session.close({ code: 'certificate', detail });
  }

  async #allClosed(): Promise<void> {
    await new Promise<void>((resolve) => {
      const cancel = this.#options.clock.after(STOP_WAIT_MS, resolve);
      this.#waiters.add(() => {
        cancel();
        resolve();
      });
    });
  }
}

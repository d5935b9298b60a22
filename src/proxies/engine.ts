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
import type { Checksum, Frame } from './frame.ts';
import type { Hello } from './hello.ts';
import type { PeerCertificate } from './identity.ts';
import { Link, type LinkOwner } from './link.ts';
import { SlabPool } from './outbox.ts';
import { Peer, type PeerAddress, type PeerCounters } from './peer.ts';
import type { ProxySegment, Surroundings } from './peer.ts';
import { Probers } from './probers.ts';
import { DEFAULT_TIMES, type Down, type SessionSelf, type SessionTimes } from './session.ts';
import type { Accept, Address, LinkQuality, Listener, Transport } from './transport.ts';
import { newVoucherKey, Vouchers } from './voucher.ts';

// Strangers that have not said HELLO yet; the oldest one goes when another comes.
const OPENING_LINKS_MAX = 64;
const STABLE_MS = 5000;
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
  /** First and longest pause before dialling again, in ms. */
  redial?: { firstMs: number; longestMs: number };
  /** From 0 to below 1, for the pauses. */
  random?: () => number;
  /** Calls back in the next turn of the event loop. */
  defer?: (callback: () => void) => void;
  /** A link came up or is lost. */
  onLink?: (peer: PeerAddress, state: 'up' | 'down', why?: Down) => void;
  /** An attempt to open a link that is down failed, for another reason than the one before. */
  onFailure?: (peer: PeerAddress, why: Down) => void;
  /** Why a peer's certificate is no longer good; its link is closed then. */
  outdated?: (certificate: PeerCertificate) => string | undefined;
}

export interface PeerStatistics extends PeerCounters {
  node: NodeId;
  name: string;
  state: 'up' | 'down';
  /** What carries the link. */
  transport: string;
  /** How well it goes, while the link is up; null where the kernel takes care of that. */
  quality: LinkQuality | null;
  /** Address at the other end, while the link is up. */
  remote: string | null;
  /** Who the peer has proven to be, while a sealed link is up. */
  certificate: PeerCertificate | null;
  session: number;
  /** DCs that are up with this peer. */
  containers: number[];
  /** Of the last keepalive that was answered. */
  rttMs: number | null;
  /** Failed attempts to dial since the last success. */
  failures: number;
  /** Why it is down, or was last. */
  lastDown: Down | null;
}

export interface EngineStatistics {
  node: NodeId;
  transport: string;
  /** Whether links are encrypted and every peer has proven who it is. */
  sealed: boolean;
  peers: PeerStatistics[];
  /** Connections that were closed before a HELLO was accepted. */
  refused: number;
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
  upSinceMs: number;
  lastDown: Down | null;
}

export class Engine implements LinkOwner {
  readonly #options: EngineOptions;
  readonly #times: SessionTimes;
  readonly #surroundings: Surroundings;
  readonly #probers: Probers;
  readonly #pool = new SlabPool();
  readonly #self: SessionSelf;
  readonly #peers = new Map<number, PeerEntry>();
  readonly #links = new Set<Link>();
  /** Accepted links that are not up yet, oldest first. */
  readonly #opening = new Set<Link>();
  readonly #waiters = new Set<() => void>();
  #segments: readonly ProxySegment[] = [];
  #listeners: Listener[] = [];
  #stopTicks: () => void = () => undefined;
  #running = false;
  #refused = 0;
  #lastRefused: Down | null = null;

  constructor(options: EngineOptions) {
    this.#options = options;
    this.#times = options.times ?? DEFAULT_TIMES;
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
    };
    this.#self = {
      dvs: options.dvs,
      node: options.node,
      incarnation: options.incarnation,
      lastSession: (node) => this.#peers.get(node)?.peer.lastSession ?? 0,
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

  statistics(): EngineStatistics {
    const peers = [...this.#peers.values()].map((entry) => {
      const { peer } = entry;
      return {
        ...peer.counters,
        node: peer.node,
        name: peer.address.name,
        state: peer.link ? ('up' as const) : ('down' as const),
        transport: this.#transportTo(peer.address).name,
        quality: peer.link?.quality ?? null,
        remote: peer.link?.remote ?? null,
        certificate: peer.link?.certificate ?? null,
        session: peer.link?.session.number ?? 0,
        containers: peer.containersUp(),
        rttMs: peer.link?.session.counters.rttMs ?? null,
        failures: entry.backoff.failures,
        lastDown: entry.lastDown,
      };
    });
    return {
      node: this.#options.node,
      transport: this.#options.transport.name,
      sealed: this.#transports.every(({ sealed }) => sealed),
      peers,
      refused: this.#refused,
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
    entry.peer.link?.session.close({ code: 'replaced', detail: 'the peer connected anew' });
    if (entry.dialling === link) entry.dialling = undefined;
    entry.upSinceMs = this.#options.clock.nowMs();
    entry.peer.raise(link, hello);
    this.#options.onLink?.(entry.peer.address, 'up');
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
      entry.peer.lower();
      this.#options.onLink?.(entry.peer.address, 'down', why);
      this.#redial(entry);
    } else if (entry.dialling === link) {
      entry.dialling = undefined;
      this.#noteFailure(entry, why);
      this.#redial(entry);
    } else {
      this.#noteRefused(link, why);
    }
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
    this.#lastRefused = why;
    // Whom a refused certificate names is worth telling when that node has no link.
    const node = link.refusedNode ?? link.certificate?.node;
    const entry = node === undefined ? undefined : this.#peers.get(node);
    if (entry && !entry.peer.link) this.#noteFailure(entry, why);
  }

  #noteFailure(entry: PeerEntry, why: Down): void {
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
      upSinceMs: 0,
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
    const every = this.#transports.map(({ counters }) => counters ?? {});
    return Object.assign({}, ...every) as Record<string, number>;
  }

  #newLink(transport: Transport, peer: number | undefined): Link {
    const link = new Link({
      self: this.#self,
      owner: this,
      transport: transport.name,
      checksum: this.#options.checksum,
      pool: this.#pool,
      nowMs: () => this.#options.clock.nowMs(),
      times: this.#times,
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
    entry.cancelTimer = this.#options.clock.after(entry.backoff.next(), () => {
      entry.cancelTimer = undefined;
      this.#dial(entry);
    });
  }

  // Ends all attempts to reach the peer.
  #release(entry: PeerEntry): void {
    entry.cancelTimer?.();
    entry.cancelTimer = undefined;
    entry.dialling?.abandon();
    entry.dialling = undefined;
  }

  #scheduleTick(): void {
    const everyMs = this.#times.keepaliveMs / TICKS_PER_KEEPALIVE;
    this.#stopTicks = this.#options.clock.after(everyMs, () => {
      for (const link of [...this.#links]) {
        this.#checkCertificate(link);
        link.tick();
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

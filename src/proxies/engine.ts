/**
 * The proxy engine of a node: joins the node's segments to the links with all its peers.
 *
 * What the core queues for another node becomes frames of the link to it, what comes from a link
 * goes to the core, and the core hears when a link comes up or goes down. The engine dials the
 * nodes with higher ids and is dialled by those with lower ones, so there is one link between two
 * nodes; should the dialer come back while the old connection looks alive, the new one takes its
 * place. Lost links are dialled again with growing pauses.
 * Two nodes may be joined by several paths at once (bond.ts).
 */
import type { Clock } from '../dvk/clock.ts';
import type { NodeId } from '../dvk/endpoint.ts';
import { Bond, type PathChange } from './bond.ts';
import type { BusyPoll } from './busy-poll.ts';
import type { Checksum, Frame } from './frame.ts';
import type { Hello } from './hello.ts';
import type { PeerCertificate } from './identity.ts';
import { Link, type HeldFrames, type LinkOwner, type LinkQueue } from './link.ts';
import { SlabPool } from './outbox.ts';
import type { Path, PathAddress, PathCounters, PathStatistics } from './path.ts';
import type { PeerAddress, PeerCounters } from './peer.ts';
import type { ProxySegment, Surroundings } from './peer.ts';
import { Feature } from './offer.ts';
import { Probers } from './probers.ts';
import { DEFAULT_TIMES } from './session.ts';
import type { Down } from './down.ts';
import type { SessionSelf, SessionTimes } from './session.ts';
import { changeSettings, DEFAULT_SETTINGS } from './settings.ts';
import type { ProxySettings, SettingChange } from './settings.ts';
import type { Throughput } from './throughput.ts';
import { Trackers, type TrackerStatistics } from './trackers.ts';
import type { ContainerTraffic } from './traffic.ts';
import type { Accept, Address, LinkQuality, Listener, Transport } from './transport.ts';
import { newVoucherKey, Vouchers } from './voucher.ts';

// Strangers that have not said HELLO yet; the oldest one goes when another comes.
const OPENING_LINKS_MAX = 64;
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
  /** What can be changed while the engine runs; it is, by `set`. Defaults for what is missing. */
  settings?: Partial<ProxySettings>;
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
  /** The session with a peer went on over another path that was up. */
  onMove?: (peer: PeerAddress, path: string, why: Down) => void;
  /** An attempt to open a link that is down failed, for another reason than the one before. */
  onFailure?: (peer: PeerAddress, why: Down) => void;
  /** Why a peer's certificate is no longer good; its link is closed then. */
  outdated?: (certificate: PeerCertificate) => string | undefined;
}

export interface PeerStatistics extends PeerCounters, PathCounters {
  node: NodeId;
  name: string;
  /** `held`: the connection is lost, and the session waits for another. */
  state: 'up' | 'held' | 'down';
  /** What carries the link; where it has several paths, of the one that carries, or the first. */
  transport: string;
  /** Each path, in order of preference. */
  paths: PathStatistics[];
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
  /** Searches for processes of other nodes, for each DC. */
  trackers: TrackerStatistics[];
}

export class Engine implements LinkOwner {
  readonly #options: EngineOptions;
  readonly #settings: ProxySettings;
  readonly #startedMs: number;
  readonly #surroundings: Surroundings;
  readonly #probers: Probers;
  readonly #trackers: Trackers;
  readonly #pool = new SlabPool();
  readonly #self: SessionSelf;
  readonly #peers = new Map<number, Bond>();
  readonly #links = new Set<Link>();
  /** Accepted links that are not up yet, oldest first. */
  readonly #opening = new Set<Link>();
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
    const { times = DEFAULT_TIMES } = options;
    this.#settings = Object.assign(options.settings ?? {}, {
      ...DEFAULT_SETTINGS,
      ...times,
      ...options.settings,
    });
    this.#startedMs = options.clock.nowMs();
    this.#probers = new Probers({
      node: options.node,
      nowMs: () => options.clock.nowMs(),
      send: (to, dcId, command) => this.#peers.get(to)?.peer.send(dcId, command),
    });
    this.#trackers = new Trackers({
      node: options.node,
      nowMs: () => options.clock.nowMs(),
      knows: (node) => ((this.#peers.get(node)?.peer.features ?? 0) & Feature.TRACK) !== 0,
      send: (to, dcId, command) => this.#peers.get(to)?.peer.send(dcId, command) ?? false,
    });
    this.#surroundings = {
      self: options.node,
      defer: options.defer ?? ((callback): void => void setImmediate(callback)),
      vouchers: new Vouchers(options.node),
      probers: this.#probers,
      trackers: this.#trackers,
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
      pathFault: (node, path, transport) => this.#peers.get(node)?.fault(path, transport),
      newKey: newVoucherKey,
    };
  }

  /**
   * Starts to listen and to dial. Returns the port that was bound. Also listens at `more`, by the
   * transports that have addresses of that kind.
   */
  async start(listen: Address, more: readonly Address[] = []): Promise<number> {
    const first = await this.#listenOn(this.#options.transport, listen);
    for (const other of this.#options.alternatives ?? []) {
      await this.#listenOn(other, { ...listen, port: first.port });
    }
    for (const address of more) {
      for (const transport of this.#transports) {
        if (transport.name !== 'ethernet') await this.#listenOn(transport, address);
      }
    }
    this.#running = true;
    this.#scheduleTick();
    for (const bond of this.#peers.values()) bond.dial();
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
    this.#trackers.stop();
    for (const bond of this.#peers.values()) bond.release();
    for (const link of [...this.#links]) link.session.close({ code: 'stopped', detail: '' });
    for (const { peer } of this.#peers.values()) peer.remove();
    if (this.#links.size > 0) await this.#allClosed();
    for (const link of this.#links) link.abandon();
  }

  /** The segments of this node now; call it too when a node joined or left a DC. */
  setSegments(segments: readonly ProxySegment[]): void {
    this.#segments = segments;
    this.#probers.setSegments(segments);
    this.#trackers.setSegments(segments);
    for (const { peer } of this.#peers.values()) peer.setSegments(segments);
  }

  /**
   * The other nodes of the DVS now. A peer with a new address is dialled there after the link is
   * lost.
   */
  setPeers(addresses: readonly PeerAddress[]): void {
    const wanted = new Map(addresses.map((address) => [address.node as number, address]));
    wanted.delete(this.#options.node);
    for (const [node, bond] of this.#peers) {
      if (wanted.has(node)) continue;
      bond.release();
      const { link } = bond.peer;
      link?.session.close({ code: 'node', detail: `node ${node} is no longer a peer` });
      bond.release();
      bond.peer.remove();
      this.#peers.delete(node);
    }
    for (const [node, address] of wanted) {
      const known = this.#peers.get(node);
      if (known) known.readdress(address);
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

  /**
   * Changes which paths to a peer are used, all of it or nothing; a RangeError says what is wrong.
   */
  setPaths(node: number, change: PathChange): void {
    const bond = this.#peers.get(node);
    if (bond === undefined) throw new RangeError(`there is no link with node ${node}`);
    bond.set(change);
  }

  statistics(): EngineStatistics {
    const nowMs = this.#options.clock.nowMs();
    const peers = [...this.#peers.values()].map((bond) => this.#peerStatistics(bond, nowMs));
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
      trackers: this.#trackers.statistics(),
    };
  }

  #peerStatistics(bond: Bond, nowMs: number): PeerStatistics {
    const { peer, meter, preferred, path: main } = bond;
    const { link } = peer;
    const counters = bond.counters;
    const paths = bond.paths.map((path) => ({
      ...path.statistics(nowMs, this.#settings),
      preferred: path === preferred,
    }));
    return {
      ...peer.counters,
      ...counters,
      node: peer.node,
      name: peer.address.name,
      state: link ? 'up' : peer.isHeld ? 'held' : 'down',
      transport: main?.transport ?? this.#options.transport.name,
      paths,
      quality: link?.quality ?? null,
      remote: link?.remote ?? null,
      certificate: link?.certificate ?? null,
      session: link?.session.number ?? peer.ledger?.number ?? 0,
      incarnation: link?.session.peerHello?.incarnation.toString() ?? null,
      upForMs: link ? Math.round(nowMs - bond.upSinceMs) : null,
      queue: link?.queue ?? null,
      throughput: meter.measure(nowMs, counters.bytesSent, counters.bytesReceived),
      containers: peer.containersUp(),
      rttMs: link?.session.counters.rttMs ?? null,
      failures: bond.paths.reduce((sum, { backoff }) => sum + backoff.failures, 0),
      handshakeFailures: bond.handshakeFailures,
      traffic: peer.traffic(),
      lastDown: bond.lastDown,
    };
  }

  // LinkOwner

  linkUp(link: Link, hello: Hello): void {
    this.#opening.delete(link);
    const bond = this.#peers.get(hello.node);
    if (bond && this.#running) bond.up(link, hello);
    else link.session.close({ code: 'node', detail: 'not a peer any more' });
  }

  linkContainersChanged(link: Link, hello: Hello): void {
    this.#bondOf(link)?.renew(hello);
  }

  linkChosen(link: Link): void {
    this.#bondOf(link)?.chosen(link);
  }

  linkDeliver(link: Link, frame: Frame): void {
    this.#bondOf(link)?.peer.deliver(frame, link);
  }

  linkDeliverRun(link: Link, run: HeldFrames): void {
    this.#bondOf(link)?.peer.deliverRun(run, link);
  }

  linkReady(link: Link): void {
    this.#bondOf(link)?.ready(link);
  }

  linkDown(link: Link, why: Down): void {
    this.#opening.delete(link);
    const bond = this.#peerOf(link);
    if (bond?.down(link, why) !== true) this.#noteRefused(link, why);
  }

  linkClosed(link: Link): void {
    this.#links.delete(link);
    this.#opening.delete(link);
    if (this.#links.size > 0) return;
    for (const waiter of this.#waiters) waiter();
    this.#waiters.clear();
  }

  #peerOf(link: Link): Bond | undefined {
    const node = link.session.peer;
    return node === undefined ? undefined : this.#peers.get(node);
  }

  // Of a link that is up, and was not given up.
  #bondOf(link: Link): Bond | undefined {
    const bond = this.#peerOf(link);
    return bond?.has(link) === true ? bond : undefined;
  }

  #noteRefused(link: Link, why: Down): void {
    this.#refused++;
    this.#refusals[why.code] = (this.#refusals[why.code] ?? 0) + 1;
    this.#lastRefused = why;
    // Whom a refused certificate names is worth telling when that node has no link.
    const node = link.refusedNode ?? link.certificate?.node;
    if (node !== undefined) this.#peers.get(node)?.failed(why);
  }

  #addPeer(address: PeerAddress): void {
    const { node, clock, redial, random, onLink, onMove, onFailure } = this.#options;
    const none = (): void => undefined;
    const bond = new Bond(address, this.#surroundings, {
      self: node,
      clock,
      settings: this.#settings,
      redial: redial ?? { firstMs: 100, longestMs: 5000 },
      random: random ?? Math.random,
      isRunning: () => this.#running,
      transportOf: (place) => this.#transportTo(place).name,
      open: (peer, path, joins) => this.#open(peer, path, joins),
      onLink: onLink ?? none,
      onMove: onMove ?? none,
      onFailure: onFailure ?? none,
    });
    this.#peers.set(address.node, bond);
    bond.peer.setSegments(this.#segments);
    bond.dial();
  }

  get #transports(): Transport[] {
    const { transport, alternatives = [] } = this.#options;
    return [transport, ...alternatives];
  }

  #transportTo(address: PathAddress): Transport {
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

  #newLink(
    transport: Transport,
    dialled: { peer?: number; path?: number; joins?: boolean } = {},
  ): Link {
    const link = new Link({
      self: this.#self,
      owner: this,
      transport: transport.name,
      checksum: this.#options.checksum,
      pool: this.#pool,
      nowMs: () => this.#options.clock.nowMs(),
      settings: this.#settings,
      sealed: transport.sealed,
      ...dialled,
      poll: this.#options.poll,
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
    const link = this.#newLink(transport);
    link.begun(callOff);
    this.#opening.add(link);
    return link;
  }

  #open(peer: NodeId, { number, address }: Path, joins: boolean): Link {
    const transport = this.#transportTo(address);
    const link = this.#newLink(transport, { peer, path: number, joins });
    link.begun(transport.connect(address, link));
    return link;
  }

  #scheduleTick(): void {
    const everyMs = this.#settings.keepaliveMs / TICKS_PER_KEEPALIVE;
    this.#stopTicks = this.#options.clock.after(everyMs, () => {
      for (const link of [...this.#links]) {
        this.#checkCertificate(link);
        link.tick();
      }
      for (const bond of this.#peers.values()) bond.tick();
      this.#probers.tick();
      this.#trackers.tick();
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

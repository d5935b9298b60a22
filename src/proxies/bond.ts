/**
 * All that joins this node to another one: their session, and the paths that it goes over.
 *
 *   path tcp   ======== carries ========|X          |--- steady ---|===== carries =====
 *   path udp   ---------- up -----------|===== carries ============|------- up --------
 *
 * Each path is dialled by itself, and stays connected while another one carries the session; so its
 * quality is known, and when the one that carries is lost the session goes on over the next at
 * once. What was not acknowledged is sent again there, and what comes twice is known by its number.
 * The list of paths is in order of preference. The session returns to a better one when that has
 * been up without a break for `steadyMs`; one that was lost soon after has to be up for longer (see
 * path.ts), so a path that comes and goes does not take the session with it each time.
 *
 * The dialer, the node with the lower id, chooses which path carries, and tells the other one. A
 * side whose path is lost does not wait for that. Commands are taken from every path, so there is
 * nothing that the two must agree on first.
 *
 * Only one connection at a time is made while there is no session, since each could begin one.
 */
import type { Clock } from '../dvk/clock.ts';
import type { NodeId } from '../dvk/endpoint.ts';
import { Backoff } from './backoff.ts';
import type { Hello } from './hello.ts';
import type { Link } from './link.ts';
import { addCounters, newCounters, Path, type PathAddress, type PathCounters } from './path.ts';
import { Peer, type PeerAddress, type Surroundings } from './peer.ts';
import { isInterruption, type Down } from './down.ts';
import type { ProxySettings } from './settings.ts';
import { ThroughputMeter } from './throughput.ts';

// Longest pause before dialling again while callers wait for a session to go on.
const HELD_PAUSE_MS = 250;
const FORGOTTEN: Down = {
  code: 'replaced',
  detail: 'the peer does not know the session any more',
};

export interface BondOptions {
  readonly self: NodeId;
  readonly clock: Clock;
  /** They may change at any time. */
  readonly settings: ProxySettings;
  /** First and longest pause before dialling again, in ms. */
  readonly redial: { readonly firstMs: number; readonly longestMs: number };
  /** From 0 to below 1, for the pauses. */
  readonly random: () => number;
  readonly isRunning: () => boolean;
  /** The transport of an address that names none, or one that there is not. */
  readonly transportOf: (address: PathAddress) => string;
  /** Dials a path; `joins` for the present session alone. */
  readonly open: (peer: NodeId, path: Path, joins: boolean) => Link;
  readonly onLink: (peer: PeerAddress, state: 'up' | 'held' | 'down', why?: Down) => void;
  /** The session went from one path to another. */
  readonly onMove: (peer: PeerAddress, path: string, why: Down) => void;
  readonly onFailure: (peer: PeerAddress, why: Down) => void;
}

/** What may be asked of the paths to a peer while the proxy runs. */
export interface PathChange {
  /** The path to prefer before all others; null for none. */
  prefer?: string | null;
  forbid?: readonly string[];
  allow?: readonly string[];
}

export class Bond {
  readonly peer: Peer;
  readonly meter: ThroughputMeter = new ThroughputMeter();
  readonly #options: BondOptions;
  #paths: Path[] = [];
  #carrying: Path | undefined;
  #preferred: Path | undefined;
  // Connections that were given up: what becomes of them is no news.
  readonly #dropped = new WeakSet<Link>();
  #cancelTimer: () => void = () => undefined;
  #cancelHold: () => void = () => undefined;
  #upSinceMs = 0;
  #handshakeFailures = 0;
  lastDown: Down | null = null;

  constructor(address: PeerAddress, surroundings: Surroundings, options: BondOptions) {
    this.#options = options;
    this.peer = new Peer(address, surroundings);
    this.readdress(address);
  }

  /** In order of preference. */
  get paths(): readonly Path[] {
    return this.#paths;
  }

  /** The path that carries the session, or the first one. */
  get path(): Path | undefined {
    return this.#carrying ?? this.#paths[0];
  }

  get preferred(): Path | undefined {
    return this.#preferred;
  }

  /** When it came up; while it is. */
  get upSinceMs(): number {
    return this.#upSinceMs;
  }

  get counters(): PathCounters {
    const sum = newCounters();
    for (const path of this.#paths) addCounters(sum, path.counters);
    return sum;
  }

  /** Attempts that failed, by both sides. */
  get handshakeFailures(): number {
    return this.#handshakeFailures;
  }

  get #dials(): boolean {
    return this.peer.node > this.#options.self;
  }

  get #nowMs(): number {
    return this.#options.clock.nowMs();
  }

  /** Takes other addresses, which count when a path is dialled the next time. */
  readdress(address: PeerAddress): void {
    this.peer.address = address;
    const { others = [], ...first } = address;
    const used = new Map<string, number>();
    [first, ...others].forEach((place, number) => {
      const transport = this.#options.transportOf(place);
      const path = this.#paths[number] ?? this.#newPath(number, place);
      const count = (used.get(transport) ?? 0) + 1;
      used.set(transport, count);
      path.address = place;
      path.transport = transport;
      path.name = place.path ?? (count === 1 ? transport : `${transport}-${count}`);
    });
    for (const path of this.#paths.splice(1 + others.length)) {
      path.dialling?.abandon();
      path.link?.session.close({ code: 'forbidden', detail: `${path.name} is no path any more` });
      if (this.#preferred === path) this.#preferred = undefined;
    }
    this.dial();
  }

  #newPath(number: number, address: PathAddress): Path {
    const { redial, random } = this.#options;
    const path = new Path(number, address, new Backoff({ ...redial, random }));
    this.#paths.push(path);
    return path;
  }

  /** Why a connection of the peer may not be this path. */
  fault(number: number, transport: string): Down | undefined {
    const path = this.#paths[number];
    if (path === undefined) {
      return { code: 'transport', detail: `the link has ${this.#paths.length} paths here` };
    }
    if (path.transport !== transport) {
      const kind = this.#paths.length === 1 ? 'link' : `path ${path.name}`;
      const detail = `the ${kind} is over ${transport}, not ${path.transport}`;
      return { code: 'transport', detail };
    }
    if (!path.isForbidden) return undefined;
    return { code: 'forbidden', detail: `node ${this.#options.self} forbids ${path.name}` };
  }

  /** A connection is up. */
  up(link: Link, hello: Hello): void {
    const path = this.#paths[link.session.path];
    if (path === undefined || path.isForbidden || !this.#options.isRunning()) {
      link.session.close({ code: 'forbidden', detail: 'not a path any more' });
      return;
    }
    path.dialling = undefined;
    if (link.session.isResumed) this.#join(path, link);
    else this.#begin(path, link, hello);
    this.dial();
  }

  #begin(path: Path, link: Link, hello: Hello): void {
    const { peer } = this;
    if (peer.link) this.#lower({ code: 'replaced', detail: 'the peer connected anew' });
    else if (peer.isHeld) this.#lower(FORGOTTEN);
    path.opened(link, this.#nowMs);
    this.#carry(path);
    peer.begin(link, hello);
    this.#cameUp();
  }

  #join(path: Path, link: Link): void {
    const why: Down = { code: 'replaced', detail: 'the peer connected anew' };
    const isHeld = this.#carrying === undefined;
    const isSame = this.#carrying === path;
    if (isHeld || isSame) this.peer.hold();
    this.#drop(path, why);
    path.opened(link, this.#nowMs);
    if (!isHeld && !isSame) return;
    this.#carry(path);
    this.peer.resume(link);
    this.#cameUp();
  }

  #cameUp(): void {
    this.#cancelHold();
    this.#upSinceMs = this.#nowMs;
    this.#options.onLink(this.peer.address, 'up');
  }

  #carry(path: Path): void {
    this.#carrying?.rest();
    this.#carrying = path;
    path.carry(this.#nowMs);
    if (this.#dials && this.#paths.length > 1) path.link?.session.choose();
  }

  // The session goes on over another path that is up.
  #move(path: Path, why: Down): void {
    const { link } = path;
    if (link === undefined) return;
    this.peer.hold();
    path.moves++;
    this.#carry(path);
    this.peer.move(link);
    this.#options.onMove(this.peer.address, path.name, why);
  }

  /** The dialer has chosen this connection to carry the session. */
  chosen(link: Link): void {
    const path = this.#paths.find((one) => one.link === link);
    if (path === undefined || path === this.#carrying) return;
    const why: Down = { code: 'replaced', detail: `node ${this.peer.node} has chosen it` };
    this.#move(path, why);
  }

  /** Commands may be taken from the core again, or have been queued by what was delivered. */
  ready(link: Link): void {
    const { peer } = this;
    if (!this.#paths.some((path) => path.link === link)) return;
    peer.pump();
    if (peer.link !== link) peer.link?.flush();
  }

  /** The peer told other DCs, or how often it says something. */
  renew(hello: Hello): void {
    for (const { link } of this.#paths) link?.session.renew(hello);
    this.peer.renew(hello);
  }

  /** Whether the connection is one of its paths. */
  has(link: Link): boolean {
    return this.#paths.some((path) => path.link === link);
  }

  /** A connection is gone; false when it is not one of its paths. */
  down(link: Link, why: Down): boolean {
    if (this.#dropped.has(link)) return true;
    const path = this.#paths.find((one) => one.link === link || one.dialling === link);
    if (path === undefined) return false;
    if (path.link === link) {
      const wasCarrying = this.#carrying === path;
      path.closed(this.#nowMs, why);
      this.lastDown = why;
      this.#lost(wasCarrying, why);
    } else {
      path.dialling = undefined;
      if (link.session.isOver) this.#lower(FORGOTTEN);
      else this.failed(why, path);
    }
    this.#pause(path);
    this.dial();
    return true;
  }

  #lost(wasCarrying: boolean, why: Down): void {
    const { peer } = this;
    if (!isInterruption(why) || peer.ledger === undefined || !this.#options.isRunning()) {
      this.#lower(why);
      return;
    }
    const next = wasCarrying ? this.#ranked().find(({ link }) => link) : this.#carrying;
    if (next === undefined) {
      this.#hold(why);
      return;
    }
    if (wasCarrying) this.#move(next, why);
    // What the peer was told last may have been lost with the connection.
    next.link?.session.tellTaken();
  }

  // The connection is lost: callers wait for another, when the session may go on.
  #hold(why: Down): void {
    const { clock, settings } = this.#options;
    this.#carrying = undefined;
    if (settings.holdMs === 0) {
      this.#lower(why);
      return;
    }
    this.peer.hold();
    this.#cancelHold();
    this.#cancelHold = clock.after(settings.holdMs, () => {
      this.#lower(why);
      this.dial();
    });
    const soonMs = this.#nowMs + HELD_PAUSE_MS;
    for (const path of this.#paths) path.readyMs = Math.min(path.readyMs, soonMs);
    this.#options.onLink(this.peer.address, 'held', why);
  }

  // The session is over.
  #lower(why: Down): void {
    this.#cancelHold();
    this.peer.hold();
    this.#carrying = undefined;
    this.lastDown = why;
    const farewell: Down = isInterruption(why)
      ? { code: 'over', detail: 'the session is given up' }
      : why;
    for (const path of this.#paths) {
      this.#drop(path, farewell);
      this.#callOff(path);
    }
    this.peer.lower();
    this.#options.onLink(this.peer.address, 'down', why);
  }

  #drop(path: Path, why: Down): void {
    const link = path.closed(this.#nowMs, why);
    if (link === undefined) return;
    this.#dropped.add(link);
    link.session.close(why);
  }

  #callOff(path: Path): void {
    const { dialling } = path;
    if (dialling === undefined) return;
    path.dialling = undefined;
    this.#dropped.add(dialling);
    dialling.abandon();
  }

  /** An attempt failed: of this node, over `path`, or of the peer. */
  failed(why: Down, path?: Path): void {
    this.#handshakeFailures++;
    if (path) path.handshakeFailures++;
    const before = path ? path.lastDown : this.lastDown;
    if (path) path.lastDown = why;
    if (this.peer.link) return;
    this.lastDown = why;
    if (before?.code === why.code && before.detail === why.detail) return;
    this.#options.onFailure(this.peer.address, why);
  }

  #pause(path: Path): void {
    const pauseMs = path.backoff.next();
    const { isHeld } = this.peer;
    path.readyMs = this.#nowMs + (isHeld ? Math.min(pauseMs, HELD_PAUSE_MS) : pauseMs);
  }

  /** Dials the paths whose time has come, and sees to it that the others are dialled later. */
  dial(): void {
    this.#cancelTimer();
    if (!this.#dials || !this.#options.isRunning()) return;
    const nowMs = this.#nowMs;
    const joins = this.#paths.length > 1 && this.peer.ledger?.canBond === true;
    if (!joins && this.#paths.some(({ link, dialling }) => link ?? dialling)) return;
    const waiting = this.#paths.filter(({ isIdle }) => isIdle);
    const [first] = waiting.sort((a, b) => a.readyMs - b.readyMs || a.number - b.number);
    for (const path of joins ? waiting : waiting.slice(0, 1)) {
      if (path.readyMs > nowMs) continue;
      path.dialling = this.#options.open(this.peer.node, path, joins);
    }
    const later = first?.isIdle === true ? first : waiting.find(({ isIdle }) => isIdle);
    if (later === undefined || (!joins && later !== first)) return;
    this.#cancelTimer = this.#options.clock.after(later.readyMs - nowMs, () => {
      this.dial();
    });
  }

  /** Time goes on: the session may return to a better path. */
  tick(): void {
    const { bytesSent, bytesReceived } = this.counters;
    this.meter.note(this.#nowMs, bytesSent, bytesReceived);
    this.#consider();
  }

  #consider(): void {
    const { steadyMs } = this.#options.settings;
    const carrying = this.#carrying;
    if (!this.#dials || carrying === undefined || this.#paths.length < 2) return;
    const nowMs = this.#nowMs;
    const best = this.#ranked().find((path) => path === carrying || path.isSteady(nowMs, steadyMs));
    if (best === undefined || best === carrying) return;
    this.#move(best, { code: 'replaced', detail: `${best.name} is steady again` });
  }

  // Those that may carry the session, the best one first.
  #ranked(): Path[] {
    const allowed = this.#paths.filter(({ isForbidden }) => !isForbidden);
    return allowed.sort((a, b) => this.#rank(a) - this.#rank(b));
  }

  #rank(path: Path): number {
    return path === this.#preferred ? -1 : path.number;
  }

  /** Changes which paths are used, all of it or nothing; a RangeError says what is wrong. */
  set({ prefer, forbid = [], allow = [] }: PathChange): void {
    const { self } = this.#options;
    const preferred = typeof prefer === 'string' ? this.#named(prefer) : undefined;
    if (prefer !== undefined && !this.#dials) {
      const dialer = this.peer.node;
      throw new RangeError(`node ${dialer} chooses which path carries; set it there`);
    }
    const forbidden = new Set(this.#paths.filter(({ isForbidden }) => isForbidden));
    for (const name of forbid) forbidden.add(this.#named(name));
    for (const name of allow) forbidden.delete(this.#named(name));
    if (forbidden.size === this.#paths.length) {
      throw new RangeError(
        `there would be no path left between nodes ${self} and ${this.peer.node}`,
      );
    }
    if (preferred && forbidden.has(preferred)) {
      throw new RangeError(`${preferred.name} cannot be preferred and forbidden`);
    }
    if (prefer !== undefined) this.#preferred = preferred;
    for (const path of this.#paths) {
      path.isForbidden = forbidden.has(path);
      if (!path.isForbidden) continue;
      if (this.#preferred === path) this.#preferred = undefined;
      this.#callOff(path);
      const detail = `node ${self} forbids ${path.name}`;
      path.link?.session.close({ code: 'forbidden', detail });
    }
    for (const name of allow) this.#named(name).readyMs = 0;
    this.#consider();
    this.dial();
  }

  #named(name: string): Path {
    const path = this.#paths.find((one) => one.name === name);
    if (path) return path;
    const known = this.#paths.map((one) => one.name).join(', ');
    throw new RangeError(`the link with node ${this.peer.node} has no path ${name}, but ${known}`);
  }

  /** Ends all attempts to reach the peer; connections that are up stay. */
  release(): void {
    this.#cancelTimer();
    this.#cancelHold();
    for (const path of this.#paths) this.#callOff(path);
  }
}

/**
 * One path to another node: where it is dialled, the connection over it, and how it went so far.
 *
 * A link between two nodes has one path or several (TCP and UDP, or two addresses); bond.ts chooses
 * the one that carries their session.
 */
import type { Backoff } from './backoff.ts';
import { newCompressionCounters, type CompressionState } from './compression.ts';
import type { Link, LinkCounters } from './link.ts';
import type { Down } from './down.ts';
import type { Address, LinkQuality } from './transport.ts';

/** How a path is reached. */
export interface PathAddress extends Address {
  /** What carries it; by default the engine's own transport. */
  transport?: string;
  /** What it is called, once among the paths of a link; by default as its transport. */
  path?: string;
}

// A connection that lasted so long has forgotten the failures before it.
const STABLE_MS = 5000;
// A path that was lost sooner after it was returned to has to be steady for longer.
const CALM_MS = 60_000;
/** A path never has to be steady for longer than this, unless the setting says so. */
export const STEADY_MS_MAX = 60_000;

export interface PathCounters extends LinkCounters {
  staleFrames: number;
  duplicateFrames: number;
}

/** A path, as statistics tell of it. */
export interface PathStatistics extends PathCounters {
  path: string;
  transport: string;
  /** `forbidden`: by this node, while it runs. */
  state: 'up' | 'down' | 'forbidden';
  /** Whether what this node sends goes over it. */
  carries: boolean;
  /** Whether it was asked for, before all others. */
  preferred: boolean;
  /** Address at the other end, while it is up. */
  remote: string | null;
  /** How well it goes, while it is up; null where nothing is known of that. */
  quality: LinkQuality | null;
  /** What it knows of packing, while it is up; null where the peer knows nothing of it. */
  compression: CompressionState | null;
  /** Of the last keepalive that was answered. */
  rttMs: number | null;
  upForMs: number | null;
  /** How long it must be up before it is returned to. */
  steadyMs: number;
  /** How often it came up, and how often the session moved to it from another path. */
  connects: number;
  moves: number;
  handshakeFailures: number;
  lastDown: Down | null;
}

export function newCounters(): PathCounters {
  return {
    framesSent: 0,
    framesReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
    staleFrames: 0,
    duplicateFrames: 0,
    ...newCompressionCounters(),
  };
}

export function addCounters(sum: PathCounters, more: PathCounters): void {
  for (const name of Object.keys(sum) as (keyof PathCounters)[]) sum[name] += more[name];
}

export class Path {
  /** Its place among the paths of the link, at both ends. */
  readonly number: number;
  readonly backoff: Backoff;
  readonly #past: PathCounters = newCounters();
  address: PathAddress;
  name: string;
  transport: string;
  /** The connection that is up, and the one that is being made. */
  link: Link | undefined;
  dialling: Link | undefined;
  isForbidden = false;
  /** When it may be dialled again. */
  readyMs = 0;
  connects = 0;
  moves = 0;
  handshakeFailures = 0;
  lastDown: Down | null = null;
  #upSinceMs = 0;
  #carriesSinceMs: number | undefined;
  // Losses, each within CALM_MS after the session moved to it.
  #relapses = 0;

  constructor(number: number, address: PathAddress, backoff: Backoff) {
    this.number = number;
    this.backoff = backoff;
    this.address = address;
    this.transport = address.transport ?? '';
    this.name = address.path ?? this.transport;
  }

  get isIdle(): boolean {
    return this.link === undefined && this.dialling === undefined && !this.isForbidden;
  }

  get upSinceMs(): number {
    return this.#upSinceMs;
  }

  get counters(): PathCounters {
    const sum = { ...this.#past };
    if (this.link) addCounters(sum, countersOf(this.link));
    return sum;
  }

  opened(link: Link, nowMs: number): void {
    this.dialling = undefined;
    this.link = link;
    this.connects++;
    this.#upSinceMs = nowMs;
  }

  /** The session goes over it. */
  carry(nowMs: number): void {
    this.#carriesSinceMs ??= nowMs;
  }

  /** The session goes over another one. */
  rest(): void {
    this.#carriesSinceMs = undefined;
  }

  /** The connection is gone, and is returned. */
  closed(nowMs: number, why: Down): Link | undefined {
    const { link } = this;
    if (link === undefined) return undefined;
    addCounters(this.#past, countersOf(link));
    this.link = undefined;
    this.lastDown = why;
    if (nowMs - this.#upSinceMs >= STABLE_MS) this.backoff.reset();
    if (this.#carriesSinceMs !== undefined) {
      this.#relapses = nowMs - this.#carriesSinceMs >= CALM_MS ? 0 : this.#relapses + 1;
    }
    this.rest();
    return link;
  }

  /**
   * How long it must be up before it is returned to: `steadyMs`, twice that for each time that it
   * was lost soon after, and a minute at most.
   */
  steadyMs(steadyMs: number): number {
    const grown = steadyMs * 2 ** Math.min(20, Math.max(0, this.#relapses - 1));
    return Math.min(grown, Math.max(steadyMs, STEADY_MS_MAX));
  }

  /** Whether it is up and has been for so long. */
  isSteady(nowMs: number, steadyMs: number): boolean {
    return this.link !== undefined && nowMs - this.#upSinceMs >= this.steadyMs(steadyMs);
  }

  statistics(nowMs: number, { steadyMs }: { steadyMs: number }): PathStatistics {
    const { link } = this;
    return {
      ...this.counters,
      path: this.name,
      transport: this.transport,
      state: link ? 'up' : this.isForbidden ? 'forbidden' : 'down',
      carries: this.#carriesSinceMs !== undefined,
      preferred: false,
      remote: link?.remote ?? null,
      quality: link?.quality ?? null,
      compression: link?.compression ?? null,
      rttMs: link?.session.counters.rttMs ?? null,
      upForMs: link ? Math.round(nowMs - this.#upSinceMs) : null,
      steadyMs: this.steadyMs(steadyMs),
      connects: this.connects,
      moves: this.moves,
      handshakeFailures: this.handshakeFailures,
      lastDown: this.lastDown,
    };
  }
}

function countersOf({ counters, session }: Link): PathCounters {
  const { staleFrames, duplicateFrames } = session.counters;
  return { ...counters, staleFrames, duplicateFrames };
}

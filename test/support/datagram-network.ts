/**
 * A network for datagram endpoints that exists in memory only: it loses, doubles, delays, reorders
 * and damages what goes through, is cut in one direction or both, and its hosts stand still or have
 * clocks that jump. All of it follows from a seed.
 */
import { crc32c } from '../../src/dvk/crc32c.ts';
import type { Credentials } from '../../src/proxies/credentials.ts';
import { DatagramEndpoint } from '../../src/proxies/datagram/endpoint.ts';
import { plainSeal } from '../../src/proxies/datagram/packet.ts';
import { SHARE_BYTES, type Security } from '../../src/proxies/datagram/security.ts';
import type { DatagramSettings } from '../../src/proxies/datagram/settings.ts';
import { keyExchange } from '../../src/proxies/key-exchange.ts';

/** Mulberry32: numbers from 0 to below 1. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Faults {
  /** Probabilities. */
  loss: number;
  duplicate: number;
  damage: number;
  truncate: number;
  /** Each way; jitter reorders. */
  delayMs: number;
  jitterMs: number;
  /** Longest datagram that passes. */
  mtu: number;
}

export const NO_FAULTS: Faults = {
  loss: 0,
  duplicate: 0,
  damage: 0,
  truncate: 0,
  delayMs: 1,
  jitterMs: 0,
  mtu: 1472,
};

interface Flight {
  atMs: number;
  order: number;
  from: string;
  to: string;
  bytes: Uint8Array;
}

export interface HostOptions extends Partial<DatagramSettings> {
  /** Its connections are sealed. */
  credentials?: Credentials | undefined;
  /** What it makes of the key exchange, when it does not play by the rules. */
  cheat?: (security: Security) => Security;
}

/** A host with one endpoint. */
export class SimulatedHost {
  readonly name: string;
  readonly #network: SimulatedNetwork;
  readonly #settings: Partial<DatagramSettings>;
  readonly #cheat: (security: Security) => Security;
  credentials: Credentials | undefined;
  endpoint: DatagramEndpoint;
  /** What its clock is off by. */
  clockMs = 0;
  /** It does nothing before this time; what comes meanwhile waits in its socket, or is dropped. */
  frozenUntilMs = 0;
  /** Whether others use the program of this host too. */
  isShared = false;
  due = false;
  waiting: Flight[] = [];

  constructor(name: string, network: SimulatedNetwork, options: HostOptions) {
    const { credentials, cheat, ...settings } = options;
    this.name = name;
    this.#network = network;
    this.#settings = settings;
    this.credentials = credentials;
    this.#cheat = cheat ?? ((security): Security => security);
    this.endpoint = this.#boot();
  }

  /** The process dies, and another one takes its place and its port. */
  restart(): void {
    this.endpoint = this.#boot();
    this.waiting = [];
  }

  #boot(): DatagramEndpoint {
    const secret = `${this.name} ${this.#network.random()}`;
    const { random } = this.#network;
    const security =
      this.credentials &&
      keyExchange({
        credentials: () => this.credentials!,
        randomKey: () => Uint8Array.from({ length: SHARE_BYTES }, () => 256 * random()),
        nowMs: Date.now,
      });
    return new DatagramEndpoint(
      {
        seal: plainSeal(crc32c),
        security: security && this.#cheat(security),
        send: (to, datagram) => {
          this.#network.carry(this.name, to, datagram);
        },
        wake: () => {
          this.due = true;
        },
        isShared: () => this.isShared,
        hash: (bytes) => keyedHash(secret, bytes),
        random,
        settings: this.#settings,
      },
      this.nowMs,
    );
  }

  get nowMs(): number {
    return this.#network.nowMs + this.clockMs;
  }

  get isFrozen(): boolean {
    return this.#network.nowMs < this.frozenUntilMs;
  }
}

// Not one for real use: what a forger would need to know is all here.
function keyedHash(key: string, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(16);
  const view = new DataView(out.buffer);
  for (let i = 0; i < 4; i++)
    view.setUint32(4 * i, crc32c(bytes, crc32c(Buffer.from(`${key} ${i}`))));
  return out;
}

const SOCKET_DATAGRAMS_MAX = 128;
const TURNS_MAX = 10_000;

export class SimulatedNetwork {
  readonly random: () => number;
  readonly #hosts = new Map<string, SimulatedHost>();
  #flights: Flight[] = [];
  #order = 0;
  nowMs = 0;
  faults: Faults = NO_FAULTS;
  /** Directions that are cut, as `a>b`. */
  readonly cuts = new Set<string>();
  readonly counters = { carried: 0, lost: 0, duplicated: 0, damaged: 0, tooLong: 0 };
  /** Sees every datagram as it is sent, and may change it. */
  tap: ((from: string, to: string, bytes: Uint8Array) => void) | undefined;

  constructor(seed: number) {
    this.random = seeded(seed);
  }

  host(name: string, options: HostOptions = {}): SimulatedHost {
    const host = new SimulatedHost(name, this, options);
    this.#hosts.set(name, host);
    return host;
  }

  /** A datagram leaves `from`. */
  carry(from: string, to: string, sent: Uint8Array): void {
    const { faults, counters, random } = this;
    const datagram = Uint8Array.from(sent);
    this.tap?.(from, to, datagram);
    counters.carried++;
    if (datagram.length > faults.mtu) {
      counters.tooLong++;
      return;
    }
    if (this.cuts.has(`${from}>${to}`) || random() < faults.loss) {
      counters.lost++;
      return;
    }
    this.#launch(from, to, this.#damaged(datagram));
    if (random() >= faults.duplicate) return;
    counters.duplicated++;
    this.#launch(from, to, Uint8Array.from(datagram));
  }

  /** Goes on until `isDone`, or for `forMs`. Returns whether it is done. */
  run(forMs: number, isDone: () => boolean = () => false): boolean {
    const endMs = this.nowMs + forMs;
    let turns = 0;
    while (!isDone()) {
      const nextMs = Math.min(endMs, this.#nextMs());
      turns = nextMs > this.nowMs ? 0 : turns + 1;
      if (turns > TURNS_MAX) throw new Error('the machines do not let time go on');
      if (this.nowMs >= endMs) return false;
      this.nowMs = Math.max(this.nowMs, nextMs);
      this.#deliver();
      for (const host of this.#hosts.values()) this.#runHost(host);
    }
    return true;
  }

  #damaged(datagram: Uint8Array): Uint8Array {
    const { faults, random } = this;
    const bytes = Uint8Array.from(datagram);
    if (random() < faults.damage) {
      this.counters.damaged++;
      const at = Math.floor(random() * bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 + Math.floor(random() * 255));
    }
    if (random() >= faults.truncate) return bytes;
    this.counters.damaged++;
    return bytes.subarray(0, Math.floor(random() * bytes.length));
  }

  #launch(from: string, to: string, bytes: Uint8Array): void {
    const { delayMs, jitterMs } = this.faults;
    const atMs = this.nowMs + delayMs + jitterMs * this.random();
    const flight = { atMs, order: this.#order++, from, to, bytes };
    let place = this.#flights.length;
    while (place > 0 && (this.#flights[place - 1]?.atMs ?? 0) > atMs) place--;
    this.#flights.splice(place, 0, flight);
  }

  #nextMs(): number {
    let nextMs = this.#flights[0]?.atMs ?? Infinity;
    for (const host of this.#hosts.values()) {
      const waitMs = host.due ? 0 : host.endpoint.waitMs(host.nowMs);
      nextMs = Math.min(nextMs, Math.max(this.nowMs + waitMs, host.frozenUntilMs));
    }
    return nextMs;
  }

  #deliver(): void {
    while ((this.#flights[0]?.atMs ?? Infinity) <= this.nowMs) {
      const flight = this.#flights.shift();
      const host = flight && this.#hosts.get(flight.to);
      if (host && host.waiting.length < SOCKET_DATAGRAMS_MAX) host.waiting.push(flight);
      else this.counters.lost++;
    }
  }

  #runHost(host: SimulatedHost): void {
    if (host.isFrozen) return;
    for (const { bytes, from } of host.waiting.splice(0)) {
      host.endpoint.receive(bytes, from, host.nowMs);
    }
    if (!host.due && host.endpoint.waitMs(host.nowMs) > 0) return;
    host.due = false;
    host.endpoint.run(host.nowMs);
  }
}

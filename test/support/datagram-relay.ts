/**
 * A host on the path between a dialer and a listener over UDP or Ethernet: passes datagrams on, and
 * keeps, loses, doubles, swaps and damages them. What it sends has a right checksum of UDP, as
 * after damage in a router's memory.
 */
import { seeded } from './datagram-network.ts';
import type { DatagramKind, DatagramWire } from './datagram-wires.ts';

export interface RelayFaults {
  /** Probabilities. */
  loss: number;
  duplicate: number;
  damage: number;
  /** A datagram is held back until the next one has passed. */
  swap: number;
  /** Each takes so long, and up to `jitterMs` more; none unless told. */
  delayMs?: number;
  jitterMs?: number;
}

export interface Passed {
  /** `dialer` for what the dialer said. */
  from: 'dialer' | 'listener';
  bytes: Buffer;
}

export class DatagramRelay {
  /** Everything that came, as it came, while it `records`. */
  readonly seen: Passed[] = [];
  records = true;
  faults: RelayFaults = { loss: 0, duplicate: 0, damage: 0, swap: 0 };
  damaged = 0;
  readonly #random = seeded(17);
  readonly #outer: DatagramWire;
  readonly #inner: DatagramWire;
  readonly #target: number;
  readonly #held = new Map<DatagramWire, () => void>();
  // The last dialer that was heard.
  #dialer = 0;
  #isClosed = false;

  private constructor(outer: DatagramWire, inner: DatagramWire, target: number) {
    this.#outer = outer;
    this.#inner = inner;
    this.#target = target;
    outer.onDatagram = (bytes, port): void => {
      this.#dialer = port;
      this.#pass(inner, { from: 'dialer', bytes });
    };
    inner.onDatagram = (bytes): void => {
      this.#pass(outer, { from: 'listener', bytes });
    };
  }

  /** `target` is the listener's port on this host. */
  static async open({ open }: DatagramKind, target: number): Promise<DatagramRelay> {
    return new DatagramRelay(await open(), await open(), target);
  }

  /** The port that takes the listener's place. */
  get port(): number {
    return this.#outer.port;
  }

  /** Says something to the listener once more. */
  async replay(bytes: Buffer): Promise<void> {
    await this.#inner.send(bytes, this.#target);
  }

  /** What is on its way is lost. */
  close(): void {
    this.#isClosed = true;
    this.#outer.close();
    this.#inner.close();
  }

  #pass(onward: DatagramWire, passed: Passed): void {
    const random = this.#random;
    const { loss, duplicate, damage, swap, delayMs = 0, jitterMs = 0 } = this.faults;
    if (this.records) this.seen.push(passed);
    if (random() < loss) return;
    const bytes = Buffer.from(passed.bytes);
    if (random() < damage) {
      const at = Math.floor(random() * bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 + Math.floor(random() * 255));
      this.damaged++;
    }
    const port = onward === this.#inner ? this.#target : this.#dialer;
    const sendNow = (): void => {
      if (this.#isClosed) return;
      void onward.send(bytes, port);
      if (random() < duplicate) void onward.send(bytes, port);
    };
    const send = (): void => {
      if (delayMs + jitterMs === 0) sendNow();
      else setTimeout(sendNow, delayMs + jitterMs * random());
    };
    const held = this.#held.get(onward);
    if (held === undefined && random() < swap) {
      this.#held.set(onward, send);
      return;
    }
    send();
    this.#held.delete(onward);
    held?.();
  }
}

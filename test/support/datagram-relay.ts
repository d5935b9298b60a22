/**
 * A host on the path between a dialer and a listener over UDP: passes datagrams on, and keeps,
 * loses, doubles, swaps and damages them. What it sends has a right checksum of UDP, as after
 * damage in a router's memory.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { seeded } from './datagram-network.ts';

const HOST = '127.0.0.1';

export interface RelayFaults {
  /** Probabilities. */
  loss: number;
  duplicate: number;
  damage: number;
  /** A datagram is held back until the next one has passed. */
  swap: number;
}

export interface Passed {
  /** `dialer` for what the dialer said. */
  from: 'dialer' | 'listener';
  bytes: Buffer;
}

export class DatagramRelay {
  /** Everything that came, as it came. */
  readonly seen: Passed[] = [];
  faults: RelayFaults = { loss: 0, duplicate: 0, damage: 0, swap: 0 };
  damaged = 0;
  readonly #random = seeded(17);
  readonly #outer: Socket = createSocket('udp4');
  readonly #inner: Socket = createSocket('udp4');
  readonly #target: number;
  readonly #held = new Map<Socket, () => void>();
  // The last dialer that was heard.
  #dialer = 0;

  /** `target` is the listener's port on this host. */
  constructor(target: number) {
    this.#target = target;
    this.#outer.on('message', (bytes, { port }) => {
      this.#dialer = port;
      this.#pass(this.#inner, { from: 'dialer', bytes });
    });
    this.#inner.on('message', (bytes) => {
      this.#pass(this.#outer, { from: 'listener', bytes });
    });
  }

  /** The port that takes the listener's place. */
  async start(): Promise<number> {
    this.#outer.bind(0, HOST);
    this.#inner.bind(0, HOST);
    await Promise.all([once(this.#outer, 'listening'), once(this.#inner, 'listening')]);
    return this.#outer.address().port;
  }

  /** Says something to the listener once more. */
  async replay(bytes: Buffer): Promise<void> {
    await new Promise<void>((done) => {
      this.#inner.send(bytes, this.#target, HOST, () => {
        done();
      });
    });
  }

  close(): void {
    this.#outer.close();
    this.#inner.close();
  }

  #pass(onward: Socket, passed: Passed): void {
    const random = this.#random;
    const { loss, duplicate, damage, swap } = this.faults;
    this.seen.push(passed);
    if (random() < loss) return;
    const bytes = Buffer.from(passed.bytes);
    if (random() < damage) {
      const at = Math.floor(random() * bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 + Math.floor(random() * 255));
      this.damaged++;
    }
    const port = onward === this.#inner ? this.#target : this.#dialer;
    const send = (): void => {
      onward.send(bytes, port, HOST);
      if (random() < duplicate) onward.send(bytes, port, HOST);
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

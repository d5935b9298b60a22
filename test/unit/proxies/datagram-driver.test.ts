import { describe, expect, it } from 'vitest';

import { DatagramDriver, type DatagramSocket } from '../../../src/proxies/datagram-driver.ts';
import { newCounters } from '../../../src/proxies/datagram/endpoint.ts';
import { DATAGRAM_BYTES_MIN } from '../../../src/proxies/datagram/packet.ts';
import type { Connection, ConnectionEvents } from '../../../src/proxies/transport.ts';

const CALL = new Uint8Array(64).fill(1);

/** One end of a network without loss, whose owner answers whatever comes. */
class End implements ConnectionEvents {
  /** What was sent, and did not arrive yet. */
  readonly sent: Uint8Array[] = [];
  readonly driver: DatagramDriver;
  readonly #name: string;
  readonly #bytes = new Uint8Array(1024);
  #connection: Connection | undefined;
  answers = false;

  constructor(name: string, isBatched: boolean) {
    this.#name = name;
    const socket: DatagramSocket = {
      isBatched,
      send: (_, datagram) => this.sent.push(datagram.slice()),
      flush: () => undefined,
      close: () => undefined,
    };
    this.driver = new DatagramDriver(socket, {
      clock: { nowMs: () => 1000, after: () => () => undefined },
      ...{ security: undefined, counters: newCounters(), admission: undefined },
      // Nothing longer is tried, which would be a packet more.
      settings: { datagramBytesMax: DATAGRAM_BYTES_MIN },
    });
  }

  /** Hands over what `other` has sent, in one go. */
  take(other: End): void {
    const datagrams = other.sent.splice(0);
    for (const datagram of datagrams) this.driver.receive(datagram, other.#name);
    if (datagrams.length > 0) this.driver.settle();
  }

  call(): void {
    this.#connection?.write(CALL, () => undefined);
  }

  opened(connection: Connection): void {
    this.#connection = connection;
  }

  space(): Uint8Array {
    return this.#bytes;
  }

  received(): void {
    if (this.answers) this.call();
  }

  closed(): void {
    this.#connection = undefined;
  }
}

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** Two ends that are connected, of which the second one answers. */
async function connected(isBatched: boolean): Promise<[End, End]> {
  const [near, far] = [new End('near', isBatched), new End('far', isBatched)];
  far.driver.listen(() => far);
  near.driver.endpoint.dial('far', near, 1000);
  for (let quiet = 0; quiet < 4; quiet++) {
    await turn();
    if (near.sent.length + far.sent.length > 0) quiet = 0;
    far.take(near);
    near.take(far);
  }
  far.answers = true;
  return [near, far];
}

describe('the driver of a datagram socket', () => {
  it('sends an answer before it returns to who handed the call over', async () => {
    const [near, far] = await connected(true);

    near.call();
    await Promise.resolve();
    expect(near.sent).toHaveLength(1);
    far.take(near);

    expect(far.sent).toHaveLength(1);
  });

  it('waits for the end of the turn when datagrams come one by one', async () => {
    const [near, far] = await connected(false);

    near.call();
    await turn();
    far.take(near);

    expect(far.sent).toHaveLength(0);
    await turn();
    expect(far.sent).toHaveLength(1);
  });
});

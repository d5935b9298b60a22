// The second lane of a connection over TCP: it has a socket of its own, and what is urgent does not
// wait for what is in it. Sealed and in plain text.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { PREAMBLE_BYTES } from '../../src/proxies/bulk-lane.ts';
import type { PathAddress } from '../../src/proxies/path.ts';
import { tcpTransport } from '../../src/proxies/tcp.ts';
import { tlsTransport } from '../../src/proxies/tls.ts';
import { Lane } from '../../src/proxies/transport.ts';
import type { Connection, ConnectionEvents } from '../../src/proxies/transport.ts';
import type { Address, Listener, Transport } from '../../src/proxies/transport.ts';
import { TestAuthority } from '../support/certificates.ts';

const MIB = 1024 * 1024;
const HOST = '127.0.0.1';

function noise(bytes: number, seed: number): Buffer {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed;
  for (let i = 0; i < words.length; i++)
    words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Buffer.from(words.buffer, 0, bytes);
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

/** Keeps what comes in each lane. */
class LaneEnd implements ConnectionEvents {
  connection: Connection | undefined;
  closedWith: string | undefined;
  isWithdrawn = false;
  readonly bytes: [number, number] = [0, 0];
  readonly #kept: [Buffer[], Buffer[]] = [[], []];
  readonly #buffers = [Buffer.alloc(65536), Buffer.alloc(MIB)] as const;

  opened(connection: Connection): void {
    this.connection = connection;
  }

  space(lane: Lane = Lane.URGENT): Uint8Array {
    return this.#buffers[lane];
  }

  received(bytes: number, lane: Lane = Lane.URGENT): void {
    this.bytes[lane] += bytes;
    this.#kept[lane].push(Buffer.from(this.#buffers[lane].subarray(0, bytes)));
  }

  withdrawn(): void {
    this.isWithdrawn = true;
  }

  closed(reason: string): void {
    this.closedWith = reason;
  }

  all(lane: Lane): Buffer {
    return Buffer.concat(this.#kept[lane]);
  }

  write(bytes: Uint8Array, lane: Lane): void {
    this.connection?.write(bytes, () => undefined, lane);
  }
}

/** Passes sockets on to `target`, and lets tests disturb the second one. */
class Relay {
  readonly #server: Server;
  readonly pairs: { near: Socket; far: Socket }[] = [];
  /** Changes what the dialer sends through socket `index`. */
  onData: (index: number, data: Buffer) => Buffer = (_, data) => data;

  private constructor(target: Address) {
    this.#server = createServer((near) => {
      const far = connect(target.port, HOST);
      const index = this.pairs.push({ near, far }) - 1;
      near.on('data', (data) => far.write(this.onData(index, data)));
      far.on('data', (data) => near.write(data));
      for (const [one, other] of [[near, far] as const, [far, near] as const]) {
        one.on('error', () => undefined);
        one.on('close', () => other.destroy());
      }
    });
  }

  static async start(target: Address): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(0, HOST);
    await once(relay.#server, 'listening');
    return relay;
  }

  get address(): Address {
    return { host: HOST, port: (this.#server.address() as AddressInfo).port };
  }

  close(): void {
    this.#server.close();
    for (const { near, far } of this.pairs) {
      near.destroy();
      far.destroy();
    }
  }
}

const authority = new TestAuthority();
const [dialing, accepting] = [authority.credentials(0), authority.credentials(1)];
const plain = { accepter: tcpTransport(systemClock), dialer: tcpTransport(systemClock) };
const sealed = {
  accepter: tlsTransport(systemClock, () => accepting),
  dialer: tlsTransport(systemClock, () => dialing),
};

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

interface Joined {
  dialer: LaneEnd;
  /** Of each accepted socket. */
  accepted: LaneEnd[];
  address: Address;
}

async function listen(transport: Transport): Promise<{ listener: Listener; accepted: LaneEnd[] }> {
  const accepted: LaneEnd[] = [];
  const listener = await transport.listen({ host: HOST, port: 0 }, () => {
    const end = new LaneEnd();
    accepted.push(end);
    return end;
  });
  cleanups.push(() => {
    for (const end of accepted) end.connection?.destroy();
    listener.close();
  });
  return { listener, accepted };
}

async function dial(transport: Transport, address: Address): Promise<LaneEnd> {
  const dialer = new LaneEnd();
  transport.connect(address, dialer);
  cleanups.push(() => dialer.connection?.destroy());
  await until(() => dialer.connection !== undefined);
  return dialer;
}

async function joined(
  kind: typeof plain,
  via: (target: Address) => Promise<Address> = async (target) => Promise.resolve(target),
): Promise<Joined> {
  const { listener, accepted } = await listen(kind.accepter);
  // As a path between two nodes has it; `path` is an option of node:net as well.
  const address: PathAddress = { host: HOST, port: listener.port, path: 'tcp' };
  const dialer = await dial(kind.dialer, { ...address, ...(await via(address)) });
  await until(() => accepted[0]?.connection !== undefined);
  return { dialer, accepted, address };
}

function widen({ dialer, accepted }: Pick<Joined, 'dialer' | 'accepted'>): void {
  for (const end of [accepted[0], dialer]) end?.connection?.widen?.('a lane');
}

async function widened(kind: typeof plain, via?: (target: Address) => Promise<Address>) {
  const ends = await joined(kind, via);
  const { dialer, accepted } = ends;
  widen(ends);
  await until(() => dialer.connection?.hasLanes === true);
  await until(() => accepted[0]?.connection?.hasLanes === true);
  return { ...ends, accepter: accepted[0]! };
}

describe.each([
  ['in plain text', plain],
  ['sealed', sealed],
] as const)('a TCP connection with two lanes, %s', (_, kind) => {
  it('carries the bytes of each in their order, both ways', async () => {
    const { dialer, accepter, accepted } = await widened(kind);
    const blocks = Array.from({ length: 60 }, (__, i) => noise((i * 79_993) % MIB, i + 1));
    const words = blocks.map((__, i) => noise(100 + i, 1000 + i));

    for (const [i, block] of blocks.entries()) {
      for (const end of [dialer, accepter]) {
        end.write(block, Lane.BULK);
        end.write(words[i]!, Lane.URGENT);
      }
    }
    const [bulky, urgent] = [Buffer.concat(blocks), Buffer.concat(words)];
    for (const end of [accepter, dialer]) {
      await until(() => end.bytes[0] === urgent.length && end.bytes[1] === bulky.length);
      expect(end.all(Lane.BULK).equals(bulky)).toBe(true);
      expect(end.all(Lane.URGENT).equals(urgent)).toBe(true);
    }

    expect(dialer.connection?.bufferedBytes).toBe(0);
    // The second socket was taken for a connection until it said what it is.
    expect(accepted.map(({ isWithdrawn }) => isWithdrawn)).toEqual([false, true]);
  });

  it('lets what is urgent overtake 64 MiB', async () => {
    const { dialer, accepter } = await widened(kind);

    for (let i = 0; i < 64; i++) dialer.write(noise(MIB, 7), Lane.BULK);
    dialer.write(Buffer.alloc(64, 1), Lane.URGENT);
    await until(() => accepter.bytes[Lane.URGENT] === 64);
    const bulkyBefore = accepter.bytes[Lane.BULK];
    await until(() => accepter.bytes[Lane.BULK] === 64 * MIB);

    expect(bulkyBefore).toBeLessThan(64 * MIB);
  });

  it('keeps bulky bytes until their lane is there, and gives all buffers back', async () => {
    const { dialer, accepted } = await joined(kind);
    let given = 0;

    for (let i = 0; i < 3; i++) {
      dialer.connection?.write(noise(100_000, i), () => given++, Lane.BULK);
    }
    const held = dialer.connection?.bufferedBytes;
    widen({ dialer, accepted });
    await until(() => accepted[0]?.bytes[Lane.BULK] === 300_000);
    await until(() => given === 3);

    expect(held).toBe(300_000);
    expect(accepted[0]?.bytes[Lane.URGENT]).toBe(0);
  });

  it('ends as a whole when one socket is cut, and gives all buffers back', async () => {
    let relay: Relay | undefined;
    const { dialer, accepter } = await widened(kind, async (target) => {
      relay = await Relay.start(target);
      cleanups.push(() => relay?.close());
      return relay.address;
    });
    let given = 0;

    dialer.connection?.write(noise(32 * MIB, 1), () => given++, Lane.BULK);
    relay?.pairs[1]?.near.destroy();
    await until(() => dialer.closedWith !== undefined && accepter.closedWith !== undefined);
    await until(() => given === 1);
  });

  it('ends in order: what was written before arrives', async () => {
    const { dialer, accepter } = await widened(kind);

    dialer.write(noise(3 * MIB, 5), Lane.BULK);
    dialer.write(noise(500, 6), Lane.URGENT);
    await until(() => accepter.bytes[Lane.BULK] === 3 * MIB);
    dialer.connection?.end();
    await until(() => dialer.closedWith !== undefined && accepter.closedWith !== undefined);

    expect(accepter.bytes).toEqual([500, 3 * MIB]);
    expect(accepter.closedWith).toBe('closed by the peer');
  });

  it('goes on with one lane when the peer refuses the second', async () => {
    const { listener, accepted } = await listen(kind.accepter);
    // Between two others the second socket names nothing.
    const other = await listen(kind.accepter);
    const target = { host: HOST, port: listener.port };
    const relay = await Relay.start(target);
    cleanups.push(() => relay.close());
    const dialer = await dial(kind.dialer, relay.address);
    await until(() => accepted[0]?.connection !== undefined);
    target.port = other.listener.port;

    widen({ dialer, accepted });
    await until(() => other.accepted[0]?.isWithdrawn === true);
    await until(() => relay.pairs[1]?.near.destroyed === true);
    dialer.write(noise(1000, 1), Lane.URGENT);
    await until(() => accepted[0]?.bytes[Lane.URGENT] === 1000);

    expect(dialer.connection?.hasLanes).toBe(false);
    expect([dialer.closedWith, accepted[0]?.closedWith]).toEqual([undefined, undefined]);
  });

  it('is not to be had for a stranger who makes up a name', async () => {
    const { accepted, address, dialer } = await joined(kind);
    accepted[0]?.connection?.widen?.('a lane');
    const socket = connect(address.port, HOST);
    const preamble = Buffer.alloc(PREAMBLE_BYTES);
    preamble.write('DVKLanybody');

    socket.write(preamble);
    socket.resume();
    await once(socket, 'close');
    await until(() => accepted[1]?.isWithdrawn === true);

    expect(dialer.connection?.hasLanes).toBe(false);
    expect(accepted[1]?.closedWith).toBeUndefined();
  });
});

describe('a sealed lane', () => {
  it('takes new keys as records go by', async () => {
    const { dialer, accepter } = await widened(sealed);

    for (let i = 0; i < 10_000; i++) dialer.write(Buffer.alloc(3, i), Lane.BULK);
    await until(() => accepter.bytes[Lane.BULK] === 30_000);

    const all = accepter.all(Lane.BULK);
    expect(all.every((byte, i) => byte === (Math.floor(i / 3) & 0xff))).toBe(true);
  });

  it.each([
    ['a bit of a body', 20],
    ['its length', 2],
  ])('ends the connection when %s was changed', async (__, at) => {
    let relay: Relay | undefined;
    const { dialer, accepter } = await widened(sealed, async (target) => {
      relay = await Relay.start(target);
      return relay.address;
    });
    cleanups.push(() => relay?.close());
    relay!.onData = (index, data) => {
      if (index === 1) data[at] = (data[at] ?? 0) ^ 4;
      return data;
    };

    dialer.write(noise(1000, 1), Lane.BULK);
    await until(() => dialer.closedWith !== undefined && accepter.closedWith !== undefined);

    expect(accepter.bytes[Lane.BULK]).toBe(0);
    expect(accepter.closedWith).toMatch(/^a record /);
  });
});

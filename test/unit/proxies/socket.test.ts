// Writes that the kernel takes at once: with them and without the same bytes come, in their order,
// and each write is told of once. Method: real sockets, a reader that stops now and then, random
// lengths from a fixed seed.
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { sendAtOnce, setTcpCongestion } from '../../../src/dvk/tcp-info.ts';
import { TURN_BYTES } from '../../../src/proxies/courtesy.ts';
import { reading, writeAtOnce } from '../../../src/proxies/socket.ts';
import { seeded } from '../../support/datagram-network.ts';

const WRITES = 60;
const LONGEST = 400_000;

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

async function pair(): Promise<{ near: Socket; far: Socket }> {
  const server: Server = createServer();
  server.listen({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  const near = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  const [far] = (await once(server, 'connection')) as [Socket];
  await once(near, 'connect');
  for (const socket of [near, far]) socket.on('error', () => undefined);
  cleanups.push(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far };
}

function descriptorOf(socket: Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

interface Came {
  bytes: Buffer;
  /** In the order of the writes. */
  done: number[];
  /** Writes that were done when the call returned. */
  atOnce: number;
}

/** Writes blocks; `write` is how. The reader stops until the writer has been stopped by that. */
async function carry(write: typeof writeAtOnce, blocks: readonly Uint8Array[]): Promise<Came> {
  const { near, far } = await pair();
  const pieces: Buffer[] = [];
  const came: Came = { bytes: Buffer.alloc(0), done: [], atOnce: 0 };
  const wanted = blocks.reduce((sum, { length }) => sum + length, 0);
  let bytes = 0;
  far.pause();
  for (const [i, block] of blocks.entries()) {
    // It may be changed when it is done.
    const own = Uint8Array.from(block);
    const isDone = write(near, own, () => {
      came.done.push(i);
      own.fill(0);
    });
    if (isDone) came.atOnce++;
    if (i % 20 === 19) await new Promise((resolve) => setImmediate(resolve));
  }
  far.on('data', (piece) => {
    pieces.push(piece);
    bytes += piece.length;
  });
  far.resume();
  while (bytes < wanted || came.done.length < blocks.length) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  return { ...came, bytes: Buffer.concat(pieces) };
}

describe('writes that the kernel takes at once', () => {
  it('bring what those of a stream bring', async () => {
    const random = seeded(7);
    const blocks = Array.from({ length: WRITES }, (_, i) =>
      new Uint8Array(Math.floor(random() * LONGEST)).fill(i + 1),
    );
    const order = blocks.map((_, i) => i);

    const fast = await carry(writeAtOnce, blocks);
    const slow = await carry((socket, bytes, done) => {
      socket.write(bytes, () => {
        done();
      });
      return false;
    }, blocks);

    expect(fast.bytes.equals(slow.bytes)).toBe(true);
    expect(fast.bytes.equals(Buffer.concat(blocks))).toBe(true);
    expect(fast.done).toEqual(order);
    expect(slow.done).toEqual(order);
    // Some were taken whole, and others waited for the reader.
    expect(fast.atOnce).toBeGreaterThan(0);
    expect(fast.atOnce).toBeLessThan(WRITES);
  });

  it('are told of when the socket has gone', async () => {
    const { near, far } = await pair();
    far.destroy();
    near.destroy();
    let done = 0;

    expect(writeAtOnce(near, new Uint8Array(10), () => done++)).toBe(false);
    while (done === 0) await new Promise((resolve) => setImmediate(resolve));

    expect(done).toBe(1);
  });

  it('go to sockets alone', async () => {
    const file = openSync('/dev/null', 'w');
    cleanups.push(() => {
      closeSync(file);
    });
    const { near } = await pair();

    expect(sendAtOnce(file, new Uint8Array(10))).toBe(0);
    expect(sendAtOnce(descriptorOf(near), new Uint8Array(10))).toBe(10);
  });
});

describe('a socket that has much to read', () => {
  it('leaves the others their turn, and brings all of it', async () => {
    const all = Buffer.alloc(32 * TURN_BYTES, 7);
    const room = Buffer.alloc(65_536);
    const server = createServer((socket) => socket.end(all));
    server.listen({ host: '127.0.0.1', port: 0 });
    await once(server, 'listening');
    let bytes = 0;
    let turnBytes = 0;
    let most = 0;
    const reader = {
      space: () => room,
      received: (count: number): void => {
        expect(room[count - 1]).toBe(7);
        bytes += count;
        if (turnBytes === 0) setImmediate(() => (turnBytes = 0));
        turnBytes += count;
        most = Math.max(most, turnBytes);
      },
    };
    const { port } = server.address() as AddressInfo;
    const socket: Socket = connect({
      host: '127.0.0.1',
      port,
      onread: reading(reader, () => socket),
    });
    cleanups.push(() => {
      socket.destroy();
      server.close();
    });

    await once(socket, 'close');

    expect(bytes).toBe(all.length);
    expect(most).toBeLessThan(TURN_BYTES + room.length);
  });
});

describe('congestion control', () => {
  it('is one that the kernel has', async () => {
    const { near } = await pair();
    const fd = descriptorOf(near);

    expect(setTcpCongestion(fd, 'reno')).toBe(true);
    expect(setTcpCongestion(fd, 'of nobody')).toBe(false);
  });
});

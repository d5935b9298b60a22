// UDP sockets through which many datagrams go with one system call: what comes is what was sent, as
// with the sockets of Node.js, which send and receive one at a time.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { tuneDatagramSocket } from '../../src/dvk/datagram-socket.ts';
import { isDvkError } from '../../src/dvk/errors.ts';
import { native } from '../../src/dvk/native.ts';
import { UdpSocket } from '../../src/dvk/udp-socket.ts';
import { seeded } from '../support/datagram-network.ts';
import { NamespacePair, whyNoNamespaces, within } from '../support/network-namespaces.ts';

const SEED = 20261123;
const ROUNDS = 60;
const DATAGRAM_BYTES_MAX = 16_384;

interface Handle {
  fd: number;
  recvStop(): void;
}

const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function handleOf(socket: Socket): Handle {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    (one) => one.description === 'state symbol',
  );
  return (socket as unknown as Record<symbol, { handle: Handle }>)[symbol!]!.handle;
}

/** Bound when this returns: names are not looked up later. */
function bound(host: string): Socket {
  const family = host.includes(':') ? 6 : 4;
  const socket = createSocket({
    type: `udp${family}`,
    lookup: (name, _, callback) => {
      callback(null, name, family);
    },
  });
  cleanups.push(() => socket.close());
  socket.bind(0, host);
  expect(tuneDatagramSocket(handleOf(socket).fd, 4 * 1024 * 1024)).toBe(0);
  return socket;
}

function batched(
  socket: Socket,
  options: { apart?: boolean; sendBytesMax?: number } = {},
): UdpSocket {
  const { fd, recvStop } = handleOf(socket);
  recvStop.call(handleOf(socket));
  const made = new UdpSocket({ fd, sendBytesMax: DATAGRAM_BYTES_MAX, ...options });
  cleanups.push(() => {
    made.close();
  });
  return made;
}

/** What a socket gets; resolves when that is `count` datagrams. */
async function taken(socket: Socket | UdpSocket, count: number): Promise<[string, string][]> {
  const came: [string, string][] = [];
  await new Promise<void>((done) => {
    const take = (datagram: Uint8Array, from: string): void => {
      came.push([Buffer.from(datagram).toString('base64'), from]);
      if (came.length === count) done();
    };
    if (socket instanceof UdpSocket) {
      socket.watch(
        () => socket.receive(take),
        (code) => {
          throw new Error(code);
        },
      );
    } else {
      socket.on('message', (datagram, { address, port, family }) => {
        take(datagram, family === 'IPv6' ? `[${address}]:${port}` : `${address}:${port}`);
      });
    }
  });
  return came;
}

/** Lengths as links have them, in runs: many as long as can be, one that is shorter, calls. */
function* lengths(random: () => number): Generator<number> {
  for (let round = 0; round < ROUNDS; round++) {
    const bytes = [0, 1, 192, 1200, 1472, 8972, 16_332][Math.floor(random() * 7)] ?? 0;
    const run = 1 + Math.floor(random() * 12);
    for (let i = 0; i < run; i++) yield bytes;
    if (random() < 0.5) yield Math.floor(random() * (bytes + 1));
  }
}

describe.each(['127.0.0.1', '::1'])('datagrams over %s', (host) => {
  it.each([
    ['many at a time', true, true],
    ['sent many at a time', true, false],
    ['taken many at a time', false, true],
  ] as const)('arrive as they are, %s', async (_, sendsMany, takesMany) => {
    const random = seeded(SEED);
    const [from, to] = [bound(host), bound(host)];
    const { port } = to.address();
    const sender = batched(from, { apart: !sendsMany });
    const receiver = takesMany ? batched(to) : to;
    const name = host.includes(':') ? `[${host}]:` : `${host}:`;
    const sent: string[] = [];
    const all = [...lengths(random)];
    const came = taken(receiver, all.length);

    for (const [i, bytes] of all.entries()) {
      if (sender.isFull) {
        sender.flush((place, __, code) => expect.fail(`${place}: ${code}`));
        // The receiver's buffer holds no more than that of them.
        await new Promise((done) => setImmediate(done));
      }
      const place = sender.space().subarray(0, bytes);
      for (let at = 0; at < bytes; at++) place[at] = (i * 31 + at * 7) & 0xff;
      sent.push(Buffer.from(place).toString('base64'));
      sender.queue(bytes, `${name}${port}`);
    }
    sender.flush((place, __, code) => expect.fail(`${place}: ${code}`));

    const got = await came;
    expect(got.map(([datagram]) => datagram)).toEqual(sent);
    expect(new Set(got.map(([, who]) => who))).toEqual(new Set([`${name}${from.address().port}`]));
  });
});

describe('a socket', () => {
  it('that is connected sends where it is, and hears that nobody listens', async () => {
    const [from, to] = [bound('127.0.0.1'), bound('127.0.0.1')];
    from.connect(to.address().port, '127.0.0.1');
    await once(from, 'connect');
    const socket = batched(from);
    const came = taken(to, 1);

    socket.space().set([1, 2, 3]);
    socket.queue(3);
    socket.flush(() => expect.fail());
    expect(await came).toEqual([['AQID', `127.0.0.1:${from.address().port}`]]);
    cleanups.splice(1, 1);
    await new Promise<void>((done) => to.close(done));
    const told = new Promise((done) => {
      socket.watch(() => socket.receive(() => undefined), done);
    });
    socket.queue(3);
    socket.flush(() => undefined);

    expect(await told).toBe('ECONNREFUSED');
  });

  it('is one of UDP that is open', () => {
    const file = openSync('/dev/null', 'r');
    cleanups.push(() => {
      closeSync(file);
    });
    for (const [fd, code] of [
      [-1, 'EBADF'],
      [file, 'ENOTSOCK'],
    ] as const) {
      expect(() => new UdpSocket({ fd, sendBytesMax: 10 })).toThrow(
        expect.toSatisfy((error) => isDvkError(error, code)) as Error,
      );
    }
  });

  it('is sent nothing that does not fit, or goes nowhere', () => {
    const socket = batched(bound('127.0.0.1'));

    expect(() => {
      socket.queue(1, 'nowhere');
    }).toThrow(/EINVAL/);
    expect(native().udpAddress('::1%nowhere', 1, new Int32Array(7))).toBe(-22);
    expect(native().udpAddress('127.0.0.1', 65_536, new Int32Array(7))).toBe(-22);
    expect(native().udpName(new Int32Array(7))).toBe('');
    const memory = new Uint8Array(64 * (100 + 36));
    new Int32Array(memory.buffer, 6400).fill(101);
    expect(native().udpSend(handleOf(bound('127.0.0.1')).fd, memory, 0, 1, true)).toBe(-22);
  });
});

describe('a cable with an MTU of 1500', () => {
  const noNamespaces = whyNoNamespaces();

  it.skipIf(noNamespaces !== undefined)('refuses what is too long, and nothing else', async () => {
    const pair = new NamespacePair();
    cleanups.push(() => {
      pair.remove();
    });
    const ends = [0, 1] as const;
    const [from, to] = ends.map((end) =>
      within(pair.names[end], () => bound(pair.addresses[end])),
    ) as [Socket, Socket];
    const sender = batched(from);
    const receiver = batched(to);
    const all = [1472, 1472, 1472, 4000, 4000, 1400, 1400, 1400, 20, 1473, 9];
    const came = taken(receiver, 8);

    const failed: [number, number, string][] = [];
    for (const [i, bytes] of all.entries()) {
      sender.space().fill(i, 0, bytes);
      sender.queue(bytes, `${pair.addresses[1]}:${to.address().port}`);
    }
    sender.flush((place, bytes, code) => {
      failed.push([place, bytes, code]);
    });

    expect(failed).toEqual([3, 4, 9].map((place) => [place, all[place], 'EMSGSIZE']));
    const got = (await came).map(([datagram]) => Buffer.from(datagram, 'base64'));
    const right = [0, 1, 2, 5, 6, 7, 8, 10];
    expect(got.map(({ length }) => length)).toEqual(right.map((i) => all[i]));
    expect(got.map(([first]) => first)).toEqual(right);
  });
});

/**
 * A host on the path of one link, as a program: it passes on what comes, and does to it what its
 * parent says over IPC.
 *
 * `relay.js tcp|udp SEED`. It sends `{port}`, where it listens on loopback. Orders: `target` (where
 * the listener is), `cut` (connections are reset, which both ends notice), `silent` (nothing
 * passes, which nobody is told), `loss` and `swap` (probabilities for datagrams; one that is
 * swapped comes after the next one).
 */
import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { seeded } from './random.ts';

export interface RelayOrder {
  target?: { host: string; port: number };
  cut?: true;
  silent?: boolean;
  loss?: number;
  swap?: number;
}

const HOST = '127.0.0.1';
// Dialers that are remembered; each attempt to dial has a port of its own.
const DIALERS_MAX = 32;

let target = { host: HOST, port: 0 };
let silent = false;
let loss = 0;
let swap = 0;
const random = seeded(Number(process.argv[3] ?? 1));
const sockets = new Set<Socket>();

function ready(port: number): void {
  process.send?.({ port });
}

function relayStreams(): void {
  const server = createServer((near) => {
    if (target.port === 0) {
      near.destroy();
      return;
    }
    const far = connect(target);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.setNoDelay(true);
      from.on('data', (bytes) => {
        if (!to.write(bytes)) from.pause();
      });
      to.on('drain', () => {
        if (!silent) from.resume();
      });
      from.on('error', () => undefined);
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      if (silent) from.pause();
    }
  });
  server.listen(0, HOST, () => {
    ready((server.address() as AddressInfo).port);
  });
}

/** Sends on, or loses, or keeps until the next one. */
function passer(send: (bytes: Buffer) => void): (bytes: Buffer) => void {
  let held: Buffer | undefined;
  return (bytes) => {
    // Before the listener has a port there is nobody to hear it.
    if (silent || target.port === 0 || random() < loss) return;
    if (held === undefined && random() < swap) {
      held = bytes;
      return;
    }
    send(bytes);
    if (held) send(held);
    held = undefined;
  };
}

function relayDatagrams(): void {
  const outer = createSocket('udp4');
  const dialers = new Map<number, { inner: DatagramSocket; pass: (bytes: Buffer) => void }>();
  const dialer = (port: number): ((bytes: Buffer) => void) => {
    const known = dialers.get(port);
    if (known) return known.pass;
    const inner = createSocket('udp4');
    const pass = passer((bytes) => {
      inner.send(bytes, target.port, target.host);
    });
    const back = passer((bytes) => {
      outer.send(bytes, port, HOST);
    });
    inner.on('message', back);
    inner.on('error', () => undefined);
    dialers.set(port, { inner, pass });
    const [oldest] = dialers;
    if (oldest && dialers.size > DIALERS_MAX) {
      oldest[1].inner.close();
      dialers.delete(oldest[0]);
    }
    return pass;
  };
  outer.on('message', (bytes, { port }) => {
    dialer(port)(bytes);
  });
  outer.on('error', () => undefined);
  outer.bind(0, HOST, () => {
    ready(outer.address().port);
  });
}

process.on('message', (order: RelayOrder) => {
  target = order.target ?? target;
  loss = order.loss ?? loss;
  swap = order.swap ?? swap;
  if (order.silent !== undefined) {
    silent = order.silent;
    for (const socket of sockets) {
      if (silent) socket.pause();
      else socket.resume();
    }
  }
  if (order.cut) for (const socket of sockets) socket.resetAndDestroy();
});
process.on('disconnect', () => process.exit(0));

if (process.argv[2] === 'udp') relayDatagrams();
else relayStreams();

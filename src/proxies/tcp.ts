/**
 * TCP between nodes, on Node's own sockets.
 *
 * Frames are written as one piece, so Nagle's algorithm only delays them: it is off. A socket reads
 * straight into the owner's buffer, up to megabytes at a time; by 'data' events, which bring 64 KiB
 * each in a buffer of their own, long frames move at half the speed. Node offers that for dialled
 * sockets only, so an accepted one is taken over by its handle. When one side ends, the other ends
 * too: there are no half-open connections.
 */
import { connect as connectSocket, createServer, Socket } from 'node:net';
import type { AddressInfo, OnReadOpts } from 'node:net';
import type { Clock } from '../dvk/clock.ts';
import type { Address, Connection, ConnectionEvents, Listener, Transport } from './transport.ts';

// The kernel asks an idle peer's host whether it lives; the session's own keepalive is much faster.
const KEEPALIVE_IDLE_MS = 10_000;
const END_WAIT_MS = 1000;
const BACKLOG = 128;

class TcpConnection implements Connection {
  readonly remote: string;
  readonly #socket: Socket;
  readonly #clock: Clock;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.remote = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#socket.write(bytes, () => {
      done();
    });
  }

  end(): void {
    const cancel = this.#clock.after(END_WAIT_MS, () => {
      this.#socket.destroy();
    });
    this.#socket.once('close', cancel);
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

// Wires what both kinds of socket share.
function join(socket: Socket, events: ConnectionEvents): void {
  let reason = 'closed by the peer';
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reason = error.code ?? error.message;
  });
  socket.on('close', () => {
    events.closed(reason);
  });
}

function reading(events: ConnectionEvents, isOver: () => boolean): OnReadOpts {
  return {
    buffer: () => events.space(),
    callback: (bytes) => {
      if (!isOver()) events.received(bytes);
      return true;
    },
  };
}

/**
 * The accepted connection as a socket that reads into the owner's buffer, or undefined when this
 * Node has no such handle. Precondition: nothing was read yet (`pauseOnConnect`).
 */
function takeOver(accepted: Socket, events: ConnectionEvents): Socket | undefined {
  const inner = accepted as unknown as { _handle?: object | null };
  const handle = inner._handle;
  if (handle === null || handle === undefined) return undefined;
  inner._handle = null;
  const options = { handle, onread: reading(events, () => socket.destroyed) };
  const socket: Socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  return socket;
}

function pass(chunk: Uint8Array, events: ConnectionEvents): void {
  for (let at = 0; at < chunk.length;) {
    const space = events.space();
    const part = chunk.subarray(at, at + space.length);
    space.set(part);
    events.received(part.length);
    at += part.length;
  }
}

function copyFrom(socket: Socket, events: ConnectionEvents): void {
  socket.on('data', (chunk) => {
    if (!socket.destroyed) pass(chunk, events);
  });
  socket.resume();
}

export interface TcpOptions {
  /** Reads accepted sockets by 'data' events even where their handles can be had. */
  copyAccepted?: boolean;
}

/** The TCP transport; `clock` times the end of connections. */
export function tcpTransport(clock: Clock, options: TcpOptions = {}): Transport {
  async function listen(
    address: Address,
    accept: () => ConnectionEvents | undefined,
  ): Promise<Listener> {
    const server = createServer({
      pauseOnConnect: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_IDLE_MS,
    });
    server.on('connection', (socket) => {
      const events = accept();
      if (events === undefined) {
        socket.destroy();
        return;
      }
      const own = options.copyAccepted === true ? undefined : takeOver(socket, events);
      join(own ?? socket, events);
      events.opened(new TcpConnection(own ?? socket, clock));
      if (!own) copyFrom(socket, events);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    // Running out of descriptors must not end the proxy; the peer dials again.
    server.on('error', () => undefined);
    return {
      port: (server.address() as AddressInfo).port,
      close: () => server.close(),
    };
  }

  function connect(address: Address, events: ConnectionEvents): () => void {
    const socket: Socket = connectSocket({
      host: address.host,
      port: address.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_IDLE_MS,
      onread: reading(events, () => socket.destroyed),
    });
    join(socket, events);
    socket.on('connect', () => {
      events.opened(new TcpConnection(socket, clock));
    });
    return () => {
      socket.destroy();
    };
  }

  return { name: 'tcp', listen, connect };
}

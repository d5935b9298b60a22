/**
 * TCP between nodes in plain text, on Node's own sockets; for networks that need no protection, and
 * benches. The sealed form is in tls.ts.
 *
 * A socket reads straight into the owner's buffer, up to megabytes at a time; by 'data' events,
 * which bring 64 KiB each in a buffer of their own, long frames move at half the speed. Node offers
 * that for dialled sockets only: an accepted one comes ready-made, and neither its descriptor nor
 * an option for it can be had. So its handle is taken over, by a name that Node does not promise;
 * without it, 'data' events serve. When one side ends, the other ends too: there are no half-open
 * connections.
 */
import { connect as connectSocket, createServer, Socket } from 'node:net';
import type { Clock } from '../dvk/clock.ts';
import { copyFrom, listenAt, reading, SOCKET_OPTIONS, SocketConnection } from './socket.ts';
import type { Accept, Address, ConnectionEvents, Listener, Transport } from './transport.ts';

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

export interface TcpOptions {
  /** Reads accepted sockets by 'data' events even where their handles can be had. */
  copyAccepted?: boolean;
}

/** The TCP transport; `clock` times the end of connections. */
export function tcpTransport(clock: Clock, options: TcpOptions = {}): Transport {
  async function listen(address: Address, accept: Accept): Promise<Listener> {
    const server = createServer({ pauseOnConnect: true, ...SOCKET_OPTIONS });
    server.on('connection', (socket) => {
      const events = accept(() => undefined);
      if (events === undefined) {
        socket.destroy();
        return;
      }
      const own = options.copyAccepted === true ? undefined : takeOver(socket, events);
      join(own ?? socket, events);
      events.opened(new SocketConnection(own ?? socket, clock));
      if (!own) copyFrom(socket, events);
    });
    return await listenAt(server, address);
  }

  function connect(address: Address, events: ConnectionEvents): () => void {
    const socket: Socket = connectSocket({
      host: address.host,
      port: address.port,
      ...SOCKET_OPTIONS,
      onread: reading(events, () => socket.destroyed),
    });
    join(socket, events);
    socket.on('connect', () => {
      events.opened(new SocketConnection(socket, clock));
    });
    return () => {
      socket.destroy();
    };
  }

  return { name: 'tcp', sealed: false, listen, connect };
}

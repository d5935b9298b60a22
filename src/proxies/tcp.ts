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
import { connect as connectSocket, createServer, type Socket } from 'node:net';
import type { Clock } from '../dvk/clock.ts';
import { dialLane, isPreamble, LaneDesk, PREAMBLE_BYTES } from './bulk-lane.ts';
import { copyFrom, listenAt, reading, SOCKET_OPTIONS, SocketConnection } from './socket.ts';
import { takeOver, type Reader } from './socket.ts';
import type { Accept, Address, ConnectionEvents, Listener, Transport } from './transport.ts';

/** Tells `events` of the end of a socket. The function returned undoes that. */
function join(socket: Socket, events: ConnectionEvents): () => void {
  let reason = 'closed by the peer';
  socket.on('error', (error: NodeJS.ErrnoException) => {
    reason = error.code ?? error.message;
  });
  const tell = (): void => {
    events.closed(reason);
  };
  socket.on('close', tell);
  return () => {
    socket.off('close', tell);
  };
}

/**
 * Reads what an accepted socket brings: its first bytes tell whether it is a connection, or the
 * bulky lane of another.
 */
class Doorman implements Reader {
  readonly #events: ConnectionEvents;
  readonly #onLane: (preamble: Buffer) => Reader | undefined;
  #head: Buffer | undefined = Buffer.alloc(PREAMBLE_BYTES);
  #known = 0;
  #reader: Reader;

  constructor(events: ConnectionEvents, onLane: (preamble: Buffer) => Reader | undefined) {
    this.#events = events;
    this.#onLane = onLane;
    this.#reader = events;
  }

  space(): Uint8Array {
    return this.#head?.subarray(this.#known) ?? this.#reader.space();
  }

  received(bytes: number): void {
    if (this.#head === undefined) {
      this.#reader.received(bytes);
      return;
    }
    this.#known += bytes;
    const head = this.#head.subarray(0, this.#known);
    const isLane = isPreamble(head);
    if (isLane === undefined) return;
    this.#head = undefined;
    if (isLane) this.#reader = this.#onLane(head) ?? this.#reader;
    else this.#hand(head);
  }

  #hand(head: Buffer): void {
    for (let at = 0; at < head.length;) {
      const space = this.#events.space();
      const part = head.subarray(at, at + space.length);
      space.set(part);
      at += part.length;
      this.#events.received(part.length);
    }
  }
}

export interface TcpOptions {
  /** Reads accepted sockets by 'data' events even where their handles can be had. */
  copyAccepted?: boolean;
}

/** The TCP transport; `clock` times the end of connections. */
export function tcpTransport(clock: Clock, options: TcpOptions = {}): Transport {
  async function listen(address: Address, accept: Accept): Promise<Listener> {
    const server = createServer({ pauseOnConnect: true, ...SOCKET_OPTIONS });
    const desk = new LaneDesk();
    server.on('connection', (accepted) => {
      const events = accept(() => undefined);
      if (events === undefined) {
        accepted.destroy();
        return;
      }
      const doorman: Doorman = new Doorman(events, (preamble): Reader | undefined => {
        leave();
        events.withdrawn?.();
        const joinable = desk.take(preamble);
        if (joinable === undefined) socket.destroy();
        return joinable && LaneDesk.join(joinable, () => socket);
      });
      const own = options.copyAccepted === true ? undefined : takeOver(accepted, doorman);
      const socket: Socket = own ?? accepted;
      const leave = join(socket, events);
      const letIn = (connection: SocketConnection, name: string): void => {
        desk.add({ connection, ticket: { name }, events });
      };
      events.opened(new SocketConnection(socket, clock, { makeLane: letIn }));
      if (!own) copyFrom(socket, doorman);
    });
    return await listenAt(server, address);
  }

  function connect(address: Address, events: ConnectionEvents): () => void {
    const socket: Socket = connectSocket({
      host: address.host,
      port: address.port,
      ...SOCKET_OPTIONS,
      onread: reading(events, () => socket),
    });
    join(socket, events);
    const dialOwn = (connection: SocketConnection, name: string): void => {
      dialLane(connection, { address, ticket: { name }, events }, clock);
    };
    socket.on('connect', () => {
      events.opened(new SocketConnection(socket, clock, { makeLane: dialOwn }));
    });
    return () => {
      socket.destroy();
    };
  }

  return { name: 'tcp', sealed: false, listen, connect };
}

/** What plain and sealed connections over TCP have in common. */
import type { OnReadOpts, Server, Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../dvk/clock.ts';
import { tcpInfo } from '../dvk/tcp-info.ts';
import type { PeerCertificate } from './identity.ts';
import type { Address, Connection, ConnectionEvents, LinkQuality, Listener } from './transport.ts';

const END_WAIT_MS = 1000;
const BACKLOG = 128;

/**
 * Frames are written as one piece, so Nagle's algorithm only delays them. The kernel asks an idle
 * peer's host whether it lives; the session's own keepalive is much faster.
 */
export const SOCKET_OPTIONS = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 10_000,
} as const;

/** Undefined when this Node.js keeps the descriptor elsewhere, or there is none any more. */
function qualityOf(socket: Socket): LinkQuality | undefined {
  const { fd = -1 } = (socket as unknown as { _handle?: { fd?: number } | null })._handle ?? {};
  const info = fd < 0 ? undefined : tcpInfo(fd);
  if (info === undefined) return undefined;
  const { rttMs, rttVariationMs, rttMinMs, segmentBytes, windowBytes } = info;
  return {
    ...{ rttMs, rttVariationMs, rttMinMs, windowBytes, datagramBytes: segmentBytes },
    packetsSent: info.segmentsSent,
    packetsReceived: info.segmentsReceived,
    packetsLost: info.resent,
    spuriousLosses: null,
    timeouts: null,
    duplicates: null,
    rekeys: null,
  };
}

export class SocketConnection implements Connection {
  readonly remote: string;
  readonly peer?: PeerCertificate;
  readonly #socket: Socket;
  readonly #clock: Clock;

  constructor(socket: Socket, clock: Clock, peer?: PeerCertificate) {
    this.#socket = socket;
    this.#clock = clock;
    this.remote = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
    if (peer) this.peer = peer;
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  get quality(): LinkQuality | undefined {
    return qualityOf(this.#socket);
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

/** Lets a socket read straight into the owner's buffer. */
export function reading(events: ConnectionEvents, isOver: () => boolean): OnReadOpts {
  return {
    buffer: () => events.space(),
    callback: (bytes) => {
      if (!isOver()) events.received(bytes);
      return true;
    },
  };
}

/** Reads by 'data' events, which bring each piece in a buffer of its own. */
export function copyFrom(socket: Socket, events: ConnectionEvents): void {
  socket.on('data', (chunk) => {
    for (let at = 0; at < chunk.length && !socket.destroyed;) {
      const space = events.space();
      const part = chunk.subarray(at, at + space.length);
      space.set(part);
      events.received(part.length);
      at += part.length;
    }
  });
  socket.resume();
}

/** Has `server` listen at `address`. */
export async function listenAt(server: Server, address: Address): Promise<Listener> {
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

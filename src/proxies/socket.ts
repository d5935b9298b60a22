/** What plain and sealed connections over TCP have in common. */
import { Socket, type OnReadOpts, type Server } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { Clock } from '../dvk/clock.ts';
import { descriptorOf } from '../dvk/system.ts';
import { sendAtOnce, setTcpCongestion, tcpInfo, type TcpInfo } from '../dvk/tcp-info.ts';
import { courtesy } from './courtesy.ts';
import type { PeerCertificate } from './identity.ts';
import { Lane } from './transport.ts';
import type { Address, Bandwidth, Connection, LinkQuality, Listener } from './transport.ts';

const END_WAIT_MS = 1000;
// For the second lane, when bytes wait for it.
const LANE_WAIT_MS = 4000;
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

function infoOf(socket: Socket): TcpInfo | undefined {
  const fd = descriptorOf(socket);
  return fd === undefined ? undefined : tcpInfo(fd);
}

/**
 * Between two nodes of one machine there is no network that could be congested, and what some
 * algorithms do for one costs: BBR has the kernel set a timer for each segment. Every kernel has
 * Reno, which sets none.
 */
function easeLocal(socket: Socket): void {
  const fd = socket.localAddress === socket.remoteAddress ? descriptorOf(socket) : undefined;
  if (fd !== undefined) setTcpCongestion(fd, 'reno');
}

function qualityOf(socket: Socket): LinkQuality | undefined {
  const info = infoOf(socket);
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

/**
 * Writes to a socket in plain text, at once what the kernel has room for: the streams of Node take
 * some microseconds for each write, and tell later that it is done. `done` is called, maybe before
 * this returns, when the bytes may be changed. Returns whether it was.
 */
export function writeAtOnce(socket: Socket, bytes: Uint8Array, done: () => void): boolean {
  const isIdle = socket.writable && !socket.connecting && socket.writableLength === 0;
  const fd = isIdle ? descriptorOf(socket) : undefined;
  const sent = fd === undefined ? 0 : sendAtOnce(fd, bytes);
  if (sent > 0 && sent === bytes.length) {
    done();
    return true;
  }
  socket.write(sent === 0 ? bytes : bytes.subarray(sent), () => {
    done();
  });
  return false;
}

/** The lane for bulky bytes, which has a socket of its own. */
interface SecondLane {
  readonly bufferedBytes: number;
  write(bytes: Uint8Array, done: () => void): void;
  end(): void;
  destroy(): void;
}

export interface SocketConnectionOptions {
  peer?: PeerCertificate;
  /** Opens the bulky lane of that name, or lets it in. */
  makeLane: (connection: SocketConnection, name: string) => void;
}

/** A connection over one socket, or over two when it has a lane for bulky bytes. */
export class SocketConnection implements Connection {
  readonly remote: string;
  readonly peer?: PeerCertificate;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #makeLane: SocketConnectionOptions['makeLane'];
  #bulk: SecondLane | undefined;
  #bulkSocket: Socket | undefined;
  // Bulky bytes that wait for their lane.
  #early: { bytes: Uint8Array; done: () => void }[] = [];
  #stopWait: () => void = () => undefined;

  constructor(socket: Socket, clock: Clock, { peer, makeLane }: SocketConnectionOptions) {
    this.#socket = socket;
    this.#clock = clock;
    this.#makeLane = makeLane;
    this.remote = `${socket.remoteAddress ?? '?'}:${socket.remotePort ?? 0}`;
    if (peer) this.peer = peer;
  }

  get hasLanes(): boolean {
    return this.#bulk !== undefined;
  }

  get quality(): LinkQuality | undefined {
    return qualityOf(this.#socket);
  }

  get bandwidth(): Bandwidth | undefined {
    const info = infoOf(this.#bulkSocket ?? this.#socket);
    return info && { bytesPerSecond: info.deliveryRate, isLimited: info.isRateLimited };
  }

  get bufferedBytes(): number {
    const early = this.#early.reduce((sum, { bytes }) => sum + bytes.length, 0);
    return this.#socket.writableLength + early + (this.#bulk?.bufferedBytes ?? 0);
  }

  write(bytes: Uint8Array, done: () => void, lane: Lane = Lane.URGENT): void {
    if (lane === Lane.BULK) {
      this.#writeBulk(bytes, done);
      return;
    }
    this.#socket.write(bytes, () => {
      done();
    });
  }

  widen(name: string): void {
    this.#makeLane(this, name);
  }

  /** The lane has come, through `socket`. From now on both end together. */
  join(lane: SecondLane, socket: Socket): void {
    this.#bulk = lane;
    this.#bulkSocket = socket;
    easeLocal(socket);
    this.#stopWait();
    this.onClose(() => {
      lane.destroy();
    });
    let failure: Error | undefined;
    socket.once('error', (error) => {
      failure = error;
    });
    socket.once('close', () => {
      // The peer ends both; what it says last may be still on its way in the first one.
      if (failure) this.#socket.destroy(failure);
      else this.#destroyLater();
    });
    const early = this.#early;
    this.#early = [];
    for (const { bytes, done } of early) lane.write(bytes, done);
  }

  /** Calls back once, when the connection is gone. */
  onClose(callback: () => void): void {
    if (this.#socket.destroyed) callback();
    else this.#socket.once('close', callback);
  }

  end(): void {
    this.#destroyLater();
    this.#bulk?.end();
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #writeBulk(bytes: Uint8Array, done: () => void): void {
    if (this.#bulk) {
      this.#bulk.write(bytes, done);
      return;
    }
    if (this.#early.length === 0) {
      this.#stopWait = this.#clock.after(LANE_WAIT_MS, () => {
        this.#socket.destroy(new Error('there is no second socket for blocks of data'));
      });
      this.onClose(() => {
        this.#stopWait();
        for (const { done: tell } of this.#early.splice(0)) tell();
      });
    }
    this.#early.push({ bytes, done });
  }

  #destroyLater(): void {
    const cancel = this.#clock.after(END_WAIT_MS, () => {
      this.#socket.destroy();
    });
    this.onClose(cancel);
  }
}

/** Where a socket puts what it reads. */
export interface Reader {
  space(): Uint8Array;
  received(bytes: number): void;
}

/**
 * Lets a socket read straight into the owner's buffer, for one turn at a time: then other sockets
 * have theirs, which may have short commands. libuv by itself reads a socket up to 32 times.
 */
export function reading(
  reader: Reader,
  socketOf: () => Socket,
  isOpen: () => boolean = () => true,
): OnReadOpts {
  let left = courtesy.turnBytes;
  return {
    buffer: () => reader.space(),
    callback: (bytes) => {
      const socket = socketOf();
      if (socket.destroyed || !isOpen()) return true;
      reader.received(bytes);
      left -= bytes;
      if (left > 0) return true;
      left = courtesy.turnBytes;
      setImmediate(() => {
        socket.resume();
      });
      return false;
    },
  };
}

/** Reads by 'data' events, which bring each piece in a buffer of its own. */
export function copyFrom(socket: Socket, reader: Reader): void {
  socket.on('data', (chunk) => {
    for (let at = 0; at < chunk.length && !socket.destroyed;) {
      const space = reader.space();
      const part = chunk.subarray(at, at + space.length);
      space.set(part);
      reader.received(part.length);
      at += part.length;
    }
  });
  socket.resume();
}

/**
 * The accepted connection as a socket that reads into the owner's buffer, or undefined when this
 * Node has no such handle. Precondition: nothing that was read is left in `accepted`.
 */
export function takeOver(accepted: Socket, reader: Reader): Socket | undefined {
  const inner = accepted as unknown as { _handle?: SocketHandle | null };
  const handle = inner._handle;
  if (handle === null || handle === undefined) return undefined;
  if (handle.reading === true) {
    handle.reading = false;
    handle.readStop?.();
  }
  inner._handle = null;
  const options = { handle, onread: reading(reader, () => socket) };
  const socket: Socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
  return socket;
}

interface SocketHandle {
  reading?: boolean;
  readStop?: () => void;
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

/**
 * UDP between nodes: sockets for the machines in datagram/.
 *
 * Sockets are made by dgram-as-promised, and bound and closed through its promises. Its `recv`
 * listens only while it is awaited, so that what comes in between is lost, and a time-out of it is
 * reported again by the next call; the events of the socket below bring one datagram each. So
 * datagrams go past both, many with one system call, by a handle that Node.js does not promise;
 * without it, the events serve.
 *
 * A dialer has a socket for each connection, connected, so that it hears when nobody listens; all
 * connections that a listener has accepted share its socket, which stays as long as one of them
 * does.
 *
 * With credentials connections are sealed, see key-exchange.ts; without, packets are plain: they
 * carry a checksum, and anyone on the path can read and forge them.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIPv6 } from 'node:net';
import { DgramAsPromised } from 'dgram-as-promised';
import type { Clock } from '../dvk/clock.ts';
import { tuneDatagramSocket } from '../dvk/datagram-socket.ts';
import { errorName } from '../dvk/errors.ts';
import { UdpSocket } from '../dvk/udp-socket.ts';
import type { Admission } from './admission.ts';
import type { BusyPoll } from './busy-poll.ts';
import type { Credentials } from './credentials.ts';
import { newCounters } from './datagram/endpoint.ts';
import { DATAGRAM_BYTES_MAX } from './datagram/packet.ts';
import { SHARE_BYTES } from './datagram/security.ts';
import type { DatagramSettings } from './datagram/settings.ts';
import { DatagramDriver, type DatagramSocket, type DriverOptions } from './datagram-driver.ts';
import { keyExchange } from './key-exchange.ts';
import type { Accept, Address, ConnectionEvents, Listener, Transport } from './transport.ts';

// Bursts of a few connections; the host may give less.
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;
// Where fragments cannot be forbidden, nothing longer than Ethernet takes is tried.
const UNTUNED_BYTES_MAX = 1452;
const SPARE_BUFFERS_MAX = 64;
// How long it is looked for an answer before the event loop has its turn, for whoever else waits.
const LOOK_US = 12;

type Bound = ReturnType<typeof DgramAsPromised.createSocket>;

interface Destination {
  host: string;
  port: number;
}

function nameOf(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function destinationOf(name: string): Destination {
  const at = name.lastIndexOf(':');
  return { host: name.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(name.slice(at + 1)) };
}

const codeOf = (error: unknown): string =>
  (error as NodeJS.ErrnoException).code ?? (error instanceof Error ? error.message : 'EIO');

/** What Node.js has below a socket. */
interface Handle {
  readonly fd: number;
  /** Has it take no more datagrams. */
  recvStop(): void;
}

/** That of a bound socket, or undefined when this Node.js keeps it elsewhere. */
function handleOf(socket: Socket): Handle | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state =
    symbol && (socket as unknown as Record<symbol, { handle?: Partial<Handle> }>)[symbol];
  const handle = state?.handle;
  const isKnown = typeof handle?.recvStop === 'function' && (handle.fd ?? -1) >= 0;
  return isKnown ? (handle as Handle) : undefined;
}

/** A socket of the family of `host`, bound to it. */
async function bind(host: string, port: number): Promise<Bound> {
  const isSix = isIPv6(host);
  const family = isSix ? 6 : 4;
  const socket = DgramAsPromised.createSocket({
    type: isSix ? 'udp6' : 'udp4',
    // Addresses are numbers by now; Node's own look-up would take a turn of the event loop for each
    // datagram.
    lookup: (name, _options, callback) => {
      callback(null, name, family);
    },
  });
  try {
    await socket.bind({ address: host, port });
    return socket;
  } catch (error) {
    await socket.close();
    throw error;
  }
}

/** A bound socket that datagrams go through one by one: where its descriptor cannot be had. */
class EventSocket implements DatagramSocket {
  readonly isBatched = false;
  readonly #socket: Socket;
  readonly #bound: Bound;
  readonly #peer: string | undefined;
  readonly #spare: Buffer[] = [];
  readonly driver: DatagramDriver;

  constructor(bound: Bound, peer: string | undefined, options: DriverOptions) {
    this.#bound = bound;
    this.#socket = bound.socket;
    this.#peer = peer;
    this.driver = new DatagramDriver(this, options);
    this.#socket.on('message', (datagram, { address, port }) => {
      this.driver.receive(datagram, peer ?? nameOf(address, port));
      this.driver.settle();
    });
    // Errors of a socket are news of the path, which may be forged; they end only a handshake.
    this.#socket.on('error', (error) => {
      this.driver.endpoint.unreachable(codeOf(error));
    });
  }

  send(to: string, datagram: Uint8Array): void {
    const buffer = this.#spare.pop() ?? Buffer.allocUnsafe(DATAGRAM_BYTES_MAX);
    buffer.set(datagram);
    const bytes = datagram.length;
    const done = (error: Error | null): void => {
      if (this.#spare.length < SPARE_BUFFERS_MAX) this.#spare.push(buffer);
      // Anything else is a lost datagram.
      if (error && codeOf(error) === 'EMSGSIZE') this.driver.endpoint.tooLong(to, bytes);
    };
    if (this.#peer !== undefined) {
      this.#socket.send(buffer, 0, bytes, done);
    } else {
      const { host, port } = destinationOf(to);
      this.#socket.send(buffer, 0, bytes, port, host, done);
    }
  }

  flush(): void {
    // Nothing is held back.
  }

  close(): void {
    void this.#bound.close();
  }
}

/** A bound socket that many datagrams go through at a time. */
class BatchSocket implements DatagramSocket {
  readonly isBatched = true;
  readonly #bound: Bound;
  readonly #peer: string | undefined;
  readonly #poll: BusyPoll | undefined;
  readonly #datagrams: UdpSocket;
  /** To whom the datagrams are that wait. */
  readonly #waiting: string[] = [];
  readonly driver: DatagramDriver;

  /** `datagrams`: the same socket, from which nobody else receives. */
  constructor(
    bound: Bound,
    datagrams: UdpSocket,
    peer: string | undefined,
    options: SocketOptions,
  ) {
    this.#bound = bound;
    this.#datagrams = datagrams;
    this.#peer = peer;
    this.#poll = options.poll;
    bound.socket.on('error', () => undefined);
    this.driver = new DatagramDriver(this, options);
    this.#datagrams.watch(
      () => {
        this.#receive();
      },
      (code) => {
        this.driver.endpoint.unreachable(code);
      },
    );
  }

  send(to: string, datagram: Uint8Array): void {
    if (this.#datagrams.isFull) this.flush();
    this.#datagrams.space().set(datagram);
    this.#waiting[this.#datagrams.queued] = to;
    this.#datagrams.queue(datagram.length, this.#peer === undefined ? to : undefined);
  }

  flush(): void {
    if (this.#datagrams.queued === 0) return;
    // An answer is to come to the socket that has sent last.
    if (this.#poll) this.#poll.look = this.#look;
    this.#datagrams.flush(this.#failed);
  }

  readonly #failed = (place: number, bytes: number, code: string): void => {
    const { endpoint } = this.driver;
    if (code === 'EMSGSIZE') endpoint.tooLong(this.#waiting[place] ?? '', bytes);
    // What the network has told of a datagram before; any other error is a lost one.
    else if (code === 'ECONNREFUSED') endpoint.unreachable(code);
  };

  #receive(spinUs = 0): void {
    const count = this.#datagrams.receive(this.#take, spinUs);
    if (count > 0) this.driver.settle();
    else if (count < 0) this.driver.endpoint.unreachable(errorName(count));
  }

  readonly #take = (datagram: Uint8Array, from: string): void => {
    this.driver.receive(datagram, this.#peer ?? from);
  };

  readonly #look = (): void => {
    this.#receive(LOOK_US);
  };

  close(): void {
    if (this.#poll?.look === this.#look) this.#poll.look = undefined;
    this.#datagrams.close();
    void this.#bound.close();
  }
}

interface SocketOptions extends DriverOptions {
  poll: BusyPoll | undefined;
  byEvents: boolean;
}

/** `peer`: whom the socket is connected to. */
function drive(bound: Bound, peer: string | undefined, options: SocketOptions): DatagramDriver {
  const handle = handleOf(bound.socket);
  const isTuned = handle !== undefined && tuneDatagramSocket(handle.fd, SOCKET_BUFFER_BYTES) === 0;
  const untuned = isTuned ? {} : { datagramBytesMax: UNTUNED_BYTES_MAX };
  const whole = { ...options, settings: { ...untuned, ...options.settings } };
  const datagrams = options.byEvents ? undefined : openedFrom(handle);
  if (datagrams === undefined) return new EventSocket(bound, peer, whole).driver;
  return new BatchSocket(bound, datagrams, peer, whole).driver;
}

/** Undefined when there is no handle, or no descriptor left. */
function openedFrom(handle: Handle | undefined): UdpSocket | undefined {
  if (handle === undefined) return undefined;
  try {
    const opened = new UdpSocket({ fd: handle.fd, sendBytesMax: DATAGRAM_BYTES_MAX });
    handle.recvStop();
    return opened;
  } catch {
    return undefined;
  }
}

async function resolve(host: string): Promise<string> {
  return (await lookup(host)).address;
}

/** Binds any free port and connects it to `address`. */
async function connected(address: Address): Promise<{ bound: Bound; to: string }> {
  const host = await resolve(address.host);
  const bound = await bind(isIPv6(host) ? '::' : '0.0.0.0', 0);
  await new Promise<void>((done, failed) => {
    bound.socket.connect(address.port, host, (error?: Error) => {
      if (error) failed(error);
      else done();
    });
  }).catch(async (error: unknown) => {
    await bound.close();
    throw error;
  });
  return { bound, to: nameOf(host, address.port) };
}

export interface UdpOptions {
  /** What is valid now; others take effect with the next connection. Without, all is plain text. */
  credentials?: (() => Credentials) | undefined;
  settings?: Partial<DatagramSettings>;
  /** How often a host may begin a handshake; one of its own when absent. */
  admission?: Admission | undefined;
  /** Has the answers looked for that come soon. */
  poll?: BusyPoll | undefined;
  /** Datagrams one by one even where many can go at a time. */
  byEvents?: boolean;
}

/** The UDP transport; `clock` is the source of all time but that of certificates. */
export function udpTransport(
  clock: Clock,
  { credentials, settings = {}, admission, poll, byEvents = false }: UdpOptions = {},
): Transport {
  const counters = newCounters();
  const randomKey = (): Uint8Array => randomBytes(SHARE_BYTES);
  const security = credentials && keyExchange({ credentials, randomKey, nowMs: Date.now });
  const tools = { clock, security, counters, admission, poll };
  const options: SocketOptions = { ...tools, settings, byEvents };

  async function listen(address: Address, accept: Accept): Promise<Listener> {
    const bound = await bind(await resolve(address.host), address.port);
    const driver = drive(bound, undefined, options);
    driver.listen(accept);
    return {
      port: bound.address().port,
      close: () => {
        driver.stopListening();
      },
    };
  }

  function connect(address: Address, events: ConnectionEvents): () => void {
    let stop: (() => void) | undefined;
    let isWanted = true;
    connected(address).then(
      ({ bound, to }) => {
        const driver = drive(bound, to, options);
        stop = driver.endpoint.dial(to, events, clock.nowMs());
        if (!isWanted) stop();
      },
      (error: unknown) => {
        events.closed(codeOf(error));
      },
    );
    return () => {
      isWanted = false;
      stop?.();
    };
  }

  return { name: 'udp', sealed: security !== undefined, listen, connect, counters };
}

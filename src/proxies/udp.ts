/**
 * UDP between nodes: sockets for the machines in datagram/.
 *
 * Sockets are made by dgram-as-promised, and bound and closed through its promises. Datagrams are
 * taken from the events of the socket below: its `recv` listens only while it is awaited, so that
 * what comes in between is lost, and a time-out of it is reported again by the next call.
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
import type { Admission } from './admission.ts';
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

/** The descriptor of a bound socket, or undefined when this Node.js keeps it elsewhere. */
function descriptorOf(socket: Socket): number | undefined {
  const symbol = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  );
  const state =
    symbol && (socket as unknown as Record<symbol, { handle?: { fd?: number } }>)[symbol];
  const fd = state?.handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
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

/** A bound socket, as its driver sees it. */
class UdpSocket implements DatagramSocket {
  readonly isBatched = false;
  readonly #socket: Socket;
  readonly #bound: Bound;
  readonly #isConnected: boolean;
  readonly #spare: Buffer[] = [];
  tooLong: (to: string, bytes: number) => void = () => undefined;

  constructor(bound: Bound, isConnected: boolean) {
    this.#bound = bound;
    this.#socket = bound.socket;
    this.#isConnected = isConnected;
  }

  send(to: string, datagram: Uint8Array): void {
    const buffer = this.#spare.pop() ?? Buffer.allocUnsafe(DATAGRAM_BYTES_MAX);
    buffer.set(datagram);
    const bytes = datagram.length;
    const done = (error: Error | null): void => {
      if (this.#spare.length < SPARE_BUFFERS_MAX) this.#spare.push(buffer);
      // Anything else is a lost datagram.
      if (error && codeOf(error) === 'EMSGSIZE') this.tooLong(to, bytes);
    };
    if (this.#isConnected) {
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

function drive(bound: Bound, isConnected: boolean, options: DriverOptions): DatagramDriver {
  const socket = new UdpSocket(bound, isConnected);
  const fd = descriptorOf(bound.socket);
  const isTuned = fd !== undefined && tuneDatagramSocket(fd, SOCKET_BUFFER_BYTES) === 0;
  const untuned = isTuned ? {} : { datagramBytesMax: UNTUNED_BYTES_MAX };
  const settings = { ...untuned, ...options.settings };
  const driver = new DatagramDriver(socket, { ...options, settings });
  socket.tooLong = (to, bytes) => {
    driver.endpoint.tooLong(to, bytes);
  };
  bound.socket.on('message', (datagram, { address, port }) => {
    driver.receive(datagram, nameOf(address, port));
    driver.settle();
  });
  // Errors of a socket are news of the path, which may be forged; they end only a handshake.
  bound.socket.on('error', (error) => {
    driver.endpoint.unreachable(codeOf(error));
  });
  return driver;
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
}

/** The UDP transport; `clock` is the source of all time but that of certificates. */
export function udpTransport(
  clock: Clock,
  { credentials, settings = {}, admission }: UdpOptions = {},
): Transport {
  const counters = newCounters();
  const randomKey = (): Uint8Array => randomBytes(SHARE_BYTES);
  const security = credentials && keyExchange({ credentials, randomKey, nowMs: Date.now });
  const options: DriverOptions = { clock, security, settings, counters, admission };

  async function listen(address: Address, accept: Accept): Promise<Listener> {
    const bound = await bind(await resolve(address.host), address.port);
    const driver = drive(bound, false, options);
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
        const driver = drive(bound, true, options);
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

/**
 * Raw Ethernet between nodes of one network: packet sockets for the machines in datagram/, with an
 * EtherType of our own, no IP below, and frames as long as the interface takes.
 *
 * An address is that of an interface, `02:00:00:00:00:01`, and a port, which tells apart the
 * sockets of one interface: a listener's, and that of each connection that is dialled.
 *
 * With credentials connections are sealed, as over UDP; without, anyone on the network can read and
 * forge what is said.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '../dvk/clock.ts';
import { isDvkError } from '../dvk/errors.ts';
import { DEFAULT_ETHER_TYPE, formatMac, parseMac } from '../dvk/ethernet.ts';
import { ethernetInterface, PacketSocket } from '../dvk/packet-socket.ts';
import type { EthernetInterface, PacketSocketOptions } from '../dvk/packet-socket.ts';
import type { Admission } from './admission.ts';
import type { BusyPoll } from './busy-poll.ts';
import type { Credentials } from './credentials.ts';
import { DatagramDriver, type DatagramSocket, type DriverOptions } from './datagram-driver.ts';
import { newCounters, type EndpointCounters } from './datagram/endpoint.ts';
import { DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN } from './datagram/packet.ts';
import { SHARE_BYTES } from './datagram/security.ts';
import type { DatagramSettings } from './datagram/settings.ts';
import { formatStation, HEAD_BYTES, parseStation, readHead, writeHead } from './ethernet-frame.ts';
import type { Station } from './ethernet-frame.ts';
import { keyExchange } from './key-exchange.ts';
import type { Accept, Address, ConnectionEvents, Listener, Transport } from './transport.ts';

// Bursts of a few connections; the host may give less.
const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;
// An interface that was taken away is looked for so often.
const ATTACH_MS = 500;
// How long it is looked for an answer before the event loop has its turn, for whoever else waits.
const LOOK_US = 12;
// Names of stations that are kept in both forms.
const NAMES_MAX = 256;

/** Names of stations, which every frame has and no frame should have to spell. */
class Names {
  readonly #stations = new Map<string, Station>();
  // The station that was heard last.
  #last: Station = { address: -1, port: 0 };
  #lastName = '';

  nameOf(address: number, port: number): string {
    const { address: lastAddress, port: lastPort } = this.#last;
    if (address === lastAddress && port === lastPort) return this.#lastName;
    this.#last = { address, port };
    this.#lastName = formatStation(this.#last);
    return this.#lastName;
  }

  stationOf(name: string): Station {
    if (name === this.#lastName) return this.#last;
    const known = this.#stations.get(name);
    if (known) return known;
    if (this.#stations.size >= NAMES_MAX) this.#stations.clear();
    const station = parseStation(name);
    this.#stations.set(name, station);
    return station;
  }
}

/**
 * Frames that reached no connection, too: `length`, not as long as they say; `source`, sent by no
 * station; `missed`, which nobody took in time.
 */
type EthernetCounters = EndpointCounters & Record<'length' | 'source' | 'missed', number>;

interface SocketOptions extends DriverOptions {
  counters: EthernetCounters;
  poll: BusyPoll | undefined;
}

/** A packet socket, as its driver sees it. */
class EthernetSocket implements DatagramSocket {
  readonly isBatched = true;
  readonly #packets: PacketSocket;
  readonly #options: SocketOptions;
  readonly #names = new Names();
  /** To whom the frames are that wait. */
  readonly #waiting: string[] = [];
  readonly #onClose: () => void;
  #stopTimer: () => void = () => undefined;
  // The slot of the last frame, and its datagram: most are as long, and a view costs.
  #slot: Uint8Array | undefined;
  #datagram: Uint8Array = new Uint8Array(0);
  readonly driver: DatagramDriver;

  constructor(packets: PacketSocket, options: SocketOptions, onClose: () => void) {
    this.#packets = packets;
    this.#options = options;
    this.#onClose = onClose;
    this.driver = new DatagramDriver(this, options);
    packets.watch(
      () => {
        this.#receive();
      },
      () => {
        this.#attach();
      },
    );
  }

  get port(): number {
    return this.#packets.port;
  }

  send(to: string, datagram: Uint8Array): void {
    if (this.#packets.isFull) this.flush();
    const { address, port } = this.#names.stationOf(to);
    const payload = this.#packets.space();
    writeHead(payload, { to: port, from: this.port }, datagram.length);
    payload.set(datagram, HEAD_BYTES);
    this.#waiting[this.#packets.queued] = to;
    this.#packets.queue(HEAD_BYTES + datagram.length, address);
  }

  flush(): void {
    if (this.#packets.queued === 0) return;
    const { poll } = this.#options;
    // An answer is to come to the socket that has sent last.
    if (poll) poll.look = this.#look;
    this.#packets.flush(this.#failed);
  }

  readonly #failed = (place: number, bytes: number, code: string): void => {
    const { endpoint } = this.driver;
    const to = this.#waiting[place] ?? '';
    if (code === 'EMSGSIZE') endpoint.tooLong(to, bytes - HEAD_BYTES);
    // An interface that is down carries nothing; what is lost otherwise is sent again.
    else if (code === 'ENETDOWN' || code === 'ENXIO') endpoint.unreachable(code);
  };

  close(): void {
    const { poll } = this.#options;
    if (poll?.look === this.#look) poll.look = undefined;
    this.countMissed();
    this.#stopTimer();
    this.#packets.close();
    this.#onClose();
  }

  countMissed(): void {
    this.#options.counters.missed += this.#packets.missed();
  }

  // Returns how many came, or -errno.
  #receive(spinUs = 0): number {
    const count = this.#packets.receiveSlots(this.#take, spinUs);
    if (count > 0) this.driver.settle();
    return count;
  }

  readonly #take = (slot: Uint8Array, whole: number, from: number): void => {
    const head = readHead(slot, whole, from);
    if (typeof head === 'string') {
      this.#options.counters[head]++;
      return;
    }
    if (slot !== this.#slot || head.bytes !== this.#datagram.length) {
      this.#slot = slot;
      this.#datagram = slot.subarray(HEAD_BYTES, HEAD_BYTES + head.bytes);
    }
    this.driver.receive(this.#datagram, this.#names.nameOf(from, head.port));
  };

  // An error that is taken here is not told to who watches the socket.
  readonly #look = (): void => {
    if (this.#receive(LOOK_US) < 0) this.#attach();
  };

  // The interface went down, or away: one that takes its name later takes its place.
  #attach(): void {
    this.#stopTimer();
    if (this.#packets.attach()) return;
    this.#stopTimer = this.#options.clock.after(ATTACH_MS, () => {
      this.#attach();
    });
  }
}

export interface EthernetOptions {
  /** The interface, as `eth1`. */
  interface: string;
  /** Its address, when that is known: another one is refused. */
  address?: string | undefined;
  /** The same on all nodes; DEFAULT_ETHER_TYPE when absent. */
  etherType?: number | undefined;
  /** What is valid now; others take effect with the next connection. Without, all is plain text. */
  credentials?: (() => Credentials) | undefined;
  /** How often a host may begin a handshake; one of its own when absent. */
  admission?: Admission | undefined;
  settings?: Partial<DatagramSettings>;
  /** Has the answers looked for that come soon. */
  poll?: BusyPoll | undefined;
}

/** The address of an interface, as 02:00:00:00:00:01; throws as `ethernetTransport` does. */
export function interfaceAddress(options: Pick<EthernetOptions, 'interface' | 'address'>): string {
  return formatMac(examine(options).address);
}

/**
 * The address and MTU of the interface. Throws an Error that says what is wrong with it, or with
 * the address that it should have.
 */
function examine({
  interface: name,
  address,
}: Pick<EthernetOptions, 'interface' | 'address'>): EthernetInterface {
  const wanted = address === undefined ? undefined : macOf(address);
  const found = interfaceOf(name);
  const shortest = DATAGRAM_BYTES_MIN + HEAD_BYTES;
  if (wanted !== undefined && wanted !== found.address) {
    throw new Error(
      `interface ${name} has the address ${formatMac(found.address)}, not ${address}`,
    );
  }
  if (found.mtu < shortest) {
    throw new Error(`interface ${name} has an MTU of ${found.mtu}; links need ${shortest} or more`);
  }
  return found;
}

function interfaceOf(name: string): EthernetInterface {
  try {
    return ethernetInterface(name);
  } catch (error) {
    if (isDvkError(error, 'ENODEV')) {
      throw new Error(`ENODEV: there is no interface ${name} here`, { cause: error });
    }
    if (isDvkError(error, 'EPROTONOSUPPORT')) {
      throw new Error(`EPROTONOSUPPORT: interface ${name} is not of Ethernet`, { cause: error });
    }
    throw error;
  }
}

function macOf(text: string): number {
  const address = parseMac(text);
  if (address !== undefined) return address;
  throw new Error(`EINVAL: ${text} is no address of an interface, as 02:00:00:00:00:01 is`);
}

/**
 * The transport of an interface; `clock` is the source of all time but that of certificates. Throws
 * when the interface is none, or not the right one.
 *
 * What it listens on is that interface, whatever the host of the address; the host to connect to is
 * the address of another interface in the same network.
 */
export function ethernetTransport(clock: Clock, options: EthernetOptions): Transport {
  const { credentials, etherType = DEFAULT_ETHER_TYPE } = options;
  examine(options);
  const counters = { ...newCounters(), length: 0, source: 0, missed: 0 };
  const sockets = new Set<EthernetSocket>();
  const randomKey = (): Uint8Array => randomBytes(SHARE_BYTES);
  const security = credentials && keyExchange({ credentials, randomKey, nowMs: Date.now });

  function open(port: number): EthernetSocket {
    const { mtu } = examine(options);
    const payloadBytesMax = Math.min(mtu, HEAD_BYTES + DATAGRAM_BYTES_MAX);
    const place = { interface: options.interface, etherType, port };
    const packets = openPackets({ ...place, bufferBytes: SOCKET_BUFFER_BYTES, payloadBytesMax });
    const settings = { datagramBytesMax: payloadBytesMax - HEAD_BYTES, ...options.settings };
    const socket: EthernetSocket = new EthernetSocket(
      packets,
      { clock, security, settings, counters, admission: options.admission, poll: options.poll },
      () => sockets.delete(socket),
    );
    sockets.add(socket);
    return socket;
  }

  // The caller gets what `open` throws as the promise's.
  // eslint-disable-next-line @typescript-eslint/require-await
  async function listen({ port }: Address, accept: Accept): Promise<Listener> {
    const { port: actual, driver } = open(port);
    driver.listen(accept);
    return {
      port: actual,
      close: () => {
        driver.stopListening();
      },
    };
  }

  function connect({ host, port }: Address, events: ConnectionEvents): () => void {
    try {
      const to = formatStation({ address: macOf(host), port });
      return open(0).driver.endpoint.dial(to, events, clock.nowMs());
    } catch (error) {
      // An owner is told nothing from within its own call.
      queueMicrotask(() => {
        events.closed(error instanceof Error ? error.message : String(error));
      });
      return () => undefined;
    }
  }

  return {
    name: 'ethernet',
    sealed: security !== undefined,
    listen,
    connect,
    get counters(): EthernetCounters {
      for (const socket of sockets) socket.countMissed();
      return counters;
    },
  };
}

function openPackets(options: PacketSocketOptions): PacketSocket {
  try {
    return new PacketSocket(options);
  } catch (error) {
    if (!isDvkError(error, 'EPERM')) throw error;
    throw new Error(`EPERM: ${NO_PRIVILEGE}`, { cause: error });
  }
}

const NO_PRIVILEGE = 'links over Ethernet need the capability CAP_NET_RAW; see `dvk doctor`';

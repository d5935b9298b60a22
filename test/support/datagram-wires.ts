/**
 * Sockets of this process for tests of datagram transports, UDP's and Ethernet's alike, on the
 * loopback device: what a stranger or a host on the path sends and gets.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { DEFAULT_ETHER_TYPE } from '../../src/dvk/ethernet.ts';
import { PacketSocket } from '../../src/dvk/packet-socket.ts';
import { HEAD_BYTES, readHead, writeHead } from '../../src/proxies/ethernet-frame.ts';
import { whyNoPackets } from './network-namespaces.ts';
import type { ProxyNodeOptions } from './proxy-node.ts';

export interface DatagramWire {
  readonly port: number;
  /** Gets each datagram, and the port that it came from. */
  onDatagram: (bytes: Buffer, port: number) => void;
  /** Resolves when the host has taken the datagram. */
  send(bytes: Uint8Array, port: number): Promise<void>;
  close(): void;
}

/** A transport as tests need it that run on each. */
export interface DatagramKind {
  readonly name: 'udp' | 'ethernet';
  /** Nodes that are joined by it on the loopback device, and how they are reached. */
  readonly options: ProxyNodeOptions;
  readonly host: string;
  readonly skipped: string | undefined;
  readonly open: () => Promise<DatagramWire>;
}

const LOCAL_HOST = '127.0.0.1';
// The loopback device's address.
const NO_MAC = '00:00:00:00:00:00';
const PAYLOAD_BYTES_MAX = 20_000;

async function openUdp(): Promise<DatagramWire> {
  const socket = createSocket('udp4');
  socket.bind(0, LOCAL_HOST);
  await once(socket, 'listening');
  const wire: DatagramWire = {
    port: socket.address().port,
    onDatagram: () => undefined,
    send: async (bytes, port) => {
      await new Promise<void>((done) => {
        socket.send(bytes, port, LOCAL_HOST, () => {
          done();
        });
      });
    },
    close: () => {
      socket.close();
    },
  };
  socket.on('error', () => undefined);
  socket.on('message', (bytes, { port }) => {
    wire.onDatagram(bytes, port);
  });
  return wire;
}

/** A packet socket of the loopback device. */
export function loopbackPackets(): PacketSocket {
  return new PacketSocket({
    interface: 'lo',
    etherType: DEFAULT_ETHER_TYPE,
    port: 0,
    bufferBytes: 4 * 1024 * 1024,
    payloadBytesMax: PAYLOAD_BYTES_MAX,
  });
}

function openEthernet(): DatagramWire {
  const packets = loopbackPackets();
  const wire: DatagramWire = {
    port: packets.port,
    onDatagram: () => undefined,
    send: async (bytes, to) => {
      const payload = packets.space();
      writeHead(payload, { to, from: packets.port }, bytes.length);
      payload.set(bytes, HEAD_BYTES);
      packets.queue(HEAD_BYTES + bytes.length, 0);
      packets.flush(() => undefined);
      await Promise.resolve();
    },
    close: () => {
      packets.close();
    },
  };
  const receive = (): void => {
    packets.receive((payload, whole, from) => {
      const head = readHead(payload, whole, from);
      if (typeof head === 'string') throw new Error(head);
      const datagram = payload.subarray(HEAD_BYTES, HEAD_BYTES + head.bytes);
      wire.onDatagram(Buffer.from(datagram), head.port);
    });
  };
  packets.watch(receive, () => undefined);
  return wire;
}

export const UDP_KIND: DatagramKind = {
  name: 'udp',
  options: { transports: ['udp'] },
  host: LOCAL_HOST,
  skipped: undefined,
  open: openUdp,
};

const KINDS: readonly DatagramKind[] = [
  UDP_KIND,
  {
    name: 'ethernet',
    options: { transports: ['ethernet'], ethernet: { interface: 'lo' } },
    host: NO_MAC,
    skipped: whyNoPackets(),
    open: async () => Promise.resolve(openEthernet()),
  },
];

/** Rows for `describe.each`. */
export const DATAGRAM_KINDS: readonly (readonly [string, DatagramKind])[] = KINDS.map(
  (kind) => [kind.name, kind] as const,
);

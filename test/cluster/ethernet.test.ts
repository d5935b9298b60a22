// What arrives at a packet socket and what does not, what becomes of a transport whose interface
// goes down, away, or is changed, and how it is refused where there is none. Method: real sockets
// at both ends of a veth pair; what must not arrive is sent before something that must.
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { DEFAULT_ETHER_TYPE, parseMac } from '../../src/dvk/ethernet.ts';
import { PacketSocket, type PacketSocketOptions } from '../../src/dvk/packet-socket.ts';
import { HEAD_BYTES, writeHead } from '../../src/proxies/ethernet-frame.ts';
import { ethernetTransport, interfaceAddress } from '../../src/proxies/ethernet.ts';
import type { EthernetOptions } from '../../src/proxies/ethernet.ts';
import type { Listener, Transport } from '../../src/proxies/transport.ts';
import { NamespacePair, whyNoNamespaces, within } from '../support/network-namespaces.ts';
import { TransportEnd } from '../support/transport-end.ts';

const skipped = whyNoNamespaces();
const BROADCAST = 0xff_ff_ff_ff_ff_ff;
// Of IEEE Std 802.1Q.
const VLAN_TAG = 0x8100;
const SETTINGS = { keepaliveMs: 100, deadMs: 500, handshakeMs: 400 };

let network: NamespacePair;
const sockets: PacketSocket[] = [];
const listeners: Listener[] = [];
const ends: TransportEnd[] = [];

beforeEach((ctx) => {
  if (skipped !== undefined) ctx.skip(skipped);
  network = new NamespacePair();
});

afterEach(() => {
  for (const end of ends.splice(0)) end.connection?.destroy();
  for (const listener of listeners.splice(0)) listener.close();
  for (const socket of sockets.splice(0)) socket.close();
  if (skipped === undefined) network.remove();
});

function open(end: 0 | 1, options: Partial<PacketSocketOptions> = {}): PacketSocket {
  const socket = within(
    network.names[end],
    () =>
      new PacketSocket({
        interface: 'v0',
        etherType: DEFAULT_ETHER_TYPE,
        port: 0,
        bufferBytes: 1 << 20,
        payloadBytesMax: 1500,
        ...options,
      }),
  );
  sockets.push(socket);
  return socket;
}

const macOf = (end: 0 | 1): number => parseMac(network.mac(end)) ?? -1;

/** Sends a payload of `bytes` for `port`, marked so that it is known again. */
function say(
  from: PacketSocket,
  to: { mac: number; port: number },
  mark: number,
  bytes = 60,
): void {
  const payload = from.space();
  writeHead(payload, { to: to.port, from: from.port }, bytes - HEAD_BYTES);
  payload.fill(mark, HEAD_BYTES, bytes);
  from.queue(bytes, to.mac);
  from.flush(() => undefined);
}

/** Looks again and again; the test's own time ends it. */
async function until(met: () => boolean): Promise<void> {
  while (!met()) await new Promise((resolve) => setImmediate(resolve));
}

/** The marks of what came, up to that of the last one. */
async function marks(socket: PacketSocket, last: number): Promise<number[]> {
  const found: number[] = [];
  await new Promise<void>((resolve) => {
    socket.watch(
      () => {
        socket.receive((payload) => found.push(payload[HEAD_BYTES] ?? -1));
        if (found.includes(last)) resolve();
      },
      () => undefined,
    );
  });
  return found;
}

describe('a packet socket', () => {
  it('gets what is for its port and interface, in order, more than fits in a batch', async () => {
    const [a, b] = [open(0), open(1)];
    const other = open(1);
    const to = { mac: macOf(1), port: b.port };

    for (let mark = 0; mark < 200; mark++) {
      say(a, { ...to, port: other.port }, 255);
      say(a, to, mark);
    }

    expect(b.port).not.toBe(other.port);
    expect(await marks(b, 199)).toEqual(Array.from({ length: 200 }, (_, mark) => mark));
  });

  it('finds what came without being told, and nothing when nothing came', () => {
    const [a, b] = [open(0), open(1)];
    const found: number[] = [];
    const look = (spinUs: number): number =>
      b.receiveSlots((slot) => found.push(slot[HEAD_BYTES] ?? -1), spinUs);

    expect(look(20)).toBe(0);
    say(a, { mac: macOf(1), port: b.port }, 7);
    while (look(20) === 0);

    expect(found).toEqual([7]);
    expect(look(0)).toBe(0);
  });

  it('gets nothing of another EtherType, to all, to others, or of a VLAN', async () => {
    network.ip(1, 'link set v0 promisc on');
    const [a, b] = [open(0), open(1)];
    const to = { mac: macOf(1), port: b.port };
    const tagged = open(0, { etherType: VLAN_TAG });
    /** A frame of VLAN `id`: the rest of the tag, our EtherType, and what follows it. */
    const sayTagged = (id: number, mark: number): void => {
      const payload = tagged.space();
      payload.set([id >> 8, id & 255, DEFAULT_ETHER_TYPE >> 8, DEFAULT_ETHER_TYPE & 255]);
      writeHead(payload.subarray(4), { to: to.port, from: a.port }, 60 - HEAD_BYTES);
      payload.fill(mark, 4 + HEAD_BYTES, 64);
      tagged.queue(64, to.mac);
      tagged.flush(() => undefined);
    };

    say(open(0, { etherType: 0x88b6 }), to, 1);
    say(a, { ...to, mac: BROADCAST }, 2);
    say(a, { ...to, mac: 0x02_12_34_56_78_9a }, 3);
    sayTagged(5, 4);
    // VLAN 0 is none: such a tag has a priority only.
    sayTagged(0, 5);
    say(a, to, 6);

    expect(await marks(b, 6)).toEqual([5, 6]);
  });

  it('gets frames too short for a port, and long ones with their length', async () => {
    const [a, b] = [open(0), open(1, { payloadBytesMax: 100 })];
    const lengths: number[] = [];
    const kept: number[] = [];

    a.queue(3, macOf(1));
    a.flush(() => undefined);
    say(a, { mac: macOf(1), port: b.port }, 1, 1500);
    await new Promise<void>((resolve) => {
      b.watch(
        () => {
          b.receive((payload, bytes) => {
            kept.push(payload.length);
            lengths.push(bytes);
          });
          if (lengths.length === 2) resolve();
        },
        () => undefined,
      );
    });

    expect(lengths).toEqual([3, 1500]);
    expect(kept).toEqual([3, 100]);
  });

  it('tells of a frame that is too long, and sends the others', async () => {
    const [a, b] = [open(0, { payloadBytesMax: 3000 }), open(1)];
    const failures: unknown[] = [];

    for (const bytes of [100, 1501, 1500]) {
      const payload = a.space();
      writeHead(payload, { to: b.port, from: a.port }, bytes - HEAD_BYTES);
      payload[HEAD_BYTES] = bytes % 256;
      a.queue(bytes, macOf(1));
    }
    a.flush((...failure) => failures.push(failure));

    expect(failures).toEqual([[1, 1501, 'EMSGSIZE']]);
    expect(await marks(b, 1500 % 256)).toEqual([100, 1500 % 256]);
  });

  it('has its port for itself, on that interface and EtherType, until it is closed', () => {
    const first = open(0);

    expect(() => open(0, { port: first.port })).toThrow('EADDRINUSE');
    expect(open(0, { port: first.port, etherType: 0x88b6 }).port).toBe(first.port);
    expect(open(1, { port: first.port }).port).toBe(first.port);
    sockets.splice(0, 1);
    first.close();
    expect(open(0, { port: first.port }).port).toBe(first.port);
  });

  it('counts what it had no room for', async () => {
    const [a, b] = [open(0), open(1, { bufferBytes: 0 })];
    const to = { mac: macOf(1), port: b.port };

    for (let mark = 0; mark < 50; mark++) say(a, to, mark, 1500);
    // The kernel may deliver what was sent a while later, and tells what was missed only once.
    let came = 0;
    let missed = 0;
    await until(() => (missed += b.missed()) > 0);
    await until(() => {
      b.receive(() => came++);
      missed += b.missed();
      return came + missed >= 50;
    });
    say(a, to, 50);

    expect(came + missed).toBe(50);
    expect(missed).toBeGreaterThan(0);
    expect(await marks(b, 50)).toEqual([50]);
    expect(b.missed()).toBe(0);
  });
});

/** A transport at one end, whose sockets are of that namespace wherever it is called. */
function transportAt(end: 0 | 1, options: Partial<EthernetOptions> = {}): Transport {
  const name = network.names[end];
  const there = within(name, () =>
    ethernetTransport(systemClock, { interface: 'v0', settings: SETTINGS, ...options }),
  );
  return {
    ...there,
    listen: async (address, accept) => within(name, async () => there.listen(address, accept)),
    connect: (address, events) => within(name, () => there.connect(address, events)),
  };
}

async function listening(transport: Transport): Promise<{ listener: Listener; end: TransportEnd }> {
  const end = new TransportEnd();
  const listener = await transport.listen({ host: '', port: 0 }, () => end);
  listeners.push(listener);
  ends.push(end);
  return { listener, end };
}

function dialled(transport: Transport, port: number): TransportEnd {
  const end = new TransportEnd();
  ends.push(end);
  transport.connect({ host: network.mac(1), port }, end);
  return end;
}

describe('a connection', () => {
  it('survives a cable that is pulled for less than its dead time', async () => {
    const settings = { ...SETTINGS, deadMs: 10_000 };
    const { listener, end } = await listening(transportAt(1, { settings }));
    const dialer = dialled(transportAt(0, { settings }), listener.port);
    await Promise.all([dialer.untilOpen(), end.untilOpen()]);

    network.plug('down');
    const written = Promise.all([
      dialer.write(new Uint8Array(100_000)),
      end.write(new Uint8Array(100_000)),
    ]);
    // Three time-outs on each side: all of it was lost.
    const lost = (): boolean =>
      [dialer, end].every(({ connection }) => (connection?.quality?.timeouts ?? 0) > 3);
    while (!lost()) await new Promise((resolve) => setTimeout(resolve, 10));
    network.plug('up');
    await written;

    expect([dialer.receivedBytes, end.receivedBytes]).toEqual([100_000, 100_000]);
  });

  it('is made again over an interface that went away and came back', async () => {
    const { listener, end } = await listening(transportAt(1));
    const dialer = dialled(transportAt(0), listener.port);
    await Promise.all([dialer.untilOpen(), end.untilOpen()]);

    network.ip(1, 'link delete v0');
    await Promise.all([dialer.untilClosed(), end.untilClosed()]);
    network.lay();
    let again: TransportEnd;
    do {
      again = dialled(transportAt(0), listener.port);
      await again.until(() => again.connection !== undefined || again.closedWith !== undefined);
    } while (again.connection === undefined);

    expect([dialer.closedWith, end.closedWith]).toEqual(['ETIMEDOUT', 'ETIMEDOUT']);
  });

  it('uses frames as long as pass, also when that changes', async () => {
    network.setMtu(9000);
    const { listener, end } = await listening(transportAt(1));
    const dialer = dialled(transportAt(0), listener.port);
    await Promise.all([dialer.untilOpen(), end.untilOpen()]);
    const bytes = (): number | undefined => dialer.connection?.quality?.datagramBytes;

    await dialer.write(new Uint8Array(1_000_000));
    const long = bytes();
    network.setMtu(1500);
    await dialer.write(new Uint8Array(1_000_000));
    const short = bytes();

    expect(long).toBe(9000 - HEAD_BYTES);
    expect(short).toBeLessThanOrEqual(1500 - HEAD_BYTES);
    expect(dialer.closedWith).toBeUndefined();
  });

  it('is of one DVS where others use the same interface', async () => {
    const sides = [{ etherType: 0x88b5 }, { etherType: 0x88b5 }, { etherType: 0x88b6 }];
    const accepted = await Promise.all(
      sides.map(async (options) => listening(transportAt(1, options))),
    );
    const dialers = accepted.map(({ listener }, i) =>
      dialled(transportAt(0, sides[i]), listener.port),
    );
    await Promise.all(dialers.map(async (one) => one.untilOpen()));
    await Promise.all(accepted.map(async ({ end }) => end.untilOpen()));

    await Promise.all(dialers.map(async (one, i) => one.write(new Uint8Array(50_000).fill(i + 1))));

    accepted.forEach(({ end }, i) => {
      expect(end.bytes().equals(Buffer.alloc(50_000, i + 1))).toBe(true);
    });
  });
});

describe('a transport', () => {
  it('counts frames that are none of ours, and stays as it is', async () => {
    const transport = transportAt(1);
    const { listener, end } = await listening(transport);
    const dialer = dialled(transportAt(0), listener.port);
    await Promise.all([dialer.untilOpen(), end.untilOpen()]);
    const stranger = open(0);
    const to = { mac: macOf(1), port: listener.port };
    const bent = (at: number, ...values: number[]): void => {
      const payload = stranger.space();
      writeHead(payload, { to: to.port, from: stranger.port }, 100);
      payload.set(values, at);
      stranger.queue(HEAD_BYTES + 100, to.mac);
    };

    stranger.queue(2, to.mac);
    bent(0, 7);
    bent(6, 101);
    bent(6, 99);
    bent(4, 0, 0);
    stranger.flush(() => undefined);
    say(stranger, to, 9);
    await dialer.write(Buffer.from('done'));
    await end.until(() => end.receivedBytes === 4);

    const { short, version, length, source, magic } = transport.counters ?? {};
    expect({ short, version, length, source, magic }).toEqual({
      short: 1,
      version: 1,
      length: 2,
      source: 1,
      magic: 1,
    });
  });

  it('is refused where there is no such interface, or one of another kind', () => {
    network.ip(0, 'tuntap add mode tun t0');

    expect(() => transportAt(0, { interface: 'v9' })).toThrow(
      'ENODEV: there is no interface v9 here',
    );
    expect(() => transportAt(0, { interface: 't0' })).toThrow(
      'EPROTONOSUPPORT: interface t0 is not of Ethernet',
    );
  });

  it('is refused with another address than the interface has, or with none', () => {
    const right = network.mac(0);
    const there = (address: string): string =>
      within(network.names[0], () => interfaceAddress({ interface: 'v0', address }));

    expect(there(right.toUpperCase())).toBe(right);
    expect(() => there('02:00:00:00:00:01')).toThrow(
      `interface v0 has the address ${right}, not 02:00:00:00:00:01`,
    );
    expect(() => there('02:00')).toThrow('EINVAL: 02:00 is no address of an interface');
  });

  it('is refused where frames are too short for a link', () => {
    network.setMtu(1000);

    expect(() => transportAt(0)).toThrow(
      'interface v0 has an MTU of 1000; links need 1208 or more',
    );
  });

  it('says what is wrong with an address, and with an interface that is gone', async () => {
    const transport = transportAt(0);
    const bad = new TransportEnd();
    transport.connect({ host: '10.0.0.1', port: 7 }, bad);
    network.ip(0, 'link delete v0');
    const gone = new TransportEnd();
    transport.connect({ host: '02:00:00:00:00:01', port: 7 }, gone);

    await Promise.all([bad.untilClosed(), gone.untilClosed()]);

    expect(bad.closedWith).toBe(
      'EINVAL: 10.0.0.1 is no address of an interface, as 02:00:00:00:00:01 is',
    );
    expect(gone.closedWith).toBe('ENODEV: there is no interface v0 here');
  });

  it('says so when the interface is down', async () => {
    network.plug('down');
    const end = new TransportEnd();
    transportAt(1).connect({ host: '02:00:00:00:00:01', port: 7 }, end);

    await end.untilClosed();

    expect(end.closedWith).toBe('ENETDOWN');
  });
});

describe('without CAP_NET_RAW', () => {
  it('a socket is refused, and says what it needs', () => {
    const script = `
      import { systemClock } from ${JSON.stringify(moduleOf('dvk/clock'))};
      import { ethernetTransport } from ${JSON.stringify(moduleOf('proxies/ethernet'))};
      const transport = ethernetTransport(systemClock, { interface: 'lo' });
      transport.listen({ host: '', port: 0 }, () => undefined).catch((e) => console.log(e.message));
    `;
    const node = [process.execPath, '--input-type=module', '--eval', script];

    const { stdout } = spawnSync('setpriv', ['--bounding-set=-net_raw', ...node]);

    expect(stdout.toString()).toBe(
      'EPERM: links over Ethernet need the capability CAP_NET_RAW; see `dvk doctor`\n',
    );
  });
});

function moduleOf(name: string): string {
  return new URL(`../../dist/src/${name}.js`, import.meta.url).href;
}

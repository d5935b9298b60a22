// What every transport promises: ordered bytes without loss, back-pressure, and an end that both
// sides see.
import { createHash } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { ethernetTransport, type EthernetOptions } from '../../src/proxies/ethernet.ts';
import { LoopbackNetwork } from '../../src/proxies/loopback.ts';
import { tcpTransport } from '../../src/proxies/tcp.ts';
import { tlsTransport } from '../../src/proxies/tls.ts';
import type { Address, Listener, Transport } from '../../src/proxies/transport.ts';
import { udpTransport } from '../../src/proxies/udp.ts';
import { TestAuthority } from '../support/certificates.ts';
import { NamespacePair, whyNoNamespaces, within } from '../support/network-namespaces.ts';
import { TransportEnd } from '../support/transport-end.ts';

const MIB = 1024 * 1024;

interface Started {
  transport: Transport;
  /** For the dialer, when it is another one. */
  dialer?: Transport;
  host: string;
}

function hash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function noise(bytes: number, seed: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(bytes / 4));
  let state = seed;
  for (let i = 0; i < words.length; i++)
    words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return new Uint8Array(words.buffer, 0, bytes);
}

function describeTransport(name: string, start: () => Started, skipped?: string): void {
  describe(`the ${name} transport`, () => {
    const listeners: Listener[] = [];
    const ends: TransportEnd[] = [];

    beforeEach((ctx) => {
      if (skipped !== undefined) ctx.skip(skipped);
    });

    afterEach(() => {
      for (const end of ends.splice(0)) end.connection?.destroy();
      for (const listener of listeners.splice(0)) listener.close();
    });

    async function listen(
      started: Started,
      accept: () => TransportEnd | undefined,
      port = 0,
    ): Promise<Address> {
      const address = { host: started.host, port };
      const listener = await started.transport.listen(address, accept);
      listeners.push(listener);
      return { ...address, port: listener.port };
    }

    /** A dialer and an accepter that are joined. */
    async function joined(options: { keep?: boolean; bufferBytes?: number } = {}): Promise<{
      started: Started;
      dialer: TransportEnd;
      accepter: TransportEnd;
      address: Address;
    }> {
      const started = start();
      const accepter = new TransportEnd(options);
      const dialer = new TransportEnd(options);
      ends.push(accepter, dialer);
      const address = await listen(started, () => accepter);
      (started.dialer ?? started.transport).connect(address, dialer);
      await Promise.all([dialer.untilOpen(), accepter.untilOpen()]);
      return { started, dialer, accepter, address };
    }

    it('carries bytes both ways, in order, whatever the sizes of the writes', async () => {
      const { dialer, accepter } = await joined({ bufferBytes: 1000 });
      const pieces = Array.from({ length: 500 }, (_, i) => noise((i * 37) % 3000, i + 1));
      const all = Buffer.concat(pieces);

      for (const piece of pieces) {
        dialer.connection?.write(piece, () => undefined);
        accepter.connection?.write(piece, () => undefined);
      }
      await accepter.until(() => accepter.receivedBytes === all.length);
      await dialer.until(() => dialer.receivedBytes === all.length);

      expect(accepter.bytes().equals(all)).toBe(true);
      expect(dialer.bytes().equals(all)).toBe(true);
    });

    // On a busy machine that takes a hundred times as long as on a quiet one.
    it('carries 64 MiB in writes of 1 MiB', { timeout: 120_000 }, async () => {
      const { dialer, accepter } = await joined({ keep: false, bufferBytes: 2 * MIB });
      const chunk = noise(MIB, 9);
      const sent = createHash('sha256');
      const came = createHash('sha256');
      accepter.onBytes = (bytes) => came.update(bytes);

      for (let i = 0; i < 64; i++) {
        sent.update(chunk);
        await dialer.write(chunk);
      }
      await accepter.until(() => accepter.receivedBytes === 64 * MIB);

      expect(came.digest('hex')).toBe(sent.digest('hex'));
    });

    it('says when bytes may be changed, and not earlier', async () => {
      const { dialer, accepter } = await joined();
      const bytes = noise(200_000, 3);
      const before = hash(bytes);

      await dialer.write(bytes);
      bytes.fill(0);
      await accepter.until(() => accepter.receivedBytes === 200_000);

      expect(hash(accepter.bytes())).toBe(before);
    });

    it('tells how much it holds, and holds nothing in the end', async () => {
      const { dialer, accepter } = await joined({ keep: false });
      const chunk = new Uint8Array(MIB);
      let done = 0;

      for (let i = 0; i < 40; i++) dialer.connection?.write(chunk, () => done++);
      const held = dialer.connection?.bufferedBytes ?? 0;
      await accepter.until(() => accepter.receivedBytes === 40 * MIB);
      await dialer.write(new Uint8Array(1));

      expect(held).toBeGreaterThan(16 * MIB);
      expect(done).toBe(40);
      expect(dialer.connection?.bufferedBytes).toBe(0);
    });

    it('sends what it holds before an orderly end, which both sides see', async () => {
      const { dialer, accepter } = await joined();
      const bytes = noise(300_000, 5);

      dialer.connection?.write(bytes, () => undefined);
      dialer.connection?.end();
      await Promise.all([dialer.untilClosed(), accepter.untilClosed()]);

      expect(hash(accepter.bytes())).toBe(hash(bytes));
    });

    it('ends for both sides when one breaks it off, and gives the buffers back', async () => {
      const { dialer, accepter } = await joined({ keep: false });
      let done = 0;
      for (let i = 0; i < 20; i++) dialer.connection?.write(new Uint8Array(MIB), () => done++);

      accepter.connection?.destroy();
      await Promise.all([dialer.untilClosed(), accepter.untilClosed()]);
      await new Promise((resolve) => setTimeout(resolve, 20));

      expect(done).toBe(20);
    });

    it('tells when nobody listens', async () => {
      const { started, address } = await joined();
      for (const listener of listeners.splice(0)) listener.close();
      const late = new TransportEnd();

      (started.dialer ?? started.transport).connect(address, late);
      await late.untilClosed();

      expect(late.openings).toBe(0);
      expect(late.closedWith).toBe('ECONNREFUSED');
    });

    it('closes a connection that is not accepted', async () => {
      const started = start();
      const address = await listen(started, () => undefined);
      const dialer = new TransportEnd();

      (started.dialer ?? started.transport).connect(address, dialer);
      await dialer.untilClosed();

      expect(dialer.receivedBytes).toBe(0);
    });

    it('gives up dialling when it is called off', async () => {
      const started = start();
      const accepter = new TransportEnd();
      const dialer = new TransportEnd();
      ends.push(accepter, dialer);
      const address = await listen(started, () => accepter);

      (started.dialer ?? started.transport).connect(address, dialer)();
      await dialer.untilClosed();

      expect(dialer.openings).toBe(0);
    });

    it('connects anew after an end, with nothing left of the old connection', async () => {
      const started = start();
      const accepted: TransportEnd[] = [];
      const address = await listen(started, () => {
        const end = new TransportEnd();
        accepted.push(end);
        ends.push(end);
        return end;
      });

      for (let round = 0; round < 5; round++) {
        const dialer = new TransportEnd();
        (started.dialer ?? started.transport).connect(address, dialer);
        await dialer.untilOpen();
        await dialer.write(Buffer.from(`round ${round}`));
        const accepter = accepted[round]!;
        await accepter.until(() => accepter.receivedBytes >= 7);
        dialer.connection?.destroy();
        await Promise.all([dialer.untilClosed(), accepter.untilClosed()]);
      }

      const texts = accepted.map((end) => end.bytes().toString());
      expect(texts).toEqual([0, 1, 2, 3, 4].map((round) => `round ${round}`));
    });

    it('refuses a port that is taken', async () => {
      const started = start();
      const address = await listen(started, () => undefined);

      await expect(listen(started, () => undefined, address.port)).rejects.toThrow('EADDRINUSE');
    });
  });
}

describeTransport('tcp', () => ({ transport: tcpTransport(systemClock), host: '127.0.0.1' }));
describeTransport('tcp (accepted sockets by events)', () => ({
  transport: tcpTransport(systemClock, { copyAccepted: true }),
  host: '127.0.0.1',
}));
const authority = new TestAuthority();
const [dialing, accepting] = [authority.credentials(0), authority.credentials(1)];
describeTransport('tcp, sealed', () => ({
  transport: tlsTransport(systemClock, () => accepting),
  dialer: tlsTransport(systemClock, () => dialing),
  host: '127.0.0.1',
}));
describeTransport('udp', () => ({ transport: udpTransport(systemClock), host: '127.0.0.1' }));
describeTransport('udp, sealed', () => ({
  transport: udpTransport(systemClock, { credentials: () => accepting }),
  dialer: udpTransport(systemClock, { credentials: () => dialing }),
  host: '127.0.0.1',
}));
describeTransport('udp, sealed, with new keys all the time', () => ({
  transport: udpTransport(systemClock, {
    credentials: () => accepting,
    settings: { rekeyPackets: 100 },
  }),
  dialer: udpTransport(systemClock, {
    credentials: () => dialing,
    settings: { rekeyPackets: 3, rekeyMs: 5 },
  }),
  host: '127.0.0.1',
}));
describeTransport('udp, by events of Node.js', () => ({
  transport: udpTransport(systemClock, { byEvents: true }),
  dialer: udpTransport(systemClock),
  host: '127.0.0.1',
}));
describeTransport('udp (IPv6)', () => ({ transport: udpTransport(systemClock), host: '::1' }));

// The loopback device's.
const NOBODYS_MAC = '00:00:00:00:00:00';

// Each end of a cable is in a network namespace of its own.
const noNamespaces = whyNoNamespaces();
const cables = new Map<number, NamespacePair>();

function cable(mtu: number): NamespacePair {
  const known = cables.get(mtu);
  if (known) return known;
  const made = new NamespacePair();
  cables.set(mtu, made);
  made.setMtu(mtu);
  return made;
}

/** A transport at one end, whose sockets are of that namespace wherever it is called. */
function atEnd(pair: NamespacePair, end: 0 | 1, options: Partial<EthernetOptions>): Transport {
  const name = pair.names[end];
  const there = within(name, () => ethernetTransport(systemClock, { interface: 'v0', ...options }));
  return {
    ...there,
    listen: async (address, accept) => within(name, async () => there.listen(address, accept)),
    connect: (address, events) => within(name, () => there.connect(address, events)),
  };
}

type Ends = [Partial<EthernetOptions>, Partial<EthernetOptions>];
const sealedEnds: Ends = [{ credentials: () => dialing }, { credentials: () => accepting }];

describe('over a cable', () => {
  afterAll(() => {
    for (const pair of cables.values()) pair.remove();
  });

  describe.each([1500, 9000])('with an MTU of %i', (mtu) => {
    const started = ([dialer, accepter]: Ends): Started => {
      const pair = cable(mtu);
      return {
        transport: atEnd(pair, 1, accepter),
        dialer: atEnd(pair, 0, dialer),
        host: pair.mac(1),
      };
    };
    describeTransport('ethernet', () => started([{}, {}]), noNamespaces);
    describeTransport('ethernet, sealed', () => started(sealedEnds), noNamespaces);
  });
});
describeTransport(
  'ethernet (one interface)',
  () => ({ transport: ethernetTransport(systemClock, { interface: 'lo' }), host: NOBODYS_MAC }),
  noNamespaces,
);
describeTransport('loopback', () => ({
  transport: new LoopbackNetwork().transport(),
  host: 'here',
}));

describe('half-open TCP connections', () => {
  it('end when the peer ends only its own direction', async () => {
    const end = new TransportEnd();
    const transport = tcpTransport(systemClock);
    const listener = await transport.listen({ host: '127.0.0.1', port: 0 }, () => end);
    const peer: Socket = connect({ host: '127.0.0.1', port: listener.port, allowHalfOpen: true });

    await end.untilOpen();
    peer.resume();
    peer.end('bye');
    await end.untilClosed();

    expect(end.bytes().toString()).toBe('bye');
    peer.destroy();
    listener.close();
  });

  it('end for the dialer when the accepter ends only its own direction', async () => {
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.end('bye').resume());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const end = new TransportEnd();

    const { port } = server.address() as AddressInfo;
    tcpTransport(systemClock).connect({ host: '127.0.0.1', port }, end);
    await end.untilClosed();

    expect(end.bytes().toString()).toBe('bye');
    server.close();
  });

  it('end within a second when the peer takes nothing', async () => {
    const sockets: Socket[] = [];
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
      sockets.push(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const end = new TransportEnd();
    const { port } = server.address() as AddressInfo;
    tcpTransport(systemClock).connect({ host: '127.0.0.1', port }, end);
    await end.untilOpen();

    for (let i = 0; i < 32; i++) end.connection?.write(new Uint8Array(MIB), () => undefined);
    end.connection?.end();
    await end.untilClosed();

    expect(sockets.length).toBe(1);
    for (const socket of sockets) socket.destroy();
    server.close();
  });
});

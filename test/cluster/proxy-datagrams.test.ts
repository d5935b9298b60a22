// Proxy processes joined by UDP and by raw Ethernet, on this host and over a network that loses
// packets, is narrow or is cut: rows 12 and 14 of the fault matrix. Method: as for TCP; the bad
// network is a veth pair between two namespaces that the test makes, with a filter that drops
// packets at random, a token bucket, and the link set down.
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { atEnd, useCable } from '../support/cable.ts';
import { DATAGRAM_KINDS } from '../support/datagram-wires.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';

const MIB = 1024 * 1024;
const SERVER = { slot: 10 };

let nodes: ProxyNode[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
});

// How long callers wait for a lost link.
const HOLD_MS = 500;

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Memory of a process, as the kernel counts it. */
function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

const messageOf = (error: unknown): string => (error as Error).message;

/** Copies `bytes` of node a's member to node b's, and back; true when nothing was changed. */
async function copyBothWays(a: ProxyNode, b: ProxyNode, bytes: number): Promise<boolean> {
  const [holder, copier] = [await b.member({ slot: 11 }), await a.member()];
  await a.knows(holder.endpoint);
  await holder.order({ do: 'fill', bytes, seed: 1 });
  await copier.order({ do: 'fill', bytes, seed: 2 });
  const grant = await holder.order({ do: 'grant', access: 'read-write' });
  const theirs = { endpoint: holder.endpoint, grant, at: 0 };
  const mine = await copier.order<string>({ do: 'hash' });
  await copier.order({ do: 'vcopy', from: 'own', to: theirs, bytes });
  const pushed = await holder.order<string>({ do: 'hash' });
  await copier.order({ do: 'fill', bytes, seed: 3 });
  await copier.order({ do: 'vcopy', from: theirs, to: 'own', bytes });
  return pushed === mine && (await copier.order<string>({ do: 'hash' })) === mine;
}

const ROWS = DATAGRAM_KINDS.flatMap(([name, kind]) => [
  [name, 'sealed', kind, kind.options] as const,
  [name, 'in plain text', kind, { ...kind.options, insecure: true }] as const,
]);

describe.each(ROWS)('two nodes over %s, %s', (name, _, kind, options) => {
  beforeEach((ctx) => {
    if (kind.skipped !== undefined) ctx.skip(kind.skipped);
  });

  it('answer 10,000 calls, each with its own answer, and tell how the link goes', async () => {
    nodes = await startNodes(2, () => options);
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 10_000 });

    const calls = { do: 'calls', server: server.endpoint, count: 10_000, start: 0 } as const;
    const { right } = await client.order<{ right: number }>(calls);

    expect(right).toBe(10_000);
    expect(await echo).toEqual({ served: 10_000, repeated: 0 });
    const { transport, sealed, peers } = await a.statistics();
    expect(transport).toBe(name);
    expect(sealed).toBe(!('insecure' in options));
    expect(peers[0]?.certificate?.node).toBe(sealed ? 1 : undefined);
    expect(peers[0]).toMatchObject({ state: 'up', transport: name, dropped: 0, reconnects: 0 });
    expect(peers[0]?.quality?.packetsSent).toBeGreaterThan(10_000);
    expect(peers[0]?.quality?.rttMs).toBeGreaterThan(0);
  });

  it('copy 16 MiB in each direction without a wrong byte, in long datagrams', async () => {
    nodes = await startNodes(2, () => options);
    const [a, b] = nodes as [ProxyNode, ProxyNode];

    expect(await copyBothWays(a, b, 16 * MIB)).toBe(true);

    // The loopback device carries the longest that is tried.
    expect((await a.statistics()).peers[0]?.quality?.datagramBytes).toBe(16_332);
  });

  it('go on after a proxy was killed', async () => {
    nodes = await startNodes(2, () => ({ ...options, holdMs: HOLD_MS }));
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const call = client.order({ do: 'call', server: server.endpoint, type: 1 }).catch(messageOf);
    await pause(200);

    await b.killProxy([0]);
    const outcome = await call;
    await b.start([a.address]);
    await Promise.all([a.link(1, 'down'), b.link(0, 'up')]);
    await a.link(1, 'up');
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 100 });
    const calls = { do: 'calls', server: server.endpoint, count: 100, start: 50 } as const;
    const { right } = await client.order<{ right: number }>(calls);

    expect(outcome).toBe('ENOTCONN');
    expect(right).toBe(100);
    expect(await echo).toEqual({ served: 100, repeated: 0 });
  });

  it('are not disturbed by strangers, whose datagrams are counted', async () => {
    nodes = await startNodes(2, () => options);
    const [, b] = nodes as [ProxyNode, ProxyNode];
    const before = residentBytes(b.pid);
    const stranger = await kind.open();

    for (let i = 0; i < 20_000; i++) {
      const datagram = Buffer.alloc(1200, i & 255);
      if (i % 2 === 0) datagram.set([0x44, 2, 1, 0]);
      void stranger.send(datagram, b.port);
      if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    while (Object.values((await b.statistics()).datagrams).every((count) => count === 0)) {
      await pause(10);
    }
    stranger.close();

    const { peers, refused } = await b.statistics();
    expect(peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
    expect(refused).toBe(0);
    expect(residentBytes(b.pid) - before).toBeLessThan(64 * MIB);
  });
});

describe('two nodes over two transports', () => {
  it('use the one that the link is to be over, and refuse the other', async () => {
    nodes = await startNodes(2, () => ({ transports: ['tcp', 'udp'] }));
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    expect((await a.statistics()).peers[0]?.transport).toBe('tcp');

    // Both change to UDP; the dialer notices when its link is lost.
    b.tell({ type: 'peers', peers: [{ ...a.address, transport: 'udp' }] });
    a.tell({ type: 'peers', peers: [{ ...b.address, transport: 'udp' }] });
    await b.statistics();
    await b.killProxy([0]);
    await b.start([{ ...a.address, transport: 'udp' }]);
    await Promise.all([a.link(1, 'down'), b.link(0, 'up')]);
    expect((await b.statistics()).peers[0]).toMatchObject({ transport: 'udp', state: 'up' });

    // A dialer that still believes in TCP is told.
    a.tell({ type: 'peers', peers: [b.address] });
    await b.killProxy([0]);
    await b.start([{ ...a.address, transport: 'udp' }]);
    let why = (await b.statistics()).lastRefused;
    while (why === null) {
      await pause(10);
      why = (await b.statistics()).lastRefused;
    }
    expect(why).toEqual({ code: 'transport', detail: 'the link is over tcp, not udp' });
  });
});

// A veth pair carries Ethernet's 1500 bytes, less the heads of IPv4 and UDP, or our own.
const DATAGRAM_BYTES = { udp: 1472, ethernet: 1492 } as const;

describe.each(DATAGRAM_KINDS)('two nodes over a bad network, by %s', (_, kind) => {
  const network = useCable();

  async function start(): Promise<[ProxyNode, ProxyNode]> {
    nodes = await startNodes(2, (node) => ({
      ...atEnd(network(), node, kind.name),
      holdMs: HOLD_MS,
    }));
    return nodes as [ProxyNode, ProxyNode];
  }

  it('answer every call once and copy rightly, with 5 % of packets lost', async () => {
    const [a, b] = await start();
    network().lose(5);
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 2000 });

    const calls = { do: 'calls', server: server.endpoint, count: 2000, start: 0 } as const;
    const { right } = await client.order<{ right: number }>(calls);
    const isCopied = await copyBothWays(a, b, 4 * MIB);

    expect(right).toBe(2000);
    expect(await echo).toEqual({ served: 2000, repeated: 0 });
    expect(isCopied).toBe(true);
    const [peer] = (await a.statistics()).peers;
    expect(peer).toMatchObject({ state: 'up', reconnects: 0 });
    expect(peer?.quality?.packetsLost).toBeGreaterThan(50);
    expect(peer?.quality?.datagramBytes).toBe(DATAGRAM_BYTES[kind.name]);
  });

  it('answer a call once or end it, while the cable is pulled and plugged', async () => {
    const [a, b] = await start();
    network().lose(5);
    const [server, client] = [await b.member(SERVER), await a.member()];
    const outcomes: string[] = [];
    let right = 0;
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 0 });
    echo.catch(() => undefined);

    for (let round = 0; round < 3; round++) {
      await a.knows(server.endpoint);
      const begin = round * 1_000_000;
      const calls = client
        .order({ do: 'calls', server: server.endpoint, count: 1_000_000, start: begin })
        .then(() => 'answered', messageOf);
      await pause(150);
      // A short cut is a delay; a long one ends the link on both sides, and it comes back alone.
      network().plug('down');
      await pause(300);
      network().plug('up');
      await pause(300);
      network().plug('down');
      const down = Promise.all([a.link(1, 'down'), b.link(0, 'down')]);
      outcomes.push(await calls);
      await down;
      network().plug('up');
      await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
      await a.knows(server.endpoint);
      const after = { do: 'calls', server: server.endpoint, count: 100 } as const;
      const got = await client.order<{ right: number }>({ ...after, start: begin + 900_000 });
      right += got.right;
    }

    expect(outcomes).toEqual(Array(3).fill('ENOTCONN'));
    expect(right).toBe(300);
    expect((await a.statistics()).peers[0]).toMatchObject({ state: 'up', reconnects: 3 });
  });

  it('call while a bulk copy fills a narrow link', async () => {
    const [a, b] = await start();
    network().limit(0, 20);
    network().limit(1, 20);
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number }>({ do: 'echo', count: 50 });
    let isCopying = true;
    const copy = copyBothWays(a, b, 8 * MIB).finally(() => (isCopying = false));
    await pause(500);

    const calls = { do: 'calls', server: server.endpoint, count: 50, start: 0 } as const;
    const { right } = await client.order<{ right: number }>(calls);
    const wasCopying = isCopying;

    // 8 MiB take more than three seconds each way; every call overtakes what waits of them.
    expect(wasCopying).toBe(true);
    expect(right).toBe(50);
    expect((await echo).served).toBe(50);
    expect(await copy).toBe(true);
  });
});

// The rows of the fault matrix for links at the size that they have there; `npm test` has each of
// them smaller, or simulated. Rows 14 to 17, 19 to 21, 45, and promise S5.
// Method: real proxies and processes. Loss, narrow links and pulled cables are of the kernel,
// between two namespaces; copies, delay, another order and damage of a relay on the path.
import { readdirSync, readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { atEnd, useCable } from '../support/cable.ts';
import type { DcMember } from '../support/dc-members.ts';
import { DatagramRelay, type RelayFaults } from '../support/datagram-relay.ts';
import { DATAGRAM_KINDS, UDP_KIND } from '../support/datagram-wires.ts';
import { frameBytes } from '../support/proxy-frames.ts';
import { ProxyNode, startNodes } from '../support/proxy-node.ts';

const HOST = '127.0.0.1';
const MIB = 1024 * 1024;
const CALLERS = 8;
const NO_FAULTS: RelayFaults = { loss: 0, duplicate: 0, damage: 0, swap: 0 };
const MESSAGES = Number(process.env['DVK_MESSAGES'] ?? 1_000_000);

let nodes: ProxyNode[] = [];
let relay: DatagramRelay | undefined;

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
  relay?.close();
  relay = undefined;
});

type Echo = Promise<{ served: number; repeated: number }>;

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

const messageOf = (error: unknown): string => (error as Error).message;

function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}

const descriptors = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** Each of some callers makes `count` calls at a time; all are answered, and none comes twice. */
async function callAll(a: ProxyNode, b: ProxyNode, callers: number, count: number): Promise<void> {
  const server = await b.member({ slot: 10 });
  await a.knows(server.endpoint);
  const echo: Echo = server.order({ do: 'echo', count: callers * count });
  const clients: DcMember[] = [];
  for (let i = 0; i < callers; i++) clients.push(await a.member());
  const all = await Promise.all(
    clients.map(async (client, i) => {
      const calls = { do: 'calls', server: server.endpoint, count, start: i * count } as const;
      return (await client.order<{ right: number }>(calls)).right;
    }),
  );
  expect(all).toEqual(Array(callers).fill(count));
  expect(await echo).toEqual({ served: callers * count, repeated: 0 });
}

/** Copies memory of node a's member to node b's, and back; no byte is wrong. */
async function copyBothWays(a: ProxyNode, b: ProxyNode, bytes: number): Promise<void> {
  const [holder, copier] = [await b.member({ slot: 11 }), await a.member()];
  await a.knows(holder.endpoint);
  await holder.order({ do: 'fill', bytes, seed: 1 });
  await copier.order({ do: 'fill', bytes, seed: 2 });
  const grant = await holder.order({ do: 'grant', access: 'read-write' });
  const theirs = { endpoint: holder.endpoint, grant, at: 0 };
  const mine = await copier.order<string>({ do: 'hash' });
  await copier.order({ do: 'vcopy', from: 'own', to: theirs, bytes });
  expect(await holder.order<string>({ do: 'hash' })).toBe(mine);
  await copier.order({ do: 'fill', bytes, seed: 3 });
  await copier.order({ do: 'vcopy', from: theirs, to: 'own', bytes });
  expect(await copier.order<string>({ do: 'hash' })).toBe(mine);
}

const PATHS = ['tcp', 'udp', 'ethernet'] as const;

describe.each(PATHS)('two nodes on a cable, over %s', (transport) => {
  const network = useCable();

  async function start(): Promise<[ProxyNode, ProxyNode]> {
    nodes = await startNodes(2, (node) => atEnd(network(), node, transport));
    return nodes as [ProxyNode, ProxyNode];
  }

  it.each([
    [5, 500, 4 * MIB],
    [20, 60, MIB / 16],
  ])('row 14: are right with %i %% of packets lost', async (percent, count, bytes) => {
    const [a, b] = await start();
    network().lose(percent);

    await callAll(a, b, CALLERS, count);
    await copyBothWays(a, b, bytes);

    const [peer] = (await a.statistics()).peers;
    expect(peer).toMatchObject({ session: 1, dropped: 0, forged: 0 });
    if (percent === 5) expect(peer).toMatchObject({ reconnects: 0 });
  });

  it('row 19: hold little memory on a link of 1 Mbit/s, and for who does not receive', async () => {
    const [a, b] = await start();
    const before = [a, b].map(({ pid }) => residentBytes(pid));
    const sleeper = await b.member({ slot: 12 });
    await a.knows(sleeper.endpoint);
    const waiting: Promise<string>[] = [];
    for (let i = 0; i < CALLERS; i++) {
      const one = await a.member();
      waiting.push(one.codeOf({ call: 'send', peer: sleeper.endpoint, timeoutMs: 120_000 }));
    }
    network().limit(0, 1);
    network().limit(1, 1);

    await Promise.all([callAll(a, b, 2, 50), copyBothWays(a, b, MIB)]);

    for (const [i, { pid }] of [a, b].entries()) {
      expect(residentBytes(pid) - (before[i] ?? 0)).toBeLessThan(64 * MIB);
    }
    for (let i = 0; i < CALLERS; i++) await sleeper.order({ do: 'receive' });
    expect(await Promise.all(waiting)).toEqual(Array(CALLERS).fill('none'));
    // Another cable has no bucket.
    network().ip(0, 'link delete v0');
    network().lay();
  });

  it('row 45: go on with half a second of silence in every two, for five minutes', async () => {
    const [a, b] = await start();
    const server = await b.member({ slot: 10 });
    await a.knows(server.endpoint);
    const echo: Echo = server.order({ do: 'echo', count: 0 });
    echo.catch(() => undefined);
    const client = await a.member();
    let right = 0;
    const end = performance.now() + Number(process.env['DVK_FLAP_SECONDS'] ?? 300) * 1000;
    const calls = (async (): Promise<void> => {
      for (let start = 0; performance.now() < end; start += 100) {
        const some = { do: 'calls', server: server.endpoint, count: 100, start } as const;
        right += (await client.order<{ right: number }>(some)).right;
      }
    })();

    let cuts = 0;
    for (; performance.now() < end; cuts++) {
      network().plug('down');
      await pause(500);
      network().plug('up');
      await pause(1500);
    }
    await calls;

    // Work goes on between any two cuts.
    expect(right).toBeGreaterThan(100 * cuts);
    const [peer] = (await a.statistics()).peers;
    // A cut lasts longer on a busy machine, so the connection may be another one; the session not.
    expect(peer).toMatchObject({ session: 1, dropped: 0, resumed: peer?.reconnects });
    expect(peer?.reconnects).toBeLessThanOrEqual(cuts);
  });
});

describe.each([false, true])('two nodes over UDP with a relay (in plain text: %s)', (insecure) => {
  async function relayed(): Promise<[ProxyNode, ProxyNode]> {
    const options = { transports: ['udp'], insecure };
    const [a, b] = [new ProxyNode(0, [1], options), new ProxyNode(1, [0], options)] as const;
    nodes = [a, b];
    await b.start([{ node: 0, name: 'n0', host: HOST, port: 1 }]);
    relay = await DatagramRelay.open(UDP_KIND, b.port);
    relay.records = false;
    await a.start([{ ...b.address, port: relay.port }]);
    await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
    return [a, b];
  }

  it('rows 15 and 16: 30 % doubled and 30 % in another order, with 100 +- 50 ms', async () => {
    const [a, b] = await relayed();
    relay!.faults = { ...NO_FAULTS, duplicate: 0.3, swap: 0.3, delayMs: 50, jitterMs: 100 };

    await callAll(a, b, CALLERS, 100);
    await copyBothWays(a, b, 2 * MIB);

    expect((await a.statistics()).peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
    expect((await b.statistics()).peers[0]?.quality?.duplicates).toBeGreaterThan(100);
  });

  it(`row 17: no wrong byte in ${MESSAGES} messages, with 5 % damaged`, async () => {
    const [a, b] = await relayed();
    relay!.faults = { ...NO_FAULTS, damage: 0.05 };

    await callAll(a, b, 2 * CALLERS, Math.ceil(MESSAGES / 2 / (2 * CALLERS)));

    const { datagrams, peers } = await b.statistics();
    expect(relay!.damaged).toBeGreaterThan(MESSAGES / 1000);
    expect(datagrams['damaged']).toBeGreaterThan(MESSAGES / 3000);
    expect(peers[0]).toMatchObject({ state: 'up', dropped: 0, forged: 0 });
  });
});

describe('a node that strangers come to', () => {
  /** Waits until the file descriptors are as many as before, but for the second lane. */
  async function settle(pid: number, before: number): Promise<void> {
    const end = performance.now() + 60_000;
    while (descriptors(pid) > before + 1) {
      if (performance.now() > end)
        throw new Error(`${descriptors(pid)} descriptors, not ${before}`);
      await pause(50);
    }
  }

  it.each([
    ['that say nothing or half a HELLO', 'half'],
    ['that begin a handshake of TLS and leave', 'tls'],
  ])('row 20: has 10,000 connections %s, and nothing of them stays', async (_, kind) => {
    nodes = await startNodes(2, () => ({ insecure: kind === 'half' }));
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    await pause(1000);
    const before = { files: descriptors(b.pid), bytes: residentBytes(b.pid) };
    const half = frameBytes({ kind: 10 }, new Uint8Array(64)).subarray(0, 100);
    const open = (i: number): Socket => {
      const target = { host: HOST, port: b.port };
      if (kind === 'tls') return connectTls({ ...target, rejectUnauthorized: false });
      const socket = connect(target);
      if (i % 2 === 0) socket.write(half);
      return socket;
    };

    for (let batch = 0; batch < 100; batch++) {
      const closed = Array.from({ length: 100 }, async (_, i) => {
        const socket = open(i);
        socket.on('error', () => undefined);
        socket.resume();
        const over = new Promise<void>((resolve) => {
          socket.once('close', () => {
            resolve();
          });
        });
        if (i % 4 === 0) socket.once('connect', () => socket.destroy());
        else if (kind === 'half') setTimeout(() => socket.destroy(), 200);
        await over;
      });
      await Promise.all(closed);
    }

    await settle(b.pid, before.files);
    expect(residentBytes(b.pid) - before.bytes).toBeLessThan(64 * MIB);
    expect((await b.statistics()).peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
    await callAll(a, b, 2, 1000);
  });

  it.each(DATAGRAM_KINDS)(
    'S5: has 100,000 forged packets over %s, and answers',
    async (_, kind) => {
      if (kind.skipped !== undefined) return;
      nodes = await startNodes(2, () => kind.options);
      const [a, b] = nodes as [ProxyNode, ProxyNode];
      const stranger = await kind.open();
      let answers = 0;
      stranger.onDatagram = () => answers++;
      const before = residentBytes(b.pid);

      for (let i = 0; i < 100_000; i++) {
        const datagram = Buffer.alloc(1200, i & 255);
        if (i % 2 === 0) datagram.set([0x44, 2, 7, 0]);
        void stranger.send(datagram, b.port);
        if (i % 50 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      await a.killProxy([1]);
      await b.link(0, 'down');
      await a.start([b.address]);
      await a.link(1, 'up');

      expect(answers).toBe(0);
      expect(residentBytes(b.pid) - before).toBeLessThan(64 * MIB);
      stranger.close();
      await callAll(a, b, 2, 1000);
    },
  );
});

describe.each(['tcp', 'udp'])('row 21: a node that stands still, over %s', (transport) => {
  const signalAll = (node: ProxyNode, signal: NodeJS.Signals): void => {
    for (const pid of node.pids) process.kill(pid, signal);
  };

  it('for three seconds is waited for', async () => {
    nodes = await startNodes(2, () => ({ transports: [transport] }));
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member({ slot: 10 }), await a.member()];
    await a.knows(server.endpoint);
    const echo: Echo = server.order({ do: 'echo', count: 20_000 });
    const calls = client.order<{ right: number }>({
      ...{ do: 'calls', server: server.endpoint, count: 20_000, start: 0 },
    });

    signalAll(b, 'SIGSTOP');
    await pause(3000);
    signalAll(b, 'SIGCONT');

    expect((await calls).right).toBe(20_000);
    expect(await echo).toEqual({ served: 20_000, repeated: 0 });
    expect((await a.statistics()).peers[0]).toMatchObject({ session: 1 });
  });

  it('for a minute is given up, and joins again', async () => {
    nodes = await startNodes(3, () => ({ transports: [transport] }));
    const [a, b, c] = nodes as [ProxyNode, ProxyNode, ProxyNode];
    const [server, client] = [await b.member({ slot: 10 }), await a.member()];
    const [third, fourth] = [await c.member({ slot: 11 }), await a.member()];
    for (const one of [server, third]) await a.knows(one.endpoint);
    const call = { do: 'call', server: server.endpoint, type: 1 } as const;

    signalAll(b, 'SIGSTOP');
    const outcome = client.order(call).catch(messageOf);
    await Promise.all([a.link(1, 'down'), c.link(1, 'down')]);
    expect(await outcome).toBe('ENOTCONN');
    const echo: Echo = third.order({ do: 'echo', count: 1000 });
    const others = { do: 'calls', server: third.endpoint, count: 1000, start: 0 } as const;
    expect((await fourth.order<{ right: number }>(others)).right).toBe(1000);
    expect(await echo).toEqual({ served: 1000, repeated: 0 });
    await pause(60_000);
    signalAll(b, 'SIGCONT');

    await Promise.all([a.link(1, 'up'), c.link(1, 'up')]);
    const [peer] = (await b.statistics()).peers;
    expect(peer).toMatchObject({ node: 0, state: 'up', session: 2, dropped: 0 });
    await a.knows(server.endpoint);
    const served: Echo = server.order({ do: 'echo', count: 100 });
    const again = { do: 'calls', server: server.endpoint, count: 100, start: 0 } as const;
    expect((await client.order<{ right: number }>(again)).right).toBe(100);
    expect(await served).toEqual({ served: 100, repeated: 0 });
  });
});

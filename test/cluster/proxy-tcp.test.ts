// Real proxy processes joined by TCP, sealed unless a test says otherwise: rows 11, 18, 20, 21, 42
// and 44 of the fault matrix. Method: a node is a folder with a segment, a proxy process and
// members of the DC as child processes, all on this host.
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { nodeId } from '../../src/dvk/index.ts';
import { frameBytes } from '../support/proxy-frames.ts';
import { AUTHORITY, ProxyNode, startNodes } from '../support/proxy-node.ts';

const MIB = 1024 * 1024;
const SERVER = { slot: 10 };
// Short: what a session survives is for survival.test.ts.
const HOLD_MS = 500;
// Five times what it takes: a slow machine is not a fault, what waits for ever is.
const HANGS_MS = 10_000;

let nodes: ProxyNode[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
});

async function start(count: number, insecure = false): Promise<ProxyNode[]> {
  nodes = await startNodes(count, () => ({ insecure, holdMs: HOLD_MS }));
  return nodes;
}

const messageOf = (error: unknown): string => (error as Error).message;

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

describe.each([
  ['sealed', false],
  ['in plain text', true],
] as const)('two nodes, %s', (_, insecure) => {
  it('answer 10,000 calls, each with its own answer', async () => {
    const [a, b] = (await start(2, insecure)) as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 10_000 });

    const calls = { do: 'calls', server: server.endpoint, count: 10_000, start: 0 } as const;
    const { right } = await client.order<{ right: number }>(calls);

    expect(right).toBe(10_000);
    expect(await echo).toEqual({ served: 10_000, repeated: 0 });
    const { peers } = await a.statistics();
    expect(peers[0]).toMatchObject({ state: 'up', dropped: 0, reconnects: 0, containers: [5] });
  });

  it('serve several callers on both sides at once', async () => {
    const [a, b] = (await start(2, insecure)) as [ProxyNode, ProxyNode];
    const servers = [await a.member({ slot: 10 }), await b.member({ slot: 11 })] as const;
    await a.knows(servers[1].endpoint);
    await b.knows(servers[0].endpoint);
    const echoes = servers.map(async (one) =>
      one.order<{ served: number; repeated: number }>({ do: 'echo', count: 1200 }),
    );
    const callers = [
      ...[await a.member(), await a.member(), await a.member()].map((one) => [one, servers[1]]),
      ...[await b.member(), await b.member(), await b.member()].map((one) => [one, servers[0]]),
    ] as const;

    const outcomes = await Promise.all(
      callers.map(async ([caller, server], i) =>
        caller!.order<{ right: number }>({
          do: 'calls',
          server: server!.endpoint,
          count: 400,
          start: i * 1000,
        }),
      ),
    );

    expect(outcomes.map(({ right }) => right)).toEqual(Array(6).fill(400));
    for (const echo of echoes) expect(await echo).toEqual({ served: 1200, repeated: 0 });
  });

  it('copy 64 MiB in each direction without a wrong byte', async () => {
    const [a, b] = (await start(2, insecure)) as [ProxyNode, ProxyNode];
    const [holder, copier] = [await b.member(SERVER), await a.member()];
    await a.knows(holder.endpoint);
    const bytes = 64 * MIB;
    await holder.order({ do: 'fill', bytes, seed: 1 });
    await copier.order({ do: 'fill', bytes, seed: 2 });
    const grant = await holder.order({ do: 'grant', access: 'read-write' });
    const theirs = { endpoint: holder.endpoint, grant, at: 0 };
    const [before, mine] = await Promise.all([
      holder.order<string>({ do: 'hash' }),
      copier.order<string>({ do: 'hash' }),
    ]);

    await copier.order({ do: 'vcopy', from: 'own', to: theirs, bytes });
    const pushed = await holder.order<string>({ do: 'hash' });
    await copier.order({ do: 'fill', bytes, seed: 3 });
    await copier.order({ do: 'vcopy', from: theirs, to: 'own', bytes });
    const pulled = await copier.order<string>({ do: 'hash' });

    expect(before).not.toBe(mine);
    expect([pushed, pulled]).toEqual([mine, mine]);
  });

  it('copy rightly what they pack, and what does not get shorter', async () => {
    const [a, b] = (await start(2, insecure)) as [ProxyNode, ProxyNode];
    const [holder, copier] = [await b.member(SERVER), await a.member()];
    await a.knows(holder.endpoint);
    a.tell({ type: 'set', settings: { compress: 'on' } });
    const bytes = 3 * MIB;
    await holder.order({ do: 'fill', bytes, seed: 1 });
    const grant = await holder.order({ do: 'grant', access: 'read-write' });
    const to = { endpoint: holder.endpoint, grant, at: 0 };

    for (const words of [true, false, true]) {
      await copier.order({ do: 'fill', bytes, seed: 2, words });
      await copier.order({ do: 'vcopy', from: 'own', to, bytes });
      const mine = await copier.order<string>({ do: 'hash' });
      expect(await holder.order<string>({ do: 'hash' })).toBe(mine);
    }
    const [peer] = (await a.statistics()).peers;
    expect(peer).toMatchObject({ state: 'up', reconnects: 0 });
    const { packedBytesBefore = 0, packedBytesAfter = 0, plainBlocks = 0 } = peer ?? {};
    expect(packedBytesBefore).toBeGreaterThan(2 * bytes);
    expect(packedBytesAfter).toBeLessThan(bytes);
    expect(plainBlocks).toBeGreaterThan(0);
  });
});

describe('a proxy that is killed', () => {
  it.each([
    ['the client', 0],
    ['the server', 1],
  ] as const)('at %s lets callers go, and works again after a restart', async (_, victim) => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const killed = nodes[victim]!;
    const other = nodes[1 - victim]!;
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    // The server answers none of these: it is not in its loop yet.
    const call = client.order({ do: 'call', server: server.endpoint, type: 1 }).catch(messageOf);
    await pause(200);

    const beginMs = performance.now();
    await killed.killProxy([other.node]);
    const outcome = await call;
    const spentMs = performance.now() - beginMs;
    const reason = await other.link(killed.node, 'down');
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 501 });
    await killed.start([other.address]);
    await Promise.all([other.link(killed.node, 'up'), killed.link(other.node, 'up')]);
    await a.knows(server.endpoint);
    const first = { do: 'calls', server: server.endpoint, count: 501, start: 5000 } as const;
    const { right } = await client.order<{ right: number }>(first);

    expect(outcome).toBe('ENOTCONN');
    expect(spentMs).toBeLessThan(HANGS_MS);
    expect(reason).toMatch(/^connection: /);
    expect(right).toBe(501);
    // The request of the call that was let go is not among them.
    expect(await echo).toEqual({ served: 501, repeated: 0 });
    const { peers } = await other.statistics();
    expect(peers[0]).toMatchObject({ reconnects: 1, session: 2 });
  });

  it('again and again under load repeats no request', async () => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 0 });
    echo.catch(() => undefined);
    let right = 0;
    let lost = 0;

    for (let round = 0; round < 6; round++) {
      const begin = round * 1_000_000;
      const calls = client
        .order({ do: 'calls', server: server.endpoint, count: 1_000_000, start: begin })
        .catch(messageOf);
      await pause(100);
      const victim = nodes[round % 2]!;
      const other = nodes[1 - (round % 2)]!;
      await victim.killProxy([other.node]);
      const outcome = await calls;
      if (outcome === 'ENOTCONN') lost++;
      await victim.start([other.address]);
      await Promise.all([other.link(victim.node, 'up'), victim.link(other.node, 'up')]);
      await a.knows(server.endpoint);
      const after = { do: 'calls', server: server.endpoint, count: 100 } as const;
      const got = await client.order<{ right: number }>({ ...after, start: begin + 900_000 });
      right += got.right;
    }

    expect([lost, right]).toEqual([6, 600]);
  });
});

describe('a node that stands still', () => {
  it('is missed, and comes back without a repeated request', async () => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const call = client.order({ do: 'call', server: server.endpoint, type: 1 }).catch(messageOf);
    await pause(200);

    const beginMs = performance.now();
    b.proxy.kill('SIGSTOP');
    const reason = await a.link(1, 'held');
    const spentMs = performance.now() - beginMs;
    const outcome = await call;
    await pause(1500);
    b.proxy.kill('SIGCONT');
    await b.link(0, 'down');
    await a.link(1, 'up');
    await pause(500);
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number; repeated: number }>({ do: 'echo', count: 100 });
    const calls = { do: 'calls', server: server.endpoint, count: 100, start: 50 } as const;
    const { right } = await client.order<{ right: number }>(calls);

    expect(reason).toBe('time-out: nothing came for 1500 ms');
    expect(spentMs).toBeGreaterThan(900);
    expect(spentMs).toBeLessThan(HANGS_MS);
    expect(outcome).toBe('ENOTCONN');
    expect(right).toBe(100);
    expect(await echo).toEqual({ served: 100, repeated: 0 });
  });

  it('does not keep its peer from ending', async () => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    b.proxy.kill('SIGSTOP');

    const beginMs = performance.now();
    a.proxy.kill('SIGTERM');
    const [code] = (await once(a.proxy, 'exit')) as [number];
    b.proxy.kill('SIGCONT');

    expect(code).toBe(0);
    expect(performance.now() - beginMs).toBeLessThan(HANGS_MS);
  });
});

describe('the proxy program', () => {
  it('exits with 0 at SIGTERM, and its peer hears that it left', async () => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const call = client.order({ do: 'call', server: server.endpoint, type: 1 }).catch(messageOf);
    await pause(100);

    const beginMs = performance.now();
    a.proxy.kill('SIGTERM');
    const [code] = (await once(a.proxy, 'exit')) as [number];

    expect(code).toBe(0);
    expect(performance.now() - beginMs).toBeLessThan(HANGS_MS);
    expect(await call).toBe('ENOTCONN');
    expect(await b.link(0, 'down')).toBe('shutdown: the peer left');
  });

  it('ends with its daemon', async () => {
    const [a] = (await start(2)) as [ProxyNode, ProxyNode];

    a.proxy.disconnect();
    const [code] = (await once(a.proxy, 'exit')) as [number];

    expect(code).toBe(0);
  });

  it('tells why it cannot start', async () => {
    const [a] = (await start(2)) as [ProxyNode, ProxyNode];
    const second = new ProxyNode(2, []);
    second.port = a.port;

    void second.start([]);
    const { reason } = await second.told('failed');
    const [code] = (await once(second.proxy, 'exit')) as [number];

    expect(reason).toContain('EADDRINUSE');
    expect(code).toBe(1);
    await second.remove();
  });

  it('tells of a segment that it cannot open, and serves on', async () => {
    const [a] = (await start(2)) as [ProxyNode, ProxyNode];

    a.tell({
      type: 'segments',
      segments: [
        { dcId: 5, path: a.segment.path },
        { dcId: 6, path: `${a.segment.directory}/none` },
      ],
    });
    const failed = await a.told('segment-failed');

    expect(failed).toMatchObject({ dcId: 6 });
    expect(failed.reason).toContain('ENOENT');
    expect((await a.statistics()).peers[0]?.containers).toEqual([5]);
  });

  it('refuses a node of another DVS by name, and stays linked to the others', async () => {
    const [, b] = (await start(2, true)) as [ProxyNode, ProxyNode];
    const stranger = new ProxyNode(0, [1]);
    stranger.credentials = undefined;

    await stranger.start([b.address], 'elsewhere');
    while ((await b.statistics()).refused === 0) await pause(10);

    const { lastRefused, peers } = await b.statistics();
    expect(lastRefused).toEqual({ code: 'dvs', detail: "node of DVS 'elsewhere', not 'lab'" });
    expect(peers[0]?.state).toBe('up');
    const told = (await stranger.statistics()).peers[0]?.lastDown;
    expect(told?.code).toBe('refused');
    await stranger.remove();
  });

  it('tells by its certificate a node of another DVS, and says nothing to it', async () => {
    const [, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const stranger = new ProxyNode(0, [1]);
    stranger.credentials = AUTHORITY.texts(0, { identity: { dvs: 'elsewhere' } });

    await stranger.start([b.address], 'elsewhere');
    const { reason } = await stranger.told('link-failed');

    const expected = 'certificate: the certificate is for node 1 of DVS lab, not elsewhere';
    expect(reason).toBe(expected);
    while ((await b.statistics()).refused === 0) await pause(10);
    expect((await b.statistics()).peers[0]?.state).toBe('up');
    await stranger.remove();
  });

  it('closes connections that bring damaged frames, and stays linked', async () => {
    const [, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const bad = frameBytes({ kind: 10 }, new Uint8Array(64));
    bad.fill(0xff, 16, 20);
    const streams = [bad, Buffer.alloc(64, 7), Buffer.from('GET / HTTP/1.1\r\n\r\n'.repeat(4))];

    for (const bytes of streams) {
      const socket: Socket = connect({ host: '127.0.0.1', port: b.port });
      socket.on('error', () => undefined);
      socket.resume();
      socket.write(bytes);
      await once(socket, 'close');
    }

    const { refused, lastRefused, peers } = await b.statistics();
    expect(refused).toBe(streams.length);
    expect(lastRefused?.code).toBe('malformed');
    expect(peers[0]?.state).toBe('up');
  });

  it('is not disturbed by 1000 connections that say nothing or half a HELLO', async () => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    const files = (): number => readdirSync(`/proc/${b.pid}/fd`).length;
    const before = files();
    const half = frameBytes({ kind: 10 }, new Uint8Array(64)).subarray(0, 100);

    const closed: Promise<unknown>[] = [];
    // A hundred at a time: more than the kernel keeps for `accept` would be dropped there.
    for (let batch = 0; batch < 10; batch++) {
      const sockets = Array.from({ length: 100 }, () => {
        const socket: Socket = connect({ host: '127.0.0.1', port: b.port });
        socket.on('error', () => undefined);
        socket.resume();
        // What it says too late is answered by a reset.
        closed.push(new Promise((resolve) => socket.once('close', resolve)));
        return socket;
      });
      await Promise.all(sockets.map(async (socket) => once(socket, 'connect')));
      for (const socket of sockets.slice(50)) socket.write(half);
    }
    await Promise.all(closed);
    // The link may have got its second lane meanwhile.
    while (files() > before + 1) await pause(10);

    const { refused, peers } = await b.statistics();
    expect(refused).toBe(1000);
    expect(peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
    expect((await a.statistics()).peers[0]?.reconnects).toBe(0);
  });

  it('takes up a DC of which the nodes become members later', async () => {
    const [a, b] = (await start(2)) as [ProxyNode, ProxyNode];
    a.segment.segment.removeNode(nodeId(1));
    a.tell({ type: 'segments', segments: [{ dcId: 5, path: a.segment.path }] });
    while ((await b.statistics()).peers[0]?.containers.length !== 0) await pause(10);
    const [server, client] = [await b.member(SERVER), await a.member()];

    a.segment.segment.addNode(nodeId(1), 'n1');
    a.tell({ type: 'segments', segments: [{ dcId: 5, path: a.segment.path }] });
    await a.knows(server.endpoint);
    const echo = server.order<{ served: number }>({ do: 'echo', count: 10 });
    const calls = { do: 'calls', server: server.endpoint, count: 10, start: 1 } as const;
    const { right } = await client.order<{ right: number }>(calls);

    expect(right).toBe(10);
    expect((await echo).served).toBe(10);
  });
});

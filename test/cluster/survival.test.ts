// Real proxies whose connections are cut, which stand still, are killed and come back, while
// callers verify each answer: each request is answered once, or its call ends with ENOTCONN.
// Rows 11 to 13, 21 and 45 of the fault matrix, on TCP and UDP, sealed and in plain text.
// Method: nodes as in proxy-tcp.test.ts; over TCP with a relay in the middle. The server counts the
// requests that come twice.
import { afterEach, describe, expect, it } from 'vitest';
import { ProxyNode, startNodes } from '../support/proxy-node.ts';
import { TcpRelay } from '../support/tcp-relay.ts';

const MIB = 1024 * 1024;
const SERVER = { slot: 10 };

let nodes: ProxyNode[] = [];
let relay: TcpRelay | undefined;

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
  relay?.close();
  relay = undefined;
});

const messageOf = (error: unknown): string => (error as Error).message;

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

/** Tells whether it is over. */
function watch(work: Promise<unknown>): () => boolean {
  let isOver = false;
  void work.then(() => (isOver = true));
  return () => isOver;
}

/** Nodes 0 and 1; what node 0 dials is a relay. */
async function relayed(insecure: boolean, holdMs?: number): Promise<[ProxyNode, ProxyNode]> {
  const options = { insecure, ...(holdMs !== undefined && { holdMs }) };
  const [a, b] = [new ProxyNode(0, [1], options), new ProxyNode(1, [0], options)];
  nodes = [a, b];
  relay = new TcpRelay(() => b.port);
  const port = await relay.start();
  await b.start([]);
  b.tell({ type: 'peers', peers: [{ ...a.address, port: 1 }] });
  await a.start([{ ...b.address, port }]);
  await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
  return [a, b];
}

type Echo = Promise<{ served: number; repeated: number }>;

describe.each([
  ['sealed', false],
  ['in plain text', true],
] as const)('connections over TCP that are cut again and again, %s', (_, insecure) => {
  it('cost no call of several callers, and repeat none', async () => {
    const [a, b] = await relayed(insecure);
    const server = await b.member(SERVER);
    const clients = [await a.member(), await a.member(), await a.member()];
    await a.knows(server.endpoint);
    const echo: Echo = server.order({ do: 'echo', count: 1800 });
    const calls = clients.map(async (client, i) =>
      client.order<{ right: number }>({
        do: 'calls',
        server: server.endpoint,
        count: 600,
        start: 10_000 * i,
      }),
    );
    const isOver = watch(Promise.allSettled(calls));

    let cuts = 0;
    for (; !isOver(); cuts++) {
      relay!.cut();
      await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
      await pause(60);
    }
    const outcomes = await Promise.all(calls);

    expect(outcomes.map(({ right }) => right)).toEqual([600, 600, 600]);
    expect(await echo).toEqual({ served: 1800, repeated: 0 });
    const { peers } = await a.statistics();
    expect(peers[0]).toMatchObject({ session: 1, resumed: cuts, reconnects: cuts });
  });

  it('do not stop a copy of 24 MiB, and leave no wrong byte in it', async () => {
    const [a, b] = await relayed(insecure);
    const [holder, copier] = [await b.member(SERVER), await a.member()];
    await a.knows(holder.endpoint);
    const bytes = 24 * MIB;
    await holder.order({ do: 'fill', bytes, seed: 1 });
    await copier.order({ do: 'fill', bytes, seed: 2 });
    const grant = await holder.order({ do: 'grant', access: 'read-write' });
    const theirs = { endpoint: holder.endpoint, grant, at: 0 };
    const mine = await copier.order<string>({ do: 'hash' });

    for (const [from, to] of [
      ['own', theirs],
      [theirs, 'own'],
    ] as const) {
      const copy = copier.order<{ bytes: number }>({ do: 'vcopy', from, to, bytes });
      const isOver = watch(Promise.allSettled([copy]));
      for (let cuts = 1; !isOver(); cuts++) {
        relay!.cut();
        await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
        // Every other one is cut as soon as it is up; the rest live longer and longer, so that the
        // copy gets through on a slow machine, too.
        if (cuts % 2 === 0) await pause(30 * cuts);
      }
      expect((await copy).bytes).toBe(bytes);
    }

    expect(await holder.order<string>({ do: 'hash' })).toBe(mine);
    expect(await copier.order<string>({ do: 'hash' })).toBe(mine);
  });
});

describe('a path that carries nothing while both ends believe in it', () => {
  it('for less than the session is held costs no call', async () => {
    const [a, b] = await relayed(false);
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo: Echo = server.order({ do: 'echo', count: 100 });

    relay!.silence(true);
    const calls = client.order<{ right: number }>({
      do: 'calls',
      server: server.endpoint,
      count: 100,
      start: 0,
    });
    const reasons = await Promise.all([a.link(1, 'held'), b.link(0, 'held')]);
    relay!.silence(false);

    expect((await calls).right).toBe(100);
    expect(await echo).toEqual({ served: 100, repeated: 0 });
    expect(reasons).toEqual(Array(2).fill('time-out: nothing came for 1500 ms'));
    expect((await a.statistics()).peers[0]).toMatchObject({ session: 1 });
  });

  it('for longer ends every call with ENOTCONN, on both sides', async () => {
    const [a, b] = await relayed(false, 500);
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const call = client.order({ do: 'call', server: server.endpoint, type: 1 }).catch(messageOf);

    relay!.silence(true);
    await Promise.all([a.link(1, 'down'), b.link(0, 'down')]);

    expect(await call).toBe('ENOTCONN');
    relay!.silence(false);
    await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
    expect((await a.statistics()).peers[0]).toMatchObject({ session: 2, resumed: 0 });
  });
});

describe.each(['tcp', 'udp'])('proxies over %s', (transport) => {
  const start = async (holdMs?: number): Promise<[ProxyNode, ProxyNode]> => {
    nodes = await startNodes(2, () => ({
      transports: [transport],
      ...(holdMs !== undefined && { holdMs }),
    }));
    return nodes as [ProxyNode, ProxyNode];
  };

  it('that stand still for three seconds cost no call, and are missed meanwhile', async () => {
    const [a, b] = await start();
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo: Echo = server.order({ do: 'echo', count: 3000 });
    const calls = client.order<{ right: number }>({
      do: 'calls',
      server: server.endpoint,
      count: 3000,
      start: 0,
    });

    const reasons: unknown[] = [];
    for (const victim of nodes) {
      const other = nodes[1 - victim.node]!;
      victim.proxy.kill('SIGSTOP');
      reasons.push(await other.link(victim.node, 'held'));
      await pause(1500);
      victim.proxy.kill('SIGCONT');
      for (const state of ['held', 'up'] as const) await victim.link(other.node, state);
      await other.link(victim.node, 'up');
    }

    expect(reasons).toEqual(Array(2).fill('time-out: nothing came for 1500 ms'));
    expect((await calls).right).toBe(3000);
    expect(await echo).toEqual({ served: 3000, repeated: 0 });
    expect((await a.statistics()).peers[0]).toMatchObject({ session: 1, resumed: 2 });
  });

  it('that are killed again and again repeat no request, and hang no call', async () => {
    const [a, b] = await start(1000);
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const echo: Echo = server.order({ do: 'echo', count: 0 });
    echo.catch(() => undefined);
    const outcomes: unknown[] = [];

    for (let round = 0; round < 4; round++) {
      const [victim, other] = round % 2 === 0 ? [b, a] : [a, b];
      const start = round * 1_000_000;
      const order = { do: 'calls', server: server.endpoint, count: 900_000, start } as const;
      const calls = client.order(order).catch(messageOf);
      await pause(100);
      await victim.killProxy([other.node]);
      await victim.start([other.address]);
      outcomes.push(await calls);
      await Promise.all([other.link(victim.node, 'up'), victim.link(other.node, 'up')]);
      await a.knows(server.endpoint);
      const after = { ...order, start: start + 950_000, count: 100 };
      outcomes.push((await client.order<{ right: number }>(after)).right);
    }

    expect(outcomes).toEqual(Array(4).fill(['ENOTCONN', 100]).flat());
  });
});

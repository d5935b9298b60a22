// Two nodes that are joined by TCP and UDP: while callers call all the time TCP is cut, then both,
// and they come back; each call is answered once. And one proxy that carries the links of its node
// with several others at once. Method: proxy processes in network namespaces that the test makes,
// with a filter of the kernel that drops TCP, and the cable pulled.
import { afterEach, describe, expect, it } from 'vitest';
import type { PathStatistics } from '../../src/proxies/path.ts';
import type { DcMember } from '../support/dc-members.ts';
import { useCable } from '../support/cable.ts';
import { ProxyNode, startNodes } from '../support/proxy-node.ts';

const CALLERS = 8;
const SERVER = { slot: 10 };
const TRANSPORTS = ['tcp', 'udp'];

interface Echo {
  served: number;
  repeated: number;
}

let nodes: ProxyNode[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
});

function messageOf(error: unknown): string {
  return (error as Error).message;
}

/** A server, and callers of another node that call it all at once. */
class Callers {
  readonly #server: DcMember;
  readonly #callers: readonly DcMember[];
  #next = 0;

  private constructor(server: DcMember, callers: readonly DcMember[]) {
    this.#server = server;
    this.#callers = callers;
  }

  static async start(at: ProxyNode, from: ProxyNode): Promise<Callers> {
    const server = await at.member(SERVER);
    await from.knows(server.endpoint);
    const callers = Array.from({ length: CALLERS }, async () => from.member());
    return new Callers(server, await Promise.all(callers));
  }

  /** So many calls of each; all are answered rightly, and none comes twice. */
  async call(count: number): Promise<void> {
    const echo = this.#server.order<Echo>({ do: 'echo', count: CALLERS * count });
    const answers = this.#callers.map(async (caller) => {
      const start = this.#next;
      this.#next += count;
      const calls = { do: 'calls', server: this.#server.endpoint, count, start } as const;
      return (await caller.order<{ right: number }>(calls)).right;
    });
    expect(await Promise.all(answers)).toEqual(Array(CALLERS).fill(count));
    expect(await echo).toEqual({ served: CALLERS * count, repeated: 0 });
  }

  /** Calls until something has happened. */
  async callUntil(event: Promise<unknown>): Promise<void> {
    const states: string[] = [];
    const over = event.then(() => states.push('over'));
    while (states.length === 0) await this.call(20);
    await over;
  }

  /** What becomes of a call of each that nobody answers. */
  async outcomes(): Promise<string[]> {
    const call = { do: 'call', server: this.#server.endpoint, type: 1 } as const;
    return await Promise.all(
      this.#callers.map(async (caller) => caller.order(call).then(() => 'answered', messageOf)),
    );
  }
}

describe('two nodes that are joined by TCP and UDP', () => {
  const network = useCable();

  async function start(holdMs: number): Promise<[ProxyNode, ProxyNode]> {
    const made = ([0, 1] as const).map((node) => {
      const place = { namespace: network().names[node], host: network().addresses[node] };
      return new ProxyNode(node, [1 - node], { ...place, transports: TRANSPORTS, holdMs });
    });
    nodes = made;
    const [a, b] = made as [ProxyNode, ProxyNode];
    for (const node of made) await node.start([]);
    for (const [node, other] of [
      [a, b],
      [b, a],
    ] as const) {
      const { host, port } = other.address;
      const peer = {
        ...other.address,
        transport: 'tcp',
        others: [{ host, port, transport: 'udp' }],
      };
      node.tell({ type: 'peers', peers: [peer] });
      node.tell({ type: 'set', settings: { steadyMs: 500 } });
    }
    await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
    for (const node of made) await bothUp(node);
    return [a, b];
  }

  async function pathsOf(node: ProxyNode): Promise<PathStatistics[]> {
    return (await node.statistics()).peers[0]?.paths ?? [];
  }

  async function bothUp(node: ProxyNode): Promise<void> {
    while ((await pathsOf(node)).some(({ state }) => state !== 'up')) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  const moved = async (a: ProxyNode, b: ProxyNode, path: string): Promise<unknown> =>
    Promise.all([a, b].map(async (node) => node.told('moved', (one) => one.path === path)));

  it('answer every call once while TCP is cut and comes back', async () => {
    const [a, b] = await start(5000);
    const callers = await Callers.start(b, a);
    await callers.call(50);
    const [before] = (await a.statistics()).peers;

    network().dropTcp();
    await callers.callUntil(moved(a, b, 'udp'));
    await callers.call(50);
    expect(await pathsOf(a)).toMatchObject([
      { path: 'tcp', carries: false },
      { path: 'udp', carries: true, state: 'up' },
    ]);

    network().lose(0);
    await callers.callUntil(moved(a, b, 'tcp'));
    await callers.call(50);

    const [after] = (await a.statistics()).peers;
    expect(after).toMatchObject({ state: 'up', session: before?.session, transport: 'tcp' });
    expect(after?.reconnects).toBe(0);
    expect(after?.paths.map(({ state }) => state)).toEqual(['up', 'up']);
  });

  it('hold calls while both are cut, and end them with ENOTCONN after that', async () => {
    const [a, b] = await start(4000);
    const callers = await Callers.start(b, a);
    await callers.call(50);

    network().plug('down');
    const calls = callers.call(50);
    await Promise.all([a.link(1, 'held'), b.link(0, 'held')]);
    network().plug('up');
    await calls;

    network().plug('down');
    expect(await callers.outcomes()).toEqual(Array(CALLERS).fill('ENOTCONN'));
    network().plug('up');
    await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
    await bothUp(a);
  });
});

describe('the proxy of a node', () => {
  it('carries links with several nodes at once, and each is a link of its own', async () => {
    nodes = await startNodes(4, () => ({ transports: TRANSPORTS }));
    const [a, ...others] = nodes as [ProxyNode, ...ProxyNode[]];
    const groups = await Promise.all(
      others.map(async (other) => {
        const server = await other.member({ slot: SERVER.slot + other.node });
        await a.knows(server.endpoint);
        return { server, caller: await a.member() };
      }),
    );

    const answers = groups.map(async ({ server, caller }) => {
      const echo = server.order<Echo>({ do: 'echo', count: 300 });
      const calls = { do: 'calls', server: server.endpoint, count: 300, start: 0 } as const;
      const { right } = await caller.order<{ right: number }>(calls);
      return { right, ...(await echo) };
    });

    const all = { right: 300, served: 300, repeated: 0 };
    expect(await Promise.all(answers)).toEqual([all, all, all]);
    const { peers } = await a.statistics();
    expect(peers.map(({ node, certificate }) => [node, certificate?.node])).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });
});

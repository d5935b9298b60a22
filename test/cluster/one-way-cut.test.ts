// A cable that carries in one direction only: row 13 of the fault matrix. Method: real proxies at
// the two ends of a veth pair; a filter of the kernel drops all that comes in at one end. What the
// machines of sessions do then, without processes, is in test/unit/proxies.
import { afterEach, expect, it } from 'vitest';
import { atEnd, useCable } from '../support/cable.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';

const TIMES = { keepaliveMs: 100, deadMs: 400 };
const HOLD_MS = 300;

const network = useCable();
let nodes: ProxyNode[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
});

async function start(transport: string): Promise<[ProxyNode, ProxyNode]> {
  nodes = await startNodes(2, (node) => ({
    ...atEnd(network(), node, transport),
    holdMs: HOLD_MS,
  }));
  for (const node of nodes) {
    node.tell({ type: 'set', settings: TIMES });
    expect(await node.told('set')).toHaveProperty('changes');
  }
  return nodes as [ProxyNode, ProxyNode];
}

it.each(['tcp', 'udp', 'ethernet'])('is a lost link to both ends, over %s', async (transport) => {
  const [a, b] = await start(transport);
  const [server, client] = [await b.member({ slot: 10 }), await a.member()];
  await a.knows(server.endpoint);
  const echo = server.order<{ repeated: number }>({ do: 'echo', count: 0 });
  echo.catch(() => undefined);

  for (const deaf of [0, 1] as const) {
    const start = deaf * 2e8;
    const endless = { do: 'calls', server: server.endpoint, count: 1e8, start } as const;
    const calls = client.order(endless).catch((error: unknown) => (error as Error).message);
    network().lose(100, deaf);
    await Promise.all([a.link(1, 'down'), b.link(0, 'down')]);
    const outcome = await calls;
    network().lose(0);
    await Promise.all([a.link(1, 'up'), b.link(0, 'up')]);
    await a.knows(server.endpoint);

    expect(outcome).toBe('ENOTCONN');
    const after = { ...endless, count: 100, start: start + 1e8 };
    expect(await client.order<{ right: number }>(after)).toMatchObject({ right: 100 });
  }
});

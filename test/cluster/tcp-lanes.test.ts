// Calls over TCP while a copy fills a narrow link, between two network namespaces.
import { afterEach, describe, expect, it } from 'vitest';
import { atEnd, useCable } from '../support/cable.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';

const MIB = 1024 * 1024;
const SERVER = { slot: 10 };
const MEGABITS = 100;
// 64 MiB in all.
const COPIERS = 4;
const BYTES = 16 * MIB;
const network = useCable();
let nodes: ProxyNode[] = [];

afterEach(async () => {
  await Promise.all(nodes.splice(0).map(async (node) => node.remove()));
});

describe.each([
  ['sealed', false],
  ['in plain text', true],
])('two nodes over TCP, %s', (_, insecure) => {
  it('call while 64 MiB are copied over a narrow link', async () => {
    nodes = await startNodes(2, (node) => ({ ...atEnd(network(), node, 'tcp'), insecure }));
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    const [server, client] = [await b.member(SERVER), await a.member()];
    await a.knows(server.endpoint);
    const pairs = await Promise.all(
      Array.from({ length: COPIERS }, async (__, i) => {
        const [holder, copier] = [await b.member({ slot: 11 + i }), await a.member()];
        await a.knows(holder.endpoint);
        await holder.order({ do: 'fill', bytes: BYTES, seed: i });
        await copier.order({ do: 'fill', bytes: BYTES, seed: 100 + i });
        const grant = await holder.order({ do: 'grant', access: 'read-write' });
        return { holder, copier, grant };
      }),
    );
    const echo = server.order<{ served: number }>({ do: 'echo', count: 60 });
    const calls = { do: 'calls', server: server.endpoint } as const;
    network().limit(0, MEGABITS);
    network().limit(1, MEGABITS);
    let isCopying = true;

    const copies = Promise.all(
      pairs.map(async ({ holder, copier, grant }) =>
        copier.order<{ bytes: number }>({
          do: 'vcopy',
          from: 'own',
          to: { endpoint: holder.endpoint, grant, at: 0 },
          bytes: BYTES,
        }),
      ),
    ).finally(() => (isCopying = false));
    // The first calls see the copies begin, the others go beside them.
    await client.order<{ right: number }>({ ...calls, count: 10, start: 0 });
    const { right } = await client.order<{ right: number }>({ ...calls, count: 50, start: 10 });
    const wasCopying = isCopying;

    // The copies take five seconds; a call takes what the line's own queue holds, 30 ms.
    expect(wasCopying).toBe(true);
    expect(right).toBe(50);
    expect((await echo).served).toBe(60);
    expect((await copies).map(({ bytes }) => bytes)).toEqual(Array(COPIERS).fill(BYTES));
    for (const { holder, copier } of pairs) {
      const ours = await copier.order<string>({ do: 'hash' });
      expect(await holder.order<string>({ do: 'hash' })).toBe(ours);
    }
  });
});

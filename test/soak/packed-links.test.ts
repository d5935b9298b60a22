// On a link of little bandwidth copies of what can be packed get faster by themselves, and copies
// of what cannot do not get slower. Method: two nodes in network namespaces, a token bucket between
// them, and the same copies with the setting `compress` off and auto, in turn.
import { afterEach, describe, expect, it } from 'vitest';
import { atEnd, useCable } from '../support/cable.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';

const MIB = 1024 * 1024;
const BYTES = 8 * MIB;
const ROUNDS = 5;
const MEGABITS = 200;

const KINDS = [
  ['tcp', false],
  ['tcp', true],
  ['udp', false],
  ['udp', true],
] as const;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

describe.each(KINDS)('two nodes over %s, in plain text: %s', (transport, insecure) => {
  const network = useCable();
  let nodes: ProxyNode[] = [];

  afterEach(async () => {
    for (const node of nodes.splice(0)) await node.remove();
  });

  /** Seconds that copies took, with and without packing, and the share of bytes that was left. */
  async function measure(words: boolean): Promise<{ auto: number; off: number; left: number }> {
    nodes = await startNodes(2, (node) => ({ ...atEnd(network(), node, transport), insecure }));
    const [a, b] = nodes as [ProxyNode, ProxyNode];
    const [holder, copier] = [await b.member({ slot: 11 }), await a.member()];
    await a.knows(holder.endpoint);
    await holder.order({ do: 'fill', bytes: BYTES, seed: 1 });
    await copier.order({ do: 'fill', bytes: BYTES, seed: 2, words });
    const grant = await holder.order({ do: 'grant', access: 'read-write' });
    const to = { endpoint: holder.endpoint, grant, at: 0 };
    const seconds = { auto: [] as number[], off: [] as number[] };
    for (let round = 0; round < ROUNDS; round++) {
      for (const compress of ['off', 'auto'] as const) {
        a.tell({ type: 'set', settings: { compress } });
        await a.told('set');
        const copy = { do: 'vcopy', from: 'own', to, bytes: BYTES } as const;
        seconds[compress].push((await copier.order<{ seconds: number }>(copy)).seconds);
      }
    }
    const copied = await holder.order<string>({ do: 'hash' });
    expect(copied).toBe(await copier.order<string>({ do: 'hash' }));
    const [peer] = (await a.statistics()).peers;
    const { packedBytesBefore: before = 0, packedBytesAfter: after = 0 } = peer ?? {};
    const left = before === 0 ? 1 : after / before;
    return { auto: median(seconds.auto), off: median(seconds.off), left };
  }

  it('copy what can be packed faster', async () => {
    network().limit(0, MEGABITS);
    network().limit(1, MEGABITS);

    const { auto, off, left } = await measure(true);

    expect(left).toBeLessThan(0.8);
    expect(auto).toBeLessThan(0.85 * off);
  });

  it('copy what cannot be packed as fast as without', async () => {
    network().limit(0, MEGABITS);
    network().limit(1, MEGABITS);

    const { auto, off, left } = await measure(false);

    expect(left).toBe(1);
    expect(auto).toBeLessThan(1.1 * off);
  });
});

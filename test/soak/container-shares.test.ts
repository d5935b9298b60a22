// Promise S15 as it is said: while one container takes all that it can get of a link, 99 of a
// hundred calls of another one take less than three times as long as when the link is quiet.
// Method: two nodes with two containers; in one of them processes call, or copy blocks, without
// end, in the other one process calls, in turn with the flood and without it. The ratio is that of
// medians of rounds of the same run.
import { afterEach, expect, it } from 'vitest';
import { dcId, nodeId } from '../../src/dvk/index.ts';
import type { DcMember } from '../support/dc-members.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';
import { TestSegment } from '../support/segments.ts';

const QUIET = 6;
const ROUNDS = 7;
const CALLS = 5000;
const CALLERS = 4;
const COPY_BYTES = 8 << 20;
const RATIO_MAX = 3;

let nodes: ProxyNode[] = [];
let others: TestSegment[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.remove();
  for (const one of others.splice(0)) one.remove();
});

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN;
}

async function start(transport: string): Promise<void> {
  others = [0, 1].map((node) => {
    const made = new TestSegment({ dcId: dcId(QUIET), nodeId: nodeId(node) });
    made.segment.addNode(nodeId(1 - node), `n${1 - node}`);
    return made;
  });
  nodes = await startNodes(2, (node) => ({ transports: [transport], others: [others[node]!] }));
}

type Stop = () => Promise<void>;

/** Calls of DC 5 from node 0 to node 1 until what is returned is called. */
async function floodCalls(server: DcMember): Promise<Stop> {
  const callers: DcMember[] = [];
  for (let i = 0; i < CALLERS; i++) callers.push(await nodes[0]!.member());
  for (const caller of callers) {
    const endless = { do: 'calls', server: server.endpoint, count: 1e9, start: 1 } as const;
    void caller.order(endless).catch(() => undefined);
  }
  return async () => {
    for (const one of callers) await one.kill();
  };
}

/** The same of copies. */
async function floodCopies(server: DcMember): Promise<Stop> {
  const copier = await nodes[0]!.member();
  await copier.order({ do: 'fill', bytes: COPY_BYTES, seed: 2 });
  const grant = await server.order({ do: 'grant', access: 'write' });
  const to = { endpoint: server.endpoint, grant, at: 0 };
  const state = { isOver: false };
  const copies = (async (): Promise<void> => {
    while (!state.isOver) await copier.order({ do: 'vcopy', from: 'own', to, bytes: COPY_BYTES });
  })();
  copies.catch(() => undefined);
  return async () => {
    state.isOver = true;
    await copies;
    await copier.kill();
  };
}

it.each([
  ['calls', 'tcp', floodCalls],
  ['calls', 'udp', floodCalls],
  ['copies', 'tcp', floodCopies],
  ['copies', 'udp', floodCopies],
] as const)('a flood of %s over %s leaves another container its p99', async (what, name, flood) => {
  await start(name);
  const [a, b] = nodes as [ProxyNode, ProxyNode];
  const flooded = await b.member({ slot: 10 });
  const server = await b.member({ slot: 10 }, others[1]);
  await a.knows(flooded.endpoint);
  await a.knows(server.endpoint, others[0]);
  await flooded.order({ do: 'fill', bytes: COPY_BYTES, seed: 1 });
  const answering = what === 'calls' ? [flooded, server] : [server];
  for (const one of answering) void one.order({ do: 'echo', count: 0 }).catch(() => 0);
  const caller = await a.member(undefined, others[0]);
  const p99 = { quiet: [] as number[], flooded: [] as number[] };
  const run = async (start: number): Promise<number> => {
    const calls = { do: 'calls', server: server.endpoint, count: CALLS, start } as const;
    const { right, p99Ms } = await caller.order<{ right: number; p99Ms: number }>(calls);
    expect(right).toBe(CALLS);
    return p99Ms;
  };
  await run(0);

  for (let round = 1; round <= ROUNDS; round++) {
    p99.quiet.push(await run(2 * round * CALLS));
    const stop = await flood(flooded);
    p99.flooded.push(await run((2 * round + 1) * CALLS));
    await stop();
  }

  const [quietMs, floodedMs] = [median(p99.quiet), median(p99.flooded)];
  process.stdout.write(`p99 by ${what} over ${name}: ${quietMs} ms, ${floodedMs} ms\n`);
  expect(floodedMs / quietMs).toBeLessThan(RATIO_MAX);
});

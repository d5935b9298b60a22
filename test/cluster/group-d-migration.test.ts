// Group D of section 20: moves of a process with clients that call all the time, section 10.2's
// three scenarios first. Also promises M1 to M4 of the reliability notes, and row 38 of its faults.
// Method: nodes are proxy processes joined by sealed TCP; server and clients are programs of their
// own. The server counts what came twice and what is missing; clients check each answer.
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { nodeId } from '../../src/dvk/index.ts';
import type { DcMember } from '../support/dc-members.ts';
import { MOVING_SLOT, MovingServer } from '../support/moving-servers.ts';
import { startNodes, type ProxyNode } from '../support/proxy-node.ts';

const CALLS = 1000;
const GIVE_UP_MS = 5000;
/** What a call may fail with when a node or a process of the move is lost. */
const LOSSES = ['EDEADSRCDST', 'EDSTDIED', 'EDVSMIGRATING', 'EDVSNOPROXY', 'ENOTCONN', 'ESRCDIED'];

let nodes: ProxyNode[] = [];
let server: MovingServer;

beforeEach(async () => {
  nodes = await startNodes(3);
});
afterEach(async () => {
  await server.remove();
  for (const node of nodes.splice(0)) await node.remove();
});

const at = (node: number): ProxyNode => nodes[node]!;

async function callAll(
  clients: readonly DcMember[],
): Promise<Promise<{ right: number; seconds: number }>[]> {
  // Each has had an answer before the move begins.
  for (const client of clients) {
    await client.order({ do: 'calls', server: server.endpoint, count: 1, start: 1 });
  }
  const order = { do: 'calls', server: server.endpoint, count: CALLS - 1, start: 2 } as const;
  return clients.map(async (client) => client.order(order));
}

/** All clients had every answer; nothing was lost, nothing served twice. */
async function expectAllServed(clients: readonly DcMember[]): Promise<void> {
  const counts = await server.counts(clients[0]!);
  expect(counts).toEqual({ served: clients.length * CALLS, repeated: 0, missing: 0 });
}

function expectWholeTables(): void {
  for (const node of nodes) expect(node.segment.segment.check(200)).toEqual([]);
}

describe('section 10.2, scenarios', () => {
  it.each([
    ['1: a server goes from node 0 to node 1, with a client on node 1', 0, 1, 1],
    ['2: a server goes from node 1 to node 0, and the client stays on node 1', 1, 0, 1],
    ['3: a server goes from node 0 to node 1, with a client on node 2', 0, 1, 2],
  ] as const)('%s', async (_, from, to, home) => {
    server = await MovingServer.start(nodes, from, [to]);
    const client = await at(home).member();
    const [calls] = await callAll([client]);

    await server.move(from, to);

    expect(server.owners()).toEqual([to]);
    expect((await calls)?.right).toBe(CALLS - 1);
    await expectAllServed([client]);
    for (const node of nodes) {
      const known = node.segment.segment.process(MOVING_SLOT);
      expect([known?.endpoint, known?.node]).toEqual([server.endpoint, to]);
    }
    expectWholeTables();
  });
});

describe('a client that calls all the time (section 10.1)', () => {
  it('on each node has every answer once while the server goes there and back', async () => {
    server = await MovingServer.start(nodes, 0, [1]);
    const clients = [await at(0).member(), await at(1).member(), await at(2).member()];
    const calls = await callAll(clients);
    const progress = { done: false };
    const all = Promise.all(calls).finally(() => (progress.done = true));

    let moves = 0;
    for (; !progress.done || moves < 4; moves++) await server.move(moves % 2, 1 - (moves % 2));

    for (const { right } of await all) expect(right).toBe(CALLS - 1);
    expect(server.owners()).toEqual([moves % 2]);
    await expectAllServed(clients);
    expectWholeTables();
  });

  it('sees nothing of a rollback', async () => {
    server = await MovingServer.start(nodes, 0, [1]);
    const clients = [await at(0).member(), await at(2).member()];
    const calls = await callAll(clients);
    const { migrations } = at(0).segment.segment;

    for (let round = 0; round < 5; round++) {
      migrations.start(server.endpoint, 20_000);
      expect(migrations.of(server.endpoint).state).toBe('started');
      migrations.rollback(server.endpoint);
      expect(migrations.of(server.endpoint)).toMatchObject({ state: 'none', node: 0 });
    }

    for (const { right } of await Promise.all(calls)) expect(right).toBe(CALLS - 1);
    expect(server.owners()).toEqual([0]);
    await expectAllServed(clients);
    expectWholeTables();
  });
});

describe('status values of the log (section 10.2)', () => {
  it('show who has stopped, who keeps back, and the old one as backup', async () => {
    server = await MovingServer.start(nodes, 0, [1]);
    const [home, target, third] = nodes.map((node) => node.segment.segment);
    home?.migrations.start(server.endpoint, 20_000);
    const state = (one: typeof home): string | undefined =>
      one?.migrations.of(server.endpoint).state;
    while (state(target) !== 'held' || state(third) !== 'held') {
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(state(home)).toBe('started');
    expect(target?.process(MOVING_SLOT)).toMatchObject({ life: 'remote', node: 0, backup: true });
    expect(third?.process(MOVING_SLOT)).toMatchObject({ life: 'remote', node: 0, backup: false });

    while (home?.migrations.commit(server.endpoint, nodeId(1)) === false) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    while (state(third) !== 'none') await new Promise((resolve) => setImmediate(resolve));

    expect(home?.process(MOVING_SLOT)).toMatchObject({ life: 'remote', node: 1, backup: true });
    expect(target?.process(MOVING_SLOT)).toMatchObject({ life: 'local', node: 1, backup: false });
    expect(third?.process(MOVING_SLOT)).toMatchObject({ life: 'remote', node: 1, backup: false });
  });
});

interface Loss {
  wrong: number;
  failed: Record<string, number>;
}

/** Callers on every node that go on until each has so many answers, whatever fails meanwhile. */
async function callThrough(
  answers: number,
): Promise<{ callers: DcMember[]; calls: Promise<Loss>[] }> {
  const callers = [await at(0).member(), await at(1).member(), await at(2).member()];
  const order = {
    do: 'tries',
    server: server.endpoint,
    answers,
    timeoutMs: GIVE_UP_MS,
  } as const;
  return { callers, calls: callers.map(async (one) => one.order<Loss>(order)) };
}

/** Nothing was served twice, answers are right, and errors are those that are documented. */
async function expectHonest(calls: readonly Promise<Loss>[], asker: DcMember): Promise<void> {
  for (const { wrong, failed } of await Promise.all(calls)) {
    expect(wrong).toBe(0);
    for (const code of Object.keys(failed)) expect(LOSSES).toContain(code);
  }
  // Its node may be making the link anew: a peer's end is up a moment earlier.
  const { repeated } = await vi.waitFor(async () => server.counts(asker), { timeout: 20_000 });
  expect(repeated).toBe(0);
}

describe('a loss in the middle of a move (row 38): one owner, nothing twice', () => {
  it('of the target process: it is refused, and the server goes on where it was', async () => {
    server = await MovingServer.start(nodes, 0, [1]);
    const { callers, calls } = await callThrough(500);
    await server.kill(1);

    await expect(server.move(0, 1)).rejects.toMatchObject({ code: 'ESRCH' });

    expect(server.owners()).toEqual([0]);
    await expectHonest(calls, callers[0]!);
    expectWholeTables();
  });

  it('of the server before the commit: its backup can be promoted', async () => {
    server = await MovingServer.start(nodes, 0, [1]);
    const { callers, calls } = await callThrough(500);
    at(0).segment.segment.migrations.start(server.endpoint, 20_000);
    await server.kill(0);
    expect(server.owners()).toEqual([]);

    at(1).segment.segment.promote(server.endpoint);

    expect(server.owners()).toEqual([1]);
    for (const { failed } of await Promise.all(calls)) {
      for (const code of Object.keys(failed)) expect(LOSSES).toContain(code);
    }
    expect(callers).toHaveLength(3);
  });

  it.each([
    ['of the home node', 0],
    ['of the target node', 1],
    ['of a third node', 2],
  ])(
    '%s: a proxy that is killed again and again settles to one side',
    async (_, victim) => {
      server = await MovingServer.start(nodes, 0, [1]);
      const { callers, calls } = await callThrough(800);
      let home = 0;
      for (let round = 0; round < 4; round++) {
        const move = server.move(home, 1 - home, 3000).then(
          () => 'none',
          (error: unknown) => (error as { code: string }).code,
        );
        const others = [0, 1, 2].filter((node) => node !== victim);
        await at(victim).killProxy(others);
        await at(victim).start(nodes.map((node) => node.address));
        for (const other of others) await at(victim).link(other, 'up');
        expect(['none', 'ENOTCONN', 'EDVSNOPROXY', 'ETIMEDOUT']).toContain(await move);
        // What was in doubt is settled over the new link.
        while (server.owners().length !== 1) await new Promise((resolve) => setImmediate(resolve));
        home = server.owners()[0] ?? home;
      }

      await expectHonest(calls, callers[0]!);
      expect(server.owners()).toEqual([home]);
      expectWholeTables();
    },
    60_000,
  );

  it('of a committer that vanishes: the move is rolled back when its time is over', async () => {
    server = await MovingServer.start(nodes, 0, [1]);
    const client = await at(2).member();
    at(0).segment.segment.migrations.start(server.endpoint, 200);

    const order = { do: 'calls', server: server.endpoint, count: 10, start: 1 } as const;
    const { right } = await client.order<{ right: number }>(order);

    expect(right).toBe(10);
    expect(at(0).segment.segment.migrations.of(server.endpoint)).toMatchObject({
      state: 'none',
      error: { code: 'ETIMEDOUT' },
    });
  });
});

describe('rules of a move', () => {
  it('refuse a process that is bound not to move', async () => {
    server = await MovingServer.start(nodes, 0, []);
    const { segment } = at(0).segment;
    const rooted = segment.bind({ slot: 20, name: 'rooted', level: 'server', noMigrate: true });
    expect(segment.process(20)?.noMigrate).toBe(true);
    const move = segment.migrations.migrate(rooted.endpoint, nodeId(1));
    await expect(move).rejects.toMatchObject({ code: 'EDVSPROCSTS' });
    const client = segment.bind({ name: 'client' });
    const other = segment.migrations.migrate(client.endpoint, nodeId(1));
    await expect(other).rejects.toMatchObject({ code: 'EDVSBADPROC' });
    const here = segment.migrations.migrate(server.endpoint, nodeId(0));
    await expect(here).rejects.toMatchObject({ code: 'EDVSLCLPROC' });
  });

  it('hold a server that owes a reply until it has answered', async () => {
    server = await MovingServer.start(nodes, 0, []);
    const { segment } = at(0).segment;
    const slow = segment.bind({ slot: 20, name: 'slow', level: 'server' });
    const client = await at(0).member();
    const call = client.ipc({ call: 'sendrec', peer: slow.endpoint });
    await slow.rcvrqst();
    const asker = slow.message.source;
    segment.migrations.start(slow.endpoint, 20_000);
    await expect(slow.rcvrqst()).rejects.toMatchObject({ code: 'EDVSMIGRATING' });
    const stopped = slow.rcvrqst().catch((error: unknown) => (error as { code: string }).code);
    const commit = (): boolean => segment.migrations.commit(slow.endpoint, nodeId(1));
    while (segment.migrations.of(slow.endpoint).state === 'started') {
      try {
        expect(commit()).toBe(false);
      } catch (error) {
        expect(error).toMatchObject({ code: 'EDVSPROCSTS' });
        break;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    slow.replySync(asker);
    await call;
    segment.migrations.rollback(slow.endpoint);
    slow.unbind();
    expect(await stopped).toBe('ECANCELED');
  });
});

// A call to an endpoint whose node is unknown finds it, or ends with a documented error. Method:
// two and three nodes with real segments and proxy engines, joined in memory; processes of level
// user, which nobody announces, and bindings that a test takes away or falsifies. Reference: dvs.md
// 10.4 (TRACKER), 7.3 (autobind); what is promised is in src/proxies/tracker.ts and decision 35.
import { afterEach, describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout } from '../../src/dvk/abi/abi.gen.ts';
import { ANY, makeEndpoint, nodeId, slotOf } from '../../src/dvk/index.ts';
import type { GrantId, Process } from '../../src/dvk/index.ts';
import { LoopbackNetwork } from '../../src/proxies/loopback.ts';
import type { TrackerStatistics } from '../../src/proxies/trackers.ts';
import { codeOf } from '../support/codes.ts';
import { EngineNodes } from '../support/engine-nodes.ts';

/** A fixed slot; its process is bound as a user, so that it is not announced. */
const SLOT = 20;
const N0 = nodeId(0);
const N1 = nodeId(1);

let nodes: EngineNodes;
afterEach(async () => {
  await nodes.remove();
});

async function start(count: number): Promise<void> {
  const network = new LoopbackNetwork();
  nodes = await EngineNodes.start(count, () => network.transport());
}

const bind = (node: number, slot?: number): Process =>
  nodes.segment(node).bind({ name: `of${node}`, ...(slot !== undefined && { slot }) });

function searches(node: number): TrackerStatistics {
  const [found] = nodes.statistics(node).trackers;
  if (found === undefined) throw new Error('there is no tracker');
  return found;
}

/** `from` sends to `to`, who receives it. */
async function meet(from: Process, to: Process): Promise<void> {
  const received = to.receive(ANY);
  await from.send(to.endpoint);
  await received;
  expect(to.message.source).toBe(from.endpoint);
}

describe('an unknown endpoint', () => {
  it('is found by who sends, calls, receives or waits, and is bound by its own name', async () => {
    await start(2);
    const [client, server] = [bind(1), bind(0, 9)];
    expect(nodes.segment(0).isBound(client.endpoint)).toBe(false);
    await meet(server, client);
    expect(nodes.segment(0).process(slotOf(client.endpoint))).toMatchObject({
      ...{ life: 'remote', node: 1, name: 'of1', level: 'user', endpoint: client.endpoint },
    });
    expect(searches(0)).toMatchObject({ inquiries: 1, found: 1, queriesSent: 1, absent: 0 });
    expect(searches(1)).toMatchObject({ queriesReceived: 1, answersSent: 1 });

    const sender = bind(1);
    const received = server.receive(sender.endpoint);
    await sender.send(server.endpoint);
    await received;
    const watched = bind(1);
    const gone = server.waitForUnbind(watched.endpoint);
    while (!nodes.segment(0).isBound(watched.endpoint)) await turn();
    watched.unbind();
    await gone;
    const awaited = bind(1);
    expect(await server.waitForBind(slotOf(awaited.endpoint))).toBe(awaited.endpoint);
  });

  it('is found by a copy, a notification and a message that nobody waits for', async () => {
    await start(2);
    const server = bind(0, 9);
    const granted = new Uint8Array(5000);
    const holder = bind(1);
    const grant = holder.grant(granted, 'read-write', ANY);
    const bytes = Uint8Array.from(granted, (_, i) => i);
    const to = { endpoint: holder.endpoint, grant, at: 0 };
    expect(await server.vcopy(bytes, to, bytes.length)).toBe(bytes.length);
    expect(granted).toEqual(bytes);

    const [notified, receiver] = [bind(1), bind(1)];
    const heard = notified.receive(ANY);
    server.notify(notified.endpoint, { value: 6 });
    await heard;
    expect(notified.message.source).toBe(server.endpoint);
    expect(notified.notifyValue).toBe(6);
    const received = receiver.receive(ANY);
    server.message.type = 77;
    const id = server.senda(receiver.endpoint);
    await received;
    expect(receiver.message).toMatchObject({ source: server.endpoint, type: 77 });
    while (!server.sendaStatus(id).done) await turn();
    expect(searches(0)).toMatchObject({ found: 3, absent: 0 });
    expect(nodes.segment(0).check()).toEqual([]);
  });

  it('is found by a process that blocks', async () => {
    await start(2);
    const client = bind(1);
    const member = await nodes.member(0, 9);
    const received = client.receive(ANY);
    expect(await member.codeOf({ call: 'send', peer: client.endpoint, timeoutMs: 20_000 })).toBe(
      'none',
    );
    await received;
  });

  it('is found in a fixed slot, on the one node of several that has it', async () => {
    await start(3);
    const [far, server] = [bind(2, SLOT), bind(0, 9)];
    await meet(server, far);
    expect(nodes.segment(0).process(SLOT)?.node).toBe(2);
    expect(searches(0)).toMatchObject({ found: 1, queriesSent: 2, conflicts: 0 });
  });

  it('is asked for once by many callers', async () => {
    await start(3);
    const far = bind(2, SLOT);
    const callers = Array.from({ length: 8 }, () => bind(0));
    const served = (async (): Promise<void> => {
      for (let left = callers.length; left > 0; left--) await far.receive(ANY);
    })();
    await Promise.all(callers.map(async (caller) => caller.send(far.endpoint)));
    await served;
    expect(searches(0)).toMatchObject({ inquiries: 1, queriesSent: 2, queriesReceived: 0 });
  });

  it('is looked for by the client whose request was relayed to it', async () => {
    await start(3);
    const front = await nodes.server(0, 9);
    const back = await nodes.server(1, SLOT);
    const client = bind(2);
    nodes.segment(2).unbindRemote(back.endpoint);
    const answered = client.sendrec(front.endpoint);
    await front.rcvrqst();
    front.relaySync(client.endpoint, back.endpoint);
    await back.rcvrqst();
    back.replySync(client.endpoint);
    await answered;
    expect(client.message.source).toBe(back.endpoint);
  });
});

describe('when it cannot be found', () => {
  it('a call fails with EDEADSRCDST when nobody has the endpoint', async () => {
    await start(3);
    const server = bind(0, 9);
    const near = bind(1);
    const dynamic = makeEndpoint(slotOf(near.endpoint) + 1, 3);
    expect(await codeOf(() => server.send(dynamic))).toBe('EDEADSRCDST');
    expect(await codeOf(() => server.sendrec(makeEndpoint(SLOT)))).toBe('EDEADSRCDST');
    expect(await codeOf(() => server.receive(makeEndpoint(SLOT, 1)))).toBe('EDEADSRCDST');
    expect(await codeOf(() => server.waitForUnbind(makeEndpoint(SLOT, 2)))).toBe('none');
    const bytes = new Uint8Array(9);
    const to = { endpoint: dynamic, grant: 1 as GrantId, at: 0 };
    expect(await codeOf(() => server.vcopy(bytes, to, bytes.length))).toBe('EDEADSRCDST');
    const id = server.senda(dynamic, { notify: 'failed' });
    await server.receive(ANY);
    expect(server.message.source).toBe(server.endpoint);
    expect(server.sendaStatus(id)).toMatchObject({ done: true, error: { code: 'EDEADSRCDST' } });
    expect(searches(0).found).toBe(0);
    expect(nodes.segment(0).check()).toEqual([]);
  });

  it('a call fails with EDEADSRCDST when the slot has another generation', async () => {
    await start(2);
    const server = bind(0, 9);
    const [before, after] = [bind(1, SLOT), makeEndpoint(SLOT, 1)];
    expect(await codeOf(() => server.send(after))).toBe('EDEADSRCDST');
    before.unbind();
    const next = bind(1, SLOT);
    expect(next.endpoint).toBe(after);
    expect(await codeOf(() => server.send(before.endpoint))).toBe('EDEADSRCDST');
  });

  it('a call fails with ENOTCONN when the node that may have it is down', async () => {
    await start(3);
    const server = bind(0, 9);
    const [client, fixed] = [bind(1), bind(1, SLOT)];
    await nodes.stop(1);
    expect(await codeOf(() => server.send(client.endpoint))).toBe('ENOTCONN');
    expect(await codeOf(() => server.send(fixed.endpoint))).toBe('ENOTCONN');
    expect(await codeOf(() => server.waitForUnbind(client.endpoint))).toBe('ENOTCONN');
    expect(searches(0)).toMatchObject({ found: 0, absent: 0 });
  });

  it('a call fails at once where no proxy runs', async () => {
    await start(2);
    const [server, client] = [bind(0, 9), bind(1)];
    await nodes.stop(0);
    expect(await codeOf(() => server.send(client.endpoint))).toBe('EDEADSRCDST');
  });
});

describe('a process that comes back', () => {
  it('is found under its new generation', async () => {
    await start(2);
    const server = bind(0, 9);
    const before = bind(1, SLOT);
    await meet(server, before);
    before.unbind();
    while (nodes.segment(0).isBound(before.endpoint)) await turn();
    const after = bind(1, SLOT);
    await meet(server, after);
    expect(after.endpoint).not.toBe(before.endpoint);
    expect(nodes.segment(0).lookup(SLOT)).toBe(after.endpoint);
  });

  it('is found on the node where it was started again', async () => {
    await start(3);
    const server = bind(0, 9);
    const before = bind(1, SLOT);
    await meet(server, before);
    before.unbind();
    while (nodes.segment(0).isBound(before.endpoint)) await turn();
    const after = bind(2, SLOT);
    await meet(server, after);
    expect(nodes.segment(0).process(SLOT)?.node).toBe(2);
  });

  it('is found after it has moved, by a node that did not hear of that', async () => {
    await start(3);
    const moving = await nodes.server(0, SLOT);
    const { endpoint } = moving;
    const backup = nodes.segment(1).bind({
      ...{ name: 'moving', level: 'server' as const, backup: { endpoint, node: N0 } },
    });
    const serves = serve(moving);
    const servesThere = serve(backup);
    await nodes.segment(0).migrations.migrate(endpoint, N1);
    while (nodes.segment(2).process(SLOT)?.node !== 1) await turn();
    nodes.segment(2).unbindRemote(endpoint);
    const client = bind(2);
    await client.sendrec(endpoint);
    expect(nodes.segment(2).process(SLOT)?.node).toBe(1);
    nodes.segment(1).endContainer();
    nodes.segment(0).endContainer();
    await Promise.all([serves, servesThere]);
  });

  it('is found although a binding here says that it is on another node', async () => {
    await start(3);
    const server = bind(0, 9);
    const far = bind(2, SLOT);
    nodes.segment(0).bindRemote(far.endpoint, N1, 'user', 'stale');
    await meet(server, far);
    expect(nodes.segment(0).process(SLOT)?.node).toBe(2);
  });

  it('is taken from a node that has forgotten it, when another one announces it', async () => {
    await start(3);
    nodes.segment(0).bindRemote(makeEndpoint(SLOT, 4), N1, 'server', 'stale');
    const far = nodes.segment(2).bind({ name: 'new', level: 'server', slot: SLOT });
    while (!nodes.segment(0).isBound(far.endpoint)) await turn();
    expect(nodes.segment(0).process(SLOT)).toMatchObject({ node: 2, name: 'new' });
    expect(searches(0)).toMatchObject({ stale: 1, conflicts: 0 });
  });
});

describe('an endpoint on two nodes', () => {
  it('is of the first that said so, and is counted', async () => {
    await start(3);
    const server = bind(0, 9);
    const both = [bind(1, SLOT), bind(2, SLOT)] as const;
    const served = Promise.race(both.map(async (one) => one.receive(ANY)));
    await server.send(both[0].endpoint);
    await served;
    while (searches(0).answersReceived < 2) await turn();
    expect(searches(0)).toMatchObject({ found: 1, conflicts: 1, stale: 0 });
    nodes.segment(0).endContainer();
  });

  it('leaves a caller of it with an answer when it is bound on both by mistake', async () => {
    await start(3);
    const server = await nodes.server(0, 9);
    const both = [bind(1, SLOT), bind(2, SLOT)] as const;
    const serves = serve(server);
    await both[0].sendrec(server.endpoint);
    // Node 0 has bound it where it called from; the other one is told so, and does not wait.
    expect(await codeOf(() => both[1].sendrec(server.endpoint))).toBe('EDVSSLOTUSED');
    const id = both[1].senda(server.endpoint);
    let status = both[1].sendaStatus(id);
    for (; !status.done; status = both[1].sendaStatus(id)) await turn();
    expect(status.error?.code).toBe('EDVSSLOTUSED');
    nodes.segment(0).endContainer();
    await serves;
  });
});

describe('a node', () => {
  it('answers for its own processes only, and not at all for what is no slot', async () => {
    await start(3);
    const far = await nodes.server(2, SLOT);
    expect(nodes.segment(1).isBound(far.endpoint)).toBe(true);
    const server = bind(0, 9);
    nodes.segment(0).unbindRemote(far.endpoint);
    await meet(server, far);
    expect(searches(0)).toMatchObject({ answersReceived: 2, found: 1, conflicts: 0 });
    expect(CommandLayout.BYTES).toBe(176);
    expect(CommandKind.PROCINFO).toBe(12);
  });
});

async function turn(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** Answers requests until the container ends; a move is no end. */
async function serve(process: Process): Promise<void> {
  for (;;) {
    const code = await codeOf(async () => {
      await process.rcvrqst();
      process.replySync(process.message.source);
    });
    if (code === 'EDVSDCNOTRUN' || code === 'EDVSNOTBOUND') return;
  }
}

// Promise S15: each container has limits of its own, so one that is flooded does not starve
// another. Method: two nodes with real segments of two containers, and one proxy engine each; all
// that container 5 has is used up, and its processes call and copy without end, while container 6
// goes on. Fairness is counted in calls, not in time: between two answers in container 6 there are
// no more calls of container 5 than its callers can have under way some times over.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { ANY, dcId, makeEndpoint, nodeId, slotOf } from '../../src/dvk/index.ts';
import type { Process, Segment } from '../../src/dvk/index.ts';
import { Engine } from '../../src/proxies/engine.ts';
import { tcpTransport } from '../../src/proxies/tcp.ts';
import { codeOf } from '../support/codes.ts';
import { DcMember } from '../support/dc-members.ts';
import { TestSegment } from '../support/segments.ts';

const FLOODED = 5;
const QUIET = 6;
const CALLERS = 10;
const CALLS = 200;
/** Of each caller of the flood, between two answers of the other container; on average. */
const ROUNDS_MAX = 64;
const SLOT = 10;
const COPY_BYTES = 8 << 20;

let segments: Map<string, TestSegment>;
let engines: Engine[];
let members: DcMember[];

const test = (dc: number, node: number): TestSegment => segments.get(`${dc}/${node}`)!;
const segment = (dc: number, node: number): Segment => test(dc, node).segment;

beforeEach(async () => {
  segments = new Map();
  members = [];
  engines = [0, 1].map((node) => {
    for (const dc of [FLOODED, QUIET]) {
      const made = new TestSegment({
        ...{ dcId: dcId(dc), nodeId: nodeId(node), arenaBytes: 1 << 24 },
      });
      made.segment.addNode(nodeId(1 - node), `n${1 - node}`);
      segments.set(`${dc}/${node}`, made);
    }
    const engine = new Engine({
      ...{ dvs: 'lab', node: nodeId(node), incarnation: BigInt(node) + 1n, clock: systemClock },
      ...{ transport: tcpTransport(systemClock), checksum: crc32c },
      times: { keepaliveMs: 100, deadMs: 30_000, handshakeMs: 30_000 },
    });
    engine.setSegments([segment(FLOODED, node), segment(QUIET, node)]);
    return engine;
  });
  const ports: number[] = [];
  for (const engine of engines) ports.push(await engine.start({ host: '127.0.0.1', port: 0 }));
  engines.forEach((engine, node) => {
    const port = ports[1 - node] ?? 0;
    engine.setPeers([{ node: nodeId(1 - node), name: 'other', host: '127.0.0.1', port }]);
  });
  const isUp = (engine: Engine): boolean =>
    engine.statistics().peers.every(({ containers }) => containers.length === 2);
  while (!engines.every(isUp)) await turn();
});

afterEach(async () => {
  for (const member of members) await member.kill();
  await Promise.all(engines.map(async (engine) => engine.stop()));
  for (const made of segments.values()) made.remove();
});

async function turn(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 1));
}

async function member(dc: number, node: number, slot?: number): Promise<DcMember> {
  const made = await DcMember.start(test(dc, node).path, slot === undefined ? undefined : { slot });
  members.push(made);
  return made;
}

/** A server on node 1, known to node 0, that answers all who call. */
async function server(dc: number): Promise<DcMember> {
  const made = await member(dc, 1, SLOT);
  while (!segment(dc, 0).isBound(made.endpoint)) await turn();
  void made.order({ do: 'echo', count: 0 }).catch(() => undefined);
  return made;
}

const received = (dc: number): number => segment(dc, 1).process(SLOT)?.received ?? 0;

describe('S15: a container that takes all it can get', () => {
  it('leaves another one its calls', async () => {
    const [flooded, quiet] = [await server(FLOODED), await server(QUIET)];
    for (let i = 0; i < CALLERS; i++) {
      const caller = await member(FLOODED, 0);
      const endless = { do: 'calls', server: flooded.endpoint, count: 1e9, start: 1 } as const;
      void caller.order(endless).catch(() => undefined);
    }
    const copies = copyWithoutEnd();
    while (received(FLOODED) < 1000) await turn();

    const caller = await member(QUIET, 0);
    const before = received(FLOODED);
    const order = { do: 'calls', server: quiet.endpoint, count: CALLS, start: 1 } as const;
    const { right } = await caller.order<{ right: number }>(order);
    const meanwhile = received(FLOODED) - before;
    copies.stop();

    expect(right).toBe(CALLS);
    expect(meanwhile).toBeGreaterThan(0);
    expect(meanwhile / CALLS).toBeLessThan(CALLERS * ROUNDS_MAX);
    await copies.done;
  });

  it('leaves another one slots, memory and places in queues', async () => {
    const crowd: Process[] = [];
    const full = await codeOf(() => {
      for (;;) crowd.push(segment(FLOODED, 0).bind({ name: 'crowd' }));
    });
    expect(full).toBe('EDVSNOSLOT');
    const [hog] = crowd;
    while ((await codeOf(() => hog?.allocate(1 << 20))) === 'none') continue;
    expect(segment(FLOODED, 0).arenaUsed()).toBeGreaterThan(1 << 23);

    const sender = segment(QUIET, 0).bind({ name: 'sender' });
    expect(segment(QUIET, 0).arenaUsed()).toBe(0);
    expect(sender.allocate(1 << 20).length).toBe(1 << 20);
    const target = segment(QUIET, 1).bind({ name: 'target', level: 'server', slot: SLOT });
    while (!segment(QUIET, 0).isBound(target.endpoint)) await turn();
    const taken = target.receive(ANY);
    await sender.send(target.endpoint);
    await taken;
    for (const { traffic } of engines.flatMap((engine) => engine.statistics().peers)) {
      expect(traffic.every(({ queued, queueLimit }) => queued <= queueLimit)).toBe(true);
    }
  });

  it('leaves another one its searches', async () => {
    const far = segment(QUIET, 1).bind({ name: 'far' });
    const sender = segment(QUIET, 0).bind({ name: 'sender' });
    const crowd = Array.from({ length: 40 }, () => segment(FLOODED, 0).bind({ name: 'crowd' }));
    let isOver = false;
    const searches = crowd.map(async (one, i) => {
      for (let n = 0; !isOver; n++) {
        const nobody = makeEndpoint(slotOf(far.endpoint) + i, 1 + (n % 30_000));
        await codeOf(() => one.send(nobody));
      }
    });
    const tracked = (dc: number): number =>
      engines[0]?.statistics().trackers.find(({ dcId: id }) => id === dc)?.inquiries ?? 0;
    while (tracked(FLOODED) < 200) await turn();

    const taken = far.receive(ANY);
    await sender.send(far.endpoint);
    await taken;
    expect(tracked(QUIET)).toBe(1);
    isOver = true;
    await Promise.all(searches);
  });
});

/** Copies blocks from node 0 to node 1 of the flooded container until it is stopped. */
function copyWithoutEnd(): { stop: () => void; done: Promise<void> } {
  const state = { isOver: false };
  const from = segment(FLOODED, 0).bind({ name: 'from', level: 'server', slot: 20 });
  const to = segment(FLOODED, 1).bind({ name: 'to', level: 'server', slot: 21 });
  const [source, target] = [new Uint8Array(COPY_BYTES), new Uint8Array(COPY_BYTES)];
  const run = async (): Promise<void> => {
    while (!segment(FLOODED, 0).isBound(to.endpoint)) await turn();
    const grant = to.grant(target, 'write', from.endpoint);
    while (!state.isOver)
      await from.vcopy(source, { endpoint: to.endpoint, grant, at: 0 }, COPY_BYTES);
  };
  const done = run();
  return { stop: (): void => void (state.isOver = true), done };
}

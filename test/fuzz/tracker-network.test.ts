// Trackers on a network that loses, delays and cuts: every search ends in time, what is found is
// there, what is there is found, and a node that lies gets nothing that is another's. Method: a
// simulation from a seed (test/support/tracker-world.ts); DVK_SEED=N runs one seed alone.
import { describe, expect, it } from 'vitest';
import { ErrorNumber } from '../../src/dvk/abi/abi.gen.ts';
import { makeEndpoint, slotOf, type Endpoint, type NodeId } from '../../src/dvk/endpoint.ts';
import { REPEAT_MS, SEARCH_MS } from '../../src/proxies/tracker.ts';
import { decodeTracking, encodeAnswer, encodeQuery } from '../../src/proxies/tracker-codec.ts';
import type { Answer } from '../../src/proxies/tracker-codec.ts';
import { seeded } from '../support/datagram-network.ts';
import { TrackerWorld } from '../support/tracker-world.ts';

const { EDEADSRCDST } = ErrorNumber;
const RUNS = 100;
const NODES = 4;
const LIAR = 3;
const STEPS = 150;
const TICK_MS = 100;
// A letter is this long on its way, and news of an end too.
const LATE_MS = 500;
const SLOTS = [3, 5, 7, 70, 71, 72, 73, 74];

interface Life {
  node: number;
  endpoint: Endpoint;
  fromMs: number;
  toMs: number;
}

const [only] = [process.env['DVK_SEED']];
const seeds = only === undefined ? Array.from({ length: RUNS }, (_, i) => i + 1) : [Number(only)];

/** One run: processes come and go, links are cut, everybody looks for anybody. */
function run(seed: number): { world: TrackerWorld; lives: Life[]; lastCutMs: number } {
  const world = new TrackerWorld(seed, NODES);
  const lies = seed % 3 === 0;
  world.nodes[LIAR]!.lies = lies;
  const lives: Life[] = [];
  const generations = new Map<number, number>();
  const pick = (limit: number): number => Math.floor(world.random() * limit);
  let lastCutMs = 0;
  for (let step = 0; step < STEPS; step++) {
    const slot = SLOTS[pick(SLOTS.length)]!;
    const living = lives.find((life) => slotOf(life.endpoint) === slot && life.toMs === Infinity);
    const chance = world.random();
    if (chance < 0.15 && living === undefined) {
      const generation = (generations.get(slot) ?? -1) + 1;
      generations.set(slot, generation);
      const node = world.homeOf(slot) ?? pick(lies ? LIAR : NODES);
      const endpoint = makeEndpoint(slot, generation % 8);
      const table = world.nodes[node]!.slots;
      if (table.get(slot) === undefined) {
        table.set(slot, { endpoint, node });
        lives.push({ node, endpoint, fromMs: world.nowMs, toMs: Infinity });
      }
    } else if (chance < 0.22 && living !== undefined) {
      living.toMs = world.nowMs;
      world.end(living);
    } else if (chance < 0.27) {
      const one = pick(NODES);
      world.toggle(one, (one + 1 + pick(NODES - 1)) % NODES);
      lastCutMs = world.nowMs;
    } else if (chance < 0.8) {
      const wanted = lives[pick(lives.length)]?.endpoint ?? makeEndpoint(slot, pick(8));
      const seeker = pick(NODES);
      const home = world.homeOf(slotOf(wanted));
      if (home !== seeker) world.nodes[seeker]!.seek(wanted, home);
    }
    world.step(TICK_MS * world.random());
  }
  const endMs = world.nowMs + SEARCH_MS + REPEAT_MS;
  while (world.nowMs < endMs) world.step(TICK_MS);
  return { world, lives, lastCutMs };
}

/** Whether it lives, on a node that says so. */
function isThere(world: TrackerWorld, { node, toMs }: Life): boolean {
  return toMs === Infinity && !world.nodes[node]!.lies;
}

describe('trackers', () => {
  // Again alone: DVK_SEED=N npm test -- tracker-network
  it(`end every search in time, and find what is there, with ${seeds.length} seeds`, () => {
    let found = 0;
    const wrong: unknown[] = [];
    for (const seed of seeds) {
      const { world, lives } = run(seed);
      for (const { node, waiting, tracker, ended } of world.nodes) {
        if (waiting.size + tracker.size > 0) wrong.push({ seed, node, waiting: waiting.size });
        for (const { search, begunMs, endedMs, error } of ended) {
          if (endedMs - begunMs > 2 * SEARCH_MS) wrong.push({ seed, search, begunMs, endedMs });
          if (error !== 0) continue;
          found++;
          const isTrue = lives.some(
            ({ endpoint, fromMs, toMs }) =>
              endpoint === search.endpoint && fromMs <= endedMs && toMs >= begunMs - LATE_MS,
          );
          if (!isTrue) wrong.push({ seed, search, begunMs });
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(found).toBeGreaterThan(seeds.length);
  });

  it('find every process once the network is whole, however it was before', () => {
    for (const seed of seeds.slice(0, 50)) {
      const { world, lives } = run(seed);
      world.mend();
      world.step(REPEAT_MS);
      for (const { node, endpoint } of lives.filter((life) => isThere(world, life))) {
        const [seeker] = world.nodes.filter((one) => one.node !== node && !one.lies);
        const before = seeker!.ended.length;
        seeker!.seek(endpoint, world.homeOf(slotOf(endpoint)));
        for (let i = 0; i < 40 && seeker!.ended.length === before; i++) world.step(TICK_MS);
        expect([seed, endpoint, seeker!.ended.at(-1)?.error]).toEqual([seed, endpoint, 0]);
      }
    }
  });

  it('give a negative answer to those alone who waited when it was asked for', () => {
    const world = new TrackerWorld(1, 2);
    const [one, two] = [world.nodes[0]!, world.nodes[1]!];
    const wanted = makeEndpoint(65, 2);
    one.seek(wanted, 1);
    // On the way of the query the process begins, and then somebody looks for it.
    two.slots.set(65, { endpoint: makeEndpoint(65, 1), node: 1 });
    for (let i = 0; i < 30 && one.tracker.counters.queriesSent === 0; i++) world.step(1);
    two.slots.set(65, { endpoint: wanted, node: 1 });
    one.seek(wanted, 1);
    for (let i = 0; i < 60 && one.waiting.size > 0; i++) world.step(TICK_MS);
    expect(one.ended.at(-1)?.error).toBe(0);
    expect(one.waiting.size).toBe(0);
  });

  it('do not ask a node of an older version, which has nobody unless it announced them', () => {
    const world = new TrackerWorld(3, 3);
    const [one, old] = world.nodes;
    old!.isOld = true;
    one!.seek(makeEndpoint(65, 2), 1);
    expect(one!.ended.map(({ error }) => error)).toEqual([EDEADSRCDST]);
    one!.seek(makeEndpoint(3, 2), undefined);
    for (let i = 0; i < 60 && one!.waiting.size > 0; i++) world.step(TICK_MS);
    expect(one!.ended.at(-1)?.error).toBe(EDEADSRCDST);
    expect(old!.tracker.counters.queriesReceived).toBe(0);
  });

  it('ask once for all who wait, and again for who comes later', () => {
    const world = new TrackerWorld(2, 2);
    const [one] = world.nodes;
    const wanted = makeEndpoint(65, 2);
    for (let i = 0; i < 8; i++) one!.seek(wanted, 1);
    for (let i = 0; i < 60 && one!.waiting.size > 0; i++) world.step(TICK_MS);
    expect(one!.ended.map(({ error }) => error)).toEqual(Array(8).fill(EDEADSRCDST));
    expect(one!.tracker.counters).toMatchObject({ inquiries: 2, absent: 2, found: 0 });
  });
});

describe('the codec of queries and answers', () => {
  const route = { dcId: 5, from: 1 as NodeId, to: 0 as NodeId };

  it('keeps what it is given', () => {
    const owner = { level: 'server' as const, name: 'fünfzehn bytes', replica: true };
    const answers: Answer[] = [
      { number: 2 ** 32 - 1, slot: 65_535, owner: 'none' },
      { number: 0, slot: 0, owner: 'later' },
      { number: 7, slot: 9, owner: { ...owner, endpoint: makeEndpoint(9, 32_766) } },
    ];
    for (const answer of answers) {
      expect(decodeTracking(encodeAnswer(answer, route))).toEqual({ answer });
    }
    const query = { number: 77, slot: 12 };
    expect(decodeTracking(encodeQuery(query, route))).toEqual({ query });
  });

  it('takes any bytes: what it makes of them is in range, or nothing', () => {
    const random = seeded(35);
    const good = encodeAnswer(
      {
        ...{ number: 7, slot: 9 },
        owner: { endpoint: makeEndpoint(9, 3), level: 'user', name: 'x', replica: false },
      },
      route,
    );
    let taken = 0;
    for (let i = 0; i < 8000; i++) {
      const command = i % 2 === 0 ? good.slice() : new Uint8Array(good.length);
      for (let n = 0; n < 1 + 8 * random(); n++) {
        command[Math.floor(random() * command.length)] = Math.floor(random() * 256);
      }
      const decoded = decodeTracking(command);
      if (decoded === undefined || !('answer' in decoded)) continue;
      const { slot, owner } = decoded.answer;
      expect(slot >= 0 && slot < 65_536).toBe(true);
      if (typeof owner === 'string') continue;
      taken++;
      expect([slotOf(owner.endpoint), owner.endpoint >= 0]).toEqual([slot, true]);
      expect(Buffer.byteLength(owner.name)).toBeLessThan(16);
    }
    expect(taken).toBeGreaterThan(500);
  });
});

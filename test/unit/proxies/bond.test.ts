// Several paths between two nodes: which one carries their session, when it moves, and that no
// command is lost or comes twice on the way. Method: two engines on two simulated networks, a clock
// that the test turns.
import { describe, expect, it } from 'vitest';
import type { PeerStatistics } from '../../../src/proxies/engine.ts';
import type { PathStatistics } from '../../../src/proxies/path.ts';
import { SessionWorld } from '../../support/session-world.ts';

const STEADY_MS = 400;
const DEAD_MS = 1500;
const SEED = 3;

/** Two nodes that are joined by so many paths, all of which are up. */
async function joined(paths = 2): Promise<SessionWorld> {
  const world = new SessionWorld(SEED, paths);
  await world.start();
  world.pass(1000);
  return world;
}

function peerOf(world: SessionWorld, node: 0 | 1): PeerStatistics {
  const [peer] = world.nodes[node].engine.statistics().peers;
  if (peer === undefined) throw new Error('there is no peer');
  return peer;
}

function carrying(world: SessionWorld): (string | undefined)[] {
  const find = ({ paths }: PeerStatistics): PathStatistics | undefined =>
    paths.find(({ carries }) => carries);
  return [find(peerOf(world, 0))?.path, find(peerOf(world, 1))?.path];
}

function states(world: SessionWorld, node: 0 | 1 = 0): string[] {
  return peerOf(world, node).paths.map(({ path, state }) => `${path} ${state}`);
}

/** Cuts every connection of a path, and those that are made later; the function ends that. */
function cutForGood(world: SessionWorld, path: number): void {
  for (const cable of [...(world.networks[path]?.cables ?? [])]) cable.cut();
}

/** Nothing passes on these paths for so long. */
function silence(world: SessionWorld, paths: readonly number[], ms: number): void {
  const networks = world.networks.filter((_, path) => paths.includes(path));
  for (const network of networks) {
    world.dark.add(network);
    for (const cable of network.cables) cable.hold('both');
  }
  world.pass(ms);
  for (const network of networks) {
    world.dark.delete(network);
    for (const cable of network.cables) cable.release();
  }
}

function callBothWays(world: SessionWorld, count: number): void {
  world.say(0, count);
  world.say(1, count);
}

/** Everything that was taken from a segment has come, once and in order. */
function expectAll(world: SessionWorld): void {
  const [a, b] = world.nodes;
  for (const [from, to] of [
    [a, b],
    [b, a],
  ] as const) {
    for (const isBulky of [false, true]) {
      const sent = from.taken.filter((one) => one.isBulky === isBulky).map(({ id }) => id);
      const known = new Set(sent);
      expect(to.came.map(({ id }) => id).filter((id) => known.has(id))).toEqual(sent);
    }
    expect(to.came).toHaveLength(from.taken.length);
  }
  expect(world.givenUp).toBe(0);
}

describe('two paths', () => {
  it('are both up, and the first one carries', async () => {
    const world = await joined();

    expect(states(world)).toEqual(['net0 up', 'net1 up']);
    expect(states(world, 1)).toEqual(['net0 up', 'net1 up']);
    expect(carrying(world)).toEqual(['net0', 'net0']);
  });

  it('are one session: the other one carries at once when the first is lost', async () => {
    const world = await joined();
    const { session } = peerOf(world, 0);
    callBothWays(world, 200);
    world.settle(40);

    cutForGood(world, 0);
    world.settle();
    callBothWays(world, 200);
    world.settle();

    expect(carrying(world)).toEqual(['net1', 'net1']);
    expect(peerOf(world, 0)).toMatchObject({ state: 'up', session, moves: 1 });
    expectAll(world);
  });

  it('go on over the other one when the first falls silent, as soon as that is known', async () => {
    const world = await joined();

    callBothWays(world, 50);
    silence(world, [0], DEAD_MS + 500);

    expect(carrying(world)).toEqual(['net1', 'net1']);
    expectAll(world);
  });

  it('agree when one direction alone is cut', async () => {
    for (const direction of ['in', 'out'] as const) {
      const world = await joined();

      for (const cable of world.network.cables) cable.hold(direction);
      callBothWays(world, 50);
      world.pass(2 * DEAD_MS);
      callBothWays(world, 50);
      world.pass(100);

      expect(carrying(world)[0]).toBe(carrying(world)[1]);
      expectAll(world);
    }
  });

  it('return to the first one when it has been up for steadyMs', async () => {
    const world = await joined();
    cutForGood(world, 0);
    world.pass(200);
    expect(states(world)).toEqual(['net0 up', 'net1 up']);
    expect(carrying(world)).toEqual(['net1', 'net1']);

    callBothWays(world, 100);
    world.pass(STEADY_MS + 200);
    callBothWays(world, 100);
    world.pass(200);

    expect(carrying(world)).toEqual(['net0', 'net0']);
    expectAll(world);
  });

  it('wait longer each time that the first one is lost soon after', async () => {
    const world = await joined();

    const waits: (number | undefined)[] = [];
    for (let i = 0; i < 5; i++) {
      cutForGood(world, 0);
      world.pass(100);
      const first = peerOf(world, 0).paths[0];
      waits.push(first?.steadyMs);
      world.pass((first?.steadyMs ?? 0) + 1000);
      expect(carrying(world)).toEqual(['net0', 'net0']);
    }

    expect(waits).toEqual([1, 2, 4, 8, 16].map((times) => times * STEADY_MS));
  });

  it('stay on the one that carries while the better one comes and goes', async () => {
    const world = await joined();
    cutForGood(world, 0);
    world.pass(100);

    for (let i = 0; i < 20; i++) {
      world.pass(STEADY_MS / 2);
      cutForGood(world, 0);
    }

    expect(peerOf(world, 0).moves).toBe(1);
    expect(carrying(world)).toEqual(['net1', 'net1']);
  });

  it('hold the session when both are lost, and go on over the first that is back', async () => {
    const world = await joined();
    callBothWays(world, 100);
    world.settle(30);

    cutForGood(world, 0);
    cutForGood(world, 1);
    world.settle();
    expect([peerOf(world, 0).state, peerOf(world, 1).state]).toEqual(['held', 'held']);
    silence(world, [0], 1000);
    callBothWays(world, 10);
    world.pass(200);

    expect(peerOf(world, 0).state).toBe('up');
    expectAll(world);
  });

  it('give the session up when both are away for longer than it is held', async () => {
    const world = await joined();

    silence(world, [0, 1], 2 * DEAD_MS + 1500);
    expect(peerOf(world, 0).state).toBe('down');
    world.pass(12_000);
    expect(states(world)).toEqual(['net0 up', 'net1 up']);
    expect(carrying(world)[0]).toBe(carrying(world)[1]);
  });

  it('do not bring back what was meant for a proxy that died', async () => {
    const world = await joined();
    callBothWays(world, 100);
    world.settle(20);

    await world.kill(1);
    world.pass(4000);
    callBothWays(world, 10);
    world.pass(1000);

    const [a, b] = world.nodes;
    const before = new Set(a.taken.filter(({ session }) => session === 1).map((one) => one.id));
    const later = b.came.filter(({ life }) => life === b.life).map(({ id }) => id);
    expect(later.filter((id) => before.has(id))).toEqual([]);
    expect(later).toHaveLength(10);
    expect(states(world)).toEqual(['net0 up', 'net1 up']);
  });
});

describe('a choice of the operator', () => {
  it('prefers a path, and takes that back', async () => {
    const world = await joined();
    const [{ engine }] = world.nodes;

    engine.setPaths(1, { prefer: 'net1' });
    world.settle();
    callBothWays(world, 20);
    world.pass(100);
    expect(carrying(world)).toEqual(['net1', 'net1']);
    expect(peerOf(world, 0).paths.map(({ preferred }) => preferred)).toEqual([false, true]);

    engine.setPaths(1, { prefer: null });
    world.pass(200);
    expect(carrying(world)).toEqual(['net0', 'net0']);
    expectAll(world);
  });

  it.each([0, 1] as const)('forbids a path at node %i, and allows it again', async (node) => {
    const world = await joined();
    const { engine } = world.nodes[node];
    callBothWays(world, 100);
    world.settle(30);

    engine.setPaths(1 - node, { forbid: ['net0'] });
    world.pass(5000);
    expect(peerOf(world, node).paths[0]).toMatchObject({ path: 'net0', state: 'forbidden' });
    expect(carrying(world)).toEqual(['net1', 'net1']);

    engine.setPaths(1 - node, { allow: ['net0'] });
    world.pass(12_000);
    expect(carrying(world)).toEqual(['net0', 'net0']);
    expectAll(world);
  });

  it('is refused with a reason, and then changes nothing', async () => {
    const world = await joined();
    const [{ engine }, other] = world.nodes;

    for (const [change, why] of [
      [{ prefer: 'net9' }, 'the link with node 1 has no path net9, but net0, net1'],
      [{ forbid: ['net0', 'net1'] }, 'there would be no path left between nodes 0 and 1'],
      [{ prefer: 'net0', forbid: ['net0'] }, 'net0 cannot be preferred and forbidden'],
    ] as const) {
      expect(() => engine.setPaths(1, change)).toThrow(why);
    }
    expect(() => engine.setPaths(7, {})).toThrow('there is no link with node 7');
    const elsewhere = 'node 0 chooses which path carries; set it there';
    expect(() => other.engine.setPaths(0, { prefer: 'net1' })).toThrow(elsewhere);

    world.pass(100);
    expect(states(world)).toEqual(['net0 up', 'net1 up']);
    expect(carrying(world)).toEqual(['net0', 'net0']);
  });
});

// Whatever becomes of connections and proxies, a command that is taken from a segment is acted on
// once or not at all, in order, and by nobody but the proxy it was meant for; what is not acted on
// belongs to a session that was given up, so that its caller heard ENOTCONN.
// Method: a thousand short runs of two engines on a simulated network whose faults follow from the
// seed: cables cut and held, bytes damaged, proxies killed, nodes that stand still, machines that
// are suspended, so that their clocks stand still too, and clocks that leap ahead. (Nothing here
// looks at the time of day, and monotonic clocks do not go back.) Of four runs
// one has connections with two lanes, one such as get the second lane later, and one two paths
// between the nodes, each with faults of its own. Rows 11 to 17, 21, 22 and 45 of the fault matrix.
import { describe, expect, it } from 'vitest';
import { SessionWorld, type Came, type Taken } from '../support/session-world.ts';

const SEEDS = 1000;
const INCIDENTS = 18;

const wanted = process.env['DVK_SEED'];
const seeds =
  wanted === undefined
    ? Array.from({ length: SEEDS }, (_, i) => 1 + i)
    : [Number.parseInt(wanted, 10)];

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(what);
}

/** Something happens. */
async function incident(world: SessionWorld): Promise<void> {
  const { networks, nodes, random } = world;
  const node = world.pick(0, 1) as 0 | 1;
  const network = networks[world.pick(0, 2 * networks.length - 1)];
  const cables = network ? [...network.cables] : world.cables;
  switch (world.pick(0, 11)) {
    case 0:
    case 1:
    case 2:
      for (const cable of cables) cable.cut();
      break;
    case 3:
      for (const cable of cables) cable.hold('both');
      break;
    case 4:
      for (const cable of cables) cable.hold(random() < 0.5 ? 'in' : 'out');
      break;
    case 5:
      nodes[node].frozenUntilMs = world.clock.nowMs() + world.pick(1, 4000);
      break;
    case 6:
      world.damage = random() < 0.5 ? 0.02 * random() : 0;
      break;
    case 7:
      if (random() < 0.4) await world.kill(node);
      break;
    case 8:
      world.jump(node, random() < 0.5 ? world.pick(1, 5000) : 3_600_000);
      break;
    case 9:
      if (random() < 0.3) world.suspend(node);
      break;
    default:
      for (const one of [0, 1] as const) world.wake(one);
      for (const cable of cables) cable.release();
  }
}

// What one node gave away, against what the other one did with it.
function judge(taken: readonly Taken[], came: readonly Came[]): void {
  const lives = new Map<number, number>();
  for (const { id, life } of came) {
    check(!lives.has(id), `command ${id} came twice`);
    lives.set(id, life);
  }
  const sessions = groupBySession(taken);
  const last = taken.at(-1)?.session;
  for (const [session, all] of sessions) {
    const lifeOf = new Set(all.flatMap(({ id }) => lives.get(id) ?? []));
    check(lifeOf.size <= 1, `session ${session} reached ${lifeOf.size} lives of the peer`);
    for (const isBulky of [false, true]) {
      const lane = all.filter((one) => one.isBulky === isBulky);
      const lost = lane.findIndex(({ id }) => !lives.has(id));
      check(
        session !== last || lost < 0,
        `command ${lane[lost]?.id} of a session that lasts is lost`,
      );
      const after = lost < 0 ? [] : lane.slice(lost).filter(({ id }) => lives.has(id));
      check(after.length === 0, `command ${after[0]?.id} came, and one before it did not`);
    }
  }
  inOrder(taken, came);
}

function groupBySession(taken: readonly Taken[]): Map<number, Taken[]> {
  const sessions = new Map<number, Taken[]>();
  for (const one of taken) {
    const list = sessions.get(one.session) ?? [];
    list.push(one);
    sessions.set(one.session, list);
  }
  return sessions;
}

// Within each of the two lanes; what has no data may overtake what has.
function inOrder(taken: readonly Taken[], came: readonly Came[]): void {
  for (const isBulky of [false, true]) {
    const lane = taken.filter((one) => one.isBulky === isBulky).map(({ id }) => id);
    const places = new Map(lane.map((id, at) => [id, at]));
    const order = came.flatMap(({ id }) => places.get(id) ?? []);
    check(
      order.every((at, i) => i === 0 || at > (order[i - 1] ?? -1)),
      'commands changed places',
    );
  }
}

async function simulate(seed: number): Promise<SessionWorld> {
  const paths = [3, 4].includes(seed % 8) ? 2 : 1;
  const world = new SessionWorld(seed, paths);
  await world.start();
  for (let i = 0; i < INCIDENTS; i++) {
    if (world.random() < 0.7) await incident(world);
    world.say(0, world.pick(0, 6));
    world.say(1, world.pick(0, 6));
    world.pass(world.pick(1, 20) * 25, world.pick(1, 200));
  }

  // The network is well again.
  world.damage = 0;
  for (const node of world.nodes) node.frozenUntilMs = 0;
  for (const node of [0, 1] as const) world.wake(node);
  for (const cable of world.cables) cable.release();
  world.pass(12_000);
  world.say(0, 3);
  world.say(1, 3);
  world.pass(1000);

  const [a, b] = world.nodes;
  for (const { engine } of world.nodes) {
    const [peer] = engine.statistics().peers;
    check(peer?.state === 'up', `the link is ${peer?.state ?? 'gone'} on a good network`);
    const down = peer?.paths.find(({ state }) => state !== 'up');
    check(down === undefined, `path ${down?.path} is down on a good network`);
  }
  const carrying = world.nodes.map(({ engine }) =>
    engine.statistics().peers[0]?.paths.find(({ carries }) => carries),
  );
  check(carrying[0]?.path === carrying[1]?.path, 'the nodes do not agree on the path');
  judge(a.taken, b.came);
  judge(b.taken, a.came);
  return world;
}

describe('sessions over a hostile network', () => {
  it('do the same again with the same seed', async () => {
    const [first, again] = [await simulate(5), await simulate(5)];

    expect(first.nodes[1].came).toEqual(again.nodes[1].came);
  });

  it('outlive clocks that leap, and machines that are suspended for less than they hold', () =>
    Promise.all(
      [1, 2, 3, 4].map(async (seed) => {
        const world = new SessionWorld(seed);
        await world.start();

        for (let round = 0; round < 20; round++) {
          const node = world.pick(0, 1) as 0 | 1;
          if (round % 2 === 0) {
            world.jump(node, 3_600_000);
          } else {
            world.suspend(node);
            world.pass(world.pick(1, 50) * 25);
            world.wake(node);
          }
          world.say(0, 3);
          world.say(1, 3);
          world.pass(1000);
        }

        expect(world.givenUp).toBe(0);
        for (const [node, { taken }] of world.nodes.entries()) {
          expect(world.nodes[1 - node]?.came.length).toBe(taken.length);
          expect(taken.length).toBe(60);
        }
      }),
    ));

  it(`act on each command once or not at all, with ${seeds.length} seeds`, async () => {
    let resumed = 0;
    let givenUp = 0;
    let moved = 0;
    for (const seed of seeds) {
      try {
        const world = await simulate(seed);
        resumed += world.resumed;
        givenUp += world.givenUp;
        moved += world.moved;
      } catch (error) {
        const command = `DVK_SEED=${seed} npm test -- session-network`;
        throw new Error(`seed ${seed}: ${String(error)}; again by: ${command}`, { cause: error });
      }
    }

    // The faults are hard enough that sessions are given up, and not so hard that none goes on.
    if (wanted !== undefined) return;
    expect(resumed).toBeGreaterThan(seeds.length);
    expect(givenUp).toBeGreaterThan(seeds.length / 4);
    expect(moved).toBeGreaterThan(seeds.length / 2);
  });
});

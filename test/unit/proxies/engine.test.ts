// Engines of several nodes in one process: which containers come up, what is forwarded, what is
// dropped, how a lost link is found and made again. Method: loopback connections whose every step
// the test runs, segments without a core, a clock that it turns.
import { describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout, ErrorNumber } from '../../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../../src/dvk/crc32c.ts';
import type { NodeId } from '../../../src/dvk/endpoint.ts';
import { Engine } from '../../../src/proxies/engine.ts';
import { LoopbackNetwork } from '../../../src/proxies/loopback.ts';
import type { PeerAddress } from '../../../src/proxies/peer.ts';
import type { Connection, ConnectionEvents } from '../../../src/proxies/transport.ts';
import { FakeSegment } from '../../support/fake-segment.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { frameBytes, type CommandFields } from '../../support/proxy-frames.ts';

const MIB = 1024 * 1024;

/** A world of nodes 0 to n, whose event loops turn when the test says so. */
class World {
  readonly clock = new ManualClock();
  readonly links: string[] = [];
  readonly #turns: (() => void)[] = [];
  readonly network: LoopbackNetwork;

  constructor() {
    this.network = new LoopbackNetwork({ defer: (callback) => this.#turns.push(callback) });
  }

  engine(node: number, incarnation = 1n): Engine {
    return new Engine({
      dvs: 'lab',
      node: node as NodeId,
      incarnation,
      transport: this.network.transport(),
      clock: this.clock,
      checksum: crc32c,
      random: () => 0.5,
      defer: (callback) => this.#turns.push(callback),
      onLink: (peer, state, why) => {
        this.links.push(`${node}: ${peer.node} ${state}${why ? ` ${why.code}` : ''}`);
      },
    });
  }

  async start(node: number, segments: FakeSegment[], peers: number[]): Promise<Engine> {
    const engine = this.engine(node);
    engine.setSegments(segments);
    engine.setPeers(peers.map(address));
    await engine.start({ host: 'test', port: 100 + node });
    this.settle();
    return engine;
  }

  /** Lets every event loop turn until nothing is left to do. */
  settle(turns = Infinity): void {
    for (let turn = 0; turn < turns; turn++) {
      const callback = this.#turns.shift();
      if (!callback) return;
      callback();
    }
  }

  async stop(engine: Engine): Promise<void> {
    const stopped = engine.stop();
    this.settle();
    this.clock.advance(1000);
    this.settle();
    await stopped;
  }

  pass(ms: number): void {
    for (let spent = 0; spent < ms; spent += 25) {
      this.clock.advance(25);
      this.settle();
    }
  }
}

function address(node: number): PeerAddress {
  return { node: node as NodeId, name: `n${node}`, host: 'test', port: 100 + node };
}

/** Nodes 0 and 1, both members of DC 5. */
async function two(): Promise<[World, FakeSegment, FakeSegment, Engine, Engine]> {
  const world = new World();
  const segments = [new FakeSegment(5, 0, [0, 1]), new FakeSegment(5, 1, [0, 1])] as const;
  const accepter = await world.start(1, [segments[1]], [0]);
  const dialer = await world.start(0, [segments[0]], [1]);
  return [world, ...segments, dialer, accepter];
}

describe('the engine', () => {
  it('forwards commands both ways, in order, and with their data', async () => {
    const [world, a, b] = await two();

    for (let i = 0; i < 300; i++) a.queue(1, { callId: i });
    b.queue(0, { callId: 1000 }, new Uint8Array(MIB));
    world.settle();

    expect(b.received).toEqual(Array.from({ length: 300 }, (_, i) => [0, i]));
    expect(a.received).toEqual([[1, 1000]]);
    expect(a.receivedBytes).toBe(MIB);
  });

  it('tells the segments of the link: down when attached, up with one session number', async () => {
    const [, a, b] = await two();

    expect(a.history).toEqual(['down 1', 'up 1 (1)']);
    expect(b.history).toEqual(['down 0', 'up 0 (1)']);
  });

  it('brings a container up only when each node is a member of it at the other', async () => {
    const [world, a, b, dialer, accepter] = await two();
    const six = [new FakeSegment(6, 0, [0, 1]), new FakeSegment(6, 1, [1])] as const;

    dialer.setSegments([a, six[0]]);
    accepter.setSegments([b, six[1]]);
    world.settle();
    expect(six[0].history).toEqual(['down 1']);

    six[1].members.add(0);
    six[0].queue(1, { callId: 3 });
    accepter.setSegments([b, six[1]]);
    world.settle();

    expect(six[0].history).toEqual(['down 1', 'up 1 (1)']);
    expect(six[1].history).toEqual(['down 0', 'up 0 (1)']);
    expect(six[1].received).toEqual([[0, 3]]);
    expect(dialer.statistics().peers[0]?.containers).toEqual([5, 6]);
  });

  it('takes a container down at the other node when it goes or is another one', async () => {
    const [world, a, b, dialer] = await two();
    const again = new FakeSegment(5, 0, [0, 1]);

    dialer.setSegments([again]);
    world.settle();
    again.queue(1, { callId: 8 });
    world.settle();

    expect(a.history.at(-1)).toBe('down 1');
    expect(b.history).toEqual(['down 0', 'up 0 (1)', 'down 0', 'up 0 (1)']);
    expect(b.received).toEqual([[0, 8]]);
  });

  it('drops and counts commands for a DC that is not shared', async () => {
    const [world, a, b, , accepter] = await two();

    a.queue(1, { callId: 1, dcId: 6 });
    a.queue(1, { callId: 4 });
    world.settle();

    expect(b.received).toEqual([[0, 4]]);
    expect(accepter.statistics().peers[0]).toMatchObject({ dropped: 1, forged: 0, state: 'up' });
  });

  it.each([
    ['from', { sourceNode: 3 }, 'it sent a command from node 3 to node 1'],
    ['to', { destinationNode: 2 }, 'it sent a command from node 0 to node 2'],
  ])('ends a link with a command %s another node', async (_, fields, detail) => {
    const [world, a, b, , accepter] = await two();

    a.queue(1, { callId: 2, ...fields });
    a.queue(1, { callId: 4 });
    world.settle();

    expect(b.received).toEqual([]);
    expect(accepter.statistics().peers[0]).toMatchObject({
      dropped: 0,
      forged: 1,
      state: 'down',
      lastDown: { code: 'identity', detail },
    });
    expect(a.history.at(-1)).toBe('down 1');
  });

  it('leaves commands in the core while the link does not take them', async () => {
    const [world, a, b] = await two();
    const [cable] = world.network.cables;
    cable?.hold('both');

    for (let i = 0; i < 100; i++) a.queue(1, { callId: i }, new Uint8Array(MIB));
    for (let i = 0; i < 3000; i++) a.queue(1, { callId: 100 + i });
    world.settle();

    expect(a.taken).toBeLessThanOrEqual(3);
    cable?.release();
    world.settle();
    expect(b.received.map(([, id]) => id)).toEqual(Array.from({ length: 3100 }, (_, i) => i));
    expect(b.receivedBytes).toBe(100 * MIB);
  });

  it('gives each container its turn while the link takes little', async () => {
    const world = new World();
    const [near, far] = [0, 1].map((node) =>
      [5, 6, 7].map((dc) => new FakeSegment(dc, node, [0, 1])),
    ) as [FakeSegment[], FakeSegment[]];
    await world.start(1, far, [0]);
    await world.start(0, near, [1]);
    const order: number[] = [];
    for (const segment of far) {
      segment.put2lclRaw = () => {
        order.push(segment.dcId);
        return 0;
      };
    }

    // The first one has ten times as much to send.
    for (const [i, segment] of near.entries()) {
      for (let count = 0; count < (i === 0 ? 100 : 10); count++) {
        segment.pile(1, { callId: count }, new Uint8Array(MIB));
      }
    }
    near[0]?.queue(1, { callId: 1000 });
    world.settle();

    const last = Math.max(order.lastIndexOf(6), order.lastIndexOf(7));
    expect(order.length).toBe(121);
    expect(last).toBeLessThan(60);
  });

  it('serves other containers while one has much to send', async () => {
    const [world, a, b, dialer, accepter] = await two();
    const six = [new FakeSegment(6, 0, [0, 1]), new FakeSegment(6, 1, [0, 1])] as const;
    dialer.setSegments([a, six[0]]);
    accepter.setSegments([b, six[1]]);
    world.settle();

    for (let i = 0; i < 5000; i++) a.pile(1, { callId: i });
    a.queue(1, { callId: 5000 });
    six[0].queue(1, { callId: 1 });
    world.settle(4);

    expect(six[0].taken).toBe(1);
    expect(a.taken).toBeLessThan(5000);
    world.settle();
    expect(b.received.length).toBe(5001);
  });
});

/** Nodes 0, 1 and 2 of DC 5: those of the requester, the source and the destination of a copy. */
async function three(): Promise<[World, FakeSegment[], Engine[]]> {
  const world = new World();
  const all = [0, 1, 2];
  const segments = all.map((node) => new FakeSegment(5, node, all));
  const engines: Engine[] = [];
  for (const node of [2, 1, 0]) {
    const others = all.filter((other) => other !== node);
    engines.unshift(await world.start(node, [segments[node]!], others));
  }
  return [world, segments, engines];
}

const COPY = {
  requester: 70,
  requesterNode: 0,
  callId: 9,
  copySource: 10,
  copySourceGrant: 1,
  copySourceAt: 100,
  copyDestination: 11,
  copyDestinationGrant: 2,
  copyDestinationAt: 200,
  copyBytes: 64,
};

/** What node 0 asks of node 1: the command with the voucher, and the voucher as numbers. */
function asked(
  world: World,
  segments: FakeSegment[],
  fields: CommandFields = {},
): { fields: CommandFields; voucher: Uint8Array } {
  const kind = CommandKind.COPYRMT_RQST;
  segments[0]!.queue(1, { ...COPY, ...fields, kind, copyDestinationNode: 2 });
  world.settle();
  const command = segments[1]!.commands.at(-1)!;
  const relayed = { ...COPY, ...fields, kind: CommandKind.COPYIN_RQST };
  return { fields: relayed, voucher: command.slice(CommandLayout.message) };
}

describe('a copy for a requester on a third node', () => {
  it('is taken by the destination with the voucher of the requester, once', async () => {
    const [world, segments, engines] = await three();
    const { fields, voucher } = asked(world, segments);

    for (let i = 0; i < 3; i++) segments[1]!.queue(2, fields, new Uint8Array(64), voucher);
    world.settle();

    expect(segments[2]!.received).toEqual([[1, 9]]);
    expect(engines[2]!.statistics().peers[1]).toMatchObject({ forged: 2, state: 'up' });
  });

  it("is taken of each later call, over the end of the numbers and the slot's owner", async () => {
    const [world, segments] = await three();
    const calls = [0xffff_fffe, 0xffff_ffff, 0, 1, 5];

    for (const callId of [...calls, 5, 4]) {
      const { fields, voucher } = asked(world, segments, { callId });
      segments[1]!.queue(2, fields, new Uint8Array(64), voucher);
      world.settle();
    }
    const next = asked(world, segments, { callId: 1, requester: 70 + 65536 });
    segments[1]!.queue(2, next.fields, new Uint8Array(64), next.voucher);
    const old = asked(world, segments, { callId: 99 });
    segments[1]!.queue(2, old.fields, new Uint8Array(64), old.voucher);
    world.settle();

    expect(segments[2]!.received.map(([, call]) => call)).toEqual([...calls, 1]);
  });

  it.each([
    ['another requester', { requester: 71 }],
    ['another call', { callId: 10 }],
    ['another source', { copySource: 12 }],
    ['another grant at the source', { copySourceGrant: 3 }],
    ['another place at the source', { copySourceAt: 0 }],
    ['another destination', { copyDestination: 12 }],
    ['another grant at the destination', { copyDestinationGrant: 4 }],
    ['another place at the destination', { copyDestinationAt: 201 }],
    ['more bytes', { copyBytes: 65 }],
    ["the name of the source's own node", { requesterNode: 1 }],
    ["the name of the destination's node", { requesterNode: 2 }],
    ['the name of no node', { requesterNode: 1000 }],
  ])('is not taken for %s', async (_, changes) => {
    const [world, segments, engines] = await three();
    const { fields, voucher } = asked(world, segments);

    segments[1]!.queue(2, { ...fields, ...changes }, new Uint8Array(64), voucher);
    segments[1]!.queue(2, fields, new Uint8Array(64));
    world.settle();

    expect(segments[2]!.received).toEqual([]);
    expect(engines[2]!.statistics().peers[1]?.forged).toBe(2);
  });

  it('is not taken with the voucher of a link that is over', async () => {
    const [world, segments, engines] = await three();
    const { fields, voucher } = asked(world, segments);

    engines[2]!.setPeers([address(1)]);
    world.settle();
    engines[2]!.setPeers([address(0), address(1)]);
    world.pass(1000);
    segments[1]!.queue(2, fields, new Uint8Array(64), voucher);
    world.settle();

    const back = engines[2]!.statistics().peers.find(({ node }) => node === 0);
    expect(back).toMatchObject({ state: 'up', session: 2 });
    expect(segments[2]!.received).toEqual([]);
  });
});

describe('a lost link', () => {
  it('is taken down on both sides and dialled again with growing pauses', async () => {
    const [world, a, b, dialer, accepter] = await two();

    await world.stop(accepter);
    expect(a.history.at(-1)).toBe('down 1');
    world.pass(2000);
    const { failures } = dialer.statistics().peers[0] ?? { failures: 0 };
    const next = await world.start(1, [b], [0]);
    world.pass(5000);

    // Pauses of 75, 150, 300, 600 and 1200 ms begin within 2 s.
    expect(failures).toBe(5);
    expect(a.history.at(-1)).toBe('up 1 (2)');
    expect(next.statistics().peers[0]).toMatchObject({ state: 'up', session: 2 });
    expect(dialer.statistics().peers[0]).toMatchObject({ reconnects: 1, failures: 5 });
  });

  it.each(['in', 'out', 'both'] as const)('is found by both sides (cut: %s)', async (direction) => {
    const [world, a, b] = await two();
    const [cable] = world.network.cables;

    cable?.hold(direction);
    world.pass(1700);

    expect(world.links.filter((text) => text.includes('held'))).toHaveLength(2);
    cable?.cut();
    world.pass(1000);
    expect(world.links.slice(-2)).toEqual(['1: 0 up', '0: 1 up']);
    expect([a.history.at(-1), b.history.at(-1)]).toEqual(['up 1 (1)', 'up 0 (1)']);
  });

  it('is replaced when the dialer comes back before it is missed', async () => {
    const [world, , b, dialer, accepter] = await two();
    const [cable] = world.network.cables;
    cable?.hold('both');
    const again = new FakeSegment(5, 0, [0, 1]);
    const reborn = world.engine(0, 2n);
    reborn.setSegments([again]);
    reborn.setPeers([address(1)]);
    await reborn.start({ host: 'test', port: 500 });
    world.settle();

    expect(accepter.statistics().peers[0]).toMatchObject({
      session: 2,
      reconnects: 1,
      lastDown: { code: 'replaced' },
    });
    expect(b.history.slice(-3)).toEqual(['up 0 (1)', 'down 0', 'up 0 (2)']);
    again.queue(1, { callId: 4 });
    world.settle();
    expect(b.received).toEqual([[0, 4]]);
    await world.stop(dialer);
  });

  it('is not delivered from after a new one is up', async () => {
    const [world, a, b, dialer] = await two();
    const [cable] = world.network.cables;
    cable?.hold('out');
    a.queue(1, { callId: 1 });
    world.settle();
    const again = new FakeSegment(5, 0, [0, 1]);
    const reborn = world.engine(0, 2n);
    reborn.setSegments([again]);
    reborn.setPeers([address(1)]);
    await reborn.start({ host: 'test', port: 500 });
    world.settle();

    cable?.release();
    world.settle();

    expect(b.received).toEqual([]);
    await world.stop(dialer);
  });

  it('is told apart from a peer that leaves', async () => {
    const [world, , , dialer] = await two();

    await world.stop(dialer);

    expect(world.links).toEqual(['1: 0 up', '0: 1 up', '0: 1 down stopped', '1: 0 down shutdown']);
    expect(world.network.cables.size).toBe(0);
  });
});

describe('a peer that asks on, and reads nothing of what it is told', () => {
  it('loses its link before its answers fill the memory', async () => {
    const [world, a, b, , accepter] = await two();
    b.put2lclRaw = () => -ErrorNumber.EDVSSLOTUSED;
    const [cable] = world.network.cables;
    cable?.hold('in');
    let heldBytes = 0;

    for (let round = 0; round < 8; round++) {
      for (let i = 0; i < 2000; i++) a.queue(1, { callId: round * 2000 + i });
      world.settle();
      heldBytes = Math.max(heldBytes, accepter.statistics().peers[0]?.queue?.bufferedBytes ?? 0);
    }

    expect(heldBytes).toBeGreaterThan(2 * MIB);
    expect(heldBytes).toBeLessThan(4 * MIB);
    const [peer] = accepter.statistics().peers;
    expect(peer).toMatchObject({ state: 'down', lastDown: { code: 'rate' } });
  });
});

describe('a cable that is cut half a second in every two, for five minutes', () => {
  it('lets work go on, with one link at a time and no storm of attempts', async () => {
    const [world, a, b, dialer, accepter] = await two();
    const served: number[] = [];

    for (let round = 0; round < 150; round++) {
      for (const cable of world.network.cables) cable.hold('both');
      world.pass(500);
      for (const cable of world.network.cables) cable.release();
      world.pass(1500);
      a.queue(1, { callId: round });
      world.settle();
      served.push(b.received.length);
      expect(world.network.cables.size).toBeLessThanOrEqual(1);
    }

    // Half a second is less than a peer may be silent, so the link outlives every cut.
    expect(served).toEqual(served.map((_, round) => round + 1));
    expect(dialer.statistics().peers[0]).toMatchObject({ state: 'up', reconnects: 0 });
    expect(accepter.statistics()).toMatchObject({ refused: 0 });
  });

  it('is dialled at most every few seconds when each cut ends the connection', async () => {
    const [world, a, b, dialer] = await two();

    for (let round = 0; round < 150; round++) {
      for (const cable of [...world.network.cables]) cable.cut();
      world.pass(2000);
      a.queue(1, { callId: round });
      world.settle();
    }
    world.pass(6000);
    a.queue(1, { callId: 1000 });
    world.settle();

    const { reconnects = 0, state } = dialer.statistics().peers[0] ?? {};
    expect(state).toBe('up');
    expect(reconnects).toBeLessThanOrEqual(150);
    expect(b.received.at(-1)).toEqual([0, 1000]);
  });
});

describe('strangers', () => {
  it('are refused and counted, and their connection is closed', async () => {
    const [world, , , , accepter] = await two();
    const other = world.engine(0);
    other.setPeers([address(1)]);
    accepter.setPeers([]);
    world.settle();
    await other.start({ host: 'test', port: 500 });
    world.settle();

    expect(accepter.statistics().lastRefused).toEqual({
      code: 'node',
      detail: 'node 0 is not expected here',
    });
    expect(accepter.statistics().refused).toBeGreaterThanOrEqual(1);
  });

  it('that say nothing are closed in time, and the oldest ones when there are many', async () => {
    const [world, , , , accepter] = await two();
    let closed = 0;
    const silent = (): ConnectionEvents => ({
      opened: () => undefined,
      space: () => new Uint8Array(1000),
      received: () => undefined,
      closed: () => closed++,
    });

    for (let i = 0; i < 100; i++) world.network.transport().connect(address(1), silent());
    world.settle();
    expect(closed).toBe(100 - 64);
    world.pass(3200);

    expect(closed).toBe(100);
    expect(accepter.statistics().peers[0]?.state).toBe('up');
  });

  it('that send garbage are closed at once', async () => {
    const [world, , , , accepter] = await two();
    let connection: Connection | undefined;
    let reason = '';
    world.network.transport().connect(address(1), {
      opened: (made) => (connection = made),
      space: () => new Uint8Array(1000),
      received: () => undefined,
      closed: (why) => (reason = why),
    });
    world.settle();

    const damaged = frameBytes({ kind: 10 }, new Uint8Array(64));
    damaged[100] = 1;
    connection?.write(damaged, () => undefined);
    world.settle();

    expect(reason).toBe('closed by the peer');
    expect(accepter.statistics().lastRefused?.code).toBe('malformed');
  });
});

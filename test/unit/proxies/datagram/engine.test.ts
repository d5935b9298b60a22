// Engines joined by datagrams: what is short overtakes what is bulky, whatever the network does.
// Method: two engines with segments without a core, over endpoints on a simulated network.
import { describe, expect, it } from 'vitest';
import { CommandKind } from '../../../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../../../src/dvk/crc32c.ts';
import type { NodeId } from '../../../../src/dvk/endpoint.ts';
import { Engine } from '../../../../src/proxies/engine.ts';
import type { PeerAddress } from '../../../../src/proxies/peer.ts';
import type { Transport } from '../../../../src/proxies/transport.ts';
import { NO_FAULTS, SimulatedNetwork } from '../../../support/datagram-network.ts';
import type { SimulatedHost } from '../../../support/datagram-network.ts';
import { FakeSegment } from '../../../support/fake-segment.ts';
import { ManualClock } from '../../../support/manual-clock.ts';

const MIB = 1024 * 1024;

function transportOf(host: SimulatedHost): Transport {
  return {
    name: 'datagrams',
    sealed: false,
    listen: (address, accept) => {
      host.endpoint.listen(accept);
      return Promise.resolve({ port: address.port, close: () => host.endpoint.listen(undefined) });
    },
    connect: (address, events) => host.endpoint.dial(address.host, events, host.nowMs),
  };
}

function address(node: number): PeerAddress {
  return { node: node as NodeId, name: `n${node}`, host: `n${node}`, port: 1 };
}

/** Two nodes, both members of DC 5. */
class World {
  readonly network = new SimulatedNetwork(11);
  readonly clock = new ManualClock();
  readonly engines: Engine[] = [];
  readonly a = new FakeSegment(5, 0, [0, 1]);
  readonly b = new FakeSegment(5, 1, [0, 1]);
  readonly #turns: (() => void)[] = [];

  async start(): Promise<void> {
    for (const [node, segment] of [this.b, this.a].map((one) => [one.node, one] as const)) {
      const engine = new Engine({
        dvs: 'lab',
        node: node,
        incarnation: 1n,
        transport: transportOf(this.network.host(`n${node}`)),
        clock: this.clock,
        checksum: crc32c,
        random: () => 0.5,
        defer: (callback) => this.#turns.push(callback),
      });
      engine.setSegments([segment]);
      engine.setPeers([address(1 - node)]);
      await engine.start({ host: `n${node}`, port: 1 });
      this.engines.push(engine);
    }
  }

  /** Goes on until `isDone`. */
  run(forMs: number, isDone: () => boolean): boolean {
    for (let spentMs = 0; spentMs < forMs && !isDone(); spentMs += 5) {
      this.network.run(5);
      this.clock.advance(5);
      for (const turn of this.#turns.splice(0)) turn();
    }
    return isDone();
  }
}

describe('engines over datagrams', () => {
  it('forward every command once, and each lane in order, when packets are lost', async () => {
    const world = new World();
    await world.start();
    world.network.faults = { ...NO_FAULTS, loss: 0.1, duplicate: 0.1, jitterMs: 5 };
    const short = Array.from({ length: 500 }, (_, i) => i);
    const bulky = Array.from({ length: 12 }, (_, i) => 1000 + i);

    for (const callId of short) {
      world.a.queue(1, { callId });
      if (callId % 50 === 0 && bulky[callId / 50] !== undefined) {
        world.a.queue(1, { callId: bulky[callId / 50]! }, new Uint8Array(200_000));
      }
    }
    const expected = 510;
    expect(world.run(60_000, () => world.b.received.length === expected)).toBe(true);

    const came = world.b.received.map(([, callId]) => callId);
    expect(came.filter((callId) => callId < 1000)).toEqual(short);
    expect(came.filter((callId) => callId >= 1000)).toEqual(bulky.slice(0, 10));
    expect(world.b.receivedBytes).toBe(2_000_000);
  });

  it('take short commands while bulky ones wait, and leave those in the core', async () => {
    const world = new World();
    await world.start();
    world.network.faults = { ...NO_FAULTS, delayMs: 10 };
    expect(world.run(5000, () => world.a.history.includes('up 1 (1)'))).toBe(true);

    for (let i = 0; i < 20; i++) world.a.queue(1, { callId: 1000 + i }, new Uint8Array(MIB));
    world.run(100, () => false);
    world.a.queue(1, { callId: 1 });
    const isHere = (): boolean => world.b.received.some(([, callId]) => callId === 1);
    expect(world.run(10_000, isHere)).toBe(true);

    // The short one came among the first; no more than the high-water mark was taken of the others.
    expect(world.b.received.length).toBeLessThan(4);
    expect(world.a.queues.get(1)?.length).toBeGreaterThan(12);
    expect(world.run(300_000, () => world.b.received.length === 21)).toBe(true);
    expect(world.b.receivedBytes).toBe(20 * MIB);
  });

  it('leave the end of a copy that cannot be read behind its parts', async () => {
    const world = new World();
    await world.start();
    world.network.faults = { ...NO_FAULTS, delayMs: 10 };
    expect(world.run(5000, () => world.a.history.includes('up 1 (1)'))).toBe(true);
    const part = { kind: CommandKind.COPYIN_DATA };

    for (let i = 1; i <= 3; i++) world.a.pile(1, { ...part, callId: i }, new Uint8Array(200_000));
    world.a.pile(1, { ...part, callId: 4 });
    world.a.queue(1, { callId: 5 });
    expect(world.run(10_000, () => world.b.received.length === 5)).toBe(true);

    const came = world.b.received.map(([, callId]) => callId);
    expect(came.filter((callId) => callId < 5)).toEqual([1, 2, 3, 4]);
    expect(came[4]).not.toBe(5);
  });

  it('tell how a link goes', async () => {
    const world = new World();
    await world.start();
    world.run(2000, () => false);

    const [peer] = world.engines[1]!.statistics().peers;
    expect(peer).toMatchObject({ state: 'up', transport: 'datagrams' });
    expect(peer?.quality).toMatchObject({ datagramBytes: 1472, packetsLost: 0, duplicates: 0 });
    expect(peer?.quality?.rttMs).toBeGreaterThanOrEqual(2);
  });
});

// Sessions that outlive connections, and those that do not; and peers of other wire versions, which
// the test speaks by hand. Method: engines on loopback connections, segments without a core, a
// clock that the test turns.
import { describe, expect, it } from 'vitest';
import { CommandKind, CommandLayout } from '../../../src/dvk/abi/abi.gen.ts';
import { crc32c } from '../../../src/dvk/crc32c.ts';
import type { Endpoint, NodeId } from '../../../src/dvk/endpoint.ts';
import type { LinkInfo } from '../../../src/dvk/info.ts';
import { lz4Unpack } from '../../../src/dvk/lz4.ts';
import { FrameDecoder, type Frame } from '../../../src/proxies/frame.ts';
import { decodeHello, encodeHello, HELLO_CONSTANTS } from '../../../src/proxies/hello.ts';
import { decodeOffer, encodeOffer, Feature, FEATURES } from '../../../src/proxies/offer.ts';
import type { Offer } from '../../../src/proxies/offer.ts';
import type { Connection, ConnectionEvents } from '../../../src/proxies/transport.ts';
import { FakeSegment } from '../../support/fake-segment.ts';
import { describeCommand, frameBytes, packedBytes } from '../../support/proxy-frames.ts';
import type { CommandFields } from '../../support/proxy-frames.ts';
import { SessionWorld } from '../../support/session-world.ts';

const PORT_OF_1 = 101;
const HOLD_MS = 1500;
// Of a SHUTDOWN: the session may go on.
const INTERRUPTED = 1;
// A multiple of four has one lane.
const SEED = 8;

async function startWorld(): Promise<SessionWorld> {
  const world = new SessionWorld(SEED);
  await world.start();
  return world;
}

const stateOf = (world: SessionWorld, node: 0 | 1): string =>
  world.nodes[node].engine.statistics().peers[0]?.state ?? '';

function cutAll(world: SessionWorld): void {
  for (const cable of [...world.network.cables]) cable.cut();
}

describe('a session whose connection is lost', () => {
  it('goes on over the next one: nothing is lost or comes twice, and no call ends', async () => {
    const world = await startWorld();
    const [a, b] = world.nodes;

    for (let round = 0; round < 20; round++) {
      world.say(0, 10);
      world.say(1, 10);
      world.settle(20);
      cutAll(world);
      world.pass(700);
    }

    expect(b.came.map(({ id }) => id)).toEqual(a.taken.map(({ id }) => id));
    expect(a.came.map(({ id }) => id)).toEqual(b.taken.map(({ id }) => id));
    expect(a.came.length).toBe(200);
    expect(a.segment.history).toEqual(['down 1', 'up 1 (1)']);
    expect(a.engine.statistics().peers[0]).toMatchObject({ session: 1, resumed: 20 });
  });

  it('goes on when that happens as soon as both ends are up, again and again', async () => {
    const world = await startWorld();
    const [a, b] = world.nodes;
    const areBoth = (state: string): boolean =>
      stateOf(world, 0) === state && stateOf(world, 1) === state;
    world.say(0, 10);
    world.say(1, 10);

    for (let round = 0; round < 40; round++) {
      cutAll(world);
      world.reach(() => areBoth('held'));
      world.reach(() => areBoth('up'));
      expect(a.came.length + b.came.length).toBe(0);
    }
    world.settle();

    expect(b.came.map(({ id }) => id)).toEqual(a.taken.map(({ id }) => id));
    expect(a.came.map(({ id }) => id)).toEqual(b.taken.map(({ id }) => id));
    expect([a.came.length, b.came.length]).toEqual([10, 10]);
    expect(a.engine.statistics().peers[0]).toMatchObject({ session: 1, resumed: 40 });
  });

  it('is held meanwhile, and takes nothing from the segment', async () => {
    const world = await startWorld();

    cutAll(world);
    world.settle();
    world.say(0, 5);
    world.settle();

    expect([stateOf(world, 0), stateOf(world, 1)]).toEqual(['held', 'held']);
    expect(world.nodes[0].taken).toEqual([]);
    world.pass(700);
    expect(world.nodes[1].came.length).toBe(5);
  });

  it('is given up when no other connection comes, and every call ends', async () => {
    const world = await startWorld();
    const [a, b] = world.nodes;
    a.frozenUntilMs = 60_000;

    cutAll(world);
    world.pass(HOLD_MS - 100);
    expect(stateOf(world, 1)).toBe('held');
    world.pass(200);

    expect(stateOf(world, 1)).toBe('down');
    expect(b.segment.history.at(-1)).toBe('down 0');
    a.frozenUntilMs = 0;
    world.pass(60_000);
    // The other side held it no longer either, when it could move again.
    expect([a.segment.history.at(-2), a.segment.history.at(-1)]).toEqual(['down 1', 'up 1 (2)']);
    expect(b.segment.history.at(-1)).toBe('up 0 (2)');
  });

  it('does not reach the peer that comes back as another one', async () => {
    const world = await startWorld();
    const [a, b] = world.nodes;
    for (const cable of world.network.cables) cable.hold('out');
    world.say(0, 5);
    world.settle();

    await world.kill(1);
    world.pass(2000);
    world.say(0, 1);
    world.pass(100);

    expect(a.taken.length).toBe(6);
    expect(b.came).toEqual([{ id: 6, life: 3 }]);
    expect(a.segment.history.slice(-2)).toEqual(['down 1', 'up 1 (2)']);
  });

  it('is over at once when the peer takes its leave', async () => {
    const world = await startWorld();

    void world.nodes[1].engine.stop();
    world.settle();

    expect(stateOf(world, 0)).toBe('down');
    world.pass(1000);
  });

  it('is over when a container goes that the peer waits for', async () => {
    const world = await startWorld();
    const [a, b] = world.nodes;
    cutAll(world);
    world.settle();

    a.engine.setSegments([]);
    world.pass(700);

    expect(b.segment.history.slice(-1)).toEqual(['down 0']);
    expect(b.engine.statistics().peers[0]).toMatchObject({ state: 'up', session: 2 });
  });

  it('goes on after damage, which costs the connection and nothing else', async () => {
    const world = await startWorld();
    const [, b] = world.nodes;
    world.say(0, 3);
    world.damage = 1;
    world.settle();
    world.damage = 0;
    world.pass(1000);

    expect(b.came.map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(stateOf(world, 0)).toBe('up');
  });
});

/** A node 0 that the test speaks for, to the engine of node 1. */
class Hand implements ConnectionEvents {
  readonly said: Frame[] = [];
  closedWith: string | undefined;
  readonly #world: SessionWorld;
  readonly #decoder = new FrameDecoder(crc32c, 1024 * 1024);
  #connection: Connection | undefined;
  #session = 0;
  #sequence = 0;

  constructor(world: SessionWorld) {
    this.#world = world;
    world.network.transport().connect({ host: 'test', port: PORT_OF_1 }, this);
    world.settle();
  }

  opened(connection: Connection): void {
    this.#connection = connection;
  }

  space(): Uint8Array {
    return this.#decoder.space();
  }

  received(bytes: number): void {
    this.#decoder.filled(bytes);
    for (let next = this.#decoder.next(); next; next = this.#decoder.next()) {
      this.said.push({ ...next, command: next.command.slice(), payload: next.payload.slice() });
    }
  }

  closed(reason: string): void {
    this.closedWith = reason;
  }

  /** Says HELLO as version 1 does, or with an offer. Returns the answer. */
  greet(offer?: Partial<Offer>, frameVersion = 1): Frame | undefined {
    const payload = encodeHello({
      ...HELLO_CONSTANTS,
      node: 0,
      incarnation: 77n,
      session: 9,
      keepaliveMs: 500,
      dvs: 'lab',
      voucherKey: new Uint8Array(32),
      containers: [5],
    });
    const bytes = frameBytes({ kind: CommandKind.HELLO, destinationNode: 1 }, payload);
    if (offer) this.#addOffer(bytes, payload, offer);
    new DataView(bytes.buffer).setUint16(4, frameVersion, true);
    this.write(bytes);
    this.#decoder.takePacked(lz4Unpack, 65_536);
    this.#sequence = (offer?.last ?? 1) > 1 && ((offer?.features ?? 0) & 1) === 1 ? 0 : 1;
    this.#session = decodeHello(this.said[0]?.payload ?? payload)?.session ?? 0;
    return this.said[0];
  }

  #addOffer(bytes: Uint8Array, payload: Uint8Array, offer: Partial<Offer>): void {
    const older = { features: 0, attempt: 0, session: 0, expected: [], incarnation: 0n };
    const none = { ...older, path: 0, joins: false };
    const message = encodeOffer({ first: 1, last: 1, ...none, ...offer });
    bytes.set(message, 32 + CommandLayout.message);
    const body = crc32c(payload, crc32c(bytes.subarray(32, 208), 0));
    const view = new DataView(bytes.buffer);
    view.setUint32(24, body, true);
    view.setUint32(28, crc32c(bytes.subarray(0, 28), 0), true);
  }

  /** The frame of a command with the next number; both of its checksums are right. */
  next(fields: CommandFields): Uint8Array {
    const stamp = { session: this.#session, sequence: this.#sequence++ };
    const ends = { dcId: 5, sourceNode: 0, destinationNode: 1 };
    return frameBytes({ ...ends, ...fields }, new Uint8Array(0), stamp);
  }

  say(fields: CommandFields): void {
    this.write(this.next(fields));
  }

  cut(): void {
    this.#connection?.destroy();
    this.#world.settle();
  }

  write(bytes: Uint8Array): void {
    this.#connection?.write(bytes, () => undefined);
    this.#world.settle();
  }
}

/** A segment in which somebody looks for a process of another node. */
class SearchingSegment extends FakeSegment {
  /** Whether copies may go in parts, as the segment was told. */
  takesParts = false;
  override readonly searches: FakeSegment['searches'] = {
    attach: () => undefined,
    detach: () => undefined,
    hasNew: true,
    list: () => [
      { seeker: 80 as Endpoint, callId: 1, slot: 3, endpoint: 3 as Endpoint, home: undefined },
    ],
    end: () => true,
    bindClaimed: () => 0,
  };

  override linkUp(node: NodeId, session: number, parts = false): void {
    super.linkUp(node, session);
    this.takesParts = parts;
  }

  override links(): LinkInfo[] {
    return super.links().map((link) => ({ ...link, state: 'up' }));
  }
}

async function alone(
  segment = new FakeSegment(5, 1, [0, 1]),
): Promise<[SessionWorld, Hand, FakeSegment]> {
  const world = await startWorld();
  const stopped = world.nodes[0].engine.stop();
  world.pass(1100);
  await stopped;
  world.nodes[1].engine.setSegments([segment]);
  return [world, new Hand(world), segment];
}

const SENSELESS = new Uint8Array(300).fill(7);
const givenUp = [...Array<string>(4).fill('held'), 'down'];

describe('a session whose connections all end before anything is taken', () => {
  it.each([
    ['goes on when they are cut', (hand: Hand) => hand.cut(), Array<string>(10).fill('held')],
    ['is given up by who refuses what came', (hand: Hand) => hand.write(SENSELESS), givenUp],
    [
      'is given up when the peer ends them',
      (hand: Hand) => hand.say({ kind: CommandKind.SHUTDOWN, callId: INTERRUPTED }),
      givenUp,
    ],
  ])('%s', async (_, end, expected) => {
    const [world, first, segment] = await alone();
    const able = { last: 2, features: FEATURES };
    const session = decodeHello(first.greet(able)!.payload)!.session;
    segment.queue(0, { callId: 21 });
    world.settle();
    first.cut();

    const states = expected.map((__, i) => {
      const hand = new Hand(world);
      const said = { ...able, session, attempt: 1 + i, incarnation: 2001n, expected: [0, 0] };
      hand.greet(said);
      expect(hand.said.map(({ callId }) => callId)).toEqual([0, 21]);
      end(hand);
      return stateOf(world, 1);
    });

    expect(states).toEqual(expected);
    expect(segment.history.at(-1)).toBe(
      expected.at(-1) === 'down' ? 'down 0' : `up 0 (${session})`,
    );
  });
});

describe('a node of wire version 1', () => {
  it('is answered in its own version, with numbers for every frame', async () => {
    const [world, hand, segment] = await alone();

    const hello = hand.greet();
    hand.say({ kind: CommandKind.NONE, callId: 3 });
    for (const callId of [11, 12]) hand.say({ kind: CommandKind.NTFY_MSG, callId });
    segment.queue(0, { callId: 21 });
    world.settle();

    expect(hello?.kind).toBe(CommandKind.HELLO);
    expect(segment.received.map(([, id]) => id)).toEqual([11, 12]);
    const rest = hand.said.slice(1).map(({ kind, sequence, callId }) => [kind, sequence, callId]);
    expect(rest).toEqual([
      [CommandKind.NONE | CommandKind.ACK, 1, 3],
      [CommandKind.SEND_MSG, 2, 21],
    ]);
  });

  it('gets what the proxies of its version promise: a lost connection ends the calls', async () => {
    const [world, hand, segment] = await alone();
    hand.greet();
    expect(stateOf(world, 1)).toBe('up');

    hand.cut();

    expect(stateOf(world, 1)).toBe('down');
    expect(segment.history.at(-1)).toBe('down 0');
  });

  it('never hears of acknowledgements, however much it sends', async () => {
    const [world, hand, segment] = await alone();
    hand.greet();

    for (let callId = 0; callId < 4000; callId++) hand.say({ kind: CommandKind.NTFY_MSG, callId });
    world.pass(400);

    expect(segment.received.length).toBe(4000);
    const kinds = new Set(hand.said.map(({ command }) => describeCommand(command)['kind']));
    expect([...kinds]).toEqual([CommandKind.HELLO]);
  });
});

describe('what a node may not know', () => {
  const all = FEATURES & ~Feature.LZ4;
  it.each([
    ['of wire version 1', undefined, false],
    ['of a version 2 in which sessions go on', { last: 2, features: Feature.RESUME }, false],
    ['that has the bit and speaks version 1', { last: 1, features: all }, false],
    ['of this version', { last: 2, features: all }, true],
  ])('is not told to one %s', async (_, offer, knows) => {
    const searching = new SearchingSegment(5, 1, [0, 1]);
    const [world, hand, segment] = await alone(searching);
    hand.greet(offer);

    for (let callId = 1; callId <= 40; callId++) segment.pile(0, { callId });
    segment.queue(0, { callId: 41 }, new Uint8Array(9000));
    world.settle();
    world.pass(1000);

    // Queries of trackers, copies in parts; and this node packs what it may.
    const kinds = new Set(hand.said.map(({ kind }) => kind));
    expect([kinds.has(CommandKind.PROCINFO), searching.takesParts]).toEqual([knows, knows]);
    const came = hand.said.filter(({ kind }) => kind === CommandKind.SEND_MSG);
    expect(came.length).toBe(41);
    expect(stateOf(world, 1)).toBe('up');
    const [peer] = world.nodes[1].engine.statistics().peers;
    expect(peer).toMatchObject({ packedBlocks: 0, paths: [{ compression: null }] });
  });

  it('is not taken from one that does not know it either', async () => {
    const [world, hand] = await alone();
    hand.greet({ last: 2, features: all });

    hand.write(packedBytes(new Uint8Array(5000)));

    const down = world.nodes[1].engine.statistics().peers[0]?.lastDown;
    expect(down).toEqual({ code: 'malformed', detail: 'frame refused by its flags (2)' });
  });

  it('is packed for one that does, which may pack too', async () => {
    const [world, hand, segment] = await alone();
    hand.greet({ last: 2, features: FEATURES });

    for (let callId = 1; callId <= 40; callId++) segment.pile(0, { callId });
    segment.queue(0, { callId: 41 });
    world.settle();
    const frames = Array.from({ length: 10 }, (_, i) => hand.next({ kind: 2, callId: 50 + i }));
    hand.write(packedBytes(Buffer.concat(frames)));

    const came = hand.said.filter(({ kind }) => kind === CommandKind.SEND_MSG);
    expect(came.length).toBe(41);
    expect(segment.received.map(([, id]) => id)).toEqual(frames.map((_, i) => 50 + i));
    const [peer] = world.nodes[1].engine.statistics().peers;
    expect(peer?.packedBlocks).toBeGreaterThan(0);
    expect(peer?.packedBytesAfter).toBeLessThan((peer?.packedBytesBefore ?? 0) / 2);
  });
});

describe('a node of another wire version', () => {
  it('speaks the last version that both have', async () => {
    const [world, hand] = await alone();

    const hello = hand.greet({ first: 1, last: 7, features: 0xffff });

    expect(decodeOffer(hello!.command.subarray(CommandLayout.message))).toMatchObject({
      first: 1,
      last: 2,
      features: FEATURES,
      session: 0,
    });
    world.pass(200);
    expect(stateOf(world, 1)).toBe('up');
  });

  it.each([
    [{ first: 3, last: 7 }, 'wire versions 3 to 7', 'this node'],
    [{ first: 9, last: 9 }, 'wire version 9', 'this node'],
  ])('is refused by name when there is none (%o)', async (offer, versions, older) => {
    const [world, hand] = await alone();

    hand.greet(offer);

    const detail = `node 0 (n0) speaks ${versions}, and this node wire versions 1 to 2`;
    const expected = `version: ${detail}: upgrade ${older}`;
    expect(new TextDecoder().decode(hand.said[0]?.payload)).toBe(expected);
    expect(world.nodes[1].engine.statistics().lastRefused?.code).toBe('version');
    expect(hand.closedWith).toBeDefined();
  });

  it('is refused when not even the frame can be read', async () => {
    const [world, hand] = await alone();

    hand.greet(undefined, 9);

    const detail =
      'the peer speaks wire version 9, and this node wire versions 1 to 2: upgrade this node';
    expect(world.nodes[1].engine.statistics().lastRefused).toEqual({ code: 'version', detail });
  });

  it('cannot acknowledge what was not sent', async () => {
    const [world, hand] = await alone();
    hand.greet({ first: 2, last: 2, features: 1 });

    hand.say({ kind: CommandKind.HELLO | CommandKind.ACK });

    expect(world.nodes[1].engine.statistics().peers[0]?.lastDown?.code).toBe('malformed');
  });
});

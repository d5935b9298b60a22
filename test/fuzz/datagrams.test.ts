// Whatever datagrams come, the decoders do not throw, an endpoint does not grow, and a connection
// goes on or ends visibly; what was damaged reaches nobody. Method: random bytes, packets of a real
// conversation with damage, and whole packets with frames that lie, from a fixed seed.
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { FrameWriter, readFrames, type FrameSink } from '../../src/proxies/datagram/frames.ts';
import { decodeHandshake, encodeHandshake, PacketKind } from '../../src/proxies/datagram/packet.ts';
import { PacketLayout, plainSeal, readHead, writeHead } from '../../src/proxies/datagram/packet.ts';
import { Ranges } from '../../src/proxies/datagram/ranges.ts';
import type { Side } from '../../src/proxies/datagram/security.ts';
import { Proof } from '../../src/proxies/proof.ts';
import { TestAuthority } from '../support/certificates.ts';
import { SimulatedNetwork, seeded } from '../support/datagram-network.ts';
import { runInput } from '../support/kept-inputs.ts';
import { TrafficEnd } from '../support/datagram-traffic.ts';

const INPUTS = 100_000;
const SEED = 0x0da7a64a;
const SEAL = plainSeal(crc32c);

type Random = (limit: number) => number;

function generator(seed: number): Random {
  const random = seeded(seed);
  return (limit) => Math.floor(random() * limit);
}

function randomBytes(random: Random, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random(256));
}

function damaged(random: Random, good: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(good);
  switch (random(4)) {
    case 0: {
      const at = random(bytes.length);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      return bytes;
    }
    case 1:
      return bytes.subarray(0, random(bytes.length));
    case 2:
      return Uint8Array.from([...bytes, ...randomBytes(random, 1 + random(40))]);
    default:
      return randomBytes(random, random(80));
  }
}

const EDGES = [0, 1, 0x7fff_ffff, 0xffff_ffff, 0xffff_ffff_ffff];

/** A body of frames that are well formed now and then. */
function lyingBody(random: Random): Uint8Array {
  const bytes = new Uint8Array(600);
  const writer = new FrameWriter(bytes);
  writer.begin(0, bytes.length);
  const number = (): number => (random(2) === 0 ? random(5000) : (EDGES[random(5)] ?? 0));
  for (let count = random(4); count >= 0; count--) {
    switch (random(6)) {
      case 0: {
        const ranges = new Ranges();
        for (let i = random(5); i >= 0; i--) {
          const start = number();
          ranges.add(start, start + 1 + random(50));
        }
        writer.ack(ranges.all, random(100));
        break;
      }
      case 1:
        bytes.fill(random(256), writer.bytes(random(3), number(), random(60)), writer.at);
        break;
      case 2:
        writer.window(random(3), number());
        break;
      case 3:
        writer.ping();
        break;
      case 4:
        if (random(20) === 0) writer.close(random(5) as 0);
        break;
      default:
        bytes.fill(random(256), writer.bytes(0, 0, random(20)), writer.at);
    }
  }
  const body = bytes.slice(0, writer.at);
  if (random(3) === 0 && body.length > 0) body[random(body.length)] = random(256);
  return random(4) === 0 ? body.slice(0, random(body.length + 1)) : body;
}

function dataPacket(id: number, number: number, body: Uint8Array): Uint8Array {
  const packet = new Uint8Array(PacketLayout.BYTES + body.length + SEAL.tagBytes);
  writeHead(new DataView(packet.buffer), { kind: PacketKind.DATA, id, number });
  packet.set(body, PacketLayout.BYTES);
  SEAL.seal(packet, number, 0);
  return packet;
}

/** A packet with a right seal, most often of a wrong size. */
function resized(random: Random, good: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(Math.max(20, good.length - 2 + random(5)));
  bytes.set(good.subarray(0, bytes.length));
  SEAL.seal(bytes, 0, 0);
  return bytes;
}

const IGNORE: FrameSink = {
  ack: () => true,
  bytes: () => true,
  window: () => true,
  ping: () => true,
  close: () => true,
};

describe('the decoders of datagrams', () => {
  it(`survive ${INPUTS} inputs`, () => {
    const random = generator(SEED);
    const kinds = Object.values(PacketKind).filter((kind) => kind !== PacketKind.DATA);
    const good = kinds.map((kind) => encodeHandshake({ kind, to: 5, value: 6, detail: 7 }, SEAL));
    const seen = new Map<string, number>();
    const note = (what: string): void => void seen.set(what, (seen.get(what) ?? 0) + 1);

    for (let input = 0; input < INPUTS; input++) {
      const whole = good[random(good.length)] ?? new Uint8Array(0);
      const bytes = [
        (): Uint8Array => damaged(random, whole),
        (): Uint8Array => dataPacket(random(10), random(10), lyingBody(random)),
        (): Uint8Array => resized(random, whole),
      ][random(3)]!();
      runInput('packets', Uint8Array.of(0, ...bytes), () => {
        const head = readHead(bytes, SEAL.tagBytes);
        if (typeof head === 'string') note(head);
        else if (!SEAL.open(bytes, head.number, 0)) note('damaged');
        else if (head.kind !== PacketKind.DATA) {
          note(decodeHandshake(head, bytes, SEAL.tagBytes) ? 'handshake' : 'malformed');
        } else {
          const body = bytes.subarray(PacketLayout.BYTES, bytes.length - SEAL.tagBytes);
          note(readFrames(body, IGNORE) ? 'frames' : 'bad frames');
        }
      });
    }

    // The inputs reach every refusal, and the other side of each.
    expect([...seen.keys()].sort()).toEqual([
      ...['bad frames', 'damaged', 'frames', 'handshake', 'magic', 'malformed', 'short', 'type'],
      'version',
    ]);
  });

  it('read packets of the handshake as they were written', () => {
    const id = fc.integer({ min: 0, max: 2 ** 48 - 1 });
    const kind = fc.constantFrom(...Object.values(PacketKind).filter((one) => one < 7));
    const cookie = fc.uint8Array({ minLength: 16, maxLength: 16 });
    fc.assert(
      fc.property(kind, id, id, cookie, (one, to, value, bytes) => {
        const hasCookie = one <= PacketKind.ACCEPT;
        const fields = { kind: one, to, value, detail: 9, ...(hasCookie && { cookie: bytes }) };
        const packet = encodeHandshake(fields, SEAL);
        const head = readHead(packet, SEAL.tagBytes);
        if (typeof head === 'string') throw new Error(head);
        expect(SEAL.open(packet, 0, 0)).toBe(true);
        const read = decodeHandshake(head, packet, SEAL.tagBytes);
        expect(read).toMatchObject({ kind: one, to, value, detail: 9 });
        if (hasCookie) expect(read?.cookie).toEqual(bytes);
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });

  it('read acknowledgements as they were written', () => {
    const range = fc.tuple(fc.integer({ min: 0, max: 2 ** 20 }), fc.integer({ min: 1, max: 99 }));
    fc.assert(
      fc.property(fc.array(range, { minLength: 1, maxLength: 40 }), (list) => {
        const ranges = new Ranges();
        for (const [start, count] of list) ranges.add(start, start + count);
        const bytes = new Uint8Array(1000);
        const writer = new FrameWriter(bytes);
        writer.begin(0, 1000);
        expect(writer.ack(ranges.all, 3)).toBe(true);
        const told: object[] = [];
        const sink = { ...IGNORE, ack: (found: readonly object[]) => told.push(...found) > 0 };
        expect(readFrames(bytes.subarray(0, writer.at), sink)).toBe(true);
        expect(told).toEqual([...ranges.all].reverse().slice(0, 32));
      }),
      { seed: SEED, numRuns: 1000 },
    );
  });
});

const authority = new TestAuthority();
const [dialing, accepting] = [authority.credentials(0), authority.credentials(1)];

describe('the decoder of proofs', () => {
  const finishedKeys = { dialer: new Uint8Array(32).fill(1), accepter: new Uint8Array(32).fill(2) };
  const proofOf = (side: Side): Proof => {
    const credentials = side === 'dialer' ? dialing : accepting;
    const transcript = createHash('sha256').update('both packets');
    return new Proof({ side, transcript, finishedKeys, credentials, nowMs: Date.now });
  };
  const good = proofOf('accepter').proof();

  /** What the dialer makes of these bytes, which come in pieces. */
  function verdict(random: Random, bytes: Uint8Array): string {
    const dialer = proofOf('dialer');
    for (let at = 0; at < bytes.length;) {
      const space = dialer.space();
      expect(space.length).toBeGreaterThan(0);
      const part = bytes.subarray(at, at + Math.min(space.length, 1 + random(300)));
      space.set(part);
      at += part.length;
      const found = dialer.received(part.length);
      if (found !== undefined) return 'reason' in found ? found.refusal.code : `node ${found.node}`;
    }
    return 'not whole';
  }

  it('takes the right one, whatever pieces it comes in, and no other, with 5,000 inputs', () => {
    const random = generator(SEED + 3);
    const seen = new Set<string>();
    for (let input = 0; input < 5000; input++) {
      if (input % 100 === 0) expect(verdict(random, good)).toBe('node 1');
      const found = verdict(random, damaged(random, good));
      // What comes after a proof is not looked at here.
      if (found === 'node 1') continue;
      seen.add(found);
    }

    expect([...seen].sort()).toEqual(['handshake', 'not whole']);
  });
});

describe('an endpoint', () => {
  it.each([
    ['plain', {}, {}],
    ['sealed', { credentials: dialing }, { credentials: accepting }],
  ])('keeps its %s connection, and what it costs, when damaged packets come', (_, one, other) => {
    const network = new SimulatedNetwork(SEED);
    const random = generator(SEED + 1);
    const [a, b] = [network.host('a', one), network.host('b', other)];
    const packets: Uint8Array[] = [];
    network.tap = (from, _, bytes) => {
      if (from === 'a' && packets.length < 200) packets.push(Uint8Array.from(bytes));
    };
    const dialer = new TrafficEnd('dialer', { own: 10, peer: 20 }, 500);
    const accepter = new TrafficEnd('accepter', { own: 20, peer: 10 }, 500);
    b.endpoint.listen(() => accepter);
    a.endpoint.dial('b', dialer, a.nowMs);
    network.run(100, () => accepter.connection !== undefined);

    for (let input = 0; input < INPUTS; input++) {
      if (input % 1000 === 0) {
        dialer.write(0, 300);
        dialer.write(1, 3000);
        network.run(50);
      }
      const bytes = damaged(random, packets[random(packets.length)] ?? new Uint8Array(0));
      b.endpoint.receive(bytes, random(3) === 0 ? 'elsewhere' : 'a', b.nowMs);
    }
    network.run(2000);

    expect(accepter.has(dialer)).toBe(true);
    expect([dialer.closedWith, accepter.closedWith]).toEqual([undefined, undefined]);
    expect(b.endpoint.size).toBe(1);
    expect(b.endpoint.heldBytes).toBeLessThanOrEqual(2 * 65_536);
    // Most have a number that came before, and are dropped for that.
    expect(b.endpoint.counters.damaged).toBeGreaterThan(INPUTS / 50);
    expect(accepter.connection?.quality?.duplicates).toBeGreaterThan(INPUTS / 10);
  });

  it('ends a connection, and nothing else, when whole packets make no sense', () => {
    const random = generator(SEED + 2);
    const ends = new Map<string, number>();
    for (let round = 0; round < 3000; round++) {
      const network = new SimulatedNetwork(round);
      const [a, b] = [network.host('a'), network.host('b')];
      // Whatever it is told, it takes.
      const buffer = new Uint8Array(1000);
      const dialer = new TrafficEnd('dialer', { own: 10, peer: 20 }, 500);
      let reason = 'goes on';
      b.endpoint.listen(() => ({
        opened: () => undefined,
        space: () => buffer,
        received: () => undefined,
        closed: (why) => (reason = why),
      }));
      let id = 0;
      network.tap = (from, _, bytes) => {
        const head = readHead(bytes, SEAL.tagBytes);
        if (from === 'a' && typeof head !== 'string' && head.id !== 0) id = head.id;
      };
      a.endpoint.dial('b', dialer, a.nowMs);
      network.run(20);

      for (let i = 0; i < 20; i++) {
        const body = lyingBody(random);
        b.endpoint.receive(dataPacket(id, 1000 + i, body), 'a', b.nowMs);
        b.endpoint.run(b.nowMs);
        expect(b.endpoint.heldBytes).toBeLessThanOrEqual(4 * 1024 * 1024);
      }
      ends.set(reason, (ends.get(reason) ?? 0) + 1);
    }

    expect([...ends.keys()]).toContain('EPROTO');
    expect(ends.get('EPROTO')).toBeGreaterThan(1000);
  });
});

// Sealed connections over datagrams, and those who have no business on them: promises S2 to S6 for
// datagrams. Method: endpoints on a simulated network whose datagrams the test sees and changes;
// the hostile peer is an endpoint whose key exchange cheats, so all but the cheating is right.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../../src/dvk/crc32c.ts';
import { Credentials } from '../../../../src/proxies/credentials.ts';
import { encodeHandshake, PacketKind, plainSeal } from '../../../../src/proxies/datagram/packet.ts';
import { Suite, type Proving, type Security } from '../../../../src/proxies/datagram/security.ts';
import { around, TestAuthority } from '../../../support/certificates.ts';
import { NO_FAULTS, SimulatedNetwork } from '../../../support/datagram-network.ts';
import type { HostOptions, SimulatedHost } from '../../../support/datagram-network.ts';
import { TrafficEnd } from '../../../support/datagram-traffic.ts';

const YEARS = { fromMs: Date.now() - 1e10, toMs: Date.now() + 1e10 };
const DAY_MS = 86_400_000;
const authority = new TestAuthority('lab', YEARS);
const other = new TestAuthority('lab', YEARS);
const [ZERO, ONE] = [authority.credentials(0), authority.credentials(1)];
const SEAL = plainSeal(crc32c);

interface Told {
  from: string;
  kind: number;
  bytes: Uint8Array;
}

/** `a` dials `b`. */
class Pair {
  readonly network: SimulatedNetwork;
  readonly a: SimulatedHost;
  readonly b: SimulatedHost;
  readonly told: Told[] = [];
  readonly accepted: TrafficEnd[] = [];
  dialer!: TrafficEnd;

  constructor(a: HostOptions = {}, b: HostOptions = {}, seed = 3) {
    this.network = new SimulatedNetwork(seed);
    this.a = this.network.host('a', { credentials: ZERO, ...a });
    this.b = this.network.host('b', { credentials: ONE, ...b });
    this.network.tap = (from, _to, bytes) => {
      this.told.push({ from, kind: bytes[2] ?? 0, bytes: Uint8Array.from(bytes) });
    };
    this.listen();
  }

  listen(): void {
    this.b.endpoint.listen(() => {
      const end = new TrafficEnd('accepter', { own: 20, peer: 10 }, 1000);
      this.accepted.push(end);
      return end;
    });
  }

  get accepter(): TrafficEnd | undefined {
    return this.accepted.at(-1);
  }

  dial(): void {
    this.dialer = new TrafficEnd('dialer', { own: 10, peer: 20 }, 1000);
    this.a.endpoint.dial('b', this.dialer, this.a.nowMs);
  }

  join(): void {
    this.dial();
    this.network.run(100, () => this.accepter?.connection !== undefined);
    expect(this.accepter?.connection).toBeDefined();
  }

  /** A datagram comes to `host` from nowhere that can be asked. */
  forge(host: SimulatedHost, from: string, bytes: Uint8Array): void {
    host.endpoint.receive(Uint8Array.from(bytes), from, host.nowMs);
  }

  /** Neither side has heard a word of the other, and nothing is left. */
  expectNothing(): void {
    this.network.run(8000);
    expect(this.accepted.map(({ connection }) => connection)).toEqual(
      this.accepted.map(() => undefined),
    );
    for (const { taken } of this.accepted) expect(taken).toEqual([0, 0]);
    expect([this.a.endpoint.size, this.b.endpoint.size]).toEqual([0, 0]);
  }
}

/** A key exchange whose proofs go through `change`. */
function cheating(change: (proof: Uint8Array, proving: Proving) => Uint8Array) {
  return ({ begin }: Security): Security => ({
    begin: () => {
      const share = begin();
      return {
        bytes: share.bytes,
        agree: (...about) => {
          const agreement = share.agree(...about)!;
          const { proving } = agreement;
          const proof = (): Uint8Array => change(proving.proof(), proving);
          const received = (bytes: number) => proving.received(bytes);
          const space = () => proving.space();
          return { ...agreement, proving: { isFirst: proving.isFirst, proof, space, received } };
        },
      };
    },
  });
}

describe('a sealed connection', () => {
  it('knows who the peer is on both sides, and carries both lanes', () => {
    const pair = new Pair();
    pair.join();
    pair.dialer.write(0, 5000);
    pair.dialer.write(1, 50_000);
    pair.accepter!.write(0, 100);
    pair.network.run(2000);

    expect(pair.dialer.connection?.peer).toMatchObject({ dvs: 'lab', node: 1, name: 'n1' });
    expect(pair.accepter!.connection?.peer).toMatchObject({ dvs: 'lab', node: 0, name: 'n0' });
    expect(pair.accepter!.has(pair.dialer)).toBe(true);
    expect(pair.dialer.has(pair.accepter!)).toBe(true);
  });

  it('has nothing of certificates or of what is said on the wire, and nothing twice', () => {
    const pair = new Pair();
    pair.join();
    pair.dialer.write(0, 3000);
    const said = Buffer.from(Array.from({ length: 16 }, (_, i) => (i * 31 + 10 * 101) & 255));
    const bytes = new Map<string, number>();
    const names = [ZERO, ONE].map(({ certificate }) => certificate.raw.subarray(0, 40));
    pair.network.run(1000);

    for (const { bytes: packet, kind } of pair.told) {
      const text = Buffer.from(packet);
      for (const name of [...names, said, Buffer.from('dvk://')]) {
        expect(text.includes(name)).toBe(false);
      }
      if (kind !== PacketKind.DATA) continue;
      const body = createHash('sha256').update(packet.subarray(16)).digest('hex');
      bytes.set(body, (bytes.get(body) ?? 0) + 1);
    }
    expect(Math.max(...bytes.values())).toBe(1);
  });

  it('is made of packets that are lost, doubled and late', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, loss: 0.3, duplicate: 0.3, damage: 0.1, jitterMs: 40 };
    pair.dial();

    const isUp = (): boolean => pair.accepter?.connection !== undefined;
    expect(pair.network.run(5000, isUp)).toBe(true);
  });

  it('is not reset by anyone, even by who sees its packets, and goes with its peer', () => {
    const pair = new Pair();
    pair.join();
    const ids = pair.told.map(({ bytes }) => Buffer.from(bytes).readUIntLE(4, 6));
    for (const value of ids) {
      const reset = { kind: PacketKind.RESET, suite: Suite.SEALED, to: 0, value };
      pair.forge(pair.a, 'b', encodeHandshake(reset, SEAL));
    }
    pair.network.run(50);
    expect(pair.dialer.closedWith).toBeUndefined();
    expect(pair.a.endpoint.counters.unknown).toBe(ids.length);

    pair.b.restart();
    pair.network.run(10_000);
    expect(pair.dialer.closedWith).toBe('ETIMEDOUT');
  });

  it('ends before a packet number is used twice', () => {
    const pair = new Pair({ packetsMax: 200 });
    pair.join();
    pair.network.run(150_000, () => pair.dialer.closedWith !== undefined);

    expect(pair.dialer.closedWith).toBe('all packet numbers are used');
    expect(pair.dialer.connection?.quality?.packetsSent).toBeLessThan(210);
  });

  it('takes nothing again, however often, and nothing after a restart', () => {
    const pair = new Pair();
    pair.join();
    pair.dialer.write(0, 1000);
    pair.network.run(20);
    const recorded = pair.told.filter(({ from }) => from === 'a').map(({ bytes }) => bytes);
    const before = [...pair.accepter!.taken];
    const { counters } = pair.b.endpoint;

    for (let i = 0; i < 1000; i++) {
      for (const bytes of recorded) pair.forge(pair.b, 'a', bytes);
    }
    expect(pair.accepter!.taken).toEqual(before);
    expect(counters.damaged).toBeLessThanOrEqual(recorded.length);
    expect(pair.accepted.length).toBe(1);

    pair.b.restart();
    pair.listen();
    for (let i = 0; i < 1000; i++) {
      for (const bytes of recorded) pair.forge(pair.b, 'a', bytes);
    }
    const again = pair.b.endpoint.counters;
    expect(again.unknown + again.cookie).toBeGreaterThan(1000);
    expect(pair.accepted.length).toBe(1);
    expect(pair.b.endpoint.size).toBe(0);
  });
});

interface Wrong {
  name: string;
  credentials: () => Credentials;
  reason: RegExp;
}

/** Credentials that their node takes for good. */
function bad(made: TestAuthority, days: number, dvs = 'lab'): Credentials {
  const texts = made.texts(7, { validity: around(days), identity: { dvs } });
  return new Credentials(texts, Date.now() + days * DAY_MS);
}

const WRONG: Wrong[] = [
  { name: 'of another CA', credentials: () => bad(other, 0), reason: /made by another CA/ },
  { name: 'that expired', credentials: () => bad(authority, -3), reason: /node 7 .* expired at/ },
  { name: 'of tomorrow', credentials: () => bad(authority, 3), reason: /valid only from/ },
  {
    name: 'of another DVS',
    credentials: () => bad(authority, 0, 'x'),
    reason: /of DVS x, not lab/,
  },
];

describe('a certificate', () => {
  it.each(WRONG)('$name is refused by the accepter, which tells why', ({ credentials, reason }) => {
    const pair = new Pair({ credentials: credentials() });
    // The dialer would not believe the accepter either; here it believes anybody.
    vouchForAll(pair.a);
    pair.dial();
    pair.network.run(200);

    expect(pair.accepter?.closedWith).toMatch(reason);
    expect(pair.accepter?.refusal?.code).toBe('certificate');
    // It had time to say something, which reached nobody.
    expect(pair.dialer.closedWith).toBe('ECONNRESET');
    pair.expectNothing();
  });

  it.each(WRONG)('$name is refused by the dialer, which says nothing', (wrong) => {
    const pair = new Pair({}, { credentials: wrong.credentials() });
    pair.dial();
    pair.network.run(200);

    expect(pair.dialer.connection).toBeUndefined();
    expect(pair.dialer.closedWith).toMatch(wrong.reason);
    expect(pair.dialer.refusal?.code).toBe('certificate');
    expect(pair.accepter?.closedWith).toBe('ECONNRESET');
    pair.expectNothing();
  });

  it('is refused as soon as it is denied', () => {
    const serial = ZERO.self.serial;
    const denying = new Credentials({ ...ONE.texts, denied: serial }, Date.now());
    const pair = new Pair();
    pair.join();
    pair.dialer.connection?.destroy();
    pair.b.credentials = denying;
    pair.dial();
    pair.network.run(200);

    expect(pair.accepted.length).toBe(2);
    expect(pair.accepter?.closedWith).toContain(`serial ${serial}) is on the deny list`);
    expect(pair.accepter?.refusal).toEqual({ code: 'certificate', node: 0 });
  });
});

function vouchForAll(host: SimulatedHost): void {
  const { credentials } = host;
  Object.defineProperty(credentials, 'examine', { value: () => ({ ...ONE.self }) });
}

describe('a proof', () => {
  const { length } = recordedProof();

  function recordedProof(): Uint8Array {
    let proof = new Uint8Array(0);
    const pair = new Pair({ cheat: cheating((real) => (proof = Uint8Array.from(real))) }, {}, 4);
    pair.join();
    return proof;
  }

  /** What the accepter says of a dialer that proves itself by what `change` makes. */
  function outcome(change: Parameters<typeof cheating>[0]): { why: string; code?: string } {
    const pair = new Pair({ cheat: cheating(change) });
    pair.dial();
    pair.network.run(4000, () => pair.accepter?.closedWith !== undefined);
    const { closedWith = 'open', refusal } = pair.accepter!;
    pair.expectNothing();
    return { why: closedWith, ...(refusal && { code: refusal.code }) };
  }

  it('with a byte changed is refused, whichever it is', () => {
    const codes = new Set<string | undefined>();
    // The lengths of its parts are no multiples of seven, so each part has its share.
    for (let at = 0; at < length; at += at < 4 ? 1 : 7) {
      const { code, why } = outcome((proof) => {
        const changed = Uint8Array.from(proof);
        changed[at] = (changed[at] ?? 0) ^ 1;
        return changed;
      });
      // A length that is too short or long makes another proof of it, or one that never ends.
      if (at > 1) expect(code).toBe('handshake');
      codes.add(code ?? why);
    }
    expect(codes).toContain('handshake');
  });

  it('of another handshake is refused', () => {
    const recorded = recordedProof();

    expect(outcome(() => recorded)).toMatchObject({ code: 'handshake' });
  });

  it('that is the accepter’s own is refused', () => {
    const network = { proof: new Uint8Array(0) };
    const keep = cheating((proof) => (network.proof = Uint8Array.from(proof)));
    const pair = new Pair({ cheat: cheating(() => network.proof) }, { cheat: keep });
    pair.dial();
    pair.network.run(200);

    expect(pair.accepter?.refusal?.code).toBe('handshake');
    pair.expectNothing();
  });

  it.each([
    ['with a certificate of 64 KiB', Uint8Array.of(0xff, 0xff), 'handshake'],
    ['without a certificate', new Uint8Array(2 + 96), 'handshake'],
    ['with a certificate that is none', Uint8Array.of(16, 0, ...new Uint8Array(112)), 'handshake'],
    ['of nothing, when the time is over', new Uint8Array(0), undefined],
    ['of a part of it, when the time is over', new Uint8Array(50), undefined],
  ])('%s is refused', (_, proof, code) => {
    const { why, code: told } = outcome(() => proof);

    expect(told).toBe(code);
    if (code === undefined) expect(why).toBe('ETIMEDOUT');
  });

  it('that never comes ends the dialer too', () => {
    const pair = new Pair({}, { cheat: cheating(() => new Uint8Array(0)) });
    pair.dial();
    pair.network.run(3500);

    expect(pair.dialer.closedWith).toBe('ETIMEDOUT');
    expect(pair.dialer.connection).toBeUndefined();
  });

  it('comes before anything else: what is said instead reaches nobody', () => {
    const pair = new Pair({ cheat: cheating((proof) => proof.fill(0x44)) });
    pair.dial();
    // The dialer believes that it is up, and fills both windows.
    pair.network.run(100, () => pair.dialer.connection !== undefined);
    pair.dialer.write(1, 500_000);
    pair.dialer.write(0, 500_000);
    pair.network.run(3000);

    expect(pair.accepter?.refusal?.code).toBe('handshake');
    expect(pair.accepter?.taken).toEqual([0, 0]);
    expect(pair.b.endpoint.heldBytes).toBeLessThanOrEqual(2 * 65_536);
    pair.expectNothing();
  });
});

describe('who changes packets of the handshake on their way', () => {
  /** The byte at `at` of each packet of `kind` is another one, and the checksum is right. */
  function meddle(kind: number, at: number, put: (before: number) => number): Pair {
    const pair = new Pair();
    const record = pair.network.tap!;
    pair.network.tap = (from, to, bytes) => {
      if (bytes[2] === kind) {
        bytes[at] = put(bytes[at] ?? 0);
        SEAL.seal(bytes, 0, 0);
      }
      record(from, to, bytes);
    };
    pair.dial();
    return pair;
  }

  it.each([
    ['OPEN', PacketKind.OPEN],
    ['ACCEPT', PacketKind.ACCEPT],
  ])('makes no connection of it, whatever is changed of %s', (_, kind) => {
    // Head, value, detail, cookie and share, and some of the padding.
    const places = [...Array.from({ length: 80 }, (_unused, i) => i), 500, 1195];
    for (const at of places) {
      const pair = meddle(kind, at, (before) => before ^ 1);
      pair.network.run(200);

      expect(pair.dialer.connection).toBeUndefined();
      pair.expectNothing();
    }
  });

  it.each([
    ['the suite to plain text', 3, 0],
    ['the version', 1, 1],
  ])('cannot lower %s', (_, at, value) => {
    for (const kind of [PacketKind.INIT, PacketKind.COOKIE, PacketKind.OPEN, PacketKind.ACCEPT]) {
      const pair = meddle(kind, at, () => value);
      pair.network.run(200);

      // The suite of INIT and COOKIE decides nothing.
      if (pair.accepter?.connection) {
        expect(pair.dialer.connection?.peer?.node).toBe(1);
        expect(pair.accepter.connection.peer?.node).toBe(0);
      } else {
        pair.expectNothing();
      }
    }
  });

  it('cannot choose the secret by a share of small order', () => {
    const pair = new Pair();
    const record = pair.network.tap!;
    for (const share of [new Uint8Array(32), Uint8Array.of(1, ...new Uint8Array(31))]) {
      pair.network.tap = (from, to, bytes) => {
        if (bytes[2] === PacketKind.OPEN || bytes[2] === PacketKind.ACCEPT) {
          bytes.set(share, 44);
          SEAL.seal(bytes, 0, 0);
        }
        record(from, to, bytes);
      };
      pair.dial();
      pair.network.run(300);
    }

    expect(pair.b.endpoint.counters.malformed).toBeGreaterThan(1);
    pair.expectNothing();
  });
});

describe('a sealed node and one in plain text', () => {
  it.each([
    ['dialer', { credentials: undefined }, {}],
    ['accepter', {}, { credentials: undefined }],
  ])('refuse each other, and both tell why (%s in plain text)', (_, a, b) => {
    const pair = new Pair(a, b);
    pair.dial();
    pair.network.run(100);

    expect(pair.dialer.refusal).toEqual({ code: 'security' });
    expect(pair.dialer.closedWith).toContain('--insecure');
    expect(pair.accepter?.refusal).toEqual({ code: 'security' });
    expect(pair.accepter?.closedWith).toMatch(/^a: .*--insecure/);
    expect(pair.b.endpoint.counters.suite).toBe(1);
    expect([pair.a.endpoint.size, pair.b.endpoint.size]).toEqual([0, 0]);
  });
});

describe('strangers', () => {
  it('cost nothing, with 100,000 packets from forged addresses, and nobody is kept out', () => {
    const pair = new Pair();
    const share = new Uint8Array(32).fill(9);
    for (let i = 0; i < 25_000; i++) {
      const from = `10.${i >> 8}.0.${i & 255}:9`;
      const fields = { suite: Suite.SEALED, to: 0, value: 1 + i };
      const open = { ...fields, kind: PacketKind.OPEN, detail: 0, share };
      pair.forge(pair.b, from, encodeHandshake({ ...fields, kind: PacketKind.INIT }, SEAL));
      pair.forge(pair.b, from, encodeHandshake({ ...open, cookie: share.subarray(16) }, SEAL));
      const data = new Uint8Array(1200).fill(i);
      data.set([0x44, 2, PacketKind.DATA, 0]);
      pair.forge(pair.b, from, data);
      pair.forge(pair.b, from, new Uint8Array(i % 1500).fill(i));
    }

    expect(pair.b.endpoint.size).toBe(0);
    expect(pair.b.endpoint.counters).toMatchObject({ cookie: 25_000, unknown: 25_000 });
    // Only INIT is answered, by less than it has.
    const answers = pair.told.filter(({ from }) => from === 'b');
    expect(answers.length).toBe(25_000);
    expect(answers.every(({ kind, bytes }) => kind === 2 && bytes.length < 60)).toBe(true);
    pair.join();
  });
});

// Who is let in, and what becomes of a connection: the handshake, its refusals, the end, and what
// strangers cost. Method: endpoints on a simulated network, whose datagrams the test sees.
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../../src/dvk/crc32c.ts';
import { DATAGRAM_BYTES_MAX, encodeHandshake } from '../../../../src/proxies/datagram/packet.ts';
import { PacketKind, plainSeal } from '../../../../src/proxies/datagram/packet.ts';
import { NO_FAULTS, SimulatedNetwork } from '../../../support/datagram-network.ts';
import type { SimulatedHost } from '../../../support/datagram-network.ts';
import { TrafficEnd } from '../../../support/datagram-traffic.ts';

interface Told {
  from: string;
  kind: number;
  bytes: Uint8Array;
}

class Pair {
  readonly network = new SimulatedNetwork(7);
  readonly a: SimulatedHost = this.network.host('a');
  readonly b: SimulatedHost = this.network.host('b');
  readonly told: Told[] = [];
  readonly accepted: TrafficEnd[] = [];
  dialer!: TrafficEnd;

  constructor() {
    this.network.tap = (from, _to, bytes) => {
      this.told.push({ from, kind: bytes[2] ?? 0, bytes: Uint8Array.from(bytes) });
    };
    this.b.endpoint.listen(() => {
      const end = new TrafficEnd('accepter', { own: 20, peer: 10 }, 1000);
      this.accepted.push(end);
      return end;
    });
  }

  get accepter(): TrafficEnd | undefined {
    return this.accepted.at(-1);
  }

  dial(): () => void {
    this.dialer = new TrafficEnd('dialer', { own: 10, peer: 20 }, 1000);
    return this.a.endpoint.dial('b', this.dialer, this.a.nowMs);
  }

  join(): void {
    this.dial();
    expect(this.network.run(100, () => this.accepter?.connection !== undefined)).toBe(true);
  }

  /** A datagram comes to `host` from nowhere that can be asked. */
  forge(host: SimulatedHost, from: string, bytes: Uint8Array): void {
    host.endpoint.receive(Uint8Array.from(bytes), from, host.nowMs);
  }

  /** The first half of a handshake with `b`, by a host that gets its answers. */
  open(from: string, value: number): void {
    this.forge(this.b, from, encodeHandshake({ kind: PacketKind.INIT, to: 0, value }, SEAL));
    const { bytes } = this.told.at(-1)!;
    const detail = new DataView(bytes.buffer).getUint32(16, true);
    const open = { kind: PacketKind.OPEN, to: 0, value, detail, cookie: bytes.slice(28, 44) };
    this.forge(this.b, from, encodeHandshake(open, SEAL));
  }

  kinds(from: string): number[] {
    return this.told.filter((one) => one.from === from).map(({ kind }) => kind);
  }
}

const SEAL = plainSeal(crc32c);

describe('the handshake', () => {
  it('is INIT, COOKIE, OPEN, ACCEPT, then data', () => {
    const pair = new Pair();
    pair.join();

    expect(pair.kinds('a').slice(0, 2)).toEqual([PacketKind.INIT, PacketKind.OPEN]);
    expect(pair.kinds('b').slice(0, 2)).toEqual([PacketKind.COOKIE, PacketKind.ACCEPT]);
    expect(pair.kinds('a')[2]).toBe(PacketKind.DATA);
    expect(pair.accepted.length).toBe(1);
  });

  it('keeps nothing for addresses that are forged, and answers no more than it is asked', () => {
    const pair = new Pair();
    for (let i = 0; i < 10_000; i++) {
      const init = encodeHandshake({ kind: PacketKind.INIT, to: 0, value: 1 + i }, SEAL);
      pair.forge(pair.b, `10.0.${i >> 8}.${i & 255}:9`, init);
      const open = { kind: PacketKind.OPEN, to: 0, value: 1 + i, detail: 0 } as const;
      const cookie = new Uint8Array(16).fill(i);
      pair.forge(pair.b, `10.0.0.1:${i}`, encodeHandshake({ ...open, cookie }, SEAL));
    }

    expect(pair.b.endpoint.size).toBe(0);
    expect(pair.b.endpoint.counters.cookie).toBe(10_000);
    expect(pair.told.length).toBe(10_000);
    for (const { kind, bytes } of pair.told) {
      expect(kind).toBe(PacketKind.COOKIE);
      expect(bytes.length).toBeLessThan(1200);
    }
  });

  it('takes a cookie from the address that it was sent to only, and for ten seconds', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, mtu: 0 };
    pair.dial();
    pair.network.run(1);
    const init = pair.told[0]!.bytes;
    pair.forge(pair.b, 'a', init);
    const cookie = pair.told.find(({ kind }) => kind === PacketKind.COOKIE)!.bytes;
    pair.forge(pair.a, 'b', cookie);
    pair.network.run(1);
    const open = pair.told.find(({ kind }) => kind === PacketKind.OPEN)!.bytes;

    pair.forge(pair.b, 'elsewhere', open);
    expect(pair.b.endpoint.counters.cookie).toBe(1);
    pair.network.run(10_100);
    pair.forge(pair.b, 'a', open);
    expect(pair.b.endpoint.counters.cookie).toBe(2);
    expect(pair.b.endpoint.size).toBe(0);
  });

  it('keeps a bounded number of connections that say nothing, and only for a while', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, mtu: 0 };
    for (let i = 0; i < 1000; i++) pair.open(`10.0.0.${i}:1`, 1 + i);

    expect(pair.kinds('b').filter((kind) => kind === PacketKind.ACCEPT).length).toBe(1000);
    expect(pair.b.endpoint.size).toBe(256);
    expect(pair.accepted.length).toBe(0);
    pair.network.run(3100);
    expect(pair.b.endpoint.size).toBe(0);
  });

  it('admits a burst of each host, then so many a second, whatever their ports', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, mtu: 0 };
    const accepts = (): number =>
      pair.kinds('b').filter((kind) => kind === PacketKind.ACCEPT).length;

    for (let i = 0; i < 1000; i++) pair.open(`10.0.0.1:${i}`, 1 + i);
    expect(accepts()).toBe(64);
    expect(pair.b.endpoint.counters.rate).toBe(1000 - 64);
    pair.open('[::1]:5', 5000);
    expect(accepts()).toBe(65);

    pair.network.run(1000);
    for (let i = 0; i < 1000; i++) pair.open(`10.0.0.1:${i}`, 10_000 + i);
    expect(accepts()).toBe(65 + 20);
  });

  it('gives up after its time when nobody answers', () => {
    const pair = new Pair();
    pair.network.cuts.add('b>a');
    pair.dial();

    expect(pair.network.run(3100, () => pair.dialer.closedWith !== undefined)).toBe(true);
    expect(pair.dialer.closedWith).toBe('ETIMEDOUT');
    expect(pair.kinds('a').length).toBeLessThan(10);
    expect(pair.a.endpoint.size).toBe(0);
  });

  it('does not succeed on a path that is too narrow for the shortest packets', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, mtu: 1100 };
    pair.dial();
    pair.network.run(3100);

    expect(pair.dialer.closedWith).toBe('ETIMEDOUT');
    expect(pair.accepted.length).toBe(0);
  });

  it('makes one connection of packets that come twice', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, duplicate: 1 };
    pair.join();
    pair.network.run(5000);

    expect(pair.accepted.length).toBe(1);
    expect([pair.a.endpoint.size, pair.b.endpoint.size]).toEqual([1, 1]);
  });

  it('is refused when nobody listens, or not any more', () => {
    const pair = new Pair();
    pair.b.endpoint.listen(undefined);
    pair.dial();
    pair.network.run(10);

    expect(pair.dialer.closedWith).toBe('ECONNREFUSED');
    expect(pair.b.endpoint.counters.refused).toBe(1);
  });

  it('names its version to a dialer of another one', () => {
    const pair = new Pair();
    pair.dial();
    const carry = pair.network.tap!;
    pair.network.tap = (from, to, bytes) => {
      carry(from, to, bytes);
      // As if they were of versions that do not know each other, nor the other's suites.
      if (from === 'a') bytes[1] = 9;
      else bytes.set([7, PacketKind.REFUSE, 200], 1);
      SEAL.seal(bytes, 0, 0);
    };
    pair.network.run(10);

    expect(pair.dialer.closedWith).toBe('the peer speaks version 2 of datagrams');
    expect(pair.b.endpoint.counters.version).toBe(1);
  });

  it('ends at the owner that does not want the connection', () => {
    const pair = new Pair();
    pair.b.endpoint.listen(() => undefined);
    pair.dial();
    pair.network.run(50);

    expect(pair.dialer.closedWith).toBe('ECONNREFUSED');
    pair.network.run(1000);
    expect([pair.a.endpoint.size, pair.b.endpoint.size]).toEqual([0, 0]);
  });

  it('can be called off', () => {
    const pair = new Pair();
    pair.dial()();
    pair.network.run(10);

    expect(pair.dialer.closedWith).toBe('called off');
  });
});

describe('a connection', () => {
  it('is missed by both sides when one direction is cut', () => {
    for (const cut of ['a>b', 'b>a']) {
      const pair = new Pair();
      pair.join();
      pair.network.run(500);
      pair.network.cuts.add(cut);
      pair.network.run(9000);

      expect(pair.dialer.closedWith).toBeDefined();
      expect(pair.accepter?.closedWith).toBeDefined();
      expect([pair.a.endpoint.size, pair.b.endpoint.size]).toEqual([0, 0]);
    }
  });

  it('outlives silence, and a host that stands still for an hour', () => {
    const pair = new Pair();
    pair.join();
    pair.network.run(60_000);
    pair.b.clockMs += 3_600_000;
    pair.network.run(1000);
    pair.dialer.write(0, 5000);
    pair.network.run(1000);

    expect(pair.accepter?.taken[0]).toBe(5000);
    expect([pair.dialer.closedWith, pair.accepter?.closedWith]).toEqual([undefined, undefined]);
  });

  it('is over at once for the peer of a process that died and came back', () => {
    const pair = new Pair();
    pair.join();
    pair.network.run(500);
    pair.b.restart();
    pair.dialer.write(0, 10);
    pair.network.run(20);

    expect(pair.dialer.closedWith).toBe('ECONNRESET');
  });

  it('is not reset by who does not see its packets', () => {
    const pair = new Pair();
    pair.join();
    for (let value = 1; value < 1000; value++) {
      pair.forge(pair.a, 'b', encodeHandshake({ kind: PacketKind.RESET, to: 0, value }, SEAL));
    }
    pair.network.run(100);

    expect(pair.dialer.closedWith).toBeUndefined();
    expect(pair.a.endpoint.counters.unknown).toBe(999);
  });

  it('takes packets from its peer’s address only, and each once', () => {
    const pair = new Pair();
    pair.join();
    pair.dialer.write(0, 100);
    pair.network.run(20);
    const data = pair.told.filter(
      // Longer ones are probes, and were lost.
      ({ from, kind, bytes }) => from === 'a' && kind === PacketKind.DATA && bytes.length <= 1472,
    );
    const before = pair.accepter?.taken[0];

    for (const { bytes } of data) {
      pair.forge(pair.b, 'elsewhere', bytes);
      for (let i = 0; i < 1000; i++) pair.forge(pair.b, 'a', bytes);
    }

    expect(pair.b.endpoint.counters.address).toBe(data.length);
    const duplicates = pair.accepter?.connection?.quality?.duplicates;
    // Some of them were still on their way.
    expect(duplicates).toBeGreaterThanOrEqual(999 * data.length);
    expect(pair.accepter?.taken[0]).toBe(before);
  });

  it('lets urgent bytes overtake bulky ones', () => {
    const pair = new Pair();
    pair.join();
    pair.network.faults = { ...NO_FAULTS, delayMs: 20 };
    pair.dialer.write(0, 1);
    pair.dialer.write(1, 4_000_000);
    pair.network.run(400);
    expect(pair.accepter!.taken[1]).toBeGreaterThan(0);
    pair.dialer.write(0, 500);

    pair.network.run(5000, () => pair.accepter?.taken[0] === 501);

    expect(pair.accepter!.taken[1]).toBeLessThan(2_000_000);
    pair.network.run(60_000, () => pair.accepter!.has(pair.dialer));
    expect(pair.accepter!.has(pair.dialer)).toBe(true);
  });

  it('has little under way while others use its program, on a short path', () => {
    function mostUnanswered(isShared: boolean, delayMs: number): number {
      const pair = new Pair();
      pair.network.faults = { ...NO_FAULTS, delayMs };
      pair.join();
      pair.a.isShared = isShared;
      let [bytes, most] = [0, 0];
      pair.network.tap = (from, _to, datagram) => {
        bytes = from === 'a' ? bytes + datagram.length : 0;
        most = Math.max(most, bytes);
      };
      pair.dialer.write(0, 1);
      pair.dialer.write(1, 8_000_000);
      pair.network.run(60_000, () => pair.accepter!.has(pair.dialer));
      expect(pair.accepter!.has(pair.dialer)).toBe(true);
      return most;
    }

    expect(mostUnanswered(true, 0.05)).toBeLessThan(65_536 + DATAGRAM_BYTES_MAX);
    expect(mostUnanswered(false, 0.05)).toBeGreaterThan(300_000);
    // What the round trip itself holds.
    expect(mostUnanswered(true, 1)).toBeGreaterThan(300_000);
  });

  it('finds the longest datagram of its path, and falls back when the path shrinks', () => {
    const pair = new Pair();
    pair.network.faults = { ...NO_FAULTS, mtu: 9000 };
    pair.join();
    pair.network.run(3000);
    expect(pair.dialer.connection?.quality?.datagramBytes).toBe(8972);

    pair.network.faults = { ...NO_FAULTS, mtu: 1300 };
    pair.dialer.write(0, 200_000);
    pair.network.run(20_000, () => pair.accepter?.taken[0] === 200_000);
    expect(pair.accepter?.taken[0]).toBe(200_000);
    pair.network.run(10_000);
    expect(pair.dialer.connection?.quality?.datagramBytes).toBe(1200);
  });

  it('takes no more than its window while its owner does not take anything', () => {
    const pair = new Pair();
    pair.join();
    // Nothing urgent comes, so nothing bulky is taken.
    pair.dialer.write(1, 4_000_000);
    pair.network.run(3000);

    expect(pair.accepter!.taken[1]).toBe(0);
    expect(pair.b.endpoint.heldBytes).toBe(65_536);
    pair.dialer.write(0, 1);
    pair.network.run(60_000, () => pair.accepter!.has(pair.dialer));
    expect(pair.accepter!.has(pair.dialer)).toBe(true);
    expect(pair.b.endpoint.heldBytes).toBeLessThanOrEqual(2 * 2 * 1024 * 1024);
  });

  it('sends all that was written before an orderly end, in both lanes', () => {
    const pair = new Pair();
    pair.join();
    pair.network.faults = { ...NO_FAULTS, loss: 0.1 };
    pair.dialer.write(0, 10_000);
    pair.dialer.write(1, 100_000);
    pair.dialer.connection?.end();
    pair.network.run(3000);

    expect(pair.accepter?.taken).toEqual([10_000, 100_000]);
    expect(pair.accepter?.closedWith).toBe('closed by the peer');
    expect(pair.dialer.closedWith).toBe('closed here');
  });

  it('ends at a packet that is whole and makes no sense', () => {
    const pair = new Pair();
    pair.join();
    pair.network.run(100);
    const { bytes } = pair.told.findLast(({ from, kind }) => from === 'a' && kind === 7)!;
    const evil = Uint8Array.from(bytes);
    const view = new DataView(evil.buffer);
    view.setUint32(10, 1_000_000, true);
    view.setUint8(16, 99);
    SEAL.seal(evil, 0, 0);
    pair.forge(pair.b, 'a', evil);
    pair.network.run(100);

    expect(pair.accepter?.closedWith).toBe('EPROTO');
    expect(pair.dialer.closedWith).toBe('EPROTO');
  });
});

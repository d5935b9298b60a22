// The parts of the datagram layer, one by one, against the text that each follows.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeliveryMeter, type DeliveryState } from '../../../../src/proxies/datagram/delivery.ts';
import { NewReno } from '../../../../src/proxies/datagram/new-reno.ts';
import { PathMtu } from '../../../../src/proxies/datagram/path-mtu.ts';
import { Ranges } from '../../../../src/proxies/datagram/ranges.ts';
import { ReceiveLane } from '../../../../src/proxies/datagram/receive-lane.ts';
import { Recovery } from '../../../../src/proxies/datagram/recovery.ts';
import { RttEstimator } from '../../../../src/proxies/datagram/rtt.ts';
import { SendLane } from '../../../../src/proxies/datagram/send-lane.ts';

const SEED = 20260101;

describe('a set of ranges', () => {
  it('is the same as a set of numbers, whatever is added and removed', () => {
    const change = fc.record({
      add: fc.boolean(),
      start: fc.integer({ min: 0, max: 60 }),
      count: fc.integer({ min: 0, max: 12 }),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const ranges = new Ranges();
        const numbers = new Set<number>();
        for (const { add, start, count } of changes) {
          const would = ranges.countWith(start, start + count);
          for (let i = start; i < start + count; i++) {
            if (add) numbers.add(i);
            else numbers.delete(i);
          }
          if (add) ranges.add(start, start + count);
          else ranges.remove(start, start + count);
          if (add && count > 0) expect(ranges.count).toBe(would);
        }
        const found = ranges.all.flatMap(({ start, end }) =>
          Array.from({ length: end - start }, (_, i) => start + i),
        );
        expect(found).toEqual([...numbers].sort((a, b) => a - b));
        const [first, ...more] = ranges.all;
        let end = first?.end ?? 0;
        for (const range of more) {
          expect(range.start).toBeGreaterThan(end);
          end = range.end;
        }
        for (let i = 0; i < 75; i++) expect(ranges.has(i)).toBe(numbers.has(i));
      }),
      { seed: SEED, numRuns: 500 },
    );
  });
});

describe('the round-trip time', () => {
  it('begins with the first sample, and half of it as the variation', () => {
    const rtt = new RttEstimator();
    rtt.update(40, 30);

    expect([rtt.smoothedMs, rtt.variationMs, rtt.minMs]).toEqual([40, 20, 40]);
  });

  it('weighs a sample by one eighth, less what the peer waited', () => {
    const rtt = new RttEstimator();
    rtt.update(40, 0);
    rtt.update(56, 8);

    expect(rtt.smoothedMs).toBe(40 + (48 - 40) / 8);
    expect(rtt.variationMs).toBe(20 + (8 - 20) / 4);
  });

  it('takes no delay off that would make it shorter than any sample', () => {
    const rtt = new RttEstimator();
    rtt.update(40, 0);
    rtt.update(42, 8);

    expect(rtt.smoothedMs).toBe(40 + (42 - 40) / 8);
  });
});

describe('NewReno', () => {
  const PACKET = 1200;

  it('begins with ten packets, and doubles in each round trip of slow start', () => {
    const control = new NewReno(PACKET);
    expect(control.windowBytes).toBe(10 * PACKET);

    for (let i = 0; i < 10; i++) control.acked(PACKET, 1, true);

    expect(control.windowBytes).toBe(20 * PACKET);
  });

  it('halves once for all losses of a round trip, then grows by a packet in each', () => {
    const control = new NewReno(PACKET);
    control.lost(5, 10);
    control.lost(6, 10);
    expect(control.windowBytes).toBe(5 * PACKET);

    for (let i = 0; i < 5; i++) control.acked(PACKET, 11, true);
    expect(control.windowBytes).toBeGreaterThan(5.8 * PACKET);
    expect(control.windowBytes).toBeLessThanOrEqual(6 * PACKET);
  });

  it('does not grow by packets sent before the loss, nor while little is under way', () => {
    const control = new NewReno(PACKET);
    control.lost(5, 10);
    control.acked(PACKET, 9, true);
    control.acked(PACKET, 11, false);

    expect(control.windowBytes).toBe(5 * PACKET);
  });

  it('never falls below two packets', () => {
    const control = new NewReno(PACKET);
    for (let i = 1; i < 20; i++) control.lost(i * 10, i * 10);
    expect(control.windowBytes).toBe(2 * PACKET);

    control.collapse();
    expect(control.windowBytes).toBe(2 * PACKET);
  });
});

describe('the search for the path MTU', () => {
  const LONG = { number: 0, bytes: 1472, probe: false, sentMs: 0 };

  /** Probes until nothing is wanted, on a path that carries `mtu`. Returns the probes. */
  function search(path: PathMtu, mtu: number, nowMs = 0): number[] {
    const probes: number[] = [];
    for (let size = path.wanted(nowMs); size !== undefined; size = path.wanted(nowMs)) {
      probes.push(size);
      path.probeSent();
      const packet = { number: probes.length, bytes: size, probe: true, sentMs: nowMs };
      if (size <= mtu) path.arrived(packet, nowMs);
      else path.lost(packet, nowMs);
    }
    return probes;
  }

  it('goes up until a size was lost three times', () => {
    const path = new PathMtu(16_384);

    expect(search(path, 1500)).toEqual([1372, 1452, 1472, 8952, 8952, 8952]);
    expect(path.bytes).toBe(1472);
  });

  it('tries nothing beyond its limit, and never less than the shortest', () => {
    expect(search(new PathMtu(1460), 9000)).toEqual([1372, 1452, 1460]);
    expect(search(new PathMtu(1452), 9000)).toEqual([1372, 1452]);
    expect(search(new PathMtu(100), 9000)).toEqual([]);
    expect(new PathMtu(100).bytes).toBe(1200);
  });

  it('is tried again after ten minutes', () => {
    const path = new PathMtu(16_384);
    search(path, 1500);

    expect(path.wanted(599_000)).toBeUndefined();
    expect(path.wakeMs).toBe(600_000);
    expect(search(path, 9000, 600_000)).toEqual([8952, 8972, 16_332, 16_332, 16_332]);
  });

  it('falls back when long packets stop arriving, and is tried again soon', () => {
    const path = new PathMtu(16_384);
    search(path, 1500);
    const packet = (number: number): typeof LONG => ({ ...LONG, number, sentMs: number });
    for (let i = 0; i < 4; i++) expect(path.lost(packet(100 + i), 1000)).toBe(false);

    expect(path.lost(packet(104), 1000)).toBe(true);

    expect(path.bytes).toBe(1200);
    expect(path.wanted(1001)).toBeUndefined();
    expect(path.wanted(6000)).toBe(1372);
  });

  it('takes a burst that is lost as a whole for one loss', () => {
    const path = new PathMtu(16_384);
    search(path, 1500);
    for (let burst = 1; burst < 5; burst++) {
      for (let i = 0; i < 44; i++) {
        const packet = { ...LONG, number: 100 * burst + i, sentMs: burst };
        expect(path.lost(packet, 1000)).toBe(false);
      }
    }
    expect(path.lost({ ...LONG, number: 500, sentMs: 5 }, 1000)).toBe(true);
  });

  it('takes no losses for a black hole after which a long packet arrives', () => {
    const path = new PathMtu(16_384);
    search(path, 1500);
    for (let round = 1; round < 10; round++) {
      path.arrived({ ...LONG, number: round * 100 }, 0);
      for (let i = 1; i < 50; i++) {
        expect(path.lost({ ...LONG, number: round * 100 - i }, 0)).toBe(false);
      }
    }
    expect(path.bytes).toBe(1472);
  });

  it('believes the host when it cannot send a size', () => {
    const path = new PathMtu(16_384);
    path.probeSent();
    path.tooLong(1372, 0);
    expect(path.wanted(0)).toBeUndefined();
    expect(path.bytes).toBe(1200);
  });
});

describe('the detection of loss', () => {
  function sent(recovery: Recovery, number: number, sentMs: number): void {
    const delivery = new DeliveryMeter().sent(sentMs, true);
    const frames = { probe: false, data: [], windows: 0, acks: -1 };
    recovery.sent({ number, bytes: 100, sentMs, ...frames, delivery });
  }

  const only = (number: number): { start: number; end: number }[] => [
    { start: number, end: number + 1 },
  ];
  const numbers = (packets: readonly { number: number }[]): number[] =>
    packets.map(({ number }) => number);

  it('takes a packet for lost when one three later has arrived', () => {
    const recovery = new Recovery();
    for (let i = 0; i < 4; i++) sent(recovery, i, i);
    recovery.acknowledged(only(3), 0, 20);

    expect(numbers(recovery.lost(20))).toEqual([0]);
    expect(recovery.bytesInFlight).toBe(200);
  });

  it('takes a packet for lost after more than a round trip', () => {
    const recovery = new Recovery();
    sent(recovery, 0, 0);
    sent(recovery, 1, 1);
    recovery.acknowledged(only(1), 0, 17);

    expect(recovery.lost(17)).toEqual([]);
    expect(recovery.wakeMs).toBe(18);
    expect(numbers(recovery.lost(18))).toEqual([0]);
  });

  it('allows for more reordering once a packet was lost that had arrived', () => {
    const recovery = new Recovery();
    for (let i = 0; i < 4; i++) sent(recovery, i, 0);
    recovery.acknowledged(only(3), 0, 10);
    expect(numbers(recovery.lost(10))).toEqual([0]);
    recovery.acknowledged(only(0), 0, 10);
    expect(recovery.counters.spuriousLosses).toBe(1);

    for (let i = 4; i < 8; i++) sent(recovery, i, 20);
    recovery.acknowledged(only(7), 0, 30);
    expect(numbers(recovery.lost(30))).not.toContain(4);
  });

  it('waits twice as long after each time-out, and not without end', () => {
    const recovery = new Recovery();
    sent(recovery, 0, 0);
    recovery.acknowledged(only(0), 0, 10);
    sent(recovery, 1, 10);
    const waits: number[] = [];
    for (let i = 0, nowMs = 10; i < 7; i++) {
      waits.push(recovery.timeoutMs - nowMs);
      nowMs = recovery.timeoutMs;
      recovery.timedOut(nowMs);
    }

    // 10 ms, four times the variation of 5 ms, and the peer's delay of 5 ms.
    expect(waits).toEqual([35, 70, 140, 280, 400, 400, 400]);
  });

  it('ignores numbers that were acknowledged before', () => {
    const recovery = new Recovery();
    sent(recovery, 5, 0);
    expect(numbers(recovery.acknowledged([{ start: 0, end: 6 }], 0, 1))).toEqual([5]);
    expect(recovery.acknowledged([{ start: 0, end: 6 }], 0, 1)).toEqual([]);
    expect(recovery.timeoutMs).toBe(Infinity);
  });
});

describe('an outgoing lane', () => {
  it('sends each byte once, lost ones first, and gives buffers back in order', () => {
    const lane = new SendLane(1000);
    const done: string[] = [];
    lane.write(Uint8Array.of(1, 2, 3), () => done.push('a'));
    lane.write(Uint8Array.of(4, 5), () => done.push('b'));
    expect(lane.take(4)).toEqual({ offset: 0, count: 4 });
    lane.again(1, 2);
    expect(lane.take(4)).toEqual({ offset: 1, count: 2 });
    expect(lane.take(4)).toEqual({ offset: 4, count: 1 });
    expect(lane.take(4)).toBeUndefined();

    const across = new Uint8Array(4);
    lane.copy(1, across);
    lane.acked(3, 2);
    lane.release();
    expect(done).toEqual([]);
    lane.acked(0, 3);
    lane.release();

    expect([...across]).toEqual([2, 3, 4, 5]);
    expect(done).toEqual(['a', 'b']);
    expect(lane.bufferedBytes).toBe(0);
  });

  it('does not send again what has arrived meanwhile', () => {
    const lane = new SendLane(1000);
    lane.write(new Uint8Array(10), () => undefined);
    lane.take(10);
    lane.acked(4, 3);
    lane.again(2, 8);

    expect([lane.take(10), lane.take(10), lane.take(10)]).toEqual([
      { offset: 2, count: 2 },
      { offset: 7, count: 3 },
      undefined,
    ]);
  });

  it('stops at the window of the peer', () => {
    const lane = new SendLane(4);
    lane.write(new Uint8Array(10), () => undefined);
    expect(lane.take(100)).toEqual({ offset: 0, count: 4 });
    expect(lane.hasBytes).toBe(false);

    lane.widen(6);
    lane.widen(5);
    expect(lane.take(100)).toEqual({ offset: 4, count: 2 });
  });
});

describe('an incoming lane', () => {
  function lane(options: { space?: () => number; window?: number; most?: number } = {}): {
    lane: ReceiveLane;
    got: number[];
  } {
    const got: number[] = [];
    let buffer = new Uint8Array(0);
    const sink = {
      space: (): Uint8Array => (buffer = new Uint8Array(options.space?.() ?? 7)),
      received: (bytes: number): void => void got.push(...buffer.subarray(0, bytes)),
    };
    const { window = 64, most = 64 } = options;
    return { lane: new ReceiveLane(sink, window, most), got };
  }

  const bytes = (start: number, count: number): Uint8Array =>
    Uint8Array.from({ length: count }, (_, i) => (start + i) & 255);
  const upTo = (count: number): number[] => [...bytes(0, count)];

  it('puts bytes in order, whatever the order and the overlap', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray([0, 5, 10, 20, 30, 33, 44]), (starts) => {
        const { lane: incoming, got } = lane();
        for (const start of starts) incoming.take(start, bytes(start, 15));
        for (let start = 0; start < 59; start += 10) incoming.take(start, bytes(start, 10));
        expect(got).toEqual(upTo(60));
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it('refuses what is beyond the window that it has told', () => {
    const { lane: incoming } = lane();

    expect(incoming.take(60, bytes(60, 5))).toBe('beyond-window');
    expect(incoming.take(60, bytes(60, 4))).toBe('taken');
  });

  it('keeps what the owner does not take, and hands it over later', () => {
    let isOpen = false;
    const { lane: incoming, got } = lane({ space: () => (isOpen ? 3 : 0) });
    incoming.take(0, bytes(0, 20));
    incoming.take(20, bytes(20, 20));
    expect([got.length, incoming.heldBytes]).toEqual([0, 64]);

    isOpen = true;
    incoming.flow();
    expect(got).toEqual(upTo(40));
  });

  it('doubles its window when it is used up quickly, with what it holds in place', () => {
    const { lane: incoming, got } = lane({ window: 16, most: 64 });
    incoming.take(0, bytes(0, 8));
    expect(incoming.hasWindow).toBe(true);
    expect(incoming.tell(0, 1)).toBe(24);
    incoming.take(8, bytes(8, 8));
    incoming.take(18, bytes(18, 6));
    expect(incoming.tell(1, 1)).toBe(48);
    incoming.take(30, bytes(30, 18));
    incoming.take(16, bytes(16, 2));
    incoming.take(24, bytes(24, 6));
    expect(got).toEqual(upTo(48));

    for (let i = 2; i < 9; i++) incoming.tell(i, 1);
    expect(incoming.tell(9, 1)).toBe(48 + 64);
  });

  it('treats a packet as lost that would make more holes than it keeps', () => {
    const { lane: incoming } = lane({ window: 4096, most: 4096 });
    for (let i = 0; i < 256; i++) expect(incoming.take(2 + 4 * i, bytes(0, 1))).toBe('taken');

    expect(incoming.take(2 + 4 * 256, bytes(0, 1))).toBe('full');
    expect(incoming.take(3, bytes(0, 1))).toBe('taken');
  });
});

describe('how much a path delivers', () => {
  const PACKET_BYTES = 1000;

  /** A path that delivers a packet each millisecond, and acknowledges it 10 ms later. */
  function measured(waiting: (sent: number) => boolean, packets: number): DeliveryMeter {
    const meter = new DeliveryMeter();
    const flight: { number: number; bytes: number; sentMs: number; delivery: DeliveryState }[] = [];
    let sent = 0;
    const send = (nowMs: number): void => {
      const delivery = meter.sent(nowMs, flight.length === 0);
      flight.push({ number: sent++, bytes: PACKET_BYTES, sentMs: nowMs, delivery });
      if (!waiting(sent)) meter.limited(flight.length * PACKET_BYTES);
    };
    for (let i = 0; i < 10; i++) send(i);
    for (let nowMs = 10; sent < packets; nowMs++) {
      const first = flight.shift();
      if (first) meter.acked([first], nowMs, 10);
      send(nowMs);
    }
    return meter;
  }

  it('is known once there was enough to send', () => {
    expect(measured(() => true, 100).bandwidth?.bytesPerSecond).toBeCloseTo(1e6, -4);
    expect(measured(() => false, 100).bandwidth).toBeUndefined();
  });

  it('is no less for what was not there to be sent', () => {
    // From the 50th packet on each goes by itself.
    const meter = measured((sent) => sent < 50, 60);
    const alone = (number: number, bytes: number): void => {
      const delivery = meter.sent(1000 * number, true);
      meter.limited(bytes);
      meter.acked([{ number, bytes, sentMs: 1000 * number, delivery }], 1000 * number + 10, 10);
    };
    for (let number = 60; number < 90; number++) alone(number, 100);
    expect(meter.bandwidth?.bytesPerSecond).toBeCloseTo(1e6, -4);

    alone(90, 40_000);
    expect(meter.bandwidth?.bytesPerSecond).toBeCloseTo(4e6, -4);
  });

  it('is the highest of ten round trips, so a moment without the CPU does not count', () => {
    const meter = new DeliveryMeter();
    let nowMs = 0;
    const flight = (number: number, tookMs: number): void => {
      const delivery = meter.sent(nowMs, true);
      nowMs += tookMs;
      meter.acked([{ number, bytes: 10_000, sentMs: nowMs - tookMs, delivery }], nowMs, 10);
    };
    meter.sent(0, true);
    meter.limited(0);
    flight(0, 10);
    for (let i = 1; i < 9; i++) flight(i, i === 5 ? 50 : 10);
    expect(meter.bandwidth?.bytesPerSecond).toBeCloseTo(1e6, -4);

    // A path that has become slower is known for that after some time.
    for (let i = 9; i < 30; i++) flight(i, 20);
    expect(meter.bandwidth?.bytesPerSecond).toBeCloseTo(5e5, -4);
  });
});

// The reader of traces. Method: rings made by hand, byte for byte; and a real segment, whose core
// writes what the reader reads.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ANY,
  decodeTraceEvent,
  ErrorNumber,
  KERNEL,
  Limit,
  TraceCall,
  TraceEventLayout as Event,
  TraceKind,
  TRACE_CALLS,
  TRACE_KINDS,
  type NodeId,
  type Trace,
  type TraceEvent,
} from '../../../src/dvk/index.ts';
import { TestSegment } from '../../support/segments.ts';
import { tick, traceBytes, TraceFile, type RawTraceEvent } from '../../support/trace-bytes.ts';

const RING = Limit.TRACE_EVENTS;
const node = 3 as NodeId;

function decoded(raw: RawTraceEvent): TraceEvent | undefined {
  const bytes = traceBytes(raw, 7);
  return decodeTraceEvent(new Uint32Array(bytes.buffer), 0, { node, slot: 1, number: 7 });
}

describe('decodeTraceEvent', () => {
  it('reads a call that ended', () => {
    const event = decoded({
      kind: TraceKind.END,
      call: TraceCall.SENDREC,
      time: 5_000_000_001,
      duration: 41_200,
      endpoint: 70,
      peer: 3,
      type: -9,
      number: 4_000_000_000,
      result: -202,
    });

    expect(event).toEqual({
      node,
      slot: 1,
      kind: 'end',
      call: 'sendrec',
      time: 5_000_000_001,
      duration: 41_200,
      cpu: 0,
      endpoint: 70,
      peer: 3,
      type: -9,
      number: 4_000_000_000,
      result: -202,
      bytes: 0,
      message: undefined,
      copy: undefined,
      to: undefined,
      sleep: undefined,
      otherNode: undefined,
      command: undefined,
      name: undefined,
    });
  });

  it('tells how a message came, which way a copy goes, and how a process sleeps', () => {
    const receive = { kind: TraceKind.END, call: TraceCall.RECEIVE, time: 1 };
    const copy = { kind: TraceKind.END, call: TraceCall.VCOPY, time: 1, bytes: 2 ** 30 };

    expect([0, 1, 2, 3].map((how) => decoded({ ...receive, how })?.message)).toEqual([
      ...['send', 'call', 'notify', 'async'],
    ]);
    expect(decoded({ ...receive, how: 1, result: -110 })?.message).toBeUndefined();
    expect([1, 2, 3].map((how) => decoded({ ...copy, how })?.copy)).toEqual([
      ...['from', 'to', 'others'],
    ]);
    expect(decoded({ ...copy, how: 3, peer: 4, type: 5 })).toMatchObject({
      ...{ peer: 4, to: 5, type: 0, bytes: 2 ** 30 },
    });
    expect([1, 2].map((how) => decoded({ kind: TraceKind.SLEEP, time: 1, how })?.sleep)).toEqual([
      ...['futex', 'fifo'],
    ]);
  });

  it('reads names, commands and unknown begins', () => {
    const bound = { kind: TraceKind.BIND, time: 1, name: 'server-of-files', node: 4, result: 99 };

    expect(decoded(bound)).toMatchObject({
      ...{ name: 'server-of-files', otherNode: 4, bytes: 0, result: 99 },
    });
    expect(decoded({ kind: TraceKind.LINK_IN, time: 1, type: 0x2003, node: 2 })).toMatchObject({
      ...{ command: 'SNDREC_MSG_ACK', otherNode: 2, type: 0 },
    });
    expect(decoded({ kind: TraceKind.LINK_OUT, time: 1, type: 77 })?.command).toBe('COMMAND_77');
    const unknown = { kind: TraceKind.END, call: TraceCall.SEND, time: 9, flags: 1 };
    expect(decoded(unknown)?.duration).toBeUndefined();
  });

  it('refuses another number, a changed byte, zeros and a kind that is not known', () => {
    const whole = traceBytes({ ...tick(5), endpoint: 9 }, 7);
    const read = (bytes: Uint8Array, number = 7): unknown =>
      decodeTraceEvent(new Uint32Array(bytes.buffer), 0, { node, slot: 1, number });

    expect(read(whole)).toBeDefined();
    expect(read(whole, 8)).toBeUndefined();
    for (let at = 0; at < Event.BYTES; at++) {
      const changed = whole.slice();
      changed[at]! ^= 0x10;
      expect(read(changed), `byte ${at}`).toBeUndefined();
    }
    expect(read(new Uint8Array(Event.BYTES), 2 ** 32 - 1)).toBeUndefined();
    expect(read(traceBytes({ kind: 200, time: 1 }, 7))).toBeUndefined();
  });
});

describe('TraceRings', () => {
  const times = (events: readonly TraceEvent[]): number[] => events.map(({ time }) => time);

  it('tells what came since it was made, in the order of time, and of which slot it is', () => {
    const file = new TraceFile(3);
    file.write(0, tick(1));
    const rings = file.reader();
    file.write(1, tick(30));
    file.write(0, tick(20));
    file.write(2, tick(25));
    file.write(0, tick(40));

    const batch = rings.look();

    expect(times(batch.events)).toEqual([20, 25, 30, 40]);
    expect(batch.events.map(({ slot }) => slot)).toEqual([0, undefined, 1, 0]);
    expect(batch).toMatchObject({ lost: 0, torn: 0, refused: 0 });
    expect(rings.look().events).toEqual([]);
  });

  it('reads across the end of a ring', () => {
    const file = new TraceFile(1);
    file.setWritten(0, RING - 2);
    const rings = file.reader();
    for (let i = 1; i <= 5; i++) file.write(0, tick(i));

    expect(times(rings.look().events)).toEqual([1, 2, 3, 4, 5]);
  });

  it('counts what was overwritten, and goes on with the oldest that is there', () => {
    const file = new TraceFile(1);
    const rings = file.reader();
    for (let i = 0; i < RING + 10; i++) file.write(0, tick(i));

    const batch = rings.look();

    expect(batch.lost).toBe(10);
    expect(batch.events).toHaveLength(RING);
    expect(batch.events[0]?.time).toBe(10);
  });

  it('counts one that is overwritten while it looks as lost', () => {
    const file = new TraceFile(1);
    const rings = file.reader();
    file.write(0, tick(1));
    file.write(0, tick(2));
    file.put(0, 0, traceBytes(tick(99), RING));

    const batch = rings.look();

    expect(batch.lost).toBe(1);
    expect(times(batch.events)).toEqual([2]);
  });

  it('waits one look for an event that is being written, then counts it as torn', () => {
    const file = new TraceFile(1);
    const rings = file.reader();
    file.setWritten(0, 1);
    file.write(0, tick(2));
    expect(rings.look()).toMatchObject({ events: [], torn: 0 });
    file.put(0, 0, traceBytes(tick(1), 0));
    expect(times(rings.look().events)).toEqual([1, 2]);

    file.setWritten(0, 3);
    file.write(0, tick(4));
    expect(rings.look()).toMatchObject({ events: [], torn: 0 });
    const late = rings.look();
    expect(late.torn).toBe(1);
    expect(times(late.events)).toEqual([4]);
  });

  it('takes a count that went back, or beyond all numbers, up where it is', () => {
    const file = new TraceFile(1);
    file.setWritten(0, 100);
    const rings = file.reader();
    file.setWritten(0, 5);
    expect(rings.look()).toMatchObject({ events: [], lost: 0 });
    file.write(0, tick(1));
    expect(times(rings.look().events)).toEqual([1]);
    file.bytes.fill(0xff, 0, 8);
    expect(rings.look().events).toEqual([]);
  });

  it('counts slots whose rings got no memory in the newest session', () => {
    const file = new TraceFile(4);
    file.setSessions(0, 6, 5);
    file.setSessions(1, 5, 6);
    file.setSessions(2, 0, 6);

    expect(file.reader().look().refused).toBe(2);
  });
});

describe('Trace', () => {
  let test: TestSegment;
  let trace: Trace;
  beforeEach(() => {
    test = new TestSegment();
    trace = test.segment.trace();
  });
  afterEach(() => {
    trace.stop();
    test.remove();
  });
  const ends = (events: readonly TraceEvent[]): [unknown, unknown, number][] =>
    events
      .filter(({ kind }) => kind === 'end')
      .map(({ call, peer, result }) => [call, peer, result]);

  it('knows a name for every number of the schema', () => {
    expect(TRACE_KINDS).toHaveLength(Object.keys(TraceKind).length);
    expect(TRACE_CALLS).toHaveLength(Object.keys(TraceCall).length - 1);
  });

  it('shows awaited calls, calls that never wait, and failures', async () => {
    const server = test.segment.bind({ name: 'server', slot: 5, level: 'server' });
    const client = test.segment.bind({ name: 'client' });
    const served = server.rcvrqst();
    client.message.type = 42;
    const called = client.sendrec(server.endpoint);
    await served;
    server.message.type = 43;
    server.replySync(client.endpoint);
    await called;
    client.notify(server.endpoint);
    test.segment.notifyKernel(server.endpoint);
    expect(client.replyRaw(server.endpoint)).toBeLessThan(0);
    client.unbind();

    const { events, lost, torn } = trace.stop();

    expect([lost, torn]).toEqual([0, 0]);
    expect(ends(events)).toEqual([
      ['rcvrqst', client.endpoint, 0],
      ['reply', client.endpoint, 0],
      ['sendrec', server.endpoint, 0],
      ['notify', server.endpoint, 0],
      ['notify', server.endpoint, 0],
      ['reply', server.endpoint, -ErrorNumber.ETRAPDENIED],
    ]);
    const kinds = events.map(({ kind }) => kind);
    for (const kind of ['bind', 'begin', 'sleep', 'awake', 'wake', 'unbind'] as const) {
      expect(kinds).toContain(kind);
    }
    expect(events.find(({ kind }) => kind === 'sleep')?.sleep).toBe('fifo');
    expect(events.find(({ kind }) => kind === 'bind')).toMatchObject({ name: 'server', slot: 5 });
    expect(events.filter(({ endpoint }) => endpoint === KERNEL)).toHaveLength(1);
    const [request, reply, call] = events.filter(({ kind }) => kind === 'end');
    expect([request?.type, reply?.type, call?.type]).toEqual([42, 43, 43]);
    expect(request?.number).toBe(call?.number);
    expect(reply?.number).toBe(call?.number);
    const rising = events.map(({ time }) => time);
    expect(rising).toEqual([...rising].sort((a, b) => a - b));
  });

  it('holds back what others may still come before', () => {
    const process = test.segment.bind({ name: 'one' });
    expect(process.receiveRaw(ANY, 0)).toBeLessThan(0);

    expect(trace.poll(0).events).toEqual([]);
    expect(ends(trace.poll(Infinity).events)).toHaveLength(1);
    expect(trace.poll(Infinity).events).toEqual([]);
  });

  it('serves two watchers, and calls are traced until the last one stops', () => {
    const second = test.segment.trace();
    const process = test.segment.bind({ name: 'one' });
    expect(trace.stop().events).not.toEqual([]);
    process.receiveRaw(ANY, 0);

    expect(ends(second.stop().events)).toHaveLength(1);
    const third = test.segment.trace();
    expect(third.stop().events).toEqual([]);
  });

  it('cannot be had by any number of watchers', () => {
    const traces: Trace[] = [];
    expect(() => {
      for (;;) traces.push(test.segment.trace());
    }).toThrow('ENOSPC');

    expect(traces).toHaveLength(Limit.TRACE_WATCHERS - 1);
    for (const one of traces) one.stop();
  });
});

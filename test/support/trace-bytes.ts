/** A file with rings of trace events, made by hand. */
import {
  Limit,
  NONE,
  TraceEventLayout as Event,
  TraceKind,
  TraceRingLayout as Ring,
  TraceRings,
  type Endpoint,
  type NodeId,
  type TraceEvent,
} from '../../src/dvk/index.ts';
import { traceCheck } from '../../src/dvk/trace.ts';

const NS_PER_US = 1000;

export interface RawTraceEvent {
  kind: number;
  time: number;
  call?: number;
  duration?: number;
  bytes?: number;
  flags?: number;
  how?: number;
  endpoint?: number;
  peer?: number;
  type?: number;
  number?: number;
  result?: number;
  node?: number;
  /** Of a bind; takes the place of duration and bytes. */
  name?: string;
}

function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % 2 ** 32, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

/** The bytes of the event number `number` of a ring. */
export function traceBytes(raw: RawTraceEvent, number: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(Event.BYTES));
  view.setUint32(Event.sequence, (number + 1) % 2 ** 32, true);
  putU64(view, Event.time, raw.time);
  putU64(view, Event.duration, raw.duration ?? 0);
  putU64(view, Event.bytes, raw.bytes ?? 0);
  if (raw.name !== undefined) {
    new Uint8Array(view.buffer, Event.duration).set(new TextEncoder().encode(raw.name));
  }
  view.setUint8(Event.kind, raw.kind);
  view.setUint8(Event.call, raw.call ?? 0);
  view.setUint8(Event.flags, raw.flags ?? 0);
  view.setUint8(Event.how, raw.how ?? 0);
  view.setInt32(Event.endpoint, raw.endpoint ?? NONE, true);
  view.setInt32(Event.peer, raw.peer ?? NONE, true);
  view.setInt32(Event.type, raw.type ?? 0, true);
  view.setUint32(Event.number, raw.number ?? 0, true);
  view.setInt32(Event.result, raw.result ?? 0, true);
  view.setUint32(Event.node, raw.node ?? 0, true);
  view.setUint32(Event.check, traceCheck(new Uint32Array(view.buffer), 0), true);
  return new Uint8Array(view.buffer);
}

/** Rings as a segment has them: heads, then events. */
export class TraceFile {
  readonly bytes: Uint8Array;
  readonly rings: number;
  readonly #heads: DataView;

  constructor(rings: number) {
    this.rings = rings;
    this.bytes = new Uint8Array(rings * (Ring.BYTES + Limit.TRACE_EVENTS * Event.BYTES));
    this.#heads = new DataView(this.bytes.buffer);
  }

  get #eventsAt(): number {
    return this.rings * Ring.BYTES;
  }

  /** A reader of node `node`, which sees what is written from now on. */
  reader(node = 0): TraceRings {
    return new TraceRings(
      { node: node as NodeId, rings: this.rings, ringsAt: 0, eventsAt: this.#eventsAt },
      (target, position) => {
        target.set(this.bytes.subarray(position, position + target.byteLength));
      },
    );
  }

  written(ring: number): number {
    const at = ring * Ring.BYTES + Ring.written;
    return this.#heads.getUint32(at, true) + this.#heads.getUint32(at + 4, true) * 2 ** 32;
  }

  setWritten(ring: number, count: number): void {
    putU64(this.#heads, ring * Ring.BYTES + Ring.written, count);
  }

  setSessions(ring: number, session: number, refused: number): void {
    this.#heads.setUint32(ring * Ring.BYTES + Ring.session, session, true);
    this.#heads.setUint32(ring * Ring.BYTES + Ring.refused, refused, true);
  }

  /** Puts bytes where the event number `number` belongs. */
  put(ring: number, number: number, bytes: Uint8Array): void {
    const place = ring * Limit.TRACE_EVENTS + (number % Limit.TRACE_EVENTS);
    this.bytes.set(bytes, this.#eventsAt + place * Event.BYTES);
  }

  /** Writes an event as the core does. */
  write(ring: number, raw: RawTraceEvent): void {
    const number = this.written(ring);
    this.setWritten(ring, number + 1);
    this.put(ring, number, traceBytes(raw, number));
  }
}

/** An event that only says when it was. */
export function tick(time: number): RawTraceEvent {
  return { kind: TraceKind.BIND, time };
}

/** A decoded event with these fields; what is left out does not apply. Times are in us. */
export function traceEvent(
  fields: Partial<Omit<TraceEvent, 'endpoint' | 'peer' | 'node'>> & {
    endpoint?: number;
    peer?: number;
    node?: number;
  },
): TraceEvent {
  const { endpoint = NONE, peer = NONE, node = 0, time = 0, duration, ...rest } = fields;
  return {
    slot: endpoint & 0xffff,
    kind: 'end',
    call: undefined,
    cpu: 0,
    type: 0,
    number: 0,
    result: 0,
    bytes: 0,
    message: undefined,
    copy: undefined,
    to: undefined,
    sleep: undefined,
    otherNode: undefined,
    command: undefined,
    name: undefined,
    ...rest,
    time: time * NS_PER_US,
    duration: duration === undefined ? undefined : duration * NS_PER_US,
    node: node as NodeId,
    endpoint: endpoint as Endpoint,
    peer: peer as Endpoint,
  };
}

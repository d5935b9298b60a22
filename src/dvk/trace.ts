/**
 * The trace of a DC on a node: what happened in IPC, as events without the contents of messages.
 *
 * The segment has a ring of events for each slot and one for the links (native/core/trace.h). A
 * `Trace` reads them from the segment's file and merges them by time. Nothing that it reads is
 * trusted: an event counts when it has the number that belongs in its place and the right checksum.
 */
import { closeSync, openSync, readSync } from 'node:fs';

import {
  CommandKind,
  Limit,
  TraceCall,
  TraceEventLayout as Event,
  TraceFlag,
  TraceKind,
  TraceRingLayout as Ring,
} from './abi/abi.gen.ts';
import type { Endpoint, NodeId } from './endpoint.ts';
import { check, fail } from './errors.ts';
import type { SegmentInfo } from './info.ts';
import { native, type Binding } from './native.ts';
import type { MessageKind } from './process.ts';

/**
 * What an event says: a call begins or ends; its caller sleeps, is awake, was woken by another; a
 * relayed `sendrec` goes on with the next server; a message of `senda` is done; a process is bound,
 * unbound, reaped; a proxy takes a command for another node, or brings one; a link is up or down.
 */
export type TraceKindName =
  | ('begin' | 'end' | 'sleep' | 'awake' | 'wake' | 'follow' | 'async-done')
  | ('bind' | 'unbind' | 'reap' | 'link-out' | 'link-in' | 'link-up' | 'link-down');

export type TraceCallName =
  | ('send' | 'receive' | 'sendrec' | 'rcvrqst' | 'reply' | 'relay' | 'notify' | 'senda')
  | ('vcopy' | 'waitBind' | 'waitUnbind' | 'wakeup');

/** One event. What does not apply to its kind is undefined, or 0. */
export interface TraceEvent {
  /** On which node it happened. */
  node: NodeId;
  /** The slot of whose ring it is; undefined for the links. */
  slot: number | undefined;
  kind: TraceKindName;
  call: TraceCallName | undefined;
  /** When it happened, in ns of CLOCK_MONOTONIC. */
  time: number;
  /** Of a call or a sleep that ended, in ns; undefined when its begin was not seen. */
  duration: number | undefined;
  /** Where it happened; -1 unknown. */
  cpu: number;
  /** Whose event it is; NONE for what the administration does. On a link the command's source. */
  endpoint: Endpoint;
  /** Destination or source, as far as it is known: ANY, NONE; a relayed call's next server. */
  peer: Endpoint;
  /** Of the message. */
  type: number;
  /** The same at both ends of a message, and on the links between; 0 for none. */
  number: number;
  /** 0 or more, or -errno. */
  result: number;
  /** Of a copy, or of the data that a command carries. */
  bytes: number;
  /** How a message that was received came. */
  message: MessageKind | undefined;
  /** Which way a copy goes, as seen from who asked for it; `others`: from `peer` to `to`. */
  copy: 'from' | 'to' | 'others' | undefined;
  /** The destination of a copy between others. */
  to: Endpoint | undefined;
  /** How the process sleeps: in a call, or in its event loop. */
  sleep: 'futex' | 'fifo' | undefined;
  /** The other node of a link, or the node of a process that is bound. */
  otherNode: NodeId | undefined;
  /** On a link: SEND_MSG and so on, with `_ACK` for an acknowledgement. */
  command: string | undefined;
  /** Of a process that is bound, unbound or reaped. */
  name: string | undefined;
}

function numbersOf<Name extends string>(
  numbers: Readonly<Record<string, number>>,
  convert: (name: string) => string,
): ReadonlyMap<number, Name> {
  return new Map(
    Object.entries(numbers).map(([name, number]) => [number, convert(name) as Name] as const),
  );
}

const KINDS = numbersOf<TraceKindName>(TraceKind, (name) =>
  name.toLowerCase().replaceAll('_', '-'),
);
const { NONE: _none, ...CALL_NUMBERS } = TraceCall;
const CALLS = numbersOf<TraceCallName>(CALL_NUMBERS, (name) =>
  name.toLowerCase().replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
);
const COMMANDS = numbersOf<string>(CommandKind, (name) => name);
const MESSAGES: readonly MessageKind[] = ['send', 'call', 'notify', 'async'];
const COPIES = [undefined, 'from', 'to', 'others'] as const;
const SLEEPS = [undefined, 'futex', 'fifo'] as const;
const BINDINGS: ReadonlySet<TraceKindName> = new Set(['bind', 'unbind', 'reap']);
const ENDS: ReadonlySet<TraceKindName> = new Set(['end', 'awake']);
const LINKS: ReadonlySet<TraceKindName> = new Set(['link-out', 'link-in', 'link-up', 'link-down']);
const NAME_BYTES = Limit.NAME_BYTES;

/** Names of all kinds and calls. */
export const TRACE_KINDS: readonly TraceKindName[] = [...KINDS.values()];
export const TRACE_CALLS: readonly TraceCallName[] = [...CALLS.values()];

const WORDS = Event.BYTES / 4;
const CHECK_SEED = 0x9e3779b1;
const CHECK_FACTORS = Array.from({ length: WORDS }, (_, i) =>
  i === Event.check / 4 ? 0 : Math.imul(CHECK_SEED, i + 1) | 1,
);

/** The checksum of the event that begins at `at`: over all its words but that of the checksum. */
export function traceCheck(words: Uint32Array, at: number): number {
  let sum = CHECK_SEED;
  for (let i = 0; i < WORDS; i++) {
    sum = (sum + Math.imul(words[at + i] ?? 0, CHECK_FACTORS[i] ?? 0)) | 0;
  }
  return sum >>> 0;
}

/** Fields of the event that begins at the word `at`; offsets are those of the layout, in bytes. */
class Fields {
  readonly words: Uint32Array;
  at = 0;

  constructor(words: Uint32Array) {
    this.words = words;
  }

  u32(offset: number): number {
    return this.words[this.at + (offset >> 2)] ?? 0;
  }
  i32(offset: number): number {
    return this.u32(offset) | 0;
  }
  u8(offset: number): number {
    return (this.u32(offset) >>> (8 * (offset & 3))) & 0xff;
  }
  u64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * 2 ** 32;
  }
  /** Whether it is the event number `number` (from 0 on) of its ring, and whole. */
  isWhole(number: number): boolean {
    return (
      this.u32(Event.sequence) === (number + 1) % 2 ** 32 &&
      this.u32(Event.check) === traceCheck(this.words, this.at)
    );
  }
  text(offset: number): string {
    const first = (this.at << 2) + offset;
    const bytes = new Uint8Array(this.words.buffer, this.words.byteOffset + first, NAME_BYTES);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  }
}

function commandName(kind: number): string {
  const name = COMMANDS.get(kind & ~CommandKind.ACK) ?? `COMMAND_${String(kind)}`;
  return (kind & CommandKind.ACK) === 0 ? name : `${name}_ACK`;
}

/**
 * The event number `number` (from 0 on) of a ring, from the 16 words at `at`; undefined when they
 * are another one, or none, or of a kind that is not known.
 */
export function decodeTraceEvent(
  words: Uint32Array,
  at: number,
  place: { node: NodeId; slot: number | undefined; number: number },
): TraceEvent | undefined {
  const fields = new Fields(words);
  fields.at = at;
  const kind = KINDS.get(fields.u8(Event.kind));
  return kind !== undefined && fields.isWhole(place.number)
    ? eventOf(fields, kind, place)
    : undefined;
}

function eventOf(
  fields: Fields,
  kind: TraceKindName,
  { node, slot }: { node: NodeId; slot: number | undefined },
): TraceEvent {
  const how = fields.u8(Event.how);
  const call = CALLS.get(fields.u8(Event.call));
  const type = fields.i32(Event.type);
  const result = fields.i32(Event.result);
  const binding = BINDINGS.has(kind);
  const link = LINKS.has(kind);
  const timed = ENDS.has(kind) && (fields.u8(Event.flags) & TraceFlag.NO_BEGIN) === 0;
  const copy = call === 'vcopy' ? COPIES[how] : undefined;
  const received = kind === 'end' && (call === 'receive' || call === 'rcvrqst') && result === 0;
  return {
    node,
    slot,
    kind,
    call,
    time: fields.u64(Event.time),
    duration: timed ? fields.u64(Event.duration) : undefined,
    cpu: fields.i32(Event.cpu),
    endpoint: fields.i32(Event.endpoint) as Endpoint,
    peer: fields.i32(Event.peer) as Endpoint,
    type: copy === 'others' || link ? 0 : type,
    number: fields.u32(Event.number),
    result,
    bytes: binding ? 0 : fields.u64(Event.bytes),
    message: received ? MESSAGES[how] : undefined,
    copy,
    to: copy === 'others' ? (type as Endpoint) : undefined,
    sleep: kind === 'sleep' || kind === 'wake' ? SLEEPS[how] : undefined,
    otherNode: binding || link ? (fields.u32(Event.node) as NodeId) : undefined,
    command: kind === 'link-out' || kind === 'link-in' ? commandName(type) : undefined,
    name: binding ? fields.text(Event.duration) : undefined,
  };
}

/** What came since the last look. */
export interface TraceBatch {
  /** By rising time. */
  events: TraceEvent[];
  /** Events that were overwritten before they were read. */
  lost: number;
  /** Events that were never finished: their writer died, or two wrote in one place. */
  torn: number;
  /** Slots whose ring got no memory. */
  refused: number;
}

/** Where the rings are in the file. */
export interface TracePlaces {
  node: NodeId;
  /** One for each slot, and one for the links. */
  rings: number;
  ringsAt: number;
  eventsAt: number;
}

/** Reads whole ranges of the segment's file. */
export type ReadAt = (target: Uint8Array, position: number) => void;

const NO_EVENT = -1;

/** The rings of a segment, read from their ends at the first look on. */
export class TraceRings {
  readonly #places: TracePlaces;
  readonly #read: ReadAt;
  readonly #heads: Fields;
  readonly #events: Fields;
  /** The next event of each ring. */
  readonly #next: Float64Array;
  /** An event that was not whole at the last look, for each ring. */
  readonly #waiting: Float64Array;
  #lost = 0;
  #torn = 0;

  constructor(places: TracePlaces, read: ReadAt) {
    this.#places = places;
    this.#read = read;
    this.#heads = new Fields(new Uint32Array((places.rings * Ring.BYTES) / 4));
    this.#events = new Fields(new Uint32Array(Limit.TRACE_EVENTS * WORDS));
    this.#next = new Float64Array(places.rings);
    this.#waiting = new Float64Array(places.rings).fill(NO_EVENT);
    this.#readHeads();
    for (let ring = 0; ring < places.rings; ring++) this.#next[ring] = this.#written(ring);
  }

  /** What came since the last look, by rising time. */
  look(): TraceBatch {
    this.#lost = 0;
    this.#torn = 0;
    this.#readHeads();
    const events: TraceEvent[] = [];
    for (let ring = 0; ring < this.#places.rings; ring++) this.#lookAt(ring, events);
    events.sort((a, b) => a.time - b.time);
    return { events, lost: this.#lost, torn: this.#torn, refused: this.#refused() };
  }

  #readHeads(): void {
    this.#read(new Uint8Array(this.#heads.words.buffer), this.#places.ringsAt);
  }

  #headOf(ring: number): Fields {
    this.#heads.at = (ring * Ring.BYTES) / 4;
    return this.#heads;
  }

  #written(ring: number): number {
    const written = this.#headOf(ring).u64(Ring.written);
    return written <= Number.MAX_SAFE_INTEGER ? written : 0;
  }

  #refused(): number {
    let refused = 0;
    let newest = 1;
    for (let ring = 0; ring < this.#places.rings; ring++) {
      newest = Math.max(newest, this.#headOf(ring).u32(Ring.session));
    }
    for (let ring = 0; ring < this.#places.rings; ring++) {
      if (this.#headOf(ring).u32(Ring.refused) >= newest) refused++;
    }
    return refused;
  }

  #lookAt(ring: number, events: TraceEvent[]): void {
    const written = this.#written(ring);
    let next = this.#next[ring] ?? 0;
    // A ring never goes back; what was scribbled on is taken up where it is now.
    if (written < next) next = written;
    const lost = written - next - Limit.TRACE_EVENTS;
    if (lost > 0) {
      this.#lost += lost;
      next += lost;
    }
    if (next < written) {
      this.#fetch(ring, next, written);
      next = this.#take(ring, next, written, events);
    }
    this.#next[ring] = next;
  }

  /** Brings the events from `first` to `end` (at most a whole ring) to the start of the buffer. */
  #fetch(ring: number, first: number, end: number): void {
    const base = this.#places.eventsAt + ring * Limit.TRACE_EVENTS * Event.BYTES;
    const from = first % Limit.TRACE_EVENTS;
    const count = end - first;
    const before = Math.min(count, Limit.TRACE_EVENTS - from);
    const part = (start: number, length: number): Uint8Array =>
      new Uint8Array(this.#events.words.buffer, start * Event.BYTES, length * Event.BYTES);
    this.#read(part(0, before), base + from * Event.BYTES);
    if (before < count) this.#read(part(before, count - before), base);
  }

  #take(ring: number, first: number, end: number, events: TraceEvent[]): number {
    const { node, rings } = this.#places;
    const place = { node, slot: ring === rings - 1 ? undefined : ring };
    const fields = this.#events;
    for (let number = first; number < end; number++) {
      fields.at = (number - first) * WORDS;
      const kind = KINDS.get(fields.u8(Event.kind));
      if (kind !== undefined && fields.isWhole(number)) {
        events.push(eventOf(fields, kind, place));
      } else if (isOverwritten(fields, number)) {
        this.#lost++;
      } else if (this.#waiting[ring] === number) {
        this.#torn++;
      } else {
        // Its writer may be about to finish it: the next look will tell.
        this.#waiting[ring] = number;
        return number;
      }
    }
    return end;
  }
}

/** Whether a later event is in the place of that number. */
function isOverwritten(fields: Fields, number: number): boolean {
  const ahead = (fields.u32(Event.sequence) - number - 1) >>> 0;
  return ahead > 0 && ahead < 2 ** 31 && ahead % Limit.TRACE_EVENTS === 0;
}

// Events of several rings are put in order when no writer can come with an older one any more. One
// that lost its CPU between taking the time and writing may be later than that.
const HOLD_NS = 5e6;

/** The time of events: ns of CLOCK_MONOTONIC. */
export function traceTime(): number {
  return Number(process.hrtime.bigint());
}

/** A watch over a segment; made by `Segment.trace`. */
export class Trace {
  readonly node: NodeId;
  readonly #native: Binding = native();
  readonly #segment: number;
  readonly #rings: TraceRings;
  readonly #fd: number;
  #watcher: number;
  #held: TraceEvent[] = [];

  /** For `Segment.trace` alone. */
  constructor(segment: number, { path, nodeId, processes }: SegmentInfo) {
    this.#segment = segment;
    this.node = nodeId;
    const places = this.#native.tracePlaces(segment);
    if (typeof places === 'number') fail(places, 'trace');
    const [ringsAt, eventsAt] = places;
    const fd = openSync(path, 'r');
    this.#fd = fd;
    const read: ReadAt = (target, position) => {
      const bytes = readSync(fd, target, 0, target.byteLength, position);
      // A member cut the file short; there is nothing to see any more.
      target.fill(0, bytes);
    };
    try {
      this.#rings = new TraceRings({ node: nodeId, rings: processes + 1, ringsAt, eventsAt }, read);
      this.#watcher = check(this.#native.traceStart(segment), 'trace');
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /**
   * The events up to `until` (in ns; a moment ago when left out) that were not told before, by
   * rising time, and whether some are missing since this was not called in time. To be called more
   * often than every TRACE_LEASE_MS.
   */
  poll(until: number = traceTime() - HOLD_NS): TraceBatch & { interrupted: boolean } {
    const renewed = check(this.#native.traceRenew(this.#segment, this.#watcher), 'trace');
    const { events, ...counts } = this.#rings.look();
    const known = [...this.#held, ...events].sort((a, b) => a.time - b.time);
    const later = known.findIndex(({ time }) => time > until);
    const told = later < 0 ? known.length : later;
    this.#held = known.slice(told);
    return { events: known.slice(0, told), ...counts, interrupted: renewed === 1 };
  }

  /** Ends the watch; the last one makes calls as fast as before. Returns what was not told yet. */
  stop(): TraceBatch {
    if (this.#watcher < 0) return { events: [], lost: 0, torn: 0, refused: 0 };
    // What is told after the stop would be gone with the memory of the rings.
    const { interrupted: _, ...batch } = this.poll(Infinity);
    const result = this.#native.traceStop(this.#segment, this.#watcher);
    this.#watcher = -1;
    closeSync(this.#fd);
    check(result, 'trace');
    return batch;
  }
}

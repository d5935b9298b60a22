/**
 * A trace as JSON that Perfetto (ui.perfetto.dev) and chrome://tracing open: Chrome's "Trace Event
 * Format", JSON object form.
 *
 * A node is shown as a process, and each process of the DC as a thread of it: one track. Calls,
 * copies and sleeps are complete slices ("X"), notifications and what is no call are instants
 * ("i"), and arrows ("s" to "f") lead from each send to its receive and from each reply to the end
 * of its `sendrec`. Times are in microseconds.
 */
import { formatEndpoint } from '../dvk/endpoint.ts';
import { errorName, NONE, type Endpoint, type TraceEvent } from '../dvk/index.ts';
import type { TraceNames } from './trace-names.ts';

/** An event of the format. */
export interface ChromeEvent {
  readonly name: string;
  /** X complete, i instant, s and f start and end of an arrow, M metadata. */
  readonly ph: 'X' | 'i' | 's' | 'f' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly cat?: string;
  /** Of an arrow. */
  readonly id?: number;
  /** The end of an arrow is bound to the slice around it. */
  readonly bp?: 'e';
  /** An instant is that of a thread. */
  readonly s?: 't';
  readonly args?: Readonly<Record<string, unknown>>;
}

interface Track {
  readonly pid: number;
  readonly tid: number;
}

/** One end of an arrow. */
interface ArrowEnd extends Track {
  readonly time: number;
}

const NS_PER_US = 1000;
// An arrow that ends with its slice would be bound to nothing.
const INSIDE_NS = 1;
// Ends of arrows whose other end was lost or left out are given up, the oldest first.
const OPEN_ARROWS_MAX = 100_000;
const OPEN_CALLS_MAX = 100_000;

const micros = (ns: number): number => ns / NS_PER_US;
// Nothing began before the clock, whatever a ring says.
const durationOf = ({ time, duration = 0 }: TraceEvent): number => Math.min(time, duration);

function argsOf(event: TraceEvent, names: TraceNames): Record<string, unknown> {
  const { peer, type, number, result, bytes, message, copy, to, command } = event;
  const args: Record<string, unknown> = { cpu: event.cpu };
  if (peer !== NONE) args['peer'] = names.label(peer);
  if (to !== undefined) args['to'] = names.label(to);
  if (type !== 0) args['type'] = type;
  if (number !== 0) args['number'] = number;
  if (message !== undefined) args['message'] = message;
  if (command !== undefined) args['command'] = command;
  if (copy !== undefined) args['copy'] = copy;
  if (bytes !== 0) args['bytes'] = bytes;
  if (result < 0) args['error'] = errorName(result);
  return args;
}

export class ChromeExport {
  readonly #names: TraceNames;
  readonly #tracks = new Map<string, Track>();
  readonly #nodes = new Set<number>();
  readonly #open = new Map<string, { end: ArrowEnd; starts: boolean }>();
  /** Calls that have begun, by node and endpoint. */
  readonly #calls = new Map<string, TraceEvent>();
  #out: ChromeEvent[] = [];
  #arrows = 0;

  constructor(names: TraceNames) {
    this.#names = names;
  }

  /** What an event, later than those before it, adds. */
  add(event: TraceEvent): ChromeEvent[] {
    this.#out = [];
    const track = this.#trackOf(event);
    switch (event.kind) {
      case 'begin':
        this.#begin(event, track);
        break;
      case 'follow':
        this.#instant(event, track);
        this.#arrow(requestKey(event.endpoint, event), { ...track, time: event.time }, true);
        break;
      case 'end':
        this.#end(event, track);
        break;
      case 'awake':
        this.#slice(event, track, 'sleep');
        break;
      case 'sleep':
        break;
      default:
        this.#instant(event, track);
    }
    return this.#out;
  }

  /** The calls that have not ended at `time`. */
  finish(time: number): ChromeEvent[] {
    this.#out = [];
    for (const event of this.#calls.values()) {
      const duration = Math.max(0, time - event.time);
      const cut: TraceEvent = { ...event, time: event.time + duration, duration };
      this.#slice(cut, this.#trackOf(event), event.call ?? 'call', { unfinished: true });
    }
    this.#calls.clear();
    return this.#out;
  }

  #begin(event: TraceEvent, track: Track): void {
    if (event.call !== 'vcopy') {
      this.#calls.set(callKey(event), event);
      if (this.#calls.size > OPEN_CALLS_MAX) forgetOldest(this.#calls);
    }
    if (event.call === 'send' || event.call === 'sendrec') {
      this.#arrow(requestKey(event.endpoint, event), { ...track, time: event.time }, true);
    }
  }

  #end(event: TraceEvent, track: Track): void {
    const { call, endpoint, peer, time, message } = event;
    const waited = this.#calls.get(callKey(event));
    if (waited?.call === call) this.#calls.delete(callKey(event));
    if (call === 'notify' || call === 'wakeup') {
      this.#instant(event, track);
      return;
    }
    this.#slice(event, track, call ?? 'call');
    const begun = { ...track, time: time - durationOf(event) };
    const end = { ...track, time: Math.max(begun.time, time - INSIDE_NS) };
    if (event.result < 0 || event.number === 0) return;
    if (call === 'reply') this.#arrow(replyKey(peer, event), begun, true);
    if (call === 'sendrec') this.#arrow(replyKey(endpoint, event), end, false);
    if (call === 'senda') this.#arrow(asyncKey(endpoint, event), begun, true);
    if (call !== 'receive' && call !== 'rcvrqst') return;
    if (message === 'async') this.#arrow(asyncKey(peer, event), end, false);
    else if (message !== 'notify') this.#arrow(requestKey(peer, event), end, false);
  }

  #slice(event: TraceEvent, track: Track, name: string, more: object = {}): void {
    const { time, result } = event;
    const duration = durationOf(event);
    this.#out.push({
      name: event.kind === 'awake' || event.peer === NONE ? name : this.#titled(name, event),
      cat: result < 0 ? `${name},error` : name,
      ph: 'X',
      ts: micros(time - duration),
      dur: micros(duration),
      pid: track.pid,
      tid: track.tid,
      args: { ...argsOf(event, this.#names), ...more },
    });
  }

  #titled(name: string, { peer }: TraceEvent): string {
    return `${name} ${this.#names.find(peer)?.name ?? formatEndpoint(peer)}`;
  }

  #instant(event: TraceEvent, track: Track): void {
    const name = event.kind === 'end' ? (event.call ?? 'call') : event.kind;
    this.#out.push({
      name: event.peer === NONE ? name : this.#titled(name, event),
      cat: name,
      ph: 'i',
      s: 't',
      ts: micros(event.time),
      pid: track.pid,
      tid: track.tid,
      args: argsOf(event, this.#names),
    });
  }

  /** Draws an arrow when its other end is known. */
  #arrow(key: string, end: ArrowEnd, starts: boolean): void {
    const other = this.#open.get(key);
    if (other === undefined || other.starts === starts) {
      this.#open.delete(key);
      this.#open.set(key, { end, starts });
      if (this.#open.size > OPEN_ARROWS_MAX) forgetOldest(this.#open);
      return;
    }
    this.#open.delete(key);
    const [from, to] = starts ? [end, other.end] : [other.end, end];
    const common = { name: 'message', cat: 'message', id: ++this.#arrows };
    const place = ({ pid, tid, time }: ArrowEnd): Track & { ts: number } => ({
      pid,
      tid,
      ts: micros(time),
    });
    this.#out.push({ ...common, ph: 's', ...place(from) });
    this.#out.push({ ...common, ph: 'f', bp: 'e', ...place(to) });
  }

  #trackOf({ node, slot, endpoint, kind }: TraceEvent): Track {
    const link = kind.startsWith('link-') || slot === undefined;
    const key = `${String(node)} ${link ? 'links' : String(endpoint)}`;
    const known = this.#tracks.get(key);
    if (known !== undefined) return known;
    // Numbers of threads must differ between nodes, and 0 is special to Perfetto.
    const track = { pid: node + 1, tid: this.#tracks.size + 1 };
    this.#tracks.set(key, track);
    if (!this.#nodes.has(node)) {
      this.#nodes.add(node);
      this.#metadata(track, 'process_name', { name: `node ${String(node)}` });
      this.#metadata(track, 'process_sort_index', { sort_index: node });
    }
    this.#metadata(track, 'thread_name', { name: link ? 'links' : this.#names.label(endpoint) });
    this.#metadata(track, 'thread_sort_index', { sort_index: link ? -1 : slot });
    return track;
  }

  #metadata(track: Track, name: string, args: Record<string, unknown>): void {
    this.#out.push({ name, ph: 'M', pid: track.pid, tid: track.tid, args });
  }
}

function forgetOldest(map: Map<string, unknown>): void {
  for (const key of map.keys()) {
    map.delete(key);
    return;
  }
}

const callKey = ({ node, endpoint }: TraceEvent): string => `${String(node)} ${String(endpoint)}`;

// A message is named by its sender and the sender's number.
function requestKey(sender: Endpoint, { number }: TraceEvent): string {
  return `request ${String(sender)} ${String(number)}`;
}
function replyKey(client: Endpoint, { number }: TraceEvent): string {
  return `reply ${String(client)} ${String(number)}`;
}
function asyncKey(sender: Endpoint, { number }: TraceEvent): string {
  return `async ${String(sender)} ${String(number)}`;
}

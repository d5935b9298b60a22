/** Events of a trace as lines of text, and as objects for JSON. */
import { formatEndpoint } from '../dvk/endpoint.ts';
import { errorName, NONE, type Endpoint, type TraceEvent } from '../dvk/index.ts';
import type { TraceNames } from './trace-names.ts';

const WIDTHS = { name: 22, what: 13, peer: 25, detail: 26, result: 13 } as const;
const NS_PER_MS = 1e6;
const RECEIVING: ReadonlySet<string | undefined> = new Set(['receive', 'rcvrqst']);

/** `850 ns`, `41.2 us`, `3.07 ms`, `1.50 s`. */
export function formatDuration(ns: number): string {
  if (ns < 1000) return `${String(Math.round(ns))} ns`;
  const [value, unit] = ns < 1e6 ? [ns / 1e3, 'us'] : ns < 1e9 ? [ns / 1e6, 'ms'] : [ns / 1e9, 's'];
  return `${value.toPrecision(3).includes('e') ? value.toFixed(0) : value.toPrecision(3)} ${unit}`;
}

/** Shows times of events, which count from the start of the machine, by the wall clock. */
export class WallClock {
  readonly #offsetMs: number;
  /** The second that was shown last, since most events are in the same as the one before. */
  #second = NaN;
  #clock = '';

  /** `wallMs` and `time` (of events, in ns) are of one moment. */
  constructor(wallMs: number, time: number) {
    this.#offsetMs = wallMs - time / NS_PER_MS;
  }

  /** `12:03:04.123456`, in the local time zone. */
  timeOfDay(time: number): string {
    const ms = this.#offsetMs + time / NS_PER_MS;
    const second = Math.floor(ms / 1000);
    if (second !== this.#second) {
      const date = new Date(second * 1000);
      const two = (value: number): string => String(value).padStart(2, '0');
      this.#clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
      this.#second = second;
    }
    const micros = Math.floor((ms - second * 1000) * 1000);
    return `${this.#clock}.${String(micros).padStart(6, '0')}`;
  }

  iso(time: number): string {
    return new Date(this.#offsetMs + time / NS_PER_MS).toISOString();
  }
}

function whatOf({ kind, call, sleep }: TraceEvent): string {
  switch (kind) {
    case 'end':
      return call ?? kind;
    case 'begin':
      return `${call ?? ''} ...`;
    case 'sleep':
    case 'wake':
      return sleep === undefined ? kind : `${kind} ${sleep}`;
    default:
      return kind;
  }
}

function peerOf(event: TraceEvent, names: TraceNames): string {
  const { kind, call, peer, to, copy } = event;
  if (kind === 'link-up' || kind === 'link-down') return `node ${String(event.otherNode)}`;
  if (peer === NONE) return '';
  if (copy === 'others' && to !== undefined) {
    return `${formatEndpoint(peer)} -> ${formatEndpoint(to)}`;
  }
  const from = RECEIVING.has(call) || copy === 'from';
  return `${from ? '<-' : '->'} ${names.label(peer)}`;
}

function detailOf(event: TraceEvent): string {
  const { number, bytes, message, command, otherNode, kind } = event;
  const parts = [
    ...(message === undefined || message === 'send' ? [] : [message]),
    ...(command === undefined ? [] : [`${command} node ${String(otherNode)}`]),
    ...(kind === 'bind' ? [`node ${String(otherNode)} pid ${String(event.result)}`] : []),
    ...(event.type === 0 ? [] : [`type ${String(event.type)}`]),
    ...(number === 0 ? [] : [`#${String(number)}`]),
    ...(bytes === 0 ? [] : [`${String(bytes)} bytes`]),
  ];
  return parts.join(' ');
}

function resultOf({ kind, result, call }: TraceEvent): string {
  if (kind === 'bind' || kind === 'begin' || kind === 'sleep' || kind === 'awake') return '';
  if (result < 0) return errorName(result);
  return kind === 'end' && call !== 'senda' ? 'ok' : '';
}

/** One aligned line; `process` comes first, then what it did, with whom, and how it ended. */
export function traceLine(event: TraceEvent, names: TraceNames, clock: WallClock): string {
  const who = event.endpoint === NONE ? '' : names.label(event.endpoint);
  return [
    clock.timeOfDay(event.time),
    String(event.node).padStart(2),
    (who === '' && event.name !== undefined ? event.name : who).padEnd(WIDTHS.name),
    whatOf(event).padEnd(WIDTHS.what),
    peerOf(event, names).padEnd(WIDTHS.peer),
    detailOf(event).padEnd(WIDTHS.detail),
    resultOf(event).padEnd(WIDTHS.result),
    (event.duration === undefined ? '' : formatDuration(event.duration)).padStart(8),
  ]
    .join('  ')
    .trimEnd();
}

/** The heading of those lines. */
export function traceHeading(): string {
  return [
    'TIME'.padEnd(15),
    'ND',
    'PROCESS'.padEnd(WIDTHS.name),
    'EVENT'.padEnd(WIDTHS.what),
    'PEER'.padEnd(WIDTHS.peer),
    'DETAIL'.padEnd(WIDTHS.detail),
    'RESULT'.padEnd(WIDTHS.result),
    'DURATION',
  ].join('  ');
}

function partyObject(endpoint: Endpoint, names: TraceNames): object | null {
  if (endpoint === NONE) return null;
  const found = names.find(endpoint);
  return {
    endpoint,
    address: formatEndpoint(endpoint),
    ...(found && { name: found.name, node: found.node }),
  };
}

/** What `--json` writes of an event, one object a line. What does not apply is left out. */
export function traceObject(event: TraceEvent, names: TraceNames, clock: WallClock): object {
  const { time, duration, endpoint, peer, to, result, name, ...rest } = event;
  return {
    at: clock.iso(time),
    timeNs: time,
    ...rest,
    process: partyObject(endpoint, names),
    peer: partyObject(peer, names),
    ...(to !== undefined && { to: partyObject(to, names) }),
    ...(duration !== undefined && { durationNs: duration }),
    ...(name !== undefined && { name }),
    result,
    ...(result < 0 && { error: errorName(result) }),
  };
}

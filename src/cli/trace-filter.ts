/** Which events of a trace somebody wants to see. */
import { formatEndpoint, slotOf } from '../dvk/endpoint.ts';
import {
  TRACE_KINDS,
  type Endpoint,
  type TraceCallName,
  type TraceEvent,
  type TraceKindName,
} from '../dvk/index.ts';
import type { TraceNames } from './trace-names.ts';

/** Kinds of events that are shown or left out together. */
export const TRACE_GROUPS = {
  calls: ['end', 'follow', 'async-done'],
  begins: ['begin'],
  waits: ['sleep', 'awake', 'wake'],
  bindings: ['bind', 'unbind', 'reap'],
  links: ['link-out', 'link-in', 'link-up', 'link-down'],
  all: TRACE_KINDS,
} as const satisfies Record<string, readonly TraceKindName[]>;
export type TraceGroup = keyof typeof TRACE_GROUPS;

/** What is left out of it lets everything pass. */
export interface TraceWish {
  readonly groups: readonly TraceGroup[];
  /** Names, slots, endpoints or addresses as `70.3`: whose event it is. */
  readonly processes?: readonly string[];
  /** The same of the other party. */
  readonly peers?: readonly string[];
  readonly calls?: readonly TraceCallName[];
  readonly errorsOnly?: boolean;
  /** Only calls and sleeps that took at least so long, in ns. */
  readonly slowerNs?: number;
}

function isOne(wanted: readonly string[], endpoint: Endpoint, names: TraceNames): boolean {
  return wanted.some(
    (text) =>
      text === formatEndpoint(endpoint) ||
      text === String(endpoint) ||
      (/^\d+$/.test(text) && endpoint >= 0 && Number(text) === slotOf(endpoint)) ||
      text === names.find(endpoint)?.name,
  );
}

/** A predicate for events; `names` are asked while it is used. */
export function traceFilter(wish: TraceWish, names: TraceNames): (event: TraceEvent) => boolean {
  const { processes, peers, calls, errorsOnly = false, slowerNs = 0 } = wish;
  const kinds = new Set<TraceKindName>(wish.groups.flatMap((group) => [...TRACE_GROUPS[group]]));
  return (event) =>
    kinds.has(event.kind) &&
    (!errorsOnly || event.result < 0) &&
    (slowerNs === 0 || (event.duration ?? 0) >= slowerNs) &&
    (calls === undefined || (event.call !== undefined && calls.includes(event.call))) &&
    (processes === undefined || isOne(processes, event.endpoint, names)) &&
    (peers === undefined || isOne(peers, event.peer, names));
}

const UNITS: Readonly<Record<string, number>> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9 };

/** `100us`, `2.5ms`, `1s` or `50ns` in ns; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?) ?(ns|us|ms|s)$/.exec(text) ?? [];
  return number === undefined ? undefined : Number(number) * (UNITS[unit] ?? 0);
}

/**
 * What Chrome's "Trace Event Format" and Perfetto ask of a file: fields by phase, named tracks,
 * slices that nest, arrows with both ends on slices.
 */
import type { ChromeEvent } from '../../src/cli/trace-export.ts';

export interface ChromeFile {
  readonly traceEvents: readonly ChromeEvent[];
  readonly displayTimeUnit: string;
  readonly otherData: { readonly lost: number; readonly torn: number };
}

interface Slice {
  readonly from: number;
  readonly to: number;
}

// Times are in us with parts of a ns in their last digits.
const EPSILON_US = 1e-4;
const FIELDS: Readonly<Record<ChromeEvent['ph'], readonly (keyof ChromeEvent)[]>> = {
  X: ['ts', 'dur'],
  i: ['ts', 's'],
  s: ['ts', 'id', 'cat'],
  f: ['ts', 'id', 'cat', 'bp'],
  M: ['args'],
};
const TEXTS: ReadonlySet<string> = new Set(['name', 'cat', 's', 'bp']);

function wrongFields(event: ChromeEvent): string[] {
  const needed = FIELDS[event.ph] as readonly (keyof ChromeEvent)[] | undefined;
  if (needed === undefined) return [`a phase ${JSON.stringify(event.ph)}`];
  return (['name', 'pid', 'tid', ...needed] as const).flatMap((field) => {
    const value = event[field];
    const kind = field === 'args' ? 'object' : TEXTS.has(field) ? 'string' : 'number';
    const fits = typeof value === kind;
    const sane = typeof value !== 'number' || (Number.isFinite(value) && value >= 0);
    return fits && sane ? [] : [`${event.ph} ${event.name} without a good ${field}`];
  });
}

const trackOf = ({ pid, tid }: ChromeEvent): string => `${pid}/${tid}`;

function slicesOf(events: readonly ChromeEvent[]): Map<string, Slice[]> {
  const tracks = new Map<string, Slice[]>();
  for (const event of events) {
    if (event.ph !== 'X') continue;
    const slices = tracks.get(trackOf(event)) ?? [];
    tracks.set(trackOf(event), slices);
    slices.push({ from: event.ts ?? 0, to: (event.ts ?? 0) + (event.dur ?? 0) });
  }
  for (const slices of tracks.values()) slices.sort((a, b) => a.from - b.from || b.to - a.to);
  return tracks;
}

function badNesting(track: string, slices: readonly Slice[]): string[] {
  const around: Slice[] = [];
  return slices.flatMap((slice) => {
    while (around.length > 0 && around.at(-1)!.to <= slice.from + EPSILON_US) around.pop();
    const outer = around.at(-1);
    around.push(slice);
    return outer === undefined || slice.to <= outer.to + EPSILON_US
      ? []
      : [`slices of ${track} overlap at ${slice.from}`];
  });
}

function badArrows(events: readonly ChromeEvent[], slices: Map<string, Slice[]>): string[] {
  const ends = events.filter(({ ph }) => ph === 's' || ph === 'f');
  return [...new Set(ends.map(({ id }) => id))].flatMap((id) => {
    const pair = ends.filter((end) => end.id === id);
    const from = pair.find(({ ph }) => ph === 's');
    const to = pair.find(({ ph }) => ph === 'f');
    if (pair.length !== 2 || from === undefined || to === undefined) return [`arrow ${id}: ends`];
    const loose = [from, to].filter(
      (end) =>
        !(slices.get(trackOf(end)) ?? []).some(
          (slice) => slice.from <= end.ts! + EPSILON_US && end.ts! <= slice.to + EPSILON_US,
        ),
    );
    return [
      ...loose.map(({ ph, name }) => `arrow ${id}: ${ph} of ${name} on no slice`),
      ...(from.ts! > to.ts! + EPSILON_US ? [`arrow ${id} goes back in time`] : []),
    ];
  });
}

/** What is wrong with a file's events; an arrow must be of two slices. */
export function chromeFaults(events: readonly ChromeEvent[]): string[] {
  const named = new Set(events.filter(({ name }) => name === 'thread_name').map(trackOf));
  const nodes = new Set(events.filter(({ name }) => name === 'process_name').map(({ pid }) => pid));
  const slices = slicesOf(events);
  return [
    ...events.flatMap(wrongFields),
    ...events.filter((event) => !named.has(trackOf(event))).map(({ tid }) => `${tid} has no name`),
    ...events.filter(({ pid }) => !nodes.has(pid)).map(({ pid }) => `process ${pid} has no name`),
    ...[...slices].flatMap(([track, list]) => badNesting(track, list)),
    ...badArrows(events, slices),
  ];
}

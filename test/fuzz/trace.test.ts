// The reader of traces on bytes that nobody meant: it returns, tells only events that are whole,
// and what is made of them is a sound file. Method: seeded random bytes, and rings whose heads and
// events are scribbled on.
import { describe, expect, it } from 'vitest';
import { ChromeExport } from '../../src/cli/trace-export.ts';
import { traceLine, traceObject, WallClock } from '../../src/cli/trace-lines.ts';
import { TraceNames } from '../../src/cli/trace-names.ts';
import { TraceSummary } from '../../src/cli/trace-summary.ts';
import { Limit, TraceRingLayout, type TraceEvent } from '../../src/dvk/index.ts';
import { chromeFaults } from '../support/chrome-trace.ts';
import { traceBytes, TraceFile } from '../support/trace-bytes.ts';

const SEED = Number(process.env['DVK_SEED'] ?? 20_260_131);
const RINGS = 3;
const ROUNDS = 60;

function randomOf(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** An event with any fields and the right checksum, as a hostile member may write one. */
function hostile(file: TraceFile, below: (bound: number) => number, time: number): void {
  const any = (): number => below(2 ** 32) | 0;
  file.write(below(RINGS), {
    kind: below(16),
    call: below(16),
    time,
    duration: below(4) === 0 ? below(2 ** 32) * 2 ** 20 : below(1000),
    bytes: below(2 ** 32) * below(2 ** 20),
    flags: below(256),
    how: below(256),
    endpoint: below(2) === 0 ? below(5) : any(),
    peer: below(2) === 0 ? below(5) : any(),
    type: any(),
    number: below(2) === 0 ? below(9) : any() >>> 0,
    result: below(2) === 0 ? 0 : any(),
    node: any() >>> 0,
  });
}

describe(`the trace reader, seed ${SEED}`, () => {
  it('finds no event in random bytes, and comes to an end', () => {
    const below = randomOf(SEED);
    for (let round = 0; round < 5; round++) {
      const file = new TraceFile(RINGS);
      const reader = file.reader();
      for (let at = 0; at < file.bytes.length; at++) file.bytes[at] = below(256);
      for (let ring = 0; ring < RINGS; ring++) file.setWritten(ring, below(2 ** 20));

      for (let look = 0; look < 20; look++) expect(reader.look().events).toEqual([]);
    }
  });

  it('tells whole events alone, however heads and events are scribbled on', () => {
    const below = randomOf(SEED + 1);
    for (let round = 0; round < ROUNDS; round++) {
      const file = new TraceFile(RINGS);
      const reader = file.reader();
      const written = new Set<number>();
      for (let step = 0; step < 300; step++) {
        const ring = below(RINGS);
        const number = file.written(ring);
        if (number < 2 ** 40) {
          file.put(ring, number, traceBytes({ kind: 2, call: 3, time: step }, number));
          file.setWritten(ring, number + 1);
          written.add(step);
        }
        if (below(20) === 0) file.bytes[below(file.bytes.length)]! ^= 1 << below(8);
        if (below(40) === 0) file.bytes[below(RINGS * TraceRingLayout.BYTES)] = below(256);
        if (below(30) !== 0) continue;
        const { events, lost, torn } = reader.look();
        for (const { time } of events) expect(written.has(time)).toBe(true);
        expect(lost).toBeGreaterThanOrEqual(0);
        expect(torn).toBeLessThanOrEqual(RINGS * Limit.TRACE_EVENTS);
      }
    }
  });

  it('makes lines, objects, a summary and a sound file of any events', () => {
    const below = randomOf(SEED + 2);
    const names = new TraceNames(new Map([[0, { processes: () => [] }]]));
    const clock = new WallClock(Date.UTC(2024, 0, 1), 0);
    const chrome = new ChromeExport(names);
    const summary = new TraceSummary();
    const file = new TraceFile(RINGS);
    const reader = file.reader();
    const told: TraceEvent[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      for (let i = 0; i < 50; i++) hostile(file, below, 1e6 * round + 1000 * i);
      told.push(...reader.look().events);
    }

    expect(told.length).toBeGreaterThan(1000);
    const events = told.flatMap((event) => {
      names.learn(event);
      summary.add(event);
      expect(traceLine(event, names, clock)).not.toContain('undefined');
      expect(() => JSON.stringify(traceObject(event, names, clock))).not.toThrow();
      return chrome.add(event);
    });
    expect(summary.rows().length).toBeGreaterThan(0);
    // Slices of invented calls need not nest; their fields and tracks are sound all the same.
    const faults = chromeFaults([...events, ...chrome.finish(1e12)]);
    expect(faults.filter((fault) => !/overlap|arrow/.test(fault))).toEqual([]);
  });
});

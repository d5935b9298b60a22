// What `dvk trace` makes of events: what passes a filter, lines, objects, the summary, and the file
// for Perfetto. Method: events made by hand; times are in us.
import { describe, expect, it } from 'vitest';
import { ChromeExport, type ChromeEvent } from '../../../src/cli/trace-export.ts';
import { parseDuration, traceFilter, type TraceWish } from '../../../src/cli/trace-filter.ts';
import { formatDuration, traceHeading, traceLine } from '../../../src/cli/trace-lines.ts';
import { traceObject, WallClock } from '../../../src/cli/trace-lines.ts';
import { TraceNames, type ProcessTable } from '../../../src/cli/trace-names.ts';
import { Durations, TraceSummary } from '../../../src/cli/trace-summary.ts';
import { ANY, makeEndpoint, NONE } from '../../../src/dvk/index.ts';
import type { Endpoint, NodeId, TraceEvent } from '../../../src/dvk/index.ts';
import { chromeFaults } from '../../support/chrome-trace.ts';
import { traceEvent } from '../../support/trace-bytes.ts';

const fs = makeEndpoint(3);
const client = makeEndpoint(70, 5);
const other = makeEndpoint(71);
const late = makeEndpoint(72);

type Row = ReturnType<ProcessTable['processes']>[number];
const row = (endpoint: Endpoint, name: string, node = 0): Row => ({
  ...{ endpoint, name, node: node as NodeId, life: 'local' },
});

function namesOf(rows: readonly Row[] = [row(fs, 'fs'), row(client, 'app')]): TraceNames {
  return new TraceNames(new Map([[0, { processes: () => rows }]]));
}

const clock = new WallClock(Date.UTC(2024, 0, 1), 0);

describe('TraceNames', () => {
  it('takes names from the node of the process, looks again once, and learns from binds', () => {
    const here: Row[] = [row(fs, 'rclient', 1), row(client, 'app')];
    let looks = 0;
    const counting = (rows: readonly Row[]): ProcessTable => ({
      processes: () => {
        looks++;
        return rows;
      },
    });
    const names = new TraceNames(
      new Map([
        [0, counting(here)],
        [1, counting([row(fs, 'fs', 1)])],
      ]),
    );

    expect(names.label(fs)).toBe('fs 3.0');
    expect(names.label(ANY)).toBe('ANY');
    expect(looks).toBe(2);
    here.push(row(other, 'new'));
    expect(names.label(other)).toBe('new 71.0');
    expect(names.label(late)).toBe('72.0');
    expect(names.label(late)).toBe('72.0');
    expect(looks).toBe(6);
    names.learn(traceEvent({ kind: 'bind', endpoint: late, name: 'late', otherNode: 0 as NodeId }));
    expect(names.find(late)).toEqual({ endpoint: late, name: 'late', node: 0 });
  });
});

describe('traceFilter', () => {
  const names = namesOf();
  const passes = (wish: Partial<TraceWish>, fields: Parameters<typeof traceEvent>[0]): boolean =>
    traceFilter({ groups: ['calls'], ...wish }, names)(traceEvent(fields));
  const call = { call: 'sendrec', endpoint: client, peer: fs, duration: 50 } as const;

  it('chooses by kind', () => {
    expect(passes({}, call)).toBe(true);
    expect(passes({}, { kind: 'sleep' })).toBe(false);
    expect(passes({ groups: ['waits', 'links'] }, { kind: 'sleep' })).toBe(true);
    expect(passes({ groups: ['waits'] }, call)).toBe(false);
    expect(passes({ groups: ['all'] }, { kind: 'link-down' })).toBe(true);
  });

  it.each(['app', '70', '70.5', String(client)])('finds the process %s, and as a peer', (text) => {
    expect(passes({ processes: [text] }, call)).toBe(true);
    expect(passes({ processes: ['nobody', text] }, call)).toBe(true);
    expect(passes({ processes: [text] }, { ...call, endpoint: other })).toBe(false);
    expect(passes({ peers: [text] }, call)).toBe(false);
    expect(passes({ peers: [text] }, { ...call, peer: client })).toBe(true);
  });

  it('chooses by call, error and duration', () => {
    expect(passes({ calls: ['send', 'sendrec'] }, call)).toBe(true);
    expect(passes({ calls: ['send'] }, call)).toBe(false);
    expect(passes({ calls: ['send'], groups: ['all'] }, { kind: 'bind' })).toBe(false);
    expect(passes({ errorsOnly: true }, call)).toBe(false);
    expect(passes({ errorsOnly: true }, { ...call, result: -110 })).toBe(true);
    expect(passes({ slowerNs: 50_000 }, call)).toBe(true);
    expect(passes({ slowerNs: 50_001 }, call)).toBe(false);
    expect(passes({ slowerNs: 1 }, { call: 'send' })).toBe(false);
  });

  it('reads durations', () => {
    expect(['50ns', '100us', '2.5ms', '1s', '1 s'].map(parseDuration)).toEqual([
      ...[50, 100_000, 2_500_000, 1e9, 1e9],
    ]);
    expect(['', '5', '5m', '-1s', 'us', '1e3us'].map(parseDuration)).toEqual([
      ...[undefined, undefined, undefined, undefined, undefined, undefined],
    ]);
  });
});

describe('a line of the trace', () => {
  const names = namesOf();
  const parts = (fields: Parameters<typeof traceEvent>[0]): string[] =>
    traceLine(traceEvent(fields), names, clock)
      .replace(/^\S+ +/, '')
      .split(/ {2,}/);

  it('says who did what with whom, how it ended and how long it took', () => {
    const call = { call: 'sendrec', endpoint: client, peer: fs, type: 7, number: 12 } as const;

    expect(parts({ ...call, duration: 41.2 })).toEqual([
      ...['0', 'app 70.5', 'sendrec', '-> fs 3.0', 'type 7 #12', 'ok', '41.2 us'],
    ]);
    expect(parts({ ...call, result: -202 })).toEqual([
      ...['0', 'app 70.5', 'sendrec', '-> fs 3.0', 'type 7 #12', 'EDEADSRCDST'],
    ]);
    expect(parts({ ...call, call: 'rcvrqst', message: 'call', duration: 2e6 })).toEqual([
      ...['0', 'app 70.5', 'rcvrqst', '<- fs 3.0', 'call type 7 #12', 'ok', '2.00 s'],
    ]);
  });

  it('says what the other kinds have to say', () => {
    expect(parts({ kind: 'sleep', sleep: 'fifo', endpoint: fs, peer: ANY })).toEqual([
      ...['0', 'fs 3.0', 'sleep fifo', '-> ANY'],
    ]);
    expect(parts({ kind: 'link-down', otherNode: 2 as NodeId })).toEqual([
      ...['0', 'link-down', 'node 2'],
    ]);
    const command = { command: 'SEND_MSG', otherNode: 2 as NodeId, number: 4, bytes: 9 };
    expect(parts({ kind: 'link-out', endpoint: client, peer: fs, ...command })).toEqual([
      ...['0', 'app 70.5', 'link-out', '-> fs 3.0', 'SEND_MSG node 2 #4 9 bytes'],
    ]);
    expect(
      parts({ call: 'vcopy', copy: 'others', endpoint: fs, peer: client, to: other, bytes: 5 }),
    ).toEqual(['0', 'fs 3.0', 'vcopy', '70.5 -> 71.0', '5 bytes', 'ok']);
    expect(parts({ call: 'wakeup', peer: fs })).toEqual(['0', 'wakeup', '-> fs 3.0', 'ok']);
  });

  it('is aligned with its heading', () => {
    const line = traceLine(
      traceEvent({ call: 'sendrec', endpoint: client, peer: fs, type: 7, duration: 5 }),
      names,
      clock,
    );
    const heading = traceHeading();

    for (const [title, text] of [
      ...[['PROCESS', 'app'] as const, ['EVENT', 'sendrec'] as const, ['PEER', '->'] as const],
      ...[['DETAIL', 'type'] as const, ['RESULT', 'ok'] as const],
    ]) {
      expect(line.indexOf(text), title).toBe(heading.indexOf(title));
    }
    expect(line).toHaveLength(heading.length);
  });

  it('shows times of day to the microsecond, and short durations', () => {
    expect(clock.timeOfDay(1_234_567)).toMatch(/^\d\d:\d\d:00\.001234$/);
    expect([0, 999, 1000, 41_234, 999_999, 3.07e6, 1.5e9, 9e12].map(formatDuration)).toEqual([
      ...['0 ns', '999 ns', '1.00 us', '41.2 us', '1000 us', '3.07 ms', '1.50 s', '9000 s'],
    ]);
  });

  it('is an object for programs, with names and without what does not apply', () => {
    const call = { call: 'sendrec', endpoint: client, peer: late, result: -202 } as const;

    const object = JSON.parse(
      JSON.stringify(traceObject(traceEvent({ ...call, time: 5, duration: 2 }), names, clock)),
    ) as unknown;

    expect(object).toEqual({
      ...{ at: '2024-01-01T00:00:00.000Z', timeNs: 5000, durationNs: 2000, node: 0, slot: 70 },
      ...{ kind: 'end', call: 'sendrec', cpu: 0, type: 0, number: 0, bytes: 0 },
      process: { endpoint: client, address: '70.5', name: 'app', node: 0 },
      peer: { endpoint: late, address: '72.0' },
      ...{ result: -202, error: 'EDEADSRCDST' },
    });
  });
});

describe('TraceSummary', () => {
  it('counts calls and errors by process, call and peer, what took longest first', () => {
    const summary = new TraceSummary();
    for (let i = 1; i <= 100; i++) {
      summary.add(traceEvent({ call: 'sendrec', endpoint: client, peer: fs, duration: i }));
    }
    const failed = { call: 'send', endpoint: client, peer: fs } as const;
    summary.add(traceEvent({ ...failed, duration: 1, result: -202 }));
    summary.add(traceEvent({ ...failed, duration: 1, result: -202 }));
    summary.add(traceEvent({ ...failed, duration: 1, result: -110 }));
    summary.add(traceEvent({ kind: 'begin', call: 'send', endpoint: client, peer: fs }));

    const [calls, sends, ...rest] = summary.rows();

    expect(rest).toEqual([]);
    expect(calls).toMatchObject({ ...failed, call: 'sendrec', count: 100, errors: {} });
    expect(calls?.p50).toBeGreaterThan(48_000);
    expect(calls?.p50).toBeLessThan(52_000);
    expect(calls?.p99).toBeGreaterThan(96_000);
    expect(calls?.max).toBe(100_000);
    expect(calls?.total).toBe(5_050_000);
    expect(sends).toMatchObject({ count: 3, errors: { EDEADSRCDST: 2, ETIMEDOUT: 1 } });
  });

  it('has quantiles within 3 % of the sorted durations', () => {
    const durations = new Durations();
    const all = Array.from({ length: 5000 }, (_, i) => Math.round(1.003 ** i) + i);
    for (const ns of all) durations.add(ns);
    all.sort((a, b) => a - b);

    for (const q of [0.01, 0.5, 0.9, 0.99, 1]) {
      const exact = all[Math.ceil(q * all.length) - 1]!;
      expect(Math.abs(durations.quantile(q) / exact - 1), `${q}`).toBeLessThan(0.03);
    }
    expect(new Durations().quantile(0.5)).toBe(0);
  });
});

describe('ChromeExport', () => {
  const exported = (events: readonly TraceEvent[], end = 1e9): ChromeEvent[] => {
    const chrome = new ChromeExport(namesOf([row(fs, 'fs', 1), row(client, 'app')]));
    return [...events.flatMap((event) => chrome.add(event)), ...chrome.finish(end)];
  };
  const sendrec = { call: 'sendrec', endpoint: client, peer: fs, number: 9 } as const;
  const request = { call: 'rcvrqst', endpoint: fs, peer: client, number: 9, node: 1 } as const;
  const trip = [
    traceEvent({ kind: 'begin', call: 'rcvrqst', endpoint: fs, peer: ANY, node: 1, time: 10 }),
    traceEvent({ kind: 'begin', ...sendrec, time: 21 }),
    traceEvent({ kind: 'sleep', endpoint: client, peer: fs, time: 22 }),
    traceEvent({ ...request, message: 'call', time: 30, duration: 20 }),
    traceEvent({ kind: 'awake', endpoint: client, peer: fs, time: 50, duration: 28 }),
    traceEvent({ ...sendrec, time: 51, duration: 31 }),
    traceEvent({ ...request, call: 'reply', time: 52, duration: 8 }),
  ];

  it('has a track for each process, slices for calls and sleeps, and arrows between them', () => {
    const events = exported(trip);

    expect(chromeFaults(events)).toEqual([]);
    const shown = events.filter(({ ph }) => ph === 'X').map(({ name, ts, dur }) => [name, ts, dur]);
    expect(shown).toEqual([
      ['rcvrqst app', 10, 20],
      ['sleep', 22, 28],
      ['sendrec fs', 20, 31],
      ['reply app', 44, 8],
    ]);
    const tracks = events.filter(({ name }) => name === 'thread_name');
    expect(tracks.map(({ pid, args }) => [pid, args?.['name']])).toEqual([
      [2, 'fs 3.0'],
      [1, 'app 70.5'],
    ]);
    const arrows = events.filter(({ ph }) => ph === 's' || ph === 'f');
    expect(arrows.map(({ ph, pid, ts }) => [ph, pid, ts])).toEqual([
      ['s', 1, 21],
      ['f', 2, 29.999],
      ['s', 2, 44],
      ['f', 1, 50.999],
    ]);
  });

  it('follows relays, plain sends and messages of senda', () => {
    const to = { endpoint: fs, peer: client, node: 1, call: 'receive', duration: 5 } as const;
    const events = exported([
      traceEvent({ kind: 'begin', ...sendrec, time: 1 }),
      traceEvent({ kind: 'follow', ...sendrec, peer: other, number: 10, time: 3 }),
      traceEvent({ ...request, endpoint: other, number: 10, message: 'call', time: 5 }),
      traceEvent({ ...sendrec, peer: other, number: 10, time: 9, duration: 8.5 }),
      traceEvent({ kind: 'begin', call: 'send', endpoint: client, peer: fs, number: 11, time: 20 }),
      traceEvent({ ...to, number: 11, message: 'send', time: 25 }),
      traceEvent({ call: 'send', endpoint: client, peer: fs, number: 11, time: 26, duration: 6 }),
      traceEvent({ ...to, number: 64, message: 'async', time: 38 }),
      traceEvent({ call: 'senda', endpoint: client, peer: fs, number: 64, time: 39, duration: 3 }),
      traceEvent({ kind: 'async-done', call: 'senda', endpoint: client, peer: fs, time: 40 }),
    ]);

    expect(events.filter(({ ph }) => ph === 's').map(({ ts }) => ts)).toEqual([3, 20, 36]);
    expect(events.filter(({ ph }) => ph === 'f').map(({ ts }) => ts)).toEqual([5, 24.999, 37.999]);
  });

  it('draws no arrow for a failed call, a notification, or an end that is missing', () => {
    const events = exported([
      traceEvent({ kind: 'begin', ...sendrec, time: 1 }),
      traceEvent({ ...sendrec, result: -110, time: 3, duration: 2.5 }),
      traceEvent({ call: 'notify', endpoint: client, peer: fs, time: 5, duration: 1 }),
      traceEvent({ ...request, call: 'receive', message: 'notify', number: 0, time: 6 }),
      traceEvent({ ...request, number: 77, message: 'call', time: 7 }),
    ]);

    expect(events.filter(({ ph }) => ph === 's' || ph === 'f')).toEqual([]);
    expect(events.find(({ ph }) => ph === 'i')).toMatchObject({ name: 'notify fs', ts: 5 });
    const [call] = events.filter(({ ph }) => ph === 'X');
    expect(call).toMatchObject({ cat: 'sendrec,error', args: { error: 'ETIMEDOUT' } });
    expect(chromeFaults(events)).toEqual([]);
  });

  it('shows a call that has not ended up to the end', () => {
    const events = exported([traceEvent({ kind: 'begin', ...sendrec, time: 10 })], 50_000);

    expect(events.find(({ ph }) => ph === 'X')).toMatchObject({
      ...{ name: 'sendrec fs', ts: 10, dur: 40 },
      args: { unfinished: true },
    });
    expect(chromeFaults(events)).toEqual([]);
  });

  it('puts links on a track of their own for each node', () => {
    const link = { slot: undefined, kind: 'link-out', endpoint: client, peer: fs } as const;
    const events = exported([
      traceEvent({ ...link, command: 'SEND_MSG', time: 1 }),
      traceEvent({ ...link, kind: 'link-in', node: 1, time: 2 }),
      traceEvent({ slot: undefined, kind: 'link-up', peer: NONE, time: 3 }),
    ]);

    const names = events.filter(({ name }) => name === 'thread_name');
    expect(names.map(({ pid, args }) => [pid, args?.['name']])).toEqual([
      [1, 'links'],
      [2, 'links'],
    ]);
    expect(events.filter(({ ph }) => ph === 'i')).toHaveLength(3);
    expect(chromeFaults(events)).toEqual([]);
  });
});

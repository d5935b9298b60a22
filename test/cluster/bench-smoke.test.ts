// Every bench runs and reports every case of its contract. Method: a smoke run of each through the
// `dvk` command; nothing is asserted about speed, only that numbers are numbers and in order.
import { execFile } from 'node:child_process';
import { accessSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { whyNoPackets } from '../support/network-namespaces.ts';

import { hasZeromq } from '../../bench/ipc.ts';
import { allowedCpus } from '../../bench/placement.ts';
import type { ReportDocument, ReportedRow } from '../../bench/report.ts';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);

async function smoke(bench: string, ...args: string[]): Promise<ReportDocument> {
  const command = join(root, 'dist/src/cli/main.js');
  const { stdout } = await run(process.execPath, [
    command,
    ...['bench', bench, '--smoke', '--json'],
    ...args,
  ]);
  return JSON.parse(stdout) as ReportDocument;
}

function expectPlausible(row: ReportedRow): void {
  expect(row.min, row.case).toBeGreaterThan(0);
  expect(row.median, row.case).toBeGreaterThanOrEqual(row.min);
  expect(row.max, row.case).toBeGreaterThanOrEqual(row.median);
  expect(row.runs, row.case).toBe(2);
  expect(row.checked, row.case).toBeGreaterThan(0);
}

const casesAt = (document: ReportDocument, placement: string, pairs = 1): string[] =>
  document.rows
    .filter((row) => row.placement === placement && (row.pairs ?? 1) === pairs)
    .map((row) => row.case);

const placements = allowedCpus().length > 1 ? ['two-cores', 'one-core', 'free'] : ['one-core'];

describe('dvk bench', () => {
  it('ipc reports every case in every placement', async () => {
    const document = await smoke('ipc');

    expect(document).toMatchObject({ bench: 'ipc', node: process.version });
    for (const placement of placements) {
      expect(casesAt(document, placement).sort()).toEqual([
        ...['atomics-wait', 'child-process', 'dvk-c-mix', 'dvk-c-notify', 'dvk-c-sendrec'],
        ...['dvk-ts-mix', 'dvk-ts-notify', 'dvk-ts-sendrec', 'dvk-ts-sendrec-async', 'eventfd'],
        ...['fifo', 'futex', 'message-port', 'node-unix-stream', 'pipe', 'posix-mq', 'pure-spin'],
        ...[
          'pure-yield',
          'tcp',
          'unix-seqpacket',
          'unix-stream',
          ...(hasZeromq() ? ['zeromq'] : []),
        ],
      ]);
    }
    expect(casesAt(document, 'one-core-hogs')).toEqual(
      expect.arrayContaining(['dvk-c-sendrec', 'futex']),
    );
    expect(casesAt(document, 'one-core', 2)).toEqual(casesAt(document, 'one-core', 4));
    for (const row of document.rows) {
      expectPlausible(row);
      expect(row.unit).toBe('round-trips/s');
      expect(row.p99_us, row.case).toBeGreaterThanOrEqual(row.p50_us!);
      expect(row.max_us, row.case).toBeGreaterThanOrEqual(row.p999_us!);
      expect(row.cpu_us, row.case).toBeGreaterThan(0);
    }
  });

  it('runs as many pairs as it is asked for', async () => {
    const cases = ['dvk-c-mix', 'dvk-ts-mix', 'message-port', 'pipe'];
    const options = [...cases.flatMap((name) => ['--case', name]), '--placement', 'one-core'];

    const document = await smoke('ipc', ...options, '--pairs', '1,3');

    expect(casesAt(document, 'one-core', 1).sort()).toEqual(cases);
    expect(casesAt(document, 'one-core', 3).sort()).toEqual(cases);
  });

  it('notify reports notifications one way, and to and fro', async () => {
    const document = await smoke('notify', '--placement', 'one-core');

    expect(casesAt(document, 'one-core')).toEqual(
      expect.arrayContaining(['dvk-c-notify-stream', 'eventfd-stream', 'dvk-c-notify']),
    );
    for (const row of document.rows) expectPlausible(row);
  });

  it('senda reports messages one way', async () => {
    const document = await smoke('senda', '--placement', 'one-core');

    expect(casesAt(document, 'one-core').sort()).toEqual([
      ...['dvk-c-send', 'dvk-c-senda', 'pipe', 'posix-mq', 'tcp', 'unix-seqpacket', 'unix-stream'],
    ]);
    for (const row of document.rows) {
      expectPlausible(row);
      expect(row.unit).toBe('messages/s');
    }
  });

  it('trace reports round trips with and without a watcher', async () => {
    const document = await smoke('trace', '--placement', 'one-core');

    expect(casesAt(document, 'one-core').sort()).toEqual([
      ...['dvk-c-sendrec', 'dvk-c-sendrec-traced', 'dvk-ts-sendrec', 'dvk-ts-sendrec-traced'],
    ]);
    for (const row of document.rows) expectPlausible(row);
  });

  it('idle reports the CPU time of every kind of process that waits', async () => {
    const document = await smoke('idle');

    expect(casesAt(document, 'free')).toEqual([
      ...['dvk-c-blocking', 'dvk-ts-blocking', 'dvk-ts-awaited', 'dvk-all'],
    ]);
    for (const row of document.rows) {
      expect(row).toMatchObject({ unit: 'percent', runs: 2, checked: 2 * 6 });
      expect(row.min, row.case).toBeGreaterThanOrEqual(0);
    }
  });

  it('vcopy reports every case', async () => {
    const document = await smoke('vcopy');

    expect(casesAt(document, 'one-core').sort()).toEqual([
      ...['dvk-vcopy-arena', 'dvk-vcopy-private'],
      ...['memcpy', 'pipe', 'tcp', 'unix-stream'],
    ]);
    for (const row of document.rows) {
      expectPlausible(row);
      expect(row).toMatchObject({ unit: 'bytes/s', bytes: 2 ** 20 });
    }
  });

  it('proxy reports calls and copies over each kind of link', async () => {
    const [placement = ''] = placements;
    const document = await smoke('proxy', '--placement', placement);

    const transports = [...(whyNoPackets() === undefined ? ['ethernet'] : []), 'tcp', 'udp'];
    const kinds = transports.flatMap((one) => [`dvk-${one}`, `dvk-${one}-plain`]);
    const at = (op: string, pairs: number): string[] =>
      document.rows
        .filter((row) => row.op === op && (row.pairs ?? 1) === pairs)
        .map((row) => row.case)
        .sort();
    expect(at('sendrec', 1)).toEqual([...kinds, 'node-tcp', 'node-udp', 'tcp', 'udp']);
    expect(at('sendrec', 64)).toEqual(kinds);
    expect(at('vcopy', 1)).toEqual([...kinds, 'node-tcp', 'tcp']);
    for (const row of document.rows) expectPlausible(row);
  });

  it('wake reports each means to wake an event loop', async () => {
    const [placement = ''] = placements;
    const { rows } = await smoke('wake', '--placement', placement);

    const means = ['dvk-ts-sendrec-async', 'futex', 'loop-eventfd', 'loop-fifo', 'loop-io-uring'];
    expect(rows.map((row) => row.case).sort()).toEqual(means);
    for (const row of rows) expectPlausible(row);
  });

  it('fs reports every operation on every mount, and leaves none behind', async (context) => {
    if (!canOpen('/dev/fuse')) context.skip('/dev/fuse cannot be opened');

    const document = await smoke('fs');

    const operations = ['create', 'list', 'read', 'read-random', 'stat', 'unlink', 'write'];
    for (const op of [...operations, 'write-random']) {
      const rows = document.rows.filter((row) => row.op === op);
      expect(rows.map((row) => row.case)).toEqual(
        expect.arrayContaining(['host', 'dvk-local', 'dvk-remote', 'dvk-remote-plain']),
      );
    }
    for (const row of document.rows) expectPlausible(row);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain('/dvk-bench-');
  });

  it('ends with 2 and tells what there is when the bench or the case is unknown', async () => {
    await expect(smoke('speed')).rejects.toMatchObject({ code: 2 });
    await expect(smoke('ipc', '--pairs', '0')).rejects.toMatchObject({ code: 2 });
    await expect(smoke('idle', '--pairs', '2')).rejects.toMatchObject({ code: 2 });
    await expect(smoke('vcopy', '--case', 'telepathy')).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('dvk-vcopy-arena') as string,
    });
  });
});

function canOpen(path: string): boolean {
  try {
    accessSync(path);
    return true;
  } catch {
    return false;
  }
}

// `dvk trace` on a running DVS: a server in C and callers in TypeScript, on one node and on two.
// Method: the built command, as a user runs it; what it writes is compared with the calls made.
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { waitUntil } from '../../src/cli/wait.ts';
import { ErrorNumber, Segment, SegmentHeaderLayout } from '../../src/dvk/index.ts';
import type { Endpoint, Process } from '../../src/dvk/index.ts';
import { CProgram, compile, whyNoC } from '../support/c-programs.ts';
import { chromeFaults, type ChromeFile } from '../support/chrome-trace.ts';
import { ended, TestPlace, wrote } from '../support/dvk-command.ts';

const SPEC = ['dvs: traced', 'nodes: [{ id: 0 }, { id: 1 }]', 'containers: [{ name: mol }]'];
const SERVER_SLOT = 20;
const REQUEST_ECHO = 1;
const OFF_TIMEOUT_MS = 20_000;
const obstacle = whyNoC();

interface Line {
  readonly kind: string;
  readonly call?: string;
  readonly node: number;
  readonly process: { readonly name?: string; readonly endpoint: number } | null;
  readonly peer: { readonly name?: string; readonly endpoint: number } | null;
  readonly type: number;
  readonly number: number;
  readonly result: number;
  readonly error?: string;
  readonly durationNs?: number;
  readonly command?: string;
}

let place: TestPlace;
let files: string;
let server: CProgram;
const segments: Segment[] = [];
const started: ChildProcess[] = [];

const segmentPath = (node: number): string => join(place.runtime, `traced/node${node}/dc-mol.seg`);

/** Whether calls are traced on a node now: the word in the header of its segment. */
function traced(node: number): boolean {
  const word = Buffer.alloc(4);
  const fd = openSync(segmentPath(node), 'r');
  readSync(fd, word, 0, 4, SegmentHeaderLayout.trace);
  closeSync(fd);
  return word.readUInt32LE() !== 0;
}

async function until(condition: () => boolean): Promise<void> {
  expect(await waitUntil(condition, OFF_TIMEOUT_MS)).toBe(true);
}

/** Starts `dvk trace mol` and waits until it watches. */
async function watch(...args: readonly string[]): Promise<ChildProcess> {
  const child = place.start('trace', 'mol', ...args);
  started.push(child);
  await wrote(child, 'stderr', 'watching');
  return child;
}

async function interrupted(child: ChildProcess): ReturnType<typeof ended> {
  const result = ended(child);
  child.kill('SIGINT');
  return await result;
}

function linesOf(stdout: string): Line[] {
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line);
}

function caller(node: number, name: string): Process {
  const segment = segments[node];
  if (segment === undefined) throw new Error('no segment');
  return segment.bind({ name });
}

/** The server's endpoint, once the node knows it. */
async function serverAt(node: number): Promise<Endpoint> {
  let found: Endpoint | undefined;
  await until(() => (found = segments[node]?.lookup(SERVER_SLOT)) !== undefined);
  return found!;
}

/** Calls, and waits until the server waits again: its last event is there by then. */
async function echo(process: Process, to: Endpoint, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    process.message.type = REQUEST_ECHO;
    if (i % 2 === 0) await process.sendrec(to);
    else process.sendrecSync(to);
  }
  await until(() => segments[0]?.process(SERVER_SLOT)?.state === 'receiving request');
}

describe.skipIf(obstacle !== undefined)(`dvk trace ${obstacle ?? ''}`, () => {
  beforeAll(async () => {
    place = new TestPlace();
    files = mkdtempSync(join(tmpdir(), 'dvk-test-'));
    compile('examples/c/server.c', join(files, 'server'));
    await place.must('up', place.spec('traced.yaml', SPEC), '--detach');
    for (const node of [0, 1]) segments.push(Segment.open(segmentPath(node)));
    server = await new CProgram(join(files, 'server'), segmentPath(0)).ready();
  });
  afterEach(async () => {
    for (const child of started.splice(0)) child.kill('SIGKILL');
    await until(() => ![0, 1].some(traced));
  });
  afterAll(async () => {
    for (const segment of segments) segment.close();
    server.child.kill('SIGKILL');
    await place.end();
    rmSync(files, { recursive: true, force: true });
  });

  it('shows the calls of programs in C and TypeScript, blocking and awaited', async () => {
    const child = await watch('--node', '0', '--json');
    const process = caller(0, 'local');
    const to = await serverAt(0);
    await echo(process, to, 4);
    process.unbind();

    const { code, stdout, stderr } = await interrupted(child);

    expect([code, stderr]).toEqual([0, '']);
    const lines = linesOf(stdout);
    const calls = lines.filter(({ call }) => call === 'sendrec');
    expect(calls.map(({ process: who, peer }) => [who?.name, peer?.name])).toEqual(
      Array.from({ length: 4 }, () => ['local', 'c-server']),
    );
    for (const { number, result, durationNs } of calls) {
      expect(result).toBe(0);
      expect(durationNs).toBeGreaterThan(0);
      const same = lines.filter((line) => line.number === number && line.process?.endpoint === to);
      expect(same.map(({ call }) => call)).toEqual(['rcvrqst', 'reply']);
    }
    expect(lines.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['bind', 'unbind']));
  });

  it('shows both ends of a call between nodes, and the commands that carry it', async () => {
    const child = await watch('--json', '--show', 'calls,links');
    const process = caller(1, 'remote');
    const to = await serverAt(1);
    await echo(process, to, 2);
    const { endpoint } = process;
    process.unbind();

    const lines = linesOf((await interrupted(child)).stdout);

    const calls = lines.filter(
      ({ call, process: who }) => call === 'sendrec' && who?.endpoint === endpoint,
    );
    expect(calls).toHaveLength(2);
    for (const { number } of calls) {
      const about = lines.filter(
        (line) =>
          line.number === number &&
          [line.process?.endpoint, line.peer?.endpoint].includes(endpoint as number),
      );
      expect(about.map(({ node, kind, call, command }) => [node, kind, call ?? command])).toEqual(
        expect.arrayContaining([
          [1, 'link-out', 'SNDREC_MSG'],
          [0, 'link-in', 'SNDREC_MSG'],
          [0, 'end', 'rcvrqst'],
          [0, 'end', 'reply'],
          [0, 'link-out', 'REPLY_MSG'],
          [1, 'link-in', 'REPLY_MSG'],
          [1, 'end', 'sendrec'],
        ]),
      );
    }
  });

  it('writes aligned lines, names errors, and takes only what it is asked for', async () => {
    const all = await watch();
    const some = await watch('--errors', '--process', 'picky', '--call', 'sendrec,notify');
    const process = caller(0, 'picky');
    const to = await serverAt(0);
    await echo(process, to, 1);
    expect(process.sendrecRaw(99 as Endpoint)).toBe(-ErrorNumber.EDEADSRCDST);
    expect(process.sendRaw(99 as Endpoint)).toBe(-ErrorNumber.EDEADSRCDST);
    process.unbind();

    const [lines, failures] = await Promise.all([interrupted(all), interrupted(some)]);

    const [heading = '', ...rows] = lines.stdout.trim().split('\n');
    expect(heading).toMatch(/^TIME +ND +PROCESS +EVENT +PEER/);
    const row = rows.find((text) => / sendrec +-> c-server /.test(text)) ?? '';
    expect(row).toMatch(
      /^\d\d:\d\d:\d\d\.\d{6} +0 +picky \d+\.\d+ +sendrec +-> c-server .* ok +\S+ [num]?s$/,
    );
    const [, ...wrong] = failures.stdout.trim().split('\n');
    expect(wrong).toHaveLength(1);
    expect(wrong[0]).toMatch(/ sendrec +-> 99\.0 +EDEADSRCDST$/);
  });

  it('writes a file that Perfetto opens: tracks, slices that nest, arrows', async () => {
    const file = join(files, 'trace.json');
    const child = await watch('--export', file);
    const near = caller(0, 'near');
    const far = caller(1, 'far');
    await echo(near, await serverAt(0), 6);
    await echo(far, await serverAt(1), 6);
    near.notify(await serverAt(0));
    for (const one of [near, far]) one.unbind();

    const { code, stdout, stderr } = await interrupted(child);

    expect([code, stdout]).toEqual([0, '']);
    expect(stderr).toMatch(/^\d+ events in .*trace\.json$/m);
    const { traceEvents, displayTimeUnit, otherData } = JSON.parse(
      readFileSync(file, 'utf8'),
    ) as ChromeFile;
    expect([displayTimeUnit, otherData.lost, otherData.torn]).toEqual(['ns', 0, 0]);
    expect(chromeFaults(traceEvents)).toEqual([]);
    const tracks = traceEvents.filter(({ name }) => name === 'thread_name');
    expect(tracks.map(({ args }) => String(args?.['name']).replace(/ .*/, ''))).toEqual(
      expect.arrayContaining(['c-server', 'near', 'far', 'links']),
    );
    const slices = traceEvents.filter(({ ph, name }) => ph === 'X' && name === 'sendrec c-server');
    expect(slices).toHaveLength(12);
    // Each call has an arrow there, and one back.
    expect(traceEvents.filter(({ ph }) => ph === 's')).toHaveLength(24);
    expect(
      traceEvents.find(({ ph, name }) => ph === 'i' && name === 'notify c-server'),
    ).toBeDefined();
  });

  it('exports what passes the filters, and nothing else', async () => {
    const file = join(files, 'filtered.json');
    const slow = join(files, 'slow.json');
    const wanted = ['--process', 'picked', '--call', 'sendrec'];
    const some = await watch('--export', file, ...wanted);
    const none = await watch('--export', slow, '--slower', '100s');
    const [picked, other] = [caller(0, 'picked'), caller(0, 'other')];
    const to = await serverAt(0);
    for (const one of [picked, other]) await echo(one, to, 3);
    picked.notify(to);
    for (const one of [picked, other]) one.unbind();

    await Promise.all([interrupted(some), interrupted(none)]);

    const eventsOf = (path: string): ChromeFile['traceEvents'] =>
      (JSON.parse(readFileSync(path, 'utf8')) as ChromeFile).traceEvents;
    const shown = eventsOf(file).filter(({ name }) => !/^(sleep|thread|process)/.test(name));
    expect(shown.map(({ ph, name }) => [ph, name])).toEqual(
      Array.from({ length: 3 }, () => ['X', 'sendrec c-server']),
    );
    expect(chromeFaults(eventsOf(file))).toEqual([]);
    expect(eventsOf(slow)).toEqual([]);
  });

  it('sums up calls by pair, with errors and quantiles', async () => {
    const child = await watch('--node', '0', '--summary', '--json');
    const process = caller(0, 'summed');
    const to = await serverAt(0);
    await echo(process, to, 10);
    process.sendrecRaw(99 as Endpoint);
    process.unbind();

    const { stdout } = await interrupted(child);

    const { items, lost } = JSON.parse(stdout) as {
      readonly items: readonly Record<string, unknown>[];
      readonly lost: number;
    };
    expect(lost).toBe(0);
    const mine = items.filter(({ process: name }) => name === 'summed');
    expect(mine).toHaveLength(2);
    const good = mine.find(({ peerName }) => peerName === 'c-server');
    expect(good).toMatchObject({ call: 'sendrec', count: 10, errors: {} });
    expect(Number(good?.['p50'])).toBeLessThanOrEqual(Number(good?.['p99']));
    expect(Number(good?.['p99'])).toBeLessThanOrEqual(Number(good?.['max']));
    expect(mine.find(({ peerAddress }) => peerAddress === '99.0')).toMatchObject({
      ...{ count: 1, errors: { EDEADSRCDST: 1 } },
    });
  });

  it('ends after so many events, or so many seconds, and then nothing is traced', async () => {
    const counted = await watch('--node', '0', '--count', '3', '--json');
    const done = ended(counted);
    const process = caller(0, 'counted');
    await echo(process, await serverAt(0), 5);

    expect(linesOf((await done).stdout)).toHaveLength(3);
    await until(() => !traced(0));
    const timed = await place.run('trace', 'mol', '--for', '0.2', '--summary');
    expect(timed.code).toBe(0);
    expect(timed.stdout).toMatch(/^PROCESS +CALL/);
    expect([0, 1].some(traced)).toBe(false);
    process.unbind();
  });

  it('leaves another watcher its trace, and none when it is killed', async () => {
    const killed = await watch('--node', '0');
    const other = await watch('--node', '0', '--json');
    killed.kill('SIGKILL');
    await ended(killed);
    const process = caller(0, 'after');
    await echo(process, await serverAt(0), 2);
    const { stdout } = await interrupted(other);
    process.unbind();

    expect(linesOf(stdout).filter(({ call }) => call === 'sendrec')).toHaveLength(2);
    // Its lease ends by itself, and the daemon notices even when nobody calls.
    await until(() => !traced(0));
  });

  it('ends when nobody reads what it writes', async () => {
    const child = await watch('--node', '0', '--json');
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.stdout?.destroy();
    const process = caller(0, 'loud');
    const to = await serverAt(0);

    await until(() => {
      process.notifyRaw(to);
      return child.exitCode !== null;
    });
    expect(await gone).toBe(0);
    process.unbind();
  });

  it('says what is wrong with what it is asked', async () => {
    const absent = await place.run('trace', 'nothing');
    expect([absent.code, absent.stderr]).toEqual([1, expect.stringContaining('There are mol.')]);
    const node = await place.run('trace', 'mol', '--node', '7');
    expect([node.code, node.stderr]).toEqual([1, expect.stringContaining('It is on 0, 1.')]);
    for (const options of [
      ...[
        ['--slower', 'soon'],
        ['--call', 'shout'],
        ['--show', 'nothing'],
        ['--for', '0'],
      ],
      ...[
        ['--count', 'x'],
        ['--summary', '--export', 'x'],
        ['--show', 'calls', '--export', 'x'],
      ],
    ]) {
      expect((await place.run('trace', 'mol', ...options)).code, options.join(' ')).toBe(2);
    }
    const file = await place.run('trace', 'mol', '--for', '0.1', '--export', '/dev/shm/no/where');
    expect(file.code).toBe(1);
    expect(file.stderr).toContain('cannot be written');
  });
});

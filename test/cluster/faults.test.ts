// A mount rides over the death of each part that it needs.
//
// Method: three nodes, FS on node 1, the mount on node 0. While a program walks the whole tree, one
// part is killed with SIGKILL. The walk must end by itself (with errors or without), no look at the
// mount may hang for 10 s, `dvk status` must name what is down, and starting that part again must
// make the mount whole: the same mount, unless its own gateway died. What is promised is in the
// failure model of docs/ARCHITECTURE.md.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPlace, whyNoMounts } from '../support/dvk-command.ts';

const HANG_MS = 10_000;
const WALK_MS = 40_000;
const BIG_BYTES = 96 << 20;
const skipped = whyNoMounts();

let place: TestPlace;
let tree: string;
let mountpoint: string;

/** Runs a program; one that hangs is killed, and has the code null. */
async function run(program: string, args: string[], limitMs: number): Promise<number | null> {
  return await new Promise((resolve) => {
    const options = { timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 1 << 26 } as const;
    execFile(program, args, options, (error) => {
      resolve(error === null ? 0 : typeof error.code === 'number' ? error.code : null);
    });
  });
}

async function pidOf(noun: string, name: string): Promise<number> {
  const { pid } = await place.json<{ pid: number }>(noun, 'info', name);
  expect(pid).toBeGreaterThan(1);
  return pid;
}

/** Starts a walk of everything, and resolves once data has been read through the mount. */
async function startWalk(): Promise<ChildProcess> {
  const limit = String(WALK_MS / 1000);
  const walk = spawn('timeout', ['-s', 'KILL', limit, 'diff', '-r', tree, mountpoint], {
    stdio: 'ignore',
  });
  const source = `if=${join(mountpoint, 'big')}`;
  expect(await run('dd', [source, 'of=/dev/null', 'bs=1M', 'count=8'], HANG_MS)).toBe(0);
  return walk;
}

async function expectNoHang(): Promise<void> {
  for (const name of ['missing', 'directory7/file7', '']) {
    const code = await run('stat', [join(mountpoint, name)], HANG_MS);
    expect(code, `stat of "${name}" ended`).not.toBeNull();
  }
}

beforeAll(async () => {
  if (skipped !== undefined) return;
  place = new TestPlace();
  const made = place.image(BIG_BYTES);
  tree = made.tree;
  mountpoint = join(place.files, 'mnt');
  mkdirSync(mountpoint);
  const spec = place.spec('faults.yaml', [
    'dvs: faults',
    'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]',
    'containers:',
    '  - name: mol',
    '    services:',
    `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${made.image} }`,
    `      - { name: root, kind: fuse, node: 0, server: fs, mount: ${mountpoint} }`,
  ]);
  const up = await place.must('up', spec, '--detach');
  expect(up.stdout).toBe(`mount ${mountpoint}\n`);
});

afterAll(async () => {
  if (skipped !== undefined) return;
  await place.run('down');
  const left = place.leftovers();
  await place.end();
  expect(left).toEqual([]);
});

interface Fault {
  part: string;
  noun: string;
  name: string;
  start: string[];
  /** What `dvk status` says. */
  named: RegExp;
  remounts: boolean;
}

const FAULTS: Fault[] = [
  {
    part: 'the file system server',
    noun: 'service',
    name: 'fs',
    start: ['service', 'start', 'fs'],
    named: /service fs is down/,
    remounts: false,
  },
  {
    part: 'the proxy of the mount',
    noun: 'proxy',
    name: '0',
    start: ['proxy', 'start', '0'],
    named: /proxy of node 0 is down/,
    remounts: false,
  },
  {
    part: 'the proxy of the server',
    noun: 'proxy',
    name: '1',
    start: ['proxy', 'start', '1'],
    named: /proxy of node 1 is down/,
    remounts: false,
  },
  {
    part: 'the node of the server',
    noun: 'node',
    name: '1',
    start: ['node', 'start', '1'],
    named: /node 1 is down/,
    remounts: false,
  },
  {
    part: 'the gateway',
    noun: 'service',
    name: 'root',
    start: ['service', 'start', 'root'],
    named: /service root is down/,
    remounts: true,
  },
  {
    part: 'the node of the mount',
    noun: 'node',
    name: '0',
    start: ['node', 'start', '0'],
    named: /node 0 is down/,
    remounts: true,
  },
];

describe.skipIf(skipped !== undefined)(`a mount whose parts are killed ${skipped ?? ''}`, () => {
  it.each(FAULTS)('survives the death of $part', async (fault) => {
    const gateway = await pidOf('service', 'root');
    const walk = await startWalk();
    const ended = once(walk, 'exit') as Promise<[number | null, string | null]>;

    process.kill(await pidOf(fault.noun, fault.name), 'SIGKILL');

    await expectNoHang();
    const status = await place.run('status');
    expect(status.code).toBe(1);
    expect(status.stdout).toMatch(fault.named);
    await place.must(...fault.start);
    const [code] = await ended;
    expect(code, 'the walk ended by itself').not.toBe(137);
    expect(code).not.toBeNull();
    expect(await run('diff', ['-r', tree, mountpoint], WALK_MS)).toBe(0);
    expect((await place.run('status')).code).toBe(0);
    const isSame = (await pidOf('service', 'root')) === gateway;
    expect(isSame, 'the same process still serves the mount').toBe(!fault.remounts);
  });
});

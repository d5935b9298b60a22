// A mount rides over the death of each part that it needs.
//
// Method: three nodes, FS on node 1, the mount on node 0. While a program walks the whole tree, one part is
// killed with SIGKILL. The walk must end by itself (with errors or without), no look at the mount may hang for
// 10 s, `dvk status` must name what is down, and starting that part again must make the mount whole: the same
// mount, unless its own gateway died. Reference: rows 11, 33 and 34 of the fault matrix in docs/testing.md.
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeImage } from '../support/images.ts';
import { pattern } from '../support/trees.ts';

const DVK = join(import.meta.dirname, '../../dist/src/cli/main.js');
const HANG_MS = 10_000;
const WALK_MS = 40_000;
const BIG_BYTES = 96 << 20;

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

let directory: string;
let runtime: string;
let tree: string;
let mountpoint: string;

/** Runs a program; one that hangs is killed, and has the code null. */
async function run(program: string, args: string[], limitMs: number): Promise<Outcome> {
  return await new Promise((resolve) => {
    const options = { timeout: limitMs, killSignal: 'SIGKILL', maxBuffer: 1 << 26 } as const;
    execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : null;
      resolve({ code, stdout, stderr });
    });
  });
}

async function dvk(...args: string[]): Promise<Outcome> {
  return await run(process.execPath, [DVK, ...args, '--runtime', runtime], 60_000);
}

async function pidOf(noun: string, name: string): Promise<number> {
  const { stdout } = await dvk(noun, 'info', name, '--json');
  const { pid } = JSON.parse(stdout) as { pid: number };
  expect(pid).toBeGreaterThan(1);
  return pid;
}

/** Starts a walk of everything, and resolves once it is in the middle of reading. */
async function startWalk(): Promise<ChildProcess> {
  const walk = spawn(
    'timeout',
    ['-s', 'KILL', String(WALK_MS / 1000), 'diff', '-r', tree, mountpoint],
    {
      stdio: 'ignore',
    },
  );
  const big = await run(
    'dd',
    [`if=${join(mountpoint, 'big')}`, 'of=/dev/null', 'bs=1M', 'count=8'],
    HANG_MS,
  );
  expect(big.code).toBe(0);
  return walk;
}

async function expectNoHang(): Promise<void> {
  for (const name of ['missing', 'files/7', '']) {
    const { code } = await run('stat', [join(mountpoint, name)], HANG_MS);
    expect(code, `stat of "${name}" ended`).not.toBeNull();
  }
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'dvk-faults-'));
  runtime = mkdtempSync('/dev/shm/dvk-faults-');
  tree = join(directory, 'tree');
  mountpoint = join(directory, 'mnt');
  mkdirSync(join(tree, 'files'), { recursive: true });
  mkdirSync(join(tree, 'lost+found'));
  mkdirSync(mountpoint);
  for (let i = 0; i < 400; i++) writeFileSync(join(tree, 'files', String(i)), pattern(i, 3000 + i));
  writeFileSync(join(tree, 'big'), pattern(1, BIG_BYTES));
  const image = makeImage(directory, { bytes: BIG_BYTES + (64 << 20), source: tree });
  const spec = join(directory, 'spec.yaml');
  writeFileSync(
    spec,
    `dvs: faults
nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]
containers:
  - name: mol
    services:
      - { name: fs, kind: fs, node: 1, slot: 1, image: ${image} }
      - { name: root, kind: fuse, node: 0, server: fs, mount: ${mountpoint} }
`,
  );
  const up = await dvk('up', spec, '--detach');
  expect(up, up.stderr).toMatchObject({ code: 0, stdout: `mount ${mountpoint}\n` });
});

afterAll(async () => {
  await dvk('down');
  rmSync(directory, { recursive: true, force: true });
  rmSync(runtime, { recursive: true, force: true });
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

describe('a mount whose parts are killed', () => {
  it.each(FAULTS)('survives the death of $part', async (fault) => {
    const gateway = await pidOf('service', 'root');
    const walk = await startWalk();
    const ended = once(walk, 'exit') as Promise<[number | null, string | null]>;

    process.kill(await pidOf(fault.noun, fault.name), 'SIGKILL');

    await expectNoHang();
    const status = await dvk('status');
    expect(status).toMatchObject({ code: 1, stdout: expect.stringMatching(fault.named) as string });
    const started = await dvk(...fault.start);
    expect(started, started.stderr).toMatchObject({ code: 0 });
    const [code] = await ended;
    expect(code, 'the walk ended by itself').not.toBe(137);
    expect(code).not.toBeNull();
    const again = await run('diff', ['-r', tree, mountpoint], WALK_MS);
    expect(again).toMatchObject({ code: 0, stdout: '' });
    expect(await dvk('status')).toMatchObject({ code: 0 });
    const isSame = (await pidOf('service', 'root')) === gateway;
    expect(isSame, 'the same process still serves the mount').toBe(!fault.remounts);
  });
});

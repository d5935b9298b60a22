/**
 * A DVS of two nodes for the fs bench, through the `dvk` command: a file system server on node 0, a
 * mount on the same node, and one on node 1, whose requests cross the proxies over TCP loopback.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Cleanup } from '../cleanup.ts';
import { projectRoot } from '../machine.ts';
import { mountsBelow, unmount } from './mounts.ts';

const NAME = 'bench-fs';
const COMMAND = 'dist/src/cli/main.js';
const TIMEOUT_MS = 120_000;

export interface Mounts {
  readonly local: string;
  readonly remote: string;
}

function specOf(image: string, mounts: Mounts): string {
  // JSON is YAML, so quoting is right for any path.
  const at = JSON.stringify(image);
  const local = JSON.stringify(mounts.local);
  const remote = JSON.stringify(mounts.remote);
  return [
    `dvs: ${NAME}`,
    'nodes:',
    '  - { id: 0, name: node0, listen: 127.0.0.1:0 }',
    '  - { id: 1, name: node1, listen: 127.0.0.1:0 }',
    'containers:',
    '  - name: bench',
    '    id: 0',
    '    nodes: [0, 1]',
    '    services:',
    `      - { name: fs, kind: fs, node: 0, slot: 1, image: ${at} }`,
    `      - { name: local, kind: fuse, node: 0, server: fs, mount: ${local} }`,
    `      - { name: remote, kind: fuse, node: 1, server: fs, mount: ${remote} }`,
    '',
  ].join('\n');
}

/**
 * Runs `dvk`; fails with what it wrote when it fails or takes too long. Returns its standard
 * output.
 */
async function dvk(...args: string[]): Promise<string> {
  const command = join(projectRoot(), COMMAND);
  const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  // Not `close`: daemons that it leaves running may hold the pipes open.
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  clearTimeout(timer);
  child.stdout.destroy();
  child.stderr.destroy();
  if (code !== 0) throw new Error(`dvk ${args[0] ?? ''} failed: ${errors.trim()}`);
  return output;
}

/** Brings the DVS up; it is brought down, and its mounts are ended, by `cleanup`. */
export async function startDvs(
  directory: string,
  image: string,
  cleanup: Cleanup,
): Promise<Mounts> {
  const runtime = join(directory, 'run');
  const mounts = { local: join(directory, 'local-mnt'), remote: join(directory, 'remote-mnt') };
  const spec = join(directory, 'spec.yaml');
  mkdirSync(runtime);
  writeFileSync(spec, specOf(image, mounts));
  cleanup.defer(async () => {
    try {
      await dvk('down', '--runtime', runtime, '--name', NAME);
    } finally {
      for (const path of mountsBelow(directory)) await unmount(path);
    }
  });
  await dvk('up', spec, '--detach', '--runtime', runtime);
  return mounts;
}

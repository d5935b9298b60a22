/**
 * The DVSs of two nodes for the fs bench, through the `dvk` command: a file system server on node
 * 0, a mount on the same node, and one on node 1, whose requests cross the proxies over TCP
 * loopback. In one DVS the links are sealed; in the other, which has no local mount, they are in
 * plain text.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { Cleanup } from '../cleanup.ts';
import { projectRoot } from '../machine.ts';
import { makeImage } from './image.ts';
import { mountsBelow, unmount, type Mounted } from './mounts.ts';

const NAMES = { sealed: 'bench-fs', plain: 'bench-plain' } as const;
const COMMAND = 'dist/src/cli/main.js';
const TIMEOUT_MS = 120_000;

export interface Mounts {
  readonly local: Mounted;
  readonly remote: Mounted;
  /** As `remote`, over links in plain text. */
  readonly plain: Mounted;
}

interface Mount {
  readonly name: string;
  readonly node: number;
  readonly path: string;
}

function specOf(name: string, image: string, mounts: readonly Mount[]): string {
  // JSON is YAML, so quoting is right for any path.
  const at = JSON.stringify(image);
  return [
    `dvs: ${name}`,
    'nodes:',
    '  - { id: 0, name: node0, listen: 127.0.0.1:0 }',
    '  - { id: 1, name: node1, listen: 127.0.0.1:0 }',
    'containers:',
    '  - name: bench',
    '    id: 0',
    '    nodes: [0, 1]',
    '    services:',
    `      - { name: fs, kind: fs, node: 0, slot: 1, image: ${at} }`,
    ...mounts.map(({ name: service, node, path }) => {
      const where = `node: ${node}, server: fs, mount: ${JSON.stringify(path)}`;
      return `      - { name: ${service}, kind: fuse, ${where} }`;
    }),
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

/** Brings the DVSs up; they are brought down, and their mounts are ended, by `cleanup`. */
export async function startDvs(directory: string, cleanup: Cleanup): Promise<Mounts> {
  const runtime = join(directory, 'run');
  const at = (name: string): string => join(directory, `${name}-mnt`);
  const paths = { local: at('local'), remote: at('remote'), plain: at('plain') };
  mkdirSync(runtime);
  cleanup.defer(async () => {
    for (const path of mountsBelow(directory)) await unmount(path);
  });
  const bring = async (name: string, options: string[], list: readonly Mount[]): Promise<void> => {
    const spec = join(directory, `${name}.yaml`);
    const image = join(directory, `${name}.ext4`);
    await makeImage(image);
    writeFileSync(spec, specOf(name, image, list));
    cleanup.defer(async () => {
      await dvk('down', '--runtime', runtime, '--name', name);
    });
    await dvk('up', spec, '--detach', '--runtime', runtime, ...options);
  };
  await bring(
    NAMES.sealed,
    [],
    [
      { name: 'local', node: 0, path: paths.local },
      { name: 'remote', node: 1, path: paths.remote },
    ],
  );
  await bring(NAMES.plain, ['--insecure'], [{ name: 'remote', node: 1, path: paths.plain }]);
  const mounted = (dvs: string, service: string, path: string): Mounted => ({
    path,
    again: async () => {
      await dvk('service', 'restart', service, '--runtime', runtime, '--name', dvs);
    },
  });
  return {
    local: mounted(NAMES.sealed, 'local', paths.local),
    remote: mounted(NAMES.sealed, 'remote', paths.remote),
    plain: mounted(NAMES.plain, 'remote', paths.plain),
  };
}

/** Servers and mounts that a bench starts: waiting for them, and ending them. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { promisify } from 'node:util';

import type { Cleanup } from '../cleanup.ts';
import { settlesWithin } from '../peer-case.ts';

const START_MS = 10_000;
const POLL_MS = 20;
const SAID_MAX = 20;
const run = promisify(execFile);

/** A program that runs as long as what it serves. */
export interface Program {
  readonly program: string;
  readonly options: readonly string[];
}

/** The mount points of a text such as /proc/self/mountinfo; octal escapes are undone. */
export function parseMounts(mountinfo: string): string[] {
  return mountinfo
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path !== '')
    .map((path) =>
      path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    );
}

function mounts(): string[] {
  return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export function isMounted(path: string): boolean {
  return mounts().includes(path);
}

/** Mount points below `directory`, the innermost first. */
export function mountsBelow(directory: string): string[] {
  return mounts()
    .filter((path) => path.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length);
}

/** Ends a mount, if it is there, even when its server hangs. */
export async function unmount(path: string): Promise<void> {
  if (!isMounted(path)) return;
  try {
    await run('fusermount3', ['-u', '-z', path]);
  } catch {
    await run('umount', ['-l', path]);
  }
}

/** A TCP port of loopback that nobody has now. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

interface Started {
  readonly child: ChildProcess;
  /** The beginning of what it wrote to stderr. */
  readonly said: readonly string[];
  /** Ends it, by SIGKILL when it takes too long. */
  stop(): Promise<void>;
}

function start({ program, options }: Program): Started {
  const child = spawn(program, options, { stdio: ['ignore', 'ignore', 'pipe'] });
  const said: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < SAID_MAX) said.push(text);
  });
  const exited = once(child, 'exit');
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    if (!(await settlesWithin(exited, START_MS))) child.kill('SIGKILL');
    await exited;
  };
  return { child, said, stop };
}

/** Fails with what the program said when it ends first, or takes too long. */
async function until(met: () => Promise<boolean>, { child, said }: Started): Promise<void> {
  const deadline = performance.now() + START_MS;
  while (!(await met())) {
    if (child.exitCode !== null || performance.now() > deadline) {
      throw new Error(`${child.spawnfile} did not start: ${said.join('').trim()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const met = await once(socket, 'connect').then(
    () => true,
    () => false,
  );
  socket.destroy();
  return met;
}

/** Starts a server on `port` of loopback; returns when it takes connections. */
export async function startServer(subject: Program, port: number, cleanup: Cleanup): Promise<void> {
  const started = start(subject);
  cleanup.defer(async () => started.stop());
  await until(async () => answers(port), started);
}

/** A mount that can be made anew, after which its server knows nothing of the files. */
export interface Mounted {
  readonly path: string;
  readonly again: () => Promise<void>;
}

/** Starts a program that serves a new mount. */
export async function startMount(
  subject: Program & { readonly mountpoint: string },
  cleanup: Cleanup,
): Promise<Mounted> {
  const { mountpoint: path } = subject;
  mkdirSync(path);
  let started: Started | undefined;
  const begin = async (): Promise<void> => {
    started = start(subject);
    await until(async () => Promise.resolve(isMounted(path)), started);
  };
  const end = async (): Promise<void> => {
    await unmount(path);
    await started?.stop();
  };
  cleanup.defer(end);
  await begin();
  const again = async (): Promise<void> => {
    await end();
    await begin();
  };
  return { path, again };
}

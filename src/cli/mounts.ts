/**
 * Mounts of this machine, and how to get rid of one.
 *
 * Nothing here touches a mounted file system from this process: a call into one whose server hangs
 * would hang too, and keep the process from ending. Programs do it, under a time-out.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

import { systemClock } from '../dvk/clock.ts';

export const FUSE_TYPE = 'fuse.dvk';

export interface Mount {
  readonly path: string;
  readonly type: string;
  readonly source: string;
}

export interface ProgramResult {
  /** The exit code; 127 when it could not be started, 124 when it took too long. */
  readonly status: number;
  readonly output: string;
}

const NOT_FOUND = 127;
const TOO_LATE = 124;
const STALE_TIMEOUT_MS = 2000;

/** Runs a program to its end, but not longer than `timeoutMs`; its output is kept. */
export async function runProgram(
  program: string,
  args: readonly string[],
  timeoutMs: number,
): Promise<ProgramResult> {
  return await new Promise((resolve) => {
    let text = '';
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    const take = (chunk: Buffer): void => {
      text += chunk.toString();
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const finish = (status: number): void => {
      cancel();
      resolve({ status, output: text.trim() });
    };
    const cancel = systemClock.after(timeoutMs, () => {
      child.kill('SIGKILL');
      // A program that hangs in the kernel does not even die; it is left behind.
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      finish(TOO_LATE);
    });
    child.on('error', () => {
      finish(NOT_FOUND);
    });
    child.on('close', (code) => {
      finish(code ?? 1);
    });
  });
}

// mountinfo writes space, tab, newline and backslash as three octal digits.
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}

/**
 * The mounts in the text of a mountinfo file, in order; a later one hides an earlier one on the
 * same path.
 */
export function parseMounts(mountinfo: string): Mount[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [before, after] = line.split(' - ', 2);
    const path = before?.split(' ')[4];
    const [type, source] = after?.split(' ') ?? [];
    if (path === undefined || type === undefined || source === undefined) return [];
    return [{ path: unescape(path), type, source: unescape(source) }];
  });
}

export function listMounts(): Mount[] {
  return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** What is mounted on `path`, if anything. */
export function mountOn(path: string): Mount | undefined {
  return listMounts().findLast((mount) => mount.path === path);
}

/**
 * What is wrong with the mount on `path`; undefined when it answers. Asks for the state of the file
 * system, which no cache of the kernel's answers for a server that is dead.
 */
export async function probe(path: string, timeoutMs: number): Promise<string | undefined> {
  const args = ['--file-system', '--format=%T', '--', path];
  const { status, output } = await runProgram('stat', args, timeoutMs);
  if (status === 0) return undefined;
  if (status === TOO_LATE) return `does not answer within ${String(timeoutMs / 1000)} s`;
  return output.replace(/^stat: cannot .* '.*': /, '');
}

// The second is what a request gets that was under way when the server ended.
const DEAD = ['Transport endpoint is not connected', 'Software caused connection abort'];

/**
 * Whether the server of the mount on `path` has gone, so that the mount is of no use to anybody.
 */
export async function isStale(path: string): Promise<boolean> {
  let trouble = await probe(path, STALE_TIMEOUT_MS);
  // A server that was killed a moment ago may still have threads that hold the device.
  if (trouble !== undefined && !isDead(trouble)) trouble = await probe(path, STALE_TIMEOUT_MS);
  return trouble !== undefined && isDead(trouble);
}

function isDead(trouble: string): boolean {
  return DEAD.some((text) => trouble.includes(text));
}

/**
 * Takes a mount away at once, also when it is in use or its server is dead. Returns what went
 * wrong, if anything.
 */
export async function unmount(path: string): Promise<string | undefined> {
  const tries = [
    ['umount', '--lazy', '--no-canonicalize', '--', path],
    ['fusermount3', '-u', '-z', '--', path],
  ] as const;
  const order = process.getuid?.() === 0 ? tries : [tries[1], tries[0]];
  let trouble = '';
  for (const [program, ...args] of order) {
    const { status, output } = await runProgram(program, args, 3000);
    if (status === 0 && mountOn(path) === undefined) return undefined;
    trouble = output === '' ? `${program} ended with code ${String(status)}` : output;
  }
  return mountOn(path) === undefined ? undefined : trouble;
}

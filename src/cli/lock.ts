/**
 * One command at a time changes a DVS.
 *
 * flock(1) locks a descriptor of ours, so the kernel frees the lock however its holder ends: there
 * are no stale locks. The file says who holds it, for the message to the others.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, statSync } from 'node:fs';
import { writeSync } from 'node:fs';

import { systemClock } from '../dvk/clock.ts';
import { CliError } from './output.ts';
import { sleep } from './wait.ts';

const INTERVAL_MS = 100;
const TIMEOUT_MS = 8000;

/**
 * Runs `work` alone. Fails when another command holds the lock for longer than `timeoutMs`.
 * Undefined is returned, and no work done, when the lock's directory is not there.
 */
export async function withLock<T>(
  path: string,
  work: () => Promise<T>,
  timeoutMs: number = TIMEOUT_MS,
): Promise<T | undefined> {
  const deadline = systemClock.nowMs() + timeoutMs;
  for (;;) {
    const fd = openLock(path);
    if (fd === undefined) return undefined;
    try {
      if (tryLock(fd) && isSameFile(fd, path)) {
        sign(fd);
        return await work();
      }
    } finally {
      closeSync(fd);
    }
    if (systemClock.nowMs() >= deadline) {
      throw new CliError(
        `another command is at work on this DVS: ${holder(path)}`,
        'Wait for it to end, or end it, and try again.',
      );
    }
    await sleep(INTERVAL_MS);
  }
}

function openLock(path: string): number | undefined {
  try {
    return openSync(path, 'a+', 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function tryLock(fd: number): boolean {
  const stdio = ['ignore', 'ignore', 'ignore', fd] as const;
  const { status, error } = spawnSync('flock', ['--exclusive', '--nonblock', '3'], {
    stdio: [...stdio],
  });
  if (error !== undefined) {
    throw new CliError('the program flock is missing', 'Install it: apt install util-linux');
  }
  return status === 0;
}

// `dvk down` removes the file while others wait for it; a lock on a removed file excludes nobody.
function isSameFile(fd: number, path: string): boolean {
  try {
    const [ours, present] = [fstatSync(fd), statSync(path)];
    return ours.ino === present.ino && ours.dev === present.dev;
  } catch {
    return false;
  }
}

function sign(fd: number): void {
  ftruncateSync(fd);
  writeSync(fd, `pid ${String(process.pid)}, dvk ${process.argv.slice(2).join(' ')}\n`);
}

function holder(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim() || 'unknown';
  } catch {
    return 'unknown';
  }
}

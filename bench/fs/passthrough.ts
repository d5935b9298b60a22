/**
 * The baseline of the fs bench: libfuse's own passthrough example, which mirrors the host's tree.
 *
 * Its source comes with Debian's libfuse3-dev and is compiled when the bench runs; without it,
 * bindfs takes its place. It is mounted read-only, since what is written below such a mount point
 * is written to the host; all else is as the example has it.
 */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import type { Cleanup } from '../cleanup.ts';
import { settlesWithin } from '../peer-case.ts';
import { isMounted, unmount } from './mounts.ts';

const EXAMPLES = '/usr/share/doc/libfuse3-dev/examples';
const SOURCE = 'passthrough.c';
const START_MS = 10_000;
const POLL_MS = 20;
const run = promisify(execFile);

/** How a passthrough is started. */
interface Mirror {
  readonly program: string;
  readonly options: readonly string[];
}

/** Compiles the example into `directory`; without its source, finds bindfs. */
async function findMirror(directory: string): Promise<Mirror | undefined> {
  const source = join(EXAMPLES, SOURCE);
  if (!existsSync(source)) {
    const bindfs = ['/usr/bin/bindfs', '/usr/local/bin/bindfs'].find((path) => existsSync(path));
    return bindfs === undefined ? undefined : { program: bindfs, options: ['-f', '-r', '/'] };
  }
  const { stdout } = await run('pkg-config', ['fuse3', '--cflags', '--libs']);
  const flags = stdout.trim().split(/\s+/);
  const program = join(directory, 'passthrough');
  await run('cc', ['-O2', source, '-o', program, ...flags]);
  return { program, options: ['-f', '-o', 'ro'] };
}

async function mounted(path: string, child: ChildProcess): Promise<boolean> {
  const deadline = performance.now() + START_MS;
  while (!isMounted(path)) {
    if (child.exitCode !== null || performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}

/**
 * Mounts a mirror of the host's root below `directory`. Returns the mount point, or undefined when
 * this machine has neither the example's source nor bindfs.
 */
export async function mountPassthrough(
  directory: string,
  cleanup: Cleanup,
): Promise<string | undefined> {
  const mirror = await findMirror(directory);
  if (mirror === undefined) return undefined;
  const mountpoint = join(directory, 'passthrough-mnt');
  mkdirSync(mountpoint);
  const child = spawn(mirror.program, [...mirror.options, mountpoint], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  cleanup.defer(async () => {
    child.kill('SIGTERM');
    if (!(await settlesWithin(exited, START_MS))) child.kill('SIGKILL');
    await exited;
    await unmount(mountpoint);
  });
  if (!(await mounted(mountpoint, child))) throw new Error('the passthrough did not mount');
  return mountpoint;
}

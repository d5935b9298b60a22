/**
 * The baseline of the fs bench: libfuse's own passthrough example, over one directory.
 *
 * Its source comes with Debian's libfuse3-dev and is compiled when the bench runs; without it,
 * bindfs takes its place.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { findProgram, type Setting } from './image.ts';
import { startMount } from './mounts.ts';

const EXAMPLES = '/usr/share/doc/libfuse3-dev/examples';
const SOURCE = 'passthrough.c';
const run = promisify(execFile);

/** Compiles the example into `directory`. */
async function compile(directory: string): Promise<string> {
  const { stdout } = await run('pkg-config', ['fuse3', '--cflags', '--libs']);
  const program = join(directory, 'passthrough');
  await run('cc', ['-O2', join(EXAMPLES, SOURCE), '-o', program, ...stdout.trim().split(/\s+/)]);
  return program;
}

/**
 * Mounts a mirror of `source`. Returns the mount point, or undefined when this machine has neither
 * the example's source nor bindfs.
 */
export async function mountPassthrough(
  source: string,
  { directory, note, cleanup }: Setting,
): Promise<string | undefined> {
  const mountpoint = join(directory, 'passthrough-mnt');
  if (existsSync(join(EXAMPLES, SOURCE))) {
    const program = await compile(directory);
    const options = ['-f', '-o', `modules=subdir,subdir=${source}`, mountpoint];
    return startMount({ program, options, mountpoint }, cleanup);
  }
  const program = findProgram('bindfs');
  if (program !== undefined) {
    return startMount({ program, options: ['-f', source, mountpoint], mountpoint }, cleanup);
  }
  note('no passthrough: install libfuse3-dev, or bindfs');
  return undefined;
}

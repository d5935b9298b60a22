/**
 * The baselines of the fs bench: libfuse's own passthrough examples, over one directory.
 *
 * Their sources come with Debian's libfuse3-dev and are compiled when the bench runs; without them,
 * bindfs takes the place of the first.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { findProgram, type Setting } from './image.ts';
import { startMount, type Mounted } from './mounts.ts';

const EXAMPLES = '/usr/share/doc/libfuse3-dev/examples';
const run = promisify(execFile);

/** Compiles an example into `directory`; undefined when its source is not there. */
async function compile(name: string, directory: string): Promise<string | undefined> {
  const source = join(EXAMPLES, `${name}.c`);
  if (!existsSync(source)) return undefined;
  const { stdout } = await run('pkg-config', ['fuse3', '--cflags', '--libs']);
  const program = join(directory, name);
  await run('cc', ['-O2', source, '-o', program, ...stdout.trim().split(/\s+/)]);
  return program;
}

/** Mounts a mirror of `source`. Returns undefined when there is neither the example nor bindfs. */
export async function mountPassthrough(
  source: string,
  { directory, note, cleanup }: Setting,
): Promise<Mounted | undefined> {
  const mountpoint = join(directory, 'passthrough-mnt');
  const example = await compile('passthrough', directory);
  if (example !== undefined) {
    const options = ['-f', '-o', `modules=subdir,subdir=${source}`, mountpoint];
    return startMount({ program: example, options, mountpoint }, cleanup);
  }
  const program = findProgram('bindfs');
  if (program !== undefined) {
    return startMount({ program, options: ['-f', source, mountpoint], mountpoint }, cleanup);
  }
  note('no passthrough: install libfuse3-dev, or bindfs');
  return undefined;
}

/**
 * Mounts a mirror whose names and attributes the kernel may believe for an hour: the limit of what
 * FUSE can do with a warm cache. Undefined without the example.
 */
export async function mountCached(
  source: string,
  { directory, note, cleanup }: Setting,
): Promise<Mounted | undefined> {
  const program = await compile('passthrough_ll', directory);
  if (program === undefined) {
    note('no passthrough-cached: install libfuse3-dev');
    return undefined;
  }
  const mountpoint = join(directory, 'cached-mnt');
  const options = ['-f', '-o', `source=${source},cache=always,timeout=3600`, mountpoint];
  return startMount({ program, options, mountpoint }, cleanup);
}

/** Empty ext4 images of the fs bench, and the one that the host's kernel mounts. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

import type { Cleanup } from '../cleanup.ts';
import { unmount, type Mounted } from './mounts.ts';

/** Of one image; it takes memory as it is filled. */
export const IMAGE_BYTES: number = 2 ** 31;

const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
const run = promisify(execFile);

/** What each kind of mount is made with. */
export interface Setting {
  /** The bench's own directory. */
  readonly directory: string;
  readonly note: (what: string) => void;
  readonly cleanup: Cleanup;
}

/** The path of a system program, also for a user whose PATH lacks the system's folders. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_FOLDERS];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export async function makeImage(path: string): Promise<void> {
  const program = findProgram('mke2fs');
  if (program === undefined) throw new Error('mke2fs is missing; install e2fsprogs');
  await run(program, ['-q', '-t', 'ext4', path, `${String(IMAGE_BYTES / 2 ** 20)}M`]);
}

/**
 * Mounts an image by the host's kernel. Where that is not allowed a plain directory takes its
 * place. It cannot be mounted anew, since others work below it; all that is known of its files is
 * in the kernel's caches.
 */
export async function mountHost({ directory, note, cleanup }: Setting): Promise<Mounted> {
  const image = join(directory, 'host.ext4');
  const mountpoint = join(directory, 'host-mnt');
  const mounted = { path: mountpoint, again: async () => Promise.resolve() };
  mkdirSync(mountpoint);
  await makeImage(image);
  try {
    await run('mount', ['-o', 'loop', image, mountpoint]);
  } catch (error) {
    note(`host is a plain directory: no loop device (${String(error).split('\n')[0] ?? ''})`);
    return mounted;
  }
  cleanup.defer(async () => unmount(mountpoint));
  return mounted;
}

/** Directories for a bench's own files, in memory where there is room. */
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Cleanup } from './cleanup.ts';

const IN_MEMORY = '/dev/shm';
const PREFIX = 'dvk-bench-';

function hasRoom(directory: string, bytes: number): boolean {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize > bytes;
  } catch {
    return false;
  }
}

/** A new directory in a place with room for `bytes`. */
export function makeScratch(bytes: number): string {
  const place = [IN_MEMORY, tmpdir()].find((directory) => hasRoom(directory, bytes));
  if (place === undefined) {
    const needed = Math.ceil(bytes / 2 ** 20);
    throw new Error(`neither ${IN_MEMORY} nor ${tmpdir()} has ${String(needed)} MiB to spare`);
  }
  return mkdtempSync(join(place, PREFIX));
}

/** A directory that is removed with all that it holds; nothing may be mounted below it. */
export function scratchDirectory(cleanup: Cleanup, bytes: number): string {
  const directory = makeScratch(bytes);
  cleanup.defer(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/**
 * Volumes in memory: a file in the directory of their node, which is in memory itself.
 *
 * It is made when its server is started first. It outlives the server and the node's daemon, whose
 * clients find their files again as they do on a disk, and ends with `dvk down`. It is read and
 * written by calls, not mapped: where the memory is full the server gets ENOSPC, as from a disk.
 */
import { chmodSync, existsSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';

import { formatSize } from '../vos/spec-reader.ts';
import { makeVolume } from './fs-mkfs.ts';
import { CliError } from './output.ts';

/** What the machine's memory does to a volume, for those who list services. */
export const RAM_NOTE = 'in memory, gone after dvk down';

/**
 * Makes an empty volume, unless there is one. Throws a CliError where less memory is free than it
 * may come to take.
 */
export async function prepareRam(path: string, bytes: number): Promise<void> {
  if (existsSync(path)) return;
  const { bavail, bsize } = statfsSync(dirname(path));
  if (bavail * bsize < bytes) {
    const free = `${dirname(path)} has ${formatSize(bavail * bsize)} free`;
    const remedy = 'give the volume less, or the DVS another --runtime';
    throw new CliError(`${free}, and a volume of ${formatSize(bytes)} is to be there; ${remedy}`);
  }
  // One that is made in part has another name.
  const half = `${path}.new`;
  rmSync(half, { force: true });
  await makeVolume(half, { size: bytes });
  chmodSync(half, 0o600);
  renameSync(half, path);
}

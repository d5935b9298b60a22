/**
 * Care for the directory a gateway mounts on: checks it, detaches what a killed gateway left there,
 * sets read-ahead.
 *
 * The kernel's list of mounts (/proc/self/mountinfo, see proc(5)) tells all that can be told
 * without touching the mount: a process that serves a mount and looks into it synchronously waits
 * for itself.
 */
import { readFile, realpath, stat, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import type { Clock } from '../../dvk/clock.ts';
import { DvkError } from '../../dvk/errors.ts';
import type { FuseDevice } from './device.ts';

const { EBUSY, EIO, ENOENT, ENOTDIR } = constants.errno;
export const FILE_SYSTEM_TYPE = 'fuse.dvk';
/** A mount that says nothing for this long is taken for a live one whose server is slow. */
const ANSWER_MS_MAX = 2000;
/** Dead mounts that may lie on one another. */
const DEAD_MOUNTS_MAX = 16;
const OCTAL_ESCAPE = /\\([0-7]{3})/g;

/** A failed mount, with what the user can do about it. */
export function mountError(errno: number, reason: string): DvkError {
  return new DvkError(errno, 'mount', { reason });
}

export interface MountEntry {
  /** "major:minor" */
  readonly device: string;
  readonly mountpoint: string;
  readonly type: string;
  readonly source: string;
}

/**
 * Entries in mounting order; of several on one directory the last is on top. Lines of an unknown
 * form are left out.
 */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const [left, right] = line.split(' - ');
    const [, , device, , mountpoint] = (left ?? '').split(' ');
    const [type, source] = (right ?? '').split(' ');
    if (device === undefined || mountpoint === undefined || type === undefined) continue;
    entries.push({
      device,
      mountpoint: unescape(mountpoint),
      type,
      source: unescape(source ?? ''),
    });
  }
  return entries;
}

/** What is mounted on exactly this directory, on top. */
export async function mountOn(mountpoint: string): Promise<MountEntry | undefined> {
  const entries = parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
  return entries.findLast((entry) => entry.mountpoint === mountpoint);
}

/** Makes sure that `path` can be mounted on. Returns it as the kernel names it. */
export async function prepareMountpoint(
  device: FuseDevice,
  clock: Clock,
  path: string,
): Promise<string> {
  const mountpoint = await canonicalPath(path);
  for (let i = 0; i < DEAD_MOUNTS_MAX; i++) {
    const mounted = await mountOn(mountpoint);
    if (mounted?.type !== FILE_SYSTEM_TYPE) break;
    if (await answers(clock, mountpoint)) {
      throw mountError(
        EBUSY,
        `${mountpoint} is already a DVK mount (${mounted.source}) with a gateway at work; ` +
          `unmount it first: fusermount3 -u ${mountpoint}`,
      );
    }
    if (device.fuseUnmount(mountpoint, true) < 0) {
      throw mountError(
        EBUSY,
        `a dead DVK mount (${mounted.source}) on ${mountpoint} cannot be detached; ` +
          `as its owner or root: fusermount3 -u -z ${mountpoint}`,
      );
    }
  }
  await checkDirectory(mountpoint);
  return mountpoint;
}

/**
 * Lets the kernel read `kibibytes` ahead on the mount with this device number; only root may. INIT
 * can only lower the limit of 128 KiB that every new mount has, so that a sequential reader would
 * wait for each 128 KiB.
 */
export async function setReadAhead(deviceNumber: string, kibibytes: number): Promise<boolean> {
  try {
    await writeFile(`/sys/class/bdi/${deviceNumber}/read_ahead_kb`, String(kibibytes));
    return true;
  } catch {
    return false;
  }
}

async function canonicalPath(path: string): Promise<string> {
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw missing(absolute);
    // A dead mount answers ENOTCONN; its parent directory still has a name.
    return join(await realpath(dirname(absolute)), basename(absolute));
  }
}

async function checkDirectory(mountpoint: string): Promise<void> {
  let isDirectory: boolean;
  try {
    isDirectory = (await stat(mountpoint)).isDirectory();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') throw missing(mountpoint);
    throw mountError(EIO, `the mount point ${mountpoint} cannot be looked at: ${codeOf(error)}`);
  }
  if (isDirectory) return;
  throw mountError(
    ENOTDIR,
    `the mount point ${mountpoint} is no directory; name a directory, or make one: mkdir -p DIR`,
  );
}

/**
 * Whether a gateway is behind the mount. stat(2) runs on a thread of the pool: this process may be
 * that gateway.
 */
async function answers(clock: Clock, mountpoint: string): Promise<boolean> {
  let cancel = (): void => undefined;
  const silence = new Promise<boolean>((done) => {
    cancel = clock.after(ANSWER_MS_MAX, () => {
      done(true);
    });
  });
  const answer = stat(mountpoint).then(
    () => true,
    (error: unknown) => codeOf(error) !== 'ENOTCONN' && codeOf(error) !== 'ECONNABORTED',
  );
  const result = await Promise.race([answer, silence]);
  cancel();
  return result;
}

function missing(mountpoint: string): DvkError {
  return mountError(
    ENOENT,
    `the mount point ${mountpoint} does not exist; make it: mkdir -p ${mountpoint}`,
  );
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'EIO';
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescape(text: string): string {
  if (!text.includes('\\')) return text;
  const latin1 = Buffer.from(text, 'utf8').toString('latin1');
  const bytes = latin1.replace(OCTAL_ESCAPE, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/**
 * Makes ext2, ext3 and ext4 images with e2fsprogs, and mounts them with the kernel's driver where
 * that is allowed.
 *
 * Everything lives in a temporary directory that is removed, and every mount is ended, however a
 * test ends.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, mkdtempSync, mkdirSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Not every PATH has the directories of mke2fs and its like.
const environment = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` };

export interface ImageOptions {
  /** "ext4" unless told. */
  type?: 'ext2' | 'ext3' | 'ext4';
  bytes: number;
  /** A directory whose tree goes into the image. */
  source?: string;
  /** Further arguments of mke2fs. */
  arguments?: readonly string[];
}

/** Gives `use` a temporary directory and removes it afterwards. */
export function withDirectory<Result>(use: (directory: string) => Result): Result {
  const directory = mkdtempSync(join(tmpdir(), 'dvk-image-'));
  try {
    return use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

export function run(command: string, ...args: readonly string[]): Buffer {
  return execFileSync(command, args, {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
  });
}

/**
 * Makes an image in `directory` and returns its path. Uuid and hash seed are fixed, so that runs
 * repeat.
 */
export function makeImage(directory: string, options: ImageOptions): string {
  const path = join(directory, 'image');
  rmSync(path, { force: true });
  writeFileSync(path, '');
  truncateSync(path, options.bytes);
  const uuid = '6a2d1f5e-0c3b-4e8a-9d47-2b6f81c05e93';
  run(
    'mke2fs',
    ...['-q', '-F', '-t', options.type ?? 'ext4', '-U', uuid],
    ...['-E', `hash_seed=${uuid},lazy_itable_init=0,lazy_journal_init=0`],
    ...(options.source === undefined ? [] : ['-d', options.source]),
    ...(options.arguments ?? []),
    path,
  );
  return path;
}

/** One command of debugfs, with its output. */
export function debugfs(image: string, command: string, ...flags: readonly string[]): string {
  return run('debugfs', ...flags, '-R', command, image).toString();
}

/** Why images cannot be mounted here, or undefined if they can. */
export function mountObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting an image takes root';
  try {
    accessSync('/dev/loop-control');
  } catch {
    return 'there are no loop devices';
  }
  const known = readFileSync('/proc/filesystems', 'utf8').includes('ext4');
  if (!known) return 'the kernel has no ext4';
  return withDirectory((directory) => {
    try {
      const image = makeImage(directory, { bytes: 1 << 20, arguments: ['-O', '^has_journal'] });
      withMount(image, 'ro', () => undefined);
      return undefined;
    } catch (error) {
      return `mounting failed: ${String(error)}`;
    }
  });
}

/** Mounts the image beside itself while `use` runs. */
export function withMount<Result>(
  image: string,
  options: string,
  use: (mount: string) => Result,
): Result {
  const mount = `${image}.mount`;
  mkdirSync(mount, { recursive: true });
  run('mount', '-t', 'ext4', '-o', `loop,${options}`, image, mount);
  try {
    return use(mount);
  } finally {
    run('umount', mount);
    waitForLoop(image);
  }
}

/**
 * A mount lives on while a process in a copy of the mount namespace exists, such as one of another
 * test; until then the image is not settled, and cannot be mounted in another way.
 */
function waitForLoop(image: string): void {
  const never = new Int32Array(new SharedArrayBuffer(4));
  for (let round = 0; round < 100; round++) {
    if (run('losetup', '-j', image).length === 0) return;
    Atomics.wait(never, 0, 0, 100);
  }
  throw new Error(`${image} is still in use`);
}

/** Why e2fsprogs cannot be used here, or undefined if they can. */
export function imageObstacle(): string | undefined {
  try {
    run('mke2fs', '-V');
    run('debugfs', '-V');
    return undefined;
  } catch {
    return 'mke2fs and debugfs are not installed';
  }
}

/** Which mounts there are, and ending those that a bench made. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The mount points of a text such as /proc/self/mountinfo; octal escapes are undone. */
export function parseMounts(mountinfo: string): string[] {
  return mountinfo
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => path !== '')
    .map((path) =>
      path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    );
}

function mounts(): string[] {
  return parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'));
}

export function isMounted(path: string): boolean {
  return mounts().includes(path);
}

/** Mount points below `directory`, the innermost first. */
export function mountsBelow(directory: string): string[] {
  return mounts()
    .filter((path) => path.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length);
}

/** Ends a mount, if it is there, even when its server hangs. */
export async function unmount(path: string): Promise<void> {
  if (!isMounted(path)) return;
  try {
    await run('fusermount3', ['-u', '-z', path]);
  } catch {
    await run('umount', ['-l', path]);
  }
}

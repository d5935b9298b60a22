/**
 * What the commands about volumes share: an image that is held so that nobody else uses it, and the
 * programs of e2fsprogs.
 */
import { spawn } from 'node:child_process';
import { closeSync, constants, openSync, readFileSync, readdirSync, realpathSync } from 'node:fs';
import { statSync } from 'node:fs';
import { join } from 'node:path';

import { systemClock } from '../dvk/clock.ts';
import { type ImageFile, openImage } from '../servers/fs/device.ts';
import { isFsError } from '../servers/fs/errors.ts';
import { CliError, output } from './output.ts';
import { findProgram } from './programs.ts';

/** No sound volume takes longer; a disk that hangs does. */
const TOOL_TIMEOUT_MS = 3_600_000;
/** e2fsck ends what it is writing before it does what SIGTERM asks for. */
const GRACE_MS = 30_000;
const TICK_MS = 1000;
const LOOPS = '/sys/block';

export interface ToolResult {
  readonly status: number;
  readonly text: string;
}

/** The path of a program of e2fsprogs. */
export function tool(name: string): string {
  const found = findProgram(name);
  if (found !== undefined) return found;
  throw new CliError(`${name} is missing`, 'Install it: apt install e2fsprogs');
}

/**
 * Runs `work` with the image open, and locked as the server locks it: for `write` against everyone
 * else, for `read` against those who write.
 */
export async function withImage<T>(
  path: string,
  access: 'read' | 'write',
  work: (image: ImageFile) => Promise<T>,
): Promise<T> {
  if (access === 'write') refuseMounted(path);
  const image = open(path, access);
  try {
    return await work(image);
  } finally {
    image.close();
  }
}

/** `look` locks nothing. Throws a CliError. */
export function open(path: string, access: 'read' | 'write' | 'look'): ImageFile {
  try {
    if (statSync(path).isDirectory()) throw new CliError(`${path} is a directory`);
    return openImage(path, access);
  } catch (error) {
    if (!isFsError(error, 'EBUSY')) throw asCliError(error, path);
    const remedy = 'Stop the server that has it, as by `dvk service stop`, and try again.';
    throw new CliError(`${path} is in use${holderOf(path)}`, remedy);
  }
}

/** What open(2) failed with, for people. */
export function asCliError(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return new CliError(`${path} is not there`);
  if (code === 'EACCES' || code === 'EPERM') return new CliError(`${path} may not be opened`);
  return isFsError(error) ? new CliError(`${path}: ${error.message}`) : error;
}

/** Throws a CliError when this machine's kernel uses the image or device. */
export function refuseMounted(path: string): void {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return;
  const busy = status.isBlockDevice() ? isHeld(path) : loopOf(path);
  if (busy === undefined) return;
  throw new CliError(`${path} is in use by the kernel (${busy})`, 'Unmount it, and try again.');
}

/** A device that is mounted, or part of another one, cannot be opened for oneself alone. */
function isHeld(path: string): string | undefined {
  try {
    closeSync(openSync(path, constants.O_RDONLY | constants.O_EXCL));
    return undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return 'mounted';
    throw asCliError(error, path);
  }
}

function loopOf(path: string): string | undefined {
  const real = realpathSync(path);
  const names = readdirSync(LOOPS).filter((name) => name.startsWith('loop'));
  return names.find((name) => {
    try {
      return readFileSync(join(LOOPS, name, 'loop/backing_file'), 'utf8').trimEnd() === real;
    } catch {
      return false;
    }
  });
}

/** Which process locks the file, as far as the kernel tells. */
function holderOf(path: string): string {
  try {
    const inode = String(statSync(path).ino);
    const locks = readFileSync('/proc/locks', 'utf8').split('\n');
    for (const line of locks) {
      const [, , , , pid = '', file = ''] = line.split(/\s+/);
      if (!line.includes('FLOCK') || file.split(':').at(-1) !== inode) continue;
      return ` by process ${pid}`;
    }
  } catch {
    // It is told without a name then.
  }
  return '';
}

export interface ToolOptions {
  readonly title: string;
  /** The program writes its progress to descriptor 3, as e2fsck -C does. */
  readonly progress?: boolean;
}

/** Runs one of these programs to its end; what takes over a second shows how far it is. */
export async function runTool(
  program: string,
  args: readonly string[],
  { title, progress = false }: ToolOptions,
): Promise<ToolResult> {
  const startMs = systemClock.nowMs();
  let share = '';
  let cancelTick = systemClock.after(TICK_MS, tick);
  function tick(): void {
    const seconds = Math.round((systemClock.nowMs() - startMs) / 1000);
    output.progress(`${title}${share}  ${String(seconds)} s`);
    cancelTick = systemClock.after(TICK_MS, tick);
  }
  try {
    return await watched(program, args, progress, (line) => {
      share = progressOf(line) ?? share;
    });
  } finally {
    cancelTick();
  }
}

async function watched(
  program: string,
  args: readonly string[],
  progress: boolean,
  onProgress: (line: string) => void,
): Promise<ToolResult> {
  return await new Promise((resolve, reject) => {
    let text = '';
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe', progress ? 'pipe' : 'ignore'],
      env: { ...process.env, LC_ALL: 'C', E2FSCK_CONFIG: '/dev/null' },
    });
    const take = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    const third = child.stdio[3];
    if (third !== null && third !== undefined && 'on' in third) {
      third.on('data', (chunk: Buffer) => {
        onProgress(chunk.toString('latin1').trimEnd().split('\n').at(-1) ?? '');
      });
    }
    let cancel = systemClock.after(TOOL_TIMEOUT_MS, () => {
      child.kill('SIGTERM');
      cancel = systemClock.after(GRACE_MS, () => {
        child.kill('SIGKILL');
      });
    });
    child.on('error', (error) => {
      cancel();
      reject(new CliError(`${program} could not be started: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      cancel();
      if (signal === null) resolve({ status: code ?? 1, text: text.trim() });
      else reject(new CliError(`${program} was ended by ${signal}`));
    });
  });
}

/** `PASS CURRENT MAXIMUM NAME`, as e2fsck writes it. */
function progressOf(line: string): string | undefined {
  const [, pass, current, maximum] = /^(\d+) (\d+) (\d+)/.exec(line) ?? [];
  if (pass === undefined || Number(maximum) === 0) return undefined;
  const percent = Math.floor((100 * Number(current)) / Number(maximum));
  return `  pass ${pass}, ${String(percent)} %`;
}

/** Throws a CliError with what the program said, unless it ended with one of the codes. */
export function mustEndWith(
  { status, text }: ToolResult,
  program: string,
  codes: readonly number[] = [0],
): void {
  if (codes.includes(status)) return;
  const said = text.split('\n').filter((line) => !/^\S+ \d[\d.]+ \(/.test(line));
  throw new CliError(`${program} ended with code ${String(status)}: ${said.join('\n')}`);
}

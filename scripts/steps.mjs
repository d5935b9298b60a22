// What the scripts share: printed steps, running programs, one-at-a-time locks, content hashes.
//
// Plain JavaScript on Node's own modules, since these scripts run before anything is installed.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
/** Scratch space of the scripts; ignored by git, safe to delete. */
export const scratch = join(root, '.build');

/** A failure whose message is all that the user needs; no stack is printed. */
export class StepError extends Error {}

export function say(text) {
  process.stdout.write(`${text}\n`);
}

export function seconds(sinceMs) {
  return `${((performance.now() - sinceMs) / 1000).toFixed(1)} s`;
}

/** Runs `work` between two lines that tell what is being done and how long it took. */
export async function step(title, work) {
  const start = performance.now();
  say(`${title} ...`);
  const result = await work();
  say(`${title} ... done in ${seconds(start)}`);
  return result;
}

/** Ends a script: prints a StepError as one line, anything else with its stack. */
export function fail(error) {
  process.stderr.write(`${error instanceof StepError ? `error: ${error.message}` : error.stack}\n`);
  process.exit(1);
}

/** Whether the file `url` (an import.meta.url) is the program that was started. */
export function isMain(url) {
  return process.argv[1] !== undefined && fileURLToPath(url) === process.argv[1];
}

/** The path of a program, also where a user's PATH does not look; undefined when there is none. */
export function findProgram(name) {
  const places = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
  const found = spawnSync('sh', ['-c', 'command -v -- "$1"', 'sh', name], {
    env: { ...process.env, PATH: places },
    encoding: 'utf8',
  });
  return found.status === 0 ? found.stdout.trim() : undefined;
}

const running = new Set();

/** Sends a signal to a program started by `run` with `group`, and to all that it started. */
function signalGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    child.kill(signal);
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    for (const child of running) signalGroup(child, signal);
    // Those who hold no child have nothing to wait for.
    if (running.size === 0) process.exit(1);
    process.exitCode = 1;
  });
}

// Programs write to a pipe here; what they may do is decided by where we write.
const COLOR = process.stdout.isTTY
  ? { FORCE_COLOR: '1' }
  : { FORCE_COLOR: undefined, NO_COLOR: '1' };

/**
 * Runs a program in a process group of its own, so that a time-out or Ctrl-C ends all of it.
 *
 * Options: `quiet` keeps the output for the result instead of printing it, `timeoutMs` ends the
 * program, `env` adds to the environment, `cwd` defaults to the root.
 * Resolves with { status, output, timedOut }; a program that cannot be started has status 127.
 */
export async function run(program, args, options = {}) {
  const child = spawn(program, args, {
    cwd: options.cwd ?? root,
    env: { ...process.env, ...COLOR, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  running.add(child);
  const result = { status: 127, output: '', timedOut: false };
  const take = (target) => (chunk) => {
    result.output += chunk;
    if (!options.quiet) target.write(chunk);
  };
  child.stdout.setEncoding('utf8').on('data', take(process.stdout));
  child.stderr.setEncoding('utf8').on('data', take(process.stderr));
  const watchdog =
    options.timeoutMs &&
    setTimeout(() => {
      result.timedOut = true;
      signalGroup(child, 'SIGTERM');
      setTimeout(() => signalGroup(child, 'SIGKILL'), 5000).unref();
    }, options.timeoutMs);
  await new Promise((resolve) => {
    child.on('error', (error) => {
      result.output += `${program}: ${error.message}\n`;
      resolve();
    });
    // A grandchild that kept the pipe open must not hold us after the program itself has ended.
    child.on('exit', (code, signal) => {
      result.status = code ?? (signal ? 128 : 1);
      setTimeout(resolve, 2000).unref();
    });
    child.on('close', resolve);
  });
  clearTimeout(watchdog);
  running.delete(child);
  return result;
}

/** Runs a program quietly; its output is shown, and the script ends, only when it fails. */
export async function must(program, args, options = {}) {
  const result = await run(program, args, { quiet: true, ...options });
  if (result.status === 0) return result;
  process.stdout.write(result.output);
  const why = result.timedOut ? 'took too long' : `ended with code ${result.status}`;
  throw new StepError(`${[program, ...args].join(' ')} ${why}`);
}

/**
 * Runs `work` while no other process does work under the same name in this checkout.
 *
 * flock(1) locks our own descriptor, so the kernel frees the lock however this process ends.
 */
export async function withLock(name, work) {
  let fd;
  try {
    mkdirSync(scratch, { recursive: true });
    fd = openSync(join(scratch, `${name}.lock`), 'a');
  } catch (error) {
    // A checkout that belongs to somebody else: nothing can be written here, so nothing can clash.
    if (error.code === 'EACCES' || error.code === 'EROFS') return await work();
    throw error;
  }
  const lock = (...flags) =>
    spawnSync('flock', ['-x', ...flags, '3'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
  try {
    const first = lock('-n');
    if (!first.error && first.status !== 0) {
      say(`waiting for another ${name} in this checkout ...`);
      lock();
    }
    return await work();
  } finally {
    closeSync(fd);
  }
}

/** Files under `folder` (relative to the root) whose relative path `keep` accepts, sorted. */
export function listFiles(folder, keep) {
  const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .filter(keep)
    .sort();
}

/** A hash over the names and contents of `files` and over `extra` strings. */
export function hashOf(files, ...extra) {
  const hash = createHash('sha256');
  for (const text of extra) hash.update(`${text}\0`);
  for (const file of files)
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0');
  return hash.digest('hex');
}

/** The content of a stamp file, or '' when there is none. */
export function readStamp(path) {
  try {
    return readFileSync(join(root, path), 'utf8').trim();
  } catch {
    return '';
  }
}

/** The last `N passed, N failed[, N skipped]` line of an output, or undefined. */
export function summaryOf(output) {
  const pattern = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm;
  const last = [...output.matchAll(pattern)].at(-1);
  if (!last) return undefined;
  return { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) };
}

export function summaryLine({ passed, failed, skipped = 0 }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

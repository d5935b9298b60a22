/**
 * Runs the built `dvk` command for cluster tests, each test under a runtime directory of its own,
 * and finds whatever a DVS left on this machine: processes, mounts and files.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { accessSync, constants, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listMounts, unmount } from '../../src/cli/mounts.ts';
import { killAll, identify } from '../../src/cli/process-table.ts';
import { findProgram } from '../../src/cli/programs.ts';
import { systemClock } from '../../src/dvk/clock.ts';
import { pattern } from './trees.ts';

const ROOT = join(import.meta.dirname, '../..').replace(/\/dist$/, '');
export const MAIN: string = join(ROOT, 'dist/src/cli/main.js');

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly ms: number;
}

/** Why mounts cannot be tested here; undefined when they can. */
export function whyNoMounts(): string | undefined {
  if (findProgram('mke2fs') === undefined) return 'mke2fs is missing (apt install e2fsprogs)';
  try {
    accessSync('/dev/fuse', constants.F_OK);
  } catch {
    return '/dev/fuse is missing';
  }
  if (process.getuid?.() !== 0 && findProgram('fusermount3') === undefined) {
    return 'fusermount3 is missing (apt install fuse3)';
  }
  return undefined;
}

/**
 * A place for DVSs: a runtime directory in memory, and a directory for specs, images and mount
 * points.
 */
export class TestPlace {
  readonly runtime: string = mkdtempSync('/dev/shm/dvk-test-');
  readonly files: string = mkdtempSync(join(tmpdir(), 'dvk-test-'));
  /** Where `dvk init` puts certificates. */
  readonly clusters: string = join(this.files, 'clusters');
  readonly #children = new Set<ChildProcess>();
  readonly #runner: readonly string[];

  /** `runner` is what runs commands here, when that is not the shell. */
  constructor(runner: readonly string[] = []) {
    this.#runner = runner;
  }

  /** Of commands here. */
  get environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      DVK_RUNTIME_DIR: this.runtime,
      DVK_CLUSTER_DIR: this.clusters,
      NO_COLOR: '1',
    };
  }

  /** Starts a command and leaves it running. */
  start(...args: readonly string[]): ChildProcess {
    const [program = '', ...rest] = [...this.#runner, process.execPath, MAIN, ...args];
    const child = spawn(program, rest, {
      env: this.environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    return child;
  }

  /** Runs a command to its end. */
  async run(...args: readonly string[]): Promise<CommandResult> {
    return await ended(this.start(...args));
  }

  /** Runs a command that must succeed. */
  async must(...args: readonly string[]): Promise<CommandResult> {
    const result = await this.run(...args);
    if (result.code === 0) return result;
    throw new Error(`dvk ${args.join(' ')}: code ${String(result.code)}\n${result.stderr}`);
  }

  /** The JSON document that a command prints, whatever its exit code. */
  async json<T>(...args: readonly string[]): Promise<T> {
    const { stdout, stderr } = await this.run(...args, '--json');
    if (stdout === '') throw new Error(`dvk ${args.join(' ')}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  spec(name: string, lines: readonly string[]): string {
    const path = join(this.files, name);
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  }

  /** An ext4 image of a tree of files, and the tree; `bigBytes` adds a file of that size. */
  image(bigBytes = 0): { image: string; tree: string } {
    const tree = join(this.files, 'tree');
    const image = join(this.files, 'image');
    mkdirSync(join(tree, 'lost+found'), { recursive: true, mode: 0o700 });
    for (let i = 0; i < 200; i++) {
      const directory = join(tree, `directory${String(i % 10)}`);
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `file${String(i)}`), `content ${String(i)}\n`.repeat(i * 20));
    }
    if (bigBytes > 0) writeFileSync(join(tree, 'big'), pattern(1, bigBytes));
    const mke2fs = findProgram('mke2fs') ?? 'mke2fs';
    const size = `${String(32 + Math.ceil(bigBytes / 2 ** 20))}M`;
    const made = spawnSync(mke2fs, ['-q', '-F', '-t', 'ext4', '-d', tree, image, size]);
    if (made.status !== 0) throw new Error(`mke2fs: ${made.stderr.toString()}`);
    return { image, tree };
  }

  /**
   * What there is of any DVS of this place: processes, mounts, and files below the runtime
   * directory.
   */
  leftovers(): string[] {
    const processes = processesOf(this.runtime).map(
      (pid) => `process ${String(pid)} ${commandLine(pid)}`,
    );
    const mounts = listMounts()
      .filter(({ path }) => path.startsWith(this.runtime) || path.startsWith(this.files))
      .map(({ path }) => `mount ${path}`);
    const files = existsSync(this.runtime) ? readdirSync(this.runtime) : [];
    return [...processes, ...mounts, ...files.map((file) => `file ${file}`)];
  }

  /** Ends everything, also what a failed test left. */
  async end(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await killAll(
      processesOf(this.runtime).flatMap((pid) => identify(pid) ?? []),
      5000,
    );
    const mounts = listMounts().filter(
      ({ path }) => path.startsWith(this.runtime) || path.startsWith(this.files),
    );
    for (const { path } of mounts) {
      await unmount(path);
    }
    rmSync(this.runtime, { recursive: true, force: true });
    rmSync(this.files, { recursive: true, force: true });
  }
}

/** Waits for the end of a command. */
export async function ended(child: ChildProcess): Promise<CommandResult> {
  const start = systemClock.nowMs();
  const text = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (text.stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  return { code, ...text, ms: systemClock.nowMs() - start };
}

/** Waits until the command has written `text` to the stream. */
export async function wrote(
  child: ChildProcess,
  stream: 'stdout' | 'stderr',
  text: string,
): Promise<void> {
  let seen = '';
  await new Promise<void>((resolve, reject) => {
    child[stream]?.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
      if (seen.includes(text)) resolve();
    });
    child.once('close', () => {
      reject(new Error(`the command ended without writing ${text}: ${seen}`));
    });
  });
}

function processesOf(runtime: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && identify(pid) !== undefined)
    .filter((pid) => {
      try {
        const environment = readFileSync(`/proc/${String(pid)}/environ`, 'utf8').split('\0');
        return environment.some((entry) => entry.startsWith(`DVK_DVS_DIR=${runtime}/`));
      } catch {
        return false;
      }
    });
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${String(pid)}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

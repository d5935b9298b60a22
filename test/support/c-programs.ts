/** Compiles programs in C against the C interface as a user would, and runs them. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/programs.ts';
import { ended, wrote, type CommandResult } from './dvk-command.ts';

export const ROOT: string = join(import.meta.dirname, '../..').replace(/\/dist$/, '');
const STRICT = ['-std=c11', '-Wall', '-Wextra', '-Werror', '-pedantic'];

/** Why no C program can be compiled here; undefined when one can. */
export function whyNoC(): string | undefined {
  const missing = ['cc', 'pkg-config', 'nm'].find((name) => findProgram(name) === undefined);
  return missing && `${missing} is missing`;
}

/** What pkg-config says of libdvk, from the file that the build writes. */
export function packageConfig(...options: readonly string[]): string[] {
  const env = { ...process.env, PKG_CONFIG_PATH: join(ROOT, 'native/build') };
  const text = execFileSync('pkg-config', [...options, 'dvk'], { env, encoding: 'utf8' });
  return text.trim().split(/\s+/);
}

/** Compiles one source to `program`. A warning is an error. */
export function compile(source: string, program: string): void {
  const libraries = [...packageConfig('--cflags', '--libs'), '-pthread'];
  // c-calls.c starts a thread, and that and raise() are POSIX.
  const flags = [...STRICT, '-D_POSIX_C_SOURCE=200809L'];
  execFileSync('cc', [...flags, '-o', program, join(ROOT, source), ...libraries]);
}

/** A program that was started, with what it wrote once it ended. */
export class CProgram {
  readonly child: ChildProcess;
  readonly ended: Promise<CommandResult>;

  constructor(program: string, ...args: readonly string[]) {
    this.child = spawn(program, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = ended(this.child);
  }

  /** Waits until the program has written its line `ready`. */
  async ready(): Promise<this> {
    await wrote(this.child, 'stdout', 'ready');
    return this;
  }
}

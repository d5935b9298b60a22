/**
 * What a result depends on besides the code: commit, Node.js, kernel and CPU. And where built files
 * are.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus, release, setPriority } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { allowedCpus } from './placement.ts';

export interface Machine {
  /** With `-dirty` when tracked files differ from it; `unknown` outside a checkout. */
  readonly commit: string;
  readonly node: string;
  readonly kernel: string;
  readonly cpu: string;
  readonly cores: number;
}

/** The root of the repository, from bench and from dist/bench. */
export function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('package.json is in no folder above this file');
    folder = parent;
  }
  return folder;
}

/** Where results are kept, from the root. */
export const RESULTS = 'bench/results';

function git(...args: string[]): string {
  return execFileSync('git', args, {
    cwd: projectRoot(),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  }).trim();
}

function commit(): string {
  try {
    // Results are no code, and those of one bench do not taint the next.
    const code = ['--', '.', `:!${RESULTS}`];
    const dirty = git('status', '--porcelain', '--untracked-files=no', ...code) !== '';
    return `${git('rev-parse', 'HEAD')}${dirty ? '-dirty' : ''}`;
  } catch {
    return 'unknown';
  }
}

export function describeMachine(): Machine {
  return {
    commit: commit(),
    node: process.version,
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: allowedCpus().length,
  };
}

const PRIORITY = -10;

/**
 * Lets other work on the machine disturb less, for this process and what it starts; needs a
 * privileged user.
 */
export function raisePriority(): void {
  try {
    setPriority(PRIORITY);
  } catch {
    // An ordinary user measures at ordinary priority.
  }
}

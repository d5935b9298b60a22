/**
 * What the vitest projects `posix-NAME` share: the compiled program that makes the calls, and the
 * file system NAME where it is one for all test files.
 *
 * `tmpfs` and `ext4` are mounted anew by each test file, in a mount namespace of its own; see
 * posix-files.ts. At the end the number of assertions is printed.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { findProgram } from '../../src/cli/programs.ts';
import { imageObstacle, mountObstacle } from './images.ts';
import { compileCalls } from './posix-process.ts';

export type FileSystemName = 'tmpfs' | 'ext4';

export interface PosixPlace {
  readonly name: FileSystemName;
  /** A directory for the program, images and mount points, which is removed in the end. */
  readonly folder: string;
  /** Why nothing can be tested, or nothing. */
  readonly obstacle: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    readonly posix: PosixPlace;
  }
}

function obstacleOf(name: FileSystemName): string {
  if (process.getuid?.() !== 0) return 'mounting and other credentials take root';
  const missing = ['cc', 'nsenter'].find((program) => findProgram(program) === undefined);
  if (missing !== undefined) return `${missing} is missing`;
  return name === 'ext4' ? (imageObstacle() ?? mountObstacle() ?? '') : '';
}

/** Test files add a line each: how many facts, and how many rows of tables. */
function printCounts(place: PosixPlace): void {
  const file = join(place.folder, 'counts');
  if (!existsSync(file)) return;
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  const sum = lines.reduce((total, line) => total + Number(line), 0);
  process.stdout.write(`posix on ${place.name}: ${sum} assertions in ${lines.length} files\n`);
}

export default function setup(project: TestProject): () => void {
  const name = project.name.replace('posix-', '') as FileSystemName;
  const folder = mkdtempSync(join(tmpdir(), 'dvk-posix-'));
  const place: PosixPlace = { name, folder, obstacle: obstacleOf(name) };
  chmodSync(folder, 0o755);
  if (place.obstacle === '') compileCalls(join(folder, 'calls'));
  project.provide('posix', place);
  return () => {
    printCounts(place);
    rmSync(folder, { recursive: true, force: true });
  };
}

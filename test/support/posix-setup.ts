/**
 * What the vitest projects `posix-NAME` share: the compiled program that makes the calls, and the
 * file system NAME where it is one for all test files.
 *
 * `tmpfs` and `ext4` are mounted anew by each test file, in a mount namespace of its own, by
 * posix-files.ts; `mount` is a mount of a DVS, which all test files share. At the end the number of
 * assertions is printed.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { findProgram } from '../../src/cli/programs.ts';
import { whyNoMounts } from './dvk-command.ts';
import { imageObstacle, mountObstacle } from './images.ts';
import { type MountPaths, startMount } from './posix-mount.ts';
import { compileCalls } from './posix-process.ts';

export type FileSystemName = 'tmpfs' | 'ext4' | 'mount';

export interface PosixPlace {
  readonly name: FileSystemName;
  /** A directory for the program, images and mount points, which is removed in the end. */
  readonly folder: string;
  /** Why nothing can be tested, or nothing. */
  readonly obstacle: string;
  /** Where the DVS is mounted, if it is that which is tested. */
  readonly mount?: MountPaths;
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
  if (name === 'ext4') return imageObstacle() ?? mountObstacle() ?? '';
  return name === 'mount' ? (whyNoMounts() ?? '') : '';
}

/** Test files add a line each: how many facts, and how many rows of tables. */
function printCounts(place: PosixPlace): void {
  const file = join(place.folder, 'counts');
  if (!existsSync(file)) return;
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  const sum = lines.reduce((total, line) => total + Number(line), 0);
  process.stdout.write(`posix on ${place.name}: ${sum} assertions in ${lines.length} files\n`);
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const name = project.name.replace('posix-', '') as FileSystemName;
  const folder = mkdtempSync(join(tmpdir(), 'dvk-posix-'));
  chmodSync(folder, 0o755);
  const obstacle = obstacleOf(name);
  const mount = obstacle === '' && name === 'mount' ? await startMount() : undefined;
  const place = { name, folder, obstacle, ...(mount && { mount: mount.paths }) };
  if (obstacle === '') compileCalls(join(folder, 'calls'));
  project.provide('posix', place);
  return async () => {
    printCounts(place);
    rmSync(folder, { recursive: true, force: true });
    await mount?.end();
  };
}

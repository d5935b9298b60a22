/**
 * Where a file system under test is known to differ from what the suite expects.
 *
 * Each entry is one row of one test: what it gives instead, and why. A row that gives what the
 * suite expects after all fails too, and so does an entry whose row is gone.
 */
import type { FileSystemName } from './posix-setup.ts';

export interface Difference {
  readonly on: readonly FileSystemName[];
  /** The title of the test. */
  readonly test: string;
  /** The row's name. */
  readonly row: string;
  readonly gives: unknown;
  readonly reason: string;
}

export const DIFFERENCES: readonly Difference[] = [];

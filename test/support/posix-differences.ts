/**
 * Where a file system under test is known to differ from what the suite expects.
 *
 * Each entry is some rows of one test: what they give instead, and why. A row that gives what the
 * suite expects after all fails too, and so does an entry whose row is gone.
 */
import type { FileSystemName } from './posix-setup.ts';

export interface Difference {
  readonly on: readonly FileSystemName[];
  /** The title of the test, with that of its `describe`. */
  readonly test: string;
  readonly reason: string;
  /** What each row gives, by the row's name. */
  readonly rows: Readonly<Record<string, unknown>>;
}

const BLOCK = 4096;

export const DIFFERENCES: readonly Difference[] = [
  {
    on: ['tmpfs'],
    test: 'times > marks of read of no bytes',
    reason: 'shmem marks the access time before it looks at the count',
    rows: { 'f after read of no bytes': 'a' },
  },
  {
    on: ['tmpfs'],
    test: 'fallocate > writes zeros with FALLOC_FL_ZERO_RANGE',
    reason: 'shmem takes KEEP_SIZE and PUNCH_HOLE alone',
    rows: {
      'whole blocks': 'EOPNOTSUPP',
      content: 'abcd',
      parts: 'EOPNOTSUPP',
      'content of that': 'aaa',
      'keeping the size': 'EOPNOTSUPP',
      'beyond the end': 'EOPNOTSUPP',
      'size after that': 4 * BLOCK,
      'content in the end': 'abcd',
    },
  },
  {
    on: ['tmpfs'],
    test: 'fallocate > takes blocks out with FALLOC_FL_COLLAPSE_RANGE',
    reason: 'shmem takes KEEP_SIZE and PUNCH_HOLE alone',
    rows: {
      'two blocks': 'EOPNOTSUPP',
      content: 'abcdef',
      size: 6 * BLOCK,
      'part of a block': 'EOPNOTSUPP',
      'to the end': 'EOPNOTSUPP',
      'content in the end': 'abcdef',
    },
  },
  {
    on: ['tmpfs'],
    test: 'fallocate > puts holes in with FALLOC_FL_INSERT_RANGE',
    reason: 'shmem takes KEEP_SIZE and PUNCH_HOLE alone',
    rows: {
      'two blocks': 'EOPNOTSUPP',
      content: 'abcd',
      size: 4 * BLOCK,
      'part of a block': 'EOPNOTSUPP',
      'at the end': 'EOPNOTSUPP',
      'content in the end': 'abcd',
    },
  },
];

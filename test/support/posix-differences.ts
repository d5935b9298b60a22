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
const KILLPRIV =
  'FUSE_HANDLE_KILLPRIV_V2 takes set-group-ID away only with the group to execute; the server ' +
  'does not know all groups of who writes';

const CHANGES = [
  ...['write', 'pwrite', 'truncate', 'ftruncate', 'open with O_TRUNC'],
  ...['fallocate', 'copy_file_range'],
];

/** Rows of the calls that change what is in a file, on the mount. */
function setIdRows(call: string): Difference {
  return {
    on: ['mount'],
    test: `set-id bits > go with ${call} of anybody but root`,
    reason: KILLPRIV,
    rows: { 'mode 2767 by other': 0o2767, 'mode 6666 by other': 0o2666 },
  };
}

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
    on: ['tmpfs', 'mount'],
    test: 'fallocate > takes blocks out with FALLOC_FL_COLLAPSE_RANGE',
    reason: 'shmem takes KEEP_SIZE and PUNCH_HOLE alone; the kernel lets FUSE zero ranges too',
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
    on: ['tmpfs', 'mount'],
    test: 'fallocate > puts holes in with FALLOC_FL_INSERT_RANGE',
    reason: 'shmem takes KEEP_SIZE and PUNCH_HOLE alone; the kernel lets FUSE zero ranges too',
    rows: {
      'two blocks': 'EOPNOTSUPP',
      content: 'abcd',
      size: 4 * BLOCK,
      'part of a block': 'EOPNOTSUPP',
      'at the end': 'EOPNOTSUPP',
      'content in the end': 'abcd',
    },
  },
  ...CHANGES.map(setIdRows),
  {
    on: ['mount'],
    test: 'times > marks of copy_file_range',
    reason: 'the kernel believes in the access time that it had, for up to 1 s',
    rows: { 'f after copy_file_range': '-' },
  },
  {
    on: ['mount'],
    test: 'chown > does what the owner and the groups of a caller permit',
    reason: 'the kernel asks a FUSE file system nothing where neither owner nor group is given',
    rows: {
      'mode 6755 to -1:-1 by root': 0o6755,
      'mode 6755 to -1:-1 by owner': 0o6755,
      'chown 6755 to -1:-1 by group': 0,
      'chown 6755 to -1:-1 by member': 0,
      'chown 6755 to -1:-1 by other': 0,
    },
  },
];

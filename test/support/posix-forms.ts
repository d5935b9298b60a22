/**
 * Every system call that takes a path, in every form that Linux has, so that what holds for all of
 * them is looked at in one table.
 */
import type { Process } from './posix-calls.ts';
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  AT_SYMLINK_NOFOLLOW,
  O_CREAT,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFIFO,
  S_IFREG,
} from './posix-constants.ts';
import type { Argument, Result } from './posix-process.ts';

export interface Form {
  readonly name: string;
  /** Whether it makes the file that the path names, or wants one that is there. */
  readonly makes?: boolean;
  /** Whether it is about a symbolic link itself when the path names one. */
  readonly nofollow?: boolean;
  /** Whether it changes the file system, which fails with EROFS on one that is read-only. */
  readonly changes?: boolean;
  /** Whether it has no argument for a directory's descriptor. */
  readonly plain?: boolean;
  /** Makes the call; `at` is AT_FDCWD or a directory's descriptor. */
  make(p: Process, path: Argument, at: number): Promise<Result>;
}

/** Where the other name is, for calls that have two: made by the test. */
export const OTHER_NAME = 'other-name';
/** As `OTHER_NAME`, a name that is not there. */
export const FREE_NAME = 'free-name';

const buffer = { out: 512 };
const value = Buffer.from('value');

const AT_FORMS: readonly Form[] = [
  { name: 'openat', make: async (p, path, at) => p.make('openat', at, path, O_RDONLY, 0) },
  {
    name: 'openat for writing',
    changes: true,
    make: async (p, path, at) => p.make('openat', at, path, O_RDWR, 0),
  },
  {
    name: 'openat with O_CREAT',
    makes: true,
    changes: true,
    make: async (p, path, at) => p.make('openat', at, path, O_CREAT | O_WRONLY, 0o600),
  },
  {
    name: 'openat with O_PATH and O_NOFOLLOW',
    nofollow: true,
    make: async (p, path, at) => p.make('openat', at, path, O_PATH | O_NOFOLLOW, 0),
  },
  {
    name: 'openat2',
    make: async (p, path, at) => p.make('openat2', at, path, Buffer.alloc(24), 24),
  },
  { name: 'statx', make: async (p, path, at) => p.make('statx', at, path, 0, 0x7ff, { out: 256 }) },
  {
    name: 'statx of a link',
    nofollow: true,
    make: async (p, path, at) =>
      p.make('statx', at, path, AT_SYMLINK_NOFOLLOW, 0x7ff, { out: 256 }),
  },
  { name: 'faccessat', make: async (p, path, at) => p.make('faccessat', at, path, 0) },
  { name: 'faccessat2', make: async (p, path, at) => p.make('faccessat2', at, path, 0, 0x200) },
  {
    name: 'readlinkat',
    nofollow: true,
    make: async (p, path, at) => p.make('readlinkat', at, path, buffer, 512),
  },
  {
    name: 'fchmodat',
    changes: true,
    make: async (p, path, at) => p.make('fchmodat', at, path, 0o777),
  },
  {
    name: 'fchownat',
    changes: true,
    make: async (p, path, at) => p.make('fchownat', at, path, -1, -1, 0),
  },
  {
    name: 'fchownat of a link',
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('fchownat', at, path, -1, -1, AT_SYMLINK_NOFOLLOW),
  },
  {
    name: 'utimensat',
    changes: true,
    make: async (p, path, at) => p.make('utimensat', at, path, 0, 0),
  },
  {
    name: 'utimensat of a link',
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('utimensat', at, path, 0, AT_SYMLINK_NOFOLLOW),
  },
  {
    name: 'unlinkat',
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('unlinkat', at, path, 0),
  },
  {
    name: 'unlinkat of a directory',
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('unlinkat', at, path, AT_REMOVEDIR),
  },
  {
    name: 'renameat2, the old name',
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('renameat2', at, path, AT_FDCWD, FREE_NAME, 0),
  },
  {
    name: 'renameat2 with RENAME_EXCHANGE, the new name',
    nofollow: true,
    changes: true,
    make: async (p, path, at) =>
      p.make('renameat2', AT_FDCWD, OTHER_NAME, at, path, RENAME_EXCHANGE),
  },
  {
    name: 'renameat2 with RENAME_NOREPLACE, the new name',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) =>
      p.make('renameat2', AT_FDCWD, OTHER_NAME, at, path, RENAME_NOREPLACE),
  },
  {
    name: 'renameat2, the new name',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('renameat2', AT_FDCWD, OTHER_NAME, at, path, 0),
  },
  {
    name: 'linkat, the old name',
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('linkat', at, path, AT_FDCWD, FREE_NAME, 0),
  },
  {
    name: 'linkat with AT_SYMLINK_FOLLOW, the old name',
    changes: true,
    make: async (p, path, at) => p.make('linkat', at, path, AT_FDCWD, FREE_NAME, AT_SYMLINK_FOLLOW),
  },
  {
    name: 'linkat, the new name',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('linkat', AT_FDCWD, OTHER_NAME, at, path, 0),
  },
  {
    name: 'symlinkat',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('symlinkat', 'target', at, path),
  },
  {
    name: 'mkdirat',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('mkdirat', at, path, 0o777),
  },
  {
    name: 'mknodat',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('mknodat', at, path, S_IFREG | 0o600, 0),
  },
  {
    name: 'mknodat of a FIFO',
    makes: true,
    nofollow: true,
    changes: true,
    make: async (p, path, at) => p.make('mknodat', at, path, S_IFIFO | 0o600, 0),
  },
];

/** A form without a directory's descriptor. */
function plain(
  name: string,
  make: (p: Process, path: Argument) => Promise<Result>,
  more: Partial<Form> = {},
): Form {
  return { name, plain: true, make, ...more };
}

const CHANGES = { changes: true };
const OF_LINK = { nofollow: true };
const CHANGES_LINK = { changes: true, nofollow: true };
const MAKES = { makes: true, changes: true, nofollow: true };

const PLAIN_FORMS: readonly Form[] = [
  plain('stat', async (p, path) => p.make('stat', path)),
  plain('lstat', async (p, path) => p.make('lstat', path), OF_LINK),
  plain('statfs', async (p, path) => p.make('statfs', path, { out: 120 })),
  plain('statvfs', async (p, path) => p.make('statvfs', path)),
  plain('truncate', async (p, path) => p.make('truncate', path, 0), CHANGES),
  plain('chdir', async (p, path) => p.child('chdir', path)),
  plain('execve', async (p, path) => p.child('execve', path, 0, 0)),
  plain('getxattr', async (p, path) => p.make('getxattr', path, 'user.a', buffer, 512)),
  plain('lgetxattr', async (p, path) => p.make('lgetxattr', path, 'user.a', buffer, 512), OF_LINK),
  plain('listxattr', async (p, path) => p.make('listxattr', path, buffer, 512)),
  plain('llistxattr', async (p, path) => p.make('llistxattr', path, buffer, 512), OF_LINK),
  plain('setxattr', async (p, path) => p.make('setxattr', path, 'user.a', value, 5, 0), CHANGES),
  plain(
    'lsetxattr',
    async (p, path) => p.make('lsetxattr', path, 'user.a', value, 5, 0),
    CHANGES_LINK,
  ),
  plain('removexattr', async (p, path) => p.make('removexattr', path, 'user.a'), CHANGES),
  plain('lremovexattr', async (p, path) => p.make('lremovexattr', path, 'user.a'), CHANGES_LINK),
];

/** Calls that newer architectures have no more. */
const OLD_FORMS: readonly Form[] = [
  plain('open', async (p, path) => p.make('open', path, O_RDONLY, 0)),
  plain('open with O_CREAT', async (p, path) => p.make('open', path, O_CREAT | O_WRONLY, 0o600), {
    makes: true,
    changes: true,
  }),
  plain('creat', async (p, path) => p.make('creat', path, 0o600), { makes: true, changes: true }),
  plain('access', async (p, path) => p.make('access', path, 0)),
  plain('readlink', async (p, path) => p.make('readlink', path, buffer, 512), OF_LINK),
  plain('chmod', async (p, path) => p.make('chmod', path, 0o777), CHANGES),
  plain('chown', async (p, path) => p.make('chown', path, -1, -1), CHANGES),
  plain('lchown', async (p, path) => p.make('lchown', path, -1, -1), CHANGES_LINK),
  plain('utime', async (p, path) => p.make('utime', path, 0), CHANGES),
  plain('utimes', async (p, path) => p.make('utimes', path, 0), CHANGES),
  plain('unlink', async (p, path) => p.make('unlink', path), CHANGES_LINK),
  plain('rmdir', async (p, path) => p.make('rmdir', path), CHANGES_LINK),
  plain('rename, the old name', async (p, path) => p.make('rename', path, FREE_NAME), CHANGES_LINK),
  plain('rename, the new name', async (p, path) => p.make('rename', OTHER_NAME, path), MAKES),
  plain('link, the old name', async (p, path) => p.make('link', path, FREE_NAME), CHANGES_LINK),
  plain('link, the new name', async (p, path) => p.make('link', OTHER_NAME, path), MAKES),
  plain('symlink', async (p, path) => p.make('symlink', 'target', path), MAKES),
  plain('mkdir', async (p, path) => p.make('mkdir', path, 0o777), MAKES),
  plain('mknod', async (p, path) => p.make('mknod', path, S_IFIFO | 0o600, 0), MAKES),
];

export const FORMS: readonly Form[] = [
  ...AT_FORMS,
  ...PLAIN_FORMS,
  ...(process.arch === 'x64' ? OLD_FORMS : []),
];

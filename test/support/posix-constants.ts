/**
 * Numbers of Linux that Node.js does not name: flags of calls, as in the kernel's uapi headers.
 * Those that differ between architectures come from Node.js.
 */
import { constants } from 'node:fs';

export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_EACCESS = 0x200;
export const AT_REMOVEDIR = 0x200;
export const AT_SYMLINK_FOLLOW = 0x400;
export const AT_EMPTY_PATH = 0x1000;

export const {
  O_RDONLY,
  O_WRONLY,
  O_RDWR,
  O_CREAT,
  O_EXCL,
  O_TRUNC,
  O_APPEND,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NOATIME,
  O_NONBLOCK,
  O_SYNC,
  O_DSYNC,
  O_DIRECT,
} = constants;
export const O_PATH = 0o10000000;
export const O_TMPFILE: number = 0o20000000 | O_DIRECTORY;
export const O_CLOEXEC = 0o2000000;
export const O_ACCMODE = 3;

export const { S_IFMT, S_IFREG, S_IFDIR, S_IFLNK, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK } = constants;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_ISVTX = 0o1000;

export const { R_OK, W_OK, X_OK, F_OK } = constants;

export const SEEK_SET = 0;
export const SEEK_CUR = 1;
export const SEEK_END = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const RENAME_WHITEOUT = 4;

export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_COLLAPSE_RANGE = 8;
export const FALLOC_FL_ZERO_RANGE = 16;
export const FALLOC_FL_INSERT_RANGE = 32;

export const UTIME_NOW = 0x3fffffff;
export const UTIME_OMIT = 0x3ffffffe;

export const F_GETFD = 1;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_GETLK = 5;
export const F_SETLK = 6;
export const F_SETLKW = 7;
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
export const F_OFD_SETLKW = 38;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;
export const XATTR_NAME_MAX = 255;
export const XATTR_SIZE_MAX = 65536;

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MS_ASYNC = 1;
export const MS_INVALIDATE = 2;
export const MS_SYNC = 4;

export const MS_RDONLY = 1;
export const MS_REMOUNT = 32;
export const MS_REC = 16384;
export const MS_SLAVE: number = 1 << 19;
export const CLONE_NEWNS = 0x20000;

export const RLIMIT_FSIZE = 1;
export const RLIMIT_NOFILE = 7;
export const SIGXFSZ = 25;

export const NAME_MAX = 255;
/** With the NUL. */
export const PATH_MAX = 4096;
export const INT64_MAX: bigint = 2n ** 63n - 1n;

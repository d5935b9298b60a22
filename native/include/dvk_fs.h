/*
 * Files of a DC: the calls of a file system server for programs in C, without a mount.
 *
 * Results are as in dvk.h: 0 or more, or a negative error. Those of the file system are negative
 * numbers of errno.h, as the system call of the same name would set: -ENOENT, -EEXIST, -ENOSPC.
 * Paths begin at the root of the volume, with or without a slash; they are bytes, "." and ".." and
 * symbolic links in them are followed as by Linux, at most 40 links. Any call with a path may
 * return -ENOENT, -ENOTDIR, -ELOOP, -ENAMETOOLONG; any call -EINVAL (null), -EIO, -EUCLEAN (the
 * volume is damaged), -ESTALE (the file is gone), and calls that change something -EROFS.
 *
 * Permissions are not checked: who may open the segment is trusted with the volume. What is made
 * belongs to the user and the group of the options.
 *
 * Data: the server moves it between its cache and the buffer that the caller gave, with one copy
 * and none by the library. A buffer in the arena costs one memcpy. Memory of the program's own is
 * lent by a grant for the time of the call; see dvk_vcopy().
 *
 * Threads: a dvk_fs and a dvk_fs_file may be used by all threads. A dvk_fs makes as many calls at a
 * time as it has channels, each of which is a process of the DC; who finds none free waits for one.
 * dvk_fs_read() and dvk_fs_write() of one file follow each other, since they move its position. A
 * dvk_fs_dir is used by one thread at a time. As with all of dvk.h, a forked child opens for
 * itself.
 *
 * Outages: a server that does not answer, or is gone, is waited for, for `outage_ms` from when that
 * was noticed; then calls fail with -EIO. One that answers others is waited for up to a minute. No
 * change is made twice. A server that was started again is told first which files are open, also
 * those without a name, and which locks there are; while there is something to tell, a thread of
 * the connection looks for a new server, so that it is told in time. What was changed and not
 * synced may be lost with the server before it: if it is, the next dvk_fs_fsync() of the file, or
 * of the directory whose names were changed, says -EIO, once. It does so too when a lock could not
 * be taken back. A change that was under way then, and may not be made twice, fails with -EIO.
 * After -EINTR (see dvk_interrupt()) nobody knows whether the call was done.
 */
#ifndef DVK_FS_H
#define DVK_FS_H

#include <sys/types.h>
#include <time.h>

#include "dvk.h"
#include "dvk_fs_protocol.gen.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A connection to a file system server. */
typedef struct dvk_fs dvk_fs;

/* An open file or directory. The file stays while it is open, also without a name. */
typedef struct dvk_fs_file dvk_fs_file;

/* A directory that is being listed. */
typedef struct dvk_fs_dir dvk_fs_dir;

typedef struct dvk_fs_options {
  int32_t server_slot; /* of the server, as `slot` of the service in the spec */
  int32_t channels;    /* calls at a time, 1 to 16; 0: 4 */
  int32_t outage_ms;   /* how long an outage is waited for; 0: 8000 */
  uint32_t uid, gid;   /* of what is made */
  uint32_t umask;      /* permissions that new files do not get */
  const char* name;    /* shown in listings, 1 to 12 bytes; null: "fs-client" */
} dvk_fs_options;

/* Attributes of a file, as in stat(2). */
typedef struct dvk_fs_stat {
  uint64_t inode;
  uint32_t generation; /* another file with this inode number has another one */
  uint32_t mode;       /* type and permissions, as st_mode */
  uint32_t links, uid, gid;
  uint32_t device; /* of a device node, in the kernel's new encoding */
  uint64_t size;
  uint64_t sectors; /* of 512 bytes */
  struct timespec accessed, modified, changed;
} dvk_fs_stat;

/* An entry of a directory. */
typedef struct dvk_fs_entry {
  char name[DVK_FS_NAME_BYTES_MAX + 1]; /* ends with a NUL */
  uint32_t type;                        /* DT_... of readdir(3), 0 if the volume does not tell */
  dvk_fs_stat stat;                     /* zero but for the inode when that could not be read */
} dvk_fs_entry;

typedef struct dvk_fs_space {
  uint32_t block_bytes;
  uint64_t blocks, blocks_free, blocks_available; /* the last: for users other than root */
  uint64_t inodes, inodes_free;
} dvk_fs_space;

/* What stat(2) does not tell of a file. */
typedef struct dvk_fs_info {
  uint32_t flags;       /* those of FS_IOC_GETFLAGS (linux/fs.h) */
  uint32_t has_born;    /* 0: the volume does not tell when the file was made */
  struct timespec born; /* as stx_btime of statx(2) */
} dvk_fs_info;

/* A lock that somebody has; `type` is DVK_FS_LOCK_TYPE_UNLOCK for none. */
typedef struct dvk_fs_lock_info {
  uint32_t type;
  uint32_t pid;        /* as its owner said */
  uint64_t start, end; /* first and last byte, as of dvk_fs_lock() */
} dvk_fs_lock_info;

/* How much of the volume may be in use (UINT64_MAX: as much as there is), and is. */
typedef struct dvk_fs_quota {
  uint64_t bytes_max, bytes_used;
  uint64_t inodes_max, inodes_used;
} dvk_fs_quota;

/* ---- Connections ---- */

/*
 * Connects to the server, which need not run yet, and sets `*fs`. Takes a slot and 68 KiB of the
 * arena for each channel. Returns 0; -EINVAL (options); what dvk_bind() and dvk_arena_allocate()
 * return.
 */
DVK_API int dvk_fs_connect(dvk_segment* segment, const dvk_fs_options* options, dvk_fs** fs);

/* Frees the connection. 0, or -EBUSY while files or directories are open, or a call is under way.
 */
DVK_API int dvk_fs_disconnect(dvk_fs* fs);

/* ---- Files ---- */

/*
 * Opens a regular file or a directory; `flags` as in open(2): O_RDONLY, O_WRONLY, O_RDWR, O_CREAT
 * (with `mode`), O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_SYNC, O_DSYNC, and O_TMPFILE
 * (with `mode`) for a file without a name in the directory `path`, to which dvk_fs_link_file() may
 * give one; others are not looked at. Returns 0 and sets `*file`; -EEXIST, -EISDIR, -ENXIO (a
 * device, FIFO or socket), -ENFILE, -ENOSPC; for O_TMPFILE -ENOTDIR, -EINVAL (not for writing).
 */
DVK_API int dvk_fs_open(dvk_fs* fs, const char* path, int flags, uint32_t mode, dvk_fs_file** file);

/* Closes it, and gives its locks up. The handle is freed whatever is returned. */
DVK_API int dvk_fs_close(dvk_fs_file* file);

/*
 * Reads or writes `bytes` at `offset`. Returns how many were moved: fewer only at the end of the
 * file, or when an error came after the first ones. A write to a file with O_APPEND is put at its
 * end, wherever that is then. -EBADF (not opened for that), -EISDIR, -EFBIG, -ENOSPC.
 */
DVK_API int64_t dvk_fs_pread(dvk_fs_file* file, void* buffer, uint64_t bytes, uint64_t offset);
DVK_API int64_t dvk_fs_pwrite(dvk_fs_file* file, const void* buffer, uint64_t bytes,
                              uint64_t offset);

/* The same at the position of the file, which moves on. */
DVK_API int64_t dvk_fs_read(dvk_fs_file* file, void* buffer, uint64_t bytes);
DVK_API int64_t dvk_fs_write(dvk_fs_file* file, const void* buffer, uint64_t bytes);

/*
 * Sets the position, and returns it: `whence` is SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA or
 * SEEK_HOLE. -EINVAL, -ENXIO (no data, or hole, behind the offset).
 */
DVK_API int64_t dvk_fs_lseek(dvk_fs_file* file, int64_t offset, int whence);

/* Returns when what was written will be there after a crash; `data_only` as fdatasync(2). */
DVK_API int dvk_fs_fsync(dvk_fs_file* file, int data_only);

/* The same for all of the volume. */
DVK_API int dvk_fs_sync(dvk_fs* fs);

DVK_API int dvk_fs_fstat(dvk_fs_file* file, dvk_fs_stat* stat);
DVK_API int dvk_fs_ftruncate(dvk_fs_file* file, uint64_t size);

/* `mode` as in fallocate(2), collapse and insert too. -EOPNOTSUPP, -EINVAL, -EFBIG, -ENOSPC. */
DVK_API int dvk_fs_fallocate(dvk_fs_file* file, int mode, uint64_t offset, uint64_t bytes);

/*
 * Copies between two files of one connection without moving the data here; returns the bytes, which
 * may be fewer, and 0 at the end of the file.
 */
DVK_API int64_t dvk_fs_copy_range(dvk_fs_file* from, uint64_t from_offset, dvk_fs_file* to,
                                  uint64_t to_offset, uint64_t bytes);

/*
 * Takes or gives up a lock on bytes `start` to `end` (the last one; UINT64_MAX for that of any
 * file) for this open file. `kind` is DVK_FS_LOCK_KIND_..., `type` DVK_FS_LOCK_TYPE_... . Waits
 * `timeout_ms` for a lock that is in the way. -EAGAIN (for a time-out of 0), -ETIMEDOUT, -EDEADLK,
 * -ENOLCK.
 */
DVK_API int dvk_fs_lock(dvk_fs_file* file, int kind, int type, uint64_t start, uint64_t end,
                        int64_t timeout_ms);

/*
 * The lock that is in the way of such a one, as F_GETLK of fcntl(2); `lock->type` is
 * DVK_FS_LOCK_TYPE_UNLOCK when none is.
 */
DVK_API int dvk_fs_get_lock(dvk_fs_file* file, int kind, int type, uint64_t start, uint64_t end,
                            dvk_fs_lock_info* lock);

/* ---- Names ---- */

/* lstat does not follow a symbolic link at the end of the path. */
DVK_API int dvk_fs_stat_of(dvk_fs* fs, const char* path, dvk_fs_stat* stat);
DVK_API int dvk_fs_lstat(dvk_fs* fs, const char* path, dvk_fs_stat* stat);

/* -EEXIST, -EMLINK, -ENOSPC. */
DVK_API int dvk_fs_mkdir(dvk_fs* fs, const char* path, uint32_t mode);

/* A file of any type but directory and symlink; `device` in the kernel's new encoding. */
DVK_API int dvk_fs_mknod(dvk_fs* fs, const char* path, uint32_t mode, uint32_t device);

/* -EISDIR for unlink of a directory; -ENOTEMPTY, -EBUSY (the root), -EINVAL (".") for rmdir. */
DVK_API int dvk_fs_unlink(dvk_fs* fs, const char* path);
DVK_API int dvk_fs_rmdir(dvk_fs* fs, const char* path);

/* `flags`: DVK_FS_RENAME_... . -EEXIST, -ENOTEMPTY, -EISDIR, -EINVAL (into itself). */
DVK_API int dvk_fs_rename(dvk_fs* fs, const char* from, const char* to, unsigned flags);

/* A symbolic link at the end of `from` is not followed. -EEXIST, -EMLINK, -EPERM (a directory). */
DVK_API int dvk_fs_link(dvk_fs* fs, const char* from, const char* to);

/* A name for an open file, also for one that never had any. -ENOENT for one that lost its last. */
DVK_API int dvk_fs_link_file(dvk_fs_file* file, const char* to);

DVK_API int dvk_fs_symlink(dvk_fs* fs, const char* target, const char* path);

/* Returns the bytes of the target, without a NUL; -ERANGE when `bytes` are too few. */
DVK_API int64_t dvk_fs_readlink(dvk_fs* fs, const char* path, char* buffer, uint64_t bytes);

/* ---- Attributes; links are followed ---- */

DVK_API int dvk_fs_truncate(dvk_fs* fs, const char* path, uint64_t size);
DVK_API int dvk_fs_chmod(dvk_fs* fs, const char* path, uint32_t mode);

/* UINT32_MAX leaves user or group as it is. */
DVK_API int dvk_fs_chown(dvk_fs* fs, const char* path, uint32_t uid, uint32_t gid);

/* As utimensat(2): access and modification, with UTIME_NOW and UTIME_OMIT. */
DVK_API int dvk_fs_utimens(dvk_fs* fs, const char* path, const struct timespec times[2]);

DVK_API int dvk_fs_get_info(dvk_fs* fs, const char* path, dvk_fs_info* info);

/*
 * Sets those flags that `mask` names, as FS_IOC_SETFLAGS: S, i, a, d and A of chattr(1), and D and
 * T of directories. -EOPNOTSUPP for a change of others.
 */
DVK_API int dvk_fs_set_flags(dvk_fs* fs, const char* path, uint32_t flags, uint32_t mask);

/* What the container may use of the volume, and does. */
DVK_API int dvk_fs_get_quota(dvk_fs* fs, dvk_fs_quota* quota);

DVK_API int dvk_fs_statfs(dvk_fs* fs, dvk_fs_space* space);

/*
 * Extended attributes, names as "user.mime". With `bytes` 0 only the size is returned. -ENODATA,
 * -ERANGE, -EOPNOTSUPP; for set (`flags`: DVK_FS_XATTR_CREATE, DVK_FS_XATTR_REPLACE) -EEXIST,
 * -E2BIG, -ENOSPC.
 */
DVK_API int64_t dvk_fs_getxattr(dvk_fs* fs, const char* path, const char* name, void* value,
                                uint64_t bytes);
DVK_API int dvk_fs_setxattr(dvk_fs* fs, const char* path, const char* name, const void* value,
                            uint64_t bytes, unsigned flags);
DVK_API int dvk_fs_removexattr(dvk_fs* fs, const char* path, const char* name);

/* Names, each with a NUL behind it. */
DVK_API int64_t dvk_fs_listxattr(dvk_fs* fs, const char* path, char* list, uint64_t bytes);

/* ---- Directories ---- */

/* Begins a list of a directory, and sets `*directory`. */
DVK_API int dvk_fs_opendir(dvk_fs* fs, const char* path, dvk_fs_dir** directory);

/* The next entry, "." and ".." among them. Returns 1; 0 at the end. */
DVK_API int dvk_fs_readdir(dvk_fs_dir* directory, dvk_fs_entry* entry);

/* Frees it. */
DVK_API int dvk_fs_closedir(dvk_fs_dir* directory);

#ifdef __cplusplus
}
#endif

#endif

/*
 * Every call of dvk_fs.h against a real server.
 *
 *   c-files SEGMENT SLOT check          all calls, below a directory `c-files` that it makes
 *   c-files SEGMENT SLOT hold           keeps files open, written to and locked over a restart of
 *                                       the server: prints `ready`, waits for a line, goes on
 *
 * Prints each check that fails, then `N checks, N failed`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dvk_fs.h"

static int checks, failures;

static void check(int line, const char* what, int64_t result, int64_t expected) {
  checks++;
  if (result == expected) return;
  failures++;
  printf("%d: %s is %lld, not %lld\n", line, what, (long long)result, (long long)expected);
}

#define CHECK(call, expected) check(__LINE__, #call, (int64_t)(call), (int64_t)(expected))

enum { BIG_BYTES = 3 * 1000 * 1000 + 17, THREADS = 6, ROUNDS = 20 };
#define DIR "/c-files"
#define LONG_NAME                                                                               \
  "a name that is much too long for a message and so lies in granted memory, with the data if " \
  "there is any behind it"

static dvk_segment* segment;
static dvk_process* process;
static dvk_fs* fs;

static uint8_t byte_at(uint64_t offset) {
  return (uint8_t)(offset * 31 + offset / 251);
}

static int is_pattern(const uint8_t* bytes, uint64_t from, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    if (bytes[i] != byte_at(from + i)) return 0;
  }
  return 1;
}

static void refuses_null(void) {
  dvk_fs_options options = {.server_slot = 1};
  dvk_fs_stat stat;
  dvk_fs_file* file = NULL;
  dvk_fs* other = NULL;
  CHECK(dvk_fs_connect(NULL, &options, &other), -EINVAL);
  CHECK(dvk_fs_connect(segment, NULL, &other), -EINVAL);
  options.channels = 17;
  CHECK(dvk_fs_connect(segment, &options, &other), -EINVAL);
  options.channels = 0;
  options.name = "a name too long";
  CHECK(dvk_fs_connect(segment, &options, &other), -EINVAL);
  CHECK(dvk_fs_disconnect(NULL), -EINVAL);
  CHECK(dvk_fs_open(fs, NULL, O_RDONLY, 0, &file), -EINVAL);
  CHECK(dvk_fs_open(fs, "/", O_RDONLY, 0, NULL), -EINVAL);
  CHECK(dvk_fs_close(NULL), -EINVAL);
  CHECK(dvk_fs_pread(NULL, &stat, 1, 0), -EINVAL);
  CHECK(dvk_fs_pwrite(NULL, &stat, 1, 0), -EINVAL);
  CHECK(dvk_fs_read(NULL, &stat, 1), -EINVAL);
  CHECK(dvk_fs_write(NULL, &stat, 1), -EINVAL);
  CHECK(dvk_fs_lseek(NULL, 0, SEEK_SET), -EINVAL);
  CHECK(dvk_fs_fsync(NULL, 0), -EINVAL);
  CHECK(dvk_fs_sync(NULL), -EINVAL);
  CHECK(dvk_fs_fstat(NULL, &stat), -EINVAL);
  CHECK(dvk_fs_stat_of(fs, "/", NULL), -EINVAL);
  CHECK(dvk_fs_lstat(NULL, "/", &stat), -EINVAL);
  CHECK(dvk_fs_mkdir(NULL, "x", 0), -EINVAL);
  CHECK(dvk_fs_rename(fs, "x", NULL, 0), -EINVAL);
  CHECK(dvk_fs_utimens(fs, "/", NULL), -EINVAL);
  CHECK(dvk_fs_statfs(fs, NULL), -EINVAL);
  CHECK(dvk_fs_get_info(fs, "/", NULL), -EINVAL);
  CHECK(dvk_fs_set_flags(NULL, "/", 0, 0), -EINVAL);
  CHECK(dvk_fs_get_quota(fs, NULL), -EINVAL);
  CHECK(dvk_fs_get_lock(NULL, 0, 0, 0, 0, NULL), -EINVAL);
  CHECK(dvk_fs_link_file(NULL, "/x"), -EINVAL);
  CHECK(dvk_fs_readdir(NULL, NULL), -EINVAL);
  CHECK(dvk_fs_closedir(NULL), -EINVAL);
}

static void names(void) {
  dvk_fs_stat stat, other;
  char target[64];
  CHECK(dvk_fs_mkdir(fs, DIR, 0755), 0);
  CHECK(dvk_fs_mkdir(fs, DIR, 0755), -EEXIST);
  CHECK(dvk_fs_mkdir(fs, DIR "/none/x", 0755), -ENOENT);
  CHECK(dvk_fs_mkdir(fs, "c-files/below/", 0777), 0);
  CHECK(dvk_fs_stat_of(fs, DIR "/below/../below/.", &stat), 0);
  CHECK(S_ISDIR(stat.mode) && (stat.mode & 07777) == 0755, 1);
  CHECK(dvk_fs_mknod(fs, DIR "/fifo", S_IFIFO | 0600, 0), 0);
  CHECK(dvk_fs_mknod(fs, DIR "/device", S_IFCHR | 0600, 0x503), 0);
  CHECK(dvk_fs_lstat(fs, DIR "/device", &stat), 0);
  CHECK(stat.device, 0x503);
  CHECK(dvk_fs_mknod(fs, DIR "/file", S_IFREG | 0666, 0), 0);
  CHECK(dvk_fs_mknod(fs, DIR "/" LONG_NAME, S_IFREG | 0666, 0), 0);
  CHECK(dvk_fs_stat_of(fs, DIR "/" LONG_NAME, &stat), 0);
  CHECK(dvk_fs_symlink(fs, "below/../file", DIR "/link"), 0);
  CHECK(dvk_fs_symlink(fs, "below", DIR "/" LONG_NAME "2"), 0);
  CHECK(dvk_fs_readlink(fs, DIR "/" LONG_NAME "2", target, sizeof target), 5);
  CHECK(dvk_fs_symlink(fs, "loop", DIR "/loop"), 0);
  CHECK(dvk_fs_stat_of(fs, DIR "/loop", &stat), -ELOOP);
  CHECK(dvk_fs_readlink(fs, DIR "/link", target, sizeof target), 13);
  CHECK(memcmp(target, "below/../file", 13), 0);
  CHECK(dvk_fs_readlink(fs, DIR "/link", target, 3), -ERANGE);
  CHECK(dvk_fs_readlink(fs, DIR "/file", target, sizeof target), -EINVAL);
  CHECK(dvk_fs_stat_of(fs, DIR "/link", &stat), 0);
  CHECK(dvk_fs_lstat(fs, DIR "/file", &other), 0);
  CHECK(stat.inode, other.inode);
  CHECK(dvk_fs_link(fs, DIR "/file", DIR "/hard"), 0);
  CHECK(dvk_fs_link(fs, DIR "/below", DIR "/hard2"), -EPERM);
  CHECK(dvk_fs_stat_of(fs, DIR "/hard", &stat), 0);
  CHECK(stat.links, 2);
  CHECK(dvk_fs_stat_of(fs, DIR "/file/x", &stat), -ENOTDIR);
  CHECK(dvk_fs_stat_of(fs, DIR "/file/", &stat), -ENOTDIR);
  CHECK(dvk_fs_stat_of(fs, "", &stat), -ENOENT);
  CHECK(dvk_fs_rename(fs, DIR "/hard", DIR "/below/" LONG_NAME, 0), 0);
  CHECK(dvk_fs_rename(fs, DIR "/hard", DIR "/x", 0), -ENOENT);
  CHECK(dvk_fs_rename(fs, DIR "/below", DIR "/below/x", 0), -EINVAL);
  CHECK(dvk_fs_rename(fs, DIR "/file", DIR "/fifo", DVK_FS_RENAME_NO_REPLACE), -EEXIST);
  CHECK(dvk_fs_rename(fs, DIR "/file", DIR "/fifo", DVK_FS_RENAME_EXCHANGE), 0);
  CHECK(dvk_fs_rename(fs, DIR "/file", DIR "/fifo", DVK_FS_RENAME_EXCHANGE), 0);
  CHECK(dvk_fs_unlink(fs, DIR "/below"), -EISDIR);
  CHECK(dvk_fs_rmdir(fs, DIR "/below"), -ENOTEMPTY);
  CHECK(dvk_fs_rmdir(fs, DIR "/below/."), -EINVAL);
  CHECK(dvk_fs_rmdir(fs, "/"), -EBUSY);
  CHECK(dvk_fs_unlink(fs, DIR "/none"), -ENOENT);
  CHECK(dvk_fs_unlink(fs, DIR "/below/" LONG_NAME), 0);
  CHECK(dvk_fs_rmdir(fs, DIR "/below"), 0);
}

static void attributes(void) {
  dvk_fs_stat stat;
  dvk_fs_space space;
  char value[300];
  const struct timespec times[2] = {{.tv_sec = 5000000000, .tv_nsec = 123456789},
                                    {.tv_sec = -7, .tv_nsec = 5}};
  CHECK(dvk_fs_chmod(fs, DIR "/file", 04640), 0);
  CHECK(dvk_fs_chown(fs, DIR "/file", 12, UINT32_MAX), 0);
  CHECK(dvk_fs_utimens(fs, DIR "/file", times), 0);
  CHECK(dvk_fs_truncate(fs, DIR "/file", 5000), 0);
  CHECK(dvk_fs_utimens(fs, DIR "/file", times), 0);
  CHECK(dvk_fs_stat_of(fs, DIR "/file", &stat), 0);
  CHECK(stat.mode, S_IFREG | 0640);
  CHECK(stat.uid, 12);
  CHECK(stat.size, 5000);
  CHECK(stat.accessed.tv_sec, 5000000000);
  CHECK(stat.accessed.tv_nsec, 123456789);
  CHECK(stat.modified.tv_sec, -7);
  CHECK(stat.modified.tv_nsec, 5);
  CHECK(dvk_fs_statfs(fs, &space), 0);
  CHECK(space.blocks > space.blocks_free && space.inodes > space.inodes_free, 1);
  CHECK(dvk_fs_setxattr(fs, DIR "/file", "user.one", "value", 5, DVK_FS_XATTR_CREATE), 0);
  CHECK(dvk_fs_setxattr(fs, DIR "/file", "user.one", "value", 5, DVK_FS_XATTR_CREATE), -EEXIST);
  CHECK(dvk_fs_setxattr(fs, DIR "/file", "user." LONG_NAME, "other", 5, 0), 0);
  CHECK(dvk_fs_getxattr(fs, DIR "/file", "user.one", NULL, 0), 5);
  CHECK(dvk_fs_getxattr(fs, DIR "/file", "user.one", value, 3), -ERANGE);
  CHECK(dvk_fs_getxattr(fs, DIR "/file", "user." LONG_NAME, value, sizeof value), 5);
  CHECK(memcmp(value, "other", 5), 0);
  CHECK(dvk_fs_listxattr(fs, DIR "/file", value, sizeof value),
        sizeof "user.one" + sizeof("user." LONG_NAME));
  CHECK(dvk_fs_removexattr(fs, DIR "/file", "user." LONG_NAME), 0);
  CHECK(dvk_fs_getxattr(fs, DIR "/file", "user." LONG_NAME, value, sizeof value), -ENODATA);
}

/* Writes and reads a large file by a buffer, which lies in the arena or not. */
static void moves(const char* path, uint8_t* buffer) {
  dvk_fs_file *file = NULL, *other = NULL;
  for (uint64_t i = 0; i < BIG_BYTES; i++) buffer[i] = byte_at(i);
  CHECK(dvk_fs_open(fs, path, O_RDWR | O_CREAT | O_EXCL, 0644, &file), 0);
  CHECK(dvk_fs_open(fs, path, O_RDWR | O_CREAT | O_EXCL, 0644, &other), -EEXIST);
  CHECK(dvk_fs_pwrite(file, buffer, BIG_BYTES, 0), BIG_BYTES);
  memset(buffer, 0, BIG_BYTES);
  CHECK(dvk_fs_pread(file, buffer, BIG_BYTES, 0), BIG_BYTES);
  CHECK(is_pattern(buffer, 0, BIG_BYTES), 1);
  CHECK(dvk_fs_pread(file, buffer, BIG_BYTES, BIG_BYTES - 10), 10);
  CHECK(is_pattern(buffer, BIG_BYTES - 10, 10), 1);
  CHECK(dvk_fs_fsync(file, 1), 0);
  CHECK(dvk_fs_close(file), 0);
}

static void files(void) {
  dvk_fs_file *file = NULL, *other = NULL;
  dvk_fs_stat stat;
  char text[64] = "";
  void* arena = NULL;
  CHECK(dvk_arena_allocate(process, BIG_BYTES, &arena) >= 0, 1);
  moves(DIR "/arena", arena);
  uint8_t* private = malloc(BIG_BYTES);
  moves(DIR "/private", private);
  free(private);
  CHECK(dvk_fs_open(fs, DIR "/none", O_RDONLY, 0, &file), -ENOENT);
  CHECK(dvk_fs_open(fs, DIR, O_RDWR, 0, &file), -EISDIR);
  CHECK(dvk_fs_open(fs, DIR "/fifo", O_RDONLY, 0, &file), -ENXIO);
  CHECK(dvk_fs_open(fs, DIR "/file", O_RDONLY | O_DIRECTORY, 0, &file), -ENOTDIR);
  CHECK(dvk_fs_open(fs, DIR "/link", O_RDONLY | O_NOFOLLOW, 0, &file), -ELOOP);
  CHECK(dvk_fs_symlink(fs, "made", DIR "/dangling"), 0);
  CHECK(dvk_fs_open(fs, DIR "/dangling", O_RDWR | O_CREAT, 0600, &file), 0);
  CHECK(dvk_fs_lstat(fs, DIR "/made", &stat), 0);
  CHECK(dvk_fs_write(file, "0123456789", 10), 10);
  CHECK(dvk_fs_lseek(file, -4, SEEK_END), 6);
  CHECK(dvk_fs_read(file, text, sizeof text), 4);
  CHECK(memcmp(text, "6789", 4), 0);
  CHECK(dvk_fs_lseek(file, -100, SEEK_CUR), -EINVAL);
  CHECK(dvk_fs_lseek(file, 0, 99), -EINVAL);
  CHECK(dvk_fs_ftruncate(file, 1 << 20), 0);
  CHECK(dvk_fs_lseek(file, 0, DVK_FS_SEEK_HOLE) >= 10, 1);
  CHECK(dvk_fs_lseek(file, 1 << 20, DVK_FS_SEEK_DATA), -ENXIO);
  CHECK(dvk_fs_fallocate(file, 0, 0, 4096), 0);
  CHECK(dvk_fs_fallocate(file, 1 << 20, 0, 4096), -EOPNOTSUPP);
  CHECK(dvk_fs_open(fs, DIR "/copy", O_WRONLY | O_CREAT | O_TRUNC, 0600, &other), 0);
  CHECK(dvk_fs_copy_range(file, 2, other, 0, 5), 5);
  CHECK(dvk_fs_pread(other, text, 1, 0), -EBADF);
  CHECK(dvk_fs_lock(file, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_WRITE, 0, 9, 0), 0);
  CHECK(dvk_fs_close(other), 0);
  CHECK(dvk_fs_open(fs, DIR "/made", O_RDWR | O_APPEND, 0, &other), 0);
  CHECK(dvk_fs_lock(other, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_READ, 5, 5, 0), -EAGAIN);
  CHECK(dvk_fs_lock(other, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_READ, 5, 5, 5), -ETIMEDOUT);
  CHECK(dvk_fs_lock(other, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_READ, 10, 20, 0), 0);
  CHECK(dvk_fs_pwrite(other, "end", 3, 0), 3);
  CHECK(dvk_fs_disconnect(fs), -EBUSY);
  CHECK(dvk_fs_close(file), 0);
  CHECK(dvk_fs_lock(other, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_READ, 5, 5, 0), 0);
  CHECK(dvk_fs_fstat(other, &stat), 0);
  CHECK(stat.size, (1 << 20) + 3);
  /* Without a name it stays while it is open. */
  CHECK(dvk_fs_unlink(fs, DIR "/made"), 0);
  CHECK(dvk_fs_pread(other, text, 3, 1 << 20), 3);
  CHECK(memcmp(text, "end", 3), 0);
  CHECK(dvk_fs_close(other), 0);
  CHECK(dvk_fs_sync(fs), 0);
}

/* What stat does not tell, and files without names. */
static void extras(void) {
  dvk_fs_file *file = NULL, *other = NULL;
  dvk_fs_stat stat;
  dvk_fs_info info;
  dvk_fs_lock_info lock;
  dvk_fs_quota quota;
  char text[8] = "";
  CHECK(dvk_fs_open(fs, DIR, O_TMPFILE, 0640, &file), -EINVAL);
  CHECK(dvk_fs_open(fs, DIR "/file", O_TMPFILE | O_RDWR, 0640, &file), -ENOTDIR);
  CHECK(dvk_fs_open(fs, DIR, O_TMPFILE | O_RDWR, 0666, &file), 0);
  CHECK(dvk_fs_fstat(file, &stat), 0);
  CHECK(S_ISREG(stat.mode) && (stat.mode & 07777) == 0644 && stat.links == 0, 1);
  CHECK(dvk_fs_pwrite(file, "nobody", 6, 0), 6);
  CHECK(dvk_fs_link_file(file, DIR "/file"), -EEXIST);
  CHECK(dvk_fs_link_file(file, DIR "/somebody"), 0);
  CHECK(dvk_fs_close(file), 0);
  CHECK(dvk_fs_open(fs, DIR "/somebody", O_RDWR, 0, &file), 0);
  CHECK(dvk_fs_pread(file, text, 6, 0), 6);
  CHECK(memcmp(text, "nobody", 6), 0);
  CHECK(dvk_fs_get_info(fs, DIR "/somebody", &info), 0);
  CHECK(info.has_born, 1);
  CHECK(info.born.tv_sec > 1000000000 && info.born.tv_sec <= stat.changed.tv_sec, 1);
  CHECK(info.flags & FS_APPEND_FL, 0);
  CHECK(dvk_fs_set_flags(fs, DIR "/somebody", FS_APPEND_FL, FS_APPEND_FL | FS_NODUMP_FL), 0);
  CHECK(dvk_fs_get_info(fs, DIR "/somebody", &info), 0);
  CHECK(info.flags & (FS_APPEND_FL | FS_NODUMP_FL), FS_APPEND_FL);
  CHECK(dvk_fs_pwrite(file, "X", 1, 0), -EPERM);
  CHECK(dvk_fs_set_flags(fs, DIR "/somebody", 0, FS_APPEND_FL), 0);
  CHECK(dvk_fs_set_flags(fs, DIR "/somebody", FS_COMPR_FL, FS_COMPR_FL), -EOPNOTSUPP);
  CHECK(dvk_fs_get_info(fs, DIR "/none", &info), -ENOENT);
  CHECK(dvk_fs_open(fs, DIR "/somebody", O_RDONLY, 0, &other), 0);
  CHECK(dvk_fs_lock(file, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_READ, 3, 8, 0), 0);
  CHECK(dvk_fs_get_lock(other, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_WRITE, 0, 99, &lock), 0);
  CHECK(lock.type == DVK_FS_LOCK_TYPE_READ && lock.start == 3 && lock.end == 8, 1);
  CHECK(lock.pid, getpid());
  CHECK(dvk_fs_get_lock(other, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_READ, 0, 99, &lock), 0);
  CHECK(lock.type, DVK_FS_LOCK_TYPE_UNLOCK);
  CHECK(dvk_fs_close(other), 0);
  CHECK(dvk_fs_close(file), 0);
  CHECK(dvk_fs_get_quota(fs, &quota), 0);
  CHECK(quota.bytes_max == UINT64_MAX && quota.bytes_used > 0 && quota.inodes_used > 10, 1);
}

static void directories(void) {
  dvk_fs_dir* directory = NULL;
  dvk_fs_entry entry;
  char path[64];
  int found = 0, result = 0;
  CHECK(dvk_fs_mkdir(fs, DIR "/many", 0755), 0);
  for (int i = 0; i < 500; i++) {
    snprintf(path, sizeof path, DIR "/many/file number %d", i);
    if (dvk_fs_mknod(fs, path, S_IFREG | 0644, 0) != 0) break;
  }
  CHECK(dvk_fs_opendir(fs, DIR "/file", &directory), -ENOTDIR);
  CHECK(dvk_fs_opendir(fs, DIR "/many", &directory), 0);
  while ((result = dvk_fs_readdir(directory, &entry)) == 1) {
    if (strncmp(entry.name, "file number ", 12) == 0 && S_ISREG(entry.stat.mode)) found++;
  }
  CHECK(result, 0);
  CHECK(found, 500);
  CHECK(dvk_fs_closedir(directory), 0);
}

/* Each thread writes and reads a file of its own, by one connection of fewer channels. */
static void* work(void* argument) {
  const long number = (long)argument;
  char path[64], text[64], back[64];
  dvk_fs_file* file = NULL;
  long wrong = 0;
  snprintf(path, sizeof path, DIR "/thread %ld", number);
  if (dvk_fs_open(fs, path, O_RDWR | O_CREAT, 0644, &file) != 0) return (void*)1;
  for (long round = 0; round < ROUNDS; round++) {
    const int bytes = snprintf(text, sizeof text, "thread %ld, round %ld", number, round);
    wrong += dvk_fs_pwrite(file, text, (uint64_t)bytes, (uint64_t)round * 100) != bytes;
    wrong += dvk_fs_pread(file, back, (uint64_t)bytes, (uint64_t)round * 100) != bytes;
    wrong += memcmp(text, back, (size_t)bytes) != 0;
  }
  wrong += dvk_fs_close(file) != 0;
  return (void*)wrong;
}

static void threads(void) {
  pthread_t all[THREADS];
  for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&all[i], NULL, work, (void*)i), 0);
  for (long i = 0; i < THREADS; i++) {
    void* wrong = NULL;
    pthread_join(all[i], &wrong);
    CHECK((long)wrong, 0);
  }
}

/* Whether another connection may lock these bytes. */
static int try_lock(dvk_fs* other, int kind, uint64_t start, uint64_t end) {
  dvk_fs_file* file = NULL;
  CHECK(dvk_fs_open(other, "/held", O_RDWR, 0, &file), 0);
  const int result = dvk_fs_lock(file, kind, DVK_FS_LOCK_TYPE_WRITE, start, end, 0);
  CHECK(dvk_fs_close(file), 0);
  return result;
}

/* What a program sees of a server that is killed and started again. */
static void hold(const dvk_fs_options* options) {
  dvk_fs *other = NULL, *idle = NULL;
  dvk_fs_file *file = NULL, *nameless = NULL, *directory = NULL, *quiet = NULL;
  dvk_fs_stat stat;
  char line[16], text[8] = "";
  CHECK(dvk_fs_connect(segment, options, &other), 0);
  CHECK(dvk_fs_connect(segment, options, &idle), 0);
  CHECK(dvk_fs_open(fs, "/held", O_RDWR | O_CREAT, 0644, &file), 0);
  CHECK(dvk_fs_open(fs, "/nameless", O_RDWR | O_CREAT, 0644, &nameless), 0);
  CHECK(dvk_fs_open(fs, "/", O_RDONLY, 0, &directory), 0);
  CHECK(dvk_fs_open(idle, "/held", O_RDWR, 0, &quiet), 0);
  CHECK(dvk_fs_lock(file, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_WRITE, 0, 9, 0), 0);
  CHECK(dvk_fs_lock(file, DVK_FS_LOCK_KIND_POSIX, DVK_FS_LOCK_TYPE_UNLOCK, 3, 5, 0), 0);
  CHECK(dvk_fs_lock(quiet, DVK_FS_LOCK_KIND_FLOCK, DVK_FS_LOCK_TYPE_WRITE, 0, UINT64_MAX, 0), 0);
  CHECK(dvk_fs_pwrite(file, "kept", 4, 0), 4);
  CHECK(dvk_fs_pwrite(nameless, "open", 4, 0), 4);
  CHECK(dvk_fs_unlink(fs, "/nameless"), 0);
  CHECK(dvk_fs_fsync(file, 0), 0);
  CHECK(dvk_fs_fsync(directory, 0), 0);
  CHECK(dvk_fs_pwrite(file, "lost?", 5, 100), 5);
  CHECK(dvk_fs_mkdir(fs, "/lost?", 0755), 0);
  printf("ready\n");
  fflush(stdout);
  if (fgets(line, sizeof line, stdin) == NULL) failures++;
  CHECK(dvk_fs_pread(file, text, 4, 0), 4);
  CHECK(memcmp(text, "kept", 4), 0);
  CHECK(dvk_fs_pread(nameless, text, 4, 0), 4);
  CHECK(memcmp(text, "open", 4), 0);
  /* It is told once what is lost, and only what is. */
  const int has_data = dvk_fs_pread(file, text, 5, 100) == 5;
  const int has_name = dvk_fs_lstat(fs, "/lost?", &stat) == 0;
  CHECK(dvk_fs_fsync(file, 0), has_data ? 0 : -EIO);
  CHECK(dvk_fs_fsync(directory, 0), has_name ? 0 : -EIO);
  CHECK(dvk_fs_fsync(directory, 0), 0);
  CHECK(dvk_fs_pwrite(file, "again", 5, 100), 5);
  CHECK(dvk_fs_fsync(file, 0), 0);
  /* Locks are as they were, also those of a connection that makes no calls. */
  CHECK(try_lock(other, DVK_FS_LOCK_KIND_POSIX, 0, 2), -EAGAIN);
  CHECK(try_lock(other, DVK_FS_LOCK_KIND_POSIX, 6, 6), -EAGAIN);
  CHECK(try_lock(other, DVK_FS_LOCK_KIND_POSIX, 3, 5), 0);
  CHECK(try_lock(other, DVK_FS_LOCK_KIND_FLOCK, 0, UINT64_MAX), -EAGAIN);
  CHECK(dvk_fs_fsync(quiet, 0), 0);
  CHECK(dvk_fs_close(quiet), 0);
  CHECK(dvk_fs_close(directory), 0);
  CHECK(dvk_fs_close(nameless), 0);
  CHECK(dvk_fs_close(file), 0);
  if (has_name) CHECK(dvk_fs_rmdir(fs, "/lost?"), 0);
  CHECK(dvk_fs_disconnect(idle), 0);
  CHECK(dvk_fs_disconnect(other), 0);
}

int main(int argc, char** argv) {
  if (argc != 4 || dvk_open(argv[1], &segment) != 0) return 2;
  const dvk_fs_options options = {.server_slot = atoi(argv[2]), .channels = 3, .umask = 022};
  CHECK(dvk_fs_connect(segment, &options, &fs), 0);
  CHECK(dvk_bind(segment, -1, DVK_LEVEL_USER, "c-files", &process), 0);
  if (strcmp(argv[3], "hold") == 0) {
    hold(&options);
  } else {
    refuses_null();
    names();
    attributes();
    files();
    extras();
    directories();
    threads();
  }
  CHECK(dvk_unbind(process), 0);
  CHECK(dvk_fs_disconnect(fs), 0);
  CHECK(dvk_close(segment), 0);
  printf("%d checks, %d failed\n", checks, failures);
  return 0;
}

// Makes the system calls that lines on stdin name, and writes what each returned.
//
// A line is a name and its arguments, with one space between them:
//
//   123, -1   a number
//   sHEX      the address of a string: these bytes and a NUL
//   bHEX      the address of these bytes
//   iHEX      the same; what is in them after the call is written too
//   oN        the address of N zeros; what is in them after the call is written too
//   vITEM,..  the address of an iovec for each ITEM, which is bHEX or oN
//
// The answer is a line `RESULT ERRNO OUT...`: ERRNO is 0 unless the call failed, and each OUT is
// hexadecimal digits, or `-` for none. Beside system calls there are `stat`, `lstat`, `fstat`,
// `statvfs` and `pathconf` of the C library, `peek ADDRESS N` and `poke ADDRESS bHEX` for mapped
// memory (errno is EFAULT for SIGSEGV and EIO for SIGBUS), `signals N` (how often signal N came
// since the last time), and `child NAME ...`, which makes the call in a child process.
//
// It has no rights of its own and knows no file system: whoever writes the lines decides all.
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 6, PIECES_MAX = 16, CHILD_ANSWERED = 99 };
enum { MEMORY_BYTES = 8 << 20 };

struct call {
  const char* name;
  long number;
};

#define CALL(name) {#name, SYS_##name}
static const struct call CALLS[] = {
    CALL(openat),
    CALL(openat2),
    CALL(close),
    CALL(close_range),
    CALL(dup),
    CALL(pipe2),
    CALL(read),
    CALL(pread64),
    CALL(readv),
    CALL(preadv),
    CALL(preadv2),
    CALL(write),
    CALL(pwrite64),
    CALL(writev),
    CALL(pwritev),
    CALL(pwritev2),
    CALL(lseek),
    CALL(truncate),
    CALL(ftruncate),
    CALL(fallocate),
    CALL(fadvise64),
    CALL(readahead),
    CALL(getdents64),
    CALL(mkdirat),
    CALL(mknodat),
    CALL(linkat),
    CALL(symlinkat),
    CALL(readlinkat),
    CALL(unlinkat),
    CALL(renameat2),
    CALL(fchmodat),
    {"fchmodat2", 452},  // Newer than many headers; the number is that of every architecture.
    CALL(fchmod),
    CALL(fchownat),
    CALL(fchown),
    CALL(utimensat),
    CALL(faccessat),
    CALL(faccessat2),
    CALL(statx),
    CALL(statfs),
    CALL(fstatfs),
    CALL(fsync),
    CALL(fdatasync),
    CALL(syncfs),
    CALL(sync),
    CALL(sync_file_range),
    CALL(fcntl),
    CALL(flock),
    CALL(ioctl),
    CALL(setxattr),
    CALL(lsetxattr),
    CALL(fsetxattr),
    CALL(getxattr),
    CALL(lgetxattr),
    CALL(fgetxattr),
    CALL(listxattr),
    CALL(llistxattr),
    CALL(flistxattr),
    CALL(removexattr),
    CALL(lremovexattr),
    CALL(fremovexattr),
    CALL(copy_file_range),
    CALL(sendfile),
    CALL(splice),
    CALL(mmap),
    CALL(munmap),
    CALL(msync),
    CALL(mprotect),
    CALL(chdir),
    CALL(fchdir),
    CALL(chroot),
    CALL(getcwd),
    CALL(umask),
    CALL(execve),
    CALL(setgroups),
    CALL(setresuid),
    CALL(setresgid),
    CALL(setfsuid),
    CALL(prctl),
    CALL(prlimit64),
    CALL(setns),
    CALL(unshare),
    CALL(mount),
    CALL(umount2),
// These are left out of newer architectures, where the calls with `at` are all there is.
#ifdef SYS_open
    CALL(open),
    CALL(creat),
    CALL(mkdir),
    CALL(rmdir),
    CALL(mknod),
    CALL(link),
    CALL(symlink),
    CALL(readlink),
    CALL(unlink),
    CALL(rename),
    CALL(renameat),
    CALL(chmod),
    CALL(chown),
    CALL(lchown),
    CALL(utime),
    CALL(utimes),
    CALL(futimesat),
    CALL(access),
#endif
};

/** A part of the memory whose bytes belong to the answer. */
struct piece {
  const unsigned char* bytes;
  size_t count;
};

static _Alignas(4096) unsigned char memory[MEMORY_BYTES];
static size_t used;
static struct piece pieces[PIECES_MAX];
static size_t piece_count;

static volatile sig_atomic_t signals[65];
static sigjmp_buf mapped;
static volatile sig_atomic_t in_mapped;

static void on_signal(int number) {
  signals[number]++;
}

static void on_fault(int number) {
  if (!in_mapped) _exit(70);
  siglongjmp(mapped, number == SIGBUS ? EIO : EFAULT);
}

static void fail(const char* what) {
  fprintf(stderr, "posix-calls: %s\n", what);
  exit(2);
}

static unsigned char* take(size_t count) {
  const size_t aligned = (count + 15) & ~(size_t)15;
  if (aligned > MEMORY_BYTES - used) fail("the arguments are too long");
  unsigned char* bytes = memory + used;
  used += aligned;
  memset(bytes, 0, aligned);
  return bytes;
}

static void answers(const unsigned char* bytes, size_t count) {
  if (piece_count == PIECES_MAX) fail("too many answers");
  pieces[piece_count++] = (struct piece){bytes, count};
}

static int digit(char c) {
  return c >= 'a' ? c - 'a' + 10 : c - '0';
}

/** The bytes that hexadecimal digits stand for, and a NUL. */
static unsigned char* bytes_of(const char* digits, size_t* count) {
  *count = strlen(digits) / 2;
  unsigned char* bytes = take(*count + 1);
  for (size_t i = 0; i < *count; i++) {
    bytes[i] = (unsigned char)(digit(digits[2 * i]) << 4 | digit(digits[2 * i + 1]));
  }
  return bytes;
}

static struct iovec item_of(char* text) {
  size_t count = 0;
  unsigned char* bytes;
  if (text[0] == 'o') {
    count = strtoull(text + 1, NULL, 10);
    bytes = take(count);
    answers(bytes, count);
  } else {
    bytes = bytes_of(text + 1, &count);
  }
  return (struct iovec){bytes, count};
}

static long vector_of(char* text) {
  struct iovec* items = (struct iovec*)take(sizeof(struct iovec) * PIECES_MAX);
  size_t count = 0;
  char* rest = NULL;
  for (char* item = strtok_r(text, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
    if (count == PIECES_MAX) fail("too many items");
    items[count++] = item_of(item);
  }
  return (long)items;
}

static long argument_of(char* text) {
  size_t count = 0;
  switch (text[0]) {
    case 's':
    case 'b':
      return (long)bytes_of(text + 1, &count);
    case 'i': {
      unsigned char* bytes = bytes_of(text + 1, &count);
      answers(bytes, count);
      return (long)bytes;
    }
    case 'o':
      return (long)item_of(text).iov_base;
    case 'v':
      return vector_of(text + 1);
    default:
      return text[0] == '-' ? (long)strtoll(text, NULL, 10) : (long)strtoull(text, NULL, 10);
  }
}

/** Numbers of 8 bytes as a part of the answer. */
static long numbers(long result, const uint64_t* values, size_t count) {
  if (result != 0) return result;
  unsigned char* bytes = take(count * sizeof *values);
  memcpy(bytes, values, count * sizeof *values);
  answers(bytes, count * sizeof *values);
  return result;
}

static uint64_t nanoseconds(struct timespec time) {
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static long stat_call(const char* name, const long* arguments) {
  struct stat s = {0};
  long result;
  if (name[0] == 'f') {
    result = fstat((int)arguments[0], &s);
  } else {
    const char* path = (const char*)arguments[0];
    result = name[0] == 'l' ? lstat(path, &s) : stat(path, &s);
  }
  const uint64_t values[] = {s.st_dev,
                             s.st_ino,
                             s.st_mode,
                             s.st_nlink,
                             s.st_uid,
                             s.st_gid,
                             s.st_rdev,
                             (uint64_t)s.st_size,
                             (uint64_t)s.st_blksize,
                             (uint64_t)s.st_blocks,
                             nanoseconds(s.st_atim),
                             nanoseconds(s.st_mtim),
                             nanoseconds(s.st_ctim)};
  return numbers(result, values, sizeof values / sizeof *values);
}

static long statvfs_call(const long* arguments) {
  struct statvfs s = {0};
  const long result = statvfs((const char*)arguments[0], &s);
  const uint64_t values[] = {s.f_bsize, s.f_frsize, s.f_blocks, s.f_bfree, s.f_bavail,
                             s.f_files, s.f_ffree,  s.f_favail, s.f_flag,  s.f_namemax};
  return numbers(result, values, sizeof values / sizeof *values);
}

/** Copies from or to memory that may be mapped and gone. */
static long touch(void* to, const void* from, size_t count) {
  const int fault = sigsetjmp(mapped, 1);
  if (fault == 0) {
    in_mapped = 1;
    for (size_t i = 0; i < count; i++) {
      ((volatile unsigned char*)to)[i] = ((const volatile unsigned char*)from)[i];
    }
  }
  in_mapped = 0;
  errno = fault;
  return fault == 0 ? 0 : -1;
}

static long peek(const long* arguments) {
  const size_t count = (size_t)arguments[1];
  unsigned char* bytes = take(count);
  answers(bytes, count);
  return touch(bytes, (const void*)arguments[0], count);
}

static long count_of(long number) {
  const long count = signals[number];
  signals[number] = 0;
  return count;
}

static long make(const char* name, const long* a) {
  errno = 0;
  if (!strcmp(name, "stat") || !strcmp(name, "lstat") || !strcmp(name, "fstat")) {
    return stat_call(name, a);
  }
  if (!strcmp(name, "statvfs")) return statvfs_call(a);
  if (!strcmp(name, "pathconf")) return pathconf((const char*)a[0], (int)a[1]);
  if (!strcmp(name, "peek")) return peek(a);
  if (!strcmp(name, "poke")) return touch((void*)a[0], (const void*)a[1], (size_t)a[2]);
  if (!strcmp(name, "signals")) return count_of(a[0]);
  for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
    if (!strcmp(name, CALLS[i].name)) {
      return syscall(CALLS[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
  }
  fprintf(stderr, "posix-calls: no call %s\n", name);
  exit(2);
}

static void answer(long result, int error) {
  printf("%ld %d", result, error);
  for (size_t i = 0; i < piece_count; i++) {
    putchar(' ');
    if (pieces[i].count == 0) putchar('-');
    for (size_t at = 0; at < pieces[i].count; at++) {
      putchar("0123456789abcdef"[pieces[i].bytes[at] >> 4]);
      putchar("0123456789abcdef"[pieces[i].bytes[at] & 15]);
    }
  }
  putchar('\n');
  fflush(stdout);
}

static void serve(char* line) {
  char* rest = NULL;
  long arguments[ARGUMENTS_MAX] = {0};
  used = piece_count = 0;
  const char* name = strtok_r(line, " \n", &rest);
  for (int i = 0; i < ARGUMENTS_MAX; i++) {
    char* text = strtok_r(NULL, " \n", &rest);
    if (text) arguments[i] = argument_of(text);
  }
  const long result = make(name, arguments);
  answer(result, result == -1 ? errno : 0);
}

/** The call in a child; a child that becomes another program is answered by its exit status. */
static void serve_in_child(char* line) {
  const pid_t pid = fork();
  if (pid == 0) {
    serve(line);
    _exit(CHILD_ANSWERED);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_ANSWERED) return;
  used = piece_count = 0;
  answer(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), 0);
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  struct sigaction counted = {.sa_handler = on_signal};
  sigaction(SIGXFSZ, &counted, NULL);
  sigaction(SIGIO, &counted, NULL);
  struct sigaction faulty = {.sa_handler = on_fault};
  sigaction(SIGBUS, &faulty, NULL);
  sigaction(SIGSEGV, &faulty, NULL);
  char* line = NULL;
  size_t room = 0;
  while (getline(&line, &room, stdin) > 0) {
    if (!strncmp(line, "child ", 6)) {
      serve_in_child(line + 6);
    } else {
      serve(line);
    }
  }
  return 0;
}

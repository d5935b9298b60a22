/*
 * Files of a DC, without a mount.
 *
 *   files SEGMENT SLOT list PATH          lists a directory
 *   files SEGMENT SLOT get PATH           writes a file to the standard output
 *   files SEGMENT SLOT put PATH           makes or replaces a file from the standard input
 *   files SEGMENT SLOT info PATH          flags of a file, when it was made, and what is in use
 *
 * SLOT is that of the file system server in the spec. Data goes through a buffer in the arena: the
 * server moves it there by one memcpy, and this program reads it where it lies.
 */
#include <fcntl.h>

#include "dvk_fs.h"
#include "protocol.h"

enum { BUFFER_BYTES = 1 << 20 };

static void list(dvk_fs* fs, const char* path) {
  dvk_fs_dir* directory = NULL;
  must("opendir", dvk_fs_opendir(fs, path, &directory));
  dvk_fs_entry entry;
  while (must("readdir", dvk_fs_readdir(directory, &entry)) > 0) {
    printf("%06o %10llu %s\n", entry.stat.mode, (unsigned long long)entry.stat.size, entry.name);
  }
  must("closedir", dvk_fs_closedir(directory));
}

static void get(dvk_fs* fs, const char* path, void* buffer) {
  dvk_fs_file* file = NULL;
  must("open", dvk_fs_open(fs, path, O_RDONLY, 0, &file));
  int64_t bytes = 0;
  while ((bytes = must("read", dvk_fs_read(file, buffer, BUFFER_BYTES))) > 0) {
    fwrite(buffer, 1, (size_t)bytes, stdout);
  }
  must("close", dvk_fs_close(file));
}

static void put(dvk_fs* fs, const char* path, void* buffer) {
  dvk_fs_file* file = NULL;
  must("open", dvk_fs_open(fs, path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &file));
  size_t bytes = 0;
  while ((bytes = fread(buffer, 1, BUFFER_BYTES, stdin)) > 0) {
    must("write", dvk_fs_write(file, buffer, bytes));
  }
  must("fsync", dvk_fs_fsync(file, 0));
  must("close", dvk_fs_close(file));
}

static void info(dvk_fs* fs, const char* path) {
  dvk_fs_info info;
  dvk_fs_quota quota;
  must("get_info", dvk_fs_get_info(fs, path, &info));
  must("get_quota", dvk_fs_get_quota(fs, &quota));
  printf("flags 0x%x, made at %lld\n", info.flags, (long long)info.born.tv_sec);
  printf("%llu bytes in use", (unsigned long long)quota.bytes_used);
  if (quota.bytes_max != UINT64_MAX) printf(" of %llu", (unsigned long long)quota.bytes_max);
  printf(", %llu files\n", (unsigned long long)quota.inodes_used);
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: files SEGMENT SLOT list|get|put|info PATH\n");
    return 2;
  }
  dvk_segment* segment = open_segment(argv[1]);
  const dvk_fs_options options = {.server_slot = atoi(argv[2]), .umask = 022};
  dvk_fs* fs = NULL;
  must("connect", dvk_fs_connect(segment, &options, &fs));
  dvk_process* process = NULL;
  must("bind", dvk_bind(segment, -1, DVK_LEVEL_USER, "c-files", &process));
  void* buffer = NULL;
  must("allocate", dvk_arena_allocate(process, BUFFER_BYTES, &buffer));

  if (strcmp(argv[3], "list") == 0)
    list(fs, argv[4]);
  else if (strcmp(argv[3], "get") == 0)
    get(fs, argv[4], buffer);
  else if (strcmp(argv[3], "info") == 0)
    info(fs, argv[4]);
  else
    put(fs, argv[4], buffer);

  must("unbind", dvk_unbind(process));
  must("disconnect", dvk_fs_disconnect(fs));
  must("close", dvk_close(segment));
  return 0;
}

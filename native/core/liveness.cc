// Who lives: pid and start time together name a process, since pids are reused.

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "process.h"

namespace dvk {

// Field 22 of /proc/PID/stat (proc(5)); 0 for a process that is gone or a zombie.
uint64_t process_start_time(int pid) {
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[1024];
  const ssize_t bytes = read(fd, text, sizeof text - 1);
  close(fd);
  if (bytes <= 0) return 0;
  text[bytes] = 0;
  // The command name is in parentheses and may hold anything, so count fields from the last one.
  const char* at = strrchr(text, ')');
  if (at == nullptr || at[1] != ' ') return 0;
  at += 2;
  if (*at == 'Z' || *at == 'X') return 0;
  for (int field = 3; field < 22; field++) {
    at = strchr(at, ' ');
    if (at == nullptr) return 0;
    at++;
  }
  return strtoull(at, nullptr, 10);
}

bool process_alive(int pid, uint64_t start_time) {
  if (pid <= 0) return false;
  const uint64_t now = process_start_time(pid);
  return now != 0 && now == start_time;
}

}  // namespace dvk

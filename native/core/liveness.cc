// Who lives: pid and start time together name a process, since pids are reused.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "process.h"
#include "rendezvous.h"

namespace dvk {

namespace {

// Field 22 of /proc/PID/stat (proc(5)); 0 for a process that is gone or a zombie, nothing when the
// file cannot be read.
std::optional<uint64_t> read_start_time(const char* path) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  // ESRCH: it went while the path was looked up.
  const bool is_gone = fd < 0 && (errno == ENOENT || errno == ESRCH);
  if (fd < 0) return is_gone ? std::optional<uint64_t>(0) : std::nullopt;
  char text[1024];
  const ssize_t bytes = read(fd, text, sizeof text - 1);
  const int error = errno;
  close(fd);
  if (bytes <= 0) return bytes == 0 || error == ESRCH ? std::optional<uint64_t>(0) : std::nullopt;
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

}  // namespace

std::optional<uint64_t> find_start_time(int pid) {
  if (pid <= 0) return 0;
  char path[32];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  return read_start_time(path);
}

std::optional<uint64_t> find_start_time(int pid, int thread) {
  if (pid <= 0 || thread <= 0) return 0;
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, thread);
  return read_start_time(path);
}

uint64_t process_start_time(int pid) {
  return find_start_time(pid).value_or(0);
}

namespace {

// What cannot be found out counts as alive.
bool is_same(const std::optional<uint64_t>& now, uint64_t start_time) {
  return !now.has_value() || (*now != 0 && *now == start_time);
}

}  // namespace

bool process_alive(int pid, uint64_t start_time) {
  return is_same(find_start_time(pid), start_time);
}

bool owner_alive(ProcessSlot* slot) {
  const int pid = load(slot->pid);
  const int thread = load(slot->thread);
  return is_same(thread == 0 ? find_start_time(pid) : find_start_time(pid, thread),
                 load(slot->start_time));
}

}  // namespace dvk

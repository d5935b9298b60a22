#include "own_pid.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

namespace dvk {
namespace {

// A word that is zero in every child of fork(2), since the kernel wipes its page there; null when
// it does not (MADV_WIPEONFORK, madvise(2), since Linux 4.14).
std::atomic<int>* make_note() {
  constexpr size_t kPageBytes = 4096;
  void* page =
      mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (madvise(page, kPageBytes, MADV_WIPEONFORK) != 0) {
    munmap(page, kPageBytes);
    return nullptr;
  }
  return new (page) std::atomic<int>(0);
}

}  // namespace

int own_pid() {
  static std::atomic<int>* const note = make_note();
  if (note == nullptr) return getpid();
  int pid = note->load(std::memory_order_relaxed);
  if (pid == 0) {
    pid = getpid();
    note->store(pid, std::memory_order_relaxed);
  }
  return pid;
}

}  // namespace dvk

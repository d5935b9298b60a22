#include "lost_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>

#include "segment.h"

namespace dvk {
namespace {

constexpr uint32_t kEnded = 2;  // state of a container, in its header
constexpr uint64_t kPageBytes = 4096;

struct Guarded {
  std::atomic<uint64_t> base{0};
  std::atomic<uint64_t> bytes{0};
  std::atomic<int> fd{-1};
};

std::array<Guarded, kGuardedMax> guarded;
struct sigaction before;

// Gives the page at `offset` of the file its memory, and the file its length. False where there is
// no memory for it.
bool mend_file(int fd, uint64_t bytes, uint64_t offset) {
  struct stat status;
  if (fstat(fd, &status) != 0) return false;
  // Somebody else may have made it as long as it was, while this process was on its way here.
  const bool is_short = static_cast<uint64_t>(status.st_size) < bytes;
  if (is_short && ftruncate(fd, static_cast<off_t>(bytes)) != 0) return false;
  return fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), kPageBytes) == 0;
}

// In a signal handler: nothing but atomics and system calls.
bool end_container(uint64_t address) {
  for (const Guarded& one : guarded) {
    const uint64_t base = one.base.load(std::memory_order_acquire);
    const uint64_t bytes = one.bytes.load(std::memory_order_relaxed);
    if (base == 0 || address < base || address - base >= bytes) continue;
    void* at = reinterpret_cast<void*>(base);
    const uint64_t page = (address - base) & ~(kPageBytes - 1);
    if (!mend_file(one.fd.load(std::memory_order_relaxed), bytes, page) &&
        mmap(at, bytes, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED) {
      return false;
    }
    atomic(static_cast<SegmentHeader*>(at)->state).store(kEnded);
    return true;
  }
  return false;
}

void on_lost_page(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool is_fault = info->si_code == BUS_ADRERR;
  if (is_fault && end_container(reinterpret_cast<uint64_t>(info->si_addr))) {
    errno = error;
  } else if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  } else {
    // The instruction is tried again, and ends the process as it would have.
    sigaction(signal, &before, nullptr);
    if (!is_fault) raise(signal);
  }
}

void install() {
  struct sigaction action = {};
  action.sa_sigaction = on_lost_page;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &before);
}

}  // namespace

void guard_pages(void* base, uint64_t bytes, int fd) {
  static std::once_flag installed;
  std::call_once(installed, install);
  for (Guarded& one : guarded) {
    uint64_t none = 0;
    // No address is there until all is known.
    if (!one.base.compare_exchange_strong(none, ~uint64_t{0})) continue;
    one.bytes.store(bytes);
    one.fd.store(fd);
    one.base.store(reinterpret_cast<uint64_t>(base), std::memory_order_release);
    return;
  }
  close(fd);
}

void leave_pages(void* base) {
  for (Guarded& one : guarded) {
    if (one.base.load() != reinterpret_cast<uint64_t>(base)) continue;
    close(one.fd.exchange(-1));
    one.bytes.store(0);
    one.base.store(0);
    return;
  }
}

}  // namespace dvk

// The restartable sequences that glibc registers are given up once, and nothing misses them.
#include "../core/rseq.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <thread>

#include "support.h"

namespace dvk::test {
namespace {

// Whether a thread that called leave_rseq can register an area of its own, so has none.
bool is_free_after_leaving() {
  bool is_free = false;
  std::thread([&] {
    alignas(32) static uint8_t area[32];
    leave_rseq();
    leave_rseq();
    CHECK(sched_getcpu() >= 0);
    is_free = syscall(SYS_rseq, area, sizeof area, 0, 0x1234) == 0;
    if (is_free) CHECK_EQUAL(syscall(SYS_rseq, area, sizeof area, 1, 0x1234), 0L);
  }).join();
  return is_free;
}

TEST("a thread that leaves rseq has none, and knows its CPU all the same") {
  CHECK(is_free_after_leaving());
}

TEST("DVK_KEEP_RSEQ=1 keeps it") {
  setenv("DVK_KEEP_RSEQ", "1", 1);
  CHECK(!is_free_after_leaving());
  unsetenv("DVK_KEEP_RSEQ");
}

}  // namespace
}  // namespace dvk::test

#include "clock.h"

#include <time.h>

namespace dvk {
namespace {

constexpr int64_t kMeasureNs = 20'000;

int64_t read_clock(clockid_t clock) {
  timespec t;
  return clock_gettime(clock, &t) == 0 ? t.tv_sec * 1'000'000'000 + t.tv_nsec : -1;
}

double measure_ticks_per_ns() {
  const int64_t begun = now_ns();
  const uint64_t first = ticks();
  int64_t now = begun;
  while (now < begun + kMeasureNs) now = now_ns();
  const double measured = static_cast<double>(ticks() - first) / static_cast<double>(now - begun);
  // A virtual machine that was moved meanwhile may show anything.
  return measured > 0.001 && measured < 100 ? measured : 1;
}

}  // namespace

int64_t now_ns() {
  return read_clock(CLOCK_MONOTONIC);
}

uint64_t ticks_in(int64_t ns) {
  static const double per_ns = measure_ticks_per_ns();
  return static_cast<uint64_t>(static_cast<double>(ns) * per_ns);
}

int64_t cpu_time_ns(int pid) {
  clockid_t clock = CLOCK_PROCESS_CPUTIME_ID;
  if (pid != 0 && clock_getcpuclockid(pid, &clock) != 0) return -1;
  return read_clock(clock);
}

}  // namespace dvk

// Clocks of this machine.
#pragma once

#include <cstdint>

namespace dvk {

// CLOCK_MONOTONIC, in nanoseconds.
int64_t now_ns();

// The counter of this CPU, for short spans: it touches no memory, while the pages behind now_ns are
// cold after a switch of processes. Those of two CPUs may differ, so a span is a hint only.
inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t count;
  asm volatile("mrs %0, cntvct_el0" : "=r"(count));
  return count;
#else
  return static_cast<uint64_t>(now_ns());
#endif
}
// How many ticks go by in `ns`, to a percent. The first call of a program measures them for 20 us.
uint64_t ticks_in(int64_t ns);

// CPU time that all threads of process `pid` have used so far, in nanoseconds, or -1 when there is
// no such process. 0 means the caller's own.
int64_t cpu_time_ns(int pid);

}  // namespace dvk

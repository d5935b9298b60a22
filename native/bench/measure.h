// The loop that every case is measured by: warm-up, throughput with the CPU time that it took, then
// latency apart, since reading the clock twice a trip would slow it.
#pragma once

#include <unistd.h>

#include "bench.h"

namespace bench {

// A clock is read once in a batch. Batches grow until they take this long, so that neither the
// clock disturbs a fast transport nor a slow one overruns.
inline constexpr int64_t kBatchNs = 50'000;
inline constexpr uint64_t kBatchMax = 256;

// Makes trips for `ns`; returns how many, and the time they took.
template <typename Trip>
uint64_t repeat(Trip& trip, int64_t ns, int64_t* took) {
  uint64_t done = 0, batch = 1;
  const int64_t start = now_ns();
  int64_t now = start;
  while (now - start < ns) {
    for (uint64_t i = 0; i < batch; i++) trip();
    done += batch;
    const int64_t before = now;
    now = now_ns();
    if (now - before < kBatchNs && batch < kBatchMax) batch *= 2;
    if (now - before > 8 * kBatchNs && batch > 1) batch /= 2;
  }
  *took = now - start;
  return done;
}

// Measures `trip`, which verifies what it moves and counts for `units`: bytes, or 1. `peer` is the
// other process that works for it, or 0.
template <typename Trip>
Result measure(const Options& options, pid_t peer, double units, Trip trip) {
  const auto spent = [peer] { return cpu_ns(getpid()) + (peer == 0 ? 0 : cpu_ns(peer)); };
  Result result;
  int64_t took;
  result.checked = repeat(trip, options.run_ns / 8, &took);
  meet(options);

  const int64_t before = spent();
  result.counted = repeat(trip, options.run_ns, &took);
  result.cpu_ns = spent() - before;
  result.per_second = static_cast<double>(result.counted) * units * 1e9 / static_cast<double>(took);
  result.checked += result.counted;

  const int64_t start = now_ns();
  for (int64_t now = start; now - start < options.run_ns / 4; result.checked++) {
    trip();
    const int64_t after = now_ns();
    result.latency.add(after - now);
    now = after;
  }
  return result;
}

}  // namespace bench

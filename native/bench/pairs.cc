// Several pairs of processes at once.
#include <errno.h>
#include <sys/wait.h>

#include <new>

#include "bench.h"

namespace bench {
namespace {

int cpu_of(const std::vector<int>& cpus, uint32_t pair) {
  return cpus.empty() ? -1 : cpus[pair % cpus.size()];
}

Options pair_of(const Options& options, uint32_t pair) {
  Options own = options;
  own.pair = pair;
  own.cpu_client = cpu_of(options.cpus_client, pair);
  own.cpu_peer = cpu_of(options.cpus_peer, pair);
  return own;
}

// In any order: a pair that failed ends the others, which would wait for it.
void join_all(uint32_t count) {
  for (; count > 0; count--) {
    int status;
    must(wait(&status), "wait");
    if (status != 0) die("a pair", EIO);
  }
}

}  // namespace

Result run_pairs(const Case& chosen, const Options& given) {
  Options options = given;
  options.arrived = new (shared_memory(sizeof(*options.arrived))) std::atomic<uint32_t>(0);
  if (chosen.prepare != nullptr) chosen.prepare(options);
  if (options.pairs == 1) return chosen.run(pair_of(options, 0));

  Result* const results = static_cast<Result*>(shared_memory(options.pairs * sizeof(Result)));
  for (uint32_t pair = 0; pair < options.pairs; pair++) {
    start_peer(-1, [&] { results[pair] = chosen.run(pair_of(options, pair)); });
  }
  join_all(options.pairs);
  Result sum;
  for (uint32_t pair = 0; pair < options.pairs; pair++) {
    sum.per_second += results[pair].per_second;
    sum.checked += results[pair].checked;
    sum.cpu_ns += results[pair].cpu_ns;
    sum.counted += results[pair].counted;
    sum.latency.add(results[pair].latency);
  }
  return sum;
}

}  // namespace bench

// What every native bench shares: its options, its result, a forked peer, and time.
//
// A bench has two processes: this one, the client, which measures, and one that it forks, the peer.
// Each is pinned to its CPU before it starts. Whatever goes wrong ends both with a line on stderr:
// a bench has nothing to recover, and a peer dies with its parent.
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <string>
#include <vector>

namespace bench {

struct Options {
  int cpu_client = -1;  // -1: any
  int cpu_peer = -1;
  int64_t run_ns = 200'000'000;
  uint64_t bytes = 1 << 20;  // of a block; copies only
  std::string variant;
};

// Durations in buckets of a 32nd of their power of two: 3 % exact from 1 ns to minutes.
//
// The harness adds up the buckets of several runs, so both sides know the numbering: a duration
// below 32 ns is its own bucket; above, five bits after the leading one tell buckets apart.
class Histogram {
 public:
  void add(int64_t ns);
  std::string json() const;  // [[bucket,count],...]

 private:
  std::vector<uint64_t> counts_ = std::vector<uint64_t>(2048, 0);
};

struct Result {
  double per_second = 0;  // round trips, or bytes
  uint64_t checked = 0;   // messages or blocks whose contents were verified
  Histogram latency;
  bool has_latency = false;
};

struct Case {
  const char* name;
  Result (*run)(const Options& options);
};
// The cases of the two benches, each table ending with a nameless entry.
extern const Case kTransportCases[];
extern const Case kKernelCases[];
extern const Case kBulkCases[];
extern const Case kCopyCases[];
// Reads `path` in blocks of options.bytes.
Result read_file(const char* path, const Options& options);

[[noreturn]] void die(const char* what, int error);
// `result` when it is not negative; ends the program otherwise. The second form is for -errno.
int64_t must(int64_t result, const char* what);
int64_t must_code(int64_t result, const char* what);

int64_t now_ns();
void pin(int cpu);
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Memory that client and peer share, zeroed. Lasts as long as the program.
void* shared_memory(uint64_t bytes);
// Private memory of whole pages, touched.
uint8_t* private_memory(uint64_t bytes);
// The same in pages of 2 MiB, of which the kernel pins one for a copy of 1 MiB, not 256.
inline constexpr uint64_t kHugePageBytes = 2 << 20;
uint8_t* huge_page_memory(uint64_t bytes);
// Fills with bytes that differ from place to place, so that a shifted copy is seen.
void fill_pattern(uint8_t* block, uint64_t bytes);
uint64_t checksum(const uint8_t* block, uint64_t bytes);

// A directory of its own in memory, removed with its files by `remove_scratch`.
std::string make_scratch();
void remove_scratch(const std::string& directory);

// Runs `body` in a forked process that is pinned to `cpu` and dies with this one.
template <typename Body>
pid_t start_peer(int cpu, Body body);
// Waits for the peer; it must end with 0.
void join_peer(pid_t peer);

// For start_peer: the half before and after the fork.
pid_t fork_peer(int cpu);
[[noreturn]] void end_peer();

template <typename Body>
pid_t start_peer(int cpu, Body body) {
  const pid_t peer = fork_peer(cpu);
  if (peer == 0) {
    body();
    end_peer();
  }
  return peer;
}

}  // namespace bench

// What every native bench shares: its options, its result, a forked peer, and time.
//
// A bench has one or several pairs of processes. Of each pair one process, the client, measures; it
// forks the other one, the peer. One pair is this process and its peer; of several, each client is
// forked from this process, and all start to count at the same time. Each is pinned to its CPU
// before it starts. Whatever goes wrong ends all with a line on stderr: a bench has nothing to
// recover, and every process dies with its parent.
#pragma once

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include <atomic>
#include <string>
#include <vector>

namespace bench {

inline constexpr uint32_t kPairsMax = 16;

struct Options {
  std::vector<int> cpus_client, cpus_peer;  // pair i takes entry i, and round again; none: any
  int64_t run_ns = 200'000'000;
  uint64_t bytes = 1 << 20;  // of a block; copies and files only
  uint64_t total = 1 << 26;  // bytes of a file
  uint32_t files = 1000;     // in a directory
  uint32_t pairs = 1;        // 1 to kPairsMax
  std::string variant;
  std::string directory;  // where files are made
  // Of the pair that runs: its number, its CPUs (-1: any), and where all pairs meet.
  uint32_t pair = 0;
  int cpu_client = -1, cpu_peer = -1;
  std::atomic<uint32_t>* arrived = nullptr;
};

// Durations in buckets of a 32nd of their power of two: 3 % exact from 1 ns to minutes.
//
// The harness adds up the buckets of several runs, so both sides know the numbering: a duration
// below 32 ns is its own bucket; above, five bits after the leading one tell buckets apart.
class Histogram {
 public:
  void add(int64_t ns);
  void add(const Histogram& other);
  bool empty() const;
  std::string json() const;  // [[bucket,count],...]

 private:
  static constexpr size_t kBuckets = 2048;
  uint64_t counts_[kBuckets] = {};
};

// Plain data: pairs hand it over in shared memory.
struct Result {
  double per_second = 0;  // round trips, notifications, or bytes
  uint64_t checked = 0;   // messages or blocks whose contents were verified
  // CPU time of client and peer while `counted` trips were made.
  int64_t cpu_ns = 0;
  uint64_t counted = 0;
  Histogram latency;
};

struct Case {
  const char* name;
  Result (*run)(const Options& options);
  // What must be done before the processes are forked, if anything.
  void (*prepare)(const Options& options) = nullptr;
};
// The cases of the benches, each table ending with a nameless entry.
extern const Case kTransportCases[];
extern const Case kLoopCases[];
extern const Case kKernelCases[];
extern const Case kStreamCases[];
extern const Case kOneWayCases[];
extern const Case kKernelOneWayCases[];
extern const Case kTracedCases[];
extern const Case kBulkCases[];
extern const Case kCopyCases[];
extern const Case kFileCases[];
// Runs as many pairs as the options ask for; what they did is added up.
Result run_pairs(const Case& chosen, const Options& options);
// Keeps one CPU busy until it is killed.
[[noreturn]] void hog(int cpu);
// Is a process that waits in a receive; answers each sendrec with its counter plus one.
[[noreturn]] void wait_for_calls(const char* segment);

[[noreturn]] void die(const char* what, int error);
// `result` when it is not negative; ends the program otherwise. The second form is for -errno.
int64_t must(int64_t result, const char* what);
int64_t must_code(int64_t result, const char* what);

int64_t now_ns();
// CPU time that a process has used; ends the program when there is no such process.
int64_t cpu_ns(pid_t process);
void pin(int cpu);
// Ends this process with its parent, which was `parent`.
void follow(pid_t parent);
// Waits until every pair is here.
void meet(const Options& options);
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

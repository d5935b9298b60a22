// Parts that the native benches share; see bench.h.
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "bench.h"

namespace bench {
namespace {

constexpr int kFractionBits = 5;
constexpr uint64_t kFraction = 1 << kFractionBits;

size_t bucket_of(uint64_t ns) {
  if (ns < kFraction) return ns;
  const int top = 63 - __builtin_clzll(ns);
  const uint64_t fraction = (ns >> (top - kFractionBits)) & (kFraction - 1);
  return static_cast<size_t>(top - kFractionBits + 1) * kFraction + fraction;
}

}  // namespace

void Histogram::add(int64_t ns) {
  const size_t bucket = bucket_of(ns < 0 ? 0 : static_cast<uint64_t>(ns));
  counts_[std::min(bucket, kBuckets - 1)]++;
}

void Histogram::add(const Histogram& other) {
  for (size_t i = 0; i < kBuckets; i++) counts_[i] += other.counts_[i];
}

bool Histogram::empty() const {
  return std::all_of(std::begin(counts_), std::end(counts_), [](uint64_t n) { return n == 0; });
}

std::string Histogram::json() const {
  std::string text = "[";
  for (size_t i = 0; i < kBuckets; i++) {
    if (counts_[i] == 0) continue;
    if (text.size() > 1) text += ',';
    text += '[' + std::to_string(i) + ',' + std::to_string(counts_[i]) + ']';
  }
  return text + ']';
}

void die(const char* what, int error) {
  fprintf(stderr, "%s: %s (%d)\n", what, error > 0 && error < 200 ? strerror(error) : "failed",
          error);
  _exit(1);
}

int64_t must(int64_t result, const char* what) {
  if (result < 0) die(what, errno);
  return result;
}

int64_t must_code(int64_t result, const char* what) {
  if (result < 0) die(what, static_cast<int>(-result));
  return result;
}

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

int64_t cpu_ns(pid_t process) {
  clockid_t clock;
  const int error = clock_getcpuclockid(process, &clock);
  if (error != 0) die("clock_getcpuclockid", error);
  timespec t;
  must(clock_gettime(clock, &t), "clock_gettime");
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

void pin(int cpu) {
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  must(sched_setaffinity(0, sizeof set, &set), "sched_setaffinity");
}

void* shared_memory(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) die("mmap", errno);
  return memory;
}

uint8_t* private_memory(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) die("mmap", errno);
  memset(memory, 1, bytes);
  return static_cast<uint8_t*>(memory);
}

void fill_pattern(uint8_t* block, uint64_t bytes) {
  uint64_t state = 0x9e3779b97f4a7c15;
  for (uint64_t i = 0; i < bytes; i++) {
    state = state * 6364136223846793005 + 1442695040888963407;
    block[i] = static_cast<uint8_t>(state >> 56);
  }
}

uint64_t checksum(const uint8_t* block, uint64_t bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < bytes; i++) hash = (hash ^ block[i]) * 0x100000001b3;
  return hash;
}

std::string make_scratch() {
  for (const char* base : {"/dev/shm", "/tmp"}) {
    std::string path = std::string(base) + "/dvk-bench-XXXXXX";
    if (mkdtemp(path.data()) != nullptr) return path;
  }
  die("mkdtemp", errno);
}

void remove_scratch(const std::string& directory) {
  for (const char* name : {"/segment", "/request", "/reply", "/bell"})
    unlink((directory + name).c_str());
  rmdir((directory + "/wake").c_str());
  must(rmdir(directory.c_str()), "rmdir");
}

void follow(pid_t parent) {
  must(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
  if (getppid() != parent) _exit(1);
}

void meet(const Options& options) {
  options.arrived->fetch_add(1);
  // Who waits does not keep a CPU from those who are still on their way.
  while (options.arrived->load() < options.pairs) usleep(20);
}

pid_t fork_peer(int cpu) {
  const pid_t parent = getpid();
  const pid_t peer = static_cast<pid_t>(must(fork(), "fork"));
  if (peer != 0) return peer;
  follow(parent);
  pin(cpu);
  return 0;
}

void end_peer() {
  _exit(0);
}

void join_peer(pid_t peer) {
  int status;
  must(waitpid(peer, &status, 0), "waitpid");
  if (status != 0) die("peer", EIO);
}

}  // namespace bench

// Runs the core's tests: `dvk_core_test [PART-OF-NAME] [--seed N]`.
//
// Prints `ok NAME`, `not ok NAME: reason` or `skipped NAME: reason` for each, and `N passed, N
// failed` at the end, with `, N skipped` when some were.

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "test.h"

namespace dvk::test {
namespace {

constexpr uint64_t kSeed = 20260131;
// Far more than any test needs, also where other programs have most of the machine.
constexpr int64_t kWatchdogMs = kSanitized ? 300'000 : 120'000;

// What a test's processes tell the runner; the first reason stays.
struct Outcome {
  std::atomic<uint32_t> failed;
  std::atomic<uint32_t> skipped;
  char reason[500];
};

Outcome* outcome;
uint64_t chosen_seed = kSeed;
std::string own_folder;

std::vector<Test>& tests() {
  static auto* list = new std::vector<Test>();
  return *list;
}

int64_t now_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1'000'000;
}

// Waits for the test's process; a stuck one is killed with all its children. Returns the reason of
// a failure, or "".
std::string watch(pid_t child) {
  const int64_t deadline = now_ms() + kWatchdogMs;
  int status = 0;
  bool hung = false;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (now_ms() > deadline) {
      hung = true;
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    usleep(500);
  }
  // Children that a failed test left behind are in its group.
  kill(-child, SIGKILL);
  if (outcome->failed.load() != 0) return outcome->reason;
  if (hung) return "hangs, the watchdog ended it";
  if (WIFSIGNALED(status)) return std::string("died of ") + strsignal(WTERMSIG(status));
  if (WEXITSTATUS(status) != 0) return "ended with code " + std::to_string(WEXITSTATUS(status));
  return "";
}

std::string run(const Test& test, const std::string& base, size_t number) {
  own_folder = base + "/" + std::to_string(number);
  mkdir(own_folder.c_str(), 0700);
  outcome->failed.store(0);
  outcome->skipped.store(0);
  fflush(stdout);
  const pid_t child = fork();
  if (child < 0) return std::string("fork: ") + strerror(errno);
  if (child == 0) {
    setpgid(0, 0);
    test.run();
    _exit(0);
  }
  setpgid(child, child);
  const std::string reason = watch(child);
  std::error_code ignored;
  std::filesystem::remove_all(own_folder, ignored);
  return reason;
}

}  // namespace

bool add(const Test& test) {
  tests().push_back(test);
  return true;
}

void fail_test(const char* file, int line, const std::string& reason) {
  if (outcome->failed.exchange(1) == 0) {
    const char* name = strrchr(file, '/');
    snprintf(outcome->reason, sizeof outcome->reason, "%s (%s:%d)", reason.c_str(),
             name == nullptr ? file : name + 1, line);
  }
  _exit(1);
}

void skip_test(const std::string& reason) {
  outcome->skipped.store(1);
  snprintf(outcome->reason, sizeof outcome->reason, "%s", reason.c_str());
  _exit(0);
}

uint64_t seed() {
  return chosen_seed;
}

uint64_t at_length(uint64_t whole, uint64_t brief) {
  return getenv("DVK_SOAK") != nullptr ? whole : brief;
}

const std::string& folder() {
  return own_folder;
}

int run_all(const char* part) {
  char base[] = "/dev/shm/dvk-core-test-XXXXXX";
  if (mkdtemp(base) == nullptr) {
    printf("not ok start: no folder in /dev/shm: %s\n0 passed, 1 failed\n", strerror(errno));
    return 1;
  }
  void* memory =
      mmap(nullptr, sizeof(Outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  outcome = new (memory) Outcome();
  printf("seed %llu\n", static_cast<unsigned long long>(chosen_seed));
  int passed = 0, failed = 0, skipped = 0;
  for (size_t i = 0; i < tests().size(); i++) {
    const Test& test = tests()[i];
    if (strstr(test.name, part) == nullptr) continue;
    const int64_t start = now_ms();
    const std::string reason = run(test, base, i);
    const int64_t took = now_ms() - start;
    if (!reason.empty()) {
      printf("not ok %s: %s\n", test.name, reason.c_str());
      failed++;
    } else if (outcome->skipped.load() != 0) {
      printf("skipped %s: %s\n", test.name, outcome->reason);
      skipped++;
    } else {
      printf("ok %s%s\n", test.name,
             took < 1000 ? "" : (" (" + std::to_string(took) + " ms)").c_str());
      passed++;
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(base, ignored);
  printf("%d passed, %d failed", passed, failed);
  if (skipped > 0) printf(", %d skipped", skipped);
  printf("\n");
  return failed == 0 && passed + skipped > 0 ? 0 : 1;
}

}  // namespace dvk::test

int main(int argc, char** argv) {
  const char* part = "";
  for (int i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
      dvk::test::chosen_seed = strtoull(argv[++i], nullptr, 10);
    } else {
      part = argv[i];
    }
  }
  return dvk::test::run_all(part);
}

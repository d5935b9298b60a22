// The crash matrix: every scenario, with each of its processes killed or stopped at each point that
// it comes to.
//
//   dvk_crash_test [PART-OF-SCENARIO] [--full] [--seconds N] [--seed N] [--jobs N] [--cell NAME]
//
// Without --full one process is killed after each change of shared memory and at each label, and
// stopped at each label once. With it every hit of every point has all faults; with --seconds two
// or three processes at a time are killed or stopped at random points after that, for so long.
// --cell plays one cell by its name, as a failure names it: SCENARIO/ROLE/POINT#HIT/FAULT, several
// joined by `+`.
//
// Prints `ok SCENARIO` or `not ok CELL: reason`, and `N passed, N failed` at the end. A label that
// nothing was stopped at is a failure.

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>

#include "../core/copy_job.h"
#include "cell.h"

namespace dvk::crash {
namespace {

constexpr uint64_t kSeed = 20260131;
constexpr uint32_t kCellsMax = 200'000;
// Most of the time most processes of a cell sleep.
constexpr uint32_t kJobsPerCpu = 10;

struct Options {
  const char* part = "";
  const char* cell = nullptr;
  bool full = false;
  int64_t seconds = 0;
  uint64_t seed = kSeed;
  uint32_t jobs = 0;
};

struct Aim {
  uint32_t role;
  Shot shot;
};

struct Cell {
  uint32_t scenario;
  std::vector<Aim> aims;
};

// What became of a cell, and the points at which it stopped somebody.
struct Outcome {
  std::atomic<uint32_t> state;  // 0 not played, 1 right, 2 wrong, 3 the point was not reached
};

// What the workers share.
struct Shared {
  std::atomic<uint32_t> next;
  std::atomic<uint32_t> covered[kPointsMax + 1];
  Outcome outcomes[kCellsMax];
};

std::string own_folder;
uint64_t chosen_seed = kSeed;
Board* board = nullptr;
Shared* shared = nullptr;

const char* fault_name(Fault fault) {
  switch (fault) {
    case Fault::kKill:
      return "kill";
    case Fault::kStop:
      return "stop";
    case Fault::kStopKill:
      return "stop-kill";
    default:
      return "none";
  }
}

std::string name_of(const Cell& cell) {
  const Scenario& scenario = scenarios()[cell.scenario];
  std::string name = scenario.name;
  for (const Aim& aim : cell.aims) {
    name += &aim == &cell.aims[0] ? "/" : "+";
    name += std::string(scenario.roles[aim.role].name) + "/" + point_label(aim.shot.point) + "#" +
            std::to_string(aim.shot.hit) + "/" + fault_name(aim.shot.fault);
  }
  return name;
}

// Plays a cell. Returns what is wrong, or "".
std::string play_cell(const Cell& cell, bool* reached) {
  const Scenario& scenario = scenarios()[cell.scenario];
  std::vector<Shot> shots(scenario.roles.size());
  for (const Aim& aim : cell.aims) shots[aim.role] = aim.shot;
  std::string wrong = play(scenario, shots, *board);
  *reached = false;
  for (const Aim& aim : cell.aims) {
    if (board->desks[aim.role].hits.fired.load() == 0) continue;
    *reached = true;
    shared->covered[aim.shot.point].fetch_add(1, std::memory_order_relaxed);
  }
  return wrong;
}

// A cell that takes too long is played again: the machine may have had other things to do. One that
// hangs is not.
std::string play_patiently(const Cell& cell, bool* reached) {
  constexpr int kTries = 4;
  std::string wrong = play_cell(cell, reached);
  for (int i = 1; i < kTries && wrong.starts_with("late"); i++) wrong = play_cell(cell, reached);
  return wrong;
}

void tell(const Cell& cell, const std::string& wrong) {
  printf("not ok %s: %s\n", name_of(cell).c_str(), wrong.c_str());
  fflush(stdout);
}

void work(const std::vector<Cell>& cells) {
  for (;;) {
    const uint32_t i = shared->next.fetch_add(1);
    if (i >= cells.size()) return;
    bool reached = false;
    const std::string wrong = play_patiently(cells[i], &reached);
    shared->outcomes[i].state.store(!wrong.empty() ? 2 : reached ? 1 : 3);
    if (!wrong.empty()) tell(cells[i], wrong);
  }
}

void* shared_pages(size_t bytes) {
  void* pages = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) {
    printf("not ok start: no memory\n0 passed, 1 failed\n");
    exit(1);
  }
  return pages;
}

// Runs `job` in `count` processes, each with a folder and a board of its own.
bool in_processes(uint32_t count, const std::function<void()>& job) {
  std::vector<pid_t> workers;
  const std::string base = own_folder;
  fflush(stdout);
  for (uint32_t i = 0; i < count; i++) {
    const pid_t worker = fork();
    if (worker == 0) {
      own_folder = base + "/" + std::to_string(i);
      mkdir(own_folder.c_str(), 0700);
      board = new (shared_pages(sizeof(Board))) Board();
      job();
      _exit(0);
    }
    workers.push_back(worker);
  }
  bool well = true;
  for (const pid_t worker : workers) {
    int status = 0;
    waitpid(worker, &status, 0);
    well = well && status == 0;
  }
  return well;
}

uint32_t jobs_of(const Options& options) {
  if (options.jobs > 0) return options.jobs;
  return kJobsPerCpu * static_cast<uint32_t>(std::max(1l, sysconf(_SC_NPROCESSORS_ONLN)));
}

// How often each role of a scenario came to each point when nobody was stopped.
using Counts = std::vector<std::vector<uint32_t>>;

bool count_hits(uint32_t number, Counts* counts) {
  const Scenario& scenario = scenarios()[number];
  counts->assign(scenario.roles.size(), std::vector<uint32_t>(kPointsMax + 1));
  for (int run = 0; run < 2; run++) {
    const std::string wrong = play(scenario, std::vector<Shot>(scenario.roles.size()), *board);
    if (!wrong.empty()) {
      printf("not ok %s: with nobody stopped: %s\n", scenario.name, wrong.c_str());
      return false;
    }
    for (size_t role = 0; role < counts->size(); role++) {
      if (board->desks[role].planned.load() != 0) continue;
      for (uint32_t point = 0; point <= kPointsMax; point++) {
        uint32_t& most = (*counts)[role][point];
        most = std::max(most, board->desks[role].hits.points[point].load());
      }
    }
  }
  return true;
}

// The hits of a point that are worth a cell: changes of memory all, or every third; of a label the
// first, the second and the last.
std::vector<uint32_t> hits_of(uint32_t point, uint32_t count, const Options& options) {
  constexpr uint32_t kWritesMax = 1000;
  const bool full = options.full;
  std::vector<uint32_t> hits;
  if (point == kWrites) {
    const uint32_t stride = full ? 1 : 3;
    const uint32_t first = full ? 1 : 1 + static_cast<uint32_t>(options.seed % stride);
    for (uint32_t hit = first; hit <= std::min(count, kWritesMax); hit += stride) {
      hits.push_back(hit);
    }
  } else if (count > 0) {
    for (const uint32_t hit : std::set<uint32_t>{1, full ? std::min(count, 2u) : 1, count}) {
      hits.push_back(hit);
    }
  }
  return hits;
}

std::vector<Cell> cells_of(uint32_t number, const Counts& counts, const Options& options) {
  std::vector<Cell> cells;
  for (uint32_t role = 0; role < counts.size(); role++) {
    for (uint32_t point = 0; point <= kPointsMax; point++) {
      for (const uint32_t hit : hits_of(point, counts[role][point], options)) {
        for (const Fault fault : {Fault::kKill, Fault::kStop, Fault::kStopKill}) {
          if (!options.full && fault != Fault::kKill && (point == kWrites || hit > 1)) continue;
          cells.push_back({number, {{role, {point, hit, fault}}}});
        }
      }
    }
  }
  return cells;
}

// Whether a label is one that nothing comes to on this machine.
bool is_beyond(uint32_t point) {
  return strncmp(point_label(point), "lend.", 5) == 0 && !can_lend();
}

// Cells of labels at which nothing was stopped are played again: some are come to only when the
// other process has the CPU at the right moment. Returns whether none went wrong.
bool cover_all(const std::vector<Cell>& cells) {
  constexpr int kTries = 20;
  for (int i = 0; i < kTries; i++) {
    std::vector<Cell> missed;
    for (const Cell& cell : cells) {
      const uint32_t point = cell.aims[0].shot.point;
      if (shared->covered[point].load() == 0 && !is_beyond(point)) missed.push_back(cell);
    }
    if (missed.empty()) return true;
    const bool well = in_processes(1, [&] {
      for (const Cell& cell : missed) {
        bool reached = false;
        const std::string wrong = play_patiently(cell, &reached);
        if (wrong.empty()) continue;
        tell(cell, wrong);
        _exit(1);
      }
    });
    if (!well) return false;
  }
  return true;
}

// Labels that nothing was stopped at.
int report_coverage() {
  int missed = 0;
  for (uint32_t point = 0; point < point_count(); point++) {
    if (shared->covered[point].load() != 0 || is_beyond(point)) continue;
    printf("not ok %s: no process was stopped at this label\n", point_label(point));
    missed++;
  }
  if (missed == 0) printf("ok each of %u labels has stopped a process\n", point_count());
  return missed;
}

// Two or three processes at random points.
Cell random_cell(const std::vector<Counts>& counts, test::Random& random) {
  for (;;) {
    const uint32_t number = static_cast<uint32_t>(test::below(random, counts.size()));
    Cell cell{number, {}};
    const uint64_t wanted = 2 + test::below(random, 2);
    for (uint32_t role = 0; role < counts[number].size() && cell.aims.size() < wanted; role++) {
      std::vector<uint32_t> points;
      for (uint32_t point = 0; point <= kPointsMax; point++) {
        if (counts[number][role][point] > 0) points.push_back(point);
      }
      if (points.empty() || test::below(random, 4) == 0) continue;
      const uint32_t point = points[test::below(random, points.size())];
      const uint32_t most = counts[number][role][point];
      const uint32_t hit = 1 + static_cast<uint32_t>(test::below(random, most));
      const Fault fault = static_cast<Fault>(1 + test::below(random, 3));
      cell.aims.push_back({role, {point, hit, fault}});
    }
    if (cell.aims.size() >= 2) return cell;
  }
}

void play_random(const std::vector<Counts>& counts, const Options& options) {
  const int64_t end = now_ns() + options.seconds * 1'000'000'000;
  while (now_ns() < end) {
    // A seed for each, so that one cell can be named by its aims alone.
    test::Random random(options.seed + shared->next.fetch_add(1));
    const Cell cell = random_cell(counts, random);
    bool reached = false;
    const std::string wrong = play_patiently(cell, &reached);
    if (wrong.empty()) continue;
    shared->outcomes[0].state.fetch_add(1);
    tell(cell, wrong);
  }
}

// The cell that a name names; ends the program when there is none.
Cell parse(const std::string& name) {
  const auto bad = [&] {
    printf("not ok %s: no such cell\n0 passed, 1 failed\n", name.c_str());
    exit(2);
  };
  Cell cell{0, {}};
  const size_t slash = name.find('/');
  while (cell.scenario < scenarios().size() &&
         name.substr(0, slash) != scenarios()[cell.scenario].name) {
    cell.scenario++;
  }
  if (slash == std::string::npos || cell.scenario == scenarios().size()) bad();
  const std::vector<Role>& roles = scenarios()[cell.scenario].roles;
  for (size_t at = slash; at < name.size(); at = std::min(name.size(), name.find('+', at + 1))) {
    char role[64], label[64], fault[16];
    unsigned hit = 0;
    Aim aim{};
    if (sscanf(name.c_str() + at + 1, "%63[^/]/%63[^#]#%u/%15[a-z-]", role, label, &hit, fault) !=
        4) {
      bad();
    }
    while (aim.role < roles.size() && strcmp(roles[aim.role].name, role) != 0) aim.role++;
    while (aim.shot.point < point_count() && strcmp(point_label(aim.shot.point), label) != 0) {
      aim.shot.point++;
    }
    if (strcmp(label, point_label(kWrites)) == 0) aim.shot.point = kWrites;
    for (const Fault one : {Fault::kKill, Fault::kStop, Fault::kStopKill}) {
      if (strcmp(fault, fault_name(one)) == 0) aim.shot.fault = one;
    }
    const bool known = aim.role < roles.size() && aim.shot.fault != Fault::kNone &&
                       (aim.shot.point < point_count() || aim.shot.point == kWrites);
    if (!known) bad();
    aim.shot.hit = hit;
    cell.aims.push_back(aim);
  }
  return cell;
}

int run_one(const Cell& cell) {
  const bool well = in_processes(1, [&] {
    bool reached = false;
    const std::string wrong = play_cell(cell, &reached);
    if (!wrong.empty()) {
      tell(cell, wrong);
      _exit(1);
    }
    printf("ok %s%s\n", name_of(cell).c_str(), reached ? "" : " (not reached)");
    fflush(stdout);
  });
  printf("%d passed, %d failed\n", well ? 1 : 0, well ? 0 : 1);
  return well ? 0 : 1;
}

// One line for each scenario. Returns how many went wrong.
int report(const std::vector<Cell>& cells, const std::vector<uint32_t>& played) {
  int failed = 0;
  for (const uint32_t number : played) {
    uint32_t all = 0, wrong = 0, missed = 0;
    for (size_t i = 0; i < cells.size(); i++) {
      if (cells[i].scenario != number) continue;
      const uint32_t state = shared->outcomes[i].state.load();
      all++;
      wrong += state == 2 || state == 0 ? 1 : 0;
      missed += state == 3 ? 1 : 0;
    }
    const char* name = scenarios()[number].name;
    if (wrong == 0) {
      printf("ok %s: %u cells, %u of them not reached\n", name, all, missed);
    } else {
      printf("not ok %s: %u of %u cells are wrong\n", name, wrong, all);
      failed++;
    }
  }
  return failed;
}

int run_all(const Options& options) {
  const int64_t begun = now_ns();
  board = new (shared_pages(sizeof(Board))) Board();
  std::vector<Cell> cells;
  std::vector<uint32_t> played;
  std::vector<Counts> counts(scenarios().size());
  int failed = 0;
  for (uint32_t i = 0; i < scenarios().size(); i++) {
    if (strstr(scenarios()[i].name, options.part) == nullptr) continue;
    if (!count_hits(i, &counts[i])) {
      counts[i].clear();
      failed++;
      continue;
    }
    played.push_back(i);
    for (Cell& cell : cells_of(i, counts[i], options)) cells.push_back(std::move(cell));
  }
  if (cells.size() > kCellsMax) cells.resize(kCellsMax);
  test::Random random(options.seed);
  std::shuffle(cells.begin(), cells.end(), random);
  if (!in_processes(jobs_of(options), [&] { work(cells); })) failed++;
  failed += report(cells, played);
  int passed = static_cast<int>(played.size()) - failed;
  if (*options.part == 0) {
    if (!cover_all(cells)) failed++;
    const int missed = report_coverage();
    failed += missed;
    passed += missed == 0 ? 1 : 0;
  }
  if (options.seconds > 0) {
    shared->next.store(0);
    shared->outcomes[0].state.store(0);
    in_processes(jobs_of(options), [&] { play_random(counts, options); });
    const uint32_t wrong = shared->outcomes[0].state.load();
    printf("%s %u cells with several faults, %u wrong\n", wrong == 0 ? "ok" : "not ok",
           shared->next.load(), wrong);
    wrong == 0 ? passed++ : failed++;
  }
  printf("%zu cells in %lld s\n", cells.size(),
         static_cast<long long>((now_ns() - begun) / 1'000'000'000));
  printf("%d passed, %d failed\n", std::max(passed, 0), failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

int run(const Options& options) {
  char base[] = "/dev/shm/dvk-crash-test-XXXXXX";
  if (mkdtemp(base) == nullptr) {
    printf("not ok start: no folder in /dev/shm: %s\n0 passed, 1 failed\n", strerror(errno));
    return 1;
  }
  own_folder = base;
  chosen_seed = options.seed;
  shared = new (shared_pages(sizeof(Shared))) Shared();
  printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
  const int status = options.cell != nullptr ? run_one(parse(options.cell)) : run_all(options);
  std::error_code ignored;
  std::filesystem::remove_all(base, ignored);
  return status;
}

}  // namespace
}  // namespace dvk::crash

// What native/test/support.cc wants of its runner.
namespace dvk::test {

void fail_test(const char* file, int line, const std::string& reason) {
  crash::Board* board = crash::board;
  if (board != nullptr && board->failed.exchange(1) == 0) {
    const char* name = strrchr(file, '/');
    snprintf(board->reason, sizeof board->reason, "%s (%s:%d)", reason.c_str(),
             name == nullptr ? file : name + 1, line);
  }
  _exit(1);
}

uint64_t seed() {
  return crash::chosen_seed;
}

const std::string& folder() {
  return crash::own_folder;
}

}  // namespace dvk::test

int main(int argc, char** argv) {
  dvk::crash::Options options;
  for (int i = 1; i < argc; i++) {
    const std::string argument = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (argument == "--full") {
      options.full = true;
    } else if (argument == "--seconds" && value != nullptr) {
      options.seconds = atoll(argv[++i]);
    } else if (argument == "--seed" && value != nullptr) {
      options.seed = strtoull(argv[++i], nullptr, 10);
    } else if (argument == "--jobs" && value != nullptr) {
      options.jobs = static_cast<uint32_t>(atoi(argv[++i]));
    } else if (argument == "--cell" && value != nullptr) {
      options.cell = argv[++i];
    } else {
      options.part = argv[i];
    }
  }
  return dvk::crash::run(options);
}

#include "support.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/check.h"

namespace dvk::test {
namespace {

Segment& open_segment(const std::string& path) {
  Segment* segment = nullptr;
  std::string reason;
  const int error = Segment::open(path.c_str(), &segment, &reason);
  if (error != 0) fail_test(__FILE__, __LINE__, path + ": " + reason + std::to_string(error));
  return *segment;
}

Segment& create_segment(const std::string& path, const SegmentOptions& options) {
  CHECK_EQUAL(Segment::create(path.c_str(), options), 0);
  return open_segment(path);
}

std::string new_path() {
  static int number = 0;
  return folder() + "/segment" + std::to_string(number++);
}

std::string describe(const char* what, uint32_t slot) {
  return std::string(what) + " in slot " + std::to_string(slot);
}

}  // namespace

SegmentOptions small(uint32_t node, uint64_t arena_bytes) {
  SegmentOptions options;
  options.processes = 192;
  options.nodes = 4;
  options.node_id = node;
  options.dc_id = 7;
  options.arena_bytes = arena_bytes;
  options.dc_name = "test";
  return options;
}

Container::Container(const SegmentOptions& options)
    : path(new_path()), segment(create_segment(path, options)) {}

Segment& reopen(const Container& container) {
  return open_segment(container.path);
}

namespace {

Process& bind_with(Segment& segment, const BindOptions& options) {
  Process* process = nullptr;
  CHECK_EQUAL(Process::bind(segment, options, &process), 0);
  return *process;
}

}  // namespace

Process& bind_server(Segment& segment, int slot, const char* name) {
  BindOptions options;
  options.slot = slot;
  options.level = ProcessLevel::kServer;
  options.name = name;
  return bind_with(segment, options);
}

Process& bind_client(Segment& segment, const char* name) {
  BindOptions options;
  options.name = name;
  return bind_with(segment, options);
}

int bind_error(Segment& segment, const BindOptions& options) {
  Process* process = nullptr;
  return Process::bind(segment, options, &process);
}

Message message(int32_t type, uint64_t value) {
  Message result{};
  result.type = type;
  for (uint64_t i = 0; i < sizeof result.payload / 8; i++) {
    const uint64_t word = value + i * 0x0101010101010101;
    memcpy(result.payload + i * 8, &word, 8);
  }
  return result;
}

uint64_t value_of(const Message& message) {
  uint64_t value;
  memcpy(&value, message.payload, 8);
  return value;
}

bool whole(const Message& received) {
  const Message wanted = message(received.type, value_of(received));
  return memcmp(wanted.payload, received.payload, sizeof wanted.payload) == 0;
}

State state_in(Segment& segment, uint32_t slot) {
  return state_of(atomic(segment.slot(slot)->rendezvous).load());
}

State state_in(const Process& process) {
  return state_in(process.segment, process.index);
}

void until(const char* what, const std::function<bool()>& met) {
  // Many that look often would take the machine from those that they wait for.
  const int64_t begun = now_ns();
  while (!met()) {
    const int64_t waited = now_ns() - begun;
    if (waited > 60'000'000'000) fail_test(__FILE__, __LINE__, std::string("never: ") + what);
    usleep(waited < 20'000'000 ? 50 : 1000);
  }
}

void until_state(const Process& process, State state) {
  until("the process comes to the wanted state", [&] { return state_in(process) == state; });
}

pid_t spawn(const std::function<void()>& work) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    work();
    _exit(0);
  }
  return child;
}

void join(pid_t child) {
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  CHECK_EQUAL(WEXITSTATUS(status), 0);
}

void join_killed(pid_t child) {
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, 0), child);
  CHECK(WIFSIGNALED(status));
}

int reap_child(Segment& segment, pid_t child) {
  int freed = 0;
  for (uint32_t i = 0; i < segment.processes(); i++) {
    ProcessSlot* slot = segment.slot(i);
    if (life_is(slot, ProcessLife::kFree) || load(slot->pid) != child) continue;
    freed += reap(segment, i, load(slot->endpoint));
  }
  return freed;
}

int kill_and_reap(Segment& segment, pid_t child) {
  kill(child, SIGKILL);
  join_killed(child);
  return reap_child(segment, child);
}

std::string orphaned_wait(Segment& segment) {
  for (uint32_t i = 0; i < segment.processes(); i++) {
    if (!life_is(segment.slot(i), ProcessLife::kLocal)) continue;
    const uint32_t word = atomic(segment.slot(i)->rendezvous).load();
    switch (state_of(word)) {
      case State::kFrom:
      case State::kReply:
      case State::kFilling:
      case State::kSending:
      case State::kCalling:
      case State::kTaking:
        break;
      default:
        continue;
    }
    const uint32_t peer = peer_of(word);
    if (peer >= segment.processes()) return describe("a wait for no slot", i);
    if (life_is(segment.slot(peer), ProcessLife::kFree)) {
      return describe("a wait for a free slot", i);
    }
  }
  return "";
}

std::string damage(Segment& segment) {
  if (atomic(segment.header()->table_lock).load() != 0) return "the table lock is held";
  const std::vector<std::string> faults = check_segment(segment);
  return faults.empty() ? "" : faults[0];
}

void* shared_memory(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return memory;
}

}  // namespace dvk::test

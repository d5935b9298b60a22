// A hostile member that writes anything anywhere in the segment, and a hostile node that sends any
// command: calls may fail, and nobody crashes, hangs or touches memory outside.
//
// The bound processes are said to be a child that sleeps, so that a copy whose grant was scribbled
// on reads and writes that child and not this process. Their pid alone is never scribbled on: a
// copy would reach into whichever process of this machine has the number. Reference: S11, S12.

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "support.h"

namespace dvk::test {
namespace {

constexpr int kProcesses = 6, kOfThread = 2;
constexpr uint32_t kNode = 1;  // the other node of the links

// Values that break code: ends of ranges, special endpoints, the words of every state.
uint64_t strange(Random& random) {
  switch (below(random, 8)) {
    case 0:
      return 0;
    case 1:
      return ~uint64_t{0};
    case 2:
      return below(random, 200);
    case 3:
      return static_cast<uint64_t>(kEndpointAny);
    case 4:
      return below(random, 16) | below(random, 200) << 16 | below(random, 2) << 4;
    case 5:
      return uint64_t{1} << below(random, 64);
    case 6:
      return 0xffff0000 | below(random, 16);
    default:
      return random();
  }
}

class Target {
 public:
  Target(Random& random, pid_t child) : random_(random), child_(child) {
    segment().header();
    for (int i = 0; i < kProcesses; i++) processes.push_back(&bound(i));
    CHECK_EQUAL(add_node(segment(), kNode, "peer"), 0);
    CHECK_EQUAL(attach_proxy(segment(), kNode, 0), 0);
    CHECK_EQUAL(link_up(segment(), kNode, 1), 0);
    CHECK_EQUAL(bind_remote(segment(), 20, kNode, ProcessLevel::kServer, "far"), 0);
    for (Process* process : processes) {
      grants.push_back(grant(*process, segment().arena() + 4096, 8192, 3, kEndpointAny));
      grants.push_back(grant(*process, memory, sizeof memory, 3, kEndpointAny));
    }
    const uint64_t* words = table();
    snapshot_.assign(words, words + table_words());
  }

  Segment& segment() const {
    return container_.segment;
  }

  // Writes a strange value, or flips a bit, somewhere in the tables.
  void scribble() {
    const uint64_t word = place();
    const auto field = std::atomic_ref<uint64_t>(table()[word]);
    uint64_t mask = below(random_, 2) == 0 ? ~uint64_t{0} : uint64_t{0xffffffff} << 32 * (word % 2);
    if (is_pid(word)) mask &= 0xffffffff;
    const uint64_t old = field.load(std::memory_order_relaxed);
    uint64_t value = strange(random_) << 32 * below(random_, 2);
    if (below(random_, 3) == 0) value = old ^ uint64_t{1} << below(random_, 64);
    field.store((old & ~mask) | (value & mask), std::memory_order_relaxed);
  }

  void restore() {
    for (uint64_t i = 0; i < snapshot_.size(); i++) {
      std::atomic_ref<uint64_t>(table()[i]).store(snapshot_[i], std::memory_order_relaxed);
    }
  }

  std::vector<Process*> processes;
  std::vector<int32_t> grants;
  uint8_t memory[65536] = {};

 private:
  static SegmentOptions options() {
    return small(0, uint64_t{64} * 4096);
  }
  Process& bound(int number) {
    BindOptions bind;
    bind.slot = number < kProcesses / 2 ? number + 1 : -1;
    bind.level = number % 2 == 0 ? ProcessLevel::kServer : ProcessLevel::kUser;
    bind.pid = child_;
    Process* process = nullptr;
    CHECK_EQUAL(Process::bind(segment(), bind, &process), 0);
    return *process;
  }
  uint64_t* table() const {
    return reinterpret_cast<uint64_t*>(segment().base());
  }
  uint64_t table_words() const {
    return static_cast<uint64_t>(segment().arena() - segment().base()) / 8;
  }
  uint64_t offset(const void* field) const {
    return static_cast<uint64_t>(static_cast<const uint8_t*>(field) - segment().base());
  }
  // Endpoint and pid share a word.
  bool is_pid(uint64_t word) const {
    const uint64_t at = word * 8, slots = offset(segment().slot(0));
    const uint64_t end = slots + segment().processes() * sizeof(ProcessSlot);
    return at >= slots && at < end && (at - slots) % sizeof(ProcessSlot) == 8;
  }
  // Mostly where the bound processes' state is, sometimes anywhere.
  uint64_t place() {
    const Process& victim = *processes[below(random_, processes.size())];
    switch (below(random_, 11)) {
      case 0:
        return below(random_, table_words());
      case 10:
        return offset(segment().async(victim.index, static_cast<uint32_t>(below(random_, 4)))) / 8 +
               below(random_, sizeof(AsyncSlot) / 8);
      case 1:
        return below(random_, sizeof(SegmentHeader) / 8);
      case 2:
        return offset(segment().grant(victim.index, static_cast<uint32_t>(below(random_, 4)))) / 8 +
               below(random_, 4);
      case 3:
        return offset(segment().extent(static_cast<uint32_t>(below(random_, 8)))) / 8 +
               below(random_, 2);
      case 4:
        return offset(segment().link(kNode)) / 8 + below(random_, 16);
      case 5:
        return offset(segment().slot(20)) / 8 + below(random_, sizeof(ProcessSlot) / 8);
      case 6:
        return offset(&segment().notice_value(victim.index, 0)) / 8 +
               below(random_, kNoticeSources);
      default:
        return offset(victim.slot) / 8 + below(random_, sizeof(ProcessSlot) / 8);
    }
  }

  Random& random_;
  pid_t child_;
  const Container container_{options()};
  std::vector<uint64_t> snapshot_;
};

// Random calls of some of the target's processes.
class Caller {
 public:
  Caller(Target& target, Random& random, size_t first, size_t last)
      : target_(target), segment_(target.segment()), random_(random), first_(first), last_(last) {}

  void call() {
    Process& process = *target_.processes[first_ + below(random_, last_ - first_)];
    const int64_t start = now_ns();
    const uint64_t kind = below(random_, 18);
    const int64_t result = kind < 8    ? message_call(process, kind)
                           : kind < 11 ? memory_call(process, kind)
                           : kind < 17 ? other_call(process, kind)
                                       : async_call(process);
    CHECK(result <= kPending || kind >= 8);
    // Some calls are left under way, for the next to find.
    if (process.operation.stage != Operation::Stage::kNone && below(random_, 4) != 0) {
      CHECK(cancel(process, -EINTR) <= 0);
      CHECK(process.operation.stage == Operation::Stage::kNone);
    }
    CHECK(now_ns() - start < 8'000'000'000);
  }

  int32_t endpoint() {
    switch (below(random_, 8)) {
      case 0:
        return static_cast<int32_t>(strange(random_));
      case 1:
        return 20;
      case 2:
        return kEndpointAny;
      default:
        return target_.processes[below(random_, target_.processes.size())]->endpoint;
    }
  }

 private:
  int64_t message_call(Process& process, uint64_t kind) {
    const int64_t timeout = below(random_, 64) == 0 ? 1 : 0;
    Message m = message(1, random_());
    switch (kind) {
      case 0:
        return send(process, endpoint(), m, timeout);
      case 1:
        return sendrec(process, endpoint(), &m, timeout);
      case 2:
        return receive(process, endpoint(), &m, timeout);
      case 3:
        return rcvrqst(process, &m, timeout);
      case 4:
        return below(random_, 2) == 0
                   ? reply(process, endpoint(), m)
                   : reply_to(process, endpoint(), static_cast<uint32_t>(below(random_, 4)), m);
      case 5:
        return notify(process, endpoint());
      case 6:
        return start_sendrec(process, endpoint(), m);
      default:
        return below(random_, 2) == 0 ? start_receive(process, endpoint()) : start_rcvrqst(process);
    }
  }

  int64_t async_call(Process& process) {
    const int32_t id = static_cast<int32_t>(
        below(random_, 4) == 0 ? strange(random_) : below(random_, uint64_t{kAsyncs} * 4));
    const FilterRule rules[] = {{FilterRule::kSource, endpoint(), 0},
                                {FilterRule::kType, 0, static_cast<int32_t>(below(random_, 2))}};
    switch (below(random_, 5)) {
      case 0:
        return senda_status(process, id);
      case 1:
        return senda_cancel(process, id);
      case 2:
        if (process.operation.stage != Operation::Stage::kNone) return 0;
        if (below(random_, 3) == 0) process.filter.set(below(random_, 2) == 0, rules, 2);
        if (below(random_, 2) == 0) process.filter.clear();
        return 0;
      default:
        return senda(process, endpoint(), message(1, random_()),
                     static_cast<uint32_t>(below(random_, 9)));
    }
  }

  int64_t other_call(Process& process, uint64_t kind) {
    Privileges privileges = default_privileges(ProcessLevel::kKernel);
    const uint32_t value = static_cast<uint32_t>(random_());
    switch (kind) {
      case 11:
        return below(random_, 2) == 0
                   ? relay(process, endpoint(), endpoint(), message(1, random_()))
                   : relay_to(process, endpoint(), static_cast<uint32_t>(below(random_, 4)),
                              endpoint(), message(1, random_()));
      case 12: {
        const int32_t source = below(random_, 3) == 0 ? kEndpointKernel : endpoint();
        return notify_from(process, endpoint(), source, value);
      }
      case 13:
        return notify_kernel(segment_, endpoint(), value);
      case 14:
        return below(random_, 2) == 0
                   ? start_wait_bind(process, static_cast<uint32_t>(below(random_, 200)))
                   : start_wait_unbind(process, endpoint());
      case 15:
        return wait_bind(process, static_cast<uint32_t>(below(random_, 200)), 0);
      default:
        if (below(random_, 4) == 0) privileges.ipc_from = strange(random_);
        return below(random_, 2) == 0 ? set_privileges(process, endpoint(), privileges)
                                      : get_privileges(segment_, endpoint(), &privileges);
    }
  }

  CopyParty party() {
    const uint64_t at = below(random_, 3) == 0 ? strange(random_) : below(random_, 9000);
    const int32_t id = below(random_, 4) == 0
                           ? static_cast<int32_t>(strange(random_))
                           : target_.grants[below(random_, target_.grants.size())];
    return {endpoint(), id, at};
  }

  int64_t memory_call(Process& process, uint64_t kind) {
    switch (kind) {
      case 8:
        // Copies of arena memory by two threads at once race by design.
        if (kSanitized && last_ - first_ == kOfThread) return 0;
        return vcopy(process, party(), party(), below(random_, 20'000), 0);
      case 9: {
        const int64_t offset = arena_allocate(process, 1 + below(random_, 20'000));
        if (offset >= 0) CHECK(static_cast<uint64_t>(offset) < segment_.arena_bytes());
        return offset < 0 ? offset : arena_free(process, static_cast<uint64_t>(offset));
      }
      default: {
        const int32_t id = grant(process, target_.memory, below(random_, 9000), 3, endpoint());
        return id < 0 ? id : revoke(process, id);
      }
    }
  }

  Target& target_;
  Segment& segment_;
  Random& random_;
  size_t first_, last_;
};

// What a daemon, a proxy and `dvk status` do with the tables.
void look_on(Target& target, Random& random, Caller& caller, std::vector<uint8_t>& payload) {
  Segment& segment = target.segment();
  Command command;
  ProcessInfo info;
  const uint32_t slot = static_cast<uint32_t>(below(random, 200));
  switch (below(random, 9)) {
    case 0:
      for (int i = 0; i < 8 && get2rmt(segment, kNode, &command, payload.data()) == 1; i++)
        continue;
      arm_proxy(segment, kNode);
      break;
    case 1:
      process_info(segment, slot, &info);
      CHECK(strnlen(info.name, sizeof info.name) < sizeof info.name);
      break;
    case 2:
      lookup(segment, slot);
      wakeup(segment, caller.endpoint());
      break;
    case 3:
      reap(segment, slot, static_cast<int32_t>(slot), 1);
      break;
    case 4:
      CHECK(arena_used(segment) <= segment.arena_bytes() * kExtents);
      break;
    case 5:
      link_down(segment, kNode);
      break;
    case 6:
      link_up(segment, kNode, 2);
      break;
    case 7:
      bind_remote(segment, caller.endpoint(), kNode, ProcessLevel::kUser, "far");
      break;
    default:
      unbind_remote(segment, caller.endpoint());
  }
}

Command any_command(Target& target, Random& random, Caller& caller) {
  Command command{};
  uint8_t* bytes = reinterpret_cast<uint8_t*>(&command);
  if (below(random, 8) == 0) {
    for (size_t i = 0; i < sizeof command; i++) bytes[i] = static_cast<uint8_t>(random());
  }
  command.kind = static_cast<uint32_t>(below(random, 20));
  if (below(random, 3) == 0) command.kind |= kCommandAck;
  command.dc_id = 7;
  command.source_node = kNode;
  command.source =
      below(random, 2) == 0 ? 20 + static_cast<int32_t>(below(random, 90)) : caller.endpoint();
  command.destination = caller.endpoint();
  command.call_id = static_cast<uint32_t>(below(random, 4));
  command.requester = below(random, 4) == 0 ? caller.endpoint() : command.source;
  command.requester_node = kNode;
  command.copy_source = caller.endpoint();
  command.copy_source_grant = target.grants[below(random, target.grants.size())];
  command.copy_source_at = below(random, 3) == 0 ? strange(random) : below(random, 9000);
  command.copy_destination = caller.endpoint();
  command.copy_destination_grant = target.grants[below(random, target.grants.size())];
  command.copy_destination_at = below(random, 3) == 0 ? strange(random) : below(random, 9000);
  command.copy_bytes = below(random, 8) == 0 ? strange(random) : below(random, 9000);
  if (below(random, 2) == 0) command.payload_bytes = static_cast<uint32_t>(command.copy_bytes);
  if (below(random, 16) == 0) bytes[below(random, sizeof command)] = static_cast<uint8_t>(random());
  return command;
}

void bring(Target& target, Random& random, Caller& caller, std::vector<uint8_t>& payload) {
  const Command command = any_command(target, random, caller);
  const uint64_t bytes = std::min<uint64_t>(command.payload_bytes, payload.size());
  put2lcl(target.segment(), kNode, command, payload.data(), bytes);
}

constexpr uint64_t kRound = 500;  // cases with one segment

void fuzz_round(Random& random, pid_t child, uint64_t cases, bool scribbles, bool with_thread) {
  Target target(random, child);
  Caller caller(target, random, kOfThread, kProcesses);
  std::vector<uint8_t> payload(kCopyChunkBytes);
  std::atomic<bool> done{false};
  std::thread thread;
  if (with_thread) {
    thread = std::thread([&, thread_seed = random()] {
      Random own(thread_seed);
      Caller other(target, own, 0, kOfThread);
      while (!done.load()) other.call();
    });
  }
  for (uint64_t i = 0; i < cases; i++) {
    if (i % 16 == 0) target.restore();
    for (uint64_t n = below(random, 4); scribbles && n > 0; n--) target.scribble();
    switch (below(random, 6)) {
      case 0:
        look_on(target, random, caller, payload);
        break;
      case 1:
        bring(target, random, caller, payload);
        break;
      default:
        caller.call();
    }
    // A word that names a living process as the lock's owner would stop everyone, rightly.
    atomic(target.segment().header()->table_lock).store(0);
  }
  done.store(true);
  if (thread.joinable()) thread.join();
  delete &target.segment();
}

void fuzz(uint64_t cases, bool scribbles, bool with_thread) {
  Random random(seed());
  for (uint64_t done = 0; done < cases; done += kRound) {
    const pid_t child = spawn([] { pause(); });
    fuzz_round(random, child, kRound, scribbles, with_thread);
    kill(child, SIGKILL);
    join_killed(child);
  }
}

TEST("calls on a segment with any content end, and end well") {
  fuzz(scaled(150'000, 30'000), true, false);
}

TEST("calls of two threads on a segment with any content end, and end well") {
  fuzz(scaled(100'000, 15'000), true, true);
}

// It writes at any moment of a call, also between two looks at one word. Reference: S11.
TEST("calls beside a process that writes anything anywhere, all the time, end, and end well") {
  Random random(seed() + 2);
  const int64_t end = now_ns() + static_cast<int64_t>(at_length(60'000, 500)) * 1'000'000;
  const pid_t child = spawn([] { pause(); });
  do {
    Target target(random, child);
    Caller caller(target, random, 0, kProcesses);
    std::vector<uint8_t> payload(kCopyChunkBytes);
    const uint64_t key = random();
    const pid_t hostile = spawn([&] {
      random.seed(key);
      for (;;) {
        target.scribble();
        // Else there would soon be nothing that a call could begin with.
        for (uint64_t i = below(random, 200); i > 0; i--) relax();
      }
    });
    for (uint64_t i = 0; i < kRound && now_ns() < end; i++) {
      if (i % 4 == 0) target.restore();
      const uint64_t kind = below(random, 8);
      if (kind == 0) look_on(target, random, caller, payload);
      if (kind == 1) bring(target, random, caller, payload);
      if (kind > 1) caller.call();
      atomic(target.segment().header()->table_lock).store(0);
    }
    kill(hostile, SIGKILL);
    join_killed(hostile);
    delete &target.segment();
  } while (now_ns() < end);
  kill(child, SIGKILL);
  join_killed(child);
}

TEST("any command of another node is dealt with") {
  Random random(seed() + 1);
  const pid_t child = spawn([] { pause(); });
  const uint64_t rounds = scaled(200, 30);
  for (uint64_t round = 0; round < rounds; round++) {
    Target target(random, child);
    Caller caller(target, random, 0, kProcesses);
    std::vector<uint8_t> payload(kCopyChunkBytes);
    Command command;
    for (int i = 0; i < 1000; i++) {
      if (i % 4 == 0) caller.call();
      bring(target, random, caller, payload);
      get2rmt(target.segment(), kNode, &command, payload.data());
    }
    for (Process* process : target.processes) cancel(*process, -EINTR);
    for (Process* process : target.processes) {
      CHECK_EQUAL(lookup(target.segment(), process->index), process->endpoint);
    }
    delete &target.segment();
  }
  kill(child, SIGKILL);
  join_killed(child);
}

}  // namespace
}  // namespace dvk::test

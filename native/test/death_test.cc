// kill -9 at any moment: peers wake with an error in bounded time, and the tables are whole after.
//
// First the single cases, with words as a killed process leaves them; then hundreds of kills at
// random moments of a mixed load. Reference: fault matrix, rows 1 to 4 and 8.

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <vector>

#include "../core/bindings.h"
#include "support.h"

namespace dvk::test {
namespace {

// Nobody waits for longer than this for the death of another.
constexpr int64_t kNoticeMs = 3'000;

// A container, a process of this OS process, and a child that is bound and then killed.
struct Doomed {
  Container container;
  Segment& segment = container.segment;
  Process& process = bind_server(segment, 1);
  int32_t* endpoint = shared<int32_t>();
  pid_t child = 0;

  // The child binds, does `work` and waits to be killed.
  void start(const std::function<void(Process&)>& work) {
    auto* ready = shared<std::atomic<int>>();
    child = spawn([&] {
      Process& own = bind_server(segment, 2);
      *endpoint = own.endpoint;
      work(own);
      ready->store(1);
      pause();
    });
    until("the child is ready", [&] { return ready->load() == 1; });
  }
  void end() {
    CHECK_EQUAL(kill_and_reap(segment, child), 1);
    CHECK_EQUAL(orphaned_wait(segment), "");
  }
};

TEST("exit: the end of a process frees its slot and ends the wait for it") {
  Doomed d;
  d.start([](Process&) {});
  CHECK_EQUAL(start_receive(d.process, *d.endpoint), kPending);
  d.end();
  CHECK_EQUAL(step(d.process), -ESRCDIED);
  CHECK_EQUAL(damage(d.segment), "");
}

TEST("a blocked caller finds out by itself that its server was killed") {
  Doomed d;
  d.start([](Process&) {});
  kill(d.child, SIGKILL);
  join_killed(d.child);
  const int64_t start = now_ns();
  Message m = message(1, 1);
  CHECK_EQUAL(sendrec(d.process, *d.endpoint, &m, kForever), -EDSTDIED);
  CHECK_EQUAL(receive(d.process, *d.endpoint, &m, kForever), -EDEADSRCDST);
  CHECK(now_ns() - start < kNoticeMs * 1'000'000);
  CHECK_EQUAL(damage(d.segment), "");
}

TEST("a receiver from anyone looks again when its sender was killed while it filled") {
  Doomed d;
  CHECK_EQUAL(start_receive(d.process, kEndpointAny), kPending);
  d.start([&](Process& own) {
    const auto word = atomic(d.process.slot->rendezvous);
    word.store(with_state(word.load(), State::kFilling, own.index));
  });
  Process& other = bind_client(d.segment);
  CHECK_EQUAL(start_send(other, d.process.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(step(d.process), kPending);
  d.end();
  CHECK_EQUAL(step(d.process), 0);
  CHECK_EQUAL(step(other), 0);
}

TEST("a caller whose server was killed while it wrote the reply gets ESRCDIED") {
  Doomed d;
  d.start([&](Process& own) {
    const auto word = atomic(d.process.slot->rendezvous);
    CHECK_EQUAL(start_sendrec(d.process, own.endpoint, message(1, 1)), kPending);
    word.store(pack(State::kFilling, sequence_of(word.load()), own.index));
  });
  d.process.operation.stage = Operation::Stage::kSending;
  d.end();
  CHECK_EQUAL(step(d.process), -ESRCDIED);
}

TEST("a sender whose receiver was killed while it took the message gets EDSTDIED") {
  Doomed d;
  d.start([](Process&) {});
  CHECK_EQUAL(start_send(d.process, *d.endpoint, message(1, 1)), kPending);
  const auto word = atomic(d.process.slot->rendezvous);
  word.store(with_state(word.load(), State::kTaking, 2));
  d.end();
  CHECK_EQUAL(step(d.process), -EDSTDIED);
}

TEST("a peer killed between its last change and the wake has its peer woken by the repair") {
  const Container container;
  Segment& segment = container.segment;
  const int fd = wake_fifo_create(segment.directory(), 77);
  BindOptions options;
  options.wake_id = 77;
  Process* waiter = nullptr;
  CHECK_EQUAL(Process::bind(segment, options, &waiter), 0);
  CHECK_EQUAL(start_receive(*waiter, kEndpointAny), kPending);
  CHECK(!arm(*waiter));
  auto* ready = shared<std::atomic<int>>();
  const pid_t child = spawn([&] {
    const Process& own = bind_client(segment);
    Message m = message(1, 5);
    m.source = own.endpoint;
    copy_in(inbox_of(waiter->slot, waiter->sequence), m);
    const auto word = atomic(waiter->slot->rendezvous);
    word.store(with_state(word.load(), State::kFull, own.index));
    ready->store(1);
    pause();
  });
  until("the child has delivered", [&] { return ready->load() == 1; });
  pollfd entry{fd, POLLIN, 0};
  CHECK_EQUAL(poll(&entry, 1, 0), 0);
  CHECK_EQUAL(kill_and_reap(segment, child), 1);
  CHECK_EQUAL(poll(&entry, 1, 0), 1);
  CHECK_EQUAL(step(*waiter), 0);
  CHECK_EQUAL(value_of(waiter->operation.message), 5);
}

TEST("the message of a sender that was killed in the queue is not received") {
  Doomed d;
  d.start([&](Process& own) {
    CHECK_EQUAL(start_send(own, d.process.endpoint, message(1, 1)), kPending);
  });
  d.end();
  Message received;
  CHECK_EQUAL(receive(d.process, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("a message that was handed over before its sender was killed is received") {
  Doomed d;
  CHECK_EQUAL(start_receive(d.process, kEndpointAny), kPending);
  d.start([&](Process& own) { CHECK_EQUAL(send(own, d.process.endpoint, message(1, 6), 0), 0); });
  d.end();
  CHECK_EQUAL(step(d.process), 0);
  CHECK_EQUAL(value_of(d.process.operation.message), 6);
  CHECK_EQUAL(d.process.operation.message.source, *d.endpoint);
  CHECK_EQUAL(send(d.process, *d.endpoint, message(1, 1), 0), -EDEADSRCDST);
}

// ---- kills at random moments ----

constexpr int kServers = 2, kWorkers = 4, kChildren = kServers + kWorkers;

struct Board {
  std::atomic<uint64_t> progress[kChildren];
  std::atomic<uint64_t> incarnations;
};

bool is_death(int64_t error) {
  return error == -EDEADSRCDST || error == -EDSTDIED || error == -ESRCDIED;
}

// A server: takes anything, checks it, answers calls; copies from and to the caller's memory.
// Messages of one endpoint carry rising numbers, so a lost order or a double shows.
void run_server(Segment& segment, Board& board, int number) {
  Process& own = bind_server(segment, number + 1);
  std::map<int32_t, uint64_t> last;
  std::vector<uint8_t> memory(200'000);
  for (;;) {
    Message m;
    const int result = receive(own, kEndpointAny, &m, 20);
    board.progress[number].fetch_add(1);
    if (result == -ETIMEDOUT) continue;
    CHECK_EQUAL(result, 0);
    if (own.last_kind == MessageKind::kNotify) continue;
    const uint64_t value = value_of(m);
    if (m.type != 2) CHECK(whole(m));
    if (m.type != 2) CHECK(value > last[m.source]);
    if (m.type != 2) last[m.source] = value;
    if (own.last_kind != MessageKind::kCall) continue;
    if (m.type == 2) {
      uint64_t bytes;
      memcpy(&bytes, m.payload + 8, 8);
      CHECK(bytes <= memory.size());
      const CopyParty theirs{m.source, -1, value};
      const CopyParty here{own.endpoint, -1, reinterpret_cast<uint64_t>(memory.data())};
      int64_t copied = vcopy(own, theirs, here, bytes, kForever);
      if (copied >= 0) copied = vcopy(own, here, theirs, bytes, kForever);
      CHECK(copied == static_cast<int64_t>(bytes) || is_death(copied) || copied == -EDVSGRANT ||
            copied == -EFAULT);
    }
    const int replied = reply(own, m.source, message(9, value + 1));
    CHECK(replied == 0 || is_death(replied) || replied == -EDVSPROCSTS);
  }
}

struct Worker {
  Segment& segment;
  Board& board;
  int number;
  Random random;
  Process* own = nullptr;
  uint64_t sent = 0;
  std::vector<uint8_t> memory = std::vector<uint8_t>(200'000, 7);

  int32_t server() {
    return lookup(segment, static_cast<uint32_t>(1 + below(random, kServers)));
  }
  void expect(int result) const {
    CHECK(result == 0 || is_death(result) || result == -ETIMEDOUT || result == -EAGAIN);
  }
  int64_t some_timeout() {
    return below(random, 3) == 0 ? static_cast<int64_t>(below(random, 3)) : kForever;
  }

  void call(int32_t target) {
    const bool copies = below(random, 3) == 0;
    Message m = message(1, ++sent);
    uint64_t value = sent;
    if (copies) {
      value = reinterpret_cast<uint64_t>(memory.data());
      const uint64_t bytes = below(random, memory.size());
      m = Message{};
      m.type = 2;
      memcpy(m.payload, &value, 8);
      memcpy(m.payload + 8, &bytes, 8);
    }
    const int result = sendrec(*own, target, &m, copies ? kForever : some_timeout());
    expect(result);
    if (result == 0) CHECK(whole(m) && value_of(m) == value + 1 && m.source == target);
  }

  void work() {
    const int32_t target = server();
    if (target < 0) return;
    switch (below(random, 10)) {
      case 0:
        expect(send(*own, target, message(1, ++sent), some_timeout()));
        break;
      case 1:
        expect(notify(*own, target));
        break;
      case 8:
      case 9: {
        // Some more than there is room for, since servers are slow and die.
        const uint32_t forget = static_cast<uint32_t>(AsyncFlag::kForget);
        const int result = senda(*own, target, message(1, ++sent), forget);
        CHECK(result >= 0 || is_death(result) || result == -ENOSPC);
        break;
      }
      case 2: {
        const int64_t offset = arena_allocate(*own, 1 + below(random, 20'000));
        if (offset >= 0 && below(random, 2) == 0) {
          CHECK_EQUAL(arena_free(*own, static_cast<uint64_t>(offset)), 0);
        }
        break;
      }
      case 3: {
        const int32_t id = grant(*own, memory.data(), memory.size(), 3, target);
        if (id >= 0 && below(random, 2) == 0) CHECK_EQUAL(revoke(*own, id), 0);
        break;
      }
      case 4:
        if (below(random, 4) == 0) rebind();
        break;
      default:
        call(target);
    }
  }

  void rebind() {
    if (own != nullptr) CHECK_EQUAL(own->unbind(), 0);
    own = &bind_client(segment);
    sent = 0;
  }

  void run() {
    rebind();
    for (;;) {
      work();
      board.progress[number].fetch_add(1);
    }
  }
};

pid_t start_child(Segment& segment, Board& board, int number) {
  const uint64_t incarnation = board.incarnations.fetch_add(1);
  return spawn([&, number, incarnation] {
    if (number < kServers) {
      run_server(segment, board, number);
    } else {
      Worker{segment, board, number, Random(seed() + incarnation)}.run();
    }
  });
}

void await_progress(const Board& board, int except) {
  uint64_t before[kChildren];
  for (int i = 0; i < kChildren; i++) before[i] = board.progress[i].load();
  const int64_t deadline = now_ns() + kNoticeMs * 1'000'000;
  for (int i = 0; i < kChildren; i++) {
    while (i != except && board.progress[i].load() == before[i]) {
      if (now_ns() > deadline) {
        fail_test(__FILE__, __LINE__, "child " + std::to_string(i) + " is stuck after a kill");
      }
      usleep(50);
    }
  }
}

TEST("hundreds of kills at random moments stop nobody and leave the tables whole") {
  const Container container;
  Segment& segment = container.segment;
  Board& board = *shared<Board>();
  Random random(seed());
  pid_t children[kChildren];
  for (int i = 0; i < kChildren; i++) children[i] = start_child(segment, board, i);
  const uint64_t kills = scaled(400, 50);
  for (uint64_t k = 0; k < kills; k++) {
    usleep(static_cast<useconds_t>(below(random, 3000)));
    const int victim = static_cast<int>(below(random, kChildren));
    kill(children[victim], SIGKILL);
    join_killed(children[victim]);
    // Every other time the survivors have to find out by themselves.
    if (k % 2 == 0) reap_child(segment, children[victim]);
    await_progress(board, victim);
    reap_child(segment, children[victim]);
    children[victim] = start_child(segment, board, victim);
    until("nobody waits for a free slot", [&] { return orphaned_wait(segment).empty(); });
  }
  for (const pid_t child : children) kill_and_reap(segment, child);
  CHECK_EQUAL(damage(segment), "");
  CHECK_EQUAL(arena_used(segment), 0);
  for (uint32_t i = 0; i < segment.processes(); i++) {
    CHECK_EQUAL(lookup(segment, i), -EDVSNOTBOUND);
  }
}

TEST("a process may be killed hundreds of times while it binds and unbinds") {
  const Container container;
  Segment& segment = container.segment;
  Random random(seed());
  const uint64_t kills = scaled(300, 30);
  for (uint64_t k = 0; k < kills; k++) {
    const pid_t child = spawn([&] {
      for (;;) {
        Process& process = bind_server(segment, 3);
        arena_allocate(process, 4096);
        grant(process, &process, 8, 1, kEndpointAny);
        process.unbind();
      }
    });
    usleep(static_cast<useconds_t>(below(random, 2500)));
    kill(child, SIGKILL);
    join_killed(child);
    const int32_t before = load(segment.slot(3)->endpoint);
    Process& next = bind_server(segment, 3);
    CHECK(next.endpoint != before);
    CHECK_EQUAL(arena_used(segment), 0);
    CHECK_EQUAL(damage(segment), "");
    CHECK_EQUAL(next.unbind(), 0);
  }
}

size_t entries_in(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    static_cast<void>(entry);
    count++;
  }
  return count;
}

// Each has an event loop's FIFO, a grant, arena memory, a message under way and a request in hand.
TEST("processes that are bound and killed by the thousand leave no file and no slot behind") {
  const Container container;
  Segment& segment = container.segment;
  Process& client = bind_client(segment);
  // The folder of FIFOs stays.
  close(wake_fifo_create(segment.directory(), 1));
  wake_fifo_remove(segment.directory(), 1);
  const size_t before = entries_in(folder());
  int32_t last = -1;
  for (uint64_t cycle = 0; cycle < at_length(10'000, scaled(400, 100)); cycle++) {
    Message request = message(1, cycle);
    const pid_t child = spawn([&] {
      BindOptions options;
      options.level = ProcessLevel::kServer;
      options.slot = 3;
      options.wake_id = static_cast<uint64_t>(getpid()) << 32 | 7;
      CHECK(wake_fifo_create(segment.directory(), options.wake_id) >= 0);
      Process* process = nullptr;
      CHECK_EQUAL(Process::bind(segment, options, &process), 0);
      CHECK(arena_allocate(*process, 8192) >= 0);
      CHECK(grant(*process, &options, 8, 1, kEndpointAny) >= 0);
      CHECK(senda(*process, client.endpoint, request, 0) >= 0);
      Message m;
      CHECK_EQUAL(rcvrqst(*process, &m, kForever), 0);
      raise(SIGKILL);
    });
    const int32_t bound = wait_bind(client, 3, kForever);
    CHECK(bound >= 0 && bound != last);
    last = bound;
    CHECK_EQUAL(start_sendrec(client, bound, request), kPending);
    join_killed(child);
    CHECK_EQUAL(reap_child(segment, child), 1);
    CHECK_EQUAL(step(client), -ESRCDIED);
  }
  CHECK_EQUAL(entries_in(folder()), before);
  CHECK_EQUAL(arena_used(segment), 0);
  CHECK_EQUAL(damage(segment), "");
}

// In the middle of calls to one another, and all killed in one blow.
TEST("a storm of processes that are killed at once leaves every slot free") {
  const Container container;
  Segment& segment = container.segment;
  constexpr uint32_t kStorms = 2;
  const uint32_t members = static_cast<uint32_t>(scaled(48, 8));
  for (uint32_t storm = 0; storm < kStorms; storm++) {
    auto* bound = shared<uint32_t>();
    std::vector<pid_t> children;
    for (uint32_t n = 0; n < members; n++) {
      children.push_back(spawn([&, n] {
        Process& own =
            n % 2 == 0 ? bind_server(segment, static_cast<int>(n)) : bind_client(segment);
        CHECK(arena_allocate(own, 4096) >= 0);
        CHECK(grant(own, bound, 4, 1, kEndpointAny) >= 0);
        atomic(*bound).fetch_add(1);
        for (uint32_t turn = 0;; turn++) {
          Message m = message(1, turn);
          const int32_t server = lookup(segment, turn * 2 % members);
          if (n % 2 != 0) {
            sendrec(own, server, &m, 5);
          } else if (rcvrqst(own, &m, 5) == 0) {
            notify(own, m.source);
            reply(own, m.source, m);
          }
        }
      }));
    }
    until("all are bound", [&] { return atomic(*bound).load() == members; });
    for (const pid_t child : children) kill(child, SIGKILL);
    for (const pid_t child : children) join_killed(child);
    sweep(segment);
    CHECK_EQUAL(count_bound(segment), 0u);
    for (uint32_t slot = 0; slot < segment.processes(); slot++) {
      CHECK_EQUAL(lookup(segment, slot), -EDVSNOTBOUND);
    }
    CHECK_EQUAL(arena_used(segment), 0);
    CHECK_EQUAL(damage(segment), "");
  }
}

}  // namespace
}  // namespace dvk::test

// Many callers, short random time-outs and both ways to wait: no message is lost, doubled or torn,
// and nobody sleeps through a wake.

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

constexpr int kClients = 4;
constexpr int32_t kNumbered = 3;
// A call that waits for this long waits for a wake that was lost.
constexpr int64_t kLostMs = 20'000;

// What became of each numbered message: the sender's view and the receiver's.
struct Ledger {
  static constexpr uint64_t kMessages = 20'000;
  std::atomic<uint8_t> accepted[kClients][kMessages];
  std::atomic<uint8_t> received[kClients][kMessages];
  std::atomic<int> done;
};

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  sched_setaffinity(0, sizeof set, &set);
}

// With one CPU everything is a context switch; with several, spinning meets preemption.
void place(bool together, int number) {
  const int cpus = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (together) pin(0);
  if (!together && cpus > 1) pin(number % cpus);
}

void send_numbered(Segment& segment, int32_t server, Ledger& ledger, int client, uint64_t count) {
  Process& process = bind_client(segment);
  Random random(seed() + static_cast<uint64_t>(client));
  for (uint64_t i = 0; i < count; i++) {
    const int64_t timeout = static_cast<int64_t>(below(random, 4)) - 1;
    const uint64_t value = static_cast<uint64_t>(client) << 32 | i;
    const int result =
        send(process, server, message(kNumbered, value), timeout < 0 ? kLostMs : timeout);
    CHECK(result == 0 || (timeout >= 0 && (result == -EAGAIN || result == -ETIMEDOUT)));
    if (result == 0) ledger.accepted[client][i].fetch_add(1);
  }
  ledger.done.fetch_add(1);
}

void receive_numbered(Process& server, Ledger& ledger) {
  Random random(seed() + 99);
  uint64_t next[kClients] = {};
  for (;;) {
    Message m;
    const int result = receive(server, kEndpointAny, &m, static_cast<int64_t>(below(random, 3)));
    if (result == -EAGAIN || result == -ETIMEDOUT) {
      if (ledger.done.load() == kClients && result == -ETIMEDOUT) return;
      continue;
    }
    CHECK_EQUAL(result, 0);
    CHECK(whole(m));
    if (m.type != kNumbered) continue;
    const uint64_t client = value_of(m) >> 32, i = value_of(m) & 0xffffffff;
    CHECK(client < kClients && i < Ledger::kMessages);
    CHECK(i >= next[client]);
    next[client] = i + 1;
    CHECK_EQUAL(ledger.received[client][i].fetch_add(1), 0);
  }
}

void check_ledger(const Ledger& ledger, uint64_t count) {
  for (int client = 0; client < kClients; client++) {
    for (uint64_t i = 0; i < count; i++) {
      CHECK_EQUAL(ledger.accepted[client][i].load(), ledger.received[client][i].load());
    }
  }
}

void send_with_timeouts(bool together, bool threads) {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Ledger& ledger = *shared<Ledger>();
  const uint64_t count = scaled(Ledger::kMessages, 1000);
  std::vector<pid_t> children;
  std::vector<std::thread> workers;
  for (int i = 0; i < kClients; i++) {
    const auto work = [&, i] {
      place(together, i);
      send_numbered(segment, server.endpoint, ledger, i, count);
    };
    if (threads) {
      workers.emplace_back(work);
    } else {
      children.push_back(spawn(work));
    }
  }
  place(together, 1);
  receive_numbered(server, ledger);
  for (std::thread& worker : workers) worker.join();
  for (const pid_t child : children) join(child);
  check_ledger(ledger, count);
  CHECK(segment.senders(server.index).empty());
}

TEST("sends with random time-outs are received exactly when they succeeded, on one CPU") {
  send_with_timeouts(true, false);
}

TEST("sends with random time-outs are received exactly when they succeeded, on all CPUs") {
  send_with_timeouts(false, false);
}

TEST("sends with random time-outs are received exactly when they succeeded, in threads") {
  send_with_timeouts(false, true);
}

void serve_requests(Process& server, const std::atomic<int>& done) {
  Message m;
  int result = rcvrqst(server, &m, 100);
  while (done.load() < kClients || result == 0) {
    if (result == 0) {
      CHECK(whole(m));
      const int32_t client = m.source;
      m = message(2, value_of(m) + 1);
      result = reply_receive(server, client, &m, 100);
    } else {
      CHECK_EQUAL(result, -ETIMEDOUT);
      result = rcvrqst(server, &m, 100);
    }
  }
}

void call_with_timeouts(bool together, bool threads) {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  auto& done = *shared<std::atomic<int>>();
  const uint64_t count = scaled(20'000, 800);
  const auto client = [&](int number) {
    place(together, number);
    Process& process = bind_client(segment);
    Random random(seed() + static_cast<uint64_t>(number));
    for (uint64_t i = 0; i < count; i++) {
      const int64_t timeout = static_cast<int64_t>(below(random, 3)) - 1;
      const uint64_t value = static_cast<uint64_t>(number) << 32 | i;
      Message m = message(1, value);
      const int result = sendrec(process, server.endpoint, &m, timeout < 0 ? kLostMs : timeout);
      CHECK(result == 0 || (timeout >= 0 && (result == -EAGAIN || result == -ETIMEDOUT)));
      if (result != 0) continue;
      CHECK_EQUAL(m.source, server.endpoint);
      CHECK(whole(m));
      CHECK_EQUAL(value_of(m), value + 1);
    }
    done.fetch_add(1);
  };
  std::vector<pid_t> children;
  std::vector<std::thread> workers;
  for (int i = 0; i < kClients; i++) {
    if (threads) workers.emplace_back(client, i);
    if (!threads) children.push_back(spawn([&] { client(i); }));
  }
  place(together, 1);
  serve_requests(server, done);
  for (std::thread& worker : workers) worker.join();
  for (const pid_t child : children) join(child);
}

TEST("calls with random time-outs get their own reply, on one CPU") {
  call_with_timeouts(true, false);
}

TEST("calls with random time-outs get their own reply, on all CPUs") {
  call_with_timeouts(false, false);
}

TEST("calls with random time-outs get their own reply, in threads") {
  call_with_timeouts(false, true);
}

// A short, random time, so that callers meet in every phase of each other.
void dawdle(Random& random) {
  for (uint64_t n = below(random, 200); n > 0; n--)
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

// Nobody has a time-out here, so one lost wake stops the test.
void call_forever(bool together, bool threads, bool requests_only) {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  const uint64_t count = scaled(60'000, 1'000);
  const auto client = [&](int number) {
    place(together, number);
    Process& process = bind_client(segment);
    Random random(seed() + static_cast<uint64_t>(number));
    for (uint64_t i = 0; i < count; i++) {
      Message m = message(1, i);
      dawdle(random);
      switch (requests_only ? 2 : below(random, 3)) {
        case 0:
          CHECK_EQUAL(notify(process, server.endpoint), 0);
          break;
        case 1:
          CHECK_EQUAL(send(process, server.endpoint, m, kForever), 0);
          break;
        default:
          CHECK_EQUAL(sendrec(process, server.endpoint, &m, kForever), 0);
          CHECK_EQUAL(value_of(m), i + 1);
      }
    }
    Message last = message(9, 0);
    CHECK_EQUAL(sendrec(process, server.endpoint, &last, kForever), 0);
  };
  constexpr int kCallers = 2;
  std::vector<pid_t> children;
  std::vector<std::thread> workers;
  for (int i = 0; i < kCallers; i++) {
    if (threads) workers.emplace_back(client, i);
    if (!threads) children.push_back(spawn([&] { client(i); }));
  }
  place(together, 1);
  Random random(seed() + 99);
  for (int ended = 0; ended < kCallers;) {
    Message m;
    dawdle(random);
    CHECK_EQUAL(
        requests_only ? rcvrqst(server, &m, kForever) : receive(server, kEndpointAny, &m, kForever),
        0);
    if (m.type == 9) ended++;
    if (server.last_kind != MessageKind::kCall) continue;
    CHECK_EQUAL(reply(server, m.source, message(2, value_of(m) + 1)), 0);
  }
  for (std::thread& worker : workers) worker.join();
  for (const pid_t child : children) join(child);
}

TEST("callers without time-outs miss no wake, on one CPU") {
  call_forever(true, false, false);
}

TEST("callers without time-outs miss no wake, on all CPUs") {
  call_forever(false, false, false);
}

TEST("callers without time-outs miss no wake of a server that takes requests") {
  call_forever(false, false, true);
}

TEST("callers without time-outs miss no wake, in threads") {
  call_forever(false, true, false);
}

// An event loop: a FIFO that its peers write to, armed while a call is under way.
class EventLoop {
 public:
  EventLoop(Segment& segment, uint64_t wake_id, int slot)
      : fd_(wake_fifo_create(segment.directory(), wake_id)),
        process(bound(segment, wake_id, slot)) {
    CHECK(fd_ >= 0);
  }
  // Waits as an event loop does. Returns what the call came to, or -ETIMEDOUT.
  int finish(int started, int timeout_ms) {
    int result = started;
    while (result == kPending) {
      if (!arm(process)) {
        pollfd entry{fd_, POLLIN, 0};
        if (poll(&entry, 1, timeout_ms) == 0) {
          disarm(process);
          return cancel(process, -ETIMEDOUT);
        }
        char drained[64];
        while (read(fd_, drained, sizeof drained) > 0) continue;
      }
      disarm(process);
      result = step(process);
    }
    return result;
  }

 private:
  static Process& bound(Segment& segment, uint64_t wake_id, int slot) {
    BindOptions options;
    options.slot = slot;
    options.level = slot >= 0 ? ProcessLevel::kServer : ProcessLevel::kUser;
    options.wake_id = wake_id;
    Process* result = nullptr;
    CHECK_EQUAL(Process::bind(segment, options, &result), 0);
    return *result;
  }
  int fd_;

 public:
  Process& process;
};

void event_loops(bool together, bool loop_server) {
  const Container container;
  Segment& segment = container.segment;
  auto& done = *shared<std::atomic<int>>();
  const uint64_t count = scaled(8'000, 400);
  std::vector<pid_t> children;
  children.push_back(spawn([&] {
    place(together, 1);
    if (!loop_server) {
      serve_requests(bind_server(segment, 1), done);
      return;
    }
    EventLoop loop(segment, 1000, 1);
    while (done.load() < kClients) {
      if (loop.finish(start_rcvrqst(loop.process), 100) != 0) continue;
      const Message& request = loop.process.operation.message;
      CHECK(whole(request));
      reply(loop.process, request.source, message(2, value_of(request) + 1));
    }
  }));
  until("the server is bound", [&] { return lookup(segment, 1) >= 0; });
  const int32_t server = lookup(segment, 1);
  for (int number = 0; number < kClients; number++) {
    children.push_back(spawn([&, number] {
      place(together, number);
      EventLoop loop(segment, 2000 + static_cast<uint64_t>(number), -1);
      Random random(seed() + static_cast<uint64_t>(number));
      for (uint64_t i = 0; i < count; i++) {
        const bool short_wait = below(random, 4) == 0;
        const int started = start_sendrec(loop.process, server, message(1, i));
        const int result = loop.finish(started, short_wait ? 1 : static_cast<int>(kLostMs));
        CHECK(result == 0 || (short_wait && result == -ETIMEDOUT));
        if (result == 0) CHECK_EQUAL(value_of(loop.process.operation.message), i + 1);
      }
      done.fetch_add(1);
    }));
  }
  for (const pid_t child : children) join(child);
}

TEST("event loops miss no wake with a blocking server, on one CPU") {
  event_loops(true, false);
}

TEST("event loops miss no wake with a blocking server, on all CPUs") {
  event_loops(false, false);
}

TEST("event loops miss no wake when the server is one too") {
  event_loops(false, true);
}

TEST("a stopped server costs its clients their time-outs, and no message") {
  const Container container;
  Segment& segment = container.segment;
  Ledger& ledger = *shared<Ledger>();
  const pid_t server = spawn([&] { receive_numbered(bind_server(segment, 1), ledger); });
  until("the server is bound", [&] { return lookup(segment, 1) >= 0; });
  const int32_t endpoint = lookup(segment, 1);
  const uint64_t count = scaled(8000, 400);
  std::vector<pid_t> clients;
  for (int i = 0; i < kClients; i++) {
    clients.push_back(spawn([&, i] { send_numbered(segment, endpoint, ledger, i, count); }));
  }
  Process& caller = bind_client(segment);
  Random random(seed());
  int timed_out = 0;
  for (int i = 0; i < 40; i++) {
    usleep(static_cast<useconds_t>(below(random, 3000)));
    CHECK_EQUAL(kill(server, SIGSTOP), 0);
    const int64_t start = now_ns();
    Message m = message(1, 0);
    const int result = sendrec(caller, endpoint, &m, 10);
    // A stopped server answers nobody; one that has ended its work is gone for good.
    CHECK(result == -ETIMEDOUT || result == -EDEADSRCDST || result == -ESRCDIED ||
          result == -EDSTDIED);
    CHECK(now_ns() - start < 5'000'000'000);
    if (result == -ETIMEDOUT) timed_out++;
    CHECK_EQUAL(kill(server, SIGCONT), 0);
    if (ledger.done.load() == kClients) break;
  }
  CHECK(timed_out > 0);
  for (const pid_t client : clients) join(client);
  join(server);
  check_ledger(ledger, count);
}

}  // namespace
}  // namespace dvk::test

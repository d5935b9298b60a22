// Processes that are stopped for a minute, in the short form for a moment: they hold nobody up for
// longer than a time-out, lose nothing of their own, and go on. Reference: fault rows 6 and 7.
//
// dvk_crash_test stops processes at every point of every call; here the stop is long.

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "../core/lock.h"
#include "support.h"

namespace dvk::test {
namespace {

constexpr int kSenders = 3;
constexpr int64_t kPatienceMs = 50;

int64_t stop_ms() {
  return static_cast<int64_t>(at_length(60'000, 300));
}

// What senders were told of their numbered messages, and what came.
struct Numbered {
  static constexpr uint64_t kMax = 1 << 17;
  std::atomic<uint8_t> accepted[kSenders][kMax];
  std::atomic<uint8_t> came[kSenders][kMax];
  std::atomic<uint64_t> tries[kSenders];
  std::atomic<uint64_t> received;
  std::atomic<int> stop, done;
};

void send_all(Segment& segment, int32_t server, Numbered& numbered, uint64_t sender) {
  Process& process = bind_client(segment);
  for (uint64_t i = 0; i < Numbered::kMax && numbered.stop.load() == 0; i++) {
    const int64_t begun = now_ns();
    const int result = send(process, server, message(1, sender << 32 | i), kPatienceMs);
    const int64_t took = now_ns() - begun;
    CHECK(result == 0 || (result == -ETIMEDOUT && took >= kPatienceMs * 1'000'000));
    if (result == 0) numbered.accepted[sender][i].fetch_add(1);
    numbered.tries[sender].store(i + 1);
    if (result == 0) usleep(1000);
  }
  numbered.done.fetch_add(1);
}

void receive_all(Process& server, Numbered& numbered) {
  for (;;) {
    Message m;
    const bool last = numbered.done.load() == kSenders;
    const int result = receive(server, kEndpointAny, &m, 20);
    if (result == -ETIMEDOUT && last) return;
    if (result == -ETIMEDOUT) continue;
    CHECK_EQUAL(result, 0);
    CHECK(whole(m));
    CHECK_EQUAL(numbered.came[value_of(m) >> 32][value_of(m) & 0xffffffff].fetch_add(1), 0);
    numbered.received.fetch_add(1);
  }
}

void await_stop(pid_t child) {
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, WUNTRACED), child);
  CHECK(WIFSTOPPED(status));
}

TEST("a receiver that is stopped for long costs time-outs, and loses and doubles no message") {
  const Container container;
  Segment& segment = container.segment;
  Numbered& numbered = *shared<Numbered>();
  const pid_t server = spawn([&] { receive_all(bind_server(segment, 1), numbered); });
  until("the server is bound", [&] { return lookup(segment, 1) >= 0; });
  const int32_t endpoint = lookup(segment, 1);
  std::vector<pid_t> senders;
  for (uint64_t i = 0; i < kSenders; i++) {
    senders.push_back(spawn([&, i] { send_all(segment, endpoint, numbered, i); }));
  }
  until("messages come", [&] { return numbered.received.load() > 20; });

  kill(server, SIGSTOP);
  await_stop(server);
  const uint64_t received = numbered.received.load();
  const int64_t end = now_ns() + stop_ms() * 1'000'000;
  uint64_t before[kSenders];
  for (int i = 0; i < kSenders; i++) before[i] = numbered.tries[i].load();
  until("every sender has had its time-outs", [&] {
    for (int i = 0; i < kSenders; i++) {
      if (numbered.tries[i].load() < before[i] + 3) return false;
    }
    return true;
  });
  while (now_ns() < end) usleep(10'000);
  CHECK_EQUAL(numbered.received.load(), received);
  kill(server, SIGCONT);

  until("messages come again", [&] { return numbered.received.load() > received + 20; });
  numbered.stop.store(1);
  for (const pid_t sender : senders) join(sender);
  join(server);
  for (int i = 0; i < kSenders; i++) {
    for (uint64_t n = 0; n < numbered.tries[i].load(); n++) {
      CHECK_EQUAL(numbered.accepted[i][n].load(), numbered.came[i][n].load());
    }
  }
}

TEST("who holds the table lock and is stopped for long keeps it, and holds no call up") {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_client(segment);
  const pid_t doomed = spawn([&] {
    bind_server(segment, 2);
    pause();
  });
  until("the doomed one is bound", [&] { return lookup(segment, 2) >= 0; });
  const pid_t holder = spawn([&] {
    {
      const TableLock lock(segment);
      raise(SIGSTOP);
    }
    CHECK(arena_allocate(bind_client(segment), 4096) >= 0);
  });
  await_stop(holder);
  const uint64_t owner = atomic(segment.header()->table_lock).load();
  CHECK_EQUAL(static_cast<pid_t>(owner & 0xffffffff), holder);
  const int64_t end = now_ns() + stop_ms() * 1'000'000;
  do {
    const TableLock lock(segment, kRepairLockMs);
    CHECK_EQUAL(lock.error(), -ETIMEDOUT);
    CHECK_EQUAL(atomic(segment.header()->table_lock).load(), owner);
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, 7)), kPending);
    Message m;
    CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
    CHECK_EQUAL(reply(server, client.endpoint, m), 0);
    CHECK_EQUAL(step(client), 0);
    CHECK_EQUAL(notify(client, server.endpoint), 0);
    CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);
    CHECK_EQUAL(sweep(segment), 0);
  } while (now_ns() < end);
  kill(doomed, SIGKILL);
  join_killed(doomed);
  kill(holder, SIGCONT);
  join(holder);
  CHECK_EQUAL(atomic(segment.header()->table_lock).load(), 0);
  reap_child(segment, holder);
  reap_child(segment, doomed);
  CHECK_EQUAL(damage(segment), "");
}

}  // namespace
}  // namespace dvk::test

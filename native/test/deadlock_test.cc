// ELOCKED: the call that would close a cycle of waiting processes fails, and no other one does.
// Reference: MINIX's deadlock(), kernel/proc.c: pairs, cycles of three and more.

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "../core/bindings.h"
#include "network.h"

namespace dvk::test {
namespace {

enum class Call { kSend, kSendrec, kReceive };
constexpr Call kCalls[] = {Call::kSend, Call::kSendrec, Call::kReceive};

int start(Process& process, Call call, const Process& peer) {
  switch (call) {
    case Call::kSend:
      return start_send(process, peer.endpoint, message(1, process.index));
    case Call::kSendrec:
      return start_sendrec(process, peer.endpoint, message(1, process.index));
    default:
      return start_receive(process, peer.endpoint);
  }
}

// A call of a process that is about to sleep. Returns what it came to, or kPending.
int settle(Process& process, int started) {
  if (started != kPending || !arm(process)) return started;
  disarm(process);
  return step(process);
}

struct Ring {
  Container container;
  Segment& segment = container.segment;
  std::vector<Process*> processes;
  explicit Ring(size_t size) {
    for (size_t i = 0; i < size; i++) {
      processes.push_back(&bind_server(segment, static_cast<int>(i) + 1));
    }
  }
  Process& at(size_t i) {
    return *processes[i % processes.size()];
  }
};

TEST("of two that wait for each other the second fails, unless one sends and the other receives") {
  for (const Call first : kCalls) {
    for (const Call second : kCalls) {
      Ring ring(2);
      CHECK_EQUAL(settle(ring.at(0), start(ring.at(0), first, ring.at(1))), kPending);
      const bool meet = (first == Call::kReceive) != (second == Call::kReceive);
      const int result = settle(ring.at(1), start(ring.at(1), second, ring.at(0)));
      if (meet) CHECK(result == 0 || result == kPending);
      if (!meet) CHECK_EQUAL(result, -ELOCKED);
      if (meet && first == Call::kReceive) CHECK_EQUAL(step(ring.at(0)), 0);
      if (!meet) CHECK_EQUAL(settle(ring.at(0), step(ring.at(0))), kPending);
      if (!meet) CHECK(ring.at(1).operation.stage == Operation::Stage::kNone);
    }
  }
}

TEST("a server that has a client's request may send to it, and may not receive from it") {
  Ring ring(2);
  Process &server = ring.at(0), &client = ring.at(1);
  CHECK_EQUAL(settle(client, start(client, Call::kSendrec, server)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(server, &request, 0), 0);
  CHECK_EQUAL(settle(client, step(client)), kPending);
  CHECK_EQUAL(settle(server, start(server, Call::kReceive, client)), -ELOCKED);
  CHECK_EQUAL(send(server, client.endpoint, message(2, 1), kForever), 0);
  CHECK_EQUAL(step(client), 0);
}

TEST("a relayed call waits for the second server, and fails when that closes a cycle") {
  Ring ring(3);
  Process &front = ring.at(0), &back = ring.at(1), &client = ring.at(2);
  CHECK_EQUAL(settle(client, start(client, Call::kSendrec, front)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(front, &request, 0), 0);
  CHECK_EQUAL(settle(client, step(client)), kPending);
  CHECK_EQUAL(settle(back, start(back, Call::kSendrec, client)), kPending);
  CHECK_EQUAL(relay(front, client.endpoint, back.endpoint, request), 0);
  CHECK_EQUAL(settle(front, start(front, Call::kSendrec, client)), kPending);
  CHECK_EQUAL(settle(client, step(client)), -ELOCKED);
  CHECK_EQUAL(settle(back, step(back)), kPending);
}

TEST("who waits for a bind or an unbind is in no cycle") {
  Ring ring(2);
  Process &watcher = ring.at(0), &other = ring.at(1);
  for (const Call call : kCalls) {
    CHECK_EQUAL(settle(watcher, start_wait_unbind(watcher, other.endpoint)), kPending);
    CHECK_EQUAL(settle(other, start(other, call, watcher)), kPending);
    CHECK_EQUAL(settle(watcher, step(watcher)), kPending);
    CHECK_EQUAL(cancel(watcher, -EINTR), -EINTR);
    CHECK_EQUAL(settle(watcher, start_wait_bind(watcher, 60)), kPending);
    CHECK_EQUAL(settle(other, step(other)), kPending);
    CHECK_EQUAL(cancel(watcher, -EINTR), -EINTR);
    CHECK_EQUAL(cancel(other, -EINTR), -EINTR);
  }
  CHECK_EQUAL(settle(watcher, start_receive(watcher, kEndpointKernel)), kPending);
  CHECK_EQUAL(settle(other, start(other, Call::kReceive, watcher)), kPending);
}

TEST("a cycle of any length and of any mix fails for the last caller, and the others go on") {
  Random random(seed());
  for (size_t size = 3; size < 40; size += 1 + size / 4) {
    Ring ring(size);
    std::vector<Call> calls;
    for (size_t i = 0; i < size; i++) calls.push_back(kCalls[below(random, 3)]);
    for (size_t i = 0; i + 1 < size; i++) {
      CHECK_EQUAL(settle(ring.at(i), start(ring.at(i), calls[i], ring.at(i + 1))), kPending);
    }
    Process& last = ring.at(size - 1);
    for (int tries = 0; tries < 3; tries++) {
      CHECK_EQUAL(settle(last, start(last, calls[size - 1], ring.at(0))), -ELOCKED);
      CHECK(state_in(last) == State::kIdle);
    }
    CHECK(ring.segment.senders(ring.at(0).index).empty());
    for (size_t i = 0; i + 1 < size; i++) CHECK_EQUAL(step(ring.at(i)), kPending);
    // The last one serves who waits for it.
    const Process& before = ring.at(size - 2);
    Message m;
    if (calls[size - 2] == Call::kReceive) {
      CHECK_EQUAL(send(last, before.endpoint, message(2, 2), kForever), 0);
    } else {
      CHECK_EQUAL(receive(last, before.endpoint, &m, kForever), 0);
      if (calls[size - 2] == Call::kSendrec) {
        CHECK_EQUAL(reply(last, before.endpoint, message(2, 2)), 0);
      }
    }
    CHECK_EQUAL(step(ring.at(size - 2)), 0);
  }
}

TEST("a path that ends, or runs into a cycle of others, is no deadlock") {
  Ring ring(6);
  CHECK_EQUAL(settle(ring.at(3), start_receive(ring.at(3), kEndpointAny)), kPending);
  CHECK_EQUAL(settle(ring.at(2), start(ring.at(2), Call::kReceive, ring.at(3))), kPending);
  CHECK_EQUAL(settle(ring.at(1), start(ring.at(1), Call::kSend, ring.at(2))), kPending);
  CHECK_EQUAL(settle(ring.at(0), start(ring.at(0), Call::kSendrec, ring.at(1))), kPending);
  // As a scribbling member could leave it.
  const auto word = [&](size_t i) { return atomic(ring.at(i).slot->rendezvous); };
  word(3).store(pack(State::kFrom, 0, ring.at(4).index));
  word(4).store(pack(State::kFrom, 0, ring.at(3).index));
  for (size_t i = 3; i < 5; i++) store(ring.at(i).slot->wait_ticket, uint64_t{1} << 40);
  CHECK_EQUAL(settle(ring.at(5), start(ring.at(5), Call::kSend, ring.at(0))), kPending);
  word(4).store(pack(State::kFrom, 0, 0xfffe));
  CHECK_EQUAL(settle(ring.at(0), step(ring.at(0))), kPending);
}

TEST("a call that would not wait gives EAGAIN, one with a time-out ELOCKED") {
  Ring ring(2);
  Process &one = ring.at(0), &two = ring.at(1);
  CHECK_EQUAL(settle(one, start(one, Call::kSend, two)), kPending);
  Message m = message(1, 1);
  CHECK_EQUAL(send(two, one.endpoint, m, 0), -EAGAIN);
  CHECK_EQUAL(sendrec(two, one.endpoint, &m, 0), -EAGAIN);
  CHECK_EQUAL(send(two, one.endpoint, m, 10'000), -ELOCKED);
  CHECK_EQUAL(sendrec(two, one.endpoint, &m, kForever), -ELOCKED);
  CHECK_EQUAL(receive(two, one.endpoint, &m, 0), 0);
  CHECK_EQUAL(step(one), 0);
}

TEST("an event loop that is told that its wait is the one to end looks again") {
  Ring ring(2);
  Process &one = ring.at(0), &two = ring.at(1);
  const int fd = wake_fifo_create(ring.segment.directory(), 91);
  store(one.slot->wake_id, uint64_t{91});
  CHECK_EQUAL(settle(one, start(one, Call::kSend, two)), kPending);
  CHECK(!arm(one));
  CHECK_EQUAL(start(two, Call::kSend, one), kPending);
  // As if the first had taken its ticket after the second, and looked before it.
  store(two.slot->wait_ticket, load(one.slot->wait_ticket));
  store(one.slot->wait_ticket, load(one.slot->wait_ticket) + 1);
  CHECK(!arm(two));
  pollfd entry{fd, POLLIN, 0};
  CHECK_EQUAL(poll(&entry, 1, 0), 1);
  CHECK_EQUAL(step(one), kPending);
  CHECK(arm(one));
  CHECK_EQUAL(step(one), -ELOCKED);
  CHECK_EQUAL(step(two), kPending);
}

TEST("a process that was killed while it waited is dead, and closes no cycle") {
  for (const Call call : kCalls) {
    Ring ring(1);
    Process& process = ring.at(0);
    auto* ready = shared<std::atomic<int32_t>>();
    ready->store(-1);
    const pid_t child = spawn([&] {
      Process& own = bind_server(ring.segment, 10);
      CHECK_EQUAL(settle(own, start(own, call, process)), kPending);
      ready->store(own.endpoint);
      pause();
    });
    until("the child waits", [&] { return ready->load() >= 0; });
    kill(child, SIGKILL);
    join_killed(child);
    Message m = message(1, 1);
    const int result = call == Call::kReceive ? receive(process, ready->load(), &m, kForever)
                                              : send(process, ready->load(), m, kForever);
    CHECK(result == -EDSTDIED || result == -ESRCDIED);
  }
}

TEST("who waits for another node is not followed") {
  Network network(2);
  Process& server = bind_server(network[0], 1);
  Process& here = bind_client(network[1]);
  network.pump();
  CHECK_EQUAL(settle(here, start(here, Call::kSendrec, server)), kPending);
  network.pump();
  CHECK_EQUAL(settle(server, start_receive(server, here.endpoint)), 0);
  CHECK_EQUAL(settle(server, start_receive(server, here.endpoint)), kPending);
}

// ---- cycles that are closed by all at once ----

struct Round {
  std::atomic<int> begun, locked, done;
};

// How a process waits: blocked, or in an event loop with the FIFO `fd`, where nobody looks again
// after a while.
struct Waiter {
  Process& process;
  int fd;

  int finish(int started) const {
    if (started != kPending) return started;
    if (fd < 0) return wait_for(process, kForever);
    for (;;) {
      if (!arm(process)) {
        pollfd entry{fd, POLLIN, 0};
        poll(&entry, 1, -1);
        char drained[64];
        while (read(fd, drained, sizeof drained) > 0) continue;
      }
      disarm(process);
      const int result = step(process);
      if (result != kPending) return result;
    }
  }
};

// Everybody calls the next at once. One is told ELOCKED; it serves the one before, and so the wait
// unwinds around the ring.
void go_round(const Waiter& own, const Process& before, const Process& next, bool sending,
              Round& round, int size) {
  round.begun.fetch_add(1);
  while (round.begun.load() < size) sched_yield();
  const auto first = [&] {
    return own.finish(start(own.process, sending ? Call::kSend : Call::kReceive, next));
  };
  const auto second = [&] {
    return own.finish(start(own.process, sending ? Call::kReceive : Call::kSend, before));
  };
  const int result = first();
  CHECK(result == 0 || result == -ELOCKED);
  if (result == -ELOCKED) round.locked.fetch_add(1);
  CHECK_EQUAL(second(), 0);
  if (result == -ELOCKED) CHECK_EQUAL(first(), 0);
  round.done.fetch_add(1);
}

void close_at_once(int size, bool threads, bool event_loops) {
  Ring ring(static_cast<size_t>(size));
  const uint64_t rounds = scaled(1'500, 100);
  Round* all = static_cast<Round*>(shared_memory(rounds * sizeof(Round)));
  const auto work = [&](size_t i) {
    Random random(seed() + i);
    Waiter own{ring.at(i), -1};
    if (event_loops) {
      own.fd = wake_fifo_create(ring.segment.directory(), 100 + i);
      store(own.process.slot->wake_id, 100 + i);
    }
    for (uint64_t r = 0; r < rounds; r++) {
      for (uint64_t n = below(random, 200); n > 0; n--) all[r].begun.load();
      const size_t ring_size = static_cast<size_t>(size);
      go_round(own, ring.at(i + ring_size - 1), ring.at(i + 1), r % 2 == 0, all[r], size);
    }
  };
  std::vector<pid_t> children;
  std::vector<std::thread> workers;
  for (size_t i = 0; i < static_cast<size_t>(size); i++) {
    if (threads) workers.emplace_back(work, i);
    if (!threads) children.push_back(spawn([&, i] { work(i); }));
  }
  for (std::thread& worker : workers) worker.join();
  for (const pid_t child : children) join(child);
  for (uint64_t r = 0; r < rounds; r++) {
    CHECK_EQUAL(all[r].done.load(), size);
    CHECK_EQUAL(all[r].locked.load(), 1);
  }
}

TEST("of two that close a cycle at once exactly one gets ELOCKED") {
  close_at_once(2, false, false);
}

TEST("of three that close a cycle at once exactly one gets ELOCKED, in threads") {
  close_at_once(3, true, false);
}

TEST("of seven that close a cycle at once exactly one gets ELOCKED") {
  close_at_once(7, false, false);
}

TEST("of four event loops that close a cycle at once exactly one gets ELOCKED") {
  close_at_once(4, false, true);
}

// A token goes around. All but its owner wait, so a walk whose parts are of different moments sees
// a cycle at any time.
TEST("a ring that never stands still is never taken for a deadlock") {
  constexpr int kSize = 5;
  Ring ring(kSize);
  const uint64_t rounds = scaled(6'000, 300);
  std::vector<pid_t> children;
  for (size_t i = 0; i < kSize; i++) {
    children.push_back(spawn([&, i] {
      Process& own = ring.at(i);
      const Process &before = ring.at(i + kSize - 1), &next = ring.at(i + 1);
      Random random(seed() + i);
      Message m = message(1, 0);
      for (uint64_t r = 0; r < rounds; r++) {
        if (i != 0 || r != 0) CHECK_EQUAL(receive(own, before.endpoint, &m, kForever), 0);
        CHECK_EQUAL(value_of(m), r);
        if (i + 1 == kSize) m = message(1, r + 1);
        const bool last = r + 1 == rounds && i + 1 == kSize;
        if (!last) CHECK_EQUAL(send(own, next.endpoint, m, kForever), 0);
      }
    }));
  }
  for (const pid_t child : children) join(child);
}

}  // namespace
}  // namespace dvk::test

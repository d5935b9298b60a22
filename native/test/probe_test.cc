// Waits that cross nodes: which ones a proxy is told of, where a path of waits goes on, and how one
// is ended. Method: the test is every proxy, and looks from both ends of each wait.

#include "../core/probe.h"

#include <errno.h>

#include <thread>
#include <vector>

#include "../core/bindings.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr uint32_t kReceives = kCommandNone;

// A call of a process that is about to sleep. Returns what it came to, or kPending.
int settle(Process& process, int started) {
  if (started != kPending || !arm(process)) return started;
  disarm(process);
  return step(process);
}

std::vector<RemoteWait> waits_of(Segment& segment, size_t at_once = 8) {
  std::vector<RemoteWait> all, some(at_once);
  for (uint32_t first = 0;;) {
    const size_t count = remote_waits(segment, first, some.data(), at_once);
    all.insert(all.end(), some.begin(), some.begin() + static_cast<long>(count));
    if (count < at_once) return all;
    first = static_cast<uint32_t>(segment.slot_of(all.back().waiter)) + 1;
  }
}

WaitEdge edge_of(uint32_t node, const RemoteWait& wait) {
  return {node, wait.waiter, wait.target, wait.call, wait.call_id};
}

// Nodes 0 and 1, and a server on each, known to the other.
struct Pair {
  Network n{2};
  Process& here = bind_server(n[0], 1);
  Process& there = bind_server(n[1], 2);
  Pair() {
    n.pump();
  }
  // `here` waits for `there`, which knows of it.
  RemoteWait wait(uint32_t call) {
    const int started = call == kReceives ? start_receive(here, there.endpoint)
                        : call == kCommandSendMsg
                            ? start_send(here, there.endpoint, message(1, 1))
                            : start_sendrec(here, there.endpoint, message(1, 1));
    CHECK_EQUAL(settle(here, started), kPending);
    n.pump();
    RemoteWait found{};
    CHECK(remote_wait(n[0], here.endpoint, &found));
    return found;
  }
  // `there` waits for `here`, so that paths from it have an end.
  void wait_back() {
    CHECK_EQUAL(settle(there, start_send(there, here.endpoint, message(9, 9))), kPending);
  }
  bool follows(const WaitEdge& edge) {
    RemoteWait found;
    return follow_waits(n[1], edge, &found);
  }
};

TEST("the waits that cross nodes and last are told, and no others") {
  Network n(2);
  Process& remote = bind_server(n[1], 1);
  n.pump();
  std::vector<Process*> all;
  for (int i = 0; i < 32; i++) all.push_back(&bind_client(n[0]));
  const auto start = [&](size_t i) {
    Process& own = *all[i];
    switch (i % 8) {
      case 0:
        return start_send(own, remote.endpoint, message(1, 1));
      case 1:
        return start_sendrec(own, remote.endpoint, message(1, 1));
      case 2:
        return start_receive(own, remote.endpoint);
      case 3:
        return start_receive(own, kEndpointAny);
      case 4:
        return start_send(own, all[3]->endpoint + 99 * 65536, message(1, 1));
      case 5:
        return start_receive(own, all[3]->endpoint);
      case 6:
        return start_wait_unbind(own, remote.endpoint);
      default:
        return start_wait_bind(own, 60);
    }
  };
  for (size_t i = 0; i < all.size(); i++) {
    const int started = start(i);
    // Nobody has gone to sleep yet.
    CHECK_EQUAL(waits_of(n[0]).size(), i / 8 * 3 + std::min(i % 8, size_t{3}));
    settle(*all[i], started);
  }
  for (const size_t at_once : {1, 3, 12, 13, 64}) {
    const std::vector<RemoteWait> waits = waits_of(n[0], at_once);
    CHECK_EQUAL(waits.size(), 12);
    for (size_t i = 0; i < waits.size(); i++) {
      const RemoteWait& wait = waits[i];
      const Process& own = *all[i / 3 * 8 + i % 3];
      constexpr uint32_t kKinds[] = {kCommandSendMsg, kCommandSndrecMsg, kReceives};
      CHECK_EQUAL(wait.waiter, own.endpoint);
      CHECK_EQUAL(wait.target, remote.endpoint);
      CHECK_EQUAL(wait.node, 1);
      CHECK_EQUAL(wait.call, kKinds[i % 3]);
      CHECK_EQUAL(wait.call_id, i % 3 == 2 ? 0 : load(own.slot->call_id));
      CHECK_EQUAL(wait.waits, 1);
      CHECK(wait.ticket != 0 && (i == 0 || wait.ticket > waits[i - 1].ticket));
    }
  }
  // As a scribbling member could leave it: slots that name another one are not told.
  for (const size_t i : {8, 9}) atomic(all[i]->slot->endpoint).store(all[0]->endpoint);
  CHECK_EQUAL(waits_of(n[0], 1).size(), 10);
  for (const size_t i : {8, 9}) atomic(all[i]->slot->endpoint).store(all[i]->endpoint);
  for (Process* own : all) cancel(*own, -EINTR);
  CHECK_EQUAL(waits_of(n[0]).size(), 0);
  CHECK(n[0].remote_waiters().empty());
}

TEST("a wait that crosses nodes stands while its message is known and not answered") {
  for (const uint32_t call : {uint32_t{kCommandSendMsg}, uint32_t{kCommandSndrecMsg}}) {
    Pair pair;
    const RemoteWait wait = pair.wait(call);
    pair.wait_back();
    CHECK(pair.follows(edge_of(0, wait)));
    CHECK_EQUAL(cancel(pair.there, -EINTR), -EINTR);
    Message m;
    CHECK_EQUAL(receive(pair.there, pair.here.endpoint, &m, 0), 0);
    pair.wait_back();
    CHECK_EQUAL(pair.follows(edge_of(0, wait)), call == kCommandSndrecMsg);
    if (call == kCommandSendMsg) continue;
    CHECK_EQUAL(reply(pair.there, pair.here.endpoint, message(2, 1)), 0);
    // Answered, though the answer is still on its way.
    CHECK(!pair.follows(edge_of(0, wait)));
  }
}

TEST("an edge that its other end does not know, or tells wrongly, leads nowhere") {
  Pair pair;
  Process& third = bind_server(pair.n[1], 3);
  pair.n.pump();
  // It waits for the third, which waits for node 0.
  CHECK_EQUAL(settle(pair.there, start_send(pair.there, third.endpoint, message(1, 1))), kPending);
  CHECK_EQUAL(settle(third, start_send(third, pair.here.endpoint, message(1, 1))), kPending);
  const WaitEdge good = edge_of(0, pair.wait(kCommandSndrecMsg));
  RemoteWait found;
  CHECK(follow_waits(pair.n[1], good, &found));
  CHECK_EQUAL(found.waiter, third.endpoint);
  CHECK_EQUAL(found.target, pair.here.endpoint);
  CHECK_EQUAL(found.waits, 2);
  CHECK_EQUAL(found.sends, 2);
  const auto refused = [&](auto change) {
    WaitEdge bad = good;
    change(bad);
    return !pair.follows(bad);
  };
  CHECK(refused([](WaitEdge& e) { e.node = 2; }));
  CHECK(refused([](WaitEdge& e) { e.call_id++; }));
  CHECK(refused([](WaitEdge& e) { e.call = kCommandSendMsg; }));
  CHECK(refused([](WaitEdge& e) { e.call = 77; }));
  CHECK(refused([&](WaitEdge& e) { e.target = third.endpoint; }));
  CHECK(refused([&](WaitEdge& e) { e.target += 65536; }));
  CHECK(refused([&](WaitEdge& e) { e.source = e.target; }));
  CHECK(refused([&](WaitEdge& e) { e.source += 65536; }));
  for (const int32_t wild : {-1, 0x7fffffff, 0x7fff7ace, 130}) {
    CHECK(refused([&](WaitEdge& e) { e.target = wild; }));
    CHECK(refused([&](WaitEdge& e) { e.source = wild; }));
  }
  // The same process, were it local, or another node's, cannot be spoken for by node 0.
  CHECK(refused([&](WaitEdge& e) {
    e.source = third.endpoint;
    e.call = kReceives;
  }));
  CHECK(pair.follows(good));
}

TEST("what a receive waits for must not be on its way from the node that is asked") {
  for (const bool notice : {true, false}) {
    Pair pair;
    const WaitEdge edge = edge_of(0, pair.wait(kReceives));
    pair.wait_back();
    CHECK(pair.follows(edge));
    CHECK_EQUAL(cancel(pair.there, -EINTR), -EINTR);
    if (notice) CHECK_EQUAL(notify(pair.there, pair.here.endpoint), 0);
    if (!notice) CHECK(senda(pair.there, pair.here.endpoint, message(1, 1), 0) >= 0);
    pair.wait_back();
    CHECK(!pair.follows(edge));
    Command command;
    CHECK(pair.n.take(1, 0, &command));
    // It left: what comes behind it finds that the wait is over.
    CHECK(pair.follows(edge));
    CHECK_EQUAL(pair.n.bring(0, command), 0);
    CHECK_EQUAL(step(pair.here), 0);
    RemoteWait found;
    CHECK(!remote_wait(pair.n[0], pair.here.endpoint, &found));
  }
}

TEST("a path goes on only where each one waits for one process, asleep and alive") {
  Pair pair;
  Process& third = bind_server(pair.n[1], 3);
  pair.n.pump();
  const WaitEdge edge = edge_of(0, pair.wait(kCommandSndrecMsg));
  // Not in a call; in a receive from anyone; about to sleep; asleep.
  CHECK(!pair.follows(edge));
  CHECK_EQUAL(settle(pair.there, start_receive(pair.there, kEndpointAny)), 0);
  CHECK_EQUAL(settle(pair.there, start_receive(pair.there, kEndpointAny)), kPending);
  CHECK(!pair.follows(edge));
  CHECK_EQUAL(cancel(pair.there, -EINTR), -EINTR);
  CHECK_EQUAL(start_receive(pair.there, third.endpoint), kPending);
  CHECK_EQUAL(settle(third, start_receive(third, pair.here.endpoint)), kPending);
  CHECK(!pair.follows(edge));
  CHECK_EQUAL(settle(pair.there, step(pair.there)), kPending);
  CHECK(pair.follows(edge));
  // A cycle that the path runs into, as a scribbling member could leave it.
  atomic(third.slot->rendezvous).store(pack(State::kFrom, 0, pair.there.index));
  store(third.slot->want_source, pair.there.endpoint);
  CHECK(!pair.follows(edge));
  store(third.slot->pid, 0);
  CHECK(!pair.follows(edge));
}

TEST("a wait is ended under its ticket, and no other wait in its place") {
  for (const uint32_t call : {uint32_t{kCommandSendMsg}, uint32_t{kCommandSndrecMsg}, kReceives}) {
    Pair pair;
    const RemoteWait old = pair.wait(call);
    CHECK(!lock_wait(pair.n[0], old.waiter, old.ticket + 1));
    CHECK(!lock_wait(pair.n[0], old.waiter + 65536, old.ticket));
    CHECK(!lock_wait(pair.n[0], -5, old.ticket));
    CHECK_EQUAL(settle(pair.here, step(pair.here)), kPending);
    CHECK_EQUAL(cancel(pair.here, -ETIMEDOUT), -ETIMEDOUT);
    CHECK(!lock_wait(pair.n[0], old.waiter, old.ticket));
    RemoteWait next = pair.wait(call);
    CHECK(next.ticket != old.ticket);
    CHECK(!lock_wait(pair.n[0], old.waiter, old.ticket));
    CHECK_EQUAL(settle(pair.here, step(pair.here)), kPending);
    // A receive has looked again, which makes it another wait.
    CHECK(remote_wait(pair.n[0], pair.here.endpoint, &next));
    CHECK(lock_wait(pair.n[0], next.waiter, next.ticket));
    CHECK(!lock_wait(pair.n[0], next.waiter, next.ticket));
    CHECK_EQUAL(step(pair.here), -ELOCKED);
    CHECK_EQUAL(damage(pair.n[0]), "");
    // Calls go on as before.
    CHECK_EQUAL(settle(pair.here, start_send(pair.here, pair.there.endpoint, message(1, 7))),
                kPending);
    pair.n.pump();
    Message m;
    CHECK_EQUAL(receive(pair.there, pair.here.endpoint, &m, 0), 0);
    CHECK_EQUAL(value_of(m), 7);
    pair.n.pump();
    CHECK_EQUAL(step(pair.here), 0);
  }
}

TEST("a local wait cannot be ended by a ticket") {
  Pair pair;
  Process& other = bind_server(pair.n[0], 4);
  CHECK_EQUAL(settle(other, start_send(other, pair.here.endpoint, message(1, 1))), kPending);
  CHECK(!lock_wait(pair.n[0], other.endpoint, load(other.slot->wait_ticket)));
  CHECK_EQUAL(settle(other, step(other)), kPending);
}

Command withdrawal(Network& n, const RemoteWait& wait) {
  Command command = command_of(n, 0, 1, kCommandWithdraw, wait.waiter, wait.target);
  command.call_id = wait.call_id;
  return command;
}

TEST("a message that was withdrawn is received by nobody, and its answer finds nobody") {
  Pair pair;
  Message m;
  for (const uint32_t call : {uint32_t{kCommandSendMsg}, uint32_t{kCommandSndrecMsg}}) {
    RemoteWait wait = pair.wait(call);
    CHECK(lock_wait(pair.n[0], wait.waiter, wait.ticket));
    CHECK_EQUAL(step(pair.here), -ELOCKED);
    CHECK_EQUAL(pair.n.bring(1, withdrawal(pair.n, wait)), 0);
    CHECK_EQUAL(receive(pair.there, kEndpointAny, &m, 0), -EAGAIN);
    // That of a call that is over does not touch the next one.
    const RemoteWait next = pair.wait(call);
    CHECK_EQUAL(pair.n.bring(1, withdrawal(pair.n, wait)), 0);
    CHECK_EQUAL(receive(pair.there, kEndpointAny, &m, 0), 0);
    if (call == kCommandSendMsg) {
      pair.n.pump();
      CHECK_EQUAL(step(pair.here), 0);
      continue;
    }
    CHECK_EQUAL(pair.n.bring(1, withdrawal(pair.n, next)), 0);
    CHECK_EQUAL(reply(pair.there, pair.here.endpoint, m), -EDVSPROCSTS);
  }
  Command foreign = command_of(pair.n, 0, 1, kCommandWithdraw, pair.there.endpoint, 1);
  CHECK_EQUAL(pair.n.bring(1, foreign), -EDVSBADFRAME);
  foreign.source = 0x7fff7ace;
  CHECK_EQUAL(pair.n.bring(1, foreign), 0);
  CHECK_EQUAL(damage(pair.n[1]), "");
}

// As on one node: MINIX's sendrec receives from its server, so whatever that sends is the answer.
TEST("a message to a client of another node that awaits the answer is the answer") {
  for (const bool call : {false, true}) {
    Pair pair;
    pair.wait(kCommandSndrecMsg);
    Message m;
    CHECK_EQUAL(rcvrqst(pair.there, &m, 0), 0);
    CHECK_EQUAL(settle(pair.there, call ? start_sendrec(pair.there, m.source, message(2, 5))
                                        : start_send(pair.there, m.source, message(2, 5))),
                kPending);
    pair.n.pump();
    CHECK_EQUAL(step(pair.here), 0);
    CHECK_EQUAL(value_of(pair.here.operation.message), 5);
    CHECK(pair.here.last_kind == (call ? MessageKind::kCall : MessageKind::kSend));
    if (!call) {
      CHECK_EQUAL(step(pair.there), 0);
    } else {
      CHECK_EQUAL(step(pair.there), kPending);
      CHECK_EQUAL(reply(pair.here, pair.there.endpoint, message(3, 6)), 0);
      pair.n.pump();
      CHECK_EQUAL(step(pair.there), 0);
      CHECK_EQUAL(value_of(pair.there.operation.message), 6);
    }
    CHECK_EQUAL(damage(pair.n[0]) + damage(pair.n[1]), "");
  }
}

TEST("a message is the answer to that call alone whose request its sender has") {
  Pair pair;
  pair.wait(kCommandSndrecMsg);
  // Not taken: both wait for their message to be taken.
  CHECK_EQUAL(settle(pair.there, start_send(pair.there, pair.here.endpoint, message(2, 5))),
              kPending);
  pair.n.pump();
  CHECK_EQUAL(settle(pair.here, step(pair.here)), kPending);
  CHECK_EQUAL(cancel(pair.there, -ETIMEDOUT), -ETIMEDOUT);
  Message m;
  CHECK_EQUAL(rcvrqst(pair.there, &m, 0), 0);
  // Given up, and called again: the message is for the call before.
  CHECK_EQUAL(start_send(pair.there, pair.here.endpoint, message(2, 6)), kPending);
  Command command;
  CHECK(pair.n.take(1, 0, &command));
  CHECK_EQUAL(cancel(pair.here, -ETIMEDOUT), -ETIMEDOUT);
  pair.wait(kCommandSndrecMsg);
  CHECK_EQUAL(pair.n.bring(0, command), 0);
  CHECK_EQUAL(settle(pair.here, step(pair.here)), kPending);
  // A node that names the right call and is not whom it was made to.
  Process& other = bind_server(pair.n[1], 3);
  pair.n.pump();
  Command forged = command_of(pair.n, 1, 0, kCommandSendMsg, other.endpoint, pair.here.endpoint);
  forged.answers = load(pair.here.slot->call_id);
  CHECK_EQUAL(pair.n.bring(0, forged), 0);
  CHECK_EQUAL(settle(pair.here, step(pair.here)), kPending);
}

// Whoever ends waits by tickets of a moment ago ends those and no later ones.
TEST("each call ends as it was ended, whatever the moment") {
  Network n(2);
  Process& server = bind_server(n[1], 1);
  Process& client = bind_client(n[0]);
  n.pump();
  std::atomic<bool> done{false};
  std::atomic<uint64_t> locks{0};
  const uint64_t calls = scaled(20'000, 500);
  const int64_t locked = n.during([&] {
    std::thread serving([&] {
      Message m;
      while (!done.load()) {
        if (rcvrqst(server, &m, 20) == 0) reply(server, m.source, m);
      }
    });
    std::thread locking([&] {
      RemoteWait wait;
      while (!done.load()) {
        if (!remote_wait(n[0], client.endpoint, &wait)) continue;
        for (volatile uint64_t i = wait.ticket * 7919 % 3000; i > 0;) i = i - 1;
        if (lock_wait(n[0], client.endpoint, wait.ticket)) locks.fetch_add(1);
      }
    });
    int64_t count = 0;
    for (uint64_t i = 0; i < calls; i++) {
      Message m = message(1, i);
      const int result = sendrec(client, server.endpoint, &m, kForever);
      CHECK(result == -ELOCKED || (result == 0 && value_of(m) == i));
      if (result == -ELOCKED) count++;
    }
    done.store(true);
    serving.join();
    locking.join();
    return count;
  });
  CHECK_EQUAL(locked, static_cast<int64_t>(locks.load()));
  CHECK(locked > 0);
  CHECK_EQUAL(damage(n[0]), "");
}

}  // namespace
}  // namespace dvk::test

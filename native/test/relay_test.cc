// relay: a request handed on from one server to another, whose reply goes to the first client; on
// one node and between nodes, and the deaths of each of the three.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "../core/privilege.h"
#include "network.h"

namespace dvk::test {
namespace {

struct Bench {
  Container container;
  Segment& segment = container.segment;
  Process& front = bind_server(segment, 1);
  Process& back = bind_server(segment, 2);
  Process& client = bind_client(segment);

  // The client calls the front server, which takes the request.
  void call(uint64_t value) {
    CHECK_EQUAL(start_sendrec(client, front.endpoint, message(1, value)), kPending);
    Message request;
    CHECK_EQUAL(rcvrqst(front, &request, 0), 0);
  }
  int relay_on(uint64_t value) {
    return relay(front, client.endpoint, back.endpoint, message(2, value));
  }
};

void check_request(Process& server, const Process& client, uint64_t value) {
  Message request;
  CHECK_EQUAL(rcvrqst(server, &request, 0), 0);
  CHECK_EQUAL(request.source, client.endpoint);
  CHECK_EQUAL(request.type, 2);
  CHECK_EQUAL(value_of(request), value);
  CHECK(whole(request));
}

void check_answer(const Process& client, const Process& server, uint64_t value) {
  CHECK_EQUAL(client.operation.message.source, server.endpoint);
  CHECK_EQUAL(client.operation.message.type, 3);
  CHECK_EQUAL(value_of(client.operation.message), value);
}

TEST("relay: the second server sees the client, and its reply ends the client's sendrec") {
  for (const bool waits : {false, true}) {
    Bench b;
    b.call(1);
    if (waits) CHECK_EQUAL(start_rcvrqst(b.back), kPending);
    CHECK_EQUAL(b.relay_on(7), 0);
    CHECK_EQUAL(b.relay_on(7), -EDVSPROCSTS);
    CHECK_EQUAL(reply(b.front, b.client.endpoint, message(3, 9)), -EDVSPROCSTS);
    CHECK_EQUAL(step(b.client), kPending);
    if (waits) {
      CHECK_EQUAL(step(b.back), 0);
      CHECK_EQUAL(b.back.operation.message.source, b.client.endpoint);
      CHECK(b.back.last_kind == MessageKind::kCall);
    } else {
      check_request(b.back, b.client, 7);
    }
    CHECK_EQUAL(reply(b.front, b.client.endpoint, message(3, 9)), -EDVSPROCSTS);
    CHECK_EQUAL(reply(b.back, b.client.endpoint, message(3, 8)), 0);
    CHECK_EQUAL(step(b.client), 0);
    check_answer(b.client, b.back, 8);
    CHECK_EQUAL(damage(b.segment), "");
  }
}

TEST("relay: a request may be handed on again, also back to where it was") {
  Bench b;
  b.call(1);
  CHECK_EQUAL(b.relay_on(2), 0);
  CHECK_EQUAL(step(b.client), kPending);
  check_request(b.back, b.client, 2);
  CHECK_EQUAL(relay(b.back, b.client.endpoint, b.front.endpoint, message(2, 3)), 0);
  CHECK_EQUAL(step(b.client), kPending);
  check_request(b.front, b.client, 3);
  CHECK_EQUAL(reply(b.front, b.client.endpoint, message(3, 4)), 0);
  CHECK_EQUAL(step(b.client), 0);
  check_answer(b.client, b.front, 4);
}

TEST("relay: blocked callers follow") {
  Bench b;
  std::thread client([&] {
    for (uint64_t i = 0; i < 500; i++) {
      Message m = message(1, i);
      CHECK_EQUAL(sendrec(b.client, b.front.endpoint, &m, 10'000), 0);
      CHECK_EQUAL(m.source, b.back.endpoint);
      CHECK_EQUAL(value_of(m), i + 1);
    }
  });
  std::thread back([&] {
    Message m;
    for (uint64_t i = 0; i < 500; i++) {
      CHECK_EQUAL(rcvrqst(b.back, &m, 10'000), 0);
      CHECK_EQUAL(reply(b.back, m.source, message(3, value_of(m) + 1)), 0);
    }
  });
  Message m;
  for (uint64_t i = 0; i < 500; i++) {
    CHECK_EQUAL(rcvrqst(b.front, &m, 10'000), 0);
    CHECK_EQUAL(relay(b.front, m.source, b.back.endpoint, m), 0);
  }
  client.join();
  back.join();
}

TEST("relay is refused with the code of what is wrong, and the request can still be answered") {
  Bench b;
  b.call(1);
  const Message m = message(2, 1);
  CHECK_EQUAL(relay(b.client, b.front.endpoint, b.back.endpoint, m), -ETRAPDENIED);
  CHECK_EQUAL(relay(b.back, b.client.endpoint, b.front.endpoint, m), -EDVSPROCSTS);
  CHECK_EQUAL(relay(b.front, b.client.endpoint, b.client.endpoint, m), -EDVSENDPOINT);
  CHECK_EQUAL(relay(b.front, b.client.endpoint, b.front.endpoint, m), -EDVSENDPOINT);
  CHECK_EQUAL(relay(b.front, b.front.endpoint, b.back.endpoint, m), -EDVSENDPOINT);
  CHECK_EQUAL(relay(b.front, b.client.endpoint, 9, m), -EDEADSRCDST);
  CHECK_EQUAL(relay(b.front, 9, b.back.endpoint, m), -EDEADSRCDST);
  CHECK_EQUAL(relay(b.front, b.client.endpoint, kEndpointNone, m), -ERANGE);
  CHECK_EQUAL(relay(b.front, b.client.endpoint, kEndpointKernel, m), -EDVSBADDEST);
  CHECK_EQUAL(reply(b.front, b.client.endpoint, message(3, 2)), 0);
  CHECK_EQUAL(step(b.client), 0);
}

TEST("relay: the front server's ipc_to and the second server's ipc_from hold, not the client's") {
  Bench b;
  Privileges privileges{};
  b.call(1);
  CHECK_EQUAL(get_privileges(b.segment, b.client.endpoint, &privileges), 0);
  privileges.ipc_to = 1u << 1;
  CHECK_EQUAL(set_privileges(b.segment, b.client.endpoint, privileges), 0);
  CHECK_EQUAL(get_privileges(b.segment, b.front.endpoint, &privileges), 0);
  privileges.ipc_to = 0;
  CHECK_EQUAL(set_privileges(b.segment, b.front.endpoint, privileges), 0);
  CHECK_EQUAL(b.relay_on(1), -ECALLDENIED);
  privileges.ipc_to = ~uint64_t{0};
  CHECK_EQUAL(set_privileges(b.segment, b.front.endpoint, privileges), 0);
  Privileges back = default_privileges(ProcessLevel::kServer);
  back.rights &= ~static_cast<uint32_t>(CallRight::kFromDynamic);
  CHECK_EQUAL(set_privileges(b.segment, b.back.endpoint, back), 0);
  CHECK_EQUAL(b.relay_on(1), -ECALLDENIED);
  CHECK_EQUAL(set_privileges(b.segment, b.back.endpoint, default_privileges(ProcessLevel::kServer)),
              0);
  CHECK_EQUAL(b.relay_on(1), 0);
  // Between the relay and the client's own step.
  CHECK_EQUAL(set_privileges(b.segment, b.back.endpoint, back), 0);
  CHECK_EQUAL(step(b.client), -ECALLDENIED);
}

TEST("relay: a client that gave up is not called back, in any phase") {
  Bench b;
  b.call(1);
  CHECK_EQUAL(cancel(b.client, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(b.relay_on(1), -EDVSPROCSTS);
  b.call(1);
  CHECK_EQUAL(b.relay_on(2), 0);
  CHECK_EQUAL(cancel(b.client, -ETIMEDOUT), -ETIMEDOUT);
  Message m;
  CHECK_EQUAL(rcvrqst(b.back, &m, 0), -EAGAIN);
  b.call(1);
  CHECK_EQUAL(b.relay_on(3), 0);
  CHECK_EQUAL(step(b.client), kPending);
  check_request(b.back, b.client, 3);
  CHECK_EQUAL(cancel(b.client, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(reply(b.back, b.client.endpoint, message(3, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(damage(b.segment), "");
}

TEST("relay: the deaths of the two servers end the sendrec, the front one's only before") {
  for (int phase = 0; phase < 4; phase++) {
    Bench b;
    b.call(1);
    if (phase == 0) CHECK_EQUAL(b.back.unbind(), 0);
    if (phase == 0) {
      CHECK_EQUAL(b.relay_on(1), -EDEADSRCDST);
      CHECK_EQUAL(b.front.unbind(), 0);
      CHECK_EQUAL(step(b.client), -ESRCDIED);
      continue;
    }
    CHECK_EQUAL(b.relay_on(1), 0);
    CHECK_EQUAL(b.front.unbind(), 0);
    if (phase == 1) {
      CHECK_EQUAL(b.back.unbind(), 0);
      CHECK_EQUAL(step(b.client), -EDEADSRCDST);
      continue;
    }
    CHECK_EQUAL(step(b.client), kPending);
    if (phase == 3) check_request(b.back, b.client, 1);
    CHECK_EQUAL(b.back.unbind(), 0);
    CHECK_EQUAL(step(b.client), phase == 2 ? -EDSTDIED : -ESRCDIED);
    CHECK_EQUAL(damage(b.segment), "");
  }
}

TEST("relay: a front server that dies while it writes to the client ends the sendrec") {
  Bench b;
  b.call(1);
  const auto word = atomic(b.client.slot->rendezvous);
  word.store(with_state(word.load(), State::kFilling, b.front.index));
  CHECK_EQUAL(b.front.unbind(), 0);
  CHECK_EQUAL(step(b.client), -ESRCDIED);
}

TEST("relay: a client that dies leaves nothing behind") {
  Bench b;
  auto* ready = shared<std::atomic<int32_t>>();
  const pid_t child = spawn([&] {
    Process& own = bind_client(b.segment);
    ready->store(own.endpoint);
    Message m = message(1, 1);
    sendrec(own, b.front.endpoint, &m, kForever);
  });
  Message m;
  CHECK_EQUAL(rcvrqst(b.front, &m, 10'000), 0);
  CHECK_EQUAL(relay(b.front, m.source, b.back.endpoint, m), 0);
  CHECK_EQUAL(rcvrqst(b.back, &m, 10'000), 0);
  CHECK_EQUAL(m.source, ready->load());
  CHECK_EQUAL(kill_and_reap(b.segment, child), 1);
  CHECK_EQUAL(relay(b.back, m.source, b.front.endpoint, m), -EDEADSRCDST);
  CHECK_EQUAL(damage(b.segment), "");
}

// A front server killed in the middle of a stream of relays: each sendrec ends, well or with an
// error, and the next front server goes on.
TEST("relay: a front server may be killed at any moment") {
  Bench b;
  CHECK_EQUAL(b.front.unbind(), 0);
  std::atomic<bool> done{false};
  std::thread back([&] {
    Message m;
    while (!done.load()) {
      if (rcvrqst(b.back, &m, 100) == 0) reply(b.back, m.source, message(3, value_of(m)));
    }
  });
  std::atomic<uint64_t> answered{0};
  std::thread client([&] {
    while (!done.load()) {
      Message m = message(1, answered.load());
      const int32_t front = lookup(b.segment, 1);
      const int64_t start = now_ns();
      const int result = front < 0 ? front : sendrec(b.client, front, &m, 20'000);
      CHECK(now_ns() - start < 5'000'000'000);
      CHECK(result == 0 || result == -EDEADSRCDST || result == -EDSTDIED || result == -ESRCDIED ||
            result == -EDVSNOTBOUND);
      if (result != 0) continue;
      CHECK_EQUAL(value_of(m), answered.load());
      answered.fetch_add(1);
    }
  });
  Random random(seed());
  const int kills = static_cast<int>(scaled(60, 5));
  for (int i = 0; i < kills; i++) {
    const pid_t child = spawn([&] {
      Process& own = bind_server(b.segment, 1);
      Message m;
      for (;;) {
        if (rcvrqst(own, &m, kForever) == 0) relay(own, m.source, b.back.endpoint, m);
      }
    });
    const uint64_t before = answered.load();
    until("some are answered", [&] { return answered.load() > before + below(random, 50); });
    // The client may have found the body first.
    CHECK(kill_and_reap(b.segment, child) <= 1);
  }
  done.store(true);
  client.join();
  back.join();
  CHECK_EQUAL(damage(b.segment), "");
}

// The three of a relay, on the nodes given, with a link between any two.
void check_between(uint32_t of_client, uint32_t of_front, uint32_t of_back) {
  Network n(3);
  Process& front = bind_server(n[of_front], 1);
  Process& back = bind_server(n[of_back], 2);
  Process& client = bind_client(n[of_client]);
  n.pump();
  const int64_t result = n.during([&] {
    std::thread servers([&] {
      Message m;
      CHECK_EQUAL(rcvrqst(front, &m, 10'000), 0);
      CHECK_EQUAL(m.source, client.endpoint);
      CHECK_EQUAL(relay(front, m.source, back.endpoint, message(2, 5)), 0);
      CHECK_EQUAL(rcvrqst(back, &m, 10'000), 0);
      CHECK_EQUAL(m.source, client.endpoint);
      CHECK_EQUAL(value_of(m), 5);
      CHECK_EQUAL(reply(back, m.source, message(3, 6)), 0);
    });
    Message m = message(1, 4);
    const int called = sendrec(client, front.endpoint, &m, 10'000);
    servers.join();
    CHECK_EQUAL(m.source, back.endpoint);
    CHECK_EQUAL(value_of(m), 6);
    return called;
  });
  CHECK_EQUAL(result, 0);
  for (uint32_t node = 0; node < 3; node++) CHECK_EQUAL(damage(n[node]), "");
}

TEST("relay: client, front and second server may be on any nodes") {
  for (uint32_t place = 0; place < 27; place++) check_between(place / 9, place / 3 % 3, place % 3);
}

TEST("relay: a time-out and a lost link end a relayed call between nodes") {
  Network n(2);
  Process& front = bind_server(n[0], 1);
  Process& back = bind_server(n[1], 2);
  Process& client = bind_client(n[1]);
  n.pump();
  for (const bool link : {false, true}) {
    CHECK_EQUAL(start_sendrec(client, front.endpoint, message(1, 1)), kPending);
    n.pump();
    Message m;
    CHECK_EQUAL(rcvrqst(front, &m, 0), 0);
    if (link) {
      CHECK_EQUAL(link_down(n[1], 0), 0);
      CHECK_EQUAL(link_down(n[0], 1), 0);
      CHECK_EQUAL(relay(front, m.source, back.endpoint, m), -EDVSPROCSTS);
      CHECK_EQUAL(step(client), -ENOTCONN);
      continue;
    }
    CHECK_EQUAL(cancel(client, -ETIMEDOUT), -ETIMEDOUT);
    CHECK_EQUAL(relay(front, m.source, back.endpoint, m), 0);
    n.pump();
    CHECK_EQUAL(rcvrqst(back, &m, 0), -EAGAIN);
    CHECK(state_in(client) == State::kIdle);
  }
}

}  // namespace
}  // namespace dvk::test

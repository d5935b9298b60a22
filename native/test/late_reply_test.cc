// Late replies: a client gives up its call and calls the same server again. The answer to the first
// call must not become the answer to the second, whenever the server gives it.

#include <errno.h>

#include <vector>

#include "network.h"

namespace dvk::test {
namespace {

struct Pair {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_client(segment);
};

TEST("a late reply is refused while the client's next call lies in the server's inbox") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(p.server, &request, 0), 0);
  CHECK_EQUAL(cancel(p.client, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(start_rcvrqst(p.server), kPending);
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 2)), kPending);
  CHECK(state_in(p.client) == State::kReply);

  CHECK_EQUAL(reply(p.server, p.client.endpoint, message(2, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(step(p.client), kPending);
  CHECK_EQUAL(step(p.server), 0);
  CHECK_EQUAL(value_of(p.server.operation.message), 2);
  CHECK_EQUAL(reply(p.server, p.client.endpoint, message(2, 2)), 0);
  CHECK_EQUAL(step(p.client), 0);
  CHECK_EQUAL(value_of(p.client.operation.message), 2);
}

// The client calls twice, giving up the first call; the server has received both requests.
struct Twice : Pair {
  uint32_t first = 0, second = 0;
  Twice() {
    first = request(1);
    CHECK_EQUAL(cancel(client, -ETIMEDOUT), -ETIMEDOUT);
    second = request(2);
  }
  uint32_t request(uint64_t value) {
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, value)), kPending);
    Message m;
    CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
    CHECK_EQUAL(value_of(m), value);
    return server.last_call;
  }
  void check_answered() {
    CHECK_EQUAL(step(client), 0);
    CHECK_EQUAL(value_of(client.operation.message), 2);
  }
};

TEST("a server that holds two requests of a client answers each by its number") {
  for (const bool late_first : {true, false}) {
    Twice t;
    CHECK(t.first != t.second);
    if (late_first) {
      CHECK_EQUAL(reply_to(t.server, t.client.endpoint, t.first, message(2, 1)), -EDVSPROCSTS);
      CHECK_EQUAL(step(t.client), kPending);
    }
    CHECK_EQUAL(reply_to(t.server, t.client.endpoint, t.second, message(2, 2)), 0);
    CHECK_EQUAL(reply_to(t.server, t.client.endpoint, t.first, message(2, 1)), -EDVSPROCSTS);
    t.check_answered();
  }
}

TEST("a reply without a number is refused while two requests of the client are unanswered") {
  Twice t;
  CHECK_EQUAL(reply(t.server, t.client.endpoint, message(2, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(step(t.client), kPending);
  CHECK_EQUAL(reply_to(t.server, t.client.endpoint, t.first, message(2, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(reply(t.server, t.client.endpoint, message(2, 2)), 0);
  t.check_answered();
  CHECK_EQUAL(reply(t.server, t.client.endpoint, message(2, 2)), -EDVSPROCSTS);
}

TEST("a number that was never given, or is another client's, answers nobody") {
  Pair p;
  Process& other = bind_client(p.segment);
  Message m;
  CHECK_EQUAL(start_sendrec(other, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  CHECK_EQUAL(cancel(other, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(start_sendrec(other, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  const uint32_t foreign = p.server.last_call;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  const uint32_t number = p.server.last_call;
  CHECK(number != foreign);
  for (const uint32_t wrong : {foreign, number + 1, number - 1, 0u, ~0u}) {
    CHECK_EQUAL(reply_to(p.server, p.client.endpoint, wrong, message(2, 1)), -EDVSPROCSTS);
  }
  CHECK_EQUAL(reply_to(p.client, p.server.endpoint, number, message(2, 1)), -ETRAPDENIED);
  CHECK_EQUAL(step(p.client), kPending);
  CHECK_EQUAL(reply_to(p.server, p.client.endpoint, number, message(2, 2)), 0);
  CHECK_EQUAL(step(p.client), 0);
}

TEST("what is owed to a client is not owed to the next owner of its slot") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  Message m;
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  const int32_t gone = p.client.endpoint;
  CHECK_EQUAL(cancel(p.client, -EINTR), -EINTR);
  CHECK_EQUAL(p.client.unbind(), 0);
  Process* next = &bind_client(p.segment);
  while (next->index != p.client.index) next = &bind_client(p.segment);
  CHECK_EQUAL(start_sendrec(*next, p.server.endpoint, message(1, 2)), kPending);
  CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
  CHECK_EQUAL(reply(p.server, gone, message(2, 1)), -EDEADSRCDST);
  CHECK_EQUAL(reply(p.server, next->endpoint, message(2, 2)), 0);
  CHECK_EQUAL(step(*next), 0);
}

TEST("call numbers wrap") {
  Pair p;
  store(p.client.slot->call_id, ~0u - 1);
  for (uint64_t i = 0; i < 4; i++) {
    CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, i)), kPending);
    Message m;
    CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
    CHECK_EQUAL(p.server.last_call, static_cast<uint32_t>(~0u + i));
    CHECK_EQUAL(reply(p.server, p.client.endpoint, message(2, i)), 0);
    CHECK_EQUAL(step(p.client), 0);
  }
}

TEST("a late reply to a client of another node is refused, before and after its next request") {
  for (const bool received : {false, true}) {
    Network network(2);
    Process& server = bind_server(network[0], 1);
    Process& client = bind_client(network[1]);
    network.pump();
    Message m;
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, 1)), kPending);
    network.pump();
    CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
    const uint32_t first = server.last_call;
    CHECK_EQUAL(cancel(client, -ETIMEDOUT), -ETIMEDOUT);
    CHECK_EQUAL(start_rcvrqst(server), kPending);
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, 2)), kPending);
    network.pump();
    if (received) CHECK_EQUAL(step(server), 0);
    CHECK_EQUAL(received ? reply_to(server, client.endpoint, first, message(2, 1))
                         : reply(server, client.endpoint, message(2, 1)),
                -EDVSPROCSTS);
    network.pump();
    CHECK_EQUAL(step(client), kPending);
    if (!received) CHECK_EQUAL(step(server), 0);
    CHECK_EQUAL(reply(server, client.endpoint, message(2, 2)), 0);
    network.pump();
    CHECK_EQUAL(step(client), 0);
    CHECK_EQUAL(value_of(client.operation.message), 2);
  }
}

TEST("a late relay is refused while the client's next call lies in the server's inbox, and after") {
  for (const bool received : {false, true}) {
    Pair p;
    Process& back = bind_server(p.segment, 2);
    Message m;
    CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
    CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
    CHECK_EQUAL(cancel(p.client, -ETIMEDOUT), -ETIMEDOUT);
    CHECK_EQUAL(start_rcvrqst(p.server), kPending);
    CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 2)), kPending);
    if (received) CHECK_EQUAL(step(p.server), 0);
    CHECK_EQUAL(relay(p.server, p.client.endpoint, back.endpoint, message(1, 1)), -EDVSPROCSTS);
    CHECK_EQUAL(step(p.client), kPending);
    CHECK_EQUAL(rcvrqst(back, &m, 0), -EAGAIN);
    if (!received) {
      CHECK_EQUAL(step(p.server), 0);
      CHECK_EQUAL(relay(p.server, p.client.endpoint, back.endpoint, message(1, 2)), 0);
      CHECK_EQUAL(step(p.client), kPending);
      CHECK_EQUAL(rcvrqst(back, &m, 0), 0);
      CHECK_EQUAL(value_of(m), 2);
      // The relayed call has a number of its own: the first server's is used up.
      CHECK(back.last_call != p.server.last_call);
      CHECK_EQUAL(reply_to(p.server, m.source, p.server.last_call, message(2, 1)), -EDVSPROCSTS);
      CHECK_EQUAL(reply(back, m.source, message(2, 2)), 0);
    } else {
      CHECK_EQUAL(reply_to(p.server, p.client.endpoint, p.server.last_call, message(2, 2)), 0);
    }
    CHECK_EQUAL(step(p.client), 0);
    CHECK_EQUAL(value_of(p.client.operation.message), 2);
  }
}

TEST("a server that holds two requests of a client hands each on by its number") {
  for (const bool remote : {false, true}) {
    Network n(3);
    Process& server = bind_server(n[0], 1);
    Process& back = bind_server(n[1], 2);
    Process& client = remote ? bind_client(n[2]) : bind_client(n[0]);
    n.pump();
    uint32_t calls[2];
    Message m;
    for (uint64_t i = 0; i < 2; i++) {
      CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, i)), kPending);
      n.pump();
      CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
      calls[i] = server.last_call;
      if (i == 0) CHECK_EQUAL(cancel(client, -ETIMEDOUT), -ETIMEDOUT);
    }
    const auto hand_on = [&](uint32_t call, int32_t destination) {
      return relay_to(server, client.endpoint, call, destination, message(2, 7));
    };
    CHECK_EQUAL(relay(server, client.endpoint, back.endpoint, m), -EDVSPROCSTS);
    CHECK_EQUAL(hand_on(calls[1], client.endpoint), -EDVSENDPOINT);
    CHECK_EQUAL(hand_on(calls[1], server.endpoint), -EDVSENDPOINT);
    CHECK_EQUAL(hand_on(calls[1], back.endpoint + 65536), -EDEADSRCDST);
    CHECK_EQUAL(relay_to(client, server.endpoint, 1, back.endpoint, m), -ETRAPDENIED);
    CHECK_EQUAL(hand_on(calls[0], back.endpoint), -EDVSPROCSTS);
    n.pump();
    CHECK_EQUAL(step(client), kPending);
    CHECK_EQUAL(hand_on(calls[1], back.endpoint), 0);
    n.pump();
    CHECK_EQUAL(step(client), kPending);
    n.pump();
    CHECK_EQUAL(rcvrqst(back, &m, 0), 0);
    CHECK_EQUAL(m.source, client.endpoint);
    CHECK_EQUAL(value_of(m), 7);
    CHECK_EQUAL(reply(back, client.endpoint, message(3, 8)), 0);
    n.pump();
    CHECK_EQUAL(step(client), 0);
    CHECK_EQUAL(value_of(client.operation.message), 8);
  }
}

TEST("a late reply of the server that a request was handed on to is refused too") {
  Pair p;
  Process& back = bind_server(p.segment, 2);
  Message m;
  for (uint64_t i = 1; i <= 2; i++) {
    CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, i)), kPending);
    CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
    CHECK_EQUAL(relay(p.server, m.source, back.endpoint, m), 0);
    CHECK_EQUAL(step(p.client), kPending);
    if (i == 2) break;
    CHECK_EQUAL(rcvrqst(back, &m, 0), 0);
    CHECK_EQUAL(cancel(p.client, -ETIMEDOUT), -ETIMEDOUT);
    CHECK_EQUAL(start_rcvrqst(back), kPending);
  }
  CHECK_EQUAL(reply(back, p.client.endpoint, message(2, 1)), -EDVSPROCSTS);
  CHECK_EQUAL(step(back), 0);
  CHECK_EQUAL(reply(back, p.client.endpoint, message(2, 2)), 0);
  CHECK_EQUAL(step(p.client), 0);
  CHECK_EQUAL(value_of(p.client.operation.message), 2);
}

// A client of node 1 that calls a server of node 0 and gives up; `back` is the second server.
struct FarPair {
  Network network{3};
  Process& server = bind_server(network[0], 1);
  Process& client = bind_client(network[1]);
  Process& back;
  explicit FarPair(uint32_t of_back) : back(bind_server(network[of_back], 2)) {
    network.pump();
    call(1);
    Message m;
    CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
  }
  void call(uint64_t value) {
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, value)), kPending);
    network.pump();
  }
  int relay_on(uint64_t value) {
    return relay(server, client.endpoint, back.endpoint, message(1, value));
  }
  void check_relayed(uint64_t value) {
    CHECK_EQUAL(relay_on(value), 0);
    network.pump();
    CHECK_EQUAL(step(client), kPending);
    network.pump();
    Message m;
    CHECK_EQUAL(rcvrqst(back, &m, 0), 0);
    CHECK_EQUAL(value_of(m), value);
    CHECK_EQUAL(reply(back, m.source, message(2, value)), 0);
    network.pump();
    CHECK_EQUAL(step(client), 0);
    CHECK_EQUAL(value_of(client.operation.message), value);
  }
};

TEST("a late relay of a request of another node is refused") {
  for (uint32_t of_back = 0; of_back < 3; of_back++) {
    FarPair p(of_back);
    CHECK_EQUAL(cancel(p.client, -ETIMEDOUT), -ETIMEDOUT);
    CHECK_EQUAL(start_rcvrqst(p.server), kPending);
    p.call(2);
    CHECK_EQUAL(p.relay_on(1), -EDVSPROCSTS);
    p.network.pump();
    CHECK_EQUAL(step(p.client), kPending);
    CHECK_EQUAL(step(p.server), 0);
    p.check_relayed(2);
  }
}

TEST("a relay that crosses the client's next call on the link is dropped") {
  for (uint32_t of_back = 0; of_back < 3; of_back++) {
    FarPair p(of_back);
    CHECK_EQUAL(p.relay_on(1), 0);
    CHECK_EQUAL(cancel(p.client, -ETIMEDOUT), -ETIMEDOUT);
    p.call(2);
    CHECK_EQUAL(step(p.client), kPending);
    Message m;
    CHECK_EQUAL(rcvrqst(p.back, &m, 0), -EAGAIN);
    CHECK_EQUAL(rcvrqst(p.server, &m, 0), 0);
    CHECK_EQUAL(value_of(m), 2);
    p.check_relayed(2);
  }
}

// A server that keeps requests for a while and answers them in any order.
struct Kept {
  Message request;
  uint32_t call_id;
};

void keep_and_answer(Process& server, const std::atomic<int>& done, int clients) {
  Random random(seed() + 7);
  std::vector<Kept> kept;
  while (done.load() < clients) {
    Message m;
    const int result = rcvrqst(server, &m, static_cast<int64_t>(below(random, 2)));
    CHECK(result == 0 || result == -EAGAIN || result == -ETIMEDOUT);
    if (result == 0) kept.push_back({m, server.last_call});
    while (kept.size() > below(random, 5)) {
      const size_t i = below(random, kept.size());
      const Message& request = kept[i].request;
      const int replied =
          reply_to(server, request.source, kept[i].call_id, message(2, value_of(request) + 1));
      CHECK(replied == 0 || replied == -EDVSPROCSTS || replied == -EDEADSRCDST);
      kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
}

TEST("clients with short time-outs get no other call's answer from a server that keeps requests") {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  auto& done = *shared<std::atomic<int>>();
  constexpr int kClients = 3;
  const uint64_t count = scaled(20'000, 800);
  std::vector<pid_t> children;
  for (int number = 0; number < kClients; number++) {
    children.push_back(spawn([&, number] {
      Process& process = bind_client(segment);
      Random random(seed() + static_cast<uint64_t>(number));
      for (uint64_t i = 0; i < count; i++) {
        Message m = message(1, i);
        const int result =
            sendrec(process, server.endpoint, &m, static_cast<int64_t>(below(random, 2)));
        CHECK(result == 0 || result == -EAGAIN || result == -ETIMEDOUT);
        if (result == 0) CHECK_EQUAL(value_of(m), i + 1);
      }
      done.fetch_add(1);
    }));
  }
  keep_and_answer(server, done, kClients);
  for (const pid_t child : children) join(child);
}

}  // namespace
}  // namespace dvk::test

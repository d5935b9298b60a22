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

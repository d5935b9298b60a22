// notify and wakeup: what is kept for later, what merges, and whom the source filter lets through.

#include <errno.h>

#include <thread>

#include "support.h"

namespace dvk::test {
namespace {

struct Three {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& one = bind_client(segment);
  Process& two = bind_client(segment);
};

void check_notice(const Process& receiver, const Process& source) {
  CHECK(receiver.last_kind == MessageKind::kNotify);
  CHECK_EQUAL(receiver.operation.message.source, source.endpoint);
  CHECK_EQUAL(receiver.operation.message.type, static_cast<int32_t>(kNotifyType));
  for (const uint8_t byte : receiver.operation.message.payload) CHECK_EQUAL(byte, 0);
}

TEST("notify: a notification waits for a receiver that comes late") {
  Three t;
  CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  Message received;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
  check_notice(t.server, t.one);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("notify2: a receiver that waits is woken by the notification") {
  Three t;
  std::thread receiver([&] {
    Message received;
    CHECK_EQUAL(receive(t.server, kEndpointAny, &received, kForever), 0);
    check_notice(t.server, t.one);
  });
  until_state(t.server, State::kAny);
  CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  receiver.join();
}

TEST("a pending notification is not delivered to a receive from another source") {
  Three t;
  CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  Message received;
  CHECK_EQUAL(receive(t.server, t.two.endpoint, &received, 0), -EAGAIN);
  CHECK_EQUAL(start_receive(t.server, t.two.endpoint), kPending);
  CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  CHECK_EQUAL(step(t.server), kPending);
  CHECK_EQUAL(notify(t.two, t.server.endpoint), 0);
  CHECK_EQUAL(step(t.server), 0);
  check_notice(t.server, t.two);
  CHECK_EQUAL(receive(t.server, t.one.endpoint, &received, 0), 0);
  check_notice(t.server, t.one);
}

TEST("notifications of one source merge, those of several come lowest slot first") {
  Three t;
  for (int i = 0; i < 5; i++) {
    CHECK_EQUAL(notify(t.two, t.server.endpoint), 0);
    CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  }
  Message received;
  Process& low = t.one.index < t.two.index ? t.one : t.two;
  Process& high = t.one.index < t.two.index ? t.two : t.one;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
  check_notice(t.server, low);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
  check_notice(t.server, high);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("a notification comes before the messages that wait") {
  Three t;
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(notify(t.two, t.server.endpoint), 0);
  Message received;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
  check_notice(t.server, t.two);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
  CHECK_EQUAL(received.type, 1);
}

TEST("a notification does not end a sendrec, not even one of the server itself") {
  Three t;
  CHECK_EQUAL(start_sendrec(t.one, t.server.endpoint, message(1, 1)), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(t.server, &request, 0), 0);
  CHECK_EQUAL(notify(t.server, t.one.endpoint), 0);
  CHECK_EQUAL(notify(t.two, t.one.endpoint), 0);
  CHECK_EQUAL(step(t.one), kPending);
  CHECK_EQUAL(reply(t.server, t.one.endpoint, message(2, 2)), 0);
  CHECK_EQUAL(step(t.one), 0);
  CHECK_EQUAL(t.one.operation.message.type, 2);
  Message received;
  CHECK_EQUAL(receive(t.one, kEndpointAny, &received, 0), 0);
  check_notice(t.one, t.server);
}

TEST("wakeup ends a receive that waits, or the next one") {
  Three t;
  for (int kind = 0; kind < 3; kind++) {
    const int started = kind == 0   ? start_receive(t.server, kEndpointAny)
                        : kind == 1 ? start_receive(t.server, t.one.endpoint)
                                    : start_rcvrqst(t.server);
    CHECK_EQUAL(started, kPending);
    CHECK_EQUAL(wakeup(t.segment, t.server.endpoint), 0);
    CHECK_EQUAL(step(t.server), -EDVSWOKENUP);
  }
  CHECK_EQUAL(wakeup(t.segment, t.server.endpoint), 0);
  CHECK_EQUAL(wakeup(t.segment, t.server.endpoint), 0);
  Message received;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, kForever), -EDVSWOKENUP);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("wakeup wakes a blocked receiver and leaves a sendrec alone") {
  Three t;
  std::thread receiver([&] {
    Message received;
    CHECK_EQUAL(receive(t.server, kEndpointAny, &received, kForever), -EDVSWOKENUP);
  });
  until_state(t.server, State::kAny);
  CHECK_EQUAL(wakeup(t.segment, t.server.endpoint), 0);
  receiver.join();
  CHECK_EQUAL(start_sendrec(t.one, t.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(wakeup(t.segment, t.one.endpoint), 0);
  CHECK_EQUAL(step(t.one), kPending);
  Message request;
  CHECK_EQUAL(rcvrqst(t.server, &request, 0), 0);
  CHECK_EQUAL(reply(t.server, t.one.endpoint, message(2, 2)), 0);
  CHECK_EQUAL(step(t.one), 0);
}

// Each notifier waits until its notification was received before it sends the next, so one that is
// lost stops it. The waits differ in length, to meet the receiver in every phase.
TEST("no notification is lost, and none comes from nobody") {
  Three t;
  const uint64_t rounds = scaled(40'000, 1'000);
  std::atomic<uint64_t> seen[2] = {0, 0};
  std::thread notifiers[2];
  Process* sources[2] = {&t.one, &t.two};
  for (int i = 0; i < 2; i++) {
    notifiers[i] = std::thread([&, i] {
      for (uint64_t n = 1; n <= rounds; n++) {
        CHECK_EQUAL(notify(*sources[i], t.server.endpoint), 0);
        for (uint64_t spins = 0; seen[i].load() < n; spins++) {
          if (spins > 2000) std::this_thread::yield();
        }
        for (uint64_t pause = n * 7 % 211; pause > 0; pause--) seen[i].load();
      }
    });
  }
  while (seen[0].load() < rounds || seen[1].load() < rounds) {
    Message received;
    CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 10'000), 0);
    const int from = received.source == t.one.endpoint ? 0 : 1;
    check_notice(t.server, *sources[from]);
    seen[from].fetch_add(1);
  }
  for (std::thread& notifier : notifiers) notifier.join();
}

}  // namespace
}  // namespace dvk::test

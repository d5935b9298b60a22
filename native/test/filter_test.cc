// Receive filters, how a message came, and that nothing but the reply ends the second half of a
// sendrec. Reference: MINIX's kernel/ipc_filter.h and its IPC status.

#include <errno.h>

#include <thread>

#include "../core/notify.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr uint32_t kSource = FilterRule::kSource, kType = FilterRule::kType;

struct Three {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& one = bind_client(segment);
  Process& two = bind_client(segment);
};

void filter(Process& process, bool allow, std::initializer_list<FilterRule> rules) {
  CHECK_EQUAL(set_filter(process, allow, rules.begin(), rules.size()), 0);
}

int next_value(Process& process) {
  Message m;
  const int result = receive(process, kEndpointAny, &m, 0);
  return result == 0 ? static_cast<int>(value_of(m)) : result;
}

TEST("a filter lets the messages pass that match a rule, or those that match none") {
  Three t;
  Process& three = bind_client(t.segment);
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(5, 1)), kPending);
  CHECK_EQUAL(start_send(t.two, t.server.endpoint, message(6, 2)), kPending);
  CHECK_EQUAL(start_sendrec(three, t.server.endpoint, message(7, 3)), kPending);
  filter(t.server, true, {{kSource, t.two.endpoint, 0}, {kType, 0, 99}});
  CHECK_EQUAL(next_value(t.server), 2);
  CHECK_EQUAL(next_value(t.server), -EAGAIN);
  filter(t.server, true, {{kSource | kType, t.one.endpoint, 6}});
  CHECK_EQUAL(next_value(t.server), -EAGAIN);
  filter(t.server, false, {{kType, 0, 5}});
  CHECK_EQUAL(next_value(t.server), 3);
  CHECK_EQUAL(next_value(t.server), -EAGAIN);
  CHECK_EQUAL(clear_filter(t.server), 0);
  CHECK_EQUAL(next_value(t.server), 1);
}

TEST("a receiver with a filter is woken by what passes it, and by nothing else") {
  for (const bool request : {false, true}) {
    Three t;
    filter(t.server, true, {{kType, 0, 7}});
    CHECK_EQUAL(request ? start_rcvrqst(t.server) : start_receive(t.server, kEndpointAny),
                kPending);
    CHECK_EQUAL(start_sendrec(t.one, t.server.endpoint, message(6, 1)), kPending);
    CHECK_EQUAL(step(t.server), kPending);
    CHECK(state_in(t.one) == State::kCalling);
    CHECK_EQUAL(start_sendrec(t.two, t.server.endpoint, message(7, 2)), kPending);
    CHECK_EQUAL(step(t.server), 0);
    CHECK_EQUAL(t.server.operation.message.source, t.two.endpoint);
    CHECK_EQUAL(reply(t.server, t.two.endpoint, message(8, 3)), 0);
    CHECK_EQUAL(step(t.two), 0);
    CHECK_EQUAL(clear_filter(t.server), 0);
    Message m;
    CHECK_EQUAL(request ? rcvrqst(t.server, &m, 0) : receive(t.server, kEndpointAny, &m, 0), 0);
    CHECK_EQUAL(m.source, t.one.endpoint);
  }
}

TEST("a filter holds for notifications and for messages of senda") {
  Three t;
  const int32_t notice = static_cast<int32_t>(kNotifyType);
  filter(t.server, false, {{kType, 0, notice}, {kSource | kType, t.one.endpoint, 4}});
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  CHECK(senda(t.one, t.server.endpoint, message(4, 1), 0) >= 0);
  CHECK_EQUAL(step(t.server), kPending);
  CHECK(senda(t.one, t.server.endpoint, message(5, 2), 0) >= 0);
  CHECK_EQUAL(step(t.server), 0);
  CHECK_EQUAL(value_of(t.server.operation.message), 2);
  CHECK(senda(t.two, t.server.endpoint, message(4, 3), 0) >= 0);
  CHECK_EQUAL(next_value(t.server), 3);
  CHECK_EQUAL(next_value(t.server), -EAGAIN);
  filter(t.server, true, {{kSource | kType, t.one.endpoint, notice}});
  CHECK_EQUAL(notify(t.two, t.server.endpoint), 0);
  Message m;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, t.one.endpoint);
  CHECK(t.server.last_kind == MessageKind::kNotify);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), -EAGAIN);
}

TEST("a filter holds for values, for KERNEL, and for requests that were handed on") {
  Three t;
  const int32_t notice = static_cast<int32_t>(kNotifyType);
  filter(t.server, false, {{kType, 0, notice}});
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  CHECK_EQUAL(notify_kernel(t.segment, t.server.endpoint, 3), 0);
  CHECK_EQUAL(step(t.server), kPending);
  CHECK_EQUAL(cancel(t.server, -EINTR), -EINTR);
  // One that passes lets a receiver look that waits with a filter.
  filter(t.server, true, {{kSource, kEndpointKernel, 0}, {kType, 0, 7}});
  Message m;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, kEndpointKernel);
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  CHECK_EQUAL(notify_kernel(t.segment, t.server.endpoint, 4), 0);
  CHECK_EQUAL(step(t.server), 0);
  CHECK_EQUAL(t.server.operation.message.payload[0], 4);

  Process& front = bind_server(t.segment, 2);
  for (const int32_t type : {6, 7}) {
    Process& client = type == 6 ? t.one : t.two;
    CHECK_EQUAL(start_sendrec(client, front.endpoint, message(1, 1)), kPending);
    CHECK_EQUAL(rcvrqst(front, &m, 0), 0);
    if (type == 6) CHECK_EQUAL(start_rcvrqst(t.server), kPending);
    CHECK_EQUAL(relay(front, client.endpoint, t.server.endpoint, message(type, 2)), 0);
    CHECK_EQUAL(step(client), kPending);
    CHECK_EQUAL(step(t.server), type == 6 ? kPending : 0);
  }
  CHECK_EQUAL(t.server.operation.message.source, t.two.endpoint);
}

TEST("a receive from one source and a reply pass every filter") {
  Three t;
  filter(t.server, true, {});
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(next_value(t.server), -EAGAIN);
  Message m;
  CHECK_EQUAL(receive(t.server, t.one.endpoint, &m, 0), 0);
  Process& other = bind_server(t.segment, 2);
  CHECK_EQUAL(start_sendrec(t.server, other.endpoint, message(1, 2)), kPending);
  CHECK_EQUAL(rcvrqst(other, &m, 0), 0);
  CHECK_EQUAL(reply(other, t.server.endpoint, message(2, 3)), 0);
  CHECK_EQUAL(step(t.server), 0);
}

TEST("a filter has at most eight rules that compare something, and stands still during a call") {
  Three t;
  FilterRule rules[kFilterRules + 1];
  for (FilterRule& rule : rules) rule = {kType, 0, 3};
  CHECK_EQUAL(set_filter(t.server, true, rules, kFilterRules + 1), -EINVAL);
  CHECK_EQUAL(set_filter(t.server, true, rules, kFilterRules), 0);
  rules[2].match = 0;
  CHECK_EQUAL(set_filter(t.server, false, rules, kFilterRules), -EINVAL);
  rules[2].match = 4;
  CHECK_EQUAL(set_filter(t.server, false, rules, kFilterRules), -EINVAL);
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  CHECK_EQUAL(set_filter(t.server, true, rules, 1), -EBUSY);
  CHECK_EQUAL(clear_filter(t.server), -EBUSY);
  CHECK_EQUAL(cancel(t.server, -EINTR), -EINTR);
}

TEST("a filter works on messages of other nodes") {
  Network network(2);
  Process& server = bind_server(network[0], 1);
  Process& client = bind_client(network[1]);
  network.pump();
  filter(server, false, {{kType, 0, 5}});
  CHECK_EQUAL(start_receive(server, kEndpointAny), kPending);
  CHECK_EQUAL(start_send(client, server.endpoint, message(5, 1)), kPending);
  network.pump();
  CHECK_EQUAL(step(server), kPending);
  CHECK_EQUAL(cancel(client, -EINTR), -EINTR);
  CHECK_EQUAL(start_send(client, server.endpoint, message(6, 2)), kPending);
  network.pump();
  CHECK_EQUAL(step(server), 0);
  network.pump();
  CHECK_EQUAL(step(client), 0);
}

// A sender changes its mind while the receiver looks, so that what is claimed is not what was seen.
TEST("a message that no longer passes when it is claimed is left to its sender") {
  Three t;
  filter(t.server, true, {{kType, 0, 7}});
  const uint64_t rounds = scaled(20'000, 500);
  std::atomic<bool> done{false};
  std::thread sender([&] {
    uint64_t type = 6;
    while (!done.load()) {
      type = 13 - type;
      const int result = send(t.one, t.server.endpoint, message(static_cast<int32_t>(type), 1), 0);
      CHECK(result == 0 || result == -EAGAIN);
      CHECK(result != 0 || type == 7);
    }
  });
  for (uint64_t i = 0; i < rounds; i++) {
    Message m;
    const int result = receive(t.server, kEndpointAny, &m, 0);
    CHECK(result == 0 || result == -EAGAIN);
    if (result == 0) CHECK(m.type == 7 && whole(m));
  }
  done.store(true);
  sender.join();
}

TEST("the kind says how each message came") {
  Three t;
  Message m;
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), 0);
  CHECK(t.server.last_kind == MessageKind::kSend);
  CHECK_EQUAL(start_sendrec(t.two, t.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), 0);
  CHECK(t.server.last_kind == MessageKind::kCall);
  CHECK_EQUAL(t.server.last_call, load(t.two.slot->call_id));
  CHECK_EQUAL(notify(t.one, t.server.endpoint), 0);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), 0);
  CHECK(t.server.last_kind == MessageKind::kNotify);
  CHECK(senda(t.one, t.server.endpoint, message(1, 1), 0) >= 0);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), 0);
  CHECK(t.server.last_kind == MessageKind::kAsync);
  CHECK_EQUAL(reply(t.server, t.two.endpoint, message(2, 2)), 0);
  CHECK_EQUAL(step(t.two), 0);
  CHECK(t.two.last_kind == MessageKind::kSend);
}

TEST("notifications, senda, wakeups and others' messages end neither half of a sendrec") {
  for (const bool taken : {false, true}) {
    Three t;
    CHECK_EQUAL(start_sendrec(t.one, t.server.endpoint, message(1, 1)), kPending);
    Message m;
    if (taken) CHECK_EQUAL(rcvrqst(t.server, &m, 0), 0);
    CHECK_EQUAL(notify(t.server, t.one.endpoint), 0);
    CHECK_EQUAL(notify(t.two, t.one.endpoint), 0);
    CHECK(senda(t.server, t.one.endpoint, message(2, 2), 0) >= 0);
    CHECK_EQUAL(wakeup(t.segment, t.one.endpoint), 0);
    CHECK_EQUAL(start_send(t.two, t.one.endpoint, message(2, 3)), kPending);
    CHECK_EQUAL(step(t.one), kPending);
    if (!taken) CHECK_EQUAL(rcvrqst(t.server, &m, 0), 0);
    CHECK_EQUAL(reply(t.server, t.one.endpoint, message(2, 9)), 0);
    CHECK_EQUAL(step(t.one), 0);
    CHECK_EQUAL(value_of(t.one.operation.message), 9);
    // All of them wait still, in the order of a receive.
    CHECK_EQUAL(receive(t.one, kEndpointAny, &m, 0), -EDVSWOKENUP);
    for (const MessageKind kind :
         {MessageKind::kNotify, MessageKind::kNotify, MessageKind::kAsync, MessageKind::kSend}) {
      CHECK_EQUAL(receive(t.one, kEndpointAny, &m, 0), 0);
      CHECK(t.one.last_kind == kind);
    }
  }
}

}  // namespace
}  // namespace dvk::test

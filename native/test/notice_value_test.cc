// Notifications of another source than the caller, those with a value, and those of KERNEL.

#include <errno.h>
#include <string.h>

#include <thread>

#include "../core/notify.h"
#include "network.h"

namespace dvk::test {
namespace {

struct Bench {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& clock = bind_server(segment, 2);
  Process& systask = bind_server(segment, 3);
  Process& client = bind_client(segment);
};

Process& bind_kernel(Segment& segment) {
  BindOptions options;
  options.slot = 4;
  options.level = ProcessLevel::kKernel;
  Process* process = nullptr;
  CHECK_EQUAL(Process::bind(segment, options, &process), 0);
  return *process;
}

uint32_t value_in(const Message& notice) {
  uint32_t value;
  memcpy(&value, notice.payload, sizeof value);
  for (size_t i = sizeof value; i < sizeof notice.payload; i++) CHECK_EQUAL(notice.payload[i], 0);
  return value;
}

// The next thing `process` receives without waiting is a notification of `source` with `value`.
void check_next(Process& process, int32_t wanted, int32_t source, uint32_t value) {
  Message m;
  CHECK_EQUAL(receive(process, wanted, &m, 0), 0);
  CHECK(process.last_kind == MessageKind::kNotify);
  CHECK_EQUAL(m.source, source);
  CHECK_EQUAL(m.type, static_cast<int32_t>(kNotifyType));
  CHECK_EQUAL(value_in(m), value);
}

void check_none(Process& process) {
  Message m;
  CHECK_EQUAL(receive(process, kEndpointAny, &m, 0), -EAGAIN);
}

TEST("src_notify: a server notifies as another process") {
  Bench b;
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, b.clock.endpoint, 0), 0);
  check_next(b.server, kEndpointAny, b.clock.endpoint, 0);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, b.client.endpoint, 0), 0);
  check_next(b.server, b.client.endpoint, b.client.endpoint, 0);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, kEndpointSelf, 0), 0);
  check_next(b.server, kEndpointAny, b.systask.endpoint, 0);
  check_none(b.server);
}

TEST("src_notify: a receiver of that source is woken, one of another is not") {
  Bench b;
  CHECK_EQUAL(start_receive(b.server, b.clock.endpoint), kPending);
  CHECK_EQUAL(notify(b.systask, b.server.endpoint), 0);
  CHECK_EQUAL(step(b.server), kPending);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, b.clock.endpoint, 9), 0);
  CHECK_EQUAL(step(b.server), 0);
  CHECK_EQUAL(b.server.operation.message.source, b.clock.endpoint);
  CHECK_EQUAL(value_in(b.server.operation.message), 9);
  check_next(b.server, kEndpointAny, b.systask.endpoint, 0);
}

TEST("src_notify is refused to users, and for sources that are none") {
  Bench b;
  CHECK_EQUAL(notify_from(b.client, b.server.endpoint, b.clock.endpoint, 0), -ETRAPDENIED);
  CHECK_EQUAL(notify_from(b.client, b.server.endpoint, kEndpointKernel, 0), -ETRAPDENIED);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, kEndpointKernel, 0), -ETRAPDENIED);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, kEndpointAny, 0), -ERANGE);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, 9, 0), -EDEADSRCDST);
  CHECK_EQUAL(notify_from(b.systask, b.systask.endpoint, b.clock.endpoint, 0), -EDVSENDPOINT);
  CHECK_EQUAL(notify_from(b.systask, 9, b.clock.endpoint, 0), -EDEADSRCDST);
  CHECK_EQUAL(notify_from(b.client, b.server.endpoint, kEndpointSelf, 1), -EDVSENDPOINT);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, b.client.endpoint, 1), -EDVSENDPOINT);
  check_none(b.server);
}

TEST("ntfy_value: values merge until they are received, each source's by itself") {
  Bench b;
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, kEndpointSelf, 1), 0);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, kEndpointSelf, 0x80000000), 0);
  CHECK_EQUAL(notify_from(b.systask, b.server.endpoint, b.clock.endpoint, 6), 0);
  CHECK_EQUAL(notify(b.clock, b.server.endpoint), 0);
  check_next(b.server, kEndpointAny, b.clock.endpoint, 6);
  check_next(b.server, kEndpointAny, b.systask.endpoint, 0x80000001);
  check_none(b.server);
  CHECK_EQUAL(notify(b.systask, b.server.endpoint), 0);
  check_next(b.server, kEndpointAny, b.systask.endpoint, 0);
}

TEST("a notification with a value does not end a sendrec") {
  Bench b;
  CHECK_EQUAL(start_sendrec(b.client, b.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(notify_from(b.server, b.client.endpoint, kEndpointSelf, 3), 0);
  CHECK_EQUAL(notify_kernel(b.segment, b.client.endpoint, 1), 0);
  Message m;
  CHECK_EQUAL(rcvrqst(b.server, &m, 0), 0);
  CHECK_EQUAL(notify_from(b.server, b.client.endpoint, kEndpointSelf, 4), 0);
  CHECK_EQUAL(notify_kernel(b.segment, b.client.endpoint, 2), 0);
  CHECK_EQUAL(step(b.client), kPending);
  CHECK_EQUAL(reply(b.server, m.source, message(2, 2)), 0);
  CHECK_EQUAL(step(b.client), 0);
  CHECK_EQUAL(b.client.operation.message.type, 2);
  check_next(b.client, kEndpointAny, kEndpointKernel, 3);
  check_next(b.client, kEndpointAny, b.server.endpoint, 7);
  check_none(b.client);
}

TEST("hdw_notify: KERNEL's notifications come first, merge, and can be asked for alone") {
  Bench b;
  Process& driver = bind_kernel(b.segment);
  CHECK_EQUAL(notify(b.clock, b.server.endpoint), 0);
  CHECK_EQUAL(notify_kernel(b.segment, b.server.endpoint, 1), 0);
  CHECK_EQUAL(notify_from(driver, b.server.endpoint, kEndpointKernel, 4), 0);
  check_next(b.server, kEndpointAny, kEndpointKernel, 5);
  check_next(b.server, kEndpointAny, b.clock.endpoint, 0);
  CHECK_EQUAL(notify_kernel(b.segment, b.server.endpoint, 0), 0);
  CHECK_EQUAL(notify(b.clock, b.server.endpoint), 0);
  check_next(b.server, kEndpointKernel, kEndpointKernel, 0);
  check_next(b.server, kEndpointAny, b.clock.endpoint, 0);

  CHECK_EQUAL(start_receive(b.server, kEndpointKernel), kPending);
  CHECK_EQUAL(notify(b.clock, b.server.endpoint), 0);
  CHECK_EQUAL(start_send(b.client, b.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(step(b.server), kPending);
  CHECK_EQUAL(notify_kernel(b.segment, b.server.endpoint, 2), 0);
  CHECK_EQUAL(step(b.server), 0);
  CHECK_EQUAL(b.server.operation.message.source, kEndpointKernel);
  CHECK_EQUAL(value_in(b.server.operation.message), 2);
  CHECK_EQUAL(start_receive(b.server, kEndpointKernel), kPending);
  CHECK_EQUAL(cancel(b.server, -EINTR), -EINTR);
}

TEST("hdw_notify is refused for a process of another node, and for one that is gone") {
  Bench b;
  CHECK_EQUAL(add_node(b.segment, 1, "far"), 0);
  CHECK_EQUAL(bind_remote(b.segment, 20, 1, ProcessLevel::kServer, "far"), 0);
  CHECK_EQUAL(notify_kernel(b.segment, 20, 1), -EDVSRMTPROC);
  CHECK_EQUAL(notify_from(bind_kernel(b.segment), 20, kEndpointKernel, 1), -EDVSRMTPROC);
  CHECK_EQUAL(notify_kernel(b.segment, 21, 1), -EDEADSRCDST);
  CHECK_EQUAL(notify_kernel(b.segment, kEndpointAny, 1), -ERANGE);
  end_container(b.segment);
  CHECK_EQUAL(notify_kernel(b.segment, b.server.endpoint, 1), -EDVSDCNOTRUN);
}

TEST("a slot's next owner gets no value, and no value of a source's former owner is received") {
  Bench b;
  const int32_t stale = b.server.endpoint;
  CHECK_EQUAL(notify_from(b.clock, stale, kEndpointSelf, 1), 0);
  CHECK_EQUAL(notify_kernel(b.segment, stale, 1), 0);
  CHECK_EQUAL(b.server.unbind(), 0);
  Process& next = bind_server(b.segment, 1);
  check_none(next);
  // As notifiers do that were stopped before the slot changed hands.
  deliver_notice(b.segment, 2, b.clock.endpoint, stale, 8);
  check_none(next);
  store(b.segment.notice_value(1, 2),
        (uint64_t{static_cast<uint32_t>(stale)} | 1u << 31) << 32 | 8);
  store(b.segment.notice_value(1, kKernelSource),
        (uint64_t{static_cast<uint32_t>(stale)} | 1u << 31) << 32 | 8);
  CHECK_EQUAL(notify(b.clock, next.endpoint), 0);
  check_next(next, kEndpointAny, b.clock.endpoint, 0);
  check_none(next);

  CHECK_EQUAL(notify_from(b.clock, next.endpoint, kEndpointSelf, 2), 0);
  CHECK_EQUAL(b.clock.unbind(), 0);
  Process& clock = bind_server(b.segment, 2);
  check_none(next);
  CHECK_EQUAL(notify_from(clock, next.endpoint, kEndpointSelf, 4), 0);
  check_next(next, kEndpointAny, clock.endpoint, 4);
}

TEST("a value crosses to another node, merged with those before it") {
  Network n(2);
  Process& server = bind_server(n[1], 1);
  Process& clock = bind_server(n[0], 2);
  Process& systask = bind_server(n[0], 3);
  n.pump();
  CHECK_EQUAL(notify_from(systask, server.endpoint, clock.endpoint, 1), 0);
  CHECK_EQUAL(notify_from(clock, server.endpoint, kEndpointSelf, 4), 0);
  CHECK_EQUAL(notify(systask, server.endpoint), 0);
  n.kinds.clear();
  n.pump();
  CHECK_EQUAL(n.kinds.size(), 2u);
  CHECK_EQUAL(notify_from(clock, server.endpoint, kEndpointSelf, 8), 0);
  n.pump();
  check_next(server, kEndpointAny, clock.endpoint, 13);
  check_next(server, kEndpointAny, systask.endpoint, 0);
  check_none(server);
  // The source is of the destination's node.
  CHECK_EQUAL(notify_from(systask, server.endpoint, bind_server(n[0], 6).endpoint, 0), 0);
  Process& local = bind_server(n[1], 7);
  n.pump();
  CHECK_EQUAL(notify_from(systask, server.endpoint, local.endpoint, 0), -EDVSRMTPROC);
}

// Each of two notifiers owns half of the bits and sets each one once more only after it was
// received, so one that is lost stops it; the sum shows that none came twice.
TEST("no value is lost, and none comes twice, among notifiers of one source") {
  Bench b;
  const uint32_t rounds = static_cast<uint32_t>(scaled(20'000, 1'000));
  std::atomic<uint32_t> seen[2] = {0, 0};
  std::thread notifiers[2];
  Process* callers[2] = {&b.clock, &b.systask};
  for (uint32_t i = 0; i < 2; i++) {
    notifiers[i] = std::thread([&, i] {
      for (uint32_t round = 0; round < rounds; round++) {
        const uint32_t value = 1u << (round % 16 + 16 * i);
        const int32_t source = round % 4 == 0 ? kEndpointKernel : b.clock.endpoint;
        const int sent = source == kEndpointKernel
                             ? notify_kernel(b.segment, b.server.endpoint, value)
                             : notify_from(*callers[i], b.server.endpoint, source, value);
        CHECK_EQUAL(sent, 0);
        for (uint64_t spins = 0; seen[i].load() <= round; spins++) {
          if (spins > 2000) std::this_thread::yield();
        }
      }
    });
  }
  while (seen[0].load() < rounds || seen[1].load() < rounds) {
    Message m;
    CHECK_EQUAL(receive(b.server, kEndpointAny, &m, 10'000), 0);
    const uint32_t value = value_in(m);
    for (uint32_t i = 0; i < 2; i++) {
      const uint32_t half = value >> 16 * i & 0xffff;
      if (half == 0) continue;
      CHECK_EQUAL(half, 1u << seen[i].load() % 16);
      seen[i].fetch_add(1);
    }
  }
  for (std::thread& notifier : notifiers) notifier.join();
}

}  // namespace
}  // namespace dvk::test

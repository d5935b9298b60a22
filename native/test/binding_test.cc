// wait_bind and wait_unbind: woken by what they wait for, and by nothing else but its errors.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <thread>

#include "../core/bindings.h"
#include "network.h"

namespace dvk::test {
namespace {

struct Bench {
  Container container;
  Segment& segment = container.segment;
  Process& waiter = bind_client(segment, "waiter");
};

TEST("wait4bind: a slot that is bound already gives its endpoint at once") {
  Bench b;
  Process& server = bind_server(b.segment, 5);
  CHECK_EQUAL(wait_bind(b.waiter, 5, 0), server.endpoint);
  CHECK_EQUAL(wait_bind(b.waiter, b.waiter.index, 0), b.waiter.endpoint);
  CHECK(b.segment.bind_waiters().empty());
}

TEST("wait4bind: a bind ends the wait, that of another slot does not") {
  Bench b;
  CHECK_EQUAL(start_wait_bind(b.waiter, 5), kPending);
  bind_server(b.segment, 6);
  CHECK_EQUAL(step(b.waiter), kPending);
  Process& server = bind_server(b.segment, 5);
  CHECK_EQUAL(step(b.waiter), 0);
  CHECK_EQUAL(b.waiter.operation.message.source, server.endpoint);
  CHECK(b.segment.bind_waiters().empty());
  CHECK_EQUAL(damage(b.segment), "");
}

TEST("wait4bind: a descriptor of another node's process counts") {
  Network n(2);
  Process& waiter = bind_client(n[0]);
  CHECK_EQUAL(start_wait_bind(waiter, 5), kPending);
  Process& server = bind_server(n[1], 5);
  n.pump();
  CHECK_EQUAL(step(waiter), 0);
  CHECK_EQUAL(waiter.operation.message.source, server.endpoint);
  CHECK_EQUAL(start_wait_unbind(waiter, server.endpoint), kPending);
  CHECK_EQUAL(server.unbind(), 0);
  n.pump();
  CHECK_EQUAL(step(waiter), 0);
}

TEST("wait4unbind: unbind, death and absence end the wait") {
  Bench b;
  Process& server = bind_server(b.segment, 5);
  const int32_t stale = server.endpoint;
  CHECK_EQUAL(start_wait_unbind(b.waiter, stale), kPending);
  CHECK_EQUAL(server.unbind(), 0);
  CHECK_EQUAL(step(b.waiter), 0);
  CHECK_EQUAL(wait_unbind(b.waiter, stale, 0), 0);
  bind_server(b.segment, 5);
  CHECK_EQUAL(wait_unbind(b.waiter, stale, 0), 0);

  auto* endpoint = shared<std::atomic<int32_t>>();
  const pid_t child = spawn([&] {
    endpoint->store(bind_server(b.segment, 6).endpoint);
    pause();
  });
  until("the child is bound", [&] { return endpoint->load() != 0; });
  CHECK_EQUAL(start_wait_unbind(b.waiter, endpoint->load()), kPending);
  CHECK_EQUAL(kill_and_reap(b.segment, child), 1);
  CHECK_EQUAL(step(b.waiter), 0);
  CHECK_EQUAL(damage(b.segment), "");
}

TEST("wait4unbind: a blocked waiter finds a death that nobody told of") {
  Bench b;
  auto* endpoint = shared<std::atomic<int32_t>>();
  const pid_t child = spawn([&] {
    endpoint->store(bind_server(b.segment, 6).endpoint);
    pause();
  });
  until("the child is bound", [&] { return endpoint->load() != 0; });
  kill(child, SIGKILL);
  join_killed(child);
  CHECK_EQUAL(wait_unbind(b.waiter, endpoint->load(), 10'000), 0);
}

TEST("the waits end with their time-out, a cancel, and the container") {
  Bench b;
  Process& server = bind_server(b.segment, 5);
  CHECK_EQUAL(wait_bind(b.waiter, 6, 0), -EAGAIN);
  CHECK_EQUAL(wait_bind(b.waiter, 6, 2), -ETIMEDOUT);
  CHECK_EQUAL(wait_unbind(b.waiter, server.endpoint, 0), -EAGAIN);
  CHECK_EQUAL(wait_unbind(b.waiter, server.endpoint, 2), -ETIMEDOUT);
  CHECK(b.segment.bind_waiters().empty());
  for (int kind = 0; kind < 2; kind++) {
    std::thread waiter([&] {
      const int result = kind == 0 ? wait_bind(b.waiter, 6, kForever)
                                   : wait_unbind(b.waiter, server.endpoint, kForever);
      CHECK_EQUAL(result, -EDVSDCNOTRUN);
    });
    until_state(b.waiter, State::kRemote);
    end_container(b.segment);
    waiter.join();
    atomic(b.segment.header()->state).store(1);
  }
  CHECK(b.segment.bind_waiters().empty());
}

TEST("the waits are refused for what is none, and during another call") {
  Bench b;
  CHECK_EQUAL(wait_bind(b.waiter, 192, 0), -EDVSBADPROC);
  CHECK_EQUAL(wait_unbind(b.waiter, b.waiter.endpoint, 0), -EDVSENDPOINT);
  CHECK_EQUAL(wait_unbind(b.waiter, kEndpointSelf, 0), -EDVSENDPOINT);
  CHECK_EQUAL(wait_unbind(b.waiter, kEndpointAny, 0), -ERANGE);
  CHECK_EQUAL(start_receive(b.waiter, kEndpointAny), kPending);
  CHECK_EQUAL(wait_bind(b.waiter, 5, 0), -EBUSY);
  CHECK_EQUAL(wait_unbind(b.waiter, 5, 0), -EBUSY);
  CHECK_EQUAL(cancel(b.waiter, -EINTR), -EINTR);
  CHECK_EQUAL(start_wait_bind(b.waiter, 5), kPending);
  CHECK_EQUAL(send(b.waiter, 6, message(1, 1), 0), -EBUSY);
  CHECK_EQUAL(cancel(b.waiter, -EINTR), -EINTR);
}

TEST("a waiter is not sent to, and takes notifications and messages after") {
  Bench b;
  Process& server = bind_server(b.segment, 5);
  CHECK_EQUAL(start_wait_bind(b.waiter, 6), kPending);
  CHECK_EQUAL(start_send(server, b.waiter.endpoint, message(1, 1)), kPending);
  Process& other = bind_client(b.segment);
  CHECK_EQUAL(notify(other, b.waiter.endpoint), 0);
  CHECK_EQUAL(wakeup(b.segment, b.waiter.endpoint), 0);
  CHECK_EQUAL(step(b.waiter), kPending);
  bind_server(b.segment, 6);
  CHECK_EQUAL(step(b.waiter), 0);
  Message m;
  CHECK_EQUAL(receive(b.waiter, kEndpointAny, &m, 0), -EDVSWOKENUP);
  CHECK_EQUAL(receive(b.waiter, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, other.endpoint);
  CHECK_EQUAL(receive(b.waiter, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, server.endpoint);
}

TEST("a lost link ends the wait for the unbind of its process, not that for a bind") {
  Network n(2);
  Process& unbind_waiter = bind_client(n[0]);
  Process& bind_waiter = bind_client(n[0]);
  Process& server = bind_server(n[1], 5);
  n.pump();
  CHECK_EQUAL(start_wait_unbind(unbind_waiter, server.endpoint), kPending);
  CHECK_EQUAL(start_wait_bind(bind_waiter, 6), kPending);
  CHECK_EQUAL(link_down(n[0], 1), 0);
  CHECK_EQUAL(step(unbind_waiter), -ENOTCONN);
  CHECK_EQUAL(step(bind_waiter), kPending);
  CHECK_EQUAL(wait_unbind(unbind_waiter, server.endpoint, 0), -ENOTCONN);
  bind_server(n[1], 6);
  CHECK_EQUAL(link_up(n[0], 1, 2), 0);
  CHECK_EQUAL(link_up(n[1], 0, 2), 0);
  n.pump();
  CHECK_EQUAL(step(bind_waiter), 0);
}

TEST("a waiter that dies leaves no mark") {
  Bench b;
  auto* ready = shared<std::atomic<int>>();
  const pid_t child = spawn([&] {
    Process& own = bind_client(b.segment);
    ready->store(static_cast<int>(own.index));
    wait_bind(own, 6, kForever);
  });
  until("the child waits", [&] {
    return ready->load() != 0 &&
           state_in(b.segment, static_cast<uint32_t>(ready->load())) == State::kRemote;
  });
  CHECK(!b.segment.bind_waiters().empty());
  CHECK_EQUAL(kill_and_reap(b.segment, child), 1);
  CHECK(b.segment.bind_waiters().empty());
  bind_server(b.segment, 6);
  CHECK_EQUAL(damage(b.segment), "");
}

// A slot that is bound and unbound all the time, and two processes that follow it: one that missed
// a change would wait for ever.
TEST("no bind and no unbind is missed") {
  Bench b;
  const uint64_t rounds = scaled(3'000, 200);
  std::atomic<int32_t> current{kEndpointNone};
  std::thread followers[2];
  std::atomic<uint64_t> bound[2] = {0, 0}, unbound[2] = {0, 0};
  for (int i = 0; i < 2; i++) {
    followers[i] = std::thread([&, i] {
      Process& own = bind_client(b.segment);
      for (uint64_t n = 0; n < rounds; n++) {
        const int32_t endpoint = wait_bind(own, 7, 60'000);
        CHECK_EQUAL(endpoint, current.load());
        bound[i].store(n + 1);
        CHECK_EQUAL(wait_unbind(own, endpoint, 60'000), 0);
        unbound[i].store(n + 1);
      }
    });
  }
  for (uint64_t n = 0; n < rounds; n++) {
    // The next owner's endpoint, told before anyone can see it.
    current.store(make_endpoint(7, load(b.segment.slot(7)->generation)));
    Process& server = bind_server(b.segment, 7);
    for (auto& followed : bound) {
      while (followed.load() <= n) std::this_thread::yield();
    }
    CHECK_EQUAL(server.unbind(), 0);
    for (auto& followed : unbound) {
      while (followed.load() <= n) std::this_thread::yield();
    }
  }
  for (std::thread& follower : followers) follower.join();
  CHECK(b.segment.bind_waiters().empty());
}

}  // namespace
}  // namespace dvk::test

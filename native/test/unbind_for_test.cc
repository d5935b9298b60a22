// The unbind of another program, and the record of those that have gone: section 5.7 of the M3-IPC
// notes.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <string>

#include "../core/bindings.h"
#include "../core/departures.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr int64_t kPatienceMs = 10'000;

volatile sig_atomic_t asked = 0;

// A child that is bound in `slot`, and does `work`.
pid_t spawn_bound(Segment& segment, int slot, const std::function<void(Process&)>& work) {
  const pid_t child = spawn([&] { work(bind_server(segment, slot)); });
  until("it is bound", [&] { return lookup(segment, static_cast<uint32_t>(slot)) >= 0; });
  return child;
}

int32_t endpoint_in(Segment& segment, uint32_t slot) {
  return lookup(segment, slot);
}

void ended_by_sigterm(pid_t child) {
  int status = 0;
  CHECK_EQUAL(waitpid(child, &status, 0), child);
  CHECK(WIFSIGNALED(status));
  CHECK_EQUAL(WTERMSIG(status), SIGTERM);
}

Departure departure_from(Segment& segment, uint64_t number) {
  Departure departure{};
  CHECK(find_departure(segment, number, &departure));
  return departure;
}

TEST("unbind of another program: it ends, its callers are told, and the slot is free") {
  const Container container;
  Segment& segment = container.segment;
  Process& caller = bind_client(segment);
  auto* taken = shared<int>();
  const pid_t child = spawn_bound(segment, 3, [&](Process& own) {
    Message request;
    atomic(*taken).store(rcvrqst(own, &request, kForever) == 0);
    pause();
  });
  const int32_t endpoint = endpoint_in(segment, 3);
  CHECK_EQUAL(start_sendrec(caller, endpoint, message(1, 1)), kPending);
  until("it has the request", [&] { return atomic(*taken).load() != 0; });
  CHECK_EQUAL(unbind_for(segment, endpoint, kForever), 0);
  CHECK_EQUAL(lookup(segment, 3), -EDVSNOTBOUND);
  CHECK_EQUAL(step(caller), -ESRCDIED);
  CHECK_EQUAL(unbind_for(segment, endpoint, 0), -EDEADSRCDST);
  ended_by_sigterm(child);
  CHECK_EQUAL(damage(segment), "");
}

TEST("a process that takes no notice of SIGTERM has its call ended, and stays bound") {
  const Container container;
  Segment& segment = container.segment;
  auto* results = shared<std::array<int, 4>>();
  const pid_t child = spawn_bound(segment, 3, [&](Process& own) {
    signal(SIGTERM, SIG_IGN);
    Message received;
    for (int& result : *results) result = receive(own, kEndpointAny, &received, kForever);
  });
  const int32_t endpoint = endpoint_in(segment, 3);
  until("it receives", [&] { return state_in(segment, 3) == State::kAny; });
  const int64_t begun = now_ns();
  CHECK_EQUAL(unbind_for(segment, endpoint, 20), -ETIMEDOUT);
  CHECK(now_ns() - begun >= 20'000'000);
  until("its call has ended", [&] { return atomic((*results)[0]).load() == -EDVSSHUTDOWN; });
  CHECK_EQUAL(endpoint_in(segment, 3), endpoint);
  until("it receives again", [&] { return state_in(segment, 3) == State::kAny; });
  CHECK_EQUAL(unbind_for(segment, endpoint, 0), -EAGAIN);
  until("that has ended", [&] { return atomic((*results)[1]).load() == -EDVSSHUTDOWN; });
  kill_and_reap(segment, child);
  CHECK_EQUAL(damage(segment), "");
}

TEST("a process that unbinds when it is asked to lives on") {
  const Container container;
  Segment& segment = container.segment;
  const pid_t child = spawn_bound(segment, 3, [&](Process& own) {
    signal(SIGTERM, [](int) { asked = 1; });
    Message received;
    int result = receive(own, kEndpointAny, &received, kForever);
    CHECK_EQUAL(result, -EDVSSHUTDOWN);
    CHECK_EQUAL(asked, 1);
    CHECK_EQUAL(own.unbind(), 0);
    CHECK(bind_client(segment).endpoint >= 0);
  });
  const int32_t endpoint = endpoint_in(segment, 3);
  until("it receives", [&] { return state_in(segment, 3) == State::kAny; });
  CHECK_EQUAL(unbind_for(segment, endpoint, kPatienceMs), 0);
  join(child);
  CHECK_EQUAL(departure_from(segment, 1).status, kUnbound);
}

TEST("every call that waits ends with EDVSSHUTDOWN") {
  const Container container;
  Segment& segment = container.segment;
  Process& silent = bind_server(segment, 1);
  constexpr size_t kCalls = 6;
  auto* results = shared<std::array<int, kCalls>>();
  const int32_t peer = silent.endpoint;
  const pid_t child = spawn_bound(segment, 3, [&](Process& own) {
    signal(SIGTERM, SIG_IGN);
    Message m = message(1, 1);
    (*results)[0] = send(own, peer, m, kForever);
    (*results)[1] = sendrec(own, peer, &m, kForever);
    (*results)[2] = receive(own, peer, &m, kForever);
    (*results)[3] = rcvrqst(own, &m, kForever);
    (*results)[4] = wait_bind(own, 9, kForever);
    (*results)[5] = wait_unbind(own, peer, kForever);
    pause();
  });
  const int32_t endpoint = endpoint_in(segment, 3);
  for (size_t call = 0; call < kCalls; call++) {
    until("it waits", [&] { return is_waiting(atomic(segment.slot(3)->rendezvous).load()); });
    CHECK_EQUAL(unbind_for(segment, endpoint, 0), -EAGAIN);
    until("the call has ended", [&] { return atomic((*results)[call]).load() != 0; });
    CHECK_EQUAL((*results)[call], -EDVSSHUTDOWN);
  }
  CHECK_EQUAL(kill_and_reap(segment, child), 1);
  Message received;
  CHECK_EQUAL(receive(silent, kEndpointAny, &received, 0), -EAGAIN);
  CHECK_EQUAL(damage(segment), "");
}

// A hand-over that somebody was stopped in goes on some time, into the buffer of the call that
// ended.
TEST("a call that is ended under a stopped sender leaves it the message buffer") {
  const Container container;
  Segment& segment = container.segment;
  Process& stopped = bind_client(segment);
  auto* result = shared<int>();
  const pid_t child = spawn_bound(segment, 3, [&](Process& own) {
    signal(SIGTERM, SIG_IGN);
    Message received;
    *result = receive(own, kEndpointAny, &received, kForever);
    receive(own, kEndpointAny, &received, kForever);
  });
  until("it receives", [&] { return state_in(segment, 3) == State::kAny; });
  ProcessSlot* slot = segment.slot(3);
  uint32_t word = atomic(slot->rendezvous).load();
  const uint32_t claim = with_state(word, State::kFilling, stopped.index);
  CHECK(atomic(slot->rendezvous).compare_exchange_strong(word, claim));
  CHECK_EQUAL(unbind_for(segment, endpoint_in(segment, 3), 0), -EAGAIN);
  until("its call has ended", [&] { return atomic(*result).load() == -EDVSSHUTDOWN; });
  until("it receives again", [&] { return state_in(segment, 3) == State::kAny; });
  word = atomic(slot->rendezvous).load();
  CHECK(inbox_of(slot, sequence_of(word)) != inbox_of(slot, sequence_of(claim)));
  kill_and_reap(segment, child);
}

TEST("a copy whose data is being written ends when that is done, and not before") {
  const Container container;
  Segment& segment = container.segment;
  const int32_t far = make_endpoint(5, 3);
  CHECK_EQUAL(add_node(segment, 1, "far"), 0);
  CHECK_EQUAL(attach_proxy(segment, 1, 0), 0);
  CHECK_EQUAL(link_up(segment, 1, 1), 0);
  CHECK_EQUAL(bind_remote(segment, far, 1, ProcessLevel::kServer, "far"), 0);
  constexpr int64_t kBytes = 64;
  auto* result = shared<int64_t>();
  auto* signals = shared<int>();
  static int* seen;
  seen = signals;
  const pid_t child = spawn_bound(segment, 3, [&](Process& own) {
    signal(SIGTERM, [](int) { atomic(*seen).store(1); });
    uint8_t data[kBytes];
    const CopyParty from{far, 1, 0};
    const CopyParty to{own.endpoint, kByAddress, reinterpret_cast<uint64_t>(data)};
    atomic(*result).store(vcopy(own, from, to, kBytes, kForever));
    pause();
  });
  ProcessSlot* slot = segment.slot(3);
  until("it copies", [&] { return state_in(segment, 3) == State::kRemote; });
  // As the proxy does that has the data.
  uint32_t word = atomic(slot->rendezvous).load();
  uint32_t claim = with_state(word, State::kFilling, kProxyPeer);
  CHECK(atomic(slot->rendezvous).compare_exchange_strong(word, claim));
  const pid_t asker =
      spawn([&] { CHECK_EQUAL(unbind_for(segment, endpoint_in(segment, 3), 0), -EAGAIN); });
  until("it is asked", [&] { return atomic(*signals).load() != 0; });
  store(slot->command_result, static_cast<int32_t>(kBytes));
  const uint32_t done = with_state(claim, State::kTaken, kProxyPeer);
  CHECK(atomic(slot->rendezvous).compare_exchange_strong(claim, done));
  wake(segment, slot);
  until("it has copied", [&] { return atomic(*result).load() != 0; });
  CHECK_EQUAL(*result, kBytes);
  join(asker);
  kill_and_reap(segment, child);
}

TEST("nobody is asked who is the caller's own, of another node, or not there") {
  Network network(2);
  Process& own = bind_server(network[0], 2);
  CHECK_EQUAL(unbind_for(network[0], own.endpoint, 0), -EDVSENDPOINT);
  CHECK_EQUAL(unbind_for(network[0], 7, 0), -EDEADSRCDST);
  CHECK_EQUAL(unbind_for(network[0], kEndpointAny, 0), -ERANGE);
  network.pump();
  CHECK_EQUAL(unbind_for(network[1], own.endpoint, 0), -EDVSRMTPROC);
  end_container(network[0]);
  CHECK_EQUAL(unbind_for(network[0], own.endpoint, 0), -EDVSDCNOTRUN);
}

TEST("a slot that its program has not taken yet is freed, and nobody is signalled") {
  const Container container;
  Segment& segment = container.segment;
  const pid_t child = spawn([] { pause(); });
  BindOptions options;
  options.slot = 5;
  options.pid = child;
  const int32_t endpoint = bind_for(segment, options);
  CHECK_EQUAL(unbind_for(segment, endpoint, 0), 0);
  CHECK_EQUAL(lookup(segment, 5), -EDVSNOTBOUND);
  CHECK_EQUAL(waitpid(child, nullptr, WNOHANG), 0);
  kill(child, SIGKILL);
  join_killed(child);
}

// The segment is shared memory, so what it says of a pid is a claim of some member.
TEST("a slot that names a stranger, or a pid that is used again, gets nobody signalled") {
  const Container container;
  Segment& segment = container.segment;
  const pid_t member = spawn_bound(segment, 3, [](Process&) { pause(); });
  const int32_t endpoint = endpoint_in(segment, 3);
  int ready[2];
  CHECK_EQUAL(pipe2(ready, O_CLOEXEC), 0);
  const pid_t stranger = fork();
  if (stranger == 0) execlp("sleep", "sleep", "60", nullptr);
  close(ready[1]);
  char none;
  CHECK_EQUAL(read(ready[0], &none, 1), 0);
  ProcessSlot* slot = segment.slot(3);
  const uint64_t start_time = load(slot->start_time);
  store(slot->pid, stranger);
  store(slot->start_time, process_start_time(stranger));
  CHECK_EQUAL(unbind_for(segment, endpoint, 0), -EPERM);
  // Another start time: the owner is dead, and that pid is somebody else's.
  store(slot->start_time, start_time + 1'000'000);
  store(slot->pid, member);
  CHECK_EQUAL(unbind_for(segment, endpoint, 0), 0);
  CHECK_EQUAL(waitpid(stranger, nullptr, WNOHANG), 0);
  CHECK_EQUAL(waitpid(member, nullptr, WNOHANG), 0);
  for (const pid_t child : {stranger, member}) {
    kill(child, SIGKILL);
    join_killed(child);
  }
}

TEST("a program that the caller may not signal stays as it is") {
  if (geteuid() != 0) skip_test("needs another user to be");
  const Container container;
  Segment& segment = container.segment;
  const pid_t member = spawn_bound(segment, 3, [](Process& own) {
    Message received;
    receive(own, kEndpointAny, &received, kForever);
  });
  until("it receives", [&] { return state_in(segment, 3) == State::kAny; });
  const int32_t endpoint = endpoint_in(segment, 3);
  join(spawn([&] {
    CHECK_EQUAL(setuid(65534), 0);
    CHECK_EQUAL(unbind_for(segment, endpoint, 0), -EPERM);
  }));
  CHECK(state_in(segment, 3) == State::kAny);
  CHECK_EQUAL(kill_and_reap(segment, member), 1);
}

TEST("who is warned hears of each departure, how it was, and in what order") {
  const Container container;
  Segment& segment = container.segment;
  Process& watcher = bind_server(segment, 1);
  CHECK_EQUAL(set_warned(segment, watcher.endpoint, 0x40), 0);
  Departure none;
  CHECK(!find_departure(segment, 0, &none));
  Message received;
  CHECK_EQUAL(receive(watcher, kEndpointAny, &received, 0), -EAGAIN);

  Process& leaves = bind_server(segment, 2, "leaves");
  const int32_t left = leaves.endpoint;
  CHECK_EQUAL(leaves.unbind(), 0);
  const pid_t child = spawn_bound(segment, 3, [](Process&) { pause(); });
  const int32_t dead = endpoint_in(segment, 3);
  CHECK_EQUAL(kill_and_reap(segment, child), 1);

  // It was not receiving: the notifications have merged, the record has both.
  CHECK_EQUAL(receive(watcher, kEndpointKernel, &received, 0), 0);
  CHECK_EQUAL(received.source, kEndpointKernel);
  CHECK_EQUAL(received.payload[0], 0x40);
  CHECK_EQUAL(receive(watcher, kEndpointAny, &received, 0), -EAGAIN);
  const Departure first = departure_from(segment, 0);
  CHECK_EQUAL(first.number, 1);
  CHECK_EQUAL(first.endpoint, left);
  CHECK_EQUAL(first.pid, getpid());
  CHECK_EQUAL(first.status, kUnbound);
  CHECK_EQUAL(std::string(first.name), "leaves");
  const Departure second = departure_from(segment, 2);
  CHECK_EQUAL(second.endpoint, dead);
  CHECK_EQUAL(second.pid, child);
  CHECK_EQUAL(second.status, kEnded);
  CHECK(!find_departure(segment, 3, &none));
  CHECK_EQUAL(damage(segment), "");
}

TEST("one that waits is woken by a departure, and nobody is warned after that was ended") {
  const Container container;
  Segment& segment = container.segment;
  Process& watcher = bind_server(segment, 1);
  CHECK_EQUAL(set_warned(segment, watcher.endpoint, 0), 0);
  CHECK_EQUAL(start_receive(watcher, kEndpointAny), kPending);
  CHECK_EQUAL(bind_client(segment).unbind(), 0);
  CHECK_EQUAL(step(watcher), 0);
  CHECK_EQUAL(watcher.operation.message.source, kEndpointKernel);
  CHECK_EQUAL(set_warned(segment, kEndpointNone, 0), 0);
  CHECK_EQUAL(start_receive(watcher, kEndpointAny), kPending);
  CHECK_EQUAL(bind_client(segment).unbind(), 0);
  CHECK_EQUAL(step(watcher), kPending);
  CHECK_EQUAL(cancel(watcher, -ECANCELED), -ECANCELED);
  CHECK_EQUAL(departure_from(segment, 2).number, 2);
}

TEST("nobody is warned of a departure on another node, nor of one that moves, nor by a stranger") {
  Network network(2);
  Process& watcher = bind_server(network[0], 1);
  CHECK_EQUAL(set_warned(network[0], watcher.endpoint, 0), 0);
  CHECK_EQUAL(set_warned(network[0], 9, 0), -EDEADSRCDST);
  CHECK_EQUAL(set_warned(network[0], kEndpointAny, 0), -ERANGE);
  Process& there = bind_server(network[1], 2);
  network.pump();
  CHECK_EQUAL(set_warned(network[0], there.endpoint, 0), -EDVSRMTPROC);
  CHECK_EQUAL(there.unbind(), 0);
  network.pump();
  Departure departure;
  CHECK(!find_departure(network[0], 0, &departure));
  CHECK(find_departure(network[1], 0, &departure));
  Message received;
  CHECK_EQUAL(receive(watcher, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("the last departures are kept, and who looks late can tell how many it has missed") {
  const Container container;
  Segment& segment = container.segment;
  constexpr uint64_t kGone = kDepartures + 10;
  for (uint64_t i = 0; i < kGone; i++) CHECK_EQUAL(bind_client(segment).unbind(), 0);
  CHECK_EQUAL(departure_from(segment, 0).number, 11);
  uint64_t at = 1, seen = 0;
  for (Departure departure; find_departure(segment, at, &departure); at = departure.number + 1) {
    seen++;
  }
  CHECK_EQUAL(seen, kDepartures);
  CHECK_EQUAL(at, kGone + 1);
  // A count that is a lie costs a look at each record.
  store(segment.header()->departures, ~uint64_t{0});
  Departure none;
  CHECK(!find_departure(segment, 0, &none));
}

TEST("a departure that was cut short is recorded once, and warned of again") {
  const Container container;
  Segment& segment = container.segment;
  Process& watcher = bind_server(segment, 1);
  CHECK_EQUAL(set_warned(segment, watcher.endpoint, 0), 0);
  Process& gone = bind_server(segment, 2);
  const int32_t endpoint = gone.endpoint;
  note_departure(segment, 2, endpoint, kEnded, false);
  // As if it had died before it raised the count.
  atomic(segment.header()->departures).store(0);
  Message received;
  CHECK_EQUAL(receive(watcher, kEndpointAny, &received, 0), 0);
  note_departure(segment, 2, endpoint, kEnded, true);
  note_departure(segment, 2, endpoint, kEnded, true);
  CHECK_EQUAL(receive(watcher, kEndpointAny, &received, 0), 0);
  Departure none;
  CHECK_EQUAL(departure_from(segment, 1).endpoint, endpoint);
  CHECK(!find_departure(segment, 2, &none));
}

}  // namespace
}  // namespace dvk::test

// The trace: what each call leaves in the rings, that a ring is readable whatever became of its
// writers, and that a session ends with its watchers.

#include "../core/trace.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr uint64_t kLeaseNs = kTraceLeaseMs * 1'000'000;

// The event at place `number` of a ring, when it is that one and whole.
bool read_event(Segment& segment, uint32_t ring, uint64_t number, TraceEvent* event) {
  uint64_t words[sizeof(TraceEvent) / 8];
  auto* shared = reinterpret_cast<uint64_t*>(segment.trace_events(ring) + number % kTraceEvents);
  for (size_t i = 0; i < std::size(words); i++) words[i] = load(shared[i]);
  memcpy(event, words, sizeof *event);
  return event->sequence == static_cast<uint32_t>(number) + 1 &&
         event->check == trace_check(*event);
}

uint64_t written(Segment& segment, uint32_t ring) {
  return load(segment.trace_ring(ring)->written);
}

// The events of a ring that were not read yet, all of which must be whole.
class Reader {
 public:
  Reader(Segment& segment, uint32_t ring) : segment_(segment), ring_(ring) {}
  std::vector<TraceEvent> rest() {
    std::vector<TraceEvent> events;
    for (const uint64_t end = written(segment_, ring_); at_ < end; at_++) {
      events.emplace_back();
      CHECK(read_event(segment_, ring_, at_, &events.back()));
    }
    return events;
  }
  // The only one left of `kind`.
  TraceEvent only(TraceKind kind) {
    TraceEvent found{};
    int count = 0;
    for (const TraceEvent& event : rest()) {
      if (event.kind != static_cast<uint8_t>(kind)) continue;
      found = event;
      count++;
    }
    CHECK_EQUAL(count, 1);
    return found;
  }
  TraceEvent end() {
    return only(TraceKind::kEnd);
  }

 private:
  Segment& segment_;
  const uint32_t ring_;
  uint64_t at_ = 0;
};

void check_call(const TraceEvent& event, TraceCall call, const Process& process, int32_t peer,
                int result) {
  CHECK_EQUAL(static_cast<int>(event.call), static_cast<int>(call));
  CHECK_EQUAL(event.endpoint, process.endpoint);
  CHECK_EQUAL(event.peer, peer);
  CHECK_EQUAL(event.result, result);
}

// A watched container with a server and a client.
struct Watched {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 3);
  Process& client = bind_client(segment);
  Reader of_server{segment, server.index}, of_client{segment, client.index};
  const int watcher = trace_start(segment);
};

int64_t blocks(const Container& container) {
  struct stat status;
  CHECK_EQUAL(stat(container.path.c_str(), &status), 0);
  return status.st_blocks;
}

TEST("trace: while nobody watches nothing is written, and no ring has memory") {
  Container container;
  Process& server = bind_server(container.segment);
  Process& client = bind_client(container.segment);
  const int64_t before = blocks(container);
  Message m = message(1, 1);
  for (int i = 0; i < 100; i++) {
    CHECK_EQUAL(start_sendrec(client, server.endpoint, m), kPending);
    CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
    CHECK_EQUAL(reply(server, client.endpoint, m), 0);
    CHECK_EQUAL(step(client), 0);
    CHECK_EQUAL(notify(client, server.endpoint), 0);
    CHECK_EQUAL(receive(server, kEndpointAny, &m, 0), 0);
  }
  for (uint32_t ring = 0; ring <= container.segment.processes(); ring++) {
    CHECK_EQUAL(written(container.segment, ring), 0u);
  }
  CHECK(blocks(container) - before < 64);
}

TEST("trace: a sendrec, its request and its reply have one number, and times in order") {
  Watched w;
  Message m = message(7, 1);
  CHECK_EQUAL(start_sendrec(w.client, w.server.endpoint, m), kPending);
  CHECK_EQUAL(rcvrqst(w.server, &m, 0), 0);
  m.type = 8;
  CHECK_EQUAL(reply(w.server, w.client.endpoint, m), 0);
  CHECK_EQUAL(step(w.client), 0);
  const std::vector<TraceEvent> client = w.of_client.rest(), server = w.of_server.rest();
  CHECK_EQUAL(client.size(), 2u);
  CHECK_EQUAL(server.size(), 3u);
  check_call(client[0], TraceCall::kSendrec, w.client, w.server.endpoint, 0);
  check_call(client[1], TraceCall::kSendrec, w.client, w.server.endpoint, 0);
  check_call(server[0], TraceCall::kRcvrqst, w.server, kEndpointAny, 0);
  check_call(server[1], TraceCall::kRcvrqst, w.server, w.client.endpoint, 0);
  check_call(server[2], TraceCall::kReply, w.server, w.client.endpoint, 0);
  CHECK_EQUAL(client[0].type, 7);
  CHECK_EQUAL(server[1].type, 7);
  CHECK_EQUAL(server[2].type, 8);
  CHECK_EQUAL(client[1].type, 8);
  const uint32_t number = client[0].number;
  CHECK(number != 0);
  for (const TraceEvent& event : {client[1], server[1], server[2]}) {
    CHECK_EQUAL(event.number, number);
  }
  CHECK_EQUAL(static_cast<int>(server[1].how), static_cast<int>(MessageKind::kCall));
  const uint64_t begun = client[1].time - client[1].duration;
  CHECK(begun <= client[0].time && client[0].time <= server[1].time);
  CHECK(server[1].time <= server[2].time && server[2].time <= client[1].time);
}

TEST("trace: plain messages and those of senda have numbers that both ends know") {
  Watched w;
  Message m = message(7, 1);
  for (int i = 0; i < 2; i++) {
    CHECK_EQUAL(start_receive(w.server, kEndpointAny), kPending);
    CHECK_EQUAL(send(w.client, w.server.endpoint, m, 0), 0);
    CHECK_EQUAL(step(w.server), 0);
    CHECK_EQUAL(start_send(w.client, w.server.endpoint, m), kPending);
    CHECK_EQUAL(receive(w.server, w.client.endpoint, &m, 0), 0);
    CHECK_EQUAL(step(w.client), 0);
  }
  std::vector<uint32_t> sent, received;
  for (const TraceEvent& e : w.of_client.rest()) {
    if (e.kind == static_cast<uint8_t>(TraceKind::kEnd)) sent.push_back(e.number);
  }
  for (const TraceEvent& e : w.of_server.rest()) {
    if (e.kind == static_cast<uint8_t>(TraceKind::kEnd)) received.push_back(e.number);
  }
  CHECK_EQUAL(sent.size(), 4u);
  CHECK(sent == received);
  for (size_t i = 1; i < sent.size(); i++) CHECK(sent[i] != sent[i - 1]);

  const int32_t id = senda(w.client, w.server.endpoint, m, 0);
  CHECK_EQUAL(receive(w.server, kEndpointAny, &m, 0), 0);
  const std::vector<TraceEvent> client = w.of_client.rest();
  CHECK_EQUAL(client.size(), 2u);
  check_call(client[0], TraceCall::kSenda, w.client, w.server.endpoint, id);
  CHECK_EQUAL(client[1].kind, static_cast<uint8_t>(TraceKind::kAsyncDone));
  CHECK_EQUAL(client[1].number, static_cast<uint32_t>(id));
  const TraceEvent taken = w.of_server.end();
  CHECK_EQUAL(taken.number, static_cast<uint32_t>(id));
  CHECK_EQUAL(static_cast<int>(taken.how), static_cast<int>(MessageKind::kAsync));
}

TEST("trace: calls that fail at their checks, by time-out or by death show their errors") {
  Watched w;
  Message m = message(1, 1);
  CHECK_EQUAL(send(w.client, w.client.endpoint, m, 0), -EDVSBADDEST);
  check_call(w.of_client.end(), TraceCall::kSend, w.client, w.client.endpoint, -EDVSBADDEST);
  CHECK_EQUAL(rcvrqst(w.client, &m, 0), -ETRAPDENIED);
  check_call(w.of_client.end(), TraceCall::kRcvrqst, w.client, kEndpointAny, -ETRAPDENIED);
  CHECK_EQUAL(notify(w.client, w.client.endpoint), -EDVSENDPOINT);
  check_call(w.of_client.end(), TraceCall::kNotify, w.client, w.client.endpoint, -EDVSENDPOINT);
  CHECK_EQUAL(reply(w.server, w.client.endpoint, m), -EDVSPROCSTS);
  check_call(w.of_server.end(), TraceCall::kReply, w.server, w.client.endpoint, -EDVSPROCSTS);
  CHECK_EQUAL(wait_unbind(w.client, w.client.endpoint, 0), -EDVSENDPOINT);
  check_call(w.of_client.end(), TraceCall::kWaitUnbind, w.client, w.client.endpoint, -EDVSENDPOINT);
  CHECK_EQUAL(sendrec(w.client, w.server.endpoint, &m, 0), -EAGAIN);
  check_call(w.of_client.end(), TraceCall::kSendrec, w.client, w.server.endpoint, -EAGAIN);
  CHECK_EQUAL(start_sendrec(w.client, w.server.endpoint, m), kPending);
  CHECK_EQUAL(w.server.unbind(), 0);
  CHECK_EQUAL(step(w.client), -EDSTDIED);
  check_call(w.of_client.end(), TraceCall::kSendrec, w.client, w.server.endpoint, -EDSTDIED);
}

TEST("trace: notify, wakeup, relay, waits for a bind and copies") {
  Watched w;
  Segment& segment = w.segment;
  Message m = message(1, 1);
  CHECK_EQUAL(notify(w.client, w.server.endpoint), 0);
  check_call(w.of_client.end(), TraceCall::kNotify, w.client, w.server.endpoint, 0);
  CHECK_EQUAL(receive(w.server, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(static_cast<int>(w.of_server.end().how), static_cast<int>(MessageKind::kNotify));

  CHECK_EQUAL(start_receive(w.server, kEndpointAny), kPending);
  CHECK_EQUAL(wakeup(segment, w.server.endpoint), 0);
  CHECK_EQUAL(step(w.server), -EDVSWOKENUP);
  int wakeups = 0;
  for (const TraceEvent& e : w.of_server.rest()) {
    wakeups += e.call == static_cast<uint8_t>(TraceCall::kWakeup);
  }
  CHECK_EQUAL(wakeups, 1);

  CHECK_EQUAL(start_wait_bind(w.client, 9), kPending);
  Process& next = bind_server(segment, 9, "next");
  CHECK_EQUAL(step(w.client), 0);
  check_call(w.of_client.end(), TraceCall::kWaitBind, w.client, next.endpoint, 0);
  Reader of_next(segment, next.index);
  const TraceEvent bound = of_next.only(TraceKind::kBind);
  CHECK(memcmp(&bound.duration, "next\0\0\0\0", 8) == 0);
  CHECK_EQUAL(bound.result, getpid());

  CHECK_EQUAL(start_sendrec(w.client, w.server.endpoint, m), kPending);
  CHECK_EQUAL(rcvrqst(w.server, &m, 0), 0);
  CHECK_EQUAL(relay(w.server, w.client.endpoint, next.endpoint, m), 0);
  CHECK_EQUAL(step(w.client), kPending);
  CHECK_EQUAL(rcvrqst(next, &m, 0), 0);
  CHECK_EQUAL(reply(next, w.client.endpoint, m), 0);
  CHECK_EQUAL(step(w.client), 0);
  const std::vector<TraceEvent> relayed = w.of_client.rest();
  CHECK_EQUAL(relayed.size(), 3u);
  CHECK_EQUAL(relayed[1].kind, static_cast<uint8_t>(TraceKind::kFollow));
  CHECK_EQUAL(relayed[1].peer, next.endpoint);
  check_call(relayed[2], TraceCall::kSendrec, w.client, next.endpoint, 0);
  CHECK_EQUAL(relayed[2].number, relayed[1].number);
  CHECK(relayed[2].number != relayed[0].number);

  w.of_server.rest();
  static char theirs[5000], own[5000];
  const int32_t id = grant(w.client, theirs, sizeof theirs, 1, kEndpointAny);
  const CopyParty source{w.client.endpoint, id, 0};
  const CopyParty target{kEndpointSelf, -1, reinterpret_cast<uint64_t>(own)};
  CHECK_EQUAL(vcopy(w.server, source, target, sizeof own, 0), 5000);
  const TraceEvent copied = w.of_server.end();
  check_call(copied, TraceCall::kVcopy, w.server, w.client.endpoint, 0);
  CHECK_EQUAL(copied.bytes, 5000u);
  CHECK_EQUAL(static_cast<int>(copied.how), 1);
}

TEST("trace: sleeps, wakes and the reaping of the dead are seen") {
  Watched w;
  const pid_t child = spawn([&] {
    Process& caller = bind_client(w.segment, "caller");
    Message m = message(1, 1);
    sendrec(caller, w.server.endpoint, &m, kForever);
    sendrec(caller, w.server.endpoint, &m, kForever);
  });
  Message m;
  const auto caller_sleeps = [&] {
    for (uint32_t i = 0; i < w.segment.processes(); i++) {
      ProcessSlot* slot = w.segment.slot(i);
      if (load(slot->pid) == child && atomic(slot->sleeping).load() == kOnFutex) return true;
    }
    return false;
  };
  until("the caller sleeps", caller_sleeps);
  CHECK_EQUAL(rcvrqst(w.server, &m, kForever), 0);
  const uint32_t slot = static_cast<uint32_t>(w.segment.slot_of(m.source));
  until("it sleeps again", caller_sleeps);
  CHECK_EQUAL(reply(w.server, m.source, m), 0);
  CHECK_EQUAL(rcvrqst(w.server, &m, kForever), 0);
  CHECK_EQUAL(kill_and_reap(w.segment, child), 1);
  Reader reader(w.segment, slot);
  int kinds[16] = {};
  for (const TraceEvent& event : reader.rest()) kinds[event.kind % 16]++;
  CHECK(kinds[static_cast<int>(TraceKind::kSleep)] >= 1);
  CHECK(kinds[static_cast<int>(TraceKind::kAwake)] >= 1);
  CHECK(kinds[static_cast<int>(TraceKind::kWake)] >= 1);
  CHECK_EQUAL(kinds[static_cast<int>(TraceKind::kReap)], 1);
}

TEST("trace: the commands of a call between nodes have its number on both nodes") {
  Network network(2);
  CHECK_EQUAL(trace_start(network[0]), 0);
  CHECK_EQUAL(trace_start(network[1]), 0);
  Process& client = bind_client(network[0]);
  Process& server = bind_server(network[1], 5);
  network.pump();
  Message m = message(1, 1);
  CHECK_EQUAL(start_sendrec(client, server.endpoint, m), kPending);
  network.pump();
  CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
  CHECK_EQUAL(reply(server, m.source, m), 0);
  network.pump();
  CHECK_EQUAL(step(client), 0);
  Reader of_client(network[0], client.index), of_server(network[1], server.index);
  const uint32_t number = of_client.end().number;
  uint32_t request = 0;
  for (const TraceEvent& e : of_server.rest()) {
    if (e.call != static_cast<uint8_t>(TraceCall::kRcvrqst) || e.number == 0) continue;
    CHECK_EQUAL(e.peer, client.endpoint);
    request = e.number;
  }
  CHECK_EQUAL(request, number);
  for (uint32_t node = 0; node < 2; node++) {
    Reader links(network[node], network[node].processes());
    int out = 0, in = 0;
    for (const TraceEvent& e : links.rest()) {
      if (e.number != number) continue;
      CHECK_EQUAL(e.node, 1 - node);
      out += e.kind == static_cast<uint8_t>(TraceKind::kLinkOut);
      in += e.kind == static_cast<uint8_t>(TraceKind::kLinkIn);
    }
    CHECK_EQUAL(out, 1);
    CHECK_EQUAL(in, 1);
  }
}

TEST("a relay to a node whose link is down ends the call, and the client may call again") {
  Network network(2);
  Process& client = bind_client(network[0]);
  Process& front = bind_server(network[0], 4);
  Process& back = bind_server(network[1], 5);
  network.pump();
  Message m = message(1, 1);
  CHECK_EQUAL(start_sendrec(client, front.endpoint, m), kPending);
  CHECK_EQUAL(rcvrqst(front, &m, 0), 0);
  CHECK_EQUAL(relay(front, client.endpoint, back.endpoint, m), 0);
  CHECK_EQUAL(link_down(network[0], 1), 0);
  CHECK_EQUAL(step(client), -ENOTCONN);
  CHECK_EQUAL(sendrec(client, front.endpoint, &m, 0), -EAGAIN);
}

// ---- Rings ----

TraceEvent sample(uint64_t value) {
  TraceEvent event{};
  event.kind = static_cast<uint8_t>(TraceKind::kEnd);
  event.bytes = value;
  event.peer = static_cast<int32_t>(value * 3);
  event.number = static_cast<uint32_t>(value * 7);
  event.result = static_cast<int32_t>(value);
  return event;
}

bool is_sample(const TraceEvent& event) {
  const TraceEvent wanted = sample(event.bytes);
  return event.peer == wanted.peer && event.number == wanted.number &&
         event.result == wanted.result && event.kind == wanted.kind;
}

TEST("trace: a changed word of an event, and memory of zeros, do not pass for an event") {
  Random random(seed());
  TraceEvent event = sample(random());
  event.sequence = 5;
  event.check = trace_check(event);
  uint32_t words[16];
  memcpy(words, &event, sizeof words);
  for (size_t word = 0; word < 16; word++) {
    for (int bit = 0; bit < 32; bit++) {
      TraceEvent other;
      words[word] ^= 1u << bit;
      memcpy(&other, words, sizeof other);
      words[word] ^= 1u << bit;
      CHECK(other.check != trace_check(other));
    }
  }
  CHECK(trace_check(TraceEvent{}) != 0);
}

TEST("trace: a ring that wraps has the newest events, and its count tells how many are lost") {
  Watched w;
  const uint32_t ring = w.client.index;
  const uint64_t total = 3 * kTraceEvents + 5;
  for (uint64_t i = 0; i < total; i++) trace_write(w.segment, ring, sample(i));
  CHECK_EQUAL(written(w.segment, ring), total);
  TraceEvent event;
  for (uint64_t i = 0; i < total; i++) {
    const bool kept = i >= total - kTraceEvents;
    CHECK_EQUAL(read_event(w.segment, ring, i, &event), kept);
    if (kept) CHECK_EQUAL(event.bytes, i);
  }
}

TEST(
    "trace: writers of one ring at the same time lose nothing, and a reader believes nothing "
    "torn") {
  Watched w;
  const uint32_t ring = w.client.index;
  constexpr uint64_t kWriters = 4;
  const uint64_t each = scaled(60'000, 6'000);
  std::atomic<uint64_t> running{kWriters};
  std::vector<std::thread> writers;
  for (uint64_t writer = 0; writer < kWriters; writer++) {
    writers.emplace_back([&, writer] {
      for (uint64_t i = 0; i < each; i++) trace_write(w.segment, ring, sample(writer << 32 | i));
      running--;
    });
  }
  uint64_t at = 0, seen = 0;
  TraceEvent event;
  while (running.load() != 0) {
    const uint64_t end = written(w.segment, ring);
    at = std::max(at, end > kTraceEvents ? end - kTraceEvents : 0);
    for (; at < end; at++) {
      if (!read_event(w.segment, ring, at, &event)) continue;
      CHECK(is_sample(event));
      seen++;
    }
  }
  for (std::thread& writer : writers) writer.join();
  const uint64_t total = written(w.segment, ring);
  CHECK_EQUAL(total, kWriters * each);
  CHECK(seen > 0);
  // Two that were a whole lap apart may have written one place at once, and spoiled it.
  uint64_t whole_ones = 0;
  for (uint64_t i = total > kTraceEvents ? total - kTraceEvents : 0; i < total; i++) {
    if (!read_event(w.segment, ring, i, &event)) continue;
    CHECK(is_sample(event));
    whole_ones++;
  }
  CHECK(whole_ones + 2 * kWriters >= std::min<uint64_t>(total, kTraceEvents));
}

TEST("trace: writers that are killed at any moment leave rings that can be read and written") {
  Watched w;
  Random random(seed());
  const uint32_t ring = w.client.index;
  for (int round = 0; round < 40; round++) {
    const pid_t child = spawn([&] {
      for (uint64_t i = 0;; i++) trace_write(w.segment, ring, sample(i));
    });
    const uint64_t begin = written(w.segment, ring);
    until("the child writes", [&] { return written(w.segment, ring) > begin; });
    usleep(static_cast<useconds_t>(below(random, 300)));
    kill(child, SIGKILL);
    join_killed(child);
    const uint64_t end = written(w.segment, ring);
    TraceEvent event;
    int torn = 0;
    for (uint64_t i = end > kTraceEvents ? end - kTraceEvents : 0; i < end; i++) {
      if (read_event(w.segment, ring, i, &event)) {
        if (event.call == 0) CHECK(is_sample(event));
      } else {
        torn++;
      }
    }
    CHECK(torn <= round + 1);
    trace_write(w.segment, ring, sample(end));
    CHECK(read_event(w.segment, ring, end, &event));
    CHECK_EQUAL(trace_renew(w.segment, static_cast<uint32_t>(w.watcher)), 0);
  }
}

// ---- Sessions ----

TEST("trace: a session lasts until its last watcher stops, and then its memory is free") {
  Watched w;
  const int second = trace_start(w.segment);
  CHECK_EQUAL(w.watcher, 0);
  CHECK_EQUAL(second, 1);
  const int64_t before = blocks(w.container);
  trace_write(w.segment, w.client.index, sample(1));
  CHECK(blocks(w.container) > before + 512);
  CHECK_EQUAL(trace_stop(w.segment, 0), 0);
  CHECK(is_traced(w.segment));
  CHECK_EQUAL(trace_renew(w.segment, 1), 0);
  CHECK_EQUAL(trace_stop(w.segment, 1), 0);
  CHECK(!is_traced(w.segment));
  CHECK(blocks(w.container) < before + 64);
  trace_write(w.segment, w.client.index, sample(2));
  CHECK_EQUAL(written(w.segment, w.client.index), 1u);
  CHECK_EQUAL(trace_start(w.segment), 0);
  trace_write(w.segment, w.client.index, sample(3));
  TraceEvent event;
  CHECK(read_event(w.segment, w.client.index, 1, &event));
  CHECK(!read_event(w.segment, w.client.index, 0, &event));
}

// As time would leave them.
void expire(Segment& segment, uint32_t watcher) {
  const uint64_t past = static_cast<uint64_t>(now_ns()) - 1;
  store(segment.trace_watcher(watcher)->lease, past);
  store(segment.trace()->lease, past);
}

TEST("trace: when the watchers are gone the next event, or the monitor, ends the session") {
  Watched w;
  trace_write(w.segment, w.client.index, sample(1));
  const int64_t used = blocks(w.container);
  expire(w.segment, 0);
  trace_write(w.segment, w.client.index, sample(2));
  CHECK(!is_traced(w.segment));
  CHECK_EQUAL(written(w.segment, w.client.index), 1u);
  trace_sweep(w.segment);
  CHECK(blocks(w.container) < used - 512);

  CHECK_EQUAL(trace_start(w.segment), 0);
  trace_sweep(w.segment);
  CHECK(is_traced(w.segment));
  expire(w.segment, 0);
  trace_sweep(w.segment);
  CHECK(!is_traced(w.segment));
}

TEST("trace: a watcher that comes back late begins a session anew, and is told") {
  Watched w;
  expire(w.segment, 0);
  trace_sweep(w.segment);
  CHECK_EQUAL(trace_renew(w.segment, 0), 1);
  CHECK(is_traced(w.segment));
  CHECK_EQUAL(trace_renew(w.segment, 0), 0);
  CHECK_EQUAL(trace_renew(w.segment, kTraceWatchers), -EINVAL);
  CHECK_EQUAL(trace_stop(w.segment, kTraceWatchers), -EINVAL);
}

TEST("trace: there is room for so many watchers; a lease that nobody can have counts for none") {
  Watched w;
  for (uint32_t i = 1; i < kTraceWatchers; i++) CHECK_EQUAL(trace_start(w.segment), i);
  CHECK_EQUAL(trace_start(w.segment), -ENOSPC);
  const uint64_t now = static_cast<uint64_t>(now_ns());
  store(w.segment.trace_watcher(6)->lease, now + 100 * kLeaseNs);
  CHECK_EQUAL(trace_start(w.segment), 6);
  for (uint32_t i = 0; i < kTraceWatchers; i++) {
    store(w.segment.trace_watcher(i)->lease, now + 100 * kLeaseNs);
  }
  store(w.segment.trace()->lease, now + 100 * kLeaseNs);
  trace_sweep(w.segment);
  CHECK(!is_traced(w.segment));
}

TEST("trace: sessions that begin and end while processes call disturb no call") {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 3);
  const pid_t child = spawn([&] {
    Process& client = bind_client(segment);
    const uint64_t calls = scaled(20'000, 2'000);
    for (uint64_t i = 0; i < calls; i++) {
      Message m = message(1, i);
      CHECK_EQUAL(sendrec(client, server.endpoint, &m, kForever), 0);
      CHECK(whole(m) && value_of(m) == i + 1);
    }
    Message last = message(2, 0);
    CHECK_EQUAL(sendrec(client, server.endpoint, &last, kForever), 0);
  });
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    while (!done.load()) {
      const int number = trace_start(segment);
      CHECK(number >= 0);
      usleep(300);
      CHECK_EQUAL(trace_stop(segment, static_cast<uint32_t>(number)), 0);
    }
  });
  Message m;
  CHECK_EQUAL(rcvrqst(server, &m, kForever), 0);
  while (m.type == 1) {
    const int32_t client = m.source;
    m = message(1, value_of(m) + 1);
    CHECK_EQUAL(reply_receive(server, client, &m, kForever), 0);
  }
  CHECK_EQUAL(reply(server, m.source, m), 0);
  done.store(true);
  watcher.join();
  join(child);
}

}  // namespace
}  // namespace dvk::test

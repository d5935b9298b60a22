// senda: messages that their sender does not wait for. What becomes of each, in which order they
// come, who is told, and what the death of either side leaves. Reference: MINIX's mini_senda.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <vector>

#include "network.h"

namespace dvk::test {
namespace {

constexpr uint32_t kNotify = static_cast<uint32_t>(AsyncFlag::kNotify);
constexpr uint32_t kNotifyError = static_cast<uint32_t>(AsyncFlag::kNotifyError);
constexpr uint32_t kForget = static_cast<uint32_t>(AsyncFlag::kForget);

struct Three {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& one = bind_client(segment);
  Process& two = bind_client(segment);
};

int32_t post(Process& process, int32_t destination, uint64_t value, uint32_t flags = 0) {
  const int32_t id = senda(process, destination, message(1, value), flags);
  CHECK(id >= 0);
  return id;
}

void check_next(Process& receiver, const Process& source, uint64_t value, MessageKind kind) {
  Message m;
  CHECK_EQUAL(receive(receiver, kEndpointAny, &m, 0), 0);
  CHECK(receiver.last_kind == kind);
  CHECK_EQUAL(m.source, source.endpoint);
  if (kind == MessageKind::kNotify) return;
  CHECK(whole(m));
  CHECK_EQUAL(value_of(m), value);
}

TEST("senda leaves several messages and does not wait; each has a status that is asked once") {
  Three t;
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < 5; i++) ids.push_back(post(t.one, t.server.endpoint, i));
  CHECK(t.one.operation.stage == Operation::Stage::kNone);
  CHECK(state_in(t.one) == State::kIdle);
  for (uint64_t i = 0; i < 5; i++) {
    CHECK_EQUAL(senda_status(t.one, ids[i]), kPending);
    check_next(t.server, t.one, i, MessageKind::kAsync);
    CHECK_EQUAL(senda_status(t.one, ids[i]), 0);
    CHECK_EQUAL(senda_status(t.one, ids[i]), -EINVAL);
    CHECK_EQUAL(senda_cancel(t.one, ids[i]), -EINVAL);
  }
  Message m;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), -EAGAIN);
  CHECK(t.segment.async_senders(t.server.index).empty());
  CHECK_EQUAL(damage(t.segment), "");
}

TEST("a receiver that waits for anyone, or for the sender, is woken") {
  Three t;
  for (const int32_t source : {kEndpointAny, t.one.endpoint}) {
    CHECK_EQUAL(start_receive(t.server, source), kPending);
    post(t.one, t.server.endpoint, 7, kForget);
    CHECK_EQUAL(step(t.server), 0);
    CHECK(t.server.last_kind == MessageKind::kAsync);
    CHECK_EQUAL(value_of(t.server.operation.message), 7);
  }
  CHECK_EQUAL(start_receive(t.server, t.two.endpoint), kPending);
  post(t.one, t.server.endpoint, 8);
  CHECK_EQUAL(step(t.server), kPending);
  post(t.two, t.server.endpoint, 9);
  CHECK_EQUAL(step(t.server), 0);
  CHECK_EQUAL(value_of(t.server.operation.message), 9);
  check_next(t.server, t.one, 8, MessageKind::kAsync);
}

TEST("a message of senda is no request and no reply") {
  Three t;
  CHECK_EQUAL(start_sendrec(t.one, t.server.endpoint, message(1, 1)), kPending);
  post(t.two, t.server.endpoint, 2);
  Message m;
  CHECK_EQUAL(rcvrqst(t.server, &m, 0), 0);
  CHECK_EQUAL(m.source, t.one.endpoint);
  CHECK_EQUAL(rcvrqst(t.server, &m, 0), -EAGAIN);
  post(t.server, t.one.endpoint, 3);
  CHECK_EQUAL(step(t.one), kPending);
  // What answers a sendrec does not queue behind it.
  CHECK_EQUAL(send(t.server, t.one.endpoint, message(2, 4), 0), 0);
  CHECK_EQUAL(step(t.one), 0);
  CHECK_EQUAL(value_of(t.one.operation.message), 4);
  check_next(t.one, t.server, 3, MessageKind::kAsync);
  check_next(t.server, t.two, 2, MessageKind::kAsync);
}

TEST("notifications come first, then messages of senda by their age, then who waits") {
  Three t;
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 1)), kPending);
  post(t.two, t.server.endpoint, 2);
  post(t.one, t.server.endpoint, 3);
  post(t.two, t.server.endpoint, 4);
  CHECK_EQUAL(notify(t.two, t.server.endpoint), 0);
  check_next(t.server, t.two, 0, MessageKind::kNotify);
  check_next(t.server, t.two, 2, MessageKind::kAsync);
  check_next(t.server, t.one, 3, MessageKind::kAsync);
  check_next(t.server, t.two, 4, MessageKind::kAsync);
  check_next(t.server, t.one, 1, MessageKind::kSend);
}

TEST("a send does not overtake what its sender sent by senda before") {
  Three t;
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  // As if the receiver had not seen the message yet.
  const uint32_t open = atomic(t.server.slot->rendezvous).load();
  post(t.one, t.server.endpoint, 1);
  atomic(t.server.slot->rendezvous).store(open);
  CHECK_EQUAL(start_sendrec(t.one, t.server.endpoint, message(1, 2)), kPending);
  CHECK(state_in(t.one) == State::kCalling);
  CHECK_EQUAL(step(t.server), 0);
  CHECK_EQUAL(value_of(t.server.operation.message), 1);
  check_next(t.server, t.one, 2, MessageKind::kCall);
}

TEST("the errors of senda are those of send, at once") {
  Three t;
  const Message m = message(1, 1);
  CHECK_EQUAL(senda(t.one, kEndpointAny, m, 0), -ERANGE);
  CHECK_EQUAL(senda(t.one, t.one.endpoint, m, 0), -EDVSBADDEST);
  CHECK_EQUAL(senda(t.one, 60, m, 0), -EDEADSRCDST);
  CHECK_EQUAL(senda(t.one, t.server.endpoint, m, 8), -EINVAL);
  CHECK_EQUAL(senda(t.one, t.server.endpoint, m, kForget | kNotify), -EINVAL);
  CHECK_EQUAL(senda_status(t.one, -1), -EINVAL);
  CHECK_EQUAL(senda_status(t.one, 12345), -EINVAL);
  end_container(t.segment);
  CHECK_EQUAL(senda(t.one, t.server.endpoint, m, 0), -EDVSDCNOTRUN);
}

TEST("the table is bounded, and its entries are used again") {
  Three t;
  std::vector<int32_t> ids;
  for (uint64_t round = 0; round < 3; round++) {
    for (uint64_t i = 0; i < kAsyncs; i++) ids.push_back(post(t.one, t.server.endpoint, i));
    CHECK_EQUAL(senda(t.one, t.server.endpoint, message(1, 1), kForget), -ENOSPC);
    post(t.two, t.server.endpoint, 99);
    for (uint64_t i = 0; i < kAsyncs; i++) check_next(t.server, t.one, i, MessageKind::kAsync);
    check_next(t.server, t.two, 99, MessageKind::kAsync);
    CHECK_EQUAL(senda(t.one, t.server.endpoint, message(1, 1), kForget), -ENOSPC);
    for (const int32_t id : ids) CHECK_EQUAL(senda_status(t.one, id), 0);
    ids.clear();
  }
  for (uint64_t i = 0; i < uint64_t{kAsyncs} * 3; i++) {
    post(t.one, t.server.endpoint, i, kForget);
    check_next(t.server, t.one, i, MessageKind::kAsync);
  }
}

TEST("the sender is notified by itself when a message is done, or only when it failed") {
  Three t;
  const int32_t told = post(t.one, t.server.endpoint, 1, kNotify);
  const int32_t silent = post(t.one, t.server.endpoint, 2, kNotifyError);
  Message m;
  CHECK_EQUAL(receive(t.one, kEndpointAny, &m, 0), -EAGAIN);
  CHECK_EQUAL(start_receive(t.one, kEndpointAny), kPending);
  check_next(t.server, t.one, 1, MessageKind::kAsync);
  CHECK_EQUAL(step(t.one), 0);
  CHECK(t.one.last_kind == MessageKind::kNotify);
  CHECK_EQUAL(t.one.operation.message.source, t.one.endpoint);
  CHECK_EQUAL(senda_status(t.one, told), 0);
  check_next(t.server, t.one, 2, MessageKind::kAsync);
  CHECK_EQUAL(senda_status(t.one, silent), 0);
  CHECK_EQUAL(receive(t.one, kEndpointAny, &m, 0), -EAGAIN);
  const int32_t failed = post(t.one, t.server.endpoint, 3, kNotifyError);
  CHECK_EQUAL(t.server.unbind(), 0);
  check_next(t.one, t.one, 0, MessageKind::kNotify);
  CHECK_EQUAL(senda_status(t.one, failed), -EDSTDIED);
}

TEST("a message that is taken back is not received, and one that was received stays so") {
  Three t;
  const int32_t first = post(t.one, t.server.endpoint, 1, kNotify);
  const int32_t second = post(t.one, t.server.endpoint, 2);
  CHECK_EQUAL(senda_cancel(t.one, first), 0);
  CHECK_EQUAL(senda_cancel(t.one, first), -EALREADY);
  CHECK_EQUAL(senda_status(t.one, first), -ECANCELED);
  check_next(t.one, t.one, 0, MessageKind::kNotify);
  check_next(t.server, t.one, 2, MessageKind::kAsync);
  CHECK_EQUAL(senda_cancel(t.one, second), -EALREADY);
  CHECK_EQUAL(senda_status(t.one, second), 0);
}

// The word of the first entry as a receiver leaves it that stops while it copies.
uint64_t stop_taker(const Three& t) {
  const auto word = atomic(t.segment.async(t.one.index, 0)->word);
  const uint64_t claimed =
      (word.load() & ~uint64_t{0xffffffff}) | uint64_t{t.server.index} << 16 | 2;
  word.store(claimed);
  return claimed;
}

TEST("a receiver that stops while it takes a message holds up neither the sender nor its end") {
  for (const bool cancels : {true, false}) {
    Three t;
    const int32_t id = post(t.one, t.server.endpoint, 1);
    const uint64_t claimed = stop_taker(t);
    CHECK_EQUAL(senda_status(t.one, id), kPending);
    if (cancels) {
      CHECK_EQUAL(senda_cancel(t.one, id), 0);
      CHECK_EQUAL(senda_status(t.one, id), -ECANCELED);
      post(t.one, t.server.endpoint, 2);
    } else {
      CHECK_EQUAL(t.one.unbind(), 0);
    }
    uint64_t expected = claimed;
    CHECK(!atomic(t.segment.async(t.one.index, 0)->word).compare_exchange_strong(expected, 0));
    if (cancels) check_next(t.server, t.one, 2, MessageKind::kAsync);
    CHECK_EQUAL(damage(t.segment), "");
  }
}

TEST("a receiver that is killed while it takes a message, or before it tells, leaves a status") {
  for (int moment = 0; moment < 3; moment++) {
    const Container container;
    Segment& segment = container.segment;
    Process& sender = bind_server(segment, 1);
    auto* endpoint = shared<std::atomic<int32_t>>();
    endpoint->store(-1);
    const pid_t child = spawn([&] {
      endpoint->store(bind_server(segment, 2).endpoint);
      pause();
    });
    until("the child is bound", [&] { return endpoint->load() >= 0; });
    const int32_t id = post(sender, endpoint->load(), 1, kNotify);
    const auto word = atomic(segment.async(sender.index, 0)->word);
    const uint64_t sequence = word.load() & ~uint64_t{0xffffffff};
    if (moment == 1) word.store(sequence | uint64_t{2} << 16 | 2);
    if (moment == 2) word.store(sequence | 3);
    CHECK_EQUAL(start_receive(sender, kEndpointAny), kPending);
    CHECK_EQUAL(kill_and_reap(segment, child), 1);
    CHECK_EQUAL(step(sender), 0);
    CHECK(sender.last_kind == MessageKind::kNotify);
    CHECK_EQUAL(senda_status(sender, id), moment == 2 ? 0 : -EDSTDIED);
    CHECK_EQUAL(damage(segment), "");
  }
}

TEST("the end of a sender takes its messages away, and the next owner of its slot has none") {
  Three t;
  const uint32_t slot = t.one.index;
  post(t.one, t.server.endpoint, 1);
  post(t.two, t.server.endpoint, 2);
  CHECK_EQUAL(t.one.unbind(), 0);
  check_next(t.server, t.two, 2, MessageKind::kAsync);
  Message m;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &m, 0), -EAGAIN);
  Process* next = &bind_client(t.segment);
  while (next->index != slot) next = &bind_client(t.segment);
  post(*next, t.server.endpoint, 3);
  check_next(t.server, *next, 3, MessageKind::kAsync);
  CHECK_EQUAL(damage(t.segment), "");
}

// ---- other nodes ----

struct Remote {
  Network network{2};
  Process& server = bind_server(network[0], 1);
  Process& client = bind_client(network[1]);
  Remote() {
    network.pump();
    network.kinds.clear();
  }
};

TEST("a message to another node is done when it was received there, and order is kept") {
  Remote r;
  std::vector<int32_t> ids;
  for (uint64_t i = 0; i < kAsyncs; i++) ids.push_back(post(r.client, r.server.endpoint, i));
  CHECK_EQUAL(start_send(r.client, r.server.endpoint, message(1, 100)), kPending);
  r.network.pump();
  for (uint64_t i = 0; i < kAsyncs; i++) {
    CHECK_EQUAL(senda_status(r.client, ids[i]), kPending);
    check_next(r.server, r.client, i, MessageKind::kAsync);
    r.network.pump();
    CHECK_EQUAL(senda_status(r.client, ids[i]), 0);
  }
  check_next(r.server, r.client, 100, MessageKind::kSend);
  r.network.pump();
  CHECK_EQUAL(step(r.client), 0);
  // A receiver that waits is woken; the sender is told.
  CHECK_EQUAL(start_receive(r.server, kEndpointAny), kPending);
  const int32_t id = post(r.client, r.server.endpoint, 7, kNotify);
  r.network.pump();
  CHECK_EQUAL(step(r.server), 0);
  r.network.pump();
  check_next(r.client, r.client, 0, MessageKind::kNotify);
  CHECK_EQUAL(senda_status(r.client, id), 0);
}

TEST("a message to another node ends with an error when its receiver or the link goes") {
  Remote r;
  const int32_t before = post(r.client, r.server.endpoint, 1);
  r.network.pump();
  const int32_t after = post(r.client, r.server.endpoint, 2);
  CHECK_EQUAL(r.server.unbind(), 0);
  r.network.pump();
  for (const int32_t id : {before, after}) {
    const int status = senda_status(r.client, id);
    CHECK(status == -EDSTDIED || status == -EDEADSRCDST);
  }
  Process& next = bind_server(r.network[0], 1);
  r.network.pump();
  const int32_t taken = post(r.client, next.endpoint, 3);
  r.network.pump();
  const int32_t queued = post(r.client, next.endpoint, 4, kNotifyError);
  for (const uint32_t node : {0u, 1u}) CHECK_EQUAL(link_down(r.network[node], 1 - node), 0);
  check_next(r.client, r.client, 0, MessageKind::kNotify);
  CHECK_EQUAL(senda_status(r.client, taken), -ENOTCONN);
  CHECK_EQUAL(senda_status(r.client, queued), -ENOTCONN);
  CHECK_EQUAL(senda(r.client, next.endpoint, message(1, 5), 0), -ENOTCONN);
  Message m;
  CHECK_EQUAL(receive(next, kEndpointAny, &m, 0), -EAGAIN);
  for (const uint32_t node : {0u, 1u}) CHECK_EQUAL(link_up(r.network[node], 1 - node, 2), 0);
  r.network.pump();
  post(r.client, next.endpoint, 6);
  r.network.pump();
  check_next(next, r.client, 6, MessageKind::kAsync);
}

TEST("a message to another node may be taken back until the proxy has it") {
  Remote r;
  const int32_t first = post(r.client, r.server.endpoint, 1);
  CHECK_EQUAL(senda_cancel(r.client, first), 0);
  const int32_t second = post(r.client, r.server.endpoint, 2);
  r.network.pump();
  CHECK_EQUAL(senda_cancel(r.client, second), -EBUSY);
  check_next(r.server, r.client, 2, MessageKind::kAsync);
  r.network.pump();
  CHECK_EQUAL(senda_status(r.client, first), -ECANCELED);
  CHECK_EQUAL(senda_status(r.client, second), 0);
  CHECK_EQUAL(r.network.kinds.size(), 2);
}

TEST("an entry that is in use, and an ack for another message, are refused or dropped") {
  Remote r;
  const int32_t id = post(r.client, r.server.endpoint, 1);
  Command command;
  CHECK(r.network.take(1, 0, &command));
  CHECK_EQUAL(command.kind, static_cast<uint32_t>(kCommandAsyncMsg));
  CHECK_EQUAL(r.network.bring(0, command), 0);
  CHECK_EQUAL(r.network.bring(0, command), -EDVSBADFRAME);
  Command ack = command_of(r.network, 0, 1, kCommandAsyncMsg | kCommandAck, r.server.endpoint,
                           r.client.endpoint);
  ack.call_id = command.call_id + kAsyncs;
  CHECK_EQUAL(r.network.bring(1, ack), 0);
  ack.call_id = command.call_id;
  ack.source = r.client.endpoint;
  CHECK_EQUAL(r.network.bring(1, ack), 0);
  CHECK_EQUAL(senda_status(r.client, id), kPending);
  ack.source = r.server.endpoint;
  ack.result = 1;
  CHECK_EQUAL(r.network.bring(1, ack), -EDVSBADFRAME);
  ack.result = -EDSTDIED;
  CHECK_EQUAL(r.network.bring(1, ack), 0);
  CHECK_EQUAL(senda_status(r.client, id), -EDSTDIED);
}

// ---- stress ----

constexpr int kSenders = 3;

struct Ledger {
  static constexpr uint64_t kMessages = 20'000;
  std::atomic<int8_t> fate[kSenders][kMessages];  // 1 received, -1 taken back
  std::atomic<uint8_t> received[kSenders][kMessages];
  std::atomic<int> done;
};

// Sends by senda and by send in turn, takes some back, and notes what became of each.
struct Sender {
  Process& process;
  Ledger& ledger;
  int number;
  Random random{seed() + static_cast<uint64_t>(number)};
  std::vector<std::pair<int32_t, uint64_t>> underway{};

  void settle() {
    std::erase_if(underway, [&](const auto& each) {
      const int status = senda_status(process, each.first);
      if (status == kPending) return false;
      CHECK(status == 0 || status == -ECANCELED);
      ledger.fate[number][each.second].store(status == 0 ? 1 : -1);
      return true;
    });
  }

  void run(int32_t server, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
      const Message m = message(1, static_cast<uint64_t>(number) << 32 | i);
      if (below(random, 4) == 0) {
        CHECK_EQUAL(send(process, server, m, kForever), 0);
        ledger.fate[number][i].store(1);
        continue;
      }
      int32_t id = senda(process, server, m, 0);
      for (; id == -ENOSPC; id = senda(process, server, m, 0)) {
        settle();
        usleep(20);
      }
      CHECK(id >= 0);
      underway.emplace_back(id, i);
      if (below(random, 4) == 0) {
        const int taken_back = senda_cancel(process, id);
        CHECK(taken_back == 0 || taken_back == -EALREADY);
      }
    }
    until("all messages are done", [&] {
      settle();
      return underway.empty();
    });
    ledger.done.fetch_add(1);
  }
};

TEST("messages of senda are received once and in order, or were taken back") {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Ledger& ledger = *shared<Ledger>();
  const uint64_t count = scaled(Ledger::kMessages, 1000);
  std::vector<pid_t> children;
  for (int i = 0; i < kSenders; i++) {
    children.push_back(
        spawn([&, i] { Sender{bind_client(segment), ledger, i}.run(server.endpoint, count); }));
  }
  uint64_t next[kSenders] = {};
  for (int result = 0; ledger.done.load() < kSenders || result == 0;) {
    Message m;
    result = receive(server, kEndpointAny, &m, 1);
    if (result != 0) continue;
    CHECK(whole(m));
    const uint64_t sender = value_of(m) >> 32, i = value_of(m) & 0xffffffff;
    CHECK(sender < kSenders && i >= next[sender]);
    next[sender] = i + 1;
    CHECK_EQUAL(ledger.received[sender][i].fetch_add(1), 0);
  }
  for (const pid_t child : children) join(child);
  for (int sender = 0; sender < kSenders; sender++) {
    for (uint64_t i = 0; i < count; i++) {
      const int fate = ledger.fate[sender][i].load();
      CHECK_EQUAL(static_cast<int>(ledger.received[sender][i].load()), fate == 1 ? 1 : 0);
    }
  }
  CHECK_EQUAL(segment.async_senders(server.index).empty(), true);
}

// Entries are used again as soon as they are free, while the receiver looks through the table.
TEST("messages in entries that are used again at once keep their order") {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  const uint64_t count = scaled(400'000, 5'000);
  const pid_t child = spawn([&] {
    Process& own = bind_client(segment);
    for (uint64_t i = 0; i < count; i++) {
      until("an entry is free",
            [&] { return senda(own, server.endpoint, message(1, i), kForget) != -ENOSPC; });
    }
    until("all are taken", [&] {
      tidy_asyncs(own);
      return load(own.slot->async_busy) == 0;
    });
  });
  for (uint64_t i = 0; i < count; i++) {
    Message m;
    CHECK_EQUAL(receive(server, kEndpointAny, &m, 10'000), 0);
    CHECK(whole(m));
    CHECK_EQUAL(value_of(m), i);
  }
  join(child);
}

// Each is told of every message before it sends the next, so a notification that is lost stops it.
TEST("no notification that a message is done is lost") {
  const Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  const uint64_t rounds = scaled(10'000, 500);
  const pid_t child = spawn([&] {
    Process& own = bind_client(segment);
    for (uint64_t i = 0; i < rounds; i++) {
      const int32_t id = post(own, server.endpoint, i, kNotify);
      Message m;
      CHECK_EQUAL(receive(own, kEndpointAny, &m, kForever), 0);
      CHECK_EQUAL(m.source, own.endpoint);
      CHECK_EQUAL(senda_status(own, id), 0);
    }
  });
  for (uint64_t i = 0; i < rounds; i++) {
    Message m;
    CHECK_EQUAL(receive(server, kEndpointAny, &m, kForever), 0);
    CHECK_EQUAL(value_of(m), i);
  }
  join(child);
}

}  // namespace
}  // namespace dvk::test

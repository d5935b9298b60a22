// Claimants that stop in the middle: what the owner of the word does, and what becomes of the rest.
//
// A test writes the words as a stopped claimant leaves them; the races themselves are in
// stress_test.cc and death_test.cc.

#include <errno.h>

#include <thread>

#include "../core/notify.h"
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

// `claimant` claims the word of `owner` as far as the copy, and stops there. Returns its claim.
uint32_t claim(const Process& owner, const Process& claimant, State state) {
  const auto word = atomic(owner.slot->rendezvous);
  const uint32_t claimed = with_state(word.load(), state, claimant.index);
  word.store(claimed);
  return claimed;
}

bool complete(const Process& owner, uint32_t claimed, State state) {
  return atomic(owner.slot->rendezvous)
      .compare_exchange_strong(claimed, with_state(claimed, state, peer_of(claimed)));
}

TEST("a receiver gives up on a stopped sender at its time-out and uses the other buffer") {
  Three t;
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  const uint32_t claimed = claim(t.server, t.one, State::kFilling);
  Message m = message(1, 1);
  CHECK_EQUAL(wait_for(t.server, 20), -ETIMEDOUT);
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  // The stopped one goes on: it writes its old buffer, and its claim is void.
  copy_in(inbox_of(t.server.slot, sequence_of(claimed)), message(9, 9));
  CHECK(!complete(t.server, claimed, State::kFull));
  CHECK_EQUAL(send(t.two, t.server.endpoint, m, 0), 0);
  copy_in(inbox_of(t.server.slot, sequence_of(claimed)), message(9, 9));
  CHECK_EQUAL(step(t.server), 0);
  CHECK_EQUAL(t.server.operation.message.type, 1);
  CHECK(whole(t.server.operation.message));
}

TEST("a sender gives up on a stopped receiver, and its message is not received after") {
  Three t;
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 1)), kPending);
  const uint32_t claimed = claim(t.one, t.server, State::kTaking);
  CHECK_EQUAL(wait_for(t.one, 20), -ETIMEDOUT);
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 2)), kPending);
  CHECK(!complete(t.one, claimed, State::kTaken));
  Message received;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
  CHECK_EQUAL(value_of(received), 2);
  CHECK_EQUAL(step(t.one), 0);
}

TEST("the sequence wraps and the buffers still change") {
  Three t;
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  t.server.sequence = kSequenceMask;
  atomic(t.server.slot->rendezvous).store(pack(State::kAny, kSequenceMask, 0));
  claim(t.server, t.one, State::kFilling);
  CHECK_EQUAL(cancel(t.server, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(t.server.sequence, 0);
  CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
  CHECK_EQUAL(send(t.two, t.server.endpoint, message(1, 3), 0), 0);
  CHECK_EQUAL(step(t.server), 0);
  CHECK_EQUAL(value_of(t.server.operation.message), 3);
}

TEST("senders and notifiers that came during a claim are seen when it is given back") {
  for (int kind = 0; kind < 3; kind++) {
    Three t;
    CHECK_EQUAL(start_receive(t.server, kEndpointAny), kPending);
    const uint32_t open = atomic(t.server.slot->rendezvous).load();
    const uint32_t claimed = claim(t.server, t.one, State::kFilling);
    if (kind == 0) CHECK_EQUAL(start_send(t.two, t.server.endpoint, message(1, 4)), kPending);
    if (kind == 1) CHECK_EQUAL(notify(t.two, t.server.endpoint), 0);
    if (kind == 2) CHECK_EQUAL(wakeup(t.segment, t.server.endpoint), 0);
    CHECK(unclaim(t.segment, t.server.slot, claimed, open));
    CHECK_EQUAL(step(t.server), kind == 2 ? -EDVSWOKENUP : 0);
  }
}

TEST("a claim that turns out to be for the slot's previous owner delivers nothing") {
  Three t;
  const int32_t stale = t.server.endpoint;
  CHECK_EQUAL(t.server.unbind(), 0);
  Process& next = bind_server(t.segment, 1);
  CHECK_EQUAL(start_receive(next, kEndpointAny), kPending);
  // The callers have checked the endpoint while it was good.
  CHECK(hand_over(t.segment, t.one.index, t.one.sequence, stale, false, message(1, 1)) ==
        HandOver::kDead);
  deliver_notice(t.segment, t.one.index, t.one.endpoint, stale, 0);
  deliver_notice(t.segment, t.one.index, t.one.endpoint, stale, 5);
  CHECK_EQUAL(step(next), kPending);
  CHECK(state_in(next) == State::kAny);
  CHECK(state_in(t.one) == State::kIdle);
  CHECK_EQUAL(cancel(next, -EINTR), -EINTR);
  CHECK(hand_over(t.segment, t.one.index, t.one.sequence, stale, true, message(1, 1)) ==
        HandOver::kDead);
  deliver_notice(t.segment, t.one.index, t.one.endpoint, stale, 0);
  deliver_notice(t.segment, t.one.index, t.one.endpoint, stale, 5);
  Message received;
  CHECK_EQUAL(receive(next, kEndpointAny, &received, 0), -EAGAIN);
}

TEST("a message queued for the slot's previous owner is not taken by the next") {
  Three t;
  const int32_t stale = t.server.endpoint;
  CHECK_EQUAL(t.server.unbind(), 0);
  Process& next = bind_server(t.segment, 1);
  // As a sender leaves it that is about to look whether its target still lives.
  store(t.one.slot->want_source, stale);
  copy_in(outbox_of(t.one.slot, t.one.sequence), message(1, 1));
  atomic(t.one.slot->rendezvous).store(pack(State::kSending, t.one.sequence, next.index));
  t.segment.senders(next.index).add(t.one.index);
  Message received;
  CHECK_EQUAL(receive(next, kEndpointAny, &received, 0), -EAGAIN);
  CHECK(state_in(t.one) == State::kSending);
}

TEST("a bit without a message behind it is dropped, and its slot can queue again") {
  Three t;
  t.segment.senders(1).add(t.one.index);
  t.segment.senders(1).add(100);
  Message received;
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), -EAGAIN);
  CHECK(t.segment.senders(1).empty());
  CHECK_EQUAL(start_send(t.one, t.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(receive(t.server, kEndpointAny, &received, 0), 0);
}

TEST("a word that never stands still does not keep a caller beyond its time-out") {
  Three t;
  std::atomic<bool> done{false};
  const auto word = atomic(t.server.slot->rendezvous);
  store(t.one.slot->cpu, 99u);  // Somewhere else, so that waiting for it is spinning.
  t.server.last_peer = t.one.index;
  const uint32_t sequence = t.server.sequence;
  std::thread hostile([&] {
    while (!done.load()) {
      word.store(pack(State::kAny, sequence, 0));
      word.store(pack(State::kFilling, sequence, t.one.index));
    }
  });
  for (int i = 0; i < 20; i++) {
    const int64_t start = now_ns();
    Message received;
    CHECK(receive(t.server, kEndpointAny, &received, 20) != 0);
    CHECK(now_ns() - start < 5'000'000'000);
  }
  done.store(true);
  hostile.join();
}

TEST("a word that cannot be ends the call and not the process") {
  Three t;
  for (uint32_t state = 0; state < 16; state++) {
    for (int kind = 0; kind < 3; kind++) {
      const int started = kind == 0   ? start_receive(t.server, kEndpointAny)
                          : kind == 1 ? start_send(t.server, t.one.endpoint, message(1, 1))
                                      : start_sendrec(t.server, t.one.endpoint, message(1, 1));
      CHECK_EQUAL(started, kPending);
      atomic(t.server.slot->rendezvous).store(state | 0xabcd0000u | t.server.sequence << 4);
      const int result = wait_for(t.server, 1);
      CHECK(result <= 0);
      CHECK(t.server.operation.stage == Operation::Stage::kNone);
      CHECK(state_in(t.server) == State::kIdle);
    }
  }
}

}  // namespace
}  // namespace dvk::test

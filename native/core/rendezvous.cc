// Hand-over of messages between two slots of a segment, and undoing it when one of them dies.

#include "rendezvous.h"

#include <string.h>

#include "link.h"
#include "notify.h"
#include "remote_end.h"
#include "senda.h"
#include "trace.h"
#include "wait.h"

namespace dvk {
namespace {

constexpr size_t kWords = sizeof(Message) / 8;

// A sender's word while its message waits for `receiver`.
bool queued_for(uint32_t word, uint32_t receiver) {
  const State state = state_of(word);
  return (state == State::kSending || state == State::kCalling) && peer_of(word) == receiver;
}

// The error that the death of `slot` means for a process whose word is `word`, or 0.
int death_error(const Segment& segment, ProcessSlot* waiter, uint32_t word, uint32_t slot,
                int32_t endpoint) {
  switch (state_of(word)) {
    case State::kFrom:
    case State::kReply:
      return peer_of(word) == slot ? ESRCDIED : 0;
    case State::kFilling:
      // The inbox may be half written. Who waits for anyone else looks again, see below.
      return peer_of(word) == slot &&
                     segment.slot_of(load(waiter->want_source)) == static_cast<int>(slot)
                 ? ESRCDIED
                 : 0;
    case State::kSending:
    case State::kCalling:
    case State::kTaking:
      return peer_of(word) == slot ? EDSTDIED : 0;
    case State::kRemote:
      // NONE is wanted by who waits for a bind, and is the endpoint of one that died before it had
      // any. Who looks for a process waits for whoever has its endpoint next.
      return endpoint != kEndpointNone && load(waiter->want_source) == endpoint &&
                     load(waiter->command_kind) != kCommandProcinfo
                 ? EDSTDIED
                 : 0;
    default:
      return 0;
  }
}

}  // namespace

void copy_in(Message* shared, const Message& message) {
  uint64_t words[kWords];
  memcpy(words, &message, sizeof words);
  uint64_t* target = reinterpret_cast<uint64_t*>(shared);
  for (size_t i = 0; i < kWords; i++) store(target[i], words[i]);
}

void copy_out(Message* message, Message* shared) {
  uint64_t words[kWords];
  uint64_t* source = reinterpret_cast<uint64_t*>(shared);
  for (size_t i = 0; i < kWords; i++) words[i] = load(source[i]);
  memcpy(message, words, sizeof words);
}

int32_t type_of(Message* shared) {
  return static_cast<int32_t>(load(*reinterpret_cast<uint64_t*>(shared)) >> 32);
}

bool kick(Segment& segment, ProcessSlot* receiver, uint32_t word) {
  const uint32_t next = pack(State::kKick, sequence_of(word), 0);
  if (!atomic(receiver->rendezvous).compare_exchange_strong(word, next)) return false;
  DVK_CRASH_POINT("kick.word");
  wake(segment, receiver);
  return true;
}

bool unclaim(Segment& segment, ProcessSlot* slot, uint32_t claim, uint32_t word) {
  // Others that came during the claim queued and did not kick, so a receiver looks again. A caller
  // that awaits its reply has no queue to look at.
  const bool receives = state_of(word) != State::kReply && state_of(word) != State::kRemote;
  if (receives) return kick(segment, slot, claim);
  return atomic(slot->rendezvous).compare_exchange_strong(claim, word);
}

namespace {

// Whether the owner of `slot` awaits the answer of `sender`, of another node, to its call
// `call_id`.
bool awaits_remotely(ProcessSlot* slot, uint32_t word, ProcessSlot* sender, uint32_t call_id) {
  return call_id != 0 && state_of(word) == State::kRemote && load(slot->call_id) == call_id &&
         load(slot->command_kind) == kCommandSndrecMsg &&
         load(slot->want_source) == load(sender->endpoint);
}

}  // namespace

HandOver hand_over(Segment& segment, uint32_t sender, uint32_t sequence, int32_t target, bool call,
                   const Message& message, uint32_t answers) {
  ProcessSlot* from = segment.slot(sender);
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(target));
  ProcessSlot* to = segment.slot(index);
  fetch_to_fill(to);
  const auto own = atomic(from->rendezvous);
  // What the sender sent by senda before comes first.
  const bool behind = async_waits(segment, sender, target);
  const uint32_t idle = pack(State::kIdle, sequence, 0);
  const uint32_t awaiting = pack(State::kReply, sequence, index);
  uint32_t mine = idle;
  for (;;) {
    uint32_t word = atomic(to->rendezvous).load(std::memory_order_acquire);
    const bool answering = awaits_remotely(to, word, from, answers);
    const bool open = accepts(word, sender, call) && !(behind && concerns_notice(word, sender));
    if (!open && !answering) break;
    uint32_t claim = with_state(word, State::kFilling, sender);
    if (!atomic(to->rendezvous).compare_exchange_strong(word, claim)) continue;
    DVK_CRASH_POINT("send.claimed");
    // As in `answer`: the word does not tell one call from the next, and while it is claimed no
    // other one begins.
    if (answering && !awaits_remotely(to, word, from, answers)) {
      unclaim(segment, to, claim, word);
      break;
    }
    if (load(to->endpoint) != target) {
      // The target died, and the slot's next owner is open.
      unclaim(segment, to, claim, word);
      own.store(idle);
      return HandOver::kDead;
    }
    // The reply may come before this function returns, so the caller is open for it first.
    if (call && mine != awaiting) own.store(mine = awaiting, std::memory_order_release);
    DVK_CRASH_POINT("send.open");
    copy_in(inbox_of(to, sequence_of(word)), message);
    // A plain send has no number but for the trace.
    if (call || is_traced(segment)) {
      store(inbox_call_of(to, sequence_of(word)), load(from->call_id));
    }
    DVK_CRASH_POINT("send.copied");
    const uint32_t full = with_state(word, call ? State::kFullCall : State::kFull, sender);
    if (atomic(to->rendezvous).compare_exchange_strong(claim, full)) {
      DVK_CRASH_POINT("send.full");
      wake(segment, to);
      return HandOver::kDone;
    }
  }

  copy_in(outbox_of(from, sequence), message);
  DVK_CRASH_POINT("queue.copied");
  store(from->ticket, segment.next_ticket());
  uint32_t waiting = pack(call ? State::kCalling : State::kSending, sequence, index);
  // An error that arrived while this caller was open for the reply stays; the next step finds it.
  if (!own.compare_exchange_strong(mine, waiting)) return HandOver::kQueued;
  DVK_CRASH_POINT("queue.word");
  segment.senders(index).add(sender);
  DVK_CRASH_POINT("queue.added");
  const uint32_t word = atomic(to->rendezvous).load();
  // Who awaits a reply has no queue to look at: it took this message already, and calls back.
  if (concerns(word, sender, call) && state_of(word) != State::kReply) kick(segment, to, word);
  // Looked at after queueing: a repair that ran before saw no waiter.
  if (atomic(to->endpoint).load() != target && own.compare_exchange_strong(waiting, idle)) {
    segment.senders(index).remove(sender);
    return HandOver::kDead;
  }
  // The same of a move to another node.
  if (atomic(to->life).load() == static_cast<uint32_t>(ProcessLife::kRemote) &&
      own.compare_exchange_strong(waiting, idle)) {
    segment.senders(index).remove(sender);
    return HandOver::kMoved;
  }
  return HandOver::kQueued;
}

namespace {

// Takes a sender out of the queue. Returns false when it has queued again just now; then it stays.
bool unqueue(SlotSet queue, ProcessSlot* sender, uint32_t index, uint32_t receiver) {
  queue.remove(index);
  if (!queued_for(atomic(sender->rendezvous).load(), receiver)) return true;
  queue.add(index);
  return false;
}

// The sender with the lowest ticket whose message `receiver` may take now, or -1.
int oldest_sender(Segment& segment, uint32_t receiver, int32_t source, bool request,
                  const Filter* filter) {
  SlotSet queue = segment.senders(receiver);
  const int32_t endpoint = load(segment.slot(receiver)->endpoint);
  int found = -1;
  uint64_t lowest = ~uint64_t{0};
  queue.each([&](uint32_t index) {
    ProcessSlot* sender = segment.slot(index);
    uint32_t word = atomic(sender->rendezvous).load();
    if (!queued_for(word, receiver)) {
      // Left over from a sender that gave up.
      if (unqueue(queue, sender, index, receiver)) return false;
      word = atomic(sender->rendezvous).load();
    }
    if (request && state_of(word) != State::kCalling) return false;
    if (source != kEndpointAny && load(sender->endpoint) != source) return false;
    if (filter != nullptr &&
        !filter->passes(load(sender->endpoint), type_of(outbox_of(sender, sequence_of(word))))) {
      return false;
    }
    // A message to this slot's previous owner; its sender is about to find that out.
    if (load(sender->want_source) != endpoint) return false;
    // It may have sent by senda after the receiver looked there, and queued after that.
    if (!request && async_waits(segment, index, endpoint, filter)) return false;
    const uint64_t ticket = load(sender->ticket);
    if (ticket < lowest || found < 0) {
      lowest = ticket;
      found = static_cast<int>(index);
    }
    return false;
  });
  return found;
}

// The receiver has the message of `sender`, whose word is `claim`. Returns false when that has
// changed.
bool end_taking(Segment& segment, uint32_t sender, uint32_t claim, bool call) {
  ProcessSlot* slot = segment.slot(sender);
  const uint32_t next = with_state(claim, call ? State::kReply : State::kTaken, peer_of(claim));
  if (!call && life_is(slot, ProcessLife::kRemote)) {
    DVK_CRASH_POINT("take.remote");
    return end_remote(segment, sender, claim, next);
  }
  if (!atomic(slot->rendezvous).compare_exchange_strong(claim, next)) return false;
  DVK_CRASH_POINT("take.done");
  if (!call) wake(segment, slot);
  return true;
}

}  // namespace

bool has_queued(Segment& segment, uint32_t receiver, int32_t source, bool request,
                const Filter* filter) {
  return oldest_sender(segment, receiver, source, request, filter) >= 0;
}

bool take_queued(Segment& segment, uint32_t receiver, int32_t source, bool request,
                 const Filter* filter, Message* message, Taken* taken) {
  for (;;) {
    const int index = oldest_sender(segment, receiver, source, request, filter);
    if (index < 0) return false;
    const uint32_t slot = static_cast<uint32_t>(index);
    ProcessSlot* sender = segment.slot(slot);
    uint32_t word = atomic(sender->rendezvous).load();
    if (!queued_for(word, receiver)) continue;
    const bool call = state_of(word) == State::kCalling;
    if (request && !call) continue;
    uint32_t claim = with_state(word, State::kTaking, receiver);
    if (!atomic(sender->rendezvous).compare_exchange_strong(word, claim)) continue;
    DVK_CRASH_POINT("take.claimed");
    copy_out(message, outbox_of(sender, sequence_of(word)));
    const uint32_t call_id = load(sender->call_id);
    settle_source(segment, slot, message);
    if (filter != nullptr && !filter->passes(message->source, message->type)) {
      // Its sender gave up on the message that was looked at, and sent another.
      atomic(sender->rendezvous).compare_exchange_strong(claim, word);
      continue;
    }
    unqueue(segment.senders(receiver), sender, slot, receiver);
    DVK_CRASH_POINT("take.unqueued");
    if (!end_taking(segment, slot, claim, call)) continue;  // It gave up, and keeps its message.
    *taken = {slot, call, call_id};
    return true;
  }
}

void settle_source(Segment& segment, uint32_t peer, Message* message) {
  if (segment.slot_of(message->source) == static_cast<int>(peer)) return;
  message->source = peer < segment.processes() ? load(segment.slot(peer)->endpoint) : kEndpointNone;
}

bool fail(Segment& segment, uint32_t slot, uint32_t word, int error) {
  ProcessSlot* waiter = segment.slot(slot);
  const uint32_t next = with_state(word, State::kError, static_cast<uint32_t>(error));
  if (!atomic(waiter->rendezvous).compare_exchange_strong(word, next)) return false;
  DVK_CRASH_POINT("fail.word");
  wake(segment, waiter);
  return true;
}

void fail_waiter(Segment& segment, uint32_t index, uint32_t slot, int32_t endpoint) {
  ProcessSlot* waiter = segment.slot(index);
  const bool remote = life_is(waiter, ProcessLife::kRemote);
  for (;;) {
    const uint32_t word = atomic(waiter->rendezvous).load();
    const int error = death_error(segment, waiter, word, slot, endpoint);
    if (error != 0) {
      const uint32_t failed = with_state(word, State::kError, static_cast<uint32_t>(error));
      if (remote ? end_remote(segment, index, word, failed) : fail(segment, index, word, error)) {
        return;
      }
    } else if (state_of(word) == State::kFilling && peer_of(word) == slot) {
      if (kick(segment, waiter, word)) return;
    } else {
      // The dead may have changed this word and not come to the wake.
      if (remote && has_ended(word)) {
        tell_of_end(segment, index);
      } else if (!is_waiting(word)) {
        wake(segment, waiter);
      }
      return;
    }
  }
}

void fail_waiters(Segment& segment, uint32_t slot, int32_t endpoint) {
  for (uint32_t index = 0; index < segment.processes(); index++) {
    if (index == slot) continue;
    const uint32_t life = load(segment.slot(index)->life);
    if (life == static_cast<uint32_t>(ProcessLife::kFree)) continue;
    fail_waiter(segment, index, slot, endpoint);
    clear_notice(segment, index, slot);
    segment.senders(index).remove(slot);
    fail_asyncs(segment, index, slot, endpoint);
  }
}

}  // namespace dvk

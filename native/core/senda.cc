#include "senda.h"

#include <errno.h>

#include "async_entry.h"
#include "link.h"
#include "migrate.h"
#include "notify.h"
#include "privilege.h"
#include "search.h"
#include "trace.h"
#include "wait.h"

namespace dvk {
namespace {

constexpr uint32_t kAllFlags = 7;

uint64_t pack(const AsyncWord& word) {
  return static_cast<uint64_t>(word.sequence) << 32 | (word.peer & 0xffff) << 16 |
         static_cast<uint32_t>(word.state);
}

AsyncWord unpack(uint64_t word) {
  return {static_cast<AsyncState>(word & 0xffff), static_cast<uint32_t>(word >> 16 & 0xffff),
          static_cast<uint32_t>(word >> 32)};
}

// Returns false when the entry has gone on without the caller.
bool change(AsyncSlot* entry, const AsyncWord& from, const AsyncWord& to) {
  uint64_t expected = pack(from);
  return atomic(entry->word).compare_exchange_strong(expected, pack(to));
}

bool underway(AsyncState state) {
  return state == AsyncState::kWaiting || state == AsyncState::kTaking;
}

// A notification of the process itself. Left in its set and not handed over: a claim of its word
// would name the process, not whoever was killed in the middle.
void remind(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const int32_t endpoint = load(slot->endpoint);
  if (endpoint == kEndpointNone) return;
  keep_notice(segment, index, endpoint, index, 0);
  DVK_CRASH_POINT("senda.reminded");
  const uint32_t word = atomic(slot->rendezvous).load();
  if (concerns_notice(word, index)) kick(segment, slot, word);
}

// Tells the sender of a message that is done, when it wants to know; or the proxy, for a sender of
// another node.
void tell(Segment& segment, uint32_t sender, uint32_t flags, int error) {
  if (is_descriptor(segment, sender)) {
    announce_for(segment, sender);
    return;
  }
  const bool wanted = (flags & flag(AsyncFlag::kNotify)) != 0 ||
                      (error != 0 && (flags & flag(AsyncFlag::kNotifyError)) != 0);
  if (wanted) remind(segment, sender);
}

// What both ends call the message of an entry in their traces.
uint32_t number_of(Segment& segment, uint32_t sender, AsyncSlot* entry, uint32_t sequence) {
  if (is_descriptor(segment, sender)) return load(entry->call_id);
  const auto index = static_cast<uint32_t>(entry - segment.async(sender, 0));
  return static_cast<uint32_t>(id_of(index, sequence));
}

void note_done(Segment& segment, uint32_t sender, AsyncSlot* entry, uint32_t sequence, int error) {
  const uint32_t number = number_of(segment, sender, entry, sequence);
  trace_async_done(segment, sender, load(entry->destination), number, error);
}

}  // namespace

bool end_async(Segment& segment, uint32_t sender, AsyncSlot* entry, const AsyncWord& from,
               int error) {
  const uint32_t flags = load(entry->flags);
  // A remote process's entry waits for the proxy, which takes the ack from it.
  const bool forget = (flags & flag(AsyncFlag::kForget)) != 0 && !is_descriptor(segment, sender);
  const AsyncWord done{forget ? AsyncState::kFree : AsyncState::kDone,
                       forget ? 0 : static_cast<uint32_t>(error), from.sequence};
  if (!change(entry, from, done)) return false;
  DVK_CRASH_POINT("senda.done");
  if (is_traced(segment)) [[unlikely]]
    note_done(segment, sender, entry, from.sequence, error);
  tell(segment, sender, flags, error);
  return true;
}

namespace {

// Whoever ended a message may have died before it told of it.
void tell_again(Segment& segment, uint32_t sender, AsyncSlot* entry) {
  const AsyncWord word = word_of(entry);
  if (word.state != AsyncState::kDone) return;
  tell(segment, sender, load(entry->flags), static_cast<int>(word.peer));
}

// Ends all messages of `sender` for which `lost(entry)` holds with `error`.
template <typename Lost>
void end_all(Segment& segment, uint32_t sender, int error, Lost lost) {
  each_busy(segment, sender, [&](uint32_t, AsyncSlot* entry) {
    for (AsyncWord word = word_of(entry); underway(word.state) && lost(entry);
         word = word_of(entry)) {
      if (end_async(segment, sender, entry, word, error)) break;
    }
    return false;
  });
}

// A message that waits for `endpoint`: its slot, entry and word.
struct Candidate {
  uint32_t sender = 0;
  uint32_t index = 0;
  AsyncSlot* entry = nullptr;
  AsyncWord word{};
  uint64_t ticket = 0;
};

// The oldest message that one look at the set of `receiver` finds among those that
// `wanted(sender, entry)` lets through. A sender without one leaves the set, unless it has just
// sent.
template <typename Wanted>
Candidate look_for_async(Segment& segment, uint32_t receiver, Wanted wanted) {
  SlotSet senders = segment.async_senders(receiver);
  const int32_t endpoint = load(segment.slot(receiver)->endpoint);
  Candidate found;
  const auto look = [&](uint32_t sender) {
    bool any = false;
    each_busy(segment, sender, [&](uint32_t index, AsyncSlot* entry) {
      const AsyncWord word = word_of(entry);
      if (word.state != AsyncState::kWaiting || load(entry->destination) != endpoint) return false;
      if (is_notice(entry)) return false;
      any = true;
      const uint64_t ticket = load(entry->ticket);
      if ((found.entry == nullptr || ticket < found.ticket) && wanted(sender, entry)) {
        found = {sender, index, entry, word, ticket};
      }
      return false;
    });
    return any;
  };
  senders.each([&](uint32_t sender) {
    if (look(sender)) return false;
    senders.remove(sender);
    if (look(sender)) senders.add(sender);
    return false;
  });
  return found;
}

// The oldest message, as above. One look may pass an entry by, which is filled right after, and
// find a younger one of the same sender behind it. A look that begins when that one is there finds
// all that were sent before it.
template <typename Wanted>
Candidate oldest_async(Segment& segment, uint32_t receiver, Wanted wanted) {
  Candidate found = look_for_async(segment, receiver, wanted);
  while (found.entry != nullptr) {
    const Candidate again = look_for_async(segment, receiver, wanted);
    if (again.entry == nullptr || again.ticket <= found.ticket) return again;
    found = again;
  }
  return found;
}

// Claims a message for `claimant` and copies it. Returns false when it has gone on meanwhile.
bool claim_async(Segment& segment, Candidate& candidate, uint32_t claimant, Message* message) {
  const AsyncWord claim{AsyncState::kTaking, claimant, candidate.word.sequence};
  if (!change(candidate.entry, candidate.word, claim)) return false;
  DVK_CRASH_POINT("senda.claimed");
  copy_out(message, &candidate.entry->message);
  settle_source(segment, candidate.sender, message);
  candidate.word = claim;
  return true;
}

bool wants(const Process& process, uint32_t sender, AsyncSlot* entry) {
  const int32_t source = load(process.segment.slot(sender)->endpoint);
  const int32_t wanted = process.operation.peer;
  if (wanted != kEndpointAny && source != wanted) return false;
  const Filter* filter = active_filter(process);
  return filter == nullptr || filter->passes(source, type_of(&entry->message));
}

Candidate find_for(Process& process) {
  return oldest_async(process.segment, process.index, [&](uint32_t sender, AsyncSlot* entry) {
    return wants(process, sender, entry);
  });
}

// The entry that an id names, or null.
AsyncSlot* find_entry(Process& process, int32_t id) {
  if (id < 0) return nullptr;
  const uint32_t index = static_cast<uint32_t>(id) % kAsyncs;
  if ((load(process.slot->async_busy) >> index & 1) == 0) return nullptr;
  AsyncSlot* entry = process.segment.async(process.index, index);
  const AsyncWord word = word_of(entry);
  const bool same = word.state != AsyncState::kFree && id_of(index, word.sequence) == id;
  return same ? entry : nullptr;
}

}  // namespace

namespace {

// Makes an entry WAITING. Others see it when its bit in async_busy is set.
AsyncWord fill_entry(Segment& segment, uint32_t sender, uint32_t index, int32_t destination,
                     const Message& message, uint32_t flags) {
  AsyncSlot* entry = segment.async(sender, index);
  const AsyncWord word{AsyncState::kWaiting, 0, word_of(entry).sequence + 1};
  copy_in(&entry->message, message);
  store(entry->destination, destination);
  store(entry->flags, flags);
  store(entry->ticket, segment.next_ticket());
  atomic(entry->word).store(pack(word));
  DVK_CRASH_POINT("senda.filled");
  atomic(segment.slot(sender)->async_busy).fetch_or(1u << index);
  DVK_CRASH_POINT("senda.shown");
  return word;
}

}  // namespace

int post_entry(Process& process, int32_t destination, const Message& message, uint32_t flags,
               Posted* posted) {
  tidy_asyncs(process);
  const uint32_t busy = load(process.slot->async_busy);
  if (busy == ~0u) return -ENOSPC;
  Message out = message;
  out.source = process.endpoint;
  const uint32_t index = static_cast<uint32_t>(__builtin_ctz(~busy));
  posted->word = fill_entry(process.segment, process.index, index, destination, out, flags);
  posted->entry = process.segment.async(process.index, index);
  posted->id = id_of(index, posted->word.sequence);
  return 0;
}

void offer(Segment& segment, uint32_t sender, AsyncSlot* entry, const AsyncWord& word,
           int32_t destination) {
  const uint32_t target = static_cast<uint32_t>(segment.slot_of(destination));
  ProcessSlot* to = segment.slot(target);
  segment.async_senders(target).add(sender);
  DVK_CRASH_POINT("senda.offered");
  const uint32_t open = atomic(to->rendezvous).load();
  if (concerns_notice(open, sender)) kick(segment, to, open);
  // Looked at after the entry was shown: a repair that ran before saw none, nor did a move.
  if (atomic(to->endpoint).load() != destination) end_async(segment, sender, entry, word, EDSTDIED);
  if (is_descriptor(segment, target) && !is_descriptor(segment, sender)) {
    announce_for(segment, target);
  }
}

AsyncWord word_of(AsyncSlot* entry) {
  return unpack(atomic(entry->word).load());
}

namespace {

int32_t post(Process& process, int32_t destination, const Message& message, uint32_t flags) {
  Segment& segment = process.segment;
  const uint32_t notify = flag(AsyncFlag::kNotify) | flag(AsyncFlag::kNotifyError);
  const bool forget = (flags & flag(AsyncFlag::kForget)) != 0;
  if (flags > kAllFlags || (forget && (flags & notify) != 0)) return -EINVAL;
  uint32_t target;
  int error = check_caller(process, CallRight::kSend);
  if (error == 0) error = check_peer(process, destination, -EDVSBADDEST, process.index, &target);
  if (can_await(segment, destination, error)) {
    return post_sought(process, destination, message, flags);
  }
  if (error != 0) return error;
  const bool remote = is_remote(segment, target);
  const uint32_t node = load(segment.slot(target)->node);
  const int reachable = remote ? check_link(segment, node) : 0;
  if (reachable != 0) return reachable;
  Posted posted;
  error = post_entry(process, destination, message, flags, &posted);
  if (error != 0) return error;
  if (remote) {
    segment.async_senders(target).add(process.index);
    announce_for(segment, target);
    count(process.slot->sent_remote);
    // A link that went down before the entry was shown has not seen it.
    if (check_link(segment, node) != 0) {
      end_async(segment, process.index, posted.entry, posted.word, ENOTCONN);
    } else if (atomic(segment.slot(target)->endpoint).load() != destination) {
      end_async(segment, process.index, posted.entry, posted.word, EDSTDIED);
    }
  } else {
    offer(segment, process.index, posted.entry, posted.word, destination);
    count(process.slot->sent);
  }
  return posted.id;
}

}  // namespace

int32_t senda(Process& process, int32_t destination, const Message& message, uint32_t flags) {
  const TracedCall traced(process, TraceCall::kSenda, destination);
  const int32_t id = post(process, destination, message, flags);
  return traced.end(id, message.type, id < 0 ? 0 : static_cast<uint32_t>(id));
}

int senda_status(Process& process, int32_t id) {
  AsyncSlot* entry = find_entry(process, id);
  if (entry == nullptr) return -EINVAL;
  const AsyncWord word = word_of(entry);
  if (word.state != AsyncState::kDone) return kPending;
  change(entry, word, {AsyncState::kFree, 0, word.sequence});
  tidy_asyncs(process);
  return -static_cast<int>(word.peer);
}

int senda_cancel(Process& process, int32_t id) {
  AsyncSlot* entry = find_entry(process, id);
  if (entry == nullptr) return -EINVAL;
  for (;;) {
    const AsyncWord word = word_of(entry);
    if (!underway(word.state)) return -EALREADY;
    if (word.state == AsyncState::kTaking && word.peer == kProxyPeer) return -EBUSY;
    // Also one that a receiver is just taking: its last change fails, and it drops its copy.
    if (end_async(process.segment, process.index, entry, word, ECANCELED)) return 0;
  }
}

bool take_async(Process& process) {
  for (;;) {
    Candidate found = find_for(process);
    if (found.entry == nullptr) return false;
    Message& message = process.operation.message;
    const AsyncWord before = found.word;
    if (!claim_async(process.segment, found, process.index, &message)) continue;
    const Filter* filter = active_filter(process);
    if (filter != nullptr && !filter->passes(message.source, message.type)) {
      change(found.entry, found.word, before);
      continue;
    }
    if (!end_async(process.segment, found.sender, found.entry, found.word, 0)) continue;
    const uint32_t number = is_traced(process.segment) ? number_of(process.segment, found.sender,
                                                                   found.entry, found.word.sequence)
                                                       : 0;
    note_received(process, MessageKind::kAsync, found.sender, number);
    return true;
  }
}

bool has_async(Process& process) {
  return find_for(process).entry != nullptr;
}

bool async_waits(Segment& segment, uint32_t sender, int32_t target, const Filter* filter) {
  const int32_t source = load(segment.slot(sender)->endpoint);
  return each_busy(segment, sender, [&](uint32_t, AsyncSlot* entry) {
    return word_of(entry).state == AsyncState::kWaiting && load(entry->destination) == target &&
           !is_notice(entry) &&
           (filter == nullptr || filter->passes(source, type_of(&entry->message)));
  });
}

void tidy_asyncs(Process& process) {
  uint32_t freed = 0;
  each_busy(process.segment, process.index, [&](uint32_t index, AsyncSlot* entry) {
    if (word_of(entry).state == AsyncState::kFree) freed |= 1u << index;
    return false;
  });
  if (freed != 0) atomic(process.slot->async_busy).fetch_and(~freed);
  DVK_CRASH_POINT("senda.tidied");
}

void fail_asyncs(Segment& segment, uint32_t index, uint32_t slot, int32_t endpoint) {
  segment.async_senders(index).remove(slot);
  each_busy(segment, index, [&](uint32_t, AsyncSlot* entry) {
    if (load(entry->destination) == endpoint) tell_again(segment, index, entry);
    return false;
  });
  end_all(segment, index, EDSTDIED,
          [&](AsyncSlot* entry) { return load(entry->destination) == endpoint; });
}

bool has_asyncs(Segment& segment, uint32_t index) {
  return each_busy(segment, index,
                   [&](uint32_t, AsyncSlot* entry) { return underway(word_of(entry).state); });
}

void return_asyncs(Segment& segment, uint32_t slot, int32_t endpoint) {
  segment.async_senders(slot).each([&](uint32_t sender) {
    if (!is_descriptor(segment, sender)) return false;
    end_all(segment, sender, EDVSMIGRATING,
            [&](AsyncSlot* entry) { return load(entry->destination) == endpoint; });
    segment.async_senders(slot).remove(sender);
    return false;
  });
}

void drop_asyncs(Segment& segment, uint32_t index) {
  each_busy(segment, index, [&](uint32_t, AsyncSlot* entry) {
    atomic(entry->word).store(pack({AsyncState::kFree, 0, word_of(entry).sequence + 1}));
    return false;
  });
  atomic(segment.slot(index)->async_busy).store(0);
  SlotSet senders = segment.async_senders(index);
  senders.each([&](uint32_t sender) {
    senders.remove(sender);
    return false;
  });
}

// ---- Between nodes ----

namespace {

bool take_message(Segment& segment, uint32_t target, Command* command) {
  for (;;) {
    Candidate found = oldest_async(segment, target, [](uint32_t, AsyncSlot*) { return true; });
    if (found.entry == nullptr) return false;
    if (!claim_async(segment, found, kProxyPeer, &command->message)) continue;
    command->kind = kCommandAsyncMsg;
    command->source = load(segment.slot(found.sender)->endpoint);
    command->destination = load(segment.slot(target)->endpoint);
    command->message.source = command->source;
    command->call_id = static_cast<uint32_t>(id_of(found.index, found.word.sequence));
    return true;
  }
}

bool take_ack(Segment& segment, uint32_t descriptor, Command* command) {
  return each_busy(segment, descriptor, [&](uint32_t index, AsyncSlot* entry) {
    const AsyncWord word = word_of(entry);
    if (word.state != AsyncState::kDone) return false;
    command->kind = kCommandAsyncMsg | kCommandAck;
    command->source = load(entry->destination);
    command->destination = load(segment.slot(descriptor)->endpoint);
    command->result = -static_cast<int32_t>(word.peer);
    if (word.peer == EDVSMIGRATING) {
      command->copy_destination_node = place_told(segment, command->source);
    }
    command->call_id = load(entry->call_id);
    if (!change(entry, word, {AsyncState::kFree, 0, word.sequence})) return false;
    atomic(segment.slot(descriptor)->async_busy).fetch_and(~(1u << index));
    return true;
  });
}

}  // namespace

bool take_remote_async(Segment& segment, uint32_t target, bool held, Command* command) {
  const bool taken =
      take_ack(segment, target, command) || (!held && take_message(segment, target, command));
  if (!taken) return false;
  announce_for(segment, target);  // There may be more.
  return true;
}

bool has_async_ack(Segment& segment, uint32_t descriptor, uint32_t slot, int32_t owner) {
  return each_busy(segment, descriptor, [&](uint32_t, AsyncSlot* entry) {
    const int32_t destination = load(entry->destination);
    return word_of(entry).state == AsyncState::kDone && destination != owner &&
           segment.slot_of(destination) == static_cast<int>(slot);
  });
}

int put_async(Segment& segment, uint32_t descriptor, const Command& command) {
  const uint32_t index = command.call_id % kAsyncs;
  // Its node uses the entry again after the ack only.
  if ((load(segment.slot(descriptor)->async_busy) >> index & 1) != 0) return -EDVSBADFRAME;
  AsyncSlot* entry = segment.async(descriptor, index);
  store(entry->call_id, command.call_id);
  Message message = command.message;
  message.source = command.source;
  const AsyncWord word = fill_entry(segment, descriptor, index, command.destination, message, 0);
  uint32_t target;
  const int error = check_endpoint(segment, command.destination, &target);
  if (error != 0 || is_remote(segment, target)) {
    end_async(segment, descriptor, entry, word, -absent_error(segment, command.destination));
  } else if (!takes_from(segment, target, descriptor)) {
    end_async(segment, descriptor, entry, word, ECALLDENIED);
  } else {
    offer(segment, descriptor, entry, word, command.destination);
  }
  return 0;
}

namespace {

// A message that `node` has given back goes to where its receiver is now, or waits for that.
// Returns false when it would go to the same node again.
bool send_again(Segment& segment, uint32_t sender, AsyncSlot* entry, const AsyncWord& word,
                uint32_t node) {
  const int32_t destination = load(entry->destination);
  uint32_t target;
  if (check_endpoint(segment, destination, &target) != 0) return false;
  const bool remote = is_remote(segment, target);
  if (remote && load(segment.slot(target)->node) == node && !is_held(segment, target)) return false;
  const AsyncWord waiting{AsyncState::kWaiting, 0, word.sequence};
  if (!change(entry, word, waiting)) return true;
  if (remote) {
    segment.async_senders(target).add(sender);
    announce_for(segment, target);
  } else {
    offer(segment, sender, entry, waiting, destination);
  }
  return true;
}

}  // namespace

int put_async_ack(Segment& segment, uint32_t node, const Command& command) {
  uint32_t sender;
  // An answer that came too late is nobody's fault.
  if (check_endpoint(segment, command.destination, &sender) != 0 || is_remote(segment, sender)) {
    return 0;
  }
  if (command.result > 0 || command.result < -0xffff) return -EDVSBADFRAME;
  const uint32_t index = command.call_id % kAsyncs;
  AsyncSlot* entry = segment.async(sender, index);
  const AsyncWord word = word_of(entry);
  const int target = segment.slot_of(load(entry->destination));
  const bool mine = word.state == AsyncState::kTaking && word.peer == kProxyPeer &&
                    static_cast<uint32_t>(id_of(index, word.sequence)) == command.call_id &&
                    load(entry->destination) == command.source && target >= 0 &&
                    load(segment.slot(static_cast<uint32_t>(target))->node) == node;
  if (!mine) return 0;
  if (command.result == -EDVSMIGRATING) {
    note_moved(segment, node, command.source, command.copy_destination_node);
    if (send_again(segment, sender, entry, word, node)) return 0;
  }
  end_async(segment, sender, entry, word, -command.result);
  return 0;
}

void disconnect_asyncs(Segment& segment, uint32_t index, uint32_t node) {
  const auto goes_there = [&](AsyncSlot* entry) {
    const int target = segment.slot_of(load(entry->destination));
    return target >= 0 && load(segment.slot(static_cast<uint32_t>(target))->node) == node;
  };
  each_busy(segment, index, [&](uint32_t, AsyncSlot* entry) {
    if (goes_there(entry)) tell_again(segment, index, entry);
    return false;
  });
  end_all(segment, index, ENOTCONN, goes_there);
}

}  // namespace dvk

// The rendezvous word: where a process stands in its present call, in 32 bits that change by
// compare-and-swap.
//
//   | peer: 16 | sequence: 12 | state: 4 |
//
// Receiver side: the owner opens (ANY, FROM, REPLY, REQUEST). One sender claims it (FILLING, peer =
// sender), writes the message into the inbox, and ends with FULL. No lock is held, and a sender
// that dies while it fills leaves its slot number in the word, so that whoever finds the body knows
// what to undo.
//
// Sender side: a message that cannot be handed over waits in the sender's outbox (SENDING, or
// CALLING for sendrec; peer = destination). The receiver claims it (TAKING), copies it, and ends
// with TAKEN, or with REPLY for a sendrec.
//
// A remote process has a descriptor, whose word its proxy changes as an owner does; see
// remote_end.h.
//
// The sequence changes only when the owner gives up on a claimant that is stopped in the middle.
// Its low bit tells which of the two message buffers is in use, so what the stopped one still
// writes goes where nobody looks, and its last compare-and-swap fails.
#pragma once

#include "departures.h"
#include "filter.h"
#include "segment.h"

namespace dvk {

enum class State : uint32_t {
  kIdle = 0,
  kAny = 1,         // receives from anyone
  kFrom = 2,        // receives from `peer`
  kReply = 3,       // awaits the reply of `peer`; notifications do not break in
  kRequest = 4,     // receives requests of sendrec
  kFilling = 5,     // `peer` writes into the inbox
  kFull = 6,        // the inbox holds a message of send or reply
  kFullCall = 7,    // ... of sendrec
  kFullNotify = 8,  // ... a notification; or, for who awaits a reply, a relay
  kSending = 9,     // the outbox waits for `peer`
  kCalling = 10,    // ... and a reply is awaited after that
  kTaking = 11,     // `peer` copies the outbox
  kTaken = 12,      // the outbox was taken, or a remote call is done; see command_result
  kRemote = 13,     // a command is under way to node `peer`
  kError = 14,      // the call failed with error `peer`
  kKick = 15,       // look again at the queues
};

inline constexpr uint32_t kSequenceMask = 0xfff;
inline constexpr uint32_t kProxyPeer = 0xffff;  // the proxy as claimant; no process has this slot

inline uint32_t pack(State state, uint32_t sequence, uint32_t peer) {
  return static_cast<uint32_t>(state) | (sequence & kSequenceMask) << 4 | peer << 16;
}
inline State state_of(uint32_t word) {
  return static_cast<State>(word & 15);
}
inline uint32_t sequence_of(uint32_t word) {
  return word >> 4 & kSequenceMask;
}
inline uint32_t peer_of(uint32_t word) {
  return word >> 16;
}
inline uint32_t with_state(uint32_t word, State state, uint32_t peer) {
  return pack(state, sequence_of(word), peer);
}

// The peer of a word that is open to anyone when its owner has a filter: senders cannot know what
// passes it, so they queue, and let the owner look.
inline constexpr uint32_t kFiltered = 1;

inline bool is_filtered(uint32_t word) {
  const State state = state_of(word);
  return (state == State::kAny || state == State::kRequest) && peer_of(word) == kFiltered;
}

// Whether a message of the process in `sender` is one that the owner of `word` receives, but for
// its filter.
inline bool concerns(uint32_t word, uint32_t sender, bool call) {
  switch (state_of(word)) {
    case State::kAny:
      return true;
    case State::kFrom:
    case State::kReply:
      return peer_of(word) == sender;
    case State::kRequest:
      return call;
    default:
      return false;
  }
}
// Whether the owner of `word` takes a message of the process in `sender` now.
inline bool accepts(uint32_t word, uint32_t sender, bool call) {
  return concerns(word, sender, call) && !is_filtered(word);
}
// The same for what is neither an answer nor a request: notifications and messages of senda.
inline bool concerns_notice(uint32_t word, uint32_t sender) {
  const State state = state_of(word);
  return state == State::kAny || (state == State::kFrom && peer_of(word) == sender);
}
inline bool accepts_notice(uint32_t word, uint32_t sender) {
  return concerns_notice(word, sender) && !is_filtered(word);
}
// Whether the owner has nothing to do but wait.
inline bool is_waiting(uint32_t word) {
  switch (state_of(word)) {
    case State::kAny:
    case State::kFrom:
    case State::kReply:
    case State::kRequest:
    case State::kFilling:
    case State::kSending:
    case State::kCalling:
    case State::kTaking:
    case State::kRemote:
      return true;
    default:
      return false;
  }
}

// Whether somebody is in the middle of a hand-over with the owner.
inline bool is_claimed(uint32_t word) {
  return state_of(word) == State::kFilling || state_of(word) == State::kTaking;
}

inline Message* inbox_of(ProcessSlot* slot, uint32_t sequence) {
  return sequence & 1 ? &slot->inbox1 : &slot->inbox0;
}
inline Message* outbox_of(ProcessSlot* slot, uint32_t sequence) {
  return sequence & 1 ? &slot->outbox1 : &slot->outbox0;
}

// The number of the call whose message is in that inbox, beside which it lies.
inline uint32_t& inbox_call_of(ProcessSlot* slot, uint32_t sequence) {
  return sequence & 1 ? slot->inbox_call1 : slot->inbox_call0;
}

// Fetches the lines that a hand-over to the owner of `slot` writes, both at once and to be written.
// One after the other, and first to be read, they would travel between the CPUs four times.
inline void fetch_to_fill(ProcessSlot* slot) {
#if defined(__x86_64__)
  // GCC makes this instruction of its builtin only for CPUs that are known to have it; others take
  // it for nothing.
  asm volatile("prefetchw %0" ::"m"(slot->rendezvous));
  asm volatile("prefetchw %0" ::"m"(slot->inbox0));
#else
  __builtin_prefetch(&slot->rendezvous, 1);
  __builtin_prefetch(&slot->inbox0, 1);
#endif
}

// Messages in shared memory are copied word by word, since a stopped claimant may still write the
// buffer given up to it.
void copy_in(Message* shared, const Message& message);
void copy_out(Message* message, Message* shared);
int32_t type_of(Message* shared);

template <typename T>
inline T load(T& field) {
  return std::atomic_ref<T>(field).load(std::memory_order_relaxed);
}
template <typename T>
inline void store(T& field, T value) {
  SharedField<T>(field).store(value, std::memory_order_relaxed);
}
inline bool life_is(ProcessSlot* slot, ProcessLife life) {
  return SharedField<uint32_t>(slot->life).load(std::memory_order_acquire) ==
         static_cast<uint32_t>(life);
}

// Hands `message` to `target`, or leaves it queued in `sender`'s outbox. `sender` may be a remote
// process's descriptor, and `answers` is then the target's call that the message ends, 0 for none:
// one whose request the sender has, at its own node. kMoved: the target is of another node now.
enum class HandOver { kDone, kQueued, kDead, kMoved };
HandOver hand_over(Segment& segment, uint32_t sender, uint32_t sequence, int32_t target, bool call,
                   const Message& message, uint32_t answers = 0);
// Lets a receiver look again at its queues. Returns false when its word has changed.
bool kick(Segment& segment, ProcessSlot* receiver, uint32_t word);
// Gives back the claim on `slot`, whose word was `word` before. Returns false when the owner ended
// it.
bool unclaim(Segment& segment, ProcessSlot* slot, uint32_t claim, uint32_t word);
// The source of a message was written by the sender's core; the slot that handed it over has the
// last say.
void settle_source(Segment& segment, uint32_t peer, Message* message);
// Gives the oldest matching message of `receiver`'s queue. `request` wants sendrec only.
struct Taken {
  uint32_t sender;
  bool call;
  uint32_t call_id;  // of a call
};
bool take_queued(Segment& segment, uint32_t receiver, int32_t source, bool request,
                 const Filter* filter, Message* message, Taken* taken);
bool has_queued(Segment& segment, uint32_t receiver, int32_t source, bool request,
                const Filter* filter);
// Answers a command of a remote process at once: for its proxy; see remote_end.h.
void acknowledge(Segment& segment, uint32_t descriptor, uint32_t kind, int32_t party, int result);

// Ends the wait of the process in `index` for the one in `slot`, whose endpoint was `endpoint`, if
// it waits for that.
void fail_waiter(Segment& segment, uint32_t index, uint32_t slot, int32_t endpoint);
// Undoes every wait on the process in `slot`, whose endpoint was `endpoint`. Preconditions: the
// table lock is held.
void fail_waiters(Segment& segment, uint32_t slot, int32_t endpoint);
// Reads a name of the segment; it always ends.
void get_name(char (&text)[kNameBytes], char (&shared)[kNameBytes]);
// Frees what a process held and its slot; `status`: how it went, see departures.h. Preconditions:
// the table lock is held, the owner makes no more calls.
void release_slot(Segment& segment, uint32_t slot, int32_t status = kEnded);
// Moves a waiting process of this node to an error. Returns false when the word has changed.
bool fail(Segment& segment, uint32_t slot, uint32_t word, int error);

}  // namespace dvk

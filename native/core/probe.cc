#include "probe.h"

#include "deadlock.h"
#include "rendezvous.h"
#include "senda.h"
#include "wait.h"

namespace dvk {
namespace {

// The wait of a process of this node, all of one moment.
struct Wait {
  uint32_t word, command_kind, call_id, level;
  int32_t endpoint, target;
  uint64_t ticket;
};

// Returns false when the owner of `slot` has not gone to sleep, or is on its way out. A ticket is
// taken after the word says that its owner waits, and given back before the next word does: what
// lies between two equal looks at both is of that wait.
bool read_wait(ProcessSlot* slot, Wait* wait) {
  wait->ticket = atomic(slot->wait_ticket).load();
  wait->word = atomic(slot->rendezvous).load();
  wait->endpoint = atomic(slot->endpoint).load();
  wait->target = atomic(slot->want_source).load();
  wait->command_kind = atomic(slot->command_kind).load();
  wait->call_id = atomic(slot->call_id).load();
  wait->level = atomic(slot->level).load();
  return wait->ticket != 0 && life_is(slot, ProcessLife::kLocal) &&
         atomic(slot->rendezvous).load() == wait->word &&
         atomic(slot->wait_ticket).load() == wait->ticket;
}

// SplitMix64's last step.
uint64_t mix(uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

// What of a path comes before a wait that is added to it.
struct Path {
  uint32_t waits = 0, sends = 0;
  uint64_t digest = 0;

  void add(const Wait& wait) {
    waits++;
    digest = mix(digest ^ mix(wait.ticket ^ mix(static_cast<uint32_t>(wait.endpoint))));
  }
};

bool is_message(uint32_t kind) {
  return kind == kCommandSendMsg || kind == kCommandSndrecMsg;
}

// Tells `wait`, which waits_remotely and is the last one of `path`.
RemoteWait tell(Segment& segment, const Wait& wait, const Path& path) {
  const bool calls = state_of(wait.word) == State::kRemote;
  const uint32_t peer = peer_of(wait.word);
  RemoteWait told{};
  told.waiter = wait.endpoint;
  told.target = wait.target;
  told.node = calls ? peer : load(segment.slot(peer)->node);
  told.call = calls ? wait.command_kind : static_cast<uint32_t>(kCommandNone);
  told.call_id = calls ? wait.call_id : 0;
  told.level = wait.level;
  told.ticket = wait.ticket;
  told.waits = path.waits;
  told.sends = path.sends;
  told.digest = path.digest;
  return told;
}

bool read_remote_wait(Segment& segment, uint32_t index, RemoteWait* wait) {
  ProcessSlot* slot = segment.slot(index);
  Wait found;
  if (!read_wait(slot, &found) || !waits_remotely(segment, slot, found.word)) return false;
  // Who reads the table goes on behind the slot of the last one told.
  if (segment.slot_of(found.endpoint) != static_cast<int>(index)) return false;
  Path path;
  path.add(found);
  *wait = tell(segment, found, path);
  return true;
}

// Whether something that `sender` has sent to the descriptor in `target` is still to leave.
bool sends_to(Segment& segment, uint32_t sender, uint32_t target) {
  const bool notice =
      segment.notices(target).each([&](uint32_t source) { return source == sender; });
  return notice || async_waits(segment, sender, load(segment.slot(target)->endpoint));
}

// Whether the waiter's end of the edge says that it waits for `target`, a slot of this node.
// `sends` tells whether its message still lies there.
bool edge_stands(Segment& segment, const WaitEdge& edge, uint32_t target, bool* sends_message) {
  *sends_message = false;
  uint32_t index;
  const bool known = check_endpoint(segment, edge.source, &index) == 0;
  // Who only receives from a process of this node need not be known here.
  if (!known) return edge.call == kCommandNone;
  ProcessSlot* source = segment.slot(index);
  if (!life_is(source, ProcessLife::kRemote) || load(source->node) != edge.node) return false;
  if (edge.call == kCommandNone) return !sends_to(segment, target, index);
  const uint32_t word = atomic(source->rendezvous).load();
  *sends_message = sends(word);
  return is_message(edge.call) && awaited(word) == target &&
         load(source->call_id) == edge.call_id && load(source->remote_call) == edge.call &&
         load(source->want_source) == edge.target;
}

}  // namespace

bool waits_remotely(Segment& segment, ProcessSlot* slot, uint32_t word) {
  const uint32_t peer = peer_of(word);
  switch (state_of(word)) {
    case State::kRemote:
      return peer < segment.nodes() && is_message(load(slot->command_kind));
    case State::kFrom:
      return peer < segment.processes() && life_is(segment.slot(peer), ProcessLife::kRemote) &&
             load(segment.slot(peer)->endpoint) == load(slot->want_source);
    default:
      return false;
  }
}

size_t remote_waits(Segment& segment, uint32_t first, RemoteWait* waits, size_t capacity) {
  SlotSet waiters = segment.remote_waiters();
  size_t count = 0;
  waiters.each([&](uint32_t index) {
    if (index < first) return false;
    if (count == capacity) return true;
    if (read_remote_wait(segment, index, &waits[count])) {
      count++;
      return false;
    }
    // Looked at again after: its next wait may have begun, and it is noted once.
    waiters.remove(index);
    if (read_remote_wait(segment, index, &waits[count])) {
      waiters.add(index);
      count++;
    }
    return false;
  });
  return count;
}

bool remote_wait(Segment& segment, int32_t waiter, RemoteWait* wait) {
  uint32_t index;
  return check_endpoint(segment, waiter, &index) == 0 && read_remote_wait(segment, index, wait) &&
         wait->waiter == waiter;
}

bool follow_waits(Segment& segment, const WaitEdge& edge, RemoteWait* wait) {
  uint32_t index;
  bool sends_message;
  if (check_endpoint(segment, edge.target, &index) != 0) return false;
  if (!edge_stands(segment, edge, index, &sends_message)) return false;
  Path path;
  path.sends = sends_message ? 1 : 0;
  int32_t expected = edge.target;
  while (path.waits < segment.processes()) {
    ProcessSlot* slot = segment.slot(index);
    Wait found;
    if (!read_wait(slot, &found) || found.endpoint != expected) return false;
    // Who was killed in its sleep waits for nothing.
    if (!owner_alive(slot)) return false;
    path.add(found);
    if (waits_remotely(segment, slot, found.word)) {
      *wait = tell(segment, found, path);
      return true;
    }
    index = awaited(found.word);
    if (index >= segment.processes()) return false;
    if (sends(found.word)) path.sends++;
    expected = found.target;
  }
  return false;
}

bool lock_wait(Segment& segment, int32_t waiter, uint64_t ticket) {
  uint32_t index;
  if (check_endpoint(segment, waiter, &index) != 0) return false;
  ProcessSlot* slot = segment.slot(index);
  uint32_t word = atomic(slot->rendezvous).load();
  if (!waits_remotely(segment, slot, word)) return false;
  // Its owner begins no other wait while the word is claimed, so the ticket is of this one.
  uint32_t claim = with_state(word, State::kFilling, kProxyPeer);
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, claim)) return false;
  if (load(slot->endpoint) == waiter && atomic(slot->wait_ticket).load() == ticket) {
    return fail(segment, index, claim, ELOCKED);
  }
  unclaim(segment, slot, claim, word);
  return false;
}

}  // namespace dvk

#include "deadlock.h"

#include <vector>

#include "probe.h"
#include "wait.h"

namespace dvk {
namespace {

struct Wait {
  uint32_t slot, word;
  uint64_t ticket;
  bool operator==(const Wait&) const = default;
};
using Waits = std::vector<Wait>;

bool is_local(Segment& segment, uint32_t index) {
  return load(segment.slot(index)->life) == static_cast<uint32_t>(ProcessLife::kLocal);
}

// Whether the path of waits from `start` comes back to it; fills `waits` unless it is null. A path
// that comes to a wait without a ticket does not: its owner has still to look, and will see all
// that can be seen here.
bool comes_back(Segment& segment, uint32_t start, Waits* waits) {
  uint32_t index = start;
  for (uint32_t steps = 0; steps < segment.processes(); steps++) {
    if (!is_local(segment, index)) return false;
    ProcessSlot* slot = segment.slot(index);
    // The word before the ticket, or the ticket could be of a later wait.
    const uint32_t word = atomic(slot->rendezvous).load();
    const uint64_t ticket = atomic(slot->wait_ticket).load();
    if (waits != nullptr) waits->push_back({index, word, ticket});
    index = awaited(word);
    if (ticket == 0 || index >= segment.processes()) return false;
    if (index == start) return true;
  }
  return false;
}

bool will_meet(const Waits& cycle) {
  return cycle.size() == 2 && sends(cycle[0].word) != sends(cycle[1].word);
}

// Who was killed waits for nothing; that it is dead will be found out soon.
bool all_live(Segment& segment, const Waits& cycle) {
  for (const Wait& wait : cycle) {
    if (!owner_alive(segment.slot(wait.slot))) return false;
  }
  return true;
}

}  // namespace

void begin_wait(ProcessSlot* slot) {
  store(slot->wait_ticket, uint64_t{0});
}

bool break_cycle(Process& process) {
  Segment& segment = process.segment;
  ProcessSlot* slot = process.slot;
  const auto rendezvous = atomic(slot->rendezvous);
  uint32_t word = rendezvous.load();
  const bool remote = waits_remotely(segment, slot, word);
  if (!remote && awaited(word) >= segment.processes()) return false;
  if (load(slot->wait_ticket) == 0) {
    atomic(slot->wait_ticket).store(atomic(segment.header()->ticket).fetch_add(1));
    if (remote) segment.remote_waiters().add(process.index);
  }
  DVK_CRASH_POINT("deadlock.ticket");
  if (remote) return false;
  // As if the word were set now: of two that walk, one sees the other.
  if (!rendezvous.compare_exchange_strong(word, word)) return true;
  if (!comes_back(segment, process.index, nullptr)) return false;
  Waits cycle, again;
  if (!comes_back(segment, process.index, &cycle) || will_meet(cycle)) return false;
  if (!comes_back(segment, process.index, &again) || again != cycle) return false;
  if (!all_live(segment, cycle)) return false;
  const Wait* last = &cycle[0];
  for (const Wait& wait : cycle) {
    if (wait.ticket > last->ticket) last = &wait;
  }
  if (last->slot != process.index) {
    wake(segment, segment.slot(last->slot));
    return false;
  }
  word = cycle[0].word;
  if (rendezvous.compare_exchange_strong(word, with_state(word, State::kError, ELOCKED)) &&
      sends(word)) {
    segment.senders(peer_of(word)).remove(process.index);
  }
  return true;
}

}  // namespace dvk

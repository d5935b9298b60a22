// What a process does about another one that stopped in the middle of a hand-over with it.

#include "call.h"
#include "wait.h"

namespace dvk {

void outwait_claimant(Process& process, uint32_t word) {
  const bool copies = process.operation.kind == Operation::Kind::kCopy;
  if (spin_while(process.slot, word, copies ? kCopyClaimNs : kClaimNs)) return;
  const uint32_t next = pack(State::kIdle, process.sequence + 1, 0);
  if (atomic(process.slot->rendezvous).compare_exchange_strong(word, next)) {
    DVK_CRASH_POINT("outwait.word");
    process.sequence = (process.sequence + 1) & kSequenceMask;
  }
}

bool pass_claimant(Process& process, uint32_t word) {
  if (process.operation.peer != kEndpointAny) return false;
  const int64_t now = now_ns();
  if (process.claim != word) {
    process.claim = word;
    process.claimed_at = now;
    return false;
  }
  if (now - process.claimed_at < kNetMs * 1'000'000) return false;
  process.claim = 0;
  outwait_claimant(process, word);
  return state_of(atomic(process.slot->rendezvous).load()) == State::kIdle;
}

void wake_claimed(Segment& segment, ProcessSlot* slot) {
  const uint32_t word = atomic(slot->rendezvous).load();
  if (state_of(word) == State::kFilling || !is_waiting(word)) wake(segment, slot);
}

}  // namespace dvk

// Notifications: one bit for each source that waits at its receiver; those that were not yet
// received merge.

#include "call.h"
#include "link.h"
#include "wait.h"

namespace dvk {
namespace {

Message notice(int32_t source) {
  Message message{};
  message.source = source;
  message.type = static_cast<int32_t>(kNotifyType);
  return message;
}

bool passes_notice(const Process& process, int32_t source) {
  const Filter* filter = active_filter(process);
  return filter == nullptr || filter->passes(source, static_cast<int32_t>(kNotifyType));
}

}  // namespace

bool take_notice(Process& process) {
  Segment& segment = process.segment;
  SlotSet notices = segment.notices(process.index);
  const int32_t wanted = process.operation.peer;
  return notices.each([&](uint32_t slot) {
    const int32_t source = load(segment.slot(slot)->endpoint);
    if (wanted != kEndpointAny && source != wanted) return false;
    if (!passes_notice(process, source)) return false;
    notices.remove(slot);
    if (source == kEndpointNone) return false;
    process.operation.message = notice(source);
    note_received(process, MessageKind::kNotify, slot, 0);
    return true;
  });
}

bool has_notice(Process& process) {
  const int32_t wanted = process.operation.peer;
  return process.segment.notices(process.index).each([&](uint32_t slot) {
    const int32_t source = load(process.segment.slot(slot)->endpoint);
    return (wanted == kEndpointAny || source == wanted) && passes_notice(process, source);
  });
}

int notify(Process& process, int32_t destination) {
  Segment& segment = process.segment;
  if (!segment.running()) return -EDVSDCNOTRUN;
  if (destination == process.endpoint || destination == kEndpointSelf) return -EDVSBADDEST;
  uint32_t target;
  const int error = check_endpoint(segment, destination, &target);
  if (error != 0) return error;
  count(process.slot->notified);
  if (is_remote(segment, target)) return notify_remote(segment, process.index, target);
  deliver_notice(segment, process.index, process.endpoint, destination);
  return 0;
}

void deliver_notice(Segment& segment, uint32_t source, int32_t endpoint, int32_t target) {
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(target));
  ProcessSlot* slot = segment.slot(index);
  const auto rendezvous = atomic(slot->rendezvous);
  uint32_t word = rendezvous.load();
  if (accepts_notice(word, source)) {
    uint32_t claim = with_state(word, State::kFilling, source);
    if (rendezvous.compare_exchange_strong(word, claim)) {
      if (load(slot->endpoint) != target) {
        unclaim(segment, slot, claim, word);
        return;
      }
      copy_in(inbox_of(slot, sequence_of(word)), notice(endpoint));
      if (rendezvous.compare_exchange_strong(claim, with_state(word, State::kFullNotify, source))) {
        wake(segment, slot);
        return;
      }
    }
  }
  segment.notices(index).add(source);
  // The slot's next owner is not meant.
  if (atomic(slot->endpoint).load() != target) segment.notices(index).remove(source);
  word = rendezvous.load();
  if (concerns_notice(word, source)) kick(segment, slot, word);
}

}  // namespace dvk

#include "notify.h"

#include <errno.h>
#include <string.h>

#include "call.h"
#include "link.h"
#include "search.h"
#include "senda.h"
#include "wait.h"

namespace dvk {
namespace {

uint32_t tag_of(int32_t endpoint) {
  return static_cast<uint32_t>(endpoint) | 1u << 31;
}

Message notice(int32_t source, uint32_t value) {
  Message message{};
  message.source = source;
  message.type = static_cast<int32_t>(kNotifyType);
  memcpy(message.payload, &value, sizeof value);
  return message;
}

// Adds `value` for the process `target` in `slot`, unless the slot has another owner now.
void merge_value(ProcessSlot* slot, uint64_t& field, int32_t target, uint32_t value) {
  const auto word = atomic(field);
  uint64_t seen = word.load();
  for (;;) {
    if (atomic(slot->endpoint).load() != target) return;
    const bool pending = seen >> 32 == tag_of(target);
    const uint32_t merged = (pending ? static_cast<uint32_t>(seen) : 0) | value;
    if (word.compare_exchange_weak(seen, uint64_t{tag_of(target)} << 32 | merged)) return;
  }
}

// Takes what is there for `endpoint`. Returns whether there was anything.
bool take_value(uint64_t& field, int32_t endpoint, uint32_t* value) {
  if (load(field) == 0) return false;
  const uint64_t taken = atomic(field).exchange(0);
  *value = static_cast<uint32_t>(taken);
  return taken >> 32 == tag_of(endpoint);
}

void clear_value(uint64_t& field) {
  if (load(field) != 0) atomic(field).store(0);
}

bool kernel_pending(const Process& process) {
  // Sequentially consistent: a receiver looks here after it opened its rendezvous word.
  const uint64_t word = atomic(process.segment.notice_value(process.index, kKernelSource)).load();
  return word >> 32 == tag_of(process.endpoint);
}

// Whether the present call takes notifications from `source`.
bool wants(const Process& process, int32_t source) {
  if (process.operation.peer != kEndpointAny && process.operation.peer != source) return false;
  const Filter* filter = active_filter(process);
  return filter == nullptr || filter->passes(source, static_cast<int32_t>(kNotifyType));
}

void receive_notice(Process& process, uint32_t slot, int32_t source, uint32_t value) {
  process.operation.message = notice(source, value);
  note_received(process, MessageKind::kNotify, slot, 0);
}

// Lets a receiver that waits for `source` look again; also one with a filter.
void kick_receiver(Segment& segment, ProcessSlot* slot, uint32_t source) {
  const uint32_t word = atomic(slot->rendezvous).load();
  if (concerns_notice(word, source)) kick(segment, slot, word);
}

int check_source(Process& process, int32_t* source, uint32_t* slot) {
  if (*source == kEndpointSelf || *source == process.endpoint) {
    *source = process.endpoint;
    *slot = process.index;
    return 0;
  }
  const bool kernel = *source == kEndpointKernel;
  const CallRight right = kernel ? CallRight::kNotifyKernel : CallRight::kNotifySource;
  const int error = check_caller(process, right);
  if (error != 0) return error;
  *slot = kProxyPeer;
  return kernel ? 0 : check_endpoint(process.segment, *source, slot);
}

int notify_kernel_at(Segment& segment, uint32_t target, int32_t destination, uint32_t value) {
  if (is_remote(segment, target)) return -EDVSRMTPROC;
  ProcessSlot* slot = segment.slot(target);
  merge_value(slot, segment.notice_value(target, kKernelSource), destination, value);
  DVK_CRASH_POINT("notify.kernel");
  kick_receiver(segment, slot, kProxyPeer);
  return 0;
}

// Hands a notification over at once. The claim names the caller, whose own notification it is: who
// finds its body knows what to undo.
bool hand_over_notice(Segment& segment, uint32_t source, int32_t endpoint, int32_t target,
                      ProcessSlot* slot) {
  const auto rendezvous = atomic(slot->rendezvous);
  uint32_t word = rendezvous.load();
  if (!accepts_notice(word, source)) return false;
  uint32_t claim = with_state(word, State::kFilling, source);
  if (!rendezvous.compare_exchange_strong(word, claim)) return false;
  DVK_CRASH_POINT("notify.claimed");
  if (load(slot->endpoint) != target) {
    unclaim(segment, slot, claim, word);
    return true;
  }
  copy_in(inbox_of(slot, sequence_of(word)), notice(endpoint, 0));
  DVK_CRASH_POINT("notify.copied");
  if (!rendezvous.compare_exchange_strong(claim, with_state(word, State::kFullNotify, source))) {
    return false;
  }
  DVK_CRASH_POINT("notify.full");
  wake(segment, slot);
  return true;
}

}  // namespace

void keep_notice(Segment& segment, uint32_t source, int32_t endpoint, uint32_t receiver,
                 uint32_t value) {
  ProcessSlot* slot = segment.slot(receiver);
  // Should the slot get another owner right after this, that one looks for nothing. Taking the bit
  // back then could take one that was meant.
  if (atomic(slot->endpoint).load() != endpoint) return;
  if (value != 0 && source < kSystemProcesses) {
    merge_value(slot, segment.notice_value(receiver, source), endpoint, value);
  }
  DVK_CRASH_POINT("notify.value");
  segment.notices(receiver).add(source);
  DVK_CRASH_POINT("notify.kept");
}

void leave_notice(Segment& segment, uint32_t source, int32_t endpoint, uint32_t receiver,
                  uint32_t value) {
  keep_notice(segment, source, endpoint, receiver, value);
  kick_receiver(segment, segment.slot(receiver), source);
  if (is_remote(segment, receiver)) announce_for(segment, receiver);
}

bool take_notice(Process& process) {
  Segment& segment = process.segment;
  uint32_t value = 0;
  if (wants(process, kEndpointKernel) &&
      take_value(segment.notice_value(process.index, kKernelSource), process.endpoint, &value)) {
    receive_notice(process, kProxyPeer, kEndpointKernel, value);
    return true;
  }
  SlotSet notices = segment.notices(process.index);
  return notices.each([&](uint32_t slot) {
    const int32_t source = load(segment.slot(slot)->endpoint);
    if (!wants(process, source)) return false;
    notices.remove(slot);
    DVK_CRASH_POINT("notice.removed");
    if (source == kEndpointNone) return false;
    value = take_notice_value(segment, process.index, process.endpoint, slot);
    DVK_CRASH_POINT("notice.taken");
    receive_notice(process, slot, source, value);
    return true;
  });
}

bool has_notice(Process& process) {
  if (wants(process, kEndpointKernel) && kernel_pending(process)) return true;
  return process.segment.notices(process.index).each([&](uint32_t slot) {
    return wants(process, load(process.segment.slot(slot)->endpoint));
  });
}

uint32_t take_notice_value(Segment& segment, uint32_t receiver, int32_t endpoint, uint32_t source) {
  uint32_t value = 0;
  if (source >= kSystemProcesses) return 0;
  return take_value(segment.notice_value(receiver, source), endpoint, &value) ? value : 0;
}

void clear_notice(Segment& segment, uint32_t receiver, uint32_t source) {
  segment.notices(receiver).remove(source);
  if (source < kSystemProcesses) clear_value(segment.notice_value(receiver, source));
}

void clear_notices(Segment& segment, uint32_t receiver) {
  segment.notices(receiver).each([&](uint32_t source) {
    segment.notices(receiver).remove(source);
    return false;
  });
  for (uint32_t source = 0; source <= kKernelSource; source++) {
    clear_value(segment.notice_value(receiver, source));
  }
}

void pack_notices(Segment& segment, uint32_t receiver, MigrantNotice* notices, uint32_t max,
                  uint32_t* count) {
  const int32_t endpoint = load(segment.slot(receiver)->endpoint);
  const auto pack_one = [&](int32_t source, uint32_t node, uint64_t value) {
    MigrantNotice* notice = notices + *count;
    store(notice->source, source);
    store(notice->node, node);
    store(notice->value, static_cast<uint32_t>(value));
    store(*count, load(*count) + 1);
  };
  uint64_t& kernel = segment.notice_value(receiver, kKernelSource);
  if (load(kernel) >> 32 == tag_of(endpoint) && load(*count) < max) {
    pack_one(kEndpointKernel, segment.node_id(), load(kernel));
    atomic(kernel).store(0);
  }
  segment.notices(receiver).each([&](uint32_t slot) {
    const int32_t source = load(segment.slot(slot)->endpoint);
    if (load(*count) >= max) return true;
    if (source != kEndpointNone) {
      const bool valued = slot < kSystemProcesses;
      pack_one(source, load(segment.slot(slot)->node),
               valued ? load(segment.notice_value(receiver, slot)) : 0);
    }
    clear_notice(segment, receiver, slot);
    return false;
  });
}

void unpack_notice(Segment& segment, uint32_t receiver, int32_t endpoint,
                   const MigrantNotice& notice) {
  uint32_t source;
  if (notice.source == kEndpointKernel) {
    merge_value(segment.slot(receiver), segment.notice_value(receiver, kKernelSource), endpoint,
                notice.value);
  } else if (check_endpoint(segment, notice.source, &source) == 0) {
    keep_notice(segment, source, endpoint, receiver, notice.value);
  }
}

int notify(Process& process, int32_t destination) {
  return notify_from(process, destination, process.endpoint, 0);
}

namespace {

int give_notice(Process& process, int32_t destination, int32_t source, uint32_t value) {
  Segment& segment = process.segment;
  int error = check_caller(process, CallRight::kNotify);
  if (error != 0) return error;
  uint32_t from, target;
  error = check_source(process, &source, &from);
  if (error == 0) error = check_peer(process, destination, -EDVSENDPOINT, from, &target);
  const bool own = from == process.index;
  if (own && can_await(segment, destination, error)) {
    if (value != 0 && from >= kSystemProcesses) return -EDVSENDPOINT;
    return post_notice(process, destination, value);
  }
  if (error != 0) return error;
  if (source == kEndpointKernel) {
    error = notify_kernel_at(segment, target, destination, value);
    if (error == 0) count(process.slot->notified);
    return error;
  }
  if (value != 0 && from >= kSystemProcesses) return -EDVSENDPOINT;
  // Another node takes no process of a third one from here.
  if (is_remote(segment, from) && is_remote(segment, target)) return -EDVSRMTPROC;
  count(process.slot->notified);
  if (is_remote(segment, target)) return notify_remote(segment, from, destination, value);
  if (own) {
    deliver_notice(segment, from, source, destination, value);
  } else {
    leave_notice(segment, from, destination, target, value);
  }
  return 0;
}

}  // namespace

int notify_from(Process& process, int32_t destination, int32_t source, uint32_t value) {
  const TracedCall traced(process, TraceCall::kNotify, destination);
  return traced.end(give_notice(process, destination, source, value));
}

int notify_kernel(Segment& segment, int32_t destination, uint32_t value) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  uint32_t target;
  int error = check_endpoint(segment, destination, &target);
  if (error == 0) error = notify_kernel_at(segment, target, destination, value);
  if (is_traced(segment)) [[unlikely]] {
    trace_wakeup(segment, TraceCall::kNotify, destination, kEndpointKernel, error);
  }
  return error;
}

int wakeup(Segment& segment, int32_t target) {
  uint32_t index;
  int error = check_endpoint(segment, target, &index);
  if (error == 0 && is_remote(segment, index)) error = -EDVSRMTPROC;
  if (is_traced(segment)) [[unlikely]] {
    trace_wakeup(segment, TraceCall::kWakeup, target, kEndpointNone, error);
  }
  if (error != 0) return error;
  ProcessSlot* slot = segment.slot(index);
  atomic(slot->wakeup).store(1);
  DVK_CRASH_POINT("wakeup.set");
  uint32_t word = atomic(slot->rendezvous).load();
  const State state = state_of(word);
  if (state == State::kAny || state == State::kFrom || state == State::kRequest) {
    const uint32_t kick = pack(State::kKick, sequence_of(word), 0);
    if (atomic(slot->rendezvous).compare_exchange_strong(word, kick)) wake(segment, slot);
  }
  return 0;
}

void deliver_notice(Segment& segment, uint32_t source, int32_t endpoint, int32_t target,
                    uint32_t value) {
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(target));
  ProcessSlot* slot = segment.slot(index);
  if (value == 0 && hand_over_notice(segment, source, endpoint, target, slot)) return;
  keep_notice(segment, source, target, index, value);
  kick_receiver(segment, slot, source);
  // It has moved to another node meanwhile: the proxy takes the notification there.
  if (is_remote(segment, index)) announce_for(segment, index);
}

}  // namespace dvk

#include "bindings.h"

#include <errno.h>

#include "call.h"
#include "link.h"
#include "privilege.h"
#include "search.h"
#include "senda.h"
#include "slots.h"
#include "wait.h"

namespace dvk {
namespace {

using Stage = Operation::Stage;
using Kind = Operation::Kind;

bool is_watching(uint32_t word) {
  return state_of(word) == State::kRemote && peer_of(word) == kTablePeer;
}

// Sequentially consistent, since a waiter looks here after it set its rendezvous word; whoever
// binds writes the slot first and looks for waiters after.
int32_t owner_of(const Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const bool bound = is_bound(atomic(slot->life).load());
  const int32_t endpoint = atomic(slot->endpoint).load();
  return bound && segment.slot_of(endpoint) == static_cast<int>(index) ? endpoint : kEndpointNone;
}

bool link_lost(const Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t node = load(slot->node);
  return load(slot->life) == static_cast<uint32_t>(ProcessLife::kRemote) &&
         node < segment.nodes() &&
         atomic(segment.link(node)->state).load() != static_cast<uint32_t>(LinkState::kUp);
}

// What the wait has come to: kPending, 0 or a negative error.
int look(Process& process) {
  const Segment& segment = process.segment;
  Operation& operation = process.operation;
  if (!segment.running()) return -EDVSDCNOTRUN;
  if (operation.kind == Kind::kBind) {
    const int32_t owner = owner_of(segment, static_cast<uint32_t>(operation.peer));
    if (owner == kEndpointNone) return kPending;
    operation.message.source = owner;
    return 0;
  }
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(operation.peer));
  if (owner_of(segment, index) != operation.peer) return 0;
  return link_lost(segment, index) ? -ENOTCONN : kPending;
}

int end(Process& process, int result) {
  if (process.operation.kind == Kind::kBind) leave_bind_waiters(process);
  return finish(process, result);
}

int start(Process& process, Kind kind, int32_t peer) {
  ProcessSlot* slot = process.slot;
  process.operation.kind = kind;
  process.operation.peer = peer;
  publish_cpu(process);
  if (is_traced(process.segment)) [[unlikely]] {
    trace_begin(process, kind == Kind::kBind ? TraceCall::kWaitBind : TraceCall::kWaitUnbind, 0, 0);
  }
  void_command(slot);
  store(slot->command_kind, static_cast<uint32_t>(kCommandNone));
  store(slot->command_endpoint, peer);
  store(slot->destination_endpoint, kEndpointNone);
  store(slot->want_source, kind == Kind::kUnbind ? peer : kEndpointNone);
  if (kind == Kind::kBind) process.segment.bind_waiters().add(process.index);
  atomic(slot->rendezvous).store(pack(State::kRemote, process.sequence, kTablePeer));
  DVK_CRASH_POINT("wait_bind.word");
  process.operation.stage = Stage::kBinding;
  if (kind == Kind::kBind) call_tracker(process.segment);
  return step_binding(process);
}

int check(Process& process) {
  const int error = check_caller(process, CallRight::kWaitBind);
  return error == 0 && process.operation.stage != Stage::kNone ? -EBUSY : error;
}

}  // namespace

int step_binding(Process& process) {
  const auto rendezvous = atomic(process.slot->rendezvous);
  uint32_t word = rendezvous.load();
  if (state_of(word) == State::kKick) {
    // Nobody but the owner changes this state.
    word = pack(State::kRemote, process.sequence, kTablePeer);
    rendezvous.store(word);
  }
  if (is_watching(word)) {
    const int result = look(process);
    if (result == kPending) return kPending;
    // When somebody told of it just now, the next step finds that.
    return rendezvous.compare_exchange_strong(word, idle_word(process)) ? end(process, result)
                                                                        : kPending;
  }
  rendezvous.store(idle_word(process));
  if (state_of(word) != State::kError) return end(process, -EDVSPROCSTS);
  const int error = static_cast<int>(peer_of(word));
  const bool gone = process.operation.kind == Kind::kUnbind && error == EDSTDIED;
  return end(process, gone ? 0 : error == 0 ? -EINVAL : -error);
}

int start_wait_bind(Process& process, uint32_t slot) {
  int error = check(process);
  if (error == -EDVSSTANDBY) {
    return start_standby(process, Kind::kBind, static_cast<int32_t>(slot), nullptr);
  }
  if (error == 0 && slot >= process.segment.processes()) error = -EDVSBADPROC;
  if (error != 0) return refuse(process, TraceCall::kWaitBind, kEndpointNone, error);
  return start(process, Kind::kBind, static_cast<int32_t>(slot));
}

int start_wait_unbind(Process& process, int32_t endpoint) {
  int error = check(process);
  if (error == -EDVSSTANDBY) return start_standby(process, Kind::kUnbind, endpoint, nullptr);
  const bool own = endpoint == process.endpoint || endpoint == kEndpointSelf;
  if (error == 0 && own) error = -EDVSENDPOINT;
  if (error == 0 && process.segment.slot_of(endpoint) < 0) error = -ERANGE;
  if (error != 0) return refuse(process, TraceCall::kWaitUnbind, endpoint, error);
  process.operation.kind = Kind::kUnbind;
  process.operation.peer = endpoint;
  const uint32_t index = static_cast<uint32_t>(process.segment.slot_of(endpoint));
  const bool known = owner_of(process.segment, index) == endpoint;
  if (!known && can_search(process.segment, endpoint)) return start_search(process);
  return watch_unbind(process);
}

int watch_unbind(Process& process) {
  return start(process, Kind::kUnbind, process.operation.peer);
}

int32_t wait_bind(Process& process, uint32_t slot, int64_t timeout_ms) {
  int result = start_wait_bind(process, slot);
  if (result == kPending) result = wait_for(process, timeout_ms);
  return result == 0 ? process.operation.message.source : result;
}

int wait_unbind(Process& process, int32_t endpoint, int64_t timeout_ms) {
  const int result = start_wait_unbind(process, endpoint);
  return result == kPending ? wait_for(process, timeout_ms) : result;
}

void tell_bind_waiters(Segment& segment) {
  segment.bind_waiters().each([&](uint32_t index) {
    Search more;
    if (seek_asyncs(segment, index, &more)) call_tracker(segment);
    ProcessSlot* slot = segment.slot(index);
    uint32_t word = atomic(slot->rendezvous).load();
    const uint32_t kick = pack(State::kKick, sequence_of(word), 0);
    if (is_watching(word) && atomic(slot->rendezvous).compare_exchange_strong(word, kick)) {
      wake(segment, slot);
    }
    return false;
  });
}

}  // namespace dvk

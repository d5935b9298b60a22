#include "trace.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "lock.h"
#include "process.h"
#include "rendezvous.h"
#include "wait.h"

namespace dvk {
namespace {

constexpr uint64_t kLeaseNs = kTraceLeaseMs * 1'000'000;
constexpr uint64_t kRingBytes = kTraceEvents * sizeof(TraceEvent);
// The monitor comes back soon; it must not wait for the table.
constexpr int64_t kSweepLockMs = 20;
static_assert((kTraceEvents & (kTraceEvents - 1)) == 0);
static_assert(sizeof(TraceEvent) == 64 && offsetof(TraceEvent, check) == 4);
static_assert(offsetof(TraceEvent, bytes) == offsetof(TraceEvent, duration) + 8, "a name fits");

uint64_t now() {
  return static_cast<uint64_t>(now_ns());
}

// ---- Sessions ----

// Until when somebody watches; 0: nobody does. A lease beyond what a watcher takes is none.
uint64_t last_lease(Segment& segment) {
  const uint64_t time = now();
  uint64_t last = 0;
  for (uint32_t i = 0; i < kTraceWatchers; i++) {
    const uint64_t lease = load(segment.trace_watcher(i)->lease);
    if (lease > time && lease <= time + kLeaseNs) last = std::max(last, lease);
  }
  return last;
}

void free_rings(Segment& segment) {
  madvise(segment.trace_events(0), (segment.processes() + 1) * kRingBytes, MADV_REMOVE);
  store(segment.trace()->dirty, 0u);
}

// Preconditions: the table lock is held.
void begin_session(Segment& segment) {
  TraceHeader* trace = segment.trace();
  if (is_traced(segment)) return;
  if (load(trace->dirty) != 0) free_rings(segment);
  const uint32_t session = std::max(load(trace->session) + 1, 1u);
  store(trace->session, session);
  store(trace->dirty, 1u);
  atomic(segment.header()->trace).store(session);
}

// Ends the session when nobody watches. Preconditions: the table lock is held.
void end_session(Segment& segment) {
  const uint64_t lease = last_lease(segment);
  store(segment.trace()->lease, lease);
  if (lease != 0) return;
  atomic(segment.header()->trace).store(0);
  free_rings(segment);
}

void hold(Segment& segment, uint32_t watcher) {
  const uint64_t until = now() + kLeaseNs;
  store(segment.trace_watcher(watcher)->lease, until);
  uint64_t lease = load(segment.trace()->lease);
  while (lease < until && !atomic(segment.trace()->lease).compare_exchange_weak(lease, until)) {
  }
}

}  // namespace

int trace_start(Segment& segment) {
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  const uint64_t time = now();
  for (uint32_t i = 0; i < kTraceWatchers; i++) {
    const uint64_t lease = load(segment.trace_watcher(i)->lease);
    if (lease > time && lease <= time + kLeaseNs) continue;
    store(segment.trace()->lease, last_lease(segment));
    hold(segment, i);
    begin_session(segment);
    return static_cast<int>(i);
  }
  return -ENOSPC;
}

int trace_renew(Segment& segment, uint32_t watcher) {
  if (watcher >= kTraceWatchers) return -EINVAL;
  hold(segment, watcher);
  if (is_traced(segment)) return 0;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  begin_session(segment);
  return 1;
}

int trace_stop(Segment& segment, uint32_t watcher) {
  if (watcher >= kTraceWatchers) return -EINVAL;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  store(segment.trace_watcher(watcher)->lease, uint64_t{0});
  end_session(segment);
  return 0;
}

void trace_sweep(Segment& segment) {
  if (!is_traced(segment) && load(segment.trace()->dirty) == 0) return;
  if (last_lease(segment) != 0) return;
  const TableLock lock(segment, kSweepLockMs);
  if (lock.error() == 0) end_session(segment);
}

// ---- Events ----

uint32_t trace_check(const TraceEvent& event) {
  constexpr uint32_t kWords = sizeof(TraceEvent) / 4, kCheckWord = 1;
  uint32_t words[kWords];
  memcpy(words, &event, sizeof words);
  // Odd factors, so that no change of one word cancels out; the sum of zeros is not zero.
  uint32_t sum = 0x9e3779b1;
  for (uint32_t i = 0; i < kWords; i++) {
    if (i != kCheckWord) sum += words[i] * (0x9e3779b1 * (i + 1) | 1);
  }
  return sum;
}

namespace {

// Gives a ring its memory. There may be none, and a store would end the process then.
bool open_ring(Segment& segment, uint32_t ring, uint32_t session) {
  TraceRing* head = segment.trace_ring(ring);
  if (load(head->refused) == session) return false;
  if (populate(segment.trace_events(ring), kRingBytes) == -ENOMEM) {
    store(head->refused, session);
    return false;
  }
  store(head->session, session);
  return true;
}

void put(TraceEvent* shared, const TraceEvent& event) {
  uint64_t words[sizeof(TraceEvent) / 8];
  memcpy(words, &event, sizeof words);
  uint64_t* target = reinterpret_cast<uint64_t*>(shared);
  for (size_t i = 0; i < std::size(words); i++) store(target[i], words[i]);
}

TraceEvent event_of(TraceKind kind, TraceCall call = TraceCall::kNone) {
  TraceEvent event{};
  event.kind = static_cast<uint8_t>(kind);
  event.call = static_cast<uint8_t>(call);
  event.peer = kEndpointNone;
  return event;
}

TraceEvent event_of(const Process& process, TraceKind kind, TraceCall call) {
  TraceEvent event = event_of(kind, call);
  event.endpoint = process.endpoint;
  return event;
}

}  // namespace

void trace_write(Segment& segment, uint32_t ring, TraceEvent event, uint64_t begun) {
  auto traced = atomic(segment.header()->trace);
  uint32_t session = traced.load(std::memory_order_relaxed);
  if (session == 0) return;
  if (event.time == 0) event.time = now();
  if (event.time > load(segment.trace()->lease)) {
    traced.compare_exchange_strong(session, 0);
    return;
  }
  TraceRing* head = segment.trace_ring(ring);
  if (load(head->session) != session && !open_ring(segment, ring, session)) return;
  if (begun != 0) event.duration = event.time - begun;
  event.cpu = static_cast<uint32_t>(sched_getcpu());
  const uint64_t number = atomic(head->written).fetch_add(1, std::memory_order_relaxed);
  event.sequence = static_cast<uint32_t>(number) + 1;
  event.check = trace_check(event);
  put(segment.trace_events(ring) + number % kTraceEvents, event);
}

// ---- Calls that may wait ----

namespace {

TraceCall call_of(Operation::Kind kind) {
  switch (kind) {
    case Operation::Kind::kSend:
      return TraceCall::kSend;
    case Operation::Kind::kCall:
      return TraceCall::kSendrec;
    case Operation::Kind::kReceive:
      return TraceCall::kReceive;
    case Operation::Kind::kRequest:
      return TraceCall::kRcvrqst;
    case Operation::Kind::kBind:
      return TraceCall::kWaitBind;
    case Operation::Kind::kUnbind:
      return TraceCall::kWaitUnbind;
    default:
      return TraceCall::kNone;  // Copies are traced as a whole.
  }
}

}  // namespace

void trace_begin(Process& process, TraceCall call, int32_t type, uint32_t number) {
  // A sendrec that was relayed goes on.
  const TraceKind kind = process.trace.begun == 0 ? TraceKind::kBegin : TraceKind::kFollow;
  TraceEvent event = event_of(process, kind, call);
  if (kind == TraceKind::kBegin) process.trace.begun = event.time = now();
  event.peer = process.operation.peer;
  event.type = type;
  event.number = number;
  trace_write(process.segment, process.index, event);
}

void trace_end(Process& process, int result) {
  // In an event loop the call is stepped before its caller is said to be awake.
  trace_awake(process);
  const Operation& operation = process.operation;
  const uint64_t begun = process.trace.begun;
  process.trace.begun = 0;
  const TraceCall call = call_of(operation.kind);
  // What never began, or was ended already.
  using Stage = Operation::Stage;
  if (begun == 0 && (operation.stage == Stage::kNone || operation.stage == Stage::kDone)) return;
  if (call == TraceCall::kNone) return;
  TraceEvent event = event_of(process, TraceKind::kEnd, call);
  const bool receives = call == TraceCall::kReceive || call == TraceCall::kRcvrqst;
  const bool binds = call == TraceCall::kWaitBind;
  event.peer = result == 0 && (receives || binds) ? operation.message.source : operation.peer;
  if (call == TraceCall::kSend || call == TraceCall::kSendrec) {
    event.type = operation.message.type;
    event.number = process.trace.number;
  } else if (receives && result == 0) {
    event.type = operation.message.type;
    event.number = process.trace.received;
    event.how = static_cast<uint8_t>(process.last_kind);
  }
  event.result = result;
  if (begun == 0) event.flags = static_cast<uint8_t>(TraceFlag::kNoBegin);
  trace_write(process.segment, process.index, event, begun);
}

void trace_refused(Process& process, TraceCall call, int32_t peer, int error) {
  TraceEvent event = event_of(process, TraceKind::kEnd, call);
  event.peer = peer;
  event.result = error;
  event.flags = static_cast<uint8_t>(TraceFlag::kNoBegin);
  trace_write(process.segment, process.index, event);
}

void trace_sleep(Process& process, uint32_t how) {
  if (process.trace.slept != 0) return;
  TraceEvent event = event_of(process, TraceKind::kSleep, call_of(process.operation.kind));
  process.trace.slept = event.time = now();
  event.peer = process.operation.peer;
  event.how = static_cast<uint8_t>(how);
  trace_write(process.segment, process.index, event);
}

void trace_awake(Process& process) {
  const uint64_t slept = process.trace.slept;
  if (slept == 0) return;
  process.trace.slept = 0;
  TraceEvent event = event_of(process, TraceKind::kAwake, call_of(process.operation.kind));
  event.peer = process.operation.peer;
  trace_write(process.segment, process.index, event, slept);
}

// ---- Calls that never wait ----

uint64_t TracedCall::now() {
  return dvk::now();
}

void TracedCall::write(int result, int32_t type, uint32_t number) const {
  TraceEvent event = event_of(process_, TraceKind::kEnd, call_);
  event.peer = peer_;
  event.type = type;
  event.number = number;
  event.result = result;
  trace_write(process_.segment, process_.index, event, begun_);
}

void trace_copy_begin(Process& process, TracedCopy* copy, uint64_t bytes) {
  TraceEvent event = event_of(process, TraceKind::kBegin, TraceCall::kVcopy);
  copy->begun = event.time = now();
  event.peer = copy->peer;
  event.type = copy->type;
  event.how = copy->how;
  event.bytes = bytes;
  trace_write(process.segment, process.index, event);
}

void trace_copy_end(Process& process, const TracedCopy& copy, int64_t result) {
  TraceEvent event = event_of(process, TraceKind::kEnd, TraceCall::kVcopy);
  event.peer = copy.peer;
  event.type = copy.type;
  event.how = copy.how;
  event.bytes = process.copied;
  event.result = static_cast<int32_t>(std::min<int64_t>(result, 0));
  trace_write(process.segment, process.index, event, copy.begun);
}

// ---- What others do to a process ----

void trace_wake(Segment& segment, const ProcessSlot* slot, uint32_t how) {
  TraceEvent event = event_of(TraceKind::kWake);
  event.endpoint = load(const_cast<ProcessSlot*>(slot)->endpoint);
  event.how = static_cast<uint8_t>(how);
  trace_write(segment, static_cast<uint32_t>(slot - segment.slot(0)), event);
}

void trace_wakeup(Segment& segment, TraceCall call, int32_t target, int32_t source, int result) {
  TraceEvent event = event_of(TraceKind::kEnd, call);
  const int slot = segment.slot_of(target);
  event.endpoint = source;
  event.peer = target;
  event.result = result;
  trace_write(segment, slot < 0 ? segment.processes() : static_cast<uint32_t>(slot), event);
}

void trace_async_done(Segment& segment, uint32_t slot, int32_t peer, uint32_t id, int error) {
  TraceEvent event = event_of(TraceKind::kAsyncDone, TraceCall::kSenda);
  event.endpoint = load(segment.slot(slot)->endpoint);
  event.peer = peer;
  event.number = id;
  event.result = -error;
  trace_write(segment, slot, event);
}

void trace_binding(Segment& segment, uint32_t slot, TraceKind kind, int32_t endpoint) {
  TraceEvent event = event_of(kind);
  event.endpoint = endpoint;
  event.node = load(segment.slot(slot)->node);
  event.result = load(segment.slot(slot)->pid);
  char name[kNameBytes];
  get_name(name, segment.slot(slot)->name);
  memcpy(&event.duration, name, 8);
  memcpy(&event.bytes, name + 8, 8);
  trace_write(segment, slot, event);
}

// ---- What goes over links ----

void trace_command(Segment& segment, TraceKind kind, uint32_t node, const Command& command,
                   int result) {
  TraceEvent event = event_of(kind);
  event.endpoint = command.source;
  // What is told to a node goes to no process.
  const bool told = command.kind == kCommandProcbind || command.kind == kCommandProcunbind;
  if (!told) event.peer = command.destination;
  event.type = static_cast<int32_t>(command.kind);
  event.number = command.call_id;
  event.bytes = command.payload_bytes;
  // Of a command that was acted on, what it carried.
  event.result = result != 0 ? result : command.result;
  event.node = node;
  trace_write(segment, segment.processes(), event);
}

void trace_link(Segment& segment, TraceKind kind, uint32_t node) {
  TraceEvent event = event_of(kind);
  event.endpoint = kEndpointNone;
  event.node = node;
  trace_write(segment, segment.processes(), event);
}

}  // namespace dvk

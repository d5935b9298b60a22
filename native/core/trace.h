// The trace of a DC on a node: what happened in IPC, for those who watch.
//
// Each slot has a ring of events, so processes on different CPUs share no line; one ring more is
// for the links. Readers merge rings by time. Mostly the owner of a slot writes its ring, at times
// who wakes, binds or reaps it. A writer takes a place by one addition, then writes the event with
// plain stores: a checksum that covers the place's number tells a reader whether what it finds
// there is that event, whole. So nobody waits for anybody, events that are overwritten or half
// written are noticed, and a writer may die at any instruction.
//
// While nobody watches, a call pays one load of a word beside the state of the DC, which each call
// reads anyway, and the rings have no memory. Who watches holds a lease and renews it. The first
// event after the last lease ends the session, whatever became of the watchers.
//
// Events have no contents of messages.
#pragma once

#include "process.h"

namespace dvk {

inline bool is_traced(const Segment& segment) {
  return atomic(segment.header()->trace).load(std::memory_order_relaxed) != 0;
}

// ---- For watchers ----

// Begins to watch. Returns the watcher's number, -ENOSPC when there are kTraceWatchers, or the
// error of the table lock.
int trace_start(Segment& segment);
// To be called more often than every kTraceLeaseMs. Returns 0, or 1 when the session had ended
// meanwhile and has begun again, so that events are missing; -EINVAL, or the error of the lock.
int trace_renew(Segment& segment, uint32_t watcher);
// The last one ends the session and frees its memory. Errors as above.
int trace_stop(Segment& segment, uint32_t watcher);
// Ends a session that nobody renews, and frees the memory of those that ended. For the monitor.
void trace_sweep(Segment& segment);

// ---- For writers: to be called when somebody watches; otherwise they do nothing ----

// The checksum of an event, over all its words but `check`.
uint32_t trace_check(const TraceEvent& event);
// CPU, sequence and check are filled in, the time when it is 0, and the duration when `begun` is
// not 0: reading the clock is most of an event's price. Preconditions: `ring` is a slot, or
// processes() for the links.
void trace_write(Segment& segment, uint32_t ring, TraceEvent event, uint64_t begun = 0);

// The call of a process that may wait. Its begin is kept in the process.
void trace_begin(Process& process, TraceCall call, int32_t type, uint32_t number);
void trace_end(Process& process, int result);
// A call that ended at its checks.
void trace_refused(Process& process, TraceCall call, int32_t peer, int error);
// `how` is kOnFutex or kOnFifo. Awake without a sleep is nothing.
void trace_sleep(Process& process, uint32_t how);
void trace_awake(Process& process);

// What others do to a process.
void trace_wake(Segment& segment, const ProcessSlot* slot, uint32_t how);
void trace_wakeup(Segment& segment, TraceCall call, int32_t target, int32_t source, int result);
void trace_async_done(Segment& segment, uint32_t slot, int32_t peer, uint32_t id, int error);
void trace_binding(Segment& segment, uint32_t slot, TraceKind kind, int32_t endpoint);

// What goes over links.
void trace_command(Segment& segment, TraceKind kind, uint32_t node, const Command& command,
                   int result);
void trace_link(Segment& segment, TraceKind kind, uint32_t node);

// A call that never waits, from its begin to its end.
class TracedCall {
 public:
  TracedCall(Process& process, TraceCall call, int32_t peer)
      : process_(process),
        call_(call),
        peer_(peer),
        begun_(is_traced(process.segment) ? now() : 0) {}
  // Passes `result` on.
  int end(int result, int32_t type = 0, uint32_t number = 0) const {
    if (begun_ != 0) [[unlikely]]
      write(result, type, number);
    return result;
  }

 private:
  static uint64_t now();
  void write(int result, int32_t type, uint32_t number) const;

  Process& process_;
  const TraceCall call_;
  const int32_t peer_;
  const uint64_t begun_;
};

void trace_copy_begin(Process& process, TracedCopy* copy, uint64_t bytes);
void trace_copy_end(Process& process, const TracedCopy& copy, int64_t result);

}  // namespace dvk

// What the files of the calls share: how a call ends, and its parts that are used by others.
#pragma once

#include "copy_job.h"
#include "ipc.h"
#include "rendezvous.h"

namespace dvk {

inline uint32_t idle_word(const Process& process) {
  return pack(State::kIdle, process.sequence, 0);
}

inline void count(uint64_t& counter) {
  store(counter, load(counter) + 1);
}

inline int finish(Process& process, int result) {
  process.operation.stage = Operation::Stage::kNone;
  leave_copy_job(process);
  return result;
}

// Checks of section 5.2 of the M3-IPC notes, in their order, as far as they do not depend on the
// call. Sets `slot`, the one of `peer`. A reply may be given during another call of the process: it
// is done at once.
int check_call(Process& process, int32_t peer, uint32_t* slot, bool replies = false);
bool is_remote(const Segment& segment, uint32_t slot);

// A message of the slot `peer` is in process.operation.
void note_received(Process& process, MessageKind kind, uint32_t peer, uint32_t call_id);

// The filter of the present call, or null: a receive from one source and a reply are not filtered.
inline const Filter* active_filter(const Process& process) {
  const Operation& operation = process.operation;
  const bool open = operation.kind == Operation::Kind::kRequest ||
                    (operation.kind == Operation::Kind::kReceive && operation.peer == kEndpointAny);
  return open && !process.filter.empty() ? &process.filter : nullptr;
}

// Delivers a pending notification that the source filter lets through, lowest slot first.
bool take_notice(Process& process);
bool has_notice(Process& process);

}  // namespace dvk

// What the files of the calls share: how a call ends, and its parts that are used by others.
#pragma once

#include "copy_job.h"
#include "ipc.h"
#include "rendezvous.h"
#include "trace.h"

namespace dvk {

inline uint32_t idle_word(const Process& process) {
  return pack(State::kIdle, process.sequence, 0);
}

inline void count(uint64_t& counter) {
  store(counter, load(counter) + 1);
}

inline int finish(Process& process, int result) {
  if (process.trace.begun != 0 || is_traced(process.segment)) [[unlikely]] {
    trace_end(process, result);
  }
  process.operation.stage = Operation::Stage::kNone;
  leave_copy_job(process);
  return result;
}

// Ends a call of who is no more in its slot: it has unbound, or the slot is lost with the
// container.
inline int finish_unbound(Process& process) {
  return finish(process, process.segment.running() ? -EDVSNOTBOUND : -EDVSDCNOTRUN);
}

// A message goes to its peer as number `number`.
inline void note_launch(Process& process, uint32_t number) {
  process.trace.number = number;
  if (!is_traced(process.segment)) [[likely]] {
    return;
  }
  const bool call = process.operation.kind == Operation::Kind::kCall;
  trace_begin(process, call ? TraceCall::kSendrec : TraceCall::kSend,
              process.operation.message.type, number);
}

// A call that ends with `error` at its checks.
inline int refuse(Process& process, TraceCall call, int32_t peer, int error) {
  if (is_traced(process.segment)) [[unlikely]] {
    trace_refused(process, call, peer, error);
  }
  return error;
}

inline bool is_remote(const Segment& segment, uint32_t slot) {
  return load(segment.slot(slot)->life) == static_cast<uint32_t>(ProcessLife::kRemote);
}

// A message of the slot `peer` is in process.operation.
void note_received(Process& process, MessageKind kind, uint32_t peer, uint32_t call_id);

// The filter of the present call, or null: a receive from one source and a reply are not filtered.
inline const Filter* active_filter(const Process& process) {
  const Operation& operation = process.operation;
  const bool open = operation.kind == Operation::Kind::kRequest ||
                    (operation.kind == Operation::Kind::kReceive && operation.peer == kEndpointAny);
  return open && !process.filter.empty() ? &process.filter : nullptr;
}

// The checks of a client whose request is answered. No masks: it asked for the reply.
inline int check_client(const Process& process, int32_t client) {
  if (client == kEndpointKernel) return -EDVSBADDEST;
  if (client == process.endpoint || client == kEndpointSelf) return -EDVSENDPOINT;
  uint32_t slot;
  return check_endpoint(process.segment, client, &slot);
}

// A claimant that runs is done within nanoseconds; one that is not after this long is stopped.
inline constexpr uint64_t kClaimNs = 2'000'000;
// A proxy that brings the data of a copy writes the caller's own memory, so it gets longer.
inline constexpr uint64_t kCopyClaimNs = 1'000'000'000;

// A claimant is in the middle of a hand-over with the process, whose word is `word`. It gets a
// moment, then it is taken for stopped: the word falls idle, and both message buffers change.
void outwait_claimant(Process& process, uint32_t word);
// The same for a process that receives from anyone, which a stopped sender must not keep from the
// others. Returns whether the word is idle now: it has been claimed by the same one for long.
bool pass_claimant(Process& process, uint32_t word);
// For who is queued, and who looks after a node: lets the owner of `slot` look at a claim of its
// word, or at a word that was changed by one who died before the wake. An event loop looks only
// when it is woken.
void wake_claimed(Segment& segment, ProcessSlot* slot);

// Goes on with a wait for a bind or an unbind; see bindings.cc.
int step_binding(Process& process);
// Tells the tracker of a search, or of one who waits for a bind; see search.h.
void call_tracker(Segment& segment);
// Begins the operation whose peer was looked for, and is bound now.
int resume(Process& process);
// Waits until operation.peer is unbound. Returns as start_wait_unbind.
int watch_unbind(Process& process);

// The number of the request of `client` that is to be answered. Returns 0, or -EDVSPROCSTS when
// there is none, or more than one.
int find_request(const Process& process, int32_t client, uint32_t* call_id);
// Puts `message` into the inbox of `client`, which awaits the reply of this process to its call
// `call_id`: as the reply, or as the order to go on with it at the server in the message's source.
// Whatever comes of it, the request is not owed an answer any more. Returns 0, -EDVSPROCSTS (the
// client does not wait for that answer), -EDEADSRCDST, -ENOTCONN.
int answer(Process& process, int32_t client, uint32_t call_id, const Message& message, bool relays);

}  // namespace dvk

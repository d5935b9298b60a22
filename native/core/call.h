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

// The checks of a client whose request is answered. No masks: it asked for the reply.
inline int check_client(const Process& process, int32_t client) {
  if (client == kEndpointKernel) return -EDVSBADDEST;
  if (client == process.endpoint || client == kEndpointSelf) return -EDVSENDPOINT;
  uint32_t slot;
  return check_endpoint(process.segment, client, &slot);
}

// Goes on with a wait for a bind or an unbind; see bindings.cc.
int step_binding(Process& process);

// Puts `message` into the inbox of `client`, which awaits a reply of this process: as the reply, or
// as the order to go on with it at the server in the message's source. Returns 0, -EDVSPROCSTS,
// -EDEADSRCDST, -ENOTCONN.
int answer(Process& process, int32_t client, const Message& message, bool relays);

}  // namespace dvk

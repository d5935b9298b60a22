// Waiting for a slot to be bound, and for an endpoint to be unbound: wait4bindep and wait4unbind of
// M3-IPC.
//
// The waiter's rendezvous word says REMOTE, with the table of processes in place of a node. One
// that waits for an unbind is ended by the repair of the slot, as every wait for a process is. One
// that waits for a bind is in the set of bind waiters, who look again after each bind.
#pragma once

#include "ipc.h"

namespace dvk {

// In place of the node of a REMOTE word: the table of processes.
inline constexpr uint32_t kTablePeer = 0xffff;

// Waits until `slot` is bound, here or by a descriptor of another node's process, which is looked
// for (search.h); the endpoint is
// in operation.message.source then. Returns 0, kPending, -EDVSBADPROC, and as every call
// -EDVSNOTBOUND, -ETRAPDENIED, -EDVSDCNOTRUN, -EBUSY.
int start_wait_bind(Process& process, uint32_t slot);
// Waits until `endpoint` is bound no more; not at all when it is not, on any node. Returns 0,
// kPending, -ERANGE, -EDVSENDPOINT (the caller itself), -ENOTCONN (of a process of another node:
// the link is down, so nobody knows), and those of every call.
int start_wait_unbind(Process& process, int32_t endpoint);

// Returns the endpoint, 0 or more, or a negative error.
int32_t wait_bind(Process& process, uint32_t slot, int64_t timeout_ms);
int wait_unbind(Process& process, int32_t endpoint, int64_t timeout_ms);

// Lets those who wait for a bind look again. Preconditions: the table lock is held.
void tell_bind_waiters(Segment& segment);

}  // namespace dvk

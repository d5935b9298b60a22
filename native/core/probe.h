// What probes need of the core: who waits for a process of another node, where a path of waits that
// enters this node leaves it, and the end of a wait that closes a cycle.
//
// Across nodes nobody can walk from word to word, as deadlock.h does. So the proxies send a probe
// along the waits, from node to node (src/proxies/prober.ts), and each node answers here for the
// waits of its own processes. A wait is named by its ticket, which no other wait of the node has or
// will have; that the same path was found twice, with the same tickets, proves that all of it stood
// in the moment between.
//
// A wait that crosses nodes has two ends. Where the caller is, it is a REMOTE word (or a receive
// from a descriptor) with a ticket; where the callee is, it is the caller's descriptor, which says
// whether the message was taken or answered. It stands when both ends say so.
#pragma once

#include "process.h"

namespace dvk {

// Whether the owner of `slot`, whose word is `word`, waits for a process of another node to take a
// message, to answer, or to send.
bool waits_remotely(Segment& segment, ProcessSlot* slot, uint32_t word);

// The waits for processes of other nodes that last: of who sleeps, or is in an event loop. Fills up
// to `capacity` entries of `waits`, in the order of slots from `first` on. Returns how many. Only
// the proxy of this node may call it.
size_t remote_waits(Segment& segment, uint32_t first, RemoteWait* waits, size_t capacity);
// The one of the process `waiter`. Returns whether it has one.
bool remote_wait(Segment& segment, int32_t waiter, RemoteWait* wait);

// A wait of a process of `node` for one of this node, as `node` tells it: nothing in it is trusted.
struct WaitEdge {
  uint32_t node;
  int32_t source, target;
  uint32_t call, call_id;  // as in RemoteWait
};
// Follows the waits from the target of `edge` to the one that leaves this node, `wait`. Returns
// whether there is one: the edge stands, all on the path are alive and wait for one process each.
// What a receive waits for must not be on its way from here: notifications and messages of senda.
// Only the proxy of this node may call it.
bool follow_waits(Segment& segment, const WaitEdge& edge, RemoteWait* wait);

// Ends the wait of `waiter` with `ticket` with ELOCKED. Returns whether it was still that wait.
bool lock_wait(Segment& segment, int32_t waiter, uint64_t ticket);

}  // namespace dvk

// Looking for the node of an endpoint: TRACKER of the DVS papers.
//
// Servers are announced to all nodes, and clients are bound where they call. What is known here by
// neither is looked for: a call to an endpoint that no binding here names waits like one for a bind
// (bindings.h), and wakes the proxy, whose tracker (src/proxies/tracker.ts) asks the other nodes. A
// node answers for processes that live on it. When one is found it is bound here as remote, and
// those who wait go on with their calls; else the tracker ends their waits.
//
// The seeker's word says REMOTE with the table of processes in place of a node, its command is
// PROCINFO, and `want_source` is whom it looks for. It is in the set of bind waiters. Where no
// tracker runs nobody is looked for, and the call fails as one to a dead process.
//
// A call to a process that arrives here (standby.h) waits in the same way, for as long as that
// takes; the tracker is not told of it.
//
// Messages of senda and notifications, which nobody waits for, wait in the sender's table of
// messages instead (senda.h), with the sender in the set of bind waiters: whoever binds their
// receiver sends them on. The target of a reply is not looked for: it has called.
#pragma once

#include "process.h"

namespace dvk {

// ---- For the calls ----

// Whether `endpoint`, which is not bound here, may be of another node: its slot is of no process of
// this node, no later owner of it is known, and a tracker runs.
bool can_search(Segment& segment, int32_t endpoint);
// Whether a call whose check of `endpoint` came to `error` may wait until that is bound: it may be
// of another node, or it arrives here.
bool can_await(Segment& segment, int32_t endpoint, int error);
// The one node that may have a slot, or kNodesMax.
uint32_t home_of(const Segment& segment, uint32_t index);
// Looks for operation.peer, and goes on with the operation when it is found. Returns kPending, or
// what the call came to. Preconditions: can_search, operation but its stage is filled in.
int start_search(Process& process);
// Whether a message that ended with `result` was for a binding that its own node knows nothing of:
// the process in that fixed slot may be on another node. Once a call, so that it ends.
bool is_stale(const Process& process, int result);
int step_search(Process& process);
// The call waits for no bind any more; messages of the process may.
void leave_bind_waiters(Process& process);
// It is over, or given up.
void leave_search(Process& process);
// For who waits: ends its search when the tracker is gone.
void end_orphan(Process& process);

// ---- For the tracker ----

// The caller is the tracker of this node. `wake_id` names the FIFO that tells it of searches.
// Returns 0, or -EDVSPROXYRUN when another program that lives is it.
int attach_tracker(Segment& segment, uint64_t wake_id);
// It is not any more: searches end with -EDVSNOPROXY. Returns 0, or -EDVSNOPROXY: it was not.
int detach_tracker(Segment& segment);
// Whether a search may have begun since `searches` was called with `first` 0.
bool has_new_searches(Segment& segment);
// The searches of this node's processes, those who wait for a bind included, one of each process:
// the next one is told of when that has ended. Fills up to `capacity` entries, in the order of
// their slots from `first` on. Returns how many.
size_t searches(Segment& segment, uint32_t first, Search* found, size_t capacity);
// Ends the search that `seeker` began as its call `call_id` with `error`, a positive number.
// Returns whether it was still that call.
bool end_search(Segment& segment, int32_t seeker, uint32_t call_id, int error);
// Ends those of a tracker that is dead; for who looks after a node.
void end_orphans(Segment& segment);

// ---- For bindings that other nodes tell of ----

// Whether `endpoint` was bound before `other` in the same slot; of two far apart the nearer way
// around counts.
bool is_older(int32_t endpoint, int32_t other);
// Binds `endpoint`, which `node` says is its own. A newer generation replaces an older one of the
// same node, and never the other way round; what another node holds stays its while the link to
// that is up. Returns 0, -EDVSBADFRAME (`node` may not have that slot), -EDVSSLOTUSED,
// -EDEADSRCDST (it is the older one), and those of bind_remote.
int bind_claimed(Segment& segment, uint32_t node, int32_t endpoint, ProcessLevel level,
                 const char* name);

}  // namespace dvk

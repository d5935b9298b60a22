// Which calls a process may use, to whom it may send, and who may send to it.
//
// Each process has a mask of calls, and two of peers: `ipc_to` and `ipc_from`. A mask of peers has
// a bit for each fixed slot, and one bit stands for all dynamic slots, as in MINIX one privilege id
// stands for all user processes. So masks name slots, not endpoints: a server that is started again
// has the peers of the one before. They are asked at the start of a call, and nobody writes their
// lines but who changes them, so every CPU keeps them in its cache; a call that is under way keeps
// what it had.
//
// The masks of peers are for messages, notifications, relays, and `ipc_to` for fixed slots that are
// parties of a vcopy. A reply needs none: the client
// asked for it. Descriptors of other nodes' processes have every right, since each node holds to
// account its own: the sender's asks `ipc_to`, the receiver's `ipc_from` (deliver.cc).
#pragma once

#include "process.h"
#include "rendezvous.h"
#include "standby.h"

namespace dvk {

struct Privileges {
  uint32_t rights;    // CallRight bits
  uint64_t ipc_to;    // bit n: fixed slot n
  uint64_t ipc_from;  // bit n: fixed slot n
};

inline constexpr uint32_t kRightsMax = 0x60000fff;

// What a process is bound with: any peer, and the calls of its level.
Privileges default_privileges(ProcessLevel level);
// Writes the privileges of a slot. Preconditions: the table lock is held.
void store_privileges(Segment& segment, uint32_t slot, const Privileges& privileges);

// Returns 0, -ERANGE, -EDEADSRCDST, or -EDVSRMTPROC: those of another node's processes are there.
int get_privileges(const Segment& segment, int32_t endpoint, Privileges* privileges);
// For administration: whoever may open the segment may set any. Returns what get_privileges does,
// -EINVAL for a right that there is not, -ETIMEDOUT when the table was locked for long.
int set_privileges(Segment& segment, int32_t endpoint, const Privileges& privileges);
// As a call of a process, for SELF or another. One of level KERNEL may set any; another one may set
// those of USER processes and its own, and gives no right that it has not itself (-EPERM). Also
// -EDVSNOTBOUND, -ETRAPDENIED without the right PRIVILEGES, -EDVSDCNOTRUN.
int set_privileges(Process& process, int32_t endpoint, const Privileges& privileges);

// Whether processes in slot `peer` are in a mask of peers; `dynamic` is the bit of `rights` for
// those beyond the fixed slots.
inline bool is_peer(uint64_t mask, uint32_t rights, CallRight dynamic, uint32_t peer) {
  return peer < kSystemProcesses ? (mask >> peer & 1) != 0
                                 : (rights & static_cast<uint32_t>(dynamic)) != 0;
}
inline bool may_send(const Segment& segment, uint32_t source, uint32_t target) {
  PrivilegeSlot* own = segment.privilege(source);
  return is_peer(load(own->ipc_to), load(own->rights), CallRight::kToDynamic, target);
}
inline bool takes_from(const Segment& segment, uint32_t target, uint32_t source) {
  PrivilegeSlot* its = segment.privilege(target);
  return is_peer(load(its->ipc_from), load(its->rights), CallRight::kFromDynamic, source);
}

// The checks of section 5.2 of the M3-IPC notes, in their order. First those of the caller: bound,
// call allowed, DC running. -EDVSSTANDBY for a backup, see standby.h.
inline int check_caller(Process& process, CallRight right) {
  if (load(process.slot->endpoint) != process.endpoint) return -EDVSNOTBOUND;
  const uint32_t rights = load(process.segment.privilege(process.index)->rights);
  if ((rights & static_cast<uint32_t>(right)) == 0) {
    const int error = check_standby(process, rights);
    return error == 0 ? check_caller(process, right) : error;
  }
  return process.segment.running() ? 0 : -EDVSDCNOTRUN;
}
// Then those of the peer: none that is never one, in range, another process than the caller
// (`self_error`), one whom the caller may send to, alive, one that takes messages of the slot
// `source`; kProxyPeer stands for KERNEL, whom all take them from.
int check_peer(const Process& process, int32_t peer, int self_error, uint32_t source,
               uint32_t* slot);

}  // namespace dvk

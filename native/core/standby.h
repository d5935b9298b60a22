// Backups: a process of this node that stands by for its primary, which has the same endpoint on
// another node (bkupbind of M3-IPC).
//
// The slot is the primary's descriptor, so what is sent to the endpoint goes to the primary, and
// the proxy uses its words for the primary. The backup uses none of them: its calls wait, on `life`
// or by its FIFO, until `promote` makes the slot a local one. Then it takes over: it reads the
// sequence of the rendezvous word, gives itself its rights, and the call that waited begins.
//
// The rights of a backup are taken away, so a call finds out in the check that every call makes
// whether the caller stands by, and other processes pay nothing for it.
//
// When the primary goes, or its node, those who wait for it are told as ever, and the descriptor
// stays for the backup; when the backup goes, a descriptor as any other stays.
#pragma once

#include "process.h"

namespace dvk {

inline bool is_backup(ProcessSlot* slot) {
  return (std::atomic_ref(slot->bind_flags).load() & static_cast<uint32_t>(BindFlag::kBackup)) != 0;
}

// Makes the backup of `endpoint` the owner, on this node. Calls to the primary that are under way
// here end with -EDSTDIED or -ESRCDIED; the endpoint stays, so later ones reach the new owner. The
// other nodes are told, and believe it when they hold the primary's node for lost, or heard that
// it unbound: who promotes makes sure that the primary is gone. One that is killed in the middle is
// finished or undone by whoever takes the table lock next. Returns 0, -EDEADSRCDST, -ERANGE,
// -EDVSPROCSTS (nobody stands by for it), -EDVSMIGRATING (it is on its way to another node), -ESRCH
// (the backup is dead), -EDVSDCNOTRUN.
int promote(Segment& segment, int32_t endpoint);

// Whether the slot of a process that stands by is its own yet; true for any other process.
inline bool stands_by_here(const Process& process) {
  return !process.standby || std::atomic_ref(process.slot->pid).load() == process.pid;
}

// For a call of a process whose rights, which were `rights`, are taken away. Returns -EDVSSTANDBY;
// 0 when it was promoted and has taken over, or has other rights now; -EDVSMIGRATING once when it
// is to move (migrate.h); or -ETRAPDENIED when it stands by for nobody.
int check_standby(Process& process, uint32_t rights);
// Whether a call that needs no right is one of a process that stands by.
bool stands_by(Process& process);
// Begins a call that waits: its own wait is first for the promotion. Returns kPending or -EBUSY.
int start_standby(Process& process, Operation::Kind kind, int32_t peer, const Message* message);
// Begins the call that waited, once the process was promoted.
int step_standby(Process& process);
// Blocks until that; then the time left for the call is in `timeout_ms`.
int wait_promoted(Process& process, int64_t* timeout_ms);
// Whether a call that waits for the promotion may be stepped.
bool standby_ready(const Process& process);

// Preconditions of all below: the table lock is held.
// Takes every call from what the owner of a slot may do.
void suspend_rights(Segment& segment, uint32_t index);
// The backup is gone: a descriptor as any other stays.
void retire_backup(Segment& segment, uint32_t index);
// Ends what the process of another node had under way here, and every wait for it.
void quiet_descriptor(Segment& segment, uint32_t index);
// Forgets a process of another node, but for its backup.
void release_descriptor(Segment& segment, uint32_t index);
void wake_backup(Segment& segment, ProcessSlot* slot);
// A slot is ARRIVING while its backup is made the owner, by `promote` or by a move. Its endpoint
// stays bound, and calls to it wait. The rest of it, once the slot is as the new owner needs it.
void end_arrival(Segment& segment, uint32_t index);
// The lock was taken from a process that is dead: an arrival that it has begun is finished, or
// undone where something of it may be missing. The backup stands by again then, with the primary
// where it was; a move is asked for once more by the node that gives the process away.
void end_arrivals(Segment& segment);

}  // namespace dvk

// Notifications: one bit for each source that waits at its receiver, and for sources that have one,
// a value of 32 bits. Those that were not yet received merge: the bit once, the values by OR.
//
// Values are kept for the sources that carry any in MINIX and M3-IPC, the system's own: processes
// in fixed slots, and KERNEL, whose value is what MINIX calls pending interrupts. A value's word is
//
//   | 1 | endpoint of the receiver: 31 | value: 32 |
//
// and changes by compare-and-swap. With its endpoint in it, what a stopped notifier still adds
// after the receiver's end is not taken for one to the slot's next owner. The value goes in before
// the bit, and is taken out after it, so it is never lost; one added in between comes with the
// notification before, and its own comes with a value of zero.
#pragma once

#include "privilege.h"

namespace dvk {

// Notifies `destination` as `source`: the caller (or SELF), a process that is bound, or KERNEL. A
// source other than the caller needs the right NOTIFY_SOURCE, and KERNEL the right NOTIFY_KERNEL.
// `value` is not zero only for KERNEL and for sources in fixed slots, -EDVSENDPOINT for others.
// A destination that may be on another node, and that nobody here knows, is looked for when the
// source is the caller: -ENOSPC when as many messages of it wait as senda.h allows.
// Errors of `notify`, and of the source: -ERANGE, -EDEADSRCDST. -EDVSRMTPROC: KERNEL speaks on its
// own node alone, and neither source nor destination is of this node.
int notify_from(Process& process, int32_t destination, int32_t source, uint32_t value);
// For administration, and for drivers that are not bound: as KERNEL, to a process of this node.
// Returns 0, -ERANGE, -EDEADSRCDST, -EDVSRMTPROC, -EDVSDCNOTRUN.
int notify_kernel(Segment& segment, int32_t destination, uint32_t value);

// Delivers a pending notification that the source filter lets through: KERNEL's first, then the
// lowest slot's.
bool take_notice(Process& process);
bool has_notice(Process& process);

// Leaves a notification from `source` (slot and endpoint) with a process of this node.
void deliver_notice(Segment& segment, uint32_t source, int32_t endpoint, int32_t target,
                    uint32_t value);
// Keeps a notification from the slot `source` at `receiver`, bound to `endpoint`, until it is
// taken. Also for descriptors, where the proxy takes it.
void keep_notice(Segment& segment, uint32_t source, int32_t endpoint, uint32_t receiver,
                 uint32_t value);
// The same, and lets the receiver, or the proxy of its node, look.
void leave_notice(Segment& segment, uint32_t source, int32_t endpoint, uint32_t receiver,
                  uint32_t value);
// The value that waits at `receiver`, bound to `endpoint`, from the fixed slot `source`; it is zero
// after.
uint32_t take_notice_value(Segment& segment, uint32_t receiver, int32_t endpoint, uint32_t source);
// For a move to another node: writes what waits at `receiver` to `notices`, `max` at most, behind
// the `*count` that are there, then forgets it. More than that stays.
void pack_notices(Segment& segment, uint32_t receiver, MigrantNotice* notices, uint32_t max,
                  uint32_t* count);
// Leaves it with `endpoint`, in `receiver`, on the other node; it is not trusted.
void unpack_notice(Segment& segment, uint32_t receiver, int32_t endpoint,
                   const MigrantNotice& notice);
// Forgets what waits at a slot, and what a source left anywhere. Preconditions: the table lock is
// held.
void clear_notices(Segment& segment, uint32_t receiver);
void clear_notice(Segment& segment, uint32_t receiver, uint32_t source);

}  // namespace dvk

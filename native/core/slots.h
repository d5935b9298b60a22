// How slots are taken: what the files of binding share.
#pragma once

#include "process.h"
#include "rendezvous.h"

namespace dvk {

inline uint32_t life_of(const Segment& segment, uint32_t index) {
  return atomic(segment.slot(index)->life).load(std::memory_order_acquire);
}

inline bool is(uint32_t life, ProcessLife wanted) {
  return life == static_cast<uint32_t>(wanted);
}

// Whether the slot has an owner, here or elsewhere; also while that one arrives here.
inline bool is_bound(uint32_t life) {
  return is(life, ProcessLife::kLocal) || is(life, ProcessLife::kRemote) ||
         is(life, ProcessLife::kArriving);
}

inline void set_life(ProcessSlot* slot, ProcessLife life) {
  atomic(slot->life).store(static_cast<uint32_t>(life));
}

// Who a slot is bound to.
struct Owner {
  int pid, thread;
  uint64_t start_time;
};

// Whether the endpoint of the bind is given.
inline bool is_named(const BindOptions& options) {
  return options.kind == BindKind::kReplica || options.kind == BindKind::kBackup;
}
uint32_t flags_of(BindKind kind);
// Makes the checks that need no lock, too. Returns 0 or an error of Process::bind.
int find_owner(const Segment& segment, const BindOptions& options, Owner* owner);

// Preconditions of all below: the table lock is held.
// Whether a slot may be given away. One whose owner died while it was freed is finished here.
bool claimable(Segment& segment, uint32_t index);
// The slot for a bind whose endpoint is given, or -EDVSSLOTUSED.
int choose_named(Segment& segment, const BindOptions& options);
// Fills a free slot up to the point where it is LOCAL or REMOTE.
void occupy(Segment& segment, uint32_t index, int32_t endpoint, uint32_t node, ProcessLevel level,
            const char* name);
// Makes the words of a slot those of an owner that has done nothing yet.
void renew(Segment& segment, uint32_t index);
// The same as `occupy` for its owner. Returns the slot, or a negative error.
int bind_owner(Segment& segment, const BindOptions& options, const Owner& owner, uint32_t flags);
// Tells of it the other nodes, those who wait for it, and the node daemon.
void tell_of_bind(Segment& segment, uint32_t index);

}  // namespace dvk

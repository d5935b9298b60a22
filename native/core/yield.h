// Giving the CPU to a peer that runs on the same one: it answers without either side going to
// sleep, 1.3 to 1.7 times as many round trips as with futexes. But a stranger that is given the CPU
// keeps it for a whole slice, so yields are watched.
#pragma once

#include "segment.h"

namespace dvk {

class Process;

// How yielding has paid a process. It is its own, and not in the segment.
class Yielding {
 public:
  Yielding();

  // Gives the CPU away once when the peer in slot `peer` was last seen on it and none but the two
  // want it, as far as is known. Returns whether the rendezvous word changed, or a copy wants the
  // process.
  bool yield_to(Process& process, uint32_t peer);

 private:
  enum class Thief { kPartner, kUnknown, kStranger };

  // Whose time a yield took that came back a slice later.
  Thief thief_of(const Process& process, uint32_t peer, uint64_t took) const;
  // Notes how much CPU time the two sides have used up to now.
  void take_stock(const Process& process, uint32_t peer);
  void judge(Process& process, uint32_t peer, bool changed, uint64_t took);
  void met_stranger(Process& process);
  // One wait less until the next yield.
  void pause(Process& process, uint32_t peer);
  // Whether the two had the CPU for themselves since the last stock-taking.
  bool were_alone(const Process& process, uint32_t peer) const;

  const uint64_t good_ticks_, slice_ticks_, whole_slice_ticks_;
  uint32_t penalty_ = 0, pause_ = 0;  // waits until the next yield
  bool is_crowded_ = false;           // the pause is for a stranger
  uint32_t look_waits_;               // until it is looked whether the stranger is gone
  uint32_t slices_lost_ = 0;          // to nobody knows whom, in a row
  // The last stock-taking: with whom, how many yields ago, and what they had used.
  uint32_t partner_ = ~0u, yields_ = 0;
  int64_t used_ns_ = 0, stock_ns_ = 0;
};

// The CPU that `slot`'s owner was last seen on, plus one; 0 when that is not known.
uint32_t cpu_of(ProcessSlot* slot);
// Whether both were last seen on one CPU, and neither has met a stranger there lately.
bool share_cpu(ProcessSlot* one, ProcessSlot* other);
void publish_cpu(Process& process);

}  // namespace dvk

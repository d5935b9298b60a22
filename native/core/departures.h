// Processes of this node that have gone: a record of the last of them, and who is told of each
// (warn2proc of M3-IPC).
//
// There the kernel sends a message. Here nobody may wait for its receiver, least of all one that
// ends, and a buffer of messages would be full one day. So KERNEL notifies the one that is to be
// warned, which is kept until it receives, and it looks up who went since it looked last. The
// record has the last kDepartures; the numbers tell who looks too late how many it has missed.
#pragma once

#include "segment.h"

namespace dvk {

// How a process went. Nobody but its parent knows the exit code of a program.
inline constexpr int32_t kUnbound = 0;
inline constexpr int32_t kEnded = -1;

struct Departure {
  uint64_t number;  // from 1; each has the next one
  int32_t endpoint;
  int32_t pid;
  int32_t status;  // kUnbound or kEnded
  uint32_t level;
  char name[kNameBytes];
};

// Keeps record of a process of this node and warns of it. `again`: who did it before died, maybe
// before it was done. Preconditions: the table lock is held, and the slot has its owner's pid.
void note_departure(Segment& segment, uint32_t index, int32_t endpoint, int32_t status, bool again);
// From now on each departure notifies `endpoint`, a process of this node, as KERNEL with `value`;
// NONE for nobody. For administration. Returns 0, -ERANGE, -EDEADSRCDST, -EDVSRMTPROC.
int set_warned(Segment& segment, int32_t endpoint, uint32_t value);
// The first departure with that number, or a higher one. Returns false when there is none yet.
bool find_departure(const Segment& segment, uint64_t number, Departure* departure);

}  // namespace dvk

// The table lock of a segment: guards bind, unbind, repair and the arena's extent table.
//
// A word of the segment names the owner by pid and start time. It is not a pthread robust mutex,
// since glibc follows pointers inside such a mutex, and a scribbling member could lead it anywhere.
// A dead owner loses the lock to the next taker; a stopped one keeps it, and takers give up after
// a time. Every change under the lock can be repeated from its start, so a half-done one
// needs no rollback; but for a process that arrives (standby.h), which the next taker of the lock
// sets right before anything else. It is the only lock; no call of IPC takes it.
#pragma once

#include "segment.h"

namespace dvk {

// A live owner lets go within microseconds, unless it is stopped.
inline constexpr int64_t kLockTimeoutMs = 1000;
// Who repairs what others left waits no longer than this for the lock, and tries again later.
inline constexpr int64_t kRepairLockMs = 20;

// Whether the process that the word of the table lock names is alive, or may be.
bool lock_owner_alive(uint64_t word);

// Whether the table lock is held by a process that is dead.
bool is_lock_broken(const Segment& segment);
// Takes the lock from such a process, and mends what it left halfway; see end_arrivals.
void mend(Segment& segment);

class TableLock {
 public:
  explicit TableLock(Segment& segment, int64_t timeout_ms = kLockTimeoutMs);
  ~TableLock();
  TableLock(const TableLock&) = delete;
  TableLock& operator=(const TableLock&) = delete;
  // 0, -ETIMEDOUT when the owner lives and would not let go, or -EMFILE when this process could not
  // find out its own start time.
  int error() const {
    return error_;
  }

 private:
  Segment& segment_;
  uint64_t self_ = 0;
  int error_ = 0;
};

}  // namespace dvk

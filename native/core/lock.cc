#include "lock.h"

#include <errno.h>
#include <time.h>

#include <optional>

#include "own_pid.h"
#include "process.h"
#include "standby.h"
#include "wait.h"

namespace dvk {
namespace {

uint64_t self_word() {
  // A fork has another pid, so the cached word is checked against it.
  static std::atomic<uint64_t> cached{0};
  const uint32_t pid = static_cast<uint32_t>(own_pid());
  uint64_t word = cached.load(std::memory_order_relaxed);
  if (static_cast<uint32_t>(word) != pid) {
    word = process_start_time(static_cast<int>(pid)) << 32 | pid;
    if (word >> 32 != 0) cached.store(word, std::memory_order_relaxed);
  }
  return word;
}

}  // namespace

bool lock_owner_alive(uint64_t word) {
  const int pid = static_cast<int>(word & 0xffffffff);
  const std::optional<uint64_t> start = find_start_time(pid);
  return !start.has_value() || (*start != 0 && static_cast<uint32_t>(*start) == word >> 32);
}

bool is_lock_broken(const Segment& segment) {
  const uint64_t owner = atomic(segment.header()->table_lock).load();
  return owner != 0 && !lock_owner_alive(owner);
}

void mend(Segment& segment) {
  if (!is_lock_broken(segment)) return;
  const TableLock inherited(segment, kRepairLockMs);
}

TableLock::TableLock(Segment& segment, int64_t timeout_ms) : segment_(segment), self_(self_word()) {
  if (self_ >> 32 == 0) {
    // Without its start time the owner would be taken for dead.
    error_ = -EMFILE;
    return;
  }
  const auto word = atomic(segment.header()->table_lock);
  const int64_t deadline = now_ns() + timeout_ms * 1'000'000;
  for (int tries = 0;; tries++) {
    uint64_t seen = 0;
    if (word.compare_exchange_strong(seen, self_, std::memory_order_acquire)) {
      DVK_CRASH_POINT("lock.taken");
      return;
    }
    const bool late = now_ns() > deadline;
    // A dead owner is found out at once, a live one holds the lock for microseconds.
    if ((tries > 20 || late) && !lock_owner_alive(seen) &&
        word.compare_exchange_strong(seen, self_, std::memory_order_acquire)) {
      DVK_CRASH_POINT("lock.inherited");
      end_arrivals(segment);
      return;
    }
    if (late) {
      error_ = -ETIMEDOUT;
      return;
    }
    const timespec pause{0, tries < 20 ? 20'000 : 1'000'000};
    nanosleep(&pause, nullptr);
  }
}

TableLock::~TableLock() {
  if (error_ != 0) return;
  DVK_CRASH_POINT("lock.release");
  uint64_t seen = self_;
  atomic(segment_.header()->table_lock).compare_exchange_strong(seen, 0, std::memory_order_release);
}

}  // namespace dvk

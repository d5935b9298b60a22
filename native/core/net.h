// The net below a lost death notice: who sleeps looks after its peer now and then.
//
// A sleep with a time-out would do, but the kernel sets and cancels a timer for each, which costs a
// tenth of a round trip. So for a process that sleeps often a thread of the OS process wakes it
// every kNetMs, and its sleeps need no time-out. A process that has rested for a second is let go:
// an idle system has no such thread that runs.
#pragma once

#include <atomic>
#include <cstdint>

namespace dvk {

inline constexpr int64_t kNetMs = 100;

// What a process has of the net. All but the destructor is for the thread that sleeps.
class Sleeper {
 public:
  // It sleeps on the futex `word`.
  explicit Sleeper(uint32_t* word) : word_(word) {}
  ~Sleeper();
  Sleeper(const Sleeper&) = delete;
  Sleeper& operator=(const Sleeper&) = delete;

  // Whether the sleep that begins now, and ends with `end_sleep`, may be without a time-out.
  bool begin_sleep();
  void end_sleep() {
    asleep_.store(false, std::memory_order_release);
  }
  // Whether kNetMs have passed since this was true last; for sleeps without a time-out.
  bool is_due();

 private:
  friend struct Net;
  void count_sleep();

  uint32_t* const word_;
  std::atomic<bool> covered_{false};  // the net wakes this sleeper
  std::atomic<bool> asleep_{false};   // ... and must go on until it has seen that it does no more
  std::atomic<bool> due_{false};
  std::atomic<uint32_t> sleeps_{0};
  bool member_ = false, woken_ = false;
  int64_t counted_from_ = 0;
  // Of the net alone.
  uint32_t seen_ = 0, rests_ = 0;
};

}  // namespace dvk

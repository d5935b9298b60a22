// Sleeping and waking: futexes for blocking callers, a FIFO for event loops, and when to spin
// first.
//
// Lost wake-ups are excluded by one rule: only the waiter writes its `sleeping` word. It sets the
// word, looks at the rendezvous word again, and sleeps only if that has not changed; a waker
// changes the rendezvous word first and looks at `sleeping` after (both sequentially consistent).
#pragma once

#include <string>

#include "clock.h"
#include "process.h"
#include "yield.h"

namespace dvk {

// A wake across cores costs about 25 us on a virtual machine, a hot spin 0.1: 50 us of spin is the
// break-even.
inline constexpr uint64_t kSpinNs = 50'000;
// Longer time-outs are as good as this one, and a sum with it does not overflow.
inline constexpr int64_t kTimeoutMsMax = int64_t{1} << 40;

inline constexpr uint32_t kAwake = 0, kOnFutex = 1, kOnFifo = 2;

// Tells the CPU that it spins.
inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Sleeps while *word == expected, at most `timeout_ns`, or for ever when that is negative. Returns
// when woken, changed, timed out or interrupted.
void futex_wait(uint32_t* word, uint32_t expected, int64_t timeout_ns);
inline constexpr int kEveryWaiter = 0x7fffffff;
void futex_wake(uint32_t* word, int waiters = 1);
// The end of a wait on another word than the rendezvous word.
class Deadline {
 public:
  // `timeout_ms` as in ipc.h.
  explicit Deadline(int64_t timeout_ms);
  // Sleeps while *word == expected, for `net_ms` at most. Returns 0 to look again, -EAGAIN (no time
  // was given), -ETIMEDOUT, -EINTR.
  int sleep(uint32_t* word, uint32_t expected, int64_t net_ms = 10 * kNetMs);
  // What is left for a call that goes on, as a time-out in ms.
  int64_t left_ms() const;

 private:
  const int64_t timeout_ms_;
  const int64_t end_ns_;
};

// Wakes the owner of `slot` after its rendezvous word changed.
void wake(Segment& segment, ProcessSlot* slot);

// While one exists, wakes in its segment wait for its end: of event loops, which are woken once
// however many of their calls have ended, and of processes on this CPU, which would only take it
// away. For a proxy that acts on many commands at once. Should it die before the end, who takes its
// link down wakes them, as those whose word changed without a wake.
class WakesPutOff {
 public:
  explicit WakesPutOff(Segment& segment);
  ~WakesPutOff();
  WakesPutOff(const WakesPutOff&) = delete;
  WakesPutOff& operator=(const WakesPutOff&) = delete;
  // Whether processes on this CPU will be woken, that sleep in blocking calls.
  bool has_neighbours() const {
    return words_.count > 0;
  }

 private:
  friend void wake(Segment& segment, ProcessSlot* slot);
  // Returns false when the process is to be woken at once.
  bool add(ProcessSlot* slot, uint32_t sleeping);
  template <typename T>
  struct Some {
    T items[16];
    size_t count = 0;
    bool add(T item);
  };

  Segment& segment_;
  const uint32_t cpu_;
  Some<uint64_t> fifos_;
  Some<uint32_t*> words_;
};
// Spins until the rendezvous word differs from `expected`, at most `ns`. Returns whether it does.
bool spin_while(ProcessSlot* slot, uint32_t expected, uint64_t ns);
// Spins for the present call when the peer runs on another CPU.
bool spin_for(Process& process, uint64_t ns);
// Yields for the present call when the peer runs on this CPU; see yield.h. Returns whether the
// rendezvous word changed.
bool yield_for(Process& process);
// Whether spinning can pay: the slot's owner was last seen on another CPU.
bool on_other_cpu(const Process& process, uint32_t peer);

// FIFOs live in `<directory>/wake/<id in hex>`. Returns the descriptor (read-write, non-blocking)
// or -errno.
int wake_fifo_create(const std::string& directory, uint64_t wake_id);
void wake_fifo_remove(const std::string& directory, uint64_t wake_id);
// Returns whether its reader is sure to wake.
bool wake_fifo(const std::string& directory, uint64_t wake_id);
// Wakes the event loops of all processes with segments in `directory`.
void wake_every_fifo(const std::string& directory);

}  // namespace dvk

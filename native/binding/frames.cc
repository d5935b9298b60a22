// Runs of frames for JavaScript; see frame_runs.h.

#include <sched.h>

#include <algorithm>
#include <cerrno>

#include "../core/clock.h"
#include "../core/link.h"
#include "frame_runs.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// takeFrames: see src/dvk/native.ts.
int js_take_frames(Segment& segment, uint32_t node, Bytes out, uint32_t at, uint32_t session,
                   uint32_t sequence, double data_sequence, uint32_t most, bool short_only) {
  const FrameRun run{at, session, sequence, most};
  return take_frames(segment, node, out.data, out.length, run, data_sequence, short_only);
}

// Gives the CPU to a process of this one that was woken, while that pays: it answers at once, as a
// rule, and the proxy goes on with its answer. The alternative is a turn of the event loop, at the
// end of which it sleeps, and is woken by a byte in a FIFO. Pauses grow and shrink as those of
// core/yield.h: a stranger that is given the CPU keeps it for a slice.
class Courtesy {
 public:
  void yield(Segment& segment, uint32_t node) {
    // It was given the CPU with its wake.
    if (!segment.link_queue(node).empty()) return;
    if (pause_ > 0) {
      pause_--;
      return;
    }
    const uint64_t begun = ticks();
    sched_yield();
    const bool is_good = ticks() - begun <= good_ticks_ && !segment.link_queue(node).empty();
    penalty_ = is_good ? penalty_ / 2 : std::min(4 * penalty_ + 3, kPauseMax);
    pause_ = penalty_;
  }

 private:
  static constexpr int64_t kGoodNs = 30'000;
  static constexpr uint32_t kPauseMax = 65535;

  const uint64_t good_ticks_ = ticks_in(kGoodNs);
  uint32_t penalty_ = 0, pause_ = 0;  // runs with somebody to wake until the next yield
};

// putFrames: see src/dvk/native.ts.
int js_put_frames(Segment& segment, uint32_t node, Bytes in, uint32_t at, uint32_t end,
                  uint32_t session, uint32_t sequence, uint32_t most, Words last) {
  if (end > in.length || last.length == 0) return -ERANGE;
  const FrameRun run{at, session, sequence, most};
  thread_local Courtesy courtesy;
  bool wakes_neighbours = false;
  const int count = put_frames(segment, node, in.data, end, run, last.data, &wakes_neighbours);
  if (wakes_neighbours) courtesy.yield(segment, node);
  return count;
}

}  // namespace

void register_frames(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"takeFrames", method<js_take_frames>},
             {"putFrames", method<js_put_frames>},
         });
}

}  // namespace dvk::binding

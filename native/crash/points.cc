#include "points.h"

#include <signal.h>
#include <unistd.h>

#include "../core/crash_point.h"

// The linker's bounds of the table of labels.
extern const dvk::CrashPoint points_begin[] __asm__("__start_dvk_crash_points");
extern const dvk::CrashPoint points_end[] __asm__("__stop_dvk_crash_points");

namespace dvk::crash {
namespace {

Shot shot;
Hits* hits = nullptr;

void pass(uint32_t point) {
  if (hits == nullptr) return;
  const uint32_t hit = hits->points[point].fetch_add(1, std::memory_order_relaxed) + 1;
  if (shot.fault == Fault::kNone || shot.point != point || shot.hit != hit) return;
  hits->fired.store(1);
  kill(getpid(), shot.fault == Fault::kKill ? SIGKILL : SIGSTOP);
}

}  // namespace

uint32_t point_count() {
  return static_cast<uint32_t>(points_end - points_begin);
}

const char* point_label(uint32_t point) {
  return point == kWrites ? "write" : points_begin[point].label;
}

void arm_process(const Shot& where, Hits* counts) {
  shot = where;
  hits = counts;
}

void disarm_process() {
  hits = nullptr;
}

}  // namespace dvk::crash

namespace dvk {

void reach(const CrashPoint& point) {
  crash::pass(static_cast<uint32_t>(&point - points_begin));
}

void reach_write() {
  crash::pass(crash::kWrites);
}

}  // namespace dvk

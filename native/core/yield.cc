#include "yield.h"

#include <sched.h>

#include <algorithm>

#include "clock.h"
#include "copy_job.h"
#include "process.h"
#include "rendezvous.h"

namespace dvk {
namespace {

// A peer answers within this; a yield that took longer went to somebody else too.
constexpr int64_t kGoodNs = 30'000;
// Somebody who took this long used the CPU in earnest: the peer, a passer-by like a thread of the
// kernel, or a busy stranger. The slice of a busy one is 1.4 ms and more (EEVDF's base slice on two
// CPUs).
constexpr int64_t kSliceNs = 500'000;
constexpr int64_t kWholeSliceNs = 1'300'000;
constexpr uint32_t kSlicesOfStranger = 3;
constexpr uint32_t kPauseMax = 65535;
// During a pause for a stranger the CPU time of the two tells whether it is gone. If it was not,
// the next look comes later, and sooner again while yields pay.
constexpr uint32_t kLookWaitsMin = 256, kLookWaitsMax = 16384, kLookWaitsStep = 8;
// Rare enough to cost nothing, and so often that what the two use between is far below a slice.
constexpr uint32_t kYieldsPerStock = 256;

// In ProcessSlot::cpu, beside the number: its owner has met a stranger there. Its peers need not
// lose a slice of their own to learn of it.
constexpr uint32_t kCrowded = 1u << 31;

// CPU time used so far by the programs of both sides.
int64_t used_by_both(const Process& process, uint32_t peer) {
  const int other = load(process.segment.slot(peer)->pid);
  const int64_t own = cpu_time_ns(0);
  return other == process.pid || other <= 0 ? own : own + std::max<int64_t>(cpu_time_ns(other), 0);
}

}  // namespace

uint32_t cpu_of(ProcessSlot* slot) {
  return load(slot->cpu) & ~kCrowded;
}

bool share_cpu(ProcessSlot* one, ProcessSlot* other) {
  const uint32_t cpu = load(one->cpu);
  return cpu != 0 && (cpu & kCrowded) == 0 && cpu == load(other->cpu);
}

void publish_cpu(Process& process) {
  const uint32_t cpu = static_cast<uint32_t>(sched_getcpu()) + 1;
  if (cpu_of(process.slot) != cpu) store(process.slot->cpu, cpu);
}

Yielding::Yielding()
    : good_ticks_(ticks_in(kGoodNs)),
      slice_ticks_(ticks_in(kSliceNs)),
      whole_slice_ticks_(ticks_in(kWholeSliceNs)),
      look_waits_(kLookWaitsMin) {}

void Yielding::take_stock(const Process& process, uint32_t peer) {
  partner_ = peer;
  yields_ = 0;
  used_ns_ = used_by_both(process, peer);
  stock_ns_ = now_ns();
}

bool Yielding::were_alone(const Process& process, uint32_t peer) const {
  if (peer != partner_) return false;
  const int64_t used = used_by_both(process, peer) - used_ns_;
  return used >= (now_ns() - stock_ns_) / 10 * 9;
}

Yielding::Thief Yielding::thief_of(const Process& process, uint32_t peer, uint64_t took) const {
  if (peer != partner_) return Thief::kUnknown;
  // The peer may have worked all the time, or another thread of either program.
  const int64_t used = used_by_both(process, peer) - used_ns_;
  if (ticks_in(used) >= took / 2) return Thief::kPartner;
  return took < whole_slice_ticks_ ? Thief::kUnknown : Thief::kStranger;
}

// A bad yield costs a slice, a good one saves 1 us, so trust is lost faster than it is won.
void Yielding::judge(Process& process, uint32_t peer, bool changed, uint64_t took) {
  if (changed && took <= good_ticks_) {
    slices_lost_ = 0;
    penalty_ /= 2;
    return;
  }
  if (took >= slice_ticks_) {
    const Thief thief = thief_of(process, peer, took);
    take_stock(process, peer);
    if (thief == Thief::kPartner && changed) return;
    if (thief == Thief::kUnknown) slices_lost_++;
    if (thief == Thief::kStranger || slices_lost_ >= kSlicesOfStranger) {
      met_stranger(process);
      return;
    }
  }
  penalty_ = std::min(4 * penalty_ + 3, kPauseMax);
}

void Yielding::met_stranger(Process& process) {
  penalty_ = kPauseMax;
  is_crowded_ = true;
  look_waits_ = std::min(4 * look_waits_, kLookWaitsMax);
  store(process.slot->cpu, cpu_of(process.slot) | kCrowded);
}

void Yielding::pause(Process& process, uint32_t peer) {
  pause_--;
  if (is_crowded_ && pause_ % look_waits_ == 0) {
    if (were_alone(process, peer)) pause_ = penalty_ = 0;
    take_stock(process, peer);
  }
  if (pause_ > 0) return;
  is_crowded_ = false;
  store(process.slot->cpu, cpu_of(process.slot));
}

bool Yielding::yield_to(Process& process, uint32_t peer) {
  if (pause_ > 0) {
    pause(process, peer);
    return false;
  }
  if (peer >= process.segment.processes()) return false;
  if (!share_cpu(process.slot, process.segment.slot(peer))) return false;
  // What was used during a pause says nothing of the yield after it.
  if (++yields_ >= kYieldsPerStock || penalty_ > 0) {
    take_stock(process, peer);
    look_waits_ = std::max(look_waits_ - kLookWaitsStep, kLookWaitsMin);
  }
  const auto rendezvous = atomic(process.slot->rendezvous);
  const uint32_t word = rendezvous.load(std::memory_order_acquire);
  const uint64_t begun = ticks();
  sched_yield();
  const uint64_t took = ticks() - begun;
  const bool changed = rendezvous.load(std::memory_order_acquire) != word || has_copy_work(process);
  judge(process, peer, changed, took);
  pause_ = penalty_;
  return changed;
}

}  // namespace dvk

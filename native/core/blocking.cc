// Blocking until a call is done: spin, yield, sleep, and look after the peer meanwhile.

#include <errno.h>

#include <algorithm>

#include "call.h"
#include "copy_job.h"
#include "deadlock.h"
#include "search.h"
#include "slots.h"
#include "standby.h"
#include "trace.h"
#include "wait.h"

namespace dvk {

std::atomic<bool> interrupted{false};
thread_local bool (*abandoned)() = nullptr;
thread_local bool is_abandoned_soon = false;

namespace {

using Kind = Operation::Kind;

// The slot whose owner's death would end the wait, or one that there is not.
uint32_t awaited_slot(const Process& process, uint32_t word) {
  constexpr uint32_t kNobody = ~0u;
  if (process.operation.kind == Kind::kUnbind) {
    return static_cast<uint32_t>(process.segment.slot_of(process.operation.peer));
  }
  const State state = state_of(word);
  const bool open = state == State::kAny || state == State::kRequest || state == State::kRemote;
  return open || !is_waiting(word) ? kNobody : peer_of(word);
}

// Whether the owner of `slot` is alive, or of another node, or arrives here.
bool lives_on(ProcessSlot* slot) {
  const uint32_t life = load(slot->life);
  return is_bound(life) && (!is(life, ProcessLife::kLocal) || owner_alive(slot));
}

// A waiter without news looks after its peer, should the death notice be lost. Where the table is
// locked for long it ends its own wait at least.
void look_after_peer(Process& process) {
  Segment& segment = process.segment;
  mend(segment);
  if (process.operation.stage == Operation::Stage::kSearching) end_orphan(process);
  const uint32_t word = atomic(process.slot->rendezvous).load();
  const uint32_t peer = awaited_slot(process, word);
  if (peer >= segment.processes()) return;
  ProcessSlot* slot = segment.slot(peer);
  if (state_of(word) == State::kSending || state_of(word) == State::kCalling) {
    wake_claimed(segment, slot);
  }
  const int32_t endpoint = load(slot->endpoint);
  if (lives_on(slot) || reap(segment, peer, endpoint, kRepairLockMs) != 0) return;
  if (!lives_on(slot)) fail_waiter(segment, process.index, peer, process.operation.peer);
}

// How long a waiter without news sleeps until it looks again, after `looks` times.
int64_t net_ns(const Process& process, uint32_t word, uint32_t looks) {
  // Who waits for nobody in particular has nobody to look after.
  const bool open = state_of(word) == State::kAny || state_of(word) == State::kRequest ||
                    process.operation.kind == Kind::kBind;
  const uint32_t growth = is_abandoned_soon && open ? 0 : std::min(looks, 3u);
  return ((open ? 10 : 1) * kNetMs * 1'000'000) << growth;
}

// One wait for news, and when the waiter is to look after its peer.
struct Vigil {
  int64_t deadline;  // 0: none
  int64_t looked = 0;
  uint32_t looks = 0;
};

// Sleeps until the word changes, or for as long as may be. Returns whether it is time to look.
bool sleep_on(Process& process, Vigil& vigil) {
  ProcessSlot* slot = process.slot;
  const uint32_t word = atomic(slot->rendezvous).load();
  if (!is_waiting(word)) return false;
  const bool untimed = vigil.deadline == 0 && process.sleeper.begin_sleep();
  int64_t limit = -1;
  if (!untimed) {
    const int64_t now = now_ns();
    if (vigil.looked == 0) vigil.looked = now;
    limit = net_ns(process, word, vigil.looks);
    if (vigil.deadline != 0) limit = std::clamp(vigil.deadline - now, int64_t{0}, limit);
  }
  count(slot->waits);
  if (is_traced(process.segment)) trace_sleep(process, kOnFutex);
  atomic(slot->sleeping).store(kOnFutex);
  DVK_CRASH_POINT("sleep.begun");
  if (!has_copy_work(process)) futex_wait(&slot->rendezvous, word, limit);
  atomic(slot->sleeping).store(kAwake);
  if (process.trace.slept != 0) trace_awake(process);
  if (untimed) {
    process.sleeper.end_sleep();
    return process.sleeper.is_due();
  }
  const int64_t now = now_ns();
  if (now - vigil.looked < kNetMs * 1'000'000) return false;
  vigil.looked = now;
  vigil.looks++;
  return true;
}

}  // namespace

int wait_for(Process& process, int64_t timeout_ms) {
  if (process.operation.stage == Operation::Stage::kStandby) {
    const int result = wait_promoted(process, &timeout_ms);
    if (result != kPending) return result;
  }
  timeout_ms = std::min(timeout_ms, kTimeoutMsMax);
  Vigil vigil{.deadline = timeout_ms < 0 ? 0 : now_ns() + timeout_ms * 1'000'000};
  for (uint32_t tries = 1;; tries++) {
    const int result = step(process);
    if (result != kPending) return result;
    if (timeout_ms == 0) return cancel(process, -EAGAIN);
    if (interrupted.load(std::memory_order_relaxed)) return cancel(process, -EINTR);
    // A word that a hostile member never leaves alone must not hide the time-out.
    if (serve_copy_job(process) && tries % 256 != 0) continue;
    if ((spin_for(process, kSpinNs) || yield_for(process)) && tries % 256 != 0) continue;
    if (timeout_ms > 0 && now_ns() >= vigil.deadline) return cancel(process, -ETIMEDOUT);
    if (break_cycle(process)) continue;
    const bool due = sleep_on(process, vigil);
    publish_cpu(process);
    if (!due) continue;
    if (abandoned != nullptr && abandoned()) return cancel(process, -EINTR);
    process.segment.touch_tables();
    if (!process.segment.running()) return cancel(process, -EDVSDCNOTRUN);
    look_after_peer(process);
  }
}

}  // namespace dvk

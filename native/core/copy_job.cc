#include "copy_job.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>

#include "copy_word.h"
#include "wait.h"

namespace dvk {
namespace {

// What the requester does in one system call between two looks at a lender that may come.
constexpr uint64_t kAloneBytes = 65536;
// A lender on another CPU has taken an offer, or is asleep, after this long.
constexpr int64_t kGlanceNs = 1'000;
// How long a lender may move nothing where nobody but it can do it.
constexpr int64_t kInsistNs = 20'000'000;
// The longest pause between two looks for it.
constexpr int64_t kPauseNs = 500'000;
// A wake across CPUs pays from this many bytes on.
constexpr uint64_t kWakeBytes = 1 << 20;

bool is_near(const Copier& copier, ProcessSlot* lender) {
  return copier.process != nullptr && same_cpu(*copier.process, lender);
}

void pause_ns(int64_t ns) {
  const timespec time{0, ns};
  nanosleep(&time, nullptr);
}

}  // namespace

int64_t transfer(int pid, uint64_t address, uint8_t* own, uint64_t bytes, bool read) {
  uint64_t done = 0;
  while (done < bytes) {
    iovec here{own + done, bytes - done};
    iovec there{reinterpret_cast<void*>(address + done), bytes - done};
    const ssize_t n = read ? process_vm_readv(pid, &here, 1, &there, 1, 0)
                           : process_vm_writev(pid, &here, 1, &there, 1, 0);
    if (n < 0 && errno == ESRCH) return read ? -ESRCDIED : -EDSTDIED;
    // Sandboxes refuse the call, or say that there is none.
    if (n < 0) return errno == ENOSYS ? -EPERM : -errno;
    if (n == 0) return -EFAULT;
    done += static_cast<uint64_t>(n);
  }
  return static_cast<int64_t>(done);
}

uint32_t* partner_of(Segment& segment, uint32_t requester) {
  if (requester == kProxyPeer) return &segment.header()->proxy_partner;
  return requester < segment.processes() ? &segment.slot(requester)->copy_partner : nullptr;
}

CopyJob::CopyJob(const Copier& copier, uint32_t lender)
    : copier_(copier),
      lender_(copier.segment.slot(lender)),
      index_(lender),
      requester_(copier.process != nullptr ? copier.process->index : kProxyPeer),
      patience_ns_(kStallNs) {
  if (claim()) return;
  const int64_t end = now_ns() + copier.patience_ns;
  do {
    if (copier.process == nullptr || !serve_copy_job(*copier.process)) sched_yield();
  } while (!claim() && now_ns() < end);
  if (identity_ == 0 && bury_holder()) claim();
}

bool CopyJob::allowed() const {
  return identity_ != 0 || state_of(atomic(lender_->copy_job).load()) == kAbandoned;
}

// Undoes the claim of a requester that died, should the death notice be late. Returns whether one
// did.
bool CopyJob::bury_holder() {
  Segment& segment = copier_.segment;
  const uint64_t word = atomic(lender_->copy_job).load();
  if (state_of(word) == kFree) return true;
  const uint32_t holder = requester_of(word);
  if (holder == kProxyPeer) {
    drop_proxy_copy_job(segment);
    return true;
  }
  if (holder >= segment.processes() || owner_alive(segment.slot(holder))) return false;
  return reap(segment, holder, load(segment.slot(holder)->endpoint), kRepairLockMs) == 1;
}

bool CopyJob::claim() {
  const auto job = atomic(lender_->copy_job);
  uint64_t word = job.load();
  if (state_of(word) != kFree) return false;
  // Named before the claim: whoever finds this process dead undoes the claim by it.
  uint32_t none = 0;
  const auto partner = atomic(*partner_of(copier_.segment, requester_));
  if (!partner.compare_exchange_strong(none, index_ + 1)) return false;
  DVK_CRASH_POINT("copy.partner");
  const uint64_t identity = next_sequence(word) | uint64_t{requester_} << 8;
  if (!job.compare_exchange_strong(word, identity | kSetting)) {
    partner.store(0);
    return false;
  }
  identity_ = identity;
  DVK_CRASH_POINT("copy.claimed");
  return true;
}

CopyJob::~CopyJob() {
  end();
}

bool CopyJob::mine(uint64_t word) const {
  return identity_ != 0 && identity_of(word) == identity_ && state_of(word) != kFree &&
         state_of(word) != kAbandoned && state_of(word) != kLeft;
}

bool CopyJob::end() {
  if (identity_ == 0) return false;
  const auto job = atomic(lender_->copy_job);
  uint64_t word = job.load();
  bool held = false;
  // The lender is never BUSY here: stream() has seen its last chunk, or given the job up.
  while (mine(word) && !held) held = job.compare_exchange_weak(word, with_state(word, kFree));
  // From now on this side touches the stage no more.
  if (state_of(word) == kLeft && identity_of(word) == identity_) {
    job.compare_exchange_strong(word, with_state(word, kFree));
  }
  DVK_CRASH_POINT("copy.ended");
  identity_ = 0;
  atomic(*partner_of(copier_.segment, requester_)).store(0);
  return held;
}

// Moves the word from one of the requester's own states to another.
bool CopyJob::advance(uint64_t* word, uint64_t next) {
  if (!atomic(lender_->copy_job).compare_exchange_strong(*word, next)) return false;
  *word = next;
  return true;
}

bool CopyJob::held() const {
  return mine(atomic(lender_->copy_job).load());
}

// Gives the claim another number, for another order: a lender that is late with its answer to the
// one before could take the word for that of its offer. Returns false when it is not held.
bool CopyJob::renew() {
  uint64_t word = atomic(lender_->copy_job).load();
  const uint64_t identity = next_sequence(word) | uint64_t{requester_} << 8;
  if (!mine(word) || !advance(&word, identity | kSetting)) return false;
  identity_ = identity;
  return true;
}

// Whether the lender sits in a blocking call, where it will see an offer.
bool CopyJob::is_blocked() const {
  return load(lender_->sleeping) != kOnFifo && is_waiting(atomic(lender_->rendezvous).load());
}

// Whether the lender can take an offer, and may be quicker.
bool CopyJob::may_offer(uint64_t bytes) const {
  return identity_ != 0 && copier_.process != nullptr && load(lender_->lends) == kLendsAlways &&
         is_blocked() &&
         bytes >= (is_near(copier_, lender_) ? kStagedNearBytesMin : kStagedBytesMin);
}

// Whether the lender is awake, or was woken; one that sleeps, when this and the copies before it
// make up for the price.
bool CopyJob::rouse(uint64_t bytes) {
  if (load(lender_->sleeping) == kAwake) return true;
  Process& requester = *copier_.process;
  const bool near = is_near(copier_, lender_);
  requester.offer_credit += bytes;
  if (!near && requester.offer_credit < kWakeBytes) return false;
  requester.offer_credit = 0;
  wake(copier_.segment, lender_);
  return true;
}

// Waits `ns` for the lender to take the offer in `word`; 0 looks once.
bool CopyJob::accepted(uint64_t word, int64_t ns) {
  const auto job = atomic(lender_->copy_job);
  const bool near = is_near(copier_, lender_);
  const int64_t end = ns == 0 ? 0 : now_ns() + ns;
  for (int tries = 0;; tries++) {
    for (int i = 0; i < (near ? 1 : 32); i++) {
      if (job.load() != word) return true;
      if (!near) relax();
    }
    if (ns == 0 || (tries > 1 && now_ns() > end)) return false;
    if (near) sched_yield();
  }
}

// Whether to stop waiting for the lender's next chunk, after one more moment of it.
bool CopyJob::stalled(int64_t since, bool* woken) {
  if (load(lender_->sleeping) != kAwake && !*woken) {
    *woken = true;
    wake(copier_.segment, lender_);
  }
  if (is_near(copier_, lender_)) {
    sched_yield();
  } else {
    for (int i = 0; i < 32; i++) relax();
  }
  return now_ns() - since > patience_ns_;
}

// Writes what the lender shall do. Returns the word as it stands.
uint64_t CopyJob::order(const Block& block, uint32_t flags) {
  CopyOrder* order = copier_.segment.copy_order(index_);
  const uint32_t direction = flags | (block.read ? 0 : kWrites);
  store(order->address, block.address);
  store(order->bytes, block.bytes);
  store(order->direction, direction);
  store(order->seal, seal_of(identity_, block.address, block.bytes, direction));
  DVK_CRASH_POINT("copy.ordered");
  return atomic(lender_->copy_job).load();
}

// The requester's end of an accepted job, from the chunk `first` that the lender began with: in the
// segment another one's job may be under way by now. What is missing at its end is this side's to
// do alone.
CopyJob::Progress CopyJob::stream(const Block& block, uint64_t first, bool near) {
  const auto [pid, address, own, bytes, read] = block;
  const Cut cut(bytes, copier_.segment.stage(index_), near);
  CopyOrder* order = copier_.segment.copy_order(index_);
  const auto job = atomic(lender_->copy_job);
  // Chunks taken out of the stage (read) or put into it (write), by this side.
  uint64_t moved = first;
  int64_t since = 0;
  bool woken = false;
  int error = 0;
  for (;;) {
    uint64_t word = job.load();
    if (!mine(word) || state_of(word) == kAlone) break;  // it left, or declined
    const uint64_t next = std::min(next_of(word), cut.chunks);
    if (read ? moved == cut.chunks : next == cut.chunks) break;
    const bool ready = read ? moved < next : moved < cut.chunks && moved - next < cut.ring;
    if (ready) {
      if (read) {
        memcpy(own + cut.at(moved), cut.staged(moved), cut.size(moved));
      } else {
        memcpy(cut.staged(moved), own + cut.at(moved), cut.size(moved));
      }
      DVK_CRASH_POINT("copy.staged");
      moved++;
      atomic(order->moved).store(moved);
      since = 0;
      woken = false;
      continue;
    }
    if (since == 0) since = now_ns();
    if (!stalled(since, &woken)) continue;
    if (state_of(word) == kActive) {
      if (job.compare_exchange_strong(word, with_state(word, kAlone))) break;
      continue;
    }
    // It was stopped inside a chunk. One that writes may not find other data there when it goes on.
    const bool dead = !owner_alive(lender_);
    if (!read && !dead && now_ns() - since < kStoppedNs) continue;
    if (!job.compare_exchange_strong(word, with_state(word, kAbandoned))) continue;
    if (!read) error = dead ? -EDSTDIED : -ETIMEDOUT;
    break;
  }
  if (read) return {std::min(cut.at(moved), bytes), error};
  // What the lender has written; a word of somebody else's job says nothing about ours.
  const uint64_t word = job.load();
  const uint64_t next = identity_of(word) == identity_ ? next_of(word) : first;
  return {std::min(cut.at(std::min(next, cut.chunks)), bytes), error};
}

// Offers what is left, and does a part alone whenever the lender does not come.
CopyJob::Progress CopyJob::offer(const Block& block) {
  const bool near = is_near(copier_, lender_);
  const Cut cut(block.bytes, nullptr, near);
  uint64_t word = order(block, near ? kNear : 0);
  uint64_t done = 0;
  bool missed = false;
  while (done < block.bytes) {
    const uint64_t next = done / cut.chunk;
    store(copier_.segment.copy_order(index_)->moved, next);
    if (!advance(&word, identity_ | kOffered | next * kNextOne)) break;
    // One that is awake gets a moment, once; one that was just woken may come at any part.
    const bool awake = load(lender_->sleeping) == kAwake;
    const bool came = accepted(word, awake && !missed ? kGlanceNs : 0);
    missed = missed || awake;
    if (came || !advance(&word, with_state(word, kAlone))) return stream(block, next, near);
    DVK_CRASH_POINT("copy.alone");
    const uint64_t part = std::min(block.bytes - done, std::max(kAloneBytes, cut.chunk));
    const int64_t n = transfer(block.pid, block.address + done, block.own + done, part, block.read);
    if (n < 0) return {done, static_cast<int>(n)};
    done += part;
  }
  return {done, 0};
}

// Waits for the lender to take the offer in `word`: until it enters a call, and longer. Returns 0,
// or why it will not come.
int CopyJob::await_lender(uint64_t word, bool read, int64_t deadline) {
  for (int64_t pause = kStallNs;; pause = std::min(2 * pause, kPauseNs)) {
    if (load(lender_->sleeping) != kAwake) wake(copier_.segment, lender_);
    if (accepted(word, kStallNs)) return 0;
    if (now_ns() > deadline) return -EPERM;
    if (!owner_alive(lender_)) {
      return read ? -ESRCDIED : -EDSTDIED;
    }
    // Two that wait for each other's memory do not wait for ever.
    if (copier_.process == nullptr || !serve_copy_job(*copier_.process)) pause_ns(pause);
  }
}

// Why the lender gave the order back, or 0.
int CopyJob::refusal(uint64_t word) const {
  if (state_of(word) != kAlone) return 0;
  const uint32_t error = atomic(copier_.segment.copy_order(index_)->error).load();
  if (error >> 16 != refusal_of(identity_, 0) >> 16) return 0;
  return error == refusal_of(identity_, EFAULT) ? -EFAULT : -EPERM;
}

// For a lender that this process may not trace: the lender does it, or nobody.
CopyJob::Progress CopyJob::insist(const Block& block, int64_t* deadline) {
  if (*deadline == 0) *deadline = now_ns() + copier_.patience_ns;
  if (load(lender_->lends) == kLendsNever) return {0, -EPERM};
  if (!renew()) {
    // Another requester has it.
    if (now_ns() > *deadline) return {0, -EPERM};
    pause_ns(kStallNs);
    return {0, kLenderLeft};
  }
  const Cut cut(block.bytes, nullptr, false);
  uint64_t word = order(block, kInsists);
  Progress progress{0, 0};
  patience_ns_ = kInsistNs;
  while (progress.done < block.bytes && progress.error == 0) {
    const uint64_t next = progress.done / cut.chunk;
    store(copier_.segment.copy_order(index_)->moved, next);
    if (!advance(&word, identity_ | kOffered | next * kNextOne)) break;
    const int error = await_lender(word, block.read, *deadline);
    if (error != 0 && advance(&word, with_state(word, kAlone))) return {progress.done, error};
    progress = stream(block, next, false);
    word = atomic(lender_->copy_job).load();
    if (!mine(word)) break;
    if (progress.error == 0) progress.error = refusal(word);
    if (progress.done > next * cut.chunk) *deadline = now_ns() + copier_.patience_ns;
  }
  if (progress.error == 0 && progress.done < block.bytes) progress.error = kLenderLeft;
  return progress;
}

CopyJob::Progress CopyJob::run(const Block& block, bool again, int64_t* deadline) {
  if (again || !may_offer(block.bytes)) return copy(block, false, deadline);
  CopyPace& pace = copier_.process->paces.of(is_near(copier_, lender_), block.bytes);
  const bool offers = pace.offers() && rouse(block.bytes);
  const int64_t start = now_ns();
  const Progress progress = copy(block, offers, deadline);
  if (progress.done == block.bytes) pace.note(offers, block.bytes, now_ns() - start);
  return progress;
}

// By an offer first, if it is to be made; then by the system call; then as insist() does.
CopyJob::Progress CopyJob::copy(const Block& block, bool offers, int64_t* deadline) {
  Progress progress{0, 0};
  if (offers) progress = offer(block);
  if (progress.error == 0 && progress.done < block.bytes) {
    if (offers && !held()) return {progress.done, kLenderLeft};
    const Block rest = block.from(progress.done);
    const int64_t n = transfer(rest.pid, rest.address, rest.own, rest.bytes, rest.read);
    if (n >= 0) return {block.bytes, 0};
    progress.error = static_cast<int>(n);
  }
  if (progress.error != -EPERM) return progress;
  const uint64_t before = progress.done;
  progress = insist(block.from(before), deadline);
  return {before + progress.done, progress.error};
}

}  // namespace dvk

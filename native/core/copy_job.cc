#include "copy_job.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>
#include <mutex>

#include "rendezvous.h"
#include "wait.h"

namespace dvk {
namespace {

enum JobState : uint64_t {
  kFree = 0,
  kSetting = 1,
  kOffered = 2,
  kActive = 3,
  kBusy = 4,
  kAlone = 5,
  kAbandoned = 6,
};

constexpr uint64_t kStateMask = 0xff, kSequenceOne = uint64_t{1} << 24,
                   kNextOne = uint64_t{1} << 40;
constexpr uint64_t kIdentityMask = (kNextOne - 1) & ~kStateMask;

// What the requester does in one system call between two looks at a lender that may come.
constexpr uint64_t kAloneBytes = 65536;
// A lender on another CPU has taken an offer, or is asleep, after this long.
constexpr int64_t kGlanceNs = 1'000;
// A lender that moved nothing for this long has lost its CPU. On the same CPU a good yield takes
// as long as the other side needs for one stage.
constexpr int64_t kStallNs = 30'000;
// The same where nobody but the lender can do it.
constexpr int64_t kInsistNs = 20'000'000;
// A lender stopped while it writes its own memory holds the requester up this long.
constexpr int64_t kStoppedNs = 1'000'000'000;
// A wake across CPUs pays from this many bytes on.
constexpr uint64_t kWakeBytes = 1 << 20;
constexpr uint32_t kPauseMax = 1023;

uint64_t state_of(uint64_t word) {
  return word & kStateMask;
}
uint64_t next_of(uint64_t word) {
  return word >> 40;
}
uint64_t identity_of(uint64_t word) {
  return word & kIdentityMask;
}
// The sequence after that of `word`; never 0, so that no identity is.
uint64_t next_sequence(uint64_t word) {
  const uint64_t sequence = (word + kSequenceOne) & kIdentityMask & ~uint64_t{0xffff00};
  return sequence == 0 ? kSequenceOne : sequence;
}
uint64_t with_state(uint64_t word, JobState state) {
  return (word & ~kStateMask) | state;
}

// Both sides cut a job the same way: eight chunks or more, so that the ends overlap.
uint64_t chunk_bytes(uint64_t bytes) {
  const uint64_t eighth = (bytes / 8 + 4095) & ~uint64_t{4095};
  return std::clamp<uint64_t>(eighth, 4096, kStageBytes / 8);
}

// A job as one side sees it: never read again from the segment once it began.
struct Cut {
  Cut(uint64_t all, uint8_t* base)
      : bytes(all),
        chunk(chunk_bytes(all)),
        chunks((all + chunk - 1) / chunk),
        ring(kStageBytes / chunk),
        stage(base) {}
  uint64_t at(uint64_t number) const {
    return number * chunk;
  }
  uint64_t size(uint64_t number) const {
    return std::min(chunk, bytes - at(number));
  }
  uint8_t* staged(uint64_t number) const {
    return stage + number % ring * chunk;
  }
  uint64_t bytes, chunk, chunks, ring;
  uint8_t* stage;
};

bool same_cpu(const Process& process, ProcessSlot* other) {
  return load(other->cpu) == load(process.slot->cpu);
}

// Ties an order to its job, so that a word scribbled on does not set an old order going again.
uint64_t seal_of(uint64_t identity, uint64_t address, uint64_t bytes, uint64_t direction) {
  uint64_t seal = identity ^ 0x9e3779b97f4a7c15;
  for (const uint64_t part : {address, bytes, direction}) {
    seal = (seal ^ part) * 0xff51afd7ed558ccd;
    seal ^= seal >> 32;
  }
  return seal;
}

// PROCMAP_QUERY and its argument, linux/fs.h; kept here since the headers of older systems lack it.
struct MapQuery {
  uint64_t size, flags, address, start, end, map_flags, page_bytes, offset, inode;
  uint32_t major, minor, name_bytes, build_id_bytes;
  uint64_t name, build_id;
};
constexpr unsigned long kMapQuery = _IOWR('f', 17, MapQuery);
constexpr uint64_t kMapReadable = 1, kMapWritable = 2, kMapShared = 8;
// A range in more mappings than this is not worth the questions.
constexpr int kMapsMax = 16;

// /proc/self/maps of this process; a child of fork opens its own.
int maps_file() {
  static std::mutex mutex;
  static int file = -1;
  static int owner = 0;
  const std::lock_guard<std::mutex> guard(mutex);
  if (owner != getpid()) {
    if (file >= 0) close(file);
    file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    owner = getpid();
  }
  return file;
}

// Makes the stage's pages, so that touching them cannot fail for want of memory later.
bool make_stage(Process& process) {
  if (process.stage_made) return true;
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, since Linux 5.14
  if (madvise(process.segment.stage(process.index), kStageBytes, kPopulateWrite) != 0) return false;
  process.stage_made = true;
  return true;
}

// Whether the process may touch what a job names, by what it knows itself: memory under one of its
// grants, or any for the server that it calls. Whoever may write the segment can forge a job, so
// the latter only where that is this user alone, who may as well trace the process.
bool may_lend(const Process& process, const CopyPart& part) {
  const uint32_t right = static_cast<uint32_t>(part.read ? GrantRight::kRead : GrantRight::kWrite);
  const int server = process.segment.slot_of(process.operation.peer);
  bool may = process.segment.owner_only() && process.operation.kind == Operation::Kind::kCall &&
             server == static_cast<int>(requester_of(part.identity));
  for (const Lent& lent : process.lent) {
    may =
        may || ((lent.rights & right) != 0 && part.address >= lent.address &&
                part.bytes <= lent.bytes && part.address - lent.address <= lent.bytes - part.bytes);
  }
  return may && is_plain_memory(part.address, part.bytes);
}

// Takes the offer in `word`, or declines it.
void answer_offer(Process& process, uint64_t word) {
  CopyOrder* order = process.segment.copy_order(process.index);
  CopyPart& part = process.part;
  part.address = load(order->address);
  part.bytes = load(order->bytes);
  const uint32_t direction = load(order->direction);
  part.read = direction == 0;
  part.identity = identity_of(word);
  const bool sane =
      load(order->seal) == seal_of(part.identity, part.address, part.bytes, direction) &&
      part.bytes > 0 && part.bytes <= kCopyChunkBytes &&
      part.address <= ~uint64_t{0} - part.bytes && getpid() == process.pid;
  DVK_CRASH_POINT("lend.asked");
  const bool lends = sane && may_lend(process, part) && make_stage(process);
  if (!lends) part = {};
  atomic(process.slot->copy_job)
      .compare_exchange_strong(word, with_state(word, lends ? kActive : kAlone));
}

enum class Moved { kChunk, kNothing, kOver };

Moved move_chunk(Process& process, const Cut& cut) {
  const CopyPart& part = process.part;
  const auto job = atomic(process.slot->copy_job);
  uint64_t word = job.load();
  const uint64_t next = next_of(word);
  if (identity_of(word) != part.identity || state_of(word) != kActive || next >= cut.chunks) {
    return Moved::kOver;
  }
  CopyOrder* order = process.segment.copy_order(process.index);
  const uint64_t moved = atomic(order->moved).load();
  if (part.read ? next - moved >= cut.ring : next >= moved) return Moved::kNothing;
  if (!job.compare_exchange_strong(word, with_state(word, kBusy))) return Moved::kOver;
  DVK_CRASH_POINT("lend.busy");
  uint8_t* memory = reinterpret_cast<uint8_t*>(part.address) + cut.at(next);
  if (part.read) {
    memcpy(cut.staged(next), memory, cut.size(next));
  } else {
    memcpy(memory, cut.staged(next), cut.size(next));
  }
  DVK_CRASH_POINT("lend.copied");
  uint64_t busy = with_state(word, kBusy);
  if (job.compare_exchange_strong(busy, word + kNextOne)) {
    DVK_CRASH_POINT("lend.moved");
    store(process.slot->lent_bytes, load(process.slot->lent_bytes) + cut.size(next));
    return Moved::kChunk;
  }
  if (identity_of(busy) == part.identity && state_of(busy) == kAbandoned) {
    job.compare_exchange_strong(busy, with_state(busy, kFree));
  }
  return Moved::kOver;
}

}  // namespace

bool is_plain_memory(uint64_t address, uint64_t bytes) {
  const int file = maps_file();
  if (file < 0) return false;
  const uint64_t end = address + bytes;
  for (int i = 0; i < kMapsMax && address < end; i++) {
    MapQuery query{};
    query.size = sizeof query;
    query.address = address;
    if (ioctl(file, kMapQuery, &query) != 0) return false;
    if ((query.map_flags & (kMapReadable | kMapWritable | kMapShared)) !=
            (kMapReadable | kMapWritable) ||
        query.inode != 0 || query.end <= address) {
      return false;
    }
    address = query.end;
  }
  return address >= end;
}

bool can_lend() {
  static int anything = 1;
  const uint64_t address = reinterpret_cast<uint64_t>(&anything);
  MapQuery query{};
  query.size = sizeof query;
  query.address = address;
  const int file = maps_file();
  return file >= 0 && ioctl(file, kMapQuery, &query) == 0;
}

int64_t transfer(int pid, uint64_t address, uint8_t* own, uint64_t bytes, bool read) {
  uint64_t done = 0;
  while (done < bytes) {
    iovec here{own + done, bytes - done};
    iovec there{reinterpret_cast<void*>(address + done), bytes - done};
    const ssize_t n = read ? process_vm_readv(pid, &here, 1, &there, 1, 0)
                           : process_vm_writev(pid, &here, 1, &there, 1, 0);
    if (n < 0) return errno == ESRCH ? (read ? -ESRCDIED : -EDSTDIED) : -errno;
    if (n == 0) return -EFAULT;
    done += static_cast<uint64_t>(n);
  }
  return static_cast<int64_t>(done);
}

CopyJob::CopyJob(Process& requester, uint32_t lender)
    : requester_(requester),
      lender_(requester.segment.slot(lender)),
      index_(lender),
      patience_ns_(kStallNs) {
  const auto job = atomic(lender_->copy_job);
  uint64_t word = job.load();
  if (state_of(word) != kFree) return;
  // Named before the claim: whoever finds this process dead undoes the claim by it.
  atomic(requester.slot->copy_partner).store(lender + 1);
  DVK_CRASH_POINT("copy.partner");
  const uint64_t identity = next_sequence(word) | uint64_t{requester.index} << 8;
  if (job.compare_exchange_strong(word, identity | kSetting)) {
    identity_ = identity;
    DVK_CRASH_POINT("copy.claimed");
  } else {
    atomic(requester.slot->copy_partner).store(0);
  }
}

CopyJob::~CopyJob() {
  end();
}

bool CopyJob::mine(uint64_t word) const {
  return identity_ != 0 && identity_of(word) == identity_ && state_of(word) != kFree &&
         state_of(word) != kAbandoned;
}

bool CopyJob::end() {
  if (identity_ == 0) return false;
  const auto job = atomic(lender_->copy_job);
  uint64_t word = job.load();
  bool held = false;
  // The lender is never BUSY here: stream() has seen its last chunk, or given the job up.
  while (mine(word) && !held) held = job.compare_exchange_weak(word, with_state(word, kFree));
  DVK_CRASH_POINT("copy.ended");
  identity_ = 0;
  atomic(requester_.slot->copy_partner).store(0);
  return held;
}

// Moves the word from one of the requester's own states to another.
bool CopyJob::advance(uint64_t* word, uint64_t next) {
  if (!atomic(lender_->copy_job).compare_exchange_strong(*word, next)) return false;
  *word = next;
  return true;
}

// Whether the lender sits in a blocking call, where it will see an offer.
bool CopyJob::can_ask() const {
  return identity_ != 0 && load(lender_->lends) != 0 && load(lender_->sleeping) != kOnFifo &&
         is_waiting(atomic(lender_->rendezvous).load());
}

// Whether an offer will pay.
bool CopyJob::worth_offering(uint64_t bytes) {
  const bool near = same_cpu(requester_, lender_);
  if (!can_ask() || bytes < (near ? kStagedNearBytesMin : kStagedBytesMin)) return false;
  if (requester_.offer_pause > 0) {
    requester_.offer_pause--;
    return false;
  }
  if (load(lender_->sleeping) == kAwake) return true;
  // A sleeper is woken when this and the copies before it make up for the price.
  requester_.offer_credit += bytes;
  if (!near && requester_.offer_credit < kWakeBytes) return false;
  requester_.offer_credit = 0;
  wake(requester_.segment, lender_);
  return true;
}

// Waits `ns` for the lender to take the offer in `word`; 0 looks once.
bool CopyJob::accepted(uint64_t word, int64_t ns) {
  const auto job = atomic(lender_->copy_job);
  const int64_t end = ns == 0 ? 0 : now_ns() + ns;
  for (int tries = 0;; tries++) {
    for (int i = 0; i < 32; i++) {
      if (job.load() != word) return true;
      relax();
    }
    if (ns == 0 || (now_ns() > end && tries > 1)) return false;
    if (same_cpu(requester_, lender_)) sched_yield();
  }
}

// Whether to stop waiting for the lender's next chunk, after one more moment of it.
bool CopyJob::stalled(int64_t since, bool* woken) {
  if (load(lender_->sleeping) == kOnFutex && !*woken) {
    *woken = true;
    wake(requester_.segment, lender_);
  }
  if (same_cpu(requester_, lender_)) {
    sched_yield();
  } else {
    for (int i = 0; i < 32; i++) relax();
  }
  return now_ns() - since > patience_ns_;
}

// Writes what the lender shall do. Returns the word as it stands.
uint64_t CopyJob::order(uint64_t address, uint64_t bytes, bool read) {
  CopyOrder* order = requester_.segment.copy_order(index_);
  const uint32_t direction = read ? 0 : 1;
  store(order->address, address);
  store(order->bytes, bytes);
  store(order->direction, direction);
  store(order->seal, seal_of(identity_, address, bytes, direction));
  DVK_CRASH_POINT("copy.ordered");
  return atomic(lender_->copy_job).load();
}

// The requester's end of an accepted job, from the chunk that the lender began with. What is
// missing at its end is this side's to do alone.
CopyJob::Progress CopyJob::stream(uint8_t* own, uint64_t bytes, bool read) {
  const Cut cut(bytes, requester_.segment.stage(index_));
  CopyOrder* order = requester_.segment.copy_order(index_);
  const auto job = atomic(lender_->copy_job);
  // Chunks taken out of the stage (read) or put into it (write), by this side.
  uint64_t moved = load(order->moved);
  const uint64_t first = moved;
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
        // Had the lender left, the next one's job might be in the stage by now.
        if (!mine(job.load())) break;
      } else {
        memcpy(cut.staged(moved), own + cut.at(moved), cut.size(moved));
      }
      DVK_CRASH_POINT("copy.staged");
      moved++;
      atomic(order->moved).store(moved);
      since = 0;
      continue;
    }
    if (since == 0) since = now_ns();
    if (!stalled(since, &woken)) continue;
    if (state_of(word) == kActive) {
      if (job.compare_exchange_strong(word, with_state(word, kAlone))) break;
      continue;
    }
    // It was stopped inside a chunk. One that writes may not find other data there when it goes on.
    const bool dead = !process_alive(load(lender_->pid), load(lender_->start_time));
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
CopyJob::Progress CopyJob::offer(int pid, uint64_t address, uint8_t* own, uint64_t bytes,
                                 bool read) {
  const Cut cut(bytes, nullptr);
  uint64_t word = order(address, bytes, read);
  uint64_t done = 0;
  bool missed = false;
  while (done < bytes) {
    const uint64_t next = done / cut.chunk;
    store(requester_.segment.copy_order(index_)->moved, next);
    if (!advance(&word, identity_ | kOffered | next * kNextOne)) break;
    // One that is awake gets a moment, once; one that was just woken may come at any part.
    const bool awake = load(lender_->sleeping) == kAwake;
    const bool came = accepted(word, awake && !missed ? kGlanceNs : 0);
    missed = missed || awake;
    if (came || !advance(&word, with_state(word, kAlone))) return stream(own, bytes, read);
    DVK_CRASH_POINT("copy.alone");
    const uint64_t part = std::min(bytes - done, std::max(kAloneBytes, cut.chunk));
    const int64_t n = transfer(pid, address + done, own + done, part, read);
    if (n < 0) return {done, static_cast<int>(n)};
    done += part;
  }
  return {done, 0};
}

// For a lender that this process may not trace: the lender does it, or nobody.
CopyJob::Progress CopyJob::insist(uint64_t address, uint8_t* own, uint64_t bytes, bool read) {
  const Cut cut(bytes, nullptr);
  uint64_t word = order(address, bytes, read);
  Progress progress{0, 0};
  int64_t end = now_ns() + kStoppedNs;
  patience_ns_ = kInsistNs;
  while (progress.done < bytes && progress.error == 0) {
    const uint64_t next = progress.done / cut.chunk;
    store(requester_.segment.copy_order(index_)->moved, next);
    if (!advance(&word, identity_ | kOffered | next * kNextOne)) break;
    bool came = false;
    while (!came && can_ask() && now_ns() < end) {
      if (load(lender_->sleeping) == kOnFutex) wake(requester_.segment, lender_);
      came = accepted(word, kStallNs);
    }
    if (!came && advance(&word, with_state(word, kAlone))) return {progress.done, -EPERM};
    progress = stream(own, bytes, read);
    word = atomic(lender_->copy_job).load();
    if (!mine(word)) break;
    if (progress.done > next * cut.chunk) {
      end = now_ns() + kStoppedNs;
    } else if (now_ns() > end && progress.error == 0) {
      progress.error = -EPERM;
    }
  }
  return progress;
}

// Offers that cost more than they gave become rare.
void CopyJob::judge(uint64_t bytes, int64_t took) {
  Process& process = requester_;
  const int64_t fair = 5'000 + static_cast<int64_t>(bytes / 8);
  process.offer_penalty =
      took <= fair ? process.offer_penalty / 2 : std::min(4 * process.offer_penalty + 3, kPauseMax);
  process.offer_pause = process.offer_penalty;
}

int64_t CopyJob::run(int pid, uint64_t address, uint8_t* own, uint64_t bytes, bool read) {
  Progress progress{0, 0};
  const bool offers = worth_offering(bytes);
  if (offers) {
    const int64_t start = now_ns();
    progress = offer(pid, address, own, bytes, read);
    judge(bytes, now_ns() - start);
  }
  const auto held = [&] { return mine(atomic(lender_->copy_job).load()); };
  if (progress.error == 0 && progress.done < bytes) {
    if (!read && offers && !held()) return kLenderLeft;
    const uint64_t done = progress.done;
    const int64_t n = transfer(pid, address + done, own + done, bytes - done, read);
    if (n < 0) progress.error = static_cast<int>(n);
  }
  if (progress.error == -EPERM && can_ask() && held()) {
    progress = insist(address, own, bytes, read);
    if (progress.error == 0 && progress.done < bytes) return kLenderLeft;
  }
  return progress.error != 0 ? progress.error : static_cast<int64_t>(bytes);
}

bool has_copy_work(const Process& process) {
  const uint64_t word = atomic(process.slot->copy_job).load();
  if (state_of(word) == kOffered) return true;
  if (state_of(word) != kActive || identity_of(word) != process.part.identity) return false;
  const uint64_t moved = atomic(process.segment.copy_order(process.index)->moved).load();
  const Cut cut(process.part.bytes, nullptr);
  const uint64_t next = next_of(word);
  return next < cut.chunks && (process.part.read ? next - moved < cut.ring : next < moved);
}

bool serve_copy_job(Process& process) {
  if (!has_copy_work(process)) return false;
  const uint64_t word = atomic(process.slot->copy_job).load();
  if (state_of(word) == kOffered) answer_offer(process, word);
  if (process.part.bytes == 0 || process.part.bytes > kCopyChunkBytes) return true;
  const Cut cut(process.part.bytes, process.segment.stage(process.index));
  int64_t since = 0;
  for (;;) {
    switch (move_chunk(process, cut)) {
      case Moved::kChunk:
        since = 0;
        break;
      case Moved::kOver:
        return true;
      case Moved::kNothing:
        if (since == 0) since = now_ns();
        if (requester_of(process.part.identity) < process.segment.processes() &&
            same_cpu(process, process.segment.slot(requester_of(process.part.identity)))) {
          sched_yield();
        } else {
          for (int i = 0; i < 32; i++) relax();
        }
        if (now_ns() - since > kStallNs) return true;
    }
  }
}

void wait_for_copies(Process& process) {
  const auto job = atomic(process.slot->copy_job);
  const int64_t end = now_ns() + kStoppedNs;
  for (uint32_t tries = 1;; tries++) {
    uint64_t word = job.load();
    if (state_of(word) == kFree) return;
    const uint32_t requester = requester_of(word);
    bool writes = state_of(word) == kSetting || state_of(word) == kAlone;
    // Who holds the claim says so; any other word is scribble.
    writes = writes && requester < process.segment.processes() &&
             load(process.segment.slot(requester)->copy_partner) == process.index + 1;
    if (writes && tries % 1024 == 0) {
      ProcessSlot* slot = process.segment.slot(requester);
      writes = now_ns() < end && process_alive(load(slot->pid), load(slot->start_time));
    }
    if (!writes && job.compare_exchange_strong(word, with_state(word, kFree))) return;
    if (tries % 64 == 0) sched_yield();
    relax();
  }
}

void drop_copy_job(Segment& segment, uint32_t dead) {
  const uint32_t partner = atomic(segment.slot(dead)->copy_partner).exchange(0);
  if (partner == 0 || partner > segment.processes()) return;
  const auto job = atomic(segment.slot(partner - 1)->copy_job);
  uint64_t word = job.load();
  while (state_of(word) != kFree && requester_of(word) == dead) {
    const JobState next = state_of(word) == kBusy ? kAbandoned : kFree;
    if (state_of(word) == kAbandoned || job.compare_exchange_weak(word, with_state(word, next))) {
      return;
    }
  }
}

void clear_copy_job(Segment& segment, uint32_t index) {
  const auto job = atomic(segment.slot(index)->copy_job);
  const uint64_t word = job.load();
  if (word == 0) return;
  job.store(next_sequence(word));
  madvise(segment.stage(index), kStageBytes, MADV_REMOVE);
}

}  // namespace dvk

// The lender's side of copy jobs: what a process that waits does for copies of its memory.

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <mutex>

#include "copy_word.h"
#include "own_pid.h"
#include "wait.h"

namespace dvk {
namespace {

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
  if (owner != own_pid()) {
    if (file >= 0) close(file);
    file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    owner = own_pid();
  }
  return file;
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

namespace {

// Makes the stage's pages, so that touching them cannot fail for want of memory later.
bool make_stage(Process& process) {
  if (process.stage_made) return true;
  if (populate(process.segment.stage(process.index), kStageBytes) != 0) return false;
  process.stage_made = true;
  return true;
}

// Whether the requester of `part` is the server that the process calls, or carries its orders out
// on this node.
bool is_called(const Process& process, const CopyPart& part) {
  const int server = process.segment.slot_of(process.operation.peer);
  if (process.operation.kind != Operation::Kind::kCall ||
      process.operation.stage == Operation::Stage::kNone || server < 0) {
    return false;
  }
  const uint32_t requester = requester_of(part.identity);
  const uint32_t life = load(process.segment.slot(static_cast<uint32_t>(server))->life);
  return requester == static_cast<uint32_t>(server) ||
         (requester == kProxyPeer && life == static_cast<uint32_t>(ProcessLife::kRemote));
}

bool covers(const Lent& lent, const CopyPart& part) {
  const uint32_t right = static_cast<uint32_t>(part.read ? GrantRight::kRead : GrantRight::kWrite);
  return (lent.rights & right) != 0 && part.address >= lent.address && part.bytes <= lent.bytes &&
         part.address - lent.address <= lent.bytes - part.bytes;
}

// Whether the process may touch what a job names, by what it knows itself: memory under one of its
// grants, what it asked to be copied to or from another node, or any for the server that it calls.
// Whoever may write the segment can forge a job, so the latter only where that is this user alone,
// who may as well trace the process.
bool may_lend(const Process& process, const CopyPart& part) {
  return (process.segment.owner_only() && is_called(process, part)) ||
         covers(process.own_part, part) ||
         std::any_of(std::begin(process.lent), std::end(process.lent),
                     [&](const Lent& lent) { return covers(lent, part); });
}

// Takes the offer in `word`, or declines it.
void answer_offer(Process& process, uint64_t word) {
  CopyOrder* order = process.segment.copy_order(process.index);
  CopyPart& part = process.part;
  part.address = load(order->address);
  part.bytes = load(order->bytes);
  const uint32_t direction = load(order->direction);
  part.read = (direction & kWrites) == 0;
  part.near = (direction & kNear) != 0;
  part.identity = identity_of(word);
  const bool sane =
      load(order->seal) == seal_of(part.identity, part.address, part.bytes, direction) &&
      part.bytes > 0 && part.bytes <= kCopyChunkBytes &&
      part.address <= ~uint64_t{0} - part.bytes && own_pid() == process.pid;
  DVK_CRASH_POINT("lend.asked");
  int error = sane && may_lend(process, part) ? 0 : EPERM;
  if (error == 0) {
    part.plain = is_plain_memory(part.address, part.bytes);
    // What may fail when it is touched is the requester's to touch, if it can.
    if (!part.plain && (direction & kInsists) == 0) error = EFAULT;
    if (error == 0 && !make_stage(process)) error = ENOMEM;
  }
  if (error != 0) {
    atomic(order->error).store(refusal_of(part.identity, error));
    part = {};
  }
  atomic(process.slot->copy_job)
      .compare_exchange_strong(word, with_state(word, error == 0 ? kActive : kAlone));
}

// Moves one chunk between the process's memory and its stage. Returns false when the kernel, which
// is asked where touching could fail, says that there is no such memory.
bool move_own(const CopyPart& part, uint64_t address, uint8_t* staged, uint64_t bytes) {
  uint8_t* memory = reinterpret_cast<uint8_t*>(address);
  if (!part.plain) return transfer(own_pid(), address, staged, bytes, part.read) >= 0;
  memcpy(part.read ? staged : memory, part.read ? memory : staged, bytes);
  return true;
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
  const bool good = move_own(part, part.address + cut.at(next), cut.staged(next), cut.size(next));
  if (!good) atomic(order->error).store(refusal_of(part.identity, EFAULT));
  // Before the word tells the requester.
  if (good) store(process.slot->lent_bytes, load(process.slot->lent_bytes) + cut.size(next));
  DVK_CRASH_POINT("lend.copied");
  uint64_t busy = with_state(word, kBusy);
  if (job.compare_exchange_strong(busy, good ? word + kNextOne : with_state(word, kAlone))) {
    if (!good) return Moved::kOver;
    DVK_CRASH_POINT("lend.moved");
    return Moved::kChunk;
  }
  if (identity_of(busy) == part.identity && state_of(busy) == kAbandoned) {
    job.compare_exchange_strong(busy, with_state(busy, kFree));
  }
  return Moved::kOver;
}

}  // namespace

bool has_copy_work(const Process& process) {
  const uint64_t word = atomic(process.slot->copy_job).load();
  if (state_of(word) == kOffered) return true;
  if (state_of(word) != kActive || identity_of(word) != process.part.identity) return false;
  const uint64_t moved = atomic(process.segment.copy_order(process.index)->moved).load();
  const Cut cut(process.part.bytes, nullptr, process.part.near);
  const uint64_t next = next_of(word);
  return next < cut.chunks && (process.part.read ? next - moved < cut.ring : next < moved);
}

bool serve_copy_job(Process& process) {
  if (!has_copy_work(process)) return false;
  const uint64_t word = atomic(process.slot->copy_job).load();
  if (state_of(word) == kOffered) answer_offer(process, word);
  if (process.part.bytes == 0 || process.part.bytes > kCopyChunkBytes) return true;
  const Cut cut(process.part.bytes, process.segment.stage(process.index), process.part.near);
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

namespace {

// Whether a process that may be the one of requester `index` lives.
bool requester_alive(Segment& segment, uint32_t index) {
  if (index < segment.processes()) {
    ProcessSlot* slot = segment.slot(index);
    return owner_alive(slot);
  }
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    LinkSlot* link = segment.link(node);
    const int pid = load(link->proxy_pid);
    if (pid != 0 && process_alive(pid, load(link->proxy_start_time))) return true;
  }
  return false;
}

}  // namespace

void wait_for_copies(Process& process) {
  const auto job = atomic(process.slot->copy_job);
  const int64_t end = now_ns() + kLeaveNs;
  for (uint32_t tries = 1;; tries++) {
    uint64_t word = job.load();
    if (state_of(word) == kFree) return;
    const uint32_t requester = requester_of(word);
    const uint32_t* partner = partner_of(process.segment, requester);
    // Who holds the claim says so; any other word is scribble.
    const bool claimed = partner != nullptr && load(*partner) == process.index + 1;
    if (claimed && state_of(word) == kLeft) return;
    bool writes = claimed && (state_of(word) == kSetting || state_of(word) == kAlone);
    if (writes && tries % 1024 == 0) {
      writes = now_ns() < end && requester_alive(process.segment, requester);
    }
    // The stage is the requester's until it has seen this.
    const JobState next = claimed ? kLeft : kFree;
    if (!writes && job.compare_exchange_strong(word, with_state(word, next))) return;
    if (tries % 64 == 0) sched_yield();
    relax();
  }
}

void drop_copy_job(Segment& segment, uint32_t dead) {
  const uint32_t partner = atomic(*partner_of(segment, dead)).exchange(0);
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

void drop_proxy_copy_job(Segment& segment) {
  if (!requester_alive(segment, kProxyPeer)) drop_copy_job(segment, kProxyPeer);
}

void clear_copy_job(Segment& segment, uint32_t index) {
  const auto job = atomic(segment.slot(index)->copy_job);
  const uint64_t word = job.load();
  if (word == 0) return;
  job.store(next_sequence(word));
  madvise(segment.stage(index), kStageBytes, MADV_REMOVE);
}

}  // namespace dvk

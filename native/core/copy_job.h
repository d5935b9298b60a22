// Copy jobs: a vcopy of private memory in which the memory's blocked owner takes part.
//
// process_vm_readv pins every page it touches, which costs more than copying it does. A process
// that waits in a call has nothing else to do, so it moves its own memory to or from its stage, a
// ring of chunks in the segment, while the requester moves the other way at the other end: two
// memcpys that overlap. Which is quicker the requester measures (copy_pace.h). It also needs no
// right to trace the owner. Whenever the owner does not come, or stops, the requester goes on
// alone. Where it may not trace the owner (Yama, another user, a sandbox) it waits for it to come
// into a call, blocking or awaited. The proxy of the node is such a requester too.
//
// The job is a word of the lender's slot:
//
//   | next chunk: 24 | sequence: 16 | requester: 16 | state: 8 |
//
//   FREE -> SETTING -> OFFERED <-> ALONE      the requester's moves; -> FREE at the end
//              OFFERED -> ACTIVE <-> BUSY     the lender's; it is BUSY inside one chunk
//               ACTIVE -> ALONE               the requester takes back what is left
//                 BUSY -> ABANDONED -> FREE   ... while the lender is stopped inside a read
//      OFFERED or BUSY -> ALONE               the lender declines, or cannot touch the memory
//    OFFERED or ACTIVE -> LEFT -> FREE        its call ends; the requester frees the stage when it
//    sees
//
// The word is also what keeps a lender from returning while its memory is written: a call that ends
// without its server (time-out, death, wakeup) waits for SETTING and ALONE to pass.
#pragma once

#include <cstdint>

#include "process.h"

namespace dvk {

// The slot of the requester in a job's word, or kProxyPeer.
inline uint32_t requester_of(uint64_t word) {
  return static_cast<uint32_t>(word >> 8) & 0xffff;
}

// Values of `lends` in a slot: whenever it pays, or only where nobody else can move the memory.
inline constexpr uint32_t kLendsNever = 0, kLendsAlways = 1, kLendsAtNeed = 2;

// Smaller copies are done before the lender has noticed, on another CPU and on the same.
inline constexpr uint64_t kStagedBytesMin = 16384, kStagedNearBytesMin = 65536;

inline constexpr int64_t kPatienceNs = 1'000'000'000;

// Who asks lenders: a process, or the proxy of this node, for a requester of another.
struct Copier {
  Segment& segment;
  Process* process;  // null: the proxy
  // How long to wait for a lender where nobody else can do it.
  int64_t patience_ns = kPatienceNs;
};

// [address, address + bytes) of the lender, whose pid is `pid`, and as many bytes of the caller;
// read: from there to here.
struct Block {
  int pid;
  uint64_t address;
  uint8_t* own;
  uint64_t bytes;
  bool read;
  Block from(uint64_t at) const {
    return {pid, address + at, own + at, bytes - at, read};
  }
};

// The requester's side of one job: at most kCopyChunkBytes of one lender.
class CopyJob {
 public:
  static constexpr int kLenderLeft = 1;
  // Bytes, from the start, that are where they belong; and why there are no more: 0 when these are
  // all, a negative error, or kLenderLeft. Then the caller looks again before it copies more.
  struct Progress {
    uint64_t done;
    int error;
  };

  // Claims the job word of `lender`. While another requester has it, which is for one chunk, this
  // one waits for its turn, for as long as its patience lasts.
  CopyJob(const Copier& copier, uint32_t lender);
  ~CopyJob();
  // Whether the copy may be made: its turn came, so that the lender waits for its end, or the
  // lender is stopped inside another job.
  bool allowed() const;
  CopyJob(const CopyJob&) = delete;
  CopyJob& operator=(const CopyJob&) = delete;

  // Copies `block`, 1 to kCopyChunkBytes bytes; by a system call at once where it goes on with what
  // was begun (`again`). Where this process may not trace the lender, that is waited for until
  // `deadline`, which is set by the first of several runs, and put off by progress; then -EPERM.
  Progress run(const Block& block, bool again, int64_t* deadline);
  // Gives the word back. Returns whether the lender was held all the time; if not, the caller looks
  // again whether the copy was still allowed.
  bool end();

 private:
  bool claim();
  bool bury_holder();
  bool mine(uint64_t word) const;
  bool held() const;
  bool renew();
  bool advance(uint64_t* word, uint64_t next);
  Progress copy(const Block& block, bool offers, int64_t* deadline);
  bool is_blocked() const;
  bool may_offer(uint64_t bytes) const;
  bool rouse(uint64_t bytes);
  uint64_t order(const Block& block, uint32_t flags);
  Progress offer(const Block& block);
  int await_lender(uint64_t word, bool read, int64_t deadline);
  int refusal(uint64_t word) const;
  Progress insist(const Block& block, int64_t* deadline);
  bool accepted(uint64_t word, int64_t ns);
  Progress stream(const Block& block, uint64_t first, bool near);
  bool stalled(int64_t since, bool* woken);

  const Copier copier_;
  ProcessSlot* const lender_;
  const uint32_t index_;
  const uint32_t requester_;  // slot, or kProxyPeer
  int64_t patience_ns_;       // how long a lender may move nothing before it is given up
  uint64_t identity_ = 0;     // requester and sequence of the claimed word; 0: not claimed
};

// Where a requester, a slot or kProxyPeer, says whose job it holds; null for no requester.
uint32_t* partner_of(Segment& segment, uint32_t requester);

// One copy with process_vm_readv or process_vm_writev. Returns the bytes or a negative error;
// -EPERM without the right to trace the process.
int64_t transfer(int pid, uint64_t address, uint8_t* own, uint64_t bytes, bool read);

// The lender's side. Whether a job waits for this process to do something.
bool has_copy_work(const Process& process);
// Does what there is to do. Returns whether it did anything. Call it while the process waits.
bool serve_copy_job(Process& process);
// Returns when nobody writes the process's memory any more, and takes no part in a job from then
// on.
void wait_for_copies(Process& process);
// The same when the process's call ends, which mostly finds no job.
inline void leave_copy_job(Process& process) {
  if ((std::atomic_ref<uint64_t>(process.slot->copy_job).load() & 0xff) != 0) {
    wait_for_copies(process);
  }
}

// Undoes a dead requester's claim: that of a slot, whose table lock is held, or of kProxyPeer.
void drop_copy_job(Segment& segment, uint32_t dead);
// The same for a proxy that died, if no proxy of this node lives.
void drop_proxy_copy_job(Segment& segment);
// Empties the job and the stage of a slot that is given up. Preconditions: the table lock is held.
void clear_copy_job(Segment& segment, uint32_t index);

// Whether [address, address + bytes) is anonymous private memory of this process, readable and
// writable, so that touching it cannot fail (PROCMAP_QUERY, linux/fs.h, since Linux 6.11).
bool is_plain_memory(uint64_t address, uint64_t bytes);
// Whether this kernel answers such questions; without it processes do not take part in copies.
bool can_lend();

}  // namespace dvk

// Copy jobs: a vcopy of private memory in which the memory's blocked owner takes part.
//
// process_vm_readv pins every page it touches, which costs more than copying it does. A process
// that waits in a call has nothing else to do, so it moves its own memory to or from its stage, a
// ring of chunks in the segment, while the requester moves the other way at the other end: two
// memcpys that overlap, four times as fast on two CPUs, twice on one. It also needs no right to
// trace the owner. Whenever the owner does not come, or stops, the requester goes on alone.
//
// The job is a word of the lender's slot:
//
//   | next chunk: 24 | sequence: 16 | requester: 16 | state: 8 |
//
//   FREE -> SETTING -> OFFERED <-> ALONE      the requester's moves; -> FREE at the end
//              OFFERED -> ACTIVE <-> BUSY     the lender's; it is BUSY inside one chunk
//               ACTIVE -> ALONE               the requester takes back what is left
//                 BUSY -> ABANDONED -> FREE   ... while the lender is stopped inside a read
//
// The word is also what keeps a lender from returning while its memory is written: a call that ends
// without its server (time-out, death, wakeup) waits for SETTING and ALONE to pass.
#pragma once

#include <cstdint>

#include "process.h"

namespace dvk {

// The slot of the requester in a job's word.
inline uint32_t requester_of(uint64_t word) {
  return static_cast<uint32_t>(word >> 8) & 0xffff;
}

inline constexpr int64_t kLenderLeft = INT64_MIN;

// Smaller copies are done before the lender has noticed, on another CPU and on the same.
inline constexpr uint64_t kStagedBytesMin = 16384, kStagedNearBytesMin = 131072;

// The requester's side of one job: at most kCopyChunkBytes of one lender.
class CopyJob {
 public:
  // Claims the job word of `lender`. Where another requester has it, the copy goes on without.
  CopyJob(Process& requester, uint32_t lender);
  ~CopyJob();
  CopyJob(const CopyJob&) = delete;
  CopyJob& operator=(const CopyJob&) = delete;

  // Copies `bytes` between [address, address + bytes) of the lender, whose pid is `pid`, and `own`.
  // Returns the bytes or a negative error; kLenderLeft when it left in the middle, so that the
  // caller must look again before it writes more. Preconditions: bytes is 1 to kCopyChunkBytes.
  int64_t run(int pid, uint64_t address, uint8_t* own, uint64_t bytes, bool read);
  // Gives the word back. Returns whether the lender was held all the time; if not, the caller looks
  // again whether the copy was still allowed.
  bool end();

 private:
  // Bytes, from the start, that are where they belong; and why there are no more, if that is so.
  struct Progress {
    uint64_t done;
    int error;
  };
  bool mine(uint64_t word) const;
  bool advance(uint64_t* word, uint64_t next);
  bool can_ask() const;
  bool worth_offering(uint64_t bytes);
  uint64_t order(uint64_t address, uint64_t bytes, bool read);
  Progress offer(int pid, uint64_t address, uint8_t* own, uint64_t bytes, bool read);
  Progress insist(uint64_t address, uint8_t* own, uint64_t bytes, bool read);
  bool accepted(uint64_t word, int64_t ns);
  Progress stream(uint8_t* own, uint64_t bytes, bool read);
  bool stalled(int64_t since, bool* woken);
  void judge(uint64_t bytes, int64_t took);

  Process& requester_;
  ProcessSlot* const lender_;
  const uint32_t index_;
  int64_t patience_ns_;    // how long a lender may move nothing before it is given up
  uint64_t identity_ = 0;  // requester and sequence of the claimed word; 0: not claimed
};

// One copy with process_vm_readv or process_vm_writev. Returns the bytes or a negative error.
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

// Undoes a dead requester's claim. Preconditions: the table lock is held.
void drop_copy_job(Segment& segment, uint32_t dead);
// Empties the job and the stage of a slot that is given up. Preconditions: as above.
void clear_copy_job(Segment& segment, uint32_t index);

// Whether [address, address + bytes) is anonymous private memory of this process, readable and
// writable, so that touching it cannot fail (PROCMAP_QUERY, linux/fs.h, since Linux 6.11).
bool is_plain_memory(uint64_t address, uint64_t bytes);
// Whether this kernel answers such questions; without it processes do not take part in copies.
bool can_lend();

}  // namespace dvk

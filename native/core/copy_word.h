// What both sides of a copy job know: its word, its order, and how it is cut into chunks. For
// copy_job.cc and lend.cc alone.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "copy_job.h"
#include "rendezvous.h"

namespace dvk {

enum JobState : uint64_t {
  kFree = 0,
  kSetting = 1,
  kOffered = 2,
  kActive = 3,
  kBusy = 4,
  kAlone = 5,
  kAbandoned = 6,
  kLeft = 7,
};

constexpr uint64_t kStateMask = 0xff, kSequenceOne = uint64_t{1} << 24,
                   kNextOne = uint64_t{1} << 40;
constexpr uint64_t kIdentityMask = (kNextOne - 1) & ~kStateMask;

// Bits of an order's direction.
constexpr uint32_t kWrites = 1, kInsists = 2, kNear = 4;

// A side that moved nothing for this long has lost its CPU. On the same CPU a good yield takes as
// long as the other side needs for one stage.
constexpr int64_t kStallNs = 30'000;
// A lender stopped while it writes its own memory holds the requester up this long.
constexpr int64_t kStoppedNs = 1'000'000'000;
// A requester stopped in the middle holds a lender up this long that leaves.
constexpr int64_t kLeaveNs = 500'000'000;

inline uint64_t state_of(uint64_t word) {
  return word & kStateMask;
}
inline uint64_t next_of(uint64_t word) {
  return word >> 40;
}
inline uint64_t identity_of(uint64_t word) {
  return word & kIdentityMask;
}
// The sequence after that of `word`; never 0, so that no identity is.
inline uint64_t next_sequence(uint64_t word) {
  const uint64_t sequence = (word + kSequenceOne) & kIdentityMask & ~uint64_t{0xffff00};
  return sequence == 0 ? kSequenceOne : sequence;
}
inline uint64_t with_state(uint64_t word, JobState state) {
  return (word & ~kStateMask) | state;
}

// Why the lender gave the order of a job back. It names the job, since a lender that is late may
// write it when the next one has begun.
inline uint32_t refusal_of(uint64_t identity, int error) {
  return static_cast<uint32_t>(identity >> 24) << 16 | static_cast<uint32_t>(error);
}

// Both sides cut a job the same way: eight chunks or more, so that the ends overlap, or on one CPU
// as few as the stage allows.
inline uint64_t chunk_bytes(uint64_t bytes, bool near) {
  const uint64_t parts = near ? 1 : 8;
  const uint64_t part = (bytes / parts + 4095) & ~uint64_t{4095};
  return std::clamp<uint64_t>(part, 4096, kStageBytes / (near ? 2 : 8));
}

// Whether both were last seen on one CPU.
inline bool same_cpu(const Process& process, ProcessSlot* other) {
  return cpu_of(other) == cpu_of(process.slot);
}

// A job as one side sees it: never read again from the segment once it began.
struct Cut {
  Cut(uint64_t all, uint8_t* base, bool near)
      : bytes(all),
        chunk(chunk_bytes(all, near)),
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

// Ties an order to its job, so that a word scribbled on does not set an old order going again.
inline uint64_t seal_of(uint64_t identity, uint64_t address, uint64_t bytes, uint64_t direction) {
  uint64_t seal = identity ^ 0x9e3779b97f4a7c15;
  for (const uint64_t part : {address, bytes, direction}) {
    seal = (seal ^ part) * 0xff51afd7ed558ccd;
    seal ^= seal >> 32;
  }
  return seal;
}

}  // namespace dvk

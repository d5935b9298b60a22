// Entries of senda, for the two files that deal with them.
#pragma once

#include "call.h"
#include "senda.h"

namespace dvk {

constexpr uint32_t kIndexBits = 5;
constexpr uint32_t kIdSequenceMask = (1u << (31 - kIndexBits)) - 1;
static_assert(kAsyncs == 1u << kIndexBits);

inline int32_t id_of(uint32_t index, uint32_t sequence) {
  return static_cast<int32_t>((sequence & kIdSequenceMask) << kIndexBits | index);
}

// Calls visit(index, entry) for the entries of `sender` in use until it returns true.
template <typename Visit>
bool each_busy(Segment& segment, uint32_t sender, Visit visit) {
  for (uint32_t busy = atomic(segment.slot(sender)->async_busy).load(); busy; busy &= busy - 1) {
    const uint32_t index = static_cast<uint32_t>(__builtin_ctz(busy));
    if (visit(index, segment.async(sender, index))) return true;
  }
  return false;
}

inline bool is_descriptor(Segment& segment, uint32_t slot) {
  return load(segment.slot(slot)->life) == static_cast<uint32_t>(ProcessLife::kRemote);
}

inline uint32_t flag(AsyncFlag which) {
  return static_cast<uint32_t>(which);
}

// Whether an entry is a notification, which waits for nothing but that its receiver is found.
inline bool is_notice(AsyncSlot* entry) {
  return (load(entry->flags) & kAsyncNotice) != 0;
}

// A message that was put into an entry.
struct Posted {
  AsyncSlot* entry;
  AsyncWord word;
  int32_t id;
};

// Puts a message of the process into a free entry, which is WAITING then; nobody is told yet.
// Returns 0 or -ENOSPC.
int post_entry(Process& process, int32_t destination, const Message& message, uint32_t flags,
               Posted* posted);
// Shows a message to its receiver, a process of this node in `target`.
void offer(Segment& segment, uint32_t sender, AsyncSlot* entry, const AsyncWord& word,
           int32_t destination);
// Ends a message whose word was `from`. Returns false when it has gone on meanwhile.
bool end_async(Segment& segment, uint32_t sender, AsyncSlot* entry, const AsyncWord& from,
               int error);
// Keeps a message until its receiver, whom no binding here names, is found. Returns its id or
// -ENOSPC.
int32_t post_sought(Process& process, int32_t destination, const Message& message, uint32_t flags);

}  // namespace dvk

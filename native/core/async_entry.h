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

// The next free entry of the process, or -1.
int free_entry(Process& process);
// Makes an entry WAITING. Others see it when its bit in async_busy is set.
AsyncWord fill_entry(Segment& segment, uint32_t sender, uint32_t index, int32_t destination,
                     const Message& message, uint32_t flags);
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

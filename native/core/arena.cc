// The arena: memory that every process of the DC on this node maps, given out in pages.
//
// An allocation is an entry of the extent table; gaps between entries are free. There are no lists
// to break: a dead owner's entries are cleared, and that is all.

#include <errno.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "lock.h"
#include "rendezvous.h"
#include "standby.h"
#include "vcopy.h"

namespace dvk {
namespace {

constexpr uint64_t kPageBytes = 4096;

struct Range {
  uint64_t first, last;
};

std::vector<Range> used_ranges(const Segment& segment) {
  std::vector<Range> ranges;
  const uint64_t total = segment.arena_bytes() / kPageBytes;
  for (uint32_t i = 0; i < kExtents; i++) {
    const uint64_t pages = load(segment.extent(i)->pages);
    const uint64_t first = load(segment.extent(i)->first_page);
    // A scribbled entry can waste memory and no more.
    if (pages != 0 && first < total) ranges.push_back({first, std::min(total, first + pages)});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  return ranges;
}

// First fit. Returns the page, or -1.
int64_t find_gap(const Segment& segment, uint64_t pages) {
  uint64_t at = 0;
  for (const Range& range : used_ranges(segment)) {
    if (range.first >= at + pages) break;
    at = std::max(at, range.last);
  }
  return at + pages <= segment.arena_bytes() / kPageBytes ? static_cast<int64_t>(at) : -1;
}

}  // namespace

int64_t arena_allocate(Process& process, uint64_t bytes) {
  Segment& segment = process.segment;
  if (bytes == 0 || bytes > segment.arena_bytes()) return -EINVAL;
  if (stands_by(process)) return -EDVSSTANDBY;
  const uint64_t pages = (bytes + kPageBytes - 1) / kPageBytes;
  uint64_t offset;
  {
    const TableLock lock(segment);
    if (lock.error() != 0) return lock.error();
    Extent* entry = nullptr;
    for (uint32_t i = 0; i < kExtents && entry == nullptr; i++) {
      if (load(segment.extent(i)->pages) == 0) entry = segment.extent(i);
    }
    if (entry == nullptr) return -ENOSPC;
    const int64_t first = find_gap(segment, pages);
    if (first < 0) return -ENOMEM;
    store(entry->first_page, static_cast<uint32_t>(first));
    store(entry->owner, process.endpoint);
    DVK_CRASH_POINT("arena.owned");
    atomic(entry->pages).store(static_cast<uint32_t>(pages));
    DVK_CRASH_POINT("arena.taken");
    offset = static_cast<uint64_t>(first) * kPageBytes;
  }
  // Faults cost 3 us a page later and 1 us now; where the kernel cannot, they come later.
  if (populate(segment.arena() + offset, pages * kPageBytes) == -ENOMEM) {
    // The file system is full: what was there goes back to it.
    madvise(segment.arena() + offset, pages * kPageBytes, MADV_REMOVE);
    arena_free(process, offset);
    return -ENOMEM;
  }
  DVK_CRASH_POINT("arena.populated");
  return static_cast<int64_t>(offset);
}

int arena_free(Process& process, uint64_t offset) {
  Segment& segment = process.segment;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  for (uint32_t i = 0; i < kExtents; i++) {
    Extent* entry = segment.extent(i);
    if (load(entry->pages) != 0 && load(entry->first_page) * kPageBytes == offset &&
        load(entry->owner) == process.endpoint) {
      atomic(entry->pages).store(0u);
      DVK_CRASH_POINT("arena.freed");
      return 0;
    }
  }
  return -EINVAL;
}

uint64_t arena_used(const Segment& segment) {
  uint64_t pages = 0;
  for (const Range& range : used_ranges(segment)) pages += range.last - range.first;
  return pages * kPageBytes;
}

void arena_release_all(Segment& segment, int32_t owner) {
  for (uint32_t i = 0; i < kExtents; i++) {
    Extent* entry = segment.extent(i);
    if (load(entry->pages) != 0 && load(entry->owner) == owner) atomic(entry->pages).store(0u);
  }
}

}  // namespace dvk

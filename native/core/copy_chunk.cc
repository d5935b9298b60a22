// One chunk of a copy on this node: where its ends are, and who moves the bytes.

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <memory>

#include "vcopy.h"

namespace dvk {
namespace {

// Third-party copies of private memory go through a buffer of this size; smaller ones lose to the
// price of a call.
constexpr uint64_t kBounceBytes = 65536;

// Moves `bytes` through a buffer of this process, part by part: read(done, buffer, part), then
// write(done, buffer, part). Each returns a negative error, or not.
template <typename Read, typename Write>
int64_t through_buffer(uint64_t bytes, Read read, Write write) {
  const std::unique_ptr<uint8_t[]> buffer(new uint8_t[kBounceBytes]);
  for (uint64_t done = 0; done < bytes; done += kBounceBytes) {
    const uint64_t part = std::min(bytes - done, kBounceBytes);
    int64_t n = read(done, buffer.get(), part);
    if (n >= 0) n = write(done, buffer.get(), part);
    if (n < 0) return n;
  }
  return static_cast<int64_t>(bytes);
}

int find(const Copier& copier, const End& end, uint64_t bytes, Region* region) {
  const uint32_t right = static_cast<uint32_t>(end.right);
  return resolve(copier.segment, end.requester, end.party, bytes, right, region);
}

}  // namespace

int64_t copy_end(const Copier& copier, const End& end, uint8_t* own, uint64_t bytes) {
  const bool read = end.right == GrantRight::kRead;
  uint64_t done = 0;
  int64_t deadline = 0;
  for (bool again = false;; again = true) {
    Region region;
    int error = find(copier, end, bytes, &region);
    // Who was there when this began has died.
    if (error == -EDEADSRCDST && again) return read ? -ESRCDIED : -EDSTDIED;
    if (error != 0) return error;
    if (bytes == 0 || (again && done == bytes)) return static_cast<int64_t>(bytes);
    if (region.arena != nullptr) {
      memmove(read ? own : region.arena, read ? region.arena : own, bytes);
      return static_cast<int64_t>(bytes);
    }
    CopyJob job(copier, region.slot);
    if (!job.allowed()) return -ETIMEDOUT;
    // Once more: from the claim on, the lender waits for the copy's end.
    const uint32_t lender = region.slot;
    error = find(copier, end, bytes, &region);
    if (error == 0 && (region.arena != nullptr || region.slot != lender)) error = -EDVSGRANT;
    if (error != 0) return error;
    const Block all{region.pid, region.address, own, bytes, read};
    const CopyJob::Progress progress = job.run(all.from(done), again, &deadline);
    done += progress.done;
    if (progress.error < 0) return progress.error;
    if (job.end() && done == bytes) return static_cast<int64_t>(bytes);
    // The lender went on, or the word was another's. What came is whole if it still may be copied.
  }
}

int64_t copy_ends(const Copier& copier, const End& source, const End& destination, uint64_t bytes) {
  Region from, to;
  int error = find(copier, source, bytes, &from);
  if (error == 0) error = find(copier, destination, bytes, &to);
  if (error != 0) return error;
  if (from.arena != nullptr && to.arena != nullptr) {
    memmove(to.arena, from.arena, bytes);
    return static_cast<int64_t>(bytes);
  }
  if (to.arena != nullptr) return copy_end(copier, source, to.arena, bytes);
  if (from.arena != nullptr) return copy_end(copier, destination, from.arena, bytes);
  return through_buffer(
      bytes,
      [&](uint64_t done, uint8_t* buffer, uint64_t part) {
        return copy_end(copier, source.from(done), buffer, part);
      },
      [&](uint64_t done, uint8_t* buffer, uint64_t part) {
        return copy_end(copier, destination.from(done), buffer, part);
      });
}

}  // namespace dvk

#include "vcopy.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "copy_job.h"
#include "link.h"
#include "privilege.h"

namespace dvk {
namespace {

// Third-party copies of private memory go through a buffer of this size; smaller ones lose to the
// price of a call.
constexpr uint64_t kBounceBytes = 65536;

}  // namespace

int64_t copy_from(const Region& source, uint8_t* target, uint64_t bytes) {
  if (bytes == 0) return 0;
  if (source.arena != nullptr) {
    memcpy(target, source.arena, bytes);
    return static_cast<int64_t>(bytes);
  }
  return transfer(source.pid, source.address, target, bytes, true);
}

int64_t copy_to(const Region& destination, const uint8_t* data, uint64_t bytes) {
  if (bytes == 0) return 0;
  if (destination.arena != nullptr) {
    memcpy(destination.arena, data, bytes);
    return static_cast<int64_t>(bytes);
  }
  return transfer(destination.pid, destination.address, const_cast<uint8_t*>(data), bytes, false);
}

namespace {

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

}  // namespace

int64_t copy_regions(const Region& source, const Region& destination, uint64_t bytes) {
  if (destination.arena != nullptr && source.arena != nullptr) {
    memmove(destination.arena, source.arena, bytes);
    return static_cast<int64_t>(bytes);
  }
  if (destination.arena != nullptr) return copy_from(source, destination.arena, bytes);
  if (source.arena != nullptr) return copy_to(destination, source.arena, bytes);
  return through_buffer(
      bytes,
      [&](uint64_t done, uint8_t* buffer, uint64_t part) {
        return transfer(source.pid, source.address + done, buffer, part, true);
      },
      [&](uint64_t done, uint8_t* buffer, uint64_t part) {
        return transfer(destination.pid, destination.address + done, buffer, part, false);
      });
}

namespace {

// A party of a copy, as the requester names it.
struct End {
  const CopyParty& party;
  uint32_t right;
};

int resolve(Process& process, const End& end, uint64_t bytes, Region* region) {
  return resolve(process.segment, process.endpoint, end.party, bytes, end.right, region);
}

// Between the requester's own private memory, at `own`, and the other end.
int64_t copy_own(Process& process, const End& other, uint8_t* own, uint64_t bytes) {
  const bool read = other.right == static_cast<uint32_t>(GrantRight::kRead);
  Region region;
  int error = resolve(process, other, bytes, &region);
  if (error != 0) return error;
  if (bytes == 0) return 0;
  if (region.arena != nullptr) {
    return read ? copy_from(region, own, bytes) : copy_to(region, own, bytes);
  }
  CopyJob job(process, region.slot);
  // Once more: from the claim on, the lender waits for the copy's end.
  const uint32_t lender = region.slot;
  error = resolve(process, other, bytes, &region);
  if (error == 0 && (region.arena != nullptr || region.slot != lender)) error = -EDVSGRANT;
  if (error != 0) return error;
  int64_t copied = job.run(region.pid, region.address, own, bytes, read);
  if (copied < 0 && copied != kLenderLeft) return copied;
  if (job.end()) return copied;
  // The lender went on, or the word was another's. What came is whole if it still may be copied.
  error = resolve(process, other, bytes, &region);
  if (error == -EDEADSRCDST) return read ? -ESRCDIED : -EDSTDIED;
  if (error != 0 || copied != kLenderLeft) return error != 0 ? error : copied;
  return transfer(region.pid, region.address, own, bytes, read);
}

// Between two processes that are not the requester: private memories meet in a buffer.
int64_t copy_others(Process& process, const End& source, const End& destination, uint64_t bytes) {
  Region from, to;
  int error = resolve(process, source, bytes, &from);
  if (error == 0) error = resolve(process, destination, bytes, &to);
  if (error != 0) return error;
  if (from.arena != nullptr && to.arena != nullptr) {
    memmove(to.arena, from.arena, bytes);
    return static_cast<int64_t>(bytes);
  }
  if (to.arena != nullptr) return copy_own(process, source, to.arena, bytes);
  if (from.arena != nullptr) return copy_own(process, destination, from.arena, bytes);
  const auto copy_part = [&](const End& end, uint64_t done, uint8_t* buffer, uint64_t part) {
    const CopyParty party{end.party.endpoint, end.party.grant, end.party.at + done};
    return copy_own(process, {party, end.right}, buffer, part);
  };
  return through_buffer(
      bytes,
      [&](uint64_t done, uint8_t* buffer, uint64_t part) {
        return copy_part(source, done, buffer, part);
      },
      [&](uint64_t done, uint8_t* buffer, uint64_t part) {
        return copy_part(destination, done, buffer, part);
      });
}

// One chunk between processes of this node. The requester's own private memory needs no system call
// on its side, unless a grant names it: grants are in shared memory, where anyone may scribble.
int64_t copy_local(Process& process, const End& source, const End& destination, uint64_t bytes) {
  const auto is_own = [&](const CopyParty& party) {
    return party.endpoint == process.endpoint && party.grant == kByAddress &&
           process.pid == getpid();
  };
  if (is_own(source.party)) {
    return copy_own(process, destination, reinterpret_cast<uint8_t*>(source.party.at), bytes);
  }
  if (is_own(destination.party)) {
    return copy_own(process, source, reinterpret_cast<uint8_t*>(destination.party.at), bytes);
  }
  return copy_others(process, source, destination, bytes);
}

struct Nodes {
  uint32_t source, destination;
};

uint32_t copy_kind(const Segment& segment, const Nodes& nodes, uint32_t* target) {
  const uint32_t here = segment.node_id();
  if (nodes.source == here) {
    *target = nodes.destination;
    return kCommandCopyinData;
  }
  *target = nodes.source;
  if (nodes.destination == here) return kCommandCopyoutRqst;
  return nodes.source == nodes.destination ? kCommandCopylclRqst : kCommandCopyrmtRqst;
}

// One chunk with at least one party on another node.
int64_t copy_remote(Process& process, const CopyParty& source, const CopyParty& destination,
                    const Nodes& nodes, uint64_t bytes, int64_t timeout_ms) {
  ProcessSlot* slot = process.slot;
  uint32_t target;
  const uint32_t kind = copy_kind(process.segment, nodes, &target);
  void_command(slot);
  store(slot->command_kind, kind);
  store(slot->command_endpoint,
        kind == kCommandCopyinData ? destination.endpoint : source.endpoint);
  store(slot->source_endpoint, source.endpoint);
  store(slot->source_grant, source.grant);
  store(slot->source_at, source.at);
  store(slot->destination_endpoint, destination.endpoint);
  store(slot->destination_grant, destination.grant);
  store(slot->destination_at, destination.at);
  store(slot->copy_bytes, bytes);
  store(slot->command_result, 0);
  store(slot->want_source, load(slot->command_endpoint));
  process.operation.kind = Operation::Kind::kCopy;
  process.operation.peer = load(slot->command_endpoint);
  DVK_CRASH_POINT("vcopy.command");
  int result = start_remote(process, target);
  if (result == kPending && kind == kCommandCopyrmtRqst) {
    // The answer comes from the destination's node.
    const int error = check_link(process.segment, nodes.destination);
    if (error != 0) result = cancel(process, error);
  }
  if (result == kPending) result = wait_for(process, timeout_ms);
  if (result != 0) return result;
  const int64_t copied = load(slot->command_result);
  return copied == static_cast<int64_t>(bytes) ? copied : -EIO;
}

}  // namespace

int64_t vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
              uint64_t bytes, int64_t timeout_ms) {
  Segment& segment = process.segment;
  int error = check_caller(process, CallRight::kVcopy);
  if (error != 0) return error;
  if (process.operation.stage != Operation::Stage::kNone) return -EBUSY;
  if (bytes > kCopyBytesMax) return -ERANGE;
  CopyParty from = own_party(process, source, bytes);
  CopyParty to = own_party(process, destination, bytes);
  if (from.endpoint == to.endpoint) return -EDVSENDPOINT;
  const bool third_party = from.endpoint != process.endpoint && to.endpoint != process.endpoint;
  if (third_party && process.level == ProcessLevel::kUser) return -EPERM;
  uint32_t from_slot, to_slot;
  error = check_endpoint(segment, from.endpoint, &from_slot);
  if (error == 0) error = check_endpoint(segment, to.endpoint, &to_slot);
  if (error != 0) return error;
  const Nodes nodes{load(segment.slot(from_slot)->node), load(segment.slot(to_slot)->node)};
  const bool local = nodes.source == segment.node_id() && nodes.destination == segment.node_id();
  process.copied = 0;
  uint64_t done = 0;
  do {
    const uint64_t part = std::min(bytes - done, kCopyChunkBytes);
    const int64_t n = local ? copy_local(process, {from, 1}, {to, 2}, part)
                            : copy_remote(process, from, to, nodes, part, timeout_ms);
    if (n < 0) return n;
    DVK_CRASH_POINT("vcopy.chunk");
    done += part;
    process.copied += part;
    from.at += part;
    to.at += part;
  } while (done < bytes);
  store(process.slot->copied_bytes, load(process.slot->copied_bytes) + bytes);
  return static_cast<int64_t>(bytes);
}

int64_t vcopy_vector(Process& process, const CopyElement* elements, uint32_t count,
                     int64_t timeout_ms) {
  if (count > kCopyElementsMax) return -ERANGE;
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; i++) {
    const CopyElement& element = elements[i];
    const int64_t n =
        vcopy(process, element.source, element.destination, element.bytes, timeout_ms);
    process.copied += total;
    if (n < 0) return n;
    total = process.copied;
  }
  process.copied = total;
  return static_cast<int64_t>(total);
}

}  // namespace dvk

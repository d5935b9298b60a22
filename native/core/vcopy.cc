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

int64_t copy_ends(const Copier& copier, const End& source, const End& destination,
                  uint64_t bytes) {
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

namespace {

// Whether `party` is memory of the caller, by its address.
bool is_own(const Process& process, const CopyParty& party) {
  return party.endpoint == process.endpoint && party.grant == kByAddress;
}

// One chunk between processes of this node. The requester's own private memory needs no system call
// on its side, unless a grant names it: grants are in shared memory, where anyone may scribble.
int64_t copy_local(Process& process, const CopyParty& source, const CopyParty& destination,
                   uint64_t bytes) {
  const Copier copier{process.segment, &process};
  const End from{process.endpoint, source, GrantRight::kRead};
  const End to{process.endpoint, destination, GrantRight::kWrite};
  const bool bound_itself = process.pid == getpid();
  if (bound_itself && is_own(process, source)) {
    return copy_end(copier, to, reinterpret_cast<uint8_t*>(source.at), bytes);
  }
  if (bound_itself && is_own(process, destination)) {
    return copy_end(copier, from, reinterpret_cast<uint8_t*>(destination.at), bytes);
  }
  return copy_ends(copier, from, to, bytes);
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

// The caller's private memory in a chunk, if one of its ends is that.
Lent own_part(const Process& process, const CopyParty& source, const CopyParty& destination,
              uint64_t bytes) {
  const uint32_t read = static_cast<uint32_t>(GrantRight::kRead);
  const uint32_t write = static_cast<uint32_t>(GrantRight::kWrite);
  if (is_own(process, source)) return {source.at, bytes, read};
  if (is_own(process, destination)) return {destination.at, bytes, write};
  return {};
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
  // The proxy may have to ask this process for it.
  process.own_part = own_part(process, source, destination, bytes);
  int result = start_remote(process, target);
  if (result == kPending && kind == kCommandCopyrmtRqst) {
    // The answer comes from the destination's node.
    const int error = check_link(process.segment, nodes.destination);
    if (error != 0) result = cancel(process, error);
  }
  if (result == kPending) result = wait_for(process, timeout_ms);
  process.own_part = {};
  if (result != 0) return result;
  const int64_t copied = load(slot->command_result);
  return copied == static_cast<int64_t>(bytes) ? copied : -EIO;
}

// Whether the caller may have to do with a party: those in fixed slots are asked for in its ipc_to,
// as for a message (section 5.4 of the M3-IPC notes: "system parties"). A user is no such party.
int check_party(const Process& process, int32_t endpoint) {
  const int slot = process.segment.slot_of(endpoint);
  if (slot < 0) return -ERANGE;
  const uint32_t index = static_cast<uint32_t>(slot);
  if (endpoint == process.endpoint || index >= kSystemProcesses) return 0;
  return may_send(process.segment, process.index, index) ? 0 : -ECALLDENIED;
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
  error = check_party(process, from.endpoint);
  if (error == 0) error = check_party(process, to.endpoint);
  uint32_t from_slot, to_slot;
  if (error == 0) error = check_endpoint(segment, from.endpoint, &from_slot);
  if (error == 0) error = check_endpoint(segment, to.endpoint, &to_slot);
  if (error != 0) return error;
  const Nodes nodes{load(segment.slot(from_slot)->node), load(segment.slot(to_slot)->node)};
  const bool local = nodes.source == segment.node_id() && nodes.destination == segment.node_id();
  process.copied = 0;
  uint64_t done = 0;
  do {
    const uint64_t part = std::min(bytes - done, kCopyChunkBytes);
    const int64_t n = local ? copy_local(process, from, to, part)
                            : copy_remote(process, from, to, nodes, part, timeout_ms);
    if (n < 0) return n;
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

#include "vcopy.h"

#include <errno.h>

#include <algorithm>

#include "link.h"
#include "own_pid.h"
#include "privilege.h"
#include "search.h"
#include "trace.h"
#include "wait.h"

namespace dvk {
namespace {

// An answer that came sooner than kQuickNs lets the next call to another node ask for more, one
// that took longer than kSlowNs for less: so time-outs and cancellation keep a grain that suits the
// line.
constexpr int64_t kQuickNs = 20'000'000, kSlowNs = 100'000'000;
constexpr uint32_t kPartiesMax = 2;

// Whether `party` is memory of the caller, by its address.
bool is_own(const Process& process, const CopyParty& party) {
  return party.endpoint == process.endpoint && party.grant == kByAddress;
}

// One chunk between processes of this node. The requester's own private memory needs no system call
// on its side, unless a grant names it: grants are in shared memory, where anyone may scribble.
int64_t copy_local(const Copier& copier, const CopyParty& source, const CopyParty& destination,
                   uint64_t bytes) {
  const Process& process = *copier.process;
  const End from{process.endpoint, source, GrantRight::kRead};
  const End to{process.endpoint, destination, GrantRight::kWrite};
  const bool bound_itself = process.pid == own_pid();
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

// Starts a chunk with at least one party on another node. Returns kPending or an error.
int start_chunk(Process& process, const CopyParty& source, const CopyParty& destination,
                const Nodes& nodes, uint64_t bytes) {
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
  process.copying.asked_at = now_ns();
  DVK_CRASH_POINT("vcopy.command");
  int result = start_remote(process, target);
  if (result == kPending && kind == kCommandCopyrmtRqst) {
    // The answer comes from the destination's node.
    const int error = check_link(process.segment, nodes.destination);
    if (error != 0) result = cancel(process, error);
  }
  return result;
}

// What the chunk came to that start_chunk began and that ended with `result`: 0 when it is where it
// belongs.
int end_chunk(Process& process, uint64_t bytes, int result) {
  process.own_part = {};
  if (result != 0) return result;
  Copying& copying = process.copying;
  const int64_t took = now_ns() - copying.asked_at;
  if (took < kQuickNs && !copying.careful) {
    copying.window = std::min(2 * copying.window, kCopyWindowBytes);
  } else if (took > kSlowNs) {
    copying.window = std::max(copying.window / 2, kCopyChunkBytes);
  }
  return load(process.slot->command_result) == static_cast<int64_t>(bytes) ? 0 : -EIO;
}

// Whether a call for `bytes` that failed with `error` is to be made again chunk by chunk, which
// shows how far the copy can come. What it copied is copied again.
bool retries(Process& process, uint64_t bytes, int error) {
  const bool has_place = error == -EFAULT || error == -EDVSGRANT || error == -EPERM;
  if (!has_place || bytes <= kCopyChunkBytes) return false;
  process.copying.careful = true;
  process.copying.window = kCopyChunkBytes;
  return true;
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

bool is_nobody(const CopyParty& party) {
  return party.endpoint == kEndpointAny || party.endpoint == kEndpointNone;
}

// The checks of a copy; fills `copying`, what is to be done.
int begin(Process& process, const CopyParty& source, const CopyParty& destination, uint64_t bytes) {
  Segment& segment = process.segment;
  int error = check_caller(process, CallRight::kVcopy);
  if (error != 0) return error;
  if (process.operation.stage != Operation::Stage::kNone) return -EBUSY;
  if (bytes > kCopyBytesMax) return -ERANGE;
  const CopyParty from = own_party(process, source, bytes);
  const CopyParty to = own_party(process, destination, bytes);
  if (from.endpoint == to.endpoint || is_nobody(from) || is_nobody(to)) return -EDVSENDPOINT;
  const bool third_party = from.endpoint != process.endpoint && to.endpoint != process.endpoint;
  if (third_party && process.level == ProcessLevel::kUser) return -EPERM;
  error = check_party(process, from.endpoint);
  if (error == 0) error = check_party(process, to.endpoint);
  for (const int32_t party : {from.endpoint, to.endpoint}) {
    uint32_t slot;
    if (error == 0) error = check_endpoint(segment, party, &slot);
    if (can_await(segment, party, error)) error = 0;
  }
  if (error != 0) return error;
  process.copying = {.from = from, .to = to, .bytes = bytes};
  process.copied = 0;
  return 0;
}

// Looks for the parties of `copying` that no binding here names, one after the other, each once.
// Returns 0 when both are known, kPending, or an error.
int find_parties(Process& process) {
  Copying& copying = process.copying;
  for (const int32_t party : {copying.from.endpoint, copying.to.endpoint}) {
    uint32_t slot;
    const int error = check_endpoint(process.segment, party, &slot);
    if (error == 0) continue;
    const bool may_search = copying.searches < kPartiesMax;
    if (!may_search || !can_await(process.segment, party, error)) return error;
    copying.searches++;
    copying.searching = true;
    process.operation.kind = Operation::Kind::kCopy;
    process.operation.peer = party;
    return start_search(process);
  }
  return 0;
}

// The next chunk of `copying`.
struct Chunk {
  explicit Chunk(const Process& process) : from(process.copying.from), to(process.copying.to) {
    const Segment& segment = process.segment;
    from.at += process.copied;
    to.at += process.copied;
    nodes = {node_of(segment, from), node_of(segment, to)};
    const bool sends = nodes.source == segment.node_id();
    const bool receives = nodes.destination == segment.node_id();
    local = sends && receives;
    const uint32_t peer = sends ? nodes.destination : nodes.source;
    const bool in_parts = sends != receives && peer < segment.nodes() &&
                          load(segment.link(peer)->copies_in_parts) != 0;
    const uint64_t most = in_parts ? process.copying.window : kCopyChunkBytes;
    bytes = std::min(process.copying.bytes - process.copied, most);
  }
  static uint32_t node_of(const Segment& segment, const CopyParty& party) {
    // In range since it was checked.
    return load(segment.slot(static_cast<uint32_t>(segment.slot_of(party.endpoint)))->node);
  }
  uint64_t bytes;
  CopyParty from, to;
  Nodes nodes;
  bool local;
};

// A chunk is where it belongs. Returns whether it was the last.
bool advance(Process& process, uint64_t bytes) {
  process.copied += bytes;
  if (process.copied < process.copying.bytes) return false;
  store(process.slot->copied_bytes, load(process.slot->copied_bytes) + process.copying.bytes);
  return true;
}

TracedCopy traced_copy(const Process& process, int32_t source, int32_t destination) {
  const auto own = [&](int32_t party) {
    return party == process.endpoint || party == kEndpointSelf;
  };
  if (own(destination)) return {source, 0, 1, 0};
  return own(source) ? TracedCopy{destination, 0, 2, 0} : TracedCopy{source, destination, 3, 0};
}

// The end of an awaited copy, but of one that was given up.
int end_traced(Process& process, int result) {
  TracedCopy& traced = process.copying.traced;
  if (traced.begun != 0) trace_copy_end(process, traced, result);
  traced.begun = 0;
  return result;
}

// What step_vcopy returns when a chunk ended with `error`, or well.
int after_chunk(Process& process, uint64_t bytes, int error) {
  process.operation.stage = Operation::Stage::kNone;
  if (error != 0) return end_traced(process, error);
  process.copying.deadline = 0;
  if (advance(process, bytes)) return end_traced(process, 0);
  process.operation.stage = Operation::Stage::kCopying;
  return kMore;
}

// See vcopy.
int64_t copy_all(Process& process, const CopyParty& source, const CopyParty& destination,
                 uint64_t bytes, int64_t timeout_ms) {
  int error = begin(process, source, destination, bytes);
  if (error != 0) return error;
  while ((error = find_parties(process)) == kPending) {
    error = wait_for(process, timeout_ms);
    if (error != 0) return error;
  }
  if (error != 0) return error;
  const Copier copier{process.segment, &process};
  for (;;) {
    const Chunk chunk(process);
    if (chunk.local) {
      const int64_t n = copy_local(copier, chunk.from, chunk.to, chunk.bytes);
      if (n < 0) return n;
    } else {
      error = start_chunk(process, chunk.from, chunk.to, chunk.nodes, chunk.bytes);
      if (error == kPending) error = wait_for(process, timeout_ms);
      error = end_chunk(process, chunk.bytes, error);
      if (retries(process, chunk.bytes, error)) continue;
      if (error != 0) return error;
    }
    DVK_CRASH_POINT("vcopy.chunk");
    if (advance(process, chunk.bytes)) return static_cast<int64_t>(bytes);
  }
}

}  // namespace

int64_t vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
              uint64_t bytes, int64_t timeout_ms) {
  if (!is_traced(process.segment)) [[likely]] {
    return copy_all(process, source, destination, bytes, timeout_ms);
  }
  process.copied = 0;
  TracedCopy traced = traced_copy(process, source.endpoint, destination.endpoint);
  trace_copy_begin(process, &traced, bytes);
  const int64_t result = copy_all(process, source, destination, bytes, timeout_ms);
  trace_copy_end(process, traced, result);
  return result;
}

int start_vcopy(Process& process, const CopyParty& source, const CopyParty& destination,
                uint64_t bytes) {
  const int error = begin(process, source, destination, bytes);
  if (error != 0) return error;
  if (is_traced(process.segment)) [[unlikely]] {
    process.copying.traced = traced_copy(process, source.endpoint, destination.endpoint);
    trace_copy_begin(process, &process.copying.traced, bytes);
  }
  process.operation.kind = Operation::Kind::kCopy;
  process.operation.stage = Operation::Stage::kCopying;
  return kMore;
}

int step_vcopy(Process& process) {
  if (process.operation.stage != Operation::Stage::kCopying) return -EDVSPROCSTS;
  if (load(process.slot->endpoint) != process.endpoint) return cancel(process, -EDVSNOTBOUND);
  if (process.copied == 0) {
    process.operation.stage = Operation::Stage::kNone;
    const int result = find_parties(process);
    if (result != 0) return result == kPending ? kPending : end_step(process, result);
    process.operation.stage = Operation::Stage::kCopying;
  }
  const Chunk chunk(process);
  if (!chunk.local) {
    // Nothing is under way, as start_remote wants it.
    process.operation.stage = Operation::Stage::kNone;
    process.copying.asked = chunk.bytes;
    const int result = start_chunk(process, chunk.from, chunk.to, chunk.nodes, chunk.bytes);
    return result == kPending ? kPending : end_step(process, result);
  }
  const Copier copier{process.segment, &process, kStepPatienceNs};
  const int64_t n = copy_local(copier, chunk.from, chunk.to, chunk.bytes);
  if (n == -EPERM || n == -ETIMEDOUT) {
    // The owner, or another requester, was given a moment; all of them together are as long as that
    // of a blocking caller.
    int64_t& deadline = process.copying.deadline;
    if (deadline == 0) deadline = now_ns() + kPatienceNs;
    if (now_ns() < deadline) return kMore;
  }
  return after_chunk(process, chunk.bytes, n < 0 ? static_cast<int>(n) : 0);
}

int end_step(Process& process, int result) {
  if (process.copying.searching) {
    process.copying.searching = false;
    process.operation.stage = Operation::Stage::kNone;
    if (result != 0) return end_traced(process, result);
    process.operation.stage = Operation::Stage::kCopying;
    return kMore;
  }
  const uint64_t bytes = process.copying.asked;
  const int error = end_chunk(process, bytes, result);
  if (!retries(process, bytes, error)) return after_chunk(process, bytes, error);
  process.operation.stage = Operation::Stage::kCopying;
  return kMore;
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

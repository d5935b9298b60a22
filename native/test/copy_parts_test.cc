// Copies between nodes whose data goes in parts: the same bytes and errors as in one piece, from
// peers that keep to the rules and from those that do not.

#include <errno.h>
#include <sys/mman.h>

#include <vector>

#include "network.h"

namespace dvk::test {
namespace {

using Bytes = std::vector<uint8_t>;

// Of a copy of one chunk.
constexpr uint64_t kPart = part_bytes(kCopyChunkBytes), kParts = kCopyChunkBytes / kPart;

// How many parts a copy has at least and at most, whatever its calls ask for.
uint64_t most_parts(uint64_t bytes) {
  return std::max<uint64_t>(1, (bytes + kCopyPartBytesMin - 1) / kCopyPartBytesMin);
}
uint64_t least_parts(uint64_t bytes) {
  return std::max<uint64_t>(1, (bytes + kCopyPartBytes - 1) / kCopyPartBytes);
}

Bytes pattern(uint64_t bytes, uint64_t key) {
  Bytes data(bytes);
  for (uint64_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>((i * 2654435761 + key) >> 8);
  return data;
}

uint64_t address(const Bytes& data) {
  return reinterpret_cast<uint64_t>(data.data());
}

// A requester on node 0, and a process with granted memory on node 1.
struct Copies {
  Copies() : network(2, true), near(bind_server(network[0], 1)), far(bind_server(network[1], 10)) {
    network.pump();
    network.kinds.clear();
    network.log.clear();
  }
  CopyParty granted(const Bytes& data) {
    const int32_t id = grant(far, data.data(), data.size(), 3, kEndpointAny);
    CHECK(id >= 0);
    return {far.endpoint, id, 0};
  }
  int64_t copy(const CopyParty& from, const CopyParty& to, uint64_t bytes) {
    return network.during([&] { return vcopy(near, from, to, bytes, 20'000); });
  }
  static CopyParty own(const Bytes& data) {
    return {kEndpointSelf, -1, address(data)};
  }
  size_t count(uint32_t kind) const {
    size_t found = 0;
    for (const uint32_t one : network.kinds) found += one == kind ? 1 : 0;
    return found;
  }
  // Begins to copy `source` there, and takes the first part.
  Command begin(const Bytes& source, const CopyParty& to) {
    CHECK_EQUAL(start_vcopy(near, own(source), to, source.size()), kMore);
    CHECK_EQUAL(step_vcopy(near), kPending);
    Command part;
    CHECK(network.take(0, 1, &part));
    return part;
  }
  Network network;
  Process& near;
  Process& far;
};

const std::vector<uint64_t> kSizes = {
    0, 1, kCopyPartBytesMin, kCopyPartBytesMin + 1, kCopyChunkBytes + 1, 20 * kCopyChunkBytes + 5};

TEST("data goes to another node in parts, and one answer tells of many") {
  for (const uint64_t bytes : kSizes) {
    Copies c;
    const Bytes source = pattern(bytes, 1);
    Bytes target(bytes);
    const CopyParty to = c.granted(target);
    CHECK_EQUAL(c.copy(c.own(source), to, bytes), static_cast<int64_t>(bytes));
    CHECK(source == target);
    const size_t parts = c.count(kCommandCopyinData);
    CHECK(parts >= least_parts(bytes) && parts <= most_parts(bytes));
    CHECK(c.count(kCommandCopyinData | kCommandAck) <= 1 + bytes / kCopyChunkBytes);
  }
}

TEST("data comes from another node in parts for one request") {
  for (const uint64_t bytes : kSizes) {
    Copies c;
    const Bytes source = pattern(bytes, 2);
    Bytes target(bytes);
    const CopyParty from = c.granted(source);
    CHECK_EQUAL(c.copy(from, c.own(target), bytes), static_cast<int64_t>(bytes));
    CHECK(source == target);
    const size_t parts = c.count(kCommandCopyoutRqst | kCommandAck);
    CHECK(parts >= least_parts(bytes) && parts <= most_parts(bytes));
    CHECK(c.count(kCommandCopyoutRqst) <= 1 + bytes / kCopyChunkBytes);
  }
}

TEST("an awaited copy in parts") {
  Copies c;
  const Bytes source = pattern(5 * kCopyChunkBytes + 3, 3);
  Bytes target(source.size());
  CHECK_EQUAL(start_vcopy(c.near, c.own(source), c.granted(target), source.size()), kMore);
  int result = kMore;
  while (result == kMore) {
    result = step_vcopy(c.near);
    if (result != kPending) continue;
    c.network.pump();
    result = end_step(c.near, step(c.near));
  }
  CHECK_EQUAL(result, 0);
  CHECK(source == target);
}

// Memory of `bytes` bytes of which those from `mapped` on are not there.
struct Torn {
  Torn(uint64_t bytes, uint64_t mapped) : size(bytes) {
    data = static_cast<uint8_t*>(
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(data != MAP_FAILED);
    CHECK_EQUAL(munmap(data + mapped, bytes - mapped), 0);
  }
  ~Torn() {
    munmap(data, size);
  }
  uint8_t* data;
  uint64_t size;
};

TEST("a copy in parts that fails in the middle tells the chunks that arrived") {
  constexpr uint64_t kBytes = 16 * kCopyChunkBytes;
  // In the tenth chunk, in its third part.
  constexpr uint64_t kMapped = 9 * kCopyChunkBytes + 2 * kCopyPartBytes + 4096;
  for (const bool at_source : {true, false}) {
    for (const bool goes_out : {true, false}) {
      Copies c;
      const Torn torn(kBytes, kMapped);
      const Bytes whole = pattern(kBytes, 4);
      const uint64_t near_at =
          at_source == goes_out ? reinterpret_cast<uint64_t>(torn.data) : address(whole);
      const uint8_t* far_at = at_source == goes_out ? whole.data() : torn.data;
      const int32_t id = grant(c.far, far_at, kBytes, 3, kEndpointAny);
      const CopyParty near{kEndpointSelf, -1, near_at}, far{c.far.endpoint, id, 0};
      CHECK_EQUAL(goes_out ? c.copy(near, far, kBytes) : c.copy(far, near, kBytes), -EFAULT);
      CHECK_EQUAL(c.near.copied, 9 * kCopyChunkBytes);
      // The next one is not disturbed by what was under way.
      CHECK_EQUAL(goes_out ? c.copy(near, far, 64) : c.copy(far, near, 64), 64);
    }
  }
}

TEST("after a part that failed the rest is dropped, and the call ends once") {
  Copies c;
  const Bytes source = pattern(kCopyChunkBytes, 5);
  Bytes target(kPart + 1);
  const CopyParty to = c.granted(target);
  const int64_t result = c.copy(c.own(source), to, kCopyChunkBytes);
  CHECK_EQUAL(result, -EDVSGRANT);
  CHECK_EQUAL(c.count(kCommandCopyinData), kParts);
  CHECK_EQUAL(c.count(kCommandCopyinData | kCommandAck), 1);
  CHECK_EQUAL(c.near.copied, 0);
}

TEST("parts of two processes take turns, and a notification does not wait for them") {
  Copies c;
  Process& other = bind_server(c.network[0], 2);
  c.network.pump();
  const Bytes source = pattern(kCopyChunkBytes, 6);
  Bytes one(kCopyChunkBytes), two(kCopyChunkBytes);
  const CopyParty first = c.granted(one), second = c.granted(two);
  CHECK_EQUAL(start_vcopy(c.near, c.own(source), first, kCopyChunkBytes), kMore);
  CHECK_EQUAL(step_vcopy(c.near), kPending);
  CHECK_EQUAL(start_vcopy(other, c.own(source), second, kCopyChunkBytes), kMore);
  CHECK_EQUAL(step_vcopy(other), kPending);
  c.network.log.clear();
  CHECK(c.network.move(0, 1));
  CHECK(c.network.move(0, 1));
  CHECK_EQUAL(notify(other, c.far.endpoint), 0);
  CHECK(c.network.move(0, 1));
  c.network.pump();
  const auto& log = c.network.log;
  CHECK_EQUAL(log[0].source, c.near.endpoint);
  CHECK_EQUAL(log[1].source, other.endpoint);
  CHECK_EQUAL(log[2].kind, kCommandNtfyMsg);
  CHECK_EQUAL(log[3].source, c.near.endpoint);
  CHECK_EQUAL(log[4].source, other.endpoint);
  CHECK_EQUAL(end_step(c.near, step(c.near)), 0);
  CHECK_EQUAL(end_step(other, step(other)), 0);
  CHECK(one == source && two == source);
}

TEST("a copy in parts that is given up sends no more of them") {
  Copies c;
  const Bytes source = pattern(kCopyChunkBytes, 7);
  Bytes target(kCopyChunkBytes);
  const CopyParty to = c.granted(target);
  const Command part = c.begin(source, to);
  CHECK_EQUAL(part.payload_bytes, kPart);
  CHECK_EQUAL(part.copy_bytes, kCopyChunkBytes);
  CHECK_EQUAL(cancel(c.near, -ETIMEDOUT), -ETIMEDOUT);
  c.network.log.clear();
  c.network.pump();
  for (const Command& command : c.network.log) CHECK(command.kind != kCommandCopyinData);
  // The next call begins at its own beginning.
  CHECK_EQUAL(c.copy(c.own(source), to, kCopyChunkBytes), static_cast<int64_t>(kCopyChunkBytes));
  CHECK(source == target);
}

TEST("parts that are out of place are dropped, and those that cannot be are refused") {
  Copies c;
  const Bytes source = pattern(kCopyChunkBytes, 8);
  Bytes target(kCopyChunkBytes);
  const Command part = c.begin(source, c.granted(target));
  const Bytes data(source.begin(), source.begin() + kPart);
  Command bad = part;
  // Before the first, and one that is not the next.
  bad.answers = kPart;
  CHECK_EQUAL(c.network.bring(1, bad, data), 0);
  CHECK_EQUAL(c.network.bring(1, part, data), 0);
  bad.answers = 2 * kPart;
  CHECK_EQUAL(c.network.bring(1, bad, data), 0);
  bad.answers = kPart;
  bad.call_id++;
  CHECK_EQUAL(c.network.bring(1, bad, data), 0);
  CHECK(Bytes(target.begin() + kPart, target.end()) == Bytes(kCopyChunkBytes - kPart));
  // Beyond the copy, beyond the window, without data, an error at the beginning.
  bad = part;
  bad.answers = kCopyChunkBytes;
  CHECK_EQUAL(c.network.bring(1, bad, data), -EDVSBADFRAME);
  bad.answers = UINT32_MAX;
  CHECK_EQUAL(c.network.bring(1, bad, data), -EDVSBADFRAME);
  bad = part;
  bad.copy_bytes = kCopyWindowBytes + 1;
  CHECK_EQUAL(c.network.bring(1, bad, data), -EDVSBADFRAME);
  bad = part;
  bad.payload_bytes = 0;
  CHECK_EQUAL(c.network.bring(1, bad), -EDVSBADFRAME);
  bad.result = -EFAULT;
  CHECK_EQUAL(c.network.bring(1, bad), -EDVSBADFRAME);
  // From the voucher's fields nothing may be moved.
  bad = part;
  bad.kind = kCommandCopyinRqst;
  bad.copy_bytes = kPart;
  bad.answers = 4096;
  CHECK_EQUAL(c.network.bring(1, bad, data), -EDVSBADFRAME);
}

TEST("answers in parts go where the caller asked, each once and in order") {
  Copies c;
  const Bytes source = pattern(kCopyChunkBytes, 9);
  Bytes target(kCopyChunkBytes);
  const CopyParty from = c.granted(source);
  for (const uint32_t wrong : {uint32_t{0}, uint32_t{2 * kPart}, UINT32_MAX}) {
    CHECK_EQUAL(start_vcopy(c.near, from, c.own(target), kCopyChunkBytes), kMore);
    CHECK_EQUAL(step_vcopy(c.near), kPending);
    CHECK(c.network.move(0, 1));
    CHECK(c.network.move(1, 0));
    CHECK_EQUAL(step(c.near), kPending);
    Command next;
    CHECK(c.network.take(1, 0, &next));
    const Bytes data(source.begin(), source.begin() + next.payload_bytes);
    next.answers = wrong;
    CHECK_EQUAL(c.network.bring(0, next, data), 0);
    CHECK_EQUAL(end_step(c.near, step(c.near)), -EDVSBADFRAME);
    c.network.pump();
  }
}

TEST("a peer that does not know parts gets none, and may send none") {
  Copies c;
  CHECK_EQUAL(link_up(c.network[0], 1, 2, false), 0);
  CHECK_EQUAL(link_up(c.network[1], 0, 2, false), 0);
  c.network.pump();
  c.network.kinds.clear();
  const Bytes source = pattern(3 * kCopyChunkBytes, 10);
  Bytes target(source.size());
  const CopyParty to = c.granted(target);
  CHECK_EQUAL(c.copy(c.own(source), to, source.size()), static_cast<int64_t>(source.size()));
  CHECK(source == target);
  CHECK_EQUAL(c.count(kCommandCopyinData), 3);
  Command part = c.begin(source, to);
  const Bytes data(source.begin(), source.begin() + kPart);
  part.payload_bytes = kPart;
  CHECK_EQUAL(c.network.bring(1, part, data), -EDVSBADFRAME);
}

TEST("a link that goes down in the middle of a copy in parts ends it") {
  Copies c;
  const Bytes source = pattern(kCopyChunkBytes, 11);
  Bytes target(kCopyChunkBytes);
  c.begin(source, c.granted(target));
  CHECK_EQUAL(link_down(c.network[0], 1), 0);
  CHECK_EQUAL(end_step(c.near, step(c.near)), -ENOTCONN);
  CHECK_EQUAL(link_up(c.network[0], 1, 2, true), 0);
  c.network.log.clear();
  c.network.pump();
  for (const Command& command : c.network.log) CHECK(command.kind != kCommandCopyinData);
}

}  // namespace
}  // namespace dvk::test

// Segments: creation, what is refused, endpoints; and the sets of slots.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>
#include <thread>
#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

std::string refusal(const std::string& path) {
  Segment* segment = nullptr;
  std::string reason;
  const int error = Segment::open(path.c_str(), &segment, &reason);
  CHECK_EQUAL(error, -EDVSBADSEGMENT);
  CHECK(!reason.empty());
  return reason;
}

// Overwrites bytes of the file, as another program could.
template <typename T>
void scribble(const std::string& path, size_t offset, T value) {
  const int fd = ::open(path.c_str(), O_RDWR);
  CHECK(fd >= 0);
  CHECK_EQUAL(pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)),
              static_cast<ssize_t>(sizeof value));
  close(fd);
}

int create_error(SegmentOptions options) {
  const std::string path = folder() + "/refused";
  const int error = Segment::create(path.c_str(), options);
  CHECK(access(path.c_str(), F_OK) != 0);
  return error;
}

TEST("a segment keeps what it was created with") {
  SegmentOptions options = small(2);
  options.dvs_name = "a name of more than fifteen bytes";
  const Container container(options);
  const Segment& segment = container.segment;
  CHECK_EQUAL(segment.processes(), 192);
  CHECK_EQUAL(segment.nodes(), 4);
  CHECK_EQUAL(segment.node_id(), 2);
  CHECK_EQUAL(segment.dc_id(), 7);
  CHECK_EQUAL(std::string(segment.header()->dvs_name), "a name of more ");
  CHECK(segment.running());
  struct stat status;
  CHECK_EQUAL(stat(container.path.c_str(), &status), 0);
  CHECK_EQUAL(static_cast<uint64_t>(status.st_size), segment.bytes());
  CHECK_EQUAL(status.st_mode & 07777, 0600);
  CHECK_EQUAL(damage(container.segment), "");
}

TEST("a segment is not created over an existing file") {
  const Container container;
  CHECK_EQUAL(Segment::create(container.path.c_str(), small()), -EEXIST);
}

TEST("limits out of range are refused at creation and leave no file") {
  for (const uint32_t processes : {0u, 64u, 129u, 65600u}) {
    SegmentOptions options = small();
    options.processes = processes;
    CHECK_EQUAL(create_error(options), -EINVAL);
  }
  for (const uint32_t nodes : {0u, 1025u}) {
    SegmentOptions options = small();
    options.nodes = nodes;
    CHECK_EQUAL(create_error(options), -EINVAL);
  }
  SegmentOptions options = small();
  options.node_id = options.nodes;
  CHECK_EQUAL(create_error(options), -EINVAL);
  options = small();
  options.arena_bytes = 4097;
  CHECK_EQUAL(create_error(options), -EINVAL);
}

TEST("a file that is no segment is refused with a reason") {
  Segment* segment = nullptr;
  std::string reason;
  CHECK_EQUAL(Segment::open((folder() + "/absent").c_str(), &segment, &reason), -ENOENT);
  const std::string path = folder() + "/short";
  close(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
  refusal(path);
  CHECK_EQUAL(truncate(path.c_str(), 65536), 0);
  refusal(path);
}

struct Wrong {
  size_t offset;
  uint64_t value;
};

TEST("a header with any wrong field is refused") {
  const Wrong wrongs[] = {
      {offsetof(SegmentHeader, magic), 0},
      {offsetof(SegmentHeader, abi_version), kAbiVersion + 1},
      {offsetof(SegmentHeader, byte_order), 0x04030201},
      {offsetof(SegmentHeader, segment_bytes), 4096},
      {offsetof(SegmentHeader, node_id), 4},
      {offsetof(SegmentHeader, processes), 128},
      {offsetof(SegmentHeader, processes), 0xffffffc0},
      {offsetof(SegmentHeader, nodes), 0},
      {offsetof(SegmentHeader, arena_bytes), uint64_t{1} << 63},
      {offsetof(SegmentHeader, arena_bytes), ~uint64_t{4095}},
  };
  for (const Wrong& wrong : wrongs) {
    const Container container;
    const bool wide = wrong.offset == 0 || wrong.offset == offsetof(SegmentHeader, arena_bytes) ||
                      wrong.offset == offsetof(SegmentHeader, segment_bytes);
    if (wide) {
      scribble(container.path, wrong.offset, wrong.value);
    } else {
      scribble(container.path, wrong.offset, static_cast<uint32_t>(wrong.value));
    }
    refusal(container.path);
  }
}

TEST("a truncated and a lengthened segment are refused") {
  for (const int64_t change : {-4096, -1, 1, 4096}) {
    const Container container;
    const int64_t bytes = static_cast<int64_t>(container.segment.bytes()) + change;
    CHECK_EQUAL(truncate(container.path.c_str(), bytes), 0);
    refusal(container.path);
  }
}

TEST("the largest and the smallest tables can be made") {
  // The tables of 65536 take 2 GiB.
  const auto largest = static_cast<uint32_t>(at_length(kProcessesMax, 16384));
  for (const uint32_t processes : {128u, largest}) {
    SegmentOptions options = small();
    options.processes = processes;
    options.nodes = processes == 128 ? 1 : 1024;
    options.arena_bytes = 0;
    const Container container(options);
    uint32_t first, last;
    container.segment.slot_range(options.nodes - 1, &first, &last);
    CHECK(first < last);
    CHECK(last <= processes);
    container.segment.senders(processes - 1).add(processes - 1);
    CHECK(!container.segment.senders(processes - 1).empty());
    CHECK(container.segment.notices(processes - 1).empty());
  }
}

TEST("an endpoint is its slot and a generation that wraps, and special ones have no slot") {
  const Container container;
  const Segment& segment = container.segment;
  CHECK_EQUAL(make_endpoint(5, 0), 5);
  CHECK_EQUAL(segment.slot_of(make_endpoint(191, 32766)), 191);
  CHECK_EQUAL(make_endpoint(3, 32767), 3);
  CHECK_EQUAL(segment.slot_of(make_endpoint(192, 1)), -1);
  for (const int32_t endpoint : {kEndpointAny, kEndpointNone, kEndpointSelf, kEndpointKernel, -2}) {
    CHECK_EQUAL(segment.slot_of(endpoint), -1);
  }
}

TEST("the shares of the nodes do not overlap") {
  const Container container;
  uint32_t next = kSystemProcesses;
  for (uint32_t node = 0; node < container.segment.nodes(); node++) {
    uint32_t first, last;
    container.segment.slot_range(node, &first, &last);
    CHECK_EQUAL(first, next);
    CHECK(last > first);
    next = last;
  }
  CHECK(next <= container.segment.processes());
}

struct OwnedSet {
  explicit OwnedSet(uint32_t slots)
      : memory(SlotSet::bytes(slots) / 8), set(memory.data(), slots) {}
  std::vector<uint64_t> memory;
  SlotSet set;
};

std::set<uint32_t> members(const SlotSet& set) {
  std::set<uint32_t> found;
  int64_t before = -1;
  set.each([&](uint32_t slot) {
    CHECK(static_cast<int64_t>(slot) > before);
    before = slot;
    found.insert(slot);
    return false;
  });
  return found;
}

TEST("a slot set agrees with a set of numbers") {
  Random random(seed());
  for (const uint32_t slots : {128u, 192u, 4096u, 4160u, 65536u}) {
    OwnedSet owned(slots);
    std::set<uint32_t> model;
    for (int i = 0; i < 3000; i++) {
      const uint32_t slot = static_cast<uint32_t>(below(random, slots));
      if (below(random, 3) == 0) {
        owned.set.add(slot);
        model.insert(slot);
      } else {
        owned.set.remove(model.empty() ? slot : *model.begin());
        model.erase(model.empty() ? slot : *model.begin());
      }
      if (i % 64 == 0) CHECK(members(owned.set) == model);
      if (i % 64 == 0) CHECK_EQUAL(owned.set.empty(), model.empty());
    }
  }
}

TEST("who removes a member leaves the summary to the taker") {
  OwnedSet owned(192);
  owned.set.add(70);
  const uint64_t summary = owned.memory[0];
  owned.set.remove(70);
  CHECK_EQUAL(owned.memory[0], summary);
  CHECK(owned.set.empty());
  CHECK_EQUAL(owned.memory[0], 0);
}

TEST("a slot set with any content stays within its slots") {
  Random random(seed());
  for (int i = 0; i < 200; i++) {
    OwnedSet owned(192);
    for (uint64_t& word : owned.memory) word = random();
    for (const uint32_t slot : members(owned.set)) CHECK(slot < 192);
  }
}

// Each adder owns one slot and adds it again only after the taker removed it; others remove and add
// their own in the same words. A member that the taker cannot see would stop its adder for good.
TEST("a slot set loses no member to others that remove at the same time") {
  constexpr uint32_t kAdders = 3;
  const uint64_t rounds = scaled(60'000, 4'000);
  OwnedSet owned(192);
  std::atomic<bool> there[kAdders] = {};
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (uint32_t a = 0; a < kAdders; a++) {
    threads.emplace_back([&, a] {
      for (uint64_t i = 0; i < rounds; i++) {
        there[a].store(true);
        owned.set.add(a * 20);
        const int64_t deadline = now_ns() + 10'000'000'000;
        while (there[a].load()) {
          if ((i & 63) == 0) std::this_thread::yield();
          if (now_ns() > deadline) fail_test(__FILE__, __LINE__, "a member was never seen");
        }
      }
    });
  }
  std::thread passer([&] {
    for (uint32_t i = 0; !done.load(); i++) {
      owned.set.add(50 + i % 10);
      owned.set.remove(50 + i % 10);
    }
  });
  std::thread taker([&] {
    while (!done.load()) {
      owned.set.each([&](uint32_t slot) {
        if (slot % 20 != 0) return false;
        owned.set.remove(slot);
        there[slot / 20].store(false);
        return false;
      });
    }
  });
  for (std::thread& thread : threads) thread.join();
  done.store(true);
  passer.join();
  taker.join();
}

}  // namespace
}  // namespace dvk::test

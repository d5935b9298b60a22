// The arena: what it gives and takes back, also from users that were killed.

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <map>
#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

TEST("the arena agrees with a model through random allocations and frees") {
  const Container container(small(0, uint64_t{256} * 4096));
  Process& process = bind_client(container.segment);
  Random random(seed());
  std::map<uint64_t, uint64_t> model;  // first byte to first byte after
  uint64_t used = 0;
  const auto fits = [&](uint64_t bytes) {
    uint64_t at = 0;
    for (const auto& [first, end] : model) {
      if (first - at >= bytes) return true;
      at = end;
    }
    return container.segment.arena_bytes() - at >= bytes;
  };
  for (int i = 0; i < 4000; i++) {
    if (below(random, 2) == 0 || model.empty()) {
      const uint64_t bytes = 1 + below(random, below(random, 8) == 0 ? 400'000 : 30'000);
      const uint64_t rounded = (bytes + 4095) & ~uint64_t{4095};
      const int64_t offset = arena_allocate(process, bytes);
      CHECK_EQUAL(offset >= 0, fits(rounded));
      if (offset < 0) CHECK_EQUAL(offset, -ENOMEM);
      if (offset < 0) continue;
      const uint64_t first = static_cast<uint64_t>(offset);
      const auto next = model.upper_bound(first);
      if (next != model.end()) CHECK(first + rounded <= next->first);
      if (next != model.begin()) CHECK(std::prev(next)->second <= first);
      model[first] = first + rounded;
      used += rounded;
    } else {
      auto chosen = model.begin();
      std::advance(chosen, static_cast<int64_t>(below(random, model.size())));
      CHECK_EQUAL(arena_free(process, chosen->first), 0);
      CHECK_EQUAL(arena_free(process, chosen->first), -EINVAL);
      used -= chosen->second - chosen->first;
      model.erase(chosen);
    }
    if (i % 32 == 0) CHECK_EQUAL(arena_used(container.segment), used);
  }
}

TEST("the arena refuses what it cannot give, and only the owner frees") {
  const Container container(small(0, uint64_t{8192} * 4096));
  Process& process = bind_client(container.segment);
  Process& other = bind_client(container.segment);
  CHECK_EQUAL(arena_allocate(process, 0), -EINVAL);
  CHECK_EQUAL(arena_allocate(process, (uint64_t{8192} * 4096) + 1), -EINVAL);
  const int64_t offset = arena_allocate(process, 1);
  CHECK_EQUAL(arena_free(other, static_cast<uint64_t>(offset)), -EINVAL);
  for (uint32_t i = 1; i < kExtents; i++) CHECK(arena_allocate(process, 1) >= 0);
  CHECK_EQUAL(arena_allocate(process, 1), -ENOSPC);
  CHECK_EQUAL(process.unbind(), 0);
  CHECK_EQUAL(arena_used(container.segment), 0);
  CHECK(arena_allocate(other, uint64_t{8192} * 4096) >= 0);
}

TEST("users of the arena that are killed at any moment leak nothing") {
  const Container container;
  Segment& segment = container.segment;
  Process& survivor = bind_client(segment, "survivor");
  auto* turns = shared<std::atomic<uint64_t>>();
  Random random(seed());
  const auto use = [&](uint64_t seed) {
    Random own(seed);
    Process& process = bind_client(segment);
    std::vector<int64_t> held;
    for (;;) {
      if (below(own, 2) == 0 || held.empty()) {
        const int64_t offset = arena_allocate(process, 1 + below(own, 60'000));
        if (offset >= 0) held.push_back(offset);
        // Nobody else has it: what is written is there after others had their turns.
        if (offset >= 0) memset(segment.arena() + offset, process.pid & 0xff, 1);
      } else {
        const size_t at = below(own, held.size());
        CHECK_EQUAL(static_cast<int>(segment.arena()[held[at]]), process.pid & 0xff);
        CHECK_EQUAL(arena_free(process, static_cast<uint64_t>(held[at])), 0);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
      }
      turns->fetch_add(1);
    }
  };
  std::vector<pid_t> children(3, 0);
  for (uint64_t round = 0; round < scaled(150, 15); round++) {
    pid_t& victim = children[round % children.size()];
    if (victim != 0) {
      kill(victim, SIGKILL);
      join_killed(victim);
      // It may have died before it was bound, or while it was.
      reap_child(segment, victim);
    }
    const uint64_t key = random();
    victim = spawn([&] { use(key); });
    const uint64_t before = turns->load();
    until("the others go on", [&] { return turns->load() >= before + below(random, 60); });
    const int64_t mine = arena_allocate(survivor, 4096);
    CHECK(mine >= 0 || mine == -ENOMEM);
    if (mine >= 0) CHECK_EQUAL(arena_free(survivor, static_cast<uint64_t>(mine)), 0);
  }
  for (const pid_t child : children) {
    kill(child, SIGKILL);
    join_killed(child);
    reap_child(segment, child);
  }
  CHECK_EQUAL(arena_used(segment), 0);
  CHECK(arena_allocate(survivor, segment.arena_bytes()) >= 0);
  CHECK_EQUAL(survivor.unbind(), 0);
  CHECK_EQUAL(damage(segment), "");
}

TEST("the arena memory of a killed process is free again") {
  const Container container;
  Segment& segment = container.segment;
  auto* ready = shared<std::atomic<int>>();
  const pid_t child = spawn([&] {
    Process& process = bind_client(segment);
    for (int i = 0; i < 10; i++) CHECK(arena_allocate(process, 5000) >= 0);
    ready->store(1);
    pause();
  });
  until("the child has its memory", [&] { return ready->load() == 1; });
  CHECK_EQUAL(arena_used(segment), 10 * 8192);
  CHECK_EQUAL(kill_and_reap(segment, child), 1);
  CHECK_EQUAL(arena_used(segment), 0);
  CHECK_EQUAL(damage(segment), "");
}

}  // namespace
}  // namespace dvk::test

// The longest copy there may be, and what goes on beside it: no lock is held across a chunk.

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <thread>

#include "support.h"

namespace dvk::test {
namespace {

constexpr uint64_t kLongest = kCopyBytesMax;
// A sanitizer makes the copy ten times slower, and doubles the memory.
constexpr uint64_t kBytes = scaled(kLongest, kLongest / 16);

uint64_t* memory(uint64_t bytes) {
  void* block = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(block != MAP_FAILED);
  return static_cast<uint64_t*>(block);
}

// Each word tells its place.
void fill(uint64_t* words, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes / 8; i++) words[i] = i * 0x9e3779b97f4a7c15;
}

bool filled(const uint64_t* words, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes / 8; i++) {
    if (words[i] != i * 0x9e3779b97f4a7c15) return false;
  }
  return true;
}

// A client in another process that offers its memory and waits.
pid_t spawn_owner(const Container& container, int32_t server) {
  return spawn([&container, server] {
    Process& client = bind_client(reopen(container));
    uint64_t* words = memory(kBytes);
    fill(words, kBytes);
    Message request = message(1, reinterpret_cast<uint64_t>(words));
    CHECK_EQUAL(sendrec(client, server, &request, kForever), 0);
  });
}

struct LongCopy {
  Container container;
  Process& server = bind_server(container.segment, 1);
  pid_t owner = spawn_owner(container, server.endpoint);
  uint64_t* words = memory(kBytes);
  Message request{};
  LongCopy() {
    CHECK_EQUAL(rcvrqst(server, &request, kForever), 0);
  }
  int64_t copy() {
    const CopyParty source{request.source, -1, value_of(request)};
    const CopyParty own{server.endpoint, -1, reinterpret_cast<uint64_t>(words)};
    return vcopy(server, source, own, kBytes, kForever);
  }
};

TEST("a copy of the greatest length is whole, and processes come and go meanwhile") {
  LongCopy job;
  std::atomic<bool> over{false};
  uint64_t binds = 0;
  std::thread others([&] {
    while (!over.load() || binds == 0) {
      Process& other = bind_client(job.container.segment);
      CHECK(arena_allocate(other, 4096) >= 0);
      CHECK_EQUAL(other.unbind(), 0);
      delete &other;
      binds++;
    }
  });
  CHECK_EQUAL(job.copy(), static_cast<int64_t>(kBytes));
  over.store(true);
  others.join();
  CHECK(binds > 1);
  CHECK(filled(job.words, kBytes));
  CHECK_EQUAL(reply(job.server, job.request.source, job.request), 0);
  join(job.owner);
}

TEST("a copy whose owner is killed in the middle tells how far it came") {
  LongCopy job;
  Segment& segment = job.container.segment;
  ProcessSlot* lender = segment.slot(static_cast<uint32_t>(segment.slot_of(job.request.source)));
  std::thread killer([&] {
    while (load(lender->copy_job) == 0) std::this_thread::yield();
    kill(job.owner, SIGKILL);
  });
  const int64_t result = job.copy();
  killer.join();
  join_killed(job.owner);
  // The kill may come too late.
  if (result < 0) CHECK(result == -ESRCDIED || result == -EDEADSRCDST);
  CHECK_EQUAL(job.server.copied % kCopyChunkBytes, 0u);
  CHECK(filled(job.words, job.server.copied));
}

}  // namespace
}  // namespace dvk::test

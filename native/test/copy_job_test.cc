// Copies in which the lender takes part: the same bytes as without it, whatever dies, stops or
// leaves in the middle, and nothing moved that the lender did not lend.

#include "../core/copy_job.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "support.h"

namespace dvk::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

void fill(uint8_t* data, uint64_t bytes, uint64_t key) {
  for (uint64_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>((i * 2654435761 + key) >> 8);
}

bool filled(const uint8_t* data, uint64_t bytes, uint64_t key) {
  for (uint64_t i = 0; i < bytes; i++) {
    if (data[i] != static_cast<uint8_t>((i * 2654435761 + key) >> 8)) return false;
  }
  return true;
}

uint8_t* plain_memory(uint64_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return static_cast<uint8_t*>(memory);
}

uint64_t address_of(const void* memory) {
  return reinterpret_cast<uint64_t>(memory);
}

void run_on(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  // A machine may have one CPU only.
  static_cast<void>(sched_setaffinity(0, sizeof set, &set));
}

// A client that lends a block by address to server 1, in a sendrec without end, and a server here.
struct Lending {
  explicit Lending(uint64_t size, bool same_cpu = false) : bytes(size), own(plain_memory(size)) {
    run_on(0);
    child = spawn([this, same_cpu] {
      run_on(same_cpu ? 0 : 1);
      Process& client = bind_client(segment);
      uint8_t* block = plain_memory(bytes);
      fill(block, bytes, 1);
      Message m = message(1, address_of(block));
      CHECK_EQUAL(sendrec(client, server.endpoint, &m, kForever), 0);
      CHECK(filled(block, bytes, value_of(m)));
      CHECK_EQUAL(client.unbind(), 0);
    });
    CHECK_EQUAL(rcvrqst(server, &request, 10'000), 0);
    there = {request.source, -1, value_of(request)};
    here = {kEndpointSelf, -1, address_of(own)};
    lender = segment.slot(static_cast<uint32_t>(segment.slot_of(request.source)));
  }
  uint64_t lent() const {
    return load(lender->lent_bytes);
  }
  // On a busy machine a lender may come too late for one copy, but not for all.
  void until_lent() {
    until("the lender takes part", [&] {
      server.paces.offer_next();
      CHECK_EQUAL(vcopy(server, there, here, bytes, kForever), static_cast<int64_t>(bytes));
      return lent() > 0;
    });
  }
  void finish(uint64_t key) {
    CHECK_EQUAL(reply(server, request.source, message(2, key)), 0);
    join(child);
    CHECK_EQUAL(damage(segment), "");
  }

  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  uint64_t bytes;
  uint8_t* own;
  Message request{};
  CopyParty there{}, here{};
  ProcessSlot* lender = nullptr;
  pid_t child = 0;
};

TEST("a lender that waits moves its memory itself, and the bytes are those of a copy without it") {
  for (const bool same_cpu : {false, true}) {
    Lending l(3 * kMiB + 12345, same_cpu);
    std::vector<uint8_t> other(l.bytes);
    const CopyParty second{kEndpointSelf, -1, address_of(other.data())};
    const int64_t all = static_cast<int64_t>(l.bytes);
    CHECK(filled(l.own, 0, 0));
    for (uint64_t key = 1; key < scaled(200, 20); key++) {
      store(l.lender->lends, 1u);
      CHECK_EQUAL(vcopy(l.server, l.there, l.here, l.bytes, kForever), all);
      CHECK(filled(l.own, l.bytes, key));
      const uint64_t lent = l.lent();
      store(l.lender->lends, 0u);
      CHECK_EQUAL(vcopy(l.server, l.there, second, l.bytes, kForever), all);
      CHECK(memcmp(other.data(), l.own, l.bytes) == 0);
      CHECK_EQUAL(l.lent(), lent);
      store(l.lender->lends, 1u);
      fill(l.own, l.bytes, key + 1);
      CHECK_EQUAL(vcopy(l.server, l.here, l.there, l.bytes, kForever), all);
    }
    l.until_lent();
    l.finish(scaled(200, 20));
  }
}

TEST("every size and every offset arrives whole, in both directions") {
  for (const bool same_cpu : {false, true}) {
    Lending l(2 * kMiB, same_cpu);
    Random random(seed());
    std::vector<uint8_t> model(l.bytes), mine(l.bytes);
    fill(model.data(), l.bytes, 1);
    for (int i = 0; i < static_cast<int>(scaled(3000, 200)); i++) {
      const uint64_t bytes = 1 + below(random, below(random, 4) == 0 ? l.bytes - 1 : 200'000);
      const uint64_t at = below(random, l.bytes - bytes + 1),
                     from = below(random, l.bytes - bytes + 1);
      const CopyParty there{l.there.endpoint, -1, l.there.at + at};
      const CopyParty here{kEndpointSelf, -1, l.here.at + from};
      if (below(random, 2) == 0) {
        CHECK_EQUAL(vcopy(l.server, there, here, bytes, kForever), static_cast<int64_t>(bytes));
        memcpy(mine.data() + from, model.data() + at, bytes);
      } else {
        mine[from] = l.own[from] = static_cast<uint8_t>(i);
        CHECK_EQUAL(vcopy(l.server, here, there, bytes, kForever), static_cast<int64_t>(bytes));
        memcpy(model.data() + at, mine.data() + from, bytes);
      }
    }
    CHECK(memcmp(mine.data(), l.own, l.bytes) == 0);
    CHECK_EQUAL(vcopy(l.server, l.there, l.here, l.bytes, kForever), static_cast<int64_t>(l.bytes));
    CHECK(memcmp(model.data(), l.own, l.bytes) == 0);
    l.until_lent();
    fill(l.own, l.bytes, 9);
    CHECK_EQUAL(vcopy(l.server, l.here, l.there, l.bytes, kForever), static_cast<int64_t>(l.bytes));
    l.finish(9);
  }
}

TEST("a lender stopped and continued at any moment changes no byte") {
  Lending l(kMiB);
  std::atomic<bool> over{false};
  std::thread stopper([&] {
    Random random(seed());
    while (!over.load()) {
      kill(l.child, SIGSTOP);
      usleep(static_cast<useconds_t>(below(random, 3000)));
      kill(l.child, SIGCONT);
      usleep(static_cast<useconds_t>(below(random, 1000)));
    }
  });
  uint64_t key = 1;
  for (; key < scaled(1500, 60); key++) {
    CHECK_EQUAL(vcopy(l.server, l.there, l.here, l.bytes, kForever), static_cast<int64_t>(kMiB));
    CHECK(filled(l.own, l.bytes, key));
    fill(l.own, l.bytes, key + 1);
    CHECK_EQUAL(vcopy(l.server, l.here, l.there, l.bytes, kForever), static_cast<int64_t>(kMiB));
  }
  over.store(true);
  stopper.join();
  kill(l.child, SIGCONT);
  l.finish(key);
}

TEST("a lender killed at any moment ends the copy with an error of death") {
  Random random(seed());
  for (int i = 0; i < static_cast<int>(scaled(60, 10)); i++) {
    Lending l(kMiB);
    std::thread killer([&, wait = below(random, 2000)] {
      usleep(static_cast<useconds_t>(wait));
      kill(l.child, SIGKILL);
    });
    const bool read = i % 2 == 0;
    int64_t result;
    do {
      result = read ? vcopy(l.server, l.there, l.here, l.bytes, kForever)
                    : vcopy(l.server, l.here, l.there, l.bytes, kForever);
    } while (result == static_cast<int64_t>(kMiB));
    CHECK(result == (read ? -ESRCDIED : -EDSTDIED) || result == -EDEADSRCDST);
    killer.join();
    join_killed(l.child);
    reap_child(l.segment, l.child);
    CHECK_EQUAL(damage(l.segment), "");
    // The slot's next owner lends again.
    CHECK_EQUAL(load(l.lender->copy_job) & 0xff, 0);
  }
}

// A server in a child that copies into its clients for ever, and counts what it finished.
pid_t copying_server(Segment& segment, std::atomic<uint64_t>* copies) {
  return spawn([&segment, copies] {
    run_on(1);
    Process& server = bind_server(segment, 1);
    uint8_t* own = plain_memory(kMiB);
    for (uint64_t key = 2;; key++) {
      Message m;
      if (rcvrqst(server, &m, kForever) != 0) continue;
      fill(own, kMiB, key);
      const CopyParty here{kEndpointSelf, -1, address_of(own)};
      while (vcopy(server, here, {m.source, -1, value_of(m)}, kMiB, kForever) > 0) {
        copies->fetch_add(1);
      }
    }
  });
}

TEST("the memory of a call that timed out is not written any more once the call has returned") {
  Container container;
  Segment& segment = container.segment;
  auto* copies = shared<std::atomic<uint64_t>>();
  const pid_t child = copying_server(segment, copies);
  run_on(0);
  Process& client = bind_client(segment);
  uint8_t* block = plain_memory(kMiB);
  uint32_t slot;
  until("the server is bound", [&] { return check_endpoint(segment, 1, &slot) == 0; });
  Random random(seed());
  uint64_t calls = 0;
  until("many calls and some copies", [&] {
    Message m = message(1, address_of(block));
    CHECK_EQUAL(sendrec(client, 1, &m, static_cast<int64_t>(scaled(1, 50) + below(random, 3))),
                -ETIMEDOUT);
    fill(block, kMiB, 1);
    for (int look = 0; look < 3; look++) CHECK(filled(block, kMiB, 1));
    return ++calls >= scaled(300, 30) && copies->load() > 0;
  });
  CHECK_EQUAL(kill_and_reap(segment, child), 1);
}

TEST("a grant that was revoked is not written under any more, by any of several") {
  Container container;
  Segment& segment = container.segment;
  auto* id = shared<std::atomic<int32_t>>();
  auto* copies = shared<std::atomic<uint64_t>>();
  Process& owner = bind_client(segment);
  uint8_t* block = plain_memory(kMiB);
  id->store(-1);
  pid_t children[2];
  for (pid_t& child : children) {
    child = spawn([&] {
      Process& client = bind_client(segment);
      uint8_t* own = plain_memory(kMiB);
      memset(own, 7, kMiB);
      const CopyParty here{kEndpointSelf, -1, address_of(own)};
      for (;;) {
        const CopyParty there{owner.endpoint, id->load(), 0};
        if (there.grant >= 0 && vcopy(client, here, there, kMiB, kForever) > 0) {
          copies->fetch_add(1);
        }
      }
    });
  }
  for (uint64_t i = 0; i < scaled(100, 10); i++) {
    const int32_t granted = grant(owner, block, kMiB, 2, kEndpointAny);
    copies->store(0);
    id->store(granted);
    until("both have copied", [&] { return copies->load() >= 2; });
    id->store(-1);
    CHECK_EQUAL(revoke(owner, granted), 0);
    memset(block, 1, kMiB);
    for (int look = 0; look < 3; look++) {
      for (uint64_t at = 0; at < kMiB; at += 512) CHECK_EQUAL(static_cast<int>(block[at]), 1);
    }
  }
  for (const pid_t child : children) CHECK_EQUAL(kill_and_reap(segment, child), 1);
}

TEST("nobody copies to memory that a stopped requester holds, and everybody when it is dead") {
  Container container;
  Segment& segment = container.segment;
  auto* copies = shared<std::atomic<uint64_t>>();
  Process& owner = bind_server(segment, 2);
  uint8_t* block = plain_memory(kMiB);
  const int32_t id = grant(owner, block, kMiB, 3, kEndpointAny);
  const pid_t holder = spawn([&] {
    Process& client = bind_client(segment);
    CopyJob job({segment, &client}, owner.index);
    copies->store(job.allowed() ? 1 : 2);
    pause();
  });
  until("the other has its turn", [&] { return copies->load() == 1; });
  Process& other = bind_server(segment, 3);
  uint8_t* own = plain_memory(kMiB);
  const CopyParty here{kEndpointSelf, -1, address_of(own)}, there{owner.endpoint, id, 0};
  CHECK_EQUAL(vcopy(other, here, there, kMiB, kForever), -ETIMEDOUT);
  CHECK_EQUAL(vcopy(other, there, here, kMiB, kForever), -ETIMEDOUT);
  kill(holder, SIGKILL);
  join_killed(holder);
  // Its death is noticed by who waits, if by nobody else.
  fill(own, kMiB, 5);
  CHECK_EQUAL(vcopy(other, here, there, kMiB, kForever), static_cast<int64_t>(kMiB));
  CHECK(filled(block, kMiB, 5));
  CHECK_EQUAL(damage(segment), "");
}

TEST("a requester killed in the middle leaves the lender free for the next") {
  Container container;
  Segment& segment = container.segment;
  auto* copies = shared<std::atomic<uint64_t>>();
  run_on(0);
  Process& client = bind_client(segment);
  uint8_t* block = plain_memory(kMiB);
  Random random(seed());
  for (uint64_t i = 0; i < scaled(20, 5); i++) {
    copies->store(0);
    const pid_t child = copying_server(segment, copies);
    std::thread killer([&, wait = below(random, 1000)] {
      while (copies->load() == 0) usleep(20);
      usleep(static_cast<useconds_t>(wait));
      kill(child, SIGKILL);
    });
    Message m = message(1, address_of(block));
    uint32_t slot;
    until("the server is bound",
          [&] { return check_endpoint(segment, segment.slot(1)->endpoint, &slot) == 0; });
    CHECK_EQUAL(sendrec(client, load(segment.slot(1)->endpoint), &m, kForever), -ESRCDIED);
    fill(block, kMiB, 1);
    killer.join();
    join_killed(child);
    reap_child(segment, child);
    CHECK(filled(block, kMiB, 1));
    CHECK_EQUAL(load(client.slot->copy_job) & 0xff, 0);
    CHECK_EQUAL(damage(segment), "");
  }
}

TEST("a requester stopped in the middle holds a lender that timed out up for a second at most") {
  Container container;
  Segment& segment = container.segment;
  auto* copies = shared<std::atomic<uint64_t>>();
  const pid_t child = copying_server(segment, copies);
  run_on(0);
  Process& client = bind_client(segment);
  uint8_t* block = plain_memory(kMiB);
  uint32_t slot;
  until("the server is bound", [&] { return check_endpoint(segment, 1, &slot) == 0; });
  for (int i = 0; i < 5; i++) {
    std::atomic<bool> over{false};
    std::thread stopper([&, before = copies->load()] {
      while (copies->load() == before && !over.load()) usleep(20);
      kill(child, SIGSTOP);
    });
    Message m = message(1, address_of(block));
    const int64_t start = now_ns();
    CHECK_EQUAL(sendrec(client, 1, &m, 100), -ETIMEDOUT);
    CHECK(now_ns() - start < 5'000'000'000);
    over.store(true);
    stopper.join();
    kill(child, SIGCONT);
  }
  CHECK_EQUAL(kill_and_reap(segment, child), 1);
}

TEST("memory that cannot be touched gives EFAULT, and the lender lives") {
  Lending l(kMiB);
  Process& user = bind_client(l.segment);
  static_cast<void>(user);
  const CopyParty beyond{l.there.endpoint, -1, l.there.at + kMiB / 2};
  const CopyParty nowhere{l.there.endpoint, -1, 4096};
  const CopyParty end{l.there.endpoint, -1, ~uint64_t{0} - kMiB};
  for (const CopyParty& bad : {nowhere, end}) {
    CHECK_EQUAL(vcopy(l.server, bad, l.here, kMiB, kForever), -EFAULT);
    CHECK_EQUAL(vcopy(l.server, l.here, bad, kMiB, kForever), -EFAULT);
  }
  // What lies behind the block is not known; it must not end the lender.
  static_cast<void>(vcopy(l.server, beyond, l.here, kMiB, kForever));
  CHECK_EQUAL(vcopy(l.server, l.there, l.here, kMiB, kForever), static_cast<int64_t>(kMiB));
  l.finish(1);
}

TEST("only anonymous private memory that can be read and written is plain") {
  const uint64_t page = 4096;
  uint8_t* memory = plain_memory(4 * page);
  CHECK(is_plain_memory(address_of(memory), 4 * page));
  CHECK(is_plain_memory(address_of(memory) + 1, 4 * page - 1));
  CHECK_EQUAL(mprotect(memory + page, page, PROT_READ), 0);
  CHECK(is_plain_memory(address_of(memory), page));
  CHECK(!is_plain_memory(address_of(memory), page + 1));
  CHECK(!is_plain_memory(address_of(memory) + page, page));
  CHECK_EQUAL(munmap(memory + 2 * page, page), 0);
  CHECK(!is_plain_memory(address_of(memory) + 2 * page, 1));
  CHECK(is_plain_memory(address_of(memory) + 3 * page, page));
  CHECK(!is_plain_memory(address_of(shared_memory(page)), page));
  CHECK(!is_plain_memory(reinterpret_cast<uint64_t>(&is_plain_memory), 1));
  CHECK(!is_plain_memory(0, page));
  CHECK(!is_plain_memory(~uint64_t{0} - page, page));
  pid_t child = spawn([&] { CHECK(!is_plain_memory(address_of(memory) + 2 * page, 1)); });
  join(child);
  child = spawn([&] {
    CHECK_EQUAL(munmap(memory, 4 * page), 0);
    CHECK(!is_plain_memory(address_of(memory), page));
  });
  join(child);
}

// A process of this thread that waits, and whose job word a hostile member writes.
struct Forged {
  explicit Forged(uint32_t mode) : container(with_mode(mode)) {
    CHECK_EQUAL(start_sendrec(client, server.endpoint, message(1, 1)), kPending);
    CHECK_EQUAL(rcvrqst(server, &request, 0), 0);
    memset(lent, 1, kMiB);
    memset(secret, 2, kMiB);
    CHECK(grant(client, lent, kMiB, 1, kEndpointAny) >= 0);
  }
  static SegmentOptions with_mode(uint32_t mode) {
    SegmentOptions options = small();
    options.mode = mode;
    return options;
  }
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_client(segment);
  Message request{};
  uint8_t* lent = plain_memory(kMiB);
  uint8_t* secret = plain_memory(kMiB);
};

// Asks for a copy of `memory` through the lender alone: the pid of the system call is nobody's.
bool lends(Forged& f, uint8_t* memory, uint8_t* own, bool read) {
  CopyJob job({f.segment, &f.server}, f.client.index);
  int64_t deadline = 0;
  const Block block{0x7ffffff0, address_of(memory), own, kMiB, read};
  const CopyJob::Progress progress = job.run(block, false, &deadline);
  return progress.error == 0 && progress.done == kMiB;
}

TEST("where others may write the segment, a lender moves what it granted and nothing else") {
  for (const uint32_t mode : {0660u, 0600u}) {
    Forged f(mode);
    const bool open = mode == 0600;
    std::atomic<bool> over{false};
    std::thread lender([&] {
      while (!over.load()) serve_copy_job(f.client);
    });
    std::vector<uint8_t> own(kMiB, 7);
    for (int i = 0; i < 100 && !open; i++) {
      CHECK(!lends(f, f.secret, own.data(), true));
      CHECK(!lends(f, f.secret, own.data(), false));
      CHECK(!lends(f, f.lent, own.data(), false));
      f.server.paces.offer_next();
    }
    CHECK(f.lent[0] == 1 && f.secret[0] == 2 && own[0] == 7);
    // It may miss an offer that lasts a microsecond, but not all.
    until("the lender lends", [&] {
      f.server.paces.offer_next();
      return lends(f, open ? f.secret : f.lent, own.data(), true);
    });
    CHECK_EQUAL(static_cast<int>(own[kMiB / 2]), open ? 2 : 1);
    over.store(true);
    lender.join();
  }
}

TEST("words and orders scribbled on move nothing outside what was lent, and hang nobody") {
  Forged f(0660);
  Random random(seed());
  CopyOrder* order = f.segment.copy_order(f.client.index);
  const auto job = atomic(f.client.slot->copy_job);
  std::vector<uint8_t> own(kMiB);
  for (uint64_t i = 0; i < scaled(100'000, 5'000); i++) {
    if (below(random, 4) == 0) {
      CopyJob claimed({f.segment, &f.server}, f.client.index);
      store(order->address, address_of(f.lent));
      store(order->bytes, uint64_t{100'000});
    }
    for (uint64_t n = below(random, 4); n > 0; n--) {
      uint64_t* words = reinterpret_cast<uint64_t*>(order);
      store(words[below(random, sizeof(CopyOrder) / 8)], random() >> below(random, 64));
    }
    const uint64_t state = below(random, 9), next = below(random, 40);
    job.store(state | uint64_t{f.server.index} << 8 | below(random, 4) << 24 | next << 40);
    if (below(random, 3) == 0) f.client.part.identity = job.load() & 0xffffffff00;
    static_cast<void>(has_copy_work(f.client));
    static_cast<void>(serve_copy_job(f.client));
    leave_copy_job(f.client);
    CHECK_EQUAL(job.load() & 0xff, 0);
  }
  for (uint64_t i = 0; i < kMiB; i++) CHECK(f.lent[i] == 1 && f.secret[i] == 2);
}

TEST("an order that was done once is not done again when its word comes back") {
  Forged f(0600);
  std::atomic<bool> over{false};
  std::thread lender([&] {
    while (!over.load()) serve_copy_job(f.client);
  });
  std::vector<uint8_t> own(kMiB, 7);
  until("the lender lends", [&] {
    f.server.paces.offer_next();
    return lends(f, f.secret, own.data(), false);
  });
  const uint64_t word = atomic(f.client.slot->copy_job).load();
  over.store(true);
  lender.join();
  CHECK_EQUAL(static_cast<int>(f.secret[5]), 7);
  memset(f.secret, 2, kMiB);
  // The same job but for its number, as a flipped bit would bring it back.
  atomic(f.client.slot->copy_job).store(((word & 0xffffffff00) ^ uint64_t{1} << 24) | 2);
  CHECK(serve_copy_job(f.client));
  CHECK_EQUAL(atomic(f.client.slot->copy_job).load() & 0xff, 5);
  CHECK_EQUAL(static_cast<int>(f.secret[5]), 2);
}

}  // namespace
}  // namespace dvk::test

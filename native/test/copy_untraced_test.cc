// Copies of private memory by who may not trace its owner, as under Yama (ptrace_scope 1), in
// another user's process or in a sandbox: the owner moves its memory itself, whenever it comes into
// a call. Method: user and dumpable flag of the test's process and its children are such that none
// may trace another, which each test makes sure of.

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>
#include <vector>

#include "../core/copy_job.h"
#include "network.h"

namespace dvk::test {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uid_t kNobody = 65534;

void fill(uint8_t* data, uint64_t bytes, uint64_t key) {
  for (uint64_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>((i * 2654435761 + key) >> 8);
}

bool filled(const uint8_t* data, uint64_t bytes, uint64_t key) {
  for (uint64_t i = 0; i < bytes; i++) {
    if (data[i] != static_cast<uint8_t>((i * 2654435761 + key) >> 8)) return false;
  }
  return true;
}

uint8_t* map_memory(uint64_t bytes, int flags = MAP_PRIVATE) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED);
  return static_cast<uint8_t*>(memory);
}

uint64_t address_of(const void* memory) {
  return reinterpret_cast<uint64_t>(memory);
}

CopyParty own(const void* memory) {
  return {kEndpointSelf, -1, address_of(memory)};
}

// From here on no process of the test may trace another.
void become_nobody() {
  if (getuid() == 0) {
    CHECK_EQUAL(chmod((folder() + "/..").c_str(), 0755), 0);
    CHECK_EQUAL(chown(folder().c_str(), kNobody, kNobody), 0);
    CHECK_EQUAL(setgid(kNobody), 0);
    CHECK_EQUAL(setuid(kNobody), 0);
  }
  CHECK_EQUAL(prctl(PR_SET_DUMPABLE, 0), 0);
  const pid_t child = spawn([] { pause(); });
  uint8_t byte = 0;
  CHECK_EQUAL(transfer(child, address_of(&byte), &byte, 1, true), -EPERM);
  kill(child, SIGKILL);
  join_killed(child);
}

// A container and a server here, which traces nobody.
struct Untraced {
  Untraced() {
    become_nobody();
  }
  // A client in a child that grants a block of its own to anyone, says so in the message of its
  // first call, and goes on as `work` says.
  pid_t granter(uint8_t* block, uint64_t bytes, const std::function<void(Process&)>& work) {
    fill(block, bytes, 1);
    const pid_t child = spawn([&, block, bytes] {
      Process& client = bind_client(segment);
      const int32_t id = grant(client, block, bytes, 3, kEndpointAny);
      CHECK(id >= 0);
      CHECK_EQUAL(send(client, server.endpoint, message(id, address_of(block)), kForever), 0);
      work(client);
      CHECK_EQUAL(client.unbind(), 0);
    });
    CHECK_EQUAL(receive(server, kEndpointAny, &last, 20'000), 0);
    there = {last.source, last.type, 0};
    return child;
  }
  // A client that awaits this server in a sendrec, and checks that its block has `key` in the end.
  pid_t caller(uint8_t* block, uint64_t bytes, uint64_t key) {
    const pid_t child = spawn([&, block, bytes, key] {
      Process& client = bind_client(segment);
      fill(block, bytes, 1);
      Message m = message(1, address_of(block));
      CHECK_EQUAL(sendrec(client, server.endpoint, &m, kForever), 0);
      CHECK(filled(block, bytes, key));
      CHECK_EQUAL(client.unbind(), 0);
    });
    CHECK_EQUAL(rcvrqst(server, &last, 20'000), 0);
    there = {last.source, -1, value_of(last)};
    return child;
  }
  int64_t read(uint8_t* target, uint64_t bytes) {
    return vcopy(server, there, own(target), bytes, kForever);
  }
  int64_t write(const uint8_t* data, uint64_t bytes) {
    return vcopy(server, own(data), there, bytes, kForever);
  }

  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Message last{};
  CopyParty there{};
};

std::vector<uint64_t> sizes() {
  return {1, 100, 4096, 70'000, kStageBytes, kStageBytes + 1, kMiB, 3 * kMiB + 5};
}

TEST("who waits in a sendrec moves what it may not be traced for, of any size") {
  Untraced u;
  uint8_t* block = map_memory(4 * kMiB);
  std::vector<uint8_t> here(4 * kMiB);
  for (const uint64_t bytes : sizes()) {
    const int64_t all = static_cast<int64_t>(bytes);
    const pid_t child = u.caller(block, bytes, 2);
    CHECK_EQUAL(u.read(here.data(), bytes), all);
    CHECK(filled(here.data(), bytes, 1));
    fill(here.data(), bytes, 2);
    CHECK_EQUAL(u.write(here.data(), bytes), all);
    CHECK_EQUAL(reply(u.server, u.last.source, u.last), 0);
    join(child);
  }
  CHECK_EQUAL(damage(u.segment), "");
}

// Awaits a call as an event loop does, until it is complete.
int await_call(Process& process, int fd, int begun) {
  int result = begun;
  while (result == kPending) {
    serve_copy_job(process);
    result = step(process);
    if (result != kPending || arm(process)) continue;
    pollfd watch{fd, POLLIN, 0};
    CHECK(poll(&watch, 1, 20'000) == 1);
    char bytes[512];
    while (::read(fd, bytes, sizeof bytes) == sizeof bytes) continue;
    disarm(process);
  }
  disarm(process);
  return result;
}

TEST("who awaits its reply in an event loop moves its memory") {
  Untraced u;
  constexpr uint64_t kWakeId = 77;
  uint8_t* block = map_memory(3 * kMiB);
  std::vector<uint8_t> here(3 * kMiB);
  const pid_t child = spawn([&] {
    const int fd = wake_fifo_create(u.segment.directory(), kWakeId);
    CHECK(fd >= 0);
    Process* client = nullptr;
    BindOptions options;
    options.wake_id = kWakeId;
    CHECK_EQUAL(Process::bind(u.segment, options, &client), 0);
    fill(block, 3 * kMiB, 1);
    const Message m = message(1, address_of(block));
    CHECK_EQUAL(await_call(*client, fd, start_sendrec(*client, u.server.endpoint, m)), 0);
    CHECK(filled(block, 3 * kMiB, 2));
    CHECK_EQUAL(client->unbind(), 0);
  });
  CHECK_EQUAL(rcvrqst(u.server, &u.last, 20'000), 0);
  u.there = {u.last.source, -1, value_of(u.last)};
  CHECK_EQUAL(u.read(here.data(), 3 * kMiB), static_cast<int64_t>(3 * kMiB));
  CHECK(filled(here.data(), 3 * kMiB, 1));
  fill(here.data(), 3 * kMiB, 2);
  CHECK_EQUAL(u.write(here.data(), 3 * kMiB), static_cast<int64_t>(3 * kMiB));
  CHECK_EQUAL(reply(u.server, u.last.source, u.last), 0);
  join(child);
}

TEST("a granter that is busy when the copy begins moves its memory in its next call") {
  Untraced u;
  auto* copying = shared<std::atomic<int>>();
  uint8_t* block = map_memory(kMiB);
  const pid_t child = u.granter(block, kMiB, [&](Process& client) {
    until("the copy has begun", [&] { return copying->load() == 1; });
    // Calls that do not wait are no help, and must not end the copy.
    for (int i = 0; i < 100; i++) CHECK_EQUAL(notify(client, u.server.endpoint), 0);
    Message m;
    CHECK_EQUAL(receive(client, u.server.endpoint, &m, 20'000), 0);
    CHECK(filled(block, kMiB, 2));
  });
  std::vector<uint8_t> here(kMiB);
  copying->store(1);
  CHECK_EQUAL(u.read(here.data(), kMiB), static_cast<int64_t>(kMiB));
  CHECK(filled(here.data(), kMiB, 1));
  fill(here.data(), kMiB, 2);
  CHECK_EQUAL(u.write(here.data(), kMiB), static_cast<int64_t>(kMiB));
  CHECK_EQUAL(notify(u.server, u.there.endpoint), 0);
  join(child);
}

TEST("a granter that comes into no call costs the copy EPERM, and arena memory needs no help") {
  Untraced u;
  auto* over = shared<std::atomic<int>>();
  auto* id = shared<std::atomic<int>>();
  uint8_t* block = map_memory(kMiB);
  const pid_t child = u.granter(block, kMiB, [&](Process& client) {
    const int64_t offset = arena_allocate(client, kMiB);
    CHECK(offset >= 0);
    uint8_t* memory = u.segment.arena() + offset;
    fill(memory, kMiB, 3);
    id->store(grant(client, memory, kMiB, 3, kEndpointAny));
    while (over->load() == 0) usleep(1000);
  });
  until("the arena memory is granted", [&] { return id->load() != 0; });
  std::vector<uint8_t> here(kMiB);
  CHECK_EQUAL(u.read(here.data(), kMiB), -EPERM);
  CHECK_EQUAL(u.server.copied, 0);
  CHECK_EQUAL(u.write(here.data(), 1), -EPERM);
  u.there.grant = id->load();
  CHECK_EQUAL(u.read(here.data(), kMiB), static_cast<int64_t>(kMiB));
  CHECK(filled(here.data(), kMiB, 3));
  over->store(1);
  join(child);
  CHECK_EQUAL(damage(u.segment), "");
}

TEST("a third party copies between two private memories, neither of which it may trace") {
  Untraced u;
  uint8_t* first = map_memory(2 * kMiB);
  uint8_t* second = map_memory(2 * kMiB);
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{65'536}, 2 * kMiB}) {
    const pid_t giver = u.granter(first, bytes, [&](Process& client) {
      Message m;
      CHECK_EQUAL(receive(client, u.server.endpoint, &m, 20'000), 0);
    });
    const CopyParty source = u.there;
    const pid_t taker = u.caller(second, bytes, 1);
    const Message request = u.last;
    // Another pattern, so that what is there in the end came from the giver.
    std::vector<uint8_t> other(bytes, 9);
    CHECK_EQUAL(u.write(other.data(), bytes), static_cast<int64_t>(bytes));
    CHECK_EQUAL(vcopy(u.server, source, u.there, bytes, kForever), static_cast<int64_t>(bytes));
    CHECK_EQUAL(notify(u.server, source.endpoint), 0);
    CHECK_EQUAL(reply(u.server, request.source, request), 0);
    join(giver);
    join(taker);
  }
}

TEST("two that copy from each other at once help each other") {
  Untraced u;
  uint8_t* mine = map_memory(kMiB);
  fill(mine, kMiB, 4);
  const int32_t id = grant(u.server, mine, kMiB, 1, kEndpointAny);
  auto* turns = shared<std::atomic<int>>();
  const int rounds = static_cast<int>(scaled(20, 4));
  const pid_t child = u.granter(map_memory(kMiB), kMiB, [&](Process& client) {
    std::vector<uint8_t> here(kMiB);
    for (int i = 0; i < rounds; i++) {
      until("the other is ready", [&] { return turns->load() >= 2 * i + 1; });
      const CopyParty there{u.server.endpoint, id, 0};
      CHECK_EQUAL(vcopy(client, there, own(here.data()), kMiB, kForever), 1 << 20);
      CHECK(filled(here.data(), kMiB, 4));
      Message m;
      CHECK_EQUAL(receive(client, u.server.endpoint, &m, 20'000), 0);
    }
  });
  std::vector<uint8_t> here(kMiB);
  for (int i = 0; i < rounds; i++) {
    turns->store(2 * i + 1);
    CHECK_EQUAL(u.read(here.data(), kMiB), static_cast<int64_t>(kMiB));
    CHECK(filled(here.data(), kMiB, 1));
    // A send waits until the child receives, so the child's copy is done.
    CHECK_EQUAL(send(u.server, u.there.endpoint, message(1, 1), 20'000), 0);
  }
  join(child);
}

TEST("memory that is not plain is moved too, and what is not there gives EFAULT") {
  Untraced u;
  uint8_t* block = map_memory(kMiB, MAP_SHARED);
  std::vector<uint8_t> here(kMiB);
  pid_t child = u.granter(block, kMiB, [&](Process& client) {
    Message m;
    CHECK_EQUAL(receive(client, u.server.endpoint, &m, 20'000), 0);
    CHECK(filled(block, kMiB, 2));
  });
  CHECK_EQUAL(u.read(here.data(), kMiB), static_cast<int64_t>(kMiB));
  CHECK(filled(here.data(), kMiB, 1));
  fill(here.data(), kMiB, 2);
  CHECK_EQUAL(u.write(here.data(), kMiB), static_cast<int64_t>(kMiB));
  CHECK_EQUAL(notify(u.server, u.there.endpoint), 0);
  join(child);

  child = u.granter(block, kMiB, [&](Process& client) {
    CHECK_EQUAL(mprotect(block, 4096, PROT_READ), 0);
    CHECK_EQUAL(munmap(block + kMiB / 2, kMiB / 2), 0);
    Message m;
    CHECK_EQUAL(receive(client, u.server.endpoint, &m, 20'000), 0);
  });
  CHECK_EQUAL(u.read(here.data(), kMiB), -EFAULT);
  CHECK_EQUAL(u.write(here.data(), 1), -EFAULT);
  CHECK_EQUAL(u.read(here.data(), kMiB / 2), static_cast<int64_t>(kMiB / 2));
  CHECK_EQUAL(notify(u.server, u.there.endpoint), 0);
  join(child);
}

TEST("a lender that is killed or stopped ends a copy that only it can do") {
  Random random(seed());
  Untraced u;
  std::vector<uint8_t> here(kMiB);
  for (int i = 0; i < static_cast<int>(scaled(30, 6)); i++) {
    const pid_t child = u.caller(map_memory(kMiB), kMiB, 0);
    std::thread killer([&, wait = below(random, 2000)] {
      usleep(static_cast<useconds_t>(wait));
      kill(child, SIGKILL);
    });
    const bool read = i % 2 == 0;
    int64_t result;
    do {
      result = read ? u.read(here.data(), kMiB) : u.write(here.data(), kMiB);
    } while (result == static_cast<int64_t>(kMiB));
    CHECK(result == (read ? -ESRCDIED : -EDSTDIED) || result == -EDEADSRCDST);
    killer.join();
    join_killed(child);
    reap_child(u.segment, child);
    CHECK_EQUAL(damage(u.segment), "");
  }
  const pid_t child = u.caller(map_memory(kMiB), kMiB, 2);
  kill(child, SIGSTOP);
  CHECK_EQUAL(u.read(here.data(), kMiB), -EPERM);
  kill(child, SIGCONT);
  fill(here.data(), kMiB, 2);
  CHECK_EQUAL(u.write(here.data(), kMiB), static_cast<int64_t>(kMiB));
  CHECK_EQUAL(reply(u.server, u.last.source, u.last), 0);
  join(child);
}

TEST("a proxy that may trace nobody carries copies of private memory of those who wait") {
  Network network(2);
  for (uint32_t node = 0; node < 2; node++) {
    CHECK_EQUAL(detach_proxy(network[node], 1 - node), 0);
  }
  become_nobody();
  auto* over = shared<std::atomic<int>>();
  const pid_t proxies = spawn([&] {
    for (uint32_t node = 0; node < 2; node++) {
      CHECK_EQUAL(attach_proxy(network[node], 1 - node, 0), 0);
      CHECK_EQUAL(link_up(network[node], 1 - node, 2), 0);
    }
    while (over->load() == 0) {
      if (network.pump() == 0) usleep(100);
    }
  });
  const pid_t serving = spawn([&] {
    Process& server = bind_server(network[1], 10);
    Message m;
    for (const uint64_t bytes : {uint64_t{1}, kMiB, 2 * kMiB + 7}) {
      CHECK_EQUAL(rcvrqst(server, &m, 20'000), 0);
      std::vector<uint8_t> here(bytes);
      const CopyParty there{m.source, -1, value_of(m)};
      const int64_t all = static_cast<int64_t>(bytes);
      CHECK_EQUAL(vcopy(server, there, own(here.data()), bytes, 20'000), all);
      CHECK(filled(here.data(), bytes, bytes));
      fill(here.data(), bytes, 1);
      CHECK_EQUAL(vcopy(server, own(here.data()), there, bytes, 20'000), all);
      CHECK_EQUAL(reply(server, m.source, m), 0);
    }
  });
  join(spawn([&] {
    Process& client = bind_client(network[0]);
    uint32_t slot;
    until("the server is known", [&] { return check_endpoint(network[0], 10, &slot) == 0; });
    for (const uint64_t bytes : {uint64_t{1}, kMiB, 2 * kMiB + 7}) {
      uint8_t* block = map_memory(bytes);
      fill(block, bytes, bytes);
      Message m = message(1, address_of(block));
      CHECK_EQUAL(sendrec(client, 10, &m, 20'000), 0);
      CHECK(filled(block, bytes, 1));
    }
    CHECK_EQUAL(client.unbind(), 0);
  }));
  join(serving);
  over->store(1);
  join(proxies);
}

}  // namespace
}  // namespace dvk::test

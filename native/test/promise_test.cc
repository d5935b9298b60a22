// Promises to processes that are not trusted: what cannot be named is not reached, and what was not
// lent is not copied. Reference: S9, S10; S7 is in test/cluster/daemon.test.ts, S8 in
// test/conformance/group-a-local.test.ts, S11 in fuzz_test.cc.

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "../core/bindings.h"
#include "../core/notify.h"
#include "../core/privilege.h"
#include "network.h"

namespace dvk::test {
namespace {

std::vector<uint8_t> tables_of(const Segment& segment) {
  return {segment.base(), segment.arena()};
}

void allow(const char* call, int64_t result, std::initializer_list<int64_t> errors) {
  for (const int64_t error : errors) {
    if (result == error) return;
  }
  fail_test(__FILE__, __LINE__, std::string(call) + " gives " + std::to_string(result));
}

// Every call that names another process, with `endpoint`.
void name_it(Process& caller, int32_t endpoint) {
  Message m = message(1, 1);
  const std::initializer_list<int64_t> absent = {-EDEADSRCDST, -ERANGE, -EDVSENDPOINT};
  allow("send", send(caller, endpoint, m, 0), absent);
  allow("sendrec", sendrec(caller, endpoint, &m, 0), absent);
  allow("receive", receive(caller, endpoint, &m, 0), absent);
  allow("notify", notify(caller, endpoint), absent);
  allow("senda", senda(caller, endpoint, m, 0), absent);
  allow("reply", reply(caller, endpoint, m), absent);
  allow("relay", relay(caller, endpoint, endpoint, m), absent);
  allow("wait_unbind", wait_unbind(caller, endpoint, 0), {0, -ERANGE});
  uint8_t own[64];
  const CopyParty mine{kEndpointSelf, kByAddress, reinterpret_cast<uint64_t>(own)};
  for (const int32_t id : {kByAddress, 0, 32}) {
    allow("vcopy", vcopy(caller, {endpoint, id, 0}, mine, sizeof own, 0), absent);
    allow("vcopy", vcopy(caller, mine, {endpoint, id, 0}, sizeof own, 0), absent);
  }
  Privileges privileges = default_privileges(ProcessLevel::kUser);
  allow("get_privileges", get_privileges(caller.segment, endpoint, &privileges), absent);
  allow("set_privileges", set_privileges(caller, endpoint, privileges), absent);
  wakeup(caller.segment, endpoint);
  reap(caller.segment, static_cast<uint32_t>(endpoint) & 0xffff, endpoint);
}

TEST("a process names, reaches and learns of nobody in another DC") {
  SegmentOptions options = small();
  const Container mine(options);
  options.dc_id = 8;
  const Container theirs(options);
  Process& caller = bind_server(mine.segment, 5);
  // The same endpoints are bound there, wait, and have granted memory.
  Message m;
  for (const int slot : {4, 6, -1, -1}) {
    Process& other = bind_server(theirs.segment, slot);
    CHECK(grant(other, &m, sizeof m, 3, kEndpointAny) >= 0);
    CHECK_EQUAL(start_receive(other, kEndpointAny), kPending);
  }
  const std::vector<uint8_t> before = tables_of(theirs.segment);
  for (uint32_t slot = 0; slot < 200; slot++) {
    if (slot == caller.index) continue;
    for (const uint32_t generation : {0u, 1u, 2u}) name_it(caller, make_endpoint(slot, generation));
  }
  CHECK_EQUAL(find_pid(mine.segment, getpid(), caller.index + 1), -EDVSNOTBOUND);
  CHECK(tables_of(theirs.segment) == before);
}

TEST("a node brings nothing into another DC than the one that it says") {
  Network network(2);
  Process& server = bind_server(network[1], 5);
  CHECK_EQUAL(start_receive(server, kEndpointAny), kPending);
  const int32_t source = make_endpoint(70, 0);
  // What counts refused commands is the link's.
  const auto seen = [&] {
    std::vector<uint8_t> bytes = tables_of(network[1]);
    memset(bytes.data() + (reinterpret_cast<uint8_t*>(network[1].link(0)) - network[1].base()), 0,
           sizeof(LinkSlot));
    return bytes;
  };
  const std::vector<uint8_t> before = seen();
  for (uint32_t kind = 0; kind < 40; kind++) {
    for (const uint32_t ack : {0u, static_cast<uint32_t>(kCommandAck)}) {
      Command command = command_of(network, 0, 1, kind | ack, source, server.endpoint);
      command.dc_id++;
      CHECK_EQUAL(network.bring(1, command), -EDVSBADDCID);
    }
  }
  CHECK(seen() == before);
}

// Three pages of which the last one is not there; a canary is around what is lent.
struct Pages {
  static constexpr uint64_t kPage = 4096;
  Pages()
      : base(static_cast<uint8_t*>(
            mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    CHECK(base != MAP_FAILED);
    CHECK_EQUAL(munmap(base + 2 * kPage, kPage), 0);
    memset(base, 0x55, 2 * kPage);
  }
  bool whole() const {
    return std::vector<uint8_t>(base, base + 2 * kPage) == std::vector<uint8_t>(2 * kPage, 0x55);
  }
  uint8_t* const base;
};

TEST("copies beyond what was lent, or of what nobody lent, change no byte") {
  const Container container;
  Process& owner = bind_client(container.segment);
  Process& server = bind_server(container.segment, 5);
  Process& user = bind_client(container.segment);
  Pages pages;
  std::vector<uint8_t> own(2 * Pages::kPage, 1);
  const CopyParty mine{kEndpointSelf, kByAddress, reinterpret_cast<uint64_t>(own.data())};
  const int32_t id = grant(owner, pages.base + 1000, 2000, 3, server.endpoint);
  const int32_t readable = grant(owner, pages.base, 8, 1, server.endpoint);
  const auto to = [&](int32_t grant_id, uint64_t at, uint64_t bytes) {
    return vcopy(server, mine, {owner.endpoint, grant_id, at}, bytes, 0);
  };
  const uint64_t high = uint64_t{1} << 63;
  for (const uint64_t at : {uint64_t{1}, uint64_t{1} << 47, high, ~uint64_t{0}, ~uint64_t{1999}}) {
    CHECK_EQUAL(to(id, at, 2000), -EDVSGRANT);
    CHECK_EQUAL(to(kByAddress, at, 2000), -EDVSGRANT);
  }
  for (const uint64_t bytes : {high, ~uint64_t{0}, uint64_t{kCopyBytesMax} + 1}) {
    CHECK_EQUAL(to(id, 0, bytes), -ERANGE);
    CHECK_EQUAL(to(id, 1, bytes), -ERANGE);
  }
  CHECK_EQUAL(to(readable, 0, 8), -EDVSGRANT);
  CHECK_EQUAL(vcopy(user, mine, {owner.endpoint, id, 0}, 8, 0), -EDVSGRANT);
  CHECK_EQUAL(vcopy(user, {server.endpoint, id, 0}, {owner.endpoint, id, 0}, 8, 0), -EPERM);
  CHECK(pages.whole());

  // Of a client that waits for this server any address may be named; there may be no memory.
  CHECK_EQUAL(start_sendrec(owner, server.endpoint, message(1, 1)), kPending);
  Message m;
  CHECK_EQUAL(rcvrqst(server, &m, 0), 0);
  const uint64_t end = reinterpret_cast<uint64_t>(pages.base) + 2 * Pages::kPage;
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 47, high, ~uint64_t{0} - 100, end}) {
    CHECK_EQUAL(to(kByAddress, at, 100), -EFAULT);
  }
  CHECK(pages.whole());
  // One that crosses the end may have written up to there, and nothing else.
  CHECK_EQUAL(to(kByAddress, end - 100, 200), -EFAULT);
  memset(pages.base + 2 * Pages::kPage - 100, 0x55, 100);
  CHECK(pages.whole());
}

}  // namespace
}  // namespace dvk::test

// vcopy and grants: every size around the limits of each mechanism, both placements of
// both sides, three parties, and every refusal.

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "../core/privilege.h"
#include "support.h"

namespace dvk::test {
namespace {

constexpr uint64_t kMargin = 64;
constexpr uint8_t kUntouched = 0xa5;

// Sizes around the cache line, the page, the bounce buffer and the chunk.
std::vector<uint64_t> sizes() {
  std::vector<uint64_t> all = {0,     1,     63,    64,      65,      4095,         4096,
                               65535, 65536, 65537, 1048575, 1048576, (1 << 20) + 1};
  if (!kSanitized) all.insert(all.end(), {3 << 20, (16 << 20) - 1, 16 << 20});
  return all;
}

void fill(uint8_t* data, uint64_t bytes, uint64_t key) {
  for (uint64_t i = 0; i < bytes; i++) data[i] = static_cast<uint8_t>((i * 2654435761 + key) >> 8);
}

bool filled(const uint8_t* data, uint64_t bytes, uint64_t key) {
  for (uint64_t i = 0; i < bytes; i++) {
    if (data[i] != static_cast<uint8_t>((i * 2654435761 + key) >> 8)) return false;
  }
  return true;
}

bool untouched(const uint8_t* data, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes; i++) {
    if (data[i] != kUntouched) return false;
  }
  return true;
}

// A block with margins on both sides, private or in the arena, at an odd address.
struct Block {
  Block(Process& process, uint64_t bytes, bool in_arena)
      : owned(in_arena ? 0 : bytes + 2 * kMargin + 1), size(bytes) {
    if (in_arena) {
      const int64_t offset = arena_allocate(process, bytes + 2 * kMargin + 1);
      CHECK(offset >= 0);
      whole = process.segment.arena() + offset;
      arena_offset = offset;
    } else {
      whole = owned.data();
    }
    memset(whole, kUntouched, bytes + 2 * kMargin + 1);
    data = whole + kMargin + 1;
  }
  bool margins_hold() const {
    return untouched(whole, kMargin + 1) && untouched(data + size, kMargin);
  }
  uint64_t address() const {
    return reinterpret_cast<uint64_t>(data);
  }
  std::vector<uint8_t> owned;
  uint8_t* whole = nullptr;
  uint8_t* data = nullptr;
  uint64_t size;
  int64_t arena_offset = -1;
};

// What a child tells the server about its block.
struct Offer {
  int32_t grant;
  int32_t unused;
  uint64_t address, bytes;
};

Message offer_message(const Offer& offer) {
  Message m{};
  memcpy(m.payload, &offer, sizeof offer);
  return m;
}

Offer offer_in(const Message& m) {
  Offer offer;
  memcpy(&offer, m.payload, sizeof offer);
  return offer;
}

// How the child's side is named.
enum class Naming { kAddress, kPrivateGrant, kArenaGrant };

CopyParty party(int32_t endpoint, const Offer& offer) {
  if (offer.grant >= 0) return {endpoint, offer.grant, 0};
  return {endpoint, -1, offer.address};
}

// A client that offers a block and awaits its server; then checks what came. Returns its pid.
pid_t offering_child(Segment& segment, int32_t server, Naming naming, uint64_t bytes, uint64_t key,
                     bool filled_before, uint64_t key_after) {
  return spawn([=, &segment] {
    Process& client = bind_client(segment);
    Block block(client, bytes, naming == Naming::kArenaGrant);
    if (filled_before) fill(block.data, bytes, key);
    Offer offer{-1, 0, block.address(), bytes};
    if (naming != Naming::kAddress) {
      offer.grant = grant(client, block.data, bytes, 3, server);
      CHECK(offer.grant >= 0);
    }
    Message m = offer_message(offer);
    CHECK_EQUAL(sendrec(client, server, &m, 30'000), 0);
    CHECK(block.margins_hold());
    CHECK(filled(block.data, bytes, key_after));
    CHECK_EQUAL(client.unbind(), 0);
  });
}

void copy_both_ways(Naming naming, bool server_in_arena) {
  const Container container(small(0, uint64_t{64} << 20));
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  for (const uint64_t bytes : sizes()) {
    const pid_t child =
        offering_child(segment, server.endpoint, naming, bytes, bytes + 1, true, bytes + 2);
    Message m;
    CHECK_EQUAL(rcvrqst(server, &m, 30'000), 0);
    const CopyParty other = party(m.source, offer_in(m));
    Block own(server, bytes, server_in_arena);
    const CopyParty here{kEndpointSelf, -1, own.address()};
    CHECK_EQUAL(vcopy(server, other, here, bytes, kForever), static_cast<int64_t>(bytes));
    CHECK(filled(own.data, bytes, bytes + 1));
    CHECK(own.margins_hold());
    fill(own.data, bytes, bytes + 2);
    CHECK_EQUAL(vcopy(server, here, other, bytes, kForever), static_cast<int64_t>(bytes));
    CHECK_EQUAL(reply(server, m.source, m), 0);
    join(child);
    if (server_in_arena)
      CHECK_EQUAL(arena_free(server, static_cast<uint64_t>(own.arena_offset)), 0);
  }
  CHECK_EQUAL(arena_used(segment), 0);
  CHECK_EQUAL(damage(segment), "");
}

TEST("vcopy2, vcopy3: a server copies from and to a client in sendrec, memory to memory") {
  copy_both_ways(Naming::kAddress, false);
}

TEST("a server copies between a client's granted memory and its own") {
  copy_both_ways(Naming::kPrivateGrant, false);
}

TEST("a server copies between a client's granted arena memory and its private memory") {
  copy_both_ways(Naming::kArenaGrant, false);
}

TEST("a server copies between a client's private memory and its own in the arena") {
  copy_both_ways(Naming::kPrivateGrant, true);
}

TEST("a server copies from arena to arena") {
  copy_both_ways(Naming::kArenaGrant, true);
}

TEST("vcopy4: a third party copies from one client to another") {
  const Container container(small(0, uint64_t{64} << 20));
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  for (const Naming from : {Naming::kAddress, Naming::kArenaGrant}) {
    for (const Naming to : {Naming::kPrivateGrant, Naming::kArenaGrant}) {
      for (const uint64_t bytes : sizes()) {
        const pid_t one = offering_child(segment, server.endpoint, from, bytes, bytes, true, bytes);
        Message first, second;
        CHECK_EQUAL(rcvrqst(server, &first, 30'000), 0);
        const pid_t two = offering_child(segment, server.endpoint, to, bytes, 0, false, bytes);
        CHECK_EQUAL(rcvrqst(server, &second, 30'000), 0);
        CHECK_EQUAL(vcopy(server, party(first.source, offer_in(first)),
                          party(second.source, offer_in(second)), bytes, kForever),
                    static_cast<int64_t>(bytes));
        CHECK_EQUAL(reply(server, first.source, first), 0);
        CHECK_EQUAL(reply(server, second.source, second), 0);
        join(one);
        join(two);
      }
    }
  }
}

// Two processes of this OS process: what matters here is who may copy what.
struct Rights {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& owner = bind_client(segment);
  Process& user = bind_client(segment);
  std::vector<uint8_t> memory = std::vector<uint8_t>(4096, 1);
  std::vector<uint8_t> own = std::vector<uint8_t>(4096, 2);

  int64_t read(Process& by, int32_t id, uint64_t at, uint64_t bytes) {
    return vcopy(by, {owner.endpoint, id, at}, here(), bytes, 0);
  }
  int64_t write(Process& by, int32_t id, uint64_t at, uint64_t bytes) {
    return vcopy(by, here(), {owner.endpoint, id, at}, bytes, 0);
  }
  CopyParty here() {
    return {kEndpointSelf, -1, reinterpret_cast<uint64_t>(own.data())};
  }
};

TEST("a grant gives its range and its direction, and not a byte more") {
  Rights r;
  const int32_t readable = grant(r.owner, r.memory.data(), 100, 1, r.user.endpoint);
  const int32_t writable = grant(r.owner, r.memory.data() + 200, 100, 2, r.user.endpoint);
  CHECK_EQUAL(r.read(r.user, readable, 0, 100), 100);
  CHECK_EQUAL(r.read(r.user, readable, 100, 0), 0);
  CHECK_EQUAL(r.read(r.user, readable, 99, 1), 1);
  CHECK_EQUAL(r.read(r.user, readable, 0, 101), -EDVSGRANT);
  CHECK_EQUAL(r.read(r.user, readable, 100, 1), -EDVSGRANT);
  CHECK_EQUAL(r.read(r.user, readable, ~uint64_t{0}, 2), -EDVSGRANT);
  CHECK_EQUAL(r.read(r.user, readable, ~uint64_t{0} - 49, 100), -EDVSGRANT);
  CHECK_EQUAL(r.write(r.user, readable, 0, 1), -EDVSGRANT);
  CHECK_EQUAL(r.write(r.user, writable, 0, 100), 100);
  CHECK_EQUAL(r.read(r.user, writable, 0, 1), -EDVSGRANT);
  for (size_t i = 0; i < r.memory.size(); i++) {
    CHECK_EQUAL(static_cast<int>(r.memory[i]), i >= 200 && i < 300 ? 1 + (r.own[0] != 1) : 1);
  }
}

TEST("a grant serves its grantee alone, or anyone when it says so") {
  Rights r;
  const int32_t one = grant(r.owner, r.memory.data(), 100, 3, r.server.endpoint);
  CHECK_EQUAL(r.read(r.user, one, 0, 1), -EDVSGRANT);
  CHECK_EQUAL(r.read(r.server, one, 0, 1), 1);
  const int32_t all = grant(r.owner, r.memory.data(), 100, 3, kEndpointAny);
  CHECK_EQUAL(r.read(r.user, all, 0, 1), 1);
  CHECK_EQUAL(r.read(r.server, all, 0, 1), 1);
}

TEST("a revoked grant, a reused one and an invented one give nothing") {
  Rights r;
  const int32_t id = grant(r.owner, r.memory.data(), 100, 3, kEndpointAny);
  CHECK_EQUAL(revoke(r.owner, id), 0);
  CHECK_EQUAL(revoke(r.owner, id), -EDVSGRANT);
  CHECK_EQUAL(r.read(r.user, id, 0, 1), -EDVSGRANT);
  const int32_t next = grant(r.owner, r.memory.data(), 100, 3, kEndpointAny);
  CHECK(next != id);
  CHECK_EQUAL(r.read(r.user, id, 0, 1), -EDVSGRANT);
  for (const int32_t bad : {next + 1, next + 32, INT32_MAX, -3}) {
    CHECK_EQUAL(r.read(r.user, bad, 0, 1), bad < 0 ? -EPERM : -EDVSGRANT);
    CHECK_EQUAL(revoke(r.owner, bad), -EDVSGRANT);
  }
}

TEST("a grant of a grant gives what both give, and ends with either") {
  Rights r;
  std::vector<uint8_t> more(4096, 3);
  const int32_t first = grant(r.owner, r.memory.data(), 100, 1, r.server.endpoint);
  CHECK_EQUAL(grant_indirect(r.server, r.owner.endpoint, first, 3, r.user.endpoint), -EDVSGRANT);
  CHECK_EQUAL(grant_indirect(r.user, r.owner.endpoint, first, 1, r.server.endpoint), -EDVSGRANT);
  CHECK_EQUAL(grant_indirect(r.server, r.owner.endpoint, first, 0, r.user.endpoint), -EINVAL);
  CHECK_EQUAL(grant_indirect(r.server, 9, first, 1, r.user.endpoint), -EDEADSRCDST);
  const int32_t second = grant_indirect(r.server, r.owner.endpoint, first, 1, r.user.endpoint);
  CHECK(second >= 0);
  const auto through = [&](uint64_t at, uint64_t bytes) {
    return vcopy(r.user, {r.server.endpoint, second, at}, r.here(), bytes, 0);
  };
  CHECK_EQUAL(through(0, 100), 100);
  CHECK_EQUAL(static_cast<int>(r.own[99]), 1);
  CHECK_EQUAL(through(99, 1), 1);
  CHECK_EQUAL(through(1, 100), -EDVSGRANT);
  CHECK_EQUAL(vcopy(r.user, r.here(), {r.server.endpoint, second, 0}, 8, 0), -EDVSGRANT);
  CHECK_EQUAL(r.read(r.user, first, 0, 1), -EDVSGRANT);
  CHECK_EQUAL(revoke(r.owner, first), 0);
  CHECK_EQUAL(through(0, 1), -EDVSGRANT);
  const int32_t again = grant(r.owner, more.data(), 100, 3, r.server.endpoint);
  CHECK(again != first);
  CHECK_EQUAL(through(0, 1), -EDVSGRANT);
  const int32_t third = grant_indirect(r.server, r.owner.endpoint, again, 2, r.user.endpoint);
  CHECK_EQUAL(vcopy(r.user, r.here(), {r.server.endpoint, third, 0}, 8, 0), 8);
  CHECK_EQUAL(static_cast<int>(more[7]), static_cast<int>(r.own[7]));
  CHECK_EQUAL(revoke(r.server, third), 0);
  CHECK_EQUAL(vcopy(r.user, r.here(), {r.server.endpoint, third, 0}, 8, 0), -EDVSGRANT);
}

TEST("a chain of grants has five at most, and a ring of them none") {
  Rights r;
  Process* holders[6];
  for (Process*& holder : holders) holder = &bind_client(r.segment);
  int32_t id = grant(r.owner, r.memory.data(), 100, 3, kEndpointAny);
  int32_t endpoint = r.owner.endpoint;
  for (int depth = 1; depth <= 6; depth++) {
    CHECK_EQUAL(vcopy(r.user, {endpoint, id, 0}, r.here(), 8, 0), depth <= 5 ? 8 : -EDVSGRANT);
    Process& holder = *holders[depth - 1];
    id = grant_indirect(holder, endpoint, id, 3, kEndpointAny);
    CHECK(id >= 0);
    endpoint = holder.endpoint;
  }
  // A ring, as only scribble can make one.
  GrantSlot* slot = r.segment.grant(holders[0]->index, 0);
  store(slot->address, static_cast<uint64_t>(holders[0]->endpoint) << 32 | (1u << 5));
  CHECK_EQUAL(vcopy(r.user, {holders[0]->endpoint, 1 << 5, 0}, r.here(), 8, 0), -EDVSGRANT);
}

TEST("a scattered copy does its elements in order, and tells how far it came") {
  Rights r;
  for (size_t i = 0; i < r.memory.size(); i++) r.memory[i] = static_cast<uint8_t>(i * 7);
  const int32_t id = grant(r.owner, r.memory.data(), 4096, 1, r.user.endpoint);
  std::vector<CopyElement> elements;
  for (uint64_t i = 0; i < 64; i++) {
    const uint64_t own = reinterpret_cast<uint64_t>(r.own.data()) + 64 * i;
    elements.push_back({{r.owner.endpoint, id, 64 * (63 - i)}, {kEndpointSelf, -1, own}, i});
  }
  CHECK_EQUAL(vcopy_vector(r.user, elements.data(), 64, 0), 63 * 32);
  CHECK_EQUAL(r.user.copied, 63 * 32);
  for (size_t i = 0; i < 64; i++) {
    CHECK(memcmp(r.own.data() + 64 * i, r.memory.data() + 64 * (63 - i), i) == 0);
    for (size_t k = i; k < 64; k++) CHECK_EQUAL(static_cast<int>(r.own[64 * i + k]), 2);
  }
  elements[5].source.grant = id + 1;
  CHECK_EQUAL(vcopy_vector(r.user, elements.data(), 64, 0), -EDVSGRANT);
  CHECK_EQUAL(r.user.copied, 0 + 1 + 2 + 3 + 4);
  CHECK_EQUAL(vcopy_vector(r.user, elements.data(), 65, 0), -ERANGE);
  CHECK_EQUAL(vcopy_vector(r.user, nullptr, 0, 0), 0);
  CHECK_EQUAL(r.user.copied, 0);
}

TEST("a copy that fails in the middle tells the chunks that arrived") {
  Rights r;
  const uint64_t bytes = 3 * kCopyChunkBytes;
  uint8_t* pages = static_cast<uint8_t*>(
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(pages + 2 * kCopyChunkBytes, kCopyChunkBytes);
  const int32_t id = grant(r.owner, pages, bytes, 3, r.user.endpoint);
  std::vector<uint8_t> own(bytes);
  const CopyParty here{kEndpointSelf, -1, reinterpret_cast<uint64_t>(own.data())};
  CHECK_EQUAL(vcopy(r.user, {r.owner.endpoint, id, 0}, here, bytes, 0), -EFAULT);
  CHECK_EQUAL(r.user.copied, 2 * kCopyChunkBytes);
}

TEST("the grants of a process are limited, and all end with it") {
  Rights r;
  std::vector<int32_t> ids;
  for (uint32_t i = 0; i < kGrants; i++) {
    ids.push_back(grant(r.owner, r.memory.data(), 8, 3, kEndpointAny));
    CHECK(ids.back() >= 0);
  }
  CHECK_EQUAL(grant(r.owner, r.memory.data(), 8, 3, kEndpointAny), -ENOSPC);
  CHECK_EQUAL(grant(r.owner, r.memory.data(), 8, 0, kEndpointAny), -EINVAL);
  CHECK_EQUAL(grant(r.owner, r.memory.data(), 8, 4, kEndpointAny), -EINVAL);
  CHECK_EQUAL(grant(r.owner, r.memory.data(), kCopyBytesMax + 1, 3, kEndpointAny), -EINVAL);
  void* const last = reinterpret_cast<void*>(~uint64_t{0} - 7);
  CHECK_EQUAL(grant(r.owner, last, 16, 3, kEndpointAny), -EINVAL);
  const uint32_t slot = r.owner.index;
  CHECK_EQUAL(r.owner.unbind(), 0);
  for (uint32_t i = 0; i < kGrants; i++) {
    CHECK_EQUAL(load(r.segment.grant(slot, i)->state) & 0xff, 0);
  }
}

TEST("an address is taken of who awaits the copier only, and from servers only") {
  Rights r;
  const CopyParty theirs{r.owner.endpoint, -1, reinterpret_cast<uint64_t>(r.memory.data())};
  CHECK_EQUAL(vcopy(r.server, theirs, r.here(), 8, 0), -EDVSGRANT);
  CHECK_EQUAL(vcopy(r.user, theirs, r.here(), 8, 0), -EPERM);
  Process& other = bind_server(r.segment, 2);
  CHECK_EQUAL(start_sendrec(r.owner, r.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(vcopy(r.server, theirs, r.here(), 8, 0), -EDVSGRANT);
  Message m;
  CHECK_EQUAL(rcvrqst(r.server, &m, 0), 0);
  CHECK_EQUAL(vcopy(r.server, theirs, r.here(), 8, 0), 8);
  CHECK_EQUAL(vcopy(other, theirs, r.here(), 8, 0), -EDVSGRANT);
  CHECK_EQUAL(reply(r.server, m.source, m), 0);
  CHECK_EQUAL(vcopy(r.server, theirs, r.here(), 8, 0), -EDVSGRANT);
}

TEST("parties that cannot be are refused with the code of their kind") {
  Rights r;
  const CopyParty here = r.here();
  CHECK_EQUAL(vcopy(r.server, here, here, 8, 0), -EDVSENDPOINT);
  CHECK_EQUAL(vcopy(r.server, here, {r.server.endpoint, -1, 0}, 8, 0), -EDVSENDPOINT);
  CHECK_EQUAL(vcopy(r.server, here, {kEndpointAny, -1, 0}, 8, 0), -EDVSENDPOINT);
  CHECK_EQUAL(vcopy(r.server, {kEndpointNone, -1, 0}, here, 8, 0), -EDVSENDPOINT);
  CHECK_EQUAL(vcopy(r.server, here, {make_endpoint(9, 0), 0, 0}, 8, 0), -EDEADSRCDST);
  CHECK_EQUAL(vcopy(r.server, here, {r.owner.endpoint, 0, 0}, kCopyBytesMax + 1, 0), -ERANGE);
  CHECK_EQUAL(vcopy(r.user, {r.server.endpoint, 0, 0}, {r.owner.endpoint, 0, 0}, 8, 0), -EPERM);
}

TEST("a copy is refused for the first reason in the documented order") {
  Rights r;
  const CopyParty here = r.here(), dead{make_endpoint(9, 0), 0, 0},
                  none{make_endpoint(5000, 0), 0, 0}, any{kEndpointAny, 0, 0};
  const auto deny = [&](uint32_t rights, uint64_t ipc_to) {
    CHECK_EQUAL(set_privileges(r.segment, r.user.endpoint, {rights, ipc_to, ~uint64_t{0}}), 0);
  };
  Privileges own{};
  CHECK_EQUAL(get_privileges(r.segment, r.user.endpoint, &own), 0);
  // Each step mends what the one before was refused for.
  CHECK_EQUAL(start_receive(r.user, kEndpointAny), kPending);
  deny(own.rights & ~static_cast<uint32_t>(CallRight::kVcopy), 0);
  CHECK_EQUAL(vcopy(r.user, dead, dead, ~uint64_t{0}, 0), -ETRAPDENIED);
  deny(own.rights, 0);
  CHECK_EQUAL(vcopy(r.user, dead, dead, ~uint64_t{0}, 0), -EBUSY);
  CHECK_EQUAL(cancel(r.user, -EAGAIN), -EAGAIN);
  CHECK_EQUAL(vcopy(r.user, dead, dead, ~uint64_t{0}, 0), -ERANGE);
  CHECK_EQUAL(vcopy(r.user, dead, dead, 8, 0), -EDVSENDPOINT);
  CHECK_EQUAL(vcopy(r.user, dead, any, 8, 0), -EDVSENDPOINT);
  CHECK_EQUAL(vcopy(r.user, dead, none, 8, 0), -EPERM);
  CHECK_EQUAL(vcopy(r.user, here, none, 8, 0), -ERANGE);
  CHECK_EQUAL(vcopy(r.user, dead, here, 8, 0), -ECALLDENIED);
  deny(own.rights, ~uint64_t{0});
  CHECK_EQUAL(vcopy(r.user, dead, here, 8, 0), -EDEADSRCDST);
  const CopyParty theirs{r.owner.endpoint, -1, 64};
  CHECK_EQUAL(vcopy(r.user, theirs, here, 8, 0), -EPERM);
  CHECK_EQUAL(vcopy(r.server, theirs, here, 8, 0), -EDVSGRANT);
  const int32_t id = grant(r.owner, reinterpret_cast<void*>(64), 64, 3, kEndpointAny);
  CHECK_EQUAL(vcopy(r.user, {r.owner.endpoint, id, 0}, here, 8, 0), -EFAULT);
  end_container(r.segment);
  CHECK_EQUAL(vcopy(r.user, dead, dead, 8, 0), -EDVSDCNOTRUN);
  CHECK_EQUAL(r.user.unbind(), 0);
  CHECK_EQUAL(vcopy(r.user, dead, dead, 8, 0), -EDVSNOTBOUND);
}

// Both ends with others than the requester, by grants: what a chunk is refused for.
TEST("a third party gets the error of the end that is wrong, the source's first") {
  Rights r;
  const int32_t good = grant(r.owner, r.memory.data(), 64, 3, r.server.endpoint);
  const int32_t bad = grant(r.user, reinterpret_cast<void*>(64), 64, 3, r.server.endpoint);
  const int32_t fine = grant(r.user, r.own.data(), 64, 3, r.server.endpoint);
  const auto copy = [&](int32_t from, int32_t to, uint64_t bytes) {
    return vcopy(r.server, {r.owner.endpoint, from, 0}, {r.user.endpoint, to, 0}, bytes, 0);
  };
  CHECK_EQUAL(copy(good, fine, 64), 64);
  CHECK_EQUAL(copy(good, fine, 0), 0);
  CHECK_EQUAL(copy(good, fine, 65), -EDVSGRANT);
  CHECK_EQUAL(copy(good + 1, bad, 8), -EDVSGRANT);
  CHECK_EQUAL(copy(good, fine + 1, 8), -EDVSGRANT);
  CHECK_EQUAL(copy(good, bad, 8), -EFAULT);
  CHECK_EQUAL(start_receive(r.server, kEndpointAny), kPending);
  CHECK_EQUAL(copy(good, fine, 8), -EBUSY);
  CHECK_EQUAL(cancel(r.server, -EAGAIN), -EAGAIN);
  CHECK_EQUAL(revoke(r.user, fine), 0);
  CHECK_EQUAL(copy(good, fine, 8), -EDVSGRANT);
  CHECK_EQUAL(r.user.unbind(), 0);
  CHECK_EQUAL(copy(good, fine, 8), -EDEADSRCDST);
}

TEST("memory that is not mapped gives EFAULT, on either side and after a good page") {
  Rights r;
  uint8_t* pages = static_cast<uint8_t*>(
      mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(pages + 4096, 4096);
  const int32_t half = grant(r.owner, pages, 8192, 3, kEndpointAny);
  const int32_t none = grant(r.owner, reinterpret_cast<void*>(64), 64, 3, kEndpointAny);
  const int32_t high =
      grant(r.owner, reinterpret_cast<void*>(uint64_t{1} << 63), 64, 3, kEndpointAny);
  std::vector<uint8_t> big(8192);
  const CopyParty here{kEndpointSelf, -1, reinterpret_cast<uint64_t>(big.data())};
  for (const int32_t id : {none, high}) {
    CHECK_EQUAL(r.read(r.user, id, 0, 64), -EFAULT);
    CHECK_EQUAL(r.write(r.user, id, 0, 64), -EFAULT);
  }
  CHECK_EQUAL(vcopy(r.user, {r.owner.endpoint, half, 0}, here, 8192, 0), -EFAULT);
  CHECK_EQUAL(vcopy(r.user, here, {r.owner.endpoint, half, 0}, 8192, 0), -EFAULT);
  CHECK_EQUAL(r.read(r.user, half, 0, 4096), 4096);
  CHECK_EQUAL(vcopy(r.user, {r.owner.endpoint, half, 0}, {kEndpointSelf, -1, 64}, 64, 0), -EFAULT);
}

TEST("a copy with a process that died gives an error of death and not of memory") {
  Rights r;
  int32_t* endpoint = shared<int32_t>();
  int32_t* id = shared<int32_t>();
  join(spawn([&] {
    Process& child = bind_client(r.segment);
    *id = grant(child, r.memory.data(), 64, 3, kEndpointAny);
    *endpoint = child.endpoint;
  }));
  CHECK_EQUAL(vcopy(r.user, {*endpoint, *id, 0}, r.here(), 8, 0), -ESRCDIED);
  CHECK_EQUAL(vcopy(r.user, r.here(), {*endpoint, *id, 0}, 8, 0), -EDSTDIED);
  CHECK_EQUAL(reap(r.segment, static_cast<uint32_t>(r.segment.slot_of(*endpoint)), *endpoint), 1);
  CHECK_EQUAL(vcopy(r.user, r.here(), {*endpoint, *id, 0}, 8, 0), -EDEADSRCDST);
}

}  // namespace
}  // namespace dvk::test

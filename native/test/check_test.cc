// The check of a segment's tables: it finds each kind of fault, and none in a system that runs.

#include "../core/check.h"

#include <signal.h>
#include <unistd.h>

#include "../core/migrating.h"
#include "../core/notify.h"
#include "../core/privilege.h"
#include "moves.h"

namespace dvk::test {
namespace {

// A server in slot 1 and a client, both of this OS process.
struct Pair {
  Container container;
  Segment& segment = container.segment;
  Process& server = bind_server(segment, 1);
  Process& client = bind_client(segment);

  // Whether the only fault, if any, has `text` in it.
  void check(const std::string& text) {
    const std::vector<std::string> faults = check_segment(segment);
    if (faults.size() == 1 && faults[0].find(text) != std::string::npos) return;
    std::string all;
    for (const std::string& fault : faults) all += " [" + fault + "]";
    fail_test(__FILE__, __LINE__, "wanted `" + text + "`, found" + all);
  }
};

TEST("check: calls that wait are no faults") {
  Pair p;
  Process& other = bind_client(p.segment);
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(start_receive(other, p.client.endpoint), kPending);
  CHECK_EQUAL(notify(other, p.server.endpoint), 0);
  CHECK(senda(other, p.server.endpoint, message(1, 2), 0) >= 0);
  CHECK(arena_allocate(p.client, 10'000) >= 0);
  CHECK_EQUAL(check_segment(p.segment).size(), 0);
}

TEST("check: a lock, a life and an owner of the dead") {
  Pair p;
  atomic(p.segment.header()->table_lock).store(uint64_t{1} << 32 | 4'000'000);
  p.check("the table lock is held by process 4000000, which is dead");
  atomic(p.segment.header()->table_lock).store(0);
  ProcessSlot* free = p.segment.slot(40);
  store(free->life, static_cast<uint32_t>(ProcessLife::kDying));
  p.check("slot 40: the end of its process was cut short");
  store(free->life, static_cast<uint32_t>(ProcessLife::kBinding));
  p.check("slot 40: a bind was cut short");
  CHECK_EQUAL(sweep(p.segment), 1);
  store(p.client.slot->pid, 4'000'000);
  p.check("its process 4000000 is dead");
}

TEST("check: a free slot that has something") {
  Pair p;
  store(p.segment.grant(50, 3)->state, 0x101u);
  p.check("slot 50: free, and has grant 3");
  store(p.segment.grant(50, 3)->state, 0x100u);
  store(p.segment.slot(50)->async_busy, 1u);
  p.check("slot 50: free, and has messages of senda");
  store(p.segment.slot(50)->async_busy, 0u);
  store(p.segment.slot(50)->endpoint, 50);
  p.check("slot 50: free, and has an endpoint");
}

TEST("check: a wait for nobody, and one that its peer does not know of") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  p.segment.senders(1).remove(p.client.index);
  p.check("its message waits for slot 1 (server), which does not know of it");
  p.segment.senders(1).add(p.client.index);
  atomic(p.client.slot->rendezvous).store(pack(State::kReply, 0, 77));
  p.check("waits for slot 77, which is free");
  atomic(p.client.slot->rendezvous).store(pack(State::kReply, 0, 1));
  store(p.client.slot->want_source, make_endpoint(1, 9));
  p.check("whose slot has another");
}

TEST("check: a receiver that sleeps through what is there") {
  Pair p;
  CHECK_EQUAL(start_sendrec(p.client, p.server.endpoint, message(1, 1)), kPending);
  atomic(p.server.slot->rendezvous).store(pack(State::kRequest, 0, 0));
  p.check("slot 1 (server): waits, and so does the request of");
  atomic(p.client.slot->rendezvous).store(pack(State::kIdle, 0, 0));
  atomic(p.server.slot->rendezvous).store(pack(State::kAny, 0, 0));
  p.segment.notices(1).add(p.client.index);
  p.check("waits, and so does a notification of");
  p.segment.notices(1).remove(p.client.index);
  atomic(p.server.slot->wakeup).store(1);
  p.check("waits, and was told to wake up");
}

TEST("check: messages of senda without a receiver") {
  Pair p;
  CHECK(senda(p.client, p.server.endpoint, message(1, 1), 0) >= 0);
  p.segment.async_senders(1).remove(p.client.index);
  p.check("a message by senda is for slot 1 (server), which knows of none");
  store(p.segment.async(p.client.index, 0)->destination, make_endpoint(1, 9));
  p.check("which is gone");
}

TEST("check: the arena, grants and privileges") {
  Pair p;
  const int64_t place = arena_allocate(p.client, 8192);
  CHECK_EQUAL(place, 0);
  Extent* extra = p.segment.extent(7);
  store(extra->first_page, 1u);
  store(extra->owner, p.server.endpoint);
  store(extra->pages, 1u);
  p.check("overlap");
  store(extra->first_page, 5u);
  store(extra->owner, make_endpoint(1, 9));
  p.check("arena: extent 7 of 1 pages is of endpoint");
  store(extra->pages, 0u);
  GrantSlot* grant = p.segment.grant(p.client.index, 2);
  store(grant->place, 1u);
  store(grant->address, p.segment.arena_bytes());
  store(grant->bytes, uint64_t{1});
  store(grant->state, 0x101u);
  p.check("grant 2 reaches beyond the arena");
  store(grant->state, 0u);
  store(p.segment.privilege(1)->rights, ~0u);
  p.check("its privileges have rights that there are not");
}

TEST("check: copies and links") {
  Pair p;
  store(p.client.slot->copy_job, uint64_t{99} << 8 | 1);
  p.check("its memory is lent to slot 99, where there is nobody");
  store(p.client.slot->copy_job, uint64_t{0});
  store(p.client.slot->copy_partner, 2u);
  p.check("holds a copy job that is not its own");
  store(p.client.slot->copy_partner, 0u);
  CHECK_EQUAL(add_node(p.segment, 2, "far"), 0);
  store(p.segment.link(2)->state, static_cast<uint32_t>(LinkState::kUp));
  p.check("link to node 2: up, but its proxy is dead");
}

// Whether `segment` has one fault, and `text` is in it.
void check_only(Segment& segment, const std::string& text) {
  const std::vector<std::string> faults = check_segment(segment);
  CHECK_EQUAL(faults.size(), 1);
  CHECK_EQUAL(faults.empty() ? "" : faults[0].substr(0, text.size()), text);
}

TEST("check: no step of a move is a fault") {
  Move m;
  const auto look = [&] {
    for (uint32_t node = 0; node < 3; node++) {
      // The test plays the proxies, so their queues wait; what waits is no fault.
      CHECK_EQUAL(check_segment(m.network[node]).size(), 0);
    }
  };
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  look();
  CHECK_EQUAL(migrate_commit(m.network[0], m.endpoint(), 1), 0);
  look();
  m.network.pump();
  look();
  CHECK_EQUAL(m.outcome(), 0);
}

TEST("check: a move of nobody, to nowhere, or that nobody ends") {
  Move m;
  CHECK_EQUAL(start_rcvrqst(*m.server), kPending);
  m.start();
  Segment& owner = m.network[0];
  MigrationSlot* migration = owner.migration(kSlot);
  const std::string at = "slot 9 (moving): ";
  const auto damaged = [&](auto& field, auto value, const std::string& text) {
    const auto before = load(field);
    store(field, static_cast<std::remove_cvref_t<decltype(field)>>(value));
    check_only(owner, at + text);
    store(field, before);
    CHECK_EQUAL(check_segment(owner).size(), 0);
  };
  damaged(migration->state, 77, "the state of its move is 77");
  damaged(migration->endpoint, make_endpoint(kSlot, 5), "its move is of endpoint 327689");
  damaged(migration->deadline, 1, "the time of its move is over");
  damaged(migration->notices, kNoticesMax + 1, "16381 notifications move with it");
  damaged(migration->answer, 3, "command 3 of its move awaits an answer");
  damaged(owner.header()->migrating, 0, "it moves, and nobody looks after it");
  damaged(migration->untold[3], 1, "node 24 is to be told of its move");
  damaged(migration->ended[0], 1, "node 0 is to be told of its move");

  Segment& third = m.network[2];
  CHECK_EQUAL(check_segment(third).size(), 0);
  store(third.migration(kSlot)->node, 7u);
  check_only(third, at + "its move is with node 7");
  store(third.migration(kSlot)->node, 1u);
  check_only(third, at + "its move says that it is on node 1");
}

TEST("check: two looks find nothing in a system that runs") {
  const Container container;
  Segment& segment = container.segment;
  auto* stop = shared<std::atomic<int>>();
  std::vector<pid_t> children;
  for (int pair = 0; pair < 2; pair++) {
    children.push_back(spawn([&] {
      Process& own = bind_server(segment, pair + 1);
      while (stop->load() == 0) {
        Message m;
        if (receive(own, kEndpointAny, &m, 10) != 0) continue;
        if (own.last_kind == MessageKind::kCall) reply(own, m.source, message(2, 1));
      }
    }));
    children.push_back(spawn([&] {
      Process& own = bind_client(segment);
      for (uint64_t n = 0; stop->load() == 0; n++) {
        const int32_t server = lookup(segment, static_cast<uint32_t>(pair) + 1);
        if (server < 0) continue;
        Message m = message(1, n);
        if (n % 3 == 0) notify(own, server);
        if (n % 5 == 0) {
          senda(own, server, m, static_cast<uint32_t>(AsyncFlag::kForget));
        }
        if (n % 7 == 0) {
          const int64_t place = arena_allocate(own, 4096);
          if (place >= 0) arena_free(own, static_cast<uint64_t>(place));
        }
        sendrec(own, server, &m, 1000);
      }
    }));
  }
  std::string found;
  for (uint64_t look = 0; look < scaled(200, 40) && found.empty(); look++) {
    const std::vector<std::string> faults = check_segment(segment, 5);
    if (!faults.empty()) found = faults[0];
  }
  stop->store(1);
  for (const pid_t child : children) join(child);
  for (const pid_t child : children) reap_child(segment, child);
  CHECK_EQUAL(found, "");
  CHECK_EQUAL(damage(segment), "");
}

}  // namespace
}  // namespace dvk::test

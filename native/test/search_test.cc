// Looking for the node of an endpoint: who waits while it is looked for, what ends that, and which
// binding replaces which. Method: the test is every proxy, and its tracker.

#include "../core/search.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <vector>

#include "../core/bindings.h"
#include "../core/check.h"
#include "../core/notify.h"
#include "../core/senda.h"
#include "../core/vcopy.h"
#include "network.h"

namespace dvk::test {
namespace {

std::vector<Search> searches_of(Segment& segment, size_t at_once = 4) {
  std::vector<Search> all, some(at_once);
  for (uint32_t first = 0;;) {
    const size_t count = searches(segment, first, some.data(), at_once);
    all.insert(all.end(), some.begin(), some.begin() + static_cast<long>(count));
    if (count < at_once) return all;
    first = static_cast<uint32_t>(segment.slot_of(all.back().seeker)) + 1;
  }
}

// Nodes 0 and 1; a server on node 0, which has a tracker, and a client on node 1, of which node 0
// knows nothing.
struct Pair {
  Network n{2};
  Process& server = bind_server(n[0], 1);
  Process& client = bind_client(n[1]);
  Pair() {
    n.pump();
    CHECK_EQUAL(attach_tracker(n[0], 0), 0);
  }
  void find() {
    CHECK_EQUAL(bind_claimed(n[0], 1, client.endpoint, ProcessLevel::kUser, "found"), 0);
  }
};

TEST("search: without a tracker a call to an unknown endpoint fails at once") {
  Pair p;
  CHECK_EQUAL(detach_tracker(p.n[0]), 0);
  CHECK_EQUAL(start_send(p.server, p.client.endpoint, message(1, 1)), -EDEADSRCDST);
  CHECK_EQUAL(start_receive(p.server, p.client.endpoint), -EDEADSRCDST);
  CHECK_EQUAL(wait_unbind(p.server, p.client.endpoint, 0), 0);
  CHECK_EQUAL(detach_tracker(p.n[0]), -EDVSNOPROXY);
}

TEST("search: every call that waits goes on when its peer is found") {
  Pair p;
  Process& calls = bind_client(p.n[0]);
  Process& receives = bind_client(p.n[0]);
  Process& watches = bind_client(p.n[0]);
  Process& awaits = bind_client(p.n[0]);
  const int32_t wanted = p.client.endpoint;
  CHECK_EQUAL(start_send(p.server, wanted, message(1, 1)), kPending);
  CHECK_EQUAL(start_sendrec(calls, wanted, message(1, 2)), kPending);
  CHECK_EQUAL(start_receive(receives, wanted), kPending);
  CHECK_EQUAL(start_wait_unbind(watches, wanted), kPending);
  CHECK_EQUAL(start_wait_bind(awaits, p.client.index), kPending);
  CHECK(has_new_searches(p.n[0]));
  const std::vector<Search> found = searches_of(p.n[0]);
  CHECK_EQUAL(found.size(), 5);
  CHECK(!has_new_searches(p.n[0]));
  for (const Search& search : found) {
    const bool any = search.seeker == awaits.endpoint;
    CHECK_EQUAL(search.slot, p.client.index);
    CHECK_EQUAL(search.endpoint, any ? static_cast<int32_t>(kEndpointNone) : wanted);
    CHECK_EQUAL(search.home, 1);
  }
  CHECK_EQUAL(check_segment(p.n[0]).size(), 0);
  p.find();
  CHECK_EQUAL(step(awaits), 0);
  CHECK_EQUAL(awaits.operation.message.source, wanted);
  for (Process* other : {&p.server, &calls, &receives, &watches}) {
    CHECK_EQUAL(step(*other), kPending);
  }
  CHECK_EQUAL(searches_of(p.n[0]).size(), 0);
  p.n.pump();
  Message m;
  CHECK_EQUAL(receive(p.client, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, p.server.endpoint);
  CHECK_EQUAL(receive(p.client, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.source, calls.endpoint);
  p.n.pump();
  CHECK_EQUAL(step(p.server), 0);
  CHECK_EQUAL(p.client.unbind(), 0);
  p.n.pump();
  CHECK_EQUAL(step(calls), -ESRCDIED);
  CHECK_EQUAL(step(receives), -ESRCDIED);
  CHECK_EQUAL(step(watches), 0);
  CHECK_EQUAL(damage(p.n[0]), "");
}

TEST("search: one that finds nobody ends with the error that the tracker gives, and only it") {
  Pair p;
  const int32_t wanted = p.client.endpoint;
  CHECK_EQUAL(start_sendrec(p.server, wanted, message(1, 1)), kPending);
  const Search search = searches_of(p.n[0])[0];
  CHECK(!end_search(p.n[0], search.seeker, search.call_id + 1, EDEADSRCDST));
  CHECK_EQUAL(step(p.server), kPending);
  CHECK(!end_search(p.n[0], wanted, search.call_id, EDEADSRCDST));
  CHECK(end_search(p.n[0], search.seeker, search.call_id, EDEADSRCDST));
  CHECK_EQUAL(step(p.server), -EDEADSRCDST);
  CHECK_EQUAL(start_wait_unbind(p.server, wanted), kPending);
  CHECK(!end_search(p.n[0], search.seeker, search.call_id, EDEADSRCDST));
  CHECK_EQUAL(step(p.server), kPending);
  const Search next = searches_of(p.n[0])[0];
  CHECK(end_search(p.n[0], next.seeker, next.call_id, EDEADSRCDST));
  CHECK_EQUAL(step(p.server), 0);
  // Who waits for a bind waits on.
  CHECK_EQUAL(start_wait_bind(p.server, p.client.index), kPending);
  const Search bind = searches_of(p.n[0])[0];
  CHECK(!end_search(p.n[0], bind.seeker, bind.call_id, EDEADSRCDST));
  CHECK_EQUAL(step(p.server), kPending);
  CHECK_EQUAL(cancel(p.server, -ETIMEDOUT), -ETIMEDOUT);
  CHECK_EQUAL(damage(p.n[0]), "");
}

TEST("search: a time-out and the end of the DC end it; one found and lost does not") {
  Pair p;
  const int32_t wanted = p.client.endpoint;
  CHECK_EQUAL(send(p.server, wanted, message(1, 1), 1), -ETIMEDOUT);
  CHECK_EQUAL(send(p.server, wanted, message(1, 1), 0), -EAGAIN);
  CHECK_EQUAL(searches_of(p.n[0]).size(), 0);
  CHECK_EQUAL(start_send(p.server, wanted, message(1, 1)), kPending);
  p.find();
  CHECK_EQUAL(unbind_remote(p.n[0], wanted), 0);
  CHECK_EQUAL(step(p.server), kPending);
  end_container(p.n[0]);
  CHECK_EQUAL(step(p.server), -EDVSDCNOTRUN);
}

TEST("search: the link to a node of which nothing is known is not what a search waits for") {
  Pair p;
  CHECK_EQUAL(start_send(p.server, p.client.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(link_down(p.n[0], 1), 0);
  CHECK_EQUAL(step(p.server), kPending);
  CHECK_EQUAL(cancel(p.server, -ETIMEDOUT), -ETIMEDOUT);
}

TEST("search: nobody is looked for who can be of no other node, or was replaced") {
  Pair p;
  const auto refused = [&](int32_t endpoint) {
    return start_send(p.server, endpoint, message(1, 1)) == -EDEADSRCDST;
  };
  Process& neighbour = bind_client(p.n[0]);
  CHECK(refused(make_endpoint(neighbour.index, 9)));      // This node's own slot, bound ...
  CHECK(refused(make_endpoint(neighbour.index + 1, 0)));  // ... and free.
  Process& local = bind_server(p.n[0], 5);
  CHECK(refused(make_endpoint(local.index, 9)));
  const int32_t newer = make_endpoint(p.client.index, 7);
  CHECK_EQUAL(bind_claimed(p.n[0], 1, newer, ProcessLevel::kUser, "newer"), 0);
  CHECK(refused(make_endpoint(p.client.index, 6)));
  CHECK_EQUAL(start_send(p.server, make_endpoint(p.client.index, 8), message(1, 1)), kPending);
  CHECK_EQUAL(cancel(p.server, -ETIMEDOUT), -ETIMEDOUT);
}

TEST("search: a newer generation replaces an older one of its node, never the other way round") {
  Network n(3);
  n.pump();
  const auto claim = [&](uint32_t node, uint32_t generation) {
    return bind_claimed(n[0], node, make_endpoint(3, generation), ProcessLevel::kServer, "s");
  };
  const auto owner = [&] { return lookup(n[0], 3); };
  CHECK_EQUAL(claim(1, 5), 0);
  CHECK_EQUAL(claim(1, 4), -EDEADSRCDST);
  CHECK_EQUAL(owner(), make_endpoint(3, 5));
  CHECK_EQUAL(claim(1, 6), 0);
  CHECK_EQUAL(owner(), make_endpoint(3, 6));
  // While its link is up, what node 1 has stays its, also against newer ones.
  CHECK_EQUAL(claim(2, 7), -EDVSSLOTUSED);
  CHECK_EQUAL(link_down(n[0], 1), 0);
  CHECK_EQUAL(claim(2, 7), 0);
  CHECK_EQUAL(owner(), make_endpoint(3, 7));
  // Generations wrap.
  CHECK_EQUAL(claim(2, static_cast<uint32_t>(kGenerationMax)), -EDEADSRCDST);
  CHECK(is_older(make_endpoint(3, static_cast<uint32_t>(kGenerationMax)), make_endpoint(3, 0)));
  CHECK(!is_older(make_endpoint(3, 0), make_endpoint(3, 0)));
  // A dynamic slot is of one node.
  uint32_t first, last;
  n[0].slot_range(1, &first, &last);
  const int32_t dynamic = make_endpoint(first, 0);
  CHECK_EQUAL(bind_claimed(n[0], 2, dynamic, ProcessLevel::kUser, "c"), -EDVSBADFRAME);
  CHECK_EQUAL(bind_claimed(n[0], 1, dynamic, ProcessLevel::kUser, "c"), 0);
  CHECK_EQUAL(bind_claimed(n[0], 9999, dynamic, ProcessLevel::kUser, "c"), -EDVSBADFRAME);
}

TEST("search: the next owner of a fixed slot is newer than the one of another node before it") {
  Network n(2);
  Process& far = bind_server(n[1], 3);
  n.pump();
  const int32_t before = far.endpoint;
  CHECK_EQUAL(far.unbind(), 0);
  n.pump();
  Process& here = bind_server(n[0], 3);
  CHECK(here.endpoint != before);
  CHECK(is_older(before, here.endpoint));
}

TEST("search: a binding that its node does not know is dropped, and its process looked for") {
  Network n(3);
  Process& server = bind_server(n[0], 1);
  Process& moved = bind_server(n[2], 3);
  CHECK_EQUAL(attach_tracker(n[0], 0), 0);
  // Node 0 did not hear of the end of it on node 1, nor of its beginning on node 2.
  CHECK_EQUAL(bind_claimed(n[0], 1, moved.endpoint, ProcessLevel::kServer, "old"), 0);
  Command news;
  while (n.take(2, 0, &news)) {
  }
  CHECK_EQUAL(start_sendrec(server, moved.endpoint, message(1, 77)), kPending);
  n.pump();
  CHECK_EQUAL(step(server), kPending);
  CHECK_EQUAL(lookup(n[0], 3), -EDVSNOTBOUND);
  CHECK_EQUAL(searches_of(n[0]).size(), 1);
  CHECK_EQUAL(bind_claimed(n[0], 2, moved.endpoint, ProcessLevel::kServer, "new"), 0);
  CHECK_EQUAL(step(server), kPending);
  n.pump();
  Message m;
  CHECK_EQUAL(receive(moved, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(value_of(m), 77);
  CHECK_EQUAL(cancel(server, -ETIMEDOUT), -ETIMEDOUT);
}

TEST(
    "search: messages and notifications that nobody waits for go on when their receiver is found") {
  Pair p;
  const int32_t wanted = p.client.endpoint;
  const int32_t id = senda(p.server, wanted, message(1, 5), 0);
  CHECK(id >= 0);
  CHECK_EQUAL(notify_from(p.server, wanted, kEndpointSelf, 2), 0);
  CHECK_EQUAL(notify_from(p.server, wanted, kEndpointSelf, 4), 0);
  CHECK(has_new_searches(p.n[0]));
  const std::vector<Search> found = searches_of(p.n[0]);
  CHECK_EQUAL(found.size(), 1);
  CHECK_EQUAL(found[0].seeker, p.server.endpoint);
  CHECK_EQUAL(found[0].endpoint, wanted);
  CHECK_EQUAL(found[0].slot, p.client.index);
  CHECK_EQUAL(found[0].home, 1);
  CHECK_EQUAL(senda_status(p.server, id), kPending);
  CHECK_EQUAL(damage(p.n[0]), "");
  // A call of the same process, which is found, does not make the others forgotten.
  CHECK_EQUAL(start_send(p.server, wanted, message(1, 6)), kPending);
  CHECK_EQUAL(cancel(p.server, -ETIMEDOUT), -ETIMEDOUT);
  p.find();
  CHECK_EQUAL(searches_of(p.n[0]).size(), 0);
  p.n.pump();
  Message m;
  CHECK_EQUAL(receive(p.client, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(m.type, static_cast<int32_t>(kNotifyType));
  CHECK_EQUAL(m.source, p.server.endpoint);
  uint32_t value;
  memcpy(&value, m.payload, sizeof value);
  CHECK_EQUAL(value, 6);
  CHECK_EQUAL(receive(p.client, kEndpointAny, &m, 0), 0);
  CHECK_EQUAL(value_of(m), 5);
  CHECK_EQUAL(receive(p.client, kEndpointAny, &m, 0), -EAGAIN);
  p.n.pump();
  CHECK_EQUAL(senda_status(p.server, id), 0);
  CHECK_EQUAL(damage(p.n[0]), "");
}

TEST("search: what finds nobody ends with the error that the tracker gives, one after the other") {
  Pair p;
  const int32_t other = make_endpoint(p.client.index + 1, 3);
  const int32_t first = senda(p.server, p.client.endpoint, message(1, 1), 0);
  const int32_t second = senda(p.server, other, message(1, 2), 0);
  CHECK_EQUAL(notify(p.server, other), 0);
  for (const int32_t wanted : {p.client.endpoint, other, other}) {
    CHECK(has_new_searches(p.n[0]));
    const std::vector<Search> found = searches_of(p.n[0]);
    CHECK_EQUAL(found.size(), 1);
    CHECK_EQUAL(found[0].endpoint, wanted);
    CHECK(!end_search(p.n[0], found[0].seeker, found[0].call_id + kAsyncs, EDEADSRCDST));
    CHECK(end_search(p.n[0], found[0].seeker, found[0].call_id, EDEADSRCDST));
    CHECK(!end_search(p.n[0], found[0].seeker, found[0].call_id, EDEADSRCDST));
  }
  CHECK_EQUAL(searches_of(p.n[0]).size(), 0);
  CHECK_EQUAL(senda_status(p.server, first), -EDEADSRCDST);
  CHECK_EQUAL(senda_status(p.server, second), -EDEADSRCDST);
  CHECK_EQUAL(damage(p.n[0]), "");
}

TEST(
    "search: messages whose receiver is looked for end with the tracker, are bounded, can be taken "
    "back, and need a value that may be") {
  Pair p;
  const int32_t wanted = p.client.endpoint;
  CHECK_EQUAL(notify_from(bind_client(p.n[0]), wanted, kEndpointSelf, 1), -EDVSENDPOINT);
  const int32_t cancelled = senda(p.server, wanted, message(1, 1), 0);
  CHECK_EQUAL(senda_cancel(p.server, cancelled), 0);
  CHECK_EQUAL(senda_status(p.server, cancelled), -ECANCELED);
  CHECK_EQUAL(searches_of(p.n[0]).size(), 0);
  const int32_t id = senda(p.server, wanted, message(1, 1), 0);
  for (size_t i = 1; i < kAsyncs; i++) CHECK_EQUAL(notify(p.server, wanted), 0);
  CHECK_EQUAL(notify(p.server, wanted), -ENOSPC);
  CHECK_EQUAL(detach_tracker(p.n[0]), 0);
  CHECK_EQUAL(senda_status(p.server, id), -EDVSNOPROXY);
  CHECK_EQUAL(notify(p.server, wanted), -EDEADSRCDST);
  CHECK_EQUAL(senda(p.server, wanted, message(1, 1), 0), -EDEADSRCDST);
  CHECK_EQUAL(damage(p.n[0]), "");
}

TEST("search: a copy looks for its parties, and goes on when they are found") {
  Pair p;
  const std::vector<uint8_t> source(1000, 7);
  std::vector<uint8_t> target(1000);
  const int32_t id = grant(p.client, target.data(), target.size(), 3, kEndpointAny);
  const CopyParty from{kEndpointSelf, -1, reinterpret_cast<uint64_t>(source.data())};
  const CopyParty to{p.client.endpoint, id, 0};
  const CopyParty nobody{make_endpoint(p.client.index + 1, 3), 0, 0};
  CHECK_EQUAL(start_vcopy(p.server, from, nobody, source.size()), kMore);
  CHECK_EQUAL(step_vcopy(p.server), kPending);
  const Search lost = searches_of(p.n[0])[0];
  CHECK_EQUAL(lost.endpoint, nobody.endpoint);
  CHECK(end_search(p.n[0], lost.seeker, lost.call_id, EDEADSRCDST));
  CHECK_EQUAL(end_step(p.server, step(p.server)), -EDEADSRCDST);

  CHECK_EQUAL(start_vcopy(p.server, from, to, source.size()), kMore);
  CHECK_EQUAL(step_vcopy(p.server), kPending);
  CHECK_EQUAL(searches_of(p.n[0])[0].endpoint, p.client.endpoint);
  p.find();
  CHECK_EQUAL(end_step(p.server, step(p.server)), kMore);
  CHECK_EQUAL(step_vcopy(p.server), kPending);
  p.n.pump();
  CHECK_EQUAL(end_step(p.server, step(p.server)), 0);
  CHECK(target == source);

  CHECK_EQUAL(vcopy(p.server, from, nobody, source.size(), 1), -ETIMEDOUT);
  CHECK_EQUAL(searches_of(p.n[0]).size(), 0);
  CHECK_EQUAL(damage(p.n[0]), "");
}

TEST("search: a tracker that dies ends the searches of who blocks, and of who does not") {
  Pair p;
  CHECK_EQUAL(detach_tracker(p.n[0]), 0);
  int tracker[2];
  CHECK_EQUAL(pipe(tracker), 0);
  const pid_t child = spawn([&] {
    const char result = attach_tracker(p.n[0], 0) == 0 ? 1 : 0;
    CHECK_EQUAL(write(tracker[1], &result, 1), 1);
    pause();
  });
  char attached = 0;
  CHECK_EQUAL(read(tracker[0], &attached, 1), 1);
  CHECK_EQUAL(attached, 1);
  CHECK_EQUAL(attach_tracker(p.n[0], 0), -EDVSPROXYRUN);
  Process& other = bind_client(p.n[0]);
  CHECK_EQUAL(start_send(p.server, p.client.endpoint, message(1, 1)), kPending);
  CHECK_EQUAL(start_send(other, p.client.endpoint, message(1, 1)), kPending);
  sweep(p.n[0]);
  CHECK_EQUAL(step(other), kPending);
  // It died while it ended the search of `other`.
  atomic(other.slot->rendezvous).store(pack(State::kFilling, 0, kProxyPeer));
  kill(child, SIGKILL);
  join_killed(child);
  CHECK_EQUAL(wait_for(p.server, -1), -EDVSNOPROXY);
  sweep(p.n[0]);
  CHECK_EQUAL(step(other), -EDVSNOPROXY);
  close(tracker[0]);
  close(tracker[1]);
}

}  // namespace
}  // namespace dvk::test

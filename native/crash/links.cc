// Calls between nodes: two segments, and a proxy that carries commands from one to the other.

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../core/bindings.h"
#include "../core/copy_parts.h"
#include "../core/migrate.h"
#include "../core/search.h"
#include "../core/wait.h"
#include "far.h"

namespace dvk::crash {
namespace {

const Role kPartsCarrier = {"proxy", [](Actor& a) { carry_by(a, true); }, true};

// A server whose clients are behind the proxy.
void serve_far(Actor& a) {
  for (;;) {
    Message m;
    const bool last = a.others_done();
    const int result = rcvrqst(a.me(), &m, last ? 0 : kForever);
    if (result == -EDVSWOKENUP) continue;
    if (last && result == -EAGAIN) return;
    a.expect("rcvrqst", result);
    a.count(m);
    const int client = static_cast<int>(test::value_of(m));
    const std::vector<int> lost = {-ENOTCONN, -EDEADSRCDST, -EDVSPROCSTS};
    const int replied = reply(a.me(), m.source, test::message(2, test::value_of(m)));
    a.expect("reply", replied, {{kProxy, lost}, {client, lost}, {a.self, lost}});
    const Desk& desk = a.board.desks[client];
    const bool came = desk.least.load() >= desk.received.load();
    a.require("a reply that came is not refused", replied != -EDVSPROCSTS || !came);
  }
}

void call_far(Actor& a) {
  Message m = a.note();
  const int result = sendrec(a.me(), a.endpoint(kServer), &m, far_patience(a));
  a.expect("sendrec", result, far_fates(a, kCallDeaths));
  a.called(result);
  a.require("the reply is to this call", result != 0 || (m.type == 2 && test::whole(m)));
}

void send_far(Actor& a) {
  const int result = send(a.me(), a.endpoint(kServer), a.note(), far_patience(a));
  a.expect("send", result, far_fates(a, kSendDeaths));
  a.called(result);
}

void notify_far(Actor& a) {
  a.note();
  const int result = notify(a.me(), a.endpoint(kServer));
  a.expect("notify", result, far_fates(a, kSendDeaths));
  if (result != 0) return;
  // Nobody is told when it comes.
  const auto came = [&] { return a.board.desks[a.self].received.load() > 0; };
  a.meet({kProxy, kServer}, came);
  a.require("the notification came", came() || a.gone(kProxy) || a.gone(kServer));
}

void senda_far(Actor& a) {
  const uint32_t flags = static_cast<uint32_t>(AsyncFlag::kNotify);
  const int32_t id = senda(a.me(), a.endpoint(kServer), a.note(), flags);
  a.expect("senda", id, far_fates(a, kSendDeaths));
  if (id < 0) return;
  Message m;
  const int result = receive(a.me(), kEndpointAny, &m, far_patience(a));
  a.expect("receive", result, far_fates(a, {}));
  if (result != 0) return;
  const int status = senda_status(a.me(), id);
  a.expect("senda_status", status, far_fates(a, kSendDeaths));
  a.called(status);
}

SCENARIO({"sendrec to another node",
          {kCarrier, far_server(serve_far), far_client("client", call_far),
           far_client("other", call_far)},
          2});

SCENARIO({"sendrec to another node, and again",
          {kCarrier, far_server(serve_far),
           far_client("client",
                      [](Actor& a) {
                        call_far(a);
                        call_far(a);
                      })},
          2});

SCENARIO({"send to another node",
          {kCarrier, far_server(receive_all), far_client("client", send_far),
           far_client("notifier", notify_far)},
          2});

SCENARIO({"send to another node, before anybody receives",
          {kCarrier, far_server([](Actor& a) {
             meet_waiting_message(a);
             receive_all(a);
           }),
           far_client("client", send_far)},
          2});

SCENARIO({"senda to another node",
          {kCarrier, far_server(receive_all), far_client("client", senda_far)},
          2});

// The server grants memory of the arena, from and to which the client copies `bytes`.
Role far_owner(uint64_t bytes) {
  return {"server",
          [=](Actor& a) {
            a.bind(ProcessLevel::kServer, 1, 1);
            const int64_t place = arena_allocate(a.me(), bytes);
            a.require("arena memory", place >= 0);
            uint8_t* block = a.node(1).arena() + place;
            memset(block, 7, bytes);
            const int32_t id = grant(a.me(), block, bytes, 3, kEndpointAny);
            a.board.words[0].store(static_cast<uint64_t>(id));
            a.ready();
            receive_all(a);
          },
          true};
}

Role far_copier(uint64_t bytes) {
  return far_client("client", [=](Actor& a) {
    std::vector<uint8_t> own(bytes, 9);
    const CopyParty theirs{a.endpoint(kServer), static_cast<int32_t>(a.board.words[0].load()), 0};
    const CopyParty mine{kEndpointSelf, kByAddress, reinterpret_cast<uint64_t>(own.data())};
    int64_t copied = vcopy(a.me(), mine, theirs, bytes, far_patience(a));
    a.expect("vcopy", copied, far_fates(a, kCallDeaths), {});
    if (copied < 0) return;
    memset(own.data(), 1, bytes);
    copied = vcopy(a.me(), theirs, mine, bytes, far_patience(a));
    a.expect("vcopy", copied, far_fates(a, kCallDeaths), {});
    a.require("what was written is read", copied < 0 || own == std::vector<uint8_t>(bytes, 9));
  });
}

// Both ways there is one command of a block.
SCENARIO({"copies to another node", {kCarrier, far_owner(8192), far_copier(8192)}, 2});

// Both ways the data of one command comes in several frames.
constexpr uint64_t kPartsBytes = 2 * kCopyPartBytesMin + 4096;
SCENARIO({"copies to another node, in parts",
          {kPartsCarrier, far_owner(kPartsBytes), far_copier(kPartsBytes)},
          2});

// The proxy takes the link down, and up again with a new session.
SCENARIO({"a link goes down and up",
          {{"proxy",
            [](Actor& a) {
              Carrier carrier(a);
              carrier.start();
              a.start();
              const auto in = [&](int role, State state) {
                const int slot = a.segment.slot_of(a.endpoint(role));
                return test::state_in(a.segment, static_cast<uint32_t>(slot)) == state;
              };
              a.meet({kClient, kOther}, [&] {
                carrier.move();
                return in(kClient, State::kRemote) && in(kOther, State::kFrom);
              });
              a.arm();
              for (uint32_t here = 0; here < 2; here++) {
                a.expect("link_down", link_down(a.node(here), 1 - here));
              }
              carrier.attach();
              while (!a.others_done()) {
                if (!carrier.move()) usleep(50);
              }
            },
            true},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1, 1);
              a.start();
              a.meet_end(kClient);
              receive_all(a);
            },
            true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.start();
              if (!meet_server(a)) return;
              Message m = a.note();
              const int result = sendrec(a.me(), a.endpoint(kServer), &m, far_patience(a));
              a.expect("sendrec", result, far_fates(a, kCallDeaths), {-ENOTCONN, -EDEADSRCDST});
            }},
           {"receiver",
            [](Actor& a) {
              a.bind();
              a.start();
              if (!meet_server(a)) return;
              Message m;
              const int result = receive(a.me(), a.endpoint(kServer), &m, far_patience(a));
              a.expect("receive", result, far_fates(a, kReceiveDeaths),
                       {-ENOTCONN, -EDEADSRCDST, -ESRCDIED});
            }}},
          2});

// The server dies with a request of another node's client, and somebody repairs that.
SCENARIO({"repair for another node",
          {kCarrier,
           {"doomed",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1, 1);
              a.start();
              // On a busy machine the client may give up before its request comes.
              const auto over = [&](int role) {
                return a.gone(role) || a.board.desks[role].done.load() != 0;
              };
              Message m;
              while (rcvrqst(a.me(), &m, 20) == -ETIMEDOUT && !over(kProxy) && !over(kClient)) {
              }
              _exit(0);
            },
            false, true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.start();
              if (!meet_server(a)) return;
              a.arm();
              Message m = test::message(1, 1);
              const int64_t patience = a.patience({kProxy, kOther, a.self});
              const int result = sendrec(a.me(), a.endpoint(kServer), &m, patience);
              a.expect("sendrec", result, {{kProxy, kLinkDeaths}, {kOther, {}}, {a.self, {}}},
                       {-EDSTDIED, -ESRCDIED, -EDEADSRCDST});
            }},
           {"repairer",
            [](Actor& a) {
              a.start();
              a.meet({}, [&] { return a.board.desks[kServer].dead.load() != 0; });
              a.arm();
              reap(a.node(1), 1, a.endpoint(kServer));
            }}},
          2});

// Whoever takes a node out of a DC and dies halfway is followed by another one.
SCENARIO({"nodes come and go",
          {{"first",
            [](Actor& a) {
              // The second one may have taken it out already.
              const int late = a.aims_at(0) ? -EDVSNODCNODE : 0;
              a.ready();
              a.expect("add_node", add_node(a.segment, 2, "third"), {}, {late});
              a.expect("attach_proxy", attach_proxy(a.segment, 2, 0), {}, {late});
              a.expect("link_up", link_up(a.segment, 2, 1), {}, {late});
              const int32_t endpoint = make_endpoint(5, 3);
              a.expect("bind_remote",
                       bind_remote(a.segment, endpoint, 2, ProcessLevel::kServer, "far"), {},
                       {late});
              a.meet_state(2, State::kRemote);
              a.expect("remove_node", remove_node(a.segment, 2), {}, {late});
            }},
           {"second",
            [](Actor& a) {
              a.start();
              a.meet_end(0);
              a.expect("remove_node", remove_node(a.segment, 2), {{0, {}}}, {-EDVSNODCNODE});
            }},
           {"caller", [](Actor& a) {
              a.bind();
              a.start();
              const int64_t patience = a.aims_at(0) || a.aims_at(a.self) ? 200 : kForever;
              a.expect("wait_bind", wait_bind(a.me(), 5, patience), {}, {-ETIMEDOUT});
              a.arm();
              Message m = test::message(1, 1);
              const int result = sendrec(a.me(), make_endpoint(5, 3), &m, patience);
              a.expect(
                  "sendrec", result, {},
                  {-ENOTCONN, -EDEADSRCDST, -ETIMEDOUT, -EDVSNODCNODE, -EDVSNOPROXY, -EDSTDIED});
            }}}});

// ---- A process of node 1 that nobody has told of, and one that there is not ----

// Answers for node 1 who is looked for at node 0. Returns whether anybody was.
bool answer_searches(Actor& a) {
  Search found[4];
  const size_t count = searches(a.segment, 0, found, 4);
  for (size_t i = 0; i < count; i++) {
    ProcessInfo info{};
    const bool is_there = process_info(a.node(1), found[i].slot, &info) == 0 &&
                          info.life == static_cast<uint32_t>(ProcessLife::kLocal) &&
                          info.endpoint == found[i].endpoint;
    if (is_there) {
      bind_claimed(a.segment, 1, info.endpoint, ProcessLevel::kUser, info.name);
    } else {
      end_search(a.segment, found[i].seeker, found[i].call_id, EDEADSRCDST);
    }
  }
  return count > 0;
}

void track(Actor& a) {
  Carrier carrier(a);
  carrier.start();
  a.expect("attach_tracker", attach_tracker(a.segment, 0));
  a.ready();
  while (!a.others_done()) {
    if (!carrier.move() && !answer_searches(a)) usleep(50);
  }
  while (carrier.move()) {
  }
}

SCENARIO({"a search for a process of another node",
          {{"proxy", track, true},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kUser, 1, 1);
              a.ready();
              receive_all(a);
            },
            true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.ready();
              send_far(a);
              const int result = send(a.me(), make_endpoint(60, 3), a.note(), far_patience(a));
              a.expect("send to nobody", result, far_fates(a, kSendDeaths), {-EDEADSRCDST});
            }}},
          2});

// ---- A process that moves from node 0 to node 1, and may move back ----

enum { kMover = 3, kBackup = 4 };

// What may come of a step when one of the others is lost in the middle.
const std::vector<int> kMoveLosses = {-ENOTCONN,    -EDEADSRCDST,   -EDVSNOPROXY, -EDSTDIED,
                                      -ESRCDIED,    -EDVSMIGRATING, -ETIMEDOUT,   -EDVSPROCSTS,
                                      -EDVSRMTPROC, -ESRCH};
// ... of a call to the process that moves. Who moves it is none of its parties.
const std::vector<If> kMovingFates = {{kProxy, {-ENOTCONN, -EDVSNOPROXY}},
                                      {kServer, {-ENOTCONN, -EDSTDIED, -ESRCDIED, -EDEADSRCDST}},
                                      {kBackup, {-ENOTCONN, -EDSTDIED, -ESRCDIED, -EDEADSRCDST}},
                                      {kClient, {}},
                                      {kMover, {}}};
constexpr int64_t kMoveMs = 300;

std::vector<If> move_fates() {
  std::vector<If> fates;
  for (const int role : std::initializer_list<int>{kProxy, kServer, kClient, kMover, kBackup}) {
    fates.push_back({role, kMoveLosses});
  }
  return fates;
}

// Serves wherever the process is; looks now and then whether it is over, since nobody wakes one
// that stands by.
void serve_moving(Actor& a) {
  for (;;) {
    Message m;
    const bool last = a.others_done();
    const int result = rcvrqst(a.me(), &m, last ? 0 : 20);
    if (result == -EDVSMIGRATING || result == -EDVSWOKENUP) continue;
    if (result == 0) {
      a.count(m);
      const int replied = reply(a.me(), m.source, test::message(2, test::value_of(m)));
      a.expect("reply", replied, move_fates());
      continue;
    }
    a.expect("rcvrqst", result, {{a.self, {}}}, {-ETIMEDOUT, -EAGAIN});
    if (last) return;
  }
}

void stand_by(Actor& a) {
  a.start();
  uint32_t slot;
  a.meet({kProxy, kServer},
         [&] { return check_endpoint(a.node(1), a.endpoint(kServer), &slot) == 0; });
  BindOptions options;
  options.kind = BindKind::kBackup;
  options.level = ProcessLevel::kServer;
  options.name = "role";
  options.endpoint = a.endpoint(kServer);
  options.node = 0;
  a.arm();
  const int error = Process::bind(a.node(1), options, &a.own);
  a.expect("bind", error, move_fates(), {-EDVSSLOTUSED, -EDVSNOPROXY});
  if (error != 0) return;
  a.board.desks[a.self].node.store(1);
  a.board.flags[0].store(1);
  serve_moving(a);
}

void move_it(Actor& a) {
  a.start();
  a.meet({kProxy, kServer, kBackup}, [&] { return a.board.flags[0].load() != 0; });
  const int32_t endpoint = a.endpoint(kServer);
  a.arm();
  int result = migrate_start(a.segment, endpoint, kMoveMs);
  a.expect("start", result, move_fates());
  // Who is stopped may have the lock, for which each call waits a second.
  if (result == -ETIMEDOUT) return;
  result = migrate_rollback(a.segment, endpoint);
  a.expect("rollback", result, move_fates(), {-EDVSPROCSTS});
  if (result == -ETIMEDOUT) return;
  a.expect("migrate", migrate(a.segment, endpoint, 1, kMoveMs), move_fates(),
           {-ETIMEDOUT, -EDVSPROCSTS});
}

void serve_from_here(Actor& a) {
  a.bind(ProcessLevel::kServer, 1, 0);
  a.ready();
  serve_moving(a);
}

void call_moving(Actor& a) {
  a.bind();
  a.ready();
  for (int i = 0; i < 3; i++) {
    Message m = a.note();
    const int64_t patience = a.patience({kProxy, kServer, kMover, kBackup, a.self});
    const int64_t limit = patience < 0 ? 2000 : patience;
    const int result = sendrec(a.me(), a.endpoint(kServer), &m, limit);
    a.expect("sendrec", result, kMovingFates);
    a.called(result);
    a.require("the reply is to this call", result != 0 || (m.type == 2 && test::whole(m)));
  }
}

SCENARIO({"a process moves",
          {kCarrier,
           {"server", serve_from_here, true},
           {"client", call_moving},
           {"mover", move_it},
           {"backup", stand_by, true}},
          2});

// Nobody stands by for it there, so its own node takes it back.
SCENARIO({"a process moves to a node that refuses it",
          {kCarrier,
           {"server", serve_from_here, true},
           {"client", call_moving},
           {"mover",
            [](Actor& a) {
              a.start();
              uint32_t slot;
              a.meet({kProxy, kServer},
                     [&] { return check_endpoint(a.node(1), a.endpoint(kServer), &slot) == 0; });
              a.arm();
              a.expect("migrate", migrate(a.segment, a.endpoint(kServer), 1, kMoveMs), move_fates(),
                       {-ESRCH, -ETIMEDOUT, -EDVSPROCSTS});
            }},
           {"nobody", [](Actor& a) { a.ready(); }}},
          2});

}  // namespace
}  // namespace dvk::crash

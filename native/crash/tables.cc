// Bind, unbind, repair, the arena, privileges, the end of a DC: what goes under the table lock, or
// concerns everybody.

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../core/bindings.h"
#include "../core/privilege.h"
#include "../core/trace.h"
#include "scenario.h"

namespace dvk::crash {
namespace {

constexpr int kSlot = 2;

// Binds `kSlot`, or any slot. A lock that is held by one who is stopped makes it end with a
// time-out.
int bind_now(Actor& a, int slot, const std::vector<If>& fates) {
  BindOptions options;
  options.level = ProcessLevel::kServer;
  options.slot = slot;
  options.name = "role";
  const int result = Process::bind(a.segment, options, &a.own);
  a.expect("bind", result, fates);
  if (result == 0) a.board.desks[a.self].endpoint.store(a.own->endpoint);
  return result;
}

// Another one that binds, uses the arena, and unbinds meanwhile.
void use_tables(Actor& a, int victim) {
  if (bind_now(a, -1, {{victim, {}}, {a.self, {}}}) != 0) return;
  const int64_t place = arena_allocate(a.me(), 8192);
  a.expect("arena_allocate", place, {{victim, {}}, {a.self, {}}});
  if (place >= 0)
    a.expect("arena_free", arena_free(a.me(), static_cast<uint64_t>(place)),
             {{victim, {}}, {a.self, {}}});
}

void wait_for_bind(Actor& a, int binder) {
  const int64_t patience = a.aims_at(binder) || a.aims_at(a.self) ? 300 : kForever;
  const int32_t found = wait_bind(a.me(), kSlot, patience);
  a.expect("wait_bind", found, {{a.self, {}}}, {a.aims_at(binder) ? -ETIMEDOUT : 0});
}

SCENARIO({"bind",
          {{"binder",
            [](Actor& a) {
              a.start();
              a.meet_state(1, State::kRemote);
              a.arm();
              bind_now(a, kSlot, {});
            }},
           {"waiter",
            [](Actor& a) {
              a.bind();
              a.ready();
              wait_for_bind(a, 0);
            }},
           {"other", [](Actor& a) {
              a.start();
              a.meet({0}, [&] { return a.board.desks[0].hits.points[kWrites].load() > 10; });
              a.arm();
              use_tables(a, 0);
            }}}});

// Waits for a process that goes: with each kind of call.
enum { kLeaver, kReceiver, kCaller, kWatcher, kSender };

void await_message(Actor& a) {
  Message m;
  const int result = receive(a.me(), a.endpoint(kLeaver), &m, a.patience({kLeaver, a.self}));
  a.expect("receive", result, {{kLeaver, kReceiveDeaths}, {a.self, {}}}, {-ESRCDIED, -EDEADSRCDST});
  a.require("nothing came", result != 0);
}
void await_reply(Actor& a) {
  Message m = test::message(1, 1);
  const int result = sendrec(a.me(), a.endpoint(kLeaver), &m, a.patience({kLeaver, a.self}));
  a.expect("sendrec", result, {{kLeaver, {}}, {a.self, {}}}, {-EDSTDIED, -EDEADSRCDST});
  a.require("nobody answered", result != 0);
}
void await_end(Actor& a) {
  const int result = wait_unbind(a.me(), a.endpoint(kLeaver), a.patience({kLeaver, a.self}));
  a.expect("wait_unbind", result, {{kLeaver, {}}, {a.self, {}}});
}
void await_done(Actor& a) {
  const uint32_t flags = static_cast<uint32_t>(AsyncFlag::kNotify);
  const int32_t id = senda(a.me(), a.endpoint(kLeaver), test::message(1, 1), flags);
  a.expect("senda", id, {}, {-EDEADSRCDST});
  if (id < 0) return;
  Message m;
  const int result = receive(a.me(), kEndpointAny, &m, a.patience({kLeaver, a.self}));
  a.expect("receive", result, {{kLeaver, {}}, {a.self, {}}});
  if (result == 0) a.require("senda failed", senda_status(a.me(), id) == -EDSTDIED);
}

std::function<void(Actor&)> bound(const std::function<void(Actor&)>& work) {
  return [=](Actor& a) {
    a.bind();
    a.ready();
    work(a);
  };
}

// Until the three are in their places.
void meet_waiters(Actor& a) {
  a.meet_state(kReceiver, State::kFrom);
  a.meet_state(kCaller, State::kCalling);
  a.meet_state(kWatcher, State::kRemote);
}

// What a process leaves behind; the others may be gone already.
void own_much(Actor& a) {
  a.require("arena memory", arena_allocate(a.me(), 100'000) >= 0);
  static uint8_t memory[100];
  a.require("a grant", grant(a.me(), memory, sizeof memory, 3, kEndpointAny) >= 0);
  const int32_t id = senda(a.me(), a.endpoint(kCaller), test::message(1, 1), 0);
  a.expect("senda", id, {{kCaller, {-EDEADSRCDST}}});
  a.expect("notify", notify(a.me(), a.endpoint(kWatcher)), {{kWatcher, {-EDEADSRCDST}}});
}

SCENARIO({"unbind",
          {{"leaver",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, kSlot);
              a.start();
              meet_waiters(a);
              a.arm();
              a.expect("unbind", a.me().unbind());
              a.own = nullptr;
            }},
           {"receiver", bound(await_message)},
           {"caller", bound(await_reply)},
           {"watcher", bound(await_end)},
           {"sender", bound(await_done)}}});

// The one in `kSlot` dies, and somebody repairs what it left.
std::function<void(Actor&)> doomed(bool waits) {
  return [=](Actor& a) {
    a.bind(ProcessLevel::kServer, kSlot);
    a.start();
    own_much(a);
    if (waits) meet_waiters(a);
    _exit(0);
  };
}

SCENARIO({"repair",
          {{"doomed", doomed(true), false, true},
           {"receiver", bound(await_message)},
           {"caller", bound(await_reply)},
           {"watcher", bound(await_end)},
           {"repairer", [](Actor& a) {
              a.start();
              a.meet_end(0);
              a.meet({}, [&] { return a.board.desks[0].dead.load() != 0; });
              a.arm();
              reap(a.segment, kSlot, a.endpoint(0));
            }}}});

SCENARIO({"bind in the place of a dead one",
          {{"doomed",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, kSlot);
              a.start();
              _exit(0);
            },
            false, true},
           {"binder",
            [](Actor& a) {
              a.start();
              a.meet({}, [&] { return a.board.desks[0].dead.load() != 0; });
              a.arm();
              const int result = bind_now(a, kSlot, {});
              a.require("another endpoint", result != 0 || a.me().endpoint != a.endpoint(0));
            }},
           {"other", [](Actor& a) {
              a.start();
              a.meet({1}, [&] { return a.board.desks[1].hits.points[kWrites].load() > 5; });
              a.arm();
              use_tables(a, 1);
            }}}});

// The first one is killed with the lock, which the next has from it.
SCENARIO({"a lock of the dead",
          {{"first",
            [](Actor& a) {
              a.bind();
              a.start();
              a.plan("arena.owned", Fault::kKill);
              arena_allocate(a.me(), 4096);
            },
            false, true},
           {"next",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet({}, [&] { return a.board.desks[0].dead.load() != 0; });
              a.arm();
              const int64_t place = arena_allocate(a.me(), 4096);
              a.expect("arena_allocate", place);
            }},
           {"other", [](Actor& a) {
              a.start();
              a.meet({1}, [&] { return a.board.desks[1].hits.points[kWrites].load() > 0; });
              a.arm();
              use_tables(a, 1);
            }}}});

// What is stopped with the lock keeps nobody from a call, also not from one that a death ends.
SCENARIO({"a lock of the stopped",
          {{"holder",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet_state(3, State::kCalling);
              a.plan("arena.owned", Fault::kStop);
              a.expect("arena_allocate", arena_allocate(a.me(), 4096));
            }},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              serve(a);
            },
            true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet({}, [&] { return a.gone(0); });
              a.arm();
              call(a, 1);
            }},
           {"caller",
            [](Actor& a) {
              a.bind();
              a.ready();
              Message m = test::message(1, 1);
              const int result = sendrec(a.me(), a.endpoint(4), &m, kForever);
              a.require("the death of the server was noticed",
                        result == -EDSTDIED || result == -ESRCDIED);
            }},
           {"doomed",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet({}, [&] { return a.gone(0); });
              _exit(0);
            },
            false, true}}});

SCENARIO({"arena",
          {{"owner",
            [](Actor& a) {
              a.bind();
              a.ready();
              const int64_t first = arena_allocate(a.me(), 100'000);
              a.expect("arena_allocate", first, {{1, {}}});
              if (first < 0) return;
              memset(a.segment.arena() + first, 1, 100'000);
              a.expect("arena_free", arena_free(a.me(), static_cast<uint64_t>(first)), {{1, {}}});
            }},
           {"other", [](Actor& a) {
              a.start();
              a.meet({0}, [&] { return a.board.desks[0].hits.points[kWrites].load() > 2; });
              a.arm();
              use_tables(a, 0);
            }}}});

SCENARIO({"privileges",
          {{"administrator",
            [](Actor& a) {
              a.bind(ProcessLevel::kKernel, kSlot);
              a.ready();
              Privileges none = default_privileges(ProcessLevel::kUser);
              none.ipc_to = 0;
              a.expect("set_privileges", set_privileges(a.me(), a.endpoint(1), none));
            }},
           {"user",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet({0}, [&] { return a.board.desks[0].hits.points[kWrites].load() > 0; });
              a.arm();
              const int result = send(a.me(), a.endpoint(2), a.note(), a.patience({2}));
              a.expect("send", result, {{2, kSendDeaths}}, {-ECALLDENIED});
              a.sent(result);
            }},
           {"receiver",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              receive_all(a);
            },
            true}}});

// Whoever ends a DC and dies halfway is followed by another one.
void wait_for_all(Actor& a) {
  Message m;
  const int result = rcvrqst(a.me(), &m, a.patience({0}));
  a.expect("rcvrqst", result, {{0, {}}}, {-EDVSDCNOTRUN});
}

SCENARIO({"the end of a DC",
          {{"first",
            [](Actor& a) {
              a.start();
              a.meet_state(2, State::kRequest);
              a.meet_state(3, State::kRemote);
              a.arm();
              end_container(a.segment);
            }},
           {"second",
            [](Actor& a) {
              a.start();
              a.meet_end(0);
              end_container(a.segment);
            }},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              wait_for_all(a);
            }},
           {"waiter",
            [](Actor& a) {
              a.bind();
              a.ready();
              const int result = wait_unbind(a.me(), a.endpoint(2), kForever);
              a.expect("wait_unbind", result, {{2, {}}}, {-EDVSDCNOTRUN});
            }}},
          1,
          true});

SCENARIO({"create",
          {{"maker",
            [](Actor& a) {
              a.ready();
              const std::string path = test::folder() + "/other";
              unlink(path.c_str());
              a.expect("create", Segment::create(path.c_str(), test::small()));
            }},
           {"opener", [](Actor& a) {
              a.ready();
              a.meet_end(0);
              Segment* segment = nullptr;
              std::string reason;
              const int result =
                  Segment::open((test::folder() + "/other").c_str(), &segment, &reason);
              a.expect("open", result, {{0, {-EDVSBADSEGMENT, -ENOENT}}},
                       {a.gone(0) ? -EDVSBADSEGMENT : 0});
              a.require("one that was finished is whole", result == 0 || a.aims_at(0));
            }}}});

// Who watches calls and dies leaves its trace to the others, and calls go on.
void watch_calls(Actor& a) {
  constexpr int kFirst = 0, kSecond = 1;
  const std::vector<If> fates = {{kFirst, {}}, {kSecond, {}}, {a.self, {}}};
  const int watcher = trace_start(a.segment);
  a.expect("trace_start", watcher, fates);
  if (watcher < 0) return;
  a.expect("trace_renew", trace_renew(a.segment, static_cast<uint32_t>(watcher)), fates);
  a.expect("trace_stop", trace_stop(a.segment, static_cast<uint32_t>(watcher)), fates);
}

SCENARIO({"traces are started and stopped",
          {{"watcher",
            [](Actor& a) {
              a.ready();
              watch_calls(a);
            }},
           {"other",
            [](Actor& a) {
              a.ready();
              watch_calls(a);
            }},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              serve(a);
            },
            true},
           {"client", [](Actor& a) {
              a.bind();
              a.ready();
              call(a, 2);
              call(a, 2);
            }}}});

}  // namespace
}  // namespace dvk::crash

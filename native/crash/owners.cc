// Slots that get another owner, and waits that somebody else ends: the promotion of a backup, a
// bind for another program, a cycle of waits between nodes.

#include <errno.h>
#include <unistd.h>

#include "../core/bindings.h"
#include "../core/link.h"
#include "../core/probe.h"
#include "../core/standby.h"
#include "scenario.h"

namespace dvk::crash {
namespace {

constexpr uint32_t kFar = 1;  // the other node, of which there is the link alone
constexpr int kSlot = 2;
const int32_t kEndpoint = make_endpoint(kSlot, 3);
// A process waits no longer for one that may never come.
constexpr int64_t kLookMs = 20;
// Nor a client for an answer: two such calls end before the cell is late.
constexpr int64_t kUnansweredMs = 700;

enum { kProxy, kBackup, kClient, kPromoter, kHelper };

// What a call to the backup's endpoint may come to when one of those it goes to is lost. Who
// promotes is none of them.
const std::vector<int> kOwnerLosses = {-ENOTCONN, -EDEADSRCDST, -EDVSNOPROXY,
                                       -EDSTDIED, -ESRCDIED,    -ETIMEDOUT};

std::vector<If> owner_fates() {
  std::vector<If> fates;
  for (const int role : std::initializer_list<int>{kProxy, kBackup, kClient}) {
    fates.push_back({role, kOwnerLosses});
  }
  for (const int role : std::initializer_list<int>{kPromoter, kHelper}) fates.push_back({role, {}});
  return fates;
}

// Makes a link to a node that takes commands and answers none.
void link_far(Actor& a) {
  a.expect("add_node", add_node(a.segment, kFar, "far"));
  a.expect("attach_proxy", attach_proxy(a.segment, kFar, 0));
  a.expect("link_up", link_up(a.segment, kFar, 1));
  a.expect("bind_remote",
           bind_remote(a.segment, kEndpoint, kFar, ProcessLevel::kServer, "primary"));
}

void take_commands(Actor& a) {
  static uint8_t payload[kCopyChunkBytes];
  Command command;
  while (get2rmt(a.segment, kFar, &command, payload) == 1) {
  }
}

void stand_by(Actor& a) {
  a.meet({kProxy}, [&] { return a.board.flags[0].load() != 0; });
  BindOptions options;
  options.kind = BindKind::kBackup;
  options.level = ProcessLevel::kServer;
  options.name = "role";
  options.endpoint = kEndpoint;
  options.node = kFar;
  a.expect("bind", Process::bind(a.segment, options, &a.own));
  a.ready();
  for (;;) {
    Message m;
    const bool last = a.others_done();
    const int result = rcvrqst(a.me(), &m, last ? 0 : kLookMs);
    a.expect("rcvrqst", result, owner_fates(), {-ETIMEDOUT, -EAGAIN});
    if (result != 0 && last) return;
    if (result != 0) continue;
    a.count(m);
    const int replied = reply(a.me(), m.source, test::message(2, test::value_of(m)));
    a.expect("reply", replied, {{kClient, kReplyDeaths}, {a.self, kReplyDeaths}},
             {a.hurries() ? -EDVSPROCSTS : 0});
  }
}

// A call to the endpoint, whoever has it.
void call_owner(Actor& a, std::initializer_list<int> usual) {
  // The primary answers nobody, and who is stopped goes on when the others are done.
  const bool killed = a.aims_at(kPromoter) || a.board.desks[kPromoter].planned.load() != 0;
  const bool unpromoted = killed && a.aims_at(kHelper);
  const bool unanswered = unpromoted || a.aims_at(kBackup) || a.hurries();
  Message m = a.note();
  const int result = sendrec(a.me(), kEndpoint, &m, unanswered ? kUnansweredMs : kForever);
  if (!unpromoted || result != -ETIMEDOUT) a.expect("sendrec", result, owner_fates(), usual);
  a.called(result);
  a.require("the reply is to this call", result != 0 || (m.type == 2 && test::whole(m)));
}

void promote_it(Actor& a) {
  const int result = promote(a.segment, kEndpoint);
  a.expect("promote", result,
           {{kBackup, {-ESRCH, -EDVSPROCSTS, -EDEADSRCDST}},
            {kPromoter, {}},
            {kClient, {}},
            {a.self, {}}},
           {a.self == kHelper ? -EDVSPROCSTS : 0});
}

const Role kFarProxy = {"proxy",
                        [](Actor& a) {
                          link_far(a);
                          a.board.flags[0].store(1);
                          a.ready();
                          while (!a.others_done()) {
                            take_commands(a);
                            usleep(200);
                          }
                          take_commands(a);
                        },
                        true};

// Who promotes and dies halfway is followed by another one, and the backup serves then.
SCENARIO({"a backup is promoted",
          {kFarProxy,
           {"backup", stand_by, true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.ready();
              call_owner(a, {-EDSTDIED, -ESRCDIED});
              a.board.flags[1].store(1);
              a.meet_end(kHelper);
              call_owner(a, {});
            }},
           {"promoter",
            [](Actor& a) {
              a.start();
              a.meet({kClient}, [&] {
                const int index = a.segment.slot_of(a.endpoint(kClient));
                const bool waits =
                    test::state_in(a.segment, static_cast<uint32_t>(index)) == State::kRemote;
                return waits || a.board.flags[1].load() != 0;
              });
              a.arm();
              promote_it(a);
            }},
           {"helper", [](Actor& a) {
              a.start();
              a.meet_end(kPromoter);
              a.arm();
              promote_it(a);
            }}}});

// The promoter is killed at `label`, and nobody repairs that but who comes by.
Scenario mended(const char* name, const char* label) {
  return {name,
          {kFarProxy,
           {"backup", stand_by, true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet({}, [&] { return a.board.desks[kPromoter].dead.load() != 0; });
              a.arm();
              call_owner(a, {-EDSTDIED, -ESRCDIED});
              a.meet_end(kHelper);
              call_owner(a, {});
            }},
           {"promoter",
            [=](Actor& a) {
              a.start();
              a.plan(label, Fault::kKill);
              promote(a.segment, kEndpoint);
            },
            false, true},
           {"helper", [](Actor& a) {
              a.start();
              a.meet({}, [&] { return a.board.desks[kPromoter].dead.load() != 0; });
              a.arm();
              promote_it(a);
            }}}};
}

SCENARIO(mended("a promotion that was killed is undone", "promote.begun"));
SCENARIO(mended("a promotion that was killed is finished", "arrive.placed"));

enum { kBinder, kTaker, kSender };

void take_slot(Actor& a) {
  a.start();
  a.board.words[0].store(static_cast<uint64_t>(getpid()));
  a.arm();
  int result;
  bool over;
  do {
    over = a.gone(kBinder) || a.board.desks[kBinder].done.load() != 0;
    result = Process::adopt(a.segment, kLookMs, &a.own);
  } while (result == -ETIMEDOUT && !over);
  a.expect("adopt", result, {{kBinder, {-ETIMEDOUT}}, {a.self, {}}});
  if (result != 0) return;
  a.board.desks[a.self].endpoint.store(a.own->endpoint);
  receive_all(a);
}

SCENARIO({"a slot is bound for another program",
          {{"binder",
            [](Actor& a) {
              a.start();
              a.meet({kTaker}, [&] { return a.board.words[0].load() != 0; });
              BindOptions options;
              options.level = ProcessLevel::kServer;
              options.slot = kSlot;
              options.name = "role";
              options.pid = static_cast<pid_t>(a.board.words[0].load());
              a.arm();
              const int32_t endpoint = bind_for(a.segment, options);
              a.expect("bind_for", endpoint, {{kTaker, {-ESRCH}}, {a.self, {}}});
              if (endpoint >= 0) a.board.desks[kTaker].endpoint.store(endpoint);
            }},
           {"taker", take_slot, true},
           {"sender", [](Actor& a) {
              a.bind();
              a.start();
              a.meet({kBinder, kTaker}, [&] { return lookup(a.segment, kSlot) >= 0; });
              const int32_t endpoint = lookup(a.segment, kSlot);
              a.arm();
              if (endpoint < 0) return;
              // The program takes the slot at once, or never.
              const bool safe = !a.aims_at(kBinder) && !a.aims_at(kTaker) && !a.aims_at(a.self);
              const int result = send(a.me(), endpoint, a.note(), safe ? kForever : 300);
              std::vector<int> losses = kSendDeaths;
              losses.push_back(-ETIMEDOUT);
              a.expect("send", result, {{kTaker, losses}, {kBinder, losses}, {a.self, losses}});
              a.sent(result);
            }}}});

enum { kBreaker, kLocked, kServer };

// What the proxy does when a probe has come back.
SCENARIO({"a wait for another node is ended",
          {{"breaker",
            [](Actor& a) {
              link_far(a);
              a.ready();
              a.meet_state(kLocked, State::kRemote);
              take_commands(a);
              RemoteWait wait;
              const auto waits = [&] { return remote_wait(a.segment, a.endpoint(kLocked), &wait); };
              a.meet({kLocked}, waits);
              if (waits()) lock_wait(a.segment, wait.waiter, wait.ticket);
              a.meet_end(kLocked);
              take_commands(a);
            }},
           {"locked",
            [](Actor& a) {
              a.bind();
              a.ready();
              Message m = test::message(1, 1);
              const int64_t patience = a.patience({kBreaker, a.self});
              const int result = sendrec(a.me(), kEndpoint, &m, patience);
              a.expect("sendrec", result, {{kBreaker, kOwnerLosses}, {a.self, {}}}, {-ELOCKED});
              a.require("nobody answered", result != 0);
              call(a, kServer);
            }},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              serve(a);
            },
            true}}});

// ---- Slots of threads and replicas ----

enum { kThread, kReplica, kVisitor };

Role owner_by(const char* name, BindKind kind) {
  return {name,
          [=](Actor& a) {
            a.start();
            a.arm();
            BindOptions options;
            options.kind = kind;
            options.level = ProcessLevel::kServer;
            options.name = "role";
            if (kind == BindKind::kReplica) options.endpoint = kEndpoint;
            const int result = Process::bind(a.segment, options, &a.own);
            a.expect("bind", result, {{kThread, {}}, {kReplica, {}}, {a.self, {}}});
            if (result != 0) return;
            a.board.desks[a.self].endpoint.store(a.own->endpoint);
            receive_all(a);
          },
          true};
}

SCENARIO({"slots of a thread and of a replica",
          {owner_by("thread", BindKind::kThread),
           owner_by("replica", BindKind::kReplica),
           {"visitor", [](Actor& a) {
              a.bind();
              a.start();
              for (const int role : {kThread, kReplica}) {
                a.meet({role}, [&] { return a.endpoint(role) != 0; });
              }
              a.arm();
              for (const int role : {kThread, kReplica}) {
                if (a.endpoint(role) != 0) send_to(a, role);
              }
            }}}});

// ---- A descriptor that is unbound, and a proxy that leaves its link ----

enum { kLink, kCaller, kListener };

// What who was stopped may come too late for.
std::vector<If> given_up_fates(const Actor& a) {
  std::vector<If> fates = {{kLink, kOwnerLosses}};
  if (a.aims_at(a.self)) fates.push_back({a.self, {-ENOTCONN, -EDVSNOPROXY}});
  return fates;
}

SCENARIO({"a descriptor and a link are given up",
          {{"link",
            [](Actor& a) {
              link_far(a);
              a.start();
              a.meet_state(kCaller, State::kRemote);
              a.meet_state(kListener, State::kFrom);
              a.arm();
              take_commands(a);
              a.expect("unbind_remote", unbind_remote(a.segment, kEndpoint), {{kCaller, {}}});
              a.meet_end(kListener);
              a.expect("detach_proxy", detach_proxy(a.segment, kFar), {{kCaller, {}}});
              a.meet_end(kCaller);
            }},
           {"caller",
            [](Actor& a) {
              a.bind();
              a.ready();
              for (int i = 0; i < 2; i++) {
                Message m = test::message(1, 1);
                const int result =
                    sendrec(a.me(), kEndpoint, &m, a.patience({kLink, kListener, a.self}));
                a.expect("sendrec", result, given_up_fates(a), {-EDSTDIED, -EDEADSRCDST});
                a.require("nobody answered", result != 0);
              }
            }},
           {"listener", [](Actor& a) {
              a.bind();
              a.ready();
              Message m;
              const int result =
                  receive(a.me(), kEndpoint, &m, a.patience({kLink, kCaller, a.self}));
              a.expect("receive", result, given_up_fates(a), {-ESRCDIED, -EDEADSRCDST});
            }}}});

}  // namespace
}  // namespace dvk::crash

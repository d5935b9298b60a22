// Processes that another program asks to unbind: such that do, such that end by the signal, take no
// notice, have not taken their slot yet, or have left it to the next one.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "../core/bindings.h"
#include "scenario.h"

namespace dvk::crash {
namespace {

enum { kAsker, kTarget, kCaller, kAgain };

constexpr int kSlot = 1;
// Who takes no notice is waited for so long.
constexpr int64_t kBriefMs = 10;

volatile sig_atomic_t asked = 0;

void note_signal(int) {
  asked = 1;
  interrupted.store(true);
}
void end_at_once(int) {
  _exit(0);
}

// What a call comes to whose target unbinds in the middle.
const std::initializer_list<int> kTargetLeaves = {-EDSTDIED, -ESRCDIED, -EDEADSRCDST};

// Answers requests until the others are done, or it is asked; then it unbinds. Precondition: it is
// bound.
void serve_until_asked(Actor& a) {
  for (;;) {
    Message request;
    const bool last = a.others_done();
    const int result = rcvrqst(a.me(), &request, last ? 0 : kForever);
    if (result == -EDVSWOKENUP) continue;
    if (result == -EAGAIN && last) return;
    if (result == -EDVSSHUTDOWN || result == -EINTR) break;
    a.expect("rcvrqst", result);
    a.count(request);
    const int replied = reply(a.me(), request.source, test::message(2, test::value_of(request)));
    a.expect("reply", replied, {{kCaller, kReplyDeaths}, {a.self, kReplyDeaths}},
             {a.hurries() ? -EDVSPROCSTS : 0});
  }
  a.require("the signal comes before the end of the call", asked != 0);
  a.expect("unbind", a.me().unbind(), {{kAsker, {}}, {kAgain, {}}, {kCaller, {}}, {a.self, {}}});
}

// The same, by one that goes on whoever asks.
void serve_regardless(Actor& a) {
  for (;;) {
    Message request;
    const bool last = a.others_done();
    const int result = rcvrqst(a.me(), &request, last ? 0 : kForever);
    if (result == -EDVSWOKENUP || result == -EDVSSHUTDOWN) continue;
    if (result == -EAGAIN && last) return;
    a.expect("rcvrqst", result);
    a.count(request);
    const int replied = reply(a.me(), request.source, test::message(2, test::value_of(request)));
    a.expect("reply", replied, {{kCaller, kReplyDeaths}, {a.self, kReplyDeaths}},
             {a.hurries() ? -EDVSPROCSTS : 0});
  }
}

Role target(void (*on_signal)(int), const std::function<void(Actor&)>& work) {
  return {"target",
          [=](Actor& a) {
            signal(SIGTERM, on_signal);
            a.bind(ProcessLevel::kServer, kSlot);
            a.ready();
            work(a);
          },
          true};
}

// Whatever has become of who asked before, the process is gone when this one has asked, or is as it
// was when it takes no notice.
void ask(Actor& a, bool heeds) {
  a.arm();
  const int64_t patience = heeds ? a.patience({kAsker, kTarget, kCaller, kAgain}) : kBriefMs;
  const int result = unbind_for(a.segment, a.endpoint(kTarget), patience);
  const std::vector<int> gone = {-EDEADSRCDST};
  a.expect("unbind_for", result, {{kTarget, gone}, {kAsker, {}}, {kCaller, {}}, {kAgain, {}}},
           {heeds ? -EDEADSRCDST : -ETIMEDOUT});
  a.require("it is as it was", heeds || result != 0 || a.aims_at(kTarget));
}

Role asker(bool heeds) {
  return {"asker", [=](Actor& a) {
            a.start();
            a.meet_state(kTarget, State::kRequest);
            ask(a, heeds);
          }};
}

Role again(bool heeds) {
  return {"again", [=](Actor& a) {
            a.start();
            a.meet_end(kAsker);
            ask(a, heeds);
          }};
}

// Calls while the target is asked, and when it has been.
Role caller(std::initializer_list<int> usual) {
  const std::vector<int> ends = usual;
  return {"caller", [=](Actor& a) {
            a.bind();
            a.ready();
            for (int i = 0; i < 2; i++) {
              Message m = a.note();
              const int64_t patience = a.patience({kTarget, kAsker, kAgain, a.self});
              const int result = sendrec(a.me(), a.endpoint(kTarget), &m, patience);
              const bool left = std::find(ends.begin(), ends.end(), result) != ends.end();
              if (!left) {
                a.expect("sendrec", result,
                         {{kTarget, kCallDeaths}, {kAsker, {}}, {kAgain, {}}, {a.self, {}}});
              }
              a.called(result);
              a.require("the reply is to this call",
                        result != 0 || (m.type == 2 && test::whole(m)));
              a.meet_end(kAsker);
            }
          }};
}

SCENARIO({"a process is asked to unbind",
          {asker(true), target(note_signal, serve_until_asked), caller(kTargetLeaves),
           again(true)}});

SCENARIO({"a process is asked to unbind and ends",
          {asker(true), target(end_at_once, serve_until_asked), caller(kTargetLeaves),
           again(true)}});

SCENARIO({"a process is asked to unbind and does not",
          {asker(false), target(SIG_IGN, serve_regardless), caller({})}});

// Who calls is asked: with its message in the hands of the server, or the reply in its own.
SCENARIO({"a process is asked to unbind in its calls",
          {{"asker",
            [](Actor& a) {
              a.start();
              for (int i = 0; i < 2; i++) ask(a, false);
            }},
           {"target",
            [](Actor& a) {
              signal(SIGTERM, SIG_IGN);
              a.bind();
              a.ready();
              for (int i = 0; i < 3; i++) {
                Message m = a.note();
                const int64_t patience = a.patience({kAsker, kCaller, a.self});
                const int result = sendrec(a.me(), a.endpoint(kCaller), &m, patience);
                a.expect("sendrec", result, {{kCaller, kCallDeaths}, {kAsker, {}}, {a.self, {}}},
                         {-EDVSSHUTDOWN});
                a.called(result);
                a.require("the reply is to this call",
                          result != 0 || (m.type == 2 && test::whole(m)));
              }
            }},
           {"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, kSlot);
              a.ready();
              for (;;) {
                Message request;
                const bool last = a.others_done();
                const int result = rcvrqst(a.me(), &request, last ? 0 : kForever);
                if (result == -EDVSWOKENUP) continue;
                if (result == -EAGAIN && last) return;
                a.expect("rcvrqst", result);
                a.count(request);
                const Message answer = test::message(2, test::value_of(request));
                a.expect("reply", reply(a.me(), request.source, answer), {{kTarget, kReplyDeaths}},
                         {-EDVSPROCSTS});
              }
            },
            true}}});

// ---- A slot that its program has not taken ----

SCENARIO({"a slot is unbound that is to be taken",
          {{"asker",
            [](Actor& a) {
              a.start();
              a.meet({kTarget}, [&] { return a.board.words[0].load() != 0; });
              BindOptions options;
              options.level = ProcessLevel::kServer;
              options.slot = kSlot;
              options.name = "role";
              options.pid = static_cast<pid_t>(a.board.words[0].load());
              const int32_t endpoint = bind_for(a.segment, options);
              a.expect("bind_for", endpoint, {{kTarget, {-ESRCH}}, {kCaller, {}}});
              if (endpoint < 0) return;
              a.board.desks[kTarget].endpoint.store(endpoint);
              ask(a, true);
            }},
           {"target",
            [](Actor& a) {
              signal(SIGTERM, note_signal);
              a.start();
              a.board.words[0].store(static_cast<uint64_t>(getpid()));
              a.arm();
              int result;
              bool over;
              do {
                over = a.gone(kAsker) || a.board.desks[kAsker].done.load() != 0;
                result = Process::adopt(a.segment, kBriefMs, &a.own);
              } while (result == -ETIMEDOUT && !over);
              a.expect("adopt", result, {{kAsker, {-ETIMEDOUT}}, {a.self, {}}}, {-ETIMEDOUT});
              if (result == 0) serve_until_asked(a);
            },
            true},
           {"caller", [](Actor& a) {
              a.bind();
              a.start();
              a.meet({kAsker, kTarget}, [&] { return a.endpoint(kTarget) != 0; });
              a.arm();
              const int32_t endpoint = a.endpoint(kTarget);
              if (endpoint == 0) return;
              Message m = a.note();
              const int64_t patience = a.patience({kAsker, kTarget, a.self});
              const int result = sendrec(a.me(), endpoint, &m, patience);
              a.expect("sendrec", result, {{kTarget, kCallDeaths}, {kAsker, {}}, {a.self, {}}},
                       kTargetLeaves);
              a.called(result);
            }}}});

// ---- A slot that has its next owner when somebody asks for the one before ----

SCENARIO({"the next owner of a slot is not asked",
          {{"asker",
            [](Actor& a) {
              a.start();
              ask(a, true);
            }},
           {"target",
            [](Actor& a) {
              signal(SIGTERM, note_signal);
              a.bind(ProcessLevel::kServer, kSlot);
              a.ready();
              a.meet({kAsker}, [] { return asked != 0; });
              const int result = a.me().unbind();
              a.expect("unbind", result, {{kAsker, {}}, {kCaller, {}}, {a.self, {}}});
              a.board.flags[0].store(result == 0 ? 0 : 1);
            }},
           {"next", [](Actor& a) {
              a.start();
              a.meet_end(kTarget);
              a.arm();
              if (a.board.flags[0].load() != 0) return;  // it could not leave
              BindOptions options;
              options.level = ProcessLevel::kServer;
              options.slot = kSlot;
              options.name = "role";
              const int result = Process::bind(a.segment, options, &a.own);
              a.expect("bind", result, {{kAsker, {}}, {kTarget, {-EDVSSLOTUSED}}, {a.self, {}}});
              if (result == 0) a.board.desks[a.self].endpoint.store(a.own->endpoint);
            }}}});

}  // namespace
}  // namespace dvk::crash

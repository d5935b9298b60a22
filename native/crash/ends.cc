// Calls whose ends at the other node come late: who ends one is stopped before its last step, and
// meanwhile the caller is gone, or has called somebody else.

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "far.h"

namespace dvk::crash {
namespace {

// Of an answer to who may have given up, or be gone.
constexpr std::initializer_list<int> kLateReplies = {-ENOTCONN, -EDEADSRCDST, -EDVSPROCSTS};

// Answers, for the first time when somebody lets it go on.
void serve_late(Actor& a, uint32_t flag) {
  for (;;) {
    Message m;
    const bool last = a.others_done();
    const int result = rcvrqst(a.me(), &m, last ? 0 : kForever);
    if (result == -EDVSWOKENUP) continue;
    if (last && result == -EAGAIN) return;
    a.expect("rcvrqst", result);
    a.count(m);
    const int replied = reply(a.me(), m.source, test::message(2, test::value_of(m)));
    a.expect("reply", replied, {}, kLateReplies);
    a.board.flags[flag].store(1);
  }
}

// Whether node 1 has forgotten the client of node 0, whose descriptor is free there.
bool is_forgotten(Actor& a) {
  const uint32_t index = static_cast<uint32_t>(a.segment.slot_of(a.endpoint(kClient)));
  return load(a.node(1).slot(index)->life) == static_cast<uint32_t>(ProcessLife::kFree);
}

// Waits until the server is stopped with the end of the call under way, or has gone on already.
void meet_end_of_call(Actor& a) {
  a.meet({kProxy}, [&] { return a.gone(kServer) || test::state_in(a.me()) != State::kRemote; });
}

// Calls, and ends when the server is stopped with its call half ended.
Role leaving_client(bool calls) {
  return {"client", [=](Actor& a) {
            a.bind();
            a.start();
            if (!meet_server(a)) return;
            const Message m = a.note();
            const int begun = calls ? start_sendrec(a.me(), a.endpoint(kServer), m)
                                    : start_send(a.me(), a.endpoint(kServer), m);
            a.expect("the call", begun, far_fates(a, kCallDeaths));
            meet_end_of_call(a);
            _exit(0);
          }};
}

// Goes on until node 1 has forgotten the client. Then the server is let go on.
const Role kForgetting = {"other", [](Actor& a) {
                            a.start();
                            a.meet_end(kClient);
                            a.meet({kProxy}, [&] { return is_forgotten(a); });
                          }};

SCENARIO({"an answer to a caller of another node that is gone",
          {kCarrier, far_server([](Actor& a) {
             a.plan("answer.copied", Fault::kStop);
             serve_late(a, 0);
           }),
           leaving_client(true), kForgetting},
          2});

SCENARIO({"a message of a sender of another node that is gone",
          {kCarrier, far_server([](Actor& a) {
             meet_waiting_message(a);
             a.plan("take.remote", Fault::kStop);
             receive_all(a);
           }),
           leaving_client(false), kForgetting},
          2});

// ---- The answer to a call that was given up, and that to the next one ----

enum { kGivenUp, kNextAnswered, kLateAnswered };

// Waits until the second server is known at node 0. Returns whether it is.
bool meet_other(Actor& a) {
  const auto known = [&] {
    uint32_t slot;
    return check_endpoint(a.segment, a.endpoint(kOther), &slot) == 0;
  };
  a.meet({kProxy, kOther}, known);
  return known();
}

// Gives the call up when its server is stopped with the answer, and calls the other server.
void call_another(Actor& a) {
  const std::vector<If> fates = far_fates(a, kCallDeaths);
  a.expect("the call", start_sendrec(a.me(), a.endpoint(kServer), a.note()), fates);
  meet_end_of_call(a);
  a.expect("cancel", cancel(a.me(), -ETIMEDOUT), fates, {-ETIMEDOUT});
  a.board.flags[kGivenUp].store(1);
  Message m = a.note();
  const int64_t patience = a.patience({kProxy, kOther, a.self});
  const int result = sendrec(a.me(), a.endpoint(kOther), &m, patience < 0 ? 2000 : patience);
  a.expect("sendrec", result, {{kProxy, kLinkDeaths}, {kOther, kCallDeaths}, {a.self, {}}});
  a.called(result);
  a.require("the reply is to this call", result != 0 || (m.type == 2 && test::whole(m)));
}

// Keeps the second answer until the server has gone on with the first one.
void carry_late(Actor& a) {
  Carrier carrier(a);
  carrier.start();
  a.ready();
  const auto carry_until = [&](int flag, bool back) {
    a.meet({kClient, kOther}, [&] {
      carrier.carry(0);
      if (back) carrier.carry(1);
      return a.board.flags[flag].load() != 0;
    });
  };
  carry_until(kGivenUp, true);
  carry_until(kNextAnswered, false);
  const int pid = load(a.node(1).slot(1)->pid);
  if (a.gone(kServer) && pid > 0) {
    kill(pid, SIGCONT);
    carry_until(kLateAnswered, false);
  }
  while (!a.others_done()) {
    if (!carrier.move()) usleep(50);
  }
  while (carrier.move()) {
  }
}

SCENARIO({"an answer that comes when the next one waits for another node",
          {{"proxy", carry_late, true},
           far_server([](Actor& a) {
             a.plan("answer.copied", Fault::kStop);
             serve_late(a, kLateAnswered);
           }),
           far_client("client",
                      [](Actor& a) {
                        if (!meet_other(a)) return;
                        call_another(a);
                      }),
           {"second",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 2, 1);
              a.ready();
              serve_late(a, kNextAnswered);
            },
            true}},
          2});

// ---- A node that is taken out while its proxy brings a message ----

enum { kRemoved };

void carry_slowly(Actor& a) {
  Carrier carrier(a);
  carrier.start();
  a.ready();
  a.plan("deliver.reset", Fault::kStop);
  while (!a.others_done()) {
    if (!carrier.move()) usleep(50);
  }
}

SCENARIO({"a node is taken out while a message of it is delivered",
          {{"proxy", carry_slowly, true},
           far_server([](Actor& a) { serve_late(a, kRemoved + 1); }),
           far_client("client",
                      [](Actor& a) {
                        const int begun = start_sendrec(a.me(), a.endpoint(kServer), a.note());
                        a.expect("the call", begun, far_fates(a, kCallDeaths));
                        a.meet({kOther}, [&] { return a.board.flags[kRemoved].load() != 0; });
                        a.expect("cancel", cancel(a.me(), -ETIMEDOUT), far_fates(a, kCallDeaths),
                                 {-ETIMEDOUT});
                      }),
           {"other",
            [](Actor& a) {
              a.start();
              a.meet({kServer, kClient}, [&] { return a.gone(kProxy); });
              a.arm();
              a.expect("remove_node", remove_node(a.node(1), 0), {{kServer, {}}, {kClient, {}}});
              a.board.flags[kRemoved].store(1);
            }}},
          2});

}  // namespace
}  // namespace dvk::crash

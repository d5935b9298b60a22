// send, receive, sendrec, reply, relay: the rendezvous, with the receiver there first and with the
// sender, and what ends it from outside.

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "scenario.h"

namespace dvk::crash {
namespace {

enum { kServer, kClient, kOther, kLast };

// A bound client that begins when the one in front of it has come to `state`.
std::function<void(Actor&)> client(int server, State state,
                                   const std::function<void(Actor&, int)>& work) {
  return [=](Actor& a) {
    a.bind();
    a.start();
    a.meet_state(server, state);
    a.arm();
    work(a, server);
  };
}

void plain_call(Actor& a, int server) {
  call(a, server);
}

// One that comes when the first client has begun, and must be served whatever becomes of that.
std::function<void(Actor&)> late(int server, const std::function<void(Actor&, int)>& work) {
  return [=](Actor& a) {
    a.bind();
    a.start();
    a.meet_end(kClient);
    a.arm();
    work(a, server);
  };
}

// A server that begins when both clients wait in its queue.
std::function<void(Actor&)> busy(State state, const std::function<void(Actor&)>& work) {
  return [=](Actor& a) {
    a.bind(ProcessLevel::kServer, 1);
    a.start();
    a.meet_state(kClient, state);
    a.meet_state(kOther, state);
    a.arm();
    work(a);
  };
}

std::function<void(Actor&)> ready(const std::function<void(Actor&)>& work) {
  return [=](Actor& a) {
    a.bind(ProcessLevel::kServer, 1);
    a.ready();
    work(a);
  };
}

void serve_all(Actor& a) {
  serve(a);
}

SCENARIO({"send, the receiver waits",
          {{"receiver", ready(receive_all), true},
           {"sender", client(kServer, State::kAny, send_to)},
           {"other", late(kServer, send_to)}}});

SCENARIO({"send, the sender waits",
          {{"receiver", busy(State::kSending, receive_all), true},
           {"sender", client(kServer, State::kIdle, send_to)},
           {"other", client(kServer, State::kIdle, send_to)}}});

SCENARIO({"sendrec, the server waits",
          {{"server", ready(serve_all), true},
           {"client", client(kServer, State::kRequest, plain_call)},
           {"other", late(kServer, plain_call)}}});

SCENARIO({"sendrec, the client waits",
          {{"server", busy(State::kCalling, serve_all), true},
           {"client", client(kServer, State::kIdle, plain_call)},
           {"other", client(kServer, State::kIdle, plain_call)}}});

// reply_receive; the client calls twice.
SCENARIO({"reply and receive",
          {{"server", ready([](Actor& a) {
              Message m;
              int result = rcvrqst(a.me(), &m, kForever);
              while (!a.others_done()) {
                if (result != -EDVSWOKENUP) {
                  a.expect("reply_receive", result);
                  a.count(m);
                }
                const int32_t client = m.source;
                m = test::message(2, test::value_of(m));
                result = result == 0 ? reply_receive(a.me(), client, &m, kForever)
                                     : rcvrqst(a.me(), &m, kForever);
              }
            }),
            true},
           {"client", client(kServer, State::kRequest,
                             [](Actor& a, int server) {
                               call(a, server);
                               if (!a.gone(server)) call(a, server);
                             })},
           {"other", client(kServer, State::kRequest, plain_call)}}});

SCENARIO({"receive from one",
          {{"receiver",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              Message m;
              const int result =
                  receive(a.me(), a.endpoint(kClient), &m, a.patience({kClient, a.self}));
              a.expect("receive", result, {{kClient, kReceiveDeaths}, {a.self, {}}});
              if (result == 0) a.count(m);
            }},
           {"sender", [](Actor& a) {
              a.bind();
              a.start();
              a.meet_state(kServer, State::kFrom);
              a.arm();
              // Its receiver may have given up and be alive.
              const int64_t patience = a.aims_at(kServer) || a.aims_at(a.self) ? 300 : kForever;
              const int result = send(a.me(), a.endpoint(kServer), a.note(), patience);
              a.expect("send", result,
                       {{kServer, {-EDSTDIED, -EDEADSRCDST, -ETIMEDOUT}}, {a.self, {}}});
              a.sent(result);
            }}}});

SCENARIO({"receive with a filter",
          {{"receiver", ready([](Actor& a) {
              const FilterRule rule{FilterRule::kType, kEndpointNone, 1};
              a.expect("set_filter", set_filter(a.me(), true, &rule, 1));
              Message m;
              const int result = receive(a.me(), kEndpointAny, &m, 20);
              a.expect("receive", result, {}, {-ETIMEDOUT, -EDVSWOKENUP});
              if (result == 0) a.count(m);
              a.expect("clear_filter", clear_filter(a.me()));
              receive_all(a);
            }),
            true},
           {"sender", client(kServer, State::kAny, send_to)},
           {"other", late(kServer, send_to)}}});

// A call that ends by its time-out; the server looks after that what is left of it.
SCENARIO({"a call times out",
          {{"server",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              a.meet_end(kClient);
              Message m;
              const int result = rcvrqst(a.me(), &m, 0);
              if (result == 0) a.count(m);
              a.expect("rcvrqst", result, {}, {-EAGAIN});
              a.require("a call that timed out is gone", result != 0 || a.aims_at(kClient));
            }},
           {"client", client(kServer, State::kIdle, [](Actor& a, int server) {
              Message m = a.note();
              const int result = sendrec(a.me(), a.endpoint(server), &m, 20);
              a.expect("sendrec", result, {{server, kCallDeaths}}, {-ETIMEDOUT});
            })}}});

// A receiver gives up on a sender that is stopped while it fills the inbox.
SCENARIO({"a claimant is outwaited",
          {{"receiver",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.ready();
              Message m;
              const int result = receive(a.me(), a.endpoint(kClient), &m, 60);
              a.require("nothing came", result == -ETIMEDOUT);
            }},
           {"sender", [](Actor& a) {
              a.bind();
              a.start();
              a.meet_state(kServer, State::kFrom);
              a.plan("send.open", Fault::kStop);
              const int result = send(a.me(), a.endpoint(kServer), a.note(), 100);
              a.expect("send", result, {{kServer, kSendDeaths}}, {-ETIMEDOUT});
              a.sent(result);
            }}}});

// A process in an event loop: woken by a FIFO, stepped by hand.
int bind_awaitable(Actor& a, int slot) {
  const uint64_t wake_id = static_cast<uint64_t>(getpid()) << 32 | 1;
  const int fifo = wake_fifo_create(a.segment.directory(), wake_id);
  BindOptions options;
  options.level = ProcessLevel::kServer;
  options.slot = slot;
  options.wake_id = wake_id;
  a.expect("bind", Process::bind(a.segment, options, &a.own));
  a.board.desks[a.self].endpoint.store(a.own->endpoint);
  return fifo;
}

// Goes on with a call that was started, until it is done or `give_up` says so.
int await_call(Actor& a, int fifo, int result, const std::function<bool()>& give_up) {
  while (result == kPending) {
    if (give_up()) return cancel(a.me(), -ETIMEDOUT);
    if (!arm(a.me())) {
      pollfd entry{fifo, POLLIN, 0};
      poll(&entry, 1, 50);
      char bytes[64];
      const ssize_t count = read(fifo, bytes, sizeof bytes);
      disarm(a.me());
      // Nothing but a wake makes it look.
      if (count <= 0) continue;
    }
    result = step(a.me());
  }
  return result;
}

SCENARIO({"a call is awaited",
          {{"server", ready(serve_all), true},
           {"client", [](Actor& a) {
              const int fifo = bind_awaitable(a, -1);
              a.ready();
              const int64_t patience = a.patience({kServer, a.self});
              const int64_t end = now_ns() + patience * 1'000'000;
              const int started = start_sendrec(a.me(), a.endpoint(kServer), a.note());
              const int result =
                  await_call(a, fifo, started, [&] { return patience >= 0 && now_ns() > end; });
              a.expect("sendrec", result, {{kServer, kCallDeaths}, {a.self, {}}});
              a.called(result);
            }}}});

SCENARIO({"a receive is awaited",
          {{"receiver",
            [](Actor& a) {
              const int fifo = bind_awaitable(a, 1);
              a.ready();
              for (bool last = false; !last;) {
                last = a.others_done();
                const int started = start_receive(a.me(), kEndpointAny);
                const int result = await_call(a, fifo, started, [&] { return last; });
                if (result == 0) a.count(a.me().operation.message);
                a.expect("receive", result, {}, {-EDVSWOKENUP, last ? -ETIMEDOUT : 0});
                last = last && result == -ETIMEDOUT;
              }
            },
            true},
           {"sender", client(kServer, State::kAny, send_to)},
           {"other", late(kServer, send_to)}}});

// The front server hands requests on to the back one, or answers when it cannot.
SCENARIO({"relay",
          {{"front", ready([](Actor& a) {
              while (!a.others_done()) {
                Message m;
                const int result = rcvrqst(a.me(), &m, kForever);
                if (result == -EDVSWOKENUP) continue;
                a.expect("rcvrqst", result);
                const int32_t client = m.source;
                const int relayed = relay(a.me(), client, a.endpoint(kOther), m);
                a.expect(
                    "relay", relayed,
                    {{kClient, kReplyDeaths}, {a.self, kReplyDeaths}, {kOther, {-EDEADSRCDST}}},
                    {a.hurries() ? -EDVSPROCSTS : 0});
                if (relayed == -EDEADSRCDST) {
                  reply(a.me(), client, test::message(2, test::value_of(m)));
                }
              }
            }),
            true},
           {"client",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet_state(kServer, State::kRequest);
              a.arm();
              call(a, kServer, {{kOther, kCallDeaths}});
            }},
           {"back",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 2);
              a.ready();
              serve(a);
            },
            true}}});

// Two that call one another: one of them is told, and answers the other.
std::function<void(Actor&)> in_circle(int other) {
  return [=](Actor& a) {
    a.bind(ProcessLevel::kServer, a.self + 1);
    a.ready();
    Message m = a.note();
    int result = sendrec(a.me(), a.endpoint(other), &m, a.patience({other, a.self}));
    a.expect("sendrec", result, {{other, kCallDeaths}, {a.self, {}}}, {-ELOCKED});
    if (result != -ELOCKED) return;
    result = receive(a.me(), a.endpoint(other), &m, a.patience({other, a.self}));
    a.expect("receive", result, {{other, kReceiveDeaths}, {a.self, {}}});
    if (result != 0) return;
    a.count(m);
    if (a.me().last_kind != MessageKind::kCall) return;
    result = reply(a.me(), m.source, test::message(2, test::value_of(m)));
    a.expect("reply", result, {{other, kReplyDeaths}, {a.self, kReplyDeaths}});
  };
}

SCENARIO({"two wait for one another", {{"left", in_circle(1)}, {"right", in_circle(0)}}});

SCENARIO({"wakeup",
          {{"target", ready(receive_all), true},
           {"waker", client(kServer, State::kAny,
                            [](Actor& a, int target) {
                              a.expect("wakeup", wakeup(a.segment, a.endpoint(target)),
                                       {{target, {-EDEADSRCDST}}});
                            })},
           {"other", late(kServer, send_to)}}});

}  // namespace
}  // namespace dvk::crash

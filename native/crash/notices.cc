// Notifications and messages of senda: what is sent without waiting.

#include <errno.h>

#include "../core/notify.h"
#include "scenario.h"

namespace dvk::crash {
namespace {

enum { kTarget, kSender, kOther };

std::function<void(Actor&)> target() {
  return [](Actor& a) {
    a.bind(ProcessLevel::kServer, 1);
    a.ready();
    receive_all(a);
  };
}

// A target that receives when the sender has done its part.
std::function<void(Actor&)> late_target() {
  return [](Actor& a) {
    a.bind(ProcessLevel::kServer, 1);
    a.start();
    a.meet_end(kSender);
    a.arm();
    receive_all(a);
  };
}

std::function<void(Actor&)> sender(int slot, State state, const std::function<int(Actor&)>& work) {
  return [=](Actor& a) {
    a.bind(slot >= 0 ? ProcessLevel::kKernel : ProcessLevel::kUser, slot);
    a.start();
    a.meet_state(kTarget, state);
    a.arm();
    a.note();
    const int result = work(a);
    a.expect("notify", result, {{kTarget, {-EDEADSRCDST}}});
    a.sent(result);
  };
}

int plain_notify(Actor& a) {
  return notify(a.me(), a.endpoint(kTarget));
}
int value_notify(Actor& a) {
  return notify_from(a.me(), a.endpoint(kTarget), kEndpointSelf, 5);
}

// One more that must get through to the target.
std::function<void(Actor&)> other() {
  return [](Actor& a) {
    a.bind();
    a.start();
    a.meet_end(kSender);
    a.arm();
    send_to(a, kTarget);
  };
}

SCENARIO({"notify, the target waits",
          {{"target", target(), true},
           {"notifier", sender(-1, State::kAny, plain_notify)},
           {"other", other()}}});

SCENARIO({"notify, the target is busy",
          {{"target", late_target(), true},
           {"notifier", sender(-1, State::kIdle, plain_notify)},
           {"other", other()}}});

SCENARIO({"notify with a value, the target waits",
          {{"target", target(), true},
           {"notifier", sender(3, State::kAny, value_notify)},
           {"other", other()}}});

SCENARIO({"notify with a value, the target is busy",
          {{"target", late_target(), true},
           {"notifier", sender(3, State::kIdle, value_notify)},
           {"other", other()}}});

SCENARIO({"notify for another",
          {{"target", target(), true},
           {"notifier",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 3);
              a.start();
              a.meet_state(kTarget, State::kAny);
              a.arm();
              a.board.desks[kOther].most.fetch_add(1);
              const int result = notify_from(a.me(), a.endpoint(kTarget), a.endpoint(kOther), 7);
              a.expect("notify_from", result, {{kTarget, {-EDEADSRCDST}}});
            }},
           {"source", [](Actor& a) {
              a.bind(ProcessLevel::kServer, 4);
              a.ready();
              a.meet_end(kSender);
            }}}});

SCENARIO({"notify as KERNEL",
          {{"target", target(), true},
           {"driver",
            [](Actor& a) {
              a.start();
              a.meet_state(kTarget, State::kAny);
              a.arm();
              // What KERNEL sends counts at the target's desk.
              a.board.desks[kTarget].most.fetch_add(1);
              const int result = notify_kernel(a.segment, a.endpoint(kTarget), 9);
              a.expect("notify_kernel", result, {{kTarget, {-EDEADSRCDST}}});
            }},
           {"other", other()}}});

// Sends, waits for the notification that it is done, and asks what became of it.
void send_async(Actor& a) {
  const uint32_t flags = static_cast<uint32_t>(AsyncFlag::kNotify);
  const int32_t id = senda(a.me(), a.endpoint(kTarget), a.note(), flags);
  a.expect("senda", id, {{kTarget, {-EDEADSRCDST}}});
  if (id < 0) return a.sent(id);
  Message m;
  int result = receive(a.me(), kEndpointAny, &m, a.patience({kTarget, a.self}));
  a.expect("receive", result, {{kTarget, {}}, {a.self, {}}});
  int status = senda_status(a.me(), id);
  if (status == kPending) {
    a.require("a message is done when it was told", result != 0);
    result = senda_cancel(a.me(), id);
    a.expect("senda_cancel", result, {}, {-EALREADY});
    status = senda_status(a.me(), id);
    a.require("a message taken back is cancelled, or done",
              status == (result == 0 ? -ECANCELED : 0) || a.gone(kTarget));
  }
  a.expect("senda_status", status, {{kTarget, {-EDSTDIED, -EDEADSRCDST}}}, {-ECANCELED});
  a.sent(status);
}

std::function<void(Actor&)> async_sender(State state) {
  return [=](Actor& a) {
    a.bind();
    a.start();
    a.meet_state(kTarget, state);
    a.arm();
    send_async(a);
  };
}

SCENARIO({"senda, the target waits",
          {{"target", target(), true}, {"sender", async_sender(State::kAny)}, {"other", other()}}});

SCENARIO({"senda, the target is busy",
          {{"target",
            [](Actor& a) {
              a.bind(ProcessLevel::kServer, 1);
              a.start();
              a.meet_state(kSender, State::kAny);
              a.arm();
              receive_all(a);
            },
            true},
           {"sender", async_sender(State::kIdle)},
           {"other", other()}}});

// Messages whose status nobody asks for, until the table was used twice.
SCENARIO({"senda, forgotten messages",
          {{"target", target(), true},
           {"sender",
            [](Actor& a) {
              a.bind();
              a.start();
              a.meet_state(kTarget, State::kAny);
              a.arm();
              for (uint64_t i = 0; i < 3; i++) {
                const uint32_t flags = static_cast<uint32_t>(AsyncFlag::kForget);
                const int32_t id = senda(a.me(), a.endpoint(kTarget), a.note(), flags);
                a.expect("senda", id, {{kTarget, {-EDEADSRCDST}}});
                a.sent(id < 0 ? id : 0);
              }
            }},
           {"other", other()}}});

SCENARIO({"senda, taken back",
          {{"target", late_target(), true},
           {"sender", [](Actor& a) {
              a.bind();
              a.start();
              a.meet_state(kTarget, State::kIdle);
              a.arm();
              const int32_t id = senda(a.me(), a.endpoint(kTarget), a.note(), 0);
              a.expect("senda", id, {{kTarget, {-EDEADSRCDST}}});
              if (id < 0) return a.sent(id);
              const int result = senda_cancel(a.me(), id);
              a.expect("senda_cancel", result, {{kTarget, {-EALREADY}}, {a.self, {-EALREADY}}});
              a.sent(result == 0 ? -ECANCELED : 0);
            }}}});

}  // namespace
}  // namespace dvk::crash

// Awaited calls: begun, and settled at once or by a later turn of the event loop.

#include <unistd.h>
#include <uv.h>

#include <cerrno>

#include "../core/bindings.h"
#include "../core/vcopy.h"
#include "../core/wait.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// A reply from another CPU mostly comes within this time, and the event loop stands still
// meanwhile.
constexpr uint64_t kAwaitedSpinNs = 20'000;
// Looks at a call that is not complete yet: a word that changed was mostly claimed by the peer, and
// is full a moment later. One that never ends is left to the event loop.
constexpr int kLooksAtOnce = 8;

// Whether calls are to be settled by the next turn of the event loop. The promise of one that is
// settled at once is looked at before the loop turns, and so may those of all that follow, while
// timers and sockets wait.
bool turn_is_long(Environment& environment) {
  uv_metrics_t metrics;
  uv_metrics_info(environment.loop, &metrics);
  const int64_t now = now_ns();
  if (metrics.loop_count == environment.turn) {
    return now - environment.turn_begun > environment.turn_ms * int64_t{1'000'000};
  }
  environment.turn = metrics.loop_count;
  environment.turn_begun = now;
  return false;
}

// Leaves the call to the event loop, which is woken when there is something to do already.
int expect(Waker& waker, BoundProcess& bound, bool ready) {
  bound.pending = true;
  waker.pending.push_back(bound.handle);
  if (ready) wake_self(waker);
  return kPending;
}

// What a begun call came to.
int settle_or_expect(Environment& environment, Waker& waker, BoundProcess& bound, int result) {
  Process& process = *bound.process;
  if (result < 0) return result;
  if (turn_is_long(environment)) {
    if (result == 0) postpone(process, result);
    return expect(waker, bound, result == 0 || arm(process));
  }
  for (int look = 0; result == kPending && look < kLooksAtOnce; look++) {
    if (!spin_for(process, kAwaitedSpinNs) && !yield_for(process)) break;
    result = step(process);
  }
  while (result == kPending) {
    if (!arm(process)) return expect(waker, bound, false);
    disarm(process);
    serve_copy_job(process);
    result = step(process);
  }
  return result;
}

bool receives(Operation::Kind kind) {
  return kind != Operation::Kind::kSend && kind != Operation::Kind::kBind &&
         kind != Operation::Kind::kUnbind;
}

// Brings what was received, if anything, to the window.
int deliver(BoundProcess& bound, int result) {
  if (bound.process->operation.kind == Operation::Kind::kCopy) {
    return end_step(*bound.process, result);
  }
  if (result != 0 || !receives(bound.process->operation.kind)) return result;
  bound.window->message = bound.process->operation.message;
  return received(bound, result);
}

template <typename Start>
int begin(Environment& environment, BoundProcess& bound, Start start) {
  Waker* waker = environment.wakers.find(bound.waker);
  if (waker == nullptr) return -ENOTSUP;
  return deliver(bound, settle_or_expect(environment, *waker, bound, start(*bound.process)));
}

int js_begin_send(Environment& environment, BoundProcess& bound, int32_t destination) {
  return begin(environment, bound, [&](Process& process) {
    return start_send(process, destination, bound.window->message);
  });
}

int js_begin_sendrec(Environment& environment, BoundProcess& bound, int32_t destination) {
  return begin(environment, bound, [&](Process& process) {
    return start_sendrec(process, destination, bound.window->message);
  });
}

int js_begin_receive(Environment& environment, BoundProcess& bound, int32_t source) {
  return begin(environment, bound,
               [&](Process& process) { return start_receive(process, source); });
}

int js_begin_rcvrqst(Environment& environment, BoundProcess& bound) {
  return begin(environment, bound, start_rcvrqst);
}

int js_begin_reply_receive(Environment& environment, BoundProcess& bound, int32_t destination) {
  return begin(environment, bound, [&](Process& process) {
    return start_reply_receive(process, destination, bound.window->message);
  });
}

int js_begin_wait_bind(Environment& environment, BoundProcess& bound, uint32_t slot) {
  return begin(environment, bound,
               [&](Process& process) { return start_wait_bind(process, slot); });
}

int js_begin_wait_unbind(Environment& environment, BoundProcess& bound, int32_t endpoint) {
  return begin(environment, bound,
               [&](Process& process) { return start_wait_unbind(process, endpoint); });
}

// The next chunk of an awaited copy.
int js_step_vcopy(Environment& environment, BoundProcess& bound) {
  Waker* waker = environment.wakers.find(bound.waker);
  if (waker == nullptr) return -ENOTSUP;
  const int result = step_vcopy(*bound.process);
  if (result != kPending) return result;
  const int settled = settle_or_expect(environment, *waker, bound, kPending);
  return settled == kPending ? kPending : end_step(*bound.process, settled);
}

int js_turn_limit(Environment& environment, uint32_t ms) {
  environment.turn_ms = ms;
  return 0;
}

int js_cancel(Environment& environment, BoundProcess& bound, int32_t error) {
  const bool copying = bound.process->operation.stage == Operation::Stage::kCopying;
  if (!bound.pending) return copying ? cancel(*bound.process, -error) : -error;
  bound.pending = false;
  Waker* waker = environment.wakers.find(bound.waker);
  if (waker != nullptr) std::erase(waker->pending, bound.handle);
  disarm(*bound.process);
  const int result = deliver(bound, cancel(*bound.process, -error));
  // A chunk of a copy was complete all the same, and the copy is not.
  return result == kMore ? cancel(*bound.process, -error) : result;
}

// wakerStep: see src/dvk/native.ts.
int js_waker_step(Environment& environment, Waker& waker, Words results) {
  drain(waker);
  const size_t most = results.length / 2;
  size_t count = 0, kept = 0, index = 0;
  std::vector<int32_t>& pending = waker.pending;
  for (; index < pending.size() && count < most; index++) {
    BoundProcess* bound = environment.processes.find(pending[index]);
    if (bound == nullptr || !bound->pending) continue;
    Process& process = *bound->process;
    serve_copy_job(process);
    int result = step(process);
    while (result == kPending && arm(process)) {
      serve_copy_job(process);
      result = step(process);
    }
    if (result == kPending && !process.segment.running()) result = cancel(process, -EDVSDCNOTRUN);
    if (result == kPending) {
      pending[kept++] = pending[index];
      continue;
    }
    disarm(process);
    bound->pending = false;
    results.data[2 * count] = pending[index];
    results.data[2 * count + 1] = deliver(*bound, result);
    count++;
  }
  pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(kept),
                pending.begin() + static_cast<std::ptrdiff_t>(index));
  return static_cast<int>(count);
}

}  // namespace

void register_awaited_calls(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"beginSend", method<js_begin_send>},
             {"beginReceive", method<js_begin_receive>},
             {"beginSendrec", method<js_begin_sendrec>},
             {"beginRcvrqst", method<js_begin_rcvrqst>},
             {"beginReplyReceive", method<js_begin_reply_receive>},
             {"beginWaitBind", method<js_begin_wait_bind>},
             {"beginWaitUnbind", method<js_begin_wait_unbind>},
             {"stepVcopy", method<js_step_vcopy>},
             {"turnLimit", method<js_turn_limit>},
             {"cancel", method<js_cancel>},
             {"wakerStep", method<js_waker_step>},
         });
}

}  // namespace dvk::binding

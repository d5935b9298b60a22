// The calls of a bound process: the hot path. Ints cross, and the message lies in the process's
// window.

#include <cerrno>

#include "../core/bindings.h"
#include "../core/copy_job.h"
#include "../core/notify.h"
#include "../core/senda.h"
#include "../core/vcopy.h"
#include "../core/wait.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// A reply from another CPU mostly comes within this time, and the event loop stands still
// meanwhile.
constexpr uint64_t kAwaitedSpinNs = 20'000;

int received(BoundProcess& bound, int result) {
  if (result == 0) {
    bound.window->kind = static_cast<uint32_t>(bound.process->last_kind);
    bound.window->call = bound.process->last_call;
  }
  return result;
}

int js_send(BoundProcess& bound, int32_t destination, Timeout timeout) {
  return send(*bound.process, destination, bound.window->message, timeout.ms);
}

int js_receive(BoundProcess& bound, int32_t source, Timeout timeout) {
  return received(bound, receive(*bound.process, source, &bound.window->message, timeout.ms));
}

int js_sendrec(BoundProcess& bound, int32_t destination, Timeout timeout) {
  return received(bound, sendrec(*bound.process, destination, &bound.window->message, timeout.ms));
}

int js_rcvrqst(BoundProcess& bound, Timeout timeout) {
  return received(bound, rcvrqst(*bound.process, &bound.window->message, timeout.ms));
}

int js_reply(BoundProcess& bound, int32_t destination) {
  return reply(*bound.process, destination, bound.window->message);
}

int js_reply_to(BoundProcess& bound, int32_t destination, uint32_t call) {
  return reply_to(*bound.process, destination, call, bound.window->message);
}

int js_reply_receive(BoundProcess& bound, int32_t destination, Timeout timeout) {
  Message* message = &bound.window->message;
  return received(bound, reply_receive(*bound.process, destination, message, timeout.ms));
}

int js_senda(BoundProcess& bound, int32_t destination, uint32_t flags) {
  return senda(*bound.process, destination, bound.window->message, flags);
}

// setFilter(process, allow, [match, source, type, ...])
int js_set_filter(Process& process, bool allow, Words words) {
  constexpr size_t kWords = 3;
  if (words.length % kWords != 0 || words.length > kFilterRules * kWords) return -EINVAL;
  FilterRule rules[kFilterRules];
  const size_t count = words.length / kWords;
  for (size_t i = 0; i < count; i++) {
    const int32_t* rule = words.data + i * kWords;
    rules[i] = {static_cast<uint32_t>(rule[0]), rule[1], rule[2]};
  }
  return set_filter(process, allow, rules, count);
}

int js_relay(BoundProcess& bound, int32_t client, int32_t destination) {
  return relay(*bound.process, client, destination, bound.window->message);
}

int32_t js_wait_bind(Process& process, uint32_t slot, Timeout timeout) {
  return wait_bind(process, slot, timeout.ms);
}

int js_wait_unbind(Process& process, int32_t endpoint, Timeout timeout) {
  return wait_unbind(process, endpoint, timeout.ms);
}

// Whom the last wait for a bind found.
int32_t js_bound_endpoint(Process& process) {
  return process.operation.message.source;
}

// What a started call came to; a pending one is armed and noted with its waker.
int settle_or_arm(Waker& waker, BoundProcess& bound, int result) {
  Process& process = *bound.process;
  if (result == kPending && spin_for(process, kAwaitedSpinNs)) result = step(process);
  while (result == kPending) {
    if (!arm(process)) {
      bound.pending = true;
      waker.pending.push_back(bound.handle);
      return kPending;
    }
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
  return deliver(bound, settle_or_arm(*waker, bound, start(*bound.process)));
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
  const int settled = settle_or_arm(*waker, bound, kPending);
  return settled == kPending ? kPending : end_step(*bound.process, settled);
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

void register_process_calls(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"send", method<js_send>},
             {"receive", method<js_receive>},
             {"sendrec", method<js_sendrec>},
             {"rcvrqst", method<js_rcvrqst>},
             {"reply", method<js_reply>},
             {"replyTo", method<js_reply_to>},
             {"replyReceive", method<js_reply_receive>},
             {"relay", method<js_relay>},
             {"notify", method<notify>},
             {"senda", method<js_senda>},
             {"sendaStatus", method<senda_status>},
             {"sendaCancel", method<senda_cancel>},
             {"setFilter", method<js_set_filter>},
             {"clearFilter", method<clear_filter>},
             {"notifyFrom", method<notify_from>},
             {"waitBind", method<js_wait_bind>},
             {"waitUnbind", method<js_wait_unbind>},
             {"boundEndpoint", method<js_bound_endpoint>},
             {"beginSend", method<js_begin_send>},
             {"beginReceive", method<js_begin_receive>},
             {"beginSendrec", method<js_begin_sendrec>},
             {"beginRcvrqst", method<js_begin_rcvrqst>},
             {"beginWaitBind", method<js_begin_wait_bind>},
             {"beginWaitUnbind", method<js_begin_wait_unbind>},
             {"stepVcopy", method<js_step_vcopy>},
             {"cancel", method<js_cancel>},
             {"wakerStep", method<js_waker_step>},
         });
}

}  // namespace dvk::binding

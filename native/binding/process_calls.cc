// The calls of a bound process: the hot path. Ints cross, and the message lies in the process's
// window.

#include <cerrno>

#include "../core/wait.h"
#include "arguments.h"
#include "environment.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// A reply from another CPU mostly comes within this time, and the event loop stands still
// meanwhile.
constexpr uint64_t kAwaitedSpinNs = 20'000;

BoundProcess* bound_of(Environment* environment, int32_t handle) {
  BoundProcess* bound = environment->processes.find(handle);
  return bound == nullptr || bound->process == nullptr ? nullptr : bound;
}

int received(BoundProcess* bound, int result) {
  if (result == 0) bound->window->kind = static_cast<uint32_t>(bound->process->last_kind);
  return result;
}

napi_value js_send(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  const int64_t timeout_ms = a.timeout(2);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  return number(env, send(*bound->process, destination, bound->window->message, timeout_ms));
}

napi_value js_receive(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0), source = a.int32(1);
  const int64_t timeout_ms = a.timeout(2);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  const int result = receive(*bound->process, source, &bound->window->message, timeout_ms);
  return number(env, received(bound, result));
}

napi_value js_sendrec(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  const int64_t timeout_ms = a.timeout(2);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  const int result = sendrec(*bound->process, destination, &bound->window->message, timeout_ms);
  return number(env, received(bound, result));
}

napi_value js_rcvrqst(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const int64_t timeout_ms = a.timeout(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  const int result = rcvrqst(*bound->process, &bound->window->message, timeout_ms);
  return number(env, received(bound, result));
}

napi_value js_reply(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  return number(env, reply(*bound->process, destination, bound->window->message));
}

napi_value js_reply_receive(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  const int64_t timeout_ms = a.timeout(2);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  const int result =
      reply_receive(*bound->process, destination, &bound->window->message, timeout_ms);
  return number(env, received(bound, result));
}

napi_value js_notify(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  return number(env, notify(*bound->process, destination));
}

// What a started call came to; a pending one is armed and noted with its waker.
int settle_or_arm(Environment* environment, int32_t handle, BoundProcess* bound, int result) {
  Process& process = *bound->process;
  if (result == kPending && spin_for(process, kAwaitedSpinNs)) result = step(process);
  while (result == kPending) {
    if (!arm(process)) {
      bound->pending = true;
      environment->wakers.find(bound->waker)->pending.push_back(handle);
      return kPending;
    }
    disarm(process);
    result = step(process);
  }
  return result;
}

// Brings what was received, if anything, to the window.
int deliver(BoundProcess* bound, int result) {
  if (result != 0 || bound->process->operation.kind == Operation::Kind::kSend) return result;
  bound->window->message = bound->process->operation.message;
  return received(bound, result);
}

template <typename Start>
napi_value begin(napi_env env, Environment* environment, int32_t handle, Start start) {
  BoundProcess* bound = bound_of(environment, handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  if (environment->wakers.find(bound->waker) == nullptr) return number(env, -ENOTSUP);
  const int started = start(*bound->process, bound->window->message);
  return number(env, deliver(bound, settle_or_arm(environment, handle, bound, started)));
}

napi_value js_begin_send(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  if (a.bad()) return nullptr;
  return begin(env, a.environment(), handle, [&](Process& process, const Message& message) {
    return start_send(process, destination, message);
  });
}

napi_value js_begin_sendrec(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), destination = a.int32(1);
  if (a.bad()) return nullptr;
  return begin(env, a.environment(), handle, [&](Process& process, const Message& message) {
    return start_sendrec(process, destination, message);
  });
}

napi_value js_begin_receive(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), source = a.int32(1);
  if (a.bad()) return nullptr;
  return begin(env, a.environment(), handle,
               [&](Process& process, const Message&) { return start_receive(process, source); });
}

napi_value js_begin_rcvrqst(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  return begin(env, a.environment(), handle,
               [](Process& process, const Message&) { return start_rcvrqst(process); });
}

napi_value js_cancel(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), error = a.int32(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  if (!bound->pending) return number(env, -error);
  bound->pending = false;
  Waker* waker = a.environment()->wakers.find(bound->waker);
  if (waker != nullptr) std::erase(waker->pending, handle);
  disarm(*bound->process);
  return number(env, deliver(bound, cancel(*bound->process, -error)));
}

// wakerStep: see src/dvk/native.ts.
napi_value js_waker_step(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const Bytes results = a.words(1);
  if (a.bad()) return nullptr;
  Environment* environment = a.environment();
  Waker* waker = environment->wakers.find(handle);
  if (waker == nullptr) return number(env, -EBADF);
  drain(*waker);
  int32_t* out = reinterpret_cast<int32_t*>(results.data);
  const size_t most = results.length / 2;
  size_t count = 0, kept = 0, index = 0;
  std::vector<int32_t>& pending = waker->pending;
  for (; index < pending.size() && count < most; index++) {
    BoundProcess* bound = bound_of(environment, pending[index]);
    if (bound == nullptr || !bound->pending) continue;
    Process& process = *bound->process;
    int result = step(process);
    while (result == kPending && arm(process)) result = step(process);
    if (result == kPending) {
      pending[kept++] = pending[index];
      continue;
    }
    disarm(process);
    bound->pending = false;
    out[2 * count] = pending[index];
    out[2 * count + 1] = deliver(bound, result);
    count++;
  }
  pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(kept),
                pending.begin() + static_cast<std::ptrdiff_t>(index));
  return number(env, static_cast<int32_t>(count));
}

}  // namespace

bool register_process_calls(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"send", js_send},
                    {"receive", js_receive},
                    {"sendrec", js_sendrec},
                    {"rcvrqst", js_rcvrqst},
                    {"reply", js_reply},
                    {"replyReceive", js_reply_receive},
                    {"notify", js_notify},
                    {"beginSend", js_begin_send},
                    {"beginReceive", js_begin_receive},
                    {"beginSendrec", js_begin_sendrec},
                    {"beginRcvrqst", js_begin_rcvrqst},
                    {"cancel", js_cancel},
                    {"wakerStep", js_waker_step},
                });
}

}  // namespace dvk::binding

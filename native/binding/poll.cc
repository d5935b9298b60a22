// Tells TypeScript when a descriptor can be read, from the environment's own event loop.
//
// A callback's exception becomes an uncaught exception of the process. Polls left over when the
// environment ends (worker.terminate(), process exit) are closed by its cleanup hook.
// Plain N-API below, since callbacks come in raw from libuv.

#include <uv.h>

#include <cerrno>
#include <unordered_map>

#include "method.h"
#include "registers.h"

namespace dvk::binding {

struct Poll {
  uv_poll_t handle;
  Polls* owner;
  napi_ref callback;
  int32_t id;
};

// The state of one environment. It outlives the last closing handle: uv_close finishes in a later
// turn of the loop, and until then libuv writes into the Poll.
struct Polls {
  napi_env env;
  uv_loop_t* loop;
  napi_async_context context;
  napi_async_cleanup_hook_handle hook;
  std::unordered_map<int32_t, Poll*> active;
  int32_t last_id;
  int closing;
  bool ending;
};

namespace {

void release_if_done(Polls* polls) {
  if (!polls->ending || polls->closing > 0 || !polls->active.empty()) return;
  napi_async_cleanup_hook_handle hook = polls->hook;
  delete polls;
  napi_remove_async_cleanup_hook(hook);
}

void on_closed(uv_handle_t* handle) {
  Poll* poll = static_cast<Poll*>(handle->data);
  Polls* polls = poll->owner;
  delete poll;
  polls->closing--;
  release_if_done(polls);
}

void close_poll(Poll* poll) {
  Polls* polls = poll->owner;
  polls->active.erase(poll->id);
  polls->closing++;
  if (poll->callback != nullptr) napi_delete_reference(polls->env, poll->callback);
  poll->callback = nullptr;
  // uv_close takes the descriptor out of epoll before it returns, so its owner may close it at
  // once.
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), on_closed);
}

void report_exception(napi_env env) {
  napi_value error = nullptr;
  if (napi_get_and_clear_last_exception(env, &error) == napi_ok && error != nullptr) {
    napi_fatal_exception(env, error);
  }
}

void on_poll(uv_poll_t* handle, int status, int events) {
  Poll* poll = static_cast<Poll*>(handle->data);
  Polls* polls = poll->owner;
  napi_env env = polls->env;
  napi_handle_scope scope;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback = nullptr;
  napi_value receiver = nullptr;
  napi_value arguments[2];
  if (napi_get_reference_value(env, poll->callback, &callback) == napi_ok && callback != nullptr &&
      napi_get_global(env, &receiver) == napi_ok &&
      napi_create_int32(env, status, &arguments[0]) == napi_ok &&
      napi_create_int32(env, events, &arguments[1]) == napi_ok) {
    // make_callback rather than call_function: it also runs the microtasks, in which replies are
    // sent.
    napi_status result =
        napi_make_callback(env, polls->context, receiver, callback, 2, arguments, nullptr);
    if (result == napi_pending_exception) report_exception(env);
  }
  napi_close_handle_scope(env, scope);
}

void on_environment_end(napi_async_cleanup_hook_handle, void* data) {
  Polls* polls = static_cast<Polls*>(data);
  polls->ending = true;
  napi_async_destroy(polls->env, polls->context);
  while (!polls->active.empty()) close_poll(polls->active.begin()->second);
  release_if_done(polls);
}

int start_poll(Polls* polls, int fd, napi_value callback) {
  Poll* poll = new Poll{};
  poll->owner = polls;
  poll->handle.data = poll;
  int result = uv_poll_init(polls->loop, &poll->handle, fd);
  if (result < 0) {
    delete poll;
    return result;
  }
  do {
    polls->last_id = polls->last_id == INT32_MAX ? 1 : polls->last_id + 1;
  } while (polls->active.contains(polls->last_id));
  poll->id = polls->last_id;
  polls->active[poll->id] = poll;
  if (napi_create_reference(polls->env, callback, 1, &poll->callback) != napi_ok) {
    result = -ENOMEM;
  } else {
    result = uv_poll_start(&poll->handle, UV_READABLE | UV_DISCONNECT, on_poll);
  }
  if (result < 0) {
    close_poll(poll);
    return result;
  }
  return poll->id;
}

// pollStart(fd, callback) -> id; callback(status, events) gets status 0 and libuv's event bits (1
// readable, 4 disconnected), or status -errno: then polling has stopped and pollStop is still due.
int js_poll_start(Environment& environment, FileDescriptor watched, Napi::Function callback) {
  Polls* polls = environment.polls;
  return polls->ending ? -ECANCELED : start_poll(polls, watched.fd, callback);
}

Poll* find_poll(const Environment& environment, int32_t id) {
  const auto found = environment.polls->active.find(id);
  return found == environment.polls->active.end() ? nullptr : found->second;
}

// Off: the poll alone does not keep the event loop running.
int js_poll_ref(Environment& environment, int32_t id, bool on) {
  Poll* poll = find_poll(environment, id);
  if (poll == nullptr) return -EBADF;
  uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(&poll->handle);
  if (on) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
  return 0;
}

// The descriptor may be closed right after.
int js_poll_stop(Environment& environment, int32_t id) {
  Poll* poll = find_poll(environment, id);
  if (poll == nullptr) return -EBADF;
  close_poll(poll);
  return 0;
}

}  // namespace

void register_poll(Napi::Object exports, Environment* environment) {
  const napi_env env = exports.Env();
  Polls* polls = new Polls{};
  polls->env = env;
  napi_value name = nullptr;
  if (napi_get_uv_event_loop(env, &polls->loop) != napi_ok ||
      napi_create_string_utf8(env, "dvk:poll", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, nullptr, name, &polls->context) != napi_ok) {
    delete polls;
    napi_throw_error(env, nullptr, "poll: this environment has no event loop");
    return;
  }
  if (napi_add_async_cleanup_hook(env, on_environment_end, polls, &polls->hook) != napi_ok) {
    napi_async_destroy(env, polls->context);
    delete polls;
    napi_throw_error(env, nullptr, "poll: no cleanup hook");
    return;
  }
  environment->polls = polls;
  environment->loop = polls->loop;
  define(exports, environment,
         {
             {"pollStart", method<js_poll_start>},
             {"pollStop", method<js_poll_stop>},
             {"pollRef", method<js_poll_ref>},
         });
}

}  // namespace dvk::binding

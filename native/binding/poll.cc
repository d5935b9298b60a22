#include "poll.h"

#include <uv.h>

#include <cerrno>
#include <cstdint>
#include <unordered_map>

namespace dvk::binding {
namespace {

struct Polls;

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

napi_value type_error(napi_env env, const char* message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return nullptr;
}

napi_value to_js(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
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

napi_value js_poll_start(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  void* data = nullptr;
  int32_t fd = -1;
  napi_valuetype type = napi_undefined;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  if (count < 2 || napi_get_value_int32(env, arguments[0], &fd) != napi_ok || fd < 0) {
    return type_error(env, "pollStart: the descriptor must be a number of 0 or more");
  }
  if (napi_typeof(env, arguments[1], &type) != napi_ok || type != napi_function) {
    return type_error(env, "pollStart: the callback must be a function");
  }
  Polls* polls = static_cast<Polls*>(data);
  if (polls->ending) return to_js(env, -ECANCELED);
  return to_js(env, start_poll(polls, fd, arguments[1]));
}

Poll* find_poll(Polls* polls, int32_t id) {
  auto found = polls->active.find(id);
  return found == polls->active.end() ? nullptr : found->second;
}

napi_value js_poll_ref(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  void* data = nullptr;
  int32_t id = 0;
  bool on = false;
  napi_get_cb_info(env, info, &count, arguments, nullptr, &data);
  if (count < 2 || napi_get_value_int32(env, arguments[0], &id) != napi_ok ||
      napi_get_value_bool(env, arguments[1], &on) != napi_ok) {
    return type_error(env, "pollRef: expects (id, boolean)");
  }
  Poll* poll = find_poll(static_cast<Polls*>(data), id);
  if (poll == nullptr) return to_js(env, -EBADF);
  uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(&poll->handle);
  if (on) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
  return to_js(env, 0);
}

napi_value js_poll_stop(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  void* data = nullptr;
  int32_t id = 0;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  if (count < 1 || napi_get_value_int32(env, argument, &id) != napi_ok) {
    return type_error(env, "pollStop: the id must be a number");
  }
  Poll* poll = find_poll(static_cast<Polls*>(data), id);
  if (poll == nullptr) return to_js(env, -EBADF);
  close_poll(poll);
  return to_js(env, 0);
}

bool add_function(napi_env env, napi_value exports, const char* name, napi_callback function,
                  void* data) {
  napi_value value = nullptr;
  return napi_create_function(env, name, NAPI_AUTO_LENGTH, function, data, &value) == napi_ok &&
         napi_set_named_property(env, exports, name, value) == napi_ok;
}

}  // namespace

napi_value register_poll(napi_env env, napi_value exports) {
  Polls* polls = new Polls{};
  polls->env = env;
  napi_value name = nullptr;
  if (napi_get_uv_event_loop(env, &polls->loop) != napi_ok ||
      napi_create_string_utf8(env, "dvk:poll", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_async_init(env, nullptr, name, &polls->context) != napi_ok) {
    delete polls;
    napi_throw_error(env, nullptr, "poll: this environment has no event loop");
    return nullptr;
  }
  if (napi_add_async_cleanup_hook(env, on_environment_end, polls, &polls->hook) != napi_ok) {
    napi_async_destroy(env, polls->context);
    delete polls;
    napi_throw_error(env, nullptr, "poll: no cleanup hook");
    return nullptr;
  }
  if (!add_function(env, exports, "pollStart", js_poll_start, polls) ||
      !add_function(env, exports, "pollStop", js_poll_stop, polls) ||
      !add_function(env, exports, "pollRef", js_poll_ref, polls)) {
    return nullptr;  // The hook frees `polls`.
  }
  return exports;
}

}  // namespace dvk::binding

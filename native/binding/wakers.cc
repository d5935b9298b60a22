// The FIFO of an event loop: made, lent to processes, drained, removed.

#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "../core/rendezvous.h"
#include "../core/wait.h"
#include "arguments.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// The pid, then a number that starts at random: peers keep FIFOs open by id, and must not take one
// of a process that died for one of the next process with its pid.
uint64_t next_wake_id() {
  static std::atomic<uint32_t> counter = [] {
    uint32_t start = 0;
    const ssize_t bytes = getrandom(&start, sizeof start, GRND_NONBLOCK);
    return bytes == sizeof start ? start : static_cast<uint32_t>(now_ns());
  }();
  return static_cast<uint64_t>(getpid()) << 32 | counter.fetch_add(1);
}

napi_value js_waker_open(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  auto waker = std::make_shared<Waker>();
  waker->directory = open->segment->directory();
  waker->wake_id = next_wake_id();
  waker->fd = wake_fifo_create(waker->directory, waker->wake_id);
  if (waker->fd < 0) return number(env, waker->fd);
  const int32_t result = a.environment()->wakers.add(waker);
  if (result < 0) close_waker(*waker);
  return number(env, result);
}

napi_value js_waker_fd(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  Waker* waker = a.environment()->wakers.find(handle);
  return number(env, waker == nullptr ? -EBADF : waker->fd);
}

napi_value js_waker_adopt(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), process = a.int32(1);
  if (a.bad()) return nullptr;
  Waker* waker = a.environment()->wakers.find(handle);
  BoundProcess* bound = a.environment()->processes.find(process);
  if (waker == nullptr) return number(env, -EBADF);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  if (bound->pending) return number(env, -EBUSY);
  bound->waker = handle;
  store(bound->process->slot->wake_id, waker->wake_id);
  return number(env, 0);
}

napi_value js_waker_watch(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0), segment = a.int32(1);
  const bool on = a.boolean(2);
  if (a.bad()) return nullptr;
  Waker* waker = a.environment()->wakers.find(handle);
  OpenSegment* open = a.environment()->segments.find(segment);
  if (waker == nullptr || open == nullptr) return number(env, -EBADF);
  const auto monitor = atomic(open->segment->header()->monitor_wake);
  uint64_t mine = waker->wake_id;
  if (on) {
    monitor.store(mine);
  } else {
    monitor.compare_exchange_strong(mine, 0);
  }
  return number(env, 0);
}

napi_value js_waker_close(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  const std::shared_ptr<Waker> waker = a.environment()->wakers.remove(handle);
  if (waker == nullptr) return number(env, -EBADF);
  close_waker(*waker);
  return number(env, 0);
}

}  // namespace

void drain(const Waker& waker) {
  char bytes[512];
  while (read(waker.fd, bytes, sizeof bytes) == sizeof bytes) {
  }
}

bool register_wakers(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"wakerOpen", js_waker_open},
                    {"wakerFd", js_waker_fd},
                    {"wakerAdopt", js_waker_adopt},
                    {"wakerWatch", js_waker_watch},
                    {"wakerClose", js_waker_close},
                });
}

}  // namespace dvk::binding

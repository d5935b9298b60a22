// The FIFO of an event loop: made, lent to processes, drained, removed.

#include <sys/random.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "../core/rendezvous.h"
#include "../core/wait.h"
#include "method.h"
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

int js_waker_open(Environment& environment, Segment& segment) {
  auto waker = std::make_shared<Waker>();
  waker->directory = segment.directory();
  waker->wake_id = next_wake_id();
  waker->fd = wake_fifo_create(waker->directory, waker->wake_id);
  if (waker->fd < 0) return waker->fd;
  waker->handle = environment.wakers.add(waker);
  if (waker->handle < 0) close_waker(*waker);
  return waker->handle;
}

int js_waker_fd(Waker& waker) {
  return waker.fd;
}

int js_waker_adopt(Waker& waker, BoundProcess& bound) {
  if (bound.pending) return -EBUSY;
  bound.waker = waker.handle;
  store(bound.process->slot->wake_id, waker.wake_id);
  return 0;
}

int js_waker_watch(Waker& waker, Segment& segment, bool on) {
  const auto monitor = atomic(segment.header()->monitor_wake);
  uint64_t mine = waker.wake_id;
  if (on) {
    monitor.store(mine);
  } else {
    monitor.compare_exchange_strong(mine, 0);
  }
  return 0;
}

int js_waker_close(Environment& environment, Waker& waker) {
  close_waker(*environment.wakers.remove(waker.handle));
  return 0;
}

}  // namespace

void drain(const Waker& waker) {
  char bytes[512];
  while (read(waker.fd, bytes, sizeof bytes) == sizeof bytes) {
  }
}

void wake_self(const Waker& waker) {
  // A full FIFO is readable already.
  const char one = 1;
  const ssize_t written = write(waker.fd, &one, 1);
  static_cast<void>(written);
}

void register_wakers(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"wakerOpen", method<js_waker_open>},
             {"wakerFd", method<js_waker_fd>},
             {"wakerAdopt", method<js_waker_adopt>},
             {"wakerWatch", method<js_waker_watch>},
             {"wakerClose", method<js_waker_close>},
         });
}

}  // namespace dvk::binding

// What system calls on sockets have in common.
#pragma once

#include <sys/types.h>

#include <cerrno>
#include <cstdint>

#include "../core/clock.h"

namespace dvk::binding {

// Repeats `call` as long as a signal interrupts it.
template <typename Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// The same of a receive that does not wait; while there is nothing, it looks again for `spin_us`.
template <typename Receive>
ssize_t received_within(uint32_t spin_us, Receive receive) {
  ssize_t bytes = uninterrupted(receive);
  if (bytes >= 0 || errno != EAGAIN || spin_us == 0) return bytes;
  const int64_t end = now_ns() + int64_t{1000} * spin_us;
  do {
    bytes = uninterrupted(receive);
  } while (bytes < 0 && errno == EAGAIN && now_ns() < end);
  return bytes;
}

}  // namespace dvk::binding

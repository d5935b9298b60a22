// Small system calls that Node lacks, and the checksum.

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "arguments.h"
#include "crc32c.h"
#include "registers.h"

namespace dvk::binding {
namespace {

napi_value unsigned_number(napi_env env, uint32_t value) {
  napi_value result = nullptr;
  napi_create_uint32(env, value, &result);
  return result;
}

napi_value truth(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}

napi_value result_of(napi_env env, int64_t result) {
  return number(env, result < 0 ? -errno : static_cast<int32_t>(result));
}

napi_value js_crc32c(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const Bytes data = a.bytes(0);
  const uint32_t seed = a.uint32(1);
  if (a.bad()) return nullptr;
  return unsigned_number(env, crc32c(data.data, data.length, seed));
}

napi_value js_crc32c_table(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const Bytes data = a.bytes(0);
  const uint32_t seed = a.uint32(1);
  if (a.bad()) return nullptr;
  return unsigned_number(env, crc32c_table(data.data, data.length, seed));
}

napi_value js_crc32c_accelerated(napi_env env, napi_callback_info) {
  return truth(env, crc32c_accelerated());
}

napi_value js_pidfd_open(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t pid = a.int32(0);
  if (a.bad()) return nullptr;
  return result_of(env, syscall(SYS_pidfd_open, pid, 0));  // Its descriptor is close-on-exec.
}

napi_value js_close_fd(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t fd = a.int32(0);
  if (a.bad()) return nullptr;
  return result_of(env, close(fd));
}

napi_value js_die_with_parent(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t signal = a.int32(0), parent = a.int32(1);
  if (a.bad()) return nullptr;
  if (prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(signal), 0UL, 0UL, 0UL) != 0) {
    return number(env, -errno);
  }
  // A parent that ended before the prctl sends no signal any more.
  return number(env, getppid() == parent ? 0 : -ESRCH);
}

napi_value js_set_affinity(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const Bytes cpus = a.words(0);
  if (a.bad()) return nullptr;
  const int32_t* list = reinterpret_cast<const int32_t*>(cpus.data);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (size_t i = 0; i < cpus.length; i++) {
    if (list[i] < 0 || list[i] >= CPU_SETSIZE) return number(env, -EINVAL);
    CPU_SET(static_cast<size_t>(list[i]), &set);
  }
  return result_of(env, sched_setaffinity(0, sizeof set, &set));
}

void on_interrupt(int) {
  interrupted.store(true, std::memory_order_relaxed);
}

napi_value js_interrupt_on(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t signal = a.int32(0);
  if (a.bad()) return nullptr;
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;  // For everything but the futex, which never restarts.
  sigemptyset(&action.sa_mask);
  return result_of(env, sigaction(signal, &action, nullptr));
}

napi_value js_clear_interrupt(napi_env env, napi_callback_info) {
  return number(env, interrupted.exchange(false) ? 1 : 0);
}

napi_value js_process_start_time(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t pid = a.int32(0);
  if (a.bad()) return nullptr;
  napi_value result = nullptr;
  napi_create_bigint_uint64(env, process_start_time(pid), &result);
  return result;
}

napi_value js_process_alive(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t pid = a.int32(0);
  if (a.bad()) return nullptr;
  uint64_t start_time = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, a.value(1), &start_time, &lossless) != napi_ok) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "the start time must be a bigint");
    return nullptr;
  }
  return truth(env, lossless && process_alive(pid, start_time));
}

}  // namespace

bool register_system(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"crc32c", js_crc32c},
                    {"crc32cTable", js_crc32c_table},
                    {"crc32cAccelerated", js_crc32c_accelerated},
                    {"pidfdOpen", js_pidfd_open},
                    {"closeFd", js_close_fd},
                    {"dieWithParent", js_die_with_parent},
                    {"setAffinity", js_set_affinity},
                    {"interruptOn", js_interrupt_on},
                    {"clearInterrupt", js_clear_interrupt},
                    {"processStartTime", js_process_start_time},
                    {"processAlive", js_process_alive},
                });
}

}  // namespace dvk::binding

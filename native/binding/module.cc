// The addon's entry: one Environment for each main thread or Worker that loads it, and the
// functions on `exports`.

#include <node_api.h>

#include "fuse_device.h"
#include "poll.h"
#include "registers.h"

namespace dvk::binding {
namespace {

napi_value start(napi_env env, napi_value exports) {
  // First here is last at the end: polls stop before the wake FIFOs they watch are closed.
  Environment* environment = make_environment(env);
  if (environment == nullptr) return nullptr;
  if (!register_segments(env, exports, environment) ||
      !register_processes(env, exports, environment) ||
      !register_process_calls(env, exports, environment) ||
      !register_wakers(env, exports, environment) || !register_memory(env, exports, environment) ||
      !register_links(env, exports, environment) || !register_system(env, exports, environment) ||
      !register_layout(env, exports, environment)) {
    return nullptr;
  }
  if (register_poll(env, exports) == nullptr) return nullptr;
  return register_fuse_device(env, exports);
}

}  // namespace
}  // namespace dvk::binding

NAPI_MODULE_INIT() {
  return dvk::binding::start(env, exports);
}

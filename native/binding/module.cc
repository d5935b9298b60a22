// The addon's entry: one Environment for each main thread or Worker that loads it, and the
// functions on `exports`.

#include "registers.h"

namespace dvk::binding {
namespace {

Napi::Object start(Napi::Env env, Napi::Object exports) {
  // First here is last at the end: polls stop before the wake FIFOs they watch are closed.
  Environment* environment = make_environment(env);
  if (environment == nullptr) return exports;
  for (const auto add : {register_segments,      register_processes,     register_process_calls,
                         register_awaited_calls, register_privileges,    register_wakers,
                         register_memory,        register_links,         register_frames,
                         register_system,        register_layout,        register_poll,
                         register_fuse_device,   register_trace,         register_datagram,
                         register_aead,          register_packet_socket, register_udp_socket,
                         register_tcp_info,      register_compression}) {
    add(exports, environment);
  }
  return exports;
}

}  // namespace
}  // namespace dvk::binding

NAPI_MODULE_INIT() {
  return Napi::RegisterModule(env, exports, dvk::binding::start);
}

// Tells TypeScript when a descriptor can be read, from the environment's own event loop.
#pragma once

#include <node_api.h>

namespace dvk::binding {

// Adds to `exports`:
//
//   pollStart(fd, callback) -> id, or -errno; callback(status, events) gets status 0 and libuv's
//   event bits
//       (1 readable, 4 disconnected), or status -errno: then polling has stopped and pollStop is
//       still due
//   pollStop(id) -> 0, or -EBADF for an id that is not polled; the descriptor may be closed right
//   after
//   pollRef(id, on) -> 0 or -EBADF; off: the poll alone does not keep the event loop running
//
// A callback's exception becomes an uncaught exception of the process. Polls left over when the
// environment ends (worker.terminate(), process exit) are closed by its cleanup hook.
napi_value register_poll(napi_env env, napi_value exports);

}  // namespace dvk::binding

// The parts of the addon: each adds its functions to `exports`, and returns false with an exception
// pending.
#pragma once

#include <node_api.h>

#include "environment.h"

namespace dvk::binding {

bool register_segments(napi_env env, napi_value exports, Environment* environment);
bool register_processes(napi_env env, napi_value exports, Environment* environment);
bool register_process_calls(napi_env env, napi_value exports, Environment* environment);
bool register_wakers(napi_env env, napi_value exports, Environment* environment);
bool register_memory(napi_env env, napi_value exports, Environment* environment);
bool register_links(napi_env env, napi_value exports, Environment* environment);
bool register_system(napi_env env, napi_value exports, Environment* environment);
bool register_layout(napi_env env, napi_value exports, Environment* environment);

// Empties the FIFO of a waker.
void drain(const Waker& waker);

}  // namespace dvk::binding

// Binding and unbinding of processes, of this node and of others.

#include <cerrno>

#include "arguments.h"
#include "registers.h"

namespace dvk::binding {
namespace {

bool is_level(uint32_t level) {
  return level <= static_cast<uint32_t>(ProcessLevel::kKernel);
}

// bind(segment, slot or -1, level, name, pid or 0) -> process
napi_value js_bind(napi_env env, napi_callback_info info) {
  Arguments<5> a(env, info);
  const int32_t handle = a.int32(0), slot = a.int32(1);
  const uint32_t level = a.uint32(2);
  const std::string name = a.text(3);
  const int32_t pid = a.int32(4);
  if (a.bad()) return nullptr;
  const std::shared_ptr<OpenSegment> owner = a.environment()->segments.share(handle);
  if (owner == nullptr) return number(env, -EBADF);
  if (!is_level(level) || name.size() >= kNameBytes || pid < 0) return number(env, -EINVAL);
  if (slot < -1) return number(env, -EDVSBADPROC);
  BindOptions options;
  options.slot = slot;
  options.level = static_cast<ProcessLevel>(level);
  options.name = name.c_str();
  options.pid = pid;
  Process* process = nullptr;
  const int error = Process::bind(*owner->segment, options, &process);
  if (error < 0) return number(env, error);
  auto bound = std::make_shared<BoundProcess>();
  bound->owner = owner;
  bound->process.reset(process);
  bound->window = std::make_shared<Window>();
  const int32_t result = a.environment()->processes.add(bound);
  if (result < 0) unbind_process(*bound);
  return number(env, result);
}

napi_value js_unbind(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  const std::shared_ptr<BoundProcess> bound = a.environment()->processes.remove(handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  Waker* waker = a.environment()->wakers.find(bound->waker);
  if (waker != nullptr) std::erase(waker->pending, handle);
  return number(env, unbind_process(*bound));
}

napi_value js_process_endpoint(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  BoundProcess* bound = a.environment()->processes.find(handle);
  return number(env, bound == nullptr ? -EDVSNOTBOUND : bound->process->endpoint);
}

// The window is referenced by its ArrayBuffer and by the process, so either may end first.
napi_value js_process_window(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const int32_t handle = a.int32(0);
  if (a.bad()) return nullptr;
  BoundProcess* bound = a.environment()->processes.find(handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  auto* kept = new std::shared_ptr<Window>(bound->window);
  napi_value result = nullptr;
  const auto release = [](napi_env, void*, void* hint) {
    delete static_cast<std::shared_ptr<Window>*>(hint);
  };
  if (napi_create_external_arraybuffer(env, kept->get(), sizeof(Window), release, kept, &result) !=
      napi_ok) {
    delete kept;
    napi_throw_error(env, nullptr, "dvk: this Node.js has no external buffers");
    return nullptr;
  }
  return result;
}

napi_value js_bind_remote(napi_env env, napi_callback_info info) {
  Arguments<5> a(env, info);
  const int32_t handle = a.int32(0), endpoint = a.int32(1);
  const uint32_t node = a.uint32(2), level = a.uint32(3);
  const std::string name = a.text(4);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  if (open == nullptr) return number(env, -EBADF);
  if (!is_level(level) || name.size() >= kNameBytes) return number(env, -EINVAL);
  return number(env, bind_remote(*open->segment, endpoint, node, static_cast<ProcessLevel>(level),
                                 name.c_str()));
}

napi_value js_unbind_remote(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), endpoint = a.int32(1);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  return number(env, open == nullptr ? -EBADF : unbind_remote(*open->segment, endpoint));
}

napi_value js_lookup(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t slot = a.uint32(1);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  return number(env, open == nullptr ? -EBADF : lookup(*open->segment, slot));
}

napi_value js_check_endpoint(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), endpoint = a.int32(1);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  uint32_t slot = 0;
  return number(env, open == nullptr ? -EBADF : check_endpoint(*open->segment, endpoint, &slot));
}

napi_value js_reap(napi_env env, napi_callback_info info) {
  Arguments<3> a(env, info);
  const int32_t handle = a.int32(0);
  const uint32_t slot = a.uint32(1);
  const int32_t endpoint = a.int32(2);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  return number(env, open == nullptr ? -EBADF : reap(*open->segment, slot, endpoint));
}

napi_value js_wakeup(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), endpoint = a.int32(1);
  if (a.bad()) return nullptr;
  OpenSegment* open = a.environment()->segments.find(handle);
  return number(env, open == nullptr ? -EBADF : wakeup(*open->segment, endpoint));
}

}  // namespace

bool register_processes(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"bind", js_bind},
                    {"unbind", js_unbind},
                    {"processEndpoint", js_process_endpoint},
                    {"processWindow", js_process_window},
                    {"bindRemote", js_bind_remote},
                    {"unbindRemote", js_unbind_remote},
                    {"lookup", js_lookup},
                    {"checkEndpoint", js_check_endpoint},
                    {"reap", js_reap},
                    {"wakeup", js_wakeup},
                });
}

}  // namespace dvk::binding

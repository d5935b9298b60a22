#include "environment.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "../core/wait.h"
#include "method.h"

namespace dvk::binding {
namespace {

// process.exit() runs no cleanup hooks on the main thread, so the environments that are left are
// released by atexit.
std::mutex living_mutex;
std::vector<Environment*>& living() {
  static auto* environments = new std::vector<Environment*>();
  return *environments;
}

void release(Environment& environment) {
  environment.processes.each([](BoundProcess& bound) { unbind_process(bound); });
  environment.processes.clear();
  environment.wakers.each([](Waker& waker) { close_waker(waker); });
  environment.wakers.clear();
  environment.segments.clear();
}

void on_exit() {
  const std::lock_guard<std::mutex> guard(living_mutex);
  for (Environment* environment : living()) release(*environment);
  living().clear();
}

thread_local Environment* current = nullptr;

// A Worker that is told to terminate runs no more JavaScript, and that is the only way to learn of
// it: a blocked call asks now and then, so that worker.terminate() and process.exit() do not wait
// for a message that may never come.
bool still_wanted() {
  if (current == nullptr) return true;
  // Raw, since node-addon-api would throw once more what this call is about to find out.
  const Napi::Env env = current->env;
  const Napi::HandleScope scope(env);
  return napi_call_function(env, env.Undefined(), current->nothing.Value(), 0, nullptr, nullptr) ==
         napi_ok;
}

void on_environment_end(void* data) {
  Environment* environment = static_cast<Environment*>(data);
  {
    const std::lock_guard<std::mutex> guard(living_mutex);
    std::erase(living(), environment);
  }
  release(*environment);
  current = nullptr;
  delete environment;
}

void do_nothing(const Napi::CallbackInfo&) {}

}  // namespace

void throw_wrong(napi_env env, const char* what) {
  const std::string message = std::string("an argument must be ") + what;
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message.c_str());
}

void define(Napi::Object exports, Environment* environment,
            std::initializer_list<Function> functions) {
  for (const Function& function : functions) {
    napi_value value = nullptr;
    napi_create_function(exports.Env(), function.name, NAPI_AUTO_LENGTH, function.callback,
                         environment, &value);
    exports.Set(function.name, value);
  }
}

int unbind_process(BoundProcess& bound) {
  if (bound.process == nullptr) return -EDVSNOTBOUND;
  if (bound.pending) {
    bound.pending = false;
    disarm(*bound.process);
    cancel(*bound.process, -ECANCELED);
  }
  const int result = bound.process->unbind();
  bound.process.reset();
  return result;
}

void close_waker(Waker& waker) {
  if (waker.fd < 0) return;
  wake_fifo_remove(waker.directory, waker.wake_id);
  close(waker.fd);
  waker.fd = -1;
}

Environment* make_environment(Napi::Env env) {
  Environment* environment = new Environment(env);
  environment->nothing = Napi::Persistent(Napi::Function::New<do_nothing>(env));
  if (env.IsExceptionPending() ||
      napi_add_env_cleanup_hook(env, on_environment_end, environment) != napi_ok) {
    delete environment;
    napi_throw_error(env, nullptr, "dvk: the environment cannot be set up");
    return nullptr;
  }
  current = environment;
  abandoned = [] { return !still_wanted(); };
  is_abandoned_soon = gettid() != getpid();
  const std::lock_guard<std::mutex> guard(living_mutex);
  static const int registered = std::atexit(on_exit);
  static_cast<void>(registered);
  living().push_back(environment);
  return environment;
}

}  // namespace dvk::binding

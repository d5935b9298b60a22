// What processes may do: asked, and changed.

#include <cerrno>

#include "../core/privilege.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// A mask of 64 bits; false for a number that has more, or is negative.
bool read_mask(const Napi::BigInt& value, uint64_t* mask) {
  bool lossless = false;
  *mask = value.Uint64Value(&lossless);
  return lossless;
}

bool read_privileges(uint32_t rights, const Napi::BigInt& ipc_to, const Napi::BigInt& ipc_from,
                     Privileges* privileges) {
  privileges->rights = rights;
  return read_mask(ipc_to, &privileges->ipc_to) && read_mask(ipc_from, &privileges->ipc_from);
}

// privileges(segment, endpoint) -> { rights, ipcTo, ipcFrom }, or -errno
Napi::Value js_privileges(Environment& environment, Segment& segment, int32_t endpoint) {
  const Napi::Env env = environment.env;
  Privileges found{};
  const int error = get_privileges(segment, endpoint, &found);
  if (error != 0) return Napi::Number::New(env, error);
  Napi::Object object = Napi::Object::New(env);
  object.Set("rights", found.rights);
  object.Set("ipcTo", Napi::BigInt::New(env, found.ipc_to));
  object.Set("ipcFrom", Napi::BigInt::New(env, found.ipc_from));
  return object;
}

int js_set_privileges(Segment& segment, int32_t endpoint, uint32_t rights, Napi::BigInt ipc_to,
                      Napi::BigInt ipc_from) {
  Privileges given{};
  if (!read_privileges(rights, ipc_to, ipc_from, &given)) return -EINVAL;
  return set_privileges(segment, endpoint, given);
}

int js_process_set_privileges(Process& process, int32_t endpoint, uint32_t rights,
                              Napi::BigInt ipc_to, Napi::BigInt ipc_from) {
  Privileges given{};
  if (!read_privileges(rights, ipc_to, ipc_from, &given)) return -EINVAL;
  return set_privileges(process, endpoint, given);
}

}  // namespace

void register_privileges(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"privileges", method<js_privileges>},
             {"setPrivileges", method<js_set_privileges>},
             {"processSetPrivileges", method<js_process_set_privileges>},
         });
}

}  // namespace dvk::binding

// Grants, arena memory and vcopy.

#include <cerrno>

#include "../core/vcopy.h"
#include "arguments.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr double kSafeInteger = 9007199254740991.0;

BoundProcess* bound_of(Environment* environment, int32_t handle) {
  BoundProcess* bound = environment->processes.find(handle);
  return bound == nullptr || bound->process == nullptr ? nullptr : bound;
}

napi_value real(napi_env env, int64_t value) {
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(value), &result);
  return result;
}

struct Place {
  uint64_t at = 0;
  bool is_view = false;
};

// Reads a view of at least `bytes`. Returns false with an exception pending.
bool read_view(napi_env env, napi_value value, double bytes, Place* place) {
  bool is = false;
  napi_typedarray_type array = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_is_typedarray(env, value, &is) != napi_ok || !is ||
      napi_get_typedarray_info(env, value, &array, &length, &data, nullptr, nullptr) != napi_ok ||
      array != napi_uint8_array) {
    napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE",
                          "a place must be a Uint8Array, a number or a bigint");
    return false;
  }
  if (static_cast<double>(length) < bytes) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "the view is shorter than the copy");
    return false;
  }
  *place = {reinterpret_cast<uint64_t>(data), true};
  return true;
}

// A place in memory: a Uint8Array, an offset in a grant (number), or an address (bigint).
// Returns false with an exception pending.
bool read_place(napi_env env, napi_value value, double bytes, Place* place) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  if (type == napi_bigint) {
    bool lossless = false;
    if (napi_get_value_bigint_uint64(env, value, &place->at, &lossless) == napi_ok && lossless) {
      return true;
    }
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "an address must fit in 64 bits");
    return false;
  }
  if (type != napi_number) return read_view(env, value, bytes, place);
  double offset = 0;
  napi_get_value_double(env, value, &offset);
  if (!(offset >= 0) || offset > kSafeInteger) {
    napi_throw_range_error(env, "ERR_OUT_OF_RANGE", "an offset must be 0 or more");
    return false;
  }
  place->at = static_cast<uint64_t>(offset);
  return true;
}

// Own memory is given as a view and in no other way, and a view is own memory: the core copies from
// and to the caller's own addresses as they are.
bool fits(const Process& process, const CopyParty& party, const Place& place) {
  const bool own = party.endpoint == process.endpoint || party.endpoint == kEndpointSelf;
  return party.grant >= 0 ? !place.is_view : place.is_view == own && party.grant == -1;
}

// vcopy(process, source endpoint, grant or -1, place, destination endpoint, grant or -1, place,
// bytes, timeout)
napi_value js_vcopy(napi_env env, napi_callback_info info) {
  Arguments<9> a(env, info);
  const int32_t handle = a.int32(0);
  CopyParty source{a.int32(1), a.int32(2), 0};
  CopyParty destination{a.int32(4), a.int32(5), 0};
  const double bytes = a.real(7);
  const int64_t timeout_ms = a.timeout(8);
  if (a.bad()) return nullptr;
  if (!(bytes >= 0) || bytes > kSafeInteger) return number(env, -ERANGE);
  Place from, to;
  if (!read_place(env, a.value(3), bytes, &from) || !read_place(env, a.value(6), bytes, &to)) {
    return nullptr;
  }
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  Process& process = *bound->process;
  if (!fits(process, source, from) || !fits(process, destination, to)) return number(env, -EINVAL);
  source.at = from.at;
  destination.at = to.at;
  return real(env, vcopy(process, source, destination, static_cast<uint64_t>(bytes), timeout_ms));
}

napi_value js_grant(napi_env env, napi_callback_info info) {
  Arguments<4> a(env, info);
  const int32_t handle = a.int32(0);
  const Bytes view = a.bytes(1);
  const uint32_t rights = a.uint32(2);
  const int32_t grantee = a.int32(3);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  return number(env, grant(*bound->process, view.data, view.length, rights, grantee));
}

napi_value js_revoke(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0), id = a.int32(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  return number(env, bound == nullptr ? -EDVSNOTBOUND : revoke(*bound->process, id));
}

napi_value js_arena_allocate(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const double bytes = a.real(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  if (!(bytes >= 1) || bytes > kSafeInteger) return number(env, -EINVAL);
  return real(env, arena_allocate(*bound->process, static_cast<uint64_t>(bytes)));
}

napi_value js_arena_free(napi_env env, napi_callback_info info) {
  Arguments<2> a(env, info);
  const int32_t handle = a.int32(0);
  const double offset = a.real(1);
  if (a.bad()) return nullptr;
  BoundProcess* bound = bound_of(a.environment(), handle);
  if (bound == nullptr) return number(env, -EDVSNOTBOUND);
  if (!(offset >= 0) || offset > kSafeInteger) return number(env, -EINVAL);
  return number(env, arena_free(*bound->process, static_cast<uint64_t>(offset)));
}

napi_value js_address_of(napi_env env, napi_callback_info info) {
  Arguments<1> a(env, info);
  const Bytes view = a.bytes(0);
  if (a.bad()) return nullptr;
  napi_value result = nullptr;
  napi_create_bigint_uint64(env, reinterpret_cast<uint64_t>(view.data), &result);
  return result;
}

}  // namespace

bool register_memory(napi_env env, napi_value exports, Environment* environment) {
  return define(env, exports, environment,
                {
                    {"vcopy", js_vcopy},
                    {"grant", js_grant},
                    {"revoke", js_revoke},
                    {"arenaAllocate", js_arena_allocate},
                    {"arenaFree", js_arena_free},
                    {"addressOf", js_address_of},
                });
}

}  // namespace dvk::binding

// Grants, arena memory and vcopy. Places are read by plain N-API, since vcopy is hot.

#include <cerrno>

#include "../core/vcopy.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

constexpr double kSafeInteger = 9007199254740991.0;

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

// Both ends of a copy, read from what vcopy and beginVcopy have in common.
struct Ends {
  CopyParty source, destination;
  // Returns 0 or an error; a wrong type also leaves an exception pending.
  int read(napi_env env, const Process& process, napi_value from_value, napi_value to_value,
           double bytes) {
    if (!(bytes >= 0) || bytes > kSafeInteger) return -ERANGE;
    Place from, to;
    if (!read_place(env, from_value, bytes, &from)) return -EINVAL;
    if (!read_place(env, to_value, bytes, &to)) return -EINVAL;
    source.at = from.at;
    destination.at = to.at;
    return fits(process, source, from) && fits(process, destination, to) ? 0 : -EINVAL;
  }
};

// vcopy(process, source endpoint, grant or -1, place, destination endpoint, grant or -1, place,
// bytes, timeout)
int64_t js_vcopy(Environment& environment, Process& process, int32_t source_endpoint,
                 int32_t source_grant, napi_value from, int32_t destination_endpoint,
                 int32_t destination_grant, napi_value to, double bytes, Timeout timeout) {
  Ends ends{{source_endpoint, source_grant, 0}, {destination_endpoint, destination_grant, 0}};
  const int error = ends.read(environment.env, process, from, to, bytes);
  if (error != 0) return error;
  return vcopy(process, ends.source, ends.destination, static_cast<uint64_t>(bytes), timeout.ms);
}

// The same without the time-out: what start_vcopy returns.
int js_begin_vcopy(Environment& environment, Process& process, int32_t source_endpoint,
                   int32_t source_grant, napi_value from, int32_t destination_endpoint,
                   int32_t destination_grant, napi_value to, double bytes) {
  Ends ends{{source_endpoint, source_grant, 0}, {destination_endpoint, destination_grant, 0}};
  const int error = ends.read(environment.env, process, from, to, bytes);
  if (error != 0) return error;
  return start_vcopy(process, ends.source, ends.destination, static_cast<uint64_t>(bytes));
}

// Elements first to first + 2 of `parts` as a party. Returns 0, or an error; a wrong type also
// leaves an exception pending.
int read_party(const Process& process, const Napi::Array& parts, uint32_t first, double bytes,
               CopyParty* party) {
  const Napi::Env env = parts.Env();
  Place place;
  if (napi_get_value_int32(env, parts.Get(first), &party->endpoint) != napi_ok ||
      napi_get_value_int32(env, parts.Get(first + 1), &party->grant) != napi_ok ||
      !read_place(env, parts.Get(first + 2), bytes, &place)) {
    return -EINVAL;
  }
  party->at = place.at;
  return fits(process, *party, place) ? 0 : -EINVAL;
}

// vcopyVector(process, elements, timeout), an element being [source endpoint, grant or -1, place,
// destination endpoint, grant or -1, place, bytes].
int64_t js_vcopy_vector(Process& process, Napi::Object given, Timeout timeout) {
  if (!given.IsArray()) return -EINVAL;
  const Napi::Array list = given.As<Napi::Array>();
  if (list.Length() > kCopyElementsMax) return -ERANGE;
  CopyElement elements[kCopyElementsMax];
  for (uint32_t i = 0; i < list.Length(); i++) {
    const Napi::Value each = list.Get(i);
    if (!each.IsArray()) return -EINVAL;
    const Napi::Array parts = each.As<Napi::Array>();
    double bytes = -1;
    napi_get_value_double(list.Env(), parts.Get(6), &bytes);
    if (!(bytes >= 0) || bytes > kSafeInteger) return -ERANGE;
    elements[i].bytes = static_cast<uint64_t>(bytes);
    int error = read_party(process, parts, 0, bytes, &elements[i].source);
    if (error == 0) error = read_party(process, parts, 3, bytes, &elements[i].destination);
    if (error != 0) return error;
  }
  return vcopy_vector(process, elements, list.Length(), timeout.ms);
}

int64_t js_copied(Process& process) {
  return static_cast<int64_t>(process.copied);
}

int js_grant(Process& process, Bytes view, uint32_t rights, int32_t grantee) {
  return grant(process, view.data, view.length, rights, grantee);
}

int64_t js_arena_allocate(Process& process, double bytes) {
  if (!(bytes >= 1) || bytes > kSafeInteger) return -EINVAL;
  return arena_allocate(process, static_cast<uint64_t>(bytes));
}

int js_arena_free(Process& process, double offset) {
  if (!(offset >= 0) || offset > kSafeInteger) return -EINVAL;
  return arena_free(process, static_cast<uint64_t>(offset));
}

uint64_t js_address_of(Bytes view) {
  return reinterpret_cast<uint64_t>(view.data);
}

}  // namespace

void register_memory(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"vcopy", method<js_vcopy>},
             {"beginVcopy", method<js_begin_vcopy>},
             {"grant", method<js_grant>},
             {"vcopyVector", method<js_vcopy_vector>},
             {"copied", method<js_copied>},
             {"grantIndirect", method<grant_indirect>},
             {"revoke", method<revoke>},
             {"arenaAllocate", method<js_arena_allocate>},
             {"arenaFree", method<js_arena_free>},
             {"addressOf", method<js_address_of>},
         });
}

}  // namespace dvk::binding

// Makes plain objects for JavaScript; for administration only, since one property costs some 100
// ns.
#pragma once

#include <node_api.h>

#include <cstdint>

namespace dvk::binding {

class Object {
 public:
  explicit Object(napi_env env) : env_(env) {
    napi_create_object(env, &value_);
  }
  void set(const char* name, double number) {
    napi_value value = nullptr;
    napi_create_double(env_, number, &value);
    napi_set_named_property(env_, value_, name, value);
  }
  // Counters; exact up to 2^53.
  void set_count(const char* name, uint64_t number) {
    set(name, static_cast<double>(number));
  }
  void set_big(const char* name, uint64_t number) {
    napi_value value = nullptr;
    napi_create_bigint_uint64(env_, number, &value);
    napi_set_named_property(env_, value_, name, value);
  }
  void set(const char* name, const char* text) {
    napi_value value = nullptr;
    napi_create_string_utf8(env_, text, NAPI_AUTO_LENGTH, &value);
    napi_set_named_property(env_, value_, name, value);
  }
  void set(const char* name, napi_value value) {
    napi_set_named_property(env_, value_, name, value);
  }
  napi_value value() const {
    return value_;
  }

 private:
  napi_env env_;
  napi_value value_ = nullptr;
};

}  // namespace dvk::binding

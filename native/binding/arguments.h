// Reads the arguments of a call from JavaScript, and throws TypeError for a wrong one.
//
// Plain N-API: a call with three ints costs some 40 ns this way, and a third more through classes.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace dvk::binding {

struct Environment;

inline napi_value number(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}

// Bytes of a view on JavaScript's side; valid until the call returns.
struct Bytes {
  uint8_t* data = nullptr;
  size_t length = 0;
};

// The arguments of one call. After a failed read an exception is pending, and every later read
// fails too, so a function reads all it needs and looks at `bad` once.
template <size_t kCount>
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = kCount;
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, values_, nullptr, &data);
    environment_ = static_cast<Environment*>(data);
    // Missing ones are undefined, and fail at their read.
  }
  Environment* environment() const {
    return environment_;
  }
  bool bad() const {
    return bad_;
  }
  napi_value value(size_t index) const {
    return values_[index];
  }

  int32_t int32(size_t index) {
    int32_t result = 0;
    if (!bad_ && napi_get_value_int32(env_, values_[index], &result) != napi_ok) wrong("a number");
    return result;
  }
  uint32_t uint32(size_t index) {
    uint32_t result = 0;
    if (!bad_ && napi_get_value_uint32(env_, values_[index], &result) != napi_ok) wrong("a number");
    return result;
  }
  double real(size_t index) {
    double result = 0;
    if (!bad_ && napi_get_value_double(env_, values_[index], &result) != napi_ok) wrong("a number");
    return result;
  }
  // Milliseconds; negative, not-a-number and endless mean for ever, a fraction counts as a whole.
  int64_t timeout(size_t index) {
    constexpr double kMost = 9e15;
    const double ms = real(index);
    if (!(ms >= 0) || ms > kMost) return -1;
    const int64_t whole = static_cast<int64_t>(ms);
    return static_cast<double>(whole) < ms ? whole + 1 : whole;
  }
  bool boolean(size_t index) {
    bool result = false;
    if (!bad_ && napi_get_value_bool(env_, values_[index], &result) != napi_ok) wrong("a boolean");
    return result;
  }
  std::string text(size_t index) {
    size_t length = 0;
    if (bad_) return {};
    if (napi_get_value_string_utf8(env_, values_[index], nullptr, 0, &length) != napi_ok) {
      wrong("a string");
      return {};
    }
    std::string result(length, '\0');
    napi_get_value_string_utf8(env_, values_[index], result.data(), length + 1, &length);
    if (result.find('\0') != std::string::npos) wrong("a string without NUL");
    return result;
  }
  // The bytes of a Uint8Array (a Buffer is one).
  Bytes bytes(size_t index) {
    return view(index, napi_uint8_array, "a Uint8Array");
  }
  // A Int32Array; its length is given in elements.
  Bytes words(size_t index) {
    return view(index, napi_int32_array, "an Int32Array");
  }

 private:
  Bytes view(size_t index, napi_typedarray_type wanted, const char* what) {
    Bytes result;
    if (bad_) return result;
    bool is = false;
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    if (napi_is_typedarray(env_, values_[index], &is) != napi_ok || !is ||
        napi_get_typedarray_info(env_, values_[index], &type, &result.length, &data, nullptr,
                                 nullptr) != napi_ok ||
        type != wanted) {
      wrong(what);
      return {};
    }
    result.data = static_cast<uint8_t*>(data);
    return result;
  }
  void wrong(const char* what) {
    bad_ = true;
    const std::string message = std::string("an argument must be ") + what;
    napi_throw_type_error(env_, "ERR_INVALID_ARG_TYPE", message.c_str());
  }

  napi_env env_;
  Environment* environment_ = nullptr;
  napi_value values_[kCount] = {};
  bool bad_ = false;
};

struct Function {
  const char* name;
  napi_callback callback;
};

// Adds functions to `exports`; each gets `environment` as its data. Returns false with an exception
// pending.
bool define(napi_env env, napi_value exports, Environment* environment,
            std::initializer_list<Function> functions);

}  // namespace dvk::binding

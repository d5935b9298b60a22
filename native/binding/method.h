// Makes functions of C++ such of JavaScript: the types of the parameters say how the arguments are
// read, and the type of the result says what it becomes.
//
// Environment& takes no argument. Segment&, Waker&, BoundProcess& and Process& take a handle; one
// that is not open ends the call with -EBADF or -EDVSNOTBOUND. All arguments are read before that,
// so a wrong one throws TypeError in any case.
#pragma once

#include <initializer_list>
#include <tuple>
#include <type_traits>
#include <utility>

#include "arguments.h"

namespace dvk::binding {

inline napi_value to_js(napi_env env, int32_t value) {
  napi_value result = nullptr;
  napi_create_int32(env, value, &result);
  return result;
}
inline napi_value to_js(napi_env env, uint32_t value) {
  napi_value result = nullptr;
  napi_create_uint32(env, value, &result);
  return result;
}
// Exact up to 2^53.
inline napi_value to_js(napi_env env, int64_t value) {
  return Napi::Number::New(env, static_cast<double>(value));
}
inline napi_value to_js(napi_env env, uint64_t value) {
  return Napi::BigInt::New(env, value);
}
inline napi_value to_js(napi_env env, bool value) {
  return Napi::Boolean::New(env, value);
}
inline napi_value to_js(napi_env env, const std::string& value) {
  return Napi::String::New(env, value);
}
inline napi_value to_js(napi_env, const Napi::Value& value) {
  return value;
}

// How an argument lies between its read and the call; a reference is read as a pointer.
template <typename Parameter>
using Held =
    std::conditional_t<std::is_reference_v<Parameter>, std::remove_cvref_t<Parameter>*, Parameter>;

template <typename Parameter>
Parameter take(Held<Parameter>& held) {
  if constexpr (std::is_reference_v<Parameter>) {
    return *held;
  } else {
    return std::move(held);
  }
}

template <auto kFunction, typename Result, typename... Parameters>
napi_value call(napi_env env, napi_callback_info info, Result (*)(Parameters...)) {
  Arguments<sizeof...(Parameters)> arguments(env, info);
  std::tuple<Held<Parameters>...> held;
  std::apply([&](auto&... each) { (arguments.read(each), ...); }, held);
  if (arguments.wrong()) return nullptr;
  if (arguments.error() != 0) return to_js(env, arguments.error());
  return std::apply([&](auto&... each) { return to_js(env, kFunction(take<Parameters>(each)...)); },
                    held);
}

template <auto kFunction>
napi_value method(napi_env env, napi_callback_info info) {
  return call<kFunction>(env, info, kFunction);
}

// Memory of `owner`, which it keeps until JavaScript no longer references it.
template <typename Owner>
Napi::Value shared_buffer(napi_env env, std::shared_ptr<Owner> owner, void* data, size_t bytes) {
  return Napi::ArrayBuffer::New(env, data, bytes, [owner](Napi::Env, void*) {});
}

struct Function {
  const char* name;
  napi_callback callback;
};

// Adds functions to `exports`; an exception is pending when that fails.
void define(Napi::Object exports, Environment* environment,
            std::initializer_list<Function> functions);

}  // namespace dvk::binding

// Reads the arguments of one call from JavaScript, each by its type in C++; throws TypeError for a
// wrong one.
//
// Plain N-API for ints, bytes and handles, since the hot calls come through here: three ints cost
// some 40 ns this way, and a third more through Napi::CallbackInfo.
#pragma once

#include <napi.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "environment.h"

namespace dvk::binding {

// Elements of a Uint8Array (a Buffer is one) or Int32Array; valid until the call returns.
template <typename T>
struct View {
  T* data = nullptr;
  size_t length = 0;
};
using Bytes = View<uint8_t>;
using Words = View<int32_t>;

// Milliseconds; negative, not-a-number and endless mean for ever, a fraction counts as a whole.
struct Timeout {
  int64_t ms = -1;
};

struct FileDescriptor {
  int32_t fd = -1;
};

// Throws TypeError: an argument must be `what`.
void throw_wrong(napi_env env, const char* what);

// Missing arguments are undefined, and fail at their read. After a wrong one an exception is
// pending; a handle that is not open sets `error`.
template <size_t kCount>
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = kCount;
    void* data = nullptr;
    napi_get_cb_info(env, info, &count, values_, nullptr, &data);
    environment_ = static_cast<Environment*>(data);
  }
  bool wrong() const {
    return wrong_;
  }
  int error() const {
    return error_;
  }

  void read(Environment*& out) {
    out = environment_;
  }
  void read(napi_value& out) {
    out = next();
  }
  void read(int32_t& out) {
    expect(napi_get_value_int32(env_, next(), &out) == napi_ok, "a number");
  }
  void read(uint32_t& out) {
    expect(napi_get_value_uint32(env_, next(), &out) == napi_ok, "a number");
  }
  void read(double& out) {
    expect(napi_get_value_double(env_, next(), &out) == napi_ok, "a number");
  }
  void read(bool& out) {
    expect(napi_get_value_bool(env_, next(), &out) == napi_ok, "a boolean");
  }
  void read(Timeout& out) {
    constexpr double kMost = 9e15;
    double ms = -1;
    read(ms);
    if (!(ms >= 0) || ms > kMost) return;
    out.ms = static_cast<int64_t>(ms);
    if (static_cast<double>(out.ms) < ms) out.ms++;
  }
  void read(FileDescriptor& out) {
    read(out.fd);
    expect(out.fd >= 0, "a descriptor");
  }
  void read(Bytes& out) {
    read_view(out, napi_uint8_array, "a Uint8Array");
  }
  void read(Words& out) {
    read_view(out, napi_int32_array, "an Int32Array");
  }
  void read(std::optional<Bytes>& out) {
    if (Napi::Value(env_, values_[index_]).IsUndefined()) {
      index_++;
    } else {
      read(out.emplace());
    }
  }
  void read(std::string& out) {
    const Napi::Value value(env_, next());
    if (expect(value.IsString(), "a string")) out = value.As<Napi::String>();
    expect(out.find('\0') == std::string::npos, "a string without NUL");
  }
  void read(Napi::BigInt& out) {
    const Napi::Value value(env_, next());
    if (expect(value.IsBigInt(), "a bigint")) out = value.As<Napi::BigInt>();
  }
  void read(Napi::Object& out) {
    const Napi::Value value(env_, next());
    if (expect(value.IsObject(), "an object")) out = value.As<Napi::Object>();
  }
  void read(Napi::Function& out) {
    const Napi::Value value(env_, next());
    if (expect(value.IsFunction(), "a function")) out = value.As<Napi::Function>();
  }
  void read(Segment*& out) {
    out = find(environment_->segments, -EBADF);
  }
  void read(std::shared_ptr<Segment>& out) {
    int32_t handle = -1;
    read(handle);
    out = environment_->segments.share(handle);
    if (out == nullptr && error_ == 0) error_ = -EBADF;
  }
  void read(Waker*& out) {
    out = find(environment_->wakers, -EBADF);
  }
  void read(BoundProcess*& out) {
    out = find(environment_->processes, -EDVSNOTBOUND);
  }
  void read(Process*& out) {
    const BoundProcess* bound = find(environment_->processes, -EDVSNOTBOUND);
    out = bound == nullptr ? nullptr : bound->process.get();
  }

 private:
  napi_value next() {
    return values_[index_++];
  }
  template <typename T>
  void read_view(View<T>& out, napi_typedarray_type wanted, const char* what) {
    const napi_value value = next();
    bool is = false;
    napi_typedarray_type type = napi_int8_array;
    void* data = nullptr;
    napi_is_typedarray(env_, value, &is);
    if (is) {
      napi_get_typedarray_info(env_, value, &type, &out.length, &data, nullptr, nullptr);
      out.data = static_cast<T*>(data);
    }
    expect(is && type == wanted, what);
  }
  template <typename T>
  T* find(const Table<T>& table, int missing) {
    int32_t handle = -1;
    read(handle);
    T* found = table.find(handle);
    if (found == nullptr && error_ == 0) error_ = missing;
    return found;
  }
  bool expect(bool right, const char* what) {
    if (right || wrong_) return right;
    wrong_ = true;
    throw_wrong(env_, what);
    return false;
  }

  napi_env env_;
  Environment* environment_ = nullptr;
  napi_value values_[kCount == 0 ? 1 : kCount] = {};
  size_t index_ = 0;
  int error_ = 0;
  bool wrong_ = false;
};

}  // namespace dvk::binding

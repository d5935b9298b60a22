// What the fuzzers share. Each other file here has one LLVMFuzzerTestOneInput, for libFuzzer or for
// the main() of replay.cc: it takes any bytes, and returns when nothing broke. What breaks is told
// by abort() or by a sanitizer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace dvk::fuzz {

// The bytes of an input, taken from the front; zeros when there are no more.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), left_(size) {}
  bool empty() const {
    return left_ == 0;
  }
  size_t left() const {
    return left_;
  }
  template <typename T>
  T take() {
    T value{};
    take(&value, sizeof value);
    return value;
  }
  void take(void* to, size_t bytes) {
    const size_t count = std::min(bytes, left_);
    if (count > 0) memcpy(to, at_, count);
    at_ += count;
    left_ -= count;
  }

 private:
  const uint8_t* at_;
  size_t left_;
};

[[noreturn]] inline void broken(const std::string& what) {
  fprintf(stderr, "broken: %s\n", what.c_str());
  abort();
}

inline void must(bool met, const char* what) {
  if (!met) broken(what);
}

// A new path in memory; the caller unlinks it.
inline std::string new_path() {
  char folder[] = "/dev/shm/dvk-fuzz-XXXXXX";
  must(mkdtemp(folder) != nullptr, "mkdtemp");
  return std::string(folder) + "/segment";
}

}  // namespace dvk::fuzz

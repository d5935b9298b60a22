// Places where a test stops a process in the middle of a call: a build with -DDVK_CRASH_POINTS, for
// native/crash alone. In every other build nothing of this is left.
//
// There are two kinds. A point with a label is a named step, and all labels are in a table that the
// linker makes, so that a test can tell which of them nothing has reached. And each change of
// shared memory is a point without one: what others can see of a process changes with its writes
// and with nothing else, so one that is stopped after each write in turn is stopped at every
// instruction.
//
// A label is in a plain function: the linker's table takes none of templates and of inline ones.
#pragma once

#include <atomic>

namespace dvk {

#ifdef DVK_CRASH_POINTS

struct CrashPoint {
  char label[32];
};

// Defined by the test. Each returns, or ends or stops the process.
void reach(const CrashPoint& point);
void reach_write();

#define DVK_CRASH_POINT(name)                                                                  \
  do {                                                                                         \
    __attribute__((section("dvk_crash_points"), used)) static const ::dvk::CrashPoint here = { \
        name};                                                                                 \
    ::dvk::reach(here);                                                                        \
  } while (false)

// A field of shared memory; each change of it is a point.
template <typename T>
class SharedField : public std::atomic_ref<T> {
 public:
  using Base = std::atomic_ref<T>;
  static constexpr std::memory_order kOrder = std::memory_order_seq_cst;

  explicit SharedField(T& field) : Base(field) {}
  void store(T value, std::memory_order order = kOrder) const {
    Base::store(value, order);
    reach_write();
  }
  T exchange(T value, std::memory_order order = kOrder) const {
    return wrote(Base::exchange(value, order));
  }
  bool compare_exchange_strong(T& expected, T value, std::memory_order order = kOrder) const {
    return wrote_if(Base::compare_exchange_strong(expected, value, order));
  }
  bool compare_exchange_weak(T& expected, T value, std::memory_order order = kOrder) const {
    return wrote_if(Base::compare_exchange_weak(expected, value, order));
  }
  T fetch_add(T value, std::memory_order order = kOrder) const {
    return wrote(Base::fetch_add(value, order));
  }
  T fetch_or(T value, std::memory_order order = kOrder) const {
    return wrote(Base::fetch_or(value, order));
  }
  T fetch_and(T value, std::memory_order order = kOrder) const {
    return wrote(Base::fetch_and(value, order));
  }

 private:
  static T wrote(T before) {
    reach_write();
    return before;
  }
  static bool wrote_if(bool changed) {
    if (changed) reach_write();
    return changed;
  }
};

#else

#define DVK_CRASH_POINT(name) \
  do {                        \
  } while (false)

template <typename T>
using SharedField = std::atomic_ref<T>;

#endif

}  // namespace dvk

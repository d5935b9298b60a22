// Receive filters, as MINIX's (kernel/ipc_filter.h): a short list of rules, of which either those
// messages pass that match one (allow), or those that match none (deny). Private to the receiver.
#pragma once

#include <cstddef>
#include <cstdint>

#include "abi.gen.h"

namespace dvk {

inline constexpr size_t kFilterRules = 8;

struct FilterRule {
  static constexpr uint32_t kSource = 1, kType = 2;
  uint32_t match = 0;  // what is compared: kSource, kType or both
  int32_t source = kEndpointNone;
  int32_t type = 0;  // a notification has kNotifyType

  bool matches(int32_t of, int32_t with) const {
    return ((match & kSource) == 0 || of == source) && ((match & kType) == 0 || with == type);
  }
};

class Filter {
 public:
  bool empty() const {
    return mode_ == Mode::kNone;
  }
  bool passes(int32_t source, int32_t type) const {
    bool matched = false;
    for (size_t i = 0; i < count_ && !matched; i++) matched = rules_[i].matches(source, type);
    return matched == (mode_ == Mode::kAllow);
  }
  // Takes `count` rules. Returns false for too many, or one that compares nothing or something
  // else; then nothing is changed.
  bool set(bool allow, const FilterRule* rules, size_t count) {
    if (count > kFilterRules) return false;
    for (size_t i = 0; i < count; i++) {
      if (rules[i].match == 0 || rules[i].match > (FilterRule::kSource | FilterRule::kType)) {
        return false;
      }
    }
    for (size_t i = 0; i < count; i++) rules_[i] = rules[i];
    count_ = count;
    mode_ = allow ? Mode::kAllow : Mode::kDeny;
    return true;
  }
  void clear() {
    mode_ = Mode::kNone;
  }

 private:
  enum class Mode : uint8_t { kNone, kAllow, kDeny };
  Mode mode_ = Mode::kNone;
  size_t count_ = 0;
  FilterRule rules_[kFilterRules];
};

}  // namespace dvk

// Which way copies of one size go: by the system call, or with the lender's part.
//
// What either costs is the machine's affair: where the kernel pins pages slowly the lender pays
// from 16 KiB on, and where it is quick, not at a megabyte. So each requester measures both, takes
// the quicker, and looks at the other again now and then.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

namespace dvk {

// Of one requester, for copies whose sizes differ by less than a factor of two.
class CopyPace {
 public:
  // Whether the next copy should be offered; the first is, the second is not.
  bool offers() {
    if (offered_ == 0 || alone_ == 0) return offered_ == 0;
    const bool quicker = offered_ <= alone_;
    if (++copies_ < gap_) return quicker;
    copies_ = 0;
    gap_ = gap_ < kGapMax ? 2 * gap_ : kGapMax;
    return !quicker;
  }

  // A copy of `bytes`, 1 or more, took `ns`.
  void note(bool offered, uint64_t bytes, int64_t ns) {
    int64_t& pace = offered ? offered_ : alone_;
    const bool quicker = offered_ <= alone_;
    const int64_t now = ns * kUnit / static_cast<int64_t>(bytes) + 1;
    if (pace == 0 || now < pace) {
      pace = now;
    } else {
      // One that lost its CPU in the middle says little.
      pace += (now < 2 * pace ? now - pace : pace) / 8;
    }
    if ((offered_ <= alone_) != quicker) gap_ = kGapMin;
  }

  // Forgets what offers cost, so that the next copy is offered.
  void offer_next() {
    offered_ = 0;
  }

 private:
  // Copies between two looks at the slower way: few at first, when little is known.
  static constexpr uint32_t kGapMin = 8, kGapMax = 1024;
  static constexpr int64_t kUnit = 1 << 20;

  int64_t offered_ = 0, alone_ = 0;  // ns for kUnit bytes; 0: not known
  uint32_t copies_ = 0, gap_ = kGapMin;
};

// The paces of a requester: for lenders on another CPU and on its own, by powers of two.
class CopyPaces {
 public:
  CopyPace& of(bool near, uint64_t bytes) {
    const int power = std::bit_width(bytes);
    const int last = static_cast<int>(kSizes) - 1;
    return paces_[near ? 1 : 0][power < kSmallest ? 0 : std::min(power - kSmallest, last)];
  }
  void offer_next() {
    for (auto& side : paces_) {
      for (CopyPace& pace : side) pace.offer_next();
    }
  }

 private:
  // From 16 KiB, the smallest copy that is offered, to 1 MiB, the largest chunk.
  static constexpr int kSmallest = 15;
  static constexpr uint32_t kSizes = 7;
  CopyPace paces_[2][kSizes];
};

}  // namespace dvk

// Where a process is stopped: the labels of this build, and the one at which the present process is
// to be killed or stopped. See native/core/crash_point.h.
#pragma once

#include <atomic>
#include <cstdint>

namespace dvk::crash {

inline constexpr uint32_t kPointsMax = 256;
// In place of a label's number: changes of shared memory, whoever made them.
inline constexpr uint32_t kWrites = kPointsMax;

enum class Fault : uint8_t {
  kNone,
  kKill,      // SIGKILL
  kStop,      // SIGSTOP; SIGCONT when everybody else is done
  kStopKill,  // SIGSTOP, and SIGKILL some time later
};

// The `hit`-th time, from 1, that the process comes to a point.
struct Shot {
  uint32_t point = 0;
  uint32_t hit = 0;
  Fault fault = Fault::kNone;
};

// How often a process came to each point, in memory that its runner shares.
struct Hits {
  std::atomic<uint32_t> points[kPointsMax + 1];
  std::atomic<uint32_t> fired;
};

uint32_t point_count();
const char* point_label(uint32_t point);  // also of kWrites

// From now on this process counts, and ends or stops where `shot` says.
void arm_process(const Shot& shot, Hits* hits);
void disarm_process();

}  // namespace dvk::crash

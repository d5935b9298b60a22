// Parts: how the data of a copy crosses a link.
//
// One frame for all of it would leave half of the machine idle: while one node reads memory the
// other has nothing to write. So data goes in parts of 128 to 256 KiB, each in a frame of its own,
// and both ends and the network between them work at once. The command waits in the queue again
// after each part, behind those of others, so a long copy holds up nobody; while the link has
// enough it is left there. Parts of a copy keep their order. The first one that fails ends it, and
// those that follow are dropped; the answer tells of all of them together.
//
// A call may ask for kCopyWindowBytes in that way, when both nodes know parts: so the link is busy
// while the answer is on its way. How far a copy has come is known to the two proxies alone: here,
// in private memory, by slot. Nobody can scribble on it, and it is gone with the proxy, which ends
// the copies too.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "abi.gen.h"

namespace dvk {

// Half of what a CPU's second cache holds, or less: a part is read, summed and sent from there.
inline constexpr uint64_t kCopyPartBytes = 262'144, kCopyPartBytesMin = 131'072;
// Parts of a copy of `total` bytes: short ones where the last of them is a long wait.
constexpr uint64_t part_bytes(uint64_t total) {
  return std::clamp(total / 8, kCopyPartBytesMin, kCopyPartBytes);
}
// What one call may ask for.
inline constexpr uint64_t kCopyWindowBytes = 8 * kCopyChunkBytes;

class CopyParts {
 public:
  // How far call `call_id` of the owner of `slot`, `endpoint`, has come; 0 when it is not known.
  uint64_t at(uint32_t slot, int32_t endpoint, uint32_t call_id) const {
    if (slot >= records_.size()) return 0;
    const Record& record = records_[slot];
    return record.endpoint == endpoint && record.call_id == call_id ? record.at : 0;
  }
  // 0 forgets it. Precondition: slot < `slots`, those of the segment.
  void set(uint32_t slot, uint32_t slots, int32_t endpoint, uint32_t call_id, uint64_t at) {
    if (at == 0 && slot >= records_.size()) return;
    if (records_.empty()) records_.resize(slots);
    records_[slot] = {endpoint, call_id, at};
  }

 private:
  struct Record {
    int32_t endpoint = kEndpointNone;
    uint32_t call_id = 0;
    uint64_t at = 0;
  };
  // A slot has one call at a time.
  std::vector<Record> records_;
};

class Segment;
// For get2rmt. Reads [at, at + bytes) of the data of a copy into `payload`, kCopyChunkBytes long.
// Returns bytes or a negative error.
int64_t read_payload(Segment& segment, int32_t requester, const Command& command, uint64_t at,
                     uint64_t bytes, uint8_t* payload);
// Reads the next part of a copy that the process in `index`, `endpoint`, waits for, or all of it
// where the peer does not take parts. Returns its bytes or a negative error; `command->answers`
// tells where it begins, and the command is to be queued again as long as copy_parts() knows it.
int64_t read_part(Segment& segment, uint32_t index, int32_t endpoint, Command* command,
                  uint8_t* payload);
// Queues a command of a copy again, of which a part was taken, unless its process waits no more.
void queue_rest(Segment& segment, uint32_t index, uint32_t node);

}  // namespace dvk

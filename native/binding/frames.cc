// Commands as frames, short ones many at once: the same as src/proxies/frame.ts does one by one.
//
// A call crosses four proxies, and what each does for it in JavaScript takes longer than all the
// rest. So commands without data are taken from the core, made frames of, looked at and acted on
// here, a run of them in one call. The data of a copy is made a frame of here too, one a call.
// Whatever is out of the ordinary is left to JavaScript: a frame that came and is not whole, is at
// fault or has data, and all kinds that the proxy itself has a part in.

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "../core/clock.h"
#include "../core/link.h"
#include "../core/wait.h"
#include "crc32c.h"
#include "method.h"
#include "registers.h"

namespace dvk::binding {
namespace {

// As in FrameLayout.
struct Header {
  uint32_t magic;
  uint16_t version;
  uint16_t header_bytes;
  uint32_t session;
  uint32_t sequence;
  uint32_t payload_bytes;
  uint32_t flags;
  uint32_t body_checksum;
  uint32_t header_checksum;
};
static_assert(sizeof(Header) == 32);

constexpr uint32_t kMagic = 0x464b5644;
constexpr uint16_t kVersion = 1;
constexpr size_t kHeadBytes = sizeof(Header) + sizeof(Command);
constexpr size_t kSummedBytes = offsetof(Header, header_checksum);

uint32_t sum(const void* data, size_t bytes) {
  return crc32c(static_cast<const uint8_t*>(data), bytes, 0);
}

// Kinds without data that the core alone acts on, and at once: no copy is made meanwhile.
bool is_plain(uint32_t kind) {
  switch (kind) {
    case kCommandSendMsg:
    case kCommandSendMsg | kCommandAck:
    case kCommandSndrecMsg:
    case kCommandSndrecMsg | kCommandAck:
    case kCommandReplyMsg:
    case kCommandReplyMsg | kCommandAck:
    case kCommandRelayMsg:
    case kCommandWithdraw:
    case kCommandNtfyMsg:
    case kCommandAsyncMsg:
    case kCommandAsyncMsg | kCommandAck:
    case kCommandCopyinData | kCommandAck:
    case kCommandCopylclRqst | kCommandAck:
    case kCommandCopyrmtRqst | kCommandAck:
      return true;
    default:
      return false;
  }
}

// Kinds with data of which the same is true.
bool is_data(uint32_t kind) {
  return kind == kCommandCopyinData || kind == (kCommandCopyoutRqst | kCommandAck);
}

// The data, if there is any, lies behind the place already.
void write_frame(uint8_t* place, const Command& command, uint32_t session, uint32_t sequence) {
  const uint32_t bytes = command.payload_bytes;
  Header header{kMagic, kVersion, sizeof(Header), session, sequence, bytes, 0, 0, 0};
  header.body_checksum = sum(&command, sizeof command);
  if (bytes > 0) header.body_checksum = crc32c(place + kHeadBytes, bytes, header.body_checksum);
  header.header_checksum = sum(&header, kSummedBytes);
  memcpy(place, &header, sizeof header);
  memcpy(place + sizeof header, &command, sizeof command);
}

// Above the number of frames: behind them lies a command that is no frame yet, or one with data
// that is.
constexpr int kUnsealed = 1 << 16, kData = 1 << 17;

// takeFrames: see src/dvk/native.ts.
int js_take_frames(Segment& segment, uint32_t node, Bytes out, uint32_t at, uint32_t session,
                   uint32_t sequence, double data_sequence, uint32_t most, bool short_only) {
  int count = 0;
  for (size_t end = at; static_cast<uint32_t>(count) < most;) {
    if (end + kHeadBytes + kCopyChunkBytes > out.length) break;
    Command command{};
    uint8_t* place = out.data + end;
    const int result = get2rmt(segment, node, &command, place + kHeadBytes, short_only);
    if (result < 0 && count == 0) return result;
    if (result != 1) break;
    const uint32_t next = sequence + static_cast<uint32_t>(count);
    if (command.payload_bytes > 0 && is_data(command.kind)) {
      const bool own = data_sequence >= 0;
      write_frame(place, command, session, own ? static_cast<uint32_t>(data_sequence) : next);
      return count | kData;
    }
    if (!is_plain(command.kind) || command.payload_bytes > 0) {
      memcpy(place + sizeof(Header), &command, sizeof command);
      return count | kUnsealed;
    }
    write_frame(place, command, session, next);
    end += kHeadBytes;
    count++;
  }
  return count;
}

// Whether a frame that is right, next and plain lies at `place`. Where the command says that it
// comes from is for put2lcl to look at, with all else in it.
bool read_frame(const uint8_t* place, uint32_t session, uint32_t sequence, Command* command) {
  Header header;
  memcpy(&header, place, sizeof header);
  if (header.magic != kMagic || header.version != kVersion ||
      header.header_bytes != sizeof header || header.session != session ||
      header.sequence != sequence || header.payload_bytes != 0 || header.flags != 0) {
    return false;
  }
  if (sum(place, kSummedBytes) != header.header_checksum) return false;
  memcpy(command, place + sizeof header, sizeof *command);
  return is_plain(command->kind) && command->payload_bytes == 0 &&
         sum(command, sizeof *command) == header.body_checksum;
}

// Gives the CPU to a process of this one that was woken, while that pays: it answers at once, as a
// rule, and the proxy goes on with its answer. The alternative is a turn of the event loop, at the
// end of which it sleeps, and is woken by a byte in a FIFO. Pauses grow and shrink as those of
// core/yield.h: a stranger that is given the CPU keeps it for a slice.
class Courtesy {
 public:
  void yield(Segment& segment, uint32_t node) {
    // It was given the CPU with its wake.
    if (!segment.link_queue(node).empty()) return;
    if (pause_ > 0) {
      pause_--;
      return;
    }
    const uint64_t begun = ticks();
    sched_yield();
    const bool is_good = ticks() - begun <= good_ticks_ && !segment.link_queue(node).empty();
    penalty_ = is_good ? penalty_ / 2 : std::min(4 * penalty_ + 3, kPauseMax);
    pause_ = penalty_;
  }

 private:
  static constexpr int64_t kGoodNs = 30'000;
  static constexpr uint32_t kPauseMax = 65535;

  const uint64_t good_ticks_ = ticks_in(kGoodNs);
  uint32_t penalty_ = 0, pause_ = 0;  // runs with somebody to wake until the next yield
};

// putFrames: see src/dvk/native.ts.
int js_put_frames(Segment& segment, uint32_t node, Bytes in, uint32_t at, uint32_t end,
                  uint32_t session, uint32_t sequence, uint32_t most, Words last) {
  if (end > in.length || last.length == 0) return -ERANGE;
  thread_local Courtesy courtesy;
  std::optional<WakesPutOff> put_off(std::in_place, segment);
  uint32_t count = 0;
  last.data[0] = 0;
  while (count < most && end >= at && end - at >= kHeadBytes && last.data[0] == 0) {
    Command command;
    if (!read_frame(in.data + at, session, sequence + count, &command)) break;
    if (command.dc_id != segment.dc_id() || command.source_node != node ||
        command.destination_node != segment.node_id()) {
      break;
    }
    last.data[0] = put2lcl(segment, node, command, nullptr, 0);
    at += kHeadBytes;
    count++;
  }
  const bool has_neighbours = put_off->has_neighbours();
  put_off.reset();
  if (has_neighbours) courtesy.yield(segment, node);
  return static_cast<int>(count);
}

}  // namespace

void register_frames(Napi::Object exports, Environment* environment) {
  define(exports, environment,
         {
             {"takeFrames", method<js_take_frames>},
             {"putFrames", method<js_put_frames>},
         });
}

}  // namespace dvk::binding

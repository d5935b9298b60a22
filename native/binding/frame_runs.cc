// See frame_runs.h.

#include "frame_runs.h"

#include <cstring>

#include "../core/wait.h"
#include "crc32c.h"

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
static_assert(kFrameHeadBytes == sizeof(Header) + sizeof(Command));
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

}  // namespace

void write_frame(uint8_t* place, const Command& command, uint32_t session, uint32_t sequence) {
  const uint32_t bytes = command.payload_bytes;
  Header header{kMagic, kVersion, sizeof(Header), session, sequence, bytes, 0, 0, 0};
  header.body_checksum = sum(&command, sizeof command);
  if (bytes > 0)
    header.body_checksum = crc32c(place + kFrameHeadBytes, bytes, header.body_checksum);
  header.header_checksum = sum(&header, kSummedBytes);
  memcpy(place, &header, sizeof header);
  memcpy(place + sizeof header, &command, sizeof command);
}

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

int take_frames(Segment& segment, uint32_t node, uint8_t* out, size_t bytes, const FrameRun& run,
                double data_sequence, bool short_only) {
  int count = 0;
  for (size_t end = run.at; static_cast<uint32_t>(count) < run.most;) {
    if (end + kFrameHeadBytes + kCopyChunkBytes > bytes) break;
    Command command{};
    uint8_t* place = out + end;
    const int result = get2rmt(segment, node, &command, place + kFrameHeadBytes, short_only);
    if (result < 0 && count == 0) return result;
    if (result != 1) break;
    const uint32_t next = run.sequence + static_cast<uint32_t>(count);
    if (command.payload_bytes > 0 && is_data(command.kind)) {
      const bool own = data_sequence >= 0;
      write_frame(place, command, run.session, own ? static_cast<uint32_t>(data_sequence) : next);
      return count | kDataFrame;
    }
    if (!is_plain(command.kind) || command.payload_bytes > 0) {
      memcpy(place + sizeof(Header), &command, sizeof command);
      return count | kUnsealedFrame;
    }
    write_frame(place, command, run.session, next);
    end += kFrameHeadBytes;
    count++;
  }
  return count;
}

int put_frames(Segment& segment, uint32_t node, const uint8_t* in, size_t end, const FrameRun& run,
               int32_t* last, bool* wakes_neighbours) {
  const WakesPutOff put_off(segment);
  uint32_t count = 0;
  *last = 0;
  for (size_t at = run.at; end >= at && end - at >= kFrameHeadBytes; at += kFrameHeadBytes) {
    if (count == run.most || *last != 0) break;
    Command command;
    if (!read_frame(in + at, run.session, run.sequence + count, &command)) break;
    if (command.dc_id != segment.dc_id() || command.source_node != node ||
        command.destination_node != segment.node_id()) {
      break;
    }
    *last = put2lcl(segment, node, command, nullptr, 0);
    count++;
  }
  *wakes_neighbours = put_off.has_neighbours();
  return static_cast<int>(count);
}

}  // namespace dvk::binding

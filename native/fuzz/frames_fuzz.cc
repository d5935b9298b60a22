// Runs of frames: put_frames acts on those that are right, next and plain, and on nothing else,
// wherever in a buffer they lie and whatever is between them; take_frames makes frames that are.
// Reference: S12, row 18 of the fault matrix.
//
// An input is a list of steps: calls of processes of this node, whose commands become frames; and
// frames of a peer, that are damaged afterwards, with right checksums or without. What was acted
// on must be, bit for bit, what write_frame makes of its command; the tables are whole in the end.

#include <errno.h>
#include <unistd.h>

#include "../binding/crc32c.h"
#include "../binding/frame_runs.h"
#include "../core/bindings.h"
#include "../core/check.h"
#include "calls.h"
#include "fuzz.h"

namespace dvk::fuzz {
namespace {

using binding::FrameRun;
using binding::kFrameHeadBytes;

constexpr uint32_t kPeer = 1, kSession = 7, kMost = 64;
constexpr int kProcesses = 4;
constexpr int32_t kServerThere = 20, kClientThere = 70;
constexpr size_t kHeaderBytes = kFrameHeadBytes - sizeof(Command);
constexpr size_t kOutBytes = 4 * kFrameHeadBytes + kCopyChunkBytes;
// Kinds of which a run is made.
constexpr uint32_t kPlain[] = {
    kCommandSendMsg,
    kCommandSendMsg | kCommandAck,
    kCommandSndrecMsg,
    kCommandSndrecMsg | kCommandAck,
    kCommandReplyMsg,
    kCommandReplyMsg | kCommandAck,
    kCommandRelayMsg,
    kCommandWithdraw,
    kCommandNtfyMsg,
    kCommandAsyncMsg,
    kCommandAsyncMsg | kCommandAck,
    kCommandCopyinData | kCommandAck,
    kCommandCopylclRqst | kCommandAck,
    kCommandCopyrmtRqst | kCommandAck,
};

void set_word(uint8_t* place, size_t at, uint32_t value) {
  memcpy(place + at, &value, sizeof value);
}

class World {
 public:
  World() : segment_(make()) {
    must(add_node(segment_, kPeer, "peer") == 0, "add_node");
    must(attach_proxy(segment_, kPeer, 0) == 0, "attach_proxy");
    must(link_up(segment_, kPeer, kSession, true) == 0, "link_up");
    for (int i = 0; i < kProcesses; i++) {
      BindOptions options;
      options.slot = i < kProcesses / 2 ? i + 1 : -1;
      options.level = i % 2 == 0 ? ProcessLevel::kServer : ProcessLevel::kUser;
      must(Process::bind(segment_, options, &processes_[i]) == 0, "bind");
    }
    must(bind_remote(segment_, kServerThere, kPeer, ProcessLevel::kServer, "far") == 0, "remote");
    snapshot_.assign(segment_.base(), segment_.arena());
  }

  void run(Input input) {
    memcpy(segment_.base(), snapshot_.data(), snapshot_.size());
    frames_.clear();
    built_ = 0;
    next_first_ = next_ = 1;
    while (!input.empty()) step(input);
    put(0, frames_.size(), kMost);
    for (Process* process : processes_) cancel(*process, -EINTR);
    const std::vector<std::string> faults = check_segment(segment_);
    if (!faults.empty()) broken(faults[0]);
  }

 private:
  static Segment& make() {
    const std::string path = new_path();
    SegmentOptions options;
    options.processes = 192;
    options.nodes = 4;
    options.dc_id = 7;
    options.arena_bytes = 1 << 16;
    options.dc_name = "fuzz";
    Segment* segment = nullptr;
    std::string reason;
    must(Segment::create(path.c_str(), options) == 0, "create");
    must(Segment::open(path.c_str(), &segment, &reason) == 0, "open");
    unlink(path.c_str());
    rmdir(path.substr(0, path.rfind('/')).c_str());
    return *segment;
  }

  void step(Input& input) {
    const uint8_t kind = input.take<uint8_t>();
    switch (kind & 7) {
      case 0:
        take(input);
        break;
      case 1:
        call(input);
        break;
      case 2:
        patch(input);
        break;
      case 3:
        add_raw(input);
        break;
      case 4: {
        const size_t at = input.take<uint16_t>() % (frames_.size() + 1);
        const size_t end = input.take<uint16_t>() % (frames_.size() + 1);
        put(at, end, kind >> 3);
        break;
      }
      case 5:
        put(0, frames_.size(), kMost);
        break;
      default:
        add(input);
    }
  }

  int32_t endpoint(Input& input) {
    const uint8_t choice = input.take<uint8_t>();
    if (choice == 0xff) return input.take<int32_t>();
    if (choice == 0xfe) return kServerThere;
    if (choice >= kProcesses) return choice;
    return processes_[choice]->endpoint;
  }

  void call(Input& input) {
    Process& process = *processes_[input.take<uint8_t>() % kProcesses];
    const uint8_t kind = input.take<uint8_t>();
    const int32_t peer = endpoint(input);
    begin_call(process, kind % 6 == 1 ? kEndpointAny : peer, kind);
  }

  // What is taken can be put.
  void take(Input& input) {
    const uint8_t choice = input.take<uint8_t>();
    out_.assign(kOutBytes, 0);
    const FrameRun run{choice % 3u * 16u, kSession, choice, 1u + (choice >> 4)};
    const int got = binding::take_frames(segment_, kPeer, out_.data(), out_.size(), run,
                                         choice & 1 ? -1 : 5, (choice & 2) != 0);
    if (got < 0) return;
    const uint32_t count = static_cast<uint32_t>(got) & 0xffff;
    must(count <= run.most, "more frames than were asked for");
    must(run.at + count * kFrameHeadBytes <= out_.size(), "frames beyond the end");
    for (uint32_t i = 0; i < count; i++) {
      Command command;
      const uint8_t* place = out_.data() + run.at + i * kFrameHeadBytes;
      must(binding::read_frame(place, run.session, run.sequence + i, &command),
           "a frame that was made is not right");
      must(command.source_node == segment_.node_id(), "another node's command was taken");
    }
  }

  // A frame that is right, next and plain.
  void add(Input& input) {
    Command command{};
    const uint8_t choice = input.take<uint8_t>();
    command.kind = kPlain[choice % std::size(kPlain)];
    command.dc_id = segment_.dc_id();
    command.source_node = kPeer;
    command.destination_node = segment_.node_id();
    command.source = choice & 0x80 ? endpoint(input) : choice & 0x40 ? kServerThere : kClientThere;
    command.destination = endpoint(input);
    command.requester = command.copy_source = command.source;
    command.requester_node = kPeer;
    command.copy_destination = command.destination;
    command.copy_destination_node = segment_.node_id();
    command.call_id = input.take<uint8_t>();
    command.result = static_cast<int8_t>(input.take<uint8_t>());
    const size_t at = frames_.size();
    const bool follows = at == built_;
    frames_.resize(at + kFrameHeadBytes);
    binding::write_frame(frames_.data() + at, command, kSession, next_++);
    if (follows) built_ = frames_.size();
  }

  // Damages the last frame; with right checksums of the header, of the body, of both, of none.
  void patch(Input& input) {
    if (frames_.size() < kFrameHeadBytes) return;
    const size_t start = frames_.size() - kFrameHeadBytes;
    uint8_t* const place = frames_.data() + start;
    const uint8_t choice = input.take<uint8_t>();
    const size_t at = input.take<uint8_t>() % (kFrameHeadBytes - 3);
    set_word(place, at, input.take<uint32_t>());
    built_ = std::min(built_, start);
    if (choice & 1) {
      set_word(place, kHeaderBytes - 8, binding::crc32c(place + kHeaderBytes, sizeof(Command), 0));
    }
    if (choice & 2) set_word(place, kHeaderBytes - 4, binding::crc32c(place, kHeaderBytes - 4, 0));
  }

  void add_raw(Input& input) {
    const size_t bytes = input.take<uint8_t>(), at = frames_.size();
    frames_.resize(at + bytes);
    input.take(frames_.data() + at, bytes);
  }

  // Gives the bytes from `at` to before `end` to the core, from memory of exactly that size.
  void put(size_t at, size_t end, uint32_t most) {
    const std::vector<uint8_t> held(frames_.begin(), frames_.begin() + static_cast<ptrdiff_t>(end));
    const uint32_t first = next_first_ + static_cast<uint32_t>(at / kFrameHeadBytes);
    int32_t last = 0;
    const FrameRun run{at, kSession, first, most};
    bool wakes = false;
    const int got =
        binding::put_frames(segment_, kPeer, held.data(), held.size(), run, &last, &wakes);
    must(got >= 0 && static_cast<uint32_t>(got) <= most, "an impossible number of frames");
    const auto count = static_cast<size_t>(got);
    must(count == 0 || at + count * kFrameHeadBytes <= end, "bytes behind the end were acted on");
    for (size_t i = 0; i < count; i++)
      must_be_right(held.data() + at + i * kFrameHeadBytes, first + i);
    // Up to what was damaged they are all right, so only a refusal ends a run.
    const size_t sound = at == 0 ? std::min(built_, end) / kFrameHeadBytes : 0;
    must(last != 0 || count >= std::min<size_t>(sound, most), "a right frame was passed over");
    if (at != 0 || end != frames_.size()) return;
    frames_.clear();
    built_ = 0;
    next_first_ = next_;
  }

  void must_be_right(const uint8_t* place, size_t sequence) {
    Command command;
    memcpy(&command, place + kHeaderBytes, sizeof command);
    must(std::find(std::begin(kPlain), std::end(kPlain), command.kind) != std::end(kPlain),
         "a command was acted on that is not plain");
    must(command.source_node == kPeer && command.destination_node == segment_.node_id() &&
             command.dc_id == segment_.dc_id() && command.payload_bytes == 0,
         "a command was acted on that is not the peer's for here");
    uint8_t again[kFrameHeadBytes];
    binding::write_frame(again, command, kSession, static_cast<uint32_t>(sequence));
    must(memcmp(again, place, sizeof again) == 0, "bytes were acted on that are no such frame");
  }

  Segment& segment_;
  Process* processes_[kProcesses] = {};
  std::vector<uint8_t> snapshot_;
  std::vector<uint8_t> frames_;
  std::vector<uint8_t> out_;
  // Bytes at the start of `frames_` that are right frames, one behind the other.
  size_t built_ = 0;
  // The number of the first frame in `frames_`, and of the next one to be made.
  uint32_t next_first_ = 1;
  uint32_t next_ = 1;
};

}  // namespace
}  // namespace dvk::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static dvk::fuzz::World world;
  world.run(dvk::fuzz::Input(data, size));
  return 0;
}

// Commands of another node, and what this node has for it in return: put2lcl, get2rmt, links that
// go down and come up, with calls of this node under way. Reference: S12, row 18 of the fault
// matrix.
//
// An input is a list of steps. The tables are put back before each input, and looked through after
// it: whatever a node says, they are whole. The bound processes are said to be a child that sleeps,
// so that copies reach into that one.

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../core/bindings.h"
#include "../core/check.h"
#include "../core/link.h"
#include "../core/vcopy.h"
#include "calls.h"
#include "fuzz.h"

namespace dvk::fuzz {
namespace {

constexpr uint32_t kPeer = 1, kThird = 2;
constexpr int kProcesses = 6;
constexpr int32_t kServerThere = 20;

// What a grant of the processes covers; the child has it at the same address.
uint8_t memory[1 << 19];
uint8_t payload[kCopyChunkBytes];

pid_t sleeping_child() {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  must(child > 0, "fork");
  return child;
}

class World {
 public:
  World() : segment_(make()) {
    const pid_t child = sleeping_child();
    for (const uint32_t node : {kPeer, kThird}) {
      must(add_node(segment_, node, "peer") == 0, "add_node");
      must(attach_proxy(segment_, node, 0) == 0, "attach_proxy");
      // One of the two takes copies in parts.
      must(link_up(segment_, node, 1, node == kPeer) == 0, "link_up");
    }
    for (int i = 0; i < kProcesses; i++) {
      BindOptions options;
      options.slot = i < kProcesses / 2 ? i + 1 : -1;
      options.level = i % 2 == 0 ? ProcessLevel::kServer : ProcessLevel::kUser;
      options.pid = child;
      must(Process::bind(segment_, options, &processes_[i]) == 0, "bind");
      must(grant(*processes_[i], memory, sizeof memory, 3, kEndpointAny) > 0, "grant");
    }
    must(bind_remote(segment_, kServerThere, kPeer, ProcessLevel::kServer, "far") == 0, "remote");
    snapshot_.assign(segment_.base(), segment_.arena());
    const std::vector<std::string> faults = check_segment(segment_);
    if (!faults.empty()) broken("before: " + faults[0]);
  }

  void run(Input input) {
    memcpy(segment_.base(), snapshot_.data(), snapshot_.size());
    while (!input.empty()) step(input);
    for (Process* process : processes_) cancel(*process, -EINTR);
    for (const Process* process : processes_) {
      must(lookup(segment_, process->index) == process->endpoint, "a process lost its slot");
    }
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
    const uint32_t node = kind & 0x80 ? kThird : kPeer;
    switch (kind & 7) {
      case 0:
        drain(node);
        break;
      case 1:
        call(input);
        break;
      case 2:
        if (kind & 8)
          link_down(segment_, node);
        else
          link_up(segment_, node, 2, (kind & 16) != 0);
        break;
      case 3:
        put_raw(input, node);
        break;
      default:
        put_made(input, node);
    }
  }

  void drain(uint32_t node) {
    Command command;
    for (int i = 0; i < 16 && get2rmt(segment_, node, &command, payload) == 1; i++) {
      must(command.payload_bytes <= kCopyChunkBytes, "get2rmt gave too much data");
      must(command.dc_id == segment_.dc_id(), "get2rmt gave a command of another DC");
      must(command.source_node == segment_.node_id(), "get2rmt gave another node's command");
    }
    arm_proxy(segment_, node);
  }

  int32_t endpoint(Input& input) {
    const uint8_t choice = input.take<uint8_t>();
    if (choice == 0xff) return input.take<int32_t>();
    if (choice == 0xfe) return kServerThere;
    if (choice == 0xfd) return kEndpointAny;
    if (choice >= kProcesses) return choice;
    return processes_[choice]->endpoint;
  }

  // What processes of this node do meanwhile, so that there is somebody to answer.
  void call(Input& input) {
    Process& process = *processes_[input.take<uint8_t>() % kProcesses];
    const uint8_t kind = input.take<uint8_t>();
    const int32_t peer = endpoint(input);
    if (kind % 7 == 6) {
      if (process.operation.stage != Operation::Stage::kNone) cancel(process, -EINTR);
      copy(input, process, peer);
    } else {
      begin_call(process, peer, kind % 7);
    }
  }

  // From or to the peer, as far as it goes without waiting: several parts of it may be on their
  // way.
  void copy(Input& input, Process& process, int32_t peer) {
    const uint32_t choice = input.take<uint16_t>();
    const CopyParty own{process.endpoint, kByAddress, reinterpret_cast<uint64_t>(memory)};
    const CopyParty other{peer, 0, 0};
    const uint64_t bytes = std::min<uint64_t>(uint64_t{choice} * 8, sizeof memory);
    int result = choice & 1 ? start_vcopy(process, own, other, bytes)
                            : start_vcopy(process, other, own, bytes);
    for (int i = 0; i < 64 && result == kMore; i++) result = step_vcopy(process);
  }

  // All bytes of the command are the input's.
  void put_raw(Input& input, uint32_t node) {
    Command command{};
    input.take(&command, sizeof command);
    const uint64_t bytes = std::min<uint64_t>(command.payload_bytes, sizeof payload);
    put2lcl(segment_, node, command, payload, bytes);
  }

  // A command that passes the first checks, but for what the input changes.
  void put_made(Input& input, uint32_t node) {
    Command command{};
    command.kind = input.take<uint8_t>() % 22;
    const uint8_t flags = input.take<uint8_t>();
    if (flags & 1) command.kind |= kCommandAck;
    command.dc_id = segment_.dc_id();
    command.source_node = node;
    command.destination_node = segment_.node_id();
    command.source = endpoint(input);
    command.destination = endpoint(input);
    command.requester = command.source;
    command.requester_node = node;
    command.copy_source = flags & 8 ? command.destination : command.source;
    command.copy_destination = flags & 8 ? command.source : command.destination;
    command.copy_source_grant = command.copy_destination_grant = flags & 4 ? 1 : 0;
    command.copy_destination_node = flags & 8 ? node : segment_.node_id();
    command.copy_bytes = input.take<uint16_t>();
    const bool carries = flags & 16;
    command.payload_bytes = carries ? static_cast<uint32_t>(command.copy_bytes) : 0;
    // Data from somewhere in the middle of a longer copy.
    if (flags & 2) {
      command.answers = input.take<uint16_t>();
      command.copy_bytes = input.take<uint32_t>();
    }
    command.result = static_cast<int8_t>(input.take<uint8_t>());
    command.call_id = input.take<uint8_t>();
    for (uint8_t patches = flags >> 5; patches > 0; patches--) {
      const size_t at = input.take<uint8_t>() % (sizeof command - 3);
      const uint32_t value = input.take<uint32_t>();
      memcpy(reinterpret_cast<uint8_t*>(&command) + at, &value, sizeof value);
    }
    const uint64_t bytes = std::min<uint64_t>(command.payload_bytes, sizeof payload);
    put2lcl(segment_, node, command, payload, bytes);
  }

  Segment& segment_;
  Process* processes_[kProcesses] = {};
  std::vector<uint8_t> snapshot_;
};

}  // namespace
}  // namespace dvk::fuzz

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static dvk::fuzz::World world;
  world.run(dvk::fuzz::Input(data, size));
  return 0;
}

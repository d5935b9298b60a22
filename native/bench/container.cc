#include "container.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>

namespace bench {

void Container::open(uint64_t arena_bytes) {
  const std::string directory = make_scratch();
  const std::string path = directory + "/segment";
  must(mkdir((directory + "/wake").c_str(), 0700), "mkdir");
  dvk::SegmentOptions options;
  options.processes = dvk::kSystemProcesses + 64;
  options.nodes = 1;
  options.arena_bytes = arena_bytes;
  options.dc_name = "bench";
  options.dvs_name = "bench";
  must_code(dvk::Segment::create(path.c_str(), options), "segment.create");
  std::string reason;
  must_code(dvk::Segment::open(path.c_str(), &segment_, &reason), "segment.open");
  remove_scratch(directory);
}

dvk::Process& Container::bind(uint32_t slot, dvk::ProcessLevel level, const char* name) {
  dvk::BindOptions options;
  options.slot = static_cast<int>(slot);
  options.level = level;
  options.name = name;
  must_code(dvk::Process::bind(*segment_, options, &process_), "bind");
  return *process_;
}

void Container::await(int32_t endpoint) {
  uint32_t slot;
  while (dvk::check_endpoint(*segment_, endpoint, &slot) != 0) usleep(100);
}

dvk::Process& Container::bind_peer() {
  dvk::Process& process = bind(kPeerSlot, dvk::ProcessLevel::kServer, "peer");
  await(client());
  return process;
}

dvk::Process& Container::bind_client(dvk::ProcessLevel level) {
  dvk::Process& process = bind(kClientSlot, level, "client");
  await(peer());
  return process;
}

void Container::close() {
  must_code(process_->unbind(), "unbind");
  delete process_;
  delete segment_;
}

}  // namespace bench

#include "container.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "../core/rendezvous.h"
#include "../core/trace.h"

namespace bench {

namespace {

constexpr uint64_t kPageBytes = 4096;
static_assert(2 * kPairsMax < dvk::kSystemProcesses);

dvk::Segment* shared_segment = nullptr;

}  // namespace

void create_container(const Options& options) {
  const std::string directory = make_scratch();
  const std::string path = directory + "/segment";
  must(mkdir((directory + "/wake").c_str(), 0700), "mkdir");
  dvk::SegmentOptions wanted;
  wanted.processes = dvk::kSystemProcesses + 64;
  wanted.nodes = 1;
  wanted.arena_bytes = options.pairs * ((options.bytes + kPageBytes - 1) / kPageBytes * kPageBytes);
  wanted.dc_name = "bench";
  wanted.dvs_name = "bench";
  must_code(dvk::Segment::create(path.c_str(), wanted), "segment.create");
  std::string reason;
  must_code(dvk::Segment::open(path.c_str(), &shared_segment, &reason), "segment.open");
  remove_scratch(directory);
}

void create_traced_container(const Options& options) {
  create_container(options);
  must_code(dvk::trace_start(*shared_segment), "trace_start");
  // Nobody renews the lease, and it is to last for the whole run.
  dvk::store(shared_segment->trace()->lease, UINT64_MAX);
}

void Container::open(const Options& options) {
  segment_ = shared_segment;
  peer_slot_ = 2 * options.pair + 1;
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
  dvk::Process& process = bind(peer_slot_, dvk::ProcessLevel::kServer, "peer");
  await(client());
  return process;
}

dvk::Process& Container::bind_client(dvk::ProcessLevel level) {
  dvk::Process& process = bind(peer_slot_ + 1, level, "client");
  await(peer());
  return process;
}

void Container::close() {
  must_code(process_->unbind(), "unbind");
  delete process_;
  delete segment_;
}

}  // namespace bench

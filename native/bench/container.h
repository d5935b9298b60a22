// A container for a bench: of each pair, the peer in an odd slot and the client in the next one.
#pragma once

#include "../core/ipc.h"
#include "bench.h"

namespace bench {

// Makes and maps the segment for all pairs, and removes its file at once: the mapping is inherited
// by every process that is forked later. The arena has room for a block of each pair.
void create_container(const Options& options);

// The same with a watcher of its trace, who reads nothing.
void create_traced_container(const Options& options);

// One pair's part of it.
class Container {
 public:
  void open(const Options& options);
  // Binds the caller, a server in the peer; the client then waits until the peer is there.
  dvk::Process& bind_peer();
  dvk::Process& bind_client(dvk::ProcessLevel level);
  void close();

  dvk::Segment& segment() {
    return *segment_;
  }
  int32_t peer() const {
    return dvk::make_endpoint(peer_slot_, 0);
  }
  int32_t client() const {
    return dvk::make_endpoint(peer_slot_ + 1, 0);
  }

 private:
  dvk::Process& bind(uint32_t slot, dvk::ProcessLevel level, const char* name);
  // Waits until the process of `endpoint` is bound.
  void await(int32_t endpoint);

  dvk::Segment* segment_ = nullptr;
  dvk::Process* process_ = nullptr;
  uint32_t peer_slot_ = 0;
};

}  // namespace bench

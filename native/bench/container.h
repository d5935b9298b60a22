// A container of two processes for a bench: the client in slot 2, the peer in slot 1.
#pragma once

#include "../core/ipc.h"
#include "bench.h"

namespace bench {

class Container {
 public:
  // Makes and maps the segment, and removes its file at once: the mapping is inherited by the fork.
  void open(uint64_t arena_bytes);
  // Binds the caller, a server in the peer; the client then waits until the peer is there.
  dvk::Process& bind_peer();
  dvk::Process& bind_client(dvk::ProcessLevel level);
  void close();

  dvk::Segment& segment() {
    return *segment_;
  }
  int32_t peer() const {
    return dvk::make_endpoint(kPeerSlot, 0);
  }
  int32_t client() const {
    return dvk::make_endpoint(kClientSlot, 0);
  }

 private:
  static constexpr uint32_t kPeerSlot = 1, kClientSlot = 2;

  dvk::Process& bind(uint32_t slot, dvk::ProcessLevel level, const char* name);
  // Waits until the process of `endpoint` is bound.
  void await(int32_t endpoint);

  dvk::Segment* segment_ = nullptr;
  dvk::Process* process_ = nullptr;
};

}  // namespace bench

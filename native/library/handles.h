// What the opaque handles of dvk.h are.
#pragma once

#include <atomic>
#include <memory>

#include "../core/ipc.h"
#include "dvk.h"

struct dvk_segment {
  std::unique_ptr<dvk::Segment> core;
  std::atomic<int> bound{0};  // processes that refer to it
};

struct dvk_process {
  dvk_segment* owner;
  std::unique_ptr<dvk::Process> core;
};

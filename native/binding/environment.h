// What the addon holds for one JavaScript environment (the main thread or a Worker), and how it is
// let go.
//
// JavaScript sees handles: small ints, checked at each use, so a closed or invented one gives
// -EBADF. Everything is released when the environment ends, in this order: processes unbind (their
// calls are cancelled), wake FIFOs are removed, segments are unmapped. An arena that JavaScript
// still references stays mapped until its ArrayBuffer is collected.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../core/ipc.h"
#include "../core/process.h"
#include "../core/segment.h"

struct uv_loop_s;

namespace dvk::binding {

// Values that JavaScript names by an int: index in the low 16 bits, a generation above.
template <typename T>
class Table {
 public:
  // The handle, or -EMFILE.
  int32_t add(std::shared_ptr<T> value) {
    if (free_.empty()) {
      if (cells_.size() > kIndexMask) return -kTooMany;
      free_.push_back(static_cast<uint32_t>(cells_.size()));
      cells_.emplace_back();
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    cells_[index].value = std::move(value);
    return static_cast<int32_t>(cells_[index].generation << kIndexBits | index);
  }
  T* find(int32_t handle) const {
    const uint32_t index = static_cast<uint32_t>(handle) & kIndexMask;
    if (handle < 0 || index >= cells_.size()) return nullptr;
    const Cell& cell = cells_[index];
    return cell.generation == static_cast<uint32_t>(handle) >> kIndexBits ? cell.value.get()
                                                                          : nullptr;
  }
  std::shared_ptr<T> share(int32_t handle) const {
    return find(handle) == nullptr ? nullptr
                                   : cells_[static_cast<uint32_t>(handle) & kIndexMask].value;
  }
  std::shared_ptr<T> remove(int32_t handle) {
    if (find(handle) == nullptr) return nullptr;
    const uint32_t index = static_cast<uint32_t>(handle) & kIndexMask;
    Cell& cell = cells_[index];
    cell.generation = (cell.generation + 1) & kGenerationMask;
    free_.push_back(index);
    return std::move(cell.value);
  }
  template <typename Visit>
  void each(Visit visit) const {
    for (const Cell& cell : cells_) {
      if (cell.value != nullptr) visit(*cell.value);
    }
  }
  void clear() {
    cells_.clear();
    free_.clear();
  }

 private:
  static constexpr uint32_t kIndexBits = 16, kIndexMask = 0xffff, kGenerationMask = 0x7fff;
  static constexpr int32_t kTooMany = 24;  // EMFILE
  struct Cell {
    std::shared_ptr<T> value;
    uint32_t generation = 0;
  };
  std::vector<Cell> cells_;
  std::vector<uint32_t> free_;
};

// The memory that JavaScript and the addon share for one process: its message, how the last one
// came, and the number of the last call.
struct Window {
  Message message{};
  uint32_t kind = 0;
  uint32_t call = 0;
  uint32_t reserved[14]{};
};
static_assert(sizeof(Window) == 2 * kMessageBytes);

struct BoundProcess {
  std::shared_ptr<Segment> owner;  // outlives the process
  std::unique_ptr<Process> process;
  std::shared_ptr<Window> window;
  int32_t handle = -1;
  int32_t waker = -1;
  bool pending = false;  // an awaited call is under way
};

// A FIFO that wakes this environment's event loop for processes and proxies of one directory.
struct Waker {
  std::string directory;
  uint64_t wake_id = 0;
  int32_t handle = -1;
  int fd = -1;
  std::vector<int32_t> pending;  // handles of processes with an awaited call
};

struct Polls;

struct Environment {
  explicit Environment(napi_env of) : env(of) {}
  Napi::Env env;
  Napi::FunctionReference nothing;  // a function that does nothing; see `still_wanted`
  Polls* polls = nullptr;           // of poll.cc
  uv_loop_s* loop = nullptr;
  // The turn of the loop in which a call was awaited last, when the first one was, and for how long
  // in one turn calls may be settled at once.
  uint64_t turn = 0;
  int64_t turn_begun = 0;
  uint32_t turn_ms = 1;
  Table<Segment> segments;
  Table<BoundProcess> processes;
  Table<Waker> wakers;
  std::string reason;  // why the last segmentOpen failed
};

// Makes the state of `env` and its cleanup hook. Null with an exception pending when that fails.
Environment* make_environment(Napi::Env env);

// Cancels what is under way and frees the slot; the result is that of Process::unbind.
int unbind_process(BoundProcess& bound);
void close_waker(Waker& waker);

}  // namespace dvk::binding

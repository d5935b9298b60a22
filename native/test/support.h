// What the core's tests share: containers, bound processes, children, waiting for a state, and the
// check that a table is whole.
#pragma once

#include <sys/types.h>

#include <functional>
#include <random>
#include <string>

#include "../core/ipc.h"
#include "../core/link.h"
#include "../core/rendezvous.h"
#include "../core/senda.h"
#include "../core/vcopy.h"
#include "../core/wait.h"
#include "test.h"

namespace dvk::test {

// Small tables: 32 dynamic slots for each of 4 nodes.
SegmentOptions small(uint32_t node = 0, uint64_t arena_bytes = uint64_t{4} << 20);

// A container of this test alone: its segment, created and opened.
class Container {
 public:
  explicit Container(const SegmentOptions& options = small());
  std::string path;
  Segment& segment;
};

// Opens a second mapping of a container's segment.
Segment& reopen(const Container& container);

Process& bind_server(Segment& segment, int slot = -1, const char* name = "server");
Process& bind_client(Segment& segment, const char* name = "client");
int bind_error(Segment& segment, const BindOptions& options);

// A message whose payload begins with `value`, and is filled from it, so that a torn one shows.
Message message(int32_t type, uint64_t value);
uint64_t value_of(const Message& message);
bool whole(const Message& message);

State state_in(const Process& process);
State state_in(Segment& segment, uint32_t slot);

// Waits until `met` is true, looking often; fails the test after ten seconds.
void until(const char* what, const std::function<bool()>& met);
void until_state(const Process& process, State state);

// Runs `work` in a child, which ends with 0 when it returns.
pid_t spawn(const std::function<void()>& work);
// Waits for a child's end. `join` wants 0; `join_killed` wants the death by signal.
void join(pid_t child);
void join_killed(pid_t child);
// Kills a child, waits for it, and frees its slots. Returns how many.
int kill_and_reap(Segment& segment, pid_t child);
// Frees the slots of a child that has ended.
int reap_child(Segment& segment, pid_t child);

// What is wrong with the tables of a quiet segment, or "".
std::string damage(Segment& segment);
// Whether a process of this node waits for a free slot, for which nobody will wake it.
std::string orphaned_wait(Segment& segment);

// Memory that a test shares with its children, zeroed.
void* shared_memory(size_t bytes);
template <typename T>
T* shared() {
  return new (shared_memory(sizeof(T))) T();
}

using Random = std::mt19937_64;
inline uint64_t below(Random& random, uint64_t bound) {
  return random() % bound;
}

}  // namespace dvk::test

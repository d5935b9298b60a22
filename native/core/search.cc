#include "search.h"

#include <errno.h>
#include <unistd.h>

#include "bindings.h"
#include "call.h"
#include "link.h"
#include "senda.h"
#include "wait.h"

namespace dvk {
namespace {

using Stage = Operation::Stage;
using Kind = Operation::Kind;

LinkSlot* own_link(Segment& segment) {
  return segment.link(segment.node_id());
}

bool tracker_lives(Segment& segment) {
  LinkSlot* own = own_link(segment);
  const int pid = load(own->proxy_pid);
  return pid != 0 && process_alive(pid, load(own->proxy_start_time));
}

bool watches_table(uint32_t word) {
  return state_of(word) == State::kRemote && peer_of(word) == kTablePeer;
}

// What the search has come to: kPending, 0 or a negative error.
int look(const Process& process) {
  if (!process.segment.running()) return -EDVSDCNOTRUN;
  uint32_t slot;
  return find_endpoint(process.segment, process.operation.peer, &slot) == 0 ? 0 : kPending;
}

bool is_absent(const Segment& segment, int32_t endpoint) {
  uint32_t slot;
  return find_endpoint(segment, endpoint, &slot) == -EDEADSRCDST;
}

int leave(Process& process, int result) {
  leave_search(process);
  return result == 0 ? resume(process) : finish(process, result);
}

// The search of the process in `index`. Returns whether it has one.
bool read_search(Segment& segment, uint32_t index, Search* search) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t word = atomic(slot->rendezvous).load();
  search->call_id = atomic(slot->call_id).load();
  search->seeker = atomic(slot->endpoint).load();
  search->endpoint = atomic(slot->want_source).load();
  const uint32_t kind = atomic(slot->command_kind).load();
  search->slot = static_cast<uint32_t>(load(slot->command_endpoint));
  const bool binds = kind == kCommandNone && search->endpoint == kEndpointNone;
  if (!watches_table(word) || !life_is(slot, ProcessLife::kLocal)) return false;
  if (!binds && kind != kCommandProcinfo) return false;
  if (segment.slot_of(search->seeker) != static_cast<int>(index)) return false;
  if (!binds && segment.slot_of(search->endpoint) != static_cast<int>(search->slot)) return false;
  if (!binds && !is_absent(segment, search->endpoint)) return false;
  if (search->slot >= segment.processes()) return false;
  search->home = home_of(segment, search->slot);
  return atomic(slot->call_id).load() == search->call_id;
}

// Ends the search of the process in `index`, if it has one; a tracker that died may have claimed
// it. One for a process that is here, or arrives, ends by itself.
void fail_orphan(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  for (;;) {
    const uint32_t word = atomic(slot->rendezvous).load();
    const bool claimed = state_of(word) == State::kFilling && peer_of(word) == kProxyPeer;
    const bool searches = life_is(slot, ProcessLife::kLocal) &&
                          load(slot->command_kind) == kCommandProcinfo &&
                          (watches_table(word) || claimed);
    if (!searches) return;
    const bool absent = is_absent(segment, atomic(slot->want_source).load());
    if (absent ? fail(segment, index, word, EDVSNOPROXY) : kick(segment, slot, word)) return;
  }
}

}  // namespace

uint32_t home_of(const Segment& segment, uint32_t index) {
  if (index < kSystemProcesses) return static_cast<uint32_t>(kNodesMax);
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    uint32_t first, last;
    segment.slot_range(node, &first, &last);
    if (index >= first && index < last) return node;
  }
  return segment.node_id();
}

bool is_older(int32_t endpoint, int32_t other) {
  const uint32_t generations = static_cast<uint32_t>(kGenerationMax) + 1;
  const uint32_t age =
      (generation_of(other) + generations - generation_of(endpoint) % generations) % generations;
  return age != 0 && age < generations / 2;
}

bool can_search(Segment& segment, int32_t endpoint) {
  const int slot = segment.slot_of(endpoint);
  if (slot < 0) return false;
  const uint32_t index = static_cast<uint32_t>(slot);
  ProcessSlot* owner = segment.slot(index);
  if (life_is(owner, ProcessLife::kLocal)) return false;
  if (life_is(owner, ProcessLife::kRemote) && is_older(endpoint, load(owner->endpoint))) {
    return false;
  }
  return home_of(segment, index) != segment.node_id() && tracker_lives(segment);
}

bool can_await(Segment& segment, int32_t endpoint, int error) {
  return error == -EDVSMIGRATING || (error == -EDEADSRCDST && can_search(segment, endpoint));
}

bool is_stale(const Process& process, int result) {
  if (result != -EDEADSRCDST || process.operation.kind == Kind::kCopy || process.searched) {
    return false;
  }
  uint32_t slot;
  const int32_t peer = process.operation.peer;
  return process.segment.slot_of(peer) < static_cast<int>(kSystemProcesses) &&
         check_endpoint(process.segment, peer, &slot) != 0 && can_search(process.segment, peer);
}

int start_search(Process& process) {
  Segment& segment = process.segment;
  ProcessSlot* slot = process.slot;
  process.searched = true;
  mend(segment);
  void_command(slot);
  store(slot->command_kind, static_cast<uint32_t>(kCommandProcinfo));
  store(slot->command_endpoint, segment.slot_of(process.operation.peer));
  store(slot->destination_endpoint, kEndpointNone);
  store(slot->want_source, process.operation.peer);
  segment.bind_waiters().add(process.index);
  atomic(slot->rendezvous).store(pack(State::kRemote, process.sequence, kTablePeer));
  DVK_CRASH_POINT("search.word");
  process.operation.stage = Stage::kSearching;
  call_tracker(segment);
  return step_search(process);
}

int step_search(Process& process) {
  const auto rendezvous = atomic(process.slot->rendezvous);
  uint32_t word = rendezvous.load();
  if (state_of(word) == State::kKick) {
    // Nobody but the owner changes this state.
    word = pack(State::kRemote, process.sequence, kTablePeer);
    rendezvous.store(word);
  }
  if (watches_table(word)) {
    const int result = look(process);
    if (result == kPending) return kPending;
    // When somebody ended it just now, the next step finds that.
    return rendezvous.compare_exchange_strong(word, idle_word(process)) ? leave(process, result)
                                                                        : kPending;
  }
  if (state_of(word) == State::kFilling) return kPending;
  rendezvous.store(idle_word(process));
  if (state_of(word) != State::kError) return leave(process, -EDVSPROCSTS);
  const int error = static_cast<int>(peer_of(word));
  const bool gone = process.operation.kind == Kind::kUnbind && error == EDEADSRCDST;
  if (!gone) return leave(process, error == 0 ? -EINVAL : -error);
  leave_search(process);
  return finish(process, 0);
}

void call_tracker(Segment& segment) {
  LinkSlot* own = own_link(segment);
  atomic(own->sleeping).store(kAwake);
  if (load(own->proxy_pid) != 0) wake_fifo(segment.directory(), load(own->wake_id));
}

void leave_bind_waiters(Process& process) {
  Segment& segment = process.segment;
  segment.bind_waiters().remove(process.index);
  Search left;
  if (!seek_asyncs(segment, process.index, &left)) return;
  segment.bind_waiters().add(process.index);
  // Who bound its receiver in between has not seen it; the tracker takes one search of a process.
  seek_asyncs(segment, process.index, &left);
  call_tracker(segment);
}

void leave_search(Process& process) {
  leave_bind_waiters(process);
  store(process.slot->command_kind, static_cast<uint32_t>(kCommandNone));
}

void end_orphan(Process& process) {
  if (!tracker_lives(process.segment)) fail_orphan(process.segment, process.index);
}

int attach_tracker(Segment& segment, uint64_t wake_id) {
  LinkSlot* own = own_link(segment);
  if (load(own->proxy_pid) != getpid() && tracker_lives(segment)) return -EDVSPROXYRUN;
  store(own->wake_id, wake_id);
  store(own->proxy_start_time, process_start_time(getpid()));
  store(own->proxy_pid, getpid());
  return 0;
}

int detach_tracker(Segment& segment) {
  LinkSlot* own = own_link(segment);
  if (load(own->proxy_pid) != getpid()) return -EDVSNOPROXY;
  store(own->proxy_pid, 0);
  store(own->wake_id, uint64_t{0});
  end_orphans(segment);
  return 0;
}

bool has_new_searches(Segment& segment) {
  return atomic(own_link(segment)->sleeping).load() != kOnFifo;
}

size_t searches(Segment& segment, uint32_t first, Search* found, size_t capacity) {
  if (first == 0) atomic(own_link(segment)->sleeping).store(kOnFifo);
  size_t count = 0;
  segment.bind_waiters().each_bit([&](uint32_t index) {
    if (index >= segment.processes()) return;
    if (index < first || count == capacity) return;
    Search* next = &found[count];
    if (seek_asyncs(segment, index, next) || read_search(segment, index, next)) count++;
  });
  return count;
}

bool end_search(Segment& segment, int32_t seeker, uint32_t call_id, int error) {
  uint32_t index;
  if (check_endpoint(segment, seeker, &index) != 0) return false;
  ProcessSlot* slot = segment.slot(index);
  uint32_t word = atomic(slot->rendezvous).load();
  if (!life_is(slot, ProcessLife::kLocal)) return false;
  if (end_sought(segment, index, call_id, error)) return true;
  if (!watches_table(word)) return false;
  // Its owner begins no other call while the word is claimed.
  uint32_t claim = with_state(word, State::kFilling, kProxyPeer);
  if (!atomic(slot->rendezvous).compare_exchange_strong(word, claim)) return false;
  DVK_CRASH_POINT("search.claimed");
  const bool same = load(slot->endpoint) == seeker && load(slot->call_id) == call_id &&
                    load(slot->command_kind) == kCommandProcinfo;
  if (same) return fail(segment, index, claim, error);
  // Who told of a bind meanwhile has not told this one.
  kick(segment, slot, claim);
  return false;
}

void end_orphans(Segment& segment) {
  // Reading who runs costs more than looking whether anybody waits.
  bool orphaned = false, asked = false;
  segment.bind_waiters().each_bit([&](uint32_t index) {
    if (index >= segment.processes()) return;
    if (!asked) orphaned = !tracker_lives(segment);
    asked = true;
    if (!orphaned) return;
    fail_orphan(segment, index);
    fail_sought(segment, index, EDVSNOPROXY);
  });
}

int bind_claimed(Segment& segment, uint32_t node, int32_t endpoint, ProcessLevel level,
                 const char* name) {
  const int index = segment.slot_of(endpoint);
  if (index < 0 || node >= segment.nodes()) return -EDVSBADFRAME;
  const uint32_t slot = static_cast<uint32_t>(index);
  const uint32_t home = home_of(segment, slot);
  if (home != kNodesMax && home != node) return -EDVSBADFRAME;
  ProcessSlot* owner = segment.slot(slot);
  if (life_is(owner, ProcessLife::kRemote)) {
    const uint32_t holder = load(owner->node);
    if (holder == node && is_older(endpoint, load(owner->endpoint))) return -EDEADSRCDST;
    // A living process of a third node: its own node would have told of its end.
    const bool held =
        holder != node && holder < segment.nodes() && link_is(segment.link(holder), LinkState::kUp);
    if (held) return -EDVSSLOTUSED;
  }
  return bind_remote(segment, endpoint, node, level, name);
}

}  // namespace dvk

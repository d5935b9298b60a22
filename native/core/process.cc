#include "process.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "bindings.h"
#include "call.h"
#include "copy_job.h"
#include "link.h"
#include "lock.h"
#include "notify.h"
#include "rendezvous.h"
#include "senda.h"
#include "wait.h"

namespace dvk {
namespace {

uint32_t life_of(const Segment& segment, uint32_t index) {
  return atomic(segment.slot(index)->life).load(std::memory_order_acquire);
}

bool is(uint32_t life, ProcessLife wanted) {
  return life == static_cast<uint32_t>(wanted);
}

void set_life(ProcessSlot* slot, ProcessLife life) {
  atomic(slot->life).store(static_cast<uint32_t>(life));
}

// Names are written as two words, so that a reader of the table never sees a torn one with a
// missing end.
void set_name(char (&target)[kNameBytes], const char* name) {
  char text[kNameBytes] = {};
  memcpy(text, name, std::min(strlen(name), sizeof text - 1));
  uint64_t words[2];
  memcpy(words, text, sizeof words);
  uint64_t* shared = reinterpret_cast<uint64_t*>(target);
  store(shared[0], words[0]);
  store(shared[1], words[1]);
}

// Frees the slot of a dead owner, and removes the FIFO that its event loop read. The name of a FIFO
// holds the pid of its reader.
void bury(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const uint64_t wake_id = load(slot->wake_id);
  if (wake_id != 0 && wake_id >> 32 == static_cast<uint32_t>(load(slot->pid))) {
    wake_fifo_remove(segment.directory(), wake_id);
  }
  DVK_CRASH_POINT("bury.fifo");
  release_slot(segment, index);
}

// A slot that may be given away. One whose owner died while it was freed is finished here.
bool claimable(Segment& segment, uint32_t index) {
  const uint32_t life = life_of(segment, index);
  if (is(life, ProcessLife::kFree)) return true;
  ProcessSlot* slot = segment.slot(index);
  const bool halfway = is(life, ProcessLife::kDying) || is(life, ProcessLife::kBinding);
  const bool dead =
      is(life, ProcessLife::kLocal) && !process_alive(load(slot->pid), load(slot->start_time));
  if (!halfway && !dead) return false;
  bury(segment, index);
  return true;
}

// The slot that `wanted` names, or the free dynamic one of this node that was unused for longest.
int choose_slot(Segment& segment, int wanted) {
  if (wanted >= 0) {
    if (static_cast<uint64_t>(wanted) >= kSystemProcesses) return -EDVSBADPROC;
    return claimable(segment, static_cast<uint32_t>(wanted)) ? wanted : -EDVSSLOTUSED;
  }
  uint32_t first, last;
  segment.slot_range(segment.node_id(), &first, &last);
  int best = -EDVSNOSLOT;
  for (uint32_t i = first; i < last; i++) {
    if (!claimable(segment, i)) continue;
    const bool better = best < 0 || load(segment.slot(i)->generation) <
                                        load(segment.slot(static_cast<uint32_t>(best))->generation);
    if (better) best = static_cast<int>(i);
  }
  return best;
}

// Fills a free slot up to the point where it is LOCAL or REMOTE. Preconditions: the table lock is
// held.
void occupy(Segment& segment, uint32_t index, int32_t endpoint, uint32_t node, ProcessLevel level,
            const char* name) {
  ProcessSlot* slot = segment.slot(index);
  set_life(slot, ProcessLife::kBinding);
  DVK_CRASH_POINT("bind.begun");
  const uint32_t old = atomic(slot->rendezvous).load();
  // The other message buffer: a stopped sender of the previous owner may still write the one in
  // use.
  atomic(slot->rendezvous).store(pack(State::kIdle, sequence_of(old) + 1, 0));
  atomic(slot->sleeping).store(kAwake);
  store(slot->lends, 0u);
  store(slot->copy_partner, 0u);
  store(slot->want_source, kEndpointNone);
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  store(slot->wakeup, 0u);
  store(slot->cpu, 0u);
  store(slot->node, node);
  store(slot->level, static_cast<uint32_t>(level));
  // What a process of another node may do is asked there.
  const bool local = node == segment.node_id();
  store_privileges(segment, index, default_privileges(local ? level : ProcessLevel::kKernel));
  set_name(slot->name, name);
  for (uint64_t* counter : {&slot->sent, &slot->received, &slot->sent_remote, &slot->notified,
                            &slot->copied_bytes, &slot->waits, &slot->lent_bytes}) {
    store(*counter, uint64_t{0});
  }
  segment.senders(index).each([&](uint32_t i) {
    segment.senders(index).remove(i);
    return false;
  });
  clear_notices(segment, index);
  drop_asyncs(segment, index);
  DVK_CRASH_POINT("bind.cleared");
  atomic(slot->endpoint).store(endpoint);
  DVK_CRASH_POINT("bind.endpoint");
}

}  // namespace

void get_name(char (&text)[kNameBytes], char (&shared)[kNameBytes]) {
  uint64_t* source = reinterpret_cast<uint64_t*>(shared);
  const uint64_t words[2] = {load(source[0]), load(source[1])};
  memcpy(text, words, sizeof words);
  text[kNameBytes - 1] = 0;
}

void release_slot(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  // Each line may be repeated, so a process that dies in here leaves work, not damage. The endpoint
  // goes first: from then on no new waiter appears, and the waiters of before are found below. It
  // is kept in want_source for whoever has to go on.
  int32_t endpoint = load(slot->endpoint);
  if (endpoint == kEndpointNone && is(life_of(segment, index), ProcessLife::kDying)) {
    endpoint = load(slot->want_source);
  }
  const bool remote = load(slot->node) != segment.node_id();
  store(slot->want_source, endpoint);
  set_life(slot, ProcessLife::kDying);
  DVK_CRASH_POINT("free.dying");
  atomic(slot->endpoint).store(kEndpointNone);
  DVK_CRASH_POINT("free.endpoint");
  const uint32_t word = atomic(slot->rendezvous).load();
  atomic(slot->rendezvous).store(pack(State::kIdle, sequence_of(word), 0));
  DVK_CRASH_POINT("free.word");
  fail_waiters(segment, index, endpoint);
  DVK_CRASH_POINT("free.waiters");
  drop_copy_job(segment, index);
  clear_copy_job(segment, index);
  DVK_CRASH_POINT("free.copies");
  if (endpoint != kEndpointNone) arena_release_all(segment, endpoint);
  DVK_CRASH_POINT("free.arena");
  for (uint32_t i = 0; i < kGrants; i++) {
    GrantSlot* grant = segment.grant(index, i);
    store(grant->state, load(grant->state) & ~0xffu);  // The sequence goes on: old ids stay dead.
  }
  DVK_CRASH_POINT("free.grants");
  drop_asyncs(segment, index);
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  segment.bind_waiters().remove(index);
  DVK_CRASH_POINT("free.asyncs");
  store(slot->pid, 0);
  if (endpoint != kEndpointNone && !remote) {
    store(slot->generation, generation_of(make_endpoint(index, generation_of(endpoint) + 1)));
    announce(segment, index);
  }
  DVK_CRASH_POINT("free.announced");
  set_life(slot, ProcessLife::kFree);
  DVK_CRASH_POINT("free.done");
}

int Process::bind(Segment& segment, const BindOptions& options, Process** process) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  const int pid = options.pid == 0 ? getpid() : options.pid;
  const uint64_t start_time = process_start_time(pid);
  if (start_time == 0) return -ESRCH;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  const int chosen = choose_slot(segment, options.slot);
  if (chosen < 0) return chosen;
  const uint32_t index = static_cast<uint32_t>(chosen);
  ProcessSlot* slot = segment.slot(index);
  const int32_t endpoint = make_endpoint(index, load(slot->generation));
  occupy(segment, index, endpoint, segment.node_id(), options.level, options.name);
  store(slot->pid, pid);
  store(slot->start_time, start_time);
  store(slot->wake_id, options.wake_id);
  store(slot->lends, pid == getpid() && can_lend() ? 1u : 0u);
  *process = new Process(segment, index, endpoint, pid, options.level);
  (*process)->sequence = sequence_of(atomic(slot->rendezvous).load());
  DVK_CRASH_POINT("bind.named");
  set_life(slot, ProcessLife::kLocal);
  DVK_CRASH_POINT("bind.local");
  announce(segment, index);
  tell_bind_waiters(segment);
  DVK_CRASH_POINT("bind.told");
  wake_fifo(segment.directory(), load(segment.header()->monitor_wake));
  return 0;
}

int Process::unbind() {
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  if (load(slot->endpoint) != endpoint) return -EDVSNOTBOUND;
  release_slot(segment, index);
  return 0;
}

int bind_remote(Segment& segment, int32_t endpoint, uint32_t node, ProcessLevel level,
                const char* name) {
  const int chosen = segment.slot_of(endpoint);
  if (chosen < 0 || chosen == static_cast<int>(kProxyPeer)) return -EDVSBADPROC;
  if (node >= segment.nodes()) return -EDVSBADNODEID;
  if (node == segment.node_id()) return -EDVSLCLPROC;
  const uint32_t index = static_cast<uint32_t>(chosen);
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  if (load(segment.link(node)->state) == static_cast<uint32_t>(LinkState::kAbsent)) {
    return -EDVSNODCNODE;
  }
  ProcessSlot* slot = segment.slot(index);
  if (is(life_of(segment, index), ProcessLife::kRemote)) {
    if (load(slot->endpoint) == endpoint && load(slot->node) == node) {
      store(slot->level, static_cast<uint32_t>(level));
      set_name(slot->name, name);
      return 0;
    }
    release_slot(segment, index);
  } else if (!claimable(segment, index)) {
    return -EDVSSLOTUSED;
  }
  occupy(segment, index, endpoint, node, level, name);
  store(slot->pid, 0);
  store(slot->wake_id, uint64_t{0});
  set_life(slot, ProcessLife::kRemote);
  DVK_CRASH_POINT("bind.remote");
  tell_bind_waiters(segment);
  return 0;
}

int unbind_remote(Segment& segment, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  if (index < 0) return -EDVSNOTBOUND;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  const uint32_t slot = static_cast<uint32_t>(index);
  if (!is(life_of(segment, slot), ProcessLife::kRemote) ||
      load(segment.slot(slot)->endpoint) != endpoint) {
    return -EDVSNOTBOUND;
  }
  release_slot(segment, slot);
  return 0;
}

int32_t lookup(const Segment& segment, uint32_t index) {
  if (index >= segment.processes()) return -EDVSBADPROC;
  const uint32_t life = life_of(segment, index);
  if (!is(life, ProcessLife::kLocal) && !is(life, ProcessLife::kRemote)) return -EDVSNOTBOUND;
  const int32_t endpoint = load(segment.slot(index)->endpoint);
  return endpoint < 0 || endpoint == kEndpointNone ? -EDVSNOTBOUND : endpoint;
}

int check_endpoint(const Segment& segment, int32_t endpoint, uint32_t* slot) {
  const int index = segment.slot_of(endpoint);
  if (index < 0) return -ERANGE;
  *slot = static_cast<uint32_t>(index);
  const uint32_t life = life_of(segment, *slot);
  const bool bound = is(life, ProcessLife::kLocal) || is(life, ProcessLife::kRemote);
  if (!bound || load(segment.slot(*slot)->endpoint) != endpoint) return -EDEADSRCDST;
  return 0;
}

int32_t find_pid(const Segment& segment, int pid, uint32_t first) {
  for (uint32_t index = first; index < segment.processes(); index++) {
    ProcessSlot* slot = segment.slot(index);
    if (!is(life_of(segment, index), ProcessLife::kLocal) || load(slot->pid) != pid) continue;
    const int32_t endpoint = lookup(segment, index);
    if (endpoint >= 0) return endpoint;
  }
  return -EDVSNOTBOUND;
}

namespace {

uint32_t shown_state(ProcessSlot* slot, uint32_t word) {
  if (state_of(word) != State::kRemote || peer_of(word) != kTablePeer) {
    return static_cast<uint32_t>(state_of(word));
  }
  return load(slot->want_source) == kEndpointNone ? kStateAwaitsBind : kStateAwaitsUnbind;
}

}  // namespace

int process_info(const Segment& segment, uint32_t index, ProcessInfo* info) {
  if (index >= segment.processes()) return -EDVSBADPROC;
  ProcessSlot* slot = segment.slot(index);
  const uint32_t life = life_of(segment, index);
  if (is(life, ProcessLife::kFree)) return -EDVSNOTBOUND;
  const uint32_t word = atomic(slot->rendezvous).load();
  info->endpoint = load(slot->endpoint);
  info->slot = index;
  info->node = load(slot->node);
  info->life = life;
  info->level = load(slot->level);
  info->state = shown_state(slot, word);
  info->pid = load(slot->pid);
  info->cpu = load(slot->cpu);
  info->wakeup = load(slot->wakeup);
  info->start_time = load(slot->start_time);
  info->peer = is_waiting(word) ? load(slot->want_source) : kEndpointNone;
  get_name(info->name, slot->name);
  info->sent = load(slot->sent);
  info->received = load(slot->received);
  info->sent_remote = load(slot->sent_remote);
  info->notified = load(slot->notified);
  info->copied_bytes = load(slot->copied_bytes);
  info->waits = load(slot->waits);
  info->lent_bytes = load(slot->lent_bytes);
  return 0;
}

namespace {

// Cut short, unless somebody is at it with the table lock.
bool is_halfway(const Segment& segment, uint32_t index) {
  const uint32_t life = life_of(segment, index);
  return is(life, ProcessLife::kDying) || is(life, ProcessLife::kBinding);
}

}  // namespace

int reap(Segment& segment, uint32_t index, int32_t endpoint, int64_t lock_timeout_ms) {
  if (index >= segment.processes()) return 0;
  ProcessSlot* slot = segment.slot(index);
  const TableLock lock(segment, lock_timeout_ms);
  if (lock.error() != 0) return 0;
  if (!is_halfway(segment, index)) {
    if (!is(life_of(segment, index), ProcessLife::kLocal) || load(slot->endpoint) != endpoint)
      return 0;
    if (process_alive(load(slot->pid), load(slot->start_time))) return 0;
  }
  bury(segment, index);
  return 1;
}

int sweep(Segment& segment) {
  for (uint32_t index = 0; index < segment.processes(); index++) {
    if (is(life_of(segment, index), ProcessLife::kLocal)) {
      wake_claimed(segment, segment.slot(index));
    }
  }
  const uint64_t owner = atomic(segment.header()->table_lock).load();
  if (owner != 0) {
    if (lock_owner_alive(owner)) return 0;
    const TableLock inherited(segment, kRepairLockMs);
  }
  int freed = 0;
  for (uint32_t index = 0; index < segment.processes(); index++) {
    if (!is_halfway(segment, index)) continue;
    freed += reap(segment, index, kEndpointNone, kRepairLockMs);
  }
  return freed;
}

void end_container(Segment& segment) {
  atomic(segment.header()->state).store(2);
  DVK_CRASH_POINT("end.state");
  for (uint32_t index = 0; index < segment.processes(); index++) {
    if (!is(life_of(segment, index), ProcessLife::kLocal)) continue;
    const auto rendezvous = atomic(segment.slot(index)->rendezvous);
    for (uint32_t word = rendezvous.load(); is_waiting(word); word = rendezvous.load()) {
      if (fail(segment, index, word, EDVSDCNOTRUN)) break;
    }
    DVK_CRASH_POINT("end.failed");
  }
}

}  // namespace dvk

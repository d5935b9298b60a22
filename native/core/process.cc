#include "process.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>

#include "bindings.h"
#include "call.h"
#include "clock.h"
#include "copy_job.h"
#include "link.h"
#include "lock.h"
#include "migrate.h"
#include "notify.h"
#include "rendezvous.h"
#include "search.h"
#include "senda.h"
#include "slots.h"
#include "standby.h"
#include "trace.h"
#include "wait.h"

namespace dvk {
namespace {

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

void note(Segment& segment, uint32_t index, TraceKind kind) {
  if (is_traced(segment)) trace_binding(segment, index, kind, load(segment.slot(index)->endpoint));
}

// Removes the FIFO that the event loop of a dead owner read. The name of a FIFO holds the pid of
// its reader.
void remove_fifo(Segment& segment, ProcessSlot* slot) {
  const uint64_t wake_id = load(slot->wake_id);
  if (wake_id != 0 && wake_id >> 32 == static_cast<uint32_t>(load(slot->pid))) {
    wake_fifo_remove(segment.directory(), wake_id);
  }
}

// Frees the slot of a dead owner. A thread leaves its FIFO to its program, which may use it yet.
void bury(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  note(segment, index, TraceKind::kReap);
  const bool alone = load(slot->thread) == 0 || process_start_time(load(slot->pid)) == 0;
  if (alone) remove_fifo(segment, slot);
  DVK_CRASH_POINT("bury.fifo");
  release_slot(segment, index);
}

}  // namespace

bool claimable(Segment& segment, uint32_t index) {
  const uint32_t life = life_of(segment, index);
  if (is(life, ProcessLife::kFree)) return true;
  ProcessSlot* slot = segment.slot(index);
  const bool halfway = is(life, ProcessLife::kDying) || is(life, ProcessLife::kBinding);
  const bool dead = is(life, ProcessLife::kLocal) && !owner_alive(slot);
  if (!halfway && !dead) return false;
  bury(segment, index);
  return true;
}

namespace {

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

}  // namespace

void occupy(Segment& segment, uint32_t index, int32_t endpoint, uint32_t node, ProcessLevel level,
            const char* name) {
  ProcessSlot* slot = segment.slot(index);
  set_life(slot, ProcessLife::kBinding);
  DVK_CRASH_POINT("bind.begun");
  store(slot->node, node);
  renew(segment, index);
  store(slot->level, static_cast<uint32_t>(level));
  store(segment.privilege(index)->held, 0u);
  // What a process of another node may do is asked there.
  const bool local = node == segment.node_id();
  store_privileges(segment, index, default_privileges(local ? level : ProcessLevel::kKernel));
  set_name(slot->name, name);
  DVK_CRASH_POINT("bind.cleared");
  atomic(slot->endpoint).store(endpoint);
  DVK_CRASH_POINT("bind.endpoint");
}

void renew(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t old = atomic(slot->rendezvous).load();
  // The other message buffer: a stopped sender of the previous owner may still write the one in
  // use.
  atomic(slot->rendezvous).store(pack(State::kIdle, sequence_of(old) + 1, 0));
  atomic(slot->sleeping).store(kAwake);
  store(slot->lends, kLendsNever);
  store(slot->copy_partner, 0u);
  store(slot->want_source, kEndpointNone);
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  store(slot->wakeup, 0u);
  store(slot->cpu, 0u);
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
}

void get_name(char (&text)[kNameBytes], char (&shared)[kNameBytes]) {
  uint64_t* source = reinterpret_cast<uint64_t*>(shared);
  const uint64_t words[2] = {load(source[0]), load(source[1])};
  memcpy(text, words, sizeof words);
  text[kNameBytes - 1] = 0;
}

void release_slot(Segment& segment, uint32_t index, int32_t status) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t life = life_of(segment, index);
  // Each line may be repeated, so a process that dies in here leaves work, not damage. The endpoint
  // goes first: from then on no new waiter appears, and the waiters of before are found below. It
  // is kept in want_source for whoever has to go on.
  int32_t endpoint = load(slot->endpoint);
  const bool again = is(life, ProcessLife::kDying);
  if (endpoint == kEndpointNone && again) endpoint = load(slot->want_source);
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
  forget_migration(segment, index, endpoint);
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  segment.bind_waiters().remove(index);
  DVK_CRASH_POINT("free.asyncs");
  const bool gone = again || is(life, ProcessLife::kLocal);
  if (gone && !remote && endpoint != kEndpointNone) {
    note_departure(segment, index, endpoint, status, again);
  }
  const bool backup = is_backup(slot);
  store(slot->bind_flags, 0u);
  store(slot->pid, 0);
  store(slot->thread, 0);
  if (endpoint != kEndpointNone && !remote) {
    store(slot->generation, generation_of(make_endpoint(index, generation_of(endpoint) + 1)));
    announce(segment, index);
  } else if (endpoint != kEndpointNone && index < kSystemProcesses &&
             !is_older(endpoint, make_endpoint(index, load(slot->generation)))) {
    // Whoever has the slot next, here or there, is another one.
    store(slot->generation, generation_of(make_endpoint(index, generation_of(endpoint) + 1)));
  }
  DVK_CRASH_POINT("free.announced");
  set_life(slot, ProcessLife::kFree);
  DVK_CRASH_POINT("free.done");
  if (backup) wake_backup(segment, slot);
}

void tell_of_bind(Segment& segment, uint32_t index) {
  announce(segment, index);
  tell_bind_waiters(segment);
  DVK_CRASH_POINT("bind.told");
  wake_fifo(segment.directory(), load(segment.header()->monitor_wake));
}

int bind_owner(Segment& segment, const BindOptions& options, const Owner& owner, uint32_t flags) {
  const int chosen =
      is_named(options) ? choose_named(segment, options) : choose_slot(segment, options.slot);
  if (chosen < 0) return chosen;
  const uint32_t index = static_cast<uint32_t>(chosen);
  ProcessSlot* slot = segment.slot(index);
  const bool backup = options.kind == BindKind::kBackup;
  const int32_t endpoint =
      is_named(options) ? options.endpoint : make_endpoint(index, load(slot->generation));
  if (!is(life_of(segment, index), ProcessLife::kRemote)) {
    const uint32_t node = backup ? options.node : segment.node_id();
    occupy(segment, index, endpoint, node, options.level, options.name);
  }
  if (!backup) store(slot->generation, generation_of(endpoint));
  store(slot->level, static_cast<uint32_t>(options.level));
  store(slot->pid, owner.pid);
  store(slot->thread, owner.thread);
  store(slot->start_time, owner.start_time);
  store(slot->wake_id, options.wake_id);
  const bool lends = !backup && owner.pid == getpid();
  store(slot->lends, !lends ? kLendsNever : can_lend() ? kLendsAlways : kLendsAtNeed);
  if (backup) suspend_rights(segment, index);
  if (options.no_migrate) flags |= static_cast<uint32_t>(BindFlag::kNomigrate);
  atomic(slot->bind_flags).store(flags | flags_of(options.kind));
  DVK_CRASH_POINT("bind.named");
  return chosen;
}

int Process::bind(Segment& segment, const BindOptions& options, Process** process) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  Owner owner;
  const int error = find_owner(segment, options, &owner);
  if (error != 0) return error;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  const int chosen = bind_owner(segment, options, owner, 0);
  if (chosen < 0) return chosen;
  const uint32_t index = static_cast<uint32_t>(chosen);
  ProcessSlot* slot = segment.slot(index);
  const bool backup = options.kind == BindKind::kBackup;
  *process = new Process(segment, index, load(slot->endpoint), owner.pid, options.level);
  (*process)->sequence = sequence_of(atomic(slot->rendezvous).load());
  (*process)->standby = backup;
  set_life(slot, backup ? ProcessLife::kRemote : ProcessLife::kLocal);
  DVK_CRASH_POINT("bind.local");
  note(segment, index, TraceKind::kBind);
  tell_of_bind(segment, index);
  return 0;
}

int Process::unbind() {
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  if (load(slot->endpoint) != endpoint || !stands_by_here(*this)) return -EDVSNOTBOUND;
  note(segment, index, TraceKind::kUnbind);
  if (is_backup(slot)) {
    retire_backup(segment, index);
  } else {
    release_slot(segment, index, kUnbound);
  }
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
    // A backup keeps its own level and name, also when its primary goes to another node.
    if (load(slot->endpoint) == endpoint && is_backup(slot)) {
      if (load(slot->node) != node) quiet_descriptor(segment, index);
      store(slot->node, node);
      return 0;
    }
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
  note(segment, index, TraceKind::kBind);
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
  note(segment, slot, TraceKind::kUnbind);
  release_descriptor(segment, slot);
  return 0;
}

int32_t lookup(const Segment& segment, uint32_t index) {
  if (index >= segment.processes()) return -EDVSBADPROC;
  if (!is_bound(life_of(segment, index))) return -EDVSNOTBOUND;
  const int32_t endpoint = load(segment.slot(index)->endpoint);
  return endpoint < 0 || endpoint == kEndpointNone ? -EDVSNOTBOUND : endpoint;
}

namespace {

// Who moves here, or takes over as a backup, arrives within microseconds; later where whoever
// places it has lost its CPU, and when that died, once the table is mended.
constexpr int64_t kArrivalNs = 50'000'000;

}  // namespace

int find_endpoint(const Segment& segment, int32_t endpoint, uint32_t* slot) {
  const int index = segment.slot_of(endpoint);
  if (index < 0) return -ERANGE;
  *slot = static_cast<uint32_t>(index);
  const uint32_t life = life_of(segment, *slot);
  if (!is_bound(life) || load(segment.slot(*slot)->endpoint) != endpoint) return -EDEADSRCDST;
  return is(life, ProcessLife::kArriving) ? -EDVSMIGRATING : 0;
}

int check_endpoint(const Segment& segment, int32_t endpoint, uint32_t* slot) {
  int error = find_endpoint(segment, endpoint, slot);
  if (error != -EDVSMIGRATING) [[likely]] {
    return error;
  }
  for (const int64_t end = now_ns() + kArrivalNs;
       error == -EDVSMIGRATING && now_ns() < end && !is_lock_broken(segment);) {
    sched_yield();
    error = find_endpoint(segment, endpoint, slot);
  }
  return error;
}

int32_t find_pid(const Segment& segment, int pid, uint32_t first) {
  for (uint32_t index = first; index < segment.processes(); index++) {
    ProcessSlot* slot = segment.slot(index);
    const bool here = is(life_of(segment, index), ProcessLife::kLocal) || is_backup(slot);
    if (!here || load(slot->pid) != pid) continue;
    const int32_t endpoint = lookup(segment, index);
    if (endpoint >= 0) return endpoint;
  }
  return -EDVSNOTBOUND;
}

namespace {

uint32_t shown_state(ProcessSlot* slot, uint32_t word) {
  if (is_backup(slot)) return kStateStandsBy;
  if (state_of(word) != State::kRemote || peer_of(word) != kTablePeer) {
    return static_cast<uint32_t>(state_of(word));
  }
  if (load(slot->want_source) == kEndpointNone) return kStateAwaitsBind;
  return load(slot->command_kind) == kCommandProcinfo ? kStateSearches : kStateAwaitsUnbind;
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
  info->cpu = cpu_of(slot);
  info->wakeup = load(slot->wakeup);
  info->start_time = load(slot->start_time);
  info->thread = load(slot->thread);
  info->flags = load(slot->bind_flags);
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
    const uint32_t life = life_of(segment, index);
    const bool backup = is(life, ProcessLife::kRemote) && is_backup(slot);
    if (!backup && !is(life, ProcessLife::kLocal)) return 0;
    if (load(slot->endpoint) != endpoint || owner_alive(slot)) return 0;
    if (backup) {
      note(segment, index, TraceKind::kReap);
      remove_fifo(segment, slot);
      retire_backup(segment, index);
      return 1;
    }
  }
  bury(segment, index);
  return 1;
}

int sweep(Segment& segment) {
  segment.touch_tables();
  sweep_migrations(segment);
  end_orphans(segment);
  for (uint32_t index = 0; index < segment.processes(); index++) {
    if (is(life_of(segment, index), ProcessLife::kLocal)) {
      wake_claimed(segment, segment.slot(index));
    }
  }
  const uint64_t owner = atomic(segment.header()->table_lock).load();
  if (owner != 0 && lock_owner_alive(owner)) return 0;
  mend(segment);
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
    ProcessSlot* slot = segment.slot(index);
    if (is_backup(slot)) wake_backup(segment, slot);
    if (!is(life_of(segment, index), ProcessLife::kLocal)) {
      // Somebody may sleep there whose slot is lost (lost_pages.h).
      futex_wake(&slot->rendezvous);
      continue;
    }
    const auto rendezvous = atomic(slot->rendezvous);
    for (uint32_t word = rendezvous.load(); is_waiting(word); word = rendezvous.load()) {
      if (fail(segment, index, word, EDVSDCNOTRUN)) break;
    }
    DVK_CRASH_POINT("end.failed");
  }
  futex_wake(&segment.header()->handed, kEveryWaiter);
  // Nor is it known which event loops wait there.
  wake_every_fifo(segment.directory());
}

}  // namespace dvk

// Binds beyond that of the caller: for another program, as a replica or a backup; and the end of
// all that is bound.

#include <errno.h>
#include <unistd.h>

#include "copy_job.h"
#include "link.h"
#include "migrate.h"
#include "slots.h"
#include "standby.h"
#include "wait.h"

namespace dvk {

uint32_t flags_of(BindKind kind) {
  switch (kind) {
    case BindKind::kReplica:
      return static_cast<uint32_t>(BindFlag::kReplica);
    case BindKind::kBackup:
      return static_cast<uint32_t>(BindFlag::kBackup);
    default:
      return 0;
  }
}

namespace {

// The checks of a bind to an endpoint that is given: in a fixed slot, and of a backup the primary
// on another node.
int check_named(const Segment& segment, const BindOptions& options) {
  const int index = segment.slot_of(options.endpoint);
  if (index < 0 || static_cast<uint32_t>(index) >= kSystemProcesses) return -EDVSBADPROC;
  if (options.kind == BindKind::kReplica) return 0;
  if (options.node >= segment.nodes()) return -EDVSBADNODEID;
  if (options.node == segment.node_id()) return -EDVSLCLPROC;
  LinkSlot* link = segment.link(options.node);
  if (load(link->state) == static_cast<uint32_t>(LinkState::kAbsent)) return -EDVSNODCNODE;
  return load(link->proxy_pid) == 0 ? -EDVSNOPROXY : 0;
}

}  // namespace

int find_owner(const Segment& segment, const BindOptions& options, Owner* owner) {
  owner->pid = options.pid == 0 ? getpid() : options.pid;
  owner->thread = 0;
  owner->start_time = process_start_time(owner->pid);
  if (options.kind == BindKind::kThread) {
    if (owner->pid != getpid()) return -EINVAL;
    owner->thread = gettid();
    owner->start_time = find_start_time(owner->pid, owner->thread).value_or(0);
  }
  if (owner->start_time == 0) return -ESRCH;
  return is_named(options) ? check_named(segment, options) : 0;
}

// A backup may take the descriptor that its primary has here already.
int choose_named(Segment& segment, const BindOptions& options) {
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(options.endpoint));
  ProcessSlot* slot = segment.slot(index);
  if (!is(life_of(segment, index), ProcessLife::kRemote)) {
    return claimable(segment, index) ? static_cast<int>(index) : -EDVSSLOTUSED;
  }
  const bool free = options.kind == BindKind::kBackup && load(slot->endpoint) == options.endpoint &&
                    load(slot->node) == options.node && (!is_backup(slot) || !owner_alive(slot));
  return free ? static_cast<int>(index) : -EDVSSLOTUSED;
}

int32_t bind_for(Segment& segment, const BindOptions& options) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  const bool backup = options.kind == BindKind::kBackup;
  if (options.kind == BindKind::kThread || options.pid <= 0) return -EINVAL;
  Owner owner;
  const int error = find_owner(segment, options, &owner);
  if (error != 0) return error;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  const int chosen = bind_owner(segment, options, owner, static_cast<uint32_t>(BindFlag::kHanded));
  if (chosen < 0) return chosen;
  const uint32_t index = static_cast<uint32_t>(chosen);
  ProcessSlot* slot = segment.slot(index);
  const int32_t endpoint = load(slot->endpoint);
  set_life(slot, backup ? ProcessLife::kRemote : ProcessLife::kLocal);
  tell_of_bind(segment, index);
  atomic(segment.header()->handed).fetch_add(1);
  futex_wake(&segment.header()->handed, kEveryWaiter);
  return endpoint;
}

namespace {

bool is_handed_to(ProcessSlot* slot, int pid, uint64_t start_time) {
  return (load(slot->bind_flags) & static_cast<uint32_t>(BindFlag::kHanded)) != 0 &&
         load(slot->pid) == pid && load(slot->start_time) == start_time;
}

// A slot that was bound for this program, or -1.
int find_handed(const Segment& segment, uint64_t start_time) {
  for (uint32_t index = 0; index < segment.processes(); index++) {
    if (is_bound(life_of(segment, index)) &&
        is_handed_to(segment.slot(index), getpid(), start_time)) {
      return static_cast<int>(index);
    }
  }
  return -1;
}

}  // namespace

int Process::adopt(Segment& segment, int64_t timeout_ms, Process** process) {
  const uint64_t start_time = process_start_time(getpid());
  Deadline deadline(timeout_ms);
  for (;;) {
    const uint32_t seen = atomic(segment.header()->handed).load();
    if (!segment.running()) return -EDVSDCNOTRUN;
    if (find_handed(segment, start_time) >= 0) {
      const TableLock lock(segment);
      if (lock.error() != 0) return lock.error();
      // Once more: another thread may have taken it.
      const int found = find_handed(segment, start_time);
      if (found >= 0) {
        const uint32_t index = static_cast<uint32_t>(found);
        ProcessSlot* slot = segment.slot(index);
        *process = new Process(segment, index, load(slot->endpoint), getpid(),
                               static_cast<ProcessLevel>(load(slot->level)));
        (*process)->sequence = sequence_of(atomic(slot->rendezvous).load());
        (*process)->standby = is_backup(slot);
        store(slot->lends, !is_backup(slot) && can_lend() ? 1u : 0u);
        atomic(slot->bind_flags).fetch_and(~static_cast<uint32_t>(BindFlag::kHanded));
        return 0;
      }
    }
    const int error = deadline.sleep(&segment.header()->handed, seen);
    if (error != 0) return error;
  }
}

int promote(Segment& segment, int32_t endpoint) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  uint32_t index;
  const int error = check_endpoint(segment, endpoint, &index);
  if (error != 0) return error;
  ProcessSlot* slot = segment.slot(index);
  if (!is_backup(slot)) return -EDVSPROCSTS;
  // Its new node has it, or gives it back.
  if (has_migration(segment, index, MigrationState::kGiven)) return -EDVSMIGRATING;
  if (!owner_alive(slot)) {
    retire_backup(segment, index);
    return -ESRCH;
  }
  // The primary was to move; whatever came of that, its node tells only who still has it for its
  // own.
  forget_migration(segment, index, endpoint);
  const uint32_t primary = load(slot->node);
  set_life(slot, ProcessLife::kArriving);
  DVK_CRASH_POINT("promote.begun");
  quiet_descriptor(segment, index);
  if (primary < segment.nodes()) segment.link_queue(primary).remove(index);
  renew(segment, index);
  store(slot->generation, generation_of(endpoint));
  // The process gives itself its rights when it takes over.
  const auto level = static_cast<ProcessLevel>(load(slot->level));
  store(segment.privilege(index)->held,
        default_privileges(level).rights | static_cast<uint32_t>(kHeldRights));
  suspend_rights(segment, index);
  end_arrival(segment, index);
  return 0;
}

uint32_t count_bound(Segment& segment) {
  uint32_t bound = 0;
  for (uint32_t index = 0; index < segment.processes(); index++) {
    ProcessSlot* slot = segment.slot(index);
    const uint32_t life = life_of(segment, index);
    if (is(life, ProcessLife::kFree) || (is(life, ProcessLife::kRemote) && !is_backup(slot))) {
      continue;
    }
    if (reap(segment, index, load(slot->endpoint)) == 0) bound++;
  }
  return bound;
}

int wait_none_bound(Segment& segment, int64_t timeout_ms) {
  constexpr int64_t kPauseMs = 5;
  Deadline deadline(timeout_ms);
  // An unbind tells nobody, since none but this waits for the last one.
  uint32_t never = 0;
  while (count_bound(segment) != 0) {
    const int error = deadline.sleep(&never, 0, kPauseMs);
    if (error != 0) return error;
  }
  return 0;
}

}  // namespace dvk

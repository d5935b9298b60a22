#include "standby.h"

#include <errno.h>

#include <algorithm>

#include "bindings.h"
#include "call.h"
#include "copy_job.h"
#include "migrating.h"
#include "privilege.h"
#include "remote_end.h"
#include "rendezvous.h"
#include "senda.h"
#include "slots.h"
#include "wait.h"

namespace dvk {
namespace {

using Stage = Operation::Stage;
using Kind = Operation::Kind;

bool is_promoted(const Process& process) {
  return atomic(process.slot->life).load() == static_cast<uint32_t>(ProcessLife::kLocal) &&
         !is_backup(process.slot) && !is_stopping(process.segment, process.index);
}

// The rights that wait for the process that takes over, 0 when none do.
uint32_t held_rights(const Process& process) {
  const uint32_t held = load(process.segment.privilege(process.index)->held);
  return (held & static_cast<uint32_t>(kHeldRights)) != 0 ? held : 0;
}

void take_over(Process& process) {
  PrivilegeSlot* privileges = process.segment.privilege(process.index);
  process.sequence = sequence_of(atomic(process.slot->rendezvous).load());
  process.standby = false;
  store(process.slot->lends, can_lend() ? kLendsAlways : kLendsAtNeed);
  const uint32_t held = held_rights(process);
  // One that is to move again gets them when it does not.
  if (held == 0 || is_stopping(process.segment, process.index)) return;
  store(privileges->rights, held & static_cast<uint32_t>(kRightsMax));
  store(privileges->held, 0u);
}

// Whether it is to be told that it moves.
bool must_be_told(const Process& process) {
  return is_stopping(process.segment, process.index) && !was_told(process);
}

}  // namespace

int check_standby(Process& process, uint32_t rights) {
  // One that has moved away is the backup of its successor.
  const bool left = is_backup(process.slot) && load(process.slot->pid) == process.pid;
  if (left) process.standby = true;
  if (!process.standby && held_rights(process) == 0) {
    // A rollback may have given them back just now.
    return load(process.segment.privilege(process.index)->rights) == rights ? -ETRAPDENIED : 0;
  }
  if (!stands_by_here(process)) return -EDVSNOTBOUND;
  if (!process.segment.running()) return -EDVSDCNOTRUN;
  if (must_be_told(process)) {
    take_over(process);
    note_told(process);
    return -EDVSMIGRATING;
  }
  if (!is_promoted(process)) return -EDVSSTANDBY;
  take_over(process);
  return 0;
}

bool stands_by(Process& process) {
  if (!process.standby && !is_backup(process.slot)) return false;
  return check_standby(process, 0) != 0;
}

int start_standby(Process& process, Kind kind, int32_t peer, const Message* message) {
  if (process.operation.stage != Stage::kNone) return -EBUSY;
  process.operation.kind = kind;
  process.operation.peer = peer;
  if (message != nullptr) process.operation.message = *message;
  process.operation.stage = Stage::kStandby;
  note_stopped(process, true);
  return kPending;
}

bool standby_ready(const Process& process) {
  return is_promoted(process) || must_be_told(process) || !process.segment.running() ||
         !stands_by_here(process) || atomic(process.slot->endpoint).load() != process.endpoint;
}

int step_standby(Process& process) {
  if (!stands_by_here(process)) return finish(process, -EDVSNOTBOUND);
  if (!process.segment.running()) return finish(process, -EDVSDCNOTRUN);
  expire_migration(process.segment, process.index);
  if (must_be_told(process)) {
    take_over(process);
    note_told(process);
    return finish(process, -EDVSMIGRATING);
  }
  if (!is_promoted(process)) {
    note_stopped(process, true);
    return kPending;
  }
  take_over(process);
  process.operation.stage = Stage::kNone;
  const int32_t peer = process.operation.peer;
  const Message message = process.operation.message;
  switch (process.operation.kind) {
    case Kind::kSend:
      return start_send(process, peer, message);
    case Kind::kCall:
      return start_sendrec(process, peer, message);
    case Kind::kReceive:
      return start_receive(process, peer);
    case Kind::kRequest:
      return start_rcvrqst(process);
    case Kind::kBind:
      return start_wait_bind(process, static_cast<uint32_t>(peer));
    case Kind::kUnbind:
      return start_wait_unbind(process, peer);
    default:
      return -EDVSPROCSTS;
  }
}

int wait_promoted(Process& process, int64_t* timeout_ms) {
  Deadline deadline(*timeout_ms);
  for (;;) {
    const uint32_t life = atomic(process.slot->life).load();
    const int result = step(process);
    if (result != kPending || process.operation.stage != Stage::kStandby) {
      *timeout_ms = deadline.left_ms();
      return result;
    }
    const int error = deadline.sleep(&process.slot->life, life);
    if (error != 0) return cancel(process, error);
  }
}

void suspend_rights(Segment& segment, uint32_t index) {
  Privileges privileges = default_privileges(ProcessLevel::kKernel);
  privileges.rights &=
      static_cast<uint32_t>(CallRight::kToDynamic) | static_cast<uint32_t>(CallRight::kFromDynamic);
  store_privileges(segment, index, privileges);
}

void retire_backup(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  atomic(slot->bind_flags).store(0);
  store(segment.privilege(index)->held, 0u);
  store(slot->pid, 0);
  store(slot->start_time, uint64_t{0});
  store(slot->wake_id, uint64_t{0});
  store_privileges(segment, index, default_privileges(ProcessLevel::kKernel));
}

void quiet_descriptor(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t word = atomic(slot->rendezvous).load();
  atomic(slot->rendezvous).store(pack(State::kIdle, sequence_of(word), 0));
  fail_waiters(segment, index, load(slot->endpoint));
  drop_copy_job(segment, index);
  clear_copy_job(segment, index);
  drop_asyncs(segment, index);
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
}

void release_descriptor(Segment& segment, uint32_t index) {
  if (is_backup(segment.slot(index))) {
    quiet_descriptor(segment, index);
  } else {
    release_slot(segment, index);
  }
}

void wake_backup(Segment& segment, ProcessSlot* slot) {
  futex_wake(&slot->life, kEveryWaiter);
  wake_fifo(segment.directory(), load(slot->wake_id));
}

void end_arrival(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  // By this whoever mends sees that nothing is missing.
  store(slot->node, segment.node_id());
  DVK_CRASH_POINT("arrive.placed");
  atomic(slot->bind_flags).fetch_and(~static_cast<uint32_t>(BindFlag::kBackup));
  // Proxies wait until it is here. Were it told of later only, nobody would make that good.
  announce(segment, index);
  set_life(slot, ProcessLife::kLocal);
  DVK_CRASH_POINT("arrive.local");
  wake_backup(segment, slot);
  tell_of_bind(segment, index);
}

namespace {

// Sends those anew who queued at the slot, since they lost their CPU when it was a descriptor.
void return_senders(Segment& segment, uint32_t index) {
  for (uint32_t i = 0; i < segment.processes(); i++) {
    ProcessSlot* sender = segment.slot(i);
    const uint32_t word = atomic(sender->rendezvous).load();
    const bool queued = state_of(word) == State::kSending || state_of(word) == State::kCalling;
    if (queued && peer_of(word) == index) send_anew(segment, i, word);
  }
}

// Who waits for the primary goes on waiting: it may live, as one that was to move here does.
void undo_arrival(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  store(segment.privilege(index)->held, 0u);
  suspend_rights(segment, index);
  return_senders(segment, index);
  DVK_CRASH_POINT("arrive.undone");
  set_life(slot, ProcessLife::kRemote);
  return_senders(segment, index);
  tell_bind_waiters(segment);
}

}  // namespace

void end_arrivals(Segment& segment) {
  const uint32_t fixed = std::min(segment.processes(), static_cast<uint32_t>(kSystemProcesses));
  for (uint32_t index = 0; index < fixed; index++) {
    if (is(life_of(segment, index), ProcessLife::kArriving)) {
      if (load(segment.slot(index)->node) == segment.node_id()) {
        end_arrival(segment, index);
      } else {
        undo_arrival(segment, index);
      }
    }
    // One that was taken back, just now or before, is its node's own again.
    const bool back = is(life_of(segment, index), ProcessLife::kLocal) &&
                      has_migration(segment, index, MigrationState::kGiven);
    if (back) end_migration(segment, index, load(segment.migration(index)->result));
  }
}

}  // namespace dvk

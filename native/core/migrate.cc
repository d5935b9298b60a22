#include "migrate.h"

#include <errno.h>

#include <algorithm>

#include "call.h"
#include "copy_job.h"
#include "migrating.h"
#include "notify.h"
#include "remote_end.h"
#include "senda.h"
#include "slots.h"
#include "wait.h"

namespace dvk {
namespace {

constexpr uint32_t kReceives =
    static_cast<uint32_t>(CallRight::kReceive) | static_cast<uint32_t>(CallRight::kRcvrqst);
constexpr uint32_t kPeers =
    static_cast<uint32_t>(CallRight::kToDynamic) | static_cast<uint32_t>(CallRight::kFromDynamic);
constexpr int64_t kPollMs = 1;
// The answer of a node whose link is up comes within this.
constexpr int64_t kAnswerMs = 1000;

uint32_t held_mark() {
  return static_cast<uint32_t>(kHeldRights);
}

// The checks that every step of the owner begins with.
int find_owned(Segment& segment, int32_t endpoint, uint32_t* index) {
  if (!segment.running()) return -EDVSDCNOTRUN;
  const int error = check_endpoint(segment, endpoint, index);
  if (error != 0) return error;
  return *index < kSystemProcesses ? 0 : -EDVSBADPROC;
}

// Ends a receive of the owner, so that it is told.
void end_receive(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  for (;;) {
    const uint32_t word = atomic(slot->rendezvous).load();
    const State state = state_of(word);
    const bool open = state == State::kAny || state == State::kFrom || state == State::kRequest;
    if (!open || fail(segment, index, word, EDVSMIGRATING)) return;
  }
}

// Takes the right to receive from the owner. One that has not taken over yet has no rights at all,
// and those that wait for it stay.
void hold_receives(Segment& segment, uint32_t index) {
  PrivilegeSlot* privileges = segment.privilege(index);
  const uint32_t rights = load(privileges->rights);
  if ((load(privileges->held) & held_mark()) == 0) store(privileges->held, rights | held_mark());
  DVK_CRASH_POINT("migrate.held");
  store(privileges->rights, rights & ~kReceives);
}

void give_rights_back(Segment& segment, uint32_t index) {
  PrivilegeSlot* privileges = segment.privilege(index);
  const uint32_t held = load(privileges->held);
  const bool taken_over = (load(privileges->rights) & ~kPeers) != 0;
  if ((held & held_mark()) == 0 || !taken_over) return;
  store(privileges->rights, held & kRightsMax);
  store(privileges->held, 0u);
}

// A move that was not committed is over.
void roll_back(Segment& segment, uint32_t index, int result) {
  give_rights_back(segment, index);
  DVK_CRASH_POINT("migrate.restored");
  end_migration(segment, index, result);
  wake_backup(segment, segment.slot(index));
}

bool is_late(MigrationSlot* migration) {
  return static_cast<uint64_t>(now_ns()) >= load(migration->deadline);
}

bool is_overdue(Segment& segment, uint32_t index) {
  return has_migration(segment, index, MigrationState::kStarted) &&
         is_late(segment.migration(index));
}

bool owns_arena(Segment& segment, int32_t endpoint) {
  for (uint32_t i = 0; i < kExtents; i++) {
    Extent* extent = segment.extent(i);
    if (load(extent->pages) != 0 && load(extent->owner) == endpoint) return true;
  }
  return false;
}

bool has_grants(Segment& segment, uint32_t index) {
  for (uint32_t i = 0; i < kGrants; i++) {
    if ((load(segment.grant(index, i)->state) & 0xff) != 0) return true;
  }
  return false;
}

// Whether somebody awaits the reply of the process in `index`, which has its request.
bool owes_replies(Segment& segment, uint32_t index) {
  for (uint32_t i = 0; i < segment.processes(); i++) {
    const uint32_t word = atomic(segment.slot(i)->rendezvous).load();
    if (state_of(word) == State::kReply && peer_of(word) == index) return true;
  }
  return false;
}

// NOMIGRATE of M3-IPC: what a process has that cannot go with it.
bool may_leave(Segment& segment, uint32_t index) {
  ProcessSlot* slot = segment.slot(index);
  return state_of(atomic(slot->rendezvous).load()) == State::kIdle &&
         (load(slot->copy_job) & 0xff) == 0 && load(slot->copy_partner) == 0 &&
         !has_asyncs(segment, index) && !has_grants(segment, index) &&
         !owns_arena(segment, load(slot->endpoint)) && !owes_replies(segment, index);
}

// Puts what goes with the process into its stage. Each notification is there before it is taken
// away, so one that is packed twice merges with itself.
void pack_up(Segment& segment, uint32_t index) {
  MigrationSlot* migration = segment.migration(index);
  PrivilegeSlot* privileges = segment.privilege(index);
  Migrant* migrant = migrant_of(segment, index);
  store(migrant->rights, load(privileges->held) & kRightsMax);
  store(migrant->ipc_to, load(privileges->ipc_to));
  store(migrant->ipc_from, load(privileges->ipc_from));
  pack_notices(segment, index, notices_of(segment, index), kNoticesMax, &migration->notices);
  DVK_CRASH_POINT("migrate.packed");
}

// A sender of this node begins its call anew; one of another node is told to, by its descriptor.
void return_sender(Segment& segment, uint32_t index, uint32_t slot, int32_t endpoint) {
  ProcessSlot* sender = segment.slot(index);
  for (;;) {
    const uint32_t word = atomic(sender->rendezvous).load();
    const State state = state_of(word);
    const bool waits =
        (state == State::kSending || state == State::kCalling || state == State::kTaking) &&
        peer_of(word) == slot && load(sender->want_source) == endpoint;
    if (!waits) {
      // Whoever was at it before may have died in the middle.
      if (is_remote(segment, index) && has_ended(word)) tell_of_end(segment, index);
      return;
    }
    if (send_anew(segment, index, word)) return;
  }
}

// Lets go of the process. Each line may be repeated.
void give(Segment& segment, uint32_t index) {
  MigrationSlot* migration = segment.migration(index);
  ProcessSlot* slot = segment.slot(index);
  const int32_t endpoint = load(slot->endpoint);
  const uint32_t node = load(migration->node);
  if (is(life_of(segment, index), ProcessLife::kLocal)) {
    pack_up(segment, index);
    atomic(slot->bind_flags).fetch_or(static_cast<uint32_t>(BindFlag::kBackup));
    store(slot->node, node);
    DVK_CRASH_POINT("migrate.leaving");
    set_life(slot, ProcessLife::kRemote);
  }
  DVK_CRASH_POINT("migrate.left");
  suspend_rights(segment, index);
  for (uint32_t i = 0; i < segment.processes(); i++) return_sender(segment, i, index, endpoint);
  return_asyncs(segment, index, endpoint);
  DVK_CRASH_POINT("migrate.emptied");
  const NodeBits untold(migration->untold);
  untold.clear();
  untold.add(node);
  store(migration->ticket, segment.next_ticket());
  set_state(migration, MigrationState::kGiven);
  DVK_CRASH_POINT("migrate.given");
  tell_proxy(segment, node);
}

}  // namespace

Migrant* migrant_of(Segment& segment, uint32_t index) {
  return reinterpret_cast<Migrant*>(segment.stage(index));
}

MigrantNotice* notices_of(Segment& segment, uint32_t index) {
  return reinterpret_cast<MigrantNotice*>(segment.stage(index) + 64);
}

uint32_t notice_count(MigrationSlot* migration) {
  return std::min(load(migration->notices), kNoticesMax);
}

void end_migration(Segment& segment, uint32_t index, int result) {
  MigrationSlot* migration = segment.migration(index);
  NodeBits(migration->untold).clear();
  NodeBits(migration->unanswered).clear();
  store(migration->result, result);
  store(migration->end_ticket, segment.next_ticket());
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    if (link_is(segment.link(node), LinkState::kUp)) NodeBits(migration->ended).add(node);
  }
  set_state(migration, MigrationState::kNone);
  DVK_CRASH_POINT("migrate.ended");
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    if (NodeBits(migration->ended).has(node)) tell_proxy(segment, node);
  }
}

void take_place(Segment& segment, uint32_t index, const Migrant& migrant,
                const MigrantNotice* notices, uint32_t count) {
  ProcessSlot* slot = segment.slot(index);
  PrivilegeSlot* privileges = segment.privilege(index);
  const int32_t endpoint = load(slot->endpoint);
  const uint32_t before = load(slot->node);
  set_life(slot, ProcessLife::kArriving);
  DVK_CRASH_POINT("migrate.taking");
  const uint32_t word = atomic(slot->rendezvous).load();
  atomic(slot->rendezvous).store(pack(State::kIdle, sequence_of(word) + 1, 0));
  store(slot->command_state, static_cast<uint32_t>(CommandState::kNone));
  if (before < segment.nodes()) segment.link_queue(before).remove(index);
  store(slot->want_source, kEndpointNone);
  store(slot->copy_partner, 0u);
  store(slot->lends, 0u);
  store(slot->wakeup, 0u);
  store(slot->cpu, 0u);
  // A node gives no more than a process of that level is bound with.
  const auto level = static_cast<ProcessLevel>(load(slot->level));
  const uint32_t rights = migrant.rights & default_privileges(level).rights;
  store_privileges(segment, index, {rights & kPeers, migrant.ipc_to, migrant.ipc_from});
  store(privileges->held, rights | held_mark());
  for (uint32_t i = 0; i < count; i++) unpack_notice(segment, index, endpoint, notices[i]);
  store(slot->generation, generation_of(endpoint));
  DVK_CRASH_POINT("migrate.placed");
  end_arrival(segment, index);
  DVK_CRASH_POINT("migrate.taken");
  release_held(segment, index, before);
}

namespace {

// Whether the process in `slot` has a message for `endpoint` that no proxy has taken.
bool holds_message_for(ProcessSlot* slot, uint32_t word, int32_t endpoint) {
  const uint32_t kind = load(slot->command_kind);
  return state_of(word) == State::kRemote && load(slot->command_endpoint) == endpoint &&
         (kind == kCommandSendMsg || kind == kCommandSndrecMsg) &&
         load(slot->command_state) == static_cast<uint32_t>(CommandState::kQueued);
}

}  // namespace

void release_held(Segment& segment, uint32_t index, uint32_t before) {
  ProcessSlot* slot = segment.slot(index);
  const int32_t endpoint = load(slot->endpoint);
  const uint32_t now = load(slot->node);
  if (now != before && before < segment.nodes()) {
    for (uint32_t i = 0; i < segment.processes(); i++) {
      ProcessSlot* sender = segment.slot(i);
      const uint32_t word = atomic(sender->rendezvous).load();
      if (!is(life_of(segment, i), ProcessLife::kLocal)) continue;
      if (!holds_message_for(sender, word, endpoint)) continue;
      segment.link_queue(before).remove(i);
      kick(segment, sender, word);
    }
  }
  if (is(life_of(segment, index), ProcessLife::kRemote)) announce_for(segment, index);
}

void take_back(Segment& segment, uint32_t index, int result) {
  MigrationSlot* migration = segment.migration(index);
  ProcessSlot* slot = segment.slot(index);
  // For whoever has to go on from here.
  store(migration->result, result);
  const bool mine = is(life_of(segment, index), ProcessLife::kRemote) &&
                    load(slot->endpoint) == load(migration->endpoint);
  if (mine && is_backup(slot) && owner_alive(slot)) {
    take_place(segment, index, *migrant_of(segment, index), notices_of(segment, index),
               notice_count(migration));
  } else if (mine) {
    atomic(slot->bind_flags).store(0);
    release_slot(segment, index);
  }
  end_migration(segment, index, result);
}

int migrate_start(Segment& segment, int32_t endpoint, int64_t timeout_ms) {
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  uint32_t index;
  const int error = find_owned(segment, endpoint, &index);
  if (error != 0) return error;
  ProcessSlot* slot = segment.slot(index);
  MigrationSlot* migration = segment.migration(index);
  if (!state_is(migration, MigrationState::kNone)) return -EDVSMIGRATING;
  if (is_remote(segment, index)) return -EDVSRMTPROC;
  const uint32_t fixed = static_cast<uint32_t>(BindFlag::kReplica) |
                         static_cast<uint32_t>(BindFlag::kHanded) |
                         static_cast<uint32_t>(BindFlag::kNomigrate);
  if ((load(slot->bind_flags) & fixed) != 0) return -EDVSPROCSTS;
  store(migration->endpoint, endpoint);
  store(migration->serial, load(migration->serial) + 1);
  store(migration->node, segment.node_id());
  store(migration->stopped, 0u);
  store(migration->notices, 0u);
  const int64_t end = now_ns() + std::clamp(timeout_ms, int64_t{0}, kTimeoutMsMax) * 1'000'000;
  store(migration->deadline, static_cast<uint64_t>(end));
  store(migration->ticket, segment.next_ticket());
  // One that died in here may have left some.
  NodeBits(migration->untold).clear();
  NodeBits(migration->unanswered).clear();
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    if (!link_is(segment.link(node), LinkState::kUp)) continue;
    NodeBits(migration->untold).add(node);
    NodeBits(migration->unanswered).add(node);
  }
  show_migration(segment, index);
  set_state(migration, MigrationState::kStarted);
  DVK_CRASH_POINT("migrate.started");
  hold_receives(segment, index);
  end_receive(segment, index);
  wake_backup(segment, slot);
  for (uint32_t node = 0; node < segment.nodes(); node++) {
    if (NodeBits(migration->untold).has(node)) tell_proxy(segment, node);
  }
  return 0;
}

int migrate_commit(Segment& segment, int32_t endpoint, uint32_t node) {
  const TableLock lock(segment);
  if (lock.error() != 0) return lock.error();
  uint32_t index;
  int error = find_owned(segment, endpoint, &index);
  if (error != 0) return error;
  MigrationSlot* migration = segment.migration(index);
  if (is_held(segment, index)) return -EDVSMIGRATING;
  if (!has_migration(segment, index, MigrationState::kStarted)) return -EDVSPROCSTS;
  if (is_late(migration)) {
    roll_back(segment, index, -ETIMEDOUT);
    return -ETIMEDOUT;
  }
  if (node == segment.node_id()) return -EDVSLCLPROC;
  error = check_link(segment, node);
  if (error != 0) return error;
  // The owner may have taken over just when the move was started.
  hold_receives(segment, index);
  end_receive(segment, index);
  const bool ready = load(migration->stopped) == load(migration->serial) &&
                     NodeBits(migration->unanswered).empty();
  if (!ready) return -EAGAIN;
  if (!may_leave(segment, index)) return -EDVSPROCSTS;
  store(migration->node, node);
  set_state(migration, MigrationState::kGiving);
  DVK_CRASH_POINT("migrate.giving");
  give(segment, index);
  return 0;
}

namespace {

int end_started(Segment& segment, int32_t endpoint, int64_t lock_timeout_ms) {
  const TableLock lock(segment, lock_timeout_ms);
  if (lock.error() != 0) return lock.error();
  uint32_t index;
  const int error = find_owned(segment, endpoint, &index);
  if (error != 0) return error;
  if (is_held(segment, index)) return -EDVSMIGRATING;
  if (!has_migration(segment, index, MigrationState::kStarted)) return -EDVSPROCSTS;
  roll_back(segment, index, -ECANCELED);
  return 0;
}

}  // namespace

int migrate_rollback(Segment& segment, int32_t endpoint) {
  return end_started(segment, endpoint, kLockTimeoutMs);
}

int migration_info(Segment& segment, int32_t endpoint, MigrationInfo* info) {
  uint32_t index;
  const int error = find_owned(segment, endpoint, &index);
  if (error != 0) return error;
  expire_migration(segment, index);
  MigrationSlot* migration = segment.migration(index);
  info->serial = load(migration->serial);
  info->state = atomic(migration->state).load();
  info->result = load(migration->result);
  info->node = is_held(segment, index) ? load(migration->node) : load(segment.slot(index)->node);
  return 0;
}

namespace {

// Commits as soon as that may be. Returns 0 or what kept it from that.
int commit_in_time(Segment& segment, int32_t endpoint, uint32_t node, int64_t timeout_ms) {
  Deadline deadline(timeout_ms);
  uint32_t never = 0;
  for (;;) {
    const int error = migrate_commit(segment, endpoint, node);
    if (error != -EAGAIN && error != -EDVSPROCSTS) return error;
    const int slept = deadline.sleep(&never, 0, kPollMs);
    if (slept != 0) return error == -EAGAIN ? slept : error;
  }
}

int await_outcome(Segment& segment, int32_t endpoint, uint32_t node, int64_t timeout_ms) {
  Deadline deadline(timeout_ms);
  uint32_t never = 0;
  for (;;) {
    MigrationInfo info{};
    const int error = migration_info(segment, endpoint, &info);
    if (error != 0) return error == -EDEADSRCDST ? -EDSTDIED : error;
    if (info.state == static_cast<uint32_t>(MigrationState::kNone)) return info.result;
    if (!link_is(segment.link(node), LinkState::kUp)) return -ENOTCONN;
    const int slept = deadline.sleep(&never, 0, kPollMs);
    if (slept != 0) return slept == -EINTR ? slept : -ENOTCONN;
  }
}

}  // namespace

int migrate(Segment& segment, int32_t endpoint, uint32_t node, int64_t timeout_ms) {
  if (node == segment.node_id()) return -EDVSLCLPROC;
  int error = check_link(segment, node);
  if (error == 0) error = migrate_start(segment, endpoint, timeout_ms);
  if (error != 0) return error;
  error = commit_in_time(segment, endpoint, node, timeout_ms);
  if (error == 0) return await_outcome(segment, endpoint, node, std::max(timeout_ms, kAnswerMs));
  // Where the table is locked for long its deadline ends it.
  end_started(segment, endpoint, kRepairLockMs);
  return error;
}

void note_told(Process& process) {
  if (process.index < kSystemProcesses) {
    process.told = load(process.segment.migration(process.index)->serial);
  }
}

bool was_told(const Process& process) {
  return process.told == load(process.segment.migration(process.index)->serial);
}

void note_stopped(Process& process, bool stopped) {
  if (!is_stopping(process.segment, process.index)) return;
  MigrationSlot* migration = process.segment.migration(process.index);
  store(migration->stopped, stopped ? load(migration->serial) : 0);
}

void expire_migration(Segment& segment, uint32_t index) {
  if (!is_overdue(segment, index)) return;
  const TableLock lock(segment, kRepairLockMs);
  if (lock.error() != 0) return;
  if (is_overdue(segment, index)) roll_back(segment, index, -ETIMEDOUT);
}

void sweep_migrations(Segment& segment) {
  for (uint32_t index = 0; index < kSystemProcesses; index++) {
    expire_migration(segment, index);
    if (!has_migration(segment, index, MigrationState::kGiving)) continue;
    const TableLock lock(segment, kRepairLockMs);
    if (lock.error() == 0 && has_migration(segment, index, MigrationState::kGiving)) {
      give(segment, index);
    }
  }
}

void forget_migration(Segment& segment, uint32_t index, int32_t endpoint) {
  if (index >= kSystemProcesses) return;
  MigrationSlot* migration = segment.migration(index);
  if (state_is(migration, MigrationState::kNone) || load(migration->endpoint) != endpoint) return;
  if (state_is(migration, MigrationState::kHeld)) {
    set_state(migration, MigrationState::kNone);
  } else {
    end_migration(segment, index, -EDSTDIED);
  }
}

}  // namespace dvk

// The commands of a migration between nodes: MIGRSTART and its answer, MIGRATE and its answer,
// MIGREND. Nothing in a command is trusted: a node speaks for processes that live on it, and gives
// away no others.

#include <errno.h>
#include <string.h>

#include "migrating.h"
#include "notify.h"
#include "slots.h"

namespace dvk {
namespace {

// The slot that a migration of `endpoint` is kept in, or null.
MigrationSlot* find_migration(Segment& segment, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  const bool fixed = index >= 0 && static_cast<uint32_t>(index) < kSystemProcesses;
  return fixed ? segment.migration(static_cast<uint32_t>(index)) : nullptr;
}

// Whether `endpoint` is known here as a process of `node`.
bool is_of_node(Segment& segment, int32_t endpoint, uint32_t node) {
  uint32_t index;
  return check_endpoint(segment, endpoint, &index) == 0 &&
         is(life_of(segment, index), ProcessLife::kRemote) &&
         load(segment.slot(index)->node) == node;
}

// Where the process of a slot is as far as this node knows.
uint32_t place_of(Segment& segment, uint32_t index) {
  return load(segment.slot(index)->node);
}

bool is_bound(Segment& segment, MigrationSlot* migration) {
  uint32_t index;
  return check_endpoint(segment, load(migration->endpoint), &index) == 0;
}

void give_answer(Segment& segment, uint32_t index, const Command& command, int result) {
  MigrationSlot* migration = segment.migration(index);
  show_migration(segment, index);
  store(migration->answer_to, command.source_node);
  store(migration->answer_serial, command.call_id);
  store(migration->answer_result, result);
  store(migration->answer_ticket, segment.next_ticket());
  store(migration->answer, command.kind);
  tell_proxy(segment, command.source_node);
}

// ---- What goes out ----

struct News {
  enum Kind { kNothing, kEnd, kAsk, kAnswer } kind = kNothing;
  uint32_t index = 0;
};

// Whether the owner's present command for `node` can be taken.
bool can_ask(MigrationSlot* migration, uint32_t node, bool short_only) {
  if (state_is(migration, MigrationState::kStarted)) return true;
  return state_is(migration, MigrationState::kGiven) && load(migration->node) == node &&
         !(short_only && notice_count(migration) != 0);
}

News news_of(Segment& segment, uint32_t index, uint32_t node, uint64_t before, bool short_only) {
  MigrationSlot* migration = segment.migration(index);
  if (NodeBits(migration->ended).has(node) && load(migration->end_ticket) < before) {
    return {News::kEnd, index};
  }
  if (NodeBits(migration->untold).has(node) && load(migration->ticket) < before &&
      can_ask(migration, node, short_only)) {
    return {News::kAsk, index};
  }
  const bool answers = load(migration->answer) != 0 && load(migration->answer_to) == node &&
                       load(migration->answer_ticket) < before;
  return answers ? News{News::kAnswer, index} : News{};
}

// Clears the mark of a slot that nothing is to be done for. The lock keeps away who is about to
// begin a move; where it is not free the mark stays for the next look.
void settle(Segment& segment, uint32_t index) {
  MigrationSlot* migration = segment.migration(index);
  if (!is_settled(migration)) return;
  const TableLock lock(segment, 0);
  if (lock.error() != 0 || !is_settled(migration)) return;
  atomic(segment.header()->migrating).fetch_and(~(uint64_t{1} << index));
  DVK_CRASH_POINT("migrate.settled");
  // An answer comes without the lock when that is held for long.
  if (!is_settled(migration)) show_migration(segment, index);
}

News find_news(Segment& segment, uint32_t node, uint64_t before, bool short_only) {
  for (uint64_t bits = atomic(segment.header()->migrating).load(); bits != 0; bits &= bits - 1) {
    const uint32_t index = static_cast<uint32_t>(__builtin_ctzll(bits));
    const News news = news_of(segment, index, node, before, short_only);
    if (news.kind != News::kNothing) return news;
    settle(segment, index);
  }
  return {};
}

void fill_end(Segment& segment, uint32_t index, Command* command) {
  command->kind = kCommandMigrend;
  command->copy_destination_node = place_of(segment, index);
  command->result = is_bound(segment, segment.migration(index)) ? 0 : -EDSTDIED;
}

void fill_gift(Segment& segment, uint32_t index, Command* command, uint8_t* payload) {
  MigrationSlot* migration = segment.migration(index);
  command->kind = kCommandMigrate;
  memcpy(command->message.payload, migrant_of(segment, index), sizeof(Migrant));
  command->payload_bytes = notice_count(migration) * static_cast<uint32_t>(sizeof(MigrantNotice));
  memcpy(payload, notices_of(segment, index), command->payload_bytes);
}

// ---- What comes in ----

// The process is to move away from `node`.
void keep_back(Segment& segment, uint32_t index, uint32_t node, int32_t endpoint) {
  MigrationSlot* migration = segment.migration(index);
  show_migration(segment, index);
  store(migration->endpoint, endpoint);
  store(migration->node, node);
  store(migration->claimed, 0u);
  set_state(migration, MigrationState::kHeld);
}

void put_start(Segment& segment, uint32_t node, uint32_t index, const Command& command) {
  MigrationSlot* migration = segment.migration(index);
  const bool free =
      state_is(migration, MigrationState::kNone) || state_is(migration, MigrationState::kHeld);
  // Of one that moves from here the owner is this node.
  if (!free) return;
  if (is_of_node(segment, command.source, node)) {
    keep_back(segment, index, node, command.source);
    DVK_CRASH_POINT("migrate.kept");
  }
  give_answer(segment, index, command, 0);
}

bool is_answer(MigrationSlot* migration, const Command& command) {
  return load(migration->endpoint) == command.source && load(migration->serial) == command.call_id;
}

void put_start_answer(uint32_t node, MigrationSlot* migration, const Command& command) {
  if (!state_is(migration, MigrationState::kStarted) || !is_answer(migration, command)) return;
  NodeBits(migration->unanswered).remove(node);
}

// Whether this node can take `endpoint` from `node`.
bool is_backed_up(Segment& segment, uint32_t node, uint32_t index, int32_t endpoint) {
  ProcessSlot* slot = segment.slot(index);
  return is_of_node(segment, endpoint, node) && is_backup(slot) && owner_alive(slot);
}

// Sources of notifications become known here, as far as they may be.
void adopt_sources(Segment& segment, uint32_t node, const MigrantNotice* notices, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t home = notices[i].node;
    if (home == segment.node_id() || notices[i].source == kEndpointKernel) continue;
    const bool linked = home == node || check_link(segment, home) == 0;
    if (linked) adopt_descriptor(segment, home, notices[i].source);
  }
}

// Takes a process. Returns 0 when it is here, or somewhere else by now; else why not.
int take(Segment& segment, uint32_t node, uint32_t index, const Command& command,
         const MigrantNotice* notices, uint32_t count) {
  uint32_t slot;
  if (check_endpoint(segment, command.source, &slot) != 0) return -ESRCH;
  if (!is_of_node(segment, command.source, node)) return 0;
  if (!is_backed_up(segment, node, index, command.source)) return -ESRCH;
  Migrant migrant;
  memcpy(&migrant, command.message.payload, sizeof migrant);
  MigrationSlot* migration = segment.migration(index);
  store(migration->endpoint, command.source);
  if (state_is(migration, MigrationState::kHeld)) set_state(migration, MigrationState::kNone);
  take_place(segment, index, migrant, notices, count);
  return 0;
}

void put_gift_answer(Segment& segment, uint32_t node, uint32_t index, const Command& command) {
  MigrationSlot* migration = segment.migration(index);
  const bool given = state_is(migration, MigrationState::kGiven) && is_answer(migration, command) &&
                     load(migration->node) == node;
  if (!given) return;
  if (command.result < 0) {
    take_back(segment, index, command.result);
    return;
  }
  const uint32_t place = command.copy_destination_node;
  const bool elsewhere = place < segment.nodes() && place != segment.node_id();
  ProcessSlot* slot = segment.slot(index);
  if (is_of_node(segment, command.source, node)) {
    if (elsewhere) store(slot->node, place);
    end_migration(segment, index, 0);
    release_held(segment, index, node);
  } else {
    end_migration(segment, index, 0);
  }
}

// The process in `index` is on node `place` now.
void move_descriptor(Segment& segment, uint32_t index, uint32_t place) {
  ProcessSlot* slot = segment.slot(index);
  const uint32_t before = load(slot->node);
  const bool member = place < segment.nodes() && !link_is(segment.link(place), LinkState::kAbsent);
  if (place == segment.node_id() || !member) {
    // Nobody whom this node could call.
    release_descriptor(segment, index);
    return;
  }
  store(slot->node, place);
  release_held(segment, index, before);
}

// `node` had the process in `index` and has lost it, or the link to it is lost. Returns whether
// another node has said that it has it.
bool believe_claim(Segment& segment, uint32_t index, uint32_t node) {
  MigrationSlot* migration = segment.migration(index);
  const uint32_t claimed = load(migration->claimed);
  store(migration->claimed, 0u);
  if (claimed == 0 || !is_of_node(segment, load(migration->endpoint), node)) return false;
  move_descriptor(segment, index, claimed - 1);
  return true;
}

// What can be done about a command while the table is locked for long.
void put_unlocked(Segment& segment, uint32_t node, uint32_t index, const Command& command) {
  MigrationSlot* migration = segment.migration(index);
  switch (command.kind) {
    case kCommandMigrate:
      // Nothing has changed here, so it may stay where it is.
      give_answer(segment, index, command, -ETIMEDOUT);
      break;
    case kCommandMigrate | kCommandAck:
      NodeBits(migration->untold).add(node);
      tell_proxy(segment, node);
      break;
    case kCommandMigrend:
      // Who calls now is told by `node` where the process is.
      if (!state_is(migration, MigrationState::kHeld) || load(migration->node) != node) break;
      set_state(migration, MigrationState::kNone);
      announce_for(segment, index);
      break;
    default:
      break;
  }
}

void put_end(Segment& segment, uint32_t node, uint32_t index, const Command& command) {
  MigrationSlot* migration = segment.migration(index);
  if (!is_of_node(segment, command.source, node)) return;
  if (state_is(migration, MigrationState::kHeld)) set_state(migration, MigrationState::kNone);
  if (command.result >= 0) {
    move_descriptor(segment, index, command.copy_destination_node);
  } else if (!believe_claim(segment, index, node)) {
    release_descriptor(segment, index);
  }
}

}  // namespace

bool has_migration_command(Segment& segment, uint32_t node, uint64_t before, bool short_only) {
  return find_news(segment, node, before, short_only).kind != News::kNothing;
}

bool take_migration_command(Segment& segment, uint32_t node, uint64_t before, bool short_only,
                            Command* command, uint8_t* payload) {
  const News news = find_news(segment, node, before, short_only);
  if (news.kind == News::kNothing) return false;
  MigrationSlot* migration = segment.migration(news.index);
  command->source = command->destination = load(migration->endpoint);
  switch (news.kind) {
    case News::kEnd:
      NodeBits(migration->ended).remove(node);
      fill_end(segment, news.index, command);
      break;
    case News::kAnswer:
      command->kind = load(migration->answer) | kCommandAck;
      command->call_id = load(migration->answer_serial);
      command->result = load(migration->answer_result);
      command->copy_destination_node = place_of(segment, news.index);
      store(migration->answer, 0u);
      break;
    default:
      NodeBits(migration->untold).remove(node);
      command->kind = kCommandMigrstart;
      command->call_id = load(migration->serial);
      if (state_is(migration, MigrationState::kGiven)) {
        fill_gift(segment, news.index, command, payload);
      }
  }
  DVK_CRASH_POINT("migrate.sent");
  return true;
}

int put_migration(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload) {
  MigrationSlot* migration = find_migration(segment, command.source);
  if (migration == nullptr || command.destination != command.source) return -EDVSBADFRAME;
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(command.source));
  const uint32_t count = command.payload_bytes / static_cast<uint32_t>(sizeof(MigrantNotice));
  const auto* notices = reinterpret_cast<const MigrantNotice*>(payload);
  const bool whole = command.payload_bytes % sizeof(MigrantNotice) == 0 && count <= kNoticesMax;
  if (!whole) return -EDVSBADFRAME;
  if (command.kind == kCommandMigrate && is_backed_up(segment, node, index, command.source)) {
    adopt_sources(segment, node, notices, count);
  }
  const TableLock lock(segment);
  if (lock.error() != 0) {
    put_unlocked(segment, node, index, command);
    return lock.error();
  }
  switch (command.kind) {
    case kCommandMigrstart:
      put_start(segment, node, index, command);
      return 0;
    case kCommandMigrstart | kCommandAck:
      put_start_answer(node, migration, command);
      return 0;
    case kCommandMigrate: {
      const int result = take(segment, node, index, command, notices, count);
      give_answer(segment, index, command, result);
      return 0;
    }
    case kCommandMigrate | kCommandAck:
      put_gift_answer(segment, node, index, command);
      return 0;
    default:
      put_end(segment, node, index, command);
      return 0;
  }
}

void migrations_up(Segment& segment, uint32_t node) {
  for (uint64_t bits = atomic(segment.header()->migrating).load(); bits != 0; bits &= bits - 1) {
    MigrationSlot* migration = segment.migration(static_cast<uint32_t>(__builtin_ctzll(bits)));
    if (state_is(migration, MigrationState::kStarted)) {
      NodeBits(migration->unanswered).add(node);
      NodeBits(migration->untold).add(node);
    } else if (state_is(migration, MigrationState::kGiven) && load(migration->node) == node) {
      NodeBits(migration->untold).add(node);
    }
  }
}

void migrations_down(Segment& segment, uint32_t node) {
  for (uint64_t bits = atomic(segment.header()->migrating).load(); bits != 0; bits &= bits - 1) {
    const uint32_t index = static_cast<uint32_t>(__builtin_ctzll(bits));
    MigrationSlot* migration = segment.migration(index);
    NodeBits(migration->untold).remove(node);
    NodeBits(migration->unanswered).remove(node);
    NodeBits(migration->ended).remove(node);
    if (load(migration->answer_to) == node) store(migration->answer, 0u);
    if (state_is(migration, MigrationState::kHeld) && load(migration->node) == node) {
      set_state(migration, MigrationState::kNone);
      if (load(migration->claimed) == 0) continue;
      const TableLock lock(segment, kRepairLockMs);
      if (lock.error() == 0) believe_claim(segment, index, node);
    }
  }
}

void migrations_removed(Segment& segment, uint32_t node) {
  for (uint32_t index = 0; index < kSystemProcesses; index++) {
    const bool given = has_migration(segment, index, MigrationState::kGiven);
    if (given && load(segment.migration(index)->node) == node) {
      take_back(segment, index, -EDVSNODCNODE);
    }
  }
}

int absent_error(Segment& segment, int32_t endpoint) {
  MigrationSlot* migration = find_migration(segment, endpoint);
  uint32_t index;
  const int error = find_endpoint(segment, endpoint, &index);
  if (error == -EDVSMIGRATING) return error;
  if (migration == nullptr || load(migration->endpoint) != endpoint || error != 0 ||
      !is(life_of(segment, index), ProcessLife::kRemote)) {
    return -EDEADSRCDST;
  }
  return check_link(segment, place_of(segment, index)) == 0 ? -EDVSMIGRATING : -ENOTCONN;
}

uint32_t place_told(Segment& segment, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  if (index < 0 || is_held(segment, static_cast<uint32_t>(index))) return segment.node_id();
  return place_of(segment, static_cast<uint32_t>(index));
}

void note_moved(Segment& segment, uint32_t node, int32_t endpoint, uint32_t where) {
  MigrationSlot* migration = find_migration(segment, endpoint);
  if (migration == nullptr) return;
  const TableLock lock(segment);
  if (lock.error() != 0 || !is_of_node(segment, endpoint, node)) return;
  const uint32_t index = static_cast<uint32_t>(segment.slot_of(endpoint));
  if (where != node) {
    move_descriptor(segment, index, where);
  } else if (state_is(migration, MigrationState::kNone)) {
    keep_back(segment, index, node, endpoint);
  }
}

bool note_gone(Segment& segment, uint32_t node, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  if (index < 0 || !has_migration(segment, static_cast<uint32_t>(index), MigrationState::kHeld)) {
    return false;
  }
  const TableLock lock(segment);
  MigrationSlot* migration = segment.migration(static_cast<uint32_t>(index));
  if (lock.error() != 0 || load(migration->endpoint) != endpoint) return false;
  if (!believe_claim(segment, static_cast<uint32_t>(index), node)) return false;
  set_state(migration, MigrationState::kNone);
  return true;
}

bool note_claim(Segment& segment, uint32_t node, int32_t endpoint) {
  const int index = segment.slot_of(endpoint);
  if (index < 0 || !has_migration(segment, static_cast<uint32_t>(index), MigrationState::kHeld)) {
    return false;
  }
  MigrationSlot* migration = segment.migration(static_cast<uint32_t>(index));
  if (load(migration->endpoint) != endpoint) return false;
  store(migration->claimed, node + 1);
  return true;
}

}  // namespace dvk

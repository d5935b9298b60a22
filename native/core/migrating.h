// The steps of a migration, which its two files share: the owner's side (migrate.cc) and the
// commands between nodes (migrate_link.cc). Preconditions of all: the table lock is held.
#pragma once

#include "migrate.h"

namespace dvk {

// A bit for each node, in a MigrationSlot.
class NodeBits {
 public:
  explicit NodeBits(uint8_t (&bytes)[128]) : words_(reinterpret_cast<uint64_t*>(bytes)) {}
  bool has(uint32_t node) const {
    return (atomic(words_[node / 64]).load() >> node % 64 & 1) != 0;
  }
  void add(uint32_t node) const {
    atomic(words_[node / 64]).fetch_or(uint64_t{1} << node % 64);
  }
  void remove(uint32_t node) const {
    atomic(words_[node / 64]).fetch_and(~(uint64_t{1} << node % 64));
  }
  void clear() const {
    for (uint32_t i = 0; i < 16; i++) atomic(words_[i]).store(0);
  }
  bool empty() const {
    for (uint32_t i = 0; i < 16; i++) {
      if (atomic(words_[i]).load() != 0) return false;
    }
    return true;
  }

 private:
  uint64_t* words_;
};

inline bool state_is(MigrationSlot* migration, MigrationState state) {
  return atomic(migration->state).load() == static_cast<uint32_t>(state);
}
inline void set_state(MigrationSlot* migration, MigrationState state) {
  atomic(migration->state).store(static_cast<uint32_t>(state));
}
// Nothing is to be done for the slot.
inline bool is_settled(MigrationSlot* migration) {
  return state_is(migration, MigrationState::kNone) && load(migration->answer) == 0 &&
         NodeBits(migration->ended).empty();
}
// Shows that there is something to do for a slot. It is shown before there is, so that who is
// killed in between leaves nothing that nobody sees; see `settle`, which takes it back.
inline void show_migration(Segment& segment, uint32_t index) {
  atomic(segment.header()->migrating).fetch_or(uint64_t{1} << index);
}

// What goes with a process, in the stage of its slot.
inline constexpr uint32_t kNoticesMax = (kStageBytes - 64) / sizeof(MigrantNotice);
Migrant* migrant_of(Segment& segment, uint32_t index);
MigrantNotice* notices_of(Segment& segment, uint32_t index);
uint32_t notice_count(MigrationSlot* migration);

// Makes the backup in `index` the process itself, here. Commands that this node's processes have
// for it begin anew.
void take_place(Segment& segment, uint32_t index, const Migrant& migrant,
                const MigrantNotice* notices, uint32_t count);
// What was kept back for the descriptor in `index` goes to the node where the process is now.
void release_held(Segment& segment, uint32_t index, uint32_t before);
// The owner's migration has come to `result`; every connected node is told.
void end_migration(Segment& segment, uint32_t index, int result);
// `node` did not take the process, and will not: it goes on here, if it lives.
void take_back(Segment& segment, uint32_t index, int result);

}  // namespace dvk

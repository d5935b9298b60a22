// Moving a process to another node: START, COMMIT and ROLLBACK of M3-IPC (dvk_migrate.c).
//
// The process is in a fixed slot of node A; on node B a backup stands by for it (standby.h), which
// takes its place. Its memory is the affair of its program: the process is told, hands its state to
// the backup in any way, and stops. After the move it is the backup of the one on B.
//
//   STARTED  A asks every connected node to keep back what its processes send to the process. Each
//            node answers, behind all that it has sent. The process goes on until it would receive:
//            then it is told once (EDVSMIGRATING), and stops in its next receive.
//   GIVING   The move is committed, and A is about to let go: its slot becomes the descriptor of a
//            process of B. What waited there goes back to where it came from, which keeps it back.
//   GIVEN    MIGRATE is on its way to B, with the notifications that waited.
//   NONE     B has taken the process; or has refused it, and A has it back. MIGREND tells everyone.
//   HELD     On the other nodes: what is sent to the process is kept back, in the slots of those
//            who sent it.
//
// Invariants:
//
// - A process lives where its slot is LOCAL. A's slot leaves LOCAL before MIGRATE can be taken by
//   the proxy. B's becomes LOCAL by MIGRATE alone, and A's again by B's refusal alone. So there is
//   never more than one.
// - GIVEN ends by B's answer alone. When the link is lost A asks again over the next one, and B
//   answers with what its slot says, so a lost MIGRATE and a lost answer resolve to one side. A B
//   that was started anew has no such backup, and refuses. B being taken out of the DC is a
//   refusal.
// - Until GIVING nothing has left A, so a rollback concerns A alone. STARTED has a deadline, after
//   which it is rolled back by whoever looks first: the process, the node daemon, the caller.
// - A node keeps things back until MIGREND or the end of the link to A, whichever comes first. Then
//   callers go where the process is now; or end with ENOTCONN, as ever when a link is lost. B's
//   word that it has the process counts from the end of that link on.
// - Everything is in its caller's slot or in the segment while it waits, so nothing is lost with
//   the proxy, and no queue is longer than the table of processes.
#pragma once

#include "link.h"
#include "privilege.h"

namespace dvk {

inline constexpr int64_t kMigrateTimeoutMs = 5000;

// Begins to move `endpoint`, a process of this node in a fixed slot. Returns 0, -ERANGE,
// -EDEADSRCDST, -EDVSRMTPROC, -EDVSBADPROC (no fixed slot), -EDVSPROCSTS (bound with NOMIGRATE, as
// a replica, or not taken over by its program yet), -EDVSMIGRATING (it moves already),
// -EDVSDCNOTRUN. When nothing is committed within `timeout_ms` (0 or more) it ends by itself.
int migrate_start(Segment& segment, int32_t endpoint, int64_t timeout_ms);
// Lets the process go to `node`. Returns 0 when that is under way, -EAGAIN while the process has
// not stopped or a node has not answered, -EDVSPROCSTS while the process may not move: it owes
// replies, has grants, arena memory or messages of senda under way, or is in a call; also when no
// move was started. -EDVSMIGRATING: committed already. -ETIMEDOUT: the time is over, and it was
// rolled back. And -EDVSBADNODEID, -EDVSLCLPROC, -EDVSNODCNODE, -EDVSNOPROXY, -ENOTCONN of `node`.
int migrate_commit(Segment& segment, int32_t endpoint, uint32_t node);
// Ends a move that is not committed; the process and its callers go on. Returns 0, -EDVSPROCSTS
// (none was started), -EDVSMIGRATING (committed: only the other node can refuse it), and those of
// an endpoint.
int migrate_rollback(Segment& segment, int32_t endpoint);

struct MigrationInfo {
  uint32_t state;   // MigrationState
  uint32_t serial;  // of the migration of this slot that is under way, or was last
  uint32_t node;    // where the process goes, or is
  int result;       // of the last one that ended: 0 moved; -ESRCH: no backup was there; -ETIMEDOUT,
                    // -ECANCELED: rolled back; -EDSTDIED: the process died; -EDVSNODCNODE
};
// What is known here of the last move of `endpoint`. Returns 0, or the errors of an endpoint.
int migration_info(Segment& segment, int32_t endpoint, MigrationInfo* info);

// All of it: start, commit when that may be, and the wait for the outcome; or rollback. Returns 0,
// the errors above, those of MigrationInfo, or -ENOTCONN: the link was lost when the move was
// committed, or no answer came in time; it is settled when one comes, or the link is up again.
int migrate(Segment& segment, int32_t endpoint, uint32_t node, int64_t timeout_ms);

// ---- For the core ----

inline bool has_migration(const Segment& segment, uint32_t index, MigrationState state) {
  if (index >= kSystemProcesses) return false;
  const uint64_t migrating = load(segment.header()->migrating);
  return (migrating >> index & 1) != 0 &&
         load(segment.migration(index)->state) == static_cast<uint32_t>(state);
}
// Whether the owner of a slot is to stop at its next receive.
inline bool is_stopping(const Segment& segment, uint32_t index) {
  return has_migration(segment, index, MigrationState::kStarted) ||
         has_migration(segment, index, MigrationState::kGiving);
}
// Whether what is sent to the descriptor in `index` is kept back.
inline bool is_held(const Segment& segment, uint32_t index) {
  return has_migration(segment, index, MigrationState::kHeld) ||
         has_migration(segment, index, MigrationState::kGiven) ||
         has_migration(segment, index, MigrationState::kGiving);
}
// Whether the process was told that it is to stop. Preconditions: it has a fixed slot.
bool was_told(const Process& process);
void note_told(Process& process);
// It waits in a receive, or does not any more.
void note_stopped(Process& process, bool stopped);
// Rolls back a move whose time is over.
void expire_migration(Segment& segment, uint32_t index);
// For who looks after a node: the same for all, and moves whose committer died in the middle.
void sweep_migrations(Segment& segment);

// What the sender of a message for `endpoint`, which is not of this node, is told: -EDVSMIGRATING
// when it is to send again, -ENOTCONN, -EDEADSRCDST.
int absent_error(Segment& segment, int32_t endpoint);
// What goes with that to a node: where the process is, or this node when it is about to move.
uint32_t place_told(Segment& segment, int32_t endpoint);
// `node` has answered a message for `endpoint` with EDVSMIGRATING: it is on node `where`, or about
// to move from `node`.
void note_moved(Segment& segment, uint32_t node, int32_t endpoint, uint32_t where);

// `node` says that it has `endpoint`. Returns whether that process moves, so that it may be so: its
// former node will tell, or is lost.
bool note_claim(Segment& segment, uint32_t node, int32_t endpoint);
// `node` says that `endpoint`, a process of it, is gone. Returns whether another node has said that
// it has that process: it is there now.
bool note_gone(Segment& segment, uint32_t node, int32_t endpoint);

// ---- For the proxy queue ----

// Whether something of migrations, older than `before`, waits for the proxy of `node`.
bool has_migration_command(Segment& segment, uint32_t node, uint64_t before, bool short_only);
// Takes it. Returns whether there was any; `command` is addressed already.
bool take_migration_command(Segment& segment, uint32_t node, uint64_t before, bool short_only,
                            Command* command, uint8_t* payload);
int put_migration(Segment& segment, uint32_t node, const Command& command, const uint8_t* payload);
// The link came up, or went down.
void migrations_up(Segment& segment, uint32_t node);
void migrations_down(Segment& segment, uint32_t node);
// Preconditions of both: the table lock is held. `node` is no member of the DC any more.
void migrations_removed(Segment& segment, uint32_t node);
// The owner of a slot, or what was known of it, is gone.
void forget_migration(Segment& segment, uint32_t index, int32_t endpoint);

}  // namespace dvk

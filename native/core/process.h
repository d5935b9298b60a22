// A bound process, and how it becomes one.
//
// Bind and unbind are rare; they take the DC's table lock, which a dead owner cannot keep. Calls
// never take it.
#pragma once

#include <optional>

#include "copy_pace.h"
#include "filter.h"
#include "lock.h"
#include "net.h"
#include "owed.h"
#include "yield.h"

namespace dvk {

enum class BindKind : uint8_t {
  kProcess,  // the slot lives as long as the program
  kThread,   // ... as the calling thread
  kReplica,  // on other nodes there are others like it, with the same endpoint
  kBackup,   // stands by for its primary on another node; see standby.h
};

struct BindOptions {
  int slot = -1;  // a fixed slot, or -1 for any dynamic slot of this node
  ProcessLevel level =
      ProcessLevel::kUser;  // servers may receive requests, reply, and ask for copies
  const char* name = "";
  int pid = 0;           // 0: the caller
  uint64_t wake_id = 0;  // FIFO of the caller's event loop, 0 for none
  BindKind kind = BindKind::kProcess;
  int32_t endpoint = kEndpointNone;  // kReplica, kBackup: in a fixed slot, in place of `slot`
  uint32_t node = 0;                 // kBackup: the primary's
  bool no_migrate = false;           // it does not move to another node
};

// What a process wants its present call to do; private to the process.
struct Operation {
  enum class Stage : uint8_t {
    kNone,
    kSending,
    kReceiving,
    kRemote,
    kDone,
    kBinding,
    kCopying,
    kStandby,
    kSearching,
  };
  enum class Kind : uint8_t { kSend, kCall, kReceive, kRequest, kCopy, kReply, kBind, kUnbind };
  Stage stage = Stage::kNone;
  Kind kind = Kind::kSend;
  int32_t peer = kEndpointNone;  // destination, or source wanted; of kBind the slot
  int result = 0;
  Message message{};
};

// How a message came: what the receiver may do with it.
enum class MessageKind : uint32_t { kSend = 0, kCall = 1, kNotify = 2, kAsync = 3 };

// Memory that the process has granted, as it knows itself: the table in the segment may be
// scribbled on.
struct Lent {
  uint64_t address = 0, bytes = 0;
  uint32_t rights = 0;
};

// One side of a copy: memory of `endpoint`, named by a grant of it and an offset in that grant, or
// (grant -1) by an address. An address is allowed for the requester's own memory, and for that of a
// process blocked in a sendrec to the requester.
struct CopyParty {
  int32_t endpoint;
  int32_t grant;
  uint64_t at;
};

// A copy as the trace has it: `peer` is the other party, or the source when there are two others;
// then `type` is the destination.
struct TracedCopy {
  int32_t peer = 0, type = 0;
  uint8_t how = 0;  // 1 from the peer, 2 to it, 3 from it to another
  uint64_t begun = 0;
};

// A copy that the process asked for; `deadline`: see step_vcopy.
struct Copying {
  CopyParty from{}, to{};
  uint64_t bytes = 0;
  // What the next call to another node asks for, at most; and what the present one did, and when.
  uint64_t window = kCopyChunkBytes, asked = 0;
  int64_t asked_at = 0;
  bool careful = false;    // a call failed: chunk by chunk from there, to find where
  bool searching = false;  // for a party that no binding here names; `searches` were begun
  uint32_t searches = 0;
  int64_t deadline = 0;
  TracedCopy traced{};  // of an awaited copy
};

// The copy job that the process takes part in, checked once; see copy_job.h.
struct CopyPart {
  uint64_t address = 0, bytes = 0, identity = 0;
  bool read = false;
  bool near = false;   // the requester was last seen on the same CPU
  bool plain = false;  // can be touched without a question; see is_plain_memory
};

// What the trace keeps of the present call: when it and its sleep began, 0 for none; and the
// numbers of what it sends, and of what it received.
struct CallTrace {
  uint64_t begun = 0, slept = 0;
  uint32_t number = 0, received = 0;
};

class Process {
 public:
  // Binds the caller (or `pid`). Returns 0 and the process, -EDVSSLOTUSED, -EDVSNOSLOT,
  // -EDVSDCNOTRUN, -EDVSBADPROC, -ESRCH when `pid` is gone, -EINVAL for a thread of another
  // program; of a backup also -EDVSBADNODEID, -EDVSLCLPROC, -EDVSNODCNODE, -EDVSNOPROXY.
  static int bind(Segment& segment, const BindOptions& options, Process** process);
  // Takes a slot that bind_for has bound for this program; waits for one. Returns 0 and the
  // process, -ETIMEDOUT (-EAGAIN for a time-out of 0), -EDVSDCNOTRUN, -EINTR.
  static int adopt(Segment& segment, int64_t timeout_ms, Process** process);
  // Frees the slot; everyone who waits for this process wakes with -ESRCDIED or -EDSTDIED.
  int unbind();
  ~Process() = default;

  Segment& segment;
  const uint32_t index;
  const int32_t endpoint;
  const int pid;
  ProcessSlot* const slot;
  const ProcessLevel level;

  Operation operation;
  MessageKind last_kind = MessageKind::kSend;
  uint32_t last_call = 0;  // number of the call whose request was received last
  CallTrace trace;
  OwedReplies owed;
  Filter filter;
  // A claim of the present call's word, and since when it has been there.
  uint32_t claim = 0;
  int64_t claimed_at = 0;
  // Process-private state of the rendezvous: sequence and message buffers in use, and how spinning
  // has paid.
  uint32_t sequence = 0;
  uint32_t inbox = 0, outbox = 0;
  uint32_t last_peer = 0;
  uint32_t spin_misses = 0, waits = 0;
  Yielding yielding;
  Sleeper sleeper;
  uint32_t sent_to = 0;   // node of the present call to another one
  uint32_t returns = 0;   // times that the present message came back, since its receiver moves
  uint32_t told = 0;      // serial of the migration that it was told of; see migrate.h
  bool searched = false;  // the receiver of the present message was looked for; see search.h
  bool standby = false;   // a backup that has not taken over; see standby.h
  // As requester of copies: bytes since a lender was woken, and what either way of copying takes.
  uint64_t offer_credit = 0;
  CopyPaces paces;
  Copying copying;
  uint64_t copied = 0;  // bytes of its last copy that are where they belong, whatever came of it
  // As lender.
  CopyPart part;
  Lent lent[kGrants];
  Lent own_part;  // of a chunk that is under way between nodes
  bool stage_made = false;

 private:
  Process(Segment& s, uint32_t i, int32_t e, int p, ProcessLevel l)
      : segment(s),
        index(i),
        endpoint(e),
        pid(p),
        slot(s.slot(i)),
        level(l),
        sleeper(&slot->rendezvous) {}
};

// States of ProcessInfo beyond those of the rendezvous word: what a REMOTE one means that waits for
// no node, and that of a backup.
inline constexpr uint32_t kStateAwaitsBind = 16, kStateAwaitsUnbind = 17, kStateStandsBy = 18,
                          kStateSearches = 19;

struct ProcessInfo {
  int32_t endpoint;
  uint32_t slot, node, life, level, state;
  int32_t pid, peer;
  uint32_t cpu;         // it last ran on, plus one; 0 unknown
  uint32_t wakeup;      // 1: a wakeup is pending
  uint64_t start_time;  // in clock ticks since boot; of the thread, when there is one
  int32_t thread;       // that it is bound to, or 0
  uint32_t flags;       // BindFlag
  char name[kNameBytes];
  uint64_t sent, received, sent_remote, notified, copied_bytes, waits, lent_bytes;
};

// Binds `options.pid`, another program of this host, which takes the slot by Process::adopt. What
// is sent to it meanwhile waits. Returns the endpoint, or the errors of Process::bind.
int32_t bind_for(Segment& segment, const BindOptions& options);
// Unbinds a process of another program of this host: that gets SIGTERM, the call in which the
// process waits ends with -EDVSSHUTDOWN, and the caller waits until the process has unbound, or its
// program has ended. Where that has not taken its slot yet, the slot is freed. Returns 0,
// -ETIMEDOUT (-EAGAIN for a time-out of 0): asked, and still bound; -EINTR; -ERANGE, -EDEADSRCDST,
// -EDVSRMTPROC (it, or the primary of a backup, is on another node), -EDVSENDPOINT (of the
// caller's own program), -EDVSDCNOTRUN; -EPERM: the caller may not signal or look into that
// program, or it has not mapped this segment.
int unbind_for(Segment& segment, int32_t endpoint, int64_t timeout_ms);
// The steps of it, for who does not block: whether it may be, and then is, asked; whether it is
// bound no more.
int ask_to_unbind(Segment& segment, int32_t endpoint);
bool has_unbound(Segment& segment, int32_t endpoint);

// A descriptor for a process of another node; replaces a stale one. Returns 0, -EDVSSLOTUSED when a
// local process holds the slot, -EDVSNODCNODE, -EDVSLCLPROC.
int bind_remote(Segment& segment, int32_t endpoint, uint32_t node, ProcessLevel level,
                const char* name);
// Forgets a remote descriptor. Returns 0 or -EDVSNOTBOUND.
int unbind_remote(Segment& segment, int32_t endpoint);

// The endpoint that owns `slot` now, or -EDVSNOTBOUND. Endpoints are never negative here.
int32_t lookup(const Segment& segment, uint32_t slot);
// 0 when `endpoint` is bound (here or elsewhere), -EDEADSRCDST when it is not, -ERANGE when it is
// out of range. -EDVSMIGRATING while it arrives here; that is waited for, for 50 ms at most.
int check_endpoint(const Segment& segment, int32_t endpoint, uint32_t* slot);
// The same without a wait.
int find_endpoint(const Segment& segment, int32_t endpoint, uint32_t* slot);
// The endpoint of the process `pid` of this host in the lowest slot from `first` on: a program may
// have several. -EDVSNOTBOUND when there is none.
int32_t find_pid(const Segment& segment, int pid, uint32_t first);
// Fills `info` for a slot. Returns 0, or -EDVSNOTBOUND for a free one.
int process_info(const Segment& segment, uint32_t slot, ProcessInfo* info);

// Frees the slot of a process that died; of a backup, lets its descriptor be one as any. Returns 1
// when it freed it, 0 when the owner lives or is another one, or when the table lock was not to be
// had in time.
int reap(Segment& segment, uint32_t slot, int32_t endpoint,
         int64_t lock_timeout_ms = kLockTimeoutMs);
// Whether the owner of a slot lives: its program, or the thread that it is bound to.
bool owner_alive(ProcessSlot* slot);
// Goes on with what processes died in: their table lock, and slots that were half bound or half
// freed; and wakes receivers that somebody claimed and did not finish. For who looks after a node,
// every second. Returns how many slots it freed.
int sweep(Segment& segment);
// Whether a process with that pid and start time exists (zombies do not count). When that cannot be
// found out, as for want of a free descriptor, it is taken for alive.
bool process_alive(int pid, uint64_t start_time);
// 0 for a process that is gone.
uint64_t process_start_time(int pid);
std::optional<uint64_t> find_start_time(int pid);
// The same for a thread of a process.
std::optional<uint64_t> find_start_time(int pid, int thread);

// Stops the DC: every waiting call ends with -EDVSDCNOTRUN.
void end_container(Segment& segment);
// Frees the slots of the dead of this node, and counts the living: dc_end waits for none.
uint32_t count_bound(Segment& segment);
// Waits for that. Returns 0, -ETIMEDOUT (-EAGAIN for a time-out of 0), -EINTR.
int wait_none_bound(Segment& segment, int64_t timeout_ms);

}  // namespace dvk

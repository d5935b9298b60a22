// senda: messages that are sent without waiting, as MINIX's (kernel/proc.c, mini_senda).
//
// Each process has a table of kAsyncs messages in the segment. `senda` fills an entry, adds the
// sender to the receiver's set of async senders, and lets a receiver that waits look. The receiver
// takes the entry with the lowest ticket, so the messages of one sender to one receiver keep their
// order. The sender's own memory is not needed after the call. An entry's word is
//
//   | sequence: 32 | peer or error: 16 | state: 16 |
//
// and changes by compare-and-swap, so that a receiver that dies or stops with a message half copied
// holds up nobody: its last change fails when the entry has gone on without it.
//
//   FREE -> WAITING -> TAKING by `peer` -> DONE with an error or 0 -> FREE when its status was
//   asked
//
// What is for a receiver that no binding here names stays WAITING until that is bound (search.h).
// Notifications wait for it in an entry too, with kAsyncNotice.
//
// Entries for a process of another node are taken by the proxy, and stay TAKING until its ack
// comes. There the entry of the same index in the sender's descriptor holds the message.
#pragma once

#include "process.h"

namespace dvk {

// Sends `message` when `destination` receives from ANY or from the caller; not as the reply to a
// sendrec, and not to rcvrqst. `flags` are of AsyncFlag: kNotify tells the caller when the message
// is done, by a notification of the caller itself; kNotifyError only when it failed; kForget frees
// the entry when the message is done, for a caller that asks for no status, and goes with no other.
// A message that is done and not asked for is told of once more when its receiver dies.
//
// A destination that may be on another node, and that nobody here knows, is looked for meanwhile.
// Returns an id (0 or more), -ENOSPC when kAsyncs messages are on their way or done and not asked
// for, -EINVAL (flags), and the errors of `send`, whose right it needs, but for waiting. May be
// called during another call of the process.
int32_t senda(Process& process, int32_t destination, const Message& message, uint32_t flags);
// What became of a message: kPending (1) while it is on its way. Otherwise, and the id is given up:
// 0 received, -EDEADSRCDST or -EDSTDIED, -ENOTCONN or -ECALLDENIED (other node), -EDVSSLOTUSED or
// -ETIMEDOUT (other node, which could not take the caller in), -EDVSNOPROXY (who looked for the
// receiver is gone), -ECANCELED.
// -EINVAL: no such id.
int senda_status(Process& process, int32_t id);
// Takes a message back. Returns 0, and the status is -ECANCELED; -EALREADY when it is done, -EBUSY
// when it is on its way to another node, -EINVAL.
int senda_cancel(Process& process, int32_t id);

// ---- For the core ----

enum class AsyncState : uint16_t { kFree, kWaiting, kTaking, kDone };

struct AsyncWord {
  AsyncState state;
  uint32_t peer;  // who takes it; of DONE, the error
  uint32_t sequence;
};

// In an entry's flags: it is a notification.
inline constexpr uint32_t kAsyncNotice = 8;

AsyncWord word_of(AsyncSlot* entry);

// For a receive: takes the oldest message that is for the present call, into process.operation.
bool take_async(Process& process);
bool has_async(Process& process);
// Whether a message of `sender` that passes `filter` waits for `target`; others that were sent
// later must not overtake it.
bool async_waits(Segment& segment, uint32_t sender, int32_t target, const Filter* filter = nullptr);
// Frees entries that nobody asks for.
void tidy_asyncs(Process& process);
// The messages of the process in `index` to the dead `endpoint`, which was in `slot`, are done.
// Preconditions: the table lock is held.
void fail_asyncs(Segment& segment, uint32_t index, uint32_t slot, int32_t endpoint);
// Whether the process in `index` has messages under way.
bool has_asyncs(Segment& segment, uint32_t index);
// The process `endpoint` in `slot` moves to another node: messages that processes of other nodes
// have here for it go back to them.
void return_asyncs(Segment& segment, uint32_t slot, int32_t endpoint);
// The process in `index` is gone, or the link to its node: forgets its messages, and who has some
// for it.
void drop_asyncs(Segment& segment, uint32_t index);

// ---- For receivers that no binding names; see search.h ----

// Keeps a notification with a value until `destination` is found. Returns 0 or -ENOSPC.
int post_notice(Process& process, int32_t destination, uint32_t value);
// Sends on what the process in `sender` has for receivers that are bound by now, and ends what is
// for those that can be found no more. Returns whether there is a message left that looks for its
// receiver; `search` is the first one's. Any process may call it, and again.
bool seek_asyncs(Segment& segment, uint32_t sender, Search* search);
// Ends what looks as `call_id` of seek_asyncs with `error`. Returns whether there was such a one.
bool end_sought(Segment& segment, uint32_t sender, uint32_t call_id, int error);
// Ends all that look.
void fail_sought(Segment& segment, uint32_t sender, int error);

// ---- For the proxy ----

// The next message for the remote process in `target`, or the next ack for it. Returns whether
// there was one; `command` is addressed already. `held`: acks alone, the process is to move.
bool take_remote_async(Segment& segment, uint32_t target, bool held, Command* command);
// Whether the ack of a message to a former owner of `slot` waits to be taken, with those for the
// remote process in `descriptor`; `owner` is the present one's endpoint.
bool has_async_ack(Segment& segment, uint32_t descriptor, uint32_t slot, int32_t owner);
int put_async(Segment& segment, uint32_t descriptor, const Command& command);
int put_async_ack(Segment& segment, uint32_t node, const Command& command);
// Ends what the process in `index` has under way to `node`, whose link went down.
void disconnect_asyncs(Segment& segment, uint32_t index, uint32_t node);

}  // namespace dvk

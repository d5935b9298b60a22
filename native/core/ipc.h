// The calls of M3-IPC (Pessolani et al., CACIC 2017) among processes of a DC.
//
// A call is started, stepped until it is done, or cancelled; `*_wait` does all of that and blocks.
// Blocking callers (server loops) sleep on the rendezvous word; event loops arm it and step again
// when their FIFO is readable. A process has one call under way at a time.
#pragma once

#include "process.h"

namespace dvk {

inline constexpr int64_t kForever = -1;  // time-outs are in ms; 0 never waits
inline constexpr int kPending = 1;       // the call goes on; step again after a wake

// Starts a call with the message given (source is filled in by the core). Each returns 0 when it is
// complete, kPending, or a negative error, looked for in this order: -EDVSNOTBOUND, -ETRAPDENIED
// (not a call of this process), -EDVSDCNOTRUN, -EBUSY (a call is under way), -EDVSBADDEST (to
// KERNEL; send: to itself), -ERANGE, -EDVSENDPOINT (sendrec, notify, reply, receive: itself),
// -ECALLDENIED (the caller may not send there), -EDEADSRCDST (free or stale endpoint), -ECALLDENIED
// (the destination takes none of the caller), -EDVSNOPROXY, -ENOTCONN (other node). Later -EDSTDIED
// or -ESRCDIED (died during the call), -ELOCKED (when it would sleep, see deadlock.h; later across
// nodes, see probe.h), -EDVSPROCSTS (reply: nobody waits for it).
int start_send(Process& process, int32_t destination, const Message& message);
int start_sendrec(Process& process, int32_t destination, const Message& message);
int start_receive(Process& process, int32_t source);  // ANY, KERNEL (notifications), an endpoint
int start_rcvrqst(Process& process);                  // requests of sendrec only; servers only
// Replies, then starts a rcvrqst; see reply_receive.
int start_reply_receive(Process& process, int32_t destination, const Message& message);
// Goes on with the call. When it returns 0 the message received, if any, is in
// process.operation.message and its kind in process.last_kind.
int step(Process& process);
// Keeps the result of a call that is complete, as the next step or cancel shall return it; until
// then the call is under way.
void postpone(Process& process, int result);
// Ends the call from outside with `error` (-ETIMEDOUT, -EINTR, ...); returns what the call came to:
// `error`, or 0 when it was complete already.
int cancel(Process& process, int error);

int send(Process& process, int32_t destination, const Message& message, int64_t timeout_ms);
int receive(Process& process, int32_t source, Message* message, int64_t timeout_ms);
int sendrec(Process& process, int32_t destination, Message* message, int64_t timeout_ms);
int rcvrqst(Process& process, Message* message, int64_t timeout_ms);
// From now on rcvrqst, and receive from ANY, take only messages and notifications that the filter
// lets pass; the others wait. A receive from one source, and the reply of a sendrec, are not
// filtered. Return 0, -EINVAL (more than kFilterRules, or a rule that compares nothing), -EBUSY.
int set_filter(Process& process, bool allow, const FilterRule* rules, size_t count);
int clear_filter(Process& process);
// Answers a sendrec; never blocks, also when the client is on another node. -EDVSPROCSTS when the
// client waits no more for this answer: it gave up, and may have called again. A server that takes
// a client's next request before it answered the one before says which one it answers: `call_id` is
// the process.last_call of then. `reply` itself is refused in that case, with -EDVSPROCSTS too.
int reply(Process& process, int32_t destination, const Message& message);
int reply_to(Process& process, int32_t destination, uint32_t call_id, const Message& message);
// In place of a reply: hands the request of `client`, as `message`, on to `destination`, which sees
// the client as its source and replies to it. The client's sendrec goes on with that, and with its
// time-out; should the destination be gone for the client it ends with -EDEADSRCDST, and from then
// on as if it had been sent there. Never blocks. Errors of reply for the client; of send for the
// destination, which must take messages of the client; -EDVSENDPOINT when it is the client or the
// caller. As with reply, a server that has two requests of the client says by `call_id` which one.
int relay(Process& process, int32_t client, int32_t destination, const Message& message);
int relay_to(Process& process, int32_t client, uint32_t call_id, int32_t destination,
             const Message& message);
// Replies, then receives the next request: one crossing for server loops. A client that is gone is
// no error.
int reply_receive(Process& process, int32_t destination, Message* message, int64_t timeout_ms);
// Never blocks; notifications from one source that were not yet received merge into one. See also
// notify.h.
int notify(Process& process, int32_t destination);
// Ends the target's receive with -EDVSWOKENUP, or its next one.
int wakeup(Segment& segment, int32_t target);

// Blocks until `step` is done or the deadline passes; used by every *_wait above and by vcopy.
int wait_for(Process& process, int64_t timeout_ms);

// Arms the FIFO wake for an event loop. Returns true when the call may be stepped at once, or a
// copy job waits (copy_job.h).
bool arm(Process& process);
void disarm(Process& process);

// Set from a signal handler: blocking calls of this OS process return -EINTR until cleared.
extern std::atomic<bool> interrupted;
// Asked now and then by a blocked call of this thread: true ends the call with -EINTR.
extern thread_local bool (*abandoned)();
// Whether that may happen to this thread alone, while its process goes on, and is to be noticed
// within a second: so for Workers.
extern thread_local bool is_abandoned_soon;

}  // namespace dvk

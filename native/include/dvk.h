/*
 * The C interface of DVK: a program opens the segment of a distributed container (DC), binds an
 * endpoint, and calls the other processes of the DC, on this node and on others.
 *
 * Results: 0 or more, or a negative error: -EINVAL and others of errno.h, or one of the DVK_E...
 * numbers of dvk_errors.gen.h. dvk_strerror() has a sentence for each. A null pointer where a
 * handle or an output is needed gives -EINVAL. A call that fails changes no output, unless it says
 * so. No call throws; a process that runs out of memory inside the library is ended.
 *
 * Time-outs are in milliseconds: 0 does not wait, a negative number waits for ever.
 *
 * Threads: a segment may be used by all threads. A process is used by one thread at a time; it may
 * go from one to another when the program orders its uses, as by a lock. Each thread may bind a
 * process of its own. Only dvk_interrupt() may be called from a signal handler.
 *
 * Fork: a process belongs to the program that bound it. A child must not use the handles that it
 * inherited; it opens and binds for itself.
 *
 * Death: when a program ends in whatever way, its slots, grants and arena memory are freed, and
 * those who wait for it get -DVK_ESRCDIED or -DVK_EDSTDIED. Who ends on purpose calls dvk_unbind().
 *
 * Errors of every call of a process, looked for in this order: -DVK_EDVSNOTBOUND when the process
 * is no longer bound, -DVK_ETRAPDENIED when it may not use the call, -DVK_EDVSDCNOTRUN when the DC
 * has ended. Errors of calls with a destination or source ("a peer's errors" below):
 * -DVK_EDVSBADDEST (DVK_KERNEL; for dvk_send and dvk_senda the caller itself), -ERANGE (no endpoint
 * of this DC), -DVK_EDVSENDPOINT (the caller itself), -DVK_ECALLDENIED (not to that peer, or not
 * from this caller), -DVK_EDEADSRCDST (nobody is bound there, or the endpoint is one of a former
 * owner of the slot; calls that wait look for one that is unknown on the other nodes first, which
 * ends with -ENOTCONN after 8 s at most when one of them does not answer; what is sent by
 * dvk_notify() and dvk_senda() is kept meanwhile), -DVK_EDSTDIED or -DVK_ESRCDIED (the peer died
 * during the call), -DVK_ELOCKED (a cycle of processes that wait for one another; across nodes it
 * is found after a moment, and one call in it ends); for a peer on another node -DVK_EDVSNOPROXY
 * and -ENOTCONN. Errors of calls that wait ("waiting errors"): -ETIMEDOUT (-EAGAIN for 0), -EINTR
 * after dvk_interrupt(), -DVK_EDVSSHUTDOWN by dvk_unbind_for(), -DVK_EDVSMIGRATING (dvk_migrate.h).
 */
#ifndef DVK_H
#define DVK_H

#include <assert.h>
#include <stdint.h>

#include "dvk_errors.gen.h"

#ifdef __cplusplus
extern "C" {
#endif

#define DVK_API __attribute__((visibility("default")))

/* The segment of a DC on this node, mapped. */
typedef struct dvk_segment dvk_segment;

/* A bound process: a slot of the DC that the caller owns. */
typedef struct dvk_process dvk_process;

/*
 * A message. The core writes the source; what type and payload mean is up to sender and receiver.
 * Numbers in the payload are little-endian. Any alignment will do.
 */
typedef struct dvk_message {
  int32_t source; /* endpoint of the sender */
  int32_t type; /* by convention a request number, and in a reply 0 or more, or a negative error */
  uint8_t payload[56];
} dvk_message;
static_assert(sizeof(dvk_message) == DVK_MESSAGE_BYTES, "a message is one cache line");

/* How a message came. */
enum {
  DVK_KIND_SEND = 0,   /* by send, or as the reply to a sendrec */
  DVK_KIND_CALL = 1,   /* by sendrec: its sender waits for a reply */
  DVK_KIND_NOTIFY = 2, /* by notify: the type is DVK_NOTIFY_TYPE; see dvk_notify_value() */
  DVK_KIND_ASYNC = 3,  /* by senda */
};

/* What dvk_senda_status() says of a message that is on its way. */
enum { DVK_PENDING = 1 };

/* What a filter compares; see dvk_set_filter(). */
enum { DVK_MATCH_SOURCE = 1, DVK_MATCH_TYPE = 2, DVK_FILTER_RULES = 8 };

typedef struct dvk_filter_rule {
  uint32_t match; /* DVK_MATCH_..., one or both */
  int32_t source; /* an endpoint */
  int32_t type;   /* a notification has DVK_NOTIFY_TYPE */
} dvk_filter_rule;

/* One side of a copy; see dvk_vcopy(). */
typedef struct dvk_party {
  int32_t endpoint; /* whose memory; DVK_SELF for the caller */
  int32_t grant;    /* a grant of that process, or -1: `at` is an address */
  uint64_t at;      /* offset in the grant, or address in that process */
} dvk_party;

/*
 * What a process may do. A process is bound with the calls of its level and every peer. A peer is
 * named by its slot: bit n of a mask is the fixed slot n; DVK_CALL_TO_DYNAMIC and
 * DVK_CALL_FROM_DYNAMIC stand for all dynamic slots.
 */
typedef struct dvk_privileges {
  uint32_t rights;   /* DVK_CALL_... bits */
  uint32_t reserved; /* zero */
  uint64_t ipc_to;   /* to whom it may send, notify and relay */
  uint64_t ipc_from; /* who may send to it */
} dvk_privileges;

/* A DC on this node; see dvk_dc_info_get(). Names end with a NUL. */
typedef struct dvk_dc_info {
  int32_t dc_id, node_id;
  int32_t slots; /* process slots */
  int32_t nodes; /* node slots */
  int32_t running, reserved;
  uint64_t arena_bytes, arena_used;
  uint64_t incarnation; /* random, new at each creation */
  char dc_name[DVK_NAME_BYTES], dvs_name[DVK_NAME_BYTES];
} dvk_dc_info;

/* What this node knows of a node of the DC; see dvk_node_info_get(). */
typedef struct dvk_node_info {
  int32_t node, state; /* DVK_LINK_... */
  int32_t proxy_pid;   /* 0: none is attached */
  uint32_t session;    /* raised at each connection */
  char name[DVK_NAME_BYTES];
  uint64_t sent, received;             /* commands */
  uint64_t sent_bytes, received_bytes; /* of copied data */
  uint64_t dropped;                    /* malformed or refused commands */
} dvk_node_info;

/* What this node knows of a process; see dvk_process_info_get(). */
typedef struct dvk_process_info {
  int32_t endpoint, slot, node;
  int32_t life, level; /* DVK_LIFE_..., DVK_LEVEL_... */
  int32_t state;       /* see dvk_state_name() */
  int32_t pid;         /* of one of another node its backup here, or 0 */
  int32_t peer;        /* whom it waits for, or DVK_NONE */
  int32_t cpu;         /* it last ran on, or -1 */
  int32_t wakeup_pending;
  int32_t thread;      /* that it is bound to; 0: to the program */
  uint32_t flags;      /* DVK_BOUND_... */
  uint64_t start_time; /* in clock ticks since boot; of the thread, when there is one */
  char name[DVK_NAME_BYTES];
  uint64_t sent, received, sent_remote, notified, copied_bytes;
  uint64_t waits; /* times it slept */
} dvk_process_info;

/* How a process is bound; see dvk_bind_as(). */
enum {
  DVK_BIND_PROCESS = 0, /* the slot lives as long as the program */
  DVK_BIND_THREAD = 1,  /* ... as the calling thread */
  DVK_BIND_REPLICA = 2, /* on other nodes there are others like it, with the same endpoint */
  DVK_BIND_BACKUP = 3,  /* stands by for its primary on another node; see dvk_promote() */
};

typedef struct dvk_bind_options {
  int32_t kind;     /* DVK_BIND_... */
  int32_t slot;     /* of a process or thread: as in dvk_bind(); else 0 */
  int32_t endpoint; /* of a replica or backup: in a fixed slot; else 0 */
  int32_t node;     /* of a backup: where the primary is; else 0 */
  int32_t level;    /* DVK_LEVEL_... */
  int32_t flags;    /* DVK_BOUND_NOMIGRATE: it moves to no other node; or 0 */
  const char* name;
} dvk_bind_options;

/* ---- Versions and errors. All of these may be called at any time, by any thread. ---- */

/* DVK_ABI_VERSION of the library; another one than the program was compiled with will not do. */
DVK_API uint32_t dvk_abi_version(void);

/* A sentence for an error, negative or positive; "no error" for 0. Never null, never freed. */
DVK_API const char* dvk_strerror(int64_t error);

/* The name of an error, such as "EDEADSRCDST" or "EINVAL"; "" when there is none. */
DVK_API const char* dvk_error_name(int64_t error);

/* ---- Segments ---- */

/*
 * Maps the segment at `path`, and sets `*segment`. Returns 0; -ENOENT, -EACCES and others of
 * open(2) and mmap(2); or -DVK_EDVSBADSEGMENT, with the reason in dvk_open_reason().
 *
 * The first one installs a handler of SIGBUS, for segments whose file is shortened: the container
 * ends there, and calls fail. A SIGBUS elsewhere goes to the handler of before.
 */
DVK_API int dvk_open(const char* path, dvk_segment** segment);

/* What was wrong with the segment that dvk_open() last refused in this thread; "" for nothing. */
DVK_API const char* dvk_open_reason(void);

/*
 * Unmaps the segment and frees the handle. Returns 0, or -EBUSY while processes are bound by this
 * handle. Pointers into the arena are dead after it.
 */
DVK_API int dvk_close(dvk_segment* segment);

/* Number of this node, and of the DC in its DVS; 0 or more. */
DVK_API int dvk_node_id(const dvk_segment* segment);
DVK_API int dvk_dc_id(const dvk_segment* segment);

/* Count of the process slots of the DC: they are 0 to this minus 1. */
DVK_API int dvk_slots(const dvk_segment* segment);

/*
 * The endpoint bound to `slot` now, 0 or more. -DVK_EDVSNOTBOUND for a free slot,
 * -DVK_EDVSBADPROC for no slot. A process of another node appears once that node has told of it.
 */
DVK_API int32_t dvk_lookup(const dvk_segment* segment, int slot);

/* 0 while `endpoint` is bound, here or on another node. -DVK_EDEADSRCDST, -ERANGE. */
DVK_API int dvk_check_endpoint(const dvk_segment* segment, int32_t endpoint);

/*
 * Ends the receive (or rcvrqst) that `endpoint`, a process of this node, waits in, or else its next
 * one, with -DVK_EDVSWOKENUP. Returns 0, -DVK_EDEADSRCDST, -ERANGE, -DVK_EDVSRMTPROC.
 */
DVK_API int dvk_wakeup(dvk_segment* segment, int32_t endpoint);

/*
 * Notifies `destination`, a process of this node, as DVK_KERNEL: what a device has to tell, from a
 * program that need not be bound. `value` merges, by OR, with those not yet received. Returns 0,
 * -DVK_EDEADSRCDST, -ERANGE, -DVK_EDVSRMTPROC, -DVK_EDVSDCNOTRUN.
 */
DVK_API int dvk_notify_kernel(dvk_segment* segment, int32_t destination, uint32_t value);

/*
 * Ends the DC on this node: every call, present and later, fails with -DVK_EDVSDCNOTRUN. Returns 0.
 */
DVK_API int dvk_end(dvk_segment* segment);

/*
 * Waits until no process of this node is bound; frees the slots of the dead. Returns 0, -ETIMEDOUT,
 * or -EAGAIN for a time-out of 0, -EINTR.
 */
DVK_API int dvk_wait_unbound(dvk_segment* segment, int64_t timeout_ms);

/* Fills `*info`. Returns 0. */
DVK_API int dvk_dc_info_get(const dvk_segment* segment, dvk_dc_info* info);

/* Fills `*info`. Returns 0, -DVK_EDVSBADNODEID, -DVK_EDVSNODCNODE (not a member of the DC). */
DVK_API int dvk_node_info_get(const dvk_segment* segment, int node, dvk_node_info* info);

/* Fills `*info` for a slot. Returns 0, -DVK_EDVSNOTBOUND for a free one, -DVK_EDVSBADPROC. */
DVK_API int dvk_process_info_get(const dvk_segment* segment, int slot, dvk_process_info* info);

/* What a process with that state is doing, such as "awaiting reply". Never null, never freed. */
DVK_API const char* dvk_state_name(int state);

/*
 * The endpoint that the program `pid` of this host has in the lowest slot from `first_slot` on;
 * -DVK_EDVSNOTBOUND when there is none.
 */
DVK_API int32_t dvk_find_pid(const dvk_segment* segment, int pid, int first_slot);

/*
 * What `endpoint`, a process of this node, may do. Returns 0, -DVK_EDEADSRCDST, -ERANGE,
 * -DVK_EDVSRMTPROC.
 */
DVK_API int dvk_get_privileges(const dvk_segment* segment, int32_t endpoint,
                               dvk_privileges* privileges);

/*
 * Sets what `endpoint` may do from its next call on. For administration: whoever may open the
 * segment may set any. Returns 0, -DVK_EDEADSRCDST, -ERANGE, -DVK_EDVSRMTPROC, -EINVAL (unknown
 * bits), -ETIMEDOUT (locked for 1 s).
 */
DVK_API int dvk_administer_privileges(dvk_segment* segment, int32_t endpoint,
                                      const dvk_privileges* privileges);

/*
 * Where [offset, offset + bytes) of the arena is mapped here; null when that range is not in it.
 * The offset is the same in all processes of the node, the pointer is not.
 */
DVK_API void* dvk_arena_at(const dvk_segment* segment, uint64_t offset, uint64_t bytes);

/* ---- Processes ---- */

/*
 * Binds the caller to a slot: a fixed one, 0 to DVK_SYSTEM_PROCESSES - 1, or with -1 a free one of
 * those that belong to this node. `level` is DVK_LEVEL_USER, DVK_LEVEL_SERVER (may also use
 * rcvrqst, reply and relay, notify as others, and copy between others) or DVK_LEVEL_KERNEL (may
 * also notify as DVK_KERNEL, and set every process's privileges). `name` has at most DVK_NAME_BYTES
 * - 1 bytes.
 *
 * Returns 0 and sets `*process`. -EINVAL (level, name), -DVK_EDVSBADPROC (no fixed slot),
 * -DVK_EDVSSLOTUSED, -DVK_EDVSNOSLOT (all are taken), -DVK_EDVSDCNOTRUN, -ETIMEDOUT (the table of
 * processes was locked for 1 s).
 */
DVK_API int dvk_bind(dvk_segment* segment, int slot, int level, const char* name,
                     dvk_process** process);

/*
 * Binds the caller in one of the ways above. Returns what dvk_bind() does; of a replica or backup
 * -DVK_EDVSBADPROC when the endpoint has no fixed slot; of a backup also -DVK_EDVSBADNODEID,
 * -DVK_EDVSLCLPROC (the node is this one), -DVK_EDVSNODCNODE, -DVK_EDVSNOPROXY.
 *
 * A replica has its endpoint on each node where it is bound, and is announced as any process is.
 *
 * A backup owns nothing yet: what is sent to its endpoint goes to the primary. Its calls that wait
 * go on waiting until dvk_promote(), bounded by their time-outs; those that never wait, and grants,
 * copies and arena memory, fail with -DVK_EDVSSTANDBY. When it ends, the endpoint is the primary's
 * alone.
 */
DVK_API int dvk_bind_as(dvk_segment* segment, const dvk_bind_options* options,
                        dvk_process** process);

/*
 * Binds the program `pid` of this host, which takes the slot by dvk_adopt(); what is sent to it
 * meanwhile waits there. For administration: whoever may open the segment may do it. Returns the
 * endpoint, 0 or more, or what dvk_bind_as() does; -ESRCH (no such program), -EINVAL (a thread).
 */
DVK_API int32_t dvk_bind_for(dvk_segment* segment, int pid, const dvk_bind_options* options);

/*
 * Takes a slot that dvk_bind_for() has bound for the caller; waits for one. Returns 0 and sets
 * `*process`, waiting errors, -DVK_EDVSDCNOTRUN.
 */
DVK_API int dvk_adopt(dvk_segment* segment, int64_t timeout_ms, dvk_process** process);

#include "dvk_ends.h"
#include "dvk_migrate.h"

/*
 * Makes a process of another node known here, under its endpoint, as the proxies do by themselves.
 * Returns 0, -EINVAL, -DVK_EDVSBADPROC, -DVK_EDVSBADNODEID, -DVK_EDVSLCLPROC (the node is this
 * one), -DVK_EDVSNODCNODE, -DVK_EDVSSLOTUSED, -ETIMEDOUT (locked for 1 s).
 */
DVK_API int dvk_bind_remote(dvk_segment* segment, int32_t endpoint, int node, int level,
                            const char* name);

/* Forgets a process of another node. Returns 0, -DVK_EDVSNOTBOUND, -ETIMEDOUT. */
DVK_API int dvk_unbind_remote(dvk_segment* segment, int32_t endpoint);

/*
 * Frees the slot and the handle, the grants and the arena memory of the process. Those who wait for
 * it get -DVK_ESRCDIED or -DVK_EDSTDIED. Returns 0; -DVK_EDVSNOTBOUND when the slot was lost
 * before, and the handle is freed all the same; or -ETIMEDOUT (locked for 1 s), and it is not.
 */
DVK_API int dvk_unbind(dvk_process* process);

/* The endpoint of the process, 0 or more: its address for all others. */
DVK_API int32_t dvk_endpoint(const dvk_process* process);

/* How the message last received came: DVK_KIND_...; DVK_KIND_SEND before the first. */
DVK_API int dvk_last_kind(const dvk_process* process);

/*
 * The number of the call whose request was received last, for dvk_reply_to() and dvk_relay_to().
 * Each sendrec of a client has another number; they wrap after 2^32.
 */
DVK_API uint32_t dvk_last_call(const dvk_process* process);

/*
 * Sets what `endpoint`, or DVK_SELF, may do from its next call on. A process of DVK_LEVEL_KERNEL
 * may set any; another one may set those of DVK_LEVEL_USER and itself, and gives nothing that it
 * has not itself. Returns what dvk_administer_privileges() does, -EPERM, -DVK_ETRAPDENIED.
 */
DVK_API int dvk_set_privileges(dvk_process* process, int32_t endpoint,
                               const dvk_privileges* privileges);

/* ---- Calls. A message is written only by a call that returns 0. ---- */

/*
 * Sends `*message` and waits until `destination` has received it. There is no buffer between them.
 * Returns 0, a peer's errors, waiting errors.
 */
DVK_API int dvk_send(dvk_process* process, int32_t destination, const dvk_message* message,
                     int64_t timeout_ms);

/*
 * Waits for a message or notification of `source`, an endpoint or DVK_ANY; notifications come
 * first, and among them those of DVK_KERNEL, which may be the source too. Returns 0, a peer's
 * errors, waiting errors, -DVK_EDVSWOKENUP after dvk_wakeup().
 */
DVK_API int dvk_receive(dvk_process* process, int32_t source, dvk_message* message,
                        int64_t timeout_ms);

/*
 * Sends `*message` and waits for the reply, which takes its place. Returns 0, a peer's errors,
 * waiting errors. After an error the destination may have had the request, or may have it later.
 */
DVK_API int dvk_sendrec(dvk_process* process, int32_t destination, dvk_message* message,
                        int64_t timeout_ms);

/*
 * Waits for a request, that is a message of a sendrec, of anyone. Returns 0, waiting errors,
 * -DVK_EDVSWOKENUP, -DVK_ETRAPDENIED for a process that is no server.
 */
DVK_API int dvk_rcvrqst(dvk_process* process, dvk_message* message, int64_t timeout_ms);

/*
 * Answers the sendrec of `destination`; never blocks. Returns 0, a peer's errors,
 * -DVK_EDVSPROCSTS when `destination` waits no more for this answer: it gave up, and may have
 * called again; -DVK_ETRAPDENIED.
 */
DVK_API int dvk_reply(dvk_process* process, int32_t destination, const dvk_message* message);

/*
 * dvk_reply() to the call with the number `call`, the dvk_last_call() of when its request was
 * received. For servers that take a client's next request before they have answered the one before;
 * dvk_reply() is refused there with -DVK_EDVSPROCSTS, since it does not say which one it answers.
 */
DVK_API int dvk_reply_to(dvk_process* process, int32_t destination, uint32_t call,
                         const dvk_message* message);

/*
 * In place of dvk_reply(): hands the request of `client` on to `destination`, as `*message` has it.
 * That server sees the client as the source, and its reply ends the client's sendrec, which keeps
 * its time-out. Never blocks. Returns 0; errors of dvk_reply() for the client; of dvk_send() for
 * the destination, which must take messages of the client; -DVK_EDVSENDPOINT when it is the client
 * or the caller. A client gets -DVK_EDEADSRCDST when its own node knows no such destination then.
 */
DVK_API int dvk_relay(dvk_process* process, int32_t client, int32_t destination,
                      const dvk_message* message);

/* dvk_relay() of the request that came with the call number `call`, as dvk_reply_to(). */
DVK_API int dvk_relay_to(dvk_process* process, int32_t client, uint32_t call, int32_t destination,
                         const dvk_message* message);

/*
 * dvk_reply() with `*message`, then dvk_rcvrqst() into it: a server's loop in one call. A client
 * that is gone is no error. Returns what dvk_rcvrqst() does.
 */
DVK_API int dvk_reply_receive(dvk_process* process, int32_t destination, dvk_message* message,
                              int64_t timeout_ms);

/*
 * Notifies `destination`; never blocks. Notifications of one source that were not yet received
 * merge. Returns 0; -ENOSPC when the destination must be looked for, and DVK_ASYNCS messages of the
 * caller are on their way or kept; a peer's errors.
 */
DVK_API int dvk_notify(dvk_process* process, int32_t destination);

/*
 * Sends `*message` without waiting. `destination` receives it in a dvk_receive() from DVK_ANY or
 * from this process: after notifications, and before the messages of those who wait; not as a
 * request or a reply. Messages for one destination keep their order, also with those of dvk_send()
 * that follow. `flags`: DVK_ASYNC_NOTIFY notifies the caller, by itself, when the message is done,
 * DVK_ASYNC_NOTIFY_ERROR when it failed; DVK_ASYNC_FORGET, alone, when nobody asks for its status.
 *
 * Returns an id, 0 or more; -EINVAL (flags); -ENOSPC when DVK_ASYNCS messages are on their way, or
 * done and not asked for; a peer's errors.
 */
DVK_API int32_t dvk_senda(dvk_process* process, int32_t destination, const dvk_message* message,
                          unsigned flags);

/*
 * What became of a message of dvk_senda(): DVK_PENDING while it is on its way. Otherwise the id is
 * no longer good: 0, it was received; -DVK_EDSTDIED or -DVK_EDEADSRCDST; -ENOTCONN or
 * -DVK_ECALLDENIED (other node); -DVK_EDVSSLOTUSED (on the other node the caller's slot is another
 * one's) or -ETIMEDOUT (its table was locked for 1 s); -DVK_EDVSNOPROXY (the proxy that looked for
 * the destination is gone); -ECANCELED. -EINVAL: no such id.
 */
DVK_API int dvk_senda_status(dvk_process* process, int32_t id);

/*
 * Takes a message of dvk_senda() back; its status is -ECANCELED then. Returns 0; -EALREADY when it
 * is done; -EBUSY when it is on its way to another node; -EINVAL: no such id.
 */
DVK_API int dvk_senda_cancel(dvk_process* process, int32_t id);

/*
 * From now on dvk_rcvrqst(), and dvk_receive() from DVK_ANY, take only those messages and
 * notifications that match one of the rules (`allow` not 0), or none of them (`allow` 0); the rest
 * waits. A receive from one source and the reply of a sendrec are not filtered. Returns 0; -EINVAL
 * (more than DVK_FILTER_RULES, or one that compares nothing).
 */
DVK_API int dvk_set_filter(dvk_process* process, int allow, const dvk_filter_rule* rules,
                           uint32_t count);

/* Ends the filter of dvk_set_filter(). Returns 0. */
DVK_API int dvk_clear_filter(dvk_process* process);

/*
 * Notifies `destination` as `source`: DVK_SELF; another process of this node, which needs
 * DVK_CALL_NOTIFY_SOURCE; or DVK_KERNEL, which needs DVK_CALL_NOTIFY_KERNEL. `value` merges, by OR,
 * with those of that source not yet received; only sources in fixed slots and DVK_KERNEL have one
 * other than 0, else -DVK_EDVSENDPOINT. Returns what dvk_notify() does; -DVK_EDVSRMTPROC
 * (DVK_KERNEL speaks on its own node only; source and destination are both of other nodes).
 */
DVK_API int dvk_notify_from(dvk_process* process, int32_t destination, int32_t source,
                            uint32_t value);

/* The value that a notification was received with; 0 for none. */
DVK_API uint32_t dvk_notify_value(const dvk_message* message);

/*
 * Waits until `slot` is bound, here or on another node, and returns its endpoint, 0 or more;
 * waiting errors; -DVK_EDVSBADPROC (no slot).
 */
DVK_API int32_t dvk_wait_bind(dvk_process* process, int slot, int64_t timeout_ms);

/*
 * Waits until `endpoint` is bound no more; at once when it is not. Returns 0, waiting errors,
 * -ERANGE, -DVK_EDVSENDPOINT (the caller itself), -ENOTCONN (it is of another node, and the link is
 * down).
 */
DVK_API int dvk_wait_unbind(dvk_process* process, int32_t endpoint, int64_t timeout_ms);

/*
 * Ends the blocking calls of all processes of this program, present and later ones, with -EINTR,
 * until dvk_clear_interrupt(); calls that need not wait still succeed. For signal handlers: safe
 * there, and touches no errno. A call notices within a second at the latest, and at once in the
 * thread that took the signal, unless it was just about to sleep.
 */
DVK_API void dvk_interrupt(void);

/* Takes dvk_interrupt() back. Returns 1 when there was one, else 0. */
DVK_API int dvk_clear_interrupt(void);

/* ---- Memory ---- */

/*
 * Takes `bytes` (1 or more, rounded up to pages) of the arena, which all processes of the DC on
 * this node map. Returns its offset, 0 or more, and sets `*address`; the memory is not zeroed.
 * -EINVAL (0, or more than the whole arena), -ENOMEM (none is free), -ENOSPC (too many pieces),
 * -ETIMEDOUT (locked for 1 s).
 */
DVK_API int64_t dvk_arena_allocate(dvk_process* process, uint64_t bytes, void** address);

/* Gives back what dvk_arena_allocate() returned. 0, or -EINVAL when it is not this process's. */
DVK_API int dvk_arena_free(dvk_process* process, uint64_t offset);

/*
 * Lets `grantee`, an endpoint or DVK_ANY, copy from (DVK_RIGHT_READ) or to (DVK_RIGHT_WRITE)
 * [address, address + bytes) of this process, until dvk_revoke(). The memory may be private or of
 * the arena; copies of the latter cost one memcpy. Returns the grant's id, 0 or more; -EINVAL
 * (rights, or more than DVK_COPY_BYTES_MAX), -ENOSPC (there are DVK_GRANTS already).
 */
DVK_API int32_t dvk_grant(dvk_process* process, void* address, uint64_t bytes, unsigned rights,
                          int32_t grantee);

/*
 * Lets `grantee` use, with `rights` at most, what grant `grant` of `granter` lets the caller use.
 * It ends with that one. A chain has five grants at most, of processes of one node (CPF_INDIRECT in
 * MINIX). Returns as dvk_grant(); also -DVK_EDVSGRANT (no such grant, or not for the caller or
 * these rights), -DVK_EDEADSRCDST, -DVK_EDVSRMTPROC.
 */
DVK_API int32_t dvk_grant_indirect(dvk_process* process, int32_t granter, int32_t grant,
                                   unsigned rights, int32_t grantee);

/* Ends a grant; its id is not used again soon, and no copy goes on under it. 0, or -DVK_EDVSGRANT
 * when there is none. */
DVK_API int dvk_revoke(dvk_process* process, int32_t grant);

/*
 * Copies `bytes` (0 to DVK_COPY_BYTES_MAX) between two processes, on whichever nodes. A party is
 * memory under a grant; or an address, for the caller's own memory, and for a server's client that
 * waits in a sendrec to it. Servers may name any two processes, others must be one of them.
 * `timeout_ms` bounds each chunk of 1 MiB, and only between nodes.
 *
 * Returns `bytes`; a peer's errors; waiting errors; -EINVAL (grant below -1, own address null),
 * -ERANGE (too long), -DVK_EDVSENDPOINT (both parties are one, or one is nobody), -EPERM (not for a
 * user process), -DVK_EDVSGRANT (no grant, or not for this), -EFAULT, -ETIMEDOUT (the other process
 * was stopped in the middle, or a third one that copies there was). -EPERM also for private memory
 * of a process that this one may not trace (Yama, other users), and that came into no call that
 * waits within a second; memory of the arena needs no such right. The ipc_to mask is asked for
 * parties in fixed slots. After an error a part may have been copied; see dvk_copied().
 *
 * A process that waits in a call may move its own memory for this, so what it lends must stay
 * mapped until its call returns, and granted memory until it is revoked.
 */
DVK_API int64_t dvk_vcopy(dvk_process* process, const dvk_party* source,
                          const dvk_party* destination, uint64_t bytes, int64_t timeout_ms);

/* One part of a scattered copy. */
typedef struct dvk_copy_element {
  dvk_party source, destination;
  uint64_t bytes;
} dvk_copy_element;

#define DVK_COPY_ELEMENTS_MAX 64

/*
 * Copies `count` (0 to DVK_COPY_ELEMENTS_MAX) elements in their order, each as by dvk_vcopy(), up
 * to the first error. Returns the sum of their bytes, or that error, or -ERANGE for too many.
 */
DVK_API int64_t dvk_vcopy_vector(dvk_process* process, const dvk_copy_element* elements,
                                 uint32_t count, int64_t timeout_ms);

/*
 * How many bytes of the last dvk_vcopy() or dvk_vcopy_vector() of `process` are known to be where
 * they belong, whether it failed or not: whole chunks of 1 MiB, and whole elements.
 */
DVK_API uint64_t dvk_copied(const dvk_process* process);

/* A party that is memory of the caller. */
static inline dvk_party dvk_own(const void* address) {
  const dvk_party party = {DVK_SELF, -1, (uint64_t)(uintptr_t)address};
  return party;
}

/* A party that is memory under a grant of `endpoint`. */
static inline dvk_party dvk_granted(int32_t endpoint, int32_t grant, uint64_t offset) {
  const dvk_party party = {endpoint, grant, offset};
  return party;
}

#ifdef __cplusplus
}
#endif

#endif

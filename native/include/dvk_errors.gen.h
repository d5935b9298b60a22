/* Generated from src/dvk/abi/schema.ts by generate.ts; edit the schema. */
#ifndef DVK_ERRORS_GEN_H
#define DVK_ERRORS_GEN_H

/* Version of dvk.h and of the layout of segments, and limits. */
enum {
  DVK_ABI_VERSION = 4, /* a segment of another version is refused */
  DVK_MESSAGE_BYTES = 64, /* a message: source, type and 56 bytes of payload; one cache line */
  DVK_NAME_BYTES = 16, /* names of processes, nodes, DCs and DVSs, NUL included */
  DVK_PROCESSES_MAX = 65536, /* process slots of a DC at most; a slot number has 16 bits */
  DVK_SYSTEM_PROCESSES = 64, /* slots 0 to 63 are fixed slots for servers; the others are shared out among nodes */
  DVK_NODES_MAX = 1024, /* nodes of a DC at most */
  DVK_GRANTS = 32, /* grants a process can hold at a time */
  DVK_ASYNCS = 32, /* messages of senda that a process can have under way at a time */
  DVK_DEPARTURES = 256, /* processes that have gone, of which a node keeps record */
  DVK_COPY_BYTES_MAX = 1073741824, /* most bytes of one vcopy */
  DVK_NOTIFY_TYPE = 4096, /* type of the message that a notification is received as */
  DVK_GENERATION_MAX = 32766, /* generations run from 0 to this and wrap; 32767 marks special endpoints */
};

/* Endpoints that are no process. */
enum {
  DVK_ANY = 2147449550, /* any source, in receive */
  DVK_NONE = 2147445454, /* nobody */
  DVK_SELF = 2147453646, /* the caller itself */
  DVK_KERNEL = -1, /* source of messages that the kernel makes */
};

/* Levels of a process. */
enum {
  DVK_LEVEL_USER = 0,
  DVK_LEVEL_SERVER = 1,
  DVK_LEVEL_KERNEL = 2,
};

/* Flags of dvk_senda. */
enum {
  DVK_ASYNC_NOTIFY = 1,
  DVK_ASYNC_NOTIFY_ERROR = 2,
  DVK_ASYNC_FORGET = 4,
};

/* What a slot is used for. */
enum {
  DVK_LIFE_FREE = 0,
  DVK_LIFE_BINDING = 1,
  DVK_LIFE_LOCAL = 2,
  DVK_LIFE_REMOTE = 3,
  DVK_LIFE_DYING = 4,
  DVK_LIFE_ARRIVING = 5,
};

/* How a slot is bound; see dvk_process_info. */
enum {
  DVK_BOUND_HANDED = 1,
  DVK_BOUND_REPLICA = 2,
  DVK_BOUND_BACKUP = 4,
  DVK_BOUND_NOMIGRATE = 8,
};

/* State of the link to a node. */
enum {
  DVK_LINK_ABSENT = 0,
  DVK_LINK_DOWN = 1,
  DVK_LINK_UP = 2,
  DVK_LINK_LOCAL = 3,
};

/* Rights of a grant. */
enum {
  DVK_RIGHT_READ = 1,
  DVK_RIGHT_WRITE = 2,
};

/* Rights of a process; see dvk_privileges. */
enum {
  DVK_CALL_SEND = 1,
  DVK_CALL_RECEIVE = 2,
  DVK_CALL_SENDREC = 4,
  DVK_CALL_NOTIFY = 8,
  DVK_CALL_RCVRQST = 16,
  DVK_CALL_REPLY = 32,
  DVK_CALL_RELAY = 64,
  DVK_CALL_VCOPY = 128,
  DVK_CALL_WAIT_BIND = 256,
  DVK_CALL_NOTIFY_SOURCE = 512,
  DVK_CALL_NOTIFY_KERNEL = 1024,
  DVK_CALL_PRIVILEGES = 2048,
  DVK_CALL_TO_DYNAMIC = 536870912,
  DVK_CALL_FROM_DYNAMIC = 1073741824,
};

/* Errors beyond those of errno.h. Calls return them negative. */
enum {
  DVK_ENOTREADY = 201, /* the destination is not ready to receive, and the caller would not wait */
  DVK_EDEADSRCDST = 202, /* the endpoint belongs to no living process */
  DVK_ELOCKED = 208, /* the call is, or would be, in a cycle of processes that wait for one another */
  DVK_EBADCALL = 209, /* no such call */
  DVK_ECALLDENIED = 210, /* the caller may not send to that process */
  DVK_ETRAPDENIED = 211, /* the caller may not use that call */
  DVK_EBADREQUEST = 212, /* the request is not one that this server understands */
  DVK_ESRCDIED = 218, /* the process that was waited for died or unbound */
  DVK_EDSTDIED = 219, /* the destination died or unbound before it took the message */
  DVK_EDVSBADNODEID = 301, /* no such node */
  DVK_EDVSBADDCID = 302, /* no such distributed container */
  DVK_EDVSDCNOTRUN = 303, /* the distributed container is not running */
  DVK_EDVSBADPROC = 304, /* no such process slot */
  DVK_EDVSENDPOINT = 306, /* the endpoint cannot be used in this place */
  DVK_EDVSNOPROXY = 307, /* no proxy serves that node */
  DVK_EDVSRMTPROC = 308, /* the process is on another node */
  DVK_EDVSLCLPROC = 309, /* the process is on this node */
  DVK_EDVSNOTBOUND = 310, /* the process is not bound */
  DVK_EDVSPROXYRUN = 311, /* another proxy serves that node */
  DVK_EDVSNODCNODE = 319, /* the node is not a member of the distributed container */
  DVK_EDVSPROCSTS = 324, /* the process is not in a state that allows this */
  DVK_EDVSMIGRATING = 332, /* the process is moving to another node, or its backup is taking over */
  DVK_EDVSSLOTUSED = 337, /* the process slot is taken */
  DVK_EDVSWOKENUP = 348, /* the call was ended by wakeup */
  DVK_EDVSBADDEST = 353, /* nobody can send there: it is the caller itself, or KERNEL */
  DVK_EDVSGRANT = 354, /* no grant covers that access */
  DVK_EDVSNOSLOT = 355, /* no process slot is free */
  DVK_EDVSBADSEGMENT = 356, /* the file is no segment of this version, or is damaged */
  DVK_EDVSBADFRAME = 357, /* a frame or command is malformed */
  DVK_EDVSSTANDBY = 358, /* the process stands by for its primary on another node */
  DVK_EDVSSHUTDOWN = 359, /* the process was asked to end by another one, which unbinds it */
};

/* X(name, number, sentence) for each of these errors. */
#define DVK_ERRORS(X) \
  X(ENOTREADY, 201, "the destination is not ready to receive, and the caller would not wait") \
  X(EDEADSRCDST, 202, "the endpoint belongs to no living process") \
  X(ELOCKED, 208, "the call is, or would be, in a cycle of processes that wait for one another") \
  X(EBADCALL, 209, "no such call") \
  X(ECALLDENIED, 210, "the caller may not send to that process") \
  X(ETRAPDENIED, 211, "the caller may not use that call") \
  X(EBADREQUEST, 212, "the request is not one that this server understands") \
  X(ESRCDIED, 218, "the process that was waited for died or unbound") \
  X(EDSTDIED, 219, "the destination died or unbound before it took the message") \
  X(EDVSBADNODEID, 301, "no such node") \
  X(EDVSBADDCID, 302, "no such distributed container") \
  X(EDVSDCNOTRUN, 303, "the distributed container is not running") \
  X(EDVSBADPROC, 304, "no such process slot") \
  X(EDVSENDPOINT, 306, "the endpoint cannot be used in this place") \
  X(EDVSNOPROXY, 307, "no proxy serves that node") \
  X(EDVSRMTPROC, 308, "the process is on another node") \
  X(EDVSLCLPROC, 309, "the process is on this node") \
  X(EDVSNOTBOUND, 310, "the process is not bound") \
  X(EDVSPROXYRUN, 311, "another proxy serves that node") \
  X(EDVSNODCNODE, 319, "the node is not a member of the distributed container") \
  X(EDVSPROCSTS, 324, "the process is not in a state that allows this") \
  X(EDVSMIGRATING, 332, "the process is moving to another node, or its backup is taking over") \
  X(EDVSSLOTUSED, 337, "the process slot is taken") \
  X(EDVSWOKENUP, 348, "the call was ended by wakeup") \
  X(EDVSBADDEST, 353, "nobody can send there: it is the caller itself, or KERNEL") \
  X(EDVSGRANT, 354, "no grant covers that access") \
  X(EDVSNOSLOT, 355, "no process slot is free") \
  X(EDVSBADSEGMENT, 356, "the file is no segment of this version, or is damaged") \
  X(EDVSBADFRAME, 357, "a frame or command is malformed") \
  X(EDVSSTANDBY, 358, "the process stands by for its primary on another node") \
  X(EDVSSHUTDOWN, 359, "the process was asked to end by another one, which unbinds it")

#endif

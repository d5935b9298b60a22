// Generated from src/dvk/abi/schema.ts by generate.ts; edit the schema.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dvk {

inline constexpr uint32_t kAbiVersion = 4;

inline constexpr uint64_t kMessageBytes = 64;  // a message: source, type and 56 bytes of payload; one cache line
inline constexpr uint64_t kNameBytes = 16;  // names of processes, nodes, DCs and DVSs, NUL included
inline constexpr uint64_t kProcessesDefault = 1024;  // process slots of a DC
inline constexpr uint64_t kProcessesMax = 65536;  // process slots of a DC at most; a slot number has 16 bits
inline constexpr uint64_t kSystemProcesses = 64;  // slots 0 to 63 are fixed slots for servers; the others are shared out among nodes
inline constexpr uint64_t kNodesDefault = 32;  // nodes of a DC
inline constexpr uint64_t kNodesMax = 1024;  // nodes of a DC at most
inline constexpr uint64_t kGrants = 32;  // grants a process can hold at a time
inline constexpr uint64_t kAsyncs = 32;  // messages of senda that a process can have under way at a time
inline constexpr uint64_t kStageBytes = 262144;  // stage of a process, through which it moves its own memory in a copy
inline constexpr uint64_t kDepartures = 256;  // processes that have gone, of which a node keeps record
inline constexpr uint64_t kExtents = 4096;  // arena allocations of a DC at a time
inline constexpr uint64_t kArenaBytesDefault = 1073741824;  // arena of a DC; the file is sparse, so unused bytes cost nothing
inline constexpr uint64_t kCopyChunkBytes = 1048576;  // most bytes of one copy command between nodes; bounds a frame
inline constexpr uint64_t kCopyBytesMax = 1073741824;  // most bytes of one vcopy
inline constexpr uint64_t kTraceEvents = 8192;  // events in a ring of the trace; older ones are overwritten
inline constexpr uint64_t kTraceWatchers = 16;  // programs that can watch the trace of a DC on a node at a time
inline constexpr uint64_t kTraceLeaseMs = 3000;  // a watcher of the trace that is not heard of for this long is gone
inline constexpr uint64_t kNotifyType = 4096;  // type of the message that a notification is received as
inline constexpr uint64_t kNotifyValueMax = 4294967295;  // value of a notification at most: 32 bits, merged by OR
inline constexpr uint64_t kHeldRights = 2147483648;  // mark of rights that are held back, see PrivilegeSlot
inline constexpr uint64_t kGenerationMax = 32766;  // generations run from 0 to this and wrap; 32767 marks special endpoints

inline constexpr int32_t kEndpointAny = 2147449550;  // any source, in receive
inline constexpr int32_t kEndpointNone = 2147445454;  // nobody
inline constexpr int32_t kEndpointSelf = 2147453646;  // the caller itself
inline constexpr int32_t kEndpointKernel = -1;  // source of messages that the kernel makes

enum Error : int {
  ENOTREADY = 201,  // the destination is not ready to receive, and the caller would not wait
  EDEADSRCDST = 202,  // the endpoint belongs to no living process
  ELOCKED = 208,  // the call is, or would be, in a cycle of processes that wait for one another
  EBADCALL = 209,  // no such call
  ECALLDENIED = 210,  // the caller may not send to that process
  ETRAPDENIED = 211,  // the caller may not use that call
  EBADREQUEST = 212,  // the request is not one that this server understands
  ESRCDIED = 218,  // the process that was waited for died or unbound
  EDSTDIED = 219,  // the destination died or unbound before it took the message
  EDVSBADNODEID = 301,  // no such node
  EDVSBADDCID = 302,  // no such distributed container
  EDVSDCNOTRUN = 303,  // the distributed container is not running
  EDVSBADPROC = 304,  // no such process slot
  EDVSENDPOINT = 306,  // the endpoint cannot be used in this place
  EDVSNOPROXY = 307,  // no proxy serves that node
  EDVSRMTPROC = 308,  // the process is on another node
  EDVSLCLPROC = 309,  // the process is on this node
  EDVSNOTBOUND = 310,  // the process is not bound
  EDVSPROXYRUN = 311,  // another proxy serves that node
  EDVSNODCNODE = 319,  // the node is not a member of the distributed container
  EDVSPROCSTS = 324,  // the process is not in a state that allows this
  EDVSMIGRATING = 332,  // the process is moving to another node, or its backup is taking over
  EDVSSLOTUSED = 337,  // the process slot is taken
  EDVSWOKENUP = 348,  // the call was ended by wakeup
  EDVSBADDEST = 353,  // nobody can send there: it is the caller itself, or KERNEL
  EDVSGRANT = 354,  // no grant covers that access
  EDVSNOSLOT = 355,  // no process slot is free
  EDVSBADSEGMENT = 356,  // the file is no segment of this version, or is damaged
  EDVSBADFRAME = 357,  // a frame or command is malformed
  EDVSSTANDBY = 358,  // the process stands by for its primary on another node
  EDVSSHUTDOWN = 359,  // the process was asked to end by another one, which unbinds it
};

enum CommandKind : uint32_t {
  kCommandNone = 0,  // keeps the link checked
  kCommandSendMsg = 1,  // a message from send; SEND_ACK follows when it was received
  kCommandNtfyMsg = 2,  // a notification; its value begins the payload of the message; no answer
  kCommandSndrecMsg = 3,  // a message from sendrec; the answer is REPLY_MSG, or SNDREC_ACK with an error
  kCommandReplyMsg = 4,  // the reply to a sendrec; REPLY_ACK follows only when nobody waited for it
  kCommandCopyinData = 5,  // data for a process of the receiving node; COPYIN_ACK follows
  kCommandCopyoutRqst = 6,  // asks for data of the receiving node; COPYOUT_DATA (6 with ACK) carries it
  kCommandCopylclRqst = 7,  // asks for a copy between two processes of the receiving node; COPYLCL_ACK follows
  kCommandCopyrmtRqst = 8,  // asks the source node to copy to a third node; COPYRMT_ACK comes from the destination
  kCommandCopyinRqst = 9,  // the data of a COPYRMT_RQST, from source node to destination node
  kCommandHello = 10,  // first on a link: who speaks, which version, incarnation and session
  kCommandShutdown = 11,  // the sender leaves on purpose
  kCommandProcinfo = 12,  // asks who has the slot of the destination on the receiving node; PROCINFO_ACK has its endpoint, level and name, or an error
  kCommandProcbind = 13,  // a process is bound on the sending node
  kCommandProcunbind = 14,  // a process of the sending node is gone
  kCommandRelayMsg = 15,  // in place of REPLY_MSG: the caller goes on with this request to the server in its source
  kCommandAsyncMsg = 16,  // a message from senda; ASYNC_ACK follows when it was received, or cannot be
  kCommandProbe = 17,  // looks for a cycle of waits that crosses nodes; its message is a Probe
  kCommandWithdraw = 18,  // the source waits no more in that call: its message, if nobody took it, is gone
  kCommandMigrstart = 19,  // a process of the sending node is to move: what is sent to it is kept back
  kCommandMigrate = 20,  // gives a process to its backup there, with a Migrant and MigrantNotices; MIGRATE_ACK says where it is
  kCommandMigrend = 21,  // where the process is now: what was kept back goes there
  kCommandAck = 8192,  // bit of an acknowledgement
};

enum class ProcessLife : uint32_t {
  kFree = 0,
  kBinding = 1,
  kLocal = 2,
  kRemote = 3,
  kDying = 4,
  kArriving = 5,
};

enum class ProcessLevel : uint32_t {
  kUser = 0,
  kServer = 1,
  kKernel = 2,
};

enum class BindFlag : uint32_t {
  kHanded = 1,
  kReplica = 2,
  kBackup = 4,
  kNomigrate = 8,
};

enum class MigrationState : uint32_t {
  kNone = 0,
  kStarted = 1,
  kGiving = 2,
  kGiven = 3,
  kHeld = 4,
};

enum class LinkState : uint32_t {
  kAbsent = 0,
  kDown = 1,
  kUp = 2,
  kLocal = 3,
};

enum class CommandState : uint32_t {
  kNone = 0,
  kQueued = 1,
  kTaken = 2,
};

enum class ProbeStage : uint32_t {
  kFollow = 0,
  kAsk = 1,
  kEcho = 2,
};

enum class GrantRight : uint32_t {
  kRead = 1,
  kWrite = 2,
};

enum class AsyncFlag : uint32_t {
  kNotify = 1,
  kNotifyError = 2,
  kForget = 4,
};

enum class TraceKind : uint32_t {
  kBegin = 1,
  kEnd = 2,
  kSleep = 3,
  kAwake = 4,
  kWake = 5,
  kFollow = 6,
  kAsyncDone = 7,
  kBind = 8,
  kUnbind = 9,
  kReap = 10,
  kLinkOut = 11,
  kLinkIn = 12,
  kLinkUp = 13,
  kLinkDown = 14,
};

enum class TraceCall : uint32_t {
  kNone = 0,
  kSend = 1,
  kReceive = 2,
  kSendrec = 3,
  kRcvrqst = 4,
  kReply = 5,
  kRelay = 6,
  kNotify = 7,
  kSenda = 8,
  kVcopy = 9,
  kWaitBind = 10,
  kWaitUnbind = 11,
  kWakeup = 12,
};

enum class TraceFlag : uint32_t {
  kNoBegin = 1,
};

enum class CallRight : uint32_t {
  kSend = 1,
  kReceive = 2,
  kSendrec = 4,
  kNotify = 8,
  kRcvrqst = 16,
  kReply = 32,
  kRelay = 64,
  kVcopy = 128,
  kWaitBind = 256,
  kNotifySource = 512,
  kNotifyKernel = 1024,
  kPrivileges = 2048,
  kToDynamic = 536870912,
  kFromDynamic = 1073741824,
};

// Source, type and payload of a message. The core writes the source.
struct alignas(8) Message {
  int32_t source;
  int32_t type;
  uint8_t payload[56];
};
static_assert(sizeof(Message) == kMessageBytes);

// First bytes of a DC segment.
struct SegmentHeader {
  uint64_t magic;  // the bytes DVK-SEG and NUL
  uint32_t abi_version;  // ABI_VERSION
  uint32_t byte_order;  // 0x01020304 as the creator writes it
  uint64_t segment_bytes;  // size of the file
  uint64_t incarnation;  // random, new at each creation
  uint32_t dc_id;  // number of the DC in its DVS
  uint32_t node_id;  // node that this segment belongs to
  uint32_t processes;  // process slots
  uint32_t nodes;  // node slots
  uint64_t arena_bytes;  // multiple of the page size
  char dc_name[16];
  char dvs_name[16];
  uint32_t state;  // 1 running, 2 ended
  uint32_t trace;  // number of the trace session while somebody watches; 0: nobody
  uint64_t table_lock;  // owner of the table lock: pid in the low half, start time in the high half
  uint64_t monitor_wake;  // wake id of the node daemon, told of every bind
  uint32_t handed;  // futex word: raised when a slot is bound for another program
  uint32_t proxy_partner;  // slot, plus one, whose copy job the proxy holds; 0 none
  uint64_t migrating;  // bit n: there is something to do for MigrationSlot n
  uint64_t ticket;  // next place in a queue; on a cache line of its own
  uint64_t departures;  // how many processes of this node have gone
  int32_t warned;  // endpoint that KERNEL notifies of each, or NONE
  uint32_t warning;  // with this value
  uint8_t reserved2[104];  // zero
};
static_assert(sizeof(SegmentHeader) == 256);
static_assert(offsetof(SegmentHeader, magic) == 0);
static_assert(offsetof(SegmentHeader, abi_version) == 8);
static_assert(offsetof(SegmentHeader, byte_order) == 12);
static_assert(offsetof(SegmentHeader, segment_bytes) == 16);
static_assert(offsetof(SegmentHeader, incarnation) == 24);
static_assert(offsetof(SegmentHeader, dc_id) == 32);
static_assert(offsetof(SegmentHeader, node_id) == 36);
static_assert(offsetof(SegmentHeader, processes) == 40);
static_assert(offsetof(SegmentHeader, nodes) == 44);
static_assert(offsetof(SegmentHeader, arena_bytes) == 48);
static_assert(offsetof(SegmentHeader, dc_name) == 56);
static_assert(offsetof(SegmentHeader, dvs_name) == 72);
static_assert(offsetof(SegmentHeader, state) == 88);
static_assert(offsetof(SegmentHeader, trace) == 92);
static_assert(offsetof(SegmentHeader, table_lock) == 96);
static_assert(offsetof(SegmentHeader, monitor_wake) == 104);
static_assert(offsetof(SegmentHeader, handed) == 112);
static_assert(offsetof(SegmentHeader, proxy_partner) == 116);
static_assert(offsetof(SegmentHeader, migrating) == 120);
static_assert(offsetof(SegmentHeader, ticket) == 128);
static_assert(offsetof(SegmentHeader, departures) == 136);
static_assert(offsetof(SegmentHeader, warned) == 144);
static_assert(offsetof(SegmentHeader, warning) == 148);
static_assert(offsetof(SegmentHeader, reserved2) == 152);

// One process of a DC. Its slot is its index in the table, and the table never moves.
struct ProcessSlot {
  uint32_t life;  // futex word: ProcessLife
  uint32_t generation;  // of the present owner, or of the next one while free
  int32_t endpoint;  // address of the owner, NONE while free
  int32_t pid;  // owner, as seen by this host; of a remote one its backup here, or 0
  uint64_t start_time;  // of the owner, or its thread, in clock ticks since boot: tells a reused pid apart
  uint32_t node;  // node where the process lives
  uint32_t level;  // ProcessLevel
  uint32_t cpu;  // CPU it last ran on, plus one; 0 unknown
  uint32_t copy_partner;  // slot, plus one, whose copy job the owner holds; 0 none
  char name[16];
  uint64_t wake_id;  // names the FIFO that wakes an event loop; 0 for none
  uint32_t rendezvous;  // futex word: state, sequence and peer; see native/core/rendezvous.h
  uint32_t sleeping;  // 0 awake, 1 on the futex, 2 in an event loop; only the owner writes it
  int32_t want_source;  // whom the owner receives from
  uint32_t call_id;  // number of the present call; replies and acks must match
  uint64_t ticket;  // place in the queue of the destination
  uint32_t command_state;  // CommandState of `command`
  uint32_t remote_call;  // of a remote process: the command that its present call came with
  uint32_t wakeup;  // 1: a wakeup is pending
  uint32_t lends;  // 1: the owner takes part in copies of its memory while it waits; 2: where nobody else can
  uint64_t copy_job;  // state of such a copy; see native/core/copy_job.h
  uint32_t inbox_call0;  // call_id of the sendrec whose message is in inbox0
  uint32_t inbox_call1;  // ... in inbox1
  uint32_t async_busy;  // bit i: AsyncSlot i is in use; only the owner, and for a remote process the proxy, writes it
  int32_t thread;  // the slot lives as long as this thread of the owner; 0: as the program
  Message inbox0;  // a message handed over to the owner
  Message inbox1;  // the other buffer, used after one was given up to a stopped sender
  Message outbox0;  // a message of the owner, waiting to be taken
  Message outbox1;
  uint32_t command_kind;  // one of COMMANDS
  int32_t command_result;  // of an ack
  int32_t command_endpoint;  // destination
  int32_t command_requester;  // who asked for a copy
  int32_t source_endpoint;  // copy: source
  int32_t source_grant;  // copy: grant at the source, -1 for an address
  uint64_t source_at;  // copy: address, or offset in the grant
  int32_t destination_endpoint;  // copy: destination
  int32_t destination_grant;
  uint64_t destination_at;
  uint64_t copy_bytes;
  uint32_t command_call_id;  // call_id that the command belongs to
  uint32_t bind_flags;  // BindFlag
  uint64_t sent;  // messages sent to processes of this node
  uint64_t received;
  uint64_t sent_remote;
  uint64_t notified;  // notifications sent
  uint64_t copied_bytes;  // moved by vcopies that the process asked for
  uint64_t waits;  // times it slept
  uint64_t lent_bytes;  // moved by the owner itself for copies that others asked for
  uint64_t wait_ticket;  // tells the present wait from others, and which began last; 0: none yet
};
static_assert(sizeof(ProcessSlot) == 512);
static_assert(offsetof(ProcessSlot, life) == 0);
static_assert(offsetof(ProcessSlot, generation) == 4);
static_assert(offsetof(ProcessSlot, endpoint) == 8);
static_assert(offsetof(ProcessSlot, pid) == 12);
static_assert(offsetof(ProcessSlot, start_time) == 16);
static_assert(offsetof(ProcessSlot, node) == 24);
static_assert(offsetof(ProcessSlot, level) == 28);
static_assert(offsetof(ProcessSlot, cpu) == 32);
static_assert(offsetof(ProcessSlot, copy_partner) == 36);
static_assert(offsetof(ProcessSlot, name) == 40);
static_assert(offsetof(ProcessSlot, wake_id) == 56);
static_assert(offsetof(ProcessSlot, rendezvous) == 64);
static_assert(offsetof(ProcessSlot, sleeping) == 68);
static_assert(offsetof(ProcessSlot, want_source) == 72);
static_assert(offsetof(ProcessSlot, call_id) == 76);
static_assert(offsetof(ProcessSlot, ticket) == 80);
static_assert(offsetof(ProcessSlot, command_state) == 88);
static_assert(offsetof(ProcessSlot, remote_call) == 92);
static_assert(offsetof(ProcessSlot, wakeup) == 96);
static_assert(offsetof(ProcessSlot, lends) == 100);
static_assert(offsetof(ProcessSlot, copy_job) == 104);
static_assert(offsetof(ProcessSlot, inbox_call0) == 112);
static_assert(offsetof(ProcessSlot, inbox_call1) == 116);
static_assert(offsetof(ProcessSlot, async_busy) == 120);
static_assert(offsetof(ProcessSlot, thread) == 124);
static_assert(offsetof(ProcessSlot, inbox0) == 128);
static_assert(offsetof(ProcessSlot, inbox1) == 192);
static_assert(offsetof(ProcessSlot, outbox0) == 256);
static_assert(offsetof(ProcessSlot, outbox1) == 320);
static_assert(offsetof(ProcessSlot, command_kind) == 384);
static_assert(offsetof(ProcessSlot, command_result) == 388);
static_assert(offsetof(ProcessSlot, command_endpoint) == 392);
static_assert(offsetof(ProcessSlot, command_requester) == 396);
static_assert(offsetof(ProcessSlot, source_endpoint) == 400);
static_assert(offsetof(ProcessSlot, source_grant) == 404);
static_assert(offsetof(ProcessSlot, source_at) == 408);
static_assert(offsetof(ProcessSlot, destination_endpoint) == 416);
static_assert(offsetof(ProcessSlot, destination_grant) == 420);
static_assert(offsetof(ProcessSlot, destination_at) == 424);
static_assert(offsetof(ProcessSlot, copy_bytes) == 432);
static_assert(offsetof(ProcessSlot, command_call_id) == 440);
static_assert(offsetof(ProcessSlot, bind_flags) == 444);
static_assert(offsetof(ProcessSlot, sent) == 448);
static_assert(offsetof(ProcessSlot, received) == 456);
static_assert(offsetof(ProcessSlot, sent_remote) == 464);
static_assert(offsetof(ProcessSlot, notified) == 472);
static_assert(offsetof(ProcessSlot, copied_bytes) == 480);
static_assert(offsetof(ProcessSlot, waits) == 488);
static_assert(offsetof(ProcessSlot, lent_bytes) == 496);
static_assert(offsetof(ProcessSlot, wait_ticket) == 504);

// What a process may do; one for each slot.
struct PrivilegeSlot {
  uint32_t rights;  // CallRight bits: calls it may use, and whether dynamic slots may be peers
  uint32_t held;  // rights that the owner gets back when it has moved, or does not move; HELD_RIGHTS is set then
  uint64_t ipc_to;  // fixed slots to whose processes it may send, a bit each
  uint64_t ipc_from;  // fixed slots whose processes may send to it, a bit each
  uint8_t reserved1[8];  // zero
};
static_assert(sizeof(PrivilegeSlot) == 32);
static_assert(offsetof(PrivilegeSlot, rights) == 0);
static_assert(offsetof(PrivilegeSlot, held) == 4);
static_assert(offsetof(PrivilegeSlot, ipc_to) == 8);
static_assert(offsetof(PrivilegeSlot, ipc_from) == 16);
static_assert(offsetof(PrivilegeSlot, reserved1) == 24);

// Permission on a range of memory.
struct GrantSlot {
  uint32_t state;  // sequence in the upper 24 bits, rights (1 read, 2 write) in the lower 8; rights 0: free
  int32_t grantee;  // who may use it; ANY allowed
  uint64_t address;  // of the granter, or offset in the arena
  uint64_t bytes;
  uint32_t place;  // 0 private memory, 1 arena
  uint32_t reserved0;  // zero
};
static_assert(sizeof(GrantSlot) == 32);
static_assert(offsetof(GrantSlot, state) == 0);
static_assert(offsetof(GrantSlot, grantee) == 4);
static_assert(offsetof(GrantSlot, address) == 8);
static_assert(offsetof(GrantSlot, bytes) == 16);
static_assert(offsetof(GrantSlot, place) == 24);
static_assert(offsetof(GrantSlot, reserved0) == 28);

// A message of senda: on its way, or done.
struct AsyncSlot {
  uint64_t word;  // sequence, claimant or error, and state; see native/core/senda.h
  int32_t destination;  // endpoint
  uint32_t flags;  // AsyncFlag; 8: a notification, for who is looked for
  uint64_t ticket;  // order among the messages of senda
  uint32_t call_id;  // of a remote process: what the ack repeats
  uint8_t reserved0[36];  // zero
  Message message;
};
static_assert(sizeof(AsyncSlot) == 128);
static_assert(offsetof(AsyncSlot, word) == 0);
static_assert(offsetof(AsyncSlot, destination) == 8);
static_assert(offsetof(AsyncSlot, flags) == 12);
static_assert(offsetof(AsyncSlot, ticket) == 16);
static_assert(offsetof(AsyncSlot, call_id) == 24);
static_assert(offsetof(AsyncSlot, reserved0) == 28);
static_assert(offsetof(AsyncSlot, message) == 64);

// What the owner of a slot is asked to move while it waits.
struct CopyOrder {
  uint64_t address;  // in the private memory of the slot's owner
  uint64_t bytes;  // at most COPY_CHUNK_BYTES
  uint32_t direction;  // 0 reads that memory, 1 writes it; 2 more: nobody else can do it
  uint32_t error;  // why the owner gave an order back, and the sequence of that in the upper half
  uint64_t seal;  // ties the order to its job
  uint8_t reserved1[32];  // zero
  uint64_t moved;  // chunks that the requester has moved; on a cache line of its own
  uint8_t reserved2[56];  // zero
};
static_assert(sizeof(CopyOrder) == 128);
static_assert(offsetof(CopyOrder, address) == 0);
static_assert(offsetof(CopyOrder, bytes) == 8);
static_assert(offsetof(CopyOrder, direction) == 16);
static_assert(offsetof(CopyOrder, error) == 20);
static_assert(offsetof(CopyOrder, seal) == 24);
static_assert(offsetof(CopyOrder, reserved1) == 32);
static_assert(offsetof(CopyOrder, moved) == 64);
static_assert(offsetof(CopyOrder, reserved2) == 72);

// What this node knows of another node of the DC, and the state of the link to it.
struct LinkSlot {
  uint32_t state;  // LinkState
  uint32_t sleeping;  // low bits: 2 while the proxy waits for commands, 3 once told
  uint64_t wake_id;  // of the proxy
  int32_t proxy_pid;
  uint32_t session;  // raised at each connection
  uint64_t proxy_start_time;
  char name[16];  // of the node
  uint64_t sent;  // commands taken by the proxy
  uint64_t received;  // commands put by the proxy
  uint64_t sent_bytes;  // of copied data
  uint64_t received_bytes;
  uint64_t dropped;  // malformed or refused commands
  uint32_t copies_in_parts;  // 1: the peer takes copies in parts; see native/core/copy_parts.h
  uint8_t reserved0[36];  // zero
};
static_assert(sizeof(LinkSlot) == 128);
static_assert(offsetof(LinkSlot, state) == 0);
static_assert(offsetof(LinkSlot, sleeping) == 4);
static_assert(offsetof(LinkSlot, wake_id) == 8);
static_assert(offsetof(LinkSlot, proxy_pid) == 16);
static_assert(offsetof(LinkSlot, session) == 20);
static_assert(offsetof(LinkSlot, proxy_start_time) == 24);
static_assert(offsetof(LinkSlot, name) == 32);
static_assert(offsetof(LinkSlot, sent) == 48);
static_assert(offsetof(LinkSlot, received) == 56);
static_assert(offsetof(LinkSlot, sent_bytes) == 64);
static_assert(offsetof(LinkSlot, received_bytes) == 72);
static_assert(offsetof(LinkSlot, dropped) == 80);
static_assert(offsetof(LinkSlot, copies_in_parts) == 88);
static_assert(offsetof(LinkSlot, reserved0) == 92);

// A process of this node that has gone.
struct DepartureSlot {
  uint64_t number;  // of the departure, from 1; 0 while it is written
  int32_t endpoint;
  int32_t pid;
  int32_t status;  // 0: it unbound; -1: it ended, or was ended
  uint32_t level;  // ProcessLevel
  char name[16];
  uint8_t reserved0[24];  // zero
};
static_assert(sizeof(DepartureSlot) == 64);
static_assert(offsetof(DepartureSlot, number) == 0);
static_assert(offsetof(DepartureSlot, endpoint) == 8);
static_assert(offsetof(DepartureSlot, pid) == 12);
static_assert(offsetof(DepartureSlot, status) == 16);
static_assert(offsetof(DepartureSlot, level) == 20);
static_assert(offsetof(DepartureSlot, name) == 24);
static_assert(offsetof(DepartureSlot, reserved0) == 40);

// One allocation in the arena.
struct Extent {
  uint32_t pages;  // size in pages of 4 KiB; 0: free entry
  uint32_t first_page;
  int32_t owner;  // endpoint
  uint32_t reserved0;  // zero
};
static_assert(sizeof(Extent) == 16);
static_assert(offsetof(Extent, pages) == 0);
static_assert(offsetof(Extent, first_page) == 4);
static_assert(offsetof(Extent, owner) == 8);
static_assert(offsetof(Extent, reserved0) == 12);

// Who watches a DC on this node.
struct TraceHeader {
  uint32_t session;  // number of the present trace session, or of the last one
  uint32_t dirty;  // 1: rings have memory that a session left
  uint64_t lease;  // the session ends by itself at this time, in ns of CLOCK_MONOTONIC
  uint8_t reserved0[48];  // zero
};
static_assert(sizeof(TraceHeader) == 64);
static_assert(offsetof(TraceHeader, session) == 0);
static_assert(offsetof(TraceHeader, dirty) == 4);
static_assert(offsetof(TraceHeader, lease) == 8);
static_assert(offsetof(TraceHeader, reserved0) == 16);

// One of those who watch.
struct TraceWatcher {
  uint64_t lease;  // until when it watches, in ns of CLOCK_MONOTONIC; 0: free entry
};
static_assert(sizeof(TraceWatcher) == 8);
static_assert(offsetof(TraceWatcher, lease) == 0);

// Head of a ring: one for each slot, then one for the links.
struct TraceRing {
  uint64_t written;  // events begun since the segment was made; the next one goes to this place
  uint32_t session;  // the session for which the ring has memory
  uint32_t refused;  // the session for which there was none
  uint8_t reserved0[48];  // zero
};
static_assert(sizeof(TraceRing) == 64);
static_assert(offsetof(TraceRing, written) == 0);
static_assert(offsetof(TraceRing, session) == 8);
static_assert(offsetof(TraceRing, refused) == 12);
static_assert(offsetof(TraceRing, reserved0) == 16);

// What happened in IPC, without the contents of messages.
struct TraceEvent {
  uint32_t sequence;  // low half of its number in the ring, from 1 on
  uint32_t check;  // sum over the other words, see native/core/trace.cc: tells a torn event
  uint64_t time;  // in ns of CLOCK_MONOTONIC
  uint64_t duration;  // END, AWAKE: ns since its begin. BIND: the name begins here
  uint64_t bytes;  // of a copy, or of data on a link. BIND: second half of the name
  uint8_t kind;  // TraceKind
  uint8_t call;  // TraceCall
  uint8_t flags;  // TraceFlag
  uint8_t how;  // kind of a message received; SLEEP, WAKE: 1 futex, 2 FIFO; copy: 1 from peer, 2 to it, 3 both
  uint32_t cpu;  // where it happened
  int32_t endpoint;  // whose event; on a link the source of the command
  int32_t peer;  // destination, or source; as far as it is known
  int32_t type;  // of the message; a command; the destination of a copy between others
  uint32_t number;  // of the call or message, the same at both ends; 0: none
  int32_t result;  // zero or more, or a negative error; BIND: the pid
  uint32_t node;  // of a link, or of a process that is bound
};
static_assert(sizeof(TraceEvent) == 64);
static_assert(offsetof(TraceEvent, sequence) == 0);
static_assert(offsetof(TraceEvent, check) == 4);
static_assert(offsetof(TraceEvent, time) == 8);
static_assert(offsetof(TraceEvent, duration) == 16);
static_assert(offsetof(TraceEvent, bytes) == 24);
static_assert(offsetof(TraceEvent, kind) == 32);
static_assert(offsetof(TraceEvent, call) == 33);
static_assert(offsetof(TraceEvent, flags) == 34);
static_assert(offsetof(TraceEvent, how) == 35);
static_assert(offsetof(TraceEvent, cpu) == 36);
static_assert(offsetof(TraceEvent, endpoint) == 40);
static_assert(offsetof(TraceEvent, peer) == 44);
static_assert(offsetof(TraceEvent, type) == 48);
static_assert(offsetof(TraceEvent, number) == 52);
static_assert(offsetof(TraceEvent, result) == 56);
static_assert(offsetof(TraceEvent, node) == 60);

// What goes from one node to another.
struct Command {
  uint32_t kind;  // one of COMMANDS
  uint32_t dc_id;
  int32_t source;  // endpoint that the command comes from
  int32_t destination;  // endpoint that it goes to
  uint32_t source_node;
  uint32_t destination_node;
  int32_t result;  // of an ack: zero or more, or a negative error
  uint32_t call_id;  // of the call; an ack repeats it
  uint32_t payload_bytes;  // data that follows the command
  uint32_t level;  // PROCBIND, PROCINFO_ACK: ProcessLevel
  int32_t requester;  // copies: who asked
  uint32_t requester_node;
  int32_t copy_source;
  int32_t copy_source_grant;
  uint64_t copy_source_at;
  int32_t copy_destination;
  int32_t copy_destination_grant;
  uint64_t copy_destination_at;
  uint64_t copy_bytes;
  char name[16];  // PROCBIND, PROCINFO_ACK: name of the process
  uint32_t copy_destination_node;  // COPYRMT_RQST: node of the destination
  uint32_t answers;  // SEND_MSG, SNDREC_MSG: call of the destination that the source is to answer; COPYIN_DATA, COPYOUT_DATA: where in the copy the data begins; PROCINFO_ACK: BindFlag
  Message message;  // COPYRMT_RQST, COPYIN_RQST: a voucher of the proxies
};
static_assert(sizeof(Command) == 176);
static_assert(offsetof(Command, kind) == 0);
static_assert(offsetof(Command, dc_id) == 4);
static_assert(offsetof(Command, source) == 8);
static_assert(offsetof(Command, destination) == 12);
static_assert(offsetof(Command, source_node) == 16);
static_assert(offsetof(Command, destination_node) == 20);
static_assert(offsetof(Command, result) == 24);
static_assert(offsetof(Command, call_id) == 28);
static_assert(offsetof(Command, payload_bytes) == 32);
static_assert(offsetof(Command, level) == 36);
static_assert(offsetof(Command, requester) == 40);
static_assert(offsetof(Command, requester_node) == 44);
static_assert(offsetof(Command, copy_source) == 48);
static_assert(offsetof(Command, copy_source_grant) == 52);
static_assert(offsetof(Command, copy_source_at) == 56);
static_assert(offsetof(Command, copy_destination) == 64);
static_assert(offsetof(Command, copy_destination_grant) == 68);
static_assert(offsetof(Command, copy_destination_at) == 72);
static_assert(offsetof(Command, copy_bytes) == 80);
static_assert(offsetof(Command, name) == 88);
static_assert(offsetof(Command, copy_destination_node) == 104);
static_assert(offsetof(Command, answers) == 108);
static_assert(offsetof(Command, message) == 112);

// What a node knows of the move of a process; one for each fixed slot.
struct MigrationSlot {
  uint32_t state;  // MigrationState
  uint32_t serial;  // of the present migration, or the last one
  int32_t endpoint;  // who moves, or has moved
  uint32_t node;  // HELD: of the owner; GIVING, GIVEN: where it goes
  uint64_t deadline;  // STARTED: ends by itself at this time, in ns of CLOCK_MONOTONIC
  uint64_t ticket;  // place of its commands in the queues to other nodes
  uint64_t end_ticket;  // ... of MIGREND
  uint32_t stopped;  // serial of the migration for which the owner has stopped
  int32_t result;  // what the last one came to: 0 or a negative error
  uint32_t notices;  // MigrantNotices in the slot's stage, behind a Migrant
  uint32_t answer;  // MIGRSTART or MIGRATE, which is to be answered; 0: none
  uint32_t answer_to;  // node
  uint32_t answer_serial;
  int32_t answer_result;
  uint32_t claimed;  // HELD: node, plus one, that says it has the process; 0: none
  uint64_t answer_ticket;  // place of the answer in that queue
  uint8_t untold[128];  // a bit for each node that the present command is for
  uint8_t unanswered[128];  // ... that has not answered MIGRSTART
  uint8_t ended[128];  // ... that MIGREND is for
};
static_assert(sizeof(MigrationSlot) == 464);
static_assert(offsetof(MigrationSlot, state) == 0);
static_assert(offsetof(MigrationSlot, serial) == 4);
static_assert(offsetof(MigrationSlot, endpoint) == 8);
static_assert(offsetof(MigrationSlot, node) == 12);
static_assert(offsetof(MigrationSlot, deadline) == 16);
static_assert(offsetof(MigrationSlot, ticket) == 24);
static_assert(offsetof(MigrationSlot, end_ticket) == 32);
static_assert(offsetof(MigrationSlot, stopped) == 40);
static_assert(offsetof(MigrationSlot, result) == 44);
static_assert(offsetof(MigrationSlot, notices) == 48);
static_assert(offsetof(MigrationSlot, answer) == 52);
static_assert(offsetof(MigrationSlot, answer_to) == 56);
static_assert(offsetof(MigrationSlot, answer_serial) == 60);
static_assert(offsetof(MigrationSlot, answer_result) == 64);
static_assert(offsetof(MigrationSlot, claimed) == 68);
static_assert(offsetof(MigrationSlot, answer_ticket) == 72);
static_assert(offsetof(MigrationSlot, untold) == 80);
static_assert(offsetof(MigrationSlot, unanswered) == 208);
static_assert(offsetof(MigrationSlot, ended) == 336);

// What goes with a process to its new node.
struct Migrant {
  uint32_t rights;  // CallRight bits
  uint32_t reserved0;  // zero
  uint64_t ipc_to;
  uint64_t ipc_from;
  uint8_t reserved1[32];  // zero
};
static_assert(sizeof(Migrant) == 56);
static_assert(offsetof(Migrant, rights) == 0);
static_assert(offsetof(Migrant, reserved0) == 4);
static_assert(offsetof(Migrant, ipc_to) == 8);
static_assert(offsetof(Migrant, ipc_from) == 16);
static_assert(offsetof(Migrant, reserved1) == 24);

// A notification that waits at a process that moves.
struct MigrantNotice {
  int32_t source;  // endpoint, or KERNEL
  uint32_t node;  // of the source
  uint32_t value;
  uint32_t reserved0;  // zero
};
static_assert(sizeof(MigrantNotice) == 16);
static_assert(offsetof(MigrantNotice, source) == 0);
static_assert(offsetof(MigrantNotice, node) == 4);
static_assert(offsetof(MigrantNotice, value) == 8);
static_assert(offsetof(MigrantNotice, reserved0) == 12);

// Message of a PROBE.
struct Probe {
  int32_t initiator;  // endpoint of the process whose wait is looked into
  uint32_t initiator_node;
  uint32_t initiator_level;  // its ProcessLevel
  uint32_t stage;  // ProbeStage
  uint32_t call;  // SEND_MSG or SNDREC_MSG of the wait that it follows, NONE of a receive
  uint32_t hops;  // links that it may still cross, this one not counted
  uint32_t waits;  // waits that it has passed
  uint32_t sends;  // ... of those, the ones whose message was not taken
  uint64_t nonce;  // random, new each time: known to the nodes that it has come to
  uint64_t digest;  // of the waits that it has passed
  uint64_t ticket;  // of the wait that it follows, for the node of who waits
};
static_assert(sizeof(Probe) == 56);
static_assert(offsetof(Probe, initiator) == 0);
static_assert(offsetof(Probe, initiator_node) == 4);
static_assert(offsetof(Probe, initiator_level) == 8);
static_assert(offsetof(Probe, stage) == 12);
static_assert(offsetof(Probe, call) == 16);
static_assert(offsetof(Probe, hops) == 20);
static_assert(offsetof(Probe, waits) == 24);
static_assert(offsetof(Probe, sends) == 28);
static_assert(offsetof(Probe, nonce) == 32);
static_assert(offsetof(Probe, digest) == 40);
static_assert(offsetof(Probe, ticket) == 48);

// A wait of a process of this node for one of another node.
struct RemoteWait {
  int32_t waiter;  // endpoint
  int32_t target;  // endpoint of whom it waits for
  uint32_t node;  // of the target
  uint32_t call;  // SEND_MSG or SNDREC_MSG, NONE for a receive
  uint32_t call_id;  // number of that call, 0 for a receive
  uint32_t level;  // ProcessLevel of the waiter
  uint64_t ticket;  // tells the wait from all others of its node
  uint32_t waits;  // waits of this node on the path to it, itself included
  uint32_t sends;  // ... of those before it, the ones whose message was not taken
  uint64_t digest;  // of these waits
};
static_assert(sizeof(RemoteWait) == 48);
static_assert(offsetof(RemoteWait, waiter) == 0);
static_assert(offsetof(RemoteWait, target) == 4);
static_assert(offsetof(RemoteWait, node) == 8);
static_assert(offsetof(RemoteWait, call) == 12);
static_assert(offsetof(RemoteWait, call_id) == 16);
static_assert(offsetof(RemoteWait, level) == 20);
static_assert(offsetof(RemoteWait, ticket) == 24);
static_assert(offsetof(RemoteWait, waits) == 32);
static_assert(offsetof(RemoteWait, sends) == 36);
static_assert(offsetof(RemoteWait, digest) == 40);

// A wait until the node of an endpoint is found.
struct Search {
  int32_t seeker;  // endpoint of who waits
  uint32_t call_id;  // number of its call
  uint32_t slot;  // where the process that it looks for is bound
  int32_t endpoint;  // of that process; NONE: whoever has the slot
  uint32_t home;  // the one node that may have the slot; NODES_MAX: any may
};
static_assert(sizeof(Search) == 20);
static_assert(offsetof(Search, seeker) == 0);
static_assert(offsetof(Search, call_id) == 4);
static_assert(offsetof(Search, slot) == 8);
static_assert(offsetof(Search, endpoint) == 12);
static_assert(offsetof(Search, home) == 16);

}  // namespace dvk

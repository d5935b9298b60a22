/**
 * The ABI in one place: limits, errors, special endpoints, proxy commands and the layout of a DC's
 * segment.
 *
 * Data only, no imports. `generate.ts` writes native/core/abi.gen.h, src/dvk/abi/abi.gen.ts and
 * docs/wire.md from it, and `npm run check` fails when they differ. All numbers are little-endian
 * and naturally aligned; they are append-only, and a number that was once used is never given to
 * something else.
 */

/** Raised by every change of a layout below; a segment or a peer of another version is refused. */
export const ABI_VERSION = 4;

export const LIMITS = {
  MESSAGE_BYTES: [64, 'a message: source, type and 56 bytes of payload; one cache line'],
  NAME_BYTES: [16, 'names of processes, nodes, DCs and DVSs, NUL included'],
  PROCESSES_DEFAULT: [1024, 'process slots of a DC'],
  PROCESSES_MAX: [65536, 'process slots of a DC at most; a slot number has 16 bits'],
  SYSTEM_PROCESSES: [
    64,
    'slots 0 to 63 are fixed slots for servers; the others are shared out among nodes',
  ],
  NODES_DEFAULT: [32, 'nodes of a DC'],
  NODES_MAX: [1024, 'nodes of a DC at most'],
  GRANTS: [32, 'grants a process can hold at a time'],
  ASYNCS: [32, 'messages of senda that a process can have under way at a time'],
  STAGE_BYTES: [262144, 'stage of a process, through which it moves its own memory in a copy'],
  DEPARTURES: [256, 'processes that have gone, of which a node keeps record'],
  EXTENTS: [4096, 'arena allocations of a DC at a time'],
  ARENA_BYTES_DEFAULT: [
    1073741824,
    'arena of a DC; the file is sparse, so unused bytes cost nothing',
  ],
  COPY_CHUNK_BYTES: [1048576, 'most bytes of one copy command between nodes; bounds a frame'],
  COPY_BYTES_MAX: [1073741824, 'most bytes of one vcopy'],
  TRACE_EVENTS: [8192, 'events in a ring of the trace; older ones are overwritten'],
  TRACE_WATCHERS: [16, 'programs that can watch the trace of a DC on a node at a time'],
  TRACE_LEASE_MS: [3000, 'a watcher of the trace that is not heard of for this long is gone'],
  NOTIFY_TYPE: [0x1000, 'type of the message that a notification is received as'],
  NOTIFY_VALUE_MAX: [0xffffffff, 'value of a notification at most: 32 bits, merged by OR'],
  HELD_RIGHTS: [0x80000000, 'mark of rights that are held back, see PrivilegeSlot'],
  GENERATION_MAX: [32766, 'generations run from 0 to this and wrap; 32767 marks special endpoints'],
} as const;

/**
 * Special endpoints. Their generation, 32767, is never given to a process; the low half is M3-IPC's
 * own number.
 */
export const ENDPOINTS = {
  ANY: [0x7fff7ace, 'any source, in receive'],
  NONE: [0x7fff6ace, 'nobody'],
  SELF: [0x7fff8ace, 'the caller itself'],
  KERNEL: [-1, 'source of messages that the kernel makes'],
} as const;

/**
 * Errors beyond POSIX. 201 to 217 are MINIX's numbers; 301 to 352 are M3-IPC's (dvs_errno.h) with
 * the prefix EDVS. POSIX errors keep the names and numbers of the host.
 */
export const ERRORS = {
  ENOTREADY: [201, 'the destination is not ready to receive, and the caller would not wait'],
  EDEADSRCDST: [202, 'the endpoint belongs to no living process'],
  ELOCKED: [208, 'the call is, or would be, in a cycle of processes that wait for one another'],
  EBADCALL: [209, 'no such call'],
  ECALLDENIED: [210, 'the caller may not send to that process'],
  ETRAPDENIED: [211, 'the caller may not use that call'],
  EBADREQUEST: [212, 'the request is not one that this server understands'],
  ESRCDIED: [218, 'the process that was waited for died or unbound'],
  EDSTDIED: [219, 'the destination died or unbound before it took the message'],
  EDVSBADNODEID: [301, 'no such node'],
  EDVSBADDCID: [302, 'no such distributed container'],
  EDVSDCNOTRUN: [303, 'the distributed container is not running'],
  EDVSBADPROC: [304, 'no such process slot'],
  EDVSENDPOINT: [306, 'the endpoint cannot be used in this place'],
  EDVSNOPROXY: [307, 'no proxy serves that node'],
  EDVSRMTPROC: [308, 'the process is on another node'],
  EDVSLCLPROC: [309, 'the process is on this node'],
  EDVSNOTBOUND: [310, 'the process is not bound'],
  EDVSPROXYRUN: [311, 'another proxy serves that node'],
  EDVSNODCNODE: [319, 'the node is not a member of the distributed container'],
  EDVSPROCSTS: [324, 'the process is not in a state that allows this'],
  EDVSMIGRATING: [332, 'the process is moving to another node, or its backup is taking over'],
  EDVSSLOTUSED: [337, 'the process slot is taken'],
  EDVSWOKENUP: [348, 'the call was ended by wakeup'],
  EDVSBADDEST: [353, 'nobody can send there: it is the caller itself, or KERNEL'],
  EDVSGRANT: [354, 'no grant covers that access'],
  EDVSNOSLOT: [355, 'no process slot is free'],
  EDVSBADSEGMENT: [356, 'the file is no segment of this version, or is damaged'],
  EDVSBADFRAME: [357, 'a frame or command is malformed'],
  EDVSSTANDBY: [358, 'the process stands by for its primary on another node'],
  EDVSSHUTDOWN: [359, 'the process was asked to end by another one, which unbinds it'],
} as const;

/** Commands between nodes, M3-IPC's numbers (proxy_usr.h); an acknowledgement has ACK set. */
export const COMMANDS = {
  NONE: [0, 'keeps the link checked'],
  SEND_MSG: [1, 'a message from send; SEND_ACK follows when it was received'],
  NTFY_MSG: [2, 'a notification; its value begins the payload of the message; no answer'],
  SNDREC_MSG: [3, 'a message from sendrec; the answer is REPLY_MSG, or SNDREC_ACK with an error'],
  REPLY_MSG: [4, 'the reply to a sendrec; REPLY_ACK follows only when nobody waited for it'],
  COPYIN_DATA: [5, 'data for a process of the receiving node; COPYIN_ACK follows'],
  COPYOUT_RQST: [6, 'asks for data of the receiving node; COPYOUT_DATA (6 with ACK) carries it'],
  COPYLCL_RQST: [
    7,
    'asks for a copy between two processes of the receiving node; COPYLCL_ACK follows',
  ],
  COPYRMT_RQST: [
    8,
    'asks the source node to copy to a third node; COPYRMT_ACK comes from the destination',
  ],
  COPYIN_RQST: [9, 'the data of a COPYRMT_RQST, from source node to destination node'],
  HELLO: [10, 'first on a link: who speaks, which version, incarnation and session'],
  SHUTDOWN: [11, 'the sender leaves on purpose'],
  PROCINFO: [
    12,
    'asks who has the slot of the destination on the receiving node; ' +
      'PROCINFO_ACK has its endpoint, level and name, or an error',
  ],
  PROCBIND: [13, 'a process is bound on the sending node'],
  PROCUNBIND: [14, 'a process of the sending node is gone'],
  RELAY_MSG: [
    15,
    'in place of REPLY_MSG: the caller goes on with this request to the server in its source',
  ],
  ASYNC_MSG: [16, 'a message from senda; ASYNC_ACK follows when it was received, or cannot be'],
  PROBE: [17, 'looks for a cycle of waits that crosses nodes; its message is a Probe'],
  WITHDRAW: [18, 'the source waits no more in that call: its message, if nobody took it, is gone'],
  MIGRSTART: [19, 'a process of the sending node is to move: what is sent to it is kept back'],
  MIGRATE: [
    20,
    'gives a process to its backup there, with a Migrant and MigrantNotices; ' +
      'MIGRATE_ACK says where it is',
  ],
  MIGREND: [21, 'where the process is now: what was kept back goes there'],
  ACK: [0x2000, 'bit of an acknowledgement'],
} as const;

/**
 * A struct's fields in order: name, type, and what it holds. `x8` and so on are reserved bytes,
 * zero.
 */
export type FieldType = 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'name' | 'message' | `u8[${number}]`;
export type StructSchema = readonly (readonly [name: string, type: FieldType, doc: string])[];

const segmentHeader: StructSchema = [
  ['magic', 'u64', 'the bytes DVK-SEG and NUL'],
  ['abi_version', 'u32', 'ABI_VERSION'],
  ['byte_order', 'u32', '0x01020304 as the creator writes it'],
  ['segment_bytes', 'u64', 'size of the file'],
  ['incarnation', 'u64', 'random, new at each creation'],
  ['dc_id', 'u32', 'number of the DC in its DVS'],
  ['node_id', 'u32', 'node that this segment belongs to'],
  ['processes', 'u32', 'process slots'],
  ['nodes', 'u32', 'node slots'],
  ['arena_bytes', 'u64', 'multiple of the page size'],
  ['dc_name', 'name', ''],
  ['dvs_name', 'name', ''],
  ['state', 'u32', '1 running, 2 ended'],
  ['trace', 'u32', 'number of the trace session while somebody watches; 0: nobody'],
  [
    'table_lock',
    'u64',
    'owner of the table lock: pid in the low half, start time in the high half',
  ],
  ['monitor_wake', 'u64', 'wake id of the node daemon, told of every bind'],
  ['handed', 'u32', 'futex word: raised when a slot is bound for another program'],
  ['proxy_partner', 'u32', 'slot, plus one, whose copy job the proxy holds; 0 none'],
  ['migrating', 'u64', 'bit n: there is something to do for MigrationSlot n'],
  ['ticket', 'u64', 'next place in a queue; on a cache line of its own'],
  ['departures', 'u64', 'how many processes of this node have gone'],
  ['warned', 'i32', 'endpoint that KERNEL notifies of each, or NONE'],
  ['warning', 'u32', 'with this value'],
  ['reserved2', 'u8[104]', 'zero'],
];

const processSlot: StructSchema = [
  ['life', 'u32', 'futex word: ProcessLife'],
  ['generation', 'u32', 'of the present owner, or of the next one while free'],
  ['endpoint', 'i32', 'address of the owner, NONE while free'],
  ['pid', 'i32', 'owner, as seen by this host; of a remote one its backup here, or 0'],
  [
    'start_time',
    'u64',
    'of the owner, or its thread, in clock ticks since boot: tells a reused pid apart',
  ],
  ['node', 'u32', 'node where the process lives'],
  ['level', 'u32', 'ProcessLevel'],
  ['cpu', 'u32', 'CPU it last ran on, plus one; 0 unknown'],
  ['copy_partner', 'u32', 'slot, plus one, whose copy job the owner holds; 0 none'],
  ['name', 'name', ''],
  ['wake_id', 'u64', 'names the FIFO that wakes an event loop; 0 for none'],

  ['rendezvous', 'u32', 'futex word: state, sequence and peer; see native/core/rendezvous.h'],
  ['sleeping', 'u32', '0 awake, 1 on the futex, 2 in an event loop; only the owner writes it'],
  ['want_source', 'i32', 'whom the owner receives from'],
  ['call_id', 'u32', 'number of the present call; replies and acks must match'],
  ['ticket', 'u64', 'place in the queue of the destination'],
  ['command_state', 'u32', 'CommandState of `command`'],
  ['remote_call', 'u32', 'of a remote process: the command that its present call came with'],
  ['wakeup', 'u32', '1: a wakeup is pending'],
  [
    'lends',
    'u32',
    '1: the owner takes part in copies of its memory while it waits; 2: where nobody else can',
  ],
  ['copy_job', 'u64', 'state of such a copy; see native/core/copy_job.h'],
  ['inbox_call0', 'u32', 'call_id of the sendrec whose message is in inbox0'],
  ['inbox_call1', 'u32', '... in inbox1'],
  [
    'async_busy',
    'u32',
    'bit i: AsyncSlot i is in use; only the owner, and for a remote process the proxy, writes it',
  ],
  ['thread', 'i32', 'the slot lives as long as this thread of the owner; 0: as the program'],

  ['inbox0', 'message', 'a message handed over to the owner'],
  ['inbox1', 'message', 'the other buffer, used after one was given up to a stopped sender'],
  ['outbox0', 'message', 'a message of the owner, waiting to be taken'],
  ['outbox1', 'message', ''],

  ['command_kind', 'u32', 'one of COMMANDS'],
  ['command_result', 'i32', 'of an ack'],
  ['command_endpoint', 'i32', 'destination'],
  ['command_requester', 'i32', 'who asked for a copy'],
  ['source_endpoint', 'i32', 'copy: source'],
  ['source_grant', 'i32', 'copy: grant at the source, -1 for an address'],
  ['source_at', 'u64', 'copy: address, or offset in the grant'],
  ['destination_endpoint', 'i32', 'copy: destination'],
  ['destination_grant', 'i32', ''],
  ['destination_at', 'u64', ''],
  ['copy_bytes', 'u64', ''],
  ['command_call_id', 'u32', 'call_id that the command belongs to'],
  ['bind_flags', 'u32', 'BindFlag'],

  ['sent', 'u64', 'messages sent to processes of this node'],
  ['received', 'u64', ''],
  ['sent_remote', 'u64', ''],
  ['notified', 'u64', 'notifications sent'],
  ['copied_bytes', 'u64', 'moved by vcopies that the process asked for'],
  ['waits', 'u64', 'times it slept'],
  ['lent_bytes', 'u64', 'moved by the owner itself for copies that others asked for'],
  ['wait_ticket', 'u64', 'tells the present wait from others, and which began last; 0: none yet'],
];

const grantSlot: StructSchema = [
  [
    'state',
    'u32',
    'sequence in the upper 24 bits, rights (1 read, 2 write) in the lower 8; rights 0: free',
  ],
  ['grantee', 'i32', 'who may use it; ANY allowed'],
  ['address', 'u64', 'of the granter, or offset in the arena'],
  ['bytes', 'u64', ''],
  ['place', 'u32', '0 private memory, 1 arena'],
  ['reserved0', 'u32', 'zero'],
];

const asyncSlot: StructSchema = [
  ['word', 'u64', 'sequence, claimant or error, and state; see native/core/senda.h'],
  ['destination', 'i32', 'endpoint'],
  ['flags', 'u32', 'AsyncFlag; 8: a notification, for who is looked for'],
  ['ticket', 'u64', 'order among the messages of senda'],
  ['call_id', 'u32', 'of a remote process: what the ack repeats'],
  ['reserved0', 'u8[36]', 'zero'],
  ['message', 'message', ''],
];

const copyOrder: StructSchema = [
  ['address', 'u64', "in the private memory of the slot's owner"],
  ['bytes', 'u64', 'at most COPY_CHUNK_BYTES'],
  ['direction', 'u32', '0 reads that memory, 1 writes it; 2 more: nobody else can do it'],
  ['error', 'u32', 'why the owner gave an order back, and the sequence of that in the upper half'],
  ['seal', 'u64', 'ties the order to its job'],
  ['reserved1', 'u8[32]', 'zero'],
  ['moved', 'u64', 'chunks that the requester has moved; on a cache line of its own'],
  ['reserved2', 'u8[56]', 'zero'],
];

const privilegeSlot: StructSchema = [
  ['rights', 'u32', 'CallRight bits: calls it may use, and whether dynamic slots may be peers'],
  [
    'held',
    'u32',
    'rights that the owner gets back when it has moved, or does not move; HELD_RIGHTS is set then',
  ],
  ['ipc_to', 'u64', 'fixed slots to whose processes it may send, a bit each'],
  ['ipc_from', 'u64', 'fixed slots whose processes may send to it, a bit each'],
  ['reserved1', 'u8[8]', 'zero'],
];

const migrationSlot: StructSchema = [
  ['state', 'u32', 'MigrationState'],
  ['serial', 'u32', 'of the present migration, or the last one'],
  ['endpoint', 'i32', 'who moves, or has moved'],
  ['node', 'u32', 'HELD: of the owner; GIVING, GIVEN: where it goes'],
  ['deadline', 'u64', 'STARTED: ends by itself at this time, in ns of CLOCK_MONOTONIC'],
  ['ticket', 'u64', 'place of its commands in the queues to other nodes'],
  ['end_ticket', 'u64', '... of MIGREND'],
  ['stopped', 'u32', 'serial of the migration for which the owner has stopped'],
  ['result', 'i32', 'what the last one came to: 0 or a negative error'],
  ['notices', 'u32', "MigrantNotices in the slot's stage, behind a Migrant"],
  ['answer', 'u32', 'MIGRSTART or MIGRATE, which is to be answered; 0: none'],
  ['answer_to', 'u32', 'node'],
  ['answer_serial', 'u32', ''],
  ['answer_result', 'i32', ''],
  ['claimed', 'u32', 'HELD: node, plus one, that says it has the process; 0: none'],
  ['answer_ticket', 'u64', 'place of the answer in that queue'],
  ['untold', 'u8[128]', 'a bit for each node that the present command is for'],
  ['unanswered', 'u8[128]', '... that has not answered MIGRSTART'],
  ['ended', 'u8[128]', '... that MIGREND is for'],
];

const linkSlot: StructSchema = [
  ['state', 'u32', 'LinkState'],
  ['sleeping', 'u32', 'low bits: 2 while the proxy waits for commands, 3 once told'],
  ['wake_id', 'u64', 'of the proxy'],
  ['proxy_pid', 'i32', ''],
  ['session', 'u32', 'raised at each connection'],
  ['proxy_start_time', 'u64', ''],
  ['name', 'name', 'of the node'],
  ['sent', 'u64', 'commands taken by the proxy'],
  ['received', 'u64', 'commands put by the proxy'],
  ['sent_bytes', 'u64', 'of copied data'],
  ['received_bytes', 'u64', ''],
  ['dropped', 'u64', 'malformed or refused commands'],
  ['copies_in_parts', 'u32', '1: the peer takes copies in parts; see native/core/copy_parts.h'],
  ['reserved0', 'u8[36]', 'zero'],
];

const extent: StructSchema = [
  ['pages', 'u32', 'size in pages of 4 KiB; 0: free entry'],
  ['first_page', 'u32', ''],
  ['owner', 'i32', 'endpoint'],
  ['reserved0', 'u32', 'zero'],
];

const traceHeader: StructSchema = [
  ['session', 'u32', 'number of the present trace session, or of the last one'],
  ['dirty', 'u32', '1: rings have memory that a session left'],
  ['lease', 'u64', 'the session ends by itself at this time, in ns of CLOCK_MONOTONIC'],
  ['reserved0', 'u8[48]', 'zero'],
];

const traceWatcher: StructSchema = [
  ['lease', 'u64', 'until when it watches, in ns of CLOCK_MONOTONIC; 0: free entry'],
];

const traceRing: StructSchema = [
  ['written', 'u64', 'events begun since the segment was made; the next one goes to this place'],
  ['session', 'u32', 'the session for which the ring has memory'],
  ['refused', 'u32', 'the session for which there was none'],
  ['reserved0', 'u8[48]', 'zero'],
];

const traceEvent: StructSchema = [
  ['sequence', 'u32', 'low half of its number in the ring, from 1 on'],
  ['check', 'u32', 'sum over the other words, see native/core/trace.cc: tells a torn event'],
  ['time', 'u64', 'in ns of CLOCK_MONOTONIC'],
  ['duration', 'u64', 'END, AWAKE: ns since its begin. BIND: the name begins here'],
  ['bytes', 'u64', 'of a copy, or of data on a link. BIND: second half of the name'],
  ['kind', 'u8', 'TraceKind'],
  ['call', 'u8', 'TraceCall'],
  ['flags', 'u8', 'TraceFlag'],
  [
    'how',
    'u8',
    'kind of a message received; SLEEP, WAKE: 1 futex, 2 FIFO; copy: 1 from peer, 2 to it, 3 both',
  ],
  ['cpu', 'u32', 'where it happened'],
  ['endpoint', 'i32', 'whose event; on a link the source of the command'],
  ['peer', 'i32', 'destination, or source; as far as it is known'],
  ['type', 'i32', 'of the message; a command; the destination of a copy between others'],
  ['number', 'u32', 'of the call or message, the same at both ends; 0: none'],
  ['result', 'i32', 'zero or more, or a negative error; BIND: the pid'],
  ['node', 'u32', 'of a link, or of a process that is bound'],
];

/** A command as it crosses the boundary between core and proxy, and the wire. */
const command: StructSchema = [
  ['kind', 'u32', 'one of COMMANDS'],
  ['dc_id', 'u32', ''],
  ['source', 'i32', 'endpoint that the command comes from'],
  ['destination', 'i32', 'endpoint that it goes to'],
  ['source_node', 'u32', ''],
  ['destination_node', 'u32', ''],
  ['result', 'i32', 'of an ack: zero or more, or a negative error'],
  ['call_id', 'u32', 'of the call; an ack repeats it'],
  ['payload_bytes', 'u32', 'data that follows the command'],
  ['level', 'u32', 'PROCBIND, PROCINFO_ACK: ProcessLevel'],
  ['requester', 'i32', 'copies: who asked'],
  ['requester_node', 'u32', ''],
  ['copy_source', 'i32', ''],
  ['copy_source_grant', 'i32', ''],
  ['copy_source_at', 'u64', ''],
  ['copy_destination', 'i32', ''],
  ['copy_destination_grant', 'i32', ''],
  ['copy_destination_at', 'u64', ''],
  ['copy_bytes', 'u64', ''],
  ['name', 'name', 'PROCBIND, PROCINFO_ACK: name of the process'],
  ['copy_destination_node', 'u32', 'COPYRMT_RQST: node of the destination'],
  [
    'answers',
    'u32',
    'SEND_MSG, SNDREC_MSG: call of the destination that the source is to answer; ' +
      'COPYIN_DATA, COPYOUT_DATA: where in the copy the data begins; PROCINFO_ACK: BindFlag',
  ],
  ['message', 'message', 'COPYRMT_RQST, COPYIN_RQST: a voucher of the proxies'],
];

/** The message of a PROBE; see src/proxies/prober.ts. */
const probe: StructSchema = [
  ['initiator', 'i32', 'endpoint of the process whose wait is looked into'],
  ['initiator_node', 'u32', ''],
  ['initiator_level', 'u32', 'its ProcessLevel'],
  ['stage', 'u32', 'ProbeStage'],
  ['call', 'u32', 'SEND_MSG or SNDREC_MSG of the wait that it follows, NONE of a receive'],
  ['hops', 'u32', 'links that it may still cross, this one not counted'],
  ['waits', 'u32', 'waits that it has passed'],
  ['sends', 'u32', '... of those, the ones whose message was not taken'],
  ['nonce', 'u64', 'random, new each time: known to the nodes that it has come to'],
  ['digest', 'u64', 'of the waits that it has passed'],
  ['ticket', 'u64', 'of the wait that it follows, for the node of who waits'],
];

/** The message of a MIGRATE, and the first bytes of the stage of a process that moves. */
const migrant: StructSchema = [
  ['rights', 'u32', 'CallRight bits'],
  ['reserved0', 'u32', 'zero'],
  ['ipc_to', 'u64', ''],
  ['ipc_from', 'u64', ''],
  ['reserved1', 'u8[32]', 'zero'],
];

const migrantNotice: StructSchema = [
  ['source', 'i32', 'endpoint, or KERNEL'],
  ['node', 'u32', 'of the source'],
  ['value', 'u32', ''],
  ['reserved0', 'u32', 'zero'],
];

const departureSlot: StructSchema = [
  ['number', 'u64', 'of the departure, from 1; 0 while it is written'],
  ['endpoint', 'i32', ''],
  ['pid', 'i32', ''],
  ['status', 'i32', '0: it unbound; -1: it ended, or was ended'],
  ['level', 'u32', 'ProcessLevel'],
  ['name', 'name', ''],
  ['reserved0', 'u8[24]', 'zero'],
];

/** What the core tells the proxy of a process that waits for one of another node. */
const remoteWait: StructSchema = [
  ['waiter', 'i32', 'endpoint'],
  ['target', 'i32', 'endpoint of whom it waits for'],
  ['node', 'u32', 'of the target'],
  ['call', 'u32', 'SEND_MSG or SNDREC_MSG, NONE for a receive'],
  ['call_id', 'u32', 'number of that call, 0 for a receive'],
  ['level', 'u32', 'ProcessLevel of the waiter'],
  ['ticket', 'u64', 'tells the wait from all others of its node'],
  ['waits', 'u32', 'waits of this node on the path to it, itself included'],
  ['sends', 'u32', '... of those before it, the ones whose message was not taken'],
  ['digest', 'u64', 'of these waits'],
];

/** What the core tells the proxy of a process that waits until another one is found. */
const search: StructSchema = [
  ['seeker', 'i32', 'endpoint of who waits'],
  ['call_id', 'u32', 'number of its call'],
  ['slot', 'u32', 'where the process that it looks for is bound'],
  ['endpoint', 'i32', 'of that process; NONE: whoever has the slot'],
  ['home', 'u32', 'the one node that may have the slot; NODES_MAX: any may'],
];

/** Name and exact size of every struct; the generators assert size and offsets on both sides. */
export const STRUCTS = {
  SegmentHeader: [256, segmentHeader, 'First bytes of a DC segment.'],
  ProcessSlot: [
    512,
    processSlot,
    'One process of a DC. Its slot is its index in the table, and the table never moves.',
  ],
  PrivilegeSlot: [32, privilegeSlot, 'What a process may do; one for each slot.'],
  GrantSlot: [32, grantSlot, 'Permission on a range of memory.'],
  AsyncSlot: [128, asyncSlot, 'A message of senda: on its way, or done.'],
  CopyOrder: [128, copyOrder, 'What the owner of a slot is asked to move while it waits.'],
  LinkSlot: [
    128,
    linkSlot,
    'What this node knows of another node of the DC, and the state of the link to it.',
  ],
  DepartureSlot: [64, departureSlot, 'A process of this node that has gone.'],
  Extent: [16, extent, 'One allocation in the arena.'],
  TraceHeader: [64, traceHeader, 'Who watches a DC on this node.'],
  TraceWatcher: [8, traceWatcher, 'One of those who watch.'],
  TraceRing: [64, traceRing, 'Head of a ring: one for each slot, then one for the links.'],
  TraceEvent: [64, traceEvent, 'What happened in IPC, without the contents of messages.'],
  Command: [176, command, 'What goes from one node to another.'],
  MigrationSlot: [
    464,
    migrationSlot,
    'What a node knows of the move of a process; one for each fixed slot.',
  ],
  Migrant: [56, migrant, 'What goes with a process to its new node.'],
  MigrantNotice: [16, migrantNotice, 'A notification that waits at a process that moves.'],
  Probe: [56, probe, 'Message of a PROBE.'],
  RemoteWait: [48, remoteWait, 'A wait of a process of this node for one of another node.'],
  Search: [20, search, 'A wait until the node of an endpoint is found.'],
} as const satisfies Record<string, readonly [number, StructSchema, string]>;

export const CONSTANTS = {
  ProcessLife: { FREE: 0, BINDING: 1, LOCAL: 2, REMOTE: 3, DYING: 4, ARRIVING: 5 },
  ProcessLevel: { USER: 0, SERVER: 1, KERNEL: 2 },
  BindFlag: { HANDED: 1, REPLICA: 2, BACKUP: 4, NOMIGRATE: 8 },
  MigrationState: { NONE: 0, STARTED: 1, GIVING: 2, GIVEN: 3, HELD: 4 },
  LinkState: { ABSENT: 0, DOWN: 1, UP: 2, LOCAL: 3 },
  CommandState: { NONE: 0, QUEUED: 1, TAKEN: 2 },
  ProbeStage: { FOLLOW: 0, ASK: 1, ECHO: 2 },
  GrantRight: { READ: 1, WRITE: 2 },
  AsyncFlag: { NOTIFY: 1, NOTIFY_ERROR: 2, FORGET: 4 },
  TraceKind: {
    BEGIN: 1,
    END: 2,
    SLEEP: 3,
    AWAKE: 4,
    WAKE: 5,
    FOLLOW: 6,
    ASYNC_DONE: 7,
    BIND: 8,
    UNBIND: 9,
    REAP: 10,
    LINK_OUT: 11,
    LINK_IN: 12,
    LINK_UP: 13,
    LINK_DOWN: 14,
  },
  TraceCall: {
    NONE: 0,
    SEND: 1,
    RECEIVE: 2,
    SENDREC: 3,
    RCVRQST: 4,
    REPLY: 5,
    RELAY: 6,
    NOTIFY: 7,
    SENDA: 8,
    VCOPY: 9,
    WAIT_BIND: 10,
    WAIT_UNBIND: 11,
    WAKEUP: 12,
  },
  TraceFlag: { NO_BEGIN: 1 },
  CallRight: {
    SEND: 1,
    RECEIVE: 2,
    SENDREC: 4,
    NOTIFY: 8,
    RCVRQST: 16,
    REPLY: 32,
    RELAY: 64,
    VCOPY: 128,
    WAIT_BIND: 256,
    NOTIFY_SOURCE: 512,
    NOTIFY_KERNEL: 1024,
    PRIVILEGES: 2048,
    TO_DYNAMIC: 0x20000000,
    FROM_DYNAMIC: 0x40000000,
  },
} as const;

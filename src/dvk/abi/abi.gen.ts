// Generated from schema.ts by generate.ts; edit the schema.

export const ABI_VERSION = 4;

/** Sizes and counts. */
export const Limit = {
  /** a message: source, type and 56 bytes of payload; one cache line */
  MESSAGE_BYTES: 64,
  /** names of processes, nodes, DCs and DVSs, NUL included */
  NAME_BYTES: 16,
  /** process slots of a DC */
  PROCESSES_DEFAULT: 1024,
  /** process slots of a DC at most; a slot number has 16 bits */
  PROCESSES_MAX: 65536,
  /** slots 0 to 63 are fixed slots for servers; the others are shared out among nodes */
  SYSTEM_PROCESSES: 64,
  /** nodes of a DC */
  NODES_DEFAULT: 32,
  /** nodes of a DC at most */
  NODES_MAX: 1024,
  /** grants a process can hold at a time */
  GRANTS: 32,
  /** messages of senda that a process can have under way at a time */
  ASYNCS: 32,
  /** stage of a process, through which it moves its own memory in a copy */
  STAGE_BYTES: 262144,
  /** processes that have gone, of which a node keeps record */
  DEPARTURES: 256,
  /** arena allocations of a DC at a time */
  EXTENTS: 4096,
  /** arena of a DC; the file is sparse, so unused bytes cost nothing */
  ARENA_BYTES_DEFAULT: 1073741824,
  /** most bytes of one copy command between nodes; bounds a frame */
  COPY_CHUNK_BYTES: 1048576,
  /** most bytes of one vcopy */
  COPY_BYTES_MAX: 1073741824,
  /** events in a ring of the trace; older ones are overwritten */
  TRACE_EVENTS: 8192,
  /** programs that can watch the trace of a DC on a node at a time */
  TRACE_WATCHERS: 16,
  /** a watcher of the trace that is not heard of for this long is gone */
  TRACE_LEASE_MS: 3000,
  /** type of the message that a notification is received as */
  NOTIFY_TYPE: 4096,
  /** value of a notification at most: 32 bits, merged by OR */
  NOTIFY_VALUE_MAX: 4294967295,
  /** mark of rights that are held back, see PrivilegeSlot */
  HELD_RIGHTS: 2147483648,
  /** generations run from 0 to this and wrap; 32767 marks special endpoints */
  GENERATION_MAX: 32766,
} as const;

/** Endpoints that are no process. */
export const SpecialEndpoint = {
  /** any source, in receive */
  ANY: 2147449550,
  /** nobody */
  NONE: 2147445454,
  /** the caller itself */
  SELF: 2147453646,
  /** source of messages that the kernel makes */
  KERNEL: -1,
} as const;

/** Errors beyond POSIX. */
export const ErrorNumber = {
  /** the destination is not ready to receive, and the caller would not wait */
  ENOTREADY: 201,
  /** the endpoint belongs to no living process */
  EDEADSRCDST: 202,
  /** the call is, or would be, in a cycle of processes that wait for one another */
  ELOCKED: 208,
  /** no such call */
  EBADCALL: 209,
  /** the caller may not send to that process */
  ECALLDENIED: 210,
  /** the caller may not use that call */
  ETRAPDENIED: 211,
  /** the request is not one that this server understands */
  EBADREQUEST: 212,
  /** the process that was waited for died or unbound */
  ESRCDIED: 218,
  /** the destination died or unbound before it took the message */
  EDSTDIED: 219,
  /** no such node */
  EDVSBADNODEID: 301,
  /** no such distributed container */
  EDVSBADDCID: 302,
  /** the distributed container is not running */
  EDVSDCNOTRUN: 303,
  /** no such process slot */
  EDVSBADPROC: 304,
  /** the endpoint cannot be used in this place */
  EDVSENDPOINT: 306,
  /** no proxy serves that node */
  EDVSNOPROXY: 307,
  /** the process is on another node */
  EDVSRMTPROC: 308,
  /** the process is on this node */
  EDVSLCLPROC: 309,
  /** the process is not bound */
  EDVSNOTBOUND: 310,
  /** another proxy serves that node */
  EDVSPROXYRUN: 311,
  /** the node is not a member of the distributed container */
  EDVSNODCNODE: 319,
  /** the process is not in a state that allows this */
  EDVSPROCSTS: 324,
  /** the process is moving to another node, or its backup is taking over */
  EDVSMIGRATING: 332,
  /** the process slot is taken */
  EDVSSLOTUSED: 337,
  /** the call was ended by wakeup */
  EDVSWOKENUP: 348,
  /** nobody can send there: it is the caller itself, or KERNEL */
  EDVSBADDEST: 353,
  /** no grant covers that access */
  EDVSGRANT: 354,
  /** no process slot is free */
  EDVSNOSLOT: 355,
  /** the file is no segment of this version, or is damaged */
  EDVSBADSEGMENT: 356,
  /** a frame or command is malformed */
  EDVSBADFRAME: 357,
  /** the process stands by for its primary on another node */
  EDVSSTANDBY: 358,
  /** the process was asked to end by another one, which unbinds it */
  EDVSSHUTDOWN: 359,
} as const;

/** Commands between nodes. */
export const CommandKind = {
  /** keeps the link checked */
  NONE: 0,
  /** a message from send; SEND_ACK follows when it was received */
  SEND_MSG: 1,
  /** a notification; its value begins the payload of the message; no answer */
  NTFY_MSG: 2,
  /** a message from sendrec; the answer is REPLY_MSG, or SNDREC_ACK with an error */
  SNDREC_MSG: 3,
  /** the reply to a sendrec; REPLY_ACK follows only when nobody waited for it */
  REPLY_MSG: 4,
  /** data for a process of the receiving node; COPYIN_ACK follows */
  COPYIN_DATA: 5,
  /** asks for data of the receiving node; COPYOUT_DATA (6 with ACK) carries it */
  COPYOUT_RQST: 6,
  /** asks for a copy between two processes of the receiving node; COPYLCL_ACK follows */
  COPYLCL_RQST: 7,
  /** asks the source node to copy to a third node; COPYRMT_ACK comes from the destination */
  COPYRMT_RQST: 8,
  /** the data of a COPYRMT_RQST, from source node to destination node */
  COPYIN_RQST: 9,
  /** first on a link: who speaks, which version, incarnation and session */
  HELLO: 10,
  /** the sender leaves on purpose */
  SHUTDOWN: 11,
  /** asks who has the slot of the destination on the receiving node; PROCINFO_ACK has its endpoint, level and name, or an error */
  PROCINFO: 12,
  /** a process is bound on the sending node */
  PROCBIND: 13,
  /** a process of the sending node is gone */
  PROCUNBIND: 14,
  /** in place of REPLY_MSG: the caller goes on with this request to the server in its source */
  RELAY_MSG: 15,
  /** a message from senda; ASYNC_ACK follows when it was received, or cannot be */
  ASYNC_MSG: 16,
  /** looks for a cycle of waits that crosses nodes; its message is a Probe */
  PROBE: 17,
  /** the source waits no more in that call: its message, if nobody took it, is gone */
  WITHDRAW: 18,
  /** a process of the sending node is to move: what is sent to it is kept back */
  MIGRSTART: 19,
  /** gives a process to its backup there, with a Migrant and MigrantNotices; MIGRATE_ACK says where it is */
  MIGRATE: 20,
  /** where the process is now: what was kept back goes there */
  MIGREND: 21,
  /** bit of an acknowledgement */
  ACK: 8192,
} as const;

/** Values of ProcessLife. */
export const ProcessLife = {
  FREE: 0,
  BINDING: 1,
  LOCAL: 2,
  REMOTE: 3,
  DYING: 4,
  ARRIVING: 5,
} as const;

export type ProcessLife = (typeof ProcessLife)[keyof typeof ProcessLife];

/** Values of ProcessLevel. */
export const ProcessLevel = {
  USER: 0,
  SERVER: 1,
  KERNEL: 2,
} as const;

export type ProcessLevel = (typeof ProcessLevel)[keyof typeof ProcessLevel];

/** Values of BindFlag. */
export const BindFlag = {
  HANDED: 1,
  REPLICA: 2,
  BACKUP: 4,
  NOMIGRATE: 8,
} as const;

export type BindFlag = (typeof BindFlag)[keyof typeof BindFlag];

/** Values of MigrationState. */
export const MigrationState = {
  NONE: 0,
  STARTED: 1,
  GIVING: 2,
  GIVEN: 3,
  HELD: 4,
} as const;

export type MigrationState = (typeof MigrationState)[keyof typeof MigrationState];

/** Values of LinkState. */
export const LinkState = {
  ABSENT: 0,
  DOWN: 1,
  UP: 2,
  LOCAL: 3,
} as const;

export type LinkState = (typeof LinkState)[keyof typeof LinkState];

/** Values of CommandState. */
export const CommandState = {
  NONE: 0,
  QUEUED: 1,
  TAKEN: 2,
} as const;

export type CommandState = (typeof CommandState)[keyof typeof CommandState];

/** Values of ProbeStage. */
export const ProbeStage = {
  FOLLOW: 0,
  ASK: 1,
  ECHO: 2,
} as const;

export type ProbeStage = (typeof ProbeStage)[keyof typeof ProbeStage];

/** Values of GrantRight. */
export const GrantRight = {
  READ: 1,
  WRITE: 2,
} as const;

export type GrantRight = (typeof GrantRight)[keyof typeof GrantRight];

/** Values of AsyncFlag. */
export const AsyncFlag = {
  NOTIFY: 1,
  NOTIFY_ERROR: 2,
  FORGET: 4,
} as const;

export type AsyncFlag = (typeof AsyncFlag)[keyof typeof AsyncFlag];

/** Values of TraceKind. */
export const TraceKind = {
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
} as const;

export type TraceKind = (typeof TraceKind)[keyof typeof TraceKind];

/** Values of TraceCall. */
export const TraceCall = {
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
} as const;

export type TraceCall = (typeof TraceCall)[keyof typeof TraceCall];

/** Values of TraceFlag. */
export const TraceFlag = {
  NO_BEGIN: 1,
} as const;

export type TraceFlag = (typeof TraceFlag)[keyof typeof TraceFlag];

/** Values of CallRight. */
export const CallRight = {
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
  TO_DYNAMIC: 536870912,
  FROM_DYNAMIC: 1073741824,
} as const;

export type CallRight = (typeof CallRight)[keyof typeof CallRight];

/** First bytes of a DC segment. Size in bytes, and the offset of each field. */
export const SegmentHeaderLayout = {
  BYTES: 256,
  magic: 0,
  abiVersion: 8,
  byteOrder: 12,
  segmentBytes: 16,
  incarnation: 24,
  dcId: 32,
  nodeId: 36,
  processes: 40,
  nodes: 44,
  arenaBytes: 48,
  dcName: 56,
  dvsName: 72,
  state: 88,
  trace: 92,
  tableLock: 96,
  monitorWake: 104,
  handed: 112,
  proxyPartner: 116,
  migrating: 120,
  ticket: 128,
  departures: 136,
  warned: 144,
  warning: 148,
  reserved2: 152,
} as const;

/** One process of a DC. Its slot is its index in the table, and the table never moves. Size in bytes, and the offset of each field. */
export const ProcessSlotLayout = {
  BYTES: 512,
  life: 0,
  generation: 4,
  endpoint: 8,
  pid: 12,
  startTime: 16,
  node: 24,
  level: 28,
  cpu: 32,
  copyPartner: 36,
  name: 40,
  wakeId: 56,
  rendezvous: 64,
  sleeping: 68,
  wantSource: 72,
  callId: 76,
  ticket: 80,
  commandState: 88,
  remoteCall: 92,
  wakeup: 96,
  lends: 100,
  copyJob: 104,
  inboxCall0: 112,
  inboxCall1: 116,
  asyncBusy: 120,
  thread: 124,
  inbox0: 128,
  inbox1: 192,
  outbox0: 256,
  outbox1: 320,
  commandKind: 384,
  commandResult: 388,
  commandEndpoint: 392,
  commandRequester: 396,
  sourceEndpoint: 400,
  sourceGrant: 404,
  sourceAt: 408,
  destinationEndpoint: 416,
  destinationGrant: 420,
  destinationAt: 424,
  copyBytes: 432,
  commandCallId: 440,
  bindFlags: 444,
  sent: 448,
  received: 456,
  sentRemote: 464,
  notified: 472,
  copiedBytes: 480,
  waits: 488,
  lentBytes: 496,
  waitTicket: 504,
} as const;

/** What a process may do; one for each slot. Size in bytes, and the offset of each field. */
export const PrivilegeSlotLayout = {
  BYTES: 32,
  rights: 0,
  held: 4,
  ipcTo: 8,
  ipcFrom: 16,
  reserved1: 24,
} as const;

/** Permission on a range of memory. Size in bytes, and the offset of each field. */
export const GrantSlotLayout = {
  BYTES: 32,
  state: 0,
  grantee: 4,
  address: 8,
  bytes: 16,
  place: 24,
  reserved0: 28,
} as const;

/** A message of senda: on its way, or done. Size in bytes, and the offset of each field. */
export const AsyncSlotLayout = {
  BYTES: 128,
  word: 0,
  destination: 8,
  flags: 12,
  ticket: 16,
  callId: 24,
  reserved0: 28,
  message: 64,
} as const;

/** What the owner of a slot is asked to move while it waits. Size in bytes, and the offset of each field. */
export const CopyOrderLayout = {
  BYTES: 128,
  address: 0,
  bytes: 8,
  direction: 16,
  error: 20,
  seal: 24,
  reserved1: 32,
  moved: 64,
  reserved2: 72,
} as const;

/** What this node knows of another node of the DC, and the state of the link to it. Size in bytes, and the offset of each field. */
export const LinkSlotLayout = {
  BYTES: 128,
  state: 0,
  sleeping: 4,
  wakeId: 8,
  proxyPid: 16,
  session: 20,
  proxyStartTime: 24,
  name: 32,
  sent: 48,
  received: 56,
  sentBytes: 64,
  receivedBytes: 72,
  dropped: 80,
  copiesInParts: 88,
  reserved0: 92,
} as const;

/** A process of this node that has gone. Size in bytes, and the offset of each field. */
export const DepartureSlotLayout = {
  BYTES: 64,
  number: 0,
  endpoint: 8,
  pid: 12,
  status: 16,
  level: 20,
  name: 24,
  reserved0: 40,
} as const;

/** One allocation in the arena. Size in bytes, and the offset of each field. */
export const ExtentLayout = {
  BYTES: 16,
  pages: 0,
  firstPage: 4,
  owner: 8,
  reserved0: 12,
} as const;

/** Who watches a DC on this node. Size in bytes, and the offset of each field. */
export const TraceHeaderLayout = {
  BYTES: 64,
  session: 0,
  dirty: 4,
  lease: 8,
  reserved0: 16,
} as const;

/** One of those who watch. Size in bytes, and the offset of each field. */
export const TraceWatcherLayout = {
  BYTES: 8,
  lease: 0,
} as const;

/** Head of a ring: one for each slot, then one for the links. Size in bytes, and the offset of each field. */
export const TraceRingLayout = {
  BYTES: 64,
  written: 0,
  session: 8,
  refused: 12,
  reserved0: 16,
} as const;

/** What happened in IPC, without the contents of messages. Size in bytes, and the offset of each field. */
export const TraceEventLayout = {
  BYTES: 64,
  sequence: 0,
  check: 4,
  time: 8,
  duration: 16,
  bytes: 24,
  kind: 32,
  call: 33,
  flags: 34,
  how: 35,
  cpu: 36,
  endpoint: 40,
  peer: 44,
  type: 48,
  number: 52,
  result: 56,
  node: 60,
} as const;

/** What goes from one node to another. Size in bytes, and the offset of each field. */
export const CommandLayout = {
  BYTES: 176,
  kind: 0,
  dcId: 4,
  source: 8,
  destination: 12,
  sourceNode: 16,
  destinationNode: 20,
  result: 24,
  callId: 28,
  payloadBytes: 32,
  level: 36,
  requester: 40,
  requesterNode: 44,
  copySource: 48,
  copySourceGrant: 52,
  copySourceAt: 56,
  copyDestination: 64,
  copyDestinationGrant: 68,
  copyDestinationAt: 72,
  copyBytes: 80,
  name: 88,
  copyDestinationNode: 104,
  answers: 108,
  message: 112,
} as const;

/** What a node knows of the move of a process; one for each fixed slot. Size in bytes, and the offset of each field. */
export const MigrationSlotLayout = {
  BYTES: 464,
  state: 0,
  serial: 4,
  endpoint: 8,
  node: 12,
  deadline: 16,
  ticket: 24,
  endTicket: 32,
  stopped: 40,
  result: 44,
  notices: 48,
  answer: 52,
  answerTo: 56,
  answerSerial: 60,
  answerResult: 64,
  claimed: 68,
  answerTicket: 72,
  untold: 80,
  unanswered: 208,
  ended: 336,
} as const;

/** What goes with a process to its new node. Size in bytes, and the offset of each field. */
export const MigrantLayout = {
  BYTES: 56,
  rights: 0,
  reserved0: 4,
  ipcTo: 8,
  ipcFrom: 16,
  reserved1: 24,
} as const;

/** A notification that waits at a process that moves. Size in bytes, and the offset of each field. */
export const MigrantNoticeLayout = {
  BYTES: 16,
  source: 0,
  node: 4,
  value: 8,
  reserved0: 12,
} as const;

/** Message of a PROBE. Size in bytes, and the offset of each field. */
export const ProbeLayout = {
  BYTES: 56,
  initiator: 0,
  initiatorNode: 4,
  initiatorLevel: 8,
  stage: 12,
  call: 16,
  hops: 20,
  waits: 24,
  sends: 28,
  nonce: 32,
  digest: 40,
  ticket: 48,
} as const;

/** A wait of a process of this node for one of another node. Size in bytes, and the offset of each field. */
export const RemoteWaitLayout = {
  BYTES: 48,
  waiter: 0,
  target: 4,
  node: 8,
  call: 12,
  callId: 16,
  level: 20,
  ticket: 24,
  waits: 32,
  sends: 36,
  digest: 40,
} as const;

/** A wait until the node of an endpoint is found. Size in bytes, and the offset of each field. */
export const SearchLayout = {
  BYTES: 20,
  seeker: 0,
  callId: 4,
  slot: 8,
  endpoint: 12,
  home: 16,
} as const;

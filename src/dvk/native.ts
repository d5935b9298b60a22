/**
 * The single typed door to the native addon: every function that crosses it is declared here.
 *
 * Ints and registered buffers cross, objects only where nothing is hot. A result is 0 or more, or
 * -errno; a wrong argument throws TypeError. Handles are small ints, valid in the environment (main
 * thread or Worker) that made them until they are closed; a closed or foreign one gives -EBADF.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** What `segmentCreate` is told; every field is needed. */
export interface CreateArguments {
  dcId: number;
  nodeId: number;
  processes: number;
  nodes: number;
  arenaBytes: number;
  firstGeneration: number;
  mode: number;
  dcName: string;
  dvsName: string;
}

export interface RawSegmentInfo {
  directory: string;
  dcName: string;
  dvsName: string;
  dcId: number;
  nodeId: number;
  processes: number;
  nodes: number;
  arenaBytes: number;
  bytes: number;
  incarnation: bigint;
  abiVersion: number;
  state: number;
}

export interface RawProcessInfo {
  endpoint: number;
  slot: number;
  node: number;
  life: number;
  level: number;
  state: number;
  pid: number;
  peer: number;
  cpu: number;
  wakeupPending: boolean;
  startTime: number;
  thread: number;
  /** BindFlag. */
  flags: number;
  name: string;
  sent: number;
  received: number;
  sentRemote: number;
  notified: number;
  copiedBytes: number;
  waits: number;
  lentBytes: number;
}

export interface RawLinkInfo {
  node: number;
  name: string;
  state: number;
  session: number;
  proxyPid: number;
  sent: number;
  received: number;
  sentBytes: number;
  receivedBytes: number;
  dropped: number;
  queued: number;
  queueLimit: number;
}

/** Source endpoint, grant and place, the same of the destination, and bytes. */
export type RawCopyElement = [number, number, RawPlace, number, number, RawPlace, number];

export interface RawDeparture {
  number: number;
  endpoint: number;
  pid: number;
  status: number;
  level: number;
  name: string;
}

export interface RawMigration {
  /** MigrationState. */
  state: number;
  serial: number;
  node: number;
  result: number;
}

export interface RawPrivileges {
  rights: number;
  ipcTo: bigint;
  ipcFrom: bigint;
}

/** One end of a vcopy: own memory, a place in a grant, or an address. */
export type RawPlace = Uint8Array | number | bigint;

/**
 * Calls of a bound process. The hot ones take a process handle, an endpoint and a time-out in ms
 * (-1: none).
 */
export interface ProcessBinding {
  /**
   * `numbers`: slot or -1, level, kind of bind, endpoint, node, 1 for NOMIGRATE. `pid` is 0 for the
   * caller. Returns
   * a process, or -errno.
   */
  bind(segment: number, numbers: Int32Array, name: string, pid: number): number;
  /** The endpoint, or -errno. */
  bindFor(segment: number, pid: number, numbers: Int32Array, name: string): number;
  /** A process, or -errno. */
  adopt(segment: number, timeoutMs: number): number;
  unbind(process: number): number;
  processEndpoint(process: number): number;
  /** The message window (64 bytes), then two ints: kind of the last message, last call's number. */
  processWindow(process: number): ArrayBuffer;

  send(process: number, destination: number, timeoutMs: number): number;
  receive(process: number, source: number, timeoutMs: number): number;
  sendrec(process: number, destination: number, timeoutMs: number): number;
  rcvrqst(process: number, timeoutMs: number): number;
  reply(process: number, destination: number): number;
  replyTo(process: number, destination: number, call: number): number;
  replyReceive(process: number, destination: number, timeoutMs: number): number;
  relay(process: number, client: number, destination: number): number;
  relayTo(process: number, client: number, call: number, destination: number): number;
  notify(process: number, destination: number): number;
  notifyFrom(process: number, destination: number, source: number, value: number): number;
  /** The endpoint, or -errno. */
  waitBind(process: number, slot: number, timeoutMs: number): number;
  waitUnbind(process: number, endpoint: number, timeoutMs: number): number;
  /** Whom the last wait for a bind that returned 0 found. */
  boundEndpoint(process: number): number;

  /** Ids of messages are 0 or more; a status of 1 is one under way. */
  senda(process: number, destination: number, flags: number): number;
  sendaStatus(process: number, id: number): number;
  sendaCancel(process: number, id: number): number;
  /** Three ints for each rule: what is compared (1 source, 2 type), source, type. */
  setFilter(process: number, allow: boolean, rules: Int32Array): number;
  clearFilter(process: number): number;

  /** Start an awaited call: 0 done, 1 armed and pending, or -errno. */
  beginSend(process: number, destination: number): number;
  beginReceive(process: number, source: number): number;
  beginSendrec(process: number, destination: number): number;
  beginRcvrqst(process: number): number;
  beginReplyReceive(process: number, destination: number): number;
  /**
   * For how long in one turn of the event loop calls may be settled at once; 1 ms unless it is set.
   */
  turnLimit(ms: number): number;
  beginWaitBind(process: number, slot: number): number;
  beginWaitUnbind(process: number, endpoint: number): number;
  /** Ends a pending call with `error` (positive); 0 when it was complete already, else -errno. */
  cancel(process: number, error: number): number;

  vcopy(
    process: number,
    sourceEndpoint: number,
    sourceGrant: number,
    source: RawPlace,
    destinationEndpoint: number,
    destinationGrant: number,
    destination: RawPlace,
    bytes: number,
    timeoutMs: number,
  ): number;
  /** Starts an awaited copy: 2, or -errno. */
  beginVcopy(
    process: number,
    sourceEndpoint: number,
    sourceGrant: number,
    source: RawPlace,
    destinationEndpoint: number,
    destinationGrant: number,
    destination: RawPlace,
    bytes: number,
  ): number;
  /** Copies a chunk: 0 it was the last, 1 armed and pending as a call, 2 more to do, or -errno. */
  stepVcopy(process: number): number;
  grant(process: number, view: Uint8Array, rights: number, grantee: number): number;
  grantIndirect(
    process: number,
    granter: number,
    grant: number,
    rights: number,
    grantee: number,
  ): number;
  revoke(process: number, grant: number): number;
  vcopyVector(process: number, elements: RawCopyElement[], timeoutMs: number): number;
  /** Bytes of the last copy that are where they belong. */
  copied(process: number): number;
  arenaAllocate(process: number, bytes: number): number;
  arenaFree(process: number, offset: number): number;
}

/** Administration of a DC's segment on this node. */
export interface SegmentBinding {
  segmentCreate(path: string, options: CreateArguments): number;
  /** A handle, or -errno with the reason in `segmentReason`. */
  segmentOpen(path: string): number;
  segmentReason(): string;
  segmentClose(segment: number): number;
  segmentInfo(segment: number): RawSegmentInfo | number;
  segmentArena(segment: number): ArrayBuffer | number;
  segmentProcesses(segment: number): RawProcessInfo[] | number;
  segmentProcess(segment: number, slot: number): RawProcessInfo | number;
  segmentLinks(segment: number): RawLinkInfo[] | number;
  segmentLink(segment: number, node: number): RawLinkInfo | number;
  segmentEnd(segment: number): number;
  countBound(segment: number): number;
  /** Signals the owner and ends its call; 0, or -errno. */
  askToUnbind(segment: number, endpoint: number): number;
  /** 1 when it is bound no more. */
  hasUnbound(segment: number, endpoint: number): number;
  setWarned(segment: number, endpoint: number, value: number): number;
  /** The first one with that number or a higher one. */
  findDeparture(segment: number, number: number): RawDeparture | number | undefined;
  promote(segment: number, endpoint: number): number;
  migrateStart(segment: number, endpoint: number, timeoutMs: number): number;
  migrateCommit(segment: number, endpoint: number, node: number): number;
  migrateRollback(segment: number, endpoint: number): number;
  migration(segment: number, endpoint: number): RawMigration | number;
  /** What two looks, `pauseMs` apart, find wrong; one look for a pause of 0. */
  segmentCheck(segment: number, pauseMs: number): string[] | number;
  segmentSweep(segment: number): number;
  arenaUsed(segment: number): number;
  bindRemote(segment: number, endpoint: number, node: number, level: number, name: string): number;
  unbindRemote(segment: number, endpoint: number): number;
  lookup(segment: number, slot: number): number;
  checkEndpoint(segment: number, endpoint: number): number;
  reap(segment: number, slot: number, endpoint: number): number;
  wakeup(segment: number, endpoint: number): number;
  notifyKernel(segment: number, endpoint: number, value: number): number;
  /** The endpoint of `pid` in the lowest slot from `first` on, or -errno. */
  findPid(segment: number, pid: number, first: number): number;
  privileges(segment: number, endpoint: number): RawPrivileges | number;
  setPrivileges(
    segment: number,
    endpoint: number,
    rights: number,
    ipcTo: bigint,
    ipcFrom: bigint,
  ): number;
  processSetPrivileges(
    process: number,
    endpoint: number,
    rights: number,
    ipcTo: bigint,
    ipcFrom: bigint,
  ): number;
  /** The trace: see native/core/trace.h. A watcher is a small int. */
  traceStart(segment: number): number;
  traceRenew(segment: number, watcher: number): number;
  traceStop(segment: number, watcher: number): number;
  traceSweep(segment: number): number;
  /** Where in the file the heads of the rings and their events begin. */
  tracePlaces(segment: number): [rings: number, events: number] | number;
  addNode(segment: number, node: number, name: string): number;
  removeNode(segment: number, node: number): number;
}

/** The proxy's side of the queue between nodes. */
export interface LinkBinding {
  attachProxy(segment: number, waker: number, node: number): number;
  detachProxy(segment: number, node: number): number;
  linkUp(segment: number, node: number, session: number, parts: boolean): number;
  linkDown(segment: number, node: number): number;
  get2rmt(
    segment: number,
    node: number,
    command: Uint8Array,
    payload: Uint8Array,
    shortOnly: boolean,
  ): number;
  armProxy(segment: number, node: number, shortOnly: boolean): number;
  put2lcl(segment: number, node: number, command: Uint8Array, payload: Uint8Array): number;
  /**
   * Takes up to `most` commands for `node` as frames, from `at` of `frames` on, with numbers from
   * `sequence` on. How many, plus 65536 when a command that is to be made a frame elsewhere lies
   * behind them, in the place that it has in one, or 131072 when a frame with data does; that has
   * the number `dataSequence`, or where that is below 0 the one behind theirs.
   */
  takeFrames(
    segment: number,
    node: number,
    frames: Uint8Array,
    at: number,
    session: number,
    sequence: number,
    dataSequence: number,
    most: number,
    shortOnly: boolean,
  ): number;
  /**
   * Acts on up to `most` frames of `node` in [at, end) of `frames`, while they are right, without
   * data, next in their sequence and for the core alone. How many; `last` gets the result of the
   * last one, where it ends when that is not 0.
   */
  putFrames(
    segment: number,
    node: number,
    frames: Uint8Array,
    at: number,
    end: number,
    session: number,
    sequence: number,
    most: number,
    last: Int32Array,
  ): number;
  /** Writes RemoteWaits (RemoteWaitLayout) of slots from `first` on; returns how many. */
  remoteWaits(segment: number, first: number, waits: Uint8Array): number;
  remoteWait(segment: number, waiter: number, wait: Uint8Array): number;
  followWaits(
    segment: number,
    node: number,
    source: number,
    target: number,
    call: number,
    callId: number,
    wait: Uint8Array,
  ): number;
  lockWait(segment: number, waiter: number, ticket: bigint): number;

  /** The waker is the one that hears of searches. */
  attachTracker(segment: number, waker: number): number;
  detachTracker(segment: number): number;
  hasNewSearches(segment: number): boolean;
  /** Writes Searches (SearchLayout) of slots from `first` on; returns how many. */
  searches(segment: number, first: number, found: Uint8Array): number;
  endSearch(segment: number, seeker: number, callId: number, error: number): boolean;
  bindClaimed(segment: number, node: number, endpoint: number, level: number, name: string): number;
}

/** The FIFO through which an environment's event loop is woken. */
export interface WakerBinding {
  /** The waker of this environment for the segment's directory; makes it when there is none. */
  wakerOpen(segment: number): number;
  wakerFd(waker: number): number;
  /** Makes a process wakeable through `waker`. */
  wakerAdopt(waker: number, process: number): number;
  /** Tells the segment's header that this waker wants to hear of binds; false takes it back. */
  wakerWatch(waker: number, segment: number, on: boolean): number;
  /**
   * Empties the FIFO and steps every pending call. Writes pairs (process handle, result) of the
   * calls that are complete to `results`; returns how many. A full `results` means: call again.
   */
  wakerStep(waker: number, results: Int32Array): number;
  wakerClose(waker: number): number;
}

/** Descriptors watched by the environment's event loop. */
export interface PollBinding {
  pollStart(fd: number, callback: (status: number, events: number) => void): number;
  pollStop(poll: number): number;
  /** Whether the poll keeps the event loop running. */
  pollRef(poll: number, on: boolean): number;
}

/** Small system calls that Node lacks. */
export interface SystemBinding {
  /** The address of a view's first byte in this process. */
  addressOf(view: Uint8Array): bigint;
  crc32c(data: Uint8Array, seed: number): number;
  crc32cTable(data: Uint8Array, seed: number): number;
  crc32cInstruction(data: Uint8Array, seed: number): number;
  crc32cAccelerated(): boolean;
  /** Bytes of the block, or 0 when it does not fit. */
  lz4Pack(source: Uint8Array, target: Uint8Array): number;
  /** Bytes that came out, or -errno. */
  lz4Unpack(source: Uint8Array, target: Uint8Array): number;
  pidfdOpen(pid: number): number;
  closeFd(fd: number): number;
  /** The calling thread uses the network namespace of that descriptor from now on. */
  enterNetwork(fd: number): number;
  dieWithParent(signal: number, parent: number): number;
  leaveNoDump(): number;
  setAffinity(cpus: Int32Array): number;
  /** The slice of the calling thread. -EOPNOTSUPP: not that of any thread, or of this one. */
  setSlice(microseconds: number): number;
  /** sched_yield(2). */
  yieldCpu(): number;
  /** Fills in pid and uid, the latter as a signed number. */
  peerCredentials(fd: number, out: Int32Array): number;
  /** flock(2): a lock, or -EWOULDBLOCK. */
  lockFile(fd: number, shared: boolean): number;
  punchHole(fd: number, at: number, bytes: number): number;
  interruptOn(signal: number): number;
  interrupt(): number;
  clearInterrupt(): number;
  processStartTime(pid: number): bigint;
  canLend(): boolean;
  processAlive(pid: number, startTime: bigint): boolean;
  /** Sizes and offsets as the C++ compiler sees them, named as in the schema. */
  abiLayout(): Record<string, Record<string, number>>;
}

/** What Node.js cannot set on a datagram socket; see datagram-socket.ts. */
export interface DatagramBinding {
  tuneDatagramSocket(fd: number, bufferBytes: number): number;
}

/** UDP sockets; see udp-socket.ts. */
export interface UdpBinding {
  /** A second descriptor of the socket. */
  udpOpen(fd: number): number;
  /**
   * `memory` has 16 slots of the same length, then nine ints for each: bytes, the length of the
   * datagrams that they are, and the sender's address. Returns how many slots were filled, or
   * -errno; behind a short datagram there may be more. While there is none it looks again for
   * `spinUs`.
   */
  udpReceive(fd: number, memory: Uint8Array, spinUs: number): number;
  /**
   * `memory` is the same with 64 slots. Those from `first` to before `end`: how many went, or
   * -errno of the first; `together` as segments where they can.
   */
  udpSend(fd: number, memory: Uint8Array, first: number, end: number, together: boolean): number;
  /** The name of an address of seven ints, or '' when it is none. */
  udpName(address: Int32Array): string;
  udpAddress(host: string, port: number, out: Int32Array): number;
}

/** Packet sockets; see packet-socket.ts. */
export interface PacketBinding {
  /** Writes three ints: MTU, and the address in two words, the upper 16 bits first. */
  packetInterface(name: string, out: Int32Array): number;
  /**
   * Returns a descriptor, and writes three ints: the descriptor that holds the port, the port, and
   * the interface's index.
   */
  packetOpen(
    name: string,
    etherType: number,
    port: number,
    bufferBytes: number,
    out: Int32Array,
  ): number;
  /** The index of the interface, which may be a new one of that name, or -errno. */
  packetAttach(fd: number, name: string, etherType: number): number;
  /**
   * `memory` has 64 slots for frames of the same length, then ints: the interface's index, the
   * EtherType, and three for each slot: bytes, and the other end's address. Returns how many came,
   * or -errno; behind a short frame there may be more. While there is none it looks again for
   * `spinUs`.
   */
  packetReceive(fd: number, memory: Uint8Array, spinUs: number): number;
  /** Those of the slots from `first` to before `end`: how many went, or -errno of the first. */
  packetSend(fd: number, memory: Uint8Array, first: number, end: number): number;
  /** Frames lost for want of room since the last call. */
  packetMissed(fd: number): number;
}

/** What the kernel knows of a TCP connection; see tcp-info.ts. */
export interface TcpInfoBinding {
  tcpInfo(fd: number, values: Uint8Array): number;
  tcpCongestion(fd: number, name: string): number;
  sendAtOnce(fd: number, bytes: Uint8Array): number;
}

/** The cipher of sealed datagrams; see aead.ts. */
export interface AeadBinding {
  aeadSeal(secret: Uint8Array, packet: Uint8Array, headBytes: number, number: number): number;
  aeadSealFrom(
    secret: Uint8Array,
    packet: Uint8Array,
    headBytes: number,
    number: number,
    body: Uint8Array,
  ): number;
  aeadOpen(secret: Uint8Array, packet: Uint8Array, headBytes: number, number: number): number;
  aeadOpenInto(
    secret: Uint8Array,
    packet: Uint8Array,
    headBytes: number,
    number: number,
    body: Uint8Array,
  ): number;
  aeadForget(secret: Uint8Array): number;
}

/** The kernel's FUSE device; see fuse-device.ts. */
export interface FuseBinding {
  fuseMount(
    mountpoint: string,
    options: { source: string; data: string; flags: number },
    diagnostics: Uint8Array,
  ): number;
  fuseUnmount(mountpoint: string, lazy: boolean): number;
  fuseRead(fd: number, buffer: Uint8Array): number;
  fuseWrite(fd: number, head: Uint8Array, headBytes: number, payload?: Uint8Array): number;
  fuseClose(fd: number): number;
}

export type Binding = ProcessBinding &
  SegmentBinding &
  LinkBinding &
  WakerBinding &
  PollBinding &
  SystemBinding &
  FuseBinding &
  DatagramBinding &
  UdpBinding &
  PacketBinding &
  AeadBinding &
  TcpInfoBinding;

// From src/dvk and from dist/src/dvk.
const CANDIDATES = [
  '../../native/build/Release/dvk.node',
  '../../../native/build/Release/dvk.node',
];

function load(): Binding {
  for (const candidate of CANDIDATES) {
    const path = fileURLToPath(new URL(candidate, import.meta.url));
    if (existsSync(path)) return createRequire(import.meta.url)(path) as Binding;
  }
  throw new Error('The native addon is not built; run `npm run build`.');
}

let binding: Binding | undefined;

/** The addon, loaded at the first use, so that what needs no kernel runs without it. */
export function native(): Binding {
  binding ??= load();
  return binding;
}

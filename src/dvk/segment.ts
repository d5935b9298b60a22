/**
 * A DC's segment on this node: who is bound in it, its arena, its nodes, and the proxy's side of
 * its queues.
 *
 * A segment is a file in memory; its directory also holds the FIFOs that wake event loops, in
 * `wake/`. Opening it is what lets a process into the DC, so the file's mode decides who may. The
 * FIFOs are their owners' alone: awaited calls are for members of one user.
 */
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { ErrorNumber, Limit } from './abi/abi.gen.ts';
import { pollUntil, systemClock, type Clock } from './clock.ts';
import { slotOf, type DcId, type Endpoint, type NodeId } from './endpoint.ts';
import { check, DvkError, fail } from './errors.ts';
import { Departures } from './departures.ts';
import {
  linkInfo,
  levelNumber,
  processInfo,
  segmentInfo,
  type Level,
  type LinkInfo,
  type ProcessInfo,
  type SegmentInfo,
} from './info.ts';
import { Migrations } from './migrations.ts';
import { native, type Binding } from './native.ts';
import { privilegesOf, rawPrivileges, type Privileges } from './privileges.ts';
import { FOREVER, Process } from './process.ts';
import { Trace } from './trace.ts';
import { remoteWaitIn, REMOTE_WAIT_BYTES, type RemoteWait, type WaitEdge } from './remote-wait.ts';
import { FrameRuns } from './frame-runs.ts';
import { Searches } from './searches.ts';
import { Waker } from './waker.ts';

const WAITS_AT_ONCE = 64;

export interface CreateOptions {
  dcId: DcId;
  nodeId: NodeId;
  /** At most 15 bytes of UTF-8, like every name. */
  dcName: string;
  dvsName: string;
  /** Process slots: a multiple of 64, 128 to PROCESSES_MAX. */
  processes?: number;
  /** 1 to NODES_MAX. */
  nodes?: number;
  /** Multiple of 4096. It is sparse; the tables before it are not. */
  arenaBytes?: number;
  /**
   * Generation of the first owner of every slot; random where a node may come back under the same
   * name.
   */
  firstGeneration?: number;
  /** Permissions of the file. */
  mode?: number;
}

export interface BindOptions {
  /** A fixed slot, 0 to SYSTEM_PROCESSES - 1; left out, any dynamic slot of this node. */
  slot?: number;
  /**
   * Servers may receive requests, reply, relay, and copy between others; a process of level
   * `kernel` may also notify as KERNEL and set every process's privileges.
   */
  level?: Level;
  name: string;
  /** Whether the FIFO for awaited calls is made now; left out, the first awaited call makes it. */
  awaitable?: boolean;
  /** Source of the time-outs of awaited calls. */
  clock?: Clock;
  /**
   * The slot lives as long as the calling thread, a Worker or the main one; left out, as long as
   * the program. At most one of `thread`, `replica` and `backup`.
   */
  thread?: boolean;
  /**
   * The endpoint, in a fixed slot, that replicas on other nodes have too; `slot` is not looked at.
   */
  replica?: Endpoint;
  /**
   * It stands by for the primary, which has that endpoint, in a fixed slot, on another node, until
   * `promote`. Its calls that wait go on waiting until then; the others, grants and copies fail
   * with EDVSSTANDBY.
   */
  backup?: { endpoint: Endpoint; node: NodeId };
  /** It moves to no other node. */
  noMigrate?: boolean;
}

/** How a process that was bound by another program takes its slot. */
export interface AdoptOptions {
  /** 0 does not wait; left out, it waits for ever. */
  timeoutMs?: number;
  awaitable?: boolean;
  clock?: Clock;
}

const DEFAULT_MODE = 0o600;
const ANY_SLOT = -1;
const EDVSNOTBOUND = -ErrorNumber.EDVSNOTBOUND;
const EDVSNODCNODE = -ErrorNumber.EDVSNODCNODE;
const EDVSNOPROXY = -ErrorNumber.EDVSNOPROXY;
/** By their numbers in the core. */
const BIND_KINDS = ['process', 'thread', 'replica', 'backup'] as const;

/** What the addon is told of a bind. Throws TypeError. */
function bindNumbers(options: BindOptions): Int32Array {
  const { slot = ANY_SLOT, level = 'user', thread = false, replica, backup } = options;
  const noMigrate = options.noMigrate === true ? 1 : 0;
  const given = [false, thread, replica !== undefined, backup !== undefined];
  const kinds = BIND_KINDS.filter((_, kind) => given[kind]);
  if (kinds.length > 1) throw new TypeError(`a process is bound as one of ${kinds.join(', ')}`);
  const kind = kinds[0] === undefined ? 0 : BIND_KINDS.indexOf(kinds[0]);
  const endpoint = backup?.endpoint ?? replica ?? 0;
  return Int32Array.of(slot, levelNumber(level), kind, endpoint, backup?.node ?? 0, noMigrate);
}

export class Segment {
  readonly path: string;
  /** Where the segment's file is, and the wake FIFOs below it. */
  readonly directory: string;
  readonly nodeId: NodeId;
  readonly dcId: DcId;
  /** The whole arena: the same memory in every process of the node that opened the segment. */
  readonly arena: Uint8Array;
  /** The moves of processes of this node to others. */
  readonly migrations: Migrations;
  /** The processes of this node that have gone, and who is told of each. */
  readonly departures: Departures;
  /** Those of this node's processes for others; for the proxy of this node. */
  readonly searches: Searches;
  /** Of its proxy. */
  readonly frames: FrameRuns;
  readonly #native: Binding = native();
  readonly #handle: number;
  readonly #processes = new Set<Process>();
  readonly #proxies = new Map<NodeId, () => void>();
  #stopWatch: (() => void) | undefined;
  #waker: Waker | undefined;
  #open = true;

  private constructor(path: string, handle: number) {
    this.path = path;
    this.#handle = handle;
    this.migrations = new Migrations(handle);
    this.departures = new Departures(handle);
    this.searches = new Searches(handle, () => this.#ownWaker());
    this.frames = new FrameRuns(handle);
    const info = this.info();
    this.directory = info.directory;
    this.nodeId = info.nodeId;
    this.dcId = info.dcId;
    const arena = this.#native.segmentArena(handle);
    if (typeof arena === 'number') fail(arena, 'segment.open', { reason: path });
    this.arena = new Uint8Array(arena);
  }

  /**
   * Makes the file, which must not exist (EEXIST), and its directory's `wake` folder. EINVAL for
   * bad geometry.
   */
  static create(path: string, options: CreateOptions): void {
    mkdirSync(join(dirname(path), 'wake'), { recursive: true, mode: 0o700 });
    const result = native().segmentCreate(path, {
      dcId: options.dcId,
      nodeId: options.nodeId,
      processes: options.processes ?? Limit.PROCESSES_DEFAULT,
      nodes: options.nodes ?? Limit.NODES_DEFAULT,
      arenaBytes: options.arenaBytes ?? Limit.ARENA_BYTES_DEFAULT,
      firstGeneration: options.firstGeneration ?? 0,
      mode: options.mode ?? DEFAULT_MODE,
      dcName: options.dcName,
      dvsName: options.dvsName,
    });
    check(result, 'segment.create', { reason: path });
  }

  /** Maps a segment. ENOENT, EACCES, or EDVSBADSEGMENT with what is wrong in its message. */
  static open(path: string): Segment {
    const handle = native().segmentOpen(path);
    if (handle < 0) {
      const reason = native().segmentReason();
      throw new DvkError(handle, 'segment.open', {
        reason: reason === '' ? path : `${path}: ${reason}`,
      });
    }
    return new Segment(path, handle);
  }

  /** Unbinds this environment's processes and lets go of the segment; the file stays. */
  close(): void {
    if (!this.#open) return;
    let failure: unknown;
    for (const process of [...this.#processes]) {
      try {
        process.unbind();
      } catch (error) {
        failure ??= error;
      }
    }
    this.#stopWatch?.();
    this.searches.detach();
    for (const node of [...this.#proxies.keys()]) this.detachProxy(node);
    this.#open = false;
    this.#waker?.release();
    this.#native.segmentClose(this.#handle);
    if (failure instanceof Error) throw failure;
  }

  info(): SegmentInfo {
    const raw = this.#native.segmentInfo(this.#handle);
    if (typeof raw === 'number') fail(raw, 'segment.info', { reason: this.path });
    return segmentInfo(this.path, raw);
  }

  /**
   * Makes the caller a process of the DC. EDVSSLOTUSED, EDVSNOSLOT, EDVSBADPROC, EDVSDCNOTRUN; of a
   * backup also EDVSBADNODEID, EDVSLCLPROC (the node is this one), EDVSNODCNODE, EDVSNOPROXY.
   */
  bind(options: BindOptions): Process {
    const handle = this.#native.bind(this.#handle, bindNumbers(options), options.name, 0);
    return this.#processOf(check(handle, 'bind', { reason: options.name }), options);
  }

  /**
   * Binds another program of this host, which takes the slot by `adoptSync`; what is sent to it
   * meanwhile waits there. For administration: whoever may open the segment may do it. ESRCH: no
   * such program; EINVAL: a thread; and the errors of `bind`.
   */
  bindFor(pid: number, options: BindOptions): Endpoint {
    const numbers = bindNumbers(options);
    const result = this.#native.bindFor(this.#handle, pid, numbers, options.name);
    return check(result, 'bindFor', { reason: options.name }) as Endpoint;
  }

  /**
   * Unbinds a process of another program of this host: that gets SIGTERM, the call in which the
   * process waits ends with EDVSSHUTDOWN, and this is over when it has unbound, or its program has
   * ended. For administration, as far as the caller may signal that program and read its maps:
   * EPERM. ETIMEDOUT, or EAGAIN for a time-out of 0: it was asked, and is still bound. EDEADSRCDST,
   * ERANGE, EDVSRMTPROC, EDVSENDPOINT (it is of this program), EDVSDCNOTRUN.
   */
  async unbindFor(endpoint: Endpoint, timeoutMs = FOREVER, clock = systemClock): Promise<void> {
    check(this.#native.askToUnbind(this.#handle, endpoint), 'unbindFor', { endpoint });
    const isGone = (): boolean =>
      check(this.#native.hasUnbound(this.#handle, endpoint), 'unbindFor', { endpoint }) === 1;
    await pollUntil(isGone, 'unbindFor', timeoutMs, clock);
  }

  /** Takes a slot that `bindFor` has bound for this program. ETIMEDOUT, EAGAIN, EDVSDCNOTRUN. */
  adoptSync(options: AdoptOptions = {}): Process {
    const handle = this.#native.adopt(this.#handle, options.timeoutMs ?? FOREVER);
    return this.#processOf(check(handle, 'adopt'), options);
  }

  /**
   * Makes the backup of `endpoint` on this node its owner. Calls of this node's processes to the
   * primary that are under way end with EDSTDIED or ESRCDIED; later ones reach the new owner. Who
   * promotes makes sure that the primary is gone: another node believes it once it has lost the
   * primary's node, or heard that the primary unbound. EDEADSRCDST, ERANGE, EDVSPROCSTS (it has no
   * backup here), ESRCH (the backup is dead), EDVSDCNOTRUN.
   */
  promote(endpoint: Endpoint): void {
    check(this.#native.promote(this.#handle, endpoint), 'promote', { endpoint });
  }

  #processOf(handle: number, options: { awaitable?: boolean; clock?: Clock }): Process {
    const host = {
      arena: this.arena,
      waker: (): Waker => this.#ownWaker(),
      forget: (process: Process): void => {
        this.#processes.delete(process);
      },
    };
    const process = new Process(handle, host, options.clock);
    this.#processes.add(process);
    if (options.awaitable === true) process.prepare();
    return process;
  }

  #ownWaker(): Waker {
    return (this.#waker ??= Waker.use(this.#handle, this.directory));
  }

  /** Makes a process of another node known here. EDVSSLOTUSED, EDVSLCLPROC, EDVSNODCNODE. */
  bindRemote(endpoint: Endpoint, node: NodeId, level: Level, name: string): void {
    const number = levelNumber(level);
    const result = this.#native.bindRemote(this.#handle, endpoint, node, number, name);
    check(result, 'bindRemote', { endpoint, node });
  }

  /** Forgets a process of another node. EDVSNOTBOUND. */
  unbindRemote(endpoint: Endpoint): void {
    check(this.#native.unbindRemote(this.#handle, endpoint), 'unbindRemote', { endpoint });
  }

  /** The endpoint that owns `slot` now. EDVSBADPROC for a slot out of range. */
  lookup(slot: number): Endpoint | undefined {
    const result = this.#native.lookup(this.#handle, slot);
    if (result === EDVSNOTBOUND) return undefined;
    return check(result, 'lookup') as Endpoint;
  }

  /** Whether the endpoint is of a process that is bound now, on this node or another. */
  isBound(endpoint: Endpoint): boolean {
    return this.#native.checkEndpoint(this.#handle, endpoint) === 0;
  }

  /** Every process that the node knows of, by rising slot. */
  processes(): ProcessInfo[] {
    const raw = this.#native.segmentProcesses(this.#handle);
    if (typeof raw === 'number') fail(raw, 'processes');
    return raw.map(processInfo);
  }

  /** What is known of the process in `slot`, undefined for a free one. EDVSBADPROC. */
  process(slot: number): ProcessInfo | undefined {
    const raw = this.#native.segmentProcess(this.#handle, slot);
    if (raw === EDVSNOTBOUND) return undefined;
    if (typeof raw === 'number') fail(raw, 'process');
    return processInfo(raw);
  }

  /** The endpoints that the process `pid` of this host has bound, by rising slot. */
  endpointsOf(pid: number): Endpoint[] {
    const found: Endpoint[] = [];
    const next = (first: number): number => this.#native.findPid(this.#handle, pid, first);
    for (let at = next(0); at >= 0; at = next(slotOf(at as Endpoint) + 1)) {
      found.push(at as Endpoint);
    }
    return found;
  }

  /** What `endpoint`, a process of this node, may do. EDEADSRCDST, ERANGE, EDVSRMTPROC. */
  privileges(endpoint: Endpoint): Privileges {
    const raw = this.#native.privileges(this.#handle, endpoint);
    if (typeof raw === 'number') fail(raw, 'privileges', { endpoint });
    return privilegesOf(raw);
  }

  /**
   * Sets what `endpoint`, a process of this node, may do from its next call on. For administration:
   * whoever may open the segment may set any. EDEADSRCDST, ERANGE, EDVSRMTPROC, EINVAL.
   */
  setPrivileges(endpoint: Endpoint, privileges: Privileges): void {
    const { rights, ipcTo, ipcFrom } = rawPrivileges(privileges);
    const result = this.#native.setPrivileges(this.#handle, endpoint, rights, ipcTo, ipcFrom);
    check(result, 'setPrivileges', { endpoint });
  }

  /**
   * Notifies `endpoint`, a process of this node, as KERNEL: what a device has to tell. `value` is
   * 32 bits, merged with those not yet received. EDEADSRCDST, ERANGE, EDVSRMTPROC.
   */
  notifyKernel(endpoint: Endpoint, value = 0): void {
    const result = this.#native.notifyKernel(this.#handle, endpoint, value);
    check(result, 'notifyKernel', { endpoint });
  }

  /**
   * Frees the slot of a process that died. False when its owner lives, the slot has another owner,
   * or the table is locked: try again later.
   */
  reap(slot: number, endpoint: Endpoint): boolean {
    return check(this.#native.reap(this.#handle, slot, endpoint), 'reap', { endpoint }) === 1;
  }

  /**
   * Goes on with what processes died in: their table lock, slots that were half bound or half
   * freed; and wakes receivers that somebody claimed and did not finish. For who looks after a
   * node, every second. Returns how many slots it freed.
   */
  sweep(): number {
    return check(this.#native.segmentSweep(this.#handle), 'sweep');
  }

  /**
   * What is wrong with the tables, a sentence each: waits that nobody will end, messages that
   * nobody will see, memory of nobody. It only reads. One look, with a pause of 0, is for a segment
   * in which nothing moves; else what a second look finds again, the pause (in ms, during which
   * the thread is blocked) after the first.
   */
  check(pauseMs = 0): string[] {
    const faults = this.#native.segmentCheck(this.#handle, pauseMs);
    if (typeof faults === 'number') fail(faults, 'check', { reason: this.path });
    return faults;
  }

  /** Ends the receive of `endpoint` with EDVSWOKENUP, or its next one. EDEADSRCDST, EDVSRMTPROC. */
  wakeup(endpoint: Endpoint): void {
    check(this.#native.wakeup(this.#handle, endpoint), 'wakeup', { endpoint });
  }

  /**
   * Calls back after binds and unbinds of this node's processes; one call may stand for several,
   * and some for none. One watcher a segment: the last one hears. The function returned ends it.
   */
  watchBinds(onChange: () => void): () => void {
    const waker = this.#ownWaker();
    check(waker.watchBinds(this.#handle, true), 'watchBinds');
    this.#stopWatch?.();
    const unlisten = waker.listen(onChange);
    const stop = (): void => {
      unlisten();
      if (this.#stopWatch !== stop) return;
      this.#stopWatch = undefined;
      waker.watchBinds(this.#handle, false);
    };
    this.#stopWatch = stop;
    return stop;
  }

  /**
   * Begins to watch what happens in IPC on this node. While somebody watches, calls are slower; the
   * watch ends by itself when `poll` is not called for TRACE_LEASE_MS. ENOSPC: too many watch.
   */
  trace(): Trace {
    return new Trace(this.#handle, this.info());
  }

  /** Frees what watchers that are gone left behind; for the monitor. */
  sweepTrace(): void {
    check(this.#native.traceSweep(this.#handle), 'sweepTrace');
  }

  /** Stops the DC on this node: every waiting call ends with EDVSDCNOTRUN. */
  endContainer(): void {
    check(this.#native.segmentEnd(this.#handle), 'endContainer');
  }

  /**
   * Waits until no process of this node is bound; the slots of dead ones are freed. After
   * `endContainer` that is the end of the DC on this node. ETIMEDOUT, or EAGAIN for a time-out of
   * 0.
   */
  async untilUnbound(timeoutMs = FOREVER, clock: Clock = systemClock): Promise<void> {
    const isEmpty = (): boolean =>
      check(this.#native.countBound(this.#handle), 'untilUnbound') === 0;
    await pollUntil(isEmpty, 'untilUnbound', timeoutMs, clock);
  }

  /** Bytes of the arena that are allocated. */
  arenaUsed(): number {
    return check(this.#native.arenaUsed(this.#handle), 'arenaUsed');
  }

  /**
   * Makes `node` a member of the DC as seen from here; its link starts down. EDVSBADNODEID, EEXIST.
   */
  addNode(node: NodeId, name: string): void {
    check(this.#native.addNode(this.#handle, node, name), 'addNode', { node });
  }

  /**
   * Takes `node` out of the DC as seen from here: who waits for it gets ENOTCONN, and its processes
   * are forgotten. EDVSBADNODEID, EDVSNODCNODE.
   */
  removeNode(node: NodeId): void {
    check(this.#native.removeNode(this.#handle, node), 'removeNode', { node });
  }

  /** The nodes of the DC, this one included. */
  links(): LinkInfo[] {
    const raw = this.#native.segmentLinks(this.#handle);
    if (typeof raw === 'number') fail(raw, 'links');
    return raw.map(linkInfo);
  }

  /** What is known of one node; undefined for one that is no member of the DC. EDVSBADNODEID. */
  link(node: NodeId): LinkInfo | undefined {
    const raw = this.#native.segmentLink(this.#handle, node);
    if (raw === EDVSNODCNODE) return undefined;
    if (typeof raw === 'number') fail(raw, 'link', { node });
    return linkInfo(raw);
  }

  /**
   * Makes the caller the proxy for `node`; after `armProxy`, `onWork` is called when a command
   * waits, or for nothing. EDVSBADNODEID, EDVSNODCNODE, EDVSPROXYRUN: another program that lives is
   * it already.
   */
  attachProxy(node: NodeId, onWork: () => void): void {
    const waker = this.#ownWaker();
    check(waker.attachProxy(this.#handle, node), 'attachProxy', { node });
    this.#proxies.get(node)?.();
    this.#proxies.set(node, waker.listen(onWork));
  }

  /** Ends `attachProxy`: the link is down, and calls to the node fail with EDVSNOPROXY. */
  detachProxy(node: NodeId): void {
    const stop = this.#proxies.get(node);
    if (stop === undefined) return;
    stop();
    this.#proxies.delete(node);
    // The node may have been taken out of the DC meanwhile, or the table lost with the container.
    const result = this.#native.detachProxy(this.#handle, node);
    if (result !== EDVSNODCNODE && result !== EDVSNOPROXY) check(result, 'detachProxy', { node });
  }

  /**
   * The link to `node` is up, with a new session number (32 bits): announces this node's servers to
   * it. `parts`: it takes copies in parts (native/core/copy_parts.h).
   */
  linkUp(node: NodeId, session: number, parts = false): void {
    check(this.#native.linkUp(this.#handle, node, session, parts), 'linkUp', { node });
  }

  /** The link to `node` is down: every call that waits for it ends with ENOTCONN. */
  linkDown(node: NodeId): void {
    check(this.#native.linkDown(this.#handle, node), 'linkDown', { node });
  }

  /**
   * Takes the oldest command for `node` into `command` (176 bytes, see CommandLayout) and its data
   * into `payload` (COPY_CHUNK_BYTES long). False when none waits. `shortOnly` leaves those with
   * data where they are.
   */
  get2rmt(node: NodeId, command: Uint8Array, payload: Uint8Array, shortOnly = false): boolean {
    const result = this.#native.get2rmt(this.#handle, node, command, payload, shortOnly);
    if (result < 0) fail(result, 'get2rmt', { node });
    return result === 1;
  }

  /**
   * Asks for `onWork` at the next command. True when one waits already, of those that `get2rmt`
   * would take: take it, there will be no call.
   */
  armProxy(node: NodeId, shortOnly = false): boolean {
    const result = this.#native.armProxy(this.#handle, node, shortOnly);
    if (result < 0) fail(result, 'armProxy', { node });
    return result === 1;
  }

  /**
   * Acts on a command that came from `node`; neither it nor `payload` is trusted. Returns 0, or
   * -errno when it was dropped (EDVSBADFRAME, EDVSNODCNODE). Errors of the call itself go back to
   * its caller as an ack.
   */
  put2lclRaw(node: NodeId, command: Uint8Array, payload: Uint8Array): number {
    return this.#native.put2lcl(this.#handle, node, command, payload);
  }

  /**
   * Calls of this node's processes that wait for a process of another node, and have gone to sleep
   * over it. For the proxy of this node only.
   */
  remoteWaits(): RemoteWait[] {
    const waits: RemoteWait[] = [];
    const bytes = new Uint8Array(WAITS_AT_ONCE * REMOTE_WAIT_BYTES);
    for (let first = 0; ;) {
      const count = this.#native.remoteWaits(this.#handle, first, bytes);
      if (count < 0) fail(count, 'remoteWaits');
      for (let i = 0; i < count; i++) {
        waits.push(remoteWaitIn(bytes.subarray(i * REMOTE_WAIT_BYTES)));
      }
      const last = waits.at(-1);
      if (count < WAITS_AT_ONCE || last === undefined) return waits;
      first = slotOf(last.waiter) + 1;
    }
  }

  /** The one of `waiter`, when it has one. */
  remoteWait(waiter: Endpoint): RemoteWait | undefined {
    const bytes = new Uint8Array(REMOTE_WAIT_BYTES);
    const found = this.#native.remoteWait(this.#handle, waiter, bytes);
    if (found < 0) fail(found, 'remoteWait');
    return found === 1 ? remoteWaitIn(bytes) : undefined;
  }

  /**
   * Follows the waits from the target of `edge`, a wait of a process of another node that this node
   * is told of, to the one that leaves this node. Undefined when there is none, or the edge does
   * not stand. For the proxy of this node only.
   */
  followWaits(edge: WaitEdge): RemoteWait | undefined {
    const bytes = new Uint8Array(REMOTE_WAIT_BYTES);
    const { node, source, target, call, callId } = edge;
    const found = this.#native.followWaits(this.#handle, node, source, target, call, callId, bytes);
    if (found < 0) fail(found, 'followWaits');
    return found === 1 ? remoteWaitIn(bytes) : undefined;
  }

  /** Ends a wait with ELOCKED. False when it is over, and the process does something else. */
  lockWait(waiter: Endpoint, ticket: bigint): boolean {
    const ended = this.#native.lockWait(this.#handle, waiter, ticket);
    if (ended < 0) fail(ended, 'lockWait');
    return ended === 1;
  }
}

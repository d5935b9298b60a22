/**
 * A bound process and its calls.
 *
 * Every call sends from `message` and receives into it. Blocking calls end in `Sync` and stop the
 * whole thread: they are for server loops in a process or Worker of their own. The awaited ones
 * leave the event loop free. `...Raw` twins return the result (0 or more, or -errno) instead of
 * throwing, for loops that expect errors. A process has one call under way at a time; another one
 * fails with EBUSY. Only `replySync`, `relaySync`, `notify` and `senda` may be called during an
 * awaited call: a server may answer one client late, while it waits for the next.
 *
 * Errors common to all calls, in the order in which they are looked for: EDVSNOTBOUND after unbind,
 * ETRAPDENIED (not a call of this process, see `Privileges`), EDVSDCNOTRUN, EDVSSTANDBY (a backup,
 * and no call that waits), EBUSY. Errors of calls
 * with a destination or source: EDVSBADDEST (KERNEL; `send`, `senda`: itself), ERANGE, EDVSENDPOINT
 * (the other calls: itself), ECALLDENIED (it may not send there, or that one takes none of it),
 * EDEADSRCDST (nobody there, or a stale endpoint; calls that wait look for it on other nodes
 * first: ENOTCONN when one does not answer), EDSTDIED or ESRCDIED (died during it),
 * ELOCKED (a cycle of processes that wait for one another, which of this node are also looked for
 * by awaited calls with a time-out of 0), EDVSNOPROXY and ENOTCONN (process of another node).
 * Errors of calls that wait: ETIMEDOUT (EAGAIN for a time-out of 0), EDVSWOKENUP, EDVSSHUTDOWN
 * (`unbindFor` of another program), EINTR (blocking calls, see `interruptOn`), ECANCELED (awaited),
 * EDVSMIGRATING (the process itself moves to another node, and is told once; see migrations.ts).
 */
import { constants } from 'node:os';

import { AsyncFlag, ErrorNumber } from './abi/abi.gen.ts';
import { systemClock, type Clock } from './clock.ts';
import { SELF, slotOf, type Endpoint, type GrantId } from './endpoint.ts';
import { check, DvkError, fail, isDvkError } from './errors.ts';
import { wordsOf, type Filter } from './filter.ts';
import { Memory, type Access, type CopyElement, type Party } from './memory.ts';
import { Message, PAYLOAD_OFFSET } from './message.ts';
import { native, type Binding } from './native.ts';
import { rawPrivileges, type Privileges } from './privileges.ts';
import type { Waker } from './waker.ts';

/**
 * How a message came: by `send` (or as the reply to a `sendrec`), by `sendrec` (its sender waits
 * for a reply), by `notify`, or by `senda`.
 */
export type MessageKind = 'send' | 'call' | 'notify' | 'async';

/** Tells the calls of one client apart: each of its `sendrec` has another number. */
export type CallNumber = number & { readonly brand: 'CallNumber' };

/** Names a message of `senda` until its status is known. */
export type AsyncId = number & { readonly brand: 'AsyncId' };

/** What is to happen when a message of `senda` is done; left out, it is kept for `sendaStatus`. */
export interface AsyncOptions {
  /** Notifies the process, by itself, when the message is done, or only when it failed. */
  notify?: 'done' | 'failed';
  /** Nobody will ask for the status. Not together with `notify`. */
  forget?: boolean;
}

/** What became of a message: without an error it was received. */
export type AsyncStatus = { done: false } | { done: true; error: DvkError | undefined };

/** Limits of an awaited call. */
export interface CallOptions {
  /** 0 does not wait at all; left out, the call waits for ever. */
  timeoutMs?: number;
  /** Ends the call with ECANCELED, the signal's reason being the cause. */
  signal?: AbortSignal;
}

/** What a notification says besides that it came. */
export interface NotifyOptions {
  /**
   * Whom it shows as its source, in place of the caller: servers may name any process of this node,
   * processes of level `kernel` also KERNEL.
   */
  source?: Endpoint;
  /** 32 bits, for sources in fixed slots and KERNEL. Values not yet received merge by OR. */
  value?: number;
}

/** What a process needs of the segment that it is bound in. */
export interface ProcessHost {
  readonly arena: Uint8Array;
  waker(): Waker;
  forget(process: Process): void;
}

/** No time-out, for the raw calls. */
export const FOREVER = -1;

const PENDING = 1;
// What every awaited call returns that is complete at once.
const SETTLED = Promise.resolve();
const MORE = 2;
const KINDS: readonly MessageKind[] = ['send', 'call', 'notify', 'async'];
const STATUS_OFFSET = 64;
const { EAGAIN, EINVAL, ETIMEDOUT, ECANCELED } = constants.errno;
const EDVSNOTBOUND = -ErrorNumber.EDVSNOTBOUND;

export class Process {
  readonly endpoint: Endpoint;
  readonly slot: number;
  /** What the next call sends, and what the last one received. */
  readonly message: Message;
  readonly #native: Binding = native();
  readonly #handle: number;
  readonly #host: ProcessHost;
  readonly #clock: Clock;
  /** Kind and call number of what was received last. */
  readonly #status: Uint32Array;
  readonly #memory: Memory;
  #waker: Waker | undefined;
  /** Ends the awaited call under way with a result. */
  #settle: ((result: number) => void) | undefined;
  #reason: unknown;
  #bound = true;

  /** For `Segment.bind` alone: wraps a handle of the addon. */
  constructor(handle: number, host: ProcessHost, clock: Clock = systemClock) {
    this.#handle = handle;
    this.#host = host;
    this.#clock = clock;
    this.endpoint = this.#native.processEndpoint(handle) as Endpoint;
    this.slot = slotOf(this.endpoint);
    const window = this.#native.processWindow(handle);
    this.message = new Message(window);
    this.#status = new Uint32Array(window, STATUS_OFFSET, 2);
    this.#memory = new Memory(handle, this.endpoint, () => host.arena);
  }

  /** How the message last received came. */
  get lastKind(): MessageKind {
    return KINDS[this.#status[0] ?? 0] ?? 'send';
  }

  /** Number of the call whose request was received last, for a late `replySync` or `relaySync`. */
  get lastCall(): CallNumber {
    return (this.#status[1] ?? 0) as CallNumber;
  }

  /** Sends `message` and waits until `destination` has received it. */
  sendSync(destination: Endpoint, timeoutMs: number = FOREVER): void {
    const result = this.#native.send(this.#handle, destination, timeoutMs);
    if (result < 0) fail(result, 'send', { endpoint: destination });
  }

  /** Waits for a message or notification of `source`, or of ANY. */
  receiveSync(source: Endpoint, timeoutMs: number = FOREVER): void {
    const result = this.#native.receive(this.#handle, source, timeoutMs);
    if (result < 0) fail(result, 'receive', { endpoint: source });
  }

  /** Sends `message` and waits for the reply. */
  sendrecSync(destination: Endpoint, timeoutMs: number = FOREVER): void {
    const result = this.#native.sendrec(this.#handle, destination, timeoutMs);
    if (result < 0) fail(result, 'sendrec', { endpoint: destination });
  }

  /** Waits for a request, that is a message of a `sendrec`. Servers only: ETRAPDENIED. */
  rcvrqstSync(timeoutMs: number = FOREVER): void {
    const result = this.#native.rcvrqst(this.#handle, timeoutMs);
    if (result < 0) fail(result, 'rcvrqst');
  }

  /**
   * Answers the sendrec of `destination`. Never blocks. Servers only; EDVSPROCSTS when it waits no
   * more for this answer: it gave up, and may have called again.
   *
   * A server that takes a client's next request before it has answered the one before names the
   * one that it answers by `call`, the `lastCall` of then; without it such a reply is refused with
   * EDVSPROCSTS.
   */
  replySync(destination: Endpoint, call?: CallNumber): void {
    const result = this.replyRaw(destination, call);
    if (result < 0) fail(result, 'reply', { endpoint: destination });
  }

  /**
   * Replies, then waits for the next request, in one crossing. A client that is gone is no error.
   */
  replyReceiveSync(destination: Endpoint, timeoutMs: number = FOREVER): void {
    const result = this.#native.replyReceive(this.#handle, destination, timeoutMs);
    if (result < 0) fail(result, 'replyReceive', { endpoint: destination });
  }

  sendRaw(destination: Endpoint, timeoutMs: number = FOREVER): number {
    return this.#native.send(this.#handle, destination, timeoutMs);
  }

  receiveRaw(source: Endpoint, timeoutMs: number = FOREVER): number {
    return this.#native.receive(this.#handle, source, timeoutMs);
  }

  sendrecRaw(destination: Endpoint, timeoutMs: number = FOREVER): number {
    return this.#native.sendrec(this.#handle, destination, timeoutMs);
  }

  rcvrqstRaw(timeoutMs: number = FOREVER): number {
    return this.#native.rcvrqst(this.#handle, timeoutMs);
  }

  replyRaw(destination: Endpoint, call?: CallNumber): number {
    return call === undefined
      ? this.#native.reply(this.#handle, destination)
      : this.#native.replyTo(this.#handle, destination, call);
  }

  replyReceiveRaw(destination: Endpoint, timeoutMs: number = FOREVER): number {
    return this.#native.replyReceive(this.#handle, destination, timeoutMs);
  }

  notifyRaw(destination: Endpoint): number {
    return this.#native.notify(this.#handle, destination);
  }

  /**
   * Tells `destination` that something happened. Never blocks; notifications of one source that
   * were not yet received merge into one. One for a process that is looked for on other nodes is
   * kept meanwhile: ENOSPC as for `senda`. EDVSENDPOINT: no fixed slot of the source, so no value.
   */
  notify(destination: Endpoint, options?: NotifyOptions): void {
    const result =
      options === undefined
        ? this.#native.notify(this.#handle, destination)
        : this.#native.notifyFrom(
            this.#handle,
            destination,
            options.source ?? SELF,
            options.value ?? 0,
          );
    if (result < 0) fail(result, 'notify', { endpoint: destination });
  }

  /** The value of the notification received last; 0 for one without. */
  get notifyValue(): number {
    return this.message.view.getUint32(PAYLOAD_OFFSET, true);
  }

  /**
   * In place of a reply: hands the request of `client` on to `destination`, as `message` has it.
   * That server sees the client as the source, and its reply ends the client's sendrec. Never
   * blocks. Servers only; EDVSPROCSTS when the client does not wait for this server, EDVSENDPOINT
   * when the destination is the client or the caller. When the destination dies the client is told.
   * `call` says which request of the client it is, as for `replySync`.
   */
  relaySync(client: Endpoint, destination: Endpoint, call?: CallNumber): void {
    const result = this.relayRaw(client, destination, call);
    if (result < 0) fail(result, 'relay', { endpoint: destination });
  }

  relayRaw(client: Endpoint, destination: Endpoint, call?: CallNumber): number {
    return call === undefined
      ? this.#native.relay(this.#handle, client, destination)
      : this.#native.relayTo(this.#handle, client, call, destination);
  }

  /** Waits until `slot` is bound, here or on another node. Returns its endpoint. EDVSBADPROC. */
  waitForBindSync(slot: number, timeoutMs: number = FOREVER): Endpoint {
    return check(this.#native.waitBind(this.#handle, slot, timeoutMs), 'waitForBind') as Endpoint;
  }

  /**
   * Waits until `endpoint` is bound no more; returns at once when it is not. ENOTCONN when it is of
   * another node and the link to that is down.
   */
  waitForUnbindSync(endpoint: Endpoint, timeoutMs: number = FOREVER): void {
    const result = this.#native.waitUnbind(this.#handle, endpoint, timeoutMs);
    if (result < 0) fail(result, 'waitForUnbind', { endpoint });
  }

  /** Awaited `waitForBindSync`. */
  async waitForBind(slot: number, options: CallOptions = {}): Promise<Endpoint> {
    // Read at once: the next call may begin before the promise is looked at.
    const found = (result: number): number =>
      result === 0 ? this.#native.boundEndpoint(this.#handle) : result;
    const begun = this.#prepare(options) || this.#native.beginWaitBind(this.#handle, slot);
    let result = found(begun);
    if (begun === PENDING) {
      result = await new Promise((settle) => {
        this.#expect((ended) => {
          settle(found(ended));
        }, options);
      });
    }
    if (result < 0) this.#fail(result, 'waitForBind');
    return result as Endpoint;
  }

  /** Awaited `waitForUnbindSync`. */
  waitForUnbind(endpoint: Endpoint, options: CallOptions = {}): Promise<void> {
    const begun = this.#prepare(options) || this.#native.beginWaitUnbind(this.#handle, endpoint);
    return begun === 0 ? SETTLED : this.#settled(begun, 'waitForUnbind', options, endpoint);
  }

  /**
   * Sets what `endpoint` (or SELF) may do from its next call on. A process of level `kernel` may
   * set any; a server may set users and itself, and give nothing that it has not itself: EPERM.
   */
  setPrivileges(endpoint: Endpoint, privileges: Privileges): void {
    const { rights, ipcTo, ipcFrom } = rawPrivileges(privileges);
    const result = this.#native.processSetPrivileges(
      this.#handle,
      endpoint,
      rights,
      ipcTo,
      ipcFrom,
    );
    check(result, 'setPrivileges', { endpoint });
  }

  /**
   * Sends `message` without waiting: `destination` receives it in a receive from ANY or from this
   * process, before the messages of those who wait, and not as a request or a reply. Messages for
   * one destination keep their order. A destination that is unknown here is looked for on other
   * nodes meanwhile. ENOSPC when ASYNCS of them are on their way, or done and not asked for.
   */
  senda(destination: Endpoint, options: AsyncOptions = {}): AsyncId {
    const { notify, forget = false } = options;
    const flags =
      (notify === 'done' ? AsyncFlag.NOTIFY : 0) |
      (notify === 'failed' ? AsyncFlag.NOTIFY_ERROR : 0) |
      (forget ? AsyncFlag.FORGET : 0);
    const result = this.#native.senda(this.#handle, destination, flags);
    return check(result, 'senda', { endpoint: destination }) as AsyncId;
  }

  /**
   * What became of a message of `senda`; when it is done, its id is no longer good. The errors are
   * EDSTDIED, EDEADSRCDST, ENOTCONN, ECALLDENIED (other node), EDVSSLOTUSED and ETIMEDOUT (other
   * node, which could not take the caller in), EDVSNOPROXY (who looked for it is gone), and
   * ECANCELED after `sendaCancel`. EINVAL: no such id.
   */
  sendaStatus(id: AsyncId): AsyncStatus {
    const result = this.#native.sendaStatus(this.#handle, id);
    if (result === PENDING) return { done: false };
    if (result === -EINVAL || result === EDVSNOTBOUND) fail(result, 'sendaStatus');
    return { done: true, error: result < 0 ? new DvkError(result, 'senda') : undefined };
  }

  /**
   * Takes a message of `senda` back. EALREADY when it is done, EBUSY when it is on its way to
   * another node, EINVAL: no such id.
   */
  sendaCancel(id: AsyncId): void {
    check(this.#native.sendaCancel(this.#handle, id), 'sendaCancel');
  }

  /**
   * Lets `rcvrqst`, and `receive` from ANY, take only what passes `filter`; the rest waits. Without
   * a filter everything passes. A receive from one source and the reply of a `sendrec` are not
   * filtered. EINVAL for more than 8 rules; EBUSY during a call.
   */
  setFilter(filter?: Filter): void {
    if (filter === undefined) {
      check(this.#native.clearFilter(this.#handle), 'setFilter');
      return;
    }
    const words = wordsOf(filter);
    const result = this.#native.setFilter(this.#handle, 'allow' in filter, words);
    check(result, 'setFilter');
  }

  /**
   * Awaited `sendSync`. The message is taken at the call: it may be changed before the promise
   * settles.
   */
  send(destination: Endpoint, options: CallOptions = {}): Promise<void> {
    const begun = this.#prepare(options) || this.#native.beginSend(this.#handle, destination);
    return begun === 0 ? SETTLED : this.#settled(begun, 'send', options, destination);
  }

  /** Awaited `receiveSync`. */
  receive(source: Endpoint, options: CallOptions = {}): Promise<void> {
    const begun = this.#prepare(options) || this.#native.beginReceive(this.#handle, source);
    return begun === 0 ? SETTLED : this.#settled(begun, 'receive', options, source);
  }

  /** Awaited `sendrecSync`. */
  sendrec(destination: Endpoint, options: CallOptions = {}): Promise<void> {
    const begun = this.#prepare(options) || this.#native.beginSendrec(this.#handle, destination);
    return begun === 0 ? SETTLED : this.#settled(begun, 'sendrec', options, destination);
  }

  /** Awaited `rcvrqstSync`. */
  rcvrqst(options: CallOptions = {}): Promise<void> {
    const begun = this.#prepare(options) || this.#native.beginRcvrqst(this.#handle);
    return begun === 0 ? SETTLED : this.#settled(begun, 'rcvrqst', options);
  }

  /** Awaited `replyReceiveSync`: server loops of event loops. */
  replyReceive(destination: Endpoint, options: CallOptions = {}): Promise<void> {
    const begun =
      this.#prepare(options) || this.#native.beginReplyReceive(this.#handle, destination);
    return begun === 0 ? SETTLED : this.#settled(begun, 'replyReceive', options, destination);
  }

  /** Frees the slot. An awaited call ends with ECANCELED; who waits for this process is told. */
  unbind(): void {
    if (!this.#bound) return;
    this.#bound = false;
    this.#cancel(ECANCELED);
    this.#waker?.disown(this.#handle);
    this.#memory.clear();
    this.#host.forget(this);
    const result = this.#native.unbind(this.#handle);
    // Not bound any more: a monitor took this process for dead, and the slot is free already.
    if (result !== EDVSNOTBOUND) check(result, 'unbind', { endpoint: this.endpoint });
  }

  /**
   * Memory of the arena, `bytes` (1 and up) long, which every process of the node maps. ENOMEM,
   * ENOSPC.
   */
  allocate(bytes: number): Uint8Array {
    return this.#memory.allocate(bytes);
  }

  /** Gives memory of `allocate` back; the view must be the one it returned. EINVAL. */
  free(view: Uint8Array): void {
    this.#memory.free(view);
  }

  /**
   * Lets `grantee` (or ANY) copy from or to `view`, which stays alive until `revoke`. ENOSPC,
   * EINVAL.
   */
  grant(view: Uint8Array, access: Access, grantee: Endpoint): GrantId {
    return this.#memory.grant(view, access, grantee);
  }

  /**
   * Lets `grantee` use, with `access` at most, what grant `id` of `granter` lets this process use;
   * it ends with that one. A chain has five grants at most, of processes of one node. ENOSPC,
   * EDVSGRANT (no such grant, or not for this process or that access), EDEADSRCDST, EDVSRMTPROC.
   */
  grantIndirect(granter: Endpoint, id: GrantId, access: Access, grantee: Endpoint): GrantId {
    return this.#memory.grantIndirect(granter, id, access, grantee);
  }

  /**
   * Takes a grant back; copies that come later fail with EDVSGRANT. EINVAL for an id that is not in
   * use.
   */
  revoke(id: GrantId): void {
    this.#memory.revoke(id);
  }

  /**
   * Copies `bytes` (0 to COPY_BYTES_MAX) from one place to another with one copy; returns `bytes`.
   * Servers may name any two processes; others must be one of them. Blocks while a process of
   * another node takes part.
   *
   * EDVSGRANT, EFAULT, EPERM, EDVSENDPOINT (source is destination, or nobody), EINVAL (an address
   * in own memory: pass a view). EPERM also for private memory whose owner this process may not
   * trace, and which came into no call within a second; keep such memory in the arena.
   */
  vcopySync(source: Party, destination: Party, bytes: number, timeoutMs: number = FOREVER): number {
    return this.#memory.vcopy(source, destination, bytes, timeoutMs);
  }

  /**
   * Awaited `vcopySync`: chunk by chunk, with a turn of the event loop between two, so timers go on
   * firing. Views must not be detached before it settles. A time-out or `signal` ends it after the
   * chunk under way; `copied` tells how far it came. A time-out of 0 limits copies between nodes
   * alone.
   */
  async vcopy(
    source: Party,
    destination: Party,
    bytes: number,
    options: CallOptions = {},
  ): Promise<number> {
    check(this.#prepare(options), 'vcopy', { cause: this.#reason });
    const { timeoutMs = FOREVER } = options;
    const end = this.#clock.nowMs() + timeoutMs;
    const copy = this.#memory.beginVcopy(source, destination, bytes);
    let { result } = copy;
    while (result === PENDING || result === MORE) {
      const chunk = result;
      const left = timeoutMs > 0 ? Math.max(1, end - this.#clock.nowMs()) : timeoutMs;
      result = await new Promise((settle) => {
        if (chunk === PENDING) this.#expect(settle, { ...options, timeoutMs: left });
        else this.#expectTurn(settle, { ...options, timeoutMs: left || FOREVER });
      });
    }
    // Referenced until now, and so are the views.
    if (result < 0 || copy.copying.length === 0) this.#fail(result, 'vcopy');
    return bytes;
  }

  /**
   * Copies up to 64 elements in their order, each as by `vcopySync`, up to the first error. Returns
   * the sum of their bytes. The errors of `vcopySync`; ERANGE for too many elements.
   */
  vcopyVectorSync(elements: readonly CopyElement[], timeoutMs: number = FOREVER): number {
    return this.#memory.vcopyVector(elements, timeoutMs);
  }

  /**
   * Bytes of the last vcopy that are where they belong, whether it failed or not: whole chunks of
   * COPY_CHUNK_BYTES, and whole elements.
   */
  get copied(): number {
    return this.#memory.copied;
  }

  /**
   * Makes the first awaited call as quick as the others, and tells now when there can be no FIFO.
   */
  prepare(): void {
    if (this.#waker !== undefined) return;
    const waker = this.#host.waker();
    check(waker.adopt(this.#handle), 'bind', { endpoint: this.endpoint });
    this.#waker = waker;
  }

  /** Before an awaited call. Returns 0, or -errno when it must not begin. */
  #prepare({ signal }: CallOptions): number {
    this.#reason = signal?.reason;
    if (signal?.aborted === true) return -ECANCELED;
    if (this.#waker !== undefined || !this.#bound) return 0;
    try {
      this.prepare();
      return 0;
    } catch (error) {
      if (!isDvkError(error)) throw error;
      this.#reason = error;
      return error.errno;
    }
  }

  /** The end of a call that came to `result` when it began. */
  async #settled(
    result: number,
    syscall: string,
    options: CallOptions,
    endpoint?: Endpoint,
  ): Promise<void> {
    if (result === PENDING) {
      result = await new Promise((settle) => {
        this.#expect(settle, options);
      });
    }
    if (result < 0) this.#fail(result, syscall, endpoint);
  }

  #expect(settle: (result: number) => void, options: CallOptions): void {
    const { timeoutMs, signal } = options;
    if (timeoutMs === 0) {
      settle(this.#native.cancel(this.#handle, EAGAIN));
      return;
    }
    const onAbort = (): void => {
      this.#reason = signal?.reason;
      this.#cancel(ECANCELED);
    };
    const isTimed = timeoutMs !== undefined && timeoutMs >= 0;
    const stop = isTimed ? this.#clock.after(timeoutMs, () => this.#cancel(ETIMEDOUT)) : undefined;
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#settle = (result): void => {
      this.#settle = undefined;
      stop?.();
      signal?.removeEventListener('abort', onAbort);
      settle(result);
    };
    this.#waker?.expect(this.#handle, this.#settle);
  }

  /** Copies the next chunk in the next turn of the event loop. */
  #expectTurn(settle: (result: number) => void, options: CallOptions): void {
    this.#expect(settle, options);
    const expected = this.#settle;
    setImmediate(() => {
      if (expected === undefined || this.#settle !== expected) return;
      this.#waker?.forget(this.#handle);
      expected(this.#native.stepVcopy(this.#handle));
    });
  }

  /**
   * Ends the awaited call under way, if any, with `error`, or with 0 when it was complete all the
   * same.
   */
  #cancel(error: number): void {
    const settle = this.#settle;
    if (settle === undefined || this.#waker?.forget(this.#handle) !== true) return;
    settle(this.#native.cancel(this.#handle, error));
  }

  #fail(result: number, syscall: string, endpoint?: Endpoint): never {
    fail(result, syscall, { endpoint, cause: this.#reason });
  }
}

/**
 * What wakes an event loop: one FIFO for each environment (main thread or Worker) and directory of
 * segments.
 *
 * A process that waits in an event loop says so in its slot; whoever completes its call writes a
 * byte to the FIFO that the slot names. One readable FIFO steps every pending call of the
 * environment, so a burst of wakes costs one turn of the loop. The FIFO keeps the loop running only
 * while something waits on it.
 */
import { fail } from './errors.ts';
import { native, type Binding } from './native.ts';

// 64 pairs (process handle, result) are taken from the addon at a time.
const RESULTS = 128;

type Settle = (result: number) => void;

/** A process whose calls are awaited. */
interface Adopted {
  /** Of its pending call. */
  settle: Settle | undefined;
}

const wakers = new Map<string, Waker>();

export class Waker {
  readonly #native: Binding = native();
  readonly #handle: number;
  readonly #directory: string;
  readonly #poll: number;
  readonly #results = new Int32Array(RESULTS);
  // A process stays in it from call to call. A Map that is added to and deleted from makes a new
  // table now and then, to which the old one points: those that V8 has taken for old keep all later
  // ones alive, with the calls in them, until a full collection.
  readonly #adopted = new Map<number, Adopted>();
  #pending = 0;
  readonly #listeners = new Set<() => void>();
  #users = 0;
  #referenced = true;

  private constructor(handle: number, directory: string) {
    this.#handle = handle;
    this.#directory = directory;
    const poll = this.#native.pollStart(this.#native.wakerFd(handle), (status) => {
      this.#onReadable(status);
    });
    if (poll < 0) {
      this.#native.wakerClose(handle);
      fail(poll, 'bind', { reason: 'the event loop cannot watch the wake FIFO' });
    }
    this.#poll = poll;
    this.#keepLoop();
  }

  /**
   * The waker for a segment of `directory`, made when this environment has none. Each use ends with
   * `release`.
   */
  static use(segment: number, directory: string): Waker {
    let waker = wakers.get(directory);
    if (waker === undefined) {
      const handle = native().wakerOpen(segment);
      if (handle < 0) fail(handle, 'bind', { reason: `no wake FIFO in ${directory}` });
      waker = new Waker(handle, directory);
      wakers.set(directory, waker);
    }
    waker.#users++;
    return waker;
  }

  /** Ends one use; the last one removes the FIFO. */
  release(): void {
    if (--this.#users > 0) return;
    wakers.delete(this.#directory);
    this.#native.pollStop(this.#poll);
    this.#native.wakerClose(this.#handle);
  }

  /** Lets calls of `process` be awaited, until `disown`. Returns 0 or -errno. */
  adopt(process: number): number {
    const result = this.#native.wakerAdopt(this.#handle, process);
    if (result === 0) this.#adopted.set(process, { settle: undefined });
    return result;
  }

  /** The process is unbound. */
  disown(process: number): void {
    this.forget(process);
    this.#adopted.delete(process);
  }

  /**
   * Calls `settle` once with the result of the pending call of `process`, which is adopted, unless
   * it is taken back.
   */
  expect(process: number, settle: Settle): void {
    const adopted = this.#adopted.get(process);
    if (adopted === undefined) return;
    if (adopted.settle === undefined) this.#pending++;
    adopted.settle = settle;
    this.#keepLoop();
  }

  /** Takes an expectation back. Returns whether there was one. */
  forget(process: number): boolean {
    const found = this.#taken(process) !== undefined;
    this.#keepLoop();
    return found;
  }

  #taken(process: number): Settle | undefined {
    const adopted = this.#adopted.get(process);
    const settle = adopted?.settle;
    if (adopted === undefined || settle === undefined) return undefined;
    adopted.settle = undefined;
    this.#pending--;
    return settle;
  }

  /**
   * Calls `listener` at every wake, also at those meant for others. The function returned takes it
   * off.
   */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    this.#keepLoop();
    return () => {
      this.#listeners.delete(listener);
      this.#keepLoop();
    };
  }

  /**
   * Makes this waker hear of every bind and unbind in `segment`, or no longer. Returns 0 or -errno.
   */
  watchBinds(segment: number, on: boolean): number {
    return this.#native.wakerWatch(this.#handle, segment, on);
  }

  /** Makes this waker the one of the proxy for `node`. Returns 0 or -errno. */
  attachProxy(segment: number, node: number): number {
    return this.#native.attachProxy(segment, this.#handle, node);
  }

  /** Makes this waker the one of the node's tracker. Returns 0 or -errno. */
  attachTracker(segment: number): number {
    return this.#native.attachTracker(segment, this.#handle);
  }

  #onReadable(status: number): void {
    if (status < 0) fail(status, 'poll', { reason: 'the wake FIFO failed' });
    let count: number;
    do {
      count = this.#native.wakerStep(this.#handle, this.#results);
      for (let i = 0; i < count; i++) {
        const process = this.#results[2 * i] ?? 0;
        this.#taken(process)?.(this.#results[2 * i + 1] ?? 0);
      }
    } while (2 * count === RESULTS);
    for (const listener of [...this.#listeners]) listener();
    this.#keepLoop();
  }

  #keepLoop(): void {
    const wanted = this.#pending > 0 || this.#listeners.size > 0;
    if (wanted === this.#referenced) return;
    this.#referenced = wanted;
    this.#native.pollRef(this.#poll, wanted);
  }
}

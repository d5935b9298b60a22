/**
 * Has a thread of its own make the kernel drop pages, so that requests are answered meanwhile: the
 * kernel waits for them. The thread begins with the first pages.
 */
import { writeFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { PageDropper } from './recalls.ts';

export interface PageThreadStart {
  readonly fd: number;
  /** Not 0: the descriptor is not to be used any more. */
  readonly ended: SharedArrayBuffer;
}

export class PageThread implements PageDropper {
  readonly #fd: number;
  #worker: Worker | undefined;
  readonly #ended = new SharedArrayBuffer(4);
  /** Nodes that wait, and those who wait for them; the first is with the thread. */
  readonly #queue = new Map<number, (() => void)[]>();

  #isOver = false;

  /** Who asked for the node that is with the thread: it is to be done once more. */
  #again: (() => void)[] = [];

  constructor(fd: number) {
    this.#fd = fd;
  }

  async drop(node: number): Promise<void> {
    if (this.#isOver) return;
    await new Promise<void>((resolve) => {
      const [under] = this.#queue.keys();
      const waiting = this.#queue.get(node);
      if (under === node) this.#again.push(resolve);
      else if (waiting !== undefined) waiting.push(resolve);
      else {
        this.#queue.set(node, [resolve]);
        if (under === undefined) this.#give(node);
      }
    });
  }

  /**
   * The descriptor is about to be closed. A thread that still waits for a request that nobody
   * answers any more would keep the session, and this process, for ever: then the session, whose
   * mount has this device number, is ended by force.
   */
  end(deviceNumber: string): void {
    this.#isOver = true;
    Atomics.store(new Int32Array(this.#ended), 0, 1);
    if (this.#queue.size > 0) abort(deviceNumber);
    for (const resolves of this.#queue.values()) for (const resolve of resolves) resolve();
    this.#queue.clear();
    void this.#worker?.terminate();
  }

  #give(node: number): void {
    this.#worker ??= this.#begin();
    this.#worker.postMessage(node);
  }

  #begin(): Worker {
    const start: PageThreadStart = { fd: this.#fd, ended: this.#ended };
    const worker = new Worker(new URL('./page-thread.js', import.meta.url), { workerData: start });
    worker.unref();
    worker.on('message', (node: number) => {
      this.#done(node);
    });
    return worker;
  }

  #done(node: number): void {
    const resolves = this.#queue.get(node) ?? [];
    this.#queue.delete(node);
    if (this.#again.length > 0) this.#queue.set(node, this.#again);
    this.#again = [];
    const [next] = this.#queue.keys();
    if (next !== undefined) this.#give(next);
    for (const resolve of resolves) resolve();
  }
}

/** See the kernel's Documentation/filesystems/fuse.rst, "Aborting a filesystem connection". */
function abort(deviceNumber: string): void {
  const connection = deviceNumber.split(':')[1];
  if (connection === undefined) return;
  try {
    writeFileSync(`/sys/fs/fuse/connections/${connection}/abort`, '1');
  } catch {
    // Not mounted, or the session is over.
  }
}

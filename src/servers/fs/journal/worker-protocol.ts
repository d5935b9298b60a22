/**
 * What the server and the thread that writes its commits say to each other.
 *
 * Jobs go as messages, which name copies by their place in the shared pool. How a job ended lies in
 * shared memory: a word to wait for, an error's number, and its sentence.
 */
import type { Endpoint } from '../../../dvk/index.ts';
import type { OpenFile } from '../device.ts';
import type { Ring } from './log-writer.ts';

export interface WorkerStart {
  /** The server's own descriptor of the image. */
  readonly image: OpenFile;
  readonly pool: SharedArrayBuffer;
  readonly ring: Ring;
  readonly status: SharedArrayBuffer;
  readonly wake: Sleeper | undefined;
}

/** Who is woken when a job has ended: a process of a container, in its receive. */
export interface Sleeper {
  /** Path of the container's segment. */
  readonly segment: string;
  readonly endpoint: Endpoint;
}

/** A copy of a block by its place in the pool, in bytes. */
export interface PooledCopy {
  readonly block: number;
  readonly offset: number;
}

export const STATE = { idle: 0, busy: 1, done: 2, failed: 3 } as const;

const STATE_AT = 0;
const CODE_AT = 1;
const LENGTH_AT = 2;
const SENTENCE_AT = 16;
const SENTENCE_BYTES_MAX = 1024;

export interface Outcome {
  /** An errno, or 0 for a fault of the program. */
  readonly errno: number;
  readonly sentence: string;
}

/** How the last job stands. */
export class JobStatus {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #sentence: Uint8Array;

  constructor(memory = new SharedArrayBuffer(SENTENCE_AT + SENTENCE_BYTES_MAX)) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, SENTENCE_AT / 4);
    this.#sentence = new Uint8Array(memory, SENTENCE_AT);
  }

  get state(): number {
    return Atomics.load(this.#words, STATE_AT);
  }

  get outcome(): Outcome {
    const bytes = this.#sentence.slice(0, this.#words[LENGTH_AT]);
    return { errno: this.#words[CODE_AT] ?? 0, sentence: new TextDecoder().decode(bytes) };
  }

  begin(): void {
    Atomics.store(this.#words, STATE_AT, STATE.busy);
  }

  /** Returns when the job is no longer under way. */
  wait(): void {
    while (this.state === STATE.busy) Atomics.wait(this.#words, STATE_AT, STATE.busy);
  }

  end(failure?: Outcome): void {
    if (failure !== undefined) {
      const text = new TextEncoder().encode(failure.sentence).subarray(0, SENTENCE_BYTES_MAX);
      this.#sentence.set(text);
      this.#words[LENGTH_AT] = text.length;
      this.#words[CODE_AT] = failure.errno;
    }
    Atomics.store(this.#words, STATE_AT, failure === undefined ? STATE.done : STATE.failed);
    Atomics.notify(this.#words, STATE_AT);
  }
}

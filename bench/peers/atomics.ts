/**
 * Round trips between the main thread and a Worker over shared memory, each waiting in
 * Atomics.wait.
 *
 *   words: | turn | 15 of padding | letter: 16 |
 *
 * The turn is the number of hand-overs so far: even, the client's, odd, the Worker's.
 */
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { checkAnswer, measureSync } from './loops.ts';
import { followParent, ownPort, place, serveRuns } from './protocol.ts';
import type { Runner } from './protocol.ts';

const TURN = 0;
const FIRST = 16;
const LAST = 31;
const WORDS = 32;
// What the first word says instead of a counter, to a Worker that shall look at its messages again.
const PAUSE = 0x7fff_ffff;

/** Gives the turn to the other side. */
function pass(words: Int32Array): void {
  Atomics.add(words, TURN, 1);
  Atomics.notify(words, TURN, 1);
}

function wordAt(words: Int32Array, index: number): number {
  return words[index] ?? 0;
}

/** Waits until the turn is of this parity. */
function awaitTurn(words: Int32Array, parity: number): void {
  for (;;) {
    const turn = Atomics.load(words, TURN);
    if ((turn & 1) === parity) return;
    Atomics.wait(words, TURN, turn);
  }
}

class Client implements Runner {
  readonly #words = new Int32Array(new SharedArrayBuffer(WORDS * Int32Array.BYTES_PER_ELEMENT));
  readonly #worker = new Worker(new URL(import.meta.url), { workerData: this.#words });

  async run({ ms, cpus }: Parameters<Runner['run']>[0]): ReturnType<Runner['run']> {
    place(cpus.client);
    this.#worker.postMessage(cpus.peer);
    const result = measureSync((counter) => {
      // The counter that means a pause never comes: it would take two thousand million letters.
      this.#words[FIRST] = counter;
      this.#words[LAST] = ~counter;
      pass(this.#words);
      awaitTurn(this.#words, 0);
      checkAnswer(counter, wordAt(this.#words, FIRST), wordAt(this.#words, LAST));
    }, ms);
    this.#words[FIRST] = PAUSE;
    pass(this.#words);
    awaitTurn(this.#words, 0);
    return Promise.resolve(result);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

function answerUntilPause(words: Int32Array): void {
  for (;;) {
    awaitTurn(words, 1);
    if (words[FIRST] === PAUSE) break;
    words[FIRST] = ((words[FIRST] ?? 0) + 1) | 0;
    words[LAST] = ((words[LAST] ?? 0) - 1) | 0;
    pass(words);
  }
  pass(words);
}

if (isMainThread) {
  followParent();
  serveRuns(new Client());
} else {
  ownPort().on('message', (cpus: readonly number[]) => {
    place(cpus);
    answerUntilPause(workerData as Int32Array);
  });
}

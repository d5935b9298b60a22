/**
 * Round trips between the main thread and a Worker over MessagePort: 64 bytes, or an object of
 * eight numbers.
 */
import { once } from 'node:events';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

import { answerLetter, isLetter, letterOf, wordsOf, type Shape } from './letters.ts';
import { EventCalls, measureAsync } from './loops.ts';
import { configuration, followParent, ownPort, place, serveRuns } from './protocol.ts';
import type { Runner } from './protocol.ts';

export interface PortsConfig {
  readonly shape: Shape;
}

class Client implements Runner {
  readonly #worker: Worker;
  readonly #calls: EventCalls;

  constructor(shape: Shape) {
    this.#worker = new Worker(new URL(import.meta.url), { workerData: { shape } });
    this.#calls = new EventCalls((counter) => {
      this.#worker.postMessage(letterOf(shape, counter, ~counter));
    });
  }

  async run({ ms, cpus }: Parameters<Runner['run']>[0]): ReturnType<Runner['run']> {
    place(cpus.client);
    this.#worker.removeAllListeners('message');
    this.#worker.postMessage({ cpus: cpus.peer });
    await once(this.#worker, 'message');
    this.#worker.on('message', (letter: unknown) => {
      this.#calls.answered(...wordsOf(letter));
    });
    return measureAsync(async (counter) => this.#calls.call(counter), ms);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

function serve(shape: Shape): void {
  const port = ownPort();
  port.on('message', (message: unknown) => {
    if (isLetter(message)) {
      port.postMessage(answerLetter(shape, message));
    } else {
      place((message as { cpus: readonly number[] }).cpus);
      port.postMessage('placed');
    }
  });
}

if (isMainThread) {
  followParent();
  serveRuns(new Client((configuration() as PortsConfig).shape));
} else {
  serve((workerData as PortsConfig).shape);
}

/**
 * Round trips over the IPC channel of child_process.fork, with either of its two serializations.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

import { answerLetter, isLetter, letterOf, wordsOf } from './letters.ts';
import { EventCalls, measureAsync } from './loops.ts';
import { configuration, followParent, place, serveRuns } from './protocol.ts';
import type { Runner } from './protocol.ts';

export interface ChannelConfig {
  readonly role: 'client' | 'child';
  readonly serialization: 'json' | 'advanced';
}

class Client implements Runner {
  readonly #child: ChildProcess;
  readonly #calls: EventCalls;

  constructor(serialization: ChannelConfig['serialization']) {
    const config: ChannelConfig = { role: 'child', serialization };
    const program = fileURLToPath(import.meta.url);
    this.#child = fork(program, [JSON.stringify(config)], { serialization });
    this.#calls = new EventCalls((counter) => {
      this.#child.send(letterOf('object', counter, ~counter));
    });
  }

  async run({ ms, cpus }: Parameters<Runner['run']>[0]): ReturnType<Runner['run']> {
    place(cpus.client);
    this.#child.removeAllListeners('message');
    this.#child.send({ cpus: cpus.peer });
    await once(this.#child, 'message');
    this.#child.on('message', (letter: unknown) => {
      this.#calls.answered(...wordsOf(letter));
    });
    return measureAsync(async (counter) => this.#calls.call(counter), ms);
  }

  async close(): Promise<void> {
    this.#child.disconnect();
    await once(this.#child, 'exit');
  }
}

function serve(): void {
  process.on('message', (message: unknown) => {
    if (isLetter(message)) {
      process.send?.(answerLetter('object', message));
    } else {
      place((message as { cpus: readonly number[] }).cpus);
      process.send?.('placed');
    }
  });
}

followParent();
const { role, serialization } = configuration() as ChannelConfig;
if (role === 'client') serveRuns(new Client(serialization));
else serve();

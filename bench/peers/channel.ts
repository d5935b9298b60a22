/**
 * Round trips over the IPC channel of child_process.fork, with either of its two serializations.
 */
import { fileURLToPath } from 'node:url';

import { obeyPlace, ParentClient } from './child.ts';
import { answerLetter, letterOf, wordsOf } from './letters.ts';
import { configuration, followParent, serveRuns } from './protocol.ts';

export interface ChannelConfig {
  readonly role: 'client' | 'child';
  readonly serialization: 'json' | 'advanced';
}

class Client extends ParentClient {
  constructor(serialization: ChannelConfig['serialization']) {
    const config: ChannelConfig = { role: 'child', serialization };
    super(fileURLToPath(import.meta.url), config, { serialization });
  }

  protected post(counter: number): void {
    this.child.send(letterOf('object', counter, ~counter));
  }

  protected begin(): void {
    this.child.on('message', (letter: unknown) => {
      this.calls.answered(...wordsOf(letter));
    });
  }
}

function serve(): void {
  process.on('message', (message: unknown) => {
    if (!obeyPlace(message)) process.send?.(answerLetter('object', message));
  });
}

followParent();
const { role, serialization } = configuration() as ChannelConfig;
if (role === 'client') serveRuns(new Client(serialization));
else serve();

/** Round trips of 64 bytes between a request and a reply socket of ZeroMQ, over ipc://. */
import { fileURLToPath } from 'node:url';

import { Reply, Request } from 'zeromq';

import { obeyPlace, ParentClient } from './child.ts';
import { configuration, followParent, serveRuns } from './protocol.ts';

export interface ZeromqConfig {
  readonly role: 'client' | 'child';
  /** Where the child binds. */
  readonly address?: string;
}

const LETTER_BYTES = 64;
const LAST = LETTER_BYTES - 4;

class Client extends ParentClient {
  readonly #socket = new Request();

  constructor() {
    // An address in the abstract namespace, which leaves no file behind.
    const address = `ipc://@dvk-bench-zeromq-${String(process.pid)}`;
    const config: ZeromqConfig = { role: 'child', address };
    super(fileURLToPath(import.meta.url), config);
    this.#socket.linger = 0;
    this.#socket.connect(address);
  }

  protected begin(): void {
    // The socket finds the child by itself.
  }

  protected post(counter: number): void {
    this.#exchange(counter).catch((error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exit(1);
    });
  }

  async #exchange(counter: number): Promise<void> {
    const letter = Buffer.alloc(LETTER_BYTES);
    letter.writeInt32LE(counter, 0);
    letter.writeInt32LE(~counter, LAST);
    await this.#socket.send(letter);
    const [answer] = await this.#socket.receive();
    if (answer?.length !== LETTER_BYTES) throw new Error('an answer has another size');
    this.calls.answered(answer.readInt32LE(0), answer.readInt32LE(LAST));
  }

  override async close(): Promise<void> {
    this.#socket.close();
    await super.close();
  }
}

async function serve(address: string): Promise<void> {
  const socket = new Reply({ linger: 0 });
  process.on('message', obeyPlace);
  process.on('disconnect', () => {
    socket.close();
  });
  await socket.bind(address);
  for await (const [letter] of socket) {
    const answer = Buffer.from(letter ?? Buffer.alloc(LETTER_BYTES));
    answer.writeInt32LE((answer.readInt32LE(0) + 1) | 0, 0);
    answer.writeInt32LE((answer.readInt32LE(LAST) - 1) | 0, LAST);
    await socket.send(answer);
  }
}

followParent();
const { role, address = '' } = configuration() as ZeromqConfig;
if (role === 'client') serveRuns(new Client());
else await serve(address);

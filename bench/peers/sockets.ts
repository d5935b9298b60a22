/**
 * Round trips of 64 bytes over a unix socket of node:net, between two Node processes.
 */
import { once } from 'node:events';
import { createServer, connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

import { obeyPlace, ParentClient } from './child.ts';
import { LAST, LETTER_BYTES, onLetters } from './letter-stream.ts';
import { configuration, followParent, serveRuns } from './protocol.ts';

export interface SocketsConfig {
  readonly role: 'client' | 'child';
  /** Where the client listens; for the child. */
  readonly path?: string;
}

/** An address in the abstract namespace, which leaves no file behind. */
function ownAddress(): string {
  return `\0dvk-bench-${String(process.pid)}`;
}

class Client extends ParentClient {
  readonly #connected: Promise<Socket>;
  #socket: Socket | undefined;

  constructor() {
    const path = ownAddress();
    const server = createServer();
    const connected = once(server, 'connection').then(([socket]) => socket as Socket);
    server.listen(path);
    const config: SocketsConfig = { role: 'child', path };
    super(fileURLToPath(import.meta.url), config);
    this.#connected = connected.then((socket) => {
      server.close();
      onLetters(socket, (letter) => {
        this.calls.answered(letter.readInt32LE(0), letter.readInt32LE(LAST));
      });
      return socket;
    });
  }

  protected async begin(): Promise<void> {
    this.#socket = await this.#connected;
  }

  protected post(counter: number): void {
    const letter = Buffer.alloc(LETTER_BYTES);
    letter.writeInt32LE(counter, 0);
    letter.writeInt32LE(~counter, LAST);
    this.#socket?.write(letter);
  }
}

function serve(path: string): void {
  const socket = connect(path);
  onLetters(socket, (letter) => {
    const answer = Buffer.from(letter);
    answer.writeInt32LE((letter.readInt32LE(0) + 1) | 0, 0);
    answer.writeInt32LE((letter.readInt32LE(LAST) - 1) | 0, LAST);
    socket.write(answer);
  });
  process.on('message', obeyPlace);
  process.on('disconnect', () => {
    socket.destroy();
  });
}

followParent();
const { role, path = '' } = configuration() as SocketsConfig;
if (role === 'client') serveRuns(new Client());
else serve(path);

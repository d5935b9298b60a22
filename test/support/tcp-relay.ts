/**
 * A host on the path between two nodes over TCP: passes bytes on, and cuts connections, or lets
 * nothing through while both ends believe that they are connected.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

const HOST = '127.0.0.1';

export class TcpRelay {
  readonly #server: Server;
  readonly #target: () => number;
  readonly #sockets = new Set<Socket>();
  #silent = false;
  /** Connections that were made through it. */
  made = 0;

  /** `target` tells the listener's port on this host. */
  constructor(target: () => number) {
    this.#target = target;
    this.#server = createServer({ noDelay: true }, (near) => {
      this.#join(near);
    });
  }

  /** The port that takes the listener's place. */
  async start(): Promise<number> {
    this.#server.listen(0, HOST);
    await once(this.#server, 'listening');
    return (this.#server.address() as { port: number }).port;
  }

  /** Ends every connection, as when a router forgets them: both ends are told. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Nothing passes, and nobody is told; new connections are made and carry nothing. */
  silence(silent: boolean): void {
    this.#silent = silent;
    for (const socket of this.#sockets) {
      if (silent) socket.pause();
      else socket.resume();
    }
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #join(near: Socket): void {
    this.made++;
    const far = connect({ host: HOST, port: this.#target(), noDelay: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      from.on('data', (bytes) => {
        to.write(bytes);
      });
      from.on('error', () => undefined);
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (this.#silent) from.pause();
    }
  }
}

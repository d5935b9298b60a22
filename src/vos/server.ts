/**
 * The loop of a server: get work, dispatch it through a call table, reply.
 *
 * A server is a table of handlers; it blocks in `replyReceive`, one crossing into the core for the
 * reply to one client and the request of the next. SIGTERM ends the loop through `interruptOn` (see
 * `boot`), so does the end of the container.
 */
import { constants } from 'node:os';

import { ErrorNumber, fail, type Process } from '../dvk/index.ts';

/**
 * Serves one request. The request and the reply are messages of 64 bytes and may be the same
 * memory; the handler fills the reply's payload and returns the result for its type: 0 or more, or
 * -errno.
 */
export type Handler = (request: DataView, reply: DataView) => number;
export type CallTable = ReadonlyMap<number, Handler>;

/** What a server does from time to time, between two requests. */
export interface Chore {
  readonly everyMs: number;
  run(): void;
}

const { EINTR, ETIMEDOUT } = constants.errno;
const { EDVSDCNOTRUN, EBADREQUEST } = ErrorNumber;

/**
 * Serves requests until the process is asked to stop or its container ends. A request that the
 * table does not know gets EBADREQUEST. A chore that is due comes after the reply to the request
 * that is served. Throws what the kernel call fails with for any other reason, and what a handler
 * or the chore throws: a fault of the server, which ends it.
 */
export function serve(server: Process, calls: CallTable, chore?: Chore): void {
  const { message } = server;
  const { view } = message;
  const pace = new Pace(chore);
  let result = server.rcvrqstRaw(pace.leftMs());
  for (;;) {
    if (result === -ETIMEDOUT) {
      pace.run();
      result = server.rcvrqstRaw(pace.leftMs());
      continue;
    }
    if (result < 0) {
      if (result === -EINTR || result === -EDVSDCNOTRUN) return;
      fail(result, 'rcvrqst');
    }
    const client = message.source;
    const handler = calls.get(message.type);
    message.type = handler === undefined ? -EBADREQUEST : handler(view, view);
    const leftMs = pace.leftMs();
    if (leftMs === 0) {
      // A client that is gone is no error.
      server.replyRaw(client);
      result = -ETIMEDOUT;
    } else {
      result = server.replyReceiveRaw(client, leftMs);
    }
  }
}

/** When the chore is due. */
class Pace {
  readonly #chore: Chore | undefined;
  #dueMs: number;

  constructor(chore: Chore | undefined) {
    this.#chore = chore;
    this.#dueMs = performance.now() + (chore?.everyMs ?? 0);
  }

  /** 0 when it is due; -1, for ever, without one. */
  leftMs(): number {
    if (this.#chore === undefined) return -1;
    return Math.max(0, Math.ceil(this.#dueMs - performance.now()));
  }

  run(): void {
    this.#chore?.run();
    this.#dueMs = performance.now() + (this.#chore?.everyMs ?? 0);
  }
}

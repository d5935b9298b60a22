/**
 * The loop of a server: get work, dispatch it through a call table, reply.
 *
 * A server is a table of handlers; it blocks in `replyReceive`, one crossing into the core for the
 * reply to one client and the request of the next. A reply that has to wait for something is held,
 * and others are served meanwhile. SIGTERM ends the loop through `interruptOn` (see `boot`), so
 * does the end of the container.
 */
import { constants } from 'node:os';

import { ErrorNumber, fail, type Process } from '../dvk/index.ts';
import { HeldReplies } from './held-replies.ts';

/**
 * Serves one request. The request and the reply are messages of 64 bytes and may be the same
 * memory; the handler fills the reply's payload and returns the result for its type: 0 or more, or
 * -errno.
 */
export type Handler = (request: DataView, reply: DataView) => number;
export type CallTable = ReadonlyMap<number, Handler>;

/** What a server does besides, between two requests. */
export interface Chore {
  /** ms until it is due, 0: now; -1: when the server is woken (`Segment.wakeup`). */
  leftMs(): number;
  run(): void;
}

const { EAGAIN, EINTR, ETIMEDOUT } = constants.errno;
const { EDVSDCNOTRUN, EDVSSHUTDOWN, EDVSWOKENUP, EBADREQUEST } = ErrorNumber;
/** A signal, an unbind by another program, or the end of the container. */
const ENDS: ReadonlySet<number> = new Set([-EINTR, -EDVSSHUTDOWN, -EDVSDCNOTRUN]);
const NO_CHORE: Chore = { leftMs: () => -1, run: () => undefined };

/**
 * Serves requests until the process is asked to stop or its container ends. A request that the
 * table does not know gets EBADREQUEST. A chore that is due comes after the reply to the request
 * that is served, and whenever the server is woken. Replies that `held` keeps are the chore's to
 * settle. Throws what the kernel call fails with for any other reason, and what a handler or the
 * chore throws: a fault of the server, which ends it.
 */
export function serve(
  server: Process,
  calls: CallTable,
  chore: Chore = NO_CHORE,
  held: HeldReplies = new HeldReplies(),
): void {
  const { message } = server;
  const { view } = message;
  let result = server.rcvrqstRaw(chore.leftMs());
  for (;;) {
    if (result === -ETIMEDOUT || result === -EAGAIN || result === -EDVSWOKENUP) {
      chore.run();
      result = server.rcvrqstRaw(chore.leftMs());
      continue;
    }
    if (result < 0) {
      if (ENDS.has(result)) return;
      fail(result, 'rcvrqst');
    }
    const client = message.source;
    const handler = calls.get(message.type);
    const outcome = handler === undefined ? -EBADREQUEST : handler(view, view);
    const reply = held.take(server, outcome);
    const leftMs = chore.leftMs();
    if (reply !== undefined) {
      message.type = reply;
      if (leftMs !== 0) {
        result = server.replyReceiveRaw(client, leftMs);
        continue;
      }
      // A client that is gone is no error.
      server.replyRaw(client);
    }
    result = leftMs === 0 ? -ETIMEDOUT : server.rcvrqstRaw(leftMs);
  }
}

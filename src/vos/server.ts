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

const { EINTR } = constants.errno;
const { EDVSDCNOTRUN, EBADREQUEST } = ErrorNumber;

/**
 * Serves requests until the process is asked to stop or its container ends. A request that the
 * table does not know gets EBADREQUEST. Throws what the kernel call fails with for any other
 * reason, and what a handler throws: a fault of the server, which ends it.
 */
export function serve(server: Process, calls: CallTable): void {
  const { message } = server;
  const { view } = message;
  let result = server.rcvrqstRaw();
  for (;;) {
    if (result < 0) {
      if (result === -EINTR || result === -EDVSDCNOTRUN) return;
      fail(result, 'rcvrqst');
    }
    const client = message.source;
    const handler = calls.get(message.type);
    message.type = handler === undefined ? -EBADREQUEST : handler(view, view);
    result = server.replyReceiveRaw(client);
  }
}

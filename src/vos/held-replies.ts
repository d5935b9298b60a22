/**
 * Replies of a server that wait for something, while it serves other requests.
 *
 * Whoever serves a request says what its reply waits for; `serve` asks `take` whether the reply may
 * go, and the server's chore calls `settle` when something has happened. An endpoint has one call
 * under way, so there is one held reply for each at most. A client that gave up and asks again is
 * answered when what it waited for before has come, too.
 */
import type { CallNumber, Endpoint, Process } from '../dvk/index.ts';

/** Undefined while the reply has to wait; then 0, or the -errno that takes the result's place. */
export type Wait = () => number | undefined;

interface Held {
  readonly call: CallNumber;
  readonly message: Uint8Array;
  readonly result: number;
  readonly waits: readonly Wait[];
}

const MESSAGE_BYTES = 64;

export class HeldReplies {
  /** Of the request that is served now. */
  #waits: Wait[] = [];
  readonly #held = new Map<Endpoint, Held>();

  /** Replies that wait. */
  get size(): number {
    return this.#held.size;
  }

  /** The reply to the request that is served now waits for this, besides others. */
  await(wait: Wait): void {
    this.#waits.push(wait);
  }

  /** For `serve`, when a request was handled: its result, or undefined if the reply is held. */
  take(server: Process, result: number): number | undefined {
    const waits = this.#waits;
    const client = server.message.source;
    const before = this.#held.get(client);
    if (before !== undefined) {
      waits.push(...before.waits);
      this.#held.delete(client);
    }
    if (waits.length === 0) return result;
    this.#waits = [];
    const outcome = outcomeOf(waits);
    if (outcome !== undefined) return outcome < 0 ? outcome : result;
    const { view } = server.message;
    const message = new Uint8Array(view.buffer, view.byteOffset, MESSAGE_BYTES).slice();
    this.#held.set(client, { call: server.lastCall, message, result, waits });
    return undefined;
  }

  /** Sends what need not wait any more. Uses the server's message. */
  settle(server: Process): void {
    for (const [client, { call, message, result, waits }] of this.#held) {
      const outcome = outcomeOf(waits);
      if (outcome === undefined) continue;
      this.#held.delete(client);
      const { view } = server.message;
      new Uint8Array(view.buffer, view.byteOffset, MESSAGE_BYTES).set(message);
      server.message.type = outcome < 0 ? outcome : result;
      // A client that is gone is no error.
      server.replyRaw(client, call);
    }
  }
}

function outcomeOf(waits: readonly Wait[]): number | undefined {
  let failure = 0;
  for (const wait of waits) {
    const outcome = wait();
    if (outcome === undefined) return undefined;
    if (outcome < 0) failure = outcome;
  }
  return failure;
}

/**
 * Looks for an answer for a moment before the event loop sleeps.
 *
 * Who calls a process of another node mostly waits for nothing else, and so does the proxy that
 * has sent the call. A CPU that has nothing to do is halted, and to wake it again takes longer
 * than all that a proxy does for a call. So after a command went out the event loop goes round
 * without sleeping for BUSY_MS, as the kernel does for sockets with `net.core.busy_poll`.
 *
 * That is done while it pays. A moment in which nothing came makes the next ones rarer: the pause
 * grows by four, and halves with each that brought something, as for the yields of blocking calls.
 * A turn of the loop that took long shows that somebody else has work for the CPU, which counts as
 * nothing too. With several commands under way the loop is busy in any case.
 *
 * A transport that can look for what comes by itself does so in each turn: to find out by way of
 * the event loop takes longer than to receive.
 */

/** Longest moment. */
const BUSY_MS = 0.12;
// A turn takes some microseconds.
const STOLEN_MS = 0.3;
const UNDER_WAY_MAX = 8;
const PAUSE_MAX = 63;

export interface PollTools {
  nowMs: () => number;
  /** Calls back in the next turn of the event loop, before which it does not sleep. */
  nextTurn: (callback: () => void) => void;
}

export class BusyPoll {
  readonly #tools: PollTools;
  /**
   * Looks for an answer for some microseconds, which is quicker than a turn of the event loop. Set
   * by what carries a command, after `sent`.
   */
  look: (() => void) | undefined;
  #untilMs = 0;
  #turnMs = 0;
  #isTurning = false;
  #penalty = 0;
  #pause = 0;
  #underWay = 0;

  constructor(tools: PollTools) {
    this.#tools = tools;
  }

  /** A command went out that may be answered. */
  sent(): void {
    this.look = undefined;
    if (++this.#underWay > UNDER_WAY_MAX) {
      this.#untilMs = 0;
      return;
    }
    if (this.#pause > 0) {
      this.#pause--;
      return;
    }
    this.#turnMs = this.#tools.nowMs();
    this.#untilMs = this.#turnMs + BUSY_MS;
    if (this.#isTurning) return;
    this.#isTurning = true;
    this.#tools.nextTurn(this.#turn);
  }

  /** A command came. */
  received(): void {
    this.#underWay = 0;
    if (this.#untilMs === 0) return;
    this.#untilMs = 0;
    this.#penalty >>= 1;
    this.#pause = this.#penalty;
  }

  readonly #turn = (): void => {
    if (this.#untilMs > 0) {
      const nowMs = this.#tools.nowMs();
      const isStolen = nowMs - this.#turnMs > STOLEN_MS;
      this.#turnMs = nowMs;
      if (!isStolen && nowMs < this.#untilMs) {
        this.look?.();
        // With what it has found the event loop may sleep at once.
        this.#isTurning = this.#untilMs > 0;
        if (this.#isTurning) this.#tools.nextTurn(this.#turn);
        return;
      }
      this.#untilMs = 0;
      this.#penalty = Math.min(4 * this.#penalty + 3, PAUSE_MAX);
      this.#pause = this.#penalty;
    }
    this.#isTurning = false;
  };
}

/**
 * How long to wait before dialling again.
 *
 * The n-th failure in a row waits between one half and all of `firstMs * 2^n`, at most `longestMs`:
 * the doubling spares a node that is gone, the random part keeps nodes that lost the same peer from
 * dialling in step.
 */
export interface BackoffOptions {
  firstMs: number;
  longestMs: number;
  /** A number from 0 to below 1; Math.random, or a seeded one. */
  random: () => number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Failures since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /** The wait after one more failure, in ms. */
  next(): number {
    const { firstMs, longestMs, random } = this.#options;
    const fullMs = Math.min(longestMs, firstMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    return (fullMs * (1 + random())) / 2;
  }

  /** Things went well: the next failure is the first. */
  reset(): void {
    this.#failures = 0;
  }
}

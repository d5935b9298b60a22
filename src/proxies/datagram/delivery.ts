/**
 * How many bytes a second a lane delivers while there is more to send than the network takes. What
 * is quick to send, and then waits for an answer, says nothing of that.
 */
import type { Bandwidth } from '../transport.ts';

const SAMPLE_MS = 2;

export class DeliveryMeter {
  #sinceMs = 0;
  #arrivedBefore = 0;
  #isBusy = false;
  #bandwidth: Bandwidth | undefined;

  get bandwidth(): Bandwidth | undefined {
    return this.#bandwidth;
  }

  /** `arrived` bytes have arrived in all; `isBusy`: others wait to be sent. */
  note(arrived: number, isBusy: boolean, nowMs: number): void {
    const passedMs = nowMs - this.#sinceMs;
    if (this.#isBusy && passedMs < SAMPLE_MS) {
      this.#isBusy = isBusy;
      return;
    }
    if (this.#isBusy) {
      const bytesPerSecond = (1000 * (arrived - this.#arrivedBefore)) / passedMs;
      this.#bandwidth = { bytesPerSecond, isLimited: false };
    }
    this.#isBusy = isBusy;
    this.#sinceMs = nowMs;
    this.#arrivedBefore = arrived;
  }
}

/**
 * The estimate of a path's round-trip time, after RFC 9002, section 5 (the formulas of RFC 6298,
 * with the other side's own delay taken off). All times are in ms.
 */

// Before the first sample: RFC 9002, section 6.2.2, has 333 ms; nodes of a DVS are near each other.
const INITIAL_MS = 100;
/** kGranularity of RFC 9002: what a timer is late by. */
export const GRANULARITY_MS = 1;

export class RttEstimator {
  #sampled = false;
  smoothedMs: number = INITIAL_MS;
  variationMs: number = INITIAL_MS / 2;
  /** Smallest of all samples; Infinity before the first. */
  minMs = Infinity;
  latestMs: number = INITIAL_MS;

  /** A packet was acknowledged `sampleMs` after it was sent, `delayMs` of it being the peer's. */
  update(sampleMs: number, delayMs: number): void {
    const sample = Math.max(0, sampleMs);
    this.latestMs = sample;
    this.minMs = Math.min(this.minMs, sample);
    if (!this.#sampled) {
      this.#sampled = true;
      this.smoothedMs = sample;
      this.variationMs = sample / 2;
      return;
    }
    const adjusted = sample - delayMs >= this.minMs ? sample - delayMs : sample;
    this.variationMs += (Math.abs(this.smoothedMs - adjusted) - this.variationMs) / 4;
    this.smoothedMs += (adjusted - this.smoothedMs) / 8;
  }

  /** Whether there was a sample yet. */
  get isKnown(): boolean {
    return this.#sampled;
  }

  /** How long to wait for an answer that the peer holds back for `delayMs` at most. */
  probeTimeoutMs(delayMs: number): number {
    return this.smoothedMs + Math.max(4 * this.variationMs, GRANULARITY_MS) + delayMs;
  }
}

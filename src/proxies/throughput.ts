/** How much went over a link in the last seconds, from a few samples of its counters. */

export interface Throughput {
  /** The time that is looked back on; 0 before there is any. */
  overMs: number;
  sentBytesPerSecond: number;
  receivedBytesPerSecond: number;
}

interface Sample {
  atMs: number;
  sent: number;
  received: number;
}

const SAMPLE_MS = 1000;
const SAMPLES_MAX = 5;

export class ThroughputMeter {
  // Oldest first, SAMPLE_MS and more apart.
  readonly #samples: Sample[] = [];

  /** To be called now and then with counters that only grow. */
  note(atMs: number, sent: number, received: number): void {
    const last = this.#samples.at(-1);
    if (last !== undefined && atMs - last.atMs < SAMPLE_MS) return;
    this.#samples.push({ atMs, sent, received });
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
  }

  /** From the oldest sample to now, with the counters of now. */
  measure(atMs: number, sent: number, received: number): Throughput {
    const [first] = this.#samples;
    const overMs = first === undefined ? 0 : atMs - first.atMs;
    if (first === undefined || overMs <= 0) {
      return { overMs: 0, sentBytesPerSecond: 0, receivedBytesPerSecond: 0 };
    }
    const each = (bytes: number): number => Math.round((1000 * bytes) / overMs);
    return {
      overMs: Math.round(overMs),
      sentBytesPerSecond: each(sent - first.sent),
      receivedBytesPerSecond: each(received - first.received),
    };
  }
}

/**
 * How many bytes may be under way: NewReno, as RFC 9002, section 7, has it for datagrams (after
 * RFC 6582 and RFC 5681).
 *
 * Deviates in one point: bursts are limited by the sender's own cap for each turn of the event
 * loop (section 7.7 asks for pacing or a limit), since timers of 1 ms are longer than the round
 * trip of most of our paths.
 */

// No more than this waits in the buffers of a path, however well it goes.
const WINDOW_BYTES_MAX = 4 * 1024 * 1024;
const INITIAL_PACKETS = 10;
const INITIAL_BYTES_MIN = 14_720;
const MINIMUM_PACKETS = 2;

export class NewReno {
  #packetBytes: number;
  #windowBytes: number;
  #thresholdBytes = Infinity;
  #recoveryStartMs = -Infinity;

  /** `packetBytes` is the longest packet sent now. */
  constructor(packetBytes: number) {
    this.#packetBytes = packetBytes;
    this.#windowBytes = this.#initialBytes();
  }

  /** The congestion window. */
  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** Packets are longer or shorter from now on. */
  setPacketBytes(packetBytes: number): void {
    this.#packetBytes = packetBytes;
    this.#windowBytes = Math.max(this.#windowBytes, this.#minimumBytes());
  }

  /**
   * A packet of `bytes` that was sent at `sentMs` has arrived. `isLimit` says that the window, and
   * not the lack of anything to send, held the sender back.
   */
  acked(bytes: number, sentMs: number, isLimit: boolean): void {
    if (sentMs <= this.#recoveryStartMs || !isLimit) return;
    const more =
      this.#windowBytes < this.#thresholdBytes
        ? bytes
        : (this.#packetBytes * bytes) / this.#windowBytes;
    this.#windowBytes = Math.min(WINDOW_BYTES_MAX, this.#windowBytes + more);
  }

  /** A packet that was sent at `sentMs` is lost. Losses of one round trip count once. */
  lost(sentMs: number, nowMs: number): void {
    if (sentMs <= this.#recoveryStartMs) return;
    this.#recoveryStartMs = nowMs;
    this.#thresholdBytes = Math.max(this.#windowBytes / 2, this.#minimumBytes());
    this.#windowBytes = this.#thresholdBytes;
  }

  /** Nothing at all arrived for several time-outs: section 7.6. */
  collapse(): void {
    this.#windowBytes = this.#minimumBytes();
    this.#recoveryStartMs = -Infinity;
  }

  #initialBytes(): number {
    const bytes = Math.max(INITIAL_BYTES_MIN, MINIMUM_PACKETS * this.#packetBytes);
    return Math.min(INITIAL_PACKETS * this.#packetBytes, bytes);
  }

  #minimumBytes(): number {
    return MINIMUM_PACKETS * this.#packetBytes;
  }
}

/**
 * How many bytes a second a path delivers: the samples of
 * draft-cheng-iccrg-delivery-rate-estimation, and the highest of the last ones, as BBR takes it
 * (draft-ietf-ccwg-bbr, section 5.5).
 *
 * An acknowledgement tells what has arrived since its packet was sent, and in what time. That is
 * less than the path delivers when this program, or the peer's, had to wait for its CPU, so the
 * highest sample of ten round trips counts. While there was not enough to send, a sample says only
 * that it is not less; so it counts when it is higher than what is known, and nothing is forgotten
 * for it: short copies that go through at once tell of a fast path as well.
 */
import type { Bandwidth } from '../transport.ts';

const PERIOD_RTTS = 10;
const PERIOD_MS_MIN = 20;

/** What had arrived when a packet was sent. */
export interface DeliveryState {
  readonly bytes: number;
  /** When the last of them were acknowledged, and when that one was sent. */
  readonly ackedMs: number;
  readonly sentMs: number;
  /** Whether there was not enough to send. */
  readonly isLimited: boolean;
}

interface DeliveredPacket {
  readonly number: number;
  readonly bytes: number;
  readonly sentMs: number;
  readonly delivery: DeliveryState;
}

export class DeliveryMeter {
  #state: DeliveryState = { bytes: 0, ackedMs: 0, sentMs: 0, isLimited: true };
  // Samples are of a path that was not full until so many bytes have arrived.
  #limitedBytes = 0;
  // Highest sample of this period and of the one before.
  #highest = 0;
  #highestBefore = 0;
  #periodMs = -Infinity;

  /** Undefined as long as there was never enough to send. */
  get bandwidth(): Bandwidth | undefined {
    const bytesPerSecond = Math.max(this.#highest, this.#highestBefore);
    return bytesPerSecond > 0 ? { bytesPerSecond, isLimited: false } : undefined;
  }

  /** To be kept with a packet that is sent now; `isFirst`: none is under way. */
  sent(nowMs: number, isFirst: boolean): DeliveryState {
    if (isFirst) this.#state = { ...this.#state, ackedMs: nowMs, sentMs: nowMs };
    return this.#state;
  }

  /** All was sent that there is, and the path would take more; so many bytes are under way. */
  limited(bytesInFlight: number): void {
    this.#limitedBytes = this.#state.bytes + bytesInFlight;
    if (!this.#state.isLimited) this.#state = { ...this.#state, isLimited: true };
  }

  /** These packets have arrived. */
  acked(packets: readonly DeliveredPacket[], nowMs: number, rttMs: number): void {
    let [last] = packets;
    if (last === undefined) return;
    let { bytes } = this.#state;
    for (const packet of packets) {
      bytes += packet.bytes;
      if (packet.number > last.number) last = packet;
    }
    const { delivery: before, sentMs } = last;
    this.#state = { bytes, ackedMs: nowMs, sentMs, isLimited: bytes <= this.#limitedBytes };
    const tookMs = Math.max(sentMs - before.sentMs, nowMs - before.ackedMs);
    if (tookMs <= 0) return;
    this.#note((1000 * (bytes - before.bytes)) / tookMs, before.isLimited, nowMs, rttMs);
  }

  #note(bytesPerSecond: number, isLimited: boolean, nowMs: number, rttMs: number): void {
    if (isLimited) {
      const known = Math.max(this.#highest, this.#highestBefore);
      if (known > 0 && bytesPerSecond > known) this.#highest = bytesPerSecond;
      return;
    }
    if (nowMs >= this.#periodMs + Math.max(PERIOD_MS_MIN, PERIOD_RTTS * rttMs)) {
      this.#highestBefore = this.#highest;
      this.#highest = 0;
      this.#periodMs = nowMs;
    }
    this.#highest = Math.max(this.#highest, bytesPerSecond);
  }
}

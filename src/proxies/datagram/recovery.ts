/**
 * Which packets arrived, and which are lost: RFC 9002, section 6.
 *
 * A packet is lost when one sent later was acknowledged, and it is either three packets or more
 * than a round trip behind. A path that reorders shows itself by acknowledgements of packets taken
 * for lost; both limits grow then, as the window of reordering does in RFC 8985 (RACK), section
 * 6.2. When nothing is acknowledged at all, a time-out has the oldest data sent again without
 * declaring anything lost (TLP there, PTO in RFC 9002).
 */
import type { DeliveryState } from './delivery.ts';
import { InFlight, type Numbered } from './in-flight.ts';
import type { Range } from './ranges.ts';
import { GRANULARITY_MS, RttEstimator } from './rtt.ts';

/** Bytes of a lane in a packet. */
export interface SentBytes {
  lane: number;
  offset: number;
  count: number;
}

/** A packet that asks to be acknowledged. */
export interface SentPacket extends Numbered {
  bytes: number;
  sentMs: number;
  /** Whether it is a probe of the path's MTU. */
  probe: boolean;
  data: readonly SentBytes[];
  /** Lanes whose window it tells: bit 0 for lane 0, and so on. */
  windows: number;
  /** Highest packet number that it acknowledges; -1 for none. */
  acks: number;
  /** What had arrived by then. */
  delivery: DeliveryState;
}

export interface RecoveryCounters {
  packetsLost: number;
  /** Packets that were taken for lost and had arrived. */
  spuriousLosses: number;
  timeouts: number;
}

/** The peer holds an acknowledgement back for so long at most. */
export const ACK_DELAY_MS = 5;

const PACKET_THRESHOLD = 3;
const PACKET_THRESHOLD_MAX = 64;
const TIME_THRESHOLD = 9 / 8;
const REORDER_STEPS_MAX = 8;
// RFC 9002 lets the time-out double without end; a link that comes back is to be used soon.
const TIMEOUT_MS_MAX = 400;
const NONE: readonly SentPacket[] = [];
// Losses remembered in case they arrived after all.
const REMEMBERED_MAX = 64;

export class Recovery {
  readonly rtt: RttEstimator = new RttEstimator();
  readonly counters: RecoveryCounters = { packetsLost: 0, spuriousLosses: 0, timeouts: 0 };
  readonly #sent = new InFlight<SentPacket>();
  readonly #lostNumbers = new Set<number>();
  #bytesInFlight = 0;
  #largestAcked = -1;
  #lastSentMs = 0;
  #lossMs = Infinity;
  #timeoutsInRow = 0;
  #packetThreshold = PACKET_THRESHOLD;
  #reorderSteps = 0;
  #reorderRound = -1;
  #trustedMs = -Infinity;
  /** Since when something is under way and nothing was acknowledged; Infinity with nothing. */
  waitingSinceMs = Infinity;

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  get packetsInFlight(): number {
    return this.#sent.size;
  }

  /** Time-outs since the last packet that was acknowledged. */
  get timeoutsInRow(): number {
    return this.#timeoutsInRow;
  }

  /** The oldest packets that are neither acknowledged nor lost, `count` at most. */
  oldest(count: number): SentPacket[] {
    return this.#sent.oldest(count);
  }

  sent(packet: SentPacket): void {
    if (this.#sent.size === 0) this.waitingSinceMs = packet.sentMs;
    this.#sent.add(packet);
    this.#bytesInFlight += packet.bytes;
    this.#lastSentMs = packet.sentMs;
  }

  /** Takes an acknowledgement, `ranges` going down. Returns the packets it is news of. */
  acknowledged(ranges: readonly Range[], delayMs: number, nowMs: number): SentPacket[] {
    const highest = (ranges[0]?.end ?? 0) - 1;
    if (this.#lostNumbers.size > 0) this.#noteSpurious(ranges);
    const acked: SentPacket[] = [];
    for (const { start, end } of ranges) {
      for (const packet of this.#sent.between(start, end)) {
        this.#forget(packet);
        acked.push(packet);
      }
    }
    if (acked.length === 0) return acked;
    this.#timeoutsInRow = 0;
    this.waitingSinceMs = this.#sent.size > 0 ? nowMs : Infinity;
    if (highest > this.#largestAcked) this.#largestAcked = highest;
    // Of each range the highest comes last.
    const isLatest = acked.length === 1 || ranges.length === 1;
    const latest = isLatest ? acked.at(-1) : acked.find(({ number }) => number === highest);
    if (latest?.number === highest && latest.sentMs >= this.#trustedMs)
      this.rtt.update(nowMs - latest.sentMs, Math.min(delayMs, ACK_DELAY_MS));
    return acked;
  }

  /** Takes the packets that must be lost by now out of flight. */
  lost(nowMs: number): readonly SentPacket[] {
    if (this.#sent.size === 0) {
      this.#lossMs = this.waitingSinceMs = Infinity;
      return NONE;
    }
    const { rtt } = this;
    const factor = TIME_THRESHOLD + this.#reorderSteps / 4;
    const base = Math.max(rtt.smoothedMs, rtt.latestMs);
    const lossDelayMs = Math.max(factor * base, GRANULARITY_MS);
    const lost: SentPacket[] = [];
    this.#lossMs = Infinity;
    for (const packet of this.#sent) {
      if (packet.number >= this.#largestAcked) break;
      const dueMs = packet.sentMs + lossDelayMs;
      if (this.#largestAcked - packet.number >= this.#packetThreshold || dueMs <= nowMs) {
        lost.push(packet);
      } else {
        this.#lossMs = Math.min(this.#lossMs, dueMs);
      }
    }
    for (const packet of lost) {
      this.#forget(packet);
      if (packet.probe) continue;
      this.counters.packetsLost++;
      this.#lostNumbers.add(packet.number);
    }
    for (const number of this.#lostNumbers) {
      if (this.#lostNumbers.size <= REMEMBERED_MAX) break;
      this.#lostNumbers.delete(number);
    }
    if (this.#sent.size === 0) this.waitingSinceMs = Infinity;
    return lost;
  }

  /** When `lost` or `timedOut` is to be called; Infinity when nothing is under way. */
  get wakeMs(): number {
    return Math.min(this.#lossMs, this.timeoutMs);
  }

  /** When the next time-out is; Infinity when nothing is under way. */
  get timeoutMs(): number {
    if (this.#sent.size === 0) return Infinity;
    const once = this.rtt.probeTimeoutMs(ACK_DELAY_MS);
    if (this.#timeoutsInRow === 0) return this.#lastSentMs + once;
    const backedOff = once * 2 ** Math.min(this.#timeoutsInRow, 16);
    return this.#lastSentMs + Math.max(once, Math.min(backedOff, TIMEOUT_MS_MAX));
  }

  timedOut(nowMs: number): void {
    this.#timeoutsInRow++;
    this.#lastSentMs = nowMs;
    this.counters.timeouts++;
  }

  /** This process stood still until now: what was sent before tells nothing of round trips. */
  distrust(nowMs: number): void {
    this.#trustedMs = nowMs;
  }

  /** Forgets everything under way. */
  clear(): void {
    this.#sent.clear();
    this.#bytesInFlight = 0;
    this.#lossMs = Infinity;
    this.waitingSinceMs = Infinity;
  }

  #forget(packet: SentPacket): void {
    this.#sent.remove(packet);
    this.#bytesInFlight -= packet.bytes;
  }

  // Once in each flight, so that one burst of late packets widens the limits by one step.
  #noteSpurious(ranges: readonly Range[]): void {
    for (const number of this.#lostNumbers) {
      if (!ranges.some((range) => number >= range.start && number < range.end)) continue;
      this.#lostNumbers.delete(number);
      this.counters.spuriousLosses++;
      if (number <= this.#reorderRound) continue;
      this.#reorderRound = this.#largestAcked;
      this.#packetThreshold = Math.min(PACKET_THRESHOLD_MAX, 2 * this.#packetThreshold);
      this.#reorderSteps = Math.min(REORDER_STEPS_MAX, this.#reorderSteps + 1);
    }
  }
}

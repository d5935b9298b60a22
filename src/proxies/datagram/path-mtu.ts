/**
 * The longest datagram that a path carries, found by probes: DPLPMTUD of RFC 8899.
 *
 * The states BASE, SEARCHING and SEARCH_COMPLETE of its section 5.2 are one number here, the index
 * of the longest size of a table that was confirmed, and whether there is more to try. A probe is a
 * packet of that size that carries no data; its loss says nothing of congestion. When long packets
 * stop arriving while short ones do (a black hole, section 4.3), the size falls back to the
 * shortest, which the handshake has shown to pass, and the search begins anew after a while. What
 * is sent after a time-out is short, so there are always some to compare with.
 *
 * Sizes are those of UDP payloads: 1472 is Ethernet with IPv4, 1452 with IPv6, 1372 leaves room for
 * usual tunnels, 8952 and 8972 are jumbo frames, 16332 suits a loopback device. A limit that is
 * lower than what may be sent at most is one that somebody knows, and is tried as well.
 */
import { DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN } from './packet.ts';

const SIZES = [DATAGRAM_BYTES_MIN, 1372, 1452, 1472, 8952, 8972, 16_332] as const;
// MAX_PROBES of RFC 8899, section 5.1.2.
const PROBES_MAX = 3;
// PMTU_RAISE_TIMER, section 5.1.1; and a shorter one, since a link that was cut looks like a black
// hole.
const RAISE_MS = 600_000;
const RAISE_AFTER_FALL_MS = 5000;
// Bursts with long packets that were lost, sent after the last one that arrived, that make a black
// hole. A queue that overflows loses many packets in a row, and lets later ones pass; and what a
// host sends together it may lose together.
const LOSSES_IN_ROW_MAX = 5;

/** What is looked at of a packet. */
interface Sent {
  number: number;
  bytes: number;
  probe: boolean;
  /** The same for those of one burst. */
  sentMs: number;
}

export class PathMtu {
  readonly #sizes: readonly number[];
  #confirmed = 0;
  // The first size known not to pass; beyond the table when there is none.
  #refused: number;
  #probes = 0;
  #probing = false;
  #lossesInRow = 0;
  // When the burst was sent that was lost last.
  #lostMs = -Infinity;
  #longArrived = -1;
  #raiseMs = Infinity;

  /** `limitBytes` is the longest datagram to try. */
  constructor(limitBytes: number) {
    const isKnown = limitBytes > DATAGRAM_BYTES_MIN && limitBytes < DATAGRAM_BYTES_MAX;
    const usual = SIZES.filter((size) => size === DATAGRAM_BYTES_MIN || size < limitBytes);
    this.#sizes = isKnown ? [...usual, limitBytes] : usual;
    this.#refused = this.#sizes.length;
  }

  /** The longest datagram to send, in bytes of UDP payload. */
  get bytes(): number {
    return this.#sizes[this.#confirmed] ?? DATAGRAM_BYTES_MIN;
  }

  /** The size to probe now, or undefined. */
  wanted(nowMs: number): number | undefined {
    if (nowMs >= this.#raiseMs) {
      this.#raiseMs = Infinity;
      this.#refused = this.#sizes.length;
    }
    const next = this.#confirmed + 1;
    return this.#probing || next >= this.#refused ? undefined : this.#sizes[next];
  }

  /** When there may be something to probe again; Infinity for never. */
  get wakeMs(): number {
    return this.#raiseMs;
  }

  probeSent(): void {
    this.#probing = true;
    this.#probes++;
  }

  /** A packet arrived. Returns whether the size to use has changed. */
  arrived({ number, bytes, probe }: Sent, nowMs: number): boolean {
    if (bytes > DATAGRAM_BYTES_MIN && number > this.#longArrived) {
      this.#longArrived = number;
      this.#lossesInRow = 0;
    }
    if (!probe) return false;
    this.#probing = false;
    this.#probes = 0;
    const size = this.#sizes.indexOf(bytes);
    if (size <= this.#confirmed) return false;
    this.#confirmed = size;
    this.#settle(nowMs);
    return true;
  }

  /** A packet was lost. Returns whether the size to use has changed. */
  lost({ number, bytes, probe, sentMs }: Sent, nowMs: number): boolean {
    if (probe) {
      this.#probing = false;
      if (this.#probes < PROBES_MAX) return false;
      this.#refuse(this.#confirmed + 1, nowMs);
      return false;
    }
    if (bytes <= DATAGRAM_BYTES_MIN || number < this.#longArrived) return false;
    if (sentMs === this.#lostMs) return false;
    this.#lostMs = sentMs;
    return ++this.#lossesInRow >= LOSSES_IN_ROW_MAX && this.#fall(nowMs);
  }

  /** The host itself refused to send a packet of `bytes`. Returns whether the size has changed. */
  tooLong(bytes: number, nowMs: number): boolean {
    this.#probing = false;
    if (bytes <= this.bytes) return this.#fall(nowMs);
    this.#refuse(this.#confirmed + 1, nowMs);
    return false;
  }

  // Back to the shortest. Returns whether that is a change.
  #fall(nowMs: number): boolean {
    if (this.#confirmed === 0) return false;
    this.#lossesInRow = 0;
    this.#confirmed = 0;
    this.#refused = 1;
    this.#raiseMs = nowMs + RAISE_AFTER_FALL_MS;
    return true;
  }

  #refuse(size: number, nowMs: number): void {
    this.#probes = 0;
    this.#refused = size;
    this.#settle(nowMs);
  }

  #settle(nowMs: number): void {
    const isOver = this.#confirmed + 1 >= this.#refused && this.#refused < this.#sizes.length;
    if (isOver) this.#raiseMs = nowMs + RAISE_MS;
  }
}

/**
 * Which packets of the peer came, and when to say so: RFC 9000, section 13.2.
 *
 * Every second packet that asks for it is acknowledged at once, a single one after ACK_DELAY_MS
 * unless something else goes out before, one out of order at once. Old ranges are forgotten: what
 * is below them counts as a duplicate, and is sent again by the peer under a new number.
 */
import { rangesFrom, type FrameWriter } from './frames.ts';
import { Ranges } from './ranges.ts';
import { ACK_DELAY_MS } from './recovery.ts';

const RANGES_MAX = 64;

export class ReceivedPackets {
  readonly #numbers = new Ranges();
  // Below this every packet counts as a duplicate.
  #floor = 0;
  // The peer knows what is below this.
  #knownBelow = 0;
  #highestMs = 0;
  #unanswered = 0;
  #dueMs = Infinity;

  /** When an acknowledgement must go out; Infinity for never. */
  get dueMs(): number {
    return this.#dueMs;
  }

  /** Whether the packet came before, or is too old to tell. */
  isDuplicate(number: number): boolean {
    return number < this.#floor || this.#numbers.has(number);
  }

  /** A packet has come; `asks` when it wants to be acknowledged. */
  add(number: number, asks: boolean, nowMs: number): void {
    const highest = (this.#numbers.last?.end ?? 0) - 1;
    this.#numbers.add(number, number + 1);
    if (number > highest) this.#highestMs = nowMs;
    this.#knownBelow = Math.min(this.#knownBelow, number);
    while (this.#numbers.count > RANGES_MAX) {
      this.#floor = this.#numbers.first?.end ?? 0;
      this.#numbers.dropFirst();
    }
    if (!asks) return;
    this.#unanswered++;
    const isDue = this.#unanswered >= 2 || number !== highest + 1;
    this.#dueMs = Math.min(this.#dueMs, isDue ? nowMs : nowMs + ACK_DELAY_MS);
  }

  /** Writes an ACK when there is something to say; the highest number it tells of, or -1. */
  write(writer: FrameWriter, nowMs: number): number {
    const last = this.#numbers.last;
    if (this.#unanswered === 0 || last === undefined) return -1;
    const ranges = rangesFrom(this.#numbers, this.#knownBelow);
    if (!writer.ack(ranges, nowMs - this.#highestMs)) return -1;
    this.#unanswered = 0;
    this.#dueMs = Infinity;
    return last.end - 1;
  }

  /** The peer has got an ACK that told of packets up to `number`. */
  known(number: number): void {
    this.#knownBelow = Math.max(this.#knownBelow, number + 1);
  }
}

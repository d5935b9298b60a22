/**
 * The packets under way, by rising number. An array, since a Map that is added to and deleted from
 * leaves a chain of old tables behind, see waker.ts.
 */

/** Is under way, or not any more. */
export interface Numbered {
  readonly number: number;
  /** Set by InFlight. */
  isGone?: boolean;
}

// Of those at the front that are not under way any more.
const GONE_MAX = 256;

export class InFlight<Packet extends Numbered> {
  // All of them, and some that are not under way any more; none before #first is.
  readonly #packets: Packet[] = [];
  #first = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** `packet` has a higher number than all before. */
  add(packet: Packet): void {
    this.#packets.push(packet);
    this.#size++;
  }

  /** The packet is not under way any more. */
  remove(packet: Packet): void {
    if (packet.isGone === true) return;
    packet.isGone = true;
    this.#size--;
    const packets = this.#packets;
    if (this.#size === 0) {
      while (packets.length > 0) packets.pop();
      this.#first = 0;
      return;
    }
    while (packets[this.#first]?.isGone === true) this.#first++;
    if (this.#first < GONE_MAX || 2 * this.#first < packets.length) return;
    packets.splice(0, this.#first);
    this.#first = 0;
  }

  clear(): void {
    for (const packet of this) packet.isGone = true;
    this.#packets.length = this.#first = this.#size = 0;
  }

  /** The first ones, `count` at most. */
  oldest(count: number): Packet[] {
    const found: Packet[] = [];
    for (const packet of this) {
      if (found.length === count) break;
      found.push(packet);
    }
    return found;
  }

  /** Those with numbers from `start` to before `end`, by rising number; they may be removed. */
  between(start: number, end: number): Packet[] {
    const found: Packet[] = [];
    for (let at = this.#find(start); at < this.#packets.length; at++) {
      const packet = this.#packets[at];
      if (packet === undefined || packet.number >= end) break;
      if (packet.isGone !== true) found.push(packet);
    }
    return found;
  }

  /** By rising number; none is to be removed meanwhile. */
  *[Symbol.iterator](): Generator<Packet> {
    for (let at = this.#first; at < this.#packets.length; at++) {
      const packet = this.#packets[at];
      if (packet !== undefined && packet.isGone !== true) yield packet;
    }
  }

  // Where the first one with this number or a higher one is.
  #find(number: number): number {
    let low = this.#first;
    let high = this.#packets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#packets[middle]?.number ?? Infinity) < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

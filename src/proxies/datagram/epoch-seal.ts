/**
 * The seal of a connection's packets whose keys change as time goes on.
 *
 * A packet names the low byte of its epoch in its header, and each side takes its own direction to
 * the next epoch, before a key has sealed more than it may, or is too old. That is the key update
 * of RFC 9001, section 6, with a whole byte in place of a bit, so both directions are free:
 *
 * - nobody goes on before a packet of the present epoch was acknowledged, so the receiver needs the
 *   keys of three epochs at most: the present one, the one before it, and the next;
 * - the next keys take their place when a packet was opened with them, not when one claims it;
 * - the old ones are good for packets that were overtaken: for a bounded time, and for lower
 *   numbers than any packet of the new ones has (section 6.4 there).
 *
 * Replays are found by the packet's number; see received.ts.
 */
import { PacketLayout, type PacketSeal } from './packet.ts';
import type { PacketCipher } from './security.ts';

const TAG_BYTES = 16;
// A packet that is later than this counts as lost.
const OVERTAKEN_MS = 2000;

export interface EpochLimits {
  /**
   * Packets that one key seals before it is replaced. RFC 9001, section 6.6, allows 2^23 for
   * AES-GCM and packets up to 2^16 bytes.
   */
  rekeyPackets: number;
  /** How long a key is used. */
  rekeyMs: number;
}

export class EpochSeal implements PacketSeal {
  readonly tagBytes: number = TAG_BYTES;
  readonly #limits: EpochLimits;
  // What this side seals with.
  #sending: PacketCipher;
  #epoch = 0;
  #sinceMs: number;
  #sealed = 0;
  #firstSent = 0;
  #isSeen = false;
  // What this side opens with.
  #receiving: PacketCipher;
  #receivingEpoch = 0;
  #next: PacketCipher | undefined;
  #old: PacketCipher | undefined;
  #oldUntilMs = -Infinity;
  // The lowest number opened with #receiving.
  #lowest = Infinity;

  constructor(send: PacketCipher, receive: PacketCipher, limits: EpochLimits, nowMs: number) {
    this.#sending = send;
    this.#receiving = receive;
    this.#limits = limits;
    this.#sinceMs = nowMs;
  }

  /** How often this side has taken new keys. */
  get rekeys(): number {
    return this.#epoch;
  }

  seal(packet: Uint8Array, number: number, nowMs: number): void {
    const { rekeyPackets, rekeyMs } = this.#limits;
    const isWorn = this.#sealed >= rekeyPackets || nowMs >= this.#sinceMs + rekeyMs;
    if (isWorn && this.#isSeen) this.#advance(number, nowMs);
    this.#sealed++;
    packet[PacketLayout.epoch] = this.#epoch & 0xff;
    this.#sending.seal(packet, PacketLayout.BYTES, number);
  }

  acknowledged(number: number): void {
    if (number >= this.#firstSent) this.#isSeen = true;
  }

  open(packet: Uint8Array, number: number, nowMs: number): boolean {
    if (packet.length < PacketLayout.BYTES + TAG_BYTES) return false;
    // -1 for the one before, 0 for the present one, 1 for the next; anything else is none of ours.
    const ahead = (((packet[PacketLayout.epoch] ?? 0) - this.#receivingEpoch + 1) & 0xff) - 1;
    switch (ahead) {
      case 0:
        if (!this.#receiving.open(packet, PacketLayout.BYTES, number)) return false;
        this.#lowest = Math.min(this.#lowest, number);
        return true;
      case 1:
        // Made once, however many packets claim to be of it.
        this.#next ??= this.#receiving.next();
        if (!this.#next.open(packet, PacketLayout.BYTES, number)) return false;
        this.#follow(this.#next, number, nowMs);
        return true;
      case -1:
        if (nowMs >= this.#oldUntilMs || number > this.#lowest) return false;
        return this.#old?.open(packet, PacketLayout.BYTES, number) ?? false;
      default:
        return false;
    }
  }

  erase(): void {
    for (const cipher of [this.#sending, this.#receiving, this.#next, this.#old]) cipher?.erase();
  }

  #advance(number: number, nowMs: number): void {
    const before = this.#sending;
    this.#sending = before.next();
    before.erase();
    this.#epoch++;
    this.#sealed = 0;
    this.#sinceMs = nowMs;
    this.#firstSent = number;
    this.#isSeen = false;
  }

  #follow(next: PacketCipher, number: number, nowMs: number): void {
    this.#old?.erase();
    this.#old = this.#receiving;
    this.#oldUntilMs = nowMs + OVERTAKEN_MS;
    this.#receiving = next;
    this.#next = undefined;
    this.#receivingEpoch++;
    this.#lowest = number;
  }
}

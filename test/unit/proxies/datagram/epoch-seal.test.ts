// The change of keys in a connection, with a cipher that shows which key it has.
import { describe, expect, it } from 'vitest';
import { EpochSeal } from '../../../../src/proxies/datagram/epoch-seal.ts';
import type { PacketCipher } from '../../../../src/proxies/datagram/security.ts';

const LIMITS = { rekeyPackets: 10, rekeyMs: 1000 };

/** Its tag is its number. */
class ShownCipher implements PacketCipher {
  readonly key: number;
  made = 0;
  isErased = false;

  constructor(key: number) {
    this.key = key;
  }

  seal(packet: Uint8Array): void {
    if (this.isErased) throw new Error('sealed with keys that are gone');
    packet[31] = this.key;
  }

  open(packet: Uint8Array): boolean {
    return !this.isErased && packet[31] === (this.key & 0xff);
  }

  next(): ShownCipher {
    this.made++;
    return new ShownCipher(this.key + 1);
  }

  erase(): void {
    this.isErased = true;
  }
}

class Ends {
  readonly cipher = new ShownCipher(0);
  readonly sender = new EpochSeal(new ShownCipher(0), new ShownCipher(0), LIMITS, 0);
  readonly receiver = new EpochSeal(new ShownCipher(0), this.cipher, LIMITS, 0);
  number = 0;

  send(nowMs = 0): { packet: Uint8Array; number: number } {
    const packet = new Uint8Array(32);
    const number = this.number++;
    this.sender.seal(packet, number, nowMs);
    return { packet, number };
  }

  /** Sends until the sender is in `epoch`; everything arrives. */
  reach(epoch: number): void {
    while (this.sender.rekeys < epoch) {
      const { packet, number } = this.send();
      expect(this.receiver.open(packet, number, 0)).toBe(true);
      this.sender.acknowledged(number);
    }
  }
}

describe('the keys of a connection', () => {
  it('are replaced after so many packets, once a packet was acknowledged', () => {
    const ends = new Ends();
    for (let i = 0; i < 30; i++) ends.send();
    expect(ends.sender.rekeys).toBe(0);

    ends.sender.acknowledged(3);
    expect(ends.send().packet[3]).toBe(1);
    expect(ends.sender.rekeys).toBe(1);
    for (let i = 0; i < 30; i++) ends.send();
    // Those were of the epoch before.
    for (let number = 0; number < 30; number++) ends.sender.acknowledged(number);
    ends.send();
    expect(ends.sender.rekeys).toBe(1);
    ends.sender.acknowledged(31);
    ends.send();
    expect(ends.sender.rekeys).toBe(2);
  });

  it('are replaced after a time', () => {
    const ends = new Ends();
    const { number } = ends.send();
    ends.sender.acknowledged(number);

    ends.send(999);
    expect(ends.sender.rekeys).toBe(0);
    ends.send(1000);
    expect(ends.sender.rekeys).toBe(1);
  });

  it('are followed through more epochs than a byte counts', () => {
    const ends = new Ends();
    ends.reach(600);

    expect(ends.sender.rekeys).toBe(600);
  });

  it('do not change for a packet that only claims so, and are made once for all of them', () => {
    const ends = new Ends();
    for (let i = 0; i < 1000; i++) {
      const forged = new Uint8Array(32).fill(99);
      forged[3] = 1;
      expect(ends.receiver.open(forged, 5000 + i, 0)).toBe(false);
    }

    expect(ends.cipher.made).toBe(1);
    const { packet, number } = ends.send();
    expect(ends.receiver.open(packet, number, 0)).toBe(true);
  });

  it('are known for three epochs only', () => {
    const ends = new Ends();
    for (let epoch = 2; epoch < 256; epoch++) {
      const packet = new Uint8Array(32);
      [packet[3], packet[31]] = [epoch, epoch];
      expect(ends.receiver.open(packet, 1, 0)).toBe(false);
    }
  });

  it('open packets that were overtaken, for a while, and no others', () => {
    const ends = new Ends();
    const early = ends.send();
    ends.reach(1);
    const [late, replay] = [new Uint8Array(32), new Uint8Array(32)];

    expect(ends.receiver.open(Uint8Array.from(early.packet), early.number, 1999)).toBe(true);
    expect(ends.receiver.open(Uint8Array.from(early.packet), early.number, 2000)).toBe(false);
    // Of the old keys, with a number that only the new ones can have had.
    expect(ends.receiver.open(late, ends.number + 5, 1)).toBe(false);
    ends.reach(2);
    // Two epochs ago.
    expect(ends.receiver.open(replay, early.number, 1)).toBe(false);
  });

  it('refuse packets that are too short for a tag', () => {
    const ends = new Ends();
    for (let bytes = 0; bytes < 32; bytes++) {
      expect(ends.receiver.open(new Uint8Array(bytes), 0, 0)).toBe(false);
    }
  });

  it('are gone when they are replaced, or at the end', () => {
    const ends = new Ends();
    ends.reach(2);
    expect(ends.cipher.isErased).toBe(true);

    ends.sender.erase();
    expect(() => ends.send()).toThrow('gone');
  });
});

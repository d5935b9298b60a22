/**
 * One lane of a connection, incoming: puts bytes in order and hands them to the owner.
 *
 * Bytes in order go straight from the datagram to the owner. What came early, or while the owner
 * does not take anything, waits in a ring that is as long as the window told to the peer; it is
 * made when first needed. So a connection never holds more than its window, and a peer that sends
 * beyond it is at fault. The window starts small and doubles as long as it is used up within a few
 * round trips.
 */
import { Ranges } from './ranges.ts';

// More holes than this mean that a packet is treated as lost.
const RANGES_MAX = 256;

export interface LaneSink {
  /** Where to put what comes; empty while nothing is taken. */
  space(): Uint8Array;
  received(bytes: number): void;
}

export type Taken = 'taken' | 'full' | 'beyond-window';

export class ReceiveLane {
  readonly #sink: LaneSink;
  readonly #windowMax: number;
  // Beyond #next, in the ring.
  readonly #early = new Ranges();
  #ring: Uint8Array | undefined;
  #window: number;
  #next = 0;
  #told: number;
  #toldMs = -Infinity;

  constructor(sink: LaneSink, windowBytes: number, windowMax: number) {
    this.#sink = sink;
    this.#window = windowBytes;
    this.#windowMax = windowMax;
    this.#told = windowBytes;
  }

  /** Bytes in the ring: what this lane costs. */
  get heldBytes(): number {
    return this.#ring?.length ?? 0;
  }

  /** Bytes handed to the owner. */
  get deliveredBytes(): number {
    return this.#next;
  }

  /** Whether the peer should be told that there is more room. */
  get hasWindow(): boolean {
    return this.#next + this.#window - this.#told >= this.#window / 2;
  }

  /** Bytes of the peer. Nothing of them is kept when the result is not `taken`. */
  take(offset: number, bytes: Uint8Array): Taken {
    const end = offset + bytes.length;
    if (end > this.#told) return 'beyond-window';
    if (end <= this.#next) return 'taken';
    if (offset <= this.#next && !this.#isHeld()) {
      const isNew = offset === this.#next;
      const count = this.#hand(isNew ? bytes : bytes.subarray(this.#next - offset));
      this.#early.remove(0, this.#next);
      if (this.#next === end) {
        this.flow();
        return 'taken';
      }
      return this.#keep(this.#next, bytes.subarray(bytes.length - (end - this.#next)), count > 0);
    }
    const start = Math.max(offset, this.#next);
    return this.#keep(start, bytes.subarray(start - offset), false);
  }

  /** Hands over what waits and is in order. */
  flow(): void {
    for (;;) {
      const first = this.#early.first;
      const ring = this.#ring;
      if (ring === undefined || first?.start !== this.#next) return;
      const at = this.#next % ring.length;
      const count = this.#hand(ring.subarray(at, at + (first.end - first.start)));
      this.#early.remove(0, this.#next);
      if (count === 0) return;
    }
  }

  /** The offset to tell the peer, which may send up to it from now on. */
  tell(nowMs: number, rttMs: number): number {
    if (nowMs - this.#toldMs < Math.max(4 * rttMs, 10)) this.#grow();
    this.#toldMs = nowMs;
    this.#told = Math.max(this.#told, this.#next + this.#window);
    return this.#told;
  }

  abandon(): void {
    this.#ring = undefined;
    this.#early.clear();
  }

  // Whether what is in order waits already.
  #isHeld(): boolean {
    return this.#early.first?.start === this.#next;
  }

  // Returns how many bytes the owner took, all in order.
  #hand(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length) {
      const space = this.#sink.space();
      if (space.length === 0) break;
      const isWhole = at === 0 && bytes.length <= space.length;
      const part = isWhole ? bytes : bytes.subarray(at, at + space.length);
      space.set(part);
      at += part.length;
      this.#next += part.length;
      this.#sink.received(part.length);
    }
    return at;
  }

  #keep(offset: number, bytes: Uint8Array, isPart: boolean): Taken {
    const end = offset + bytes.length;
    // The rest of what was handed over in part must be kept, and there is room: it touches nothing.
    if (!isPart && this.#early.countWith(offset, end) > RANGES_MAX) return 'full';
    this.#put((this.#ring ??= new Uint8Array(this.#window)), offset, bytes);
    this.#early.add(offset, end);
    return 'taken';
  }

  #put(ring: Uint8Array, offset: number, bytes: Uint8Array): void {
    const at = offset % ring.length;
    const head = bytes.subarray(0, ring.length - at);
    ring.set(head, at);
    if (head.length < bytes.length) ring.set(bytes.subarray(head.length), 0);
  }

  #grow(): void {
    const before = this.#ring;
    const window = Math.min(this.#windowMax, 2 * this.#window);
    if (window === this.#window) return;
    this.#window = window;
    if (before === undefined) return;
    const ring = new Uint8Array(window);
    for (const { start, end } of this.#early.all) {
      for (let offset = start; offset < end;) {
        const at = offset % before.length;
        const part = before.subarray(at, at + (end - offset));
        this.#put(ring, offset, part);
        offset += part.length;
      }
    }
    this.#ring = ring;
  }
}

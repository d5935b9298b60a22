/**
 * One lane of a connection, outgoing: bytes that were written and have not all arrived.
 *
 * Nothing is copied before it is put into a packet: what was written stays where it is, and its
 * owner hears when all of it has arrived. Lost bytes go before new ones.
 */
import { Ranges } from './ranges.ts';

interface Write {
  bytes: Uint8Array;
  /** Offset of its first byte in the lane. */
  start: number;
  done: () => void;
}

// A view costs as much as the copy of a short command, and that is mostly sent whole.
function partOf(bytes: Uint8Array, start: number, most: number): Uint8Array {
  return start === 0 && bytes.length <= most ? bytes : bytes.subarray(start, start + most);
}

export class SendLane {
  readonly #writes: Write[] = [];
  // Acknowledged beyond #acked, and to be sent again.
  readonly #ackedAbove = new Ranges();
  readonly #lost = new Ranges();
  // All below #acked has arrived, all below #next was sent, all below #end was written.
  #acked = 0;
  #next = 0;
  #end = 0;
  #window: number;

  /** `windowBytes` is what the peer takes without having said so. */
  constructor(windowBytes: number) {
    this.#window = windowBytes;
  }

  /** Bytes written that have not arrived. */
  get bufferedBytes(): number {
    return this.#end - this.#acked;
  }

  /** Whether there are bytes that the peer would take. */
  get hasBytes(): boolean {
    return this.#lost.count > 0 || this.#next < Math.min(this.#end, this.#window);
  }

  /** Bytes that were never sent. */
  get newBytes(): number {
    return this.#end - this.#next;
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#writes.push({ bytes, start: this.#end, done });
    this.#end += bytes.length;
  }

  /** The peer takes bytes up to `offset`. */
  widen(offset: number): void {
    this.#window = Math.max(this.#window, offset);
  }

  /** The next bytes to send, `most` at most; they count as sent now. */
  take(most: number): { offset: number; count: number } | undefined {
    const again = this.#lost.first;
    if (again) {
      const offset = again.start;
      const count = Math.min(most, again.end - offset);
      this.#lost.remove(offset, offset + count);
      return { offset, count };
    }
    const offset = this.#next;
    const count = Math.min(most, Math.min(this.#end, this.#window) - offset);
    if (count <= 0) return undefined;
    this.#next += count;
    return { offset, count };
  }

  /** Puts the bytes from `offset` on into `target`, from `at` to before `end`. */
  copy(offset: number, target: Uint8Array, at = 0, end: number = target.length): void {
    let from = offset;
    for (let index = this.#find(offset); at < end; index++) {
      const write = this.#writes[index];
      if (write === undefined) throw new RangeError('bytes that were released are asked for');
      const part = partOf(write.bytes, from - write.start, end - at);
      target.set(part, at);
      at += part.length;
      from += part.length;
    }
  }

  /** Bytes that the peer has. */
  acked(offset: number, count: number): void {
    const end = offset + count;
    this.#lost.remove(offset, end);
    if (end <= this.#acked) return;
    if (offset <= this.#acked && this.#ackedAbove.count === 0) {
      this.#acked = end;
      return;
    }
    this.#ackedAbove.add(Math.max(offset, this.#acked), end);
    const first = this.#ackedAbove.first;
    if (first?.start !== this.#acked) return;
    this.#acked = first.end;
    this.#ackedAbove.dropFirst();
  }

  /** Bytes to be sent again, unless they have arrived. */
  again(offset: number, count: number): void {
    const start = Math.max(offset, this.#acked);
    const end = offset + count;
    if (end <= start) return;
    this.#lost.add(start, end);
    for (const range of this.#ackedAbove.all) this.#lost.remove(range.start, range.end);
  }

  /** Tells the owners of what has arrived; not to be called while an owner calls. */
  release(): void {
    for (;;) {
      const write = this.#writes[0];
      if (write === undefined || write.start + write.bytes.length > this.#acked) return;
      this.#writes.shift();
      write.done();
    }
  }

  /** Gives everything back; nothing is sent any more. */
  abandon(): void {
    this.#acked = this.#next = this.#end;
    this.#lost.clear();
    this.#ackedAbove.clear();
    this.release();
  }

  // Index of the write that has the byte at `offset`.
  #find(offset: number): number {
    let low = 0;
    let high = this.#writes.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#writes[middle]?.start ?? Infinity) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/**
 * A block device that keeps every write and flush, and tells what a crash may have left of them.
 *
 * What a flush came after is there. Of what was written since, any part of any write may be: each
 * piece of 1 KiB is there or not. Pieces of one place keep their order.
 */
import { MemoryDevice } from './memory-device.ts';

const PIECE_BYTES = 1024;

interface Write {
  readonly at: number;
  readonly data: Uint8Array;
}

export class RecordingDevice extends MemoryDevice {
  /** What was there in the beginning. */
  readonly base: Uint8Array;
  /** Writes and discards, and undefined for a flush. */
  readonly events: (Write | undefined)[] = [];

  constructor(content: Uint8Array) {
    super(content.slice());
    this.base = content;
  }

  override write(data: Uint8Array, at: number): void {
    super.write(data, at);
    this.events.push({ at, data: data.slice() });
  }

  override flush(): void {
    super.flush();
    this.events.push(undefined);
  }

  /** A crash may leave of it as much as of a write. */
  override discard(at: number, bytes: number): void {
    super.discard(at, bytes);
    this.events.push({ at, data: this.content.slice(at, at + bytes) });
  }

  /** The points right before and right after each flush. */
  barriers(): number[] {
    return this.events.flatMap((event, index) => (event === undefined ? [index, index + 1] : []));
  }

  /**
   * Gives `use` what a crash at each of `points`, numbers of events that had begun, left. A point
   * right after a flush leaves all before it; at others chance says what of the last writes is
   * there. The content is used again after the call.
   */
  crashes(
    points: readonly number[],
    random: () => number,
    use: (content: Uint8Array, point: number) => void,
  ): void {
    const durable = this.base.slice();
    const content = this.base.slice();
    let flushed = 0;
    for (const point of [...points].sort((one, other) => one - other)) {
      for (let index = flushed; index < point; index++) {
        if (this.events[index] !== undefined) continue;
        for (const write of this.events.slice(flushed, index)) put(durable, write);
        flushed = index + 1;
      }
      content.set(durable);
      const share = random();
      for (const write of this.events.slice(flushed, point)) {
        for (const piece of piecesOf(write)) if (random() < share) put(content, piece);
      }
      use(content, point);
    }
  }
}

function put(content: Uint8Array, write: Write | undefined): void {
  if (write !== undefined) content.set(write.data, write.at);
}

function piecesOf(write: Write | undefined): Write[] {
  const pieces: Write[] = [];
  const data = write?.data ?? new Uint8Array(0);
  for (let from = 0; from < data.length; from += PIECE_BYTES) {
    pieces.push({ at: (write?.at ?? 0) + from, data: data.subarray(from, from + PIECE_BYTES) });
  }
  return pieces;
}

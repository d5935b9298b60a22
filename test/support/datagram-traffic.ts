/**
 * Two lanes of bytes each way over one connection, made from offsets, so that every byte that comes
 * is checked at once: in order, exactly once, and the right one.
 */
import type { Connection, ConnectionEvents, Lane, Refusal } from '../../src/proxies/transport.ts';

/** The byte at `offset` of a stream. */
function byteAt(stream: number, offset: number): number {
  return (offset * 31 + (offset >>> 8) * 7 + (offset >>> 16) * 3 + stream * 101) & 255;
}

export class TrafficEnd implements ConnectionEvents {
  readonly name: string;
  readonly #stream: number;
  readonly #peerStream: number;
  readonly #buffer: Uint8Array;
  connection: Connection | undefined;
  closedWith: string | undefined;
  refusal: Refusal | undefined;
  readonly written: [number, number] = [0, 0];
  readonly taken: [number, number] = [0, 0];
  writes = 0;
  done = 0;

  /** `stream` is different for the two ends. */
  constructor(name: string, streams: { own: number; peer: number }, bufferBytes: number) {
    this.name = name;
    this.#stream = streams.own;
    this.#peerStream = streams.peer;
    this.#buffer = new Uint8Array(bufferBytes);
  }

  write(lane: Lane, bytes: number): void {
    const start = this.written[lane];
    const stream = this.#stream + lane;
    this.written[lane] += bytes;
    this.writes++;
    const data = Uint8Array.from({ length: bytes }, (_, i) => byteAt(stream, start + i));
    const isDone = (): void => {
      this.done++;
      // What is given back may be changed: if any of it were still to be sent, the peer would see.
      data.fill(0xee);
    };
    this.connection?.write(data, isDone, lane);
  }

  /** Whether all that `peer` wrote has come. */
  has(peer: TrafficEnd): boolean {
    return this.taken.every((bytes, lane) => bytes === peer.written[lane as Lane]);
  }

  opened(connection: Connection): void {
    if (this.connection !== undefined) throw new Error('opened twice');
    this.connection = connection;
  }

  space(lane: Lane = 0): Uint8Array {
    // As a link does: nothing bulky before something urgent.
    return lane === 1 && this.taken[0] === 0 ? this.#buffer.subarray(0, 0) : this.#buffer;
  }

  received(bytes: number, lane: Lane = 0): void {
    if (this.closedWith !== undefined) throw new Error(`${this.name}: bytes after the end`);
    const start = this.taken[lane];
    for (let i = 0; i < bytes; i++) {
      if (this.#buffer[i] === byteAt(this.#peerStream + lane, start + i)) continue;
      throw new Error(`${this.name}: lane ${lane} is wrong at ${start + i}`);
    }
    this.taken[lane] += bytes;
  }

  closed(reason: string, refusal?: Refusal): void {
    if (this.closedWith !== undefined) throw new Error(`${this.name}: closed twice`);
    this.closedWith = reason;
    this.refusal = refusal;
  }
}

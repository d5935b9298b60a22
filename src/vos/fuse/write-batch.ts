/** Short writes to one file that go to the server with one call, in their order. */
import type { Owner } from '../client/file-service.ts';
import { type Piece, piecesFit } from '../protocol/fs-pieces.ts';

/** A write(2) of a program. */
export interface WriteRequest {
  readonly offset: number;
  readonly data: Uint8Array;
  readonly flags: number;
  readonly owner: Owner;
}

/** Where in the batch's memory a piece lies. */
interface Held {
  readonly offset: number;
  readonly at: number;
  length: number;
}

export class WriteBatch {
  readonly first: WriteRequest;
  /** Resolves with the bytes that were written. */
  readonly done: Promise<number>;
  readonly settle: (sent: Promise<number>) => void;
  readonly memory: Uint8Array;
  readonly #held: Held[] = [];
  #length = 0;

  /** Keeps what is written in `memory`, from its start on. It is made for `first`, and empty. */
  constructor(first: WriteRequest, memory: Uint8Array) {
    this.first = first;
    this.memory = memory;
    let settle: WriteBatch['settle'] = () => undefined;
    this.done = new Promise<number>((resolve) => {
      settle = resolve;
    });
    this.settle = settle;
  }

  /** Whether the write may be added: there is room, and it is of the same kind. */
  fits({ offset, data, flags, owner }: WriteRequest): boolean {
    if (flags !== this.first.flags || owner.uid !== this.first.owner.uid) return false;
    const bytes = this.#length + data.length;
    const count = this.#held.length + (this.#precedes(offset) ? 0 : 1);
    return count <= 1 ? bytes <= this.memory.length : piecesFit(count, bytes);
  }

  /** Precondition: it fits. */
  add({ offset, data }: WriteRequest): void {
    const at = this.#length;
    this.memory.set(data, at);
    this.#length += data.length;
    const last = this.#precedes(offset);
    if (last !== undefined) last.length += data.length;
    else this.#held.push({ offset, at, length: data.length });
  }

  /** The last piece, if it ends at `offset`. */
  #precedes(offset: number): Held | undefined {
    const last = this.#held.at(-1);
    return last !== undefined && last.offset + last.length === offset ? last : undefined;
  }

  /** All that it holds. */
  get data(): Uint8Array {
    return this.memory.subarray(0, this.#length);
  }

  /** What is to be written; of one piece if all of it follows one another. */
  get pieces(): Piece[] {
    return this.#held.map(({ offset, at, length }) => ({
      offset,
      data: this.memory.subarray(at, at + length),
    }));
  }
}

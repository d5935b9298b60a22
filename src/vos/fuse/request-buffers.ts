/**
 * Memory that requests are read into, one at a time.
 *
 * In memory that the server may be lent, there are several buffers: the data of a long write stays
 * where the kernel has put it until the server has it, and the next request goes to another one.
 */
import { IN_HEADER_BYTES, PAGE_BYTES } from './wire.ts';

/** The kernel refuses to read into less than this, whatever is negotiated. */
const REQUEST_BYTES_MIN = 8192;
/** WRITE's body in front of its data; the kernel reserves room for it. */
const WRITE_BODY_BYTES = 40;
/** What comes before the data of a write. */
const HEAD_BYTES = IN_HEADER_BYTES + WRITE_BODY_BYTES;
/** As many long writes as are answered early, the next one, and the request that is read. */
const LENT_BUFFERS = 6;

/** The same memory twice. */
export interface RequestBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Gives the memory back. */
export type EndLoan = () => void;

export class RequestBuffers {
  readonly #free: RequestBuffer[] = [];
  #current: RequestBuffer;

  /**
   * `writeBytesMax` is what INIT promised to accept. Without `allocate`, the memory is the
   * program's own, and nothing is lent.
   */
  constructor(writeBytesMax: number, allocate?: (bytes: number) => Uint8Array) {
    const bytes = Math.max(REQUEST_BYTES_MIN, HEAD_BYTES + writeBytesMax);
    if (allocate === undefined) this.#current = bufferOf(new ArrayBuffer(bytes), 0, bytes);
    else {
      this.#current = aligned(allocate, bytes);
      while (this.#free.length < LENT_BUFFERS - 1) this.#free.push(aligned(allocate, bytes));
    }
  }

  /** Where the next request is read to. */
  get current(): RequestBuffer {
    return this.#current;
  }

  /**
   * What was read last stays as it is until the function that this returns is called. Undefined if
   * it cannot: then it is to be copied.
   */
  lend(): EndLoan | undefined {
    const next = this.#free.pop();
    if (next === undefined) return undefined;
    const lent = this.#current;
    this.#current = next;
    return () => {
      this.#free.push(lent);
    };
  }
}

/** The data of a write begins with a page, as it does in the kernel: its pages are copied whole. */
function aligned(allocate: (bytes: number) => Uint8Array, bytes: number): RequestBuffer {
  const { buffer, byteOffset } = allocate(bytes + PAGE_BYTES);
  const data = Math.ceil((byteOffset + HEAD_BYTES) / PAGE_BYTES) * PAGE_BYTES;
  return bufferOf(buffer, data - HEAD_BYTES, bytes);
}

function bufferOf(memory: ArrayBufferLike, at: number, bytes: number): RequestBuffer {
  return { bytes: new Uint8Array(memory, at, bytes), view: new DataView(memory, at, bytes) };
}

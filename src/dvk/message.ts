/**
 * The message window of a process: 64 bytes that every call sends from and receives into.
 *
 *   0        4      8                     64
 *   | source | type | payload (56 bytes)  |
 *
 * The window is private memory of the process, never the shared segment: a peer cannot change a
 * message while it is read. Views are made once; making one costs more than a whole call. Numbers
 * are little-endian, as on every host that the system runs on.
 */
import { Limit } from './abi/abi.gen.ts';
import type { Endpoint } from './endpoint.ts';

/** Offset of the payload in a message, in bytes. */
export const PAYLOAD_OFFSET = 8;
/** Bytes of payload in a message. */
export const PAYLOAD_BYTES: number = Limit.MESSAGE_BYTES - PAYLOAD_OFFSET;

const TYPE_INDEX = 1;

export class Message {
  /** All 64 bytes; multi-byte fields are little-endian, so pass `true` to its accessors. */
  readonly view: DataView;
  /** The same 64 bytes. */
  readonly bytes: Uint8Array;
  /** The same bytes as 16 words: source, type, and 14 of payload. */
  readonly int32: Int32Array;

  /** A window over the first 64 bytes of `buffer`; by default over memory of its own. */
  constructor(buffer: ArrayBuffer = new ArrayBuffer(Limit.MESSAGE_BYTES)) {
    this.view = new DataView(buffer, 0, Limit.MESSAGE_BYTES);
    this.bytes = new Uint8Array(buffer, 0, Limit.MESSAGE_BYTES);
    this.int32 = new Int32Array(buffer, 0, Limit.MESSAGE_BYTES / Int32Array.BYTES_PER_ELEMENT);
  }

  /** Who sent the message last received. The core writes it; what a sender puts here is ignored. */
  get source(): Endpoint {
    return this.view.getInt32(0, true) as Endpoint;
  }

  /** What the message is about: a number of the receiver's protocol. 32 bits, signed. */
  get type(): number {
    return this.int32[TYPE_INDEX] ?? 0;
  }

  set type(value: number) {
    this.int32[TYPE_INDEX] = value;
  }

  /**
   * Sets type and payload to zero, so that nothing of the last message goes out with the next one.
   */
  clear(): void {
    this.int32.fill(0);
  }

  /** Takes type and payload (and source) of another window. */
  copyFrom(other: Message): void {
    this.int32.set(other.int32);
  }
}

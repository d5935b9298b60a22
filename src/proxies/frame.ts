/**
 * The frame codec: how commands lie on a link. No I/O; it works on buffers that a transport fills
 * and empties.
 *
 * A frame is a header, a command and the command's data, all little-endian:
 *
 *   0    magic, the letters DVKF      16   payload bytes
 *   4    wire version, 16 bits        20   flags
 *   6    header bytes, 16 bits        24   checksum of command and payload
 *   8    session                      28   checksum of bytes 0 to 27
 *   12   sequence
 *   32   command (176 bytes, see schema.ts)
 *   208  payload, 0 to COPY_CHUNK_BYTES
 *
 * Both checksums are CRC32C; the header has its own, so that a length is trusted before the data is
 * there. Flags are zero in this version, and any other value is refused. Magic and version keep
 * their places in every version to come, so that two versions can at least name each other.
 */
import assert from 'node:assert/strict';
import { CommandLayout, Limit } from '../dvk/abi/abi.gen.ts';

/**
 * What the header of a frame says: the first version of the wire with this layout. Which one two
 * nodes speak is agreed on in HELLO; see offer.ts.
 */
export const WIRE_VERSION = 1;

/** Size of a frame header, and the offset of each field. */
export const FrameLayout = {
  BYTES: 32,
  magic: 0,
  version: 4,
  headerBytes: 6,
  session: 8,
  sequence: 12,
  payloadBytes: 16,
  flags: 20,
  bodyChecksum: 24,
  headerChecksum: 28,
} as const;

/** The letters DVKF. */
export const FRAME_MAGIC = 0x464b5644;
/** What comes before the payload. */
export const FRAME_HEAD_BYTES: number = FrameLayout.BYTES + CommandLayout.BYTES;
export const FRAME_BYTES_MAX: number = FRAME_HEAD_BYTES + Limit.COPY_CHUNK_BYTES;

// A read of less than this costs more in system calls than moving the tail of the buffer does.
const READ_BYTES_MIN = 65536;
const NO_BYTES = new Uint8Array(0);

/** CRC32C of `data`, going on from `seed` (0 to begin). */
export type Checksum = (data: Uint8Array, seed: number) => number;

/** What is wrong with a stream; nothing after it can be trusted, so the link must be closed. */
export interface FrameFault {
  code:
    'magic' | 'version' | 'header-bytes' | 'header-checksum' | 'flags' | 'length' | 'body-checksum';
  /** The value that was refused. */
  found: number;
}

/** A frame in the decoder's buffer; the views are good until the decoder's next `space()`. */
export interface Frame {
  session: number;
  sequence: number;
  // Fields of the command that links look at.
  kind: number;
  dcId: number;
  sourceNode: number;
  destinationNode: number;
  callId: number;
  command: Uint8Array;
  payload: Uint8Array;
}

/**
 * Where a frame is built: command and payload are written first, then `sealFrame` adds the header.
 */
export interface FramePlace {
  readonly view: DataView;
  readonly at: number;
  /** What the header's checksum covers. */
  readonly header: Uint8Array;
  readonly command: Uint8Array;
  /** Room for the longest payload. */
  readonly payload: Uint8Array;
}

/** The same bytes, read by field. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A field of 32 bits. A DataView for each command would take longer than what is done with it. */
export function uint32In(bytes: Uint8Array, at: number): number {
  const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8);
  return (low | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
}

/** The place for a frame at `at`; FRAME_BYTES_MAX must fit behind it. */
export function framePlace(bytes: Uint8Array, view: DataView, at: number): FramePlace {
  const body = at + FrameLayout.BYTES;
  const payload = at + FRAME_HEAD_BYTES;
  return {
    view,
    at,
    header: bytes.subarray(at, at + FrameLayout.headerChecksum),
    command: bytes.subarray(body, payload),
    payload: bytes.subarray(payload, payload + Limit.COPY_CHUNK_BYTES),
  };
}

/**
 * Writes the header of a frame whose command and payload are in place. Returns the frame's size.
 */
export function sealFrame(
  place: FramePlace,
  session: number,
  sequence: number,
  checksum: Checksum,
): number {
  const { view, at } = place;
  const body = at + FrameLayout.BYTES;
  const payloadBytes = view.getUint32(body + CommandLayout.payloadBytes, true);
  assert.ok(payloadBytes <= place.payload.length, 'the payload goes beyond its place');
  view.setUint32(at + FrameLayout.magic, FRAME_MAGIC, true);
  view.setUint16(at + FrameLayout.version, WIRE_VERSION, true);
  view.setUint16(at + FrameLayout.headerBytes, FrameLayout.BYTES, true);
  view.setUint32(at + FrameLayout.session, session, true);
  view.setUint32(at + FrameLayout.sequence, sequence, true);
  view.setUint32(at + FrameLayout.payloadBytes, payloadBytes, true);
  view.setUint32(at + FrameLayout.flags, 0, true);
  let sum = checksum(place.command, 0);
  if (payloadBytes > 0) sum = checksum(place.payload.subarray(0, payloadBytes), sum);
  view.setUint32(at + FrameLayout.bodyChecksum, sum, true);
  view.setUint32(at + FrameLayout.headerChecksum, checksum(place.header, 0), true);
  return FRAME_HEAD_BYTES + payloadBytes;
}

/**
 * Cuts a byte stream into frames.
 *
 * Use: put bytes at the start of `space()`, tell `filled(count)`, then take frames by `next()`
 * until it gives undefined, and look at `fault`. The buffer is allocated once, and once more by
 * `expand()`; no length that a peer claims ever makes it larger. After a fault everything is
 * ignored.
 */
export class FrameDecoder {
  readonly #checksum: Checksum;
  #payloadBytesMax: number;
  #buffer: Uint8Array;
  #view: DataView;
  // Views for a frame at the start of the buffer, where most of the short ones lie.
  #first: { header: Uint8Array; command: Uint8Array };
  #start = 0;
  #end = 0;
  // Size of the frame at #start once its header was checked, else 0.
  #frameBytes = 0;
  #fault: FrameFault | undefined;

  /**
   * `payloadBytesMax` is the longest payload accepted; the buffer is at least as large as such a
   * frame.
   */
  constructor(checksum: Checksum, payloadBytesMax: number, bufferBytes = 0) {
    this.#checksum = checksum;
    this.#payloadBytesMax = payloadBytesMax;
    this.#buffer = new Uint8Array(Math.max(bufferBytes, FRAME_HEAD_BYTES + payloadBytesMax));
    this.#view = viewOf(this.#buffer);
    this.#first = this.#viewsAt(0);
  }

  get fault(): FrameFault | undefined {
    return this.#fault;
  }

  /** Size of the buffer: what the decoder costs. */
  get capacityBytes(): number {
    return this.#buffer.length;
  }

  /**
   * Accepts longer payloads from now on, with a buffer to match. Views handed out before stay
   * valid.
   */
  expand(payloadBytesMax: number, bufferBytes: number): void {
    const bytes = Math.max(bufferBytes, FRAME_HEAD_BYTES + payloadBytesMax);
    assert.ok(bytes >= this.#buffer.length && payloadBytesMax >= this.#payloadBytesMax);
    const buffer = new Uint8Array(bytes);
    buffer.set(this.#buffer.subarray(this.#start, this.#end));
    this.#end -= this.#start;
    this.#start = 0;
    this.#buffer = buffer;
    this.#view = viewOf(buffer);
    this.#first = this.#viewsAt(0);
    this.#payloadBytesMax = payloadBytesMax;
  }

  /**
   * Where the next bytes of the stream go; never empty. Frames handed out before are gone after
   * this call.
   */
  space(): Uint8Array {
    const held = this.#end - this.#start;
    if (held === 0 || this.#fault) {
      this.#start = 0;
      this.#end = 0;
    } else if (this.#start > 0) {
      const room = this.#buffer.length - this.#end;
      const missing = Math.max(this.#frameBytes, FRAME_HEAD_BYTES) - held;
      if (missing > room || (room < READ_BYTES_MIN && held < READ_BYTES_MIN)) {
        this.#buffer.copyWithin(0, this.#start, this.#end);
        this.#start = 0;
        this.#end = held;
      }
    }
    return this.#buffer.subarray(this.#end);
  }

  /** `bytes` more bytes of the stream are in the buffer. */
  filled(bytes: number): void {
    assert.ok(bytes >= 0 && this.#end + bytes <= this.#buffer.length, 'filled beyond the space');
    this.#end += bytes;
  }

  /** What waits to be cut, for those who take whole frames from there, and `skip` them. */
  get held(): { bytes: Uint8Array; at: number; end: number } {
    return { bytes: this.#buffer, at: this.#start, end: this.#fault ? this.#start : this.#end };
  }

  /** Frames of `bytes` bytes in all were taken. */
  skip(bytes: number): void {
    assert.ok(this.#start + bytes <= this.#end, 'more was taken than there is');
    this.#start += bytes;
    this.#frameBytes = 0;
  }

  /** The next whole frame, or undefined when more bytes are needed or the stream is at fault. */
  next(): Frame | undefined {
    if (this.#fault) return undefined;
    const held = this.#end - this.#start;
    if (this.#frameBytes === 0) {
      if (held < FrameLayout.BYTES) {
        this.#fault = this.#checkMagic(held);
        return undefined;
      }
      this.#fault = this.#checkHeader(this.#start);
      if (this.#fault) return undefined;
      this.#frameBytes = FRAME_HEAD_BYTES + this.#field(FrameLayout.payloadBytes);
    }
    if (held < this.#frameBytes) return undefined;
    return this.#takeFrame();
  }

  #viewsAt(start: number): { header: Uint8Array; command: Uint8Array } {
    const body = start + FrameLayout.BYTES;
    return {
      header: this.#buffer.subarray(start, start + FrameLayout.headerChecksum),
      command: this.#buffer.subarray(body, body + CommandLayout.BYTES),
    };
  }

  #field(offset: number): number {
    return this.#view.getUint32(this.#start + offset, true);
  }

  // A stranger's short answer is told by its first bytes.
  #checkMagic(held: number): FrameFault | undefined {
    if (held < FrameLayout.version) return undefined;
    const magic = this.#field(FrameLayout.magic);
    return magic === FRAME_MAGIC ? undefined : { code: 'magic', found: magic };
  }

  #checkHeader(at: number): FrameFault | undefined {
    const foreign = this.#checkMagic(FrameLayout.BYTES);
    if (foreign) return foreign;
    const version = this.#view.getUint16(at + FrameLayout.version, true);
    if (version !== WIRE_VERSION) return { code: 'version', found: version };
    const headerBytes = this.#view.getUint16(at + FrameLayout.headerBytes, true);
    if (headerBytes !== FrameLayout.BYTES) return { code: 'header-bytes', found: headerBytes };
    const checksum = this.#field(FrameLayout.headerChecksum);
    const covered = this.#buffer.subarray(at, at + FrameLayout.headerChecksum);
    if (this.#checksum(covered, 0) !== checksum)
      return { code: 'header-checksum', found: checksum };
    const flags = this.#field(FrameLayout.flags);
    if (flags !== 0) return { code: 'flags', found: flags };
    const payloadBytes = this.#field(FrameLayout.payloadBytes);
    if (payloadBytes > this.#payloadBytesMax) return { code: 'length', found: payloadBytes };
    return undefined;
  }

  #takeFrame(): Frame | undefined {
    const start = this.#start;
    const { command } = start === 0 ? this.#first : this.#viewsAt(start);
    const payloadBytes = this.#frameBytes - FRAME_HEAD_BYTES;
    const payloadAt = start + FRAME_HEAD_BYTES;
    const payload =
      payloadBytes === 0 ? NO_BYTES : this.#buffer.subarray(payloadAt, payloadAt + payloadBytes);
    let sum = this.#checksum(command, 0);
    if (payloadBytes > 0) sum = this.#checksum(payload, sum);
    const expected = this.#field(FrameLayout.bodyChecksum);
    if (sum !== expected) {
      this.#fault = { code: 'body-checksum', found: expected };
      return undefined;
    }
    const body = FrameLayout.BYTES;
    const claimed = this.#field(body + CommandLayout.payloadBytes);
    if (claimed !== payloadBytes) {
      this.#fault = { code: 'length', found: claimed };
      return undefined;
    }
    const frame = {
      session: this.#field(FrameLayout.session),
      sequence: this.#field(FrameLayout.sequence),
      kind: this.#field(body + CommandLayout.kind),
      dcId: this.#field(body + CommandLayout.dcId),
      sourceNode: this.#field(body + CommandLayout.sourceNode),
      destinationNode: this.#field(body + CommandLayout.destinationNode),
      callId: this.#field(body + CommandLayout.callId),
      command,
      payload,
    };
    this.#start += this.#frameBytes;
    this.#frameBytes = 0;
    return frame;
  }
}

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
 * there. Magic and version keep their places in every version to come, so that two versions can at
 * least name each other.
 *
 * Flags are zero, and any other value is refused, but for one between nodes that agreed on it: 2
 * says that a block of LZ4 follows the header, in place of command and payload. It unpacks to whole
 * frames, which are as if they had come without it. Session and sequence belong to those; here the
 * bytes that it unpacks to are in place of the session, and 0 is in place of the sequence.
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

/** Of a header: frames follow that are packed. */
const FLAG_PACKED = 2;

/** The letters DVKF. */
export const FRAME_MAGIC = 0x464b5644;
/** What comes before the payload. */
export const FRAME_HEAD_BYTES: number = FrameLayout.BYTES + CommandLayout.BYTES;
export const FRAME_BYTES_MAX: number = FRAME_HEAD_BYTES + Limit.COPY_CHUNK_BYTES;

// A read of less than this costs more in system calls than moving the tail of the buffer does.
const READ_BYTES_MIN = 65536;
// So much is moved to where the next frame is to lie, as it costs nothing.
const MOVED_BYTES_MAX = 4096;
const NO_BYTES = new Uint8Array(0);

/** CRC32C of `data`, going on from `seed` (0 to begin). */
export type Checksum = (data: Uint8Array, seed: number) => number;

/** What is wrong with a stream; nothing after it can be trusted, so the link must be closed. */
export interface FrameFault {
  code:
    | 'magic'
    | 'version'
    | 'header-bytes'
    | 'header-checksum'
    | 'flags'
    | 'length'
    | 'body-checksum'
    | 'packing';
  /** The value that was refused. */
  found: number;
}

/**
 * Unpacks a block into `target`. Returns how many bytes came out; another number than is expected
 * where it is no block.
 */
export type Unpack = (block: Uint8Array, target: Uint8Array) => number;

/** A frame in the decoder's buffer; the views are good until the decoder is used again. */
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
  writeMarks(view, at);
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

function writeMarks(view: DataView, at: number): void {
  view.setUint32(at + FrameLayout.magic, FRAME_MAGIC, true);
  view.setUint16(at + FrameLayout.version, WIRE_VERSION, true);
  view.setUint16(at + FrameLayout.headerBytes, FrameLayout.BYTES, true);
}

/**
 * Writes the header of a packed block that is all of `bytes` behind the header's place, and unpacks
 * to `unpackedBytes` bytes of whole frames.
 */
export function sealPacked(bytes: Uint8Array, unpackedBytes: number, checksum: Checksum): void {
  const view = viewOf(bytes);
  const block = bytes.subarray(FrameLayout.BYTES);
  writeMarks(view, 0);
  view.setUint32(FrameLayout.session, unpackedBytes, true);
  view.setUint32(FrameLayout.sequence, 0, true);
  view.setUint32(FrameLayout.payloadBytes, block.length, true);
  view.setUint32(FrameLayout.flags, FLAG_PACKED, true);
  view.setUint32(FrameLayout.bodyChecksum, checksum(block, 0), true);
  const header = bytes.subarray(0, FrameLayout.headerChecksum);
  view.setUint32(FrameLayout.headerChecksum, checksum(header, 0), true);
}

/**
 * Cuts a byte stream into frames.
 *
 * Use: put bytes at the start of `space()`, tell `filled(count)`, then take frames by `next()`
 * until it gives undefined, and look at `fault`. The buffer is allocated once, and once more by
 * `expand()`; no length that a peer claims ever makes it larger. After a fault everything is
 * ignored. Packed blocks are unpacked into a buffer of their own, which is there from the first of
 * them on.
 */
export class FrameDecoder {
  readonly #checksum: Checksum;
  readonly #oneByOne: boolean;
  #payloadBytesMax: number;
  #buffer: Uint8Array;
  #view: DataView;
  // Views for a frame at the start of the buffer, where most of the short ones lie.
  #first: { header: Uint8Array; command: Uint8Array };
  #start = 0;
  #end = 0;
  // Size of the frame or block at #start once its header was checked, else 0.
  #frameBytes = 0;
  // Of it, or of the one before it.
  #lastBytes = 0;
  #isPacked = false;
  #packing: { unpack: Unpack; bytesMax: number } | undefined;
  // For the frames of the last block.
  #unpacked: FrameDecoder | undefined;
  #fault: FrameFault | undefined;

  /**
   * `payloadBytesMax` is the longest payload accepted; the buffer is at least as large as such a
   * frame. Frames that are long are better read one by one, each into the same place, which stays
   * in a cache of the CPU: with `oneByOne` the space ends with the frame under way, or where one as
   * long as the last would.
   */
  constructor(
    checksum: Checksum,
    payloadBytesMax: number,
    { bufferBytes = 0, oneByOne = false }: { bufferBytes?: number; oneByOne?: boolean } = {},
  ) {
    this.#checksum = checksum;
    this.#oneByOne = oneByOne;
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
   * Accepts packed blocks from now on, which unpack to `bytesMax` bytes at most. Views handed out
   * before stay valid.
   */
  takePacked(unpack: Unpack, bytesMax: number): void {
    const needed = FrameLayout.BYTES + bytesMax;
    if (this.#buffer.length < needed) this.expand(this.#payloadBytesMax, needed);
    this.#packing = { unpack, bytesMax };
  }

  /**
   * Where the next bytes of the stream go; never empty. Frames handed out before are gone after
   * this call, as are those of a packed block after `next()`.
   */
  space(): Uint8Array {
    const held = this.#end - this.#start;
    if (held === 0 || this.#fault) {
      this.#start = 0;
      this.#end = 0;
    } else if (this.#start > 0) {
      const room = this.#buffer.length - this.#end;
      const missing = Math.max(this.#frameBytes, FRAME_HEAD_BYTES) - held;
      const isCheap = this.#oneByOne
        ? held <= MOVED_BYTES_MAX
        : room < READ_BYTES_MIN && held < READ_BYTES_MIN;
      if (missing > room || isCheap) {
        this.#buffer.copyWithin(0, this.#start, this.#end);
        this.#start = 0;
        this.#end = held;
      }
    }
    return this.#buffer.subarray(this.#end, this.#spaceEnd());
  }

  #spaceEnd(): number {
    if (!this.#oneByOne || this.#lastBytes === 0) return this.#buffer.length;
    const guessed = Math.max(this.#lastBytes, READ_BYTES_MIN);
    const end = this.#start + (this.#frameBytes === 0 ? guessed : this.#frameBytes);
    return end > this.#end ? end : this.#buffer.length;
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
    for (;;) {
      const packed = this.#nextPacked();
      if (packed) return packed;
      const bytes = this.#nextBytes();
      if (bytes === undefined) return undefined;
      if (!this.#isPacked) return this.#takeFrame();
      this.#takeBlock();
    }
  }

  // A block holds whole frames, and nothing else.
  #nextPacked(): Frame | undefined {
    const unpacked = this.#unpacked;
    if (unpacked === undefined || this.#fault) return undefined;
    const frame = unpacked.next();
    if (frame === undefined) {
      const rest = unpacked.#end - unpacked.#start;
      this.#fault = unpacked.fault ?? (rest > 0 ? { code: 'packing', found: rest } : undefined);
    }
    return frame;
  }

  // The bytes of the next frame or block, when all of them are there.
  #nextBytes(): number | undefined {
    if (this.#fault) return undefined;
    const held = this.#end - this.#start;
    if (this.#frameBytes === 0) {
      if (held < FrameLayout.BYTES) {
        this.#fault = this.#checkMagic(held);
        return undefined;
      }
      this.#fault = this.#checkHeader(this.#start);
      if (this.#fault) return undefined;
      const headBytes = this.#isPacked ? FrameLayout.BYTES : FRAME_HEAD_BYTES;
      this.#frameBytes = headBytes + this.#field(FrameLayout.payloadBytes);
      this.#lastBytes = this.#frameBytes;
    }
    return held < this.#frameBytes ? undefined : this.#frameBytes;
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
    this.#isPacked = flags === FLAG_PACKED && this.#packing !== undefined;
    if (flags !== 0 && !this.#isPacked) return { code: 'flags', found: flags };
    return this.#checkLength();
  }

  // A block is shorter than what it unpacks to, and that has its limit.
  #checkLength(): FrameFault | undefined {
    const bytes = this.#field(FrameLayout.payloadBytes);
    if (!this.#isPacked) {
      return bytes > this.#payloadBytesMax ? { code: 'length', found: bytes } : undefined;
    }
    const unpackedBytes = this.#field(FrameLayout.session);
    const isPossible = bytes < unpackedBytes && unpackedBytes <= (this.#packing?.bytesMax ?? 0);
    return isPossible ? undefined : { code: 'packing', found: unpackedBytes };
  }

  #takeBlock(): void {
    const packing = this.#packing;
    const bytes = this.#field(FrameLayout.session);
    const end = this.#start + this.#frameBytes;
    const block = this.#buffer.subarray(this.#start + FrameLayout.BYTES, end);
    const expected = this.#field(FrameLayout.bodyChecksum);
    if (this.#checksum(block, 0) !== expected) {
      this.#fault = { code: 'body-checksum', found: expected };
      return;
    }
    if (packing === undefined) return;
    this.#unpacked ??= new FrameDecoder(this.#checksum, this.#payloadBytesMax, {
      bufferBytes: packing.bytesMax,
    });
    const unpacked = this.#unpacked.space().subarray(0, bytes);
    const count = packing.unpack(block, unpacked);
    if (count !== bytes) {
      this.#fault = { code: 'packing', found: bytes };
      return;
    }
    this.#unpacked.filled(bytes);
    this.#start = end;
    this.#frameBytes = 0;
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

/**
 * The frames in the body of a DATA packet.
 *
 *   0 PADDING   the rest of the body means nothing
 *   1 ACK       count of further ranges (8 bits), delay (16 bits, in units of 16 us), highest
 *               packet number (48 bits), packets below it that came too (32 bits); then for each
 *               further range, going down: packets missing (32 bits, at least 1), packets that
 *               came (32 bits, at least 1)
 *   2 BYTES     lane (8 bits), count (16 bits, at least 1), offset (48 bits), the bytes
 *   3 WINDOW    lane (8 bits), offset up to which bytes are taken (48 bits)
 *   4 PING      asks for an ACK
 *   5 CLOSE     code (8 bits); the connection is over
 *
 * The form of ACK is that of RFC 9000, section 19.3, with fixed sizes. All but PADDING, ACK and
 * CLOSE are to be acknowledged.
 */
import { viewOf } from '../frame.ts';
import { uint16At, uint32At, uint48At, writeUint48 } from './packet.ts';
import type { Range, Ranges } from './ranges.ts';

const FrameKind = { PADDING: 0, ACK: 1, BYTES: 2, WINDOW: 3, PING: 4, CLOSE: 5 } as const;

/** Why a connection ended, as told to the other side; append only. */
export const CloseCode = { DONE: 0, BROKEN: 1, MALFORMED: 2, TIME_OUT: 3, REFUSED: 4 } as const;
export type CloseCode = (typeof CloseCode)[keyof typeof CloseCode];

/** What the other side makes of it. */
export const CLOSE_REASONS: Readonly<Record<number, string>> = {
  [CloseCode.DONE]: 'closed by the peer',
  [CloseCode.BROKEN]: 'ECONNRESET',
  [CloseCode.MALFORMED]: 'EPROTO',
  [CloseCode.TIME_OUT]: 'ETIMEDOUT',
  [CloseCode.REFUSED]: 'ECONNREFUSED',
};

/** What each side takes in a lane before it has told its window. */
export const FIRST_WINDOW_BYTES = 65_536;
const ACK_BYTES_MIN = 14;
const ACK_RANGE_BYTES = 8;
// What one ACK tells of at most.
const ACK_RANGES_MAX = 32;
export const BYTES_HEAD = 10;
export const WINDOW_BYTES = 8;
const ACK_DELAY_UNIT_MS = 0.016;
const UINT16_MAX = 0xffff;
const UINT32_MAX = 0xffff_ffff;

/** What is done with the frames of a packet. Each returns false when the frame makes no sense. */
export interface FrameSink {
  /** `ranges` go down; they are valid during the call. */
  ack(ranges: readonly Range[], delayMs: number): boolean;
  bytes(lane: number, offset: number, bytes: Uint8Array): boolean;
  window(lane: number, offset: number): boolean;
  ping(): boolean;
  close(code: number): boolean;
}

/** Puts frames into a packet; what does not fit is for the next one. */
export class FrameWriter {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;
  #limit = 0;

  /** `bytes` is long enough for every packet. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  /** Begins a packet whose body reaches from `at` to `limit`. */
  begin(at: number, limit: number): void {
    this.#at = at;
    this.#limit = limit;
  }

  /** Where the next frame goes. */
  get at(): number {
    return this.#at;
  }

  get room(): number {
    return this.#limit - this.#at;
  }

  /** Tells of the highest of `ranges`, as many as fit. False when there is no room or nothing. */
  ack(ranges: readonly Readonly<Range>[], delayMs: number): boolean {
    const highest = ranges.at(-1);
    if (highest === undefined || this.room < ACK_BYTES_MIN) return false;
    const fit = Math.floor((this.room - ACK_BYTES_MIN) / ACK_RANGE_BYTES);
    const count = Math.min(ranges.length, ACK_RANGES_MAX, 1 + fit);
    const view = this.#view;
    view.setUint8(this.#at, FrameKind.ACK);
    view.setUint8(this.#at + 1, count - 1);
    const units = Math.min(UINT16_MAX, Math.max(0, Math.round(delayMs / ACK_DELAY_UNIT_MS)));
    view.setUint16(this.#at + 2, units, true);
    writeUint48(view, this.#at + 4, highest.end - 1);
    let below = Math.max(highest.start, highest.end - 1 - UINT32_MAX);
    view.setUint32(this.#at + 10, highest.end - 1 - below, true);
    this.#at += ACK_BYTES_MIN;
    for (let i = 1; i < count; i++) {
      const range = ranges[ranges.length - 1 - i];
      if (range === undefined) break;
      view.setUint32(this.#at, below - range.end, true);
      view.setUint32(this.#at + 4, range.end - range.start, true);
      this.#at += ACK_RANGE_BYTES;
      below = range.start;
    }
    return true;
  }

  /** Begins a BYTES frame; returns where `count` bytes are to be put. Precondition: they fit. */
  bytes(lane: number, offset: number, count: number): number {
    this.#view.setUint8(this.#at, FrameKind.BYTES);
    this.#view.setUint8(this.#at + 1, lane);
    this.#view.setUint16(this.#at + 2, count, true);
    writeUint48(this.#view, this.#at + 4, offset);
    const at = this.#at + BYTES_HEAD;
    this.#at = at + count;
    return at;
  }

  window(lane: number, offset: number): void {
    this.#view.setUint8(this.#at, FrameKind.WINDOW);
    this.#view.setUint8(this.#at + 1, lane);
    writeUint48(this.#view, this.#at + 2, offset);
    this.#at += WINDOW_BYTES;
  }

  ping(): void {
    this.#view.setUint8(this.#at++, FrameKind.PING);
  }

  close(code: CloseCode): void {
    this.#view.setUint8(this.#at++, FrameKind.CLOSE);
    this.#view.setUint8(this.#at++, code);
  }

  /** Fills the packet up to `end`, unless it is longer. */
  pad(end: number = this.#limit): void {
    if (end <= this.#at) return;
    this.#bytes.fill(FrameKind.PADDING, this.#at, end);
    this.#at = end;
  }
}

/**
 * Hands the frames in the body of a packet, which is from `start` to before `end`, to `sink`. False
 * when the body is malformed or refused by it.
 */
export function readFrames(
  packet: Uint8Array,
  sink: FrameSink,
  start = 0,
  end: number = packet.length,
): boolean {
  for (let at = start; at < end;) {
    const bytes = readFrame(packet, sink, at, end);
    if (bytes === 0) return false;
    at += bytes;
  }
  return true;
}

// Returns the size of the frame at `at`, or 0 when it is malformed.
function readFrame(body: Uint8Array, sink: FrameSink, at: number, end: number): number {
  const room = end - at;
  switch (body[at]) {
    case FrameKind.PADDING:
      return room;
    case FrameKind.ACK:
      return room < ACK_BYTES_MIN ? 0 : readAck(body, sink, at, end);
    case FrameKind.BYTES: {
      if (room < BYTES_HEAD) return 0;
      const count = uint16At(body, at + 2);
      const start = at + BYTES_HEAD;
      if (count === 0 || start + count > end) return 0;
      const offset = uint48At(body, at + 4);
      const taken = sink.bytes(body[at + 1] ?? 0, offset, body.subarray(start, start + count));
      return taken ? BYTES_HEAD + count : 0;
    }
    case FrameKind.WINDOW:
      if (room < WINDOW_BYTES) return 0;
      return sink.window(body[at + 1] ?? 0, uint48At(body, at + 2)) ? WINDOW_BYTES : 0;
    case FrameKind.PING:
      return sink.ping() ? 1 : 0;
    case FrameKind.CLOSE:
      return room >= 2 && sink.close(body[at + 1] ?? 0) ? 2 : 0;
    default:
      return 0;
  }
}

function readAck(body: Uint8Array, sink: FrameSink, at: number, limit: number): number {
  const further = body[at + 1] ?? 0;
  const bytes = ACK_BYTES_MIN + further * ACK_RANGE_BYTES;
  if (further >= ACK_RANGES_MAX || at + bytes > limit) return 0;
  const highest = uint48At(body, at + 4);
  let start = highest - uint32At(body, at + 10);
  const ranges = [{ start, end: highest + 1 }];
  for (let i = 0; i < further; i++) {
    const place = at + ACK_BYTES_MIN + i * ACK_RANGE_BYTES;
    const missing = uint32At(body, place);
    const count = uint32At(body, place + 4);
    if (missing === 0 || count === 0) return 0;
    const end = start - missing;
    start = end - count;
    ranges.push({ start, end });
  }
  if (start < 0) return 0;
  return sink.ack(ranges, uint16At(body, at + 2) * ACK_DELAY_UNIT_MS) ? bytes : 0;
}

/** The ranges of `set` that reach `floor` or above it. */
export function rangesFrom(set: Ranges, floor: number): readonly Readonly<Range>[] {
  const isWhole = (set.first?.end ?? 0) > floor;
  return isWhole ? set.all : set.all.filter((range) => range.end > floor);
}

/**
 * The FS protocol: several pieces of a file in one WRITE.
 *
 * A WRITE whose `count` is not 0 brings so many pieces, and no offset. Its bytes begin with a list
 * of them, each with
 *
 *   byte  0  u64  offset in the file
 *         8  u64  bytes
 *
 * Behind the list is what they hold, in the same order, in which they are written. Pieces may
 * overlap, and a WRITE of pieces may be done twice. Its result is how many bytes of them were
 * written, without the list; EINVAL for a list that does not fit what is behind it.
 */
import { TRANSFER_BYTES_MAX, getUint64, setUint64 } from './fs.ts';

/** Of one WRITE. */
export const PIECES_MAX = 1024;
const ENTRY_BYTES = 16;

export interface Piece {
  readonly offset: number;
  readonly data: Uint8Array;
}

/** Whether `count` pieces of `bytes` bytes in all go into one WRITE. */
export function piecesFit(count: number, bytes: number): boolean {
  return count <= PIECES_MAX && count * ENTRY_BYTES + bytes <= TRANSFER_BYTES_MAX;
}

export function encodeList(pieces: readonly Piece[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(pieces.length * ENTRY_BYTES));
  pieces.forEach(({ offset, data }, i) => {
    setUint64(view, i * ENTRY_BYTES, offset);
    setUint64(view, i * ENTRY_BYTES + 8, data.length);
  });
  return new Uint8Array(view.buffer);
}

/**
 * The pieces in a WRITE of `count`, whose data are views of `bytes`; undefined when these are not
 * that many. Any bytes are safe, also such as change meanwhile.
 */
export function decodePieces(bytes: Uint8Array, count: number): Piece[] | undefined {
  let at = count * ENTRY_BYTES;
  if (count > PIECES_MAX || at > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, at);
  const pieces: Piece[] = [];
  for (let i = 0; i < count; i++) {
    const offset = getUint64(view, i * ENTRY_BYTES);
    const length = getUint64(view, i * ENTRY_BYTES + 8);
    if (!Number.isSafeInteger(offset) || length > bytes.length - at) return undefined;
    pieces.push({ offset, data: bytes.subarray(at, at + length) });
    at += length;
  }
  return at === bytes.length ? pieces : undefined;
}

/**
 * How much a connection sends before others have their turn.
 *
 * By itself it is held back by congestion alone, and sends what its window allows. While short
 * commands of others go through the same program, what it sends waits in front of them: in a turn
 * of the event loop, and in the buffer of the kernel at the other end, where a path that loses
 * nothing lets a window grow for ever. So little is sent in a turn then, and little is under way:
 * 16 KiB and a packet on the shortest paths, and half a MiB for each millisecond of the round trip
 * on longer ones, which is 4 Gbit/s.
 */

// What RFC 9002, section 7.7, asks of a sender without pacing.
const PACKETS_MAX = 40;
const SHARED_BYTES_MAX = 16_384;
const SHARED_FLIGHT_BYTES_MIN = 16_384;
const SHARED_FLIGHT_BYTES_A_MS = 524_288;

export class Burst {
  #packetsLeft = PACKETS_MAX;
  #bytesLeft: number;

  constructor(isShared: boolean) {
    this.#bytesLeft = isShared ? SHARED_BYTES_MAX : Infinity;
  }

  get hasRoom(): boolean {
    return this.#packetsLeft > 0 && this.#bytesLeft > 0;
  }

  sent(bytes: number): void {
    this.#packetsLeft--;
    this.#bytesLeft -= bytes;
  }
}

/**
 * Bytes that may be under way with a congestion window of `windowBytes`; `minMs` is the shortest
 * round trip so far, Infinity when none is known.
 */
export function flightBytes(windowBytes: number, minMs: number, isShared: boolean): number {
  if (!isShared) return windowBytes;
  const bytes = Math.max(SHARED_FLIGHT_BYTES_MIN, SHARED_FLIGHT_BYTES_A_MS * minMs);
  return Math.min(windowBytes, bytes);
}

/**
 * Leaves room for others between pieces of bulky work: on the CPU, and in a turn of the event loop.
 *
 * A program that always has something to do keeps its CPU for a slice, which takes milliseconds on
 * most kernels. While blocks go through a proxy, whoever is woken beside it would wait so long at
 * each step of the way: the server that a short command of another container is for, the proxy of
 * another node here, the caller that has its answer. So:
 *
 * - While a proxy moves blocks its slice is the longest there is, which lets everybody who is woken
 *   take its CPU; it gets its share later. Otherwise its slice is the shortest, so that it takes
 *   the CPU from others when a command comes (setSlice; Linux 6.12).
 * - It yields (sched_yield(2)) after each piece, which costs less than a microsecond when nobody
 *   waits: for the proxy of another node, which is as it is, and for kernels before that.
 * - While more than one container uses it, pieces and turns are small. One by itself would gain
 *   nothing by that, and small pieces are slow to seal (decision 80).
 *
 * A busy stranger takes a whole slice when it is let, and the kernel counts what was given away as
 * used. So after a yield that took long the next one is put off, each time for four times as long,
 * and after others this program runs for four times as long as they took.
 */
import { systemClock } from '../dvk/clock.ts';
import { setSlice, yieldCpu } from '../dvk/system.ts';

/**
 * So much of one socket is read, or written to the bulky lane, in a turn of the event loop at most.
 */
export const TURN_BYTES = 262_144;
const SHARED_TURN_BYTES = 32_768;
const PIECE_BYTES = 65_536;
// A container that moves blocks is alone when it has moved so much since another one was served.
const SHARED_BYTES = 16 * 1024 * 1024;
const BLOCK_BYTES_MIN = 16_384;
// Turns without blocks in between are part of moving them.
const BULKY_TURNS = 8;
const SLICE_US = { short: 100, long: 100_000 };
const RUN_RATIO = 4;
// The proxy of another node here, which does the same, needs less.
const STOLEN_MS = 1;
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 640;
// With a stranger beside, most yields are short: it has had its share, and waits.
const DECAY = 0.95;

export interface CourtesyTools {
  nowMs: () => number;
  yieldCpu: () => void;
  /** False when this kernel has no slices. */
  setSlice: (microseconds: number) => boolean;
  /** Calls back at the end of this turn of the event loop, or of the next one. */
  defer: (callback: () => void) => void;
}

export class Courtesy {
  readonly #tools: CourtesyTools;
  #bytes = 0;
  #nextMs = 0;
  // What the last yield that took long was followed by; less with each short one.
  #pauseMs = 0;
  // The container that was served last, and how much may be moved until it is alone.
  #container: number | undefined;
  #sharedBytes = 0;
  #hasSlices = false;
  #isLong = false;
  // So many more turns begin as if they moved blocks.
  #bulkyTurns = 0;

  constructor(tools: CourtesyTools) {
    this.#tools = tools;
  }

  /** From now on this program takes the CPU from others for a short while. */
  begin(): void {
    this.#hasSlices = this.#tools.setSlice(SLICE_US.short);
  }

  /** Bytes of one socket, or lane, that a turn of the event loop is good for. */
  get turnBytes(): number {
    return this.isShared ? SHARED_TURN_BYTES : TURN_BYTES;
  }

  /** Whether more than one container uses this program. */
  get isShared(): boolean {
    return this.#sharedBytes > 0;
  }

  /** Something was taken from a container, or given to it. */
  served(container: number): void {
    if (this.#bulkyTurns > 0) this.#stepBack();
    if (container === this.#container) return;
    if (this.#container !== undefined) this.#sharedBytes = SHARED_BYTES;
    this.#container = container;
  }

  /** So many bytes were sealed, opened, or copied. Yields when that makes a piece. */
  moved(bytes: number): void {
    if (bytes >= BLOCK_BYTES_MIN) {
      this.#bulkyTurns = BULKY_TURNS;
      this.#stepBack();
    }
    this.#bytes += bytes;
    if (this.#bytes < Math.min(PIECE_BYTES, this.turnBytes)) return;
    this.#sharedBytes = Math.max(0, this.#sharedBytes - this.#bytes);
    this.#bytes = 0;
    const beforeMs = this.#tools.nowMs();
    if (beforeMs < this.#nextMs) return;
    this.#tools.yieldCpu();
    const afterMs = this.#tools.nowMs();
    this.#nextMs = afterMs + this.#pauseAfter(afterMs - beforeMs);
  }

  #stepBack(): void {
    if (!this.#hasSlices || this.#isLong) return;
    this.#isLong = true;
    this.#tools.setSlice(SLICE_US.long);
    this.#tools.defer(() => {
      this.#isLong = false;
      this.#bulkyTurns--;
      this.#tools.setSlice(SLICE_US.short);
    });
  }

  #pauseAfter(yieldMs: number): number {
    if (yieldMs < STOLEN_MS) {
      this.#pauseMs *= DECAY;
      return RUN_RATIO * yieldMs;
    }
    const longer = Math.max(PAUSE_MS_MIN, RUN_RATIO * this.#pauseMs);
    this.#pauseMs = Math.min(PAUSE_MS_MAX, longer);
    return this.#pauseMs;
  }
}

/** That of this program. */
export const courtesy: Courtesy = new Courtesy({
  nowMs: () => systemClock.nowMs(),
  yieldCpu,
  setSlice,
  defer: setImmediate,
});

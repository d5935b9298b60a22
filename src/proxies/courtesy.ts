/**
 * Gives the CPU away between pieces of bulky work.
 *
 * A program that always has something to do keeps its CPU for a slice, which takes milliseconds on
 * most kernels. While blocks go through a proxy, whoever is woken beside it would wait so long at
 * each step of the way: the server that a short command of another container is for, the proxy of
 * another node here, the caller that has its answer. So a proxy yields (sched_yield(2)) after each
 * piece, which costs less than a microsecond when nobody waits.
 *
 * A busy stranger takes a whole slice when it is let, and the kernel counts what was given away as
 * used. So after a yield that took long the next one is put off, each time for four times as long,
 * and after others this program runs for four times as long as they took.
 */
import { systemClock } from '../dvk/clock.ts';
import { yieldCpu } from '../dvk/system.ts';

const PIECE_BYTES = 65_536;
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
}

export class Courtesy {
  readonly #tools: CourtesyTools;
  #bytes = 0;
  #nextMs = 0;
  // What the last yield that took long was followed by; less with each short one.
  #pauseMs = 0;

  constructor(tools: CourtesyTools) {
    this.#tools = tools;
  }

  /** So many bytes were sealed, opened, or copied. Yields when that makes a piece. */
  moved(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < PIECE_BYTES) return;
    this.#bytes = 0;
    const beforeMs = this.#tools.nowMs();
    if (beforeMs < this.#nextMs) return;
    this.#tools.yieldCpu();
    const afterMs = this.#tools.nowMs();
    this.#nextMs = afterMs + this.#pauseAfter(afterMs - beforeMs);
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
export const courtesy: Courtesy = new Courtesy({ nowMs: () => systemClock.nowMs(), yieldCpu });

/**
 * Runs of frames: short commands that the addon takes from the core as whole frames, and frames
 * that it acts on, many in one call (native/binding/frame_runs.cc). They lie as in
 * src/proxies/frame.ts, which is the way for one at a time, and for all others.
 */
import { fail } from './errors.ts';
import type { NodeId } from './endpoint.ts';
import { native, type Binding } from './native.ts';

/** Added to a number of frames: behind them lies a command that is to be made one. */
export const UNSEALED: number = 1 << 16;
/** The same of a frame with data. */
export const DATA: number = 1 << 17;

/** Where a run begins. */
export interface FrameRun {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly session: number;
  /** Number of the first frame. */
  readonly sequence: number;
  /** Frames, at most. */
  readonly most: number;
}

/** One that is taken. */
export interface TakenRun extends FrameRun {
  /** Number of a frame with data, where these are counted apart. */
  readonly dataSequence?: number | undefined;
}

/** Those of one segment. */
export class FrameRuns {
  readonly #native: Binding = native();
  readonly #segment: number;
  readonly #last = new Int32Array(1);

  /** For `Segment` alone: `segment` is a handle of the addon. */
  constructor(segment: number) {
    this.#segment = segment;
  }

  /**
   * Takes commands for `node` as frames, one behind the other. One with data, or that the proxy
   * has a part in, ends the run: it lies behind the others where a frame has it, and its data too.
   * Each of them needs room for the longest data. How many, plus DATA when there is a frame with
   * data, of the number `dataSequence`, or the one behind the others'; plus UNSEALED when it is
   * to be made a frame.
   */
  take(
    node: NodeId,
    { bytes, at, session, sequence, dataSequence = -1, most }: TakenRun,
    shortOnly: boolean,
  ): number {
    const taken = this.#native.takeFrames(
      this.#segment,
      node,
      bytes,
      at,
      session,
      sequence,
      dataSequence,
      most,
      shortOnly,
    );
    if (taken < 0) fail(taken, 'takeFrames', { node });
    return taken;
  }

  /**
   * Acts on frames that came from `node`, in front of `end`, as `put2lclRaw` does: up to the first
   * one that is not whole, right, next or for the core alone, or that the core drops, see
   * `lastResult`. How many.
   */
  put(node: NodeId, { bytes, at, session, sequence, most }: FrameRun, end: number): number {
    const segment = this.#segment;
    const last = this.#last;
    return this.#native.putFrames(segment, node, bytes, at, end, session, sequence, most, last);
  }

  /** Of the last frame of the last `put`: 0, or -errno when it was dropped. */
  get lastResult(): number {
    return this.#last[0] ?? 0;
  }
}

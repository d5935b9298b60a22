/**
 * Buffers in which frames are built and from which they are sent.
 *
 * A frame is built where it is sent from: get2rmt writes command and data straight behind the
 * header's place. All frames of a turn lie one after the other in a slab, so they go out in one
 * write. A slab is used again when the transport is done with every write of it; spare ones are
 * kept by the pool, the warmest on top, and shared by the links of a node. How many exist is
 * bounded by the high-water mark of each link (see link.ts).
 */
import { FRAME_BYTES_MAX, framePlace, sealFrame, viewOf } from './frame.ts';
import type { Checksum, FramePlace } from './frame.ts';

// Two frames of the longest kind, or thousands of short ones.
const SLAB_BYTES = 2 * FRAME_BYTES_MAX + 65536;
const SPARE_SLABS_MAX = 8;

interface Slab {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Where its first frame is built: most of the time it is sent before there is another. */
  readonly first: FramePlace;
  /** End of the last frame built. */
  used: number;
  /** Writes that the transport has not finished. */
  writes: number;
}

function newSlab(): Slab {
  const bytes = new Uint8Array(SLAB_BYTES);
  const view = viewOf(bytes);
  return { bytes, view, first: framePlace(bytes, view, 0), used: 0, writes: 0 };
}

/** Slabs that no link uses now. */
export class SlabPool {
  readonly #spare: Slab[] = [];

  take(): Slab {
    return this.#spare.pop() ?? newSlab();
  }

  giveBack(slab: Slab): void {
    slab.used = 0;
    if (this.#spare.length < SPARE_SLABS_MAX) this.#spare.push(slab);
  }
}

/** The frames of one link that are not yet given to its transport. */
export class Outbox {
  readonly #pool: SlabPool;
  readonly #checksum: Checksum;
  #slab: Slab | undefined;
  #place: FramePlace | undefined;
  // Start of what was built and not yet taken.
  #taken = 0;

  constructor(pool: SlabPool, checksum: Checksum) {
    this.#pool = pool;
    this.#checksum = checksum;
  }

  /** Bytes of frames built and not yet taken. */
  get builtBytes(): number {
    return this.#slab === undefined ? 0 : this.#slab.used - this.#taken;
  }

  /** Whether another frame, however long, fits behind those built. When not, take them first. */
  get hasRoom(): boolean {
    return this.#slab === undefined || this.#slab.used + FRAME_BYTES_MAX <= this.#slab.bytes.length;
  }

  /** Where the next frame is built. Precondition: `hasRoom`. */
  place(): FramePlace {
    const slab = (this.#slab ??= this.#pool.take());
    if (slab.used === 0) return slab.first;
    const last = this.#place;
    if (last?.view === slab.view && last.at === slab.used) return last;
    return (this.#place = framePlace(slab.bytes, slab.view, slab.used));
  }

  /** The same for many frames. Each needs room for the longest. */
  room(): { bytes: Uint8Array; at: number } {
    const { bytes, used } = (this.#slab ??= this.#pool.take());
    return { bytes, at: used };
  }

  /** Whole frames of `bytes` bytes in all lie where the next one would be built. */
  built(bytes: number): void {
    if (this.#slab) this.#slab.used += bytes;
  }

  /** What was written to `place`, the last one given out, becomes a frame. */
  seal(place: FramePlace, session: number, sequence: number): void {
    this.built(sealFrame(place, session, sequence, this.#checksum));
  }

  /** A frame of its own, for what is not taken by get2rmt. Precondition: `hasRoom`. */
  add(command: Uint8Array, payload: Uint8Array, session: number, sequence: number): void {
    const place = this.place();
    place.command.set(command);
    place.payload.set(payload);
    this.seal(place, session, sequence);
  }

  /** The frames built, all in one piece, and what to call when the transport is done with them. */
  take(): { bytes: Uint8Array; done: () => void } | undefined {
    const slab = this.#slab;
    if (slab === undefined || slab.used === this.#taken) return undefined;
    const bytes = slab.bytes.subarray(this.#taken, slab.used);
    this.#taken = slab.used;
    slab.writes++;
    if (slab.used + FRAME_BYTES_MAX > slab.bytes.length) this.#retire();
    return {
      bytes,
      done: () => {
        slab.writes--;
        this.#settle(slab);
      },
    };
  }

  /**
   * The link is over: frames not taken are forgotten. Slabs under way come back as their writes
   * end.
   */
  close(): void {
    const slab = this.#slab;
    this.#retire();
    if (slab?.writes === 0) this.#pool.giveBack(slab);
  }

  #retire(): void {
    this.#slab = undefined;
    this.#taken = 0;
  }

  #settle(slab: Slab): void {
    if (slab.writes > 0) return;
    if (this.#slab === slab) {
      if (slab.used !== this.#taken) return;
      this.#retire();
    }
    this.#pool.giveBack(slab);
  }
}

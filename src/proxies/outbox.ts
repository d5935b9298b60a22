/**
 * Buffers in which frames are built and from which they are sent.
 *
 * A frame is built where it is sent from: get2rmt writes command and data straight behind the
 * header's place. All frames of a turn lie one after the other in a slab, so they go out in one
 * write. A slab is used again when the transport is done with every write of it; spare ones are
 * kept by the pool, the warmest on top, and shared by the links of a node. How many exist is
 * bounded by the high-water mark of each link (see link.ts).
 */
import { CommandLayout, Limit } from '../dvk/abi/abi.gen.ts';
import {
  FRAME_BYTES_MAX,
  FRAME_HEAD_BYTES,
  FrameLayout,
  sealFrame,
  type Checksum,
} from './frame.ts';

// Two frames of the longest kind, or thousands of short ones.
const SLAB_BYTES = 2 * FRAME_BYTES_MAX + 65536;
const SPARE_SLABS_MAX = 8;

interface Slab {
  readonly bytes: Uint8Array;
  /** End of the last frame built. */
  used: number;
  /** Writes that the transport has not finished. */
  writes: number;
}

/** Slabs that no link uses now. */
export class SlabPool {
  readonly #spare: Slab[] = [];

  take(): Slab {
    return this.#spare.pop() ?? { bytes: new Uint8Array(SLAB_BYTES), used: 0, writes: 0 };
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

  /** Where the next frame's command goes. Precondition: `hasRoom`. */
  command(): Uint8Array {
    const slab = (this.#slab ??= this.#pool.take());
    const at = slab.used + FrameLayout.BYTES;
    return slab.bytes.subarray(at, at + CommandLayout.BYTES);
  }

  /** Where its payload goes, COPY_CHUNK_BYTES long. */
  payload(): Uint8Array {
    const slab = (this.#slab ??= this.#pool.take());
    const at = slab.used + FRAME_HEAD_BYTES;
    return slab.bytes.subarray(at, at + Limit.COPY_CHUNK_BYTES);
  }

  /** The command and payload just written become a frame. Returns its size. */
  seal(session: number, sequence: number): number {
    const slab = (this.#slab ??= this.#pool.take());
    const bytes = sealFrame(slab.bytes.subarray(slab.used), session, sequence, this.#checksum);
    slab.used += bytes;
    return bytes;
  }

  /** A frame of its own, for what is not taken by get2rmt. Precondition: `hasRoom`. */
  add(command: Uint8Array, payload: Uint8Array, session: number, sequence: number): number {
    this.command().set(command);
    this.payload().set(payload);
    return this.seal(session, sequence);
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

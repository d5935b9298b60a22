/** Contents in the memory of a client, copied when they are asked for. */
import type { Incoming } from './ext4/incoming.ts';

/** Shorter contents had better come through a staging buffer. */
export const LONG_BYTES_MIN: number = 64 * 1024;

export interface GrantedParts {
  /** Copies bytes from `at` of what was granted. Throws FsError EFAULT, EIO. */
  copyIn(at: number, target: Uint8Array): void;
  /** A buffer, reused by the next call. */
  stage(bytes: number): Uint8Array;
}

export class Granted implements Incoming {
  readonly length: number;
  readonly #parts: GrantedParts;
  readonly #at: number;

  constructor(parts: GrantedParts, length: number, at = 0) {
    this.length = length;
    this.#parts = parts;
    this.#at = at;
  }

  subarray(from: number, to: number): Granted {
    return new Granted(this.#parts, Math.min(to, this.length) - from, this.#at + from);
  }

  copyTo(target: Uint8Array): void {
    this.#parts.copyIn(this.#at, target);
  }

  bytes(): Uint8Array {
    const target = this.#parts.stage(this.length);
    this.copyTo(target);
    return target;
  }
}

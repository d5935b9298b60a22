/**
 * Writes that are put together where they follow one another on the device.
 */
import type { WritableDevice } from './device.ts';

const BATCH_BYTES = 1 << 20;

export class BatchWriter {
  readonly #device: WritableDevice;
  readonly #buffer = new Uint8Array(BATCH_BYTES);
  #at = 0;
  #bytes = 0;

  constructor(device: WritableDevice) {
    this.#device = device;
  }

  /** Takes at most 64 KiB; they may be written by a later call. Throws EIO, ENOSPC. */
  write(data: Uint8Array, at: number): void {
    this.reserve(data.length, at).set(data);
  }

  /** As `write`, of bytes that the caller fills in before the next call. */
  reserve(bytes: number, at: number): Uint8Array {
    if (at !== this.#at + this.#bytes || this.#bytes + bytes > BATCH_BYTES) this.finish();
    if (this.#bytes === 0) this.#at = at;
    const start = this.#bytes;
    this.#bytes += bytes;
    return this.#buffer.subarray(start, start + bytes);
  }

  /** Returns when the device has all. */
  finish(): void {
    const data = this.#buffer.subarray(0, this.#bytes);
    this.#bytes = 0;
    if (data.length > 0) this.#device.write(data, this.#at);
  }
}

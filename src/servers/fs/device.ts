/**
 * Block devices: where the bytes of a volume come from.
 *
 * A read either fills the target completely or throws EIO, so that no caller has to think about
 * short reads.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { FsError } from './errors.ts';

export interface BlockDevice {
  readonly bytes: number;
  /** Fills `target[0..bytes)` from byte `at` of the device. Throws FsError EIO. */
  read(target: Uint8Array, at: number, bytes: number): void;
}

/** Throws EIO unless `[at, at + bytes)` lies inside the device and the target has room. */
export function checkRange(device: BlockDevice, target: Uint8Array, range: ByteRange): void {
  const { at, bytes } = range;
  if (at < 0 || bytes < 0 || bytes > target.length || at + bytes > device.bytes) {
    throw new FsError(
      'EIO',
      `bytes ${String(at)} + ${String(bytes)} are outside the device of ${String(device.bytes)}`,
    );
  }
}

interface ByteRange {
  at: number;
  bytes: number;
}

/** An image in a regular file, or a raw device of the host. */
export class ImageFile implements BlockDevice {
  readonly bytes: number;
  readonly #path: string;
  #descriptor: number;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = openSync(path, 'r');
    try {
      const status = fstatSync(this.#descriptor);
      this.bytes = status.isBlockDevice() ? lastByte(this.#descriptor) : status.size;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  read(target: Uint8Array, at: number, bytes: number): void {
    checkRange(this, target, { at, bytes });
    let done = 0;
    while (done < bytes) {
      const got = this.#readOnce(target, { at: at + done, bytes: bytes - done }, done);
      if (got === 0) {
        throw new FsError('EIO', `${this.#path} ends at byte ${String(at + done)}`);
      }
      done += got;
    }
  }

  close(): void {
    if (this.#descriptor < 0) return;
    closeSync(this.#descriptor);
    this.#descriptor = -1;
  }

  #readOnce(target: Uint8Array, range: ByteRange, into: number): number {
    for (;;) {
      try {
        return readSync(this.#descriptor, target, into, range.bytes, range.at);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EINTR') continue;
        const place = `${this.#path} at byte ${String(range.at)}`;
        throw new FsError('EIO', `reading ${place} failed`, { cause: error });
      }
    }
  }
}

export function openImage(path: string): ImageFile {
  return new ImageFile(path);
}

/**
 * The size of a block device: stat(2) tells zero for it, so the end is searched by reading single
 * bytes.
 */
function lastByte(descriptor: number): number {
  const probe = new Uint8Array(1);
  let low = 0;
  let high = Number.MAX_SAFE_INTEGER;
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2);
    if (hasByte(descriptor, probe, middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function hasByte(descriptor: number, probe: Uint8Array, at: number): boolean {
  try {
    return readSync(descriptor, probe, 0, 1, at) === 1;
  } catch {
    return false;
  }
}

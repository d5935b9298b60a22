/**
 * Block devices: where the bytes of a volume come from and go to.
 *
 * A read fills the target completely and a write takes all of the data, or they throw, so that no
 * caller has to think about short ones. A device has an order of its own between two flushes: of
 * what was written since the last one any part may be lost when the machine stops, and any part may
 * be there.
 */
import { closeSync, constants, fdatasyncSync, fstatSync, openSync } from 'node:fs';
import { readFileSync, readSync, writeSync } from 'node:fs';
import { isDvkError, lockFile, punchHole } from '../../dvk/index.ts';
import { type DirectFile, DirectIo, sectorBytesOf } from './direct-io.ts';
import { FsError } from './errors.ts';

export interface BlockDevice {
  readonly bytes: number;
  /** Fills `target[0..bytes)` from byte `at` of the device. Throws FsError EIO. */
  read(target: Uint8Array, at: number, bytes: number): void;
}

export interface WritableDevice extends BlockDevice {
  /**
   * Takes all of `data` for byte `at` on; reads see it at once. Throws FsError EIO, or ENOSPC when
   * what holds the device is full; then any part of it may have been written.
   */
  write(data: Uint8Array, at: number): void;
  /**
   * Returns when all that was written will be there after a crash. Throws FsError EIO; then what
   * was written since the last flush may be lost, and another flush will not tell.
   */
  flush(): void;
  /**
   * The bytes are of no use any more, and may read as anything until they are written again. A
   * device for which that means nothing does nothing. Throws FsError EIO.
   */
  discard(at: number, bytes: number): void;
}

/** Throws EIO unless `[at, at + bytes)` lies inside the device and the target has room. */
export function checkRange(
  device: BlockDevice,
  target: { readonly length: number },
  range: ByteRange,
): void {
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

/** What threads share of an image. */
export interface OpenFile {
  readonly path: string;
  readonly descriptor: number;
  readonly bytes: number;
  /** When it is read and written past the host's page cache. */
  readonly direct?: DirectFile | undefined;
}

/** An image in a regular file, or a raw device of the host. */
export class ImageFile implements WritableDevice {
  readonly path: string;
  readonly bytes: number;
  #descriptor: number;
  #discards = true;
  #direct: DirectIo | undefined;

  private constructor({ path, descriptor, bytes, direct }: OpenFile) {
    this.path = path;
    this.bytes = bytes;
    this.#descriptor = descriptor;
    this.#direct = direct && new DirectIo(direct);
  }

  /**
   * Throws what open(2) fails with, and FsError EBUSY when another server has the image open, and
   * one of the two writes to it.
   */
  static open(path: string, access: Access): ImageFile {
    const descriptor = openSync(path, access === 'write' ? 'r+' : 'r');
    try {
      const lock = access === 'write' ? 'exclusive' : 'shared';
      if (access !== 'look' && !lockFile(descriptor, lock)) {
        throw new FsError('EBUSY', `another server has ${path} open`);
      }
      const status = fstatSync(descriptor);
      const bytes = status.isBlockDevice() ? deviceBytes(descriptor, status.rdev) : status.size;
      return new ImageFile({ path, descriptor, bytes });
    } catch (error) {
      closeSync(descriptor);
      throw error;
    }
  }

  /** The same open file in another thread, which does not close it. */
  static shared(file: OpenFile): ImageFile {
    return new ImageFile(file);
  }

  get descriptor(): number {
    return this.#descriptor;
  }

  get direct(): DirectFile | undefined {
    return this.#direct?.file;
  }

  /**
   * Reads and writes past the host's page cache from now on. `blockBytes` is the least that two
   * threads may write side by side. Returns why that cannot be, undefined when it is done.
   */
  goDirect(access: 'read' | 'write', blockBytes: number): string | undefined {
    const mode = access === 'write' ? constants.O_RDWR : constants.O_RDONLY;
    let descriptor: number;
    try {
      descriptor = openSync(`/proc/self/fd/${String(this.#descriptor)}`, mode | constants.O_DIRECT);
    } catch {
      return 'what holds it refuses O_DIRECT';
    }
    const sectorBytes = sectorBytesOf(descriptor) ?? Infinity;
    if (blockBytes % sectorBytes === 0 && this.bytes % sectorBytes === 0) {
      const writes = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
      this.#direct = new DirectIo({ descriptor, sectorBytes, writes });
      return undefined;
    }
    closeSync(descriptor);
    const what = blockBytes % sectorBytes === 0 ? 'the image is' : 'blocks of the volume are';
    return `${what} no multiple of its sectors`;
  }

  /** Whether it is a regular file, which takes less room when bytes are discarded. */
  get isFile(): boolean {
    return fstatSync(this.#descriptor).isFile();
  }

  read(target: Uint8Array, at: number, bytes: number): void {
    checkRange(this, target, { at, bytes });
    let done = 0;
    while (done < bytes) {
      const range = { at: at + done, bytes: bytes - done };
      const got = this.#attempt('reading', range, () =>
        this.#direct === undefined
          ? readSync(this.#descriptor, target, done, range.bytes, range.at)
          : this.#direct.read(target, done, range.bytes, range.at),
      );
      if (got === 0) {
        throw new FsError('EIO', `${this.path} ends at byte ${String(at + done)}`);
      }
      done += got;
    }
  }

  write(data: Uint8Array, at: number): void {
    checkRange(this, data, { at, bytes: data.length });
    for (let done = 0; done < data.length;) {
      const range = { at: at + done, bytes: data.length - done };
      const wrote = this.#attempt('writing', range, () =>
        this.#direct === undefined
          ? writeSync(this.#descriptor, data, done, range.bytes, range.at)
          : this.#direct.write(data, done, range.bytes, range.at),
      );
      if (wrote === 0) throw new FsError('EIO', `${this.path} takes no bytes`);
      done += wrote;
    }
  }

  flush(): void {
    try {
      fdatasyncSync(this.#descriptor);
    } catch (error) {
      // Also where it was full: what the kernel could not write out it drops.
      throw new FsError('EIO', `flushing ${this.path} failed`, { cause: error });
    }
  }

  discard(at: number, bytes: number): void {
    checkRange(this, { length: bytes }, { at, bytes });
    if (!this.#discards || bytes === 0) return;
    try {
      punchHole(this.#descriptor, at, bytes);
    } catch (error) {
      if (!isDvkError(error)) throw error;
      if (error.code !== 'EOPNOTSUPP') {
        const place = `${this.path} at byte ${String(at)}`;
        throw new FsError('EIO', `discarding ${place} failed`, { cause: error });
      }
      this.#discards = false;
    }
  }

  close(): void {
    if (this.#descriptor < 0) return;
    if (this.#direct !== undefined) closeSync(this.#direct.file.descriptor);
    this.#direct = undefined;
    closeSync(this.#descriptor);
    this.#descriptor = -1;
  }

  /** What `call` returns, which is told when a signal came instead. */
  #attempt(what: string, range: ByteRange, call: () => number): number {
    for (;;) {
      try {
        return call();
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EINTR') continue;
        const full = code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG';
        const place = `${this.path} at byte ${String(range.at)}`;
        throw new FsError(full ? 'ENOSPC' : 'EIO', `${what} ${place} failed`, { cause: error });
      }
    }
  }
}

/**
 * One who writes keeps others from writing and from reading. Who looks takes no lock, and may see a
 * change half made.
 */
type Access = 'read' | 'write' | 'look';

/** Of what /sys tells sizes in, whatever the device has. */
const SECTOR_BYTES = 512;

/** See `ImageFile.open`. */
export function openImage(path: string, access: Access = 'read'): ImageFile {
  return ImageFile.open(path, access);
}

/** The size of a block device, for which stat(2) tells zero. */
function deviceBytes(descriptor: number, device: number): number {
  const major = Math.floor(device / 2 ** 8) % 2 ** 12;
  const minor = (device % 2 ** 8) + Math.floor(device / 2 ** 20) * 2 ** 8;
  try {
    const sectors = readFileSync(`/sys/dev/block/${String(major)}:${String(minor)}/size`, 'utf8');
    return Number(sectors) * SECTOR_BYTES;
  } catch {
    return lastByte(descriptor);
  }
}

/**
 * Where there is no /sys the end is searched by reading single bytes, all of which must be
 * readable.
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

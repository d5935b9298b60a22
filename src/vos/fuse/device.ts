/**
 * The loop between /dev/fuse and a session: waits for the descriptor on the event loop, reads
 * requests, sends replies.
 *
 * One read(2) is one request and one writev(2) one reply; both are whole or fail. The read's errors
 * mean: EAGAIN, nothing waits; EINTR and ENOENT, the request went away while it was read; ENODEV,
 * the file system was unmounted.
 */
import { constants } from 'node:os';
import type { RequestBuffers } from './request-buffers.ts';

const { EAGAIN, EINTR, EIO, ENODEV, ENOENT, ENOMEM } = constants.errno;

/**
 * The native side (native/binding/fuse_device.cc and poll.cc). Results are 0 or more, or -errno.
 */
export interface FuseDevice {
  /** Mounts and returns a non-blocking descriptor. A helper's complaint goes to `diagnostics`. */
  fuseMount(mountpoint: string, request: NativeMount, diagnostics: Uint8Array): number;
  fuseUnmount(mountpoint: string, lazy: boolean): number;
  fuseRead(fd: number, buffer: Uint8Array): number;
  fuseWrite(fd: number, head: Uint8Array, headBytes: number, payload?: Uint8Array): number;
  fuseClose(fd: number): number;
  /**
   * Calls back while `fd` can be read; with a negative status once, after which no more calls come.
   */
  pollStart(fd: number, callback: (status: number, events: number) => void): number;
  pollStop(id: number): number;
}

export interface NativeMount {
  source: string;
  /** Options for the kernel, separated by commas. */
  data: string;
  /** `MountFlag`s. */
  flags: number;
}

/** Those of mount(2). */
export const MountFlag = { READ_ONLY: 1, NO_SUID: 2, NO_DEV: 4 } as const;

/**
 * Requests taken in one turn of the event loop, so that timers and other servers of the process get
 * theirs.
 */
export const REQUESTS_PER_TURN = 64;
export interface DeviceEvents {
  /** One request; `view` is used again after the call. False: no more until `resume`. */
  onRequest(view: DataView, length: number): boolean;
  /** The descriptor is about to be closed. */
  onClosing?(): void;
  /** Called once, with 0 after an unmount or a stop, else with the errno that ended the session. */
  onEnd(errno: number): void;
}

export class DeviceLoop {
  readonly #device: FuseDevice;
  readonly #fd: number;
  readonly #events: DeviceEvents;
  readonly #buffers: RequestBuffers;
  #poll = 0;
  #ended = false;

  /** Takes over `fd`. */
  constructor(device: FuseDevice, fd: number, buffers: RequestBuffers, events: DeviceEvents) {
    this.#device = device;
    this.#fd = fd;
    this.#events = events;
    this.#buffers = buffers;
  }

  /** Returns 0 or -errno. */
  start(): number {
    const id = this.#device.pollStart(this.#fd, (status) => {
      this.#onReadable(status);
    });
    if (id < 0) return id;
    this.#poll = id;
    return 0;
  }

  /** Reads requests again, after `onRequest` wanted no more. */
  resume(): void {
    if (this.#ended || this.#poll > 0) return;
    const result = this.start();
    if (result < 0) this.#end(-result);
  }

  /** Ends the session: whoever still uses the mount gets ENOTCONN. Does nothing the second time. */
  stop(): void {
    this.#end(0);
  }

  send(head: Uint8Array, bytes: number, payload: Uint8Array | undefined): number {
    if (this.#ended) return -ENODEV;
    const result = this.#device.fuseWrite(this.#fd, head, bytes, payload);
    // A signal may come before the kernel took anything, never in between.
    return result === -EINTR ? this.#device.fuseWrite(this.#fd, head, bytes, payload) : result;
  }

  #onReadable(status: number): void {
    const result = this.#drain();
    if (result < 0) this.#end(result === -ENODEV ? 0 : -result);
    else if (status < 0) this.#end(-status);
  }

  /** Returns 0, or -errno when the session is over. */
  #drain(): number {
    for (let i = 0; i < REQUESTS_PER_TURN && !this.#ended; i++) {
      const { current } = this.#buffers;
      const bytes = this.#device.fuseRead(this.#fd, current.bytes);
      if (bytes > 0) {
        if (!this.#events.onRequest(current.view, bytes)) {
          this.#pause();
          return 0;
        }
      } else if (bytes === -EAGAIN || bytes === -ENOMEM) {
        return 0;
      } else if (bytes !== -EINTR && bytes !== -ENOENT) {
        return bytes === 0 ? -EIO : bytes;
      }
    }
    return 0;
  }

  #pause(): void {
    if (this.#poll > 0) this.#device.pollStop(this.#poll);
    this.#poll = 0;
  }

  #end(errno: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#pause();
    this.#events.onClosing?.();
    this.#device.fuseClose(this.#fd);
    this.#events.onEnd(errno);
  }
}

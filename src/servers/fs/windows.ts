/**
 * The windows of clients on other nodes: memory of the server's, one piece for each endpoint that
 * asked for it. See `src/vos/protocol/fs-window.ts`.
 *
 * A client may change what is in its window at any time: it is looked at as contents of files, and
 * as lists of pieces, whose numbers are each read once.
 */
import { encodeWindow } from '../../vos/protocol/fs-window.ts';
import { TRANSFER_BYTES_MAX } from '../../vos/protocol/fs.ts';
import { ERRNO } from './errors.ts';

export interface WindowParts {
  /** Memory that may be granted; undefined when there is no more. */
  allocate(bytes: number): Uint8Array | undefined;
  /** Lets the endpoint alone write it; undefined when there are no more grants. */
  grant(memory: Uint8Array, endpoint: number): number | undefined;
  revoke(grant: number): void;
  isAlive(endpoint: number): boolean;
}

interface Window {
  readonly memory: Uint8Array;
  readonly grant: number;
}

export class Windows {
  readonly #parts: WindowParts;
  readonly #max: number;
  readonly #windows = new Map<number, Window>();
  /** Memory of windows that are no more. */
  readonly #free: Uint8Array[] = [];

  /** At most `bytes` in all. */
  constructor(parts: WindowParts, bytes: number) {
    this.#parts = parts;
    this.#max = Math.floor(bytes / TRANSFER_BYTES_MAX);
  }

  get size(): number {
    return this.#windows.size;
  }

  /** The window of an endpoint, if it has one. */
  of(endpoint: number): Uint8Array | undefined {
    return this.#windows.get(endpoint)?.memory;
  }

  /** The handler of WINDOW. */
  onWindow(request: DataView, reply: DataView): number {
    const endpoint = request.getInt32(0, true);
    new Uint8Array(reply.buffer, reply.byteOffset + 8, 56).fill(0);
    this.#end(endpoint);
    if (this.#windows.size >= this.#max) this.sweep();
    const grant = this.#windows.size < this.#max ? this.#give(endpoint) : undefined;
    if (grant === undefined) return -ERRNO.EUSERS;
    encodeWindow(reply, grant);
    return 0;
  }

  /** Takes windows back whose endpoints are bound no more. */
  sweep(): void {
    for (const endpoint of [...this.#windows.keys()]) {
      if (!this.#parts.isAlive(endpoint)) this.#end(endpoint);
    }
  }

  #give(endpoint: number): number | undefined {
    const memory = this.#free.pop() ?? this.#parts.allocate(TRANSFER_BYTES_MAX);
    if (memory === undefined) return undefined;
    const grant = this.#parts.grant(memory, endpoint);
    if (grant === undefined) this.#free.push(memory);
    else this.#windows.set(endpoint, { memory, grant });
    return grant;
  }

  #end(endpoint: number): void {
    const window = this.#windows.get(endpoint);
    if (window === undefined) return;
    this.#windows.delete(endpoint);
    this.#parts.revoke(window.grant);
    // What was used last is in the processor's cache.
    this.#free.push(window.memory);
  }
}

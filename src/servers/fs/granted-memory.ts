/**
 * How contents and names come from clients, and go to them: by the grants of clients, by the
 * server's own, and through memory of the arena that it keeps for that.
 */
import {
  isDvkError,
  uninterrupted,
  type Endpoint,
  type GrantId,
  type Process,
  type Segment,
} from '../../dvk/index.ts';
import { TRANSFER_BYTES_MAX } from '../../vos/protocol/fs.ts';
import { FsError } from './errors.ts';
import type { ClientMemory } from './handlers.ts';
import { Windows } from './windows.ts';

/**
 * A copy to another node ends in this time or not at all; the client has its own, longer deadline.
 */
const COPY_TIMEOUT_MS = 5000;

/** The clients' memory by grants and vcopy, and a staging buffer in the arena. */
export class GrantedMemory implements ClientMemory {
  readonly #server: Process;
  readonly #stage: Uint8Array;
  readonly windows: Windows;

  /** Windows take `windowBytes` at most. */
  constructor(server: Process, segment: Segment, windowBytes: number) {
    this.#server = server;
    this.windows = windowsOf(server, segment, windowBytes);
    this.#stage = server.allocate(TRANSFER_BYTES_MAX);
  }

  stage(bytes: number): Uint8Array {
    return this.#stage.subarray(0, bytes);
  }

  window(client: number): Uint8Array | undefined {
    return this.windows.of(client);
  }

  /** What went out last; valid until the staging buffer is used again. */
  copied: Uint8Array = new Uint8Array(0);

  copyOut(client: number, grant: number, at: number, data: Uint8Array): void {
    this.copied = data;
    const target = { endpoint: client as Endpoint, grant: grant as GrantId, at };
    attempt(() => this.#server.vcopySync(data, target, data.length, COPY_TIMEOUT_MS));
  }

  copyIn(client: number, grant: number, at: number, target: Uint8Array): void {
    const source = { endpoint: client as Endpoint, grant: grant as GrantId, at };
    attempt(() => this.#server.vcopySync(source, target, target.length, COPY_TIMEOUT_MS));
  }
}

/** Windows of the server, in the arena: at most `bytes` in all. */
function windowsOf(server: Process, segment: Segment, bytes: number): Windows {
  const parts = {
    allocate: (size: number): Uint8Array | undefined => orNothing(() => server.allocate(size)),
    grant: (memory: Uint8Array, endpoint: number): number | undefined =>
      orNothing(() => server.grant(memory, 'write', endpoint as Endpoint)),
    revoke: (grant: number): void => {
      server.revoke(grant as GrantId);
    },
    isAlive: (endpoint: number): boolean => segment.isBound(endpoint as Endpoint),
  };
  return new Windows(parts, bytes);
}

/** Undefined where DVK has no more of something. */
function orNothing<T>(take: () => T): T | undefined {
  try {
    return take();
  } catch (error) {
    if (isDvkError(error)) return undefined;
    throw error;
  }
}

/**
 * A copy that fails concerns one client only: it gets EFAULT for what it granted, EIO for a link
 * that is down. Who asks this server to end waits until the request that it serves is answered.
 */
function attempt(copy: () => number): void {
  try {
    uninterrupted(copy);
  } catch (error) {
    if (!isDvkError(error)) throw error;
    const lost = error.code === 'ENOTCONN' || error.code === 'ETIMEDOUT';
    throw new FsError(lost ? 'EIO' : 'EFAULT', error.message, { cause: error });
  }
}

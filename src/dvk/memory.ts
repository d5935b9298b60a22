/**
 * The memory of a process as others may see it: arena allocations, grants, and vcopy.
 *
 * A grant names memory by its address, so a granted view is kept referenced here, and its buffer is
 * barred from being transferred to another thread: neither the garbage collector nor postMessage
 * can free it under a grant.
 */
import { markAsUntransferable } from 'node:worker_threads';

import { GrantRight, Limit } from './abi/abi.gen.ts';
import type { Endpoint, GrantId } from './endpoint.ts';
import { check } from './errors.ts';
import { native, type Binding, type RawCopyElement, type RawPlace } from './native.ts';

/** What a grantee may do with granted memory. */
export type Access = 'read' | 'write' | 'read-write';

/**
 * One end of a vcopy: own memory; a place `at` bytes into a grant of `endpoint`; or an address in
 * the memory of `endpoint`, which is allowed while that process waits in a sendrec to the caller.
 */
export type Party =
  | Uint8Array
  | { readonly endpoint: Endpoint; readonly grant: GrantId; readonly at: number }
  | { readonly endpoint: Endpoint; readonly address: bigint };

/** One part of a scattered copy. */
export interface CopyElement {
  readonly source: Party;
  readonly destination: Party;
  readonly bytes: number;
}

const RIGHTS: Readonly<Record<Access, number>> = {
  read: GrantRight.READ,
  write: GrantRight.WRITE,
  'read-write': GrantRight.READ | GrantRight.WRITE,
};
const NO_GRANT = -1;

/**
 * The address of a view in this process, to be told to a server in a message. Valid while the view
 * is referenced.
 */
export function addressOf(view: Uint8Array): bigint {
  return native().addressOf(view);
}

export class Memory {
  readonly #native: Binding = native();
  readonly #handle: number;
  readonly #endpoint: Endpoint;
  readonly #arena: () => Uint8Array;
  readonly #granted = new Map<GrantId, Uint8Array>();

  constructor(handle: number, endpoint: Endpoint, arena: () => Uint8Array) {
    this.#handle = handle;
    this.#endpoint = endpoint;
    this.#arena = arena;
  }

  allocate(bytes: number): Uint8Array {
    if (!Number.isSafeInteger(bytes) || bytes < 1) {
      throw new RangeError('bytes must be an integer of 1 or more');
    }
    const arena = this.#arena();
    const offset = check(this.#native.arenaAllocate(this.#handle, bytes), 'allocate');
    return arena.subarray(offset, offset + bytes);
  }

  free(view: Uint8Array): void {
    if (view.buffer !== this.#arena().buffer) throw new TypeError('the view is not in the arena');
    check(this.#native.arenaFree(this.#handle, view.byteOffset), 'free');
  }

  grant(view: Uint8Array, access: Access, grantee: Endpoint): GrantId {
    const id = this.#native.grant(this.#handle, view, RIGHTS[access], grantee);
    check(id, 'grant', { endpoint: grantee });
    if (view.buffer !== this.#arena().buffer) markAsUntransferable(view.buffer);
    this.#granted.set(id as GrantId, view);
    return id as GrantId;
  }

  revoke(id: GrantId): void {
    check(this.#native.revoke(this.#handle, id), 'revoke');
    this.#granted.delete(id);
  }

  /** After unbind: no grant of this process is valid any more. */
  clear(): void {
    this.#granted.clear();
  }

  grantIndirect(granter: Endpoint, id: GrantId, access: Access, grantee: Endpoint): GrantId {
    const raw = this.#native.grantIndirect(this.#handle, granter, id, RIGHTS[access], grantee);
    return check(raw, 'grantIndirect', { endpoint: granter }) as GrantId;
  }

  get copied(): number {
    return this.#native.copied(this.#handle);
  }

  vcopyVector(elements: readonly CopyElement[], timeoutMs: number): number {
    const raw = elements.map(({ source, destination, bytes }): RawCopyElement => {
      checkBytes(bytes);
      return [...this.#partyOf(source), ...this.#partyOf(destination), bytes];
    });
    return check(this.#native.vcopyVector(this.#handle, raw, timeoutMs), 'vcopyVector');
  }

  vcopy(source: Party, destination: Party, bytes: number, timeoutMs: number): number {
    checkBytes(bytes);
    const result = this.#native.vcopy(
      this.#handle,
      this.#endpointOf(source),
      grantOf(source),
      placeOf(source),
      this.#endpointOf(destination),
      grantOf(destination),
      placeOf(destination),
      bytes,
      timeoutMs,
    );
    return check(result, 'vcopy');
  }

  /** Starts an awaited copy; its views stay alive and in place while `copying` is referenced. */
  beginVcopy(
    source: Party,
    destination: Party,
    bytes: number,
  ): { result: number; copying: Party[] } {
    checkBytes(bytes);
    const copying = [source, destination];
    const result = this.#native.beginVcopy(
      this.#handle,
      this.#endpointOf(source),
      grantOf(source),
      placeOf(source),
      this.#endpointOf(destination),
      grantOf(destination),
      placeOf(destination),
      bytes,
    );
    for (const party of copying) {
      const own = party instanceof Uint8Array && party.buffer !== this.#arena().buffer;
      if (own) markAsUntransferable(party.buffer);
    }
    return { result, copying };
  }

  #partyOf(party: Party): [number, number, RawPlace] {
    return [this.#endpointOf(party), grantOf(party), placeOf(party)];
  }

  #endpointOf(party: Party): number {
    return party instanceof Uint8Array ? this.#endpoint : party.endpoint;
  }
}

function checkBytes(bytes: number): void {
  if (Number.isInteger(bytes) && bytes >= 0 && bytes <= Limit.COPY_BYTES_MAX) return;
  throw new RangeError(`bytes must be an integer from 0 to ${String(Limit.COPY_BYTES_MAX)}`);
}

function grantOf(party: Party): number {
  return party instanceof Uint8Array || 'address' in party ? NO_GRANT : party.grant;
}

function placeOf(party: Party): RawPlace {
  if (party instanceof Uint8Array) return party;
  return 'address' in party ? party.address : party.at;
}

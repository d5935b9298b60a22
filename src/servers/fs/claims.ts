/**
 * What clients have claimed for a moment, so that they need not wait for the server.
 *
 * Who claims the contents of a file may tell its programs that something is written before it is:
 * nobody else gets at the file meanwhile. Who claims the names of a directory knows which are not
 * there: nobody else adds one. Calls of others that a claim is in the way of are to be made again a
 * little later (EALREADY); such a call makes the claim unwanted, of which its owner learns by the
 * answer to the next call that would renew it.
 *
 * A claim ends when its owner says so, when it was not renewed for `CLAIM_MS`, or when the owner is
 * bound no more. After one that was unwanted nobody gets another for a while.
 */
import type { FsChange } from '../../vos/protocol/fs-change.ts';
import { CreateFlag, WriteFlag } from '../../vos/protocol/fs-change.ts';
import { FsCall } from '../../vos/protocol/fs.ts';

/** A claim that is not renewed. Its owner believes in it for less: see `CLAIM_TRUSTED_MS`. */
const CLAIM_MS = 5000;
/** No claims on what others wanted a moment ago. */
const UNWANTED_MS = 1000;
/** Claims, and memories of unwanted ones. */
const CLAIMS_MAX = 4096;
const OTHER_AT = 28;
const INODE_AT = 8;
const CALL_AT = 4;

interface Claim {
  /** Undefined: given up while others wanted it. */
  readonly client: number | undefined;
  readonly isOnNames: boolean;
  wanted: boolean;
  untilMs: number;
}

/** Calls that add a name to the directory they are about. */
const ADDING: ReadonlySet<number> = new Set<number>([
  FsCall.CREATE,
  FsCall.MKDIR,
  FsCall.SYMLINK,
  FsCall.LINK,
]);
/** Calls that a claim is never in the way of. */
const HARMLESS: ReadonlySet<number> = new Set<number>([FsCall.RELEASE, FsCall.UNCLAIM]);

export interface ClaimParts {
  isAlive(client: number): boolean;
  nowMs(): number;
  /**
   * Whether somebody is promised to be told of every change before it has returned: then nobody may
   * tell of one before it is done. Left out: nobody is.
   */
  isWatched?(): boolean;
}

export class Claims {
  readonly #parts: ClaimParts;
  readonly #claims = new Map<number, Claim>();

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  /** Claims, and memories of unwanted ones. */
  get size(): number {
    return this.#claims.size;
  }

  /** Whether a request, a message of 64 bytes, has to wait for somebody else's claim. */
  isInTheWay(request: DataView): boolean {
    if (this.#claims.size === 0) return false;
    const call = request.getInt32(CALL_AT, true);
    if (HARMLESS.has(call)) return false;
    const inode = request.getUint32(INODE_AT, true);
    if (call === FsCall.RENAME) return this.#stops(request.getUint32(OTHER_AT, true), true);
    if (ADDING.has(call)) return this.#stops(inode, true, ownerOf(call, request));
    const isCopy = call === FsCall.COPY_RANGE;
    if (isCopy && this.#stops(request.getUint32(OTHER_AT, true), false)) return true;
    return this.#stops(inode, false, ownerOf(call, request));
  }

  /**
   * Takes or renews the claim that `change` asks for, if it does; `inode` is what it is about.
   * Whether the client has it.
   */
  take(inode: number, { call, flags, client }: FsChange): boolean {
    const isOnNames = call === FsCall.CREATE;
    const asks = isOnNames ? CreateFlag.CLAIM : WriteFlag.CLAIM;
    if ((flags & asks) === 0 || this.#parts.isWatched?.() === true) return false;
    const known = this.#current(inode);
    const untilMs = this.#parts.nowMs() + CLAIM_MS;
    if (known !== undefined) {
      if (known.client !== client || known.isOnNames !== isOnNames) return false;
      if (!known.wanted) known.untilMs = untilMs;
      return !known.wanted;
    }
    if (this.#claims.size >= CLAIMS_MAX) this.sweep();
    if (this.#claims.size >= CLAIMS_MAX) return false;
    this.#claims.set(inode, { client, isOnNames, wanted: false, untilMs });
    return true;
  }

  /** Ends the client's claim on `inode`, if there is one. */
  end(inode: number, client: number): void {
    const known = this.#claims.get(inode);
    if (known?.client !== client) return;
    this.#claims.delete(inode);
    if (!known.wanted) return;
    const untilMs = this.#parts.nowMs() + UNWANTED_MS;
    this.#claims.set(inode, { ...known, client: undefined, untilMs });
  }

  /** Makes all claims unwanted. Whether there is none. */
  clear(): boolean {
    let isClear = true;
    for (const inode of [...this.#claims.keys()]) {
      const claim = this.#current(inode);
      if (claim?.client === undefined) continue;
      claim.wanted = true;
      isClear = false;
    }
    return isClear;
  }

  /** Forgets what is over. */
  sweep(): void {
    for (const inode of [...this.#claims.keys()]) this.#current(inode);
  }

  #current(inode: number): Claim | undefined {
    const known = this.#claims.get(inode);
    if (known === undefined) return undefined;
    const { client, untilMs } = known;
    const hasOwner = client === undefined || this.#parts.isAlive(client);
    if (hasOwner && untilMs > this.#parts.nowMs()) return known;
    this.#claims.delete(inode);
    return undefined;
  }

  #stops(inode: number, onNames: boolean, owner?: number): boolean {
    const known = this.#current(inode);
    if (known?.client === undefined || known.isOnNames !== onNames) return false;
    if (known.client === owner) return false;
    known.wanted = true;
    return true;
  }
}

/** Whose claim the request is made under. */
function ownerOf(call: number, request: DataView): number | undefined {
  const isClaiming = (at: number, flag: number): boolean => (request.getUint8(at) & flag) !== 0;
  if (call === FsCall.CREATE && isClaiming(25, CreateFlag.CLAIM)) return request.getInt32(44, true);
  if (call === FsCall.WRITE && isClaiming(28, WriteFlag.CLAIM)) return request.getInt32(48, true);
  return undefined;
}

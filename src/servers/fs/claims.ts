/**
 * What clients have claimed for a moment, so that they need not wait for the server.
 *
 * Who claims the contents of a file may tell its programs that something is written before it is:
 * nobody else gets at the file meanwhile. Who claims the names of a directory may tell them that a
 * file is made before it is: nobody else gets at the directory meanwhile. Calls of others that a
 * claim is in the way of are to be made again a little later (EALREADY); such a call makes the
 * claim unwanted, of which its owner learns by the answer to the next call that would renew it.
 *
 * The owner of contents names its claim in each call that is made under it. The owner of names does
 * not need to: the server knows all endpoints that it speaks with, and leaves the order to it.
 *
 * A claim ends when its owner says so, when it was not renewed for `CLAIM_MS`, or when the owner is
 * bound no more. After one that was unwanted nobody gets another for a while.
 */
import type { FsChange } from '../../vos/protocol/fs-change.ts';
import { WriteFlag } from '../../vos/protocol/fs-change.ts';
import { FsCall } from '../../vos/protocol/fs.ts';

/** A claim that is not renewed. Its owner believes in it for less: see `CLAIM_TRUSTED_MS`. */
const CLAIM_MS = 5000;
/** No claims on what others wanted a moment ago. */
const UNWANTED_MS = 1000;
/** Claims, and memories of unwanted ones. */
const CLAIMS_MAX = 4096;
const SOURCE_AT = 0;
const CALL_AT = 4;
const INODE_AT = 8;
/** Of RENAME and COPY_RANGE. */
const OTHER_AT = 28;
/** Of WRITE. */
const FLAGS_AT = 28;
const CLIENT_AT = 48;

interface Claim {
  /** Undefined: given up while others wanted it. */
  readonly client: number | undefined;
  /** On names: who speaks for the client. */
  readonly speakers: ReadonlySet<number> | undefined;
  wanted: boolean;
  untilMs: number;
}

/** Calls that a claim is never in the way of. */
const HARMLESS: ReadonlySet<number> = new Set<number>([
  FsCall.RELEASE,
  FsCall.UNCLAIM,
  // It tells by its result.
  FsCall.TAKE_NAMES,
]);
/** Calls that are about two files, or directories. */
const DOUBLE: ReadonlySet<number> = new Set<number>([FsCall.RENAME, FsCall.COPY_RANGE]);

export interface ClaimParts {
  isAlive(client: number): boolean;
  nowMs(): number;
  /**
   * Whether somebody is promised to be told of every change before it has returned: then nobody may
   * tell of one before it is done. Left out: nobody is.
   */
  isWatched?(): boolean;
  /** The claim on `inode` is over. */
  ended?(inode: number): void;
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
    const who = { owner: ownerOf(call, request), speaker: request.getInt32(SOURCE_AT, true) };
    if (DOUBLE.has(call) && this.#stops(request.getUint32(OTHER_AT, true), who)) return true;
    return this.#stops(request.getUint32(INODE_AT, true), who);
  }

  /** Whether a directory has to stay, since new files may be on their way to it. */
  keeps(directory: number): boolean {
    const known = this.#claims.size === 0 ? undefined : this.#current(directory);
    if (known?.client === undefined || known.speakers === undefined) return false;
    known.wanted = true;
    return true;
  }

  /**
   * Takes or renews the claim on contents that `change` asks for, if it does; `inode` is what it is
   * about. Whether the client has it.
   */
  take(inode: number, { call, flags, client }: FsChange): boolean {
    if (call !== FsCall.WRITE || (flags & WriteFlag.CLAIM) === 0) return false;
    return this.#take(inode, client);
  }

  /** Takes or renews a claim on the names of a directory. Whether the client has it. */
  takeNames(inode: number, client: number, speakers: readonly number[]): boolean {
    return this.#take(inode, client, new Set(speakers));
  }

  /** Renews the client's claim on names. False: it is over, or unwanted. */
  renewNames(inode: number, client: number): boolean {
    const known = this.#current(inode);
    if (known?.client !== client || known.wanted || known.speakers === undefined) return false;
    known.untilMs = this.#parts.nowMs() + CLAIM_MS;
    return true;
  }

  #take(inode: number, client: number, speakers?: ReadonlySet<number>): boolean {
    if (this.#parts.isWatched?.() === true) return false;
    const known = this.#current(inode);
    const untilMs = this.#parts.nowMs() + CLAIM_MS;
    if (known !== undefined) {
      const isSame = (known.speakers === undefined) === (speakers === undefined);
      if (known.client !== client) known.wanted ||= speakers !== undefined;
      if (known.client !== client || !isSame) return false;
      if (!known.wanted) known.untilMs = untilMs;
      return !known.wanted;
    }
    if (this.#claims.size >= CLAIMS_MAX) this.sweep();
    if (this.#claims.size >= CLAIMS_MAX) return false;
    this.#claims.set(inode, { client, speakers, wanted: false, untilMs });
    return true;
  }

  /** Ends the client's claim on `inode`, if there is one. */
  end(inode: number, client: number): void {
    const known = this.#claims.get(inode);
    if (known?.client !== client) return;
    this.#drop(inode);
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
    this.#drop(inode);
    return undefined;
  }

  #drop(inode: number): void {
    this.#claims.delete(inode);
    this.#parts.ended?.(inode);
  }

  #stops(inode: number, { owner, speaker }: Caller): boolean {
    const known = this.#current(inode);
    if (known?.client === undefined || known.client === owner) return false;
    if (known.speakers?.has(speaker) === true) return false;
    known.wanted = true;
    return true;
  }
}

/** Who makes a request. */
interface Caller {
  /** Whose claim it is made under. */
  readonly owner: number | undefined;
  readonly speaker: number;
}

function ownerOf(call: number, request: DataView): number | undefined {
  if (call !== FsCall.WRITE) return undefined;
  const isClaiming = (request.getUint8(FLAGS_AT) & WriteFlag.CLAIM) !== 0;
  return isClaiming ? request.getInt32(CLIENT_AT, true) : undefined;
}

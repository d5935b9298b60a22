/**
 * Advisory locks: byte ranges as fcntl(2) has them (POSIX), and whole files as flock(2).
 *
 * The two kinds do not see each other. A lock belongs to an owner of a client: a process for POSIX
 * locks, an open file for flock. Nobody waits here: who has to wait asks again, and says so, which
 * is what deadlocks among POSIX locks are found by. Locks of clients that are gone are dropped when
 * they are in somebody's way.
 */
import type { LockAnswer } from '../../vos/protocol/fs-change.ts';
import { LockKind, LockType } from '../../vos/protocol/fs-change.ts';
import { type LockRange, withRange } from '../../vos/protocol/lock-ranges.ts';
import { FsError } from './errors.ts';

export interface LockOwner {
  /** The endpoint that speaks for the owner. */
  readonly client: number;
  readonly owner: bigint;
  readonly pid: number;
}

interface Lock extends LockOwner, LockRange {}

/** One kind of lock of one file. */
export interface LockTarget {
  readonly inode: number;
  readonly kind: number;
}

interface Wait {
  readonly blocker: string;
  readonly untilMs: number;
}

/** As many as all clients together may have. */
export const LOCKS_MAX = 100_000;
/** Who waits asks again within this time, or waits no more. */
const WAIT_MS = 2000;
const WAITS_MAX = 10_000;

export class LockTable {
  readonly #isAlive: (client: number) => boolean;
  readonly #nowMs: () => number;
  readonly #files = new Map<string, Lock[]>();
  readonly #waits = new Map<string, Wait>();
  #count = 0;

  constructor(isAlive: (client: number) => boolean, nowMs: () => number) {
    this.#isAlive = isAlive;
    this.#nowMs = nowMs;
  }

  get count(): number {
    return this.#count;
  }

  /** Whether a client has a lock. */
  has(client: number): boolean {
    for (const locks of this.#files.values()) {
      if (locks.some((lock) => lock.client === client)) return true;
    }
    return false;
  }

  /** The lock that is in the way of this one, if any. */
  conflict(target: LockTarget, owner: LockOwner, range: LockRange): LockAnswer {
    const lock = this.#blocker(target, owner, range);
    if (lock === undefined) return { lockType: LockType.UNLOCK, pid: 0, start: 0, end: 0 };
    return { lockType: lock.type, pid: lock.pid, start: lock.start, end: lock.end };
  }

  /**
   * Takes a lock, in place of what the owner had on these bytes, or gives it up. Throws EAGAIN, for
   * who `waits` EDEADLK, ENOLCK.
   */
  set(target: LockTarget, owner: LockOwner, range: LockRange, waits: boolean): void {
    const me = keyOf(owner);
    this.#waits.delete(me);
    if (range.type !== LockType.UNLOCK) {
      const blocker = this.#blocker(target, owner, range);
      if (blocker !== undefined) {
        if (waits && target.kind === LockKind.POSIX) this.#await(me, keyOf(blocker));
        throw new FsError('EAGAIN', `inode ${String(target.inode)} is locked`);
      }
      if (this.#count >= LOCKS_MAX) throw new FsError('ENOLCK', 'there are too many locks');
    }
    this.#replace(target, owner, range);
  }

  /** Gives up what a client has of one file, or of all. */
  drop(client: number, inode?: number): void {
    const keys = inode === undefined ? [...this.#files.keys()] : keysOf(inode);
    for (const key of keys) {
      const locks = this.#files.get(key) ?? [];
      const others = locks.filter((lock) => lock.client !== client);
      this.#store(key, locks, others);
    }
  }

  #blocker(target: LockTarget, owner: LockOwner, range: LockRange): Lock | undefined {
    for (;;) {
      const locks = this.#files.get(fileKey(target)) ?? [];
      const found = locks.find((lock) => !isSame(lock, owner) && excludes(lock, range));
      if (found === undefined || this.#isAlive(found.client)) return found;
      this.drop(found.client);
    }
  }

  #replace(target: LockTarget, owner: LockOwner, range: LockRange): void {
    const key = fileKey(target);
    const before = this.#files.get(key) ?? [];
    const mine = before.filter((lock) => isSame(lock, owner));
    const others = before.filter((lock) => !isSame(lock, owner));
    const { client, owner: id, pid } = owner;
    const after = withRange(mine, range).map((own) => ({ ...own, client, owner: id, pid }));
    this.#store(key, before, [...others, ...after]);
  }

  #store(key: string, before: readonly Lock[], after: Lock[]): void {
    this.#count += after.length - before.length;
    if (after.length === 0) this.#files.delete(key);
    else this.#files.set(key, after);
  }

  /** Remembers who waits for whom. Throws EDEADLK if that closes a circle. */
  #await(me: string, blocker: string): void {
    const nowMs = this.#nowMs();
    let at: string | undefined = blocker;
    for (let steps = 0; at !== undefined && steps < WAITS_MAX; steps++) {
      if (at === me) throw new FsError('EDEADLK', 'all would wait for each other');
      const wait: Wait | undefined = this.#waits.get(at);
      at = wait !== undefined && wait.untilMs > nowMs ? wait.blocker : undefined;
    }
    this.#waits.set(me, { blocker, untilMs: nowMs + WAIT_MS });
    if (this.#waits.size <= WAITS_MAX) return;
    const [oldest] = this.#waits.keys();
    if (oldest !== undefined) this.#waits.delete(oldest);
  }
}

function fileKey({ inode, kind }: LockTarget): string {
  return `${String(inode)}/${String(kind)}`;
}

function keysOf(inode: number): string[] {
  return Object.values(LockKind).map((kind) => fileKey({ inode, kind }));
}

function keyOf({ client, owner }: LockOwner): string {
  return `${String(client)}/${String(owner)}`;
}

function isSame(a: LockOwner, b: LockOwner): boolean {
  return a.client === b.client && a.owner === b.owner;
}

function excludes(lock: LockRange, other: LockRange): boolean {
  const apart = lock.end < other.start || lock.start > other.end;
  return !apart && (lock.type === LockType.WRITE || other.type === LockType.WRITE);
}

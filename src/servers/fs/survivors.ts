/**
 * What outlives the server: which clients it had, so that those, and only those, can take back
 * their open files and locks from the server that is started next (as RFC 8881, section 8.4.2).
 *
 * The list of clients is an xattr of the root directory, changed through the journal like
 * everything else:
 *
 *   count times: i32 endpoint | u32 node where the client lives, and IDLE
 *
 * A server that ends as it should, and waits for nobody, adds the endpoint -1, in its last
 * transaction: these clients have lost nothing. The next server takes it off before it does
 * anything else.
 *
 * A client gets on the list before it holds a file open, in the same transaction as its changes or
 * an earlier one, so whenever the removal of a name is there after a crash, the client that held
 * the file is on the list. Before its first lock the list is committed. A client that is gone is
 * taken off, and if it may have had locks that is committed before anybody gets them: a client
 * that was given up while it could not be reached finds that it is not on the list, and takes back
 * no lock that others had meanwhile. One that had nothing open for some seconds, or when the server
 * ends, is IDLE, until it has something open again: it may make no call for days.
 *
 * A server that finds a list waits for those clients that were not idle: until all have rejoined or
 * are known to be dead, or nobody has taken back anything for `GRACE_MS`. Of a client on another
 * node that is not known here, that node is asked. Meanwhile no file without a name is freed and no
 * new lock is given. A server that dies while it waits leaves the list as it was.
 */
import { type FsChange, LockCommand, LockType } from '../../vos/protocol/fs-change.ts';
import { ROOT_INODE, type Timestamp } from '../../vos/protocol/fs.ts';
import { FsError, isFsError } from './errors.ts';
import type { Volume } from './ext4/volume.ts';
import { RecoveredTimes } from './recovered.ts';

export interface SurvivorParts {
  readonly volume: Volume;
  /** Returns when every change so far will be there after a crash. Throws EIO. */
  commit(): void;
  isAlive(client: number): boolean;
  /**
   * What another node says of a client that is not alive as seen from here: it may live, on its way
   * back. `silent` when the node does not answer now.
   */
  ask(client: number, node: number): 'gone' | 'there' | 'silent';
  /** Whether a client has something open, or locked. */
  has(client: number): boolean;
  /** The node of a client that is alive. */
  nodeOf(client: number): number | undefined;
  /** Where the server is: a client of this node that is not alive will not come. */
  readonly node: number;
  nowMs(): number;
  now(): Timestamp;
}

export const LIST_NAME: Uint8Array = Buffer.from('trusted.dvk.clients');
/** More than a client waits for the server before it fails calls. */
export const GRACE_MS = 10_000;
/** However many files the clients take back. */
const GRACE_MS_MAX = 60_000;
/** Between two questions to the other nodes. */
const ASK_MS = 1000;
const ENTRY_BYTES = 8;
/** Of a client that is never idle. */
const NODE_UNKNOWN = 0xffff_ffff;
const IDLE = 0x8000_0000;
const NOTHING_LOST = -1;
/** With a part of a second, which times of small inodes have not. */
const LATE: Timestamp = { seconds: 2 ** 33, nanoseconds: 1 };

interface Listed {
  readonly node: number;
  readonly isIdle: boolean;
}

export class Survivors {
  readonly recovered: RecoveredTimes;
  readonly #parts: SurvivorParts;
  /** Clients on the list. */
  readonly #listed: Map<number, Listed>;
  /** Those whose place on the list is committed. */
  readonly #safe: Set<number>;
  /** Those that have not rejoined. */
  #awaited: Set<number>;
  /** Those of which nothing is lost. */
  readonly #whole: ReadonlySet<number>;
  /** Those that had nothing open at the last sweep. */
  #idle = new Set<number>();
  #awaiting = true;
  #untilMs: number;
  #askMs: number;
  readonly #untilMsMax: number;

  /** The volume must have been opened with `keepNameless`. Throws EIO, EUCLEAN. */
  constructor(parts: SurvivorParts) {
    this.#parts = parts;
    this.recovered = new RecoveredTimes(parts.now(), this.#root);
    this.#listed = decodeList(parts.volume.getXattr(this.#root, LIST_NAME));
    const isWhole = this.#listed.delete(NOTHING_LOST);
    this.#whole = new Set(isWhole ? this.#listed.keys() : []);
    if (isWhole) {
      this.#write();
      this.#commit();
    }
    this.#safe = new Set(this.#listed.keys());
    this.#awaited = new Set([...this.#listed.keys()].filter((client) => !this.#isIdle(client)));
    const nowMs = parts.nowMs();
    this.#untilMs = nowMs + GRACE_MS;
    this.#askMs = nowMs;
    this.#untilMsMax = nowMs + GRACE_MS_MAX;
    this.check();
  }

  /** Whether clients may still take back what they had. */
  get awaiting(): boolean {
    this.check();
    return this.#awaiting;
  }

  /** Whether this client may take back locks. */
  mayReclaim(client: number): boolean {
    if (!this.awaiting || !this.#awaited.has(client)) return false;
    this.#untilMs = Math.min(this.#parts.nowMs() + GRACE_MS, this.#untilMsMax);
    return true;
  }

  /** A time that is later than all changes of the client's, if none of them is lost. */
  wholeAt(client: number): Timestamp | undefined {
    return this.#whole.has(client) ? LATE : undefined;
  }

  /** The server ends, and will have committed all that there is. */
  end(): void {
    if (this.awaiting || this.#listed.size === 0) return;
    this.#rest(this.#findIdle());
    this.#listed.set(NOTHING_LOST, { node: 0, isIdle: false });
    this.#write();
  }

  /** The client has taken back all that it had. */
  rejoined(client: number): void {
    this.#awaited.delete(client);
    this.check();
  }

  /**
   * The client is about to hold a file. Where there is no room for it on the list, it will take
   * back nothing.
   */
  list(client: number): void {
    const before = this.#listed.get(client);
    if (before?.isIdle === false || !this.#parts.isAlive(client)) return;
    const node = before?.node ?? this.#parts.nodeOf(client) ?? NODE_UNKNOWN;
    this.#listed.set(client, { node, isIdle: false });
    if (this.#write()) return;
    if (before === undefined) this.#listed.delete(client);
    else this.#listed.set(client, before);
  }

  /** The client is about to get a lock. */
  listSafely(client: number): void {
    if (this.#safe.has(client)) return;
    this.list(client);
    const isListed = this.#listed.get(client)?.isIdle === false;
    if (isListed && this.#commit()) this.#safe.add(client);
  }

  /** Takes clients off the list; returns when none of them can take back a lock any more. */
  forget(clients: readonly number[]): void {
    const listed = clients.filter((client) => this.#listed.delete(client));
    const safe = clients.filter((client) => this.#safe.delete(client));
    for (const client of clients) this.#awaited.delete(client);
    if (listed.length > 0) this.#write();
    if (safe.length > 0) this.#commit();
  }

  /**
   * Takes those off the list that are not alive, and marks those that are idle. Those that are
   * awaited have time, unless their nodes know better: a server that ends leaves no files without
   * names for them.
   */
  sweep(): void {
    this.#askMs = this.#parts.nowMs();
    this.check();
    this.forget(
      [...this.#listed.keys()].filter(
        (client) => !this.#awaited.has(client) && !this.#parts.isAlive(client),
      ),
    );
    const idle = this.#findIdle();
    const long = idle.filter((client) => this.#idle.has(client));
    this.#idle = new Set(idle);
    if (long.length === 0) return;
    this.#rest(long);
    this.#write();
  }

  #isIdle(client: number): boolean {
    return this.#listed.get(client)?.isIdle === true;
  }

  /** Those that are not marked, and have nothing open. */
  #findIdle(): number[] {
    return [...this.#listed]
      .filter(([client, { node, isIdle }]) => {
        const isKnown = !isIdle && node !== NODE_UNKNOWN && !this.#awaited.has(client);
        return isKnown && !this.#parts.has(client);
      })
      .map(([client]) => client);
  }

  /** Before the next lock of any of them the list is committed again. */
  #rest(clients: readonly number[]): void {
    for (const client of clients) {
      const node = this.#listed.get(client)?.node ?? NODE_UNKNOWN;
      this.#listed.set(client, { node, isIdle: true });
      this.#safe.delete(client);
    }
  }

  /** Ends the wait when it is over. */
  check(): void {
    if (!this.#awaiting) return;
    const { volume } = this.#parts;
    this.#findGone();
    if (this.#awaited.size > 0 && this.#parts.nowMs() < this.#untilMs) return;
    this.#awaiting = false;
    const lost = [...this.#awaited];
    this.#awaited = new Set();
    this.forget(lost);
    succeeds(() => {
      volume.freeNameless();
    });
  }

  /** Waits no more for those that are gone. A node that is silent is asked once at a time. */
  #findGone(): void {
    const parts = this.#parts;
    const nowMs = parts.nowMs();
    const asks = nowMs >= this.#askMs;
    if (asks) this.#askMs = nowMs + ASK_MS;
    const silent = new Set([NODE_UNKNOWN]);
    for (const client of this.#awaited) {
      const node = this.#listed.get(client)?.node ?? NODE_UNKNOWN;
      if (parts.isAlive(client)) continue;
      if (node === parts.node) this.#awaited.delete(client);
      if (node === parts.node || !asks || silent.has(node)) continue;
      const said = parts.ask(client, node);
      if (said === 'gone') this.#awaited.delete(client);
      else if (said === 'silent') silent.add(node);
    }
  }

  get #root(): ReturnType<Volume['inode']> {
    return this.#parts.volume.inode(ROOT_INODE, 0);
  }

  #write(): boolean {
    const { volume } = this.#parts;
    return succeeds(() => {
      volume.actAs({ uid: 0, gid: 0 });
      if (this.#listed.size > 0) volume.setXattr(this.#root, LIST_NAME, encodeList(this.#listed));
      else volume.removeXattr(this.#root, LIST_NAME);
    });
  }

  /** A commit that failed is told to those who sync. */
  #commit(): boolean {
    return succeeds(() => {
      this.#parts.commit();
    });
  }
}

/**
 * Whether a lock may be asked for yet. Throws ENOLCK for one that cannot be taken back, EINPROGRESS
 * for others before those were.
 */
export function checkLock(survivors: Survivors | undefined, change: FsChange): void {
  const { lockCommand, lockType, client } = change;
  if (lockCommand === LockCommand.RECLAIM) {
    if (survivors?.mayReclaim(client) === true) return;
    throw new FsError('ENOLCK', 'somebody else may have had the lock');
  }
  if (survivors === undefined || lockType === LockType.UNLOCK) return;
  if (survivors.awaiting) throw new FsError('EINPROGRESS', 'locks are being taken back');
  if (lockCommand !== LockCommand.GET) survivors.listSafely(client);
}

function succeeds(run: () => void): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (!isFsError(error)) throw error;
    return false;
  }
}

function encodeList(clients: ReadonlyMap<number, Listed>): Uint8Array {
  const bytes = new Uint8Array(clients.size * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [client, { node, isIdle }] of clients) {
    view.setInt32(at, client, true);
    view.setUint32(at + 4, isIdle ? node + IDLE : node, true);
    at += ENTRY_BYTES;
  }
  return bytes;
}

/** Any bytes are safe. */
function decodeList(bytes: Uint8Array | undefined): Map<number, Listed> {
  const clients = new Map<number, Listed>();
  if (bytes === undefined) return clients;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + ENTRY_BYTES <= bytes.length; at += ENTRY_BYTES) {
    const word = view.getUint32(at + 4, true);
    const isIdle = word >= IDLE && word !== NODE_UNKNOWN;
    clients.set(view.getInt32(at, true), { node: isIdle ? word - IDLE : word, isIdle });
  }
  return clients;
}

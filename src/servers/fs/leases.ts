/**
 * Who believes what of the volume: the leases of all clients, and what was recalled of them.
 *
 * No I/O and no clock of its own. A change names what it touches; what others have of that is taken
 * from them, a recall for each is queued, and the change's reply waits for the tickets that
 * `recall` returns. Recalls have rising numbers for each client, which says how far it has come. A
 * client that has not come to a recall within `LEASE_MS` is lapsed: it has no leases, nobody waits
 * for it, and it must join anew.
 *
 * Bounded: a client has `leasesMax` leases, all together `totalMax`; beyond that the oldest of who
 * asks for one more, or of who has most, is recalled. Each recall of a whole lease takes that
 * lease, so there are never more of them than leases were; names that are recalled one by one,
 * beyond `NAMES_QUEUED_MAX`, become one recall of their directory.
 */
import { ALL_KINDS, LEASE_MS, LeaseKind, type Recall } from '../../vos/protocol/fs-lease.ts';
import { RECALLED_NAME_BYTES_MAX } from '../../vos/protocol/fs-lease.ts';

const NAMES_QUEUED_MAX = 256;
const CLIENTS_MAX = 1024;

interface Queued extends Recall {
  readonly deadlineMs: number;
}

/** One client. Its fields are the table's business. */
export interface LeaseClient {
  readonly endpoint: number;
  readonly incarnation: number;
  /** It has no leases and gets none. */
  lapsed: boolean;
  lapsedMs: number;
  /** Kinds by inode, the oldest first. */
  readonly held: Map<number, number>;
  /** Not known to be done; the first has the number `done` + 1. */
  readonly recalls: Queued[];
  done: number;
  /** The highest number that it was told. */
  told: number;
  namesQueued: number;
}

/** What a reply waits for. */
export interface Ticket {
  readonly client: LeaseClient;
  readonly number: number;
}

export interface LeaseCounters {
  granted: number;
  recalled: number;
  /** Leases that were recalled for want of room. */
  evicted: number;
  /** Clients that did not answer in time. */
  lapsed: number;
  /** Answers to recalls that were never sent, and leases that are no more. */
  refused: number;
}

export interface LeaseLimits {
  readonly leasesMax: number;
  readonly totalMax: number;
}

export const LEASE_LIMITS: LeaseLimits = { leasesMax: 65_536, totalMax: 262_144 };

export class LeaseTable {
  readonly counters: LeaseCounters = { granted: 0, recalled: 0, evicted: 0, lapsed: 0, refused: 0 };
  readonly #limits: LeaseLimits;
  /** By the endpoint that joined. */
  readonly #clients = new Map<number, LeaseClient>();
  readonly #holders = new Map<number, Set<LeaseClient>>();
  #incarnations = 0;
  #total = 0;

  constructor(limits: LeaseLimits = LEASE_LIMITS) {
    this.#limits = limits;
  }

  get clients(): number {
    return this.#clients.size;
  }

  /** Leases of all clients, each for one inode. */
  get size(): number {
    return this.#total;
  }

  /** Undefined when there are too many clients. What the endpoint had before is gone. */
  join(endpoint: number): LeaseClient | undefined {
    this.leave(endpoint, 0);
    if (this.#clients.size >= CLIENTS_MAX) return undefined;
    const client: LeaseClient = {
      endpoint,
      incarnation: ++this.#incarnations,
      lapsed: false,
      lapsedMs: 0,
      held: new Map(),
      recalls: [],
      done: 0,
      told: 0,
      namesQueued: 0,
    };
    this.#clients.set(endpoint, client);
    return client;
  }

  /** The client is gone. */
  leave(endpoint: number, nowMs: number): void {
    const client = this.#clients.get(endpoint);
    if (client === undefined) return;
    this.#clear(client, nowMs);
    this.#clients.delete(endpoint);
  }

  find(endpoint: number): LeaseClient | undefined {
    return this.#clients.get(endpoint);
  }

  grant(client: LeaseClient, inode: number, kinds: number, nowMs: number): void {
    if (client.lapsed) return;
    const before = client.held.get(inode);
    client.held.set(inode, (before ?? 0) | kinds);
    if (before !== undefined) return;
    this.counters.granted++;
    this.#total++;
    const holders = this.#holders.get(inode);
    if (holders === undefined) this.#holders.set(inode, new Set([client]));
    else holders.add(client);
    const { leasesMax, totalMax } = this.#limits;
    if (client.held.size > leasesMax) this.#evict(client, nowMs);
    else if (this.#total > totalMax) this.#evict(this.#largest(), nowMs);
  }

  /** Takes from all but `except` what they have of this, and returns whom to wait for. */
  recall(recall: Recall, except: LeaseClient | undefined, nowMs: number): Ticket[] {
    const tickets: Ticket[] = [];
    for (const client of [...(this.#holders.get(recall.inode) ?? [])]) {
      if (client === except) continue;
      const kinds = (client.held.get(recall.inode) ?? 0) & recall.kinds;
      if (kinds === 0) continue;
      const number = this.#take(client, { ...recall, kinds }, nowMs);
      tickets.push({ client, number });
    }
    return tickets;
  }

  /** Whether nobody needs to wait for it any more. */
  isDone({ client, number }: Ticket): boolean {
    return client.lapsed || client.done >= number;
  }

  /** The client has done all up to `done`. False, and nothing happens, if it cannot know of it. */
  acknowledge(client: LeaseClient, done: number): boolean {
    if (client.lapsed || done < client.done || done > client.told) {
      this.counters.refused++;
      return false;
    }
    for (const { name } of client.recalls.splice(0, done - client.done)) {
      if (name !== undefined) client.namesQueued--;
    }
    client.done = done;
    return true;
  }

  /** The client was told the first `count` of its recalls. */
  tell(client: LeaseClient, count: number): void {
    client.told = Math.max(client.told, client.done + count);
  }

  /** When the next client lapses if it says nothing; Infinity if none has to say anything. */
  get deadlineMs(): number {
    let next = Infinity;
    for (const { recalls } of this.#clients.values()) {
      next = Math.min(next, recalls[0]?.deadlineMs ?? Infinity);
    }
    return next;
  }

  /** Clients that are late, or gone, have leases no more. */
  expire(nowMs: number, isAlive: (endpoint: number) => boolean): void {
    for (const client of [...this.#clients.values()]) {
      if (!isAlive(client.endpoint)) this.leave(client.endpoint, nowMs);
      else if (!client.lapsed && (client.recalls[0]?.deadlineMs ?? Infinity) <= nowMs) {
        this.counters.lapsed++;
        this.#clear(client, nowMs);
      }
    }
  }

  /** Who has most. */
  #largest(): LeaseClient | undefined {
    let largest: LeaseClient | undefined;
    for (const client of this.#clients.values()) {
      if (client.held.size > (largest?.held.size ?? 0)) largest = client;
    }
    return largest;
  }

  #evict(client: LeaseClient | undefined, nowMs: number): void {
    const [oldest] = client?.held.keys() ?? [];
    if (client === undefined || oldest === undefined) return;
    this.counters.evicted++;
    this.#take(client, { inode: oldest, kinds: ALL_KINDS }, nowMs);
  }

  #take(client: LeaseClient, recall: Recall, nowMs: number): number {
    const { inode, name } = recall;
    let { kinds } = recall;
    const one =
      (kinds & LeaseKind.NAMES) !== 0 && name !== undefined && this.#namesFit(client, name);
    this.counters.recalled++;
    const held = client.held.get(inode) ?? 0;
    // Of one name, the lease of the others stays.
    const left = held & ~(one ? kinds & ~LeaseKind.NAMES : kinds);
    if (left === 0) this.#drop(client, inode);
    else client.held.set(inode, left);
    const deadlineMs = nowMs + LEASE_MS;
    if (one) {
      client.namesQueued++;
      client.recalls.push({ inode, kinds, name, deadlineMs });
      return client.done + client.recalls.length;
    }
    // What it was not told yet can be told along.
    const last = client.recalls.at(-1);
    const number = client.done + client.recalls.length;
    if (last?.inode === inode && last.name === undefined && number > client.told) {
      kinds |= last.kinds;
      client.recalls[client.recalls.length - 1] = { inode, kinds, deadlineMs: last.deadlineMs };
      return number;
    }
    client.recalls.push({ inode, kinds, deadlineMs });
    return number + 1;
  }

  #namesFit(client: LeaseClient, name: Uint8Array): boolean {
    return name.length <= RECALLED_NAME_BYTES_MAX && client.namesQueued < NAMES_QUEUED_MAX;
  }

  #drop(client: LeaseClient, inode: number): void {
    if (!client.held.delete(inode)) return;
    this.#total--;
    const holders = this.#holders.get(inode);
    holders?.delete(client);
    if (holders?.size === 0) this.#holders.delete(inode);
  }

  #clear(client: LeaseClient, nowMs: number): void {
    client.lapsed = true;
    client.lapsedMs = nowMs;
    for (const inode of [...client.held.keys()]) this.#drop(client, inode);
    client.recalls.length = 0;
    client.namesQueued = 0;
  }
}

/**
 * Leases around the handlers of the FS calls: who asks gets them with the answer, and who changes
 * something waits until the others have given theirs back. See `src/vos/protocol/fs-lease.ts`.
 *
 * A change is done first, and its reply waits. What others are told meanwhile is new already, and
 * they are given leases on it, so nobody has to be kept from asking. While the reply waits, what
 * others have may still be old: for them the change has not happened yet.
 */
import type { Late, Wait } from '../../vos/held-replies.ts';
import {
  LeaseKind,
  POLL_MS,
  type Recall,
  decodeJoin,
  decodePoll,
  encodeRecalls,
} from '../../vos/protocol/fs-lease.ts';
import { FsCall } from '../../vos/protocol/fs.ts';
import { ERRNO } from './errors.ts';
import type { FsHandler } from './handlers.ts';
import type { LeaseClient, LeaseCounters, LeaseTable, Ticket } from './leases.ts';

export interface LeaseParts {
  isAlive(endpoint: number): boolean;
  nowMs(): number;
  /** The reply to the request that is served now waits; see `HeldReplies`. */
  hold(wait: Wait, late?: Late): void;
  /** Whether nobody tells of changes before they are done; until then no client joins. */
  mayJoin?(): boolean;
  /** What the request that is served now has put into its client's memory. */
  copied(): Uint8Array;
}

/** A request that succeeded. */
interface Answered {
  readonly call: number;
  readonly inode: number;
  readonly result: number;
}

const { ATTRIBUTES, DATA, NAMES } = LeaseKind;
const CHANNELS_TOTAL_MAX = 65_536;
/** A client whose link was down for this long knows that it has no leases. */
const GONE_MS = 60_000;
/** While somebody has to answer, it is looked whether he is still there. */
const ALIVE_MS = 50;
/** Of an entry of READDIR. */
const ENTRY_BYTES_AT = 12;
const ENTRY_INODE_AT = 16;

export class LeaseHandlers {
  readonly #table: LeaseTable;
  readonly #parts: LeaseParts;
  /** Who speaks for a client. */
  readonly #channels = new Map<number, LeaseClient>();
  /** Of the request that is served now. */
  #client: LeaseClient | undefined;
  #tickets: Ticket[] = [];

  constructor(table: LeaseTable, parts: LeaseParts) {
    this.#table = table;
    this.#parts = parts;
  }

  get counters(): Readonly<LeaseCounters> {
    return this.#table.counters;
  }

  /** Leases of all clients. */
  get size(): number {
    return this.#table.size;
  }

  get clients(): number {
    return this.#table.clients;
  }

  /** Whether there are clients with leases. */
  get isUsed(): boolean {
    return this.clients > 0;
  }

  /** The calls of leases, and `handlers` with leases around them. */
  around(handlers: ReadonlyMap<number, FsHandler>): Map<number, FsHandler> {
    const table = new Map<number, FsHandler>();
    for (const [call, handler] of handlers) table.set(call, this.#leased(call, handler));
    table.set(FsCall.LEASE_JOIN, (request, reply) => this.#onJoin(request, reply));
    table.set(FsCall.LEASE_POLL, (request, reply) => this.#onPoll(request, reply));
    return table;
  }

  /** The request that is served now touches this: others are not to believe it any more. */
  touch(recall: Recall): void {
    this.#tickets.push(...this.#table.recall(recall, this.#client, this.#parts.nowMs()));
  }

  /** ms until `expire` is due; Infinity if nobody has to answer. */
  leftMs(): number {
    const { deadlineMs } = this.#table;
    if (deadlineMs === Infinity) return Infinity;
    return Math.max(0, Math.min(ALIVE_MS, deadlineMs - this.#parts.nowMs()));
  }

  /** Those who are late, or gone, have leases no more. */
  expire(): void {
    this.#table.expire(this.#parts.nowMs(), (endpoint) => this.#parts.isAlive(endpoint));
  }

  /** Forgets who spoke for clients that are long gone. */
  sweep(): void {
    this.expire();
    const nowMs = this.#parts.nowMs();
    for (const [channel, { endpoint, lapsedMs }] of this.#channels) {
      const gone = this.#table.find(endpoint) === undefined;
      if (gone && nowMs - lapsedMs > GONE_MS) this.#channels.delete(channel);
    }
  }

  #leased(call: number, handler: FsHandler): FsHandler {
    return (request, reply) => {
      const client = this.#channels.get(request.getInt32(0, true));
      if (client?.lapsed === true) {
        this.#table.counters.refused++;
        return -ERRNO.EKEYEXPIRED;
      }
      const inode = request.getUint32(8, true);
      this.#client = client;
      this.#tickets = [];
      const result = handler(request, reply);
      this.#client = undefined;
      if (client !== undefined && result >= 0) this.#grant(client, { call, inode, result }, reply);
      this.#await(this.#tickets);
      return result;
    };
  }

  #await(tickets: readonly Ticket[]): void {
    if (tickets.length === 0) return;
    this.#parts.hold(() => (tickets.every((one) => this.#table.isDone(one)) ? 0 : undefined));
  }

  #grant(client: LeaseClient, { call, inode, result }: Answered, reply: DataView): void {
    const nowMs = this.#parts.nowMs();
    const grant = (number: number, kinds: number): void => {
      if (number !== 0) this.#table.grant(client, number, kinds, nowMs);
    };
    switch (call) {
      case FsCall.LOOKUP:
      case FsCall.CREATE:
      case FsCall.MKDIR:
      case FsCall.SYMLINK:
      case FsCall.LINK:
        grant(inode, NAMES);
        grant(reply.getUint32(8, true), ATTRIBUTES);
        break;
      case FsCall.GETATTR:
      case FsCall.SETATTR:
      case FsCall.OPEN:
        grant(inode, ATTRIBUTES);
        break;
      case FsCall.READ:
        grant(inode, DATA);
        break;
      case FsCall.READDIR: {
        grant(inode, NAMES);
        if (result === 0) break;
        const { buffer, byteOffset } = this.#parts.copied();
        const entries = new DataView(buffer, byteOffset, result);
        for (let at = 0; at < result; at += entries.getUint32(at + ENTRY_BYTES_AT, true)) {
          grant(entries.getUint32(at + ENTRY_INODE_AT, true), ATTRIBUTES);
        }
        break;
      }
    }
  }

  #onJoin(request: DataView, reply: DataView): number {
    const endpoint = request.getInt32(0, true);
    const channels = decodeJoin(request);
    clear(reply);
    if (channels === undefined) return -ERRNO.EINVAL;
    if (this.#parts.mayJoin?.() === false) return -ERRNO.EALREADY;
    for (const [channel, other] of this.#channels) {
      if (other.endpoint === endpoint) this.#channels.delete(channel);
    }
    this.#table.leave(endpoint, this.#parts.nowMs());
    // Who speaks for another client goes on doing so.
    const taken = channels.some((channel) => this.#channels.get(channel)?.lapsed === false);
    if (taken) return -ERRNO.EBUSY;
    const full = this.#channels.size + channels.length > CHANNELS_TOTAL_MAX;
    const client = full ? undefined : this.#table.join(endpoint);
    if (client === undefined) return -ERRNO.EUSERS;
    for (const channel of channels) this.#channels.set(channel, client);
    reply.setUint32(8, client.incarnation, true);
    return 0;
  }

  #onPoll(request: DataView, reply: DataView): number {
    const endpoint = request.getInt32(0, true);
    const { incarnation, done } = decodePoll(request);
    clear(reply);
    const client = this.#table.find(endpoint);
    if (client?.incarnation !== incarnation || client.lapsed) {
      this.#table.counters.refused++;
      return -ERRNO.EKEYEXPIRED;
    }
    if (!this.#table.acknowledge(client, done)) return -ERRNO.EINVAL;
    if (client.recalls.length > 0) return this.#tell(client, reply);
    const untilMs = this.#parts.nowMs() + POLL_MS;
    const ready = (): boolean =>
      client.recalls.length > 0 || client.lapsed || this.#parts.nowMs() >= untilMs;
    const fill = (view: DataView): number => this.#tell(client, view);
    this.#parts.hold(() => (ready() ? 0 : undefined), { fill, untilMs });
    return 0;
  }

  #tell(client: LeaseClient, reply: DataView): number {
    clear(reply);
    if (client.lapsed) return -ERRNO.EKEYEXPIRED;
    if (client.recalls.length === 0) return 0;
    const count = encodeRecalls(reply, client.done + 1, client.recalls);
    this.#table.tell(client, count);
    return count;
  }
}

function clear(reply: DataView): void {
  new Uint8Array(reply.buffer, reply.byteOffset + 8, 56).fill(0);
}

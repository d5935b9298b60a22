/**
 * The leases of a client, and the process by which it hears that they are recalled.
 *
 * The process asks the server for recalls, and the answer waits there until there is one. What is
 * recalled goes to a listener, and when that has done with it the server is told by the next
 * question. When the server was started again, or has given the client up, everything is lost: the
 * listener hears of that, and the client joins anew.
 *
 * What the server said may be believed for `LEASE_MS` from when it was asked, if nothing of the
 * file was recalled since then. See `src/vos/protocol/fs-lease.ts`.
 */
import {
  DvkError,
  isDvkError,
  type Clock,
  type Endpoint,
  type Process,
  type Segment,
} from '../../dvk/index.ts';
import {
  EKEYEXPIRED,
  LEASE_MS,
  type Recall,
  decodeRecalls,
  encodeJoin,
  encodePoll,
} from '../protocol/fs-lease.ts';

export interface LeaseOptions {
  readonly serverSlot: number;
  readonly name: string;
  readonly clock: Clock;
}

/** What is to be forgotten, and when. */
export interface RecallListener {
  /** Resolves when nobody believes in it any more. The server waits for that. */
  recalled(recalls: readonly Recall[]): Promise<void>;
  /** All that was told before may be old. */
  lost(): void;
}

/** When something was asked, to know later whether the answer may be believed. */
export interface LeaseMark {
  readonly atMs: number;
  readonly epoch: number;
  readonly recalls: number;
}

/** What a gateway needs of leases. */
export interface Trust {
  /** Before something is asked. */
  mark(): LeaseMark;
  /** For how many ms what was answered about the inode may be believed; 0: not at all. */
  validMs(mark: LeaseMark, inode: number): number;
  listen(listener: RecallListener): void;
}

const POLL_TIMEOUT_MS = 7000;
const PAUSE_MS = 20;
/** Inodes of which the last recall is remembered. */
const REMEMBERED_MAX = 4096;

export class Leases {
  listener: RecallListener | undefined;
  readonly #segment: Segment;
  readonly #options: LeaseOptions;
  readonly #process: Process;
  readonly #channels: readonly Endpoint[];
  /** The server that gave them; undefined while there are none. */
  #server: Endpoint | undefined;
  #incarnation = 0;
  /** Grows whenever all are lost. */
  #epoch = 0;
  /** Recalls so far; by inode, how many there were with its last one. */
  #recalls = 0;
  readonly #recalled = new Map<number, number>();
  /** What was asked before this many recalls is not believed. */
  #floor = 0;
  #open = true;

  /** `channels` are the endpoints that ask on behalf of this client. */
  constructor(segment: Segment, options: LeaseOptions, channels: readonly Endpoint[]) {
    this.#segment = segment;
    this.#options = options;
    this.#channels = channels;
    const { name, clock } = options;
    const own = `${name.slice(0, 12)}.l`;
    this.#process = segment.bind({ name: own, awaitable: true, clock });
    void this.#run();
  }

  close(): void {
    this.#open = false;
    this.#process.unbind();
  }

  /** Before something is asked. */
  mark(): LeaseMark {
    return {
      atMs: this.#options.clock.nowMs(),
      epoch: this.#server === undefined ? -1 : this.#epoch,
      recalls: this.#recalls,
    };
  }

  /** For how many ms what `server` answered about the inode may be believed; 0: not at all. */
  validMs(mark: LeaseMark, inode: number, server: Endpoint | undefined): number {
    const { atMs, epoch, recalls } = mark;
    if (epoch !== this.#epoch || this.#server === undefined || server !== this.#server) return 0;
    if (recalls < this.#floor || (this.#recalled.get(inode) ?? 0) > recalls) return 0;
    return Math.max(0, Math.floor(atMs + LEASE_MS - this.#options.clock.nowMs()));
  }

  /** The server refused a request: the leases are lost. Resolves when it may be made again. */
  async refused(): Promise<void> {
    this.#lose();
    await this.#pause();
  }

  async #run(): Promise<void> {
    let done = 0;
    while (this.#open) {
      try {
        const server = this.#segment.lookup(this.#options.serverSlot);
        if (server !== this.#server) this.#lose();
        if (server === undefined) await this.#pause();
        else if (this.#server === undefined) {
          await this.#join(server);
          done = 0;
        } else {
          done = await this.#poll(server, done);
        }
      } catch (error) {
        if (!isDvkError(error)) throw error;
        // The server may have given this client up meanwhile.
        this.#lose();
        await this.#pause();
      }
    }
  }

  async #join(server: Endpoint): Promise<void> {
    const { message } = this.#process;
    encodeJoin(message.view, this.#channels);
    await this.#process.sendrec(server, { timeoutMs: POLL_TIMEOUT_MS });
    if (message.type < 0) throw new DvkError(message.type, 'fs');
    this.#incarnation = message.view.getUint32(8, true);
    this.#server = server;
  }

  async #poll(server: Endpoint, done: number): Promise<number> {
    const { message } = this.#process;
    encodePoll(message.view, this.#incarnation, done);
    await this.#process.sendrec(server, { timeoutMs: POLL_TIMEOUT_MS });
    const count = message.type;
    if (count < 0) {
      this.#lose();
      if (count !== -EKEYEXPIRED) throw new DvkError(count, 'fs');
      return 0;
    }
    if (count === 0) return done;
    const { number, recalls } = decodeRecalls(message.view, count);
    this.#remember(recalls);
    await this.listener?.recalled(recalls);
    return number;
  }

  #remember(recalls: readonly Recall[]): void {
    this.#recalls++;
    if (this.#recalled.size + recalls.length > REMEMBERED_MAX) {
      this.#recalled.clear();
      this.#floor = this.#recalls;
    }
    for (const { inode } of recalls) this.#recalled.set(inode, this.#recalls);
  }

  #lose(): void {
    if (this.#server === undefined) return;
    this.#server = undefined;
    this.#epoch++;
    this.listener?.lost();
  }

  async #pause(): Promise<void> {
    await new Promise<void>((resolve) => this.#options.clock.after(PAUSE_MS, resolve));
  }
}

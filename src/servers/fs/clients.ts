/**
 * What the server remembers of its clients: the last answer to each, and the files they hold open.
 *
 * Both are bounded, and both are lost with the server's process. A client that is bound no more is
 * forgotten by `sweep`, which the server calls from time to time.
 */
import { FsError } from './errors.ts';
import type { VolumeWriter } from './ext4/changing.ts';
import type { Inode } from './ext4/inode.ts';

const MESSAGE_BYTES = 64;
const PAYLOAD_AT = 8;
/** More channels than have changed something since a client lost its answer. */
const ANSWERS_MAX = 8192;
/** Files that one client may hold open. */
export const HOLDS_MAX = 65_536;

interface Answer {
  sequence: number;
  call: number;
  result: number;
  readonly payload: Uint8Array;
}

/** The last answer to each endpoint, so that a request whose answer was lost is not done twice. */
export class LastAnswers {
  readonly #answers = new Map<number, Answer>();

  /** The result of the request if it was the client's last; its payload is put into `reply`. */
  repeat(client: number, request: RequestName, reply: DataView): number | undefined {
    const last = this.#answers.get(client);
    if (last?.sequence !== request.sequence || last.call !== request.call) return undefined;
    payloadOf(reply).set(last.payload);
    return last.result;
  }

  /** The request has failed after all. */
  amend(client: number, request: RequestName, result: number): void {
    const last = this.#answers.get(client);
    if (last?.sequence !== request.sequence || last.call !== request.call) return;
    last.result = result;
    last.payload.fill(0);
  }

  remember(client: number, request: RequestName, reply: DataView, result: number): void {
    const { sequence, call } = request;
    const last = this.#answers.get(client);
    const payload = last?.payload ?? new Uint8Array(MESSAGE_BYTES - PAYLOAD_AT);
    payload.set(payloadOf(reply));
    // What was set last is at the end, so the first one is the oldest.
    this.#answers.delete(client);
    this.#answers.set(client, { sequence, call, result, payload });
    if (this.#answers.size <= ANSWERS_MAX) return;
    const [oldest] = this.#answers.keys();
    if (oldest !== undefined) this.#answers.delete(oldest);
  }
}

export interface RequestName {
  readonly sequence: number;
  readonly call: number;
}

function payloadOf(message: DataView): Uint8Array {
  return new Uint8Array(
    message.buffer,
    message.byteOffset + PAYLOAD_AT,
    MESSAGE_BYTES - PAYLOAD_AT,
  );
}

interface Hold {
  readonly generation: number;
  count: number;
}

/** A file that a client holds open stays until it lets go, even without a name. */
export class Holds {
  readonly #writer: VolumeWriter;
  readonly #inode: (number: number, generation: number) => Inode;
  readonly #clients = new Map<number, Map<number, Hold>>();

  constructor(writer: VolumeWriter, inode: (number: number, generation: number) => Inode) {
    this.#writer = writer;
    this.#inode = inode;
  }

  /** Throws ENFILE. */
  add(client: number, inode: Inode, count: number): void {
    const files = this.#clients.get(client) ?? new Map<number, Hold>();
    const hold = files.get(inode.number);
    if (hold !== undefined) {
      hold.count += count;
      return;
    }
    if (!this.hasRoom(client)) throw new FsError('ENFILE', 'the client holds too many files');
    this.#writer.hold(inode);
    files.set(inode.number, { generation: inode.generation, count });
    this.#clients.set(client, files);
  }

  /** Whether the client holds anything. */
  has(client: number): boolean {
    return this.#clients.has(client);
  }

  /** Whether the client may hold so many files more. */
  hasRoom(client: number, files = 1): boolean {
    return (this.#clients.get(client)?.size ?? 0) + files <= HOLDS_MAX;
  }

  /** The client says how many holds of the file it has, whatever is known of them. */
  reclaim(client: number, inode: Inode, count: number): void {
    const hold = this.#clients.get(client)?.get(inode.number);
    if (hold === undefined) this.add(client, inode, count);
    else hold.count = count;
  }

  /** Whether that was the client's last hold of the file. */
  remove(client: number, number: number, count: number): boolean {
    const files = this.#clients.get(client);
    const hold = files?.get(number);
    if (files === undefined || hold === undefined) return true;
    hold.count -= count;
    if (hold.count > 0) return false;
    files.delete(number);
    if (files.size === 0) this.#clients.delete(client);
    this.#writer.drop(this.#inode(number, hold.generation));
    return true;
  }

  /** Lets go what clients that are gone held. Returns those clients. */
  sweep(isAlive: (client: number) => boolean): number[] {
    const gone = [...this.#clients.keys()].filter((client) => !isAlive(client));
    for (const client of gone) {
      for (const [number, { count }] of this.#clients.get(client) ?? []) {
        this.remove(client, number, count);
      }
    }
    return gone;
  }
}

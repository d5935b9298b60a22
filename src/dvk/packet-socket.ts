/**
 * Packet sockets: payloads of Ethernet frames of one EtherType, to and from one interface. Frames
 * wait in slots, and many go or come with one system call. Addresses are as in ethernet.ts.
 */
import { check, errorName } from './errors.ts';
import { native } from './native.ts';
import { closeFd, watchReadable } from './system.ts';

/** Frames that one system call takes; as in native/binding/packet_socket.cc. */
const SLOTS = 64;
const SLOT_WORDS = 3;
const UPPER = 2 ** 32;

export interface EthernetInterface {
  /** Its own address. */
  address: number;
  /** The longest payload of a frame, in bytes. */
  mtu: number;
}

/**
 * An interface of this host's network namespace. ENODEV when there is none of that name,
 * EPROTONOSUPPORT when its frames are not Ethernet's.
 */
export function ethernetInterface(name: string): EthernetInterface {
  const out = new Int32Array(3);
  check(native().packetInterface(name, out), 'packetInterface', { reason: name });
  const [mtu = 0, upper = 0, lower = 0] = out;
  return { address: addressOf(upper, lower), mtu };
}

const NO_SLOT = new Uint8Array(0);

function slotsOf(memory: Uint8Array, bytes: number): Uint8Array[] {
  return Array.from({ length: SLOTS }, (_, i) => memory.subarray(i * bytes, (i + 1) * bytes));
}

function addressOf(upper: number, lower: number): number {
  return (upper & 0xffff) * UPPER + (lower >>> 0);
}

export interface PacketSocketOptions {
  interface: string;
  etherType: number;
  /** Tells sockets of one interface and EtherType apart; 0 takes a free one. */
  port: number;
  /** What the kernel buffers each way, as far as it lets this user. */
  bufferBytes: number;
  /** The longest payload to send or to take. */
  payloadBytesMax: number;
}

/**
 * Gets a payload, which is good during the call, how long it really was, and who sent it. A longer
 * one is cut.
 */
export type PacketTaker = (payload: Uint8Array, bytes: number, from: number) => void;

/** Gets a frame that the host did not take: its place in the queue, its bytes, and why. */
export type PacketFailure = (place: number, bytes: number, code: string) => void;

export class PacketSocket {
  readonly port: number;
  readonly #interface: string;
  readonly #etherType: number;
  readonly #fd: number;
  readonly #portFd: number;
  readonly #target: Int32Array;
  readonly #in: Uint8Array;
  readonly #out: Uint8Array;
  // Views of each slot, made once: a view for each frame costs as much as the rest of its way.
  readonly #inSlots: readonly Uint8Array[];
  readonly #outSlots: readonly Uint8Array[];
  readonly #inTable: Int32Array = new Int32Array(SLOTS * SLOT_WORDS);
  readonly #outTable: Int32Array = new Int32Array(SLOTS * SLOT_WORDS);
  #queued = 0;
  #stopWatching: () => void = () => undefined;

  /**
   * Needs CAP_NET_RAW: EPERM. EADDRINUSE when the port is another socket's; else as
   * `ethernetInterface`.
   */
  constructor(options: PacketSocketOptions) {
    const { interface: name, etherType, port, bufferBytes, payloadBytesMax } = options;
    const out = new Int32Array(3);
    const fd = native().packetOpen(name, etherType, port, bufferBytes, out);
    this.#fd = check(fd, 'packetOpen', { reason: name });
    const [portFd = -1, actual = 0, index = 0] = out;
    this.#portFd = portFd;
    this.port = actual;
    this.#interface = name;
    this.#etherType = etherType;
    this.#target = Int32Array.of(index, etherType);
    this.#in = new Uint8Array(SLOTS * payloadBytesMax);
    this.#out = new Uint8Array(SLOTS * payloadBytesMax);
    this.#inSlots = slotsOf(this.#in, payloadBytesMax);
    this.#outSlots = slotsOf(this.#out, payloadBytesMax);
  }

  /**
   * Calls back whenever there is something to receive, until the socket is closed. `onError` is
   * called when the interface went down or away.
   */
  watch(onReadable: () => void, onError: () => void): void {
    this.#stopWatching = watchReadable(this.#fd, (status) => {
      if (status >= 0) {
        onReadable();
        return;
      }
      // The kernel tells of it as an error of the socket, which ends the watch, and which the next
      // receive takes away. The socket goes on when the interface is up again.
      this.#stopWatching();
      native().packetReceive(this.#fd, this.#in, this.#inTable);
      this.watch(onReadable, onError);
      onError();
    });
  }

  /** Takes up to 64 frames that came. */
  receive(take: PacketTaker): void {
    this.receiveSlots((slot, bytes, from) => {
      take(slot.subarray(0, bytes), bytes, from);
    });
  }

  /** The same with the whole slot in which a payload lies; what is behind it means nothing. */
  receiveSlots(take: PacketTaker): void {
    const table = this.#inTable;
    const count = native().packetReceive(this.#fd, this.#in, table);
    for (let i = 0, at = 0; i < count; i++, at += SLOT_WORDS) {
      const slot = this.#inSlots[i];
      const from = addressOf(table[at + 1] ?? 0, table[at + 2] ?? 0);
      if (slot) take(slot, table[at] ?? 0, from);
    }
  }

  /** Where the next payload to send goes; a full queue is to be flushed first. */
  space(): Uint8Array {
    return this.#outSlots[this.#queued] ?? NO_SLOT;
  }

  /** How many are queued. */
  get queued(): number {
    return this.#queued;
  }

  get isFull(): boolean {
    return this.#queued === SLOTS;
  }

  /** Queues the first `bytes` bytes of the last `space()`. */
  queue(bytes: number, to: number): void {
    const at = SLOT_WORDS * this.#queued++;
    this.#outTable[at] = bytes;
    this.#outTable[at + 1] = Math.floor(to / UPPER);
    this.#outTable[at + 2] = to % UPPER;
  }

  /** Sends what is queued. A frame that the host does not take is gone. */
  flush(failed: PacketFailure): void {
    const end = this.#queued;
    this.#queued = 0;
    for (let first = 0; first < end;) {
      const [fd, target, out, table] = [this.#fd, this.#target, this.#out, this.#outTable];
      const sent = native().packetSend(fd, target, out, table, first, end);
      if (sent < 0) {
        failed(first, table[first * SLOT_WORDS] ?? 0, errorName(sent));
      }
      first += Math.max(1, sent);
    }
  }

  /**
   * Uses the interface that has the name now, in case the one of before was taken away. Returns
   * whether there is one.
   */
  attach(): boolean {
    const index = native().packetAttach(this.#fd, this.#interface, this.#etherType);
    if (index > 0) this.#target[0] = index;
    return index > 0;
  }

  /** Frames lost since the last call because nobody took them in time. */
  missed(): number {
    return Math.max(0, native().packetMissed(this.#fd));
  }

  /** What is queued is lost. */
  close(): void {
    this.#stopWatching();
    closeFd(this.#fd);
    closeFd(this.#portFd);
  }
}

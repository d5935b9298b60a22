/**
 * Packet sockets: payloads of Ethernet frames of one EtherType, to and from one interface. Frames
 * wait in slots, and many go or come with one system call. Addresses are as in ethernet.ts.
 */
import { check, errorName } from './errors.ts';
import { native } from './native.ts';
import { closeFd, watchSocket } from './system.ts';

/** Frames that one system call takes; as in native/binding/packet_socket.cc. */
const SLOTS = 64;
const SLOT_WORDS = 3;
// In a table, behind the interface and the EtherType.
const FIRST_ENTRY = 2;
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

/** Slots for frames, and what is to be known of each. Views of them are made once, and cost. */
class FrameMemory {
  readonly bytes: Uint8Array;
  readonly slots: readonly Uint8Array[];
  /** Two ints, then three for each slot. */
  readonly table: Int32Array;

  constructor(slotBytes: number) {
    const words = FIRST_ENTRY + SLOTS * SLOT_WORDS;
    const framesBytes = SLOTS * slotBytes;
    const buffer = new ArrayBuffer(framesBytes + words * Int32Array.BYTES_PER_ELEMENT);
    this.bytes = new Uint8Array(buffer);
    this.table = new Int32Array(buffer, framesBytes, words);
    this.slots = Array.from({ length: SLOTS }, (_, i) =>
      this.bytes.subarray(i * slotBytes, (i + 1) * slotBytes),
    );
  }
}

function entryOf(slot: number): number {
  return FIRST_ENTRY + slot * SLOT_WORDS;
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
  readonly #in: FrameMemory;
  readonly #out: FrameMemory;
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
    this.#in = new FrameMemory(payloadBytesMax);
    this.#out = new FrameMemory(payloadBytesMax);
    this.#out.table.set([index, etherType]);
  }

  /**
   * Calls back whenever there is something to receive, until the socket is closed. `onError` is
   * called when the interface went down or away.
   */
  watch(onReadable: () => void, onError: () => void): void {
    // The socket goes on when the interface is up again.
    this.#stopWatching = watchSocket(this.#fd, onReadable, () => {
      native().packetReceive(this.#fd, this.#in.bytes, 0);
      onError();
    });
  }

  /** Takes up to 64 frames that came. */
  receive(take: PacketTaker): void {
    this.receiveSlots((slot, bytes, from) => {
      take(slot.subarray(0, bytes), bytes, from);
    });
  }

  /**
   * The same with the whole slot in which a payload lies; what is behind it means nothing. While
   * there is none it looks again for `spinUs`. Returns how many came, or -errno as when the
   * interface is down.
   */
  receiveSlots(take: PacketTaker, spinUs = 0): number {
    const { bytes, slots, table } = this.#in;
    const count = native().packetReceive(this.#fd, bytes, spinUs);
    for (let i = 0, at = FIRST_ENTRY; i < count; i++, at += SLOT_WORDS) {
      const slot = slots[i];
      const from = addressOf(table[at + 1] ?? 0, table[at + 2] ?? 0);
      if (slot) take(slot, table[at] ?? 0, from);
    }
    return count;
  }

  /** Where the next payload to send goes; a full queue is to be flushed first. */
  space(): Uint8Array {
    return this.#out.slots[this.#queued] ?? NO_SLOT;
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
    const at = entryOf(this.#queued++);
    const { table } = this.#out;
    table[at] = bytes;
    table[at + 1] = Math.floor(to / UPPER);
    table[at + 2] = to | 0;
  }

  /** Sends what is queued. A frame that the host does not take is gone. */
  flush(failed: PacketFailure): void {
    const end = this.#queued;
    this.#queued = 0;
    for (let first = 0; first < end;) {
      const { bytes, table } = this.#out;
      const sent = native().packetSend(this.#fd, bytes, first, end);
      if (sent < 0) failed(first, table[entryOf(first)] ?? 0, errorName(sent));
      first += Math.max(1, sent);
    }
  }

  /**
   * Uses the interface that has the name now, in case the one of before was taken away. Returns
   * whether there is one.
   */
  attach(): boolean {
    const index = native().packetAttach(this.#fd, this.#interface, this.#etherType);
    if (index > 0) this.#out.table[0] = index;
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

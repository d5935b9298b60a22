/**
 * UDP sockets that many datagrams go through with one system call. Datagrams wait in slots; those
 * of one length to one address cross the kernel as one (native/binding/udp_socket.cc). Addresses
 * have names: `127.0.0.1:1`, `[::1]:1`.
 */
import { check, errorName } from './errors.ts';
import { native } from './native.ts';
import { closeFd, watchSocket } from './system.ts';

/** As in native/binding/udp_socket.cc. */
const SEND_SLOTS = 64;
const RECEIVE_SLOTS = 16;
const ADDRESS_WORDS = 7;
// Bytes, the length of a segment, and the address.
const ENTRY_WORDS = 2 + ADDRESS_WORDS;
// Segments that came together are no longer than a datagram may be.
const RECEIVE_BYTES = 65_536;
// Names that are kept in both forms.
const NAMES_MAX = 256;
const VIEWS_MAX = 1024;
const NO_SLOT = new Uint8Array(0);
const NOWHERE = new Int32Array(ADDRESS_WORDS);

/** Slots for datagrams, and what is to be known of each. */
class SlotMemory {
  readonly bytes: Uint8Array;
  readonly slots: readonly Uint8Array[];
  /** ENTRY_WORDS for each slot. */
  readonly table: Int32Array;

  constructor(count: number, slotBytes: number) {
    const dataBytes = count * slotBytes;
    const buffer = new ArrayBuffer(dataBytes + 4 * count * ENTRY_WORDS);
    this.bytes = new Uint8Array(buffer);
    this.table = new Int32Array(buffer, dataBytes, count * ENTRY_WORDS);
    this.slots = Array.from({ length: count }, (_, i) =>
      this.bytes.subarray(i * slotBytes, (i + 1) * slotBytes),
    );
  }
}

function addressAt(slot: number): number {
  return slot * ENTRY_WORDS + 2;
}

/** Names of addresses, which every datagram has and none should have to spell. */
class Names {
  readonly #addresses = new Map<string, Int32Array>();
  // That of the last datagram.
  #last: Int32Array = NOWHERE;
  #lastName = '';

  nameAt(table: Int32Array, at: number): string {
    for (let i = 0; i < ADDRESS_WORDS; i++) {
      if (table[at + i] !== this.#last[i]) return this.#spell(table.slice(at, at + ADDRESS_WORDS));
    }
    return this.#lastName;
  }

  #spell(address: Int32Array): string {
    const name = native().udpName(address);
    this.#last = address;
    this.#lastName = name;
    return name;
  }

  addressOf(name: string): Int32Array {
    if (name === this.#lastName) return this.#last;
    const known = this.#addresses.get(name);
    if (known) return known;
    if (this.#addresses.size >= NAMES_MAX) this.#addresses.clear();
    const at = name.lastIndexOf(':');
    const host = name.slice(0, at).replace(/^\[|\]$/g, '');
    const address = new Int32Array(ADDRESS_WORDS);
    check(native().udpAddress(host, Number(name.slice(at + 1)), address), 'udpAddress', {
      reason: name,
    });
    this.#addresses.set(name, address);
    return address;
  }
}

/** Gets a datagram, which is good during the call, and the name of its sender. */
export type DatagramTaker = (datagram: Uint8Array, from: string) => void;

/** Gets a datagram that the host did not take: its place in the queue, its bytes, and why. */
export type DatagramFailure = (place: number, bytes: number, code: string) => void;

export interface UdpSocketOptions {
  /** A descriptor of a UDP socket, bound, from which nobody else receives; it may be closed. */
  fd: number;
  /** The longest datagram to send, in bytes. */
  sendBytesMax: number;
  /** Sends each datagram by itself, for tests. */
  apart?: boolean;
}

export class UdpSocket {
  readonly #fd: number;
  readonly #in = new SlotMemory(RECEIVE_SLOTS, RECEIVE_BYTES);
  readonly #out: SlotMemory;
  readonly #together: boolean;
  readonly #names = new Names();
  // Most datagrams lie where others did, and a view costs.
  readonly #views = new Map<number, Uint8Array>();
  #queued = 0;
  #stopWatching: () => void = () => undefined;

  /** EBADF, ENOTSOCK, EPROTOTYPE when it is not of UDP, EMFILE. */
  constructor({ fd, sendBytesMax, apart = false }: UdpSocketOptions) {
    this.#fd = check(native().udpOpen(fd), 'udpOpen');
    this.#together = !apart;
    this.#out = new SlotMemory(SEND_SLOTS, sendBytesMax);
  }

  /**
   * Calls back whenever there is something to receive, until the socket is closed, and with an
   * error code when the network has told of one: ECONNREFUSED.
   */
  watch(onReadable: () => void, onError: (code: string) => void): void {
    this.#stopWatching = watchSocket(this.#fd, onReadable, () => {
      const result = native().udpReceive(this.#fd, this.#in.bytes, 0);
      if (result < 0) onError(errorName(result));
    });
  }

  /**
   * Takes what came, up to a MiB. While there is nothing it looks again for `spinUs`. Returns how
   * often something came, or -errno of what the network has told.
   */
  receive(take: DatagramTaker, spinUs = 0): number {
    const { bytes, table } = this.#in;
    const count = native().udpReceive(this.#fd, bytes, spinUs);
    for (let slot = 0; slot < count; slot++) {
      const at = addressAt(slot);
      const [whole = 0, segment = 0] = [table[at - 2], table[at - 1]];
      const name = this.#names.nameAt(table, at);
      const start = slot * RECEIVE_BYTES;
      for (let done = 0; done < whole || done === 0; done += Math.max(1, segment)) {
        take(this.#viewOf(start + done, Math.min(segment, whole - done)), name);
      }
    }
    return count;
  }

  #viewOf(at: number, bytes: number): Uint8Array {
    const known = this.#views.get(at);
    if (known?.length === bytes) return known;
    if (this.#views.size >= VIEWS_MAX) this.#views.clear();
    const view = this.#in.bytes.subarray(at, at + bytes);
    this.#views.set(at, view);
    return view;
  }

  /** Where the next datagram to send goes; a full queue is to be flushed first. */
  space(): Uint8Array {
    return this.#out.slots[this.#queued] ?? NO_SLOT;
  }

  /** How many are queued. */
  get queued(): number {
    return this.#queued;
  }

  get isFull(): boolean {
    return this.#queued === SEND_SLOTS;
  }

  /**
   * Queues the first `bytes` bytes of the last `space()`; without `to` they go where the socket is
   * connected to.
   */
  queue(bytes: number, to?: string): void {
    const at = addressAt(this.#queued++);
    const { table } = this.#out;
    table[at - 2] = bytes;
    table.set(to === undefined ? NOWHERE : this.#names.addressOf(to), at);
  }

  /** Sends what is queued. A datagram that the host does not take is gone. */
  flush(failed: DatagramFailure): void {
    const end = this.#queued;
    this.#queued = 0;
    const { bytes, table } = this.#out;
    for (let first = 0; first < end;) {
      const sent = native().udpSend(this.#fd, bytes, first, end, this.#together);
      if (sent < 0) failed(first, table[addressAt(first) - 2] ?? 0, errorName(sent));
      first += Math.max(1, sent);
    }
  }

  /** What is queued is lost. */
  close(): void {
    this.#stopWatching();
    closeFd(this.#fd);
  }
}

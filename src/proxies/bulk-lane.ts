/**
 * The bulky lane of a connection over TCP: a second socket between the same two ends, so that what
 * is urgent never waits behind blocks in a buffer of the kernel.
 *
 * It is opened by the dialer once the session is up, to the same address as the first one:
 *
 *   dialer                                               accepter
 *   PREAMBLE (64 bytes: the letters DVKL, a name) -------->
 *          <------------------------------------- the letters DVKL
 *   the bytes of the lane <------------------------------> the bytes of the lane
 *
 * The name tells which connection it belongs to, and is good once. A peer that does not know it
 * closes the second socket. Once there are two they end together.
 *
 * Where the first socket is sealed, name and keys of the lane come from the exporter of its TLS
 * session (RFC 8446, section 7.5), so they are known to nobody but its two ends, who have proven
 * who they are. The bytes go in records: 4 bytes that tell how long the body is, little-endian and
 * authenticated, the body, and the tag of AES-128-GCM. Records are counted, which is the nonce; a
 * key seals 4096 of them. In plain text the name is what the session makes it.
 */
import { connect as connectSocket, type Socket } from 'node:net';
import { AEAD_SHORT_KEY_BYTES, AEAD_TAG_BYTES } from '../dvk/aead.ts';
import type { Clock } from '../dvk/clock.ts';
import { courtesy } from './courtesy.ts';
import { EpochCipher, HASH_BYTES } from './key-schedule.ts';
import { reading, SOCKET_OPTIONS, writeAtOnce } from './socket.ts';
import type { Reader, SocketConnection } from './socket.ts';
import { Lane, type Address, type ConnectionEvents } from './transport.ts';

export const PREAMBLE_BYTES = 64;
const MAGIC = Buffer.from('DVKL');
const LENGTH_BYTES = 4;
/** Short enough that the peer opens one while the next is sealed. */
export const RECORD_BODY_BYTES = 262_144;
const RECORD_BYTES_MAX = LENGTH_BYTES + RECORD_BODY_BYTES + AEAD_TAG_BYTES;
// A record, and what was read with the one before it.
const READ_BYTES = 2 * RECORD_BYTES_MAX;
// What is held of the next record is moved to the front when it is so little.
const MOVED_BYTES_MAX = 4096;
const FIRST_READ_BYTES = 65_536;
const RECORDS_IN_FLIGHT = 2;
// 2^26 blocks of the cipher at most, far below what NIST SP 800-38D allows.
const RECORDS_A_KEY = 4096;
const JOIN_WAIT_MS = 3000;

const NAME_LABEL = 'EXPORTER-dvk-lane-name';
const KEYS_LABEL = 'EXPORTER-dvk-lane-keys';
const NAME_SECRET_BYTES = 24;

/** What both ends of a connection know of its bulky lane. */
export interface LaneTicket {
  readonly name: string;
  /** Traffic secrets, HASH_BYTES each; undefined in plain text. */
  readonly secrets?: { readonly send: Uint8Array; readonly receive: Uint8Array };
}

/** A socket whose TLS session is up. */
interface Exporter {
  exportKeyingMaterial(bytes: number, label: string, context: Buffer): Buffer;
}

/** The ticket of a sealed connection. */
export function sealedTicket(socket: Exporter, side: 'dialer' | 'accepter'): LaneTicket {
  const empty = Buffer.alloc(0);
  const name = socket.exportKeyingMaterial(NAME_SECRET_BYTES, NAME_LABEL, empty);
  const keys = socket.exportKeyingMaterial(2 * HASH_BYTES, KEYS_LABEL, empty);
  const dialer = keys.subarray(0, HASH_BYTES);
  const accepter = keys.subarray(HASH_BYTES);
  const isDialer = side === 'dialer';
  const secrets = isDialer
    ? { send: dialer, receive: accepter }
    : { send: accepter, receive: dialer };
  return { name: name.toString('base64url'), secrets };
}

/** One direction of a sealed lane. */
class RecordCipher {
  #cipher: EpochCipher;
  #number = 0;

  constructor(secret: Uint8Array) {
    this.#cipher = new EpochCipher(secret, AEAD_SHORT_KEY_BYTES);
  }

  seal(record: Uint8Array, body: Uint8Array): void {
    const number = this.#next();
    this.#cipher.sealFrom(body, record, LENGTH_BYTES, number);
  }

  /** Puts the body of a record to `body`, which is as long. */
  openInto(body: Uint8Array, record: Uint8Array): boolean {
    const number = this.#next();
    return this.#cipher.openInto(body, record, LENGTH_BYTES, number);
  }

  /** The same in place. */
  open(record: Uint8Array): boolean {
    const number = this.#next();
    return this.#cipher.open(record, LENGTH_BYTES, number);
  }

  erase(): void {
    this.#cipher.erase();
  }

  #next(): number {
    const number = this.#number++;
    if (number > 0 && number % RECORDS_A_KEY === 0) {
      const before = this.#cipher;
      this.#cipher = before.next();
      before.erase();
    }
    return number;
  }
}

interface Write {
  bytes: Uint8Array;
  /** How much of it was put into records. */
  at: number;
  done: () => void;
}

/** The lane as one end has it. Its owner reads into `space()` and tells `received()`. */
export class BulkLane implements Reader {
  readonly #events: ConnectionEvents;
  readonly #seals: { send: RecordCipher; receive: RecordCipher } | undefined;
  readonly #spare: Buffer[] = [];
  // Of the writes that wait to be sealed.
  readonly #writes: Write[] = [];
  #waitingBytes = 0;
  #inFlight = 0;
  // For the next turn of the event loop.
  #waits = false;
  #socket: Socket | undefined;
  #isEnding = false;
  // What came and is not whole.
  #buffer: Buffer | undefined;
  #start = 0;
  #end = 0;
  // Of the last record.
  #recordBytes = FIRST_READ_BYTES;

  constructor({ secrets }: LaneTicket, events: ConnectionEvents) {
    this.#events = events;
    this.#seals = secrets && {
      send: new RecordCipher(secrets.send),
      receive: new RecordCipher(secrets.receive),
    };
  }

  /** Bytes taken by `write` that were not handed to the kernel. */
  get bufferedBytes(): number {
    return this.#waitingBytes + (this.#socket?.writableLength ?? 0);
  }

  /** What the bytes go through from now on. */
  attach(socket: Socket): void {
    this.#socket = socket;
    socket.once('close', () => {
      this.#seals?.send.erase();
      this.#seals?.receive.erase();
      this.#abandon();
    });
  }

  write(bytes: Uint8Array, done: () => void): void {
    // There is no record without a body.
    if (this.#seals === undefined || bytes.length === 0) {
      if (this.#socket) writeAtOnce(this.#socket, bytes, done);
      return;
    }
    this.#writes.push({ bytes, at: 0, done });
    this.#waitingBytes += bytes.length;
    this.#pump();
  }

  /** Sends what is held, then closes. */
  end(): void {
    this.#isEnding = true;
    if (this.#writes.length === 0) this.#socket?.end();
  }

  destroy(): void {
    this.#socket?.destroy();
  }

  /**
   * Where the next bytes of the socket go: records are read one by one, each into the same place,
   * which stays in a cache of the CPU.
   */
  space(): Uint8Array {
    if (this.#seals === undefined) return this.#events.space(Lane.BULK);
    const buffer = (this.#buffer ??= Buffer.allocUnsafeSlow(READ_BYTES));
    // What comes after the end is looked at by nobody.
    if (this.#isOver) this.#start = this.#end;
    const held = this.#end - this.#start;
    if (held <= MOVED_BYTES_MAX || buffer.length - this.#start < RECORD_BYTES_MAX) {
      buffer.copyWithin(0, this.#start, this.#end);
      this.#end = held;
      this.#start = 0;
    }
    // What is held is less than a record, whose length was looked at; else as much as the last one.
    const known = held < LENGTH_BYTES ? undefined : buffer.readUInt32LE(this.#start);
    const record = known === undefined ? this.#recordBytes : LENGTH_BYTES + known + AEAD_TAG_BYTES;
    return buffer.subarray(this.#end, this.#start + Math.max(record, FIRST_READ_BYTES));
  }

  received(bytes: number): void {
    if (this.#isOver) return;
    if (this.#seals === undefined) {
      this.#events.received(bytes, Lane.BULK);
      return;
    }
    this.#end += bytes;
    for (let record = this.#nextRecord(); record; record = this.#nextRecord()) {
      this.#start += record.length;
      this.#recordBytes = record.length;
      const body = record.subarray(LENGTH_BYTES, record.length - AEAD_TAG_BYTES);
      const space = this.#events.space(Lane.BULK);
      const fits = space.length >= body.length;
      const isRight = fits
        ? this.#seals.receive.openInto(space.subarray(0, body.length), record)
        : this.#seals.receive.open(record);
      courtesy.moved(body.length);
      if (!isRight) this.#fail('a record came that is not as it was sealed');
      else if (fits) this.#events.received(body.length, Lane.BULK);
      else this.#hand(body);
    }
  }

  get #isOver(): boolean {
    return this.#socket?.destroyed !== false;
  }

  #fail(reason: string): void {
    this.#socket?.destroy(new Error(reason));
  }

  // The next record, when all of it is there.
  #nextRecord(): Buffer | undefined {
    const held = this.#buffer?.subarray(this.#start, this.#end);
    if (this.#isOver || held === undefined || held.length < LENGTH_BYTES) return undefined;
    const length = held.readUInt32LE(0);
    const recordBytes = LENGTH_BYTES + length + AEAD_TAG_BYTES;
    if (length === 0 || length > RECORD_BODY_BYTES) this.#fail(`a record of ${length} bytes came`);
    else if (held.length >= recordBytes) return held.subarray(0, recordBytes);
    return undefined;
  }

  #hand(body: Buffer): void {
    for (let at = 0; at < body.length && !this.#isOver;) {
      const space = this.#events.space(Lane.BULK);
      if (space.length === 0) {
        this.#fail('blocks came before the session was up');
        return;
      }
      const part = body.subarray(at, at + space.length);
      space.set(part);
      at += part.length;
      this.#events.received(part.length, Lane.BULK);
    }
  }

  // Seals the next records, one while the kernel takes the other. What is done at once may bring
  // more to write from within.
  #pump(): void {
    const socket = this.#socket;
    if (socket === undefined || this.#seals === undefined) return;
    if (socket.destroyed) {
      this.#abandon();
      return;
    }
    if (this.#waits) return;
    const { turnBytes } = courtesy;
    const bodyBytes = Math.min(turnBytes, RECORD_BODY_BYTES);
    let left = turnBytes;
    while (this.#inFlight < RECORDS_IN_FLIGHT) {
      if (left <= 0) {
        this.#waits = true;
        setImmediate(() => {
          this.#waits = false;
          this.#pump();
        });
        return;
      }
      const write = this.#writes[0];
      if (write === undefined) {
        if (this.#isEnding) socket.end();
        return;
      }
      const body = write.bytes.subarray(write.at, write.at + bodyBytes);
      write.at += body.length;
      this.#waitingBytes -= body.length;
      left -= body.length;
      const isLast = write.at === write.bytes.length;
      if (isLast) this.#writes.shift();
      const buffer = this.#spare.pop() ?? Buffer.allocUnsafeSlow(RECORD_BYTES_MAX);
      const record = buffer.subarray(0, LENGTH_BYTES + body.length + AEAD_TAG_BYTES);
      record.writeUInt32LE(body.length, 0);
      this.#seals.send.seal(record, body);
      courtesy.moved(body.length);
      this.#inFlight++;
      let isLater = false;
      writeAtOnce(socket, record, () => {
        this.#inFlight--;
        this.#spare.push(buffer);
        if (isLast) write.done();
        if (isLater) this.#pump();
      });
      isLater = true;
    }
  }

  #abandon(): void {
    const left = this.#writes.splice(0);
    this.#waitingBytes = 0;
    for (const { done } of left) done();
  }
}

function preambleOf({ name }: LaneTicket): Buffer {
  const preamble = Buffer.alloc(PREAMBLE_BYTES);
  MAGIC.copy(preamble);
  preamble.write(name, MAGIC.length, 'latin1');
  return preamble;
}

/** Opens the lane of a connection that was dialled. Nothing becomes of it when the peer refuses. */
export function dialLane(
  connection: SocketConnection,
  { address, ticket, events }: { address: Address; ticket: LaneTicket; events: ConnectionEvents },
  clock: Clock,
): void {
  const lane = new BulkLane(ticket, events);
  const answer = Buffer.alloc(MAGIC.length);
  let answered = 0;
  const reader: Reader = {
    space: () => (answered < answer.length ? answer.subarray(answered) : lane.space()),
    received: (bytes) => {
      if (answered === answer.length) {
        lane.received(bytes);
        return;
      }
      answered += bytes;
      if (answered < answer.length) return;
      stopTimer();
      if (answer.equals(MAGIC)) connection.join(lane, socket);
      else socket.destroy();
    },
  };
  // No more of the address: what else it is called may be an option of `connect`.
  const socket: Socket = connectSocket({
    host: address.host,
    port: address.port,
    ...SOCKET_OPTIONS,
    onread: reading(reader, () => socket),
  });
  const stopTimer = clock.after(JOIN_WAIT_MS, () => {
    socket.destroy();
  });
  lane.attach(socket);
  connection.onClose(() => {
    socket.destroy();
  });
  socket.on('error', () => undefined);
  socket.once('close', stopTimer);
  socket.once('connect', () => {
    socket.write(preambleOf(ticket));
  });
}

/** A connection that was accepted, and waits for its second lane. */
interface Joinable {
  connection: SocketConnection;
  ticket: LaneTicket;
  events: ConnectionEvents;
}

/** The accepted connections of a listener that wait for a second lane, by its name. */
export class LaneDesk {
  readonly #joinable = new Map<string, Joinable>();

  add(joinable: Joinable): void {
    const { name } = joinable.ticket;
    this.#joinable.set(name, joinable);
    joinable.connection.onClose(() => {
      if (this.#joinable.get(name) === joinable) this.#joinable.delete(name);
    });
  }

  /** Takes the connection that a preamble names. */
  take(preamble: Buffer): Joinable | undefined {
    const text = preamble.toString('latin1', MAGIC.length, PREAMBLE_BYTES);
    const name = text.replace(/\0+$/, '');
    const joinable = this.#joinable.get(name);
    this.#joinable.delete(name);
    return joinable;
  }

  /** Gives the second socket to its connection. */
  static join(
    { connection, ticket, events }: Joinable,
    open: (lane: BulkLane) => Socket,
  ): BulkLane {
    const lane = new BulkLane(ticket, events);
    const socket = open(lane);
    lane.attach(socket);
    socket.on('error', () => undefined);
    // Before the bytes that waited for the lane.
    socket.write(MAGIC);
    connection.join(lane, socket);
    return lane;
  }
}

/**
 * What the first bytes of an accepted socket say: the preamble of a lane, something else, or not
 * yet known.
 */
export function isPreamble(head: Buffer): boolean | undefined {
  const known = Math.min(head.length, MAGIC.length);
  if (!head.subarray(0, known).equals(MAGIC.subarray(0, known))) return false;
  return head.length < PREAMBLE_BYTES ? undefined : true;
}

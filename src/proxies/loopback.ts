/**
 * Connections within one process: what tests and simulations join engines with.
 *
 * Bytes move in pieces, a turn of the event loop later, and in order. A direction can be held, as
 * when a cable is cut while TCP goes on trying, and a connection can be broken, as when it gives
 * up.
 */
import { Lane } from './transport.ts';
import type { Accept, Address, Connection, ConnectionEvents } from './transport.ts';
import type { Listener, Transport } from './transport.ts';

export interface LoopbackOptions {
  /** Most bytes handed on at once; small values cut frames into pieces. */
  pieceBytes?: number;
  /** Calls back later, in order. */
  defer?: (callback: () => void) => void;
  /** Whether connections have two lanes, or get the second one when both ends ask for it. */
  hasLanes?: boolean | 'later';
}

interface Write {
  bytes: Uint8Array;
  at: number;
  done: () => void;
}

// One lane of one direction of a connection.
class Pipe {
  readonly #options: Required<LoopbackOptions>;
  readonly #lane: Lane;
  #target: ConnectionEvents | undefined;
  #writes: Write[] = [];
  #scheduled = false;
  #onEmpty: (() => void) | undefined;
  held = false;
  /** Whether there is such a lane; what is written before waits for it. */
  isThere = true;
  bufferedBytes = 0;
  onMoved: () => void = () => undefined;

  constructor(options: Required<LoopbackOptions>, lane: Lane) {
    this.#options = options;
    this.#lane = lane;
  }

  open(target: ConnectionEvents): void {
    this.#target = target;
    this.flow();
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.#writes.push({ bytes, at: 0, done });
    this.bufferedBytes += bytes.length;
    this.flow();
  }

  /** Calls back when everything has arrived. */
  whenEmpty(callback: () => void): void {
    this.#onEmpty = callback;
    this.flow();
  }

  /** Nothing more arrives; who wrote gets the buffers back. */
  shut(): void {
    this.#target = undefined;
    this.#onEmpty = undefined;
    const left = this.#writes;
    this.#writes = [];
    this.bufferedBytes = 0;
    for (const write of left) this.#options.defer(write.done);
  }

  flow(): void {
    if (this.#scheduled || this.held || !this.isThere) return;
    this.#scheduled = true;
    this.#options.defer(() => {
      this.#scheduled = false;
      this.#move();
    });
  }

  #move(): void {
    const write = this.#writes[0];
    if (this.held || !this.isThere || this.#target === undefined) return;
    if (write === undefined) {
      this.#onEmpty?.();
      return;
    }
    const space = this.#target.space(this.#lane);
    // Nothing bulky is taken before something urgent, after which this is looked at again.
    if (space.length === 0) return;
    const left = write.bytes.length - write.at;
    const count = Math.min(space.length, left, this.#options.pieceBytes);
    space.set(write.bytes.subarray(write.at, write.at + count));
    write.at += count;
    this.bufferedBytes -= count;
    if (count === left) {
      this.#writes.shift();
      write.done();
    }
    this.#target.received(count, this.#lane);
    this.flow();
    this.onMoved();
  }
}

// One direction of a connection.
class Direction {
  readonly #lanes: [Pipe, Pipe];

  constructor(options: Required<LoopbackOptions>) {
    const [urgent, bulk] = [new Pipe(options, Lane.URGENT), new Pipe(options, Lane.BULK)];
    urgent.onMoved = (): void => {
      bulk.flow();
    };
    bulk.isThere = options.hasLanes !== 'later';
    this.#lanes = [urgent, bulk];
  }

  get hasBulk(): boolean {
    return this.#lanes[Lane.BULK].isThere;
  }

  widen(): void {
    const [, bulk] = this.#lanes;
    bulk.isThere = true;
    bulk.flow();
  }

  get bufferedBytes(): number {
    return this.#lanes[Lane.URGENT].bufferedBytes + this.#lanes[Lane.BULK].bufferedBytes;
  }

  set held(held: boolean) {
    for (const lane of this.#lanes) lane.held = held;
  }

  open(target: ConnectionEvents): void {
    for (const lane of this.#lanes) lane.open(target);
  }

  write(bytes: Uint8Array, done: () => void, lane: Lane): void {
    this.#lanes[lane].write(bytes, done);
  }

  whenEmpty(callback: () => void): void {
    const [urgent, bulk] = this.#lanes;
    urgent.whenEmpty(() => {
      bulk.whenEmpty(callback);
    });
  }

  shut(): void {
    for (const lane of this.#lanes) lane.shut();
  }

  flow(): void {
    for (const lane of this.#lanes) lane.flow();
  }
}

// What both ends of a connection may do to it.
interface Cord {
  readonly hasLanes: boolean | 'later';
  /** One end wants a lane of that name. */
  readonly widen: (name: string) => void;
  /** Ends it for both. */
  readonly end: (reason: string) => void;
}

class LoopbackConnection implements Connection {
  readonly remote: string;
  readonly widen?: (name: string) => void;
  readonly #out: Direction;
  readonly #cord: Cord;

  constructor(remote: string, out: Direction, cord: Cord) {
    this.remote = remote;
    this.#out = out;
    this.#cord = cord;
    if (cord.hasLanes === 'later') this.widen = cord.widen;
  }

  get hasLanes(): boolean {
    return this.#cord.hasLanes !== false && this.#out.hasBulk;
  }

  get bufferedBytes(): number {
    return this.#out.bufferedBytes;
  }

  write(bytes: Uint8Array, done: () => void, lane: Lane = Lane.URGENT): void {
    this.#out.write(bytes, done, lane);
  }

  end(): void {
    this.#out.whenEmpty(() => {
      this.#cord.end('closed by the peer');
    });
  }

  destroy(): void {
    this.#cord.end('ECONNRESET');
  }
}

/** A connection as the network sees it, for tests that disturb it. */
export interface LoopbackCable {
  /** Holds what the dialer sends ('out'), what it gets ('in'), or both. */
  hold(direction: 'out' | 'in' | 'both'): void;
  /** Lets all that was held go on. */
  release(): void;
  /** Ends the connection for both sides. */
  cut(): void;
}

/** A set of ports within the process. */
export class LoopbackNetwork {
  readonly #options: Required<LoopbackOptions>;
  readonly #listeners = new Map<number, Accept>();
  #nextPort = 1;
  /** Every connection that was made and is not over, oldest first. */
  readonly cables = new Set<LoopbackCable>();

  constructor(options: LoopbackOptions = {}) {
    this.#options = {
      pieceBytes: options.pieceBytes ?? 65536,
      defer: options.defer ?? ((callback): void => void setImmediate(callback)),
      hasLanes: options.hasLanes ?? false,
    };
  }

  transport(): Transport {
    return {
      name: 'loopback',
      sealed: false,
      listen: async (address, accept) => Promise.resolve(this.#listen(address, accept)),
      connect: (address, events) => this.#connect(address, events),
    };
  }

  #listen(address: Address, accept: Accept): Listener {
    const port = address.port === 0 ? this.#nextPort++ : address.port;
    if (this.#listeners.has(port)) throw new Error('EADDRINUSE');
    this.#listeners.set(port, accept);
    return { port, close: () => this.#listeners.delete(port) };
  }

  #connect(address: Address, dialer: ConnectionEvents): () => void {
    let stop = (): void => undefined;
    let wanted = true;
    this.#options.defer(() => {
      const accepter = wanted ? this.#listeners.get(address.port)?.(() => undefined) : undefined;
      if (accepter === undefined) dialer.closed(wanted ? 'ECONNREFUSED' : 'called off');
      else stop = this.#join(address, dialer, accepter);
    });
    return () => {
      wanted = false;
      stop();
    };
  }

  #join(address: Address, dialer: ConnectionEvents, accepter: ConnectionEvents): () => void {
    const out = new Direction(this.#options);
    const back = new Direction(this.#options);
    const { hasLanes } = this.#options;
    let over = false;
    const end = (reason: string): void => {
      if (over) return;
      over = true;
      this.cables.delete(cable);
      out.shut();
      back.shut();
      this.#options.defer(() => {
        dialer.closed(reason);
        accepter.closed(reason);
      });
    };
    const cable: LoopbackCable = {
      hold: (direction) => {
        if (direction !== 'in') out.held = true;
        if (direction !== 'out') back.held = true;
      },
      release: () => {
        out.held = back.held = false;
        out.flow();
        back.flow();
      },
      cut: () => {
        end('ECONNRESET');
      },
    };
    this.cables.add(cable);
    out.open(accepter);
    back.open(dialer);
    let wantedName: string | undefined;
    const widen = (name: string): void => {
      if (wantedName === undefined) wantedName = name;
      else if (wantedName === name) {
        this.#options.defer(() => {
          out.widen();
          back.widen();
        });
      }
    };
    const cord: Cord = { hasLanes, widen, end };
    accepter.opened(new LoopbackConnection('loopback', back, cord));
    dialer.opened(new LoopbackConnection(`loopback:${address.port}`, out, cord));
    return () => {
      end('called off');
    };
  }
}

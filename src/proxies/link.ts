/**
 * One connection to another node: its bytes, frames and session put together.
 *
 * Until the session is up a link costs a few KiB, so that strangers who connect and say nothing
 * cost no more; then the decoder gets a buffer for the longest frame. What is built in a turn goes
 * out in one write, a long payload at once, so that the peer works on it while the next one is
 * built.
 */
import { CommandKind, Limit } from '../dvk/abi/abi.gen.ts';
import { FrameDecoder, type Checksum, type Frame } from './frame.ts';
import { HELLO_BYTES_MAX, type Hello } from './hello.ts';
import { Outbox, type SlabPool } from './outbox.ts';
import { Session } from './session.ts';
import type { Down, SessionOutput, SessionSelf, SessionTimes } from './session.ts';
import type { PeerCertificate } from './identity.ts';
import type { Connection, ConnectionEvents, Refusal } from './transport.ts';

// Commands are left in the core's queue while the transport holds more than this.
const HIGH_WATER_BYTES = 2 * 1024 * 1024;
const READ_BUFFER_BYTES = 2 * 1024 * 1024;
// So much does not wait for the end of the turn.
const PROMPT_BYTES = 32768;

/** What a link tells the engine. */
export interface LinkOwner {
  linkUp(link: Link, hello: Hello): void;
  linkContainersChanged(link: Link, hello: Hello): void;
  linkDeliver(link: Link, frame: Frame): void;
  linkDown(link: Link, why: Down): void;
  /** The link can take commands again, or acks may have been queued by what was delivered. */
  linkReady(link: Link): void;
  /** The connection is gone. */
  linkClosed(link: Link): void;
}

export interface LinkOptions {
  self: SessionSelf;
  owner: LinkOwner;
  checksum: Checksum;
  pool: SlabPool;
  nowMs: () => number;
  times: SessionTimes;
  /** The node that is dialled; undefined for an accepted connection. */
  peer?: number | undefined;
}

/** Where get2rmt takes a command from. */
export interface CommandSource {
  get2rmt(command: Uint8Array, payload: Uint8Array): boolean;
}

export interface LinkCounters {
  framesSent: number;
  framesReceived: number;
  bytesSent: number;
  bytesReceived: number;
}

export class Link implements ConnectionEvents, SessionOutput {
  readonly session: Session;
  readonly counters: LinkCounters = {
    framesSent: 0,
    framesReceived: 0,
    bytesSent: 0,
    bytesReceived: 0,
  };
  readonly #options: LinkOptions;
  readonly #decoder: FrameDecoder;
  readonly #outbox: Outbox;
  #connection: Connection | undefined;
  #callOff: (() => void) | undefined;
  #refusal: Refusal | undefined;
  // Commands were left in the core because of congestion.
  #stalled = false;
  #over = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#decoder = new FrameDecoder(options.checksum, HELLO_BYTES_MAX);
    this.#outbox = new Outbox(options.pool, options.checksum);
    this.session = new Session(options.self, this, options.nowMs(), {
      peer: options.peer,
      times: options.times,
    });
  }

  /** The address at the other end. */
  get remote(): string {
    return this.#connection?.remote ?? 'not connected';
  }

  /** Who the peer has proven to be; undefined on a connection in plain text, or none yet. */
  get certificate(): PeerCertificate | undefined {
    return this.#connection?.peer;
  }

  /** The node that a connection which was refused has spoken for. */
  get refusedNode(): number | undefined {
    return this.#refusal?.node;
  }

  /** Whether so much waits to be sent that no more is taken from the core. */
  get congested(): boolean {
    const held = this.#connection?.bufferedBytes ?? 0;
    return held + this.#outbox.builtBytes >= HIGH_WATER_BYTES;
  }

  /** Takes one command of `source` and makes a frame of it. */
  forward(source: CommandSource): 'sent' | 'empty' | 'congested' {
    if (this.congested) {
      // Only what the transport holds brings a call back; what was built must be given to it.
      this.flush();
      this.#stalled = true;
      return 'congested';
    }
    if (!this.#outbox.hasRoom) this.flush();
    const place = this.#outbox.place();
    if (!source.get2rmt(place.command, place.payload)) return 'empty';
    this.#outbox.seal(place, this.session.number, this.session.nextSequence());
    this.counters.framesSent++;
    if (this.#outbox.builtBytes >= PROMPT_BYTES) this.flush();
    return 'sent';
  }

  /** Gives the frames that were built to the transport. */
  flush(): void {
    const built = this.#outbox.take();
    if (built === undefined) return;
    if (this.#connection === undefined || this.#over) {
      built.done();
      return;
    }
    this.counters.bytesSent += built.bytes.length;
    this.session.noteSent(this.#options.nowMs());
    this.#connection.write(built.bytes, () => {
      built.done();
      if (!this.#stalled || this.congested) return;
      this.#stalled = false;
      this.#options.owner.linkReady(this);
      this.flush();
    });
  }

  tick(): void {
    this.session.tick(this.#options.nowMs());
    this.flush();
  }

  /** Gives up the connection, or the attempt to make one, without a word. */
  abandon(): void {
    if (this.#over) return;
    if (this.#connection) this.#connection.destroy();
    else this.#callOff?.();
  }

  /** How to stop what is to open this link. */
  begun(callOff: () => void): void {
    this.#callOff = callOff;
  }

  // ConnectionEvents

  opened(connection: Connection): void {
    this.#connection = connection;
    this.session.noteReceived(this.#options.nowMs());
    this.session.start(connection.peer);
    this.flush();
  }

  space(): Uint8Array {
    return this.#decoder.space();
  }

  received(bytes: number): void {
    const nowMs = this.#options.nowMs();
    this.counters.bytesReceived += bytes;
    this.#decoder.filled(bytes);
    this.session.noteReceived(nowMs);
    for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) {
      this.counters.framesReceived++;
      this.session.receive(frame, nowMs);
    }
    if (this.#decoder.fault) this.session.fault(this.#decoder.fault);
    this.#options.owner.linkReady(this);
    this.flush();
  }

  closed(reason: string, refusal?: Refusal): void {
    this.#over = true;
    this.#refusal = refusal;
    this.session.lost(this.#explain(reason), refusal?.code);
    this.#outbox.close();
    this.#options.owner.linkClosed(this);
  }

  // A peer that refuses this node's certificate says nothing: it takes no stranger for a listener.
  #explain(reason: string): string {
    const { peer, state } = this.session;
    const wasLetIn = this.#connection?.peer === undefined || state !== 'opening';
    if (wasLetIn || peer === undefined) return reason;
    const advice = `it may refuse this node's certificate; \`dvk proxy info ${peer}\` tells`;
    return `${reason} right after the TLS handshake: ${advice}`;
  }

  // SessionOutput

  send(kind: number, command: Uint8Array, payload: Uint8Array): void {
    // Answers to keepalives are the one thing that a peer could pile up here by not reading.
    if (kind === (CommandKind.NONE | CommandKind.ACK) && this.congested) return;
    if (!this.#outbox.hasRoom) this.flush();
    this.#outbox.add(command, payload, this.session.number, this.session.nextSequence());
    this.counters.framesSent++;
  }

  up(hello: Hello): void {
    this.#decoder.expand(Limit.COPY_CHUNK_BYTES, READ_BUFFER_BYTES);
    this.#options.owner.linkUp(this, hello);
  }

  containersChanged(hello: Hello): void {
    this.#options.owner.linkContainersChanged(this, hello);
  }

  deliver(frame: Frame): void {
    this.#options.owner.linkDeliver(this, frame);
  }

  down(why: Down): void {
    this.flush();
    this.#options.owner.linkDown(this, why);
    if (this.#connection && !this.#over) this.#connection.end();
    else this.abandon();
  }
}

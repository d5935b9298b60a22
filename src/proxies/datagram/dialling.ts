/**
 * The dialer's side of the handshake: INIT until a cookie comes, then OPEN until ACCEPT comes, each
 * again after a pause that doubles; see packet.ts.
 */
import type { ConnectionEvents, Refusal } from '../transport.ts';
import { PacketKind, RefuseCode, type Handshake } from './packet.ts';
import { Suite, type KeyShare } from './security.ts';

const FIRST_PAUSE_MS = 100;
const PAUSE_MS_MAX = 800;

export interface DiallingOptions {
  /** This end's id. */
  id: number;
  to: string;
  events: ConnectionEvents;
  /** Of a sealed connection. */
  share: KeyShare | undefined;
  handshakeMs: number;
}

export class Dialling {
  readonly id: number;
  readonly to: string;
  readonly events: ConnectionEvents;
  readonly share: KeyShare | undefined;
  readonly #endMs: number;
  #open: Handshake | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #nextMs: number;
  #reason: string | undefined;
  #refusal: Refusal | undefined;

  constructor(options: DiallingOptions, nowMs: number) {
    this.id = options.id;
    this.to = options.to;
    this.events = options.events;
    this.share = options.share;
    this.#endMs = nowMs + options.handshakeMs;
    this.#nextMs = nowMs;
  }

  /** Why it failed; undefined while it goes on. */
  get reason(): string | undefined {
    return this.#reason;
  }

  get refusal(): Refusal | undefined {
    return this.#refusal;
  }

  /** The OPEN packet, once there is a cookie; it is the same every time it is sent. */
  get open(): Handshake | undefined {
    return this.#open;
  }

  /** When `run` is to be called. */
  get wakeMs(): number {
    return this.#reason === undefined ? Math.min(this.#nextMs, this.#endMs) : -Infinity;
  }

  fail(reason: string): void {
    this.#reason ??= reason;
  }

  /** A COOKIE or REFUSE for this end. Returns whether `run` is to be called now. */
  receive(packet: Handshake): boolean {
    if (packet.kind === PacketKind.REFUSE) {
      this.#refused(packet);
    } else {
      // A cookie that comes twice begins no second OPEN at once.
      if (this.#open !== undefined) return false;
      this.#open = {
        ...this.#first(PacketKind.OPEN),
        detail: packet.value,
        cookie: packet.cookie ?? new Uint8Array(0),
        ...(this.share && { share: this.share.bytes }),
      };
      this.#pauseMs = FIRST_PAUSE_MS;
      this.#nextMs = -Infinity;
    }
    return true;
  }

  run(nowMs: number, say: (packet: Handshake) => void): void {
    if (this.#reason !== undefined) return;
    if (nowMs >= this.#endMs) {
      this.fail('ETIMEDOUT');
      return;
    }
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(PAUSE_MS_MAX, 2 * this.#pauseMs);
    say(this.#open ?? this.#first(PacketKind.INIT));
  }

  #first(kind: PacketKind): Handshake {
    return { kind, suite: this.share ? Suite.SEALED : Suite.PLAIN, to: 0, value: this.id };
  }

  #refused({ detail = 0 }: Handshake): void {
    const code = Math.floor(detail / 256);
    if (code === RefuseCode.VERSION) {
      this.fail(`the peer speaks version ${detail % 256} of datagrams`);
    } else if (code === RefuseCode.SUITE) {
      this.#refusal ??= { code: 'security' };
      this.fail(this.share ? PLAIN_PEER : SEALED_PEER);
    } else {
      this.fail('ECONNREFUSED');
    }
  }
}

const PLAIN_PEER = 'the peer speaks plain text: a node that was started with --insecure';
const SEALED_PEER = 'the peer takes sealed links only, and this node was started with --insecure';

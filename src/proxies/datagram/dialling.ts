/**
 * The dialer's side of the handshake: INIT until a cookie comes, then OPEN until ACCEPT comes, each
 * again after a pause that doubles; see packet.ts.
 */
import type { ConnectionEvents } from '../transport.ts';
import { PacketKind, RefuseCode, type Handshake } from './packet.ts';

const FIRST_PAUSE_MS = 100;
const PAUSE_MS_MAX = 800;

export interface DiallingOptions {
  /** This end's id. */
  id: number;
  to: string;
  events: ConnectionEvents;
  handshakeMs: number;
}

export class Dialling {
  readonly id: number;
  readonly to: string;
  readonly events: ConnectionEvents;
  readonly #endMs: number;
  #cookie: { madeMs: number; bytes: Uint8Array } | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #nextMs: number;
  #reason: string | undefined;

  constructor(options: DiallingOptions, nowMs: number) {
    this.id = options.id;
    this.to = options.to;
    this.events = options.events;
    this.#endMs = nowMs + options.handshakeMs;
    this.#nextMs = nowMs;
  }

  /** Why it failed; undefined while it goes on. */
  get reason(): string | undefined {
    return this.#reason;
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
      this.fail(refusal(packet.detail ?? 0));
    } else {
      // A cookie that comes twice begins no second OPEN at once.
      if (this.#cookie !== undefined) return false;
      this.#cookie = { madeMs: packet.value, bytes: packet.cookie ?? new Uint8Array(0) };
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
    const cookie = this.#cookie;
    if (cookie === undefined) {
      say({ kind: PacketKind.INIT, to: 0, value: this.id });
    } else {
      const { madeMs: detail, bytes } = cookie;
      say({ kind: PacketKind.OPEN, to: 0, value: this.id, detail, cookie: bytes });
    }
  }
}

function refusal(detail: number): string {
  const code = Math.floor(detail / 256);
  if (code === RefuseCode.VERSION) return `the peer speaks version ${detail % 256} of datagrams`;
  return 'ECONNREFUSED';
}

/** Messages of the kernel's side of FUSE, and a port that remembers what was sent to it. */
import type { Clock } from '../../src/dvk/clock.ts';
import type { GatewayPort } from '../../src/vos/fuse/gateway.ts';
import type { SessionPort } from '../../src/vos/fuse/session.ts';
import { Opcode } from '../../src/vos/fuse/wire.ts';

const HEADER_BYTES = 40;

export interface Reply {
  length: number;
  error: number;
  unique: bigint;
  body: Uint8Array;
  hex: string;
}

export interface MessageOptions {
  unique?: number | bigint;
  node?: number | bigint;
  body?: Uint8Array;
}

/** A request with a header that is right. */
export function message(opcode: number, options: MessageOptions = {}): DataView {
  const body = options.body ?? new Uint8Array(0);
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, bytes.length, true);
  view.setUint32(4, opcode, true);
  view.setBigUint64(8, BigInt(options.unique ?? 10), true);
  view.setBigUint64(16, BigInt(options.node ?? 1), true);
  bytes.set(body, HEADER_BYTES);
  return view;
}

/** Little-endian 32-bit words. */
export function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

export function name(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}

export function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

export function initMessage(minor = 45, flags = 0xffff_ffff, major = 7): DataView {
  return message(Opcode.INIT, { unique: 2, node: 0, body: words(major, minor, 131_072, flags) });
}

export function readMessage(unique: number, node: number, offset: number, bytes: number): DataView {
  const high = Math.floor(offset / 2 ** 32);
  const body = words(0, 0, offset % 2 ** 32, high, bytes, 0, 0, 0, 0, 0);
  return message(Opcode.READ, { unique, node, body });
}

export function fromHex(hex: string): DataView {
  const bytes = new Uint8Array(Buffer.from(hex, 'hex'));
  return new DataView(bytes.buffer);
}

/** Collects replies; `refuse` makes the kernel not take them. */
export class RecordingPort implements SessionPort, GatewayPort {
  readonly replies: Reply[] = [];
  readonly events: string[] = [];
  /** Lines for the operator. */
  readonly told: string[] = [];
  refuse = 0;
  /** Threads that are ending. */
  isEnding: (pid: number) => boolean = () => true;

  readonly send = (head: Uint8Array, bytes: number, payload: Uint8Array | undefined): number => {
    const all = Buffer.concat([head.subarray(0, bytes), payload ?? new Uint8Array(0)]);
    if (this.refuse < 0) return this.refuse;
    this.replies.push({
      length: all.readUInt32LE(0),
      error: all.readInt32LE(4),
      unique: all.readBigUInt64LE(8),
      body: new Uint8Array(all.subarray(16)),
      hex: all.toString('hex'),
    });
    return all.length;
  };

  onReady(): void {
    this.events.push('ready');
  }

  onRefused(major: number, minor: number): void {
    this.events.push(`refused ${major}.${minor}`);
  }

  onInterrupt(request: { unique: number }): void {
    this.events.push(`interrupt ${request.unique}`);
  }

  tell(line: string): void {
    this.told.push(line);
  }

  onRoom(): void {
    this.events.push('room');
  }

  last(): Reply {
    const reply = this.replies.at(-1);
    if (reply === undefined) throw new Error('nothing was sent');
    return reply;
  }
}

/** A clock that stands still until it is told. */
export class ManualClock implements Clock {
  #nowMs = 0;
  #timers: { at: number; callback: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#nowMs + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    this.#nowMs += ms;
    const due = this.#timers.filter((timer) => timer.at <= this.#nowMs);
    this.#timers = this.#timers.filter((timer) => timer.at > this.#nowMs);
    for (const timer of due) timer.callback();
  }
}

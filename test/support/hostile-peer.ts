/**
 * A member of a DVS that says whatever a test wants: it has a good certificate where links are
 * sealed, speaks over the real transports, and no engine of ours keeps it in order.
 */
import { systemClock } from '../../src/dvk/clock.ts';
import { crc32c } from '../../src/dvk/crc32c.ts';
import { CommandKind, CommandLayout, Limit } from '../../src/dvk/abi/abi.gen.ts';
import { FrameDecoder, FrameLayout, viewOf, type Frame } from '../../src/proxies/frame.ts';
import { decodeHello, encodeHello, HELLO_CONSTANTS, type Hello } from '../../src/proxies/hello.ts';
import { tcpTransport } from '../../src/proxies/tcp.ts';
import { tlsTransport } from '../../src/proxies/tls.ts';
import type { Transport } from '../../src/proxies/transport.ts';
import { udpTransport } from '../../src/proxies/udp.ts';
import { frameBytes, type CommandFields } from './proxy-frames.ts';
import { AUTHORITY } from './proxy-node.ts';
import { TransportEnd } from './transport-end.ts';

export interface Wire {
  transport: 'tcp' | 'udp';
  sealed: boolean;
}

/** Whom it claims to be, and whom it talks to. */
export interface Part {
  node: number;
  victim: number;
  port: number;
}

function transportFor({ transport, sealed }: Wire, node: number): Transport {
  const own = AUTHORITY.credentials(node);
  const credentials = sealed ? (): typeof own => own : undefined;
  if (transport === 'udp') return udpTransport(systemClock, { credentials });
  return credentials ? tlsTransport(systemClock, credentials) : tcpTransport(systemClock);
}

/** Writes a field of a frame's header, and the header's checksum anew unless told not to. */
export function withHeader(
  bytes: Uint8Array,
  field: Exclude<keyof typeof FrameLayout, 'BYTES'>,
  value: number,
): Uint8Array {
  const view = viewOf(bytes);
  if (field === 'version' || field === 'headerBytes')
    view.setUint16(FrameLayout[field], value, true);
  else view.setUint32(FrameLayout[field], value >>> 0, true);
  if (field === 'headerChecksum') return bytes;
  const sum = crc32c(bytes.subarray(0, FrameLayout.headerChecksum), 0);
  view.setUint32(FrameLayout.headerChecksum, sum, true);
  return bytes;
}

/** Writes 32 bits at `at` of a frame's command, and the checksum of both anew. */
export function withCommand(bytes: Uint8Array, at: number, value: number): Uint8Array {
  viewOf(bytes).setUint32(FrameLayout.BYTES + at, value, true);
  return withHeader(bytes, 'bodyChecksum', crc32c(bytes.subarray(FrameLayout.BYTES), 0));
}

/** A frame of the victim. */
interface Heard {
  kind: number;
  result: number;
  payload: Uint8Array;
}

export class HostilePeer {
  readonly #end = new TransportEnd();
  readonly #part: Part;
  readonly #decoder = new FrameDecoder(crc32c, Limit.COPY_CHUNK_BYTES, { bufferBytes: 1 << 21 });
  readonly #frames: Heard[] = [];
  #read = 0;
  session = 0;
  sequence = 0;

  private constructor(part: Part) {
    this.#part = part;
  }

  /** Connects, and says nothing yet. */
  static async connect(wire: Wire, part: Part): Promise<HostilePeer> {
    const peer = new HostilePeer(part);
    const address = { host: '127.0.0.1', port: part.port };
    transportFor(wire, part.node).connect(address, peer.#end);
    await peer.#end.untilOpen();
    return peer;
  }

  /** The same, and the link is up: both have said HELLO, `containers` being ours. */
  static async link(wire: Wire, part: Part, containers: number[]): Promise<HostilePeer> {
    const peer = await HostilePeer.connect(wire, part);
    peer.send(peer.hello({ containers }));
    const answer = await peer.#next((kind) => kind === CommandKind.HELLO);
    peer.session = decodeHello(answer.payload)?.session ?? 0;
    return peer;
  }

  /** A HELLO as it should be, but for what is given. */
  hello(wrong: Partial<Hello> = {}, fields: CommandFields = {}): Uint8Array {
    const payload = encodeHello({
      ...HELLO_CONSTANTS,
      node: this.#part.node,
      incarnation: 7n,
      session: 1,
      keepaliveMs: 500,
      dvs: 'lab',
      voucherKey: new Uint8Array(32),
      containers: [],
      ...wrong,
    });
    return this.frame({ kind: CommandKind.HELLO, ...fields }, payload);
  }

  /** The next frame of this session. */
  frame(fields: CommandFields, payload?: Uint8Array): Uint8Array {
    const { node: sourceNode, victim: destinationNode } = this.#part;
    const stamp = { session: this.session, sequence: this.sequence++ };
    return frameBytes({ sourceNode, destinationNode, ...fields }, payload, stamp);
  }

  send(...pieces: Uint8Array[]): void {
    for (const bytes of pieces) this.#end.connection?.write(bytes, () => undefined);
  }

  get isClosed(): boolean {
    return this.#end.closedWith !== undefined;
  }

  async untilClosed(): Promise<void> {
    await this.#end.untilClosed();
  }

  /** The result of the next answer of this kind. */
  async answer(kind: number): Promise<number> {
    return (await this.#next((one) => one === kind)).result;
  }

  /** Why the victim closed the link, as it says. */
  async farewell(): Promise<string> {
    const { payload } = await this.#next((kind) => kind === CommandKind.SHUTDOWN);
    return new TextDecoder().decode(payload);
  }

  /** Ends the connection without a word. */
  drop(): void {
    this.#end.connection?.destroy();
  }

  async #next(isWanted: (kind: number) => boolean): Promise<Heard> {
    for (;;) {
      this.#takeFrames();
      const at = this.#frames.findIndex(({ kind }) => isWanted(kind));
      if (at >= 0) return this.#frames.splice(0, at + 1)[at]!;
      const before = this.#end.receivedBytes;
      await this.#end.until(() => this.isClosed || this.#end.receivedBytes > before);
      if (this.isClosed && this.#end.receivedBytes === before) {
        throw new Error(`closed: ${this.#end.closedWith ?? ''}`);
      }
    }
  }

  #takeFrames(): void {
    const fresh = this.#end.bytes().subarray(this.#read);
    this.#read += fresh.length;
    for (let at = 0; at < fresh.length;) {
      const space = this.#decoder.space();
      const part = fresh.subarray(at, at + space.length);
      space.set(part);
      this.#decoder.filled(part.length);
      at += part.length;
      for (let frame = this.#decoder.next(); frame; frame = this.#decoder.next()) {
        this.#frames.push(heard(frame));
      }
    }
  }
}

function heard({ kind, command, payload }: Frame): Heard {
  const result = viewOf(command).getInt32(CommandLayout.result, true);
  return { kind, result, payload: payload.slice() };
}

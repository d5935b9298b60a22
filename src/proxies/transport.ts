/**
 * What carries frames between nodes: a promise of ordered bytes without loss, until it says that
 * the connection is gone.
 *
 * A transport knows nothing of frames. Those over datagrams bring their own sequence, resend and
 * window below this interface, and count a corrupted datagram as lost; those over streams pass
 * bytes on. A sealed one knows who the peer is before it opens a connection.
 */
import type { PeerCertificate } from './identity.ts';

export interface Address {
  host: string;
  port: number;
}

/**
 * What a connection with two lanes carries in each: bytes of a lane keep their order, and what is
 * urgent overtakes what is bulky.
 */
export const Lane = { URGENT: 0, BULK: 1 } as const;
export type Lane = (typeof Lane)[keyof typeof Lane];

/** How well a connection goes: of TCP as the kernel tells, of datagrams as counted here. */
export interface LinkQuality {
  /** Smoothed round-trip time, its variation, and the smallest; null before the first sample. */
  rttMs: number | null;
  rttVariationMs: number | null;
  rttMinMs: number | null;
  /** Longest datagram or segment in use, in bytes of payload of the network below. */
  datagramBytes: number;
  /** Bytes that may be under way. */
  windowBytes: number;
  packetsSent: number;
  packetsReceived: number;
  /** Taken for lost, and sent again. */
  packetsLost: number;
  /** Of these, the ones that had arrived; null, as the next three, of TCP: nobody counts them. */
  spuriousLosses: number | null;
  timeouts: number | null;
  /** Came more than once. */
  duplicates: number | null;
  /** How often this side has taken new keys; of sealed connections. */
  rekeys: number | null;
}

/** What a connection carries, as last measured. */
export interface Bandwidth {
  bytesPerSecond: number;
  /** There was not enough to send then, so it may carry more. */
  isLimited: boolean;
}

/** What made a connection end, other than the network or its owner. */
export interface Refusal {
  /**
   * `certificate`: the peer's was not accepted; `security`: one end is sealed and the other speaks
   * plain text; `tls`: its handshake, or what came after it, failed; `handshake`: the one over
   * datagrams did; `malformed`: what came is nothing that dvk says; `rate`: too much came of it.
   */
  code: 'certificate' | 'security' | 'tls' | 'handshake' | 'malformed' | 'rate';
  /** The node that the peer speaks for, as far as that is proven. */
  node?: number;
}

/** One direction-pair of bytes to another node. */
export interface Connection {
  /** Whom it reaches, for logs. */
  readonly remote: string;
  /** Whether it tells urgent bytes from bulky ones; without, all bytes are of one lane. */
  readonly hasLanes?: boolean;
  /**
   * Makes a lane for bulky bytes; of connections that get one. `hasLanes` changes when it is there,
   * and what is written to it before waits. Called once by each end, by the dialer when the peer
   * was. `name` is the same at both ends and of no other connection: up to 59 letters of ASCII.
   */
  widen?(name: string): void;
  /** Undefined when nothing is known of that. */
  readonly quality?: LinkQuality | undefined;
  /** The same; of bulky bytes, where they have a lane. */
  readonly bandwidth?: Bandwidth | undefined;
  /** Bytes taken by `write` that the transport still holds. */
  readonly bufferedBytes: number;
  /** Who the peer has proven to be; of sealed transports only, and of those always. */
  readonly peer?: PeerCertificate;
  /**
   * Sends `bytes` after all that went before in the lane, URGENT by default; `done` is called once
   * when they may be changed, sent or not, and maybe before this returns.
   */
  write(bytes: Uint8Array, done: () => void, lane?: Lane): void;
  /** Sends what is held, then closes; closes at once when that takes longer than a second. */
  end(): void;
  /** Closes at once; what is held is lost. */
  destroy(): void;
}

/**
 * What a connection tells its owner, never from within a call of the owner. Nothing comes after
 * `closed`.
 */
export interface ConnectionEvents {
  /** The connection is made. Called once; only `space` may be called before. */
  opened(connection: Connection): void;
  /**
   * Where to put what comes in a lane, URGENT by default; never empty for that one. An empty one
   * for BULK holds that lane back until something urgent has come. Valid until `received`.
   */
  space(lane?: Lane): Uint8Array;
  /** `bytes` bytes were put at the start of the last `space()`. */
  received(bytes: number, lane?: Lane): void;
  /** It is no connection of its own, but a part of another one. Called in place of `closed`. */
  withdrawn?(): void;
  /** The connection is gone, or was never made. Called last, and once. */
  closed(reason: string, refusal?: Refusal): void;
}

export interface Listener {
  /** The port that was bound, also when 0 was asked for. */
  readonly port: number;
  /** Takes no more connections; those that exist go on. */
  close(): void;
}

/**
 * Gives the events of a connection that came, or undefined to refuse it. Called before the peer has
 * said anything; `callOff` gives the connection up as long as it is not opened.
 */
export type Accept = (callOff: () => void) => ConnectionEvents | undefined;

export interface Transport {
  /** The name of the protocol, as `tcp`. */
  readonly name: string;
  /** Whether what it carries is encrypted, and every peer has proven who it is. */
  readonly sealed: boolean;
  /** What came and reached no connection, by reason; only of transports over datagrams. */
  readonly counters?: Readonly<Record<string, number>>;
  /** Takes connections. */
  listen(address: Address, accept: Accept): Promise<Listener>;
  /**
   * Makes a connection; whatever becomes of it is told to `events`. The function returned calls it
   * off.
   */
  connect(address: Address, events: ConnectionEvents): () => void;
}

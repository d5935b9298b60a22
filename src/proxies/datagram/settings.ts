/** What a connection over datagrams is told, and what can be chosen of it. */
import type { EpochLimits } from './epoch-seal.ts';
import { DATAGRAM_BYTES_MAX, type PacketSeal } from './packet.ts';
import type { Proving } from './security.ts';

export interface DatagramSettings extends EpochLimits {
  /** A side that is silent for so long sends a PING. */
  keepaliveMs: number;
  /** Nothing came, or nothing was acknowledged, for so long: the connection is over. */
  deadMs: number;
  /** How long the handshake may take, and the proofs after it. */
  handshakeMs: number;
  /** How long an orderly end may take. */
  endMs: number;
  /** Longest datagram to try. */
  datagramBytesMax: number;
  /** What each lane takes beyond what was handed over, at most: bounds what a connection holds. */
  windowBytesMax: number;
  /** Packets that a connection sends at most, since each number is used once and has 48 bits. */
  packetsMax: number;
}

export const DEFAULT_SETTINGS: DatagramSettings = {
  keepaliveMs: 1000,
  deadMs: 4000,
  handshakeMs: 3000,
  endMs: 1000,
  datagramBytesMax: DATAGRAM_BYTES_MAX,
  windowBytesMax: 2 * 1024 * 1024,
  packetsMax: 2 ** 48 - 2 ** 16,
  rekeyPackets: 2 ** 21,
  rekeyMs: 3_600_000,
};

export interface ConnectionOptions {
  /** Ids of the two ends. */
  id: number;
  remoteId: number;
  remote: string;
  seal: PacketSeal;
  /** Of a sealed connection: both ends prove who they are before anything is said. */
  proving?: Proving;
  settings: DatagramSettings;
  /** DATAGRAM_BYTES_MAX in which packets are built; connections share it. */
  scratch: Uint8Array;
  /** Sends a packet, which is good during the call. */
  send: (packet: Uint8Array) => void;
  /** Whether short commands of others go the same way: little is sent at a time then. */
  isShared: () => boolean;
  /** The connection wants `run` to be called soon. */
  wake: () => void;
}

/**
 * What seals the packets of a connection, as the machines here see it: no cryptography is done in
 * this folder. key-exchange.ts has the real one.
 */
import type { PeerCertificate } from '../identity.ts';
import type { Refusal } from '../transport.ts';

/** What both ends must have in common, told in every packet of the handshake; append only. */
export const Suite = {
  /** A checksum. */
  PLAIN: 0,
  /** X25519, certificates of Ed25519, SHA-256 and AES-256-GCM. */
  SEALED: 1,
} as const;
export type Suite = (typeof Suite)[keyof typeof Suite];

/** Bytes of a key share. */
export const SHARE_BYTES = 32;

/** Which end of a connection. */
export type Side = 'dialer' | 'accepter';

/** How an endpoint agrees on keys; without one its connections are in plain text. */
export interface Security {
  /** A new key for one handshake. */
  begin(): KeyShare;
}

export interface KeyShare {
  /** What the peer is to know of it: SHARE_BYTES. */
  readonly bytes: Uint8Array;
  /**
   * The keys that follow from it and the peer's share. `open` and `accept` are the two packets that
   * carried the shares, whole: who changed a bit of them comes to other keys. Undefined when the
   * peer's share is worth nothing.
   */
  agree(
    side: Side,
    peerShare: Uint8Array,
    packets: { open: Uint8Array; accept: Uint8Array },
  ): Agreement | undefined;
}

export interface Agreement {
  send: PacketCipher;
  receive: PacketCipher;
  proving: Proving;
}

/** The keys of one direction in one epoch. A packet is `headBytes`, the body, and the tag. */
export interface PacketCipher {
  /** Enciphers the body and fills in the tag. A number is used once. */
  seal(packet: Uint8Array, headBytes: number, number: number): void;
  /** Whether the packet is as it was sealed; the body is deciphered in place. */
  open(packet: Uint8Array, headBytes: number, number: number): boolean;
  /** The keys of the next epoch. They follow from these, and not these from them. Called once. */
  next(): PacketCipher;
  /** Nothing is sealed or opened with these any more. */
  erase(): void;
}

/** Why a peer is not believed. */
export interface Doubt {
  reason: string;
  refusal: Refusal;
}

/** How the two ends prove who they are, in the first bytes of the urgent lane. */
export interface Proving {
  /** Whether this side proves itself first: the accepter does, so that no stranger learns more. */
  readonly isFirst: boolean;
  /** What this side says. Called once, by the second one after it has believed the first. */
  proof(): Uint8Array;
  /** Where the next bytes of the peer's proof go; never more than it has left. */
  space(): Uint8Array;
  /** `bytes` are in the last `space()`. Undefined as long as more is to come. */
  received(bytes: number): PeerCertificate | Doubt | undefined;
}

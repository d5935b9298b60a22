/**
 * From a shared secret to the keys of packets: HKDF (RFC 5869) with SHA-256, used as TLS 1.3 (RFC
 * 8446, section 7.1) and QUIC (RFC 9001, sections 5.1 and 6.1) use it.
 *
 *   shared secret -- Extract, salted with the hash of OPEN and ACCEPT --> secret
 *   secret -- "dvk dialer", "dvk accepter" --> the traffic secret of each direction, epoch 0
 *   traffic secret -- "dvk key", "dvk iv" --> the secret of AES-256-GCM
 *                  (or of AES-128-GCM, for the records of bulk-lane.ts)
 *                  -- "dvk finished" -------> the key of the MAC in a proof
 *                  -- "dvk ku" -------------> the traffic secret of the next epoch
 */
import { createHmac } from 'node:crypto';
import {
  AEAD_IV_BYTES,
  AEAD_KEY_BYTES,
  aeadForget,
  aeadOpen,
  aeadOpenInto,
  aeadSeal,
  aeadSealFrom,
} from '../dvk/aead.ts';
import type { PacketCipher } from './datagram/security.ts';

export const HASH_BYTES = 32;

/** HKDF-Extract. */
export function extract(salt: Uint8Array, secret: Uint8Array): Uint8Array {
  return createHmac('sha256', salt).update(secret).digest();
}

/** HKDF-Expand of at most HASH_BYTES, which is its first block. */
export function expand(secret: Uint8Array, info: Uint8Array, bytes: number): Uint8Array {
  const block = createHmac('sha256', secret).update(info).update(Uint8Array.of(1)).digest();
  return block.subarray(0, bytes);
}

/** HKDF-Expand-Label of RFC 8446 without a context; `label` is whole, with its prefix. */
export function expandLabel(secret: Uint8Array, label: string, bytes: number): Uint8Array {
  const text = Buffer.from(label);
  const head = Uint8Array.of(bytes >>> 8, bytes & 0xff, text.length);
  return expand(secret, Buffer.concat([head, text, Uint8Array.of(0)]), bytes);
}

/** The key of the MAC with which the side of this traffic secret ends its proof. */
export function finishedKey(trafficSecret: Uint8Array): Uint8Array {
  return expandLabel(trafficSecret, 'dvk finished', HASH_BYTES);
}

/** AES-GCM with the keys of one epoch of one direction. */
export class EpochCipher implements PacketCipher {
  readonly #trafficSecret: Uint8Array;
  readonly #secret: Uint8Array;
  readonly #keyBytes: number;

  /** The cipher takes `trafficSecret`, and erases it. */
  constructor(trafficSecret: Uint8Array, keyBytes: number = AEAD_KEY_BYTES) {
    this.#trafficSecret = trafficSecret;
    this.#keyBytes = keyBytes;
    this.#secret = Buffer.concat([
      expandLabel(trafficSecret, 'dvk key', keyBytes),
      expandLabel(trafficSecret, 'dvk iv', AEAD_IV_BYTES),
    ]);
  }

  seal(packet: Uint8Array, headBytes: number, number: number): void {
    aeadSeal(this.#secret, packet, headBytes, number);
  }

  /** The same with the body elsewhere. */
  sealFrom(body: Uint8Array, packet: Uint8Array, headBytes: number, number: number): void {
    aeadSealFrom(this.#secret, packet, headBytes, { number, body });
  }

  open(packet: Uint8Array, headBytes: number, number: number): boolean {
    return aeadOpen(this.#secret, packet, headBytes, number);
  }

  /** The same with the body put elsewhere. */
  openInto(body: Uint8Array, packet: Uint8Array, headBytes: number, number: number): boolean {
    return aeadOpenInto(this.#secret, packet, headBytes, { number, body });
  }

  next(): EpochCipher {
    const secret = expandLabel(this.#trafficSecret, 'dvk ku', HASH_BYTES);
    const next = new EpochCipher(secret, this.#keyBytes);
    this.#trafficSecret.fill(0);
    return next;
  }

  erase(): void {
    aeadForget(this.#secret);
    this.#trafficSecret.fill(0);
    this.#secret.fill(0);
  }
}

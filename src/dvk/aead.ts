/**
 * AES-GCM (NIST SP 800-38D) over packets, in place: `headBytes` that are only authenticated,
 * the body, and AEAD_TAG_BYTES for the tag. The nonce is the packet's number XOR the iv, as in RFC
 * 9001, section 5.3, so a number must not be used twice with one secret. The key's length chooses
 * between AES-256 and AES-128.
 */
import { native } from './native.ts';

export const AEAD_KEY_BYTES = 32;
export const AEAD_SHORT_KEY_BYTES = 16;
export const AEAD_IV_BYTES = 12;
export const AEAD_TAG_BYTES = 16;

const EBADMSG = 74;

// Not an operating error: the arguments are ours.
function mustBe(right: boolean, result: number): void {
  if (!right) throw new RangeError(`the cipher refused its arguments (${result})`);
}

/**
 * Enciphers the body of `packet` and fills in the tag. `secret` is the key, then the iv; `number`
 * is an integer from 0 to below 2^53.
 */
export function aeadSeal(
  secret: Uint8Array,
  packet: Uint8Array,
  headBytes: number,
  number: number,
): void {
  const result = native().aeadSeal(secret, packet, headBytes, number);
  mustBe(result === 0, result);
}

/** The same with the body elsewhere: as long as its place in `packet`, and not overlapping it. */
export function aeadSealFrom(
  secret: Uint8Array,
  packet: Uint8Array,
  headBytes: number,
  { number, body }: { number: number; body: Uint8Array },
): void {
  const result = native().aeadSealFrom(secret, packet, headBytes, number, body);
  mustBe(result === 0, result);
}

/**
 * Deciphers the body of `packet`. Returns whether it is as it was sealed; when it is not, the body
 * is worth nothing.
 */
export function aeadOpen(
  secret: Uint8Array,
  packet: Uint8Array,
  headBytes: number,
  number: number,
): boolean {
  const result = native().aeadOpen(secret, packet, headBytes, number);
  mustBe(result === 0 || result === -EBADMSG, result);
  return result === 0;
}

/** The same with the body put elsewhere, where it must fit as in `aeadSealFrom`. */
export function aeadOpenInto(
  secret: Uint8Array,
  packet: Uint8Array,
  headBytes: number,
  { number, body }: { number: number; body: Uint8Array },
): boolean {
  const result = native().aeadOpenInto(secret, packet, headBytes, number, body);
  mustBe(result === 0 || result === -EBADMSG, result);
  return result === 0;
}

/** The key is not used any more: no copy of it is left but the caller's own. */
export function aeadForget(secret: Uint8Array): void {
  const result = native().aeadForget(secret);
  mustBe(result === 0, result);
}

/**
 * How two nodes come to keys over datagrams: X25519 (RFC 7748) with keys of one handshake each, in
 * the order of IKEv2 (RFC 7296, sections 1.2 and 2.6): a cookie, then the shares in the clear, then
 * who is who under the keys that follow from them.
 *
 *   dialer                                             accepter
 *   INIT ------------------------------------------------>      keeps nothing
 *        <---------------------------------------- COOKIE
 *   OPEN (cookie, share) -------------------------------->      makes a key, keeps a connection
 *        <-------------------------------- ACCEPT (share)
 *   { PING } -------------------------------------------->
 *        <--------------------------------------- { proof }
 *   { proof, what the owner says } ---------------------->
 *
 * In braces: DATA, sealed by the keys of key-schedule.ts. See datagram/packet.ts for the packets,
 * and proof.ts for the proofs, which go through the reliable layer as anything does: so they are
 * sent again when they are lost, and in as many packets as they need. A key that a node keeps is no
 * part of a connection's keys, so who comes by one later reads nothing of what was said before.
 */
import { createHash, createPrivateKey, createPublicKey, diffieHellman } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import type { Credentials } from './credentials.ts';
import type { Agreement, KeyShare, Security, Side } from './datagram/security.ts';
import { SHARE_BYTES } from './datagram/security.ts';
import { EpochCipher, expandLabel, extract, finishedKey, HASH_BYTES } from './key-schedule.ts';
import { Proof } from './proof.ts';

// What comes before the 32 bytes of a key in DER: RFC 8410, section 10.
const PRIVATE_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_HEAD = Buffer.from('302a300506032b656e032100', 'hex');

export interface KeyExchangeOptions {
  /** What is valid now; others take effect with the next handshake. */
  credentials: () => Credentials;
  /** SHARE_BYTES that nobody can guess. */
  randomKey: () => Uint8Array;
  /** The wall clock. */
  nowMs: () => number;
}

function privateKeyOf(bytes: Uint8Array): KeyObject {
  const key = Buffer.concat([PRIVATE_HEAD, bytes]);
  try {
    return createPrivateKey({ key, format: 'der', type: 'pkcs8' });
  } finally {
    key.fill(0);
  }
}

// Undefined when the peer's share is a point of small order: then the secret would be one that
// everybody knows (RFC 7748, section 6.1), which OpenSSL refuses.
function sharedSecret(privateKey: KeyObject, peerShare: Uint8Array): Uint8Array | undefined {
  const key = Buffer.concat([PUBLIC_HEAD, peerShare]);
  try {
    const publicKey = createPublicKey({ key, format: 'der', type: 'spki' });
    return diffieHellman({ privateKey, publicKey });
  } catch {
    return undefined;
  }
}

class Share implements KeyShare {
  readonly bytes: Uint8Array;
  readonly #privateKey: KeyObject;
  readonly #options: KeyExchangeOptions;

  constructor(options: KeyExchangeOptions) {
    this.#options = options;
    const random = options.randomKey();
    this.#privateKey = privateKeyOf(random);
    random.fill(0);
    const spki = createPublicKey(this.#privateKey).export({ type: 'spki', format: 'der' });
    this.bytes = spki.subarray(-SHARE_BYTES);
  }

  agree(
    side: Side,
    peerShare: Uint8Array,
    { open, accept }: { open: Uint8Array; accept: Uint8Array },
  ): Agreement | undefined {
    const shared = sharedSecret(this.#privateKey, peerShare);
    if (shared === undefined) return undefined;
    const transcript = createHash('sha256').update(open).update(accept);
    const secret = extract(transcript.copy().digest(), shared);
    const secrets = {
      dialer: expandLabel(secret, 'dvk dialer', HASH_BYTES),
      accepter: expandLabel(secret, 'dvk accepter', HASH_BYTES),
    };
    const finishedKeys = {
      dialer: finishedKey(secrets.dialer),
      accepter: finishedKey(secrets.accepter),
    };
    shared.fill(0);
    secret.fill(0);
    const { credentials, nowMs } = this.#options;
    return {
      send: new EpochCipher(secrets[side]),
      receive: new EpochCipher(secrets[side === 'dialer' ? 'accepter' : 'dialer']),
      proving: new Proof({
        side,
        transcript,
        finishedKeys,
        credentials: credentials(),
        nowMs,
      }),
    };
  }
}

/** What seals connections over datagrams, with the certificates that seal those over TCP. */
export function keyExchange(options: KeyExchangeOptions): Security {
  return { begin: () => new Share(options) };
}

/**
 * How each end of a sealed connection over datagrams proves who it is: SIGMA-I (Krawczyk, "SIGMA:
 * the 'SIGn-and-MAc' approach", CRYPTO 2003), in the form that TLS 1.3 gives it.
 *
 * A proof is
 *
 *   0   length of the certificate, 16 bits, little-endian
 *   2   the certificate, DER
 *       signature, 64 bytes: Ed25519 over what CertificateVerify of RFC 8446, section 4.4.3,
 *           signs, with the transcript up to and with the certificate
 *       MAC, 32 bytes: HMAC-SHA256 as in Finished, section 4.4.4, over the transcript up to and
 *           with the signature
 *
 * The transcript is the OPEN and the ACCEPT packet, whole, and the proofs in the order in which
 * they are said. The signature shows that the owner of the certificate is here and means this
 * handshake, the MAC that it knows its keys. Both come enciphered, the accepter's first, so that
 * only a node of the DVS learns who dials.
 */
import { createHmac, sign, timingSafeEqual, verify, X509Certificate, type Hash } from 'node:crypto';
import { CERTIFICATE_BYTES_MAX, KEY_TYPE, type Credentials } from './credentials.ts';
import type { Doubt, Proving, Side } from './datagram/security.ts';
import { viewOf } from './frame.ts';
import type { PeerCertificate } from './identity.ts';
import { HASH_BYTES } from './key-schedule.ts';

const HEAD_BYTES = 2;
const SIGNATURE_BYTES = 64;

export interface ProofOptions {
  side: Side;
  /** Over OPEN and ACCEPT. */
  transcript: Hash;
  /** Of each side; see key-schedule.ts. */
  finishedKeys: Readonly<Record<Side, Uint8Array>>;
  credentials: Credentials;
  /** The wall clock. */
  nowMs: () => number;
}

function signed(side: Side, transcript: Hash): Uint8Array {
  const head = `${' '.repeat(64)}dvk proof, ${side}\0`;
  return Buffer.concat([Buffer.from(head), transcript.copy().digest()]);
}

function doubt(reason: string): Doubt {
  return { reason, refusal: { code: 'handshake' } };
}

export class Proof implements Proving {
  readonly #options: ProofOptions;
  readonly #transcript: Hash;
  // The peer's: as much of it as is known to come, and how much has come.
  #peer: Uint8Array = new Uint8Array(HEAD_BYTES);
  #got = 0;

  constructor(options: ProofOptions) {
    this.#options = options;
    this.#transcript = options.transcript;
  }

  get isFirst(): boolean {
    return this.#options.side === 'accepter';
  }

  proof(): Uint8Array {
    const { side, credentials } = this.#options;
    const { raw } = credentials.certificate;
    const head = new Uint8Array(HEAD_BYTES);
    viewOf(head).setUint16(0, raw.length, true);
    this.#transcript.update(head).update(raw);
    const signature = sign(null, signed(side, this.#transcript), credentials.key);
    this.#transcript.update(signature);
    const mac = this.#mac(side);
    this.#transcript.update(mac);
    return Buffer.concat([head, raw, signature, mac]);
  }

  space(): Uint8Array {
    return this.#peer.subarray(this.#got);
  }

  received(bytes: number): PeerCertificate | Doubt | undefined {
    this.#got += bytes;
    if (this.#got < this.#peer.length) return undefined;
    const certificateBytes = viewOf(this.#peer).getUint16(0, true);
    if (certificateBytes > CERTIFICATE_BYTES_MAX) return doubt('the certificate is too long');
    const whole = HEAD_BYTES + certificateBytes + SIGNATURE_BYTES + HASH_BYTES;
    if (this.#peer.length === whole) return this.#judge(HEAD_BYTES + certificateBytes);
    const peer = new Uint8Array(whole);
    peer.set(this.#peer);
    this.#peer = peer;
    return undefined;
  }

  // The signature begins at `end`.
  #judge(end: number): PeerCertificate | Doubt {
    const { side, credentials, nowMs } = this.#options;
    const other = side === 'dialer' ? 'accepter' : 'dialer';
    const signature = this.#peer.subarray(end, end + SIGNATURE_BYTES);
    const mac = this.#peer.subarray(end + SIGNATURE_BYTES);
    this.#transcript.update(this.#peer.subarray(0, end));
    const content = signed(other, this.#transcript);
    const certificate = certificateIn(this.#peer.subarray(HEAD_BYTES, end), content, signature);
    if (certificate === undefined) return doubt('the proof holds no certificate, or another one');
    this.#transcript.update(signature);
    if (!timingSafeEqual(this.#mac(other), mac)) return doubt('the MAC of the proof does not fit');
    this.#transcript.update(mac);
    const verdict = credentials.examine(certificate, nowMs());
    if (!('fault' in verdict)) return verdict;
    const { fault, node } = verdict;
    return { reason: fault, refusal: { code: 'certificate', ...(node !== undefined && { node }) } };
  }

  #mac(side: Side): Uint8Array {
    const key = this.#options.finishedKeys[side];
    return createHmac('sha256', key).update(this.#transcript.copy().digest()).digest();
  }
}

// The certificate of `bytes` when it made `signature`; whether it is good for anything else is not
// looked at. OpenSSL reads it, and throws at what is none.
function certificateIn(
  bytes: Uint8Array,
  content: Uint8Array,
  signature: Uint8Array,
): X509Certificate | undefined {
  try {
    const certificate = new X509Certificate(bytes);
    const { publicKey } = certificate;
    if (publicKey.asymmetricKeyType !== KEY_TYPE) return undefined;
    return verify(null, content, publicKey, signature) ? certificate : undefined;
  } catch {
    return undefined;
  }
}

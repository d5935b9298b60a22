/**
 * Makes certificates: the CA of a DVS, and what it signs for nodes.
 *
 * Node.js makes keys and signatures and reads certificates, but makes none, so they are put
 * together here: X.509 version 3 in DER after RFC 5280, of one fixed form, Ed25519 after RFC 8410.
 * Nothing is ever parsed here.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { randomBytes, sign, X509Certificate, type KeyObject } from 'node:crypto';

import { identityUri, type NodeIdentity } from '../proxies/identity.ts';

/** A certificate and its private key, both PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

/** From when to when a certificate is good, in ms of the wall clock; whole seconds count. */
export interface Validity {
  readonly fromMs: number;
  readonly toMs: number;
}

const Tag = {
  BOOLEAN: 0x01,
  INTEGER: 0x02,
  BIT_STRING: 0x03,
  OCTET_STRING: 0x04,
  OID: 0x06,
  UTF8_STRING: 0x0c,
  UTC_TIME: 0x17,
  GENERALIZED_TIME: 0x18,
  SEQUENCE: 0x30,
  SET: 0x31,
} as const;

const CONTEXT = 0x80;
const CONSTRUCTED = 0x20;

const Oid = {
  ed25519: [1, 3, 101, 112],
  commonName: [2, 5, 4, 3],
  organization: [2, 5, 4, 10],
  subjectKeyId: [2, 5, 29, 14],
  keyUsage: [2, 5, 29, 15],
  subjectAltName: [2, 5, 29, 17],
  basicConstraints: [2, 5, 29, 19],
  authorityKeyId: [2, 5, 29, 35],
  extendedKeyUsage: [2, 5, 29, 37],
  serverAuth: [1, 3, 6, 1, 5, 5, 7, 3, 1],
  clientAuth: [1, 3, 6, 1, 5, 5, 7, 3, 2],
} as const;

// KeyUsage is a string of bits, the first one the highest: the count of unused bits, then them.
const DIGITAL_SIGNATURE = [7, 0x80];
const SIGN_CERTIFICATES_AND_LISTS = [1, 0x06];

function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  const { length } = body;
  if (length > 0xffff) throw new RangeError('a DER value of 64 KiB or more');
  const bytes =
    length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >>> 8, length];
  return Buffer.concat([Buffer.from([tag, ...bytes]), body]);
}

function oid(parts: readonly number[]): Buffer {
  const [first = 0, second = 0, ...rest] = parts;
  const bytes = rest.flatMap((part) => (part < 128 ? [part] : [128 | (part >>> 7), part & 127]));
  return der(Tag.OID, Buffer.from([40 * first + second, ...bytes]));
}

// Years from 1950 to 2049 are written as UTCTime, later ones as GeneralizedTime.
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const isShort = digits < '2050';
  const text = Buffer.from(isShort ? digits.slice(2) : digits);
  return der(isShort ? Tag.UTC_TIME : Tag.GENERALIZED_TIME, text);
}

function name(organization: string, commonName: string): Buffer {
  const part = (type: readonly number[], value: string): Buffer =>
    der(Tag.SET, der(Tag.SEQUENCE, oid(type), der(Tag.UTF8_STRING, Buffer.from(value))));
  const parts = [part(Oid.organization, organization), part(Oid.commonName, commonName)];
  return der(Tag.SEQUENCE, ...parts);
}

const ALGORITHM = der(Tag.SEQUENCE, oid(Oid.ed25519));
const CRITICAL = der(Tag.BOOLEAN, Buffer.from([0xff]));

function extension(id: readonly number[], value: Buffer, critical = false): Buffer {
  const flag = critical ? [CRITICAL] : [];
  return der(Tag.SEQUENCE, oid(id), ...flag, der(Tag.OCTET_STRING, value));
}

// RFC 7093, method 1. The key of Ed25519 is the last 32 bytes of its SubjectPublicKeyInfo.
function keyId(publicKey: KeyObject): Buffer {
  const bits = publicKey.export({ type: 'spki', format: 'der' }).subarray(-32);
  return createHash('sha256').update(bits).digest().subarray(0, 20);
}

interface Wanted {
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly publicKey: KeyObject;
  readonly validity: Validity;
  readonly extensions: readonly Buffer[];
}

function certificate(wanted: Wanted, authority: { key: KeyObject; publicKey: KeyObject }): string {
  const { issuer, subject, publicKey, validity } = wanted;
  // A first byte from 0x40 to 0x7f: positive, and of one length.
  const serial = randomBytes(16);
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const issuerKey = der(CONTEXT, keyId(authority.publicKey));
  const extensions = [
    ...wanted.extensions,
    extension(Oid.subjectKeyId, der(Tag.OCTET_STRING, keyId(publicKey))),
    extension(Oid.authorityKeyId, der(Tag.SEQUENCE, issuerKey)),
  ];
  const body = der(
    Tag.SEQUENCE,
    der(CONTEXT | CONSTRUCTED | 0, der(Tag.INTEGER, Buffer.from([2]))),
    der(Tag.INTEGER, serial),
    ALGORITHM,
    issuer,
    der(Tag.SEQUENCE, time(validity.fromMs), time(validity.toMs)),
    subject,
    publicKey.export({ type: 'spki', format: 'der' }),
    der(CONTEXT | CONSTRUCTED | 3, der(Tag.SEQUENCE, ...extensions)),
  );
  const signature = der(Tag.BIT_STRING, Buffer.from([0]), sign(null, body, authority.key));
  return new X509Certificate(der(Tag.SEQUENCE, body, ALGORITHM, signature)).toString();
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function authorityName(dvs: string): Buffer {
  return name(dvs, 'dvk CA');
}

/** The DVS whose CA this is; undefined when it is none. */
export function dvsOfAuthority({ ca, subject }: X509Certificate): string | undefined {
  return ca ? /^O=(.+)\nCN=dvk CA$/.exec(subject)?.[1] : undefined;
}

/** The CA of a DVS: a key, and the certificate that it signs for itself. */
export function makeAuthority(dvs: string, validity: Validity): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const noDepth = der(Tag.INTEGER, Buffer.from([0]));
  const usage = der(Tag.BIT_STRING, Buffer.from(SIGN_CERTIFICATES_AND_LISTS));
  const wanted = {
    issuer: authorityName(dvs),
    subject: authorityName(dvs),
    publicKey,
    validity,
    extensions: [
      extension(Oid.basicConstraints, der(Tag.SEQUENCE, CRITICAL, noDepth), true),
      extension(Oid.keyUsage, usage, true),
    ],
  };
  return {
    certificate: certificate(wanted, { key: privateKey, publicKey }),
    key: pem(privateKey),
  };
}

/** A new key for a node, and a certificate of `authority` for it. */
export function issue(authority: KeyPair, node: NodeIdentity, validity: Validity): KeyPair {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const dvs = dvsOfAuthority(new X509Certificate(authority.certificate));
  if (dvs === undefined) throw new TypeError('the certificate is not that of a CA of dvk');
  const uri = der(CONTEXT | 6, Buffer.from(identityUri(node)));
  const wanted = {
    issuer: authorityName(dvs),
    subject: name(node.dvs, node.name),
    publicKey,
    validity,
    extensions: [
      extension(Oid.basicConstraints, der(Tag.SEQUENCE), true),
      extension(Oid.keyUsage, der(Tag.BIT_STRING, Buffer.from(DIGITAL_SIGNATURE)), true),
      extension(Oid.extendedKeyUsage, der(Tag.SEQUENCE, oid(Oid.serverAuth), oid(Oid.clientAuth))),
      extension(Oid.subjectAltName, der(Tag.SEQUENCE, uri)),
    ],
  };
  const key = createPrivateKey(authority.key);
  const signer = { key, publicKey: createPublicKey(key) };
  return { certificate: certificate(wanted, signer), key: pem(privateKey) };
}

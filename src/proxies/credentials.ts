/**
 * What a node proves itself with, and what it accepts as the certificate of another one.
 *
 * This is the one place that decides it, for every sealed transport. A node's certificate is signed
 * by the CA of its DVS and names the node in a URI, `dvk://DVS/node/ID/NAME`, as the only subject
 * alternative name. A peer is who its certificate says when the CA signed it, the time lies within
 * its validity, its serial number is not denied, and the URI has that form and names this DVS.
 */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import { parseIdentity, type NodeIdentity, type PeerCertificate } from './identity.ts';

/** A certificate that was refused. `node` is whom it speaks for, when the CA did sign it. */
export interface CertificateFault {
  readonly fault: string;
  readonly node?: number;
}

/** The contents of a node's files: PEM, and the deny list. */
export interface CredentialTexts {
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** A serial number a line; `#` begins a comment. */
  readonly denied: string;
}

/** Where these are. */
export type CredentialFiles = CredentialTexts;

/** Of every key in a certificate. */
export const KEY_TYPE = 'ed25519';
/** In DER; those of `dvk init` have some 500. */
export const CERTIFICATE_BYTES_MAX = 4096;
const URI_PREFIX = 'URI:';
const SHOWN_MAX = 80;

/** Whom a certificate names; undefined when it is no node's. Nothing else of it is checked. */
export function identityOf(certificate: X509Certificate): NodeIdentity | undefined {
  const names = certificate.subjectAltName ?? '';
  return names.startsWith(URI_PREFIX) ? parseIdentity(names.slice(URI_PREFIX.length)) : undefined;
}

/** The serial number in the form of the deny list. */
export function serialOf(certificate: X509Certificate): string {
  return normalSerial(certificate.serialNumber);
}

function normalSerial(text: string): string {
  return text.toUpperCase().replace(/^0+(?=.)/, '');
}

/** Reads a deny list. Throws an Error that names the line when one is no serial number. */
export function parseDenied(text: string): Set<string> {
  const serials = text.split('\n').map((line) => line.replace(/#.*/, '').trim());
  const wrong = serials.findIndex((serial) => !/^[0-9A-Fa-f]*$/.test(serial));
  if (wrong >= 0) {
    throw new Error(`line ${wrong + 1} of the deny list is no serial number in hexadecimal`);
  }
  return new Set(serials.filter((serial) => serial !== '').map(normalSerial));
}

// What a stranger wrote goes to logs and terminals.
function shown(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]/g, ' ').slice(0, SHOWN_MAX);
}

function day(timeMs: number): string {
  return new Date(timeMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** What a node proves itself with, and what it holds peers against. */
export class Credentials {
  readonly texts: CredentialTexts;
  /** Who this node is. */
  readonly self: PeerCertificate;
  readonly certificate: X509Certificate;
  readonly key: KeyObject;
  readonly #ca: X509Certificate;
  readonly #denied: ReadonlySet<string>;

  /**
   * Throws an Error that says what is wrong when a text cannot be read, the key is of another
   * certificate, or this node's own certificate would be refused.
   */
  constructor(texts: CredentialTexts, nowMs: number) {
    this.texts = texts;
    this.#ca = new X509Certificate(texts.ca);
    this.#denied = parseDenied(texts.denied);
    this.certificate = new X509Certificate(texts.certificate);
    this.key = createPrivateKey(texts.key);
    if (!this.certificate.checkPrivateKey(this.key)) {
      throw new Error('the key is not that of the certificate');
    }
    const isTaken = this.certificate.raw.length <= CERTIFICATE_BYTES_MAX;
    if (this.key.asymmetricKeyType !== KEY_TYPE || !isTaken) {
      const most = `${CERTIFICATE_BYTES_MAX} bytes`;
      throw new Error(`the certificate is not of a key of ${KEY_TYPE}, or has more than ${most}`);
    }
    const own = identityOf(this.certificate);
    const verdict = this.#judge(this.certificate, own?.dvs ?? '', nowMs);
    if ('fault' in verdict) throw new Error(verdict.fault);
    this.self = verdict;
  }

  /** Whether the certificate of a peer is accepted now, and whom it speaks for. */
  examine(
    certificate: X509Certificate | undefined,
    nowMs: number,
  ): PeerCertificate | CertificateFault {
    if (certificate === undefined) return { fault: 'the peer showed no certificate' };
    return this.#judge(certificate, this.self.dvs, nowMs);
  }

  /** Why a certificate that was accepted once is accepted no more; undefined when it still is. */
  expired(peer: PeerCertificate, nowMs: number): string | undefined {
    return this.#outdated(peer, Number.NEGATIVE_INFINITY, nowMs);
  }

  #judge(
    certificate: X509Certificate,
    dvs: string,
    nowMs: number,
  ): PeerCertificate | CertificateFault {
    const serial = serialOf(certificate);
    if (nowMs < Date.parse(this.#ca.validFrom) || nowMs >= Date.parse(this.#ca.validTo)) {
      const range = `from ${this.#ca.validFrom} to ${this.#ca.validTo}`;
      return { fault: `the CA of this DVS is good only ${range}; make all anew with \`dvk init\`` };
    }
    if (!certificate.checkIssued(this.#ca) || !certificate.verify(this.#ca.publicKey)) {
      const issuer = shown(certificate.issuer);
      const what = `the certificate with serial ${serial} was made by another CA (${issuer})`;
      return { fault: `${what}; nodes of one DVS need certificates of one \`dvk init\`` };
    }
    const who = identityOf(certificate);
    if (who === undefined || certificate.ca) {
      return { fault: `the certificate with serial ${serial} is not that of a node` };
    }
    const peer = { ...who, serial, notAfterMs: Date.parse(certificate.validTo) };
    const outdated = this.#outdated(peer, Date.parse(certificate.validFrom), nowMs);
    if (outdated !== undefined) return { fault: outdated, node: who.node };
    if (who.dvs === dvs) return peer;
    return { fault: `the certificate is for node ${who.node} of DVS ${who.dvs}, not ${dvs}` };
  }

  #outdated(peer: PeerCertificate, notBeforeMs: number, nowMs: number): string | undefined {
    const { serial, node, notAfterMs } = peer;
    const which = `the certificate of node ${node} (${peer.name}, serial ${serial})`;
    if (this.#denied.has(serial)) {
      return `${which} is on the deny list; \`dvk cert issue ${node}\` makes another`;
    }
    if (!(nowMs < notAfterMs)) {
      return `${which} expired at ${day(notAfterMs)}; \`dvk cert issue ${node}\` makes another`;
    }
    if (nowMs >= notBeforeMs) return undefined;
    return `${which} is valid only from ${day(notBeforeMs)}; compare the clocks of both machines`;
  }
}

function readText(path: string, secret: boolean): string {
  const fd = openSync(path, 'r');
  try {
    // Others who can read the key can be this node.
    if (secret && (fstatSync(fd).mode & 0o077) !== 0) {
      throw new Error('others may read it; chmod 600');
    }
    return readFileSync(fd, 'utf8');
  } finally {
    closeSync(fd);
  }
}

/** Reads a node's files. Throws an Error that names the file and what is wrong with it. */
export function readCredentials(files: CredentialFiles, nowMs: number): Credentials {
  const read = (path: string, secret = false): string => {
    try {
      return readText(path, secret);
    } catch (error) {
      throw new Error(`${path}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  };
  const texts = {
    ca: read(files.ca),
    certificate: read(files.certificate),
    key: read(files.key, true),
    denied: read(files.denied),
  };
  try {
    return new Credentials(texts, nowMs);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${files.certificate}: ${why}`, { cause: error });
  }
}

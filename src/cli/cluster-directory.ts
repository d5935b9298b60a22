/**
 * The certificates of a DVS: its CA, one for each node, and those that are denied.
 *
 *   DIRECTORY/
 *     ca.crt             certificate of the CA; every node needs it
 *     ca.key             its key; needed to issue, and by no running node
 *     denied             serial numbers that are refused, one a line; every node needs it
 *     node<N>/node.crt   certificate of node N
 *     node<N>/node.key   its key
 *
 * Folders have mode 0700 and files 0600. Files are replaced by rename. Nothing here is ever written
 * over unless that was asked for.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

import { identityOf, parseDenied, serialOf } from '../proxies/credentials.ts';
import type { CredentialFiles } from '../proxies/credentials.ts';
import type { NodeIdentity } from '../proxies/identity.ts';
import { CliError } from './output.ts';
import { dvsOfAuthority, issue, makeAuthority, type KeyPair, type Validity } from './x509.ts';

const DAY_MS = 86_400_000;
// Clocks of nodes differ; a new certificate must be good everywhere at once.
const SKEW_MS = 3_600_000;
const AUTHORITY_DAYS = 3650;
export const NODE_DAYS = 365;
/** Certificates that end within this time are pointed out. */
const SOON_MS = 30 * DAY_MS;

export type CertificateState = 'good' | 'ending' | 'expired' | 'early' | 'denied' | 'foreign';

export interface CertificateReport {
  /** `ca` or `node`. */
  readonly kind: 'ca' | 'node';
  /** Number of the node; null for the CA. */
  readonly node: number | null;
  /** Name of the node; of the CA, that of the DVS. */
  readonly name: string;
  /** `foreign`: not of this CA, or not for this node. */
  readonly state: CertificateState;
  readonly serial: string;
  /** Begin and end of the validity, in ms of the wall clock. */
  readonly since: number;
  readonly until: number;
  readonly file: string;
}

/** Where `dvk init` puts a DVS's certificates, and where `dvk up` looks for them. */
export function defaultDirectory(dvs: string, environment: NodeJS.ProcessEnv): string {
  const chosen = environment['DVK_CLUSTER_DIR'] ?? '';
  if (chosen !== '') return join(chosen, dvs);
  if (process.getuid?.() === 0) return join('/etc/dvk', dvs);
  const home = environment['XDG_CONFIG_HOME'] ?? '';
  return join(home === '' ? join(homedir(), '.config') : home, 'dvk', dvs);
}

function validity(days: number): Validity {
  const nowMs = Date.now();
  return { fromMs: nowMs - SKEW_MS, toMs: nowMs + days * DAY_MS };
}

function place(path: string, text: string): void {
  const temporary = `${path}.${String(process.pid)}`;
  writeFileSync(temporary, text, { mode: 0o600, flag: 'wx' });
  renameSync(temporary, path);
}

export class ClusterDirectory {
  readonly root: string;
  readonly #ca: string;
  readonly #caKey: string;
  readonly #denied: string;

  constructor(root: string) {
    this.root = root;
    this.#ca = join(root, 'ca.crt');
    this.#caKey = join(root, 'ca.key');
    this.#denied = join(root, 'denied');
  }

  get exists(): boolean {
    return existsSync(this.#ca) || existsSync(this.#caKey);
  }

  /** The files of a node, whether they are there or not. */
  files(node: number): CredentialFiles {
    const directory = join(this.root, `node${String(node)}`);
    return {
      ca: this.#ca,
      denied: this.#denied,
      certificate: join(directory, 'node.crt'),
      key: join(directory, 'node.key'),
    };
  }

  /** Makes the CA. Throws a CliError when there is one. */
  create(dvs: string): void {
    if (this.exists) {
      throw new CliError(
        `${this.root} has a CA already, and nodes trust it`,
        'New certificates for the nodes: dvk init --renew. Another DVS: dvk init --name NAME.',
      );
    }
    mkdirSync(this.root, { recursive: true, mode: 0o700 });
    const made = makeAuthority(dvs, validity(AUTHORITY_DAYS));
    place(this.#caKey, made.key);
    place(this.#denied, '# Serial numbers of certificates that are refused, one a line.\n');
    place(this.#ca, made.certificate);
  }

  /** The DVS that the CA is for. Throws a CliError when there is no CA, or it cannot be read. */
  dvs(): string {
    const dvs = dvsOfAuthority(this.#read(this.#ca));
    if (dvs === undefined) throw new CliError(`${this.#ca} is not the certificate of a CA of dvk`);
    return dvs;
  }

  /** Makes a certificate for a node in place of the one that it has. Returns the new one. */
  issue(node: { id: number; name: string }, days: number): CertificateReport {
    const files = this.files(node.id);
    const identity = { dvs: this.dvs(), node: node.id, name: node.name };
    const made = issue(this.#authority(), identity, validity(days));
    mkdirSync(join(files.key, '..'), { recursive: true, mode: 0o700 });
    place(files.key, made.key);
    place(files.certificate, made.certificate);
    return this.report(node.id);
  }

  #authority(): KeyPair {
    const certificate = this.#read(this.#ca);
    let key: string;
    try {
      key = readFileSync(this.#caKey, 'utf8');
    } catch (error) {
      throw new CliError(
        `the key of the CA cannot be read: ${textOf(error)}`,
        'Issue certificates where `dvk init` was run, and copy them here.',
      );
    }
    if (certificate.checkPrivateKey(createPrivateKey(key))) {
      return { certificate: certificate.toString(), key };
    }
    throw new CliError(`${this.#caKey} is not the key of ${this.#ca}`);
  }

  /** Numbers of the nodes that have certificates here, in rising order. */
  nodes(): number[] {
    if (!existsSync(this.root)) return [];
    return readdirSync(this.root)
      .flatMap((entry) => /^node(\d{1,4})$/.exec(entry)?.[1] ?? [])
      .map(Number)
      .filter((node) => existsSync(this.files(node).certificate))
      .sort((a, b) => a - b);
  }

  /** The CA, then the nodes. */
  reports(): CertificateReport[] {
    const certificate = this.#read(this.#ca);
    const ca = this.#reportOf(certificate, this.#ca, { kind: 'ca', node: null, name: this.dvs() });
    return [ca, ...this.nodes().map((node) => this.report(node))];
  }

  report(node: number): CertificateReport {
    const file = this.files(node).certificate;
    const certificate = this.#read(file);
    const who = identityOf(certificate);
    const subject = { kind: 'node', node, name: who?.name ?? '?' } as const;
    const report = this.#reportOf(certificate, file, subject);
    return this.#isOurs(certificate, who, node) ? report : { ...report, state: 'foreign' };
  }

  #isOurs(certificate: X509Certificate, who: NodeIdentity | undefined, node: number): boolean {
    const ca = this.#read(this.#ca);
    const isSigned = certificate.checkIssued(ca) && certificate.verify(ca.publicKey);
    return isSigned && who?.node === node && who.dvs === this.dvs();
  }

  #reportOf(
    certificate: X509Certificate,
    file: string,
    subject: Pick<CertificateReport, 'kind' | 'node' | 'name'>,
  ): CertificateReport {
    const since = Date.parse(certificate.validFrom);
    const until = Date.parse(certificate.validTo);
    const serial = serialOf(certificate);
    const nowMs = Date.now();
    let state: CertificateState = nowMs >= until - SOON_MS ? 'ending' : 'good';
    if (nowMs < since) state = 'early';
    if (nowMs >= until) state = 'expired';
    if (this.denied().has(serial)) state = 'denied';
    return { ...subject, state, serial, since, until, file };
  }

  /** Serial numbers that are refused. */
  denied(): Set<string> {
    try {
      return parseDenied(readFileSync(this.#denied, 'utf8'));
    } catch (error) {
      throw new CliError(`${this.#denied}: ${textOf(error)}`, 'Correct that file.');
    }
  }

  /** Refuses a certificate from now on. Returns false when it is refused already. */
  deny(serial: string, remark: string): boolean {
    if (this.denied().has(serial)) return false;
    const text = readFileSync(this.#denied, 'utf8');
    place(this.#denied, `${text.replace(/\n?$/, '\n')}${serial} # ${remark}\n`);
    return true;
  }

  #read(path: string): X509Certificate {
    try {
      return new X509Certificate(readFileSync(path));
    } catch (error) {
      throw new CliError(
        `the certificate ${path} cannot be read: ${textOf(error)}`,
        this.exists ? 'Make it anew with `dvk cert issue`.' : 'Make certificates with `dvk init`.',
      );
    }
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Certificates of a DVS `lab`, for tests of sealed links. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Credentials } from '../../src/proxies/credentials.ts';
import type { CredentialFiles, CredentialTexts } from '../../src/proxies/credentials.ts';
import type { NodeIdentity } from '../../src/proxies/identity.ts';
import { issue, makeAuthority, type KeyPair, type Validity } from '../../src/cli/x509.ts';

const DAY_MS = 86_400_000;

/** From one day before now to one day after, moved by `days`. */
export function around(days = 0): Validity {
  const nowMs = Date.now() + days * DAY_MS;
  return { fromMs: nowMs - DAY_MS, toMs: nowMs + DAY_MS };
}

export class TestAuthority {
  readonly pair: KeyPair;
  readonly dvs: string;

  constructor(dvs = 'lab', validity: Validity = around()) {
    this.dvs = dvs;
    this.pair = makeAuthority(dvs, validity);
  }

  /** The files of a node called `n` and its number. */
  texts(
    node: number,
    options: { validity?: Validity; identity?: Partial<NodeIdentity>; denied?: string } = {},
  ): CredentialTexts {
    const identity = { dvs: this.dvs, node, name: `n${node}`, ...options.identity };
    const made = issue(this.pair, identity, options.validity ?? around());
    return { ca: this.pair.certificate, ...made, denied: options.denied ?? '' };
  }

  credentials(node: number, options: { denied?: string } = {}): Credentials {
    return new Credentials(this.texts(node, options), Date.now());
  }
}

/** Writes a node's files, and tells where they are. */
export function writeCredentials(directory: string, texts: CredentialTexts): CredentialFiles {
  const write = (name: keyof CredentialTexts): string => {
    const path = join(directory, name);
    writeFileSync(path, texts[name], { mode: 0o600 });
    return path;
  };
  return {
    ca: write('ca'),
    certificate: write('certificate'),
    key: write('key'),
    denied: write('denied'),
  };
}

// The certificates that dvk makes, as others see them: Node's own reader, which is OpenSSL's, and
// the openssl program as an independent judge.
import { spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProgram } from '../../../src/cli/programs.ts';
import { issue, makeAuthority } from '../../../src/cli/x509.ts';

const DAY_MS = 86_400_000;
const NODE = { dvs: 'lab', node: 7, name: 'seven' };

function around(nowMs: number): { fromMs: number; toMs: number } {
  return { fromMs: nowMs - DAY_MS, toMs: nowMs + DAY_MS };
}

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'dvk-x509-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

function write(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('a certificate of a node', () => {
  it('is signed by its CA, names the node, and can sign no other', () => {
    const authority = makeAuthority('lab', around(Date.now()));
    const made = new X509Certificate(issue(authority, NODE, around(Date.now())).certificate);
    const ca = new X509Certificate(authority.certificate);

    expect(made.checkIssued(ca)).toBe(true);
    expect(made.verify(ca.publicKey)).toBe(true);
    expect(made.subjectAltName).toBe('URI:dvk://lab/node/7/seven');
    expect(made.subject).toBe('O=lab\nCN=seven');
    expect([made.ca, ca.ca]).toEqual([false, true]);
    expect(made.serialNumber).toMatch(/^[4-7][0-9A-F]{31}$/);
    expect(made.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  });

  it.each([2030, 2049, 2050, 2199])('keeps its times to the second, in %i too', (year) => {
    const validity = { fromMs: Date.UTC(year, 0, 2, 3, 4, 5), toMs: Date.UTC(year, 11, 31, 23) };
    const authority = makeAuthority('lab', validity);

    const made = new X509Certificate(issue(authority, NODE, validity).certificate);

    expect(Date.parse(made.validFrom)).toBe(validity.fromMs);
    expect(Date.parse(made.validTo)).toBe(validity.toMs);
  });

  it('has a key of its own and a serial number of its own each time', () => {
    const authority = makeAuthority('lab', around(Date.now()));
    const all = Array.from({ length: 20 }, () => issue(authority, NODE, around(Date.now())));

    const serials = all.map((one) => new X509Certificate(one.certificate).serialNumber);

    expect(new Set(serials).size).toBe(20);
    expect(new Set(all.map(({ key }) => key)).size).toBe(20);
  });

  it('is good in the eyes of the openssl program, for both ends of TLS', (ctx) => {
    const openssl = findProgram('openssl');
    if (openssl === undefined) return ctx.skip('needs openssl (apt install openssl)');
    const authority = makeAuthority('lab', around(Date.now()));
    const ca = write('ca.crt', authority.certificate);
    const node = write('node.crt', issue(authority, NODE, around(Date.now())).certificate);
    const verify = (...args: string[]): string => {
      const result = spawnSync(openssl, ['verify', '-x509_strict', ...args], { encoding: 'utf8' });
      return `${result.stdout}${result.stderr}`;
    };

    expect(verify('-CAfile', ca, '-purpose', 'sslserver', node)).toBe(`${node}: OK\n`);
    expect(verify('-CAfile', ca, '-purpose', 'sslclient', node)).toBe(`${node}: OK\n`);
    expect(verify('-CAfile', ca, ca)).toBe(`${ca}: OK\n`);
    const other = write('other.crt', makeAuthority('lab', around(Date.now())).certificate);
    expect(verify('-CAfile', other, node)).toContain('verification failed');
    expect(verify('-CAfile', node, node)).toContain('verification failed');
  });
});

// Who a certificate speaks for: the form of its name, what is close to it and is not it, and the
// deny list.
import { describe, expect, it } from 'vitest';
import { Credentials, parseDenied } from '../../../src/proxies/credentials.ts';
import { identityUri, impersonation, parseIdentity } from '../../../src/proxies/identity.ts';
import { around, TestAuthority } from '../../support/certificates.ts';

describe('the name of a node', () => {
  it.each([0, 1, 10, 1023])('is read as it was written (%i)', (node) => {
    const identity = { dvs: 'lab-2', node, name: 'n_1' };

    expect(parseIdentity(identityUri(identity))).toEqual(identity);
  });

  it.each([
    '',
    'dvk://lab/node/1',
    'dvk://lab/node/01/n',
    'dvk://lab/node/-1/n',
    'dvk://lab/node/1024/n',
    'dvk://lab/node/1/n, URI:dvk://lab/node/0/n',
    'dvk://lab/node/1/n\n',
    'dvk://lab/node/1/n/',
    'dvk://l b/node/1/n',
    'dvk://lab/node/1/a-name-of-16-cha',
    'https://lab/node/1/n',
    'DVK://lab/node/1/n',
  ])('is nothing else (%j)', (uri) => {
    expect(parseIdentity(uri)).toBeUndefined();
  });

  it('is compared with the node that is expected, and with its name where that is known', () => {
    const peer = { dvs: 'lab', node: 1, name: 'n1' };

    expect(impersonation(peer, { node: 1, name: 'n1' })).toBeUndefined();
    expect(impersonation(peer, { node: 1, name: undefined })).toBeUndefined();
    expect(impersonation(peer, { node: 2, name: 'n1' })).toContain('speaks for node 2');
    expect(impersonation(peer, { node: 1, name: 'other' })).toContain('called other here');
  });
});

describe('the deny list', () => {
  it('has a serial number a line, in either case, with remarks', () => {
    const denied = parseDenied('# none\n\n 00ab12 # lost\nFF\r\n');

    expect([...denied]).toEqual(['AB12', 'FF']);
  });

  it('is refused as a whole when a line cannot be read, so that nobody slips through', () => {
    expect(() => parseDenied('AB\nnode 2\n')).toThrow('line 2 of the deny list');
  });
});

describe('credentials', () => {
  it('are those of their own node at each moment of their time, and of no other moment', () => {
    const validity = around();
    const { fromMs, toMs } = validity;
    // Certificates have whole seconds, and the clock may pass one on the way.
    const authority = new TestAuthority('lab', { fromMs: fromMs - 5000, toMs: toMs + 5000 });
    const texts = authority.texts(3, { validity });
    const at = (ms: number): Credentials => new Credentials(texts, ms);
    const first = Math.ceil(validity.fromMs / 1000) * 1000;
    const last = Math.floor(validity.toMs / 1000) * 1000;

    expect(at(first).self).toMatchObject({ dvs: 'lab', node: 3, name: 'n3' });
    expect(at(last - 1).self.notAfterMs).toBe(last);
    expect(() => at(last)).toThrow(/expired at|is good only/);
    expect(() => at(first - 2000)).toThrow(/valid only from|is good only/);
  });

  it('accept no certificate when their CA has ended', () => {
    const authority = new TestAuthority('lab', around(-1));
    const texts = authority.texts(3);

    const endMs = around(-1).toMs;
    expect(() => new Credentials(texts, endMs + 1000)).toThrow('the CA of this DVS is good only');
  });
});

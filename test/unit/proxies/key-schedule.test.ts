// The keys of sealed datagrams against the vectors of the RFCs that they follow.
import { hkdfSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { EpochCipher, expand, expandLabel, extract } from '../../../src/proxies/key-schedule.ts';

const bytes = (hex: string): Uint8Array => Buffer.from(hex, 'hex');
const hex = (from: Uint8Array): string => Buffer.from(from).toString('hex');

// RFC 5869, appendices A.1 to A.3; of the output, the first 32 bytes.
const HKDF = [
  {
    secret: '0b'.repeat(22),
    salt: '000102030405060708090a0b0c',
    info: 'f0f1f2f3f4f5f6f7f8f9',
    key: '077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5',
    output: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf',
  },
  {
    secret: '0b'.repeat(22),
    salt: '',
    info: '',
    key: '19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04',
    output: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d',
  },
];

// RFC 9001, appendix A.1: what follows from the secrets of a client's first packets.
const CLIENT_SECRET = 'c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea';
const LABELS = [
  ['tls13 quic key', 16, '1f369613dd76d5467730efcbe3b1a22d'],
  ['tls13 quic iv', 12, 'fa044b2f42a3fd3b46fb255c'],
  ['tls13 quic hp', 16, '9f50449e04a0e810283a1e9933adedd2'],
] as const;

describe('the key schedule', () => {
  it.each(HKDF)('extracts and expands as RFC 5869 does ($output)', (vector) => {
    const key = extract(bytes(vector.salt), bytes(vector.secret));

    expect(hex(key)).toBe(vector.key);
    expect(hex(expand(key, bytes(vector.info), 32))).toBe(vector.output);
  });

  it('does what node:crypto does', () => {
    const [secret, salt, info] = [bytes('01'.repeat(40)), bytes('02'.repeat(9)), bytes('03')];

    const expected = Buffer.from(hkdfSync('sha256', secret, salt, info, 20));

    expect(hex(expand(extract(salt, secret), info, 20))).toBe(hex(expected));
  });

  it('makes secrets of labels as RFC 9001 does', () => {
    const salt = bytes('38762cf7f55934b34d179ae6a4c80cadccbb7f0a');
    const initial = extract(salt, bytes('8394c8f03e515708'));

    expect(hex(initial)).toBe('7db5df06e7a69e432496adedb00851923595221596ae2ae9fb8115c1e9ed0a44');
    expect(hex(expandLabel(initial, 'tls13 client in', 32))).toBe(CLIENT_SECRET);
    for (const [label, count, expected] of LABELS) {
      expect(hex(expandLabel(bytes(CLIENT_SECRET), label, count))).toBe(expected);
    }
  });

  it('renews a secret as RFC 9001 does', () => {
    // Appendix A.5.
    const secret = '9ac312a7f877468ebe69422748ad00a15443f18203a07d6060f688f30f21632b';
    const renewed = '1223504755036d556342ee9361d253421a826c9ecdf3c7148684b36b714881f9';

    expect(hex(expandLabel(bytes(secret), 'tls13 quic ku', 32))).toBe(renewed);
  });
});

describe('the keys of an epoch', () => {
  it('open what they have sealed, and nothing of another epoch or secret', () => {
    const ours = new EpochCipher(Buffer.alloc(32, 1));
    const theirs = new EpochCipher(Buffer.alloc(32, 1));
    const others = new EpochCipher(Buffer.alloc(32, 2));
    const packet = Buffer.alloc(100, 5);
    ours.seal(packet, 16, 9);

    expect(others.open(Buffer.from(packet), 16, 9)).toBe(false);
    expect(theirs.next().open(Buffer.from(packet), 16, 9)).toBe(false);
    expect(theirs.open(packet, 16, 9)).toBe(true);
    expect(packet.subarray(0, 84).every((byte) => byte === 5)).toBe(true);
  });

  it('are gone when they are erased', () => {
    const secret = Buffer.alloc(32, 1);
    const keys = new EpochCipher(secret);
    const packet = Buffer.alloc(100, 5);
    keys.seal(packet, 16, 9);
    keys.erase();

    expect(secret.every((byte) => byte === 0)).toBe(true);
    expect(keys.open(packet, 16, 9)).toBe(false);
  });
});

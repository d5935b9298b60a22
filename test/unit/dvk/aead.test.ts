// The packet cipher against the test cases of its specification, against node:crypto, and against
// whoever changes a bit.
import { createCipheriv, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AEAD_TAG_BYTES,
  aeadForget,
  aeadOpen,
  aeadOpenInto,
  aeadSeal,
  aeadSealFrom,
} from '../../../src/dvk/aead.ts';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');

function sealed(secret: Uint8Array, head: Uint8Array, body: Uint8Array, number = 0): Uint8Array {
  const packet = Buffer.concat([head, body, new Uint8Array(AEAD_TAG_BYTES)]);
  aeadSeal(secret, packet, head.length, number);
  return packet.subarray(head.length);
}

// Of "The Galois/Counter Mode of Operation", McGrew and Viega, appendix B.
const CASES = [
  {
    name: 'test case 13',
    key: '00'.repeat(32),
    iv: '00'.repeat(12),
    head: '',
    body: '',
    sealed: '530f8afbc74536b9a963b4f1c4cb738b',
  },
  {
    name: 'test case 14',
    key: '00'.repeat(32),
    iv: '00'.repeat(12),
    head: '',
    body: '00'.repeat(16),
    sealed: 'cea7403d4d606b6e074ec5d3baf39d18 d0d1c8a799996bf0265b98b5d48ab919',
  },
  {
    name: 'test case 16',
    key: 'feffe9928665731c6d6a8f9467308308'.repeat(2),
    iv: 'cafebabefacedbaddecaf888',
    head: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
    body: `d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
           1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39`,
    sealed: `522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662
             76fc6ece0f4e1768cddf8853bb2d551b`,
  },
];

describe('the packet cipher', () => {
  it.each(CASES)('gives what $name says', ({ key, iv, head, body, sealed: expected }) => {
    const got = sealed(hex(key + iv), hex(head), hex(body));

    expect(Buffer.from(got).toString('hex')).toBe(Buffer.from(hex(expected)).toString('hex'));
  });

  it('makes the nonce of a number as RFC 9001 says', () => {
    // Appendix A.5: iv, packet number and nonce.
    const iv = hex('e0459b3474bdd0e44a41c144');
    const nonce = hex('e0459b3474bdd0e46d417eb0');
    const key = randomBytes(32);
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    const body = cipher.update(hex('01'));
    cipher.final();

    const got = sealed(Buffer.concat([key, iv]), new Uint8Array(0), hex('01'), 654360564);

    expect(Buffer.from(got)).toEqual(Buffer.concat([body, cipher.getAuthTag()]));
  });

  it('gives what node:crypto gives, and opens it again', () => {
    const bytes = (maxLength: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength });
    const secretOf = (length: number): fc.Arbitrary<Uint8Array> =>
      fc.uint8Array({ minLength: length, maxLength: length });
    fc.assert(
      fc.property(
        fc.oneof(secretOf(44), secretOf(28)),
        bytes(40),
        bytes(3000),
        fc.maxSafeNat(),
        (secret, head, body, number) => {
          const keyBytes = secret.length - 12;
          const nonce = Buffer.from(secret.subarray(keyBytes));
          nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ BigInt(number), 4);
          const name = keyBytes === 32 ? 'aes-256-gcm' : 'aes-128-gcm';
          const cipher = createCipheriv(name, secret.subarray(0, keyBytes), nonce);
          cipher.setAAD(head);
          const enciphered = Buffer.concat([cipher.update(body), cipher.final()]);
          const expected = Buffer.concat([head, enciphered, cipher.getAuthTag()]);
          const packet = Buffer.concat([head, body, new Uint8Array(AEAD_TAG_BYTES)]);

          aeadSeal(secret, packet, head.length, number);
          const other = Buffer.concat([head, Buffer.alloc(body.length + AEAD_TAG_BYTES, 5)]);
          aeadSealFrom(secret, other, head.length, { number, body });

          expect(packet).toEqual(expected);
          expect(other).toEqual(expected);
          const opened = Buffer.alloc(body.length);
          expect(aeadOpenInto(secret, other, head.length, { number, body: opened })).toBe(true);
          expect(opened).toEqual(Buffer.from(body));
          expect(other).toEqual(expected);
          expect(aeadOpen(secret, packet, head.length, number)).toBe(true);
          expect(packet.subarray(0, -AEAD_TAG_BYTES)).toEqual(Buffer.concat([head, body]));
        },
      ),
      { seed: 20, numRuns: 300 },
    );
  });

  it('opens nothing with a bit changed, another number or another key', () => {
    const secret = randomBytes(44);
    const packet = Buffer.concat([randomBytes(56), new Uint8Array(AEAD_TAG_BYTES)]);
    aeadSeal(secret, packet, 16, 7);

    for (let bit = 0; bit < 8 * packet.length; bit++) {
      const changed = Buffer.from(packet);
      changed[bit >>> 3] = (changed[bit >>> 3] ?? 0) ^ (1 << (bit & 7));
      const body = new Uint8Array(40);
      expect(aeadOpenInto(secret, changed, 16, { number: 7, body })).toBe(false);
      expect(aeadOpen(secret, changed, 16, 7)).toBe(false);
    }
    expect(aeadOpen(secret, Buffer.from(packet), 16, 8)).toBe(false);
    expect(aeadOpen(randomBytes(44), Buffer.from(packet), 16, 7)).toBe(false);
    expect(aeadOpen(secret, Buffer.from(packet), 15, 7)).toBe(false);
    expect(aeadOpen(secret, packet, 16, 7)).toBe(true);
  });

  it('gives the same with more keys than are kept, and with one that was forgotten', () => {
    const secrets = Array.from({ length: 50 }, (_, i) => new Uint8Array(i % 2 ? 44 : 28).fill(i));
    const head = new Uint8Array(16);
    const all = (number: number): Uint8Array[] =>
      secrets.map((secret) => sealed(secret, head, head, number));
    const before = all(1);

    for (const secret of secrets.slice(10, 20)) aeadForget(secret);
    all(2);

    expect(all(1)).toEqual(before);
    expect(new Set(before.map((bytes) => Buffer.from(bytes).toString('hex'))).size).toBe(50);
    expect(() => {
      aeadForget(new Uint8Array(32));
    }).toThrow(RangeError);
  });

  it('refuses impossible arguments', () => {
    const [secret, packet] = [new Uint8Array(44), new Uint8Array(40)];
    const refused = RangeError;

    expect(() => aeadSeal(new Uint8Array(43), packet, 16, 0)).toThrow(refused);
    expect(() => aeadSeal(secret, packet, 25, 0)).toThrow(refused);
    for (const number of [-1, 0.5, 2 ** 53, Number.NaN]) {
      expect(() => aeadSeal(secret, packet, 16, number)).toThrow(refused);
      expect(() => aeadOpen(secret, packet, 16, number)).toThrow(refused);
    }
    expect(() => aeadOpen(secret, new Uint8Array(15), 0, 0)).toThrow(refused);
    for (const bytes of [0, 7, 9]) {
      const body = new Uint8Array(bytes);
      expect(() => aeadSealFrom(secret, packet, 16, { number: 0, body })).toThrow(refused);
      expect(() => aeadOpenInto(secret, packet, 16, { number: 0, body })).toThrow(refused);
    }
    expect(() => aeadSeal('x' as never, packet, 16, 0)).toThrow(TypeError);
  });
});

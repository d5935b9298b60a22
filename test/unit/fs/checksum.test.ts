import { describe, expect, it } from 'vitest';
import { CRC_START, crc16, crc32c, crcAround } from '../../../src/servers/fs/ext4/checksum.ts';
import { pattern } from '../../support/trees.ts';

const digits = Buffer.from('123456789');

/** One bit a step, straight from the definition. */
function slowCrc32c(data: Uint8Array, seed: number): number {
  let crc = seed;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc >>> 0;
}

describe('crc32c', () => {
  it('gives the check value of the polynomial', () => {
    expect(~crc32c(digits, CRC_START) >>> 0).toBe(0xe3069283);
  });

  it('gives the values of RFC 3720, appendix B.4', () => {
    expect(~crc32c(new Uint8Array(32), CRC_START) >>> 0).toBe(0x8a9136aa);
    expect(~crc32c(new Uint8Array(32).fill(0xff), CRC_START) >>> 0).toBe(0x62a8ab43);
    const ascending = Uint8Array.from({ length: 32 }, (_, index) => index);
    expect(~crc32c(ascending, CRC_START) >>> 0).toBe(0x46dd794e);
  });

  it('equals the bitwise definition at every length and alignment', () => {
    const data = pattern(100, 1);
    for (let start = 0; start < 9; start++) {
      for (let end = start; end <= data.length; end++) {
        const part = data.subarray(start, end);
        expect(crc32c(part, start * 77)).toBe(slowCrc32c(part, start * 77));
      }
    }
  });

  it('chains over parts', () => {
    const data = pattern(1000, 2);
    const first = crc32c(data.subarray(0, 333), 5);
    expect(crc32c(data.subarray(333), first)).toBe(crc32c(data, 5));
  });
});

describe('crcAround', () => {
  it('takes the four bytes at the hole as zero', () => {
    const data = pattern(64, 3);
    const cleared = data.slice();
    cleared.fill(0, 16, 20);
    expect(crcAround(crc32c, data, 16, 9)).toBe(crc32c(cleared, 9));
  });
});

describe('crc16', () => {
  it('gives the check value of the polynomial with the start 0xFFFF', () => {
    expect(crc16(digits, 0xffff)).toBe(0x4b37);
  });
});

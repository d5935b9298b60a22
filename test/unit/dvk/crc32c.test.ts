// CRC32C against known values, and each way that a CPU has against the tables.
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../../src/dvk/index.ts';
import { native } from '../../../src/dvk/native.ts';

function ascending(bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => i & 0xff);
}

describe('crc32c', () => {
  it('gives the values of RFC 3720', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(ascending(32))).toBe(0x46dd794e);
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(0))).toBe(0);
  });

  it('goes on from a checksum', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.nat(2000), (data, at) => {
        const first = crc32c(data.subarray(0, at));
        expect(crc32c(data.subarray(at), first)).toBe(crc32c(data));
      }),
    );
  });

  it('gives the same in every way, at every length and alignment', () => {
    const addon = native();
    const data = ascending(40_000).map((byte, i) => byte ^ (i >>> 8));
    const lengths = [
      0, 1, 7, 8, 9, 255, 256, 767, 768, 769, 1023, 1024, 1025, 1279, 1280, 1281, 1535, 4096,
      12_287, 12_288, 12_289, 30_001,
    ];

    for (const length of lengths) {
      for (let at = 0; at < 9; at++) {
        const part = data.subarray(at, at + length);
        const expected = addon.crc32cTable(part, 5);
        expect(crc32c(part, 5)).toBe(expected);
        expect(addon.crc32cInstruction(part, 5)).toBe(expected);
      }
    }
  });

  it('refuses anything but bytes', () => {
    expect(() => crc32c('text' as unknown as Uint8Array)).toThrow(TypeError);
    expect(() => crc32c(new Uint16Array(4) as unknown as Uint8Array)).toThrow(TypeError);
  });
});

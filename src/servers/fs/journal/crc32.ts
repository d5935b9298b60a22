/**
 * The CRC-32 of old journals, which cover a transaction as a whole: most significant bit first, the
 * register going in and coming out as it is. See lib/crc32.c of the kernel, crc32_be.
 */
const POLYNOMIAL = 0x04c11db7;

const TABLE: Uint32Array = new Uint32Array(256).map((_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? POLYNOMIAL : 0);
  return crc >>> 0;
});

export function crc32(data: Uint8Array, seed: number): number {
  let crc = seed;
  for (const byte of data) crc = (crc << 8) ^ (TABLE[(crc >>> 24) ^ byte] ?? 0);
  return crc >>> 0;
}

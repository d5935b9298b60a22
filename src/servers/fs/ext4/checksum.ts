/**
 * The checksums of ext4: CRC32C (metadata_csum) and CRC16 (uninit_bg).
 *
 * Both are used as ext4 does: the register goes in as the seed and comes out as it is, without the
 * inversions of other users of the same polynomials. So the result for one part is the seed for the
 * next, and a function that inverts at both ends is put in by `~standard(data, ~seed) >>> 0`.
 */
import { type FsError, damaged, hex } from '../errors.ts';

/**
 * Returns the register as an unsigned number. The TypeScript `crc32c` below is the default; a
 * native one may replace it.
 */
export type Crc32c = (data: Uint8Array, seed: number) => number;

export const CRC_START = 0xffffffff;
/** Castagnoli's polynomial, bits reversed. */
const CRC32C_POLYNOMIAL = 0x82f63b78;
/** x^16 + x^15 + x^2 + 1, bits reversed. */
const CRC16_POLYNOMIAL = 0xa001;
const SLICES = 8;

const crc32cTables: Uint32Array = buildTables();
const crc16Table: Uint16Array = buildTable16();

/**
 * Table-driven, eight bytes a step ("slicing by 8", Kounavis and Berry, 2005): entry [k][b] is the
 * register after the byte b and k zero bytes, so the eight lookups of a step do not wait for one
 * another.
 */
export function crc32c(data: Uint8Array, seed: number): number {
  const t = crc32cTables;
  const whole = data.length & ~7;
  let crc = seed | 0;
  let at = 0;
  for (; at < whole; at += 8) {
    const low =
      crc ^
      ((data[at] ?? 0) |
        ((data[at + 1] ?? 0) << 8) |
        ((data[at + 2] ?? 0) << 16) |
        ((data[at + 3] ?? 0) << 24));
    crc =
      (t[1792 + (low & 255)] ?? 0) ^
      (t[1536 + ((low >>> 8) & 255)] ?? 0) ^
      (t[1280 + ((low >>> 16) & 255)] ?? 0) ^
      (t[1024 + (low >>> 24)] ?? 0) ^
      (t[768 + (data[at + 4] ?? 0)] ?? 0) ^
      (t[512 + (data[at + 5] ?? 0)] ?? 0) ^
      (t[256 + (data[at + 6] ?? 0)] ?? 0) ^
      (t[data[at + 7] ?? 0] ?? 0);
  }
  for (; at < data.length; at++) {
    crc = (t[(crc ^ (data[at] ?? 0)) & 255] ?? 0) ^ (crc >>> 8);
  }
  return crc >>> 0;
}

export function crc16(data: Uint8Array, seed: number): number {
  let crc = seed;
  for (const byte of data) crc = (crc16Table[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  return crc;
}

const word = new Uint8Array(4);
const zeros = new Uint8Array(4);

/** The four bytes of `value` as ext4 stores them; valid until the next call. */
export function wordBytes(value: number): Uint8Array {
  word[0] = value;
  word[1] = value >>> 8;
  word[2] = value >>> 16;
  word[3] = value >>> 24;
  return word;
}

/**
 * The checksum of `data` with the four bytes at `hole`, where the checksum itself is stored, taken
 * as zero.
 */
export function crcAround(crc: Crc32c, data: Uint8Array, hole: number, seed: number): number {
  const before = crc(data.subarray(0, hole), seed);
  return crc(data.subarray(hole + 4), crc(zeros, before));
}

export interface Sums {
  readonly stored: number;
  readonly computed: number;
}

export function badChecksum(what: string, { stored, computed }: Sums): FsError {
  return damaged`${what}: the checksum is ${hex(computed)}, but ${hex(stored)} is stored`;
}

function buildTables(): Uint32Array {
  const tables = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const previous = tables[at - 256] ?? 0;
    tables[at] = (previous >>> 8) ^ (tables[previous & 255] ?? 0);
  }
  return tables;
}

function buildTable16(): Uint16Array {
  const table = new Uint16Array(256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? CRC16_POLYNOMIAL : 0);
    table[byte] = crc;
  }
  return table;
}

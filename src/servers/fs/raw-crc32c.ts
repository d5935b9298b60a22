/** The native CRC32C as ext4 has it: the register goes in and comes out without inversion. */
import { crc32c } from '../../dvk/index.ts';

export function rawCrc32c(data: Uint8Array, seed: number): number {
  return ~crc32c(data, ~seed >>> 0) >>> 0;
}

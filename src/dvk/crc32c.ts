/** CRC32C (Castagnoli), as in iSCSI and ext4: the checksum of frames and of journal blocks. */
import { native } from './native.ts';

/**
 * The checksum of `data`, 0 to 2^32 - 1. Pass the checksum of what came before as `seed`:
 * `crc32c(b, crc32c(a))` is the checksum of a and b in one.
 */
export function crc32c(data: Uint8Array, seed = 0): number {
  return native().crc32c(data, seed);
}

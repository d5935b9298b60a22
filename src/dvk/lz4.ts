/** Blocks of LZ4, without frames around them; see native/core/lz4.h. */
import { native } from './native.ts';

/**
 * Packs `source` into the start of `target`, which lies apart. Returns how many bytes that took, or
 * 0 when they do not fit: a `target` that is shorter than `source` asks whether it pays.
 */
export function lz4Pack(source: Uint8Array, target: Uint8Array): number {
  return native().lz4Pack(source, target);
}

/**
 * Unpacks a block into `target`, and nothing beyond it. Returns how many bytes came out, or -1 when
 * `block` is none, or is for a longer target.
 */
export function lz4Unpack(block: Uint8Array, target: Uint8Array): number {
  return Math.max(-1, native().lz4Unpack(block, target));
}

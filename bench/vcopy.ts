/**
 * `dvk bench vcopy`: bytes per second from the memory of one process to that of another.
 *
 * dvk-vcopy-private copies from private memory of a client that is blocked in a sendrec,
 * dvk-vcopy-arena from memory that it granted in the container's arena. The streams are measured
 * with the host's own buffers and with large ones, and the better of the two is reported. memcpy
 * within one process is the limit. All memory is in pages of 4 KiB.
 */
import type { Case } from './harness.ts';
import { startNative } from './native-case.ts';
import { cpusOfPairs, type Placement } from './placement.ts';

const STREAM_VARIANTS = ['default', 'big'];
interface CopyCase {
  readonly name: string;
  readonly variants?: readonly string[];
}
const CASES: readonly CopyCase[] = [
  { name: 'dvk-vcopy-private' },
  { name: 'dvk-vcopy-arena' },
  { name: 'memcpy' },
  { name: 'pipe', variants: STREAM_VARIANTS },
  { name: 'unix-stream', variants: STREAM_VARIANTS },
  { name: 'tcp', variants: STREAM_VARIANTS },
];

const KIB = 1024;
export const COPY_SIZES: readonly number[] = [4 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB];
export const COPY_SIZES_SMOKE: readonly number[] = [1024 * KIB];

export interface CopyOptions {
  readonly placements: readonly Placement[];
  readonly sizes: readonly number[];
  /** Numbers of pairs. */
  readonly pairs: readonly number[];
}

export function vcopyCases({ placements, sizes, pairs }: CopyOptions): Case[] {
  return sizes.flatMap((bytes) =>
    placements.flatMap((placement) =>
      pairs.flatMap((count) =>
        CASES.flatMap(({ name, variants = [undefined] }) =>
          variants.map((variant): Case => {
            const named = { name, bytes, ...(variant !== undefined && { variant }) };
            const start: Case['start'] = async () => {
              const cpus = cpusOfPairs(placement, count);
              return startNative({ group: 'vcopy', cpus, ...named });
            };
            return { ...named, placement, pairs: count, unit: 'bytes/s', start };
          }),
        ),
      ),
    ),
  );
}

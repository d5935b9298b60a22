// No bytes in a journal make its recovery throw anything but FsError, read out of bounds, or work
// without end. Method: Linux leaves two journals behind, one with checksums and one without. Some
// of their bytes are changed, mostly in blocks of the log's own; the volume is recovered, and read
// where it may. DVK_FUZZ_CASES sets the number of cases, DVK_FUZZ_SEED the seed.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isFsError } from '../../src/servers/fs/errors.ts';
import { crc32c } from '../../src/servers/fs/ext4/checksum.ts';
import { recover } from '../../src/servers/fs/journal/recovered-device.ts';
import { seeded } from '../support/datagram-network.ts';
import { withDirtyImages } from '../support/dirty-images.ts';
import { debugfs, mountObstacle, withDirectory } from '../support/images.ts';
import { MemoryDevice } from '../support/memory-device.ts';

const CASES = Number(process.env['DVK_FUZZ_CASES'] ?? 20_000);
const SEED = Number(process.env['DVK_FUZZ_SEED'] ?? 20_261_122);
const BLOCK_BYTES = 1024;
const MAGIC = 0xc03b3998;
/** Each block of the log is read at most twice, as a block of its own and as a copy. */
const READS_MAX = 10_000;

const variants = [
  { name: 'with checksums', arguments: ['-b', '1024', '-J', 'size=1'] },
  { name: 'without', arguments: ['-b', '1024', '-J', 'size=1', '-O', '^metadata_csum'] },
];

function dirtyContent(options: { arguments: string[] }): {
  content: Uint8Array;
  journal: number[];
} {
  return withDirectory((directory) => {
    let content = new Uint8Array();
    let journal: number[] = [];
    const bytes = 8 << 20;
    withDirtyImages(directory, { bytes, copies: 1, seed: SEED, ...options }, (image) => {
      content = new Uint8Array(readFileSync(image));
      const runs = debugfs(image, 'blocks <8>').trim().split(/\s+/);
      journal = runs.map((block) => Number(block) * BLOCK_BYTES);
    });
    return { content, journal };
  });
}

const obstacle = mountObstacle();

describe.skipIf(obstacle !== undefined)(`hostile journals ${obstacle ?? ''}`, () => {
  it.each(variants)(
    'are recovered or refused: $name',
    (variant) => {
      const { content, journal } = dirtyContent(variant);
      const view = new DataView(content.buffer);
      const own = journal.filter((at) => view.getUint32(at) === MAGIC);
      expect(own.length).toBeGreaterThan(2);
      const outcomes = new Map<string, number>();
      for (let index = 0; index < CASES; index++) {
        const random = seeded(SEED + index);
        const below = (bound: number): number => Math.floor(random() * bound);
        const saved: [number, number][] = [];
        for (let change = below(3); change >= 0; change--) {
          const block = below(8) === 0 ? journal : own;
          const at = block[below(block.length)]! + below(below(2) === 0 ? 64 : BLOCK_BYTES);
          saved.push([at, content[at]!]);
          content[at] = below(256);
        }
        const outcome = outcomeOf(content, below);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        for (const [at, byte] of saved.reverse()) content[at] = byte;
      }
      // Some are refused, and some read; neither alone would be a test.
      expect([...outcomes.keys()].sort()).toEqual(expect.arrayContaining(['EUCLEAN', 'recovered']));
    },
    300_000,
  );
});

/** 'recovered', or the code of the error. Throws what is no FsError. */
function outcomeOf(content: Uint8Array, below: (bound: number) => number): string {
  const device = new MemoryDevice(content);
  try {
    const recovered = recover(device, crc32c);
    const target = new Uint8Array(4096);
    for (let read = 0; read < 4; read++) {
      recovered.device.read(target, below(recovered.device.bytes - target.length), target.length);
    }
    return 'recovered';
  } catch (error) {
    if (!isFsError(error)) throw error;
    return error.code;
  } finally {
    expect(device.reads).toBeLessThan(READS_MAX);
  }
}

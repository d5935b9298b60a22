// Our own check of volumes finds what e2fsck finds, and calls it by the same name.
// Method: one thing of a sample is made wrong, by debugfs or by a byte; both look at it, then
// e2fsck repairs it, and ours finds nothing more. Then single bits of metadata, from a seed.
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FindingKind } from '../../../src/servers/fs/check/findings.ts';
import { DamagedSample, askE2fsck, check, flipAndCompare, random } from '../../support/damage.ts';
import { imageObstacle, makeImage } from '../../support/images.ts';
import { SAMPLE_BLOCK_BYTES } from '../../support/sample.ts';

const SEED = Number(process.env['DVK_SEED'] ?? 1);
const FLIPS = 12;

const VARIANTS = {
  sealed: 'metadata_csum',
  bare: '^metadata_csum,^extents,^64bit',
} as const;
type Variant = keyof typeof VARIANTS;

const obstacle = imageObstacle();
let directory: string;
const samples = new Map<Variant, DamagedSample>();

function sampleOf(variant: Variant): DamagedSample {
  let sample = samples.get(variant);
  if (sample === undefined) {
    const place = join(directory, variant);
    mkdirSync(place);
    sample = new DamagedSample(place, VARIANTS[variant]);
    samples.set(variant, sample);
  }
  return sample;
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'dvk-check-'));
});
afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** The place of block `index` of a file. */
function blockAt({ sample }: DamagedSample, name: string, index = 0): number {
  return (sample.blocks(name)[index] ?? 0) * SAMPLE_BLOCK_BYTES;
}

type Damage = (damaged: DamagedSample) => void;
const commands =
  (...lines: readonly string[]): Damage =>
  (damaged) => {
    damaged.command(...lines);
  };
const byte =
  (place: (damaged: DamagedSample) => number, value = 0x55): Damage =>
  (damaged) => {
    damaged.bytes((content) => {
      const at = place(damaged);
      content[at] = (content[at] ?? 0) ^ value;
    });
  };

const DAMAGES: readonly (readonly [FindingKind, string, Variant, Damage])[] = [
  ['superblock', 'a byte', 'sealed', byte(() => 1024 + 0x79)],
  ['descriptor-checksum', 'a byte', 'sealed', byte(() => 2048 + 0x1e)],
  [
    'bitmap-checksum',
    'a byte',
    'sealed',
    byte(({ sample }) => {
      const { buffer, byteOffset } = sample.content;
      const block = new DataView(buffer, byteOffset).getUint32(2048, true);
      return block * SAMPLE_BLOCK_BYTES + 200;
    }),
  ],
  ['block-bitmap', 'blocks in use that are free', 'sealed', commands('freeb 100 3')],
  ['inode-bitmap', 'a file that is free', 'sealed', commands('freei <17>')],
  ['free-blocks', 'the count of the superblock', 'sealed', commands('ssv free_blocks_count 7')],
  ['free-inodes', 'the count of the superblock', 'sealed', commands('ssv free_inodes_count 7')],
  ['directories', 'the count of a group', 'sealed', commands('set_bg 0 used_dirs_count 77')],
  ['inode', 'one that is deleted and in use', 'sealed', commands('sif large dtime 77')],
  ['inode-checksum', 'a byte', 'sealed', byte(({ sample }) => sample.inodeAt('large') + 0x18)],
  ['map', 'a block outside the volume', 'bare', commands('sif large block[2] 99999')],
  [
    'map-checksum',
    'a byte of a node',
    'sealed',
    byte(({ sample }) => sample.extentBlock('holes') * SAMPLE_BLOCK_BYTES + 8),
  ],
  ['shared-block', 'the block of another file', 'bare', commands('sif large block[2] 99')],
  ['sectors', 'of a file', 'sealed', commands('sif large blocks 2')],
  ['size', 'that leaves blocks out', 'sealed', commands('sif large size 10')],
  [
    'xattrs',
    'a block with another magic number',
    'bare',
    byte(({ sample }) => sample.xattrBlock('file') * SAMPLE_BLOCK_BYTES),
  ],
  [
    'xattr-references',
    'one owner too many',
    'bare',
    byte(({ sample }) => sample.xattrBlock('file') * SAMPLE_BLOCK_BYTES + 4, 2),
  ],
  ['directory', 'an entry that does not fit', 'bare', byte((one) => blockAt(one, 'few') + 28)],
  ['directory-checksum', 'a byte', 'sealed', byte((one) => blockAt(one, 'few') + 1020)],
  ['entry', 'a name of no file', 'sealed', commands('link <400> few/nobody')],
  ['entry', 'a name of another type', 'bare', byte((one) => blockAt(one, 'few') + 31, 3)],
  ['duplicate-name', 'in one block', 'bare', byte((one) => blockAt(one, 'few') + 32, 3)],
  ['index', 'a hash of the root', 'bare', byte((one) => blockAt(one, 'indexed') + 43, 0x80)],
  ['parent', 'of a directory', 'bare', byte((one) => blockAt(one, 'few') + 12, 2 ^ 11)],
  ['unattached', 'a file without a name', 'sealed', commands('unlink large')],
  ['unattached', 'a directory without a name', 'sealed', commands('unlink few')],
  ['link-count', 'of a file', 'sealed', commands('sif large links_count 5')],
  ['journal', 'its superblock', 'sealed', byte((one) => blockAt(one, '<8>'))],
];

describe.skipIf(obstacle !== undefined)(`The check of a volume ${obstacle ?? ''}`, () => {
  it.each(Object.keys(VARIANTS) as Variant[])('finds nothing in a sound one: %s', (variant) => {
    const damaged = sampleOf(variant);
    damaged.bytes(() => undefined);

    const { counts, inodes, directories } = check(readFileSync(damaged.path));

    expect([...counts]).toEqual([]);
    expect(directories).toBe(4);
    expect(inodes).toBeGreaterThan(300);
    expect(askE2fsck(damaged.path).sound).toBe(true);
  });

  it.each(DAMAGES)('finds %s, as e2fsck does: %s', (kind, _, variant, damage) => {
    const damaged = sampleOf(variant);
    damage(damaged);

    const theirs = askE2fsck(damaged.path);
    const ours = [...check(readFileSync(damaged.path)).counts.keys()];
    askE2fsck(damaged.path, '-y');
    const after = check(readFileSync(damaged.path));

    expect(ours).toContain(kind);
    expect(theirs.kinds, theirs.text).toContain(kind);
    // The sample has one superblock, so e2fsck has nothing to go by.
    if (kind !== 'superblock') expect(after.findings).toEqual([]);
  });

  it(`agrees with e2fsck on single bits, seed ${SEED}`, () => {
    const next = random(SEED);
    const differences: string[] = [];
    for (let flips = 0; flips < FLIPS; flips++) {
      const difference = flipAndCompare(sampleOf('sealed'), next);
      if (difference !== undefined) differences.push(difference);
    }

    expect(differences).toEqual([]);
  });

  it('tells a directory that is below itself, and ends', () => {
    const damaged = sampleOf('bare');
    const content = damaged.bytes((bytes) => {
      // "few" takes the place of its own file "a", and is no more in the root.
      const few = blockAt(damaged, 'few');
      bytes.copy(bytes, few + 24, few, few + 4);
      bytes[few + 31] = 2;
      const root = blockAt(damaged, '/');
      bytes.writeUInt32LE(0, bytes.indexOf('few', root) - 8);
    });

    expect(check(content).findings.map(({ text }) => text)).toContain(
      `directory ${content[blockAt(damaged, 'few')]}: it is below itself`,
    );
  });

  it('ends on bytes of any kind, and keeps as many findings as it may', () => {
    const damaged = sampleOf('sealed');
    const next = random(SEED + 1);
    for (let round = 0; round < 6; round++) {
      const content = damaged.bytes((bytes) => {
        for (let flips = 0; flips < 400; flips++) {
          const [from, to] = damaged.ranges[Math.floor(next() * damaged.ranges.length)] ?? [0, 1];
          bytes[from + Math.floor(next() * (to - from))] = Math.floor(next() * 256);
        }
        // A superblock that is refused would end the check at once.
        bytes.set(damaged.sample.content.subarray(1024, 2048), 1024);
      });

      expect(check(content).findings.length).toBeLessThanOrEqual(1000);
    }
  });

  it('finds nothing in volumes with clusters, inline data, or an orphan file', () => {
    for (const features of ['bigalloc', 'inline_data', 'orphan_file', 'meta_bg,^resize_inode']) {
      const image = makeImage(directory, {
        bytes: 8 << 20,
        source: import.meta.dirname,
        arguments: ['-O', features],
      });

      expect(check(readFileSync(image)).findings, features).toEqual([]);
    }
  });
});

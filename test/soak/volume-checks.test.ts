// As in test/unit/fs/check.test.ts, with more bits and more kinds of volumes.
// DVK_SEED sets the seed, DVK_FLIPS how many bits of each.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { DamagedSample, flipAndCompare, random } from '../support/damage.ts';
import { imageObstacle } from '../support/images.ts';

const SEED = Number(process.env['DVK_SEED'] ?? 1);
const FLIPS = Number(process.env['DVK_FLIPS'] ?? 1000);
const directory = mkdtempSync(join(tmpdir(), 'dvk-check-'));

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

describe.skipIf(imageObstacle() !== undefined)('The check of a volume', () => {
  it.each(['metadata_csum', 'metadata_csum,inline_data', 'bigalloc,metadata_csum'])(
    'agrees with e2fsck on single bits: %s',
    (features) => {
      const place = join(directory, features);
      mkdirSync(place);
      const damaged = new DamagedSample(place, features);
      const next = random(SEED);
      const differences: string[] = [];
      for (let flips = 0; flips < FLIPS; flips++) {
        const difference = flipAndCompare(damaged, next);
        if (difference !== undefined) differences.push(difference);
      }

      expect(differences).toEqual([]);
    },
  );
});

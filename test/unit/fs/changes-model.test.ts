// Whatever is done to a volume, it is as a simple model of it says, and e2fsck finds nothing.
// Method: seeded random calls on volumes of many kinds, some of them small enough to run full. The
// soak test does the same with more calls and many seeds; DVK_SEED sets the seed here.
import { describe, expect, it } from 'vitest';
import { imageObstacle } from '../../support/images.ts';
import { checkAgainstModel, modelVariants } from '../../support/model-variants.ts';

describe.skipIf(imageObstacle() !== undefined)('a volume after random calls', () => {
  it.each(modelVariants)('with $name is as the model says', (variant) => {
    const seed = Number(process.env['DVK_SEED'] ?? 1);
    expect(checkAgainstModel(variant, { seed, parts: 1, calls: 500 })).toBeGreaterThan(5);
  });
});

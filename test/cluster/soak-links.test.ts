// A short run of `dvk soak --links` (docs/testing.md): nothing wrong, nothing repeated, nothing
// left behind. The long one is in test/soak.
import { expect, it } from 'vitest';
import { soakLinks } from '../support/soak-links.ts';

const SEED = 3;

it('leaves no call wrong in a short time of chaos on links', async () => {
  const { code, report } = await soakLinks(20, SEED);

  expect(report.problems, `of seed ${SEED}`).toEqual([]);
  expect(report.answered).toBeGreaterThan(0);
  expect(code).toBe(0);
});

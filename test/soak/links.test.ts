// Chaos on links for half an hour: `dvk soak --links` (docs/testing.md). DVK_SOAK_SECONDS is the
// time, DVK_SEED what the faults follow from.
import { expect, it } from 'vitest';
import { soakLinks } from '../support/soak-links.ts';

const seconds = Number(process.env['DVK_SOAK_SECONDS'] ?? 1800);
const seed = Number(process.env['DVK_SEED'] ?? Date.now() % 1_000_000);

it('leaves no call wrong in a long time of chaos on links', async () => {
  const { code, report } = await soakLinks(seconds, seed);

  expect(report.problems, `of seed ${seed}`).toEqual([]);
  expect(code).toBe(0);
});

// Real programs on a mount, at full size: those of test/cluster/programs.test.ts, npm ci and the
// build of this project, a million files in a tree and 100,000 in one directory; an hour.
//
// Method: as there. After each program no part may have taken more memory than it may. Times for
// making and listing files must grow no faster than their number, but for noise. DVK_SEED is what
// sizes and places follow from, DVK_FILES the number of files in the tree.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { whyNoMounts } from '../support/dvk-command.ts';
import { beyondBounds } from '../support/memory-bounds.ts';
import { MountedDvs } from '../support/mounted-dvs.ts';
import { LONG_PROGRAMS, PROGRAMS, many, obstacleTo, type Size } from '../support/programs.ts';
import { progressOf } from '../support/progress.ts';

const FILES = Number(process.env['DVK_FILES'] ?? 1_000_000);
const LIMIT_MS = 3_000_000;
const SIZE: Size = {
  seed: Number(process.env['DVK_SEED'] ?? Date.now() % 1_000_000),
  files: 50_000,
  commits: 10,
  transactions: 500,
  names: 1000,
  mebibytes: 64,
  stressSeconds: 5,
};
/** Of what takes twice the time when nothing else is about. */
const NOISE = 2;
const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined)(`programs on a mount ${skipped ?? ''}`, () => {
  const progress = progressOf(`programs, seed ${String(SIZE.seed)}`);
  let dvs: MountedDvs;

  beforeAll(async () => {
    const inodes = String(Math.ceil(FILES * 1.1) + 400_000);
    const options = { bytes: 10 * 2 ** 30, arguments: ['-b', '4096', '-N', inodes] };
    dvs = new MountedDvs({ ...options, limitMs: LIMIT_MS });
    await dvs.up();
  });

  afterEach(async () => {
    const peaks = JSON.stringify(await dvs.peakMiB());
    progress(`${expect.getState().currentTestName ?? ''}; MiB so far ${peaks}`);
    expect(await beyondBounds(dvs)).toEqual([]);
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await dvs.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it.for([...PROGRAMS, ...LONG_PROGRAMS])('$title', async (program, context) => {
    const obstacle = obstacleTo(program);
    if (obstacle !== undefined) context.skip(obstacle);
    await program.run(dvs, SIZE);
  });

  it.each([
    ['a tree', { name: 'tree', files: FILES, aDirectory: 1000 }],
    ['one directory', { name: 'one', files: FILES / 10, aDirectory: 0 }],
  ])('%s of very many files is made and listed in linear time', async (_, options) => {
    const { make, list } = await many(dvs, options);

    progress(`${options.name}: ${JSON.stringify({ make, list })}`);
    expect(make[1]).toBeLessThan(NOISE * make[0]);
    expect(list[1]).toBeLessThan(2 * NOISE * list[0]);
  });
});

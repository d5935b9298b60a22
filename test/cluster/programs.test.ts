// Real programs on a mount: git, tar, SQLite, fio, stress-ng, and two nodes in one directory.
//
// Method: two nodes, FS on node 1, a mount on each (test/support/mounted-dvs.ts). The programs of
// test/support/programs.ts check what they wrote, mostly through the other node. In the end e2fsck
// finds nothing, and no part took more memory than docs/file-system.md says. At full size:
// test/soak/programs.test.ts.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoMounts } from '../support/dvk-command.ts';
import { killUnderLoad } from '../support/kills.ts';
import { beyondBounds } from '../support/memory-bounds.ts';
import { MountedDvs } from '../support/mounted-dvs.ts';
import { PROGRAMS, obstacleTo, type Size } from '../support/programs.ts';

const LIMIT_MS = 100_000;
const SIZE: Size = {
  seed: 20261122,
  files: 300,
  commits: 1,
  transactions: 15,
  names: 40,
  mebibytes: 2,
  stressSeconds: 3,
};
const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined)(`programs on a mount ${skipped ?? ''}`, () => {
  let dvs: MountedDvs;

  beforeAll(async () => {
    const options = { bytes: 2 ** 30, arguments: ['-b', '4096'], limitMs: LIMIT_MS };
    dvs = new MountedDvs(options);
    await dvs.up();
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const beyond = await beyondBounds(dvs);
    const { left, check } = await dvs.end();
    expect(left).toEqual([]);
    expect(beyond).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it.for(PROGRAMS)('$title', async (program, context) => {
    const obstacle = obstacleTo(program);
    if (obstacle !== undefined) context.skip(obstacle);
    await program.run(dvs, SIZE);
  });

  it('keeps what was synced when a part is killed, and comes back', async () => {
    const { wrong, acknowledged } = await killUnderLoad(dvs, { rounds: 3, seed: SIZE.seed });

    expect(wrong).toEqual([]);
    expect(acknowledged).toBeGreaterThan(10);
  });
});

// kill -9 of the file system server and of node daemons under load, a hundred times, and a quarter
// of that with inodes of 128 bytes: nothing is lost that fsync has acknowledged, the image is
// sound, and mounts come back. Fifteen minutes.
//
// Method: test/support/kills.ts. DVK_SEED is what the kills follow from, DVK_KILLS how many there
// are.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { whyNoMounts } from '../support/dvk-command.ts';
import { killUnderLoad } from '../support/kills.ts';
import { beyondBounds } from '../support/memory-bounds.ts';
import { MountedDvs } from '../support/mounted-dvs.ts';
import { progressOf } from '../support/progress.ts';

const seed = Number(process.env['DVK_SEED'] ?? Date.now() % 1_000_000);
const kills = Number(process.env['DVK_KILLS'] ?? 100);
const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined).each([
  { inode: 256, rounds: kills },
  { inode: 128, rounds: Math.ceil(kills / 4) },
])(`kill -9 under load, inodes of $inode bytes ${skipped ?? ''}`, ({ inode, rounds }) => {
  let dvs: MountedDvs;

  beforeAll(async () => {
    const options = {
      bytes: 2 ** 29,
      arguments: ['-b', '4096', '-I', String(inode)],
      limitMs: 60_000,
    };
    dvs = new MountedDvs(options);
    await dvs.up();
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await dvs.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it('loses nothing that was synced', async () => {
    const progress = progressOf(`fs-kills, seed ${String(seed)}`);

    const { acknowledged, wrong } = await killUnderLoad(dvs, { rounds, seed, progress });

    expect(wrong).toEqual([]);
    expect(acknowledged).toBeGreaterThan(10 * rounds);
    expect(await beyondBounds(dvs)).toEqual([]);
  });
});

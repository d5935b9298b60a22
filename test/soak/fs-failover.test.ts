// Programs do not notice that the file system server is stopped and started again, over and over:
// fault row 35. A server that ends as it should loses nothing, and its clients wait. Ten minutes.
//
// Method: the programs of test/support/programs.ts on the two mounts of a DVS, each beside a loop
// of `dvk service restart fs`. What they say themselves counts, and e2fsck in the end.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/dvk/clock.ts';
import { whyNoMounts } from '../support/dvk-command.ts';
import { MountedDvs } from '../support/mounted-dvs.ts';
import { PROGRAMS, obstacleTo, type Size } from '../support/programs.ts';

const PAUSE_MS = 2000;
const SIZE: Size = {
  seed: Number(process.env['DVK_SEED'] ?? 1),
  files: 2000,
  commits: 5,
  transactions: 200,
  names: 300,
  mebibytes: 16,
  stressSeconds: 10,
};
const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined)(`a server that is restarted ${skipped ?? ''}`, () => {
  let dvs: MountedDvs;

  beforeAll(async () => {
    dvs = new MountedDvs({ bytes: 2 ** 31, arguments: ['-b', '4096'], limitMs: 600_000 });
    await dvs.up();
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await dvs.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it.for(PROGRAMS)('$title', async (program, context) => {
    const obstacle = obstacleTo(program);
    if (obstacle !== undefined) context.skip(obstacle);
    let restarts = 0;
    const running = program.run(dvs, SIZE).then(
      () => 'done',
      (error: unknown) => String(error),
    );
    let outcome: string | undefined;
    while (outcome === undefined) {
      outcome = await Promise.race([running, pause()]);
      if (outcome !== undefined) break;
      await dvs.place.must('service', 'restart', 'fs');
      restarts++;
    }
    expect(outcome).toBe('done');
    process.stderr.write(`${program.title}: ${String(restarts)} restarts\n`);
  });
});

async function pause(): Promise<undefined> {
  await new Promise<void>((resolve) => {
    systemClock.after(PAUSE_MS, resolve);
  });
  return undefined;
}

// A client that died on another node is not waited for by the next server: its node says so.
//
// Method: two nodes, FS on node 1, a mount on each. The mount of node 0, through which a file is
// locked, is killed, and so is FS. Who wants the lock on node 1 gets it before the time is over in
// which a client might have come back. FS goes past the page cache.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GRACE_MS } from '../../src/servers/fs/survivors.ts';
import { whyNoMounts } from '../support/dvk-command.ts';
import { TwoMounts } from '../support/two-mounts.ts';

const skipped = whyNoMounts();

describe.skipIf(skipped !== undefined)(`a client that is gone ${skipped ?? ''}`, () => {
  let mounts: TwoMounts;

  beforeAll(async () => {
    mounts = await TwoMounts.start({ direct: true });
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await mounts.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  async function kill(name: string): Promise<void> {
    const { pid } = await mounts.place.json<{ pid: number }>('service', 'info', name);
    process.kill(pid, 'SIGKILL');
  }

  it('finds what it wrote past the page cache', async () => {
    await mounts.sh(`
      head -c 3000001 /dev/urandom > $TREE/data; cp $TREE/data $HERE/data
      sync $HERE/data; cmp $TREE/data $THERE/data`);
    const { info } = await mounts.place.json<{ info: unknown }>('service', 'info', 'fs');
    // As file systems of the machine have it.
    expect(info).toMatchObject({ io: expect.stringMatching(/^direct$|^buffered: /) as unknown });
  });

  it('is asked for, and its locks are free', async () => {
    await mounts.sh(`
      echo > $HERE/file
      flock $HERE/file sleep 60 < /dev/null > /dev/null 2>&1 &
      until ! flock -n $THERE/file true; do sleep 0.05; done`);

    await kill('here');
    await kill('fs');
    await mounts.place.must('service', 'start', 'fs');

    await mounts.sh(`timeout ${String(GRACE_MS / 2000)} flock $THERE/file true`);
    await mounts.place.must('service', 'start', 'here');
    await mounts.sh(`flock -n $HERE/file true`);
  });
});

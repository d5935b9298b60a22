// Whatever part of a DVS is killed, `dvk down` leaves nothing of it: no process, mount, socket,
// FIFO or segment. Method: kill -9 of each part in turn, then `down`, then look at the machine.
// `up` after a crash clears it up as well.
import { spawn, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DvsStatus } from '../../src/cli/inspect.ts';
import { ended, TestPlace, whyNoMounts, wrote } from '../support/dvk-command.ts';

const DOWN_MS_MAX = 10_000;
const withMounts = whyNoMounts() === undefined;

let place: TestPlace;
let spec: string;

beforeEach(() => {
  place = new TestPlace();
  if (withMounts) place.image();
  spec = place.spec('dvs.yaml', [
    'dvs: crash',
    'nodes: [{ id: 0 }, { id: 1 }]',
    'containers:',
    '  - name: mol',
    ...(withMounts
      ? [
          '    services:',
          '      - { name: fs, kind: fs, node: 1, slot: 1, image: ./image }',
          '      - { name: root, kind: fuse, node: 0, server: fs, mount: ./mnt }',
        ]
      : []),
  ]);
});

afterEach(async () => {
  await place.end();
});

async function status(): Promise<DvsStatus> {
  const [dvs] = (await place.json<{ items: DvsStatus[] }>('status')).items;
  if (dvs === undefined) throw new Error('no DVS');
  return dvs;
}

function signal(pid: number | null | undefined, name: NodeJS.Signals): void {
  if (typeof pid !== 'number') throw new Error('there is no such process');
  process.kill(pid, name);
}

/** The parts of a DVS, and the processes that each is. */
const PARTS: Readonly<Record<string, (dvs: DvsStatus) => (number | null | undefined)[]>> = {
  'a daemon': ({ nodes }) => [nodes[0]?.pid],
  'every daemon': ({ nodes }) => nodes.map(({ pid }) => pid),
  'a proxy': ({ proxies }) => [proxies[1]?.pid],
  ...(withMounts && {
    'the file system': ({ services }: DvsStatus) => [
      services.find((one) => one.spec.kind === 'fs')?.pid,
    ],
    'the gateway': ({ services }: DvsStatus) => [
      services.find((one) => one.spec.kind === 'fuse')?.pid,
    ],
  }),
};

describe('down', () => {
  it.each(Object.keys(PARTS))('leaves nothing after kill -9 of %s', async (part) => {
    await place.must('up', spec, '--detach');
    // Attributes in the kernel's cache make a mount look alive whose server is dead.
    const parts = PARTS[part]?.(await status()) ?? [];
    if (withMounts) spawnSync('ls', ['-lR', join(place.files, 'mnt')], { timeout: 10_000 });
    for (const pid of parts) signal(pid, 'SIGKILL');

    const { ms } = await place.must('down');

    expect(place.leftovers()).toEqual([]);
    expect(ms).toBeLessThan(DOWN_MS_MAX);
  });

  it.each(['a daemon', 'a proxy'])('leaves nothing while %s is stopped', async (part) => {
    await place.must('up', spec, '--detach');
    for (const pid of PARTS[part]?.(await status()) ?? []) signal(pid, 'SIGSTOP');

    const { ms } = await place.must('down');

    expect(place.leftovers()).toEqual([]);
    expect(ms).toBeLessThan(DOWN_MS_MAX);
  });

  it('leaves nothing after kill -9 of the foreground command', async () => {
    const command = place.start('up', spec);
    await wrote(command, 'stderr', 'Ctrl-C');
    command.kill('SIGKILL');
    await ended(command);
    expect((await status()).ok).toBe(true);

    await place.must('down');

    expect(place.leftovers()).toEqual([]);
  });

  it.each(['DVS crash', 'ok 2 nodes', 'ok links'])(
    'leaves nothing after kill -9 of `up` at "%s"',
    async (moment) => {
      const command = place.start('up', spec);
      await wrote(command, 'stderr', moment);
      command.kill('SIGKILL');
      await ended(command);

      await place.must('down');

      expect(place.leftovers()).toEqual([]);
    },
  );

  it('leaves nothing when the state file is damaged', async () => {
    await place.must('up', spec, '--detach');
    writeFileSync(join(place.runtime, 'crash/dvs.json'), '{ damaged');

    expect((await place.run('node', 'ls')).stderr).toContain('dvk down --name crash');
    await place.must('down');

    expect(place.leftovers()).toEqual([]);
  });

  it('does not wait for another command for ever, and says who it is', async () => {
    await place.must('up', spec, '--detach');
    const lock = join(place.runtime, 'crash/lock');
    const holder = spawn('flock', ['--exclusive', lock, 'sleep', '60'], { detached: true });
    const pid = holder.pid ?? 0;
    const released = new Promise((resolve) => holder.once('exit', resolve));
    try {
      // What a killed holder did not write is no help; the message shows what there is.
      const { code, stderr } = await place.run('down');
      expect(code).toBe(1);
      expect(stderr).toContain('another command is at work on this DVS');
    } finally {
      process.kill(-pid, 'SIGKILL');
      await released;
    }

    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });
});

describe('up', () => {
  it('clears up after a crash of everything', async () => {
    await place.must('up', spec, '--detach');
    for (const { pid } of (await status()).nodes) signal(pid, 'SIGKILL');

    const again = await place.must('up', spec, '--detach');

    expect(again.stderr).toContain('was not ended properly');
    expect((await status()).ok).toBe(true);
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });

  it('clears up after one that was killed half way', async () => {
    const command = place.start('up', spec);
    await wrote(command, 'stderr', 'ok 2 nodes');
    command.kill('SIGKILL');
    await ended(command);

    await place.must('up', spec, '--detach');

    expect((await status()).ok).toBe(true);
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });
});

// A DVS with a link of two paths: brought up from a spec, shown by `dvk proxy`, its paths forbidden
// and preferred while it runs, with the errors of what cannot be. Promise S1: nothing of it listens
// beyond this machine, since nobody said so.
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { PathStatistics } from '../../src/proxies/path.ts';
import { TestPlace } from '../support/dvk-command.ts';
import { listensAt } from '../support/listening.ts';

interface ProxyInfo {
  stats: {
    settings: { holdMs: number };
    peers: { node: number; paths: PathStatistics[] }[];
  };
}

let place: TestPlace;

beforeEach(() => {
  place = new TestPlace();
});

afterEach(async () => {
  await place.run('down');
  await place.end();
});

async function pathsOf(wanted: (paths: PathStatistics[]) => boolean): Promise<string[]> {
  for (;;) {
    const { stats } = await place.json<ProxyInfo>('proxy', 'info', '0');
    const paths = stats.peers.find(({ node }) => node === 1)?.paths ?? [];
    if (!wanted(paths)) continue;
    return paths.map(({ path, state, carries }) => `${path} ${state}${carries ? ' carries' : ''}`);
  }
}

/** Where the proxies and the daemons of the nodes listen. */
async function everywhere(): Promise<string[]> {
  const tables = await Promise.all(
    (['proxy', 'node'] as const).map(async (what) =>
      place.json<{ items: { pid: number }[] }>(what, 'ls'),
    ),
  );
  const pids = tables.flatMap(({ items }) => items.map(({ pid }) => pid));
  expect(pids.length).toBe(4);
  return pids.flatMap(listensAt);
}

it('has paths that are all up, and goes over those that may be used', async () => {
  const spec = place.spec('paths.yaml', [
    'dvs: paths',
    'nodes: [{ id: 0 }, { id: 1 }]',
    'holdMs: 2500',
    'links: [{ nodes: [0, 1], paths: [{ transport: tcp }, { transport: udp, name: spare }] }]',
    'containers: [{ name: mol }]',
  ]);
  await place.must('up', spec, '--detach');
  // The first path that is up carries until a better one has been up for a while.
  const hasSettled = (paths: PathStatistics[]): boolean =>
    paths.every(({ state }) => state === 'up') && paths[0]?.carries === true;
  expect(await pathsOf(hasSettled)).toEqual(['tcp up carries', 'spare up']);
  const { stats } = await place.json<ProxyInfo>('proxy', 'info', '1');
  expect(stats.settings.holdMs).toBe(2500);
  expect((await place.must('proxy', 'ls')).stdout).toContain('1 (tcp + spare)');
  const [tcp, udp] = ['tcp 127.0.0.1', 'udp 127.0.0.1'];
  expect(await everywhere()).toEqual([tcp, udp, tcp, udp]);

  await place.must('proxy', 'set', '0', '--peer', '1', '--forbid', 'tcp');
  const isSpare = ([, spare]: PathStatistics[]): boolean => spare?.carries === true;
  expect(await pathsOf(isSpare)).toEqual(['tcp forbidden', 'spare up carries']);

  for (const [args, why] of [
    [['1', '--peer', '0', '--prefer', 'spare'], 'node 0 chooses which path carries'],
    [['0', '--peer', '1', '--forbid', 'spare'], 'there would be no path left'],
    [['0', '--peer', '1', '--allow', 'udp'], 'has no path udp, but tcp, spare'],
    [['0', '--forbid', 'spare'], 'it is not clear which paths are meant'],
  ] as const) {
    const { code, stderr } = await place.run('proxy', 'set', ...args);
    expect([code === 0, stderr]).toEqual([false, expect.stringContaining(why)]);
  }
});

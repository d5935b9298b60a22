// A DVS of three nodes on this machine: it comes up, is seen, loses parts and gets them back, and
// goes away. Method: the built command, as a user runs it, under a runtime directory of the test's
// own.
import { spawnSync } from 'node:child_process';
import { chmodSync, closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DvsStatus } from '../../src/cli/inspect.ts';
import type { PeerStatistics } from '../../src/proxies/engine.ts';
import { ended, TestPlace, whyNoMounts, wrote } from '../support/dvk-command.ts';

interface Items<T = Record<string, unknown>> {
  readonly ok?: boolean;
  readonly items: readonly T[];
}

const BARE = ['nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]', 'containers: [{ name: mol }]'];

let place: TestPlace;

beforeEach(() => {
  place = new TestPlace();
});

afterEach(async () => {
  await place.end();
});

async function status(): Promise<DvsStatus> {
  const [dvs] = (await place.json<Items<DvsStatus>>('status')).items;
  if (dvs === undefined) throw new Error('no DVS');
  return dvs;
}

describe('a DVS of three nodes', () => {
  it('comes up, is listed, and goes away', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);

    const up = await place.must('up', spec, '--detach');
    expect(up.stdout).toBe('');
    expect(up.stderr).toMatch(/ok 3 nodes.*\n.*ok links: 3 over TCP/);

    const seen = await status();
    expect(seen).toMatchObject({ dvs: 'bare', state: 'running', ok: true, problems: [] });
    expect(seen.nodes.map(({ state }) => state)).toEqual(['up', 'up', 'up']);
    expect(seen.links.map(({ nodes, state }) => [nodes, state])).toEqual([
      [[0, 1], 'up'],
      [[0, 2], 'up'],
      [[1, 2], 'up'],
    ]);
    expect((await place.must('status')).stdout).toContain('Everything is up.');
    for (const noun of ['node', 'proxy']) {
      expect((await place.json<Items>(noun, 'ls')).items).toHaveLength(3);
      expect(await place.json(noun, 'info', '1')).toMatchObject({ state: 'up' });
    }
    expect((await place.json<Items>('dc', 'ls')).items).toMatchObject([
      { name: 'mol', id: 0, processes: 1024, nodes: [{ node: 0 }, { node: 1 }, { node: 2 }] },
    ]);
    expect(await place.json('dc', 'info', 'mol')).toMatchObject({ name: 'mol' });
    expect(await place.json('proc', 'ls')).toEqual({ items: [] });
    expect(await place.json('service', 'ls')).toEqual({ items: [] });
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
    expect((await place.must('down')).stderr).toContain('nothing to bring down');
    expect((await place.run('status')).code).toBe(1);
  });

  it('tells what its proxies counted, and changes them while they run', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    await place.must('up', spec, '--detach');
    interface Told {
      node: number;
      stats: { settings: Record<string, number>; incarnation: string; peers: PeerStatistics[] };
    }

    const { items } = await place.json<Items<Told>>('proxy', 'stats');
    const text = (await place.must('proxy', 'stats', '--prometheus')).stdout;
    const changed = await place.json<Items>('proxy', 'set', '1', 'keepaliveMs=200', 'deadMs=900');
    const wrong = await place.run('proxy', 'set', '1', 'keepaliveMs=200', 'deadMs=599');
    const after = await place.json<Items<Told>>('proxy', 'stats', '1');

    expect(items.map(({ node }) => node)).toEqual([0, 1, 2]);
    const [first, second] = items as [Told, Told];
    expect(first.stats.peers[0]).toMatchObject({
      ...{ node: 1, state: 'up', transport: 'tcp', incarnation: second.stats.incarnation },
      quality: { packetsLost: 0, rekeys: null },
      traffic: [{ dcId: 0, state: 'up', queued: 0, queueLimit: 1024 }],
    });
    expect(first.stats.peers[0]?.quality?.rttMs).toBeGreaterThan(0);
    expect(text).toMatch(/^dvk_proxy_link_up\{dvs="bare",node="2",peer="0",transport="tcp"\} 1$/m);
    expect(changed.items).toEqual([
      { name: 'keepaliveMs', before: 500, after: 200 },
      { name: 'deadMs', before: 1500, after: 900 },
    ]);
    expect([wrong.code, wrong.stderr]).toEqual([
      1,
      expect.stringContaining('deadMs (599) is less'),
    ]);
    expect(after.items[0]?.stats.settings).toMatchObject({ keepaliveMs: 200, deadMs: 900 });
    expect((await place.run('proxy', 'set', '1', 'keepaliveMs')).code).toBe(2);
    expect((await place.must('proxy', 'set', '1')).stdout).toMatch(/^keepaliveMs +200 +ms /m);
    expect((await place.must('proxy', 'stats')).stdout).toMatch(
      /proxy of node 2: up for .* sealed/,
    );
    expect((await status()).ok).toBe(true);
    await place.must('down');
  });

  it('says what may not be in the tables of a container', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    await place.must('up', spec, '--detach');
    interface Checked {
      ok: boolean;
      items: { node: number; state: string; faults: string[]; segment: string }[];
    }
    const before = await place.json<Checked>('dc', 'check', 'mol');
    expect(before.ok).toBe(true);
    expect(before.items.map(({ state }) => state)).toEqual(['whole', 'whole', 'whole']);
    const file = openSync(before.items[2]?.segment ?? '', 'r+');
    // That a free slot has a message of senda; see ProcessSlot in docs/wire.md.
    writeSync(file, Uint8Array.of(1), 0, 1, 4096 + 70 * 512 + 120);
    closeSync(file);

    const after = await place.run('dc', 'check', 'mol');

    expect(after.code).toBe(1);
    expect(after.stdout).toContain('node 2: slot 70: free, and has messages of senda');
    await place.must('down');
  });

  it('is refused a second time, with what to do', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    await place.must('up', spec, '--detach');

    const again = await place.run('up', spec, '--detach');

    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/DVS bare is up already[^]*dvk down/);
    expect((await status()).ok).toBe(true);
    await place.must('down');
  });

  it('runs beside another one', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    await Promise.all([
      place.must('up', spec, '--detach'),
      place.must('up', spec, '--detach', '--name', 'other'),
    ]);

    const both = await place.json<Items<DvsStatus>>('status');
    expect(both).toMatchObject({ ok: true, items: [{ dvs: 'bare' }, { dvs: 'other' }] });
    expect((await place.run('node', 'ls')).stderr).toContain('Say which one with --name');

    await place.must('down', '--name', 'bare');
    expect(await status()).toMatchObject({ dvs: 'other', ok: true });
    await place.must('down', '--all');
    expect(place.leftovers()).toEqual([]);
  });

  it('stays in the foreground until a signal comes, and then goes away', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    const command = place.start('up', spec);
    await wrote(command, 'stderr', 'Ctrl-C brings the DVS down');

    command.kill('SIGINT');

    expect((await ended(command)).code).toBe(0);
    expect(place.leftovers()).toEqual([]);
  });

  it('undoes everything when a signal comes while it starts', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    const command = place.start('up', spec);
    await wrote(command, 'stderr', 'ok 3 nodes');

    command.kill('SIGTERM');

    const { code, stderr } = await ended(command);
    expect(code).toBe(1);
    expect(stderr).toContain('error: interrupted');
    expect(place.leftovers()).toEqual([]);
  });

  it('ends its foreground command when another one brings it down', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    const command = place.start('up', spec);
    await wrote(command, 'stderr', 'Ctrl-C');

    await place.must('down');

    expect(await ended(command)).toMatchObject({ code: 0 });
    expect(place.leftovers()).toEqual([]);
  });

  it('names a node that was killed, and takes it back', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    await place.must('up', spec, '--detach');
    const before = await status();
    process.kill(before.nodes[1]?.pid ?? 0, 'SIGKILL');
    await expect.poll(async () => (await status()).nodes[1]?.state, { timeout: 5000 }).toBe('down');

    const down = await place.run('status');
    expect(down.code).toBe(1);
    expect(down.stdout).toContain('node 1 is down\n  -> dvk node start 1 --name bare');
    expect((await place.run('up', spec, '--detach')).stderr).toContain('nodes 0, 2 only');

    await place.must('node', 'start', '1');
    const after = await status();
    expect(after.ok).toBe(true);
    expect(after.proxies[1]?.address).toBe(before.proxies[1]?.address);
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });

  it('stops and starts a node and a proxy on request', async () => {
    await place.must('up', place.spec('bare.yaml', ['dvs: bare', ...BARE]), '--detach');

    await place.must('node', 'stop', 'node2');
    expect((await status()).problems).toMatchObject([{ what: 'node 2 is down' }]);
    await place.must('node', 'start', 'node2');
    await place.must('proxy', 'stop', '0');
    expect((await status()).problems).toMatchObject([{ remedy: 'dvk proxy start 0 --name bare' }]);
    await place.must('proxy', 'start', '0');

    expect((await status()).ok).toBe(true);
    await place.must('down');
  });
});

describe('a command', () => {
  it('says what is wrong with its arguments, with exit code 2', async () => {
    const cases: readonly (readonly [readonly string[], string])[] = [
      [['upp'], 'Did you mean up?'],
      [['up', '--nodes', 'many'], 'give a whole number'],
      [['up', '/nowhere/spec.yaml'], 'the spec /nowhere/spec.yaml cannot be read: ENOENT'],
      [['up', place.spec('bad.yaml', ['dvs: x', 'nodes: 7'])], 'bad.yaml:2: key nodes: this is'],
      [['up', place.spec('good.yaml', ['dvs: x', ...BARE]), '--nodes', '2'], '--nodes is for the'],
      [['status', '--runtime', '/proc/x'], 'is not in memory'],
    ];

    for (const [args, expected] of cases) {
      const { code, stderr } = await place.run(...args);
      expect(stderr).toContain(expected);
      expect([args, code]).toEqual([args, 2]);
    }
  });

  it('says what is wrong with the DVS, with exit code 1', async () => {
    const image = place.spec('image.yaml', [
      'dvs: x',
      'nodes: [{ id: 0 }]',
      'containers:',
      '  - name: mol',
      '    services: [{ name: fs, kind: fs, node: 0, slot: 1, image: ./none }]',
    ]);

    const missing = await place.run('up', image, '--detach');
    expect(missing.stderr).toMatch(/the image .*none of service fs cannot be read: ENOENT/);
    expect(missing.code).toBe(1);
    expect((await place.run('node', 'info', '0')).code).toBe(1);
    expect(place.leftovers()).toEqual([]);
  });
});

describe.skipIf(whyNoMounts() !== undefined)(`services (${whyNoMounts() ?? 'with mounts'})`, () => {
  let tree: string;
  let mount: string;
  let spec: string;

  beforeEach(() => {
    const made = place.image();
    tree = made.tree;
    mount = join(place.files, 'deep/mnt');
    spec = place.spec('fs.yaml', [
      'dvs: withfs',
      'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      '      - { name: root, kind: fuse, node: 0, server: fs, mount: deep/mnt }',
      '      - { name: fs, kind: fs, node: 1, slot: 1, image: ./image }',
    ]);
  });

  function differences(): string {
    return spawnSync('diff', ['-r', tree, mount], { encoding: 'utf8', timeout: 30_000 }).stdout;
  }

  it('serve the image on another node than the one it is mounted on', async () => {
    const up = await place.must('up', spec, '--detach');

    expect(up.stdout).toBe(`mount ${mount}\n`);
    expect(differences()).toBe('');
    expect((await status()).mounts).toMatchObject([{ path: mount, state: 'up' }]);
    const processes = (await place.json<Items>('proc', 'ls')).items;
    expect(processes).toContainEqual(expect.objectContaining({ name: 'fs', node: 1, slot: 1 }));

    await place.must('down');
    expect(place.leftovers()).toEqual([]);
    expect(existsSync(join(place.files, 'deep'))).toBe(false);
  });

  it('are named when they die, and work again when they are started', async () => {
    await place.must('up', spec, '--detach');

    for (const name of ['fs', 'root']) {
      const { services } = await status();
      process.kill(services.find((one) => one.spec.name === name)?.pid ?? 0, 'SIGKILL');
      await expect
        .poll(async () => (await status()).problems, { timeout: 10_000 })
        .toEqual([
          {
            what: `service ${name} is down: was ended by SIGKILL`,
            remedy: `dvk service start ${name} --name withfs`,
          },
        ]);
      await place.must('service', 'start', name);
      expect(differences()).toBe('');
      expect((await status()).ok).toBe(true);
    }
    await place.must('service', 'restart', 'fs');
    expect(differences()).toBe('');
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });

  it('are refused a mount point that is in use', async () => {
    await place.must('up', spec, '--detach');

    const other = await place.run('up', spec, '--detach', '--name', 'other');

    expect(other.code).toBe(1);
    expect(other.stderr).toContain(`the mount point ${mount} is in use`);
    expect(differences()).toBe('');
    await place.must('down', '--name', 'withfs');
    expect(place.leftovers()).toEqual([]);
  });
});

// What another user hears who comes to the socket: how the connection ended.
const CALLER = `
  const socket = require('node:net').connect(process.argv[1]);
  socket.write('{"id":1,"call":"stop","arguments":{}}\\n');
  socket.on('error', () => undefined).on('data', (chunk) => console.log('answered', String(chunk)));
  socket.on('close', () => console.log('closed'));`;

// What another user comes to: it lists, opens, connects and signals, and says the codes of that.
const INTRUDER = `
  const { openSync, readdirSync } = require('node:fs');
  const [directory, pid] = process.argv.slice(1);
  const codes = [];
  const attempt = (action) => {
    try { action(); codes.push('none'); } catch (error) { codes.push(error.code); }
  };
  attempt(() => readdirSync(directory));
  attempt(() => openSync(directory + '/node1/dc-mol.seg', 'r'));
  attempt(() => process.kill(Number(pid), 'SIGCONT'));
  require('node:net').connect(directory + '/node1/daemon.sock')
    .on('connect', () => { console.log(...codes, 'none'); process.exit(); })
    .on('error', ({ code }) => { console.log(...codes, code); });`;

describe('S7: what a DVS has', () => {
  it('is of its owner alone, and another user comes to nothing', async () => {
    const spec = place.spec('bare.yaml', ['dvs: bare', ...BARE]);
    await place.must('up', spec, '--detach');
    const directory = join(place.runtime, 'bare');

    for (const name of ['cluster/node1/node.crt', 'node1/wake', 'node1/log']) {
      expect(existsSync(join(directory, name)), name).toBe(true);
    }
    const open = spawnSync('find', [directory, '-perm', '/077'], { encoding: 'utf8' });
    expect([open.stdout, open.stderr]).toEqual(['', '']);
    if (process.getuid?.() === 0) {
      // The folder of the test is not what keeps the other user out.
      chmodSync(place.runtime, 0o755);
      const pid = String((await status()).nodes[1]?.pid);
      const user = ['--reuid=65534', '--regid=65534', '--clear-groups'];
      const program = [process.execPath, '-e', INTRUDER, directory, pid];
      const { stdout } = spawnSync('setpriv', [...user, ...program], { encoding: 'utf8' });
      expect(stdout).toBe('EACCES EACCES EPERM EACCES\n');

      // Nor are the modes all that does (S8): who connects is asked for.
      const socket = join(directory, 'node1/daemon.sock');
      for (const path of [directory, dirname(socket)]) chmodSync(path, 0o755);
      chmodSync(socket, 0o666);
      const caller = [process.execPath, '-e', CALLER, socket];
      const heard = spawnSync('setpriv', [...user, ...caller], { encoding: 'utf8' });
      chmodSync(place.runtime, 0o700);
      expect(heard.stdout).toBe('closed\n');
      const log = readFileSync(join(directory, 'node1/log/daemon.log'), 'utf8');
      expect(log).toMatch(/"event":"caller.refused","pid":\d+,"uid":65534,/);
      expect((await status()).ok).toBe(true);
    }
    await place.must('down');
  });
});

// A DVS whose links are over raw Ethernet, one of them over TCP: brought up from a spec, its mount
// read through a server on another node, its links shown by `dvk proxy info`, and taken down again.
// Then specs that cannot be brought up. Method: all nodes are in one network namespace that the
// test makes; nodes 0 and 1 are at the ends of a veth pair.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CommandResult } from '../support/dvk-command.ts';
import { MAIN, TestPlace, whyNoMounts } from '../support/dvk-command.ts';
import { Namespace, whyNoNamespaces } from '../support/network-namespaces.ts';

interface ProxyInfo {
  address: string;
  stats: {
    sealed: boolean;
    peers: { node: number; transport: string; remote: string; quality: object | null }[];
  };
}

const skipped = whyNoNamespaces();

describe('a DVS over Ethernet', () => {
  let place: TestPlace;
  let namespace: Namespace;

  beforeEach((ctx) => {
    if (skipped !== undefined) ctx.skip(skipped);
    namespace = new Namespace();
    namespace.ip('link add va type veth peer name vb');
    for (const name of ['va', 'vb', 'lo']) namespace.ip(`link set ${name} up`);
    place = new TestPlace(namespace.runner);
  });

  afterEach(async () => {
    if (skipped !== undefined) return;
    await place.run('down');
    await place.end();
    namespace.remove();
  });

  it('serves a mount from another node, and tells how its links go', async (ctx) => {
    const noMounts = whyNoMounts();
    if (noMounts !== undefined) ctx.skip(noMounts);
    const { image, tree } = place.image(8 << 20);
    const mountpoint = join(place.files, 'mnt');
    mkdirSync(mountpoint);
    const spec = place.spec('ethernet.yaml', [
      'dvs: frames',
      'nodes:',
      '  - { id: 0, ethernet: va }',
      `  - { id: 1, ethernet: vb/${namespace.mac('vb')} }`,
      '  - { id: 2 }',
      'transport: tcp',
      'links: [{ nodes: [0, 1], transport: ethernet }]',
      'etherType: 0x88b6',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${image} }`,
      `      - { name: root, kind: fuse, node: 0, server: fs, mount: ${mountpoint} }`,
    ]);

    const up = await place.must('up', spec, '--detach');
    expect(up.stdout).toBe(`mount ${mountpoint}\n`);
    expect(up.stderr).toContain('3 over TCP and Ethernet, sealed');
    execFileSync('diff', ['-r', tree, mountpoint]);

    const { address, stats } = await place.json<ProxyInfo>('proxy', 'info', '1');
    const [toGateway, toOther] = stats.peers;
    expect(address).toMatch(/^127\.0\.0\.1:(\d+) ethernet:\/\/vb\/[0-9a-f:]{17}:\1$/);
    expect(stats.sealed).toBe(true);
    expect(toGateway).toMatchObject({ node: 0, transport: 'ethernet', certificate: { node: 0 } });
    expect(toGateway?.remote).toContain(namespace.mac('va'));
    expect(toGateway?.quality).toMatchObject({ datagramBytes: 1492 });
    expect(toOther).toMatchObject({ node: 2, transport: 'tcp', quality: { timeouts: null } });
    const { stdout } = await place.must('proxy', 'info', '1');
    expect(stdout).toMatch(/^ *0 +up .* ethernet +\d+\.\d\d ms +\d+\.\d % +1492 B/m);

    // A proxy that is started again is found at its station of before.
    await place.must('proxy', 'stop', '1');
    await place.must('proxy', 'start', '1');
    execFileSync('diff', ['-r', tree, mountpoint]);
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });

  it('has nodes that share an interface, and one that is in plain text says so', async () => {
    const spec = place.spec('ethernet.yaml', [
      'dvs: d',
      'transport: ethernet',
      'nodes: [{ id: 0, ethernet: lo }, { id: 1, ethernet: lo }, { id: 2, ethernet: lo }]',
    ]);

    const { stderr } = await place.must('up', spec, '--detach', '--insecure');
    const { stdout } = await place.must('proxy', 'ls');

    expect(stderr).toContain('INSECURE: links between nodes are in plain text');
    expect(stderr).toContain('3 over Ethernet, INSECURE');
    expect(stdout.match(/ethernet:\/\/lo\/00:00:00:00:00:00:\d+/g)?.length).toBe(3);
  });

  it.each([
    ['without its interface', 'v9', 'ENODEV: there is no interface v9 here'],
    ['with another interface of that name', 'vb/02:00:00:00:00:01', 'not 02:00:00:00:00:01'],
    ['with an address that is none', 'vb/02:00', '"vb/02:00" is no interface; write it as eth1'],
  ])('does not come up %s', async (_, ethernet, why) => {
    const { code, stderr } = await place.run('up', twoNodes(ethernet), '--detach');

    expect(code).not.toBe(0);
    expect(stderr).toContain(why);
  });

  it('does not come up without CAP_NET_RAW, which `dvk doctor` misses', async () => {
    const without = (...args: string[]): CommandResult => {
      const [program = '', ...rest] = namespace.runner;
      const command = ['setpriv', '--bounding-set=-net_raw', process.execPath, MAIN, ...args];
      const options = { env: place.environment };
      const { status, stdout, stderr } = spawnSync(program, [...rest, ...command], options);
      return { code: status, stdout: stdout.toString(), stderr: stderr.toString(), ms: 0 };
    };

    const up = without('up', twoNodes('vb'), '--detach');
    const doctor = without('doctor');
    const { stdout } = await place.run('doctor');

    expect(up.code).not.toBe(0);
    expect(up.stderr).toContain('links over Ethernet need the capability CAP_NET_RAW');
    expect(doctor.stdout).toMatch(/^raw Ethernet +warn +no CAP_NET_RAW: links over Ethernet/m);
    expect(doctor.stdout).toContain('raw Ethernet: Run dvk as root, or give');
    expect(stdout).toMatch(/^raw Ethernet +ok +links over Ethernet work/m);
  });

  function twoNodes(ethernet: string): string {
    return place.spec('bad.yaml', [
      'dvs: bad',
      'transport: ethernet',
      `nodes: [{ id: 0, ethernet: va }, { id: 1, ethernet: '${ethernet}' }]`,
    ]);
  }
});

// A DVS whose links are over UDP, one of them over TCP: brought up from a spec, its mount read
// through a server on another node, its links shown by `dvk proxy info`, and taken down again.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TestPlace, whyNoMounts } from '../support/dvk-command.ts';

interface ProxyInfo {
  stats: {
    sealed: boolean;
    peers: {
      node: number;
      transport: string;
      bytesReceived: number;
      quality: { datagramBytes: number; packetsReceived: number } | null;
    }[];
  };
}

const skipped = whyNoMounts();

describe('a DVS over UDP', () => {
  let place: TestPlace;

  beforeEach(() => {
    place = new TestPlace();
  });

  afterEach(async () => {
    await place.run('down');
    await place.end();
  });

  it('serves a mount from another node, and tells how its links go', async (ctx) => {
    if (skipped !== undefined) ctx.skip(skipped);
    const { image, tree } = place.image(8 << 20);
    const mountpoint = join(place.files, 'mnt');
    mkdirSync(mountpoint);
    const spec = place.spec('udp.yaml', [
      'dvs: datagrams',
      'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]',
      'transport: udp',
      'links: [{ nodes: [1, 2], transport: tcp }]',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${image} }`,
      `      - { name: root, kind: fuse, node: 0, server: fs, mount: ${mountpoint} }`,
    ]);

    const up = await place.must('up', spec, '--detach');
    expect(up.stdout).toBe(`mount ${mountpoint}\n`);
    execFileSync('diff', ['-r', tree, mountpoint]);

    const { stats } = await place.json<ProxyInfo>('proxy', 'info', '1');
    const [toGateway, toOther] = stats.peers;
    expect(toGateway).toMatchObject({ node: 0, transport: 'udp', certificate: { node: 0 } });
    expect(stats.sealed).toBe(true);
    expect(toGateway?.quality?.packetsReceived).toBeGreaterThan(100);
    expect(toOther).toMatchObject({ node: 2, transport: 'tcp', quality: { timeouts: null } });
    expect(toOther?.quality?.packetsReceived).toBeGreaterThan(0);
    const { stdout } = await place.must('proxy', 'info', '1');
    expect(stdout).toMatch(/^ *0 +up .* udp +\d+\.\d\d ms +\d+\.\d % +\d+ B/m);
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });

  it('says loudly that it is in plain text with --insecure', async (ctx) => {
    if (skipped !== undefined) ctx.skip(skipped);
    const spec = place.spec('udp.yaml', [
      'dvs: d',
      'transport: udp',
      'nodes: [{ id: 0 }, { id: 1 }]',
    ]);

    const { stderr } = await place.must('up', spec, '--detach', '--insecure');
    const { stdout } = await place.must('proxy', 'info', '0');

    expect(stderr).toContain('INSECURE: links between nodes are in plain text');
    expect(stdout).toContain('INSECURE: links between nodes are in plain text');
  });
});

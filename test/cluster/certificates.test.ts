// dvk init, dvk cert, and what a DVS does with certificates: made without asking, kept, renewed,
// denied, missing. Method: the built command, as a user runs it, in directories of the test's own.
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CertificateReport } from '../../src/cli/cluster-directory.ts';
import type { DvsStatus } from '../../src/cli/inspect.ts';
import { issue } from '../../src/cli/x509.ts';
import { around } from '../support/certificates.ts';
import { TestPlace } from '../support/dvk-command.ts';

interface Items<T> {
  readonly items: readonly T[];
}

let place: TestPlace;
let spec: string;

beforeEach(() => {
  place = new TestPlace();
  const nodes = 'nodes: [{ id: 0 }, { id: 1 }, { id: 2 }]';
  spec = place.spec('bare.yaml', ['dvs: bare', nodes, 'containers: [{ name: mol }]']);
});

afterEach(async () => {
  await place.end();
});

async function status(): Promise<DvsStatus> {
  const [dvs] = (await place.json<Items<DvsStatus>>('status')).items;
  if (dvs === undefined) throw new Error('no DVS');
  return dvs;
}

async function until(wanted: (dvs: DvsStatus) => boolean): Promise<DvsStatus> {
  for (;;) {
    const dvs = await status();
    if (wanted(dvs)) return dvs;
  }
}

function modeOf(...path: string[]): number {
  return statSync(join(...path)).mode & 0o777;
}

describe('dvk init', () => {
  it('makes a CA and a certificate for each node of the spec, with private keys', async () => {
    const { items } = await place.json<Items<CertificateReport>>('init', spec);

    const root = join(place.clusters, 'bare');
    expect(items.map(({ node, name, state }) => [node, name, state])).toEqual([
      [0, 'node0', 'good'],
      [1, 'node1', 'good'],
      [2, 'node2', 'good'],
    ]);
    expect([modeOf(root, 'ca.key'), modeOf(root, 'node1/node.key')]).toEqual([0o600, 0o600]);
    expect(modeOf(root, 'node1')).toBe(0o700);
    const listed = await place.json<Items<CertificateReport>>('cert', 'ls', '--name', 'bare');
    expect(listed.items.map(({ kind }) => kind)).toEqual(['ca', 'node', 'node', 'node']);
    expect(await place.json('cert', 'info', 'node2', '--name', 'bare')).toMatchObject({ node: 2 });
  });

  it('writes over nothing, and says what to do', async () => {
    await place.must('init', spec);
    const key = readFileSync(join(place.clusters, 'bare/ca.key'), 'utf8');

    const again = await place.run('init', spec);

    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/has a CA already[^]*dvk init --renew/);
    expect(readFileSync(join(place.clusters, 'bare/ca.key'), 'utf8')).toBe(key);
  });

  it('--renew keeps the CA and gives every node another certificate', async () => {
    const [first] = [await place.json<Items<CertificateReport>>('init', spec)];

    const args = ['init', '--renew', '--name', 'bare', '--days', '20'];
    const second = await place.json<Items<CertificateReport>>(...args);

    expect(second.items.map(({ node, name }) => [node, name])).toEqual(
      first.items.map(({ node, name }) => [node, name]),
    );
    const serials = [...first.items, ...second.items].map(({ serial }) => serial);
    expect(new Set(serials).size).toBe(6);
    expect(second.items.map(({ state }) => state)).toEqual(['ending', 'ending', 'ending']);
  });

  it.each([
    [['cert', 'ls', '--name', 'nowhere'], 1, /cannot be read[^]*dvk init/],
    [['cert', 'issue', '1', '--name', 'nowhere'], 1, /cannot be read[^]*dvk init/],
    [['init', '--days', '0'], 2, /whole number from 1 to 3650/],
    [['init', 'no-such.yaml'], 2, /no-such.yaml cannot be read/],
    [['cert', 'issue', 'one'], 2, /whole number/],
  ] as const)('and dvk cert name what is wrong: dvk %j', async (args, code, text) => {
    const result = await place.run(...args);

    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(text);
  });

  it('is needed to issue: a directory without the key of the CA says so', async () => {
    await place.must('init', spec);
    rmSync(join(place.clusters, 'bare/ca.key'));

    const result = await place.run('cert', 'issue', '1', '--name', 'bare');

    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/the key of the CA cannot be read[^]*where `dvk init` was run/);
  });
});

describe('dvk up', () => {
  it('makes certificates of its own when there are none, and takes them away', async () => {
    await place.must('up', spec, '--detach');

    const dvs = await status();
    expect(dvs.security).toMatchObject({ mode: 'sealed', reason: null });
    expect(dvs.security.directory).toBe(join(place.runtime, 'bare/cluster'));
    expect(dvs.proxies.map(({ stats }) => stats?.sealed)).toEqual([true, true, true]);
    const [zero] = dvs.proxies;
    const { serial } = dvs.security.certificates[1]!;
    expect(zero?.stats?.peers[0]?.certificate).toMatchObject({ node: 1, name: 'node1', serial });
    await place.must('down');
    expect(place.leftovers()).toEqual([]);
  });

  it('takes those of dvk init, and refuses what would not serve', async () => {
    await place.must('init', spec);
    await place.must('up', spec, '--detach');
    expect((await status()).security.directory).toBe(join(place.clusters, 'bare'));
    await place.must('down');
    expect(existsSync(join(place.clusters, 'bare/ca.key'))).toBe(true);

    const four = place.spec('four.yaml', ['dvs: bare', 'nodes: [{ id: 0 }, { id: 3, name: x }]']);
    const missing = await place.run('up', four, '--detach');
    const other = await place.run(
      'up',
      four,
      '--detach',
      '--name',
      'other',
      '--cluster',
      join(place.clusters, 'bare'),
    );

    expect(missing.stderr).toMatch(/node 3 has no certificate[^]*dvk cert issue 3 --as x/);
    expect(other.stderr).toMatch(/are for DVS bare, not for other/);
    expect([missing.code, other.code]).toEqual([1, 1]);
    expect(place.leftovers()).toEqual([]);
  });

  it('refuses a certificate that expired, by file and remedy', async () => {
    await place.must('init', spec);
    const root = join(place.clusters, 'bare');
    const read = (name: string): string => readFileSync(join(root, name), 'utf8');
    const authority = { certificate: read('ca.crt'), key: read('ca.key') };
    const identity = { dvs: 'bare', node: 1, name: 'node1' };
    const { certificate } = issue(authority, identity, around(-5));
    writeFileSync(join(root, 'node1/node.crt'), certificate);

    const { code, stderr } = await place.run('up', spec, '--detach');

    expect(code).toBe(1);
    expect(stderr).toMatch(/certificate of node 1 expired at 2.*node1\/node\.crt\n.*cert issue 1/);
  });

  it('--insecure says so wherever one looks', async () => {
    const up = await place.must('up', spec, '--detach', '--insecure');

    const warning = 'INSECURE: links between nodes are in plain text';
    expect(up.stderr).toContain(warning);
    const dvs = await status();
    expect(dvs).toMatchObject({ ok: true, security: { mode: 'insecure', directory: null } });
    expect(dvs.warnings[0]?.what).toContain(warning);
    expect((await place.must('status')).stdout).toContain(warning);
    expect((await place.must('proxy', 'info', '1')).stdout).toContain(warning);
    expect((await place.run('doctor')).stdout).toMatch(
      /links +warn +INSECURE, in plain text: DVS bare/,
    );
    const log = readFileSync(join(place.runtime, 'bare/node2/log/daemon.log'), 'utf8');
    expect(log).toContain('"event":"node.insecure"');
    await place.must('down');
  });
});

describe('a certificate of a DVS that runs', () => {
  it('is denied: its links are closed with the reason, until it has another', async () => {
    await place.must('init', spec);
    await place.must('up', spec, '--detach');

    const denied = await place.must('cert', 'deny', '2');
    const down = await until(
      ({ links }) => links.filter(({ state }) => state === 'down').length === 2,
    );

    expect(denied.stderr).toContain('node 2 keeps the ones before');
    for (const { nodes, state, reason } of down.links) {
      if (state === 'up') expect(nodes).toEqual([0, 1]);
      else
        expect(reason).toMatch(/^certificate: .*node 2 .* is on the deny list; `dvk cert issue 2`/);
    }
    const problems = down.problems.map(({ what }) => what).join();
    expect(problems).toMatch(/the certificate of node 2 \(serial \w+\) is on the deny list/);
    expect((await place.must('proxy', 'info', '0')).stdout).toContain('is on the deny list');
    await place.must('cert', 'issue', '2');
    await until(({ ok }) => ok);
    await place.must('down');
  });

  it('is renewed for all nodes without a link going down', async () => {
    await place.must('up', spec, '--detach');
    const before = await status();

    await place.must('init', '--renew');
    const after = await status();

    expect(after.links.map(({ since }) => since)).toEqual(before.links.map(({ since }) => since));
    const serials = (dvs: DvsStatus): string[] =>
      dvs.security.certificates.map((one) => one.serial);
    expect(serials(after)).not.toEqual(serials(before));
    await place.must('proxy', 'stop', '1');
    await place.must('proxy', 'start', '1');
    const [zero] = (await until(({ ok }) => ok)).proxies;
    expect(zero?.stats?.peers[0]?.certificate?.serial).toBe(serials(after)[1]);
    await place.must('down');
  });
});

// Promise S16; core dumps are in secrets.test.ts.
describe('a secret', () => {
  it('is in no argument, environment, log, answer or segment', async () => {
    await place.must('up', spec, '--detach');
    const root = join(place.runtime, 'bare');
    const keys = [0, 1, 2].map((node) => join(root, `cluster/node${String(node)}/node.key`));
    // The lines between the first and the last of a PEM file, and what they stand for.
    const secrets = [...keys, join(root, 'cluster/ca.key')].flatMap((path) => {
      const text = readFileSync(path, 'utf8').split('\n')[1] ?? '';
      const bytes = Buffer.from(text, 'base64').subarray(-32);
      return [Buffer.from(text), bytes, Buffer.from(bytes.toString('hex'))];
    });

    const told = await Promise.all(
      [
        ['status'],
        ['proxy', 'ls'],
        ['proxy', 'info', '1'],
        ['node', 'info', '1'],
        ['cert', 'ls'],
      ].map(async (args) => JSON.stringify(await place.json(...args))),
    );
    const places = [
      ...processFiles(root),
      ...readdirSync(root, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !entry.parentPath.startsWith(join(root, 'cluster')))
        .map((entry) => join(entry.parentPath, entry.name)),
    ];

    expect(places.filter((path) => path.endsWith('cmdline')).length).toBe(6);
    expect(places.filter((path) => /\.(seg|log|json)$/.test(path)).length).toBeGreaterThan(9);
    for (const secret of secrets) {
      expect(secret.length).toBeGreaterThanOrEqual(32);
      for (const text of told) expect(text.includes(secret.toString())).toBe(false);
    }
    for (const path of places) expect([path, holds(path, secrets)]).toEqual([path, false]);
    await place.must('down');
  });
});

function holds(path: string, secrets: readonly Buffer[]): boolean {
  const content = readFileSync(path);
  return secrets.some((secret) => content.includes(secret));
}

/** What anyone may ask the kernel about the processes of a DVS. */
function processFiles(root: string): string[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`DVK_DVS_DIR=${root}\0`);
      } catch {
        return false;
      }
    })
    .flatMap((pid) => [`/proc/${pid}/cmdline`, `/proc/${pid}/environ`]);
}

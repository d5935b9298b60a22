// Mounts that are coherent on demand: what one node changes, another sees at once, by stat, read,
// readdir, open and mmap, though its kernel keeps names, attributes and pages; who does not answer
// is waited for no longer than a lease lasts.
//
// Method: two nodes, FS on node 1, strict mounts on both and one that is not; Python programs with
// a time limit look through one mount at what the other has just changed.
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../../src/cli/programs.ts';
import { TestPlace, whyNoMounts } from '../support/dvk-command.ts';

const LIMIT_MS = 30_000;
const skipped = whyNoMounts();

let place: TestPlace;
let image: string;
let paths: Record<'HERE' | 'THERE' | 'PLAIN', string>;

async function python(...lines: string[]): Promise<string> {
  const head = [
    'import os, mmap, sys, time',
    "here, there, plain = (os.environ[n] for n in ('HERE', 'THERE', 'PLAIN'))",
    'def put(path, data, flags=os.O_TRUNC):',
    '    f = os.open(path, os.O_WRONLY | os.O_CREAT | flags); os.write(f, data); os.close(f)',
    'def get(path):',
    "    with open(path, 'rb') as f: return f.read()",
  ];
  const program = [...head, ...lines].join('\n');
  const options = { timeout: LIMIT_MS, env: { ...process.env, ...paths } };
  return await new Promise((resolve, reject) => {
    execFile('python3', ['-c', program], options, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program}\n${stdout}${stderr}${error.message}`));
    });
  });
}

describe.skipIf(skipped !== undefined)(`strict mounts ${skipped ?? ''}`, () => {
  beforeAll(async () => {
    place = new TestPlace();
    ({ image } = place.image(64 << 20));
    execFileSync(findProgram('debugfs') ?? 'debugfs', ['-w', '-R', 'rm big', image], {
      stdio: 'ignore',
    });
    const at = (name: string): string => join(place.files, name);
    paths = { HERE: at('here'), THERE: at('there'), PLAIN: at('plain') };
    for (const path of Object.values(paths)) mkdirSync(path);
    const strict = 'kind: fuse, server: fs, coherence: strict';
    const spec = place.spec('leases.yaml', [
      'dvs: leases',
      'nodes: [{ id: 0 }, { id: 1 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 1, slot: 1, image: ${image} }`,
      `      - { name: here, node: 0, mount: ${paths.HERE}, ${strict} }`,
      `      - { name: there, node: 1, mount: ${paths.THERE}, ${strict} }`,
      `      - { name: plain, kind: fuse, node: 0, server: fs, mount: ${paths.PLAIN} }`,
    ]);
    await place.must('up', spec, '--detach');
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    await place.run('down');
    const left = place.leftovers();
    const check = execFileSync(findProgram('e2fsck') ?? 'e2fsck', ['-fn', image]).toString();
    await place.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it('show at once what the other node changed', async () => {
    const seen = await python(
      "put(here + '/file', b'0' * 9000); os.mkdir(here + '/dir')",
      'wrong = []',
      'def check(i, what, got, wanted):',
      '    if got != wanted: wrong.append((i, what, got, wanted))',
      'for i in range(30):',
      '    a, b = (here, there) if i % 2 else (there, here)',
      "    f = os.open(b + '/file', os.O_RDONLY); os.fstat(f); os.pread(f, 20000, 0)",
      "    os.stat(b + '/dir'); os.listdir(b + '/dir')",
      "    data = b'%05d' % i * (1000 + i)",
      "    put(a + '/file', data)",
      "    check(i, 'size', os.fstat(f).st_size, len(data))",
      "    check(i, 'stat', os.stat(b + '/file').st_size, len(data))",
      "    check(i, 'read', os.pread(f, 20000, 0), data)",
      "    check(i, 'open', get(b + '/file'), data); os.close(f)",
      "    os.chmod(a + '/file', 0o600 + i % 8)",
      "    check(i, 'mode', os.stat(b + '/file').st_mode & 0o777, 0o600 + i % 8)",
      "    put(a + '/dir/name%d' % i, b'x'); check(i, 'made', get(b + '/dir/name%d' % i), b'x')",
      "    os.rename(a + '/dir/name%d' % i, a + '/dir/other')",
      "    check(i, 'old', os.path.exists(b + '/dir/name%d' % i), False)",
      "    check(i, 'new', os.listdir(b + '/dir'), ['other'])",
      "    check(i, 'there', os.path.exists(b + '/dir/other'), True)",
      "    os.unlink(a + '/dir/other')",
      "    check(i, 'gone', os.path.exists(b + '/dir/other'), False)",
      "    check(i, 'empty', os.listdir(b + '/dir'), [])",
      "    put(plain + '/file', b'plain'); check(i, 'plain', get(b + '/file'), b'plain')",
      'print(wrong)',
    );
    expect(seen).toBe('[]\n');
  });

  it('show it in what is mapped', async () => {
    const seen = await python(
      "put(here + '/mapped', b'a' * 16384)",
      "f = os.open(there + '/mapped', os.O_RDONLY); m = mmap.mmap(f, 16384, prot=mmap.PROT_READ)",
      'wrong = 0',
      'for i in range(20):',
      '    before = m[:]; letter = bytes([98 + i])',
      "    g = os.open(here + '/mapped', os.O_WRONLY); os.pwrite(g, letter * 5000, 3000)",
      "    wrong += m[3000:8000] != letter * 5000 or m[:3000] != b'a' * 3000; os.close(g)",
      'print(wrong)',
    );
    expect(seen).toBe('0\n');
  });

  it('ask nobody about what has not changed', async () => {
    const seen = await python(
      "os.mkdir(there + '/warm')",
      "for i in range(50): put(there + '/warm/%d' % i, b'x')",
      "def look(): return [os.stat(here + '/warm/%d' % i).st_size for i in range(50)]",
      'look()',
      'begin = time.monotonic()',
      'rounds = 0',
      'while time.monotonic() - begin < 0.3: look(); rounds += 1',
      'print(rounds > 0)',
    );
    expect(seen).toBe('True\n');
  });

  it('do not wait for each other when both change one directory and one file', async () => {
    const seen = await python(
      "os.mkdir(here + '/both'); put(here + '/both/log', b'')",
      'def work(base, mark):',
      '    for i in range(60):',
      "        path = base + '/both/%s%d' % (mark, i)",
      "        put(path, b'x'); put(base + '/both/log', mark.encode(), os.O_APPEND)",
      "        os.stat(base + '/both/log'); get(base + '/both/log'); os.listdir(base + '/both')",
      "        os.rename(path, path + '.done'); os.unlink(path + '.done')",
      'begin = time.monotonic()',
      'pids = []',
      "for base, mark in ((here, 'a'), (there, 'b')):",
      '    pid = os.fork()',
      '    if pid == 0: work(base, mark); os._exit(0)',
      '    pids.append(pid)',
      'codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]',
      "log = get(there + '/both/log')",
      "print(codes, log.count(b'a'), log.count(b'b'), os.listdir(here + '/both'))",
      'print(time.monotonic() - begin, file=sys.stderr)',
    );
    expect(seen).toBe("[0, 0] 60 60 ['log']\n");
  });

  it('wait for a mount that is stopped no longer than its lease, and it sees all afterwards', async () => {
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'here');
    await python(
      "put(there + '/stopped', b'old'); get(here + '/stopped'); os.stat(here + '/stopped')",
    );
    process.kill(pid, 'SIGSTOP');
    try {
      const seen = await python(
        "for i in range(5): put(there + '/stopped', b'new%d' % i)",
        "print(get(there + '/stopped'))",
      );
      expect(seen).toBe("b'new4'\n");
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(await python("print(get(here + '/stopped'), os.stat(here + '/stopped').st_size)")).toBe(
      "b'new4' 4\n",
    );
  });

  it('wait for nobody who is gone', async () => {
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'here');
    await python("put(there + '/dead', b'old'); get(here + '/dead')");
    process.kill(pid, 'SIGKILL');
    const seen = await python("put(there + '/dead', b'new'); print(get(there + '/dead'))");
    expect(seen).toBe("b'new'\n");
  });
});

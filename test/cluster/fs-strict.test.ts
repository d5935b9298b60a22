// Strict mounts: what a call on one of them has changed, the other shows at once, by whatever it is
// looked at, and still the kernel keeps what nobody changed.
//
// Method: two nodes, FS on node 1, on each a mount that is close-to-open and one that is strict.
// Programs for Python change something through one and look through the other; gateways are
// stopped and killed in between.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Segment } from '../../src/dvk/index.ts';
import { type TestPlace, whyNoMounts } from '../support/dvk-command.ts';
import { TwoMounts } from '../support/two-mounts.ts';

const skipped = whyNoMounts();
/** Little, so that whatever is bounded by it comes to its bound. */
const MEMORY = '{ cache: 4 MiB, delayed: 2 MiB, windows: 2 MiB }';
/** Those, a staging buffer, and buffers of two gateways; a page more for each of them. */
const ARENA_BYTES_MAX = (9 + 2 * 14) * (1 << 20) + 32 * 4096;

let mounts: TwoMounts;
let place: TestPlace;

/** As `python` of the mounts, where `here` and `there` are strict and `plain` is not. */
async function strict(...lines: string[]): Promise<string> {
  return await mounts.python(
    'import mmap, signal, time',
    "plain = here; here += '-strict'; there += '-strict'",
    'def put(path, data, flags=os.O_TRUNC):',
    '    f = os.open(path, os.O_WRONLY | os.O_CREAT | flags); os.write(f, data); os.close(f)',
    'def get(path):',
    "    with open(path, 'rb') as f: return f.read()",
    ...lines,
  );
}

describe.skipIf(skipped !== undefined)(`strict mounts ${skipped ?? ''}`, () => {
  beforeAll(async () => {
    mounts = await TwoMounts.start({ strict: true, memory: MEMORY });
    ({ place } = mounts);
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    const { left, check } = await mounts.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  it('show at once what the other node changed', async () => {
    const seen = await strict(
      "put(here + '/file', b'0' * 9000); os.mkdir(here + '/dir')",
      'wrong = []',
      'def check(i, what, got, wanted):',
      '    if got != wanted: wrong.append((i, what, got, wanted))',
      'for i in range(12):',
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

  it('keep what is special and was removed on the other node, for who has it', async () => {
    const seen = await strict(
      'import stat',
      "names = ['/fifo', '/socket', '/node']; os.mkfifo(there + names[0])",
      'os.mknod(there + names[1], stat.S_IFSOCK | 0o600)',
      'os.mknod(there + names[2], stat.S_IFCHR | 0o600, os.makedev(1, 3))',
      'fifo = os.open(here + names[0], os.O_RDWR)',
      'had = [fifo] + [os.open(here + name, os.O_PATH) for name in names[1:]]',
      'for name in names: os.unlink(there + name)',
      // Which would have their inode numbers.
      "for i in range(8): put(there + '/after%d' % i, b'x')",
      'print([os.fstat(f).st_nlink for f in had], len(set(os.fstat(f).st_ino for f in had)))',
      'print([os.path.lexists(here + name) for name in names])',
      'os.fchmod(fifo, 0o640); print(oct(os.fstat(fifo).st_mode))',
      "end = os.open('/proc/self/fd/%d' % fifo, os.O_RDONLY | os.O_NONBLOCK)",
      "os.write(fifo, b'goes on'); print(os.read(end, 9))",
      "for i in range(8): os.unlink(there + '/after%d' % i)",
    );
    const parts = ['[0, 0, 0] 3', '[False, False, False]', '0o10640', "b'goes on'"];
    expect(seen).toBe(`${parts.join('\n')}\n`);
  });

  it('differ in that from others by no more than when they see that a name is gone', async () => {
    const seen = await strict(
      "os.mkfifo(there + '/pipe'); p = os.open(plain + '/pipe', os.O_RDWR)",
      "os.unlink(there + '/pipe'); end = time.monotonic() + 10",
      "while os.path.lexists(plain + '/pipe') and time.monotonic() < end: time.sleep(0.01)",
      "print(os.path.lexists(plain + '/pipe'), os.fstat(p).st_nlink)",
      "os.mkfifo(there + '/pipe'); q = os.open(plain + '/pipe', os.O_RDWR | os.O_NONBLOCK)",
      "os.write(p, b'old'); os.write(q, b'new'); print(os.read(p, 9), os.read(q, 9))",
      "os.unlink(plain + '/pipe'); print(os.fstat(q).st_nlink)",
    );
    expect(seen).toBe("False 0\nb'old' b'new'\n0\n");
  });

  it('keep to the memory that is given, whatever is written', async () => {
    await mounts.sh(`
      head -c 9000001 /dev/urandom > $TREE/data
      for each in 1 2; do
        for at in $HERE $THERE $HERE-strict $THERE-strict; do
          cp $TREE/data $at/data$each & first=$!; cp $TREE/data $at/other; wait $first
          cmp $TREE/data $THERE/data$each; cmp $TREE/data $HERE-strict/data$each
        done
      done
      rm $HERE/data? $HERE/other`);
    const { nodes } = await place.json<{ nodes: { segment: string }[] }>('dc', 'info', 'mol');
    const segment = Segment.open(nodes[1]?.segment ?? '');
    try {
      expect(segment.arenaUsed()).toBeLessThanOrEqual(ARENA_BYTES_MAX);
    } finally {
      segment.close();
    }
    const { items } = await place.json<{ items: { counters: Record<string, number> }[] }>(
      ...['fs', 'info', 'fs'],
    );
    const { leaseClients, leasesRecalled = 0, windows, cacheHits = 0 } = items[0]?.counters ?? {};
    expect([leaseClients, windows]).toEqual([2, 2]);
    expect(leasesRecalled).toBeGreaterThan(0);
    expect(cacheHits).toBeGreaterThan(0);
  });

  it('show that in what is mapped, too', async () => {
    const seen = await strict(
      "put(here + '/mapped', b'a' * 16384)",
      "f = os.open(there + '/mapped', os.O_RDONLY); m = mmap.mmap(f, 16384, prot=mmap.PROT_READ)",
      'wrong = 0',
      'for i in range(8):',
      '    before = m[:]; letter = bytes([98 + i])',
      "    g = os.open(here + '/mapped', os.O_WRONLY); os.pwrite(g, letter * 5000, 3000)",
      "    wrong += m[3000:8000] != letter * 5000 or m[:3000] != b'a' * 3000; os.close(g)",
      'print(wrong)',
    );
    expect(seen).toBe('0\n');
  });

  it('keep in the kernel what was seen', async () => {
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'strict-here');
    const seen = await strict(
      "os.mkdir(there + '/warm'); files = ['/warm/%d' % i for i in range(20)]",
      "for name in files: put(there + name, b'x')",
      'def look():',
      '    for name in files: os.stat(here + name)',
      // A lease may end before the gateway stands still: then it is tried again.
      'def looks_without_gateway():',
      `    look(); os.kill(${pid}, signal.SIGSTOP); child = os.fork()`,
      '    if child == 0: look(); os._exit(0)',
      '    ended = 0; end = time.monotonic() + 2',
      '    while not ended and time.monotonic() < end:',
      '        ended = os.waitpid(child, os.WNOHANG)[0]; time.sleep(0.001)',
      `    os.kill(${pid}, signal.SIGCONT)`,
      '    if not ended: os.waitpid(child, 0)',
      '    return ended > 0',
      'print(any(looks_without_gateway() for _ in range(10)))',
    );
    expect(seen).toBe('True\n');
  });

  it('may both change one directory and one file', async () => {
    const seen = await strict(
      "os.mkdir(here + '/both'); put(here + '/both/log', b'')",
      'def work(base, mark):',
      '    for i in range(25):',
      "        path = base + '/both/%s%d' % (mark, i)",
      "        put(path, b'x'); put(base + '/both/log', mark.encode(), os.O_APPEND)",
      "        os.stat(base + '/both/log'); get(base + '/both/log'); os.listdir(base + '/both')",
      "        os.rename(path, path + '.done'); os.unlink(path + '.done')",
      'pids = []',
      "for base, mark in ((here, 'a'), (there, 'b')):",
      '    pid = os.fork()',
      '    if pid == 0: work(base, mark); os._exit(0)',
      '    pids.append(pid)',
      'codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]',
      "log = get(there + '/both/log')",
      "print(codes, log.count(b'a'), log.count(b'b'), os.listdir(here + '/both'))",
    );
    expect(seen).toBe("[0, 0] 25 25 ['log']\n");
  });

  it('are waited for no longer than a lease lasts when they are stopped', async () => {
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'strict-here');
    await strict(
      "put(there + '/stopped', b'old'); get(here + '/stopped'); os.stat(here + '/stopped')",
    );
    process.kill(pid, 'SIGSTOP');
    try {
      const seen = await strict(
        "for i in range(5): put(there + '/stopped', b'new%d' % i)",
        "print(get(there + '/stopped'))",
      );
      expect(seen).toBe("b'new4'\n");
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    expect(await strict("print(get(here + '/stopped'), os.stat(here + '/stopped').st_size)")).toBe(
      "b'new4' 4\n",
    );
  });

  it('are not waited for when they are gone', async () => {
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'strict-here');
    await strict("put(there + '/dead', b'old'); get(here + '/dead')");
    process.kill(pid, 'SIGKILL');
    const seen = await strict("put(there + '/dead', b'new'); print(get(there + '/dead'))");
    expect(seen).toBe("b'new'\n");
  });
});

// A device that fails below a volume that is mounted: who syncs is told, nothing that was synced
// before vanishes, and after a restart all goes on.
//
// Method: the volume is on a loop device, whose file has holes on a tmpfs that gets full: what the
// kernel has taken for the device it cannot write out, and drops. Then the end of the file is cut
// off, and reads there fail.
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPlace, whyNoMounts } from '../support/dvk-command.ts';
import { mountObstacle, run } from '../support/images.ts';

interface Items {
  readonly items: readonly {
    readonly service: string;
    readonly state: string;
    readonly counters: Readonly<Record<string, number>>;
  }[];
}

const MIB = 1 << 20;
/** Four groups, each with all of its own metadata. */
const GROUP_BLOCKS = 4096;
const LAST_GROUP_AT = 3 * GROUP_BLOCKS * 4096;
const skipped = whyNoMounts() ?? mountObstacle();

describe.skipIf(skipped !== undefined)(`a device that fails ${skipped ?? ''}`, () => {
  let place: TestPlace;
  let host: string;
  let mount: string;
  let backing: string;
  let device: string;

  beforeAll(async () => {
    place = new TestPlace();
    [host, mount] = [join(place.files, 'host'), join(place.files, 'mnt')];
    for (const path of [host, mount]) mkdirSync(path);
    run('mount', '-t', 'tmpfs', '-o', 'size=24m', 'dvk', host);
    backing = join(host, 'backing');
    writeFileSync(backing, '');
    truncateSync(backing, 64 * MIB);
    device = run('losetup', '--show', '-f', backing).toString().trim();
    const groups = ['-g', String(GROUP_BLOCKS), '-O', '^flex_bg,^resize_inode'];
    run('mke2fs', '-q', '-t', 'ext4', '-b', '4096', ...groups, '-J', 'size=4', device);
    const spec = place.spec('device.yaml', [
      'dvs: device',
      'nodes: [{ id: 0 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      `      - { name: fs, kind: fs, node: 0, slot: 1, image: ${device}, discard: false }`,
      `      - { name: here, kind: fuse, node: 0, server: fs, mount: ${mount} }`,
    ]);
    await place.must('up', spec, '--detach');
  });

  afterAll(async () => {
    if (skipped !== undefined) return;
    await place.run('down');
    const check = run('e2fsck', '-fn', device).toString();
    run('losetup', '-d', device);
    run('umount', '-l', host);
    const left = place.leftovers();
    await place.end();
    expect(left).toEqual([]);
    expect(check).not.toMatch(/recover|error|Fix/i);
  });

  /** What a program for Python 3 prints, which has `mount` and `name(call)`. */
  function python(...lines: readonly string[]): string[] {
    const head = [
      'import os, errno',
      `mount = ${JSON.stringify(mount)}`,
      'def name(call, *args):',
      '    try: call(*args)',
      '    except OSError as e: return errno.errorcode[e.errno]',
      "    return 'done'",
      'def put(path, data):',
      '    f = os.open(mount + path, os.O_RDWR | os.O_CREAT)',
      '    os.write(f, data); return f',
    ];
    return run('python3', '-c', [...head, ...lines].join('\n'))
      .toString()
      .trim()
      .split('\n');
  }

  it('lends no set-id bits and no devices to the host', () => {
    const line = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const options = line.find((entry) => entry.split(' ')[4] === mount)?.split(' ')[5] ?? '';
    expect(options.split(',')).toEqual(expect.arrayContaining(['nosuid', 'nodev']));
  });

  it('fails who syncs, and keeps what was synced, until the server is started again', async () => {
    const before = python("f = put('/kept', b'k' * 100000); print(name(os.fsync, f))");
    const filler = join(host, 'filler');
    fillUp(filler);

    const during = python(
      "f, g = put('/lost', b'l' * (4 << 20)), put('/other', b'o')",
      'print(name(os.fsync, f), name(os.fsync, f), name(os.fsync, g))',
      "print(os.read(os.open(mount + '/kept', os.O_RDONLY), 200000) == b'k' * 100000)",
      "print(name(os.mkdir, mount + '/directory'))",
    );
    rmSync(filler);
    await place.must('service', 'restart', 'fs');
    const after = python(
      "print(os.read(os.open(mount + '/kept', os.O_RDONLY), 200000) == b'k' * 100000)",
      "f = put('/again', b'a' * (4 << 20)); print(name(os.fsync, f))",
    );

    expect(before).toEqual(['done']);
    expect(during).toEqual(['EIO EIO EIO', 'True', 'EROFS']);
    expect(after).toEqual(['True', 'done']);
    const log = readFileSync(join(place.runtime, 'device/node0/log/here.log'), 'utf8');
    expect(log).toMatch(/^\S+Z EIO for FSYNC of file \d+: EIO: /m);
  });

  it('fails for what it cannot read, and goes on with everything else', async () => {
    const [far = ''] = python(
      "paths = [mount + '/dir%d' % i for i in range(24)]",
      "for path in paths: os.mkdir(path); f = put(path[len(mount):] + '/in', path.encode() * 999)",
      'os.fsync(f); inodes = os.stat(mount).st_ino and [os.stat(path).st_ino for path in paths]',
      // mke2fs gives each group so many.
      'each = os.statvfs(mount).f_files // 4',
      'print([path for path, ino in zip(paths, inodes) if ino > 3 * each][-1])',
    );
    await place.must('service', 'stop', 'fs');
    const last = join(place.files, 'last');
    writeFileSync(last, readFileSync(backing).subarray(LAST_GROUP_AT));
    truncateSync(backing, LAST_GROUP_AT);
    run('blockdev', '--flushbufs', device);
    await place.must('service', 'start', 'fs');
    const { pid } = await place.json<{ pid: number }>('service', 'info', 'fs');

    const during = python(
      `import time; far = ${JSON.stringify(far)}; end = time.monotonic() + 10`,
      // The kernel may believe for a second what it was told.
      "while name(os.stat, far) == 'done' and time.monotonic() < end: time.sleep(0.01)",
      "print(name(os.stat, far), name(os.unlink, far + '/in'), name(os.rmdir, far))",
      'print(os.path.basename(far) in os.listdir(mount))',
      "others = [mount + '/dir%d' % i for i in range(24) if mount + '/dir%d' % i != far]",
      'def look(path):',
      "    with open(path + '/in', 'rb') as f: return f.read() == path.encode() * 999",
      'def what(path):',
      '    try: return look(path)',
      '    except OSError as e: return errno.errorcode[e.errno]',
      // Some others are there, too.
      'seen = set(what(path) for path in others); print(seen - {"EIO"})',
      'for i in range(24):',
      "    os.mkdir(mount + '/new%d' % i); f = put('/new%d/in' % i, b'n' * 9000); os.fsync(f)",
      "print(name(os.rename, mount + '/new0/in', mount + '/new1/in'), os.statvfs(mount).f_bsize)",
    );
    const after = await place.json<{ pid: number }>('service', 'info', 'fs');
    await place.must('service', 'stop', 'fs');
    const grew = statSync(backing).size > LAST_GROUP_AT;
    truncateSync(backing, 64 * MIB);
    const holes = ['conv=sparse,notrunc', 'status=none'];
    run(
      'dd',
      `if=${last}`,
      `of=${backing}`,
      'bs=4096',
      `seek=${String(3 * GROUP_BLOCKS)}`,
      ...holes,
    );
    run('blockdev', '--flushbufs', device);
    await place.must('service', 'start', 'fs');
    const again = python(
      `far = ${JSON.stringify(far)}`,
      "print(os.read(os.open(far + '/in', os.O_RDONLY), 1 << 20) == far.encode() * 999)",
      "print(os.read(os.open(mount + '/new1/in', os.O_RDONLY), 9999) == b'n' * 9000)",
    );

    expect(during).toEqual(['EIO EIO EIO', 'True', '{True}', 'done 4096']);
    expect([after.pid, grew]).toEqual([pid, false]);
    expect(again).toEqual(['True', 'True']);
  });

  it('is told by the counters of the mount', async () => {
    const { items } = await place.json<Items>('fs', 'info', 'here');
    const shown = (await place.must('fs', 'info')).stdout;

    const { ioErrors = 0, requests = 0 } = items[0]?.counters ?? {};
    expect(items).toMatchObject([{ service: 'here', state: 'up' }]);
    expect(ioErrors).toBeGreaterThanOrEqual(3);
    expect(requests).toBeGreaterThan(ioErrors);
    expect(shown).toMatch(/^fs +cacheHits +\d+$/m);
    expect(shown).toMatch(new RegExp(`^here +ioErrors +${String(ioErrors)}$`, 'm'));
  });
});

/** Writes until the file system is full. */
function fillUp(path: string): void {
  try {
    for (;;) appendFileSync(path, new Uint8Array(65536));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  }
}

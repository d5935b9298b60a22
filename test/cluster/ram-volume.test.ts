// A volume in memory: it has what its size says, outlives its server and the node, says ENOSPC
// when the machine's memory is full, and ends with the DVS, which leaves nothing.
//
// Method: a runtime directory on a small tmpfs, which a file fills. The server and its node are
// killed, while a program on the other node keeps a file open.

import { appendFileSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestPlace, whyNoMounts } from '../support/dvk-command.ts';
import { run } from '../support/images.ts';

const MIB = 1 << 20;
const skipped = whyNoMounts() ?? (process.getuid?.() === 0 ? undefined : 'mounting takes root');

let place: TestPlace;
let mount: string;

/** Runs a program for Python 3 with `mount`. */
function python(...lines: string[]): string {
  const head = ['import os, errno, sys', `mount = ${JSON.stringify(mount)}`];
  return execFileSync('python3', ['-c', [...head, ...lines].join('\n')], {
    timeout: 20_000,
    encoding: 'utf8',
  });
}

async function pidOf(noun: string, name: string): Promise<number> {
  return (await place.json<{ pid: number }>(noun, 'info', name)).pid;
}

describe.skipIf(skipped !== undefined)(`a volume in memory ${skipped ?? ''}`, () => {
  beforeAll(async () => {
    place = new TestPlace();
    run('mount', '-t', 'tmpfs', '-o', 'size=192m,mode=700', 'dvk', place.runtime);
    mount = join(place.files, 'mnt');
    mkdirSync(mount);
    const spec = place.spec('ram.yaml', [
      'dvs: ram',
      'nodes: [{ id: 0 }, { id: 1 }]',
      'containers:',
      '  - name: mol',
      '    services:',
      '      - { name: fs, kind: fs, node: 1, slot: 1, image: "ram:48 MiB",',
      '          memory: { cache: 4 MiB, delayed: 2 MiB, windows: 4 MiB } }',
      `      - { name: here, kind: fuse, node: 0, server: fs, mount: ${mount} }`,
    ]);
    const { stderr } = await place.must('up', spec, '--detach');
    expect(stderr).toContain('in memory, gone after dvk down');
  });

  afterAll(async () => {
    await place.run('down');
    const files = readdirSync(place.runtime);
    run('umount', '-l', place.runtime);
    const left = place.leftovers();
    await place.end();
    expect([...files, ...left]).toEqual([]);
  });

  it('tells of memory that is full, and takes all when there is room again', async () => {
    const filler = join(place.runtime, 'filler');
    fillUp(filler);
    const write = [
      "f = os.open(mount + '/late', os.O_RDWR | os.O_CREAT)",
      "data = b'x' * (6 << 20)",
      'try:',
      '    os.pwrite(f, data, 0); os.fsync(f); print("synced")',
      'except OSError as e: print(errno.errorcode[e.errno])',
    ];
    const refused = python(...write);
    rmSync(filler);
    const taken = python(...write, 'print(os.pread(f, len(data), 0) == data)');

    expect([refused, taken]).toEqual(['ENOSPC\n', 'synced\nTrue\n']);
    expect((await place.run('status')).code).toBe(0);
  });

  it('is as large as it was declared, and is shown as what it is', async () => {
    const seen = python(
      "f = os.open(mount + '/full', os.O_WRONLY | os.O_CREAT)",
      'try:',
      '    while True: os.write(f, bytes(1 << 20))',
      'except OSError as e: print(errno.errorcode[e.errno])',
      'size = os.fstat(f).st_size >> 20',
      "os.close(f); os.unlink(mount + '/full'); print(30 < size < 48)",
    );
    expect(seen).toBe('ENOSPC\nTrue\n');
    expect((await place.must('service', 'ls')).stdout).toContain('ram:48 MiB, in memory, gone');
    const { info } = await place.json<{ info: { image: string } }>('service', 'info', 'fs');
    expect([statSync(info.image).size, statSync(info.image).mode & 0o777]).toEqual([
      48 * MIB,
      0o600,
    ]);
  });

  it('keeps what was synced, and open files, when its server dies, and its node', async () => {
    const program = [
      'import os, sys',
      `f = os.open(${JSON.stringify(join(mount, 'kept'))}, os.O_RDWR | os.O_CREAT)`,
      "os.write(f, b'kept'); os.fsync(f); print('ready', flush=True)",
      'for line in sys.stdin: print(os.pread(f, 9, 0), flush=True)',
    ];
    const holder = spawn('python3', ['-c', program.join('\n')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const said = async (): Promise<string> =>
      String(((await once(holder.stdout, 'data')) as [Buffer])[0]).trim();
    expect(await said()).toBe('ready');

    process.kill(await pidOf('service', 'fs'), 'SIGKILL');
    await place.must('service', 'start', 'fs');
    holder.stdin.write('look\n');
    const afterServer = await said();
    process.kill(await pidOf('node', '1'), 'SIGKILL');
    await place.must('node', 'start', '1');
    holder.stdin.write('look\n');
    const afterNode = await said();
    holder.stdin.end();
    await once(holder, 'exit');

    expect([afterServer, afterNode]).toEqual(["b'kept'", "b'kept'"]);
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

// Programs in C, and one in Python, are processes of a DC like those in TypeScript. Method: the
// examples are compiled with cc and pkg-config as a user would, against what the build made, and
// run on a segment that the TypeScript API made.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { findProgram } from '../../src/cli/programs.ts';
import { ANY, errorNumber, isDvkError, nodeId, type Endpoint } from '../../src/dvk/index.ts';
import { CProgram, compile, packageConfig, ROOT, whyNoC } from '../support/c-programs.ts';
import { TestSegment } from '../support/segments.ts';

// As in examples/c/protocol.h.
const SERVER_SLOT = 20;
const REQUEST_ECHO = 1;
const REQUEST_ADD = 2;

const PROGRAMS = {
  server: 'examples/c/server.c',
  client: 'examples/c/client.c',
  copy: 'examples/c/copy.c',
  calls: 'test/support/c-calls.c',
} as const;
const obstacle = whyNoC();
const withoutPython = findProgram('python3') === undefined;

let files: string;
let test: TestSegment;
const started: CProgram[] = [];

beforeAll(() => {
  files = mkdtempSync(join(tmpdir(), 'dvk-test-'));
  if (obstacle !== undefined) return;
  for (const [name, source] of Object.entries(PROGRAMS)) compile(source, join(files, name));
});
afterAll(() => {
  rmSync(files, { recursive: true, force: true });
});
beforeEach(() => {
  test = new TestSegment();
});
afterEach(async () => {
  for (const { child } of started) child.kill('SIGKILL');
  await Promise.all(started.splice(0).map(({ ended }) => ended));
  test.remove();
});

function start(program: string, ...args: readonly string[]): CProgram {
  const one = new CProgram(program, ...args);
  started.push(one);
  return one;
}

function example(name: keyof typeof PROGRAMS, ...args: readonly string[]): CProgram {
  return start(join(files, name), test.path, ...args);
}

async function outputOf(program: CProgram): Promise<string> {
  const { code, stdout, stderr } = await program.ended;
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
}

function codeOf(action: () => void): string {
  try {
    action();
  } catch (error) {
    if (isDvkError(error)) return error.code;
    throw error;
  }
  return 'none';
}

describe.skipIf(obstacle !== undefined)(`dvk.h ${obstacle ?? ''}`, () => {
  it.each([
    ['C11', ['-x', 'c', '-std=c11']],
    ['C17', ['-x', 'c', '-std=c17']],
    ['C++20', ['-x', 'c++', '-std=c++20']],
  ])('compiles as %s without a warning', (_, language) => {
    const source = join(files, 'header.txt');
    const main = 'int main(void) { return (int)dvk_abi_version(); }';
    writeFileSync(source, `#include <dvk_fs.h>\n${main}\n`);
    const flags = ['-Wall', '-Wextra', '-Wconversion', '-Werror', '-pedantic', '-fsyntax-only'];

    execFileSync('cc', [...language, ...flags, ...packageConfig('--cflags'), source]);
  });

  it('declares what the library exports, and nothing else is exported', () => {
    const headers = ['dvk.h', 'dvk_ends.h', 'dvk_migrate.h', 'dvk_fs.h'].map((name) =>
      readFileSync(join(ROOT, 'native/include', name), 'utf8'),
    );
    const text = headers.join('\n');
    const declared = [...text.matchAll(/^DVK_API [^(]*?(dvk_\w+)\(/gm)].map((match) => match[1]);
    const library = join(ROOT, 'native/build/Release/libdvk.so');
    const table = execFileSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' });
    const exported = table
      .trim()
      .split('\n')
      .map((line) => line.split(' ').at(-1));

    expect(exported.sort()).toEqual(declared.sort());
    expect(declared.length).toBeGreaterThan(20);
  });
});

describe.skipIf(obstacle !== undefined)(`A program in C ${obstacle ?? ''}`, () => {
  it('gets the documented results of every call', async () => {
    const noSegment = join(files, 'no-segment');
    test.segment.addNode(nodeId(1), 'n1');
    test.segment.attachProxy(nodeId(1), () => undefined);
    test.segment.linkUp(nodeId(1), 1);
    writeFileSync(noSegment, 'something else');

    expect(await outputOf(example('calls', noSegment))).toMatch(/^\d+ checks, 0 failed\n$/);
    expect(test.segment.processes()).toEqual([]);
    expect(test.segment.arenaUsed()).toBe(0);
  });

  it('calls a server in C, which ends at a signal', async () => {
    const server = await example('server').ready();

    const told = await outputOf(example('client', 'hello', '5', '2'));
    server.child.kill('SIGTERM');

    expect(told).toBe('echo hello\ncounter 5\ncounter 7\n');
    expect(await outputOf(server)).toBe(`ready ${SERVER_SLOT}\ncounted 7\n`);
    expect(test.segment.processes()).toEqual([]);
  });

  it('calls a server in TypeScript', async () => {
    const server = test.segment.bind({ slot: SERVER_SLOT, level: 'server', name: 'server' });
    const client = example('client', 'hello', '5', '-7');
    let sum = 0n;
    for (let requests = 0; requests < 3; requests++) {
      await server.rcvrqst();
      const { view, type, source } = server.message;
      if (type === REQUEST_ADD) view.setBigInt64(8, (sum += view.getBigInt64(8, true)), true);
      server.message.type = 0;
      server.replySync(source);
    }

    expect(await outputOf(client)).toBe('echo hello\ncounter 5\ncounter -2\n');
  });

  it('serves a client in TypeScript', async () => {
    await example('server').ready();
    const client = test.segment.bind({ name: 'client' });
    const server = SERVER_SLOT as Endpoint;

    client.message.type = REQUEST_ECHO;
    client.message.bytes.fill(9, 8);
    await client.sendrec(server);
    expect(client.message.type).toBe(0);
    expect(client.message.source).toBe(server);
    expect(client.message.bytes.subarray(8)).toEqual(new Uint8Array(56).fill(9));

    client.message.type = 99;
    await client.sendrec(server);
    expect(client.message.type).toBe(errorNumber('EBADREQUEST'));
  });

  it('says why a call fails', async () => {
    const noServer = await example('client', 'hello').ended;
    const noSegment = await start(join(files, 'client'), import.meta.filename, 'hello').ended;
    const noFile = await start(join(files, 'client'), join(files, 'absent'), 'hello').ended;

    expect(noServer.stderr).toBe('lookup: EDVSNOTBOUND: the process is not bound\n');
    expect(noSegment.stderr).toMatch(/^the file is .*\n.*EDVSBADSEGMENT/);
    expect(noFile.stderr).toContain('ENOENT: No such file or directory');
    expect([noServer.code, noSegment.code, noFile.code]).toEqual([1, 1, 1]);
  });

  it('copies a block that another one granted', async () => {
    const bytes = 1_234_567;
    const giver = await example('copy', 'give', String(bytes)).ready();

    const taken = await outputOf(example('copy', 'take'));

    expect(taken).toBe(`took ${bytes} of ${bytes} bytes\n`);
    expect(await outputOf(giver)).toContain(`lent ${bytes} bytes\n`);
    expect(test.segment.arenaUsed()).toBe(0);
  });
});

describe.skipIf(obstacle !== undefined)(`A server in C that is killed ${obstacle ?? ''}`, () => {
  it('ends the calls of those who wait for it', async () => {
    const caller = test.segment.bind({ name: 'caller' });
    const server = await example('server').ready();
    // Stopped, it answers nothing, so each call waits until it is dead. The first request may have
    // been handed over, the second one waits behind it.
    server.child.kill('SIGSTOP');
    const awaited = caller.sendrec(SERVER_SLOT as Endpoint).then(
      () => 'none',
      (error: unknown) => (isDvkError(error) ? error.code : String(error)),
    );
    const client = example('client', 'hello');
    while (test.segment.processes().filter(({ peer }) => peer === SERVER_SLOT).length < 2) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    server.child.kill('SIGKILL');

    // The client's wait in C finds it dead, there being no daemon here, and that ends both.
    expect((await client.ended).stderr).toContain('sendrec: EDSTDIED');
    expect(await awaited).toMatch(/^E(SRC|DST)DIED$/);
    expect(codeOf(() => caller.notify(SERVER_SLOT as Endpoint))).toBe('EDEADSRCDST');
  });

  it('ends a receive from it, and gives its arena memory back', async () => {
    const receiver = test.segment.bind({ name: 'receiver' });
    const giver = await example('copy', 'give', '100000').ready();
    const [{ endpoint } = { endpoint: ANY }] = test.segment
      .processes()
      .filter(({ name }) => name === 'give');
    expect(test.segment.arenaUsed()).toBeGreaterThan(100_000);
    giver.child.kill('SIGKILL');
    await giver.ended;

    expect(codeOf(() => receiver.receiveSync(endpoint, 5000))).toBe('ESRCDIED');
    expect(test.segment.arenaUsed()).toBe(0);
  });
});

describe.skipIf(obstacle !== undefined || withoutPython)(
  `The Python program of the documents ${withoutPython ? 'python3 is missing' : ''}`,
  () => {
    it('calls a server in C', async () => {
      const document = readFileSync(join(ROOT, 'docs/c-interface.md'), 'utf8');
      const [, program = ''] = /^```python\n(.*?)^```$/ms.exec(document) ?? [];
      const path = join(files, 'client.py');
      writeFileSync(path, program);
      await example('server').ready();

      expect(await outputOf(start('python3', path, test.path))).toBe('counter 5\n');
      expect(await outputOf(start('python3', path, test.path))).toBe('counter 10\n');
    });
  },
);

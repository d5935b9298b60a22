// What the command knows of this machine: mounts, processes, programs, and what `doctor` makes of
// them.
import { spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { examine, ptraceCheck } from '../../../src/cli/doctor.ts';
import { parseMounts, probe, runProgram } from '../../../src/cli/mounts.ts';
import { identify, isAlive, killAll, withEnvironment } from '../../../src/cli/process-table.ts';
import { findProgram } from '../../../src/cli/programs.ts';

describe('parseMounts', () => {
  it('reads paths with escapes, types and sources', () => {
    const text = [
      '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
      '99 22 0:50 / /tmp/a\\040b\\134c ro,nosuid - fuse.dvk demo-root ro,user_id=0',
      '',
    ].join('\n');

    expect(parseMounts(text)).toEqual([
      { path: '/', type: 'ext4', source: '/dev/vda' },
      { path: '/tmp/a b\\c', type: 'fuse.dvk', source: 'demo-root' },
    ]);
  });

  it('leaves out what is no mount', () => {
    expect(parseMounts('nonsense\n1 2 3 - \n')).toEqual([]);
  });
});

describe('runProgram', () => {
  it('gives code and output', async () => {
    const result = await runProgram('sh', ['-c', 'echo out; echo err >&2; exit 3'], 5000);

    expect(result.status).toBe(3);
    expect(result.output.split('\n').sort()).toEqual(['err', 'out']);
  });

  it('ends a program that takes too long', async () => {
    expect((await runProgram('sleep', ['60'], 50)).status).toBe(124);
  });

  it('tells of a program that is not there', async () => {
    expect((await runProgram('/nowhere/at-all', [], 5000)).status).toBe(127);
  });
});

describe('probe', () => {
  it('finds nothing wrong with a directory', async () => {
    expect(await probe('/', 5000)).toBeUndefined();
  });

  it('says what is wrong with a path', async () => {
    expect(await probe('/nowhere/at-all', 5000)).toBe('No such file or directory');
  });
});

describe('processes', () => {
  it('are told from later owners of their pid', () => {
    const self = identify(process.pid);

    expect(self && isAlive(self)).toBe(true);
    expect(isAlive({ pid: process.pid, startTime: '1' })).toBe(false);
    expect(identify(0x7fffffff)).toBeUndefined();
  });

  it('are found by their environment, and killed', async () => {
    const mark = `unit-${String(process.pid)}`;
    const child = spawn('sleep', ['60'], { env: { DVK_UNIT_TEST: mark }, stdio: 'ignore' });

    await expect.poll(() => withEnvironment('DVK_UNIT_TEST', mark).length).toBe(1);
    expect(withEnvironment('DVK_UNIT_TEST', mark)[0]?.pid).toBe(child.pid);
    expect(withEnvironment('DVK_UNIT_TEST', 'unit')).toEqual([]);

    expect(await killAll(withEnvironment('DVK_UNIT_TEST', mark), 5000)).toEqual([]);
    expect(withEnvironment('DVK_UNIT_TEST', mark)).toEqual([]);
  });
});

it('finds programs where a PATH does not look', () => {
  expect(findProgram('sh', '/nowhere')).toBeUndefined();
  expect(findProgram('sh', '/nowhere:/bin')).toBe('/bin/sh');
});

describe('doctor', () => {
  it('gives a verdict on everything, and a remedy for what is not ok', () => {
    const checks = examine(undefined);

    expect(checks.map(({ name }) => name)).toEqual([
      ...['kernel', 'node', 'native addon', 'runtime directory', 'links'],
      ...['raw Ethernet', '/dev/fuse'],
      ...['fusermount3', 'mke2fs', 'flock', 'private copies', 'ptrace_scope', 'open files'],
    ]);
    for (const { verdict, remedy } of checks) expect(remedy === null).toBe(verdict === 'ok');
  });

  it('finds a runtime directory on a disk unfit', () => {
    const check = examine('/proc/x').find(({ name }) => name === 'runtime directory');

    expect(check).toMatchObject({ verdict: 'fail' });
    expect(check?.remedy).toContain('--runtime /dev/shm/');
  });

  it.each([
    ['', false, 'no Yama: every copy'],
    ['0', false, 'Yama 0: every copy'],
    ['1', true, 'Yama 1: every copy'],
    ['1', false, 'Yama 1: copies of the arena, and of private memory whose owner waits'],
    ['3', true, 'Yama 3: copies of the arena'],
  ])('says which copies work with ptrace_scope %j, as root: %s', (scope, isRoot, found) => {
    expect(ptraceCheck(scope, isRoot)).toMatchObject({ verdict: 'ok', remedy: null });
    expect(ptraceCheck(scope, isRoot).found).toContain(found);
  });
});

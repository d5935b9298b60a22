// The lock of a DVS: one holder at a time, free as soon as its holder is gone.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { withLock } from '../../../src/cli/lock.ts';
import { CliError } from '../../../src/cli/output.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'dvk-lock-'));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

it('is held by one at a time', async () => {
  const path = join(directory, 'lock');
  const order: string[] = [];

  await Promise.all(
    ['a', 'b', 'c'].map(async (name) =>
      withLock(path, async () => {
        order.push(name);
        await Promise.resolve();
        order.push(name);
      }),
    ),
  );

  expect(order.join('')).toMatch(/^(aa|bb|cc){3}$/);
});

it('names its holder to those who wait in vain', async () => {
  const path = join(directory, 'lock');

  const attempt = withLock(path, async () => withLock(path, async () => Promise.resolve(), 50));

  await expect(attempt).rejects.toThrow(CliError);
  await expect(attempt).rejects.toThrow(`pid ${String(process.pid)}`);
});

it('is free when its holder was killed', async () => {
  const path = join(directory, 'lock');
  const holder = spawn('flock', ['--exclusive', path, 'sleep', '60'], { detached: true });
  const pid = holder.pid ?? 0;
  const ended = new Promise((resolve) => holder.once('exit', resolve));
  await expect
    .poll(async () => withLock(path, async () => Promise.resolve('free'), 0).catch(() => 'held'))
    .toBe('held');

  process.kill(-pid, 'SIGKILL');
  await ended;

  expect(await withLock(path, async () => Promise.resolve('free'))).toBe('free');
});

it('is free after a failure', async () => {
  const path = join(directory, 'lock');

  await expect(withLock(path, async () => Promise.reject(new Error('no')))).rejects.toThrow('no');

  expect(await withLock(path, async () => Promise.resolve(1), 0)).toBe(1);
});

it('gives undefined when its directory is not there', async () => {
  expect(await withLock(join(directory, 'none/lock'), async () => Promise.resolve(1))).toBe(
    undefined,
  );
});

it('is not held through a file that was removed', async () => {
  const path = join(directory, 'lock');

  const result = await withLock(path, async () => {
    rmSync(path);
    return withLock(path, async () => Promise.resolve('another file'), 0);
  });

  expect(result).toBe('another file');
});

// What a crash leaves of a volume is a transaction: every flush, and 500 points between them, of
// each kind of journal.
//
// Method: parts in processes of their own (test/support/crash-part.ts), as many at a time as there
// are cores, with their images in memory; some twenty minutes on two cores. DVK_SEED is what the
// changes and the crashes follow from, DVK_POINTS how many points there are, and DVK_PART names the
// one part that is run.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import type { CrashResult } from '../support/crash-check.ts';
import type { CrashPart } from '../support/crash-part.ts';
import { mountObstacle } from '../support/images.ts';
import { progressOf } from '../support/progress.ts';

const PROGRAM = join(import.meta.dirname, '../../dist/test/support/crash-part.js');
const PART_MS_MAX = 3_500_000;
const seed = Number(process.env['DVK_SEED'] ?? Date.now() % 1_000_000);
const points = Number(process.env['DVK_POINTS'] ?? 500);
const only = process.env['DVK_PART'];
const all = { seed, e2fsck: 1, linux: mountObstacle() === undefined ? 10 : 0 };

const VARIANTS: [name: string, mke2fs: string[]][] = [
  ['ext4', ['-b', '4096']],
  ['blocks of 1 KiB', ['-b', '1024', '-J', 'size=1']],
  ['no 64-bit numbers', ['-b', '1024', '-O', '^64bit']],
  ['no checksums', ['-b', '1024', '-O', '^metadata_csum,^64bit']],
  ['inodes of 128 bytes', ['-b', '1024', '-I', '128']],
];

const PARTS: [name: string, part: CrashPart][] = VARIANTS.flatMap(([name, mke2fs]) =>
  (['blocks', 'a tree'] as const).flatMap((what): [string, CrashPart][] => [
    [`${name}, ${what}, points`, { ...all, what, arguments: mke2fs, changes: 8 * points, points }],
    // A change in ten is committed, with two flushes, and there is a point on each side of one.
    [
      `${name}, ${what}, barriers`,
      { ...all, what, arguments: mke2fs, changes: 4 * points, points: 'barriers' },
    ],
  ]),
).filter(([name]) => only === undefined || name === only);

const progress = progressOf(`fs-crash, seed ${String(seed)}`);

async function run(name: string, part: CrashPart): Promise<CrashResult> {
  const child = spawn(process.execPath, [PROGRAM, JSON.stringify(part)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: PART_MS_MAX,
    // Each image is written to a file some times, and synced by e2fsck.
    env: { ...process.env, TMPDIR: '/dev/shm' },
  });
  const ended = once(child, 'close') as Promise<[number | null]>;
  let last: CrashResult = { images: 0, wrong: [] };
  for await (const line of createInterface({ input: child.stdout })) {
    last = JSON.parse(line) as CrashResult;
    progress(`${name}: ${String(last.images)} images, ${String(last.wrong.length)} wrong`);
  }
  const [code] = await ended;
  if (code !== 0) last.wrong.push(`ended with code ${String(code)}`);
  return { ...last, wrong: last.wrong.map((problem) => `${name}: ${problem}`) };
}

it('leaves a transaction of every kind of volume, wherever it comes', async () => {
  const wrong: string[] = [];
  const counts = new Map<string, number>();
  const waiting = [...PARTS];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const result = await run(...next);
      wrong.push(...result.wrong);
      counts.set(next[0], result.images);
    }
  };

  await Promise.all(Array.from({ length: availableParallelism() }, work));

  expect(wrong.slice(0, 20), `of seed ${String(seed)}`).toEqual([]);
  for (const [name, count] of counts) expect(count, name).toBeGreaterThan(0.5 * points);
});

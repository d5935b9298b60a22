// The whole crash matrix: every hit of every point with every fault, then cells in which two or
// three processes are killed or stopped at random points.
//
// Method: dvk_crash_test does it (docs/testing.md). DVK_SOAK_SECONDS is the time for the random
// cells, DVK_SEED what they are drawn from; a cell that fails is named, and played by --cell.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const PROGRAM = join(import.meta.dirname, '../../native/build/Release/dvk_crash_test');
const seconds = process.env['DVK_SOAK_SECONDS'] ?? '1800';
const seed = process.env['DVK_SEED'] ?? String(Date.now());

it('leaves no cell of the crash matrix wrong', async () => {
  const child = spawn(PROGRAM, ['--full', '--seconds', seconds, '--seed', seed]);
  const wrong: string[] = [];
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => {
    const lines = (text + bytes.toString()).split('\n');
    text = lines.pop() ?? '';
    wrong.push(...lines.filter((line) => line.startsWith('not ok')));
  });

  const [code] = (await once(child, 'close')) as [number | null];

  expect(wrong, `of seed ${seed}`).toEqual([]);
  expect(code).toBe(0);
});

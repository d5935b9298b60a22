// The tests of the core at full length: processes that are stopped for a minute, ten thousand that
// are bound and killed, a minute beside one that writes anything anywhere, tables of 2 GiB.
//
// Method: dvk_core_test does it, with DVK_SOAK set.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const PROGRAM = join(import.meta.dirname, '../../native/build/Release/dvk_core_test');
const seed = process.env['DVK_SEED'] ?? String(Date.now());

it('leaves no promise of the core broken', async () => {
  const env = { ...process.env, DVK_SOAK: '1' };
  const child = spawn(PROGRAM, ['--seed', seed], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (bytes: Buffer) => (text += bytes.toString()));

  const [code] = (await once(child, 'close')) as [number | null];

  expect(text.match(/^not ok .*$/gm) ?? [], `of seed ${seed}`).toEqual([]);
  expect(code).toBe(0);
});

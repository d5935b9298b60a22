// Promise S16: secrets are in no core dump. That they are in no argument, environment, log, answer
// and segment is shown by certificates.test.ts. Method: a program that may leave dumps, to see that
// this machine writes them, and a proxy of sealed links, which inherits that it may.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findProgram } from '../../src/cli/programs.ts';
import { ProxyNode } from '../support/proxy-node.ts';

const PLACE = process.cwd();
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'dvk-dump-'));
  // Dumps are written where a process runs.
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(PLACE);
  rmSync(folder, { recursive: true });
});

/** Sets what programs that are started from now on may leave, as prlimit has it. */
function limitDumps(bytes: string): void {
  spawnSync('prlimit', ['--pid', String(process.pid), `--core=${bytes}:`]);
}

/** Ends a process as a crash would. Whether it leaves a dump. */
async function leavesDump(child: ChildProcess): Promise<boolean> {
  const ended = once(child, 'exit');
  child.kill('SIGABRT');
  await ended;
  const dumps = readdirSync(folder).filter((name) => name.startsWith('core'));
  for (const name of dumps) rmSync(join(folder, name));
  return dumps.length > 0;
}

describe('S16: the memory of a proxy', () => {
  it('is in no core dump', async (context) => {
    if (findProgram('prlimit') === undefined) context.skip('needs prlimit (util-linux)');
    limitDumps('unlimited');
    const node = new ProxyNode(0, [1]);
    try {
      const other = spawn('sleep', ['600']);
      await once(other, 'spawn');
      const isPossible = await leavesDump(other);
      await node.start([]);

      expect(await leavesDump(node.proxy)).toBe(false);
      if (!isPossible) context.skip('this machine writes no core dumps into folders');
    } finally {
      limitDumps('0');
      await node.remove();
    }
  });
});

// `npm run test:model`: checks the Promela model of the rendezvous with spin, then random programs
// against the real core for longer than `npm test` does. The last line is `N passed, N failed`.
//
// `node scripts/model.mjs NAME` checks the instances whose name contains NAME and nothing else.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKS } from '../model/checks.mjs';
import { ensureDependencies, ensureSpin } from './setup.mjs';
import {
  fail,
  isMain,
  must,
  root,
  run,
  say,
  scratch,
  seconds,
  step,
  summaryLine,
} from './steps.mjs';
import { runTests } from './test.mjs';

const SEARCH_TIMEOUT_MS = 240_000;
// Two searches run at a time and share 2 GB.
const SEARCH_MB_MAX = 950;
const DEPTH_MAX = 200_000;
const RUNS = 3000;

/** Generates, compiles and searches one check; resolves with what the search came to. */
async function search({ instance, fault, formula }, index) {
  const cwd = join(scratch, 'model', String(index));
  rmSync(cwd, { recursive: true, force: true });
  mkdirSync(cwd, { recursive: true });
  const source = join(root, 'model/instances', `${instance}.pml`);
  await must('spin', [...(fault ? [`-DFAULT_${fault}`] : []), '-a', source], { cwd });
  const mode = formula ? [] : ['-DSAFETY', '-DNOCLAIM'];
  // Not optimized: to compile the search well takes longer than to search.
  const flags = ['-w', '-O0', `-DMEMLIM=${SEARCH_MB_MAX}`, '-DVECTORSZ=2048', ...mode];
  await must('gcc', [...flags, '-o', 'pan', 'pan.c'], { cwd });
  const claim = formula ? ['-a', '-N', formula] : [];
  const args = ['-n', '-E', `-m${DEPTH_MAX}`, '-w20', ...claim];
  const outcome = await run('./pan', args, { cwd, quiet: true, timeoutMs: SEARCH_TIMEOUT_MS });
  const states = Number(/(\d+) states, stored/.exec(outcome.output)?.[1] ?? 0);
  const complaint = /^pan:1: (.*) \(at depth/m.exec(outcome.output)?.[1];
  const cut = /Search not completed|max search depth|MEMLIM bound/.test(outcome.output);
  const exhausted = outcome.status === 0 && !outcome.timedOut && !cut;
  return { states, complaint, exhausted, trail: join(cwd, `${instance}.pml.trail`) };
}

/** Runs a check and prints its line. Resolves with whether it came out as it should. */
async function check(item, index) {
  const start = performance.now();
  const { states, complaint, exhausted, trail } = await search(item, index);
  const found = complaint !== undefined;
  const passed = item.finds ? found : !found && exhausted;
  const with_ = item.fault ? ` with ${item.fault}` : item.formula ? ` |= ${item.formula}` : '';
  const result = found ? `found: ${complaint}` : exhausted ? 'holds' : 'not exhausted';
  const line = `${item.instance}${with_}: ${states} states, ${result} (${seconds(start)})`;
  say(`${passed ? 'ok' : 'not ok'} ${line}`);
  if (!passed && found)
    say(`  replay: spin -k ${trail} -p -g model/instances/${item.instance}.pml`);
  return passed;
}

async function checkAll(checks) {
  const waiting = checks.map((item, index) => [item, index]);
  const total = { passed: 0, failed: 0 };
  const worker = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      if (await check(...next)) total.passed++;
      else total.failed++;
    }
  };
  await Promise.all([worker(), worker()]);
  return total;
}

async function main() {
  const [filter] = process.argv.slice(2);
  await ensureSpin();
  const total = await checkAll(
    CHECKS.filter(({ instance }) => filter === undefined || instance.includes(filter)),
  );
  if (filter === undefined) {
    await ensureDependencies({ dev: true });
    const result = await step('random programs against the core', async () =>
      runTests(['--project', 'model'], { DVK_MODEL_RUNS: String(RUNS) }),
    );
    total.passed += result.passed;
    total.failed += result.failed;
  }
  say(summaryLine(total));
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

if (isMain(import.meta.url)) await main().catch(fail);

// `npm test`: builds, then runs the native tests and every vitest project, and sums them up.
//
// Arguments are given to vitest (a part of a file name, -t NAME, --project NAME); then the native
// tests are left out. --soak runs the long tests only. The last line is `N passed, N failed`.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { replayCorpora } from './fuzz.mjs';
import { runNativeTests } from './native-tests.mjs';
import { ensureDependencies } from './setup.mjs';
import {
  StepError,
  fail,
  isMain,
  listFiles,
  root,
  run,
  say,
  scratch,
  seconds,
  summaryLine,
} from './steps.mjs';

// The suite promises to end within a quarter of an hour on two cores; what takes longer hangs.
const VITEST_TIMEOUT_MS = 840_000;
const SOAK_TIMEOUT_MS = 24 * 3_600_000;

function nativeTests() {
  const folder = 'native/build/Release';
  if (!existsSync(join(root, folder))) return [];
  return listFiles(folder, (path) =>
    /^native\/build\/Release\/dvk_(core|crash)_test$/.test(path),
  ).map((path) => join(root, path));
}

/** Runs vitest with `args`: the counts, the skipped tests, and the failures outside of tests. */
export async function runTests(args, env = {}, timeoutMs = VITEST_TIMEOUT_MS) {
  const file = join(scratch, `test-summary-${process.pid}.json`);
  const outcome = await run(
    process.execPath,
    [
      ...['node_modules/vitest/vitest.mjs', 'run', '--passWithNoTests'],
      ...['--reporter=default', '--reporter=./scripts/test-reporter.mjs', ...args],
    ],
    {
      timeoutMs,
      env: { DVK_TEST_SUMMARY: file, ...env },
    },
  );
  const none = { passed: 0, failed: 0, skipped: [], broken: [] };
  const result = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : none;
  rmSync(file, { force: true });
  result.failures = result.broken;
  result.failed += result.broken.length;
  if (outcome.status !== 0 && result.failed === 0) {
    result.failed++;
    result.failures.push(`vitest: ${outcome.timedOut ? 'timed out' : `code ${outcome.status}`}`);
  }
  return result;
}

function report(result, start) {
  const width = result.skipped.length > 0 ? `\nskipped (${result.skipped.length}):` : '';
  if (width) say(width);
  for (const { name, reason } of result.skipped) say(`  ${name}: ${reason || 'no reason given'}`);
  if (result.failures.length > 0) say('\nfailed outside a vitest test:');
  for (const failure of result.failures) say(`  ${failure}`);
  if (result.passed + result.failed === 0) say('\nno test ran');
  say(`\ntests took ${seconds(start)}`);
  say(summaryLine({ ...result, skipped: result.skipped.length }));
}

/** The kept corpora of the fuzzers, where a compiler with sanitizers is there. */
async function replay(total) {
  try {
    const fuzz = await replayCorpora();
    total.passed += fuzz.passed;
    total.failed += fuzz.failed;
    total.failures.push(...fuzz.failures);
    total.skipped.push(...fuzz.skipped);
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    total.skipped.push({ name: 'native fuzzers', reason: error.message });
  }
}

async function main() {
  const soak = process.argv.includes('--soak');
  const filters = process.argv.slice(2).filter((arg) => arg !== '--soak');
  await ensureDependencies({ dev: true });
  await build();
  const start = performance.now();
  const total = { passed: 0, failed: 0, skipped: [], failures: [] };
  if (!soak && filters.length === 0) {
    const native = await runNativeTests(nativeTests());
    total.passed += native.passed;
    total.failed += native.failed;
    total.skipped.push(...native.skipped);
    total.failures.push(...native.failures);
    await replay(total);
  }
  const vitest = soak
    ? await runTests(filters, { DVK_SOAK: '1' }, SOAK_TIMEOUT_MS)
    : await runTests(filters);
  total.passed += vitest.passed;
  total.failed += vitest.failed;
  total.skipped.push(...vitest.skipped);
  total.failures.push(...vitest.failures);
  report(total, start);
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

if (isMain(import.meta.url)) await main().catch(fail);

// Runs native tests: executables that print `ok NAME`, `not ok NAME` or `skipped NAME: reason` for
// each test, and end with `N passed, N failed`.
import { basename } from 'node:path';
import { run, say, summaryOf } from './steps.mjs';

// Each test has a watchdog of its own; on a busy machine all of them take long.
const TIMEOUT_MS = 600_000;

/**
 * Runs one executable after the other, each with `args`. Returns the counts, the skipped tests,
 * and a line for each failure.
 */
export async function runNativeTests(executables, options = {}) {
  const result = { passed: 0, failed: 0, skipped: [], failures: [] };
  for (const path of executables) {
    const name = options.title ?? basename(path);
    say(`--- ${name}`);
    const [program, ...args] = [...(options.prefix ?? []), path, ...(options.args ?? [])];
    const { timeoutMs = TIMEOUT_MS, env } = options;
    const outcome = await run(program, args, { timeoutMs, env });
    const counts = summaryOf(outcome.output) ?? { passed: 0, failed: 0 };
    const failed = outcome.output.match(/^not ok .*$/gm) ?? [];
    result.passed += counts.passed;
    result.failed += counts.failed;
    result.failures.push(...failed.map((line) => `${name}: ${line.replace(/^not ok /, '')}`));
    for (const [, test, reason] of outcome.output.matchAll(/^skipped (.*): (.*)$/gm)) {
      result.skipped.push({ name: `${name}: ${test}`, reason });
    }
    // A crash, a hang or a sanitizer report is a failure beyond those counted.
    if (outcome.status !== 0 && counts.failed === 0) {
      const why = outcome.timedOut ? 'timed out' : `ended with code ${outcome.status}`;
      result.failed++;
      result.failures.push(`${name}: ${why}`);
    } else if (counts.passed + counts.failed + (counts.skipped ?? 0) === 0) {
      result.failed++;
      result.failures.push(`${name}: ran no test`);
    }
  }
  return result;
}

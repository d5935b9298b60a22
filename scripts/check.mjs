// `npm run check`: every static check, two at a time.
// With --fix it formats, and repairs what tools can repair.
import { chmodSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { buildTypeScript } from './build.mjs';
import { ensureDependencies } from './setup.mjs';
import { StepError, fail, listFiles, root, run } from './steps.mjs';
import { say, seconds, summaryLine, withLock } from './steps.mjs';

const AT_ONCE = 2;
const TIMEOUT_MS = 300_000;
const fix = process.argv.includes('--fix');

/** The binary in clang-format's package; npm may have blocked the chmod in its install script. */
function clangFormat() {
  const path = `node_modules/clang-format-node/bin/cfn-linux-${process.arch}/clang-format`;
  if (!existsSync(join(root, path))) {
    throw new StepError(`clang-format-node has no binary for ${process.arch}`);
  }
  chmodSync(join(root, path), 0o755);
  return join(root, path);
}

const sources = ['native', 'examples', 'test'].flatMap((folder) =>
  listFiles(folder, (path) => /^(?!native\/build).*(?<!\.gen)\.(cc|h|c)$/.test(path)),
);
const node = (...args) => ({ program: process.execPath, args });

const CHECKS = {
  'abi drift': () => node('dist/src/dvk/abi/generate.js', ...(fix ? [] : ['--check'])),
  'protocol drift': () => node('dist/src/vos/protocol/generate.js', ...(fix ? [] : ['--check'])),
  prettier: () =>
    node(
      'node_modules/prettier/bin/prettier.cjs',
      ...['--log-level', 'warn', fix ? '--write' : '--check', '.'],
    ),
  'clang-format': () => ({
    program: clangFormat(),
    args: [...(fix ? ['-i'] : ['--dry-run', '-Werror']), ...sources],
  }),
  eslint: () =>
    node(
      'node_modules/eslint/bin/eslint.js',
      ...['.', '--max-warnings', '0', '--no-warn-ignored', ...(fix ? ['--fix'] : [])],
    ),
  tsc: () => node('node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.json'),
  'dependency-cruiser': () =>
    node(
      'node_modules/dependency-cruiser/bin/dependency-cruise.mjs',
      ...['--config', '.dependency-cruiser.cjs', '--output-type', 'err'],
      ...['src', 'bench', 'test'].filter((folder) => existsSync(join(root, folder))),
    ),
  knip: () => node('node_modules/knip/bin/knip.js', '--no-progress', '--no-config-hints'),
  tidy: () =>
    node('node_modules/vitest/vitest.mjs', 'run', '--project', 'unit', 'test/tidy.test.ts'),
};

/** Runs one check and prints its line; the output of a check is shown only when it fails. */
async function runCheck(name) {
  const start = performance.now();
  const { program, args } = CHECKS[name]();
  const result = await run(program, args, { quiet: true, timeoutMs: TIMEOUT_MS });
  const passed = result.status === 0 && !result.timedOut;
  const verdict = passed ? 'ok' : result.timedOut ? 'TIMED OUT' : 'FAILED';
  if (!passed) say(`\n--- ${name}\n${result.output.trimEnd()}`);
  say(`${name} ... ${verdict} in ${seconds(start)}`);
  return passed;
}

async function main() {
  await ensureDependencies({ dev: true });
  // The generator must be compiled, and must not run: a stale generated file is what we look for.
  await withLock('build', buildTypeScript).catch((error) => say(`error: ${error.message}`));
  const waiting = Object.keys(CHECKS);
  const result = { passed: 0, failed: 0 };
  const worker = async () => {
    for (let name = waiting.shift(); name; name = waiting.shift()) {
      result[(await runCheck(name)) ? 'passed' : 'failed']++;
    }
  };
  // Tools that rewrite files must not meet in one file.
  await Promise.all(Array.from({ length: fix ? 1 : AT_ONCE }, worker));
  say(summaryLine(result));
  process.exitCode = result.failed > 0 ? 1 : 0;
}

await main().catch(fail);

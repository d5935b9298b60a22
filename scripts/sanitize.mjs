// `npm run test:sanitize`: the core and its tests under ASan + UBSan, then under TSan. The test of
// a member that writes anything anywhere has its long form under ASan.
//
// Compiled here and not by node-gyp: the core needs no Node header, and neither do its tests.
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { runNativeTests } from './native-tests.mjs';
import { ADDRESS, compileObjects, cores, findCompiler, link } from './sanitized.mjs';
import { ensureDependencies } from './setup.mjs';
import { StepError, fail, listFiles, root, run, say, step, summaryLine } from './steps.mjs';
import { withLock } from './steps.mjs';

const BUILDS = [
  ADDRESS,
  {
    name: 'thread',
    flags: ['-fsanitize=thread'],
    env: { TSAN_OPTIONS: 'halt_on_error=0:exitcode=99:die_after_fork=0:second_deadlock_stack=1' },
  },
];

const TIMEOUT_MS = 1_800_000;

/** The part of a test's name whose long form, a minute, runs under ASan too. */
const HOSTILE_MEMBER = 'writes anything anywhere';

/** Objects to link and the ones with a main(): one executable for each of those. */
function splitSources() {
  const tests = listFiles('native/test', (path) => path.endsWith('.cc'));
  const hasMain = (path) => /^int main\(/m.test(readFileSync(join(root, path), 'utf8'));
  const mains = tests.filter(hasMain);
  if (mains.length === 0) throw new StepError('native/test has no main()');
  return { shared: [...cores(), ...tests.filter((path) => !hasMain(path))], mains };
}

/** Compiles and links what changed; returns the executables. */
async function compile({ name, flags }) {
  const compiler = await findCompiler(flags);
  const { shared, mains } = splitSources();
  const object = await compileObjects({ name, flags, compiler }, [...shared, ...mains]);
  const executables = [];
  for (const path of mains) {
    const output = `.build/sanitize-${name}/${basename(path, '.cc')}`;
    executables.push(await link(compiler, flags, [...shared, path].map(object), output));
  }
  return executables;
}

/** TSan of older compilers cannot place its shadow where the kernel randomises mmap widely. */
async function threadPrefix() {
  const plain = `${join(root, '.build/sanitize-probe.cc')}.out`;
  if ((await run(plain, [], { quiet: true })).status === 0) return [];
  const fixed = ['setarch', process.arch === 'arm64' ? 'aarch64' : 'x86_64', '-R'];
  if ((await run(fixed[0], [...fixed.slice(1), plain], { quiet: true })).status === 0) return fixed;
  throw new StepError('a program under ThreadSanitizer does not start on this kernel');
}

async function main() {
  await ensureDependencies();
  const total = { passed: 0, failed: 0 };
  const failures = [];
  for (const build of BUILDS) {
    const executables = await withLock('sanitize', async () =>
      step(`compiling the core under ${build.name}`, async () => compile(build)),
    );
    const prefix = build.name === 'thread' ? await threadPrefix() : [];
    const options = { prefix, env: build.env, timeoutMs: TIMEOUT_MS };
    const results = [await runNativeTests(executables, options)];
    if (build === ADDRESS) {
      const env = { ...build.env, DVK_SOAK: '1' };
      const title = `${HOSTILE_MEMBER}, for a minute`;
      results.push(
        await runNativeTests(executables, { ...options, env, args: [HOSTILE_MEMBER], title }),
      );
    }
    for (const result of results) {
      total.passed += result.passed;
      total.failed += result.failed;
      failures.push(...result.failures.map((line) => `${build.name}: ${line}`));
    }
  }
  for (const failure of failures) say(`failed: ${failure}`);
  say(summaryLine(total));
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

await main().catch(fail);

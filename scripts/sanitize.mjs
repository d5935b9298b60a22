// `npm run test:sanitize`: the core and its tests under ASan + UBSan, then under TSan.
//
// Compiled here and not by node-gyp: the core needs no Node header, and neither do its tests.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { runNativeTests } from './native-tests.mjs';
import { ensureDependencies } from './setup.mjs';
import { StepError, fail, findProgram, hashOf, listFiles, must, readStamp } from './steps.mjs';
import { root, run, say, step, summaryLine, withLock } from './steps.mjs';

const BUILDS = [
  {
    name: 'address-undefined',
    flags: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
    env: {
      ASAN_OPTIONS: 'abort_on_error=0:exitcode=99:detect_stack_use_after_return=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    },
  },
  {
    name: 'thread',
    flags: ['-fsanitize=thread'],
    env: { TSAN_OPTIONS: 'halt_on_error=0:exitcode=99:die_after_fork=0:second_deadlock_stack=1' },
  },
];
const COMMON = [
  '-std=c++20',
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-fno-exceptions',
  '-pthread',
];
const INCLUDES = ['-Inative', '-Inative/core', '-Inative/include', '-Inative/test'];

/** The compiler: $CXX, or the first that can link a program with `flags`. */
async function findCompiler(flags) {
  const probe = join(root, '.build/sanitize-probe.cc');
  writeFileSync(probe, 'int main() { return 0; }\n');
  const candidates = process.env.CXX ? [process.env.CXX] : ['g++', 'clang++'];
  for (const compiler of candidates.filter(findProgram)) {
    const args = ['-std=c++20', ...flags, probe, '-o', `${probe}.out`];
    if ((await run(compiler, args, { quiet: true })).status === 0) return compiler;
  }
  throw new StepError(`no compiler links ${flags[0]}; install g++ or clang with its runtime`);
}

/** Objects to link and the ones with a main(): one executable for each of those. */
function splitSources() {
  const core = listFiles('native/core', (path) => path.endsWith('.cc'));
  const tests = listFiles('native/test', (path) => path.endsWith('.cc'));
  const hasMain = (path) => /^int main\(/m.test(readFileSync(join(root, path), 'utf8'));
  const mains = tests.filter(hasMain);
  if (mains.length === 0) throw new StepError('native/test has no main()');
  return { shared: [...core, ...tests.filter((path) => !hasMain(path))], mains };
}

async function inParallel(items, work) {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all([worker(), worker()]);
}

/** Compiles and links what changed; returns the executables. */
async function compile({ name, flags }) {
  const folder = `.build/sanitize-${name}`;
  mkdirSync(join(root, folder), { recursive: true });
  const compiler = await findCompiler(flags);
  const { shared, mains } = splitSources();
  const headers = listFiles('native', (path) => path.endsWith('.h') && !path.includes('/build'));
  const common = hashOf(headers, compiler, ...COMMON, ...flags);
  const object = (path) => `${folder}/${path.replaceAll('/', '-')}.o`;
  await inParallel([...shared, ...mains], async (path) => {
    const hash = hashOf([path], common);
    if (readStamp(`${object(path)}.stamp`) === hash && existsSync(join(root, object(path)))) return;
    const args = [...COMMON, ...flags, ...INCLUDES, '-c', path, '-o', object(path)];
    await must(compiler, args);
    writeFileSync(join(root, `${object(path)}.stamp`), hash);
  });
  const executables = [];
  for (const path of mains) {
    const output = `${folder}/${basename(path, '.cc')}`;
    const objects = [...shared, path].map(object);
    await must(compiler, [...flags, '-pthread', ...objects, '-ldl', '-lrt', '-o', output]);
    executables.push(join(root, output));
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
    const result = await runNativeTests(executables, { prefix, env: build.env });
    total.passed += result.passed;
    total.failed += result.failed;
    failures.push(...result.failures.map((line) => `${build.name}: ${line}`));
  }
  for (const failure of failures) say(`failed: ${failure}`);
  say(summaryLine(total));
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

await main().catch(fail);

// Compiles C++ sources with a sanitizer, without node-gyp; only what changed is compiled again.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StepError, findProgram, hashOf, listFiles, must, readStamp, root, run } from './steps.mjs';

/** For every source and every link. */
export const COMMON = [
  '-std=c++20',
  '-O1',
  '-g',
  '-fno-omit-frame-pointer',
  '-fno-exceptions',
  '-pthread',
];
const INCLUDES = ['-Inative', '-Inative/core', '-Inative/include', '-Inative/test'];

/** AddressSanitizer and UndefinedBehaviorSanitizer together. */
export const ADDRESS = {
  name: 'address-undefined',
  flags: ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
  env: {
    ASAN_OPTIONS: 'abort_on_error=0:exitcode=99:detect_stack_use_after_return=1',
    UBSAN_OPTIONS: 'print_stacktrace=1',
  },
};

export const cores = () => listFiles('native/core', (path) => path.endsWith('.cc'));

/** The first of `candidates` that can link a program with `flags`; undefined when none can. */
export async function compilerFor(flags, candidates, main = 'int main() { return 0; }') {
  const probe = join(root, '.build/sanitize-probe.cc');
  mkdirSync(join(root, '.build'), { recursive: true });
  writeFileSync(probe, `${main}\n`);
  for (const compiler of candidates.filter(findProgram)) {
    const args = ['-std=c++20', ...flags, probe, '-o', `${probe}.out`];
    if ((await run(compiler, args, { quiet: true })).status === 0) return compiler;
  }
  return undefined;
}

/** The compiler: $CXX, or the first that can link a program with `flags`. */
export async function findCompiler(flags) {
  const candidates = process.env.CXX ? [process.env.CXX] : ['g++', 'clang++'];
  const found = await compilerFor(flags, candidates);
  if (found !== undefined) return found;
  throw new StepError(`no compiler links ${flags[0]}; install g++ or clang with its runtime`);
}

async function inParallel(items, work) {
  const waiting = [...items];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined; item = waiting.shift()) await work(item);
  };
  await Promise.all([worker(), worker()]);
}

/** Compiles `sources` into `.build/sanitize-NAME`, and tells where an object is. */
export async function compileObjects({ name, flags, compiler }, sources) {
  const folder = `.build/sanitize-${name}`;
  mkdirSync(join(root, folder), { recursive: true });
  const headers = listFiles('native', (path) => path.endsWith('.h') && !path.includes('/build'));
  const common = hashOf(headers, compiler, ...COMMON, ...flags);
  const object = (path) => `${folder}/${path.replaceAll('/', '-')}.o`;
  await inParallel(sources, async (path) => {
    const hash = hashOf([path], common);
    if (readStamp(`${object(path)}.stamp`) === hash && existsSync(join(root, object(path)))) return;
    const args = [...COMMON, ...flags, ...INCLUDES, '-c', path, '-o', object(path)];
    await must(compiler, args);
    writeFileSync(join(root, `${object(path)}.stamp`), hash);
  });
  return object;
}

/** Links objects to `output`; returns its path. */
export async function link(compiler, flags, objects, output) {
  await must(compiler, [...flags, '-pthread', ...objects, '-ldl', '-lrt', '-o', output]);
  return join(root, output);
}

// The fuzzers of the C++ decoders, native/fuzz/*_fuzz.cc.
//
//   npm run test:fuzz                    each for 60 s
//   npm run test:fuzz -- NAME --seconds N
//
// With clang and its libFuzzer they search by coverage, from the kept corpus on. Without, and in
// `npm test`, a plain main() runs the corpus and mutations of it from a fixed seed, under ASan and
// UBSan of any compiler. A corpus is a text file, native/fuzz/corpus/NAME.txt; what breaks is to be
// added to it as a line.
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ADDRESS, compileObjects, compilerFor, cores, findCompiler } from './sanitized.mjs';
import { link } from './sanitized.mjs';
import { ensureDependencies } from './setup.mjs';
import { fail, isMain, listFiles, root, run, say, step, summaryLine, summaryOf } from './steps.mjs';
import { withLock } from './steps.mjs';

const REPLAY = 'native/fuzz/replay.cc';
const CHECKSUM = 'native/binding/crc32c.cc';
const MUTATIONS = 2000;
const TIMEOUT_MS = 180_000;
const LIBFUZZER = {
  name: 'libfuzzer',
  flags: ['-fsanitize=fuzzer-no-link,address,undefined', '-fno-sanitize-recover=all'],
  env: ADDRESS.env,
};
const ENTRY =
  'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }';

const fuzzers = () => listFiles('native/fuzz', (path) => path.endsWith('_fuzz.cc'));
const nameOf = (path) => basename(path, '.cc');
const corpusOf = (path) => join(root, `native/fuzz/corpus/${nameOf(path)}.txt`);

/** Compiles and links each fuzzer with `extra` objects. Returns executables by name. */
async function compile(paths, { build, compiler, linkFlags, extra }) {
  return await withLock('sanitize', async () =>
    step(`compiling the fuzzers under ${build.name}`, async () => {
      const shared = [...cores(), CHECKSUM, ...extra];
      const object = await compileObjects({ ...build, compiler }, [...shared, ...paths]);
      const executables = new Map();
      for (const path of paths) {
        const output = `.build/sanitize-${build.name}/${nameOf(path)}`;
        const objects = [...shared, path].map(object);
        executables.set(path, await link(compiler, linkFlags, objects, output));
      }
      return executables;
    }),
  );
}

/** Runs the kept corpora, and mutations of them. Returns counts and a line for each failure. */
export async function replayCorpora(paths = fuzzers(), mutations = MUTATIONS) {
  const { flags, env } = ADDRESS;
  const compiler = await findCompiler(flags);
  const options = { build: ADDRESS, compiler, linkFlags: flags, extra: [REPLAY] };
  const executables = await compile(paths, options);
  const result = { passed: 0, failed: 0, failures: [] };
  for (const [path, program] of executables) {
    const outcome = await run(program, [corpusOf(path), String(mutations)], {
      timeoutMs: TIMEOUT_MS,
      env,
    });
    const counts = summaryOf(outcome.output) ?? { passed: 0, failed: 0 };
    result.passed += counts.passed;
    result.failed += counts.failed;
    if (outcome.status === 0 || counts.failed > 0) continue;
    result.failed++;
    const why = outcome.timedOut ? 'timed out' : `ended with code ${outcome.status}`;
    result.failures.push(`${nameOf(path)}: ${why}`);
  }
  return result;
}

/** The inputs of a text corpus as files, which is how libFuzzer takes them. */
function unpackCorpus(path, folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const lines = readFileSync(corpusOf(path), 'utf8').split('\n');
  lines.forEach((line, index) => {
    const [hex = ''] = /^(?:[0-9a-f]{2})+/.exec(line) ?? [];
    if (hex !== '') writeFileSync(join(folder, `kept-${index + 1}`), Buffer.from(hex, 'hex'));
  });
}

async function search(paths, compiler, seconds) {
  const linkFlags = ['-fsanitize=fuzzer,address,undefined'];
  const executables = await compile(paths, { build: LIBFUZZER, compiler, linkFlags, extra: [] });
  const result = { passed: 0, failed: 0, failures: [] };
  for (const [path, program] of executables) {
    const folder = join(root, `.build/fuzz/${nameOf(path)}`);
    const found = join(folder, 'found');
    unpackCorpus(path, folder);
    mkdirSync(found);
    const outcome = await run(
      program,
      [
        ...[`-max_total_time=${seconds}`, '-max_len=4096', '-timeout=10', '-rss_limit_mb=2048'],
        ...[`-artifact_prefix=${found}/`, '-print_final_stats=1', '-verbosity=0', folder],
      ],
      { timeoutMs: (seconds + 120) * 1000, env: LIBFUZZER.env },
    );
    const inputs = readdirSync(found);
    if (outcome.status === 0) {
      result.passed++;
      say(`ok ${nameOf(path)}`);
      continue;
    }
    result.failed++;
    result.failures.push(`${nameOf(path)}: code ${outcome.status}`);
    for (const input of inputs) {
      say(`${input}, a line for the corpus: ${readFileSync(join(found, input)).toString('hex')}`);
    }
  }
  return result;
}

function secondsFrom(args) {
  const at = args.indexOf('--seconds');
  const seconds = at < 0 ? 60 : Number(args[at + 1]);
  return Number.isInteger(seconds) && seconds > 0 ? seconds : 60;
}

async function main() {
  const args = process.argv.slice(2);
  await ensureDependencies();
  const names = args.filter((arg) => /^[a-z_]+$/.test(arg));
  const paths = fuzzers().filter((path) => names.every((name) => nameOf(path).includes(name)));
  const kept = await replayCorpora(paths.filter((path) => existsSync(corpusOf(path))));
  const clang = await compilerFor(['-fsanitize=fuzzer,address'], ['clang++'], ENTRY);
  if (clang === undefined) say('clang++ with libFuzzer is missing (apt install clang)');
  const none = { passed: 0, failed: 0, failures: [] };
  const found = clang === undefined ? none : await search(paths, clang, secondsFrom(args));
  for (const failure of [...kept.failures, ...found.failures]) say(`failed: ${failure}`);
  const total = { passed: kept.passed + found.passed, failed: kept.failed + found.failed };
  say(summaryLine(total));
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

if (isMain(import.meta.url)) await main().catch(fail);

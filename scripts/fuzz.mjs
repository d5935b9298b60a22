// The fuzzers of the C++ decoders, native/fuzz/*_fuzz.cc.
//
//   npm run test:fuzz                    each for 60 s
//   npm run test:fuzz -- NAME --seconds N
//   npm run test:fuzz -- NAME --keep     puts what was found into native/fuzz/corpus
//
// With clang and its libFuzzer they search by coverage, from the kept corpus on. Without, and in
// `npm test`, a plain main() runs the corpus and mutations of it from a fixed seed, under ASan and
// UBSan of any compiler. A corpus is a text file, native/fuzz/corpus/NAME.txt; what breaks is to be
// added to it as a line. What reaches more than the corpus does stays in .build/fuzz/NAME/found,
// where the next search begins; --keep adds those to the corpus that reach code which nothing in it
// does.
import { appendFileSync, existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ADDRESS, compileObjects, compilerFor, cores, findCompiler } from './sanitized.mjs';
import { link } from './sanitized.mjs';
import { ensureDependencies } from './setup.mjs';
import { fail, isMain, listFiles, root, run, say, step, StepError } from './steps.mjs';
import { summaryLine, summaryOf, withLock } from './steps.mjs';

const REPLAY = 'native/fuzz/replay.cc';
// Of the addon, what decodes bytes and knows nothing of Node.js.
const DECODERS = ['native/binding/crc32c.cc', 'native/binding/frame_runs.cc'];
// The same of what is ciphered; Node.js has OpenSSL for the addon, which is for nobody else.
const CIPHERED = { aead_fuzz: { sources: ['native/binding/aead.cc'], libraries: ['-lcrypto'] } };
const OPENSSL = '#include <openssl/evp.h>\nint main() { return 0; }';
const MUTATIONS = 2000;
const TIMEOUT_MS = 180_000;
const BYTES_MAX = 4096;
// Lines of a corpus are short enough to be read.
const KEPT_BYTES_MAX = 256;
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

/** The fuzzers that can be linked, and those that cannot. */
async function linkable(paths, compiler) {
  const isThere = (await compilerFor(['-lcrypto'], [compiler], OPENSSL)) !== undefined;
  const can = (path) => isThere || CIPHERED[nameOf(path)] === undefined;
  return { usable: paths.filter(can), left: paths.filter((path) => !can(path)) };
}

/** Compiles and links each fuzzer with `extra` objects. Returns executables by path. */
async function compile(paths, { build, compiler, linkFlags, extra }) {
  const besides = (path) => CIPHERED[nameOf(path)] ?? { sources: [], libraries: [] };
  return await withLock('sanitize', async () =>
    step(`compiling the fuzzers under ${build.name}`, async () => {
      const shared = [...cores(), ...DECODERS, ...extra];
      const own = paths.flatMap((path) => [path, ...besides(path).sources]);
      const object = await compileObjects({ ...build, compiler }, [...shared, ...own]);
      const executables = new Map();
      for (const path of paths) {
        const output = `.build/sanitize-${build.name}/${nameOf(path)}`;
        const { sources, libraries } = besides(path);
        const objects = [...[...shared, ...sources, path].map(object), ...libraries];
        executables.set(path, await link(compiler, linkFlags, objects, output));
      }
      return executables;
    }),
  );
}

/** Runs the kept corpora and mutations of them. Returns counts, failures, and what was left out. */
export async function replayCorpora(paths = fuzzers(), mutations = MUTATIONS) {
  const { flags, env } = ADDRESS;
  const compiler = await findCompiler(flags);
  const { usable, left } = await linkable(paths, compiler);
  const options = { build: ADDRESS, compiler, linkFlags: flags, extra: [REPLAY] };
  const executables = await compile(usable, options);
  const reason = 'OpenSSL is missing (apt install libssl-dev)';
  const skipped = left.map((path) => ({ name: nameOf(path), reason }));
  const result = { passed: 0, failed: 0, failures: [], skipped };
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

/** The inputs of a text corpus as files in `folder`, which is how libFuzzer takes them. */
function unpackCorpus(path, folder) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const lines = existsSync(corpusOf(path)) ? readFileSync(corpusOf(path), 'utf8').split('\n') : [];
  lines.forEach((line, index) => {
    const [hex = ''] = /^(?:[0-9a-f]{2})+/.exec(line) ?? [];
    if (hex !== '') writeFileSync(join(folder, `kept-${index + 1}`), Buffer.from(hex, 'hex'));
  });
}

/** The fuzzers by their paths, and folders for each, with libFuzzer. */
async function searchers(paths, compiler) {
  const linkFlags = ['-fsanitize=fuzzer,address,undefined'];
  const { usable } = await linkable(paths, compiler);
  const executables = await compile(usable, { build: LIBFUZZER, compiler, linkFlags, extra: [] });
  return [...executables].map(([path, program]) => {
    const own = join(root, `.build/fuzz/${nameOf(path)}`);
    const folders = { corpus: join(own, 'corpus'), found: join(own, 'found') };
    unpackCorpus(path, folders.corpus);
    mkdirSync(folders.found, { recursive: true });
    return { path, own, ...folders, program };
  });
}

/**
 * The inputs of `found` that reach something that the corpus does not, and none for nothing; with
 * `flags` of libFuzzer. They are in the folder that is returned.
 */
async function distil({ path, own, found, program }, flags) {
  const merged = join(own, 'merged');
  unpackCorpus(path, merged);
  const args = ['-merge=1', '-verbosity=0', '-rss_limit_mb=2048', ...flags, merged, found];
  const options = { timeoutMs: TIMEOUT_MS, env: LIBFUZZER.env, quiet: true };
  const outcome = await run(program, args, options);
  if (outcome.status !== 0) throw new StepError(`${nameOf(path)}: -merge: ${outcome.output}`);
  for (const name of readdirSync(merged)) if (name.startsWith('kept-')) rmSync(join(merged, name));
  return merged;
}

async function search(paths, compiler, seconds) {
  const result = { passed: 0, failed: 0, failures: [] };
  for (const searcher of await searchers(paths, compiler)) {
    const { path, own, corpus, found, program } = searcher;
    const broken = join(own, 'broken');
    rmSync(broken, { recursive: true, force: true });
    mkdirSync(broken);
    const outcome = await run(
      program,
      [
        ...[`-max_total_time=${seconds}`, `-max_len=${BYTES_MAX}`, '-timeout=10'],
        ...['-rss_limit_mb=2048', `-artifact_prefix=${broken}/`, '-verbosity=0', found, corpus],
      ],
      { timeoutMs: (seconds + 120) * 1000, env: LIBFUZZER.env, quiet: true },
    );
    if (outcome.status === 0) {
      const merged = await distil(searcher, [`-max_len=${BYTES_MAX}`]);
      rmSync(found, { recursive: true });
      renameSync(merged, found);
      result.passed++;
      say(`ok ${nameOf(path)}: ${readdirSync(found).length} inputs beside the corpus`);
      continue;
    }
    result.failed++;
    result.failures.push(`${nameOf(path)}: code ${outcome.status}`);
    say(outcome.output);
    for (const input of readdirSync(broken)) {
      say(`${input}, a line for the corpus: ${readFileSync(join(broken, input)).toString('hex')}`);
    }
  }
  return result;
}

/** Adds to each corpus what reaches code that it does not, once or often. */
async function keep(paths, compiler) {
  for (const searcher of await searchers(paths, compiler)) {
    const flags = [`-max_len=${KEPT_BYTES_MAX}`, '-use_counters=0', '-use_value_profile=0'];
    const merged = await distil(searcher, flags);
    const inputs = readdirSync(merged).map((name) => readFileSync(join(merged, name)));
    const lines = inputs.map((bytes) => `${bytes.toString('hex')}\n`).sort();
    appendFileSync(corpusOf(searcher.path), lines.join(''));
    rmSync(merged, { recursive: true });
    say(`${nameOf(searcher.path)}: ${lines.length} lines more`);
  }
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
  const clang = await compilerFor(['-fsanitize=fuzzer,address'], ['clang++'], ENTRY);
  if (clang === undefined) say('clang++ with libFuzzer is missing (apt install clang)');
  if (clang !== undefined && args.includes('--keep')) await keep(paths, clang);
  const kept = await replayCorpora(paths.filter((path) => existsSync(corpusOf(path))));
  for (const { name, reason } of kept.skipped) say(`${name} is left out: ${reason}`);
  const none = { passed: 0, failed: 0, failures: [] };
  const searches = clang !== undefined && !args.includes('--keep');
  const found = !searches ? none : await search(paths, clang, secondsFrom(args));
  for (const failure of [...kept.failures, ...found.failures]) say(`failed: ${failure}`);
  const total = { passed: kept.passed + found.passed, failed: kept.failed + found.failed };
  say(summaryLine(total));
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

if (isMain(import.meta.url)) await main().catch(fail);

// Builds dist/ (TypeScript), the generated ABI files and the native core. Only what changed.
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { ensureDependencies } from './setup.mjs';
import { fail, hashOf, isMain, listFiles, must, readStamp } from './steps.mjs';
import { root, run, say, step, withLock } from './steps.mjs';

const GENERATORS = ['dist/src/dvk/abi/generate.js', 'dist/src/vos/protocol/generate.js'];
const TYPESCRIPT_STAMP = 'dist/.dvk-stamp';
const SETTINGS_STAMP = 'dist/.dvk-settings';
const TYPESCRIPT_CACHE = 'dist/.tsbuildinfo';
const NATIVE_STAMP = 'native/build/.dvk-stamp';
const PACKAGE_CONFIG = 'native/build/dvk.pc';
// The folders of tsconfig.build.json; test/support holds programs that tests start.
const TYPESCRIPT_FOLDERS = ['src', 'bench', 'test/support'];

function typescriptSources() {
  return TYPESCRIPT_FOLDERS.filter((folder) => existsSync(join(root, folder))).flatMap((folder) =>
    listFiles(folder, (path) => path.endsWith('.ts')),
  );
}

/** Removes output whose source is gone, so that nothing imports a module that no longer exists. */
function pruneOutput(sources) {
  const kept = new Set(sources.map((path) => path.replace(/\.ts$/, '')));
  for (const path of listFiles('dist', (path) => /\.(js|d\.ts|js\.map)$/.test(path))) {
    const source = path.replace(/^dist\//, '').replace(/\.(js|d\.ts|js\.map)$/, '');
    if (!kept.has(source)) rmSync(join(root, path));
  }
}

/** Compiles to dist/. Returns whether there was anything to do. */
export async function buildTypeScript() {
  const sources = typescriptSources();
  const configs = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];
  const hash = hashOf([...sources, ...configs]);
  if (readStamp(TYPESCRIPT_STAMP) === hash) return false;
  // tsc keeps errors in its cache that other compiler options would no longer give.
  const settings = hashOf(configs, process.version);
  if (readStamp(SETTINGS_STAMP) !== settings) rmSync(join(root, TYPESCRIPT_CACHE), { force: true });
  mkdirSync(join(root, 'dist'), { recursive: true });
  writeFileSync(join(root, SETTINGS_STAMP), `${settings}\n`);
  await step('tsc: compiling TypeScript', async () =>
    must(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json']),
  );
  pruneOutput(sources);
  // tsc writes plain files; this one is started by name.
  const command = join(root, 'dist/src/cli/main.js');
  if (existsSync(command)) chmodSync(command, 0o755);
  writeFileSync(join(root, TYPESCRIPT_STAMP), `${hash}\n`);
  return true;
}

/** Writes the generated files that differ from their sources. Returns whether any did. */
async function generate() {
  const stale = [];
  for (const generator of GENERATORS) {
    const { status } = await run(process.execPath, [generator, '--check'], { quiet: true });
    if (status !== 0) stale.push(generator);
  }
  for (const generator of stale) {
    const source = generator.replace(/^dist\//, '').replace(/\.js$/, '.ts');
    await step(`generating by ${source}`, async () => must(process.execPath, [generator]));
  }
  return stale.length > 0;
}

/** The folder whose include/node holds the headers of the running Node.js, if it came with them. */
function nodeHeaders() {
  const prefix = dirname(dirname(process.execPath));
  const version = join(prefix, 'include/node/node_version.h');
  if (!existsSync(version)) return undefined;
  const [major] = process.versions.node.split('.');
  return readFileSync(version, 'utf8').includes(`NODE_MAJOR_VERSION ${major}\n`)
    ? prefix
    : undefined;
}

async function compileNative() {
  const headers = nodeHeaders();
  const jobs = String(Math.min(availableParallelism(), 8));
  await must(process.execPath, [
    ...['node_modules/node-gyp/bin/node-gyp.js', 'configure', 'build'],
    ...['--directory', 'native', '--jobs', jobs, '--loglevel', 'warn'],
    ...(headers ? ['--nodedir', headers] : []),
  ]);
}

/** Tells pkg-config of the C interface. Folders are relative to the file, which may be moved. */
function writePackageConfig() {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const template = readFileSync(join(root, 'native/library/dvk.pc.in'), 'utf8');
  writeFileSync(join(root, PACKAGE_CONFIG), template.replace('@version@', version));
}

/** Builds the core, its tests, the addon and libdvk. Returns whether there was anything to do. */
export async function buildNative() {
  if (!existsSync(join(root, 'native/binding.gyp'))) return false;
  const sources = listFiles('native', (path) => !/^native\/build(-|\/)/.test(path));
  const hash = hashOf(sources, process.version, process.arch, process.env.CXX ?? '');
  if (readStamp(NATIVE_STAMP) === hash) return false;
  await step('node-gyp: building the native core', compileNative);
  writePackageConfig();
  writeFileSync(join(root, NATIVE_STAMP), `${hash}\n`);
  return true;
}

/** Builds everything that is out of date; several builds in one checkout wait for one another. */
export async function build() {
  await withLock('build', async () => {
    const compiled = await buildTypeScript();
    const generated = compiled && (await generate());
    if (generated) await buildTypeScript();
    const linked = await buildNative();
    if (!compiled && !linked) say('build: nothing to do');
  });
}

if (isMain(import.meta.url)) {
  await ensureDependencies().then(build).catch(fail);
}

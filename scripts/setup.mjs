// Installs what is missing: npm packages, and Debian packages when root. A second run does nothing.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StepError, fail, findProgram, hashOf, isMain, must, readStamp } from './steps.mjs';
import { root, run, say, step, withLock } from './steps.mjs';

const STAMP = 'node_modules/.dvk-stamp';

// What each Debian package is recognised by, so that other distributions pass too. Without the
// essential ones the addon cannot be built; without the others a part of the product is missing.
const FOR_START = [
  { name: 'g++', programs: ['g++'], essential: true },
  { name: 'make', programs: ['make'], essential: true },
  { name: 'python3', programs: ['python3'], essential: true },
  { name: 'fuse3', programs: ['fusermount3'], why: 'an ordinary user cannot mount' },
  { name: 'e2fsprogs', programs: ['mke2fs', 'e2fsck'], why: 'no file system image can be made' },
];
const FOR_TESTS = [
  { name: 'iproute2', programs: ['ip'], why: 'tests of network faults are skipped' },
  { name: 'attr', programs: ['getfattr', 'setfattr'], why: 'attribute tests are skipped' },
  { name: 'acl', programs: ['getfacl', 'setfacl'], why: 'tests of access lists are skipped' },
  { name: 'git', programs: ['git'], why: 'the test with a repository in a mount is skipped' },
  { name: 'fio', programs: ['fio'], why: 'writes that are verified are left out' },
  { name: 'stress-ng', programs: ['stress-ng'], why: 'stressors of file systems are left out' },
  { name: 'util-linux', programs: ['unshare', 'setpriv'], why: 'tests as a user are skipped' },
  {
    name: 'libssl-dev',
    files: ['/usr/include/openssl/evp.h', '/usr/local/include/openssl/evp.h'],
    why: 'the fuzzer of packets is left out',
  },
  {
    name: 'libfuse3-dev',
    files: ['/usr/include/fuse3/fuse.h', '/usr/local/include/fuse3/fuse.h'],
    why: 'the passthrough that file benches compare with cannot be compiled',
  },
];

const FOR_MODEL = [
  { name: 'spin', programs: ['spin'], essential: true },
  { name: 'gcc', programs: ['gcc'], essential: true },
];

function isPresent(need) {
  if (need.files) return need.files.some((file) => existsSync(file));
  return need.programs.every((name) => findProgram(name) !== undefined);
}

function checkPlatform() {
  if (process.platform !== 'linux') {
    throw new StepError(`dvk runs on Linux; this is ${process.platform}`);
  }
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 3)) {
    throw new StepError(`dvk needs Node.js 20.3 or newer; this is ${process.version}`);
  }
}

/** Whether node_modules already holds what the lock file asks for, whoever installed it. */
export function isInstalled(wanted, present) {
  return Object.entries(wanted)
    .filter(([path]) => path !== '')
    .every(([path, entry]) => {
      const installed = present[path];
      return installed ? installed.version === entry.version : entry.optional === true;
    });
}

function packagesOf(file) {
  return JSON.parse(readFileSync(join(root, file), 'utf8')).packages ?? {};
}

async function ensureNpmPackages() {
  const hash = hashOf(['package-lock.json']);
  if (readStamp(STAMP) === hash) return;
  await withLock('install', async () => {
    if (readStamp(STAMP) === hash) return;
    const record = 'node_modules/.package-lock.json';
    const complete =
      existsSync(join(root, record)) &&
      isInstalled(packagesOf('package-lock.json'), packagesOf(record));
    if (!complete) {
      await step('npm ci: installing npm packages', async () =>
        must('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']),
      );
    }
    writeFileSync(join(root, STAMP), `${hash}\n`);
  });
}

async function aptInstall(names) {
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  const args = ['install', '-y', '-q', '--no-install-recommends', ...names];
  // The package lists may be absent or old, so they are fetched only when the first try fails.
  const first = await run('apt-get', args, { env, quiet: true });
  if (first.status === 0) return;
  await run('apt-get', ['update', '-q'], { env, quiet: true });
  const second = await run('apt-get', args, { env, quiet: true });
  if (second.status !== 0) say(second.output.trim().split('\n').slice(-5).join('\n'));
}

async function ensureDebianPackages(needs) {
  let missing = needs.filter((need) => !isPresent(need));
  if (missing.length === 0) return;
  const names = missing.map((need) => need.name);
  if (process.getuid() === 0 && findProgram('apt-get')) {
    await step(`apt-get install ${names.join(' ')}`, async () => aptInstall(names));
    missing = missing.filter((need) => !isPresent(need));
    if (missing.length === 0) return;
  }
  const sudo = process.getuid() === 0 ? '' : 'sudo ';
  const list = missing.map((need) => need.name).join(' ');
  const command = `${sudo}apt-get install -y --no-install-recommends ${list}`;
  const essential = missing.filter((need) => need.essential);
  if (essential.length > 0) {
    const names = essential.map((need) => need.name).join(', ');
    throw new StepError(`${names} needed. Run: ${command}`);
  }
  for (const need of missing) say(`note: ${need.name} is not installed: ${need.why}`);
  say(`note: to install it, run: ${command}`);
}

/** Makes sure that the project can be built and run; with `dev`, that all its tests can run too. */
export async function ensureDependencies({ dev = false } = {}) {
  checkPlatform();
  await ensureDebianPackages(dev ? [...FOR_START, ...FOR_TESTS] : FOR_START);
  await ensureNpmPackages();
}

/** Makes sure that the model can be checked: spin, and a compiler for what it generates. */
export async function ensureSpin() {
  await ensureDebianPackages(FOR_MODEL);
}

if (isMain(import.meta.url)) await ensureDependencies({ dev: true }).catch(fail);

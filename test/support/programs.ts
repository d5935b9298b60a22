/**
 * Programs that people use files with, run on the mounts of a DVS; each says by its own means
 * whether all was right. Short for `npm test`, long for `npm run test:soak`.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/programs.ts';
import type { MountedDvs } from './mounted-dvs.ts';

const ROOT = join(import.meta.dirname, '../..');
const SCRIPTS = join(import.meta.dirname, 'programs');

/** How much each program does. */
export interface Size {
  readonly seed: number;
  /** Files that tar packs. */
  readonly files: number;
  /** Commits in the repository. */
  readonly commits: number;
  /** Of each process that uses a database. */
  readonly transactions: number;
  /** That two nodes make in one directory, each process. */
  readonly names: number;
  /** That each of four jobs of fio writes. */
  readonly mebibytes: number;
  readonly stressSeconds: number;
}

export interface Program {
  readonly title: string;
  /** Programs of the system that it needs. */
  readonly needs: readonly string[];
  run(dvs: MountedDvs, size: Size): Promise<void>;
}

/** Why a program cannot be run here, or undefined. */
export function obstacleTo({ needs }: Program): string | undefined {
  const missing = needs.find((name) => findProgram(name) === undefined);
  return missing === undefined ? undefined : `${missing} is missing`;
}

const GIT_ENVIRONMENT = {
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_CONFIG_SYSTEM: '/dev/null',
  GIT_AUTHOR_NAME: 'a',
  GIT_AUTHOR_EMAIL: 'a@b',
  GIT_COMMITTER_NAME: 'a',
  GIT_COMMITTER_EMAIL: 'a@b',
  // The project's directory may be another user's.
  GIT_CONFIG_COUNT: '1',
  GIT_CONFIG_KEY_0: 'safe.directory',
  GIT_CONFIG_VALUE_0: '*',
};

/** Clones the project's repository, or where there is none makes one of the project's files. */
export async function cloneProject(dvs: MountedDvs, directory: string): Promise<void> {
  const script = isRepository()
    ? 'git clone -q --no-local "file://$ROOT" "$TO"'
    : 'git init -q "$TO"; cp -r $ROOT/{src,test,docs} "$TO"; cd "$TO"; git add .; git commit -qm 0';
  await dvs.sh(script, { ...GIT_ENVIRONMENT, ROOT, TO: directory });
}

function isRepository(): boolean {
  try {
    const options = { env: { ...process.env, ...GIT_ENVIRONMENT }, stdio: 'ignore' } as const;
    execFileSync('git', ['-C', ROOT, 'rev-parse', 'HEAD'], options);
    return true;
  } catch {
    return false;
  }
}

// A list is as new as the server, while a name that was seen may be believed for a second
// (docs/file-system.md).
function lacks(directory: string, name: string): string {
  return `ls ${directory} | (! grep -x ${name})`;
}

async function git(dvs: MountedDvs, { commits }: Size): Promise<void> {
  await cloneProject(dvs, join(dvs.here, 'git'));
  await dvs.sh(
    `
      cd $HERE/git
      for i in $(seq ${String(commits)}); do
        echo "line $i" >> README.md; git mv docs moved; git commit -qam "$i"
        git mv moved docs; git commit -qam "$i, back"
      done
      git gc -q --prune=now; git fsck --strict --full 2>&1
      git status --porcelain | (! grep .)
      cd $THERE/git; git fsck --full; git diff --exit-code HEAD
      git status --porcelain | (! grep .)
      cd ..; rm -r git; ${lacks('$HERE', 'git')}`,
    GIT_ENVIRONMENT,
  );
}

async function tar(dvs: MountedDvs, { files, seed }: Size): Promise<void> {
  await dvs.sh(`
    python3 ${SCRIPTS}/tree.py $OUTSIDE/tree ${String(files)} ${String(seed)}
    mkdir $HERE/tar; tar -C $OUTSIDE/tree -cf - . | tar -C $HERE/tar -xpf -
    [ -z "$(diff -r --no-dereference $OUTSIDE/tree $THERE/tar 2>&1 | grep -v 'is a fifo while')" ]
    tar -C $HERE/tar -cf - . | tar -C $OUTSIDE/tree --compare -f -
    [ $(find $THERE/tar | wc -l) = $(find $OUTSIDE/tree | wc -l) ]
    rm -r $HERE/tar $OUTSIDE/tree; ${lacks('$THERE', 'tar')}`);
}

/** One in seven of `paths` processes' transactions is rolled back. */
async function database(
  dvs: MountedDvs,
  { mode, paths, transactions }: { mode: string; paths: readonly string[]; transactions: number },
): Promise<void> {
  const arguments_ = [mode, String(transactions), ...paths].join(' ');
  await dvs.sh(`python3 ${SCRIPTS}/database.py ${arguments_}; rm $HERE/*.db`);
}

async function databases(dvs: MountedDvs, { transactions }: Size): Promise<void> {
  const [here, there] = ['$HERE/sqlite.db', '$THERE/sqlite.db'];
  await database(dvs, { mode: 'WAL', paths: [here, here, here], transactions });
  await database(dvs, { mode: 'DELETE', paths: [there, there, there], transactions });
}

async function sharedDatabase(dvs: MountedDvs, { transactions }: Size): Promise<void> {
  const paths = ['$HERE/shared.db', '$THERE/shared.db', '$HERE/shared.db', '$THERE/shared.db'];
  for (const mode of ['DELETE', 'TRUNCATE', 'PERSIST']) {
    await database(dvs, { mode, paths, transactions: Math.ceil(transactions / 6) });
  }
}

async function fio(dvs: MountedDvs, { mebibytes, seed }: Size): Promise<void> {
  const all = `--directory=$AT --size=${String(mebibytes)}m --bs=4k --randseed=${String(seed)}`;
  const verify = '--rw=randwrite --verify=crc32c --verify_fatal=1 --output=$OUTSIDE/fio';
  const jobs = [
    '--name=synced --ioengine=psync --fsync=64',
    '--name=mapped --ioengine=mmap',
    '--name=direct --ioengine=libaio --iodepth=8 --direct=1',
    '--name=odd --ioengine=psync --bsrange=512-128k --bs_unaligned',
  ];
  const script = `fio ${all} ${verify} ${jobs.join(' ')} || { cat $OUTSIDE/fio; exit 1; }`;
  await dvs.sh(`mkdir $HERE/fio; AT=$HERE/fio; ${script}`);
  // The same numbers in the same order, only read: on the other node.
  await dvs.sh(`AT=$THERE/fio; ${script.replace('--rw', '--verify_only --rw')}; rm -r $HERE/fio`);
}

/** Each in a process of its own, all at once. */
const STRESSORS = [
  ...['access', 'chdir', 'chmod', 'chown', 'dentry', 'dir', 'dirdeep', 'dirmany'],
  ...['fallocate', 'fcntl', 'filename', 'flock', 'fpunch', 'fstat', 'getdent', 'hdd', 'iomix'],
  ...['lease', 'link', 'locka', 'lockf', 'lockofd', 'mknod', 'open', 'readahead', 'rename'],
  ...['revio', 'seek', 'sendfile', 'symlink', 'sync-file', 'touch', 'utime', 'xattr', 'aio'],
];

// As root it changes modes and times of /dev/null, and leaves them when it is ended in between, so
// it gets one of its own.
const STRESS_NG = `
    [ -e $OUTSIDE/null ] || mknod -m 666 $OUTSIDE/null c 1 3
    unshare -m sh -c 'mount --bind $OUTSIDE/null /dev/null && exec stress-ng "$@"' sh`.trim();

async function stress(dvs: MountedDvs, { stressSeconds, seed }: Size): Promise<void> {
  const stressors = STRESSORS.map((name) => `--${name} 1`).join(' ');
  const bytes = ['hdd', 'iomix', 'fallocate', 'readahead', 'revio', 'sync-file']
    .map((name) => `--${name}-bytes 8m`)
    .join(' ');
  await dvs.sh(`
    mkdir $HERE/stress
    ${STRESS_NG} --temp-path $HERE/stress --verify --timeout ${String(stressSeconds)} --quiet \
      --seed ${String(seed)} ${bytes} --seek-size 8m ${stressors} 2>&1
    rm -r $HERE/stress`);
}

async function directory(dvs: MountedDvs, { names }: Size): Promise<void> {
  await dvs.sh(`
    python3 ${SCRIPTS}/directory.py ${String(names)} $HERE $THERE
    rm -r "$HERE/one directory"`);
}

/** Stressors of files that look elsewhere, or at what no FUSE mount has. */
const ELSEWHERE = [
  'binderfs',
  'chattr',
  'dup',
  'eventfd',
  'fanotify',
  'fiemap',
  'ioprio',
  'procfs',
];

async function stressEach(dvs: MountedDvs, { stressSeconds, seed }: Size): Promise<void> {
  const bytes = ['hdd', 'iomix', 'fallocate'].map((name) => `--${name}-bytes 32m`).join(' ');
  await dvs.sh(`
    mkdir $HERE/stress
    ${STRESS_NG} --temp-path $HERE/stress --verify --timeout ${String(stressSeconds)} --quiet \
      --seed ${String(seed)} --class filesystem --sequential 2 ${bytes} \
      -x ${ELSEWHERE.join(',')},verity 2>&1
    rm -r $HERE/stress`);
}

async function build(dvs: MountedDvs): Promise<void> {
  await cloneProject(dvs, join(dvs.here, 'project'));
  const sums = 'find . -type f -print0 | sort -z | xargs -0 sha1sum | sha1sum';
  await dvs.sh(
    `
      cd $HERE/project
      npm ci --no-audit --no-fund --loglevel=error
      GYP_DEFINES=lto=0 node scripts/build.mjs
      node dist/src/cli/main.js --version; native/build/Release/dvk_core_test bind
      sum=$(${sums}); cd $THERE/project; [ "$(${sums})" = "$sum" ]
      cd ..; rm -r project; ${lacks('$HERE', 'project')}`,
    GIT_ENVIRONMENT,
  );
}

/** Seconds for making each half of the files, and for a list of the first half and of all. */
interface Times {
  make: [number, number];
  list: [number, number];
}

/** Times of a tree, or of one directory if `aDirectory` is 0; it stays. */
export async function many(
  dvs: MountedDvs,
  { name, files, aDirectory }: { name: string; files: number; aDirectory: number },
): Promise<Times> {
  const arguments_ = `$THERE/${name} ${String(files)} ${String(aDirectory)}`;
  return JSON.parse(await dvs.sh(`python3 ${SCRIPTS}/many.py ${arguments_}`)) as Times;
}

/** What takes long however small it is made. */
export const LONG_PROGRAMS: readonly Program[] = [
  { title: 'npm installs the project, which is built', needs: ['git', 'npm'], run: build },
  { title: 'stress-ng finds nothing wrong, one by one', needs: ['stress-ng'], run: stressEach },
];

export const PROGRAMS: readonly Program[] = [
  { title: 'git clones, commits, packs and checks the project', needs: ['git'], run: git },
  { title: 'tar packs and unpacks a tree', needs: ['python3', 'tar'], run: tar },
  { title: 'SQLite has several writers, in WAL mode and not', needs: ['python3'], run: databases },
  { title: 'SQLite has writers on two nodes', needs: ['python3'], run: sharedDatabase },
  { title: 'fio verifies what it wrote at random', needs: ['fio'], run: fio },
  { title: 'stress-ng finds nothing wrong', needs: ['stress-ng'], run: stress },
  { title: 'two nodes change one directory', needs: ['python3'], run: directory },
];

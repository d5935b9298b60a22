/**
 * The demo: three nodes on this machine, a file system on node 1, and its mount on node 0.
 *
 * The image holds a real tree: the project's npm packages, a git repository, and a large file of
 * pseudo-random bytes. It is made once, with mke2fs, and again only when the packages change. The
 * tree stays beside it, for `diff -r`.
 */
import { createCipheriv, createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { renameSync, rmSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { formatSize } from '../vos/spec-reader.ts';
import { withLock } from './lock.ts';
import { makeVolume } from './fs-mkfs.ts';
import { tool } from './fs-tools.ts';
import { runProgram } from './mounts.ts';
import { CliError, output } from './output.ts';

const PROJECT = fileURLToPath(new URL('../../..', import.meta.url));
const CACHE = process.env['XDG_CACHE_HOME'] ?? join(process.env['HOME'] ?? '/tmp', '.cache');
/**
 * Where the image may be: below the project, where the scripts keep their scratch, or in the user's
 * cache.
 */
const PLACES = [join(PROJECT, '.build/demo'), join(CACHE, 'dvk/demo')];
const FORMAT = 1;
const GIB = 2 ** 30;
const MIB = 2 ** 20;
const BIG_FILE = 'big.bin';
const CHUNK_BYTES = 4 * MIB;
// Tree and image hold the big file, so that a GiB of it takes two.
const ROOM_FOR_BIG_BYTES = 4 * GIB;
const ROOM_FOR_SMALL_BYTES = GIB;
const BUILD_TIMEOUT_MS = 600_000;

export interface DemoImage {
  readonly image: string;
  /** What was put into the image. */
  readonly tree: string;
  readonly bigFileBytes: number;
}

/**
 * The demo's spec: `nodes` nodes, the file system on node 1 (or the only one), the mount on node 0.
 */
export function demoSpec(options: {
  dvs: string;
  nodes: number;
  image: string;
  mount: string;
  writable: boolean;
}): string {
  const { dvs, nodes, image, mount, writable } = options;
  const ids = Array.from({ length: nodes }, (_, id) => String(id));
  const server = nodes > 1 ? '1' : '0';
  const quoted = (path: string): string => JSON.stringify(path);
  const readOnly = writable ? '' : ', readOnly: true';
  const gateway = `name: root, kind: fuse, node: 0, server: fs, mount: ${quoted(mount)}`;
  return [
    '# The demo of dvk: an ext4 image, served by one node and mounted on another.',
    `dvs: ${dvs}`,
    'nodes:',
    ...ids.map((id) => `  - { id: ${id}, name: node${id}, listen: 127.0.0.1:0 }`),
    'containers:',
    '  - name: mol',
    '    id: 0',
    `    nodes: [${ids.join(', ')}]`,
    '    processes: 1024',
    '    arena: 1 GiB',
    '    services:',
    `      - { name: fs, kind: fs, node: ${server}, slot: 1, image: ${quoted(image)}${readOnly} }`,
    `      - { ${gateway} }`,
    '',
  ].join('\n');
}

/**
 * Makes the demo's image, unless it is there. `bigFileBytes` undefined: 1 GiB, or less on a small
 * disk.
 */
export async function ensureDemoImage(bigFileBytes: number | undefined): Promise<DemoImage> {
  const packages = packagesStamp();
  for (const base of PLACES) {
    const bytes = bigFileBytes ?? presentSize(base, packages);
    if (bytes === undefined) continue;
    const present = place(base, packages, bytes);
    if (isReadable(present.image)) return present;
  }
  const base = PLACES.find(isWritable);
  if (base === undefined) {
    throw new CliError(`no place for the demo's image: ${PLACES.join(', ')} are not writable`);
  }
  const made = place(base, packages, bigFileBytes ?? sizeForDisk(base));
  await withLock(join(base, 'lock'), async () => make(base, packages, made), BUILD_TIMEOUT_MS);
  return made;
}

function place(base: string, packages: string, bigFileBytes: number): DemoImage {
  const directory = join(base, `${packages}-${String(bigFileBytes)}`);
  return { image: join(directory, 'image'), tree: join(directory, 'tree'), bigFileBytes };
}

async function make(base: string, packages: string, wanted: DemoImage): Promise<void> {
  if (isReadable(wanted.image)) return;
  // Before the tree is made, which takes longer.
  tool('mke2fs');
  const directory = dirname(wanted.image);
  const part = `${directory}.part`;
  removeOthers(base, (name) => name.endsWith('.part'));
  // mke2fs makes lost+found; with it in the tree, `diff -r` finds tree and mount to be the same.
  mkdirSync(join(part, 'tree', 'lost+found'), { recursive: true, mode: 0o755 });
  await makeTree(join(part, 'tree'), wanted.bigFileBytes);
  await makeImage(part);
  removeOthers(base, (name) => name !== 'lock' && !name.startsWith(packages));
  renameSync(part, directory);
}

// What was made of other packages, or was broken off.
function removeOthers(base: string, isOther: (name: string) => boolean): void {
  for (const name of readdirSync(base).filter(isOther)) {
    rmSync(join(base, name), { recursive: true, force: true });
  }
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

// The checkout may belong to somebody else.
function isWritable(base: string): boolean {
  try {
    mkdirSync(base, { recursive: true });
    accessSync(base, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function packagesStamp(): string {
  const hash = createHash('sha256').update(`format ${String(FORMAT)}\0`);
  try {
    hash.update(readFileSync(join(PROJECT, 'node_modules/.package-lock.json')));
  } catch {
    throw new CliError(`${PROJECT}node_modules is missing`, 'Install the packages: npm ci');
  }
  return hash.digest('hex').slice(0, 12);
}

// What was made on an earlier day decides, or a disk that fills up would cause another image to be
// made.
function presentSize(base: string, stamp: string): number | undefined {
  const sizes = (existsSync(base) ? readdirSync(base) : []).flatMap((name) => {
    const size = Number(name.startsWith(`${stamp}-`) ? name.slice(stamp.length + 1) : 'none');
    return Number.isInteger(size) && size > 0 ? [size] : [];
  });
  return sizes.length === 0 ? undefined : Math.max(...sizes);
}

function sizeForDisk(base: string): number {
  const { bavail, bsize } = statfsSync(base);
  const free = bavail * bsize;
  if (free >= ROOM_FOR_BIG_BYTES) return GIB;
  const bytes = free >= ROOM_FOR_SMALL_BYTES ? 64 * MIB : MIB;
  output.note(
    `  the disk is small, so ${BIG_FILE} is of ${formatSize(bytes)} and not of 1 GiB`,
    'yellow',
  );
  return bytes;
}

async function makeTree(tree: string, bigFileBytes: number): Promise<void> {
  await output.step('copy of the npm packages for the demo', async () => {
    const source = join(PROJECT, 'node_modules');
    await must('cp', ['-a', '--reflink=auto', '--', source, join(tree, 'node_modules')]);
    return undefined;
  });
  await output.step('copy of the git repository for the demo', async () => {
    const target = join(tree, 'repository');
    const args = ['clone', '--quiet', '--no-hardlinks', '--', PROJECT, target];
    const { status, output: why } = await runProgram('git', args, BUILD_TIMEOUT_MS);
    if (status === 0) return undefined;
    rmSync(target, { recursive: true, force: true });
    const reason = why.split('\n')[0] ?? '';
    return `left out, the project is no git checkout that can be read (${reason})`;
  });
  if (bigFileBytes === 0) return;
  await output.step(`${BIG_FILE} of ${formatSize(bigFileBytes)}`, async () => {
    await writePseudoRandom(join(tree, BIG_FILE), bigFileBytes);
    return undefined;
  });
}

// AES in counter mode under a fixed key: the same bytes on every machine, as fast as the disk takes
// them.
async function writePseudoRandom(path: string, bytes: number): Promise<void> {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'dvk'), Buffer.alloc(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  const file = await open(path, 'w', 0o644);
  try {
    for (let left = bytes; left > 0; left -= CHUNK_BYTES) {
      await file.write(cipher.update(zeros.subarray(0, Math.min(left, CHUNK_BYTES))));
    }
  } finally {
    await file.close();
  }
}

async function makeImage(directory: string): Promise<void> {
  await output.step('ext4 image of the demo', async () => {
    const image = join(directory, 'image.part');
    const spec = { label: 'dvk-demo', from: join(directory, 'tree') };
    const { files, bytes } = await makeVolume(image, spec);
    renameSync(image, join(directory, 'image'));
    return `${String(files)} files, ${formatSize(bytes)}`;
  });
}

async function must(program: string, args: readonly string[]): Promise<void> {
  const { status, output: text } = await runProgram(program, args, BUILD_TIMEOUT_MS);
  if (status === 0) return;
  throw new CliError(`${program} ended with code ${String(status)}: ${text}`);
}

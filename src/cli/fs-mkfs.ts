/** `dvk fs mkfs`: makes a volume in an image file or on a device, empty or of a tree. */
import { closeSync, fstatSync, ftruncateSync, openSync, readSync, rmSync } from 'node:fs';
import { statSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

import { formatSize } from '../vos/spec-reader.ts';
import {
  asCliError,
  mustEndWith,
  open,
  refuseMounted,
  runTool,
  tool,
  withImage,
} from './fs-tools.ts';
import { CliError, output } from './output.ts';

export interface VolumeSpec {
  /** In bytes; that of the file or device, or of the tree with room to grow, unless told. */
  readonly size?: number;
  readonly label?: string;
  /** A directory whose tree goes into the volume. */
  readonly from?: string;
  /** 4096 unless told: mke2fs would take 1024 for small volumes. */
  readonly blockSize?: number;
  /** In bytes; 0 for no journal. */
  readonly journalSize?: number;
  /** As mke2fs -O has them: `metadata_csum,^64bit`. */
  readonly features?: string;
  readonly inodes?: number;
  readonly uuid?: string;
}

export interface MkfsFlags extends VolumeSpec {
  readonly force?: boolean;
  readonly json?: boolean;
}

export interface MadeVolume {
  readonly bytes: number;
  /** Files that came from the tree. */
  readonly files: number;
}

const MIB = 2 ** 20;
const BLOCK_BYTES = 4096;
const INODE_BYTES = 256;
const BYTES_MIN = 256 * 1024;
/** Journal, bitmaps and room to grow of a volume that is made of a tree. */
const ROOM_BYTES = 160 * MIB;
/** So much of a file or device is looked at before it is overwritten. */
const LOOKED_AT_BYTES = 128 * 1024;

export async function makeFileSystem(path: string, flags: MkfsFlags): Promise<void> {
  const { force, json, ...spec } = flags;
  if (force !== true) refusePresent(path);
  const made = await makeVolume(path, spec);
  const { bytes, files } = made;
  if (json === true) output.json({ image: path, ...made });
  else output.line(`${path}: ${formatSize(bytes)}${files > 0 ? `, ${String(files)} files` : ''}`);
}

/**
 * Makes the volume, over whatever is there. A file that was not there is gone again when that
 * fails.
 */
export async function makeVolume(path: string, spec: VolumeSpec): Promise<MadeVolume> {
  const mke2fs = tool('mke2fs');
  refuseMounted(path);
  const tree = spec.from === undefined ? undefined : await measure(spec.from);
  const bytes = spec.size ?? sizeFor(path, tree);
  if (bytes < BYTES_MIN) {
    throw new CliError(`${formatSize(bytes)} are too few`, 'Give a --size of 256 KiB or more.');
  }
  const isNew = statSync(path, { throwIfNoEntry: false }) === undefined;
  try {
    if (isNew) create(path);
    await withImage(path, 'write', async (image) => {
      const status = fstatSync(image.descriptor);
      if (status.isBlockDevice() && bytes > image.bytes) {
        throw new CliError(`${path} has ${formatSize(image.bytes)} only`);
      }
      if (status.isFile()) {
        // What was there before is no part of the new volume.
        ftruncateSync(image.descriptor, 0);
        ftruncateSync(image.descriptor, bytes);
      }
      const args = argumentsFor(spec, tree?.files ?? 0);
      const size = `${String(Math.floor(bytes / 1024))}k`;
      const result = await runTool(mke2fs, [...args, path, size], { title: 'mke2fs' });
      mustEndWith(result, 'mke2fs');
    });
  } catch (error) {
    if (isNew) rmSync(path, { force: true });
    throw error;
  }
  return { bytes, files: tree?.files ?? 0 };
}

function create(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o644));
  } catch (error) {
    throw asCliError(error, path);
  }
}

function argumentsFor(spec: VolumeSpec, files: number): string[] {
  const { label, from, blockSize, journalSize, features, inodes, uuid } = spec;
  const count = inodes ?? (from === undefined ? undefined : inodesFor(files));
  const without = journalSize === 0 ? ['^has_journal'] : [];
  const set = [...without, ...(features === undefined ? [] : [features])].join(',');
  const journal = Math.ceil((journalSize ?? 0) / MIB);
  return [
    ...['-q', '-F', '-t', 'ext4', '-m', '0'],
    ...(label === undefined ? [] : ['-L', label]),
    ...['-b', String(blockSize ?? BLOCK_BYTES)],
    ...(journal === 0 ? [] : ['-J', `size=${String(journal)}`]),
    ...(set === '' ? [] : ['-O', set]),
    ...(count === undefined ? [] : ['-N', String(count)]),
    ...(uuid === undefined ? [] : ['-U', uuid]),
    ...(from === undefined ? [] : ['-d', from]),
  ];
}

function inodesFor(files: number): number {
  return Math.ceil(files * 1.1) + 1024;
}

interface Tree {
  readonly files: number;
  readonly bytes: number;
}

async function measure(from: string): Promise<Tree> {
  let [files, bytes] = [0, 0];
  const entries = await readdir(from, { withFileTypes: true, recursive: true }).catch(
    (error: unknown) => {
      throw asCliError(error, from);
    },
  );
  for (const entry of entries) {
    files++;
    if (entry.isSymbolicLink()) continue;
    const { size } = await lstat(join(entry.parentPath, entry.name));
    bytes += Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
  }
  return { files, bytes };
}

function sizeFor(path: string, tree: Tree | undefined): number {
  if (tree !== undefined) {
    const inodes = inodesFor(tree.files);
    return Math.ceil((tree.bytes * 1.05 + inodes * INODE_BYTES + ROOM_BYTES) / MIB) * MIB;
  }
  const status = statSync(path, { throwIfNoEntry: false });
  if (status?.isFile() === true && status.size > 0) return status.size;
  if (status?.isBlockDevice() === true) return openedBytes(path);
  throw new CliError(`how large is ${path} to be?`, 'Give --size, as --size 1GiB, or --from.');
}

function openedBytes(path: string): number {
  const device = open(path, 'look');
  try {
    return device.bytes;
  } finally {
    device.close();
  }
}

/** Throws a CliError when there is anything at the start of the file or device. */
function refusePresent(path: string): void {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status === undefined) return;
  if (status.isDirectory()) throw new CliError(`${path} is a directory`);
  const start = Buffer.alloc(LOOKED_AT_BYTES);
  const descriptor = openSync(path, 'r');
  try {
    const bytes = readSync(descriptor, start, 0, start.length, 0);
    if (start.subarray(0, bytes).every((byte) => byte === 0)) return;
  } finally {
    closeSync(descriptor);
  }
  const what = start.readUInt16LE(1024 + 0x38) === 0xef53 ? 'a volume' : 'something';
  throw new CliError(`${path} holds ${what} already`, 'With --force it is overwritten.');
}

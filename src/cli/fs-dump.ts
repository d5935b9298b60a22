/** `dvk fs dump`: what lies on a volume, read by our own reader, also while it is served. */
import { BlockCache } from '../servers/fs/cache.ts';
import type { BlockDevice, ImageFile } from '../servers/fs/device.ts';
import { isFsError } from '../servers/fs/errors.ts';
import { Disk } from '../servers/fs/ext4/disk.ts';
import { readSuperblock, type Superblock } from '../servers/fs/ext4/superblock.ts';
import { InodeDump } from '../servers/fs/dump/inode.ts';
import { type Dump, dumpGroup, dumpJournal } from '../servers/fs/dump/superblock.ts';
import { dumpSuperblock, sentenceOf } from '../servers/fs/dump/superblock.ts';
import { recover } from '../servers/fs/journal/recovered-device.ts';
import { rawCrc32c } from './fs-check.ts';
import { asCliError, open } from './fs-tools.ts';
import { output } from './output.ts';

export interface DumpFlags {
  readonly groups?: boolean;
  readonly journal?: boolean;
  readonly inode?: number;
  readonly path?: string;
  readonly limit: number;
  readonly json?: boolean;
}

const CACHE_BYTES = 4 << 20;

/** Without a choice the superblock and the journal. Nothing is locked, and nothing written. */
export function dumpImage(path: string, flags: DumpFlags): void {
  const image = open(path, 'look');
  try {
    const parts = read(image, flags);
    if (flags.json === true) output.json({ image: path, ...parts });
    else show(parts);
  } catch (error) {
    throw asCliError(error, path);
  } finally {
    image.close();
  }
}

function read(image: ImageFile, flags: DumpFlags): Dump {
  const { groups, journal, inode, path, limit } = flags;
  const chosen = groups === true || journal === true || inode !== undefined || path !== undefined;
  const raw = chosen ? {} : { superblock: dumpSuperblock(image) };
  let volume: { device: BlockDevice; superblock: Superblock };
  try {
    volume = { device: image, superblock: superblockOf(image) };
  } catch (error) {
    // One that cannot be right is shown all the same.
    if (chosen) throw error;
    return { ...raw, error: sentenceOf(error) };
  }
  const { superblock } = volume;
  const current = journalled(image);
  const cache = new BlockCache(current.device, new Uint8Array(CACHE_BYTES));
  const disk = new Disk(superblock, current.device, cache, rawCrc32c);
  const parts: Record<string, unknown> = { ...raw };
  if (current.error !== undefined) parts['error'] = current.error;
  if (!chosen || journal === true) parts['journal'] = journalOf(image, superblock);
  if (groups === true) {
    const count = Math.min(superblock.groups, limit);
    parts['groups'] = Array.from({ length: count }, (_, number) => dumpGroup(disk, number));
  }
  if (inode !== undefined || path !== undefined) {
    const inodes = new InodeDump(current.device, cache, superblock, rawCrc32c);
    parts['inode'] = inodes.dump(inode ?? inodes.find(path ?? '/'), { limit });
  }
  return parts;
}

function superblockOf(image: ImageFile): Superblock {
  return readSuperblock(image, { ignoreJournal: true, crc32c: rawCrc32c });
}

function journalOf(image: ImageFile, superblock: Superblock): Dump {
  try {
    return dumpJournal(image, superblock, rawCrc32c);
  } catch (error) {
    return { error: sentenceOf(error) };
  }
}

/** With what the journal holds in place; as it lies there when the journal cannot be used. */
function journalled(image: ImageFile): { device: BlockDevice; error?: string } {
  try {
    return { device: recover(image, rawCrc32c).device };
  } catch (error) {
    if (!isFsError(error)) throw error;
    return { device: image, error: error.message };
  }
}

function show(parts: Dump): void {
  for (const [name, part] of Object.entries(parts)) {
    output.line(name);
    showPart(part, '  ');
  }
}

/** Lists of records are tables, and the rest one line for each field. */
function showPart(part: unknown, indent: string): void {
  if (isRecord(part)) {
    for (const [key, value] of Object.entries(part)) {
      const nested = isRecord(value) || isTable(value);
      output.line(`${indent}${key}${nested ? '' : `  ${shown(value)}`}`);
      if (nested) showPart(value, `${indent}  `);
    }
  } else if (isTable(part)) {
    const keys = [...new Set(part.flatMap((row) => Object.keys(row)))];
    output.table(
      keys,
      part.map((row) => keys.map((key) => shown(row[key]))),
    );
  } else output.line(`${indent}${shown(part)}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isTable(value: unknown): value is Record<string, unknown>[] {
  return Array.isArray(value) && value.length > 0 && value.every(isRecord);
}

// A label or name may hold anything, and a terminal obeys some of it.
function shown(value: unknown): string {
  if (value === undefined || value === null) return '-';
  if (Array.isArray(value)) return value.map(shown).join(' ');
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  // eslint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, '?');
}

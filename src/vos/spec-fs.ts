/** What a spec says of a file system server and of mounts, besides where they run. */
import { QUOTA_BYTES_RANGE, QUOTA_INODES_RANGE, type QuotaLimits } from './protocol/fs-quota.ts';
import { WINDOWS_BYTES_RANGE } from './protocol/fs-window.ts';
import { formatSize, parseSize } from './spec-reader.ts';
import type { Fields, KeyTable, Place, SpecReader } from './spec-reader.ts';

/** Rules by which reads mark access times, as mount(8) has them. */
const ACCESS_TIME_RULES = ['off', 'relatime', 'strict'] as const;

export interface FsOptions {
  /** How large the volume is, in bytes, that is in memory; undefined for an image. */
  readonly ramBytes?: number;
  /** The image is never written to. */
  readonly readOnly: boolean;
  /** Whether the image is read and written past the page cache; by default it is not. */
  readonly direct?: boolean;
  /** Whether what is freed is given back; by default that of an image that is a file. */
  readonly discard?: boolean;
  /** When reads mark access times; by default by the rule of relatime. */
  readonly atime?: (typeof ACCESS_TIME_RULES)[number];
  /** How much of the volume the container may use; by default all. */
  readonly quota?: QuotaLimits;
  /** Memory of the arena for what, in bytes; by default as `FS_MEMORY` says. */
  readonly memory?: Partial<FsMemory>;
}

/** What a server uses memory of the arena for, in bytes. */
export interface FsMemory {
  /** Blocks of the volume. */
  readonly cache: number;
  /** Contents that have no blocks yet. */
  readonly delayed: number;
  /** Windows of clients on other nodes. */
  readonly windows: number;
}

/** There are windows for each channel of three mounts. */
export const FS_MEMORY: FsMemory = { cache: 64 << 20, delayed: 32 << 20, windows: 24 << 20 };
const MEMORY_RANGES = {
  cache: [4 << 20, 2 ** 35],
  delayed: [2 << 20, 2 ** 34],
  windows: WINDOWS_BYTES_RANGE,
} as const satisfies Record<keyof FsMemory, readonly [number, number]>;

/** How much a mount keeps. */
export interface MountMemory {
  /** Bytes that were taken from the kernel, and have not arrived at the server. */
  readonly writes: number;
  /** Names of directories in which files are made, some 10 bytes each. */
  readonly names: number;
  /** Entries of directories with their attributes, some 400 bytes each. */
  readonly entries: number;
}

export const MOUNT_MEMORY: MountMemory = { writes: 16 << 20, names: 1 << 19, entries: 8192 };
const WRITES_RANGE = [1 << 20, 2 ** 30] as const;
const COUNT_RANGE = [0, 1 << 24] as const;

/** What an image begins with that is a volume in memory, before its size. */
const RAM = 'ram:';
/** Less has no room for a journal. */
const RAM_BYTES_RANGE = [8 << 20, 2 ** 40] as const;

/** Whether what a spec says of an image is a volume in memory. */
export function isRam(image: string): boolean {
  return image.startsWith(RAM);
}

/** The keys of a service of kind fs. */
export const FS_KEYS = {
  slot: { required: true, doc: 'fixed slot, 0 to 63' },
  image: {
    required: true,
    doc: 'path of an ext4 image or device, or ram:SIZE for a volume in memory',
  },
  readOnly: { doc: 'true: the image is never written to' },
  direct: { doc: 'true: the image is read and written past the page cache of the host' },
  atime: { doc: 'access times: off, relatime (the default) or strict' },
  discard: { doc: 'whether freed blocks are given back; true for an image that is a file' },
  quota: { doc: 'how much of the volume the container may use: { size: 1 GiB, inodes: 10000 }' },
  memory: { doc: 'of the arena: { cache: 64 MiB, delayed: 32 MiB, windows: 24 MiB }' },
} as const satisfies KeyTable;

const MEMORY_KEYS: KeyTable = {
  cache: { doc: 'for blocks of the volume' },
  delayed: { doc: 'for contents that are not written out yet' },
  windows: { doc: 'for what clients on other nodes write; 1 MiB for each of their channels' },
};

/** The key `memory` of a service of kind fuse. */
export const MOUNT_MEMORY_KEY = {
  doc: 'what it keeps at most: { writes: 16 MiB, names: 524288, entries: 8192 }',
} as const;

const MOUNT_MEMORY_KEYS: KeyTable = {
  writes: { doc: 'what was written and is not with the server yet' },
  names: { doc: 'names of directories in which files are made' },
  entries: { doc: 'entries of directories, with their attributes' },
};

const QUOTA_KEYS: KeyTable = {
  size: { doc: 'of all files together, as 1 GiB' },
  inodes: { doc: 'how many files, directories and links there may be' },
};

export function readFsOptions(reader: SpecReader, fields: Fields): FsOptions {
  const readOnly = reader.flag(fields.get('readOnly')) ?? false;
  const direct = reader.flag(fields.get('direct'));
  const discard = reader.flag(fields.get('discard'));
  const atime = reader.choice(fields.get('atime'), ACCESS_TIME_RULES);
  const at = fields.get('quota');
  const memory = fields.get('memory');
  const ramBytes = readRam(reader, fields.get('image'));
  if (at !== undefined && readOnly) {
    reader.report(at, 'nothing is written to this volume', 'leave quota or readOnly out');
  }
  for (const key of ['readOnly', 'direct'] as const) {
    const place = fields.get(key);
    if (ramBytes === undefined || place === undefined || reader.flag(place) !== true) continue;
    reader.report(place, 'a volume in memory is empty, and cached', `leave ${key} out`);
  }
  return {
    readOnly,
    ...(ramBytes !== undefined && { ramBytes }),
    ...(direct !== undefined && { direct }),
    ...(discard !== undefined && { discard }),
    ...(atime !== undefined && { atime }),
    ...(at !== undefined && { quota: readQuota(reader, at) }),
    ...(memory !== undefined && { memory: readMemory(reader, memory) }),
  };
}

/** What is no text has been told of. */
function readRam(reader: SpecReader, at: Place | undefined): number | undefined {
  const problems = reader.problems.length;
  const text = reader.text(at, 'an image');
  reader.problems.length = problems;
  if (at === undefined || text === undefined || !isRam(text)) return undefined;
  const bytes = parseSize(text.slice(RAM.length));
  const [min, max] = RAM_BYTES_RANGE;
  if (bytes !== undefined && bytes >= min && bytes <= max) return bytes;
  const remedy = `give ram: and a size from ${formatSize(min)} to ${formatSize(max)}`;
  reader.report(at, `${text} is no volume in memory`, `${remedy}, as ram:256MiB`);
  return undefined;
}

export function readMountMemory(
  reader: SpecReader,
  at: Place | undefined,
): Partial<MountMemory> | undefined {
  if (at === undefined) return undefined;
  const fields = reader.fields(at, MOUNT_MEMORY_KEYS);
  const writes = reader.size(fields.get('writes'), WRITES_RANGE);
  const names = reader.integer(fields.get('names'), COUNT_RANGE);
  const entries = reader.integer(fields.get('entries'), COUNT_RANGE);
  return {
    ...(writes !== undefined && { writes }),
    ...(names !== undefined && { names }),
    ...(entries !== undefined && { entries }),
  };
}

function readMemory(reader: SpecReader, at: Place): Partial<FsMemory> {
  const fields = reader.fields(at, MEMORY_KEYS);
  const sizes = Object.entries(MEMORY_RANGES).flatMap(([key, range]) => {
    const bytes = reader.size(fields.get(key), range);
    return bytes === undefined ? [] : [[key, bytes] as const];
  });
  return Object.fromEntries(sizes);
}

function readQuota(reader: SpecReader, at: Place): QuotaLimits {
  const problems = reader.problems.length;
  const fields = reader.fields(at, QUOTA_KEYS);
  const bytes = reader.size(fields.get('size'), QUOTA_BYTES_RANGE);
  const inodes = reader.integer(fields.get('inodes'), QUOTA_INODES_RANGE);
  if (fields.size === 0 && reader.problems.length === problems) {
    reader.report(at, 'it limits nothing', 'add "size: 1 GiB", or "inodes: 10000"');
  }
  return {
    ...(bytes !== undefined && { bytes }),
    ...(inodes !== undefined && { inodes }),
  };
}

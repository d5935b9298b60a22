/** What a spec says of a file system server, besides where it runs. */
import { QUOTA_BYTES_RANGE, QUOTA_INODES_RANGE, type QuotaLimits } from './protocol/fs-quota.ts';
import type { Fields, KeyTable, Place, SpecReader } from './spec-reader.ts';

/** Rules by which reads mark access times, as mount(8) has them. */
const ACCESS_TIME_RULES = ['off', 'relatime', 'strict'] as const;

export interface FsOptions {
  /** The image is never written to. */
  readonly readOnly: boolean;
  /** Whether what is freed is given back; by default that of an image that is a file. */
  readonly discard?: boolean;
  /** When reads mark access times; by default by the rule of relatime. */
  readonly atime?: (typeof ACCESS_TIME_RULES)[number];
  /** How much of the volume the container may use; by default all. */
  readonly quota?: QuotaLimits;
}

/** The keys of a service of kind fs. */
export const FS_KEYS = {
  slot: { required: true, doc: 'fixed slot, 0 to 63' },
  image: { required: true, doc: 'path of an ext4 image' },
  readOnly: { doc: 'true: the image is never written to' },
  atime: { doc: 'access times: off, relatime (the default) or strict' },
  discard: { doc: 'whether freed blocks are given back; true for an image that is a file' },
  quota: { doc: 'how much of the volume the container may use: { size: 1 GiB, inodes: 10000 }' },
} as const satisfies KeyTable;

const QUOTA_KEYS: KeyTable = {
  size: { doc: 'of all files together, as 1 GiB' },
  inodes: { doc: 'how many files, directories and links there may be' },
};

export function readFsOptions(reader: SpecReader, fields: Fields): FsOptions {
  const readOnly = reader.flag(fields.get('readOnly')) ?? false;
  const discard = reader.flag(fields.get('discard'));
  const atime = reader.choice(fields.get('atime'), ACCESS_TIME_RULES);
  const at = fields.get('quota');
  if (at !== undefined && readOnly) {
    reader.report(at, 'nothing is written to this volume', 'leave quota or readOnly out');
  }
  return {
    readOnly,
    ...(discard !== undefined && { discard }),
    ...(atime !== undefined && { atime }),
    ...(at !== undefined && { quota: readQuota(reader, at) }),
  };
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

/**
 * The FS protocol: the quota of the container that a server works for.
 *
 * QUOTA has no fields and no errors of its own. Its answer:
 *
 *   byte  8  u32  1: there is a limit of bytes | 2: of inodes
 *        16  u64  bytes                 the most that may be in use, 0 without a limit
 *        24  u64  bytes in use
 *        32  u64  inodes                the most that may be in use, 0 without a limit
 *        40  u64  inodes in use
 *
 * There is no call that sets a quota: it is not for the processes of the container to choose. It
 * stands in the spec, or in a file beside the segment of the server's node, which belongs to who
 * runs the node; see `quotaFile`.
 */
import { dirname, join } from 'node:path';

import { getUint64, setUint64 } from './fs.ts';

/** The most that may be in use; undefined: no limit. */
export interface QuotaLimits {
  readonly bytes?: number | undefined;
  readonly inodes?: number | undefined;
}

export interface Quota {
  readonly limits: QuotaLimits;
  /** Of files, directories and what belongs to them. */
  readonly bytesUsed: number;
  readonly inodesUsed: number;
}

/** What limits may be. */
export const QUOTA_BYTES_RANGE = [1 << 20, 2 ** 50] as const;
export const QUOTA_INODES_RANGE = [16, 2 ** 32 - 1] as const;

/** Which limits there are. */
export const QuotaFlag = { BYTES: 1, INODES: 2 } as const;

export function encodeQuota(message: DataView, { limits, bytesUsed, inodesUsed }: Quota): void {
  const { bytes, inodes } = limits;
  const flags =
    (bytes === undefined ? 0 : QuotaFlag.BYTES) | (inodes === undefined ? 0 : QuotaFlag.INODES);
  message.setUint32(8, flags, true);
  setUint64(message, 16, bytes ?? 0);
  setUint64(message, 24, bytesUsed);
  setUint64(message, 32, inodes ?? 0);
  setUint64(message, 40, inodesUsed);
}

export function decodeQuota(message: DataView): Quota {
  const flags = message.getUint32(8, true);
  return {
    limits: {
      bytes: flags & QuotaFlag.BYTES ? getUint64(message, 16) : undefined,
      inodes: flags & QuotaFlag.INODES ? getUint64(message, 32) : undefined,
    },
    bytesUsed: getUint64(message, 24),
    inodesUsed: getUint64(message, 40),
  };
}

/** Where a node keeps the quota that was set for a server of its own; `segment` is the DC's. */
export function quotaFile(segment: string, service: string): string {
  return join(dirname(segment), `quota-${service}.json`);
}

/** The limits in the text of such a file, undefined if it has none that may be believed. */
export function parseQuotaFile(text: string): QuotaLimits | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { bytes, inodes } = value as Record<string, unknown>;
  if (!isLimit(bytes, QUOTA_BYTES_RANGE) || !isLimit(inodes, QUOTA_INODES_RANGE)) return undefined;
  return { bytes, inodes };
}

function isLimit(
  value: unknown,
  [min, max]: readonly [number, number],
): value is number | undefined {
  if (value === undefined) return true;
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
}

/**
 * Puts what the log of a journal holds into its places on the device.
 */
import { BatchWriter } from '../batch-writer.ts';
import type { WritableDevice } from '../device.ts';
import type { Crc32c } from '../ext4/checksum.ts';
import type { Superblock } from '../ext4/superblock.ts';
import { JOURNAL_MAGIC } from './format.ts';
import { type Log, readLog } from './log.ts';
import type { LogBlocks } from './superblock.ts';

interface ReplayOptions {
  readonly superblock: Superblock;
  readonly crc: Crc32c;
  /** The volume says that it needs recovery; else what the log holds is in its places. */
  readonly needed: boolean;
}

/** Returns when the device will have it after a crash. Throws as `readLog`, and ENOSPC. */
export function replay(
  device: WritableDevice,
  blocks: LogBlocks,
  { superblock, crc, needed }: ReplayOptions,
): Log {
  const log = readLog(blocks, superblock.blocks, crc);
  if (!needed) return { ...log, transactions: 0 };
  const batch = new BatchWriter(device);
  const places = [...log.blocks].sort(([one], [other]) => one - other);
  for (const [block, { copy, escaped }] of places) {
    const bytes = blocks.read(copy);
    if (escaped) new DataView(bytes.buffer).setUint32(0, JOURNAL_MAGIC);
    batch.write(bytes, block * blocks.blockBytes);
  }
  batch.finish();
  device.flush();
  return log;
}

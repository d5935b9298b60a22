/**
 * A check of a volume that writes nothing: everything that the metadata says twice is compared.
 *
 * In the order of the passes: the superblock and the journal, the descriptors of groups, all
 * inodes with their blocks, all directories, the names that lead to each file, and then the bitmaps
 * and counts. Nothing of the volume is believed before it is looked at; what is damaged is told and
 * left out, and the rest is checked all the same.
 *
 * Memory: a bit for each block and some bytes for each inode, of groups that have any in use, and
 * the cache that the caller gives.
 */
import { BlockCache } from '../cache.ts';
import type { BlockDevice } from '../device.ts';
import { INCOMPAT, RO_COMPAT, u32 } from '../ext4/layout.ts';
import { Disk } from '../ext4/disk.ts';
import type { Crc32c } from '../ext4/checksum.ts';
import { readSuperblock } from '../ext4/superblock.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES } from '../ext4/superblock.ts';
import { JournalFile } from '../journal/journal-file.ts';
import { recover } from '../journal/recovered-device.ts';
import { readJournalSuperblock } from '../journal/superblock.ts';
import { CheckContext, type OnProgress } from './context.ts';
import { DirectoriesCheck } from './directories.ts';
import { type Finding, type FindingKind, Findings } from './findings.ts';
import { checkBitmaps, checkDescriptors } from './groups.ts';
import { InodesCheck } from './inodes.ts';
import { checkNames } from './names.ts';
import { checkOrphans } from './orphans.ts';

export interface CheckOptions {
  readonly crc32c: Crc32c;
  /** Memory for blocks, in bytes; 16 MiB unless told. */
  readonly cacheBytes?: number;
  /** How many findings are kept; all are counted. 1000 unless told. */
  readonly keptMax?: number;
  readonly onProgress?: OnProgress;
}

export interface CheckReport {
  /** The first ones, in the order in which they were found. */
  readonly findings: readonly Finding[];
  readonly counts: ReadonlyMap<FindingKind, number>;
  /** Transactions of the journal that were replayed into what was read, not onto the device. */
  readonly replayed: number;
  readonly inodes: number;
  readonly directories: number;
  /** Files without a name that a recovery frees. */
  readonly orphans: number;
}

const CACHE_BYTES = 16 << 20;
const KEPT_MAX = 1000;
const MMP_BLOCK_AT = 0x168;

/** Findings are returned; throws what is no matter of the volume. */
export function checkVolume(device: BlockDevice, options: CheckOptions): CheckReport {
  const findings = new Findings(options.keptMax ?? KEPT_MAX);
  const crc = options.crc32c;
  const superblock = findings.attempt('superblock', {}, () =>
    readSuperblock(device, { ignoreJournal: true, crc32c: crc }),
  );
  if (superblock === undefined) return reportOf(findings, 0);
  const recovered = findings.attempt('journal', {}, () => recover(device, crc));
  const current = recovered?.device ?? device;
  const replayed = recovered?.transactions ?? 0;
  const newer = findings.attempt('superblock', {}, () =>
    readSuperblock(current, { ignoreJournal: true, crc32c: crc }),
  );
  if (newer === undefined) return reportOf(findings, replayed);
  const cache = new BlockCache(current, new Uint8Array(options.cacheBytes ?? CACHE_BYTES));
  const disk = new Disk(newer, current, cache, crc);
  const progress = options.onProgress ?? ((): void => undefined);
  const context = new CheckContext(disk, findings, clusterBlocks(disk), progress);
  claimOwnBlocks(context);
  checkDescriptors(context);
  checkJournal(context);
  checkOrphans(context);
  new InodesCheck(context).run();
  new DirectoriesCheck(context).run();
  checkNames(context);
  // Until it is replayed, nobody has brought the superblock's own counts up to date.
  checkBitmaps(context, (superblock.incompat & INCOMPAT.recover) !== 0);
  return reportOf(findings, replayed, context);
}

function reportOf(findings: Findings, replayed: number, context?: CheckContext): CheckReport {
  const { inodes, directories } = context?.totals ?? { inodes: 0, directories: 0 };
  const orphans = context?.orphans.size ?? 0;
  const { kept, counts } = findings;
  return { findings: kept, counts, replayed, inodes, directories, orphans };
}

/** It is found by way of the descriptors, whose damage is no fault of the journal. */
function checkJournal({ disk, findings }: CheckContext): void {
  const { superblock, device, crc32c } = disk;
  const { counts } = findings;
  if (superblock.journalInode === 0) return;
  if (counts.has('descriptor') || counts.has('descriptor-checksum')) return;
  findings.attempt('journal', {}, () =>
    readJournalSuperblock(new JournalFile(device, superblock, crc32c), crc32c),
  );
}

function rawSuperblock(disk: Disk): Uint8Array {
  return disk.cache.view(SUPERBLOCK_AT, SUPERBLOCK_BYTES);
}

function clusterBlocks(disk: Disk): number {
  if (!(disk.superblock.readOnlyCompat & RO_COMPAT.bigalloc)) return 1;
  const raw = rawSuperblock(disk);
  return 2 ** (u32(raw, 0x1c) - u32(raw, 0x18));
}

/** Blocks of the volume itself that are in no file and no table of a group. */
function claimOwnBlocks({ disk, claims }: CheckContext): void {
  const { incompat, blockBytes, firstDataBlock } = disk.superblock;
  // Blocks of 1 KiB that are counted from 0 leave the first one to the boot loader.
  if (blockBytes === 1024 && firstDataBlock === 0) claims.claim(0, 2, true);
  if (!(incompat & INCOMPAT.mmp)) return;
  const block = u32(rawSuperblock(disk), MMP_BLOCK_AT);
  if (disk.holdsBlocks(block, 1)) claims.claim(block, 1, true);
}

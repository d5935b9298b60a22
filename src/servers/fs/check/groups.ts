/**
 * Groups: whether their descriptors can be right, and, when all blocks and inodes in use are known,
 * whether bitmaps and counts say the same.
 */
import { GROUP_FLAG } from '../ext4/groups-editor.ts';
import { copiedBlocks, verifyDescriptor } from '../ext4/groups.ts';
import { type Descriptor, readDescriptor } from '../ext4/descriptor.ts';
import type { FindingKind, FindingPlace } from './findings.ts';
import { type CheckContext, KIND } from './context.ts';

/** Counts of one group, or of all. */
interface Counts {
  clustersFree: number;
  inodesFree: number;
  directories: number;
}

/** Reads all descriptors, and claims what the volume uses for itself. */
export function checkDescriptors(context: CheckContext): void {
  const { disk, findings } = context;
  for (let number = 0; number < disk.superblock.groups; number++) {
    context.onProgress('groups', number, disk.superblock.groups);
    const place = { group: number };
    const group = findings.attempt('descriptor', place, () => readDescriptor(disk, number));
    if (group === undefined) continue;
    findings.attempt('descriptor-checksum', place, () => {
      verifyDescriptor(disk, group.raw, number);
    });
    claimOwn(context, group);
  }
}

function claimOwn(context: CheckContext, group: Descriptor): void {
  const { disk, findings, claims } = context;
  const { superblock, blockBytes } = disk;
  const { firstBlock, blockBitmap, inodeBitmap, inodeTable } = group;
  const tableBytes = superblock.inodesPerGroup * superblock.inodeBytes;
  const tableBlocks = Math.ceil(tableBytes / blockBytes);
  const copies = Math.min(copiedBlocks(superblock, group.group), group.blocks);
  claims.begin();
  if (copies > 0) claims.claim(firstBlock, copies, true);
  const parts = [
    ['the bitmap of blocks', blockBitmap, 1],
    ['the bitmap of inodes', inodeBitmap, 1],
    ['the table of inodes', inodeTable, tableBlocks],
  ] as const;
  let sound = true;
  for (const [what, block, count] of parts) {
    const inside = disk.holdsBlocks(block, count);
    // Parts of groups may share a cluster.
    claims.begin();
    const shared = inside && claims.claim(block, count, true).sharedAt >= 0;
    if (inside && !(shared && claims.clusterBlocks === 1)) continue;
    sound = false;
    const where = inside ? 'on something else' : 'outside the volume';
    const text = `group ${String(group.group)}: ${what} at block ${String(block)} lies ${where}`;
    findings.add('descriptor', text, { group: group.group });
  }
  if (sound) context.groups.set(group.group, group);
}

/** Compares bitmaps and counts with what was found. `countsAreLate`: those of the superblock. */
export function checkBitmaps(context: CheckContext, countsAreLate: boolean): void {
  const { superblock } = context.disk;
  const sums: Counts = { clustersFree: 0, inodesFree: 0, directories: 0 };
  for (let number = 0; number < superblock.groups; number++) {
    context.onProgress('bitmaps', number, superblock.groups);
    const group = context.groups.get(number);
    if (group === undefined) continue;
    const counts = checkGroup(context, group);
    sums.clustersFree += counts.clustersFree;
    sums.inodesFree += counts.inodesFree;
  }
  if (countsAreLate || context.groups.size < superblock.groups) return;
  const { blocksFree, inodesFree } = superblock.counts;
  const free = sums.clustersFree * context.claims.clusterBlocks;
  const what = 'the superblock counts free blocks';
  compare(context, 'free-blocks', { what, said: blocksFree, found: free });
  const whatElse = 'the superblock counts free inodes';
  compare(context, 'free-inodes', { what: whatElse, said: inodesFree, found: sums.inodesFree });
}

function checkGroup(context: CheckContext, group: Descriptor): Counts {
  const place = { group: group.group };
  const blocks = compareBlocks(context, group);
  const inodes = compareInodes(context, group);
  const count = (kind: FindingKind, what: string, said: number, found: number): void => {
    const own = `group ${String(group.group)} counts ${what}`;
    compare(context, kind, { what: own, said, found, place });
  };
  count('free-blocks', 'free blocks', group.clustersFree, blocks);
  count('free-inodes', 'free inodes', group.inodesFree, inodes.free);
  count('directories', 'directories', group.directories, inodes.directories);
  return { clustersFree: blocks, inodesFree: inodes.free, directories: inodes.directories };
}

interface Count {
  readonly what: string;
  readonly said: number;
  readonly found: number;
  readonly place?: FindingPlace | undefined;
}

function compare(context: CheckContext, kind: FindingKind, count: Count): void {
  const { what, said, found, place } = count;
  if (said === found) return;
  context.findings.add(kind, `${what}: ${String(said)}, but there are ${String(found)}`, place);
}

/** Returns the free clusters. */
function compareBlocks(context: CheckContext, group: Descriptor): number {
  const { disk, claims, findings } = context;
  const clusters = Math.ceil(group.blocks / claims.clusterBlocks);
  const expected = new Uint8Array(disk.blockBytes);
  expected.set(claims.bitmap(group.group) ?? []);
  const used = countBits(expected, clusters);
  const place = { group: group.group };
  const name = `group ${String(group.group)}`;
  if (isLeftOut(context, group, GROUP_FLAG.blocksUnused)) {
    if (claims.usedByFiles(group.group) > 0) {
      findings.add('block-bitmap', `${name} has no bitmap of blocks, but files use some`, place);
    }
    return clusters - used;
  }
  const bytes = disk.superblock.blocksPerGroup / claims.clusterBlocks / 8;
  const stored = group.blockBitmapChecksum;
  const bitmap = readBitmap(context, group, { block: group.blockBitmap, bytes, stored });
  if (bitmap !== undefined) {
    const unit = claims.clusterBlocks;
    report(context, 'block-bitmap', place, {
      what: `${name}: blocks`,
      ...difference(expected, bitmap, clusters),
      numberOf: (bit) => group.firstBlock + bit * unit,
    });
  }
  return clusters - used;
}

function compareInodes(
  context: CheckContext,
  group: Descriptor,
): { free: number; directories: number } {
  const { disk, kinds, findings } = context;
  const { inodesPerGroup, firstInode } = disk.superblock;
  const first = group.group * inodesPerGroup + 1;
  const expected = new Uint8Array(disk.blockBytes);
  let free = 0;
  let directories = 0;
  for (let bit = 0; bit < inodesPerGroup; bit++) {
    const kind = kinds.get(first + bit);
    if (kind === KIND.directory) directories++;
    if (kind === 0 && first + bit >= firstInode) free++;
    else expected[bit >> 3] = (expected[bit >> 3] ?? 0) | (1 << (bit & 7));
  }
  const place = { group: group.group };
  const name = `group ${String(group.group)}`;
  if (isLeftOut(context, group, GROUP_FLAG.inodesUnused)) {
    if (free < inodesPerGroup) {
      findings.add('inode-bitmap', `${name} has no bitmap of inodes, but some are in use`, place);
    }
    return { free, directories };
  }
  const stored = group.inodeBitmapChecksum;
  const source = { block: group.inodeBitmap, bytes: inodesPerGroup / 8, stored };
  const bitmap = readBitmap(context, group, source);
  if (bitmap !== undefined) {
    report(context, 'inode-bitmap', place, {
      what: `${name}: inodes`,
      ...difference(expected, bitmap, inodesPerGroup),
      numberOf: (bit) => first + bit,
    });
  }
  return { free, directories };
}

/** Whether mke2fs left the bitmap out, so that it says nothing. */
function isLeftOut({ disk }: CheckContext, group: Descriptor, flag: number): boolean {
  return disk.superblock.checksums !== 'none' && (group.flags & flag) !== 0;
}

interface BitmapSource {
  readonly block: number;
  readonly bytes: number;
  readonly stored: number;
}

function readBitmap(
  { disk, findings }: CheckContext,
  { group }: Descriptor,
  { block, bytes, stored }: BitmapSource,
): Uint8Array | undefined {
  const place = { group };
  return findings.attempt('bitmap-checksum', place, () => {
    const bitmap = disk.cache.view(block * disk.blockBytes, disk.blockBytes).slice();
    if (!disk.checksums) return bitmap;
    const sum = disk.crc32c(bitmap.subarray(0, bytes), disk.superblock.checksumSeed);
    const computed = disk.superblock.descriptorBytes >= 64 ? sum : sum & 0xffff;
    if (computed !== stored) {
      const text = `group ${String(group)}: the bitmap at block ${String(block)}`;
      findings.add('bitmap-checksum', `${text} has another checksum`, place);
    }
    return bitmap;
  });
}

interface Difference {
  /** In use, and marked free; and the other way round. */
  readonly missing: number;
  readonly extra: number;
  readonly first: number;
}

/** Compares the first `bits` bits; the others of the block must be set. */
function difference(expected: Uint8Array, bitmap: Uint8Array, bits: number): Difference {
  let [missing, extra, first] = [0, 0, -1];
  for (let byte = 0; byte < Math.ceil(bits / 8); byte++) {
    const mask = byte * 8 + 8 <= bits ? 0xff : (1 << (bits & 7)) - 1;
    const wanted = (expected[byte] ?? 0) & mask;
    const present = (bitmap[byte] ?? 0) & mask;
    if (wanted === present) continue;
    const off = wanted ^ present;
    if (first < 0) first = byte * 8 + (31 - Math.clz32(off & -off));
    missing += ones(wanted & ~present);
    extra += ones(present & ~wanted);
  }
  return { missing, extra, first };
}

function report(
  { findings }: CheckContext,
  kind: FindingKind,
  place: FindingPlace,
  {
    what,
    missing,
    extra,
    first,
    numberOf,
  }: Difference & {
    what: string;
    numberOf: (bit: number) => number;
  },
): void {
  if (missing === 0 && extra === 0) return;
  const counts = `${String(missing)} in use are marked free, ${String(extra)} free ones in use`;
  findings.add(kind, `${what}: ${counts}, the first is ${String(numberOf(first))}`, place);
}

function ones(byte: number): number {
  let count = 0;
  for (let rest = byte; rest !== 0; rest &= rest - 1) count++;
  return count;
}

function countBits(bitmap: Uint8Array, bits: number): number {
  let count = 0;
  for (let bit = 0; bit < bits; bit++) count += ((bitmap[bit >> 3] ?? 0) >> (bit & 7)) & 1;
  return count;
}

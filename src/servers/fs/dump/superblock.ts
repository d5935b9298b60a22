/** The superblock, the groups and the journal of a volume, for people and programs to look at. */
import type { BlockDevice } from '../device.ts';
import { damaged, hex, isFsError } from '../errors.ts';
import type { Crc32c } from '../ext4/checksum.ts';
import { type Descriptor, readDescriptor } from '../ext4/descriptor.ts';
import type { Disk } from '../ext4/disk.ts';
import { verifyDescriptor } from '../ext4/groups.ts';
import { GROUP_FLAG } from '../ext4/groups-editor.ts';
import { INCOMPAT, join, u16, u32 } from '../ext4/layout.ts';
import { SUPERBLOCK_AT, SUPERBLOCK_BYTES, type Superblock } from '../ext4/superblock.ts';
import { JOURNAL_COMPAT, JOURNAL_INCOMPAT, be32 } from '../journal/format.ts';
import { JournalFile } from '../journal/journal-file.ts';
import { readLog } from '../journal/log.ts';
import { readJournalSuperblock } from '../journal/superblock.ts';
import { featureNames } from './features.ts';

/** What names a volume, and how large it is. */
export interface Identity {
  readonly label: string;
  readonly uuid: string;
  readonly blockBytes: number;
  readonly blocks: number;
}

const MAGIC = 0xef53;

export type Dump = Readonly<Record<string, unknown>>;

function readRaw(device: BlockDevice): Uint8Array {
  if (device.bytes < SUPERBLOCK_AT + SUPERBLOCK_BYTES) {
    throw damaged`superblock: the device of ${device.bytes} bytes ends before it`;
  }
  const raw = new Uint8Array(SUPERBLOCK_BYTES);
  device.read(raw, SUPERBLOCK_AT, raw.length);
  if (u16(raw, 0x38) === MAGIC) return raw;
  throw damaged`superblock: the magic number is ${hex(u16(raw, 0x38))}, not 0xef53`;
}

/** Throws EUCLEAN for what is no volume, EIO. */
export function readIdentity(device: BlockDevice): Identity {
  const raw = readRaw(device);
  const wide = (u32(raw, 0x60) & INCOMPAT.bit64) !== 0;
  return {
    label: text(raw, 0x78, 16),
    uuid: uuid(raw, 0x68),
    blockBytes: 1024 * 2 ** Math.min(u32(raw, 0x18), 6),
    blocks: join(wide ? u32(raw, 0x150) : 0, u32(raw, 0x04)),
  };
}

/** As it lies on the device, whether it can be right or not. Throws EUCLEAN, EIO. */
export function dumpSuperblock(device: BlockDevice): Dump {
  const raw = readRaw(device);
  const wide = (u32(raw, 0x60) & INCOMPAT.bit64) !== 0;
  const high = (at: number): number => (wide ? u32(raw, at) : 0);
  return {
    ...readIdentity(device),
    blocksReserved: join(high(0x154), u32(raw, 0x08)),
    blocksFree: join(high(0x158), u32(raw, 0x0c)),
    inodes: u32(raw, 0x00),
    inodesFree: u32(raw, 0x10),
    firstDataBlock: u32(raw, 0x14),
    clusterBytes: 1024 * 2 ** Math.min(u32(raw, 0x1c), 31),
    blocksPerGroup: u32(raw, 0x20),
    inodesPerGroup: u32(raw, 0x28),
    inodeBytes: u16(raw, 0x58),
    firstInode: u32(raw, 0x54),
    descriptorBytes: wide ? u16(raw, 0xfe) : 32,
    reservedDescriptorBlocks: u16(raw, 0xce),
    revision: u32(raw, 0x4c),
    state: stateNames(u16(raw, 0x3a)),
    features: featureNames(u32(raw, 0x5c), u32(raw, 0x60), u32(raw, 0x64)),
    made: time(u32(raw, 0x108)),
    mounted: time(u32(raw, 0x2c)),
    written: time(u32(raw, 0x30)),
    checked: time(u32(raw, 0x40)),
    mounts: u16(raw, 0x34),
    mountedOn: text(raw, 0x88, 64),
    journalInode: u32(raw, 0xe0),
    firstOrphan: u32(raw, 0xe8),
    hashSeed: uuid(raw, 0xec),
    checksum: hex(u32(raw, 0x3fc)),
  };
}

/** A descriptor, with what is wrong with it. */
export function dumpGroup(disk: Disk, number: number): Dump {
  try {
    const group = readDescriptor(disk, number);
    return { ...fields(group), ...trouble(disk, group) };
  } catch (error) {
    return { group: number, error: sentenceOf(error) };
  }
}

function fields(group: Descriptor): Dump {
  const { group: number, firstBlock, blocks, clustersFree, inodesFree, directories } = group;
  const { blockBitmap, inodeBitmap, inodeTable, inodesUnused } = group;
  const flags = Object.entries(GROUP_FLAG).flatMap(([name, bit]) =>
    group.flags & bit ? [name] : [],
  );
  return {
    ...{ group: number, firstBlock, blocks, blockBitmap, inodeBitmap, inodeTable },
    ...{ free: clustersFree, inodesFree, inodesUnused, directories, flags },
  };
}

function trouble(disk: Disk, group: Descriptor): Dump {
  try {
    verifyDescriptor(disk, group.raw, group.group);
    return {};
  } catch (error) {
    return { error: sentenceOf(error) };
  }
}

/** What the journal is like, and what it holds. Throws EUCLEAN, EOPNOTSUPP, EROFS, EIO. */
export function dumpJournal(device: BlockDevice, superblock: Superblock, crc: Crc32c): Dump {
  if (superblock.journalInode === 0) return { inode: 0 };
  const file = new JournalFile(device, superblock, crc);
  const { raw, first, end, start, sequence, shape } = readJournalSuperblock(file, crc);
  const log = readLog(file, superblock.blocks, crc);
  return {
    inode: superblock.journalInode,
    blocks: file.count,
    first,
    end,
    start,
    sequence,
    checksums: shape.checksums,
    features: [
      ...bitNames(be32(raw, 0x24), JOURNAL_COMPAT),
      ...bitNames(be32(raw, 0x28), JOURNAL_INCOMPAT),
    ],
    needsReplay: (superblock.incompat & INCOMPAT.recover) !== 0,
    transactions: log.transactions,
    loggedBlocks: log.blocks.size,
  };
}

function bitNames(word: number, known: Readonly<Record<string, number>>): string[] {
  return Object.entries(known).flatMap(([name, bit]) => (word & bit ? [name] : []));
}

function stateNames(state: number): string[] {
  const names = [
    ...(state & 1 ? ['clean'] : ['not closed']),
    ...(state & 2 ? ['has errors'] : []),
    ...(state & 4 ? ['orphans are being freed'] : []),
  ];
  return names;
}

/** What an error of a volume says; any other is a fault of the program. */
export function sentenceOf(error: unknown): string {
  if (isFsError(error)) return error.message;
  throw error;
}

function text(raw: Uint8Array, at: number, bytes: number): string {
  const all = Buffer.from(raw.subarray(at, at + bytes));
  const end = all.indexOf(0);
  return all.toString('utf8', 0, end < 0 ? bytes : end);
}

function uuid(raw: Uint8Array, at: number): string {
  const digits = Buffer.from(raw.subarray(at, at + 16)).toString('hex');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

function time(seconds: number): string | null {
  return seconds === 0 ? null : new Date(seconds * 1000).toISOString();
}

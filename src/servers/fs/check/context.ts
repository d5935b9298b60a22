/** What the parts of a check share. */
import { Claims } from './claims.ts';
import type { Findings } from './findings.ts';
import { InodeArray } from './inode-array.ts';
import { Disk } from '../ext4/disk.ts';
import { COMPAT, INODE_FLAG, MODE } from '../ext4/layout.ts';
import type { Inode } from '../ext4/inode.ts';
import { fileType, hasFlag, parseInode } from '../ext4/inode.ts';
import type { Descriptor } from '../ext4/descriptor.ts';
import { ROOT_INODE } from '../../../vos/protocol/fs.ts';

/** What an inode is, in one byte; 0 for one that is not in use. */
export const KIND = {
  /** In use, but nothing of it can be believed. */
  unknown: 1,
  /** It holds the value of an xattr, and has no name. */
  value: 2,
  fifo: 3,
  character: 4,
  directory: 5,
  block: 6,
  regular: 7,
  symlink: 8,
  socket: 9,
} as const;

const KINDS: ReadonlyMap<number, number> = new Map<number, number>([
  [MODE.fifo, KIND.fifo],
  [MODE.character, KIND.character],
  [MODE.directory, KIND.directory],
  [MODE.block, KIND.block],
  [MODE.regular, KIND.regular],
  [MODE.symlink, KIND.symlink],
  [MODE.socket, KIND.socket],
]);

export type Phase = 'groups' | 'inodes' | 'directories' | 'names' | 'bitmaps';

/** `done` of `total` groups, inodes or directories. */
export type OnProgress = (phase: Phase, done: number, total: number) => void;

export class CheckContext {
  readonly disk: Disk;
  /**
   * The same volume without its checksums: they are looked at apart, so that what has a wrong one
   * is still walked.
   */
  readonly plain: Disk;
  readonly findings: Findings;
  readonly claims: Claims;
  readonly onProgress: OnProgress;
  /** Those whose inodes can be read, by their numbers. */
  readonly groups = new Map<number, Descriptor>();
  /** Inodes that no name needs to lead to. */
  readonly orphans = new Set<number>();
  readonly kinds: InodeArray;
  /** The links that inodes say they have. */
  readonly links: InodeArray;
  /** Names that were found, "." and ".." among them. */
  readonly names: InodeArray;
  /** Of directories: who has the name, and who ".." says has it. */
  readonly parents: InodeArray;
  readonly dots: InodeArray;
  readonly totals = { inodes: 0, directories: 0 };

  constructor(disk: Disk, findings: Findings, clusterBlocks: number, onProgress: OnProgress) {
    const { superblock, device, cache, crc32c } = disk;
    this.disk = disk;
    this.plain = new Disk({ ...superblock, checksums: 'none' }, device, cache, crc32c);
    this.findings = findings;
    this.claims = new Claims(superblock, clusterBlocks);
    this.onProgress = onProgress;
    const { inodesPerGroup } = superblock;
    const words = (length: number): Uint32Array => new Uint32Array(length);
    this.kinds = new InodeArray(inodesPerGroup, (length) => new Uint8Array(length));
    this.links = new InodeArray(inodesPerGroup, (length) => new Uint16Array(length));
    this.names = new InodeArray(inodesPerGroup, words);
    this.parents = new InodeArray(inodesPerGroup, words);
    this.dots = new InodeArray(inodesPerGroup, words);
  }

  /** The inode as it lies on the disk, a view; undefined when its group cannot be read. */
  raw(number: number): Uint8Array | undefined {
    const { inodesPerGroup, inodeBytes, blockBytes } = this.disk.superblock;
    const group = this.groups.get(Math.floor((number - 1) / inodesPerGroup));
    if (group === undefined) return undefined;
    const at = group.inodeTable * blockBytes + ((number - 1) % inodesPerGroup) * inodeBytes;
    return this.disk.cache.view(at, inodeBytes);
  }

  /** An inode, whatever its checksum; with the seed that its blocks' checksums have. */
  parse(number: number, raw: Uint8Array): Inode {
    const inode = parseInode(this.plain, number, raw.slice());
    if (!this.disk.checksums) return inode;
    return { ...inode, checksumSeed: this.disk.inodeSeed(number, inode.generation) };
  }

  /** Whether it belongs to the volume itself, and has no name for that reason. */
  isOwn(number: number): boolean {
    const { firstInode, hiddenInodes } = this.disk.superblock;
    return (number !== ROOT_INODE && number < firstInode) || hiddenInodes.includes(number);
  }

  /** Whether indexes of directories are looked at. */
  get hasIndexes(): boolean {
    return (this.disk.superblock.compat & COMPAT.dirIndex) !== 0;
  }
}

export function kindOf(inode: Inode): number {
  if (hasFlag(inode, INODE_FLAG.eaInode)) return KIND.value;
  return KINDS.get(fileType(inode)) ?? KIND.unknown;
}

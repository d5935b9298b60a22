/**
 * The quota of the container that a volume serves: how much of the volume it may use.
 *
 * A volume belongs to one container as long as it is served, so what is in use on it is what the
 * container uses: the volume's own counts of free blocks and inodes tell that, and nothing else is
 * kept. What mke2fs laid out for the file system itself does not count.
 */
import type { Quota, QuotaLimits } from '../../../vos/protocol/fs-quota.ts';
import { overheadBlocks } from './groups.ts';
import type { Superblock } from './superblock.ts';

/** What is free on the volume, whoever may have it. */
export interface FreeCounts {
  readonly blocksFree: number;
  readonly inodesFree: number;
}

export class ContainerQuota {
  limits: QuotaLimits;
  readonly #blockBytes: number;
  /** Blocks and inodes that files can have. */
  readonly #blocks: number;
  readonly #inodes: number;

  constructor(superblock: Superblock, limits: QuotaLimits = {}) {
    this.limits = limits;
    this.#blockBytes = superblock.blockBytes;
    this.#blocks = Math.max(0, superblock.blocks - overheadBlocks(superblock));
    const hidden = superblock.hiddenInodes.filter((inode) => inode >= superblock.firstInode);
    this.#inodes = superblock.inodes - (superblock.firstInode - 1) - hidden.length;
  }

  /** How many blocks it may take beyond those in use: less than 0 when it has too many. */
  blocksLeft({ blocksFree }: Pick<FreeCounts, 'blocksFree'>): number {
    const { bytes } = this.limits;
    if (bytes === undefined) return Infinity;
    return Math.floor(bytes / this.#blockBytes) - (this.#blocks - blocksFree);
  }

  inodesLeft({ inodesFree }: Pick<FreeCounts, 'inodesFree'>): number {
    const { inodes } = this.limits;
    return inodes === undefined ? Infinity : inodes - (this.#inodes - inodesFree);
  }

  /** Limits and use; `free` is without what is promised. */
  report({ blocksFree, inodesFree }: FreeCounts): Quota {
    return {
      limits: this.limits,
      bytesUsed: (this.#blocks - blocksFree) * this.#blockBytes,
      inodesUsed: this.#inodes - inodesFree,
    };
  }
}

/**
 * Which blocks are in use, found by walking everything that uses some: a bit for each block, or for
 * each cluster where blocks are given out in clusters.
 */
import type { Superblock } from '../ext4/superblock.ts';

/** What became of a claim; counts are of blocks, whole clusters of them. */
export interface Claimed {
  readonly blocks: number;
  /** The first block that had an owner already, -1 for none. */
  readonly sharedAt: number;
}

export class Claims {
  /** Blocks that go together; 1 but for volumes with clusters (feature BIGALLOC). */
  readonly clusterBlocks: number;
  readonly #superblock: Superblock;
  readonly #bitmaps: (Uint8Array | undefined)[] = [];
  /** Clusters of each group that files use. */
  readonly #byFiles = new Map<number, number>();
  /** The last cluster that was claimed: its other blocks are the same owner's. */
  #last = -1;

  constructor(superblock: Superblock, clusterBlocks: number) {
    this.#superblock = superblock;
    this.clusterBlocks = clusterBlocks;
  }

  /** The next claims are of another owner. */
  begin(): void {
    this.#last = -1;
  }

  /** The blocks must be inside the volume. `metadata`: they belong to the volume, not to a file. */
  claim(first: number, count: number, metadata = false): Claimed {
    const { firstDataBlock, blocksPerGroup } = this.#superblock;
    const from = Math.floor((first - firstDataBlock) / this.clusterBlocks);
    const to = Math.floor((first + count - 1 - firstDataBlock) / this.clusterBlocks);
    const perGroup = blocksPerGroup / this.clusterBlocks;
    let clusters = 0;
    let sharedAt = -1;
    for (let cluster = from; cluster <= to; cluster++) {
      if (this.clusterBlocks > 1 && cluster === this.#last) continue;
      this.#last = cluster;
      clusters++;
      const group = Math.floor(cluster / perGroup);
      const bitmap = (this.#bitmaps[group] ??= new Uint8Array(Math.ceil(perGroup / 8)));
      const bit = cluster - group * perGroup;
      const mask = 1 << (bit & 7);
      const byte = bitmap[bit >> 3] ?? 0;
      if ((byte & mask) === 0) {
        bitmap[bit >> 3] = byte | mask;
        if (!metadata) this.#byFiles.set(group, (this.#byFiles.get(group) ?? 0) + 1);
      } else if (sharedAt < 0) {
        sharedAt = cluster * this.clusterBlocks + firstDataBlock;
      }
    }
    return { blocks: clusters * this.clusterBlocks, sharedAt };
  }

  /** The bits of a group, undefined if nothing of it is in use. */
  bitmap(group: number): Uint8Array | undefined {
    return this.#bitmaps[group];
  }

  /** How many clusters of a group files use. */
  usedByFiles(group: number): number {
    return this.#byFiles.get(group) ?? 0;
  }
}

/**
 * The block map of each file, by its kind, and where its next blocks had best lie.
 */
import type { BlockAllocator } from './block-allocator.ts';
import type { BlockMap } from './block-map.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import { ExtentEditor, initExtents } from './extent-editor.ts';
import { IndirectEditor } from './indirect-editor.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode, hasFlag } from './inode.ts';
import { INCOMPAT, INODE_FLAG } from './layout.ts';

export class FileMaps {
  /** Whether files that are made now get extents. */
  readonly newHaveExtents: boolean;
  readonly #disk: Disk;
  readonly #allocator: BlockAllocator;
  readonly #edits: Edits;
  readonly #extents: ExtentEditor;
  readonly #indirect: IndirectEditor;

  constructor(disk: Disk, edits: Edits, allocator: BlockAllocator, inodes: InodeEditor) {
    this.newHaveExtents = (disk.superblock.incompat & INCOMPAT.extents) !== 0;
    this.#disk = disk;
    this.#allocator = allocator;
    this.#edits = edits;
    this.#extents = new ExtentEditor(disk, edits, allocator, inodes);
    this.#indirect = new IndirectEditor(disk, edits, allocator, inodes);
  }

  /** An inline file is answered as what it would become. */
  of(inode: Inode): BlockMap {
    const inline = hasFlag(inode, INODE_FLAG.inlineData);
    const extents = hasFlag(inode, INODE_FLAG.extents) || (inline && this.newHaveExtents);
    return extents ? this.#extents : this.#indirect;
  }

  /** Gives an inode an empty map. */
  init(inode: EditedInode): void {
    inode.raw.fill(0, INODE_MAP_AT, INODE_MAP_AT + INODE_MAP_BYTES);
    if (!this.newHaveExtents) return;
    inode.flags = (inode.flags | INODE_FLAG.extents) >>> 0;
    initExtents(inode);
  }

  /** A new metadata block behind the file's last one, of zeros, to be written into. */
  addBlock(inode: EditedInode, logical: number): { number: number; bytes: Uint8Array } {
    const goal = this.goal(inode, logical);
    const { first } = this.#allocator.allocate({ goal, count: 1, owner: 0 });
    this.of(inode).insert(inode, { logical, count: 1, physical: first, written: true });
    return { number: first, bytes: this.#edits.create(first) };
  }

  /** Behind the block before `logical`; for the first one, in the group of the inode. */
  goal(inode: Inode, logical: number): number {
    const map = this.of(inode);
    let before = logical;
    for (let step = 0; step < 2 && before > 0; step++) {
      const run = map.find(inode, before - 1);
      const first = run.physical === 0 ? (run.unwritten ?? 0) : run.physical;
      if (first !== 0) return first + (logical - run.logical);
      before = run.logical;
    }
    const { inodesPerGroup, blocksPerGroup, firstDataBlock } = this.#disk.superblock;
    return firstDataBlock + Math.floor((inode.number - 1) / inodesPerGroup) * blocksPerGroup;
  }
}

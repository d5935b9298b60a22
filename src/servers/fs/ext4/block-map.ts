/**
 * The map of a file's blocks, as one that changes files sees it: extents or indirect blocks.
 *
 * `insert` and `remove` keep the inode's count of blocks, take and free the blocks of the map
 * itself, and free those that are removed. All of it happens inside a change.
 */
import type { EditedInode } from './inode-editor.ts';
import type { Inode, Run } from './inode.ts';

/** Blocks of a file that lie together. */
export interface Piece {
  readonly logical: number;
  readonly count: number;
  readonly physical: number;
  readonly written: boolean;
}

/** Logical blocks `[from, to)`. */
export interface BlockRange {
  readonly from: number;
  readonly to: number;
}

export interface BlockMap {
  /** One more than the last logical block that a file may have. */
  readonly blocksMax: number;
  /** The run that holds `logical`, or a part of it that does. Throws EUCLEAN. */
  find(inode: Inode, logical: number): Run;
  /** Maps blocks that were allocated for a hole. Throws ENOSPC, EUCLEAN. */
  insert(inode: EditedInode, piece: Piece): void;
  /** Says of allocated blocks that lie in one run whether they have contents; else they read 0. */
  mark(inode: EditedInode, range: BlockRange, written: boolean): void;
  /**
   * Frees blocks from the end of the range on, until the change is full. Returns the end of what is
   * left of the range: `from` if nothing is.
   */
  remove(inode: EditedInode, range: BlockRange): number;
  /**
   * Moves what lies behind a hole `by` blocks back, or what begins at `from` or behind it `by`
   * blocks on, whole or, when the change fails, not at all. Throws EFBIG, ENOSPC, EOPNOTSUPP.
   */
  shift(inode: EditedInode, from: number, by: number): void;
}

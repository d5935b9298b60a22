/**
 * Contents that move within their file: a range is taken out, or room is made for one, as by
 * FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE of Linux's ext4.
 *
 * No contents are copied; the map gets other numbers. All of it is one change, so a crash leaves
 * the file as it was or as it is to be. Linux goes in steps, of which a crash leaves some. A map
 * that is larger than what the journal takes at once is refused with ENOSPC: with the smallest
 * journal that is one of some 80,000 extents.
 */
import { FsError } from '../errors.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { ByteRange } from './changing.ts';
import type { Edits } from './edits.ts';
import type { FileMaps } from './file-maps.ts';
import type { InlineEditor } from './inline-editor.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { type Inode, hasFlag } from './inode.ts';
import { INODE_FLAG } from './layout.ts';

export interface RangeParts {
  readonly edits: Edits;
  readonly allocator: BlockAllocator;
  readonly inodes: InodeEditor;
  readonly maps: FileMaps;
  readonly inline: InlineEditor;
  readonly setSize: (edited: EditedInode, size: number) => void;
}

export class RangeMover {
  readonly #parts: RangeParts;
  readonly #blockBytes: number;

  constructor(parts: RangeParts, blockBytes: number) {
    this.#parts = parts;
    this.#blockBytes = blockBytes;
  }

  /** The file has none of the range any more. Throws EINVAL unless it goes on behind it. */
  collapse(inode: Inode, range: ByteRange): void {
    const { offset, bytes } = range;
    this.#checkAligned(range);
    if (offset + bytes >= inode.size) throw new FsError('EINVAL', 'the range reaches the end');
    this.#change(inode, (edited) => {
      const map = this.#parts.maps.of(edited);
      const [from, to] = [offset / this.#blockBytes, (offset + bytes) / this.#blockBytes];
      for (let end = to; end > from;) end = map.remove(edited, { from, to: end });
      map.shift(edited, to, from - to);
      this.#parts.setSize(edited, edited.size - bytes);
    });
  }

  /** Zeros come between what is before `offset` and the rest. Throws EINVAL, EFBIG. */
  insert(inode: Inode, range: ByteRange, sizeMax: number): void {
    const { offset, bytes } = range;
    this.#checkAligned(range);
    if (offset >= inode.size) throw new FsError('EINVAL', 'there is nothing behind the range');
    if (inode.size + bytes > sizeMax) throw new FsError('EFBIG', 'the file would be too large');
    this.#change(inode, (edited) => {
      const by = bytes / this.#blockBytes;
      this.#parts.maps.of(edited).shift(edited, offset / this.#blockBytes, by);
      this.#parts.setSize(edited, edited.size + bytes);
    });
  }

  #checkAligned({ offset, bytes }: ByteRange): void {
    if (offset % this.#blockBytes === 0 && bytes % this.#blockBytes === 0) return;
    throw new FsError('EINVAL', `the range is not one of blocks of ${String(this.#blockBytes)}`);
  }

  #change(inode: Inode, move: (edited: EditedInode) => void): void {
    const { edits, inodes, inline, allocator } = this.#parts;
    edits.change(() => {
      const edited = inodes.edit(inode);
      if (hasFlag(edited, INODE_FLAG.inlineData)) inline.toBlocks(edited);
      allocator.dropWindow(edited.number);
      move(edited);
      inodes.touch(edited);
    });
  }
}

/**
 * Changes of inline data. See `inline-data.ts` for the layout.
 *
 * What stays inline is what gets no longer; all else moves into blocks.
 */
import type { BlockAllocator } from './block-allocator.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import type { FileMaps } from './file-maps.ts';
import { inlineData } from './inline-data.ts';
import type { EditedInode } from './inode-editor.ts';
import { INODE_MAP_AT, INODE_MAP_BYTES, type Inode } from './inode.ts';
import { INODE_FLAG } from './layout.ts';
import { XATTR_INDEX } from './xattr-entries.ts';
import type { XattrEditor } from './xattr-editor.ts';

export class InlineEditor {
  readonly #disk: Disk;
  readonly #edits: Edits;
  readonly #allocator: BlockAllocator;
  readonly #maps: FileMaps;
  readonly #xattrs: XattrEditor;

  constructor(parts: {
    disk: Disk;
    edits: Edits;
    allocator: BlockAllocator;
    maps: FileMaps;
    xattrs: XattrEditor;
  }) {
    this.#disk = parts.disk;
    this.#edits = parts.edits;
    this.#allocator = parts.allocator;
    this.#maps = parts.maps;
    this.#xattrs = parts.xattrs;
  }

  /** A copy of all inline bytes. Throws EUCLEAN. */
  data(inode: Inode): Uint8Array {
    return inlineData(inode).slice();
  }

  /** Puts them back: as many as there were, or fewer. */
  store(edited: EditedInode, data: Uint8Array): void {
    const map = edited.raw.subarray(INODE_MAP_AT, INODE_MAP_AT + INODE_MAP_BYTES);
    map.fill(0);
    map.set(data.subarray(0, INODE_MAP_BYTES));
    const value = data.slice(INODE_MAP_BYTES);
    this.#xattrs.setInternal(edited, { nameIndex: XATTR_INDEX.system, name: 'data' }, value);
  }

  /** Cuts a file off. */
  shorten(edited: EditedInode, size: number): void {
    this.store(edited, this.data(edited).subarray(0, size));
    edited.size = size;
  }

  /** The inode has an empty map instead; the caller has its data. */
  leave(edited: EditedInode): void {
    const name = { nameIndex: XATTR_INDEX.system, name: 'data' };
    this.#xattrs.setInternal(edited, name, undefined);
    edited.flags = (edited.flags & ~INODE_FLAG.inlineData) >>> 0;
    this.#maps.init(edited);
  }

  /** Moves the contents of a file into blocks. */
  toBlocks(edited: EditedInode): void {
    const data = this.data(edited).subarray(0, edited.size);
    this.leave(edited);
    const { blockBytes } = this.#disk;
    for (let done = 0; done < data.length;) {
      const logical = done / blockBytes;
      const { first, count } = this.#allocator.allocate({
        goal: this.#maps.goal(edited, logical),
        count: Math.ceil((data.length - done) / blockBytes),
        owner: 0,
      });
      const contents = new Uint8Array(count * blockBytes);
      contents.set(data.subarray(done, done + contents.length));
      this.#maps.of(edited).insert(edited, { logical, count, physical: first, written: true });
      this.#edits.writeData(first * blockBytes, contents);
      done += contents.length;
    }
  }
}

/**
 * Changes of directories: names put in, taken out and given to other files.
 *
 * A name goes into the first block with room, or the leaf that the index names; when a directory
 * outgrows its first block it gets an index, if the volume has those. What is taken out leaves room
 * that is used again; blocks are given back when the directory goes. An inline directory keeps
 * what is taken out or renamed inline, and becomes a block when a name is put in.
 */
import { FsError, damaged } from '../errors.ts';
import { RecentMap } from '../recent.ts';
import type { Directories } from './directory.ts';
import type { DirectoryBlocks } from './directory-blocks.ts';
import { ENTRY_BYTES_MIN, type EntryPlace, isDots } from './directory-entries.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import {
  type EntryTarget,
  type PackedEntry,
  clearEntries,
  hasRoom,
  packEntry,
  packedEntries,
  placeEntry,
  putRecordBytes,
  removeEntry,
  setTarget,
} from './entry-edits.ts';
import type { FileMaps } from './file-maps.ts';
import type { IndexEditor } from './index-editor.ts';
import type { InlineEditor } from './inline-editor.ts';
import type { EditedInode } from './inode-editor.ts';
import { type Inode, hasFlag } from './inode.ts';
import { COMPAT, INCOMPAT, INODE_FLAG, put32, u32 } from './layout.ts';

const INLINE_PARENT_BYTES = 4;
const MAP_BYTES = 60;
const DOT = new Uint8Array([0x2e]);
const DOT_DOT = new Uint8Array([0x2e, 0x2e]);
const HINTS = 256;
/** What sizes of 32 bits allow. */
const BYTES_MAX = 2 ** 31;

export interface DirectoryParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly maps: FileMaps;
  readonly inline: InlineEditor;
  readonly directories: Directories;
  readonly blocks: DirectoryBlocks;
}

export class DirectoryEditor {
  readonly #parts: DirectoryParts;
  readonly #index: IndexEditor;
  readonly #hasIndexes: boolean;
  /** Where the last name went in directories without an index. */
  readonly #hints = new RecentMap<number>(HINTS);

  constructor(parts: DirectoryParts, index: IndexEditor) {
    this.#parts = parts;
    this.#index = index;
    this.#hasIndexes = (parts.disk.superblock.compat & COMPAT.dirIndex) !== 0;
  }

  /** Makes the first block of a new directory. */
  init(directory: EditedInode, parent: number, type: number): void {
    this.#firstBlock(directory, { parent, type }, []);
  }

  /** Puts in a name that is not there. Throws ENOSPC, EUCLEAN. */
  insert(directory: EditedInode, name: Uint8Array, target: EntryTarget): void {
    if (hasFlag(directory, INODE_FLAG.inlineData)) this.#toBlocks(directory);
    const packed = packEntry(name, target);
    if (hasFlag(directory, INODE_FLAG.index)) this.#index.insert(directory, name, packed);
    else this.#insertLinear(directory, name, packed);
  }

  /** Takes a name out. */
  remove(directory: EditedInode, place: EntryPlace): void {
    this.#change(directory, place, (entries, at, from) => {
      removeEntry(entries, from, at);
    });
  }

  /** Gives a name to another file. */
  retarget(directory: EditedInode, place: EntryPlace, target: EntryTarget): void {
    this.#change(directory, place, (entries, at) => {
      setTarget(entries, at, target);
    });
  }

  /** The directory has moved. */
  setParent(directory: EditedInode, parent: number, type: number): void {
    if (hasFlag(directory, INODE_FLAG.inlineData)) {
      const data = this.#parts.inline.data(directory);
      put32(data, 0, parent);
      this.#parts.inline.store(directory, data);
      return;
    }
    const place = this.#parts.directories.find(directory, DOT_DOT);
    if (place === undefined) throw damaged`directory ${directory.number}: ".." is missing`;
    this.retarget(directory, place, { inode: parent, type });
  }

  isEmpty(directory: Inode): boolean {
    let empty = true;
    this.#parts.directories.list(directory, 0, ({ name }) => {
      empty = isDots(name);
      return empty;
    });
    return empty;
  }

  parentOf(directory: Inode): number {
    const place = this.#parts.directories.find(directory, DOT_DOT);
    if (place !== undefined) return place.inode;
    throw damaged`directory ${directory.number}: ".." is missing`;
  }

  #change(
    directory: EditedInode,
    place: EntryPlace,
    change: (entries: Uint8Array, at: number, from: number) => void,
  ): void {
    const { inline, blocks } = this.#parts;
    if (place.logical < 0) {
      const data = inline.data(directory);
      const inMap = place.at < MAP_BYTES;
      const entries = inMap ? data.subarray(0, MAP_BYTES) : data.subarray(MAP_BYTES);
      change(entries, place.at - (inMap ? 0 : MAP_BYTES), inMap ? INLINE_PARENT_BYTES : 0);
      inline.store(directory, data);
      return;
    }
    const block = this.#modify(directory, place.logical);
    const root = place.logical === 0 && hasFlag(directory, INODE_FLAG.index);
    change(root ? block : blocks.entriesOf(block), place.at, 0);
    if (root) this.#index.sealRoot(block, directory);
    else blocks.sealLeaf(block, directory);
  }

  #modify(directory: Inode, logical: number): Uint8Array {
    const { blocks, edits } = this.#parts;
    const place = blocks.place(directory, logical);
    return edits.modify(place, blocks.check(directory, logical));
  }

  #insertLinear(directory: EditedInode, name: Uint8Array, packed: PackedEntry): void {
    const { blocks, disk, maps } = this.#parts;
    const count = blocks.count(directory);
    const hint = (this.#hints.get(directory.number) ?? 0) % count;
    for (let step = 0; step < count; step++) {
      const logical = (hint + step) % count;
      if (!hasRoom(blocks.entriesOf(blocks.read(directory, logical)), packed)) continue;
      const block = this.#modify(directory, logical);
      placeEntry(blocks.entriesOf(block), 0, packed);
      blocks.sealLeaf(block, directory);
      if (logical !== hint) this.#hints.set(directory.number, logical);
      return;
    }
    if (count === 1 && this.#hasIndexes) {
      this.#index.make(directory);
      this.#index.insert(directory, name, packed);
      return;
    }
    const large = (disk.superblock.incompat & INCOMPAT.largedir) !== 0;
    if (!large && directory.size + disk.blockBytes > BYTES_MAX) {
      throw new FsError('ENOSPC', `directory ${String(directory.number)} cannot grow`);
    }
    const { bytes } = maps.addBlock(directory, count);
    const entries = blocks.entriesOf(bytes);
    clearEntries(entries);
    placeEntry(entries, 0, packed);
    blocks.sealLeaf(bytes, directory);
    directory.size += disk.blockBytes;
    this.#hints.set(directory.number, count);
  }

  /** An inline directory gets a block, with the entries that it has. */
  #toBlocks(directory: EditedInode): void {
    const { inline } = this.#parts;
    const data = inline.data(directory);
    const lists: readonly (readonly [Uint8Array, number])[] = [
      [data.subarray(0, MAP_BYTES), INLINE_PARENT_BYTES],
      [data.subarray(MAP_BYTES), 0],
    ];
    const entries = lists.flatMap(([list, from]) => packedEntries(list, from));
    inline.leave(directory);
    directory.size = 0;
    const type = this.#parts.disk.superblock.incompat & INCOMPAT.filetype ? 2 : 0;
    const packed = entries.map(([entry]) => entry);
    this.#firstBlock(directory, { parent: u32(data, 0), type }, packed);
  }

  #firstBlock(
    directory: EditedInode,
    { parent, type }: { parent: number; type: number },
    packed: readonly PackedEntry[],
  ): void {
    const { blocks, maps, disk } = this.#parts;
    const { bytes } = maps.addBlock(directory, 0);
    const entries = blocks.entriesOf(bytes);
    entries.set(packEntry(DOT, { inode: directory.number, type }));
    const second = entries.subarray(ENTRY_BYTES_MIN);
    second.set(packEntry(DOT_DOT, { inode: parent, type }));
    putRecordBytes(second, 0, second.length);
    for (const entry of packed) {
      if (!placeEntry(entries, 0, entry)) {
        throw damaged`directory ${directory.number}: its inline entries do not fit a block`;
      }
    }
    blocks.sealLeaf(bytes, directory);
    directory.size = disk.blockBytes;
  }
}

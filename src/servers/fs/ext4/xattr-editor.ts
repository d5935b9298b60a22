/**
 * Changes of extended attributes. See `xattr.ts` for the layout.
 *
 * An xattr goes into the inode if there is room, else into the block. A block that other inodes
 * share is left to them, and this inode gets its own.
 */
import { FsError, damaged } from '../errors.ts';
import { storedAcl } from './acl.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { XattrMode } from './changing.ts';
import type { Disk } from './disk.ts';
import type { Edits } from './edits.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { CORE_BYTES } from './inode.ts';
import { put32, u32 } from './layout.ts';
import type { SuperblockEditor } from './superblock-editor.ts';
import {
  BLOCK_CHECKSUM_AT,
  BLOCK_ENTRIES_AT,
  VALUE_BYTES_MAX,
  type Xattrs,
  splitName,
} from './xattr.ts';
import {
  type StoredXattr,
  XATTR_INDEX,
  XATTR_MAGIC,
  compareXattrs,
  latin1,
  writeXattrEntries,
  xattrBytes,
} from './xattr-entries.ts';

const NAME_BYTES_MAX = 255;
const REFERENCES_AT = 4;

/** A name as it is stored: a number for the prefix, and the rest. */
export interface StoredName {
  readonly nameIndex: number;
  readonly name: string;
}

interface Lists {
  own: StoredXattr[];
  block: StoredXattr[];
}

export interface XattrParts {
  readonly disk: Disk;
  readonly edits: Edits;
  readonly allocator: BlockAllocator;
  readonly inodes: InodeEditor;
  readonly superblock: SuperblockEditor;
  readonly xattrs: Xattrs;
}

export class XattrEditor {
  readonly #parts: XattrParts;

  constructor(parts: XattrParts) {
    this.#parts = parts;
  }

  /** See `VolumeWriter.setXattr`. */
  set(edited: EditedInode, fullName: Uint8Array, value: Uint8Array, mode: XattrMode): void {
    if (fullName.length > NAME_BYTES_MAX) throw new FsError('ERANGE', 'the name is too long');
    if (value.length > VALUE_BYTES_MAX) throw new FsError('E2BIG', 'the value is too long');
    const name = splitName(latin1(fullName));
    const stored = isAcl(name) ? storedAcl(value) : value.slice();
    if (stored === undefined) throw new FsError('EINVAL', 'malformed access control list');
    const exists = this.#has(edited, name);
    if (exists && mode.create === true) throw new FsError('EEXIST', 'the file has this xattr');
    if (!exists && mode.replace === true) throw new FsError('ENODATA', 'there is no such xattr');
    this.#parts.superblock.hasXattrs();
    this.setInternal(edited, name, stored);
    edited.changed = this.#parts.inodes.now();
  }

  /** See `VolumeWriter.removeXattr`. */
  remove(edited: EditedInode, fullName: Uint8Array): void {
    const name = splitName(latin1(fullName));
    if (!this.#has(edited, name)) throw new FsError('ENODATA', 'there is no such xattr');
    this.setInternal(edited, name, undefined);
    edited.changed = this.#parts.inodes.now();
  }

  /** Sets or removes an xattr by its stored name and value. Throws ENOSPC, EUCLEAN. */
  setInternal(edited: EditedInode, name: StoredName, value: Uint8Array | undefined): void {
    const before = this.#parts.xattrs.stored(edited);
    const lists: Lists = {
      own: before.own.filter((xattr) => !isSame(xattr, name)),
      block: before.block.filter((xattr) => !isSame(xattr, name)),
    };
    if (value !== undefined) this.#add(edited, lists, { ...name, value });
    this.#writeOwn(edited, lists.own);
    const moved = lists.block.length !== before.block.length;
    const hadIt = before.block.some((xattr) => isSame(xattr, name));
    if (moved || hadIt) this.#writeBlock(edited, lists.block);
  }

  /** Gives back the block of an inode that goes. */
  release(edited: EditedInode): void {
    if (edited.xattrBlock !== 0) this.#writeBlock(edited, []);
  }

  #has(edited: EditedInode, name: StoredName): boolean {
    const { own, block } = this.#parts.xattrs.stored(edited);
    return [...own, ...block].some((xattr) => isSame(xattr, name));
  }

  #add(edited: EditedInode, lists: Lists, xattr: StoredXattr): void {
    const own = [...lists.own, xattr];
    if (xattrBytes(own) <= this.#ownRoom(edited)) {
      lists.own = own;
      return;
    }
    const block = [...lists.block, xattr];
    // Inline data stays in the inode, or cannot be found.
    const internal = xattr.nameIndex === XATTR_INDEX.system;
    if (internal || xattrBytes(block) > this.#parts.disk.blockBytes - BLOCK_ENTRIES_AT) {
      throw new FsError('ENOSPC', `inode ${String(edited.number)} has no room for the xattr`);
    }
    lists.block = block;
  }

  /** What the inode has room for, behind the magic number. */
  #ownRoom({ raw, xattrsAt }: EditedInode): number {
    return xattrsAt > CORE_BYTES ? Math.max(0, raw.length - xattrsAt - 4) : 0;
  }

  #writeOwn(edited: EditedInode, xattrs: readonly StoredXattr[]): void {
    const { raw, xattrsAt } = edited;
    if (xattrsAt + 4 > raw.length) return;
    raw.fill(0, xattrsAt);
    if (xattrs.length === 0) return;
    put32(raw, xattrsAt, XATTR_MAGIC);
    writeXattrEntries(raw.subarray(xattrsAt + 4), 0, xattrs);
  }

  #writeBlock(edited: EditedInode, xattrs: readonly StoredXattr[]): void {
    const { edits, disk, xattrs: reader } = this.#parts;
    let number = edited.xattrBlock;
    let block = number === 0 ? undefined : edits.modify(number, reader.check(edited));
    if (block !== undefined && (u32(block, REFERENCES_AT) > 1 || xattrs.length === 0)) {
      this.#leave(edited, block);
      block = undefined;
    }
    if (xattrs.length === 0) return;
    if (block === undefined) {
      number = this.#newBlock(edited);
      block = edits.create(number);
    }
    const hash = writeXattrEntries(block, BLOCK_ENTRIES_AT, xattrs.toSorted(compareXattrs));
    put32(block, 0, XATTR_MAGIC);
    put32(block, REFERENCES_AT, 1);
    put32(block, 8, 1);
    put32(block, 12, hash);
    if (disk.checksums) put32(block, BLOCK_CHECKSUM_AT, reader.sum(block, number));
  }

  /** The inode has no block any more; others may. */
  #leave(edited: EditedInode, block: Uint8Array): void {
    const { edits, allocator, disk, xattrs } = this.#parts;
    const number = edited.xattrBlock;
    const references = u32(block, REFERENCES_AT);
    if (references === 0) throw damaged`block ${number}: an xattr block without references`;
    if (references > 1) {
      put32(block, REFERENCES_AT, references - 1);
      if (disk.checksums) put32(block, BLOCK_CHECKSUM_AT, xattrs.sum(block, number));
    } else {
      edits.discard(number, 1, true);
      allocator.free(number, 1);
    }
    edited.xattrBlock = 0;
    this.#parts.inodes.addBlocks(edited, -1);
  }

  #newBlock(edited: EditedInode): number {
    const { allocator, disk, inodes } = this.#parts;
    const { inodesPerGroup, blocksPerGroup, firstDataBlock } = disk.superblock;
    const group = Math.floor((edited.number - 1) / inodesPerGroup);
    const goal = firstDataBlock + group * blocksPerGroup;
    const { first } = allocator.allocate({ goal, count: 1, owner: 0 });
    edited.xattrBlock = first;
    inodes.addBlocks(edited, 1);
    return first;
  }
}

function isSame(xattr: StoredName, name: StoredName): boolean {
  return xattr.nameIndex === name.nameIndex && xattr.name === name.name;
}

function isAcl({ nameIndex }: StoredName): boolean {
  return nameIndex === XATTR_INDEX.aclAccess || nameIndex === XATTR_INDEX.aclDefault;
}

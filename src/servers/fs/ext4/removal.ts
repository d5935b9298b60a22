/**
 * Files that go: those whose last name was taken away, now or when the last holder lets go.
 *
 * A file that is held, or too large to be freed in one change, is on the list of orphans until its
 * inode is free. There it also stays when its blocks cannot be freed, since what maps them cannot
 * be read: its name goes all the same, and who opens the volume next tries again.
 */
import { isFsError } from '../errors.ts';
import type { BlockAllocator } from './block-allocator.ts';
import type { Edits } from './edits.ts';
import type { FileEditor } from './file-editor.ts';
import type { InodeAllocator } from './inode-allocator.ts';
import type { EditedInode, InodeEditor } from './inode-editor.ts';
import { type Inode, fileType } from './inode.ts';
import type { InodeTable } from './inode-table.ts';
import { MODE } from './layout.ts';
import type { Orphans } from './orphans.ts';
import type { XattrEditor } from './xattr-editor.ts';

export interface RemovalParts {
  readonly edits: Edits;
  readonly inodes: InodeEditor;
  readonly table: InodeTable;
  readonly allocator: BlockAllocator;
  readonly numbers: InodeAllocator;
  readonly files: FileEditor;
  readonly xattrEditor: XattrEditor;
  readonly orphans: Orphans;
}

export class Removal {
  readonly #parts: RemovalParts;
  readonly #holds = new Map<number, number>();
  #keepsNameless = false;
  /** Whether the change under way frees blocks, and whether it may. */
  #frees = false;
  #mayFree = true;

  constructor(parts: RemovalParts) {
    this.#parts = parts;
  }

  hold(inode: Inode): void {
    const count = this.#holds.get(inode.number) ?? 0;
    if (count === 0) this.#parts.table.pin(inode);
    this.#holds.set(inode.number, count + 1);
  }

  isHeld(number: number): boolean {
    return this.#holds.has(number);
  }

  drop(inode: Inode): void {
    const count = this.#holds.get(inode.number);
    if (count === undefined) return;
    if (count > 1) {
      this.#holds.set(inode.number, count - 1);
      return;
    }
    this.#holds.delete(inode.number);
    this.#parts.allocator.dropWindow(inode.number);
    try {
      if (inode.links === 0) this.#tryFinish(inode);
    } finally {
      this.#parts.table.unpin(inode);
    }
  }

  /** From now on files without names stay, whether they are held or not. */
  keepNameless(): void {
    this.#keepsNameless = true;
  }

  /** Frees those that are not held, and keeps no more of them. */
  freeNameless(): void {
    this.#keepsNameless = false;
    for (const inode of this.#parts.orphans.all) {
      if (inode.links === 0 && !this.#holds.has(inode.number)) this.#tryFinish(inode);
    }
  }

  /** Runs a change that may take a file's last name, whether its blocks can be freed or not. */
  sparing<T>(change: () => T): T {
    this.#frees = false;
    try {
      return change();
    } catch (error) {
      if (!isFsError(error, 'EIO') || !this.#isUndone()) throw error;
    }
    this.#mayFree = false;
    try {
      return change();
    } finally {
      this.#mayFree = true;
    }
  }

  /** Whether the change that failed was about to free blocks, and nothing of it is left. */
  #isUndone(): boolean {
    return this.#frees && !this.#parts.edits.nested;
  }

  /** The file has no names any more. Inside a change. */
  release(edited: EditedInode): void {
    const { edits, files, orphans } = this.#parts;
    this.#parts.allocator.dropWindow(edited.number);
    if (this.#keepsNameless || !this.#mayFree || this.#holds.has(edited.number)) {
      orphans.add(edited);
      return;
    }
    this.#frees = true;
    if (files.freeBlocks(edited)) {
      this.#free(edited);
    } else {
      orphans.add(edited);
      edits.afterwards(() => {
        this.#tryFinish(edited);
      });
    }
  }

  /** Frees an orphan, or a further part of it; one that cannot be read stays an orphan. */
  #tryFinish(inode: Inode): void {
    const { edits, inodes } = this.#parts;
    try {
      edits.change(() => {
        this.release(inodes.edit(inode));
      });
    } catch (error) {
      if (!isFsError(error, 'EIO')) throw error;
    }
  }

  #free(edited: EditedInode): void {
    const { inodes, numbers, orphans, xattrEditor } = this.#parts;
    xattrEditor.release(edited);
    orphans.remove(edited);
    numbers.free(edited, fileType(edited) === MODE.directory);
    edited.links = 0;
    edited.size = 0;
    edited.deleted = Math.max(1, Math.min(inodes.now().seconds, 2 ** 32 - 1));
  }
}

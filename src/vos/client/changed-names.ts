/**
 * Directories whose names a client has changed since it last synced: what lets it tell, after the
 * server was started again, whether these changes are still there.
 *
 * As of files (`held-files.ts`), the time of a directory's last change tells. It goes with a change
 * of its names into one transaction, and never goes back.
 */
import type { Timestamp } from '../protocol/fs.ts';
import type { FileId } from './file-service.ts';
import { hasWrite, later } from './held-files.ts';

export interface ChangedDirectory extends FileId {
  /** Not after what the last change made it, and after what it was before that. */
  readonly changed: Timestamp;
  /** Of the change, among all. */
  readonly order: number;
}

/** Directories that are known at most; those that were changed the longest ago are forgotten. */
export const DIRECTORIES_MAX = 4096;

export class ChangedNames {
  readonly #directories = new Map<number, ChangedDirectory>();
  /** By inode, the generation: a later directory may have the same number. */
  readonly #lost = new Map<number, number>();
  #changes = 0;

  /** Those to be asked about after a restart. */
  get directories(): readonly ChangedDirectory[] {
    return [...this.#directories.values()];
  }

  /** A mark of the changes so far, for `synced`. */
  get mark(): number {
    return this.#changes;
  }

  changed({ inode, generation }: FileId, at: Timestamp): void {
    const before = this.#directories.get(inode);
    this.#directories.delete(inode);
    const changed = before?.generation === generation ? later(before.changed, at) : at;
    this.#directories.set(inode, { inode, generation, changed, order: ++this.#changes });
    if (this.#directories.size <= DIRECTORIES_MAX) return;
    for (const [oldest] of this.#directories) {
      this.#directories.delete(oldest);
      return;
    }
  }

  /** What was changed up to `mark` is there for good. */
  synced(mark: number): void {
    for (const [inode, { order }] of this.#directories) {
      // The order of the map is that of the changes.
      if (order > mark) return;
      this.#directories.delete(inode);
    }
  }

  /** The server that was asked has this time for the directory: undefined if it cannot tell. */
  settle(directory: ChangedDirectory, changed: Timestamp | undefined): void {
    const now = this.#directories.get(directory.inode);
    if (now?.order !== directory.order) return;
    this.#directories.delete(directory.inode);
    if (changed === undefined || !hasWrite(changed, directory.changed)) this.lose(directory);
  }

  /**
   * The server that was asked has no such directory: it was removed, or it is lost as a name of the
   * one that it was in.
   */
  gone(directory: ChangedDirectory): void {
    const now = this.#directories.get(directory.inode);
    if (now?.order === directory.order) this.#directories.delete(directory.inode);
  }

  /** Changes of these names may not be there any more. */
  lose({ inode, generation }: FileId): void {
    this.#lost.set(inode, generation);
    if (this.#lost.size <= DIRECTORIES_MAX) return;
    for (const oldest of this.#lost.keys()) {
      this.#lost.delete(oldest);
      return;
    }
  }

  /** Whether changes were lost and nobody was told; who asks is told. A generation of 0 is any. */
  tell({ inode, generation }: FileId): boolean {
    const lost = this.#lost.get(inode);
    this.#lost.delete(inode);
    return lost !== undefined && (lost === generation || lost === 0 || generation === 0);
  }
}
